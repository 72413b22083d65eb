"""Signs requests again with botocore, and compares the signatures.

Standard input has a JSON array of objects:
{"method", "url", "headers": [[name, value]], "body", "access_key", "secret_key", "token", "region", "unsigned_payload"}.
The signature is in the query, or in the header `authorization`.
"""

import json
import re
import sys
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials


class Again(SigV4Auth):
    """botocore's signer for the headers that the signature names, without those that it would add."""

    def __init__(self, signed, unsigned_payload, *arguments):
        super().__init__(*arguments)
        self.signed, self.unsigned_payload = signed, unsigned_payload

    def headers_to_sign(self, request):
        headers = super().headers_to_sign(request)
        for name in set(headers.keys()):
            if name.lower() not in self.signed:
                del headers[name]
        return headers

    def payload(self, request):
        return "UNSIGNED-PAYLOAD" if self.unsigned_payload else super().payload(request)


for sent in json.load(sys.stdin):
    parts = urlsplit(sent["url"])
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    headers = {name.lower(): value for name, value in sent["headers"]}
    authorization = headers.pop("authorization", None)
    if authorization:
        found = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=([^,]+), SignedHeaders=([^,]+), Signature=([0-9a-f]{64})", authorization
        )
        credential, signed, signature = found.groups()
        timestamp = headers["x-amz-date"]
        token = headers.get("x-amz-security-token")
        must_be_signed = {name for name in headers if name.startswith("x-amz")} | {"host"}
    else:
        signature = query.pop("X-Amz-Signature")
        credential, signed, timestamp = (query[f"X-Amz-{name}"] for name in ("Credential", "SignedHeaders", "Date"))
        token = query.get("X-Amz-Security-Token")
        must_be_signed = set(headers) | {"host"}
    signed = set(signed.split(";"))
    if not must_be_signed <= signed:
        sys.exit(f"{sent['url']}: not signed: {must_be_signed - signed}")
    if token != sent["token"]:
        sys.exit(f"{sent['url']}: the session token is {token}")
    encoded = "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in query.items())
    url = urlunsplit((parts.scheme, parts.netloc, parts.path, encoded, ""))
    request = AWSRequest(method=sent["method"], url=url, headers=headers, data=sent["body"].encode())
    request.context["timestamp"] = timestamp
    signer = Again(
        signed,
        sent["unsigned_payload"],
        Credentials(sent["access_key"], sent["secret_key"], sent["token"]),
        "kinesisvideo",
        sent["region"],
    )
    if credential != signer.scope(request):
        sys.exit(f"{sent['url']}: the scope is {credential}, not {signer.scope(request)}")
    canonical = signer.canonical_request(request)
    expected = signer.signature(signer.string_to_sign(request, canonical), request)
    if signature != expected:
        sys.exit(f"{sent['url']}: the signature is {signature}, not {expected}, for\n{canonical}")
    print(f"{parts.path}: ok, {';'.join(sorted(signed))}")
