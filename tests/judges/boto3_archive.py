"""Reads archived media from the local endpoint with boto3, and checks its images with Pillow.

Standard input has a JSON object:
{"url", "start", "numbers", "provoked": [[stream, exception]], "scripted": {operation: [exception]}}.
The fragments of the stream "door" begin at the second "start". Each has 2 s, first red, then green. Calls for a stream
in "provoked" fail because of its content. Calls for the stream "refused" fail with the scripted exceptions in turn.
"""

import base64
import io
import json
import struct
import sys
import urllib.error
import urllib.request
import uuid
from datetime import datetime, timedelta, timezone

import boto3
from botocore.config import Config
from PIL import Image, ImageStat

there = json.load(sys.stdin)
numbers = there["numbers"]
STATUS = {"ResourceNotFoundException": 404, "NotAuthorizedException": 401}


def client(name, url):
    return boto3.client(
        name,
        endpoint_url=url,
        region_name="us-west-2",
        aws_access_key_id="local",
        aws_secret_access_key=str(uuid.uuid4()),
        config=Config(retries={"max_attempts": 0}),
    )


def at(seconds):
    return datetime.fromtimestamp(there["start"], timezone.utc) + timedelta(seconds=seconds)


def same(what, got, expected):
    if got != expected:
        sys.exit(f"{what}: got {got}, expected {expected}")
    print(f"{what}: ok")


def refused(name, what, call):
    """Checks that a call fails with boto3's own class for this exception."""
    try:
        call()
        sys.exit(f"{what}: no {name}")
    except getattr(archive.exceptions, name) as error:
        got = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
        same(f"{what}: {name}", got, (name, STATUS.get(name, 400)))
        same(f"{what}: a message", bool(error.response["Error"]["Message"]), True)


def refusal(url):
    """Returns the status and the text of an address that gives nothing."""
    try:
        urllib.request.urlopen(url)
        sys.exit(f"{url} gave something")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


control = client("kinesisvideo", there["url"])
apis = [
    "LIST_FRAGMENTS",
    "GET_MEDIA_FOR_FRAGMENT_LIST",
    "GET_HLS_STREAMING_SESSION_URL",
    "GET_DASH_STREAMING_SESSION_URL",
    "GET_CLIP",
    "GET_IMAGES",
]
endpoints = {control.get_data_endpoint(StreamName="door", APIName=api)["DataEndpoint"] for api in apis}
same("GetDataEndpoint", len(endpoints), 1)
archive = client("kinesis-video-archived-media", endpoints.pop())

whole = {"StartTimestamp": at(0), "EndTimestamp": at(60)}
by_server = {"FragmentSelectorType": "SERVER_TIMESTAMP", "TimestampRange": whole}
images = {
    "ImageSelectorType": "SERVER_TIMESTAMP",
    "StartTimestamp": at(0),
    "EndTimestamp": at(60),
    "SamplingInterval": 1000,
    "Format": "JPEG",
}
# Each operation, for streams whose content causes a refusal.
calls = {
    "ListFragments": lambda stream: archive.list_fragments(StreamName=stream, FragmentSelector=by_server),
    "GetMediaForFragmentList": lambda stream: archive.get_media_for_fragment_list(StreamName=stream, Fragments=numbers),
    "GetHLSStreamingSessionURL": lambda stream: archive.get_hls_streaming_session_url(
        StreamName=stream, PlaybackMode="ON_DEMAND", HLSFragmentSelector=by_server
    ),
    "GetDASHStreamingSessionURL": lambda stream: archive.get_dash_streaming_session_url(
        StreamName=stream, PlaybackMode="ON_DEMAND", DASHFragmentSelector=by_server
    ),
    "GetClip": lambda stream: archive.get_clip(StreamName=stream, ClipFragmentSelector=by_server),
    "GetImages": lambda stream: archive.get_images(StreamName=stream, **images),
}

# Both paginators of boto3.
pages = archive.get_paginator("list_fragments").paginate(
    StreamName="door", FragmentSelector=by_server, PaginationConfig={"PageSize": 2}
)
pages = [page["Fragments"] for page in pages]
same("pages of ListFragments", max(len(page) for page in pages), 2)
listed = [fragment for page in pages for fragment in page]
same("ListFragments", sorted(fragment["FragmentNumber"] for fragment in listed), numbers)
same("its lengths", {fragment["FragmentLengthInMilliseconds"] for fragment in listed}, {2000})

pages = archive.get_paginator("get_images").paginate(StreamName="door", **images, PaginationConfig={"PageSize": 100})
pages = [page["Images"] for page in pages]
# Images at 0 to 60 s, both included. A page has at most 25.
same("pages of GetImages", [len(page) for page in pages], [25, 25, 11])
taken = [image for page in pages for image in page]
same("times", [image["TimeStamp"] for image in taken], [at(second) for second in range(61)])
covered = len(numbers) * 2
same("no media", [image.get("Error") for image in taken[covered:]], ["NO_MEDIA"] * (61 - covered))


