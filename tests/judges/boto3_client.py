"""Reads live and archived media from the local endpoint with boto3.

Standard input has a JSON object:
{"url", "arn", "fragments": [{"number", "server", "producer", "size"}], "errors"}.
"""

import json
import sys
import uuid
from datetime import datetime, timedelta, timezone

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

there = json.load(sys.stdin)
fragments = there["fragments"]


def client(name, url):
    return boto3.client(
        name,
        endpoint_url=url,
        region_name="us-west-2",
        aws_access_key_id="local",
        aws_secret_access_key=str(uuid.uuid4()),
        config=Config(retries={"max_attempts": 0}),
    )


def at(millis):
    return datetime.fromtimestamp(0, timezone.utc) + timedelta(milliseconds=millis)


def numbers(payload):
    """Returns the fragment numbers in a payload, found by the bytes of their tags."""
    name = b"AWS_KINESISVIDEO_FRAGMENT_NUMBER"
    parts = payload.split(name)[1:]
    # An id and a size field are between the name and the value.
    return [part[6 : 6 + 47].decode() for part in parts]


def same(what, got, expected):
    if got != expected:
        sys.exit(f"{what}: got {got}, expected {expected}")
    print(f"{what}: ok")


control = client("kinesisvideo", there["url"])
described = control.describe_stream(StreamName="ten")["StreamInfo"]
same("DescribeStream", (described["StreamName"], described["StreamARN"], described["Status"]), ("ten", there["arn"], "ACTIVE"))
same("CreationTime", abs(datetime.now(timezone.utc) - described["CreationTime"]) < timedelta(hours=1), True)
pages = control.get_paginator("list_streams").paginate(PaginationConfig={"PageSize": 1})
same("ListStreams", [info["StreamName"] for page in pages for info in page["StreamInfoList"]], ["faulty", "ten"])
condition = {"ComparisonOperator": "BEGINS_WITH", "ComparisonValue": "t"}
listed = control.list_streams(StreamNameCondition=condition)["StreamInfoList"]
same("ListStreams by prefix", [info["StreamName"] for info in listed], ["ten"])

endpoint = control.get_data_endpoint(StreamARN=there["arn"], APIName="GET_MEDIA")["DataEndpoint"]
media = client("kinesis-video-media", endpoint)


def get_media(**selector):
    answer = media.get_media(StreamName="ten", StartSelector=selector)
    same("Content-Type", answer["ContentType"], "video/webm")
    return numbers(answer["Payload"].read())


all_numbers = [fragment["number"] for fragment in fragments]
third = fragments[2]
same("NOW", get_media(StartSelectorType="NOW"), all_numbers[-1:])
same("EARLIEST", get_media(StartSelectorType="EARLIEST"), all_numbers)
after = get_media(StartSelectorType="FRAGMENT_NUMBER", AfterFragmentNumber=third["number"])
same("FRAGMENT_NUMBER", after, all_numbers[3:])
token = get_media(StartSelectorType="CONTINUATION_TOKEN", ContinuationToken=third["number"])
same("CONTINUATION_TOKEN", token, all_numbers[3:])
by_server = get_media(StartSelectorType="SERVER_TIMESTAMP", StartTimestamp=at(third["server"]))
same("SERVER_TIMESTAMP", by_server, all_numbers[2:])
by_producer = get_media(StartSelectorType="PRODUCER_TIMESTAMP", StartTimestamp=at(third["producer"] + 100))
same("PRODUCER_TIMESTAMP", by_producer, all_numbers[2:])

archive_endpoint = control.get_data_endpoint(StreamName="ten", APIName="LIST_FRAGMENTS")["DataEndpoint"]
archive = client("kinesis-video-archived-media", archive_endpoint)
selector = {
    "FragmentSelectorType": "SERVER_TIMESTAMP",
    "TimestampRange": {"StartTimestamp": at(fragments[1]["server"]), "EndTimestamp": at(fragments[7]["server"])},
}
pages = archive.get_paginator("list_fragments").paginate(
    StreamName="ten", FragmentSelector=selector, PaginationConfig={"PageSize": 3}
)
listed = [fragment for page in pages for fragment in page["Fragments"]]
same("ListFragments", sorted(fragment["FragmentNumber"] for fragment in listed), all_numbers[1:8])
first = min(listed, key=lambda fragment: fragment["FragmentNumber"])
same("its times", (first["ServerTimestamp"], first["ProducerTimestamp"]), (at(fragments[1]["server"]), at(fragments[1]["producer"])))
same("its length", first["FragmentLengthInMilliseconds"], fragments[1]["millis"])

wanted = [all_numbers[5], all_numbers[1]]
answer = archive.get_media_for_fragment_list(StreamName="ten", Fragments=wanted)
same("GetMediaForFragmentList", numbers(answer["Payload"].read()), wanted)
missing = archive.get_media_for_fragment_list(StreamName="ten", Fragments=["17"])["Payload"].read()
same("a fragment that is not there", (b"FRAGMENT_NOT_FOUND" in missing, b"3000" in missing), (True, True))

for name in there["errors"]:
    try:
        media.get_media(StreamName="faulty", StartSelector={"StartSelectorType": "NOW"})
        sys.exit(f"{name}: no error")
    except ClientError as error:
        same(name, error.response["Error"]["Code"], name)
        known = getattr(media.exceptions, name, ClientError) if name in dir(media.exceptions) else ClientError
        same(f"{name} as its own exception", isinstance(error, known), True)
        same(f"{name} has a message and a request id", bool(error.response["Error"]["Message"] and error.response["ResponseMetadata"]["RequestId"]), True)
try:
    control.describe_stream(StreamName="nobody")
    sys.exit("nobody is there")
except control.exceptions.ResourceNotFoundException:
    print("ResourceNotFoundException: ok")
