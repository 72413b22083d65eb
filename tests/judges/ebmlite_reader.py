"""Reads a payload by the method of AWS's Python library: a cut before each EBML header, an ebmlite tree for each part.

Prints a JSON array: for each fragment its tags and the SHA-256 of each frame.
"""

import hashlib
import io
import json
import sys

import ebmlite


def walk(element):
    """Yields the elements below one, depth first."""
    for child in element.value if isinstance(element, ebmlite.MasterElement) else ():
        yield child
        yield from walk(child)


def fragments(payload):
    """Yields the documents of a payload. Generated frames contain no EBML header."""
    marker = b"\x1a\x45\xdf\xa3"
    starts = [i for i in range(len(payload)) if payload.startswith(marker, i)]
    for start, end in zip(starts, starts[1:] + [len(payload)]):
        yield payload[start:end]


schema = ebmlite.loadSchema("matroska.xml")
result = []
for document in fragments(open(sys.argv[1], "rb").read()):
    tags, frames = [], []
    for top in schema.load(io.BytesIO(document), headers=True):
        for element in walk(top):
            if element.name == "SimpleTag":
                children = {child.name: child.value for child in element.value}
                tags.append([children["TagName"], children["TagString"]])
            elif element.name == "SimpleBlock":
                # A block begins with a track number of 1 byte, a time of 2 and flags of 1.
                frames.append(hashlib.sha256(bytes(element.value)[4:]).hexdigest())
    result.append({"tags": tags, "frames": frames})
json.dump(result, sys.stdout)