def opened(image):
    return Image.open(io.BytesIO(base64.b64decode(image["ImageContent"], validate=True)))


def color(picture):
    red, green, blue = ImageStat.Stat(picture.convert("RGB")).mean
    return [name for name, mean in [("red", red), ("green", green), ("blue", blue)] if mean > 128]


pictures = [opened(image) for image in taken[:covered]]
same("JPEG", {(picture.format, picture.size) for picture in pictures}, {("JPEG", (64, 48))})
same("colours", [color(picture) for picture in pictures], [["red"], ["green"]] * len(numbers))


def one(**members):
    answer = archive.get_images(StreamName="door", **{**images, "EndTimestamp": at(0), **members})
    (image,) = answer["Images"]
    return opened(image)


for members, expected in [
    ({}, ("JPEG", (64, 48))),
    ({"Format": "PNG"}, ("PNG", (64, 48))),
    ({"Format": "PNG", "WidthPixels": 100, "HeightPixels": 20}, ("PNG", (100, 20))),
    ({"WidthPixels": 100, "HeightPixels": 20}, ("JPEG", (100, 20))),
    ({"HeightPixels": 24}, ("JPEG", (32, 24))),
]:
    picture = one(**members)
    same(f"an image of {members}", (picture.format, picture.size, color(picture)), (*expected, ["red"]))
sharp, blurred = (one(FormatConfig={"JPEGQuality": quality}).quantization[0] for quality in ["100", "1"])
same("JPEGQuality", sum(sharp) < sum(blurred), True)

body = archive.get_media_for_fragment_list(StreamName="door", Fragments=numbers)["Payload"].read()
same("GetMediaForFragmentList", [body.count(number.encode()) > 0 for number in numbers], [True] * len(numbers))

for name, key, sign in [
    ("GetHLSStreamingSessionURL", "HLSStreamingSessionURL", "#EXTM3U\n"),
    ("GetDASHStreamingSessionURL", "DASHStreamingSessionURL", "<MPD "),
]:
    url = calls[name]("door")[key]
    same(f"{name}: the URL", url.startswith(there["url"]), True)
    same(f"{name}: the manifest", sign in urllib.request.urlopen(url).read().decode(), True)
    expired = refusal(url.split("=")[0] + "=another")
    same(f"{name}: another token", expired, (403, "Streaming session token is expired"))

clip = calls["GetClip"]("door")
same("GetClip", clip["ContentType"], "video/mp4")
content, boxes = clip["Payload"].read(), []
while content:
    size, kind, long_size = struct.unpack(">I4sQ", content[:16])
    boxes.append((kind, content[:long_size if size == 1 else size]))
    content = content[len(boxes[-1][1]):]
same("its boxes", [kind for kind, _ in boxes], [b"ftyp", b"mdat", b"moov"])
same("its codec", b"avc1" in boxes[2][1], True)

for operation, call in calls.items():
    refused("ResourceNotFoundException", f"{operation} of nobody", lambda: call("nobody"))
for stream, exception in there["provoked"]:
    for operation, call in calls.items():
        # Listings do not depend on the content. Images report it themselves.
        if operation in ("ListFragments", "GetMediaForFragmentList"):
            continue
        if operation == "GetImages" and exception == "ResourceNotFoundException":
            continue
        if exception in there["scripted"][operation]:
            refused(exception, f"{operation} of {stream}", lambda: call(stream))
late = {"FragmentSelectorType": "SERVER_TIMESTAMP", "TimestampRange": {"StartTimestamp": at(60), "EndTimestamp": at(0)}}
door = {"StreamName": "door"}
for operation, call in {
    "ListFragments": lambda: archive.list_fragments(**door, FragmentSelector=late),
    "GetMediaForFragmentList": lambda: archive.get_media_for_fragment_list(**door, Fragments=["x"]),
    "GetHLSStreamingSessionURL": lambda: archive.get_hls_streaming_session_url(**door, PlaybackMode="LIVE_REPLAY"),
    "GetDASHStreamingSessionURL": lambda: archive.get_dash_streaming_session_url(**door, PlaybackMode="ON_DEMAND"),
    "GetClip": lambda: archive.get_clip(**door, ClipFragmentSelector=late),
    "GetImages": lambda: archive.get_images(**door, **{**images, "SamplingInterval": 199}),
}.items():
    refused("InvalidArgumentException", operation, call)
for operation, exceptions in there["scripted"].items():
    for exception in exceptions:
        refused(exception, operation, lambda: calls[operation]("refused"))
    modelled = {shape.name for shape in archive.meta.service_model.operation_model(operation).error_shapes}
    same(f"{operation}: all of its exceptions", set(exceptions), modelled)
same("all operations", set(calls), set(archive.meta.service_model.operation_names))
