"""Writes each track of each fragment of a conversation to a WAV file, by the method of AWS's Python library.

The method is an ebmlite tree, the joined frames of the track with the party's name, and `wave`.
Arguments: the payload, the prefix of the files. Prints the seconds it took.
"""

import io
import sys
import time
import wave

import ebmlite

PARTIES = ("AUDIO_FROM_CUSTOMER", "AUDIO_TO_CUSTOMER")
schema = ebmlite.loadSchema("matroska.xml")


def walk(element):
    """Yields the elements below one, depth first."""
    for child in element.value if isinstance(element, ebmlite.MasterElement) else ():
        yield child
        yield from walk(child)


def fragments(payload):
    """Yields the documents of a payload. No frame of a generated conversation contains an EBML header."""
    marker = b"\x1a\x45\xdf\xa3"
    start = payload.find(marker)
    while start >= 0:
        end = payload.find(marker, start + 4)
        yield payload[start : end if end >= 0 else len(payload)]
        start = end


payload = open(sys.argv[1], "rb").read()
start = time.perf_counter()
for document in fragments(payload):
    tracks, number, blocks = {}, None, []
    for top in schema.load(io.BytesIO(document), headers=True):
        for element in walk(top):
            if element.name == "TrackEntry":
                entry = {child.name: child.value for child in element.value}
                tracks[entry["Name"]] = entry["TrackNumber"]
            elif element.name == "SimpleTag":
                tag = {child.name: child.value for child in element.value}
                if tag["TagName"] == "AWS_KINESISVIDEO_FRAGMENT_NUMBER":
                    number = tag["TagString"]
            elif element.name == "SimpleBlock":
                blocks.append(bytes(element.value))
    for party in PARTIES:
        if party not in tracks:
            continue
        # A block begins with a track number of 1 byte, a time of 2 and flags of 1.
        frames = [block[4:] for block in blocks if block[0] & 0x7F == tracks[party]]
        with wave.open(f"{sys.argv[2]}-{number}-{party}.wav", "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(b"".join(frames))
print(time.perf_counter() - start)
