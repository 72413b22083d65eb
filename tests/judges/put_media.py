"""Puts a file into the local endpoint with curl, signed by botocore, and manages its stream with boto3.

Standard input has a JSON object: {"url", "file", "offset"}. `offset` is the time of the file's start with ABSOLUTE
timecodes, in seconds. ffmpeg remuxes the file in real time into the standard input of curl.
"""

import json
import subprocess
import sys
import uuid
from datetime import datetime, timezone

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

there = json.load(sys.stdin)
secret = str(uuid.uuid4())


def client(name):
    return boto3.client(
        name,
        endpoint_url=there["url"],
        region_name="us-west-2",
        aws_access_key_id="local",
        aws_secret_access_key=secret,
        config=Config(retries={"max_attempts": 0}),
    )


def same(what, got, expected):
    if got != expected:
        sys.exit(f"{what}: got {got}, expected {expected}")
    print(f"{what}: ok")


def refused(what, name, status, call, **members):
    try:
        call(**members)
    except ClientError as error:
        got = (error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"])
        same(what, got, (name, status))
    else:
        sys.exit(f"{what}: not refused")


control = client("kinesisvideo")


def put(stream, kind, start, offset):
    """Puts the file, and returns the acknowledgements."""
    endpoint = control.get_data_endpoint(StreamName=stream, APIName="PUT_MEDIA")["DataEndpoint"]
    headers = {
        "x-amzn-stream-name": stream,
        "x-amzn-fragment-timecode-type": kind,
        "x-amzn-producer-start-timestamp": f"{start:.3f}",
        "x-amzn-fragment-acknowledgment-required": "1",
        "x-amz-content-sha256": "UNSIGNED-PAYLOAD",
    }
    request = AWSRequest(method="POST", url=endpoint + "/putMedia", headers=headers)
    SigV4Auth(Credentials("local", secret), "kinesisvideo", "us-west-2").add_auth(request)
    ffmpeg = ["ffmpeg", "-v", "error", "-re", "-i", there["file"], "-c", "copy", "-output_ts_offset", str(offset)]
    ffmpeg += ["-cluster_time_limit", "1000", "-f", "matroska", "-"]
    curl = ["curl", "-sS", "--fail", "--no-buffer", "--max-time", "120", "-X", "POST", "-T", "-", request.url]
    for name, value in request.headers.items():
        curl += ["-H", f"{name}: {value}"]
    source = subprocess.Popen(ffmpeg, stdout=subprocess.PIPE)
    done = subprocess.run(curl, stdin=source.stdout, stdout=subprocess.PIPE, check=True, timeout=150)
    same(f"ffmpeg for {kind}", source.wait(timeout=30), 0)
    lines = done.stdout.decode().splitlines()
    if any(len(line) > 1023 for line in lines):
        sys.exit("an acknowledgement is too long")
    return [json.loads(line) for line in lines]


for name, kind, start, offset in [
    ("relative", "RELATIVE", 1795534218.25, 0),
    ("absolute", "ABSOLUTE", 0, there["offset"]),
]:
    arn = control.create_stream(StreamName=name, DataRetentionInHours=1, Tags={"site": "north"})["StreamARN"]
    acks = put(name, kind, start, offset)
    types = [ack["EventType"] for ack in acks]
    same(f"{kind} acknowledgements", sorted(set(types)), ["BUFFERING", "PERSISTED", "RECEIVED"])
    stages = {}
    for ack in acks:
        stages.setdefault(ack["FragmentNumber"], []).append(ack["EventType"])
    same(f"{kind} stages", all(each == ["BUFFERING", "RECEIVED", "PERSISTED"] for each in stages.values()), True)
    same(f"{kind} fragments", len(stages) > 1, True)
    # Times that the acknowledgements promise are those of the archive.
    archive = client("kinesis-video-archived-media")
    listed = archive.list_fragments(StreamName=name)["Fragments"]
    times = {each["FragmentNumber"]: round(each["ProducerTimestamp"].timestamp() * 1000) for each in listed}
    promised = {ack["FragmentNumber"]: round(start * 1000) + ack["FragmentTimecode"] for ack in acks}
    same(f"{kind} times", times, promised)
    if kind == "ABSOLUTE":
        first = min(times.values()) / 1000
        same("the time of the first fragment", abs(first - offset) < 1, True)
    print(json.dumps({"stream": name, "fragments": len(stages)}))

info = control.describe_stream(StreamName="relative")["StreamInfo"]
same("CreateStream", (info["DataRetentionInHours"], info["Status"]), (1, "ACTIVE"))
change = {"StreamName": "relative", "CurrentVersion": info["Version"], "DataRetentionChangeInHours": 23}
control.update_data_retention(Operation="INCREASE_DATA_RETENTION", **change)
same("UpdateDataRetention", control.describe_stream(StreamName="relative")["StreamInfo"]["DataRetentionInHours"], 24)
update = control.update_data_retention
refused("a stale version", "VersionMismatchException", 400, update, Operation="INCREASE_DATA_RETENTION", **change)
control.tag_stream(StreamName="relative", Tags={"site": "south", "floor": "2"})
control.untag_stream(StreamName="relative", TagKeyList=["floor"])
same("ListTagsForStream", control.list_tags_for_stream(StreamName="relative")["Tags"], {"site": "south"})
many = {str(number): "" for number in range(50)}
refused("too many tags", "TagsPerResourceExceededLimitException", 400, control.tag_stream, StreamName="relative", Tags=many)
refused("CreateStream twice", "ResourceInUseException", 400, control.create_stream, StreamName="relative")
control.delete_stream(StreamARN=info["StreamARN"])
refused("DeleteStream", "ResourceNotFoundException", 404, control.describe_stream, StreamName="relative")
