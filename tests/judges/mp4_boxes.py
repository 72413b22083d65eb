"""Reads every box of an MP4 file with pymp4. Prints the number of boxes.

Boxes must fill their parents exactly. pymp4 must parse each one to its end, but for what it does not implement: the names
of handlers in QuickTime's form, and whatever follows the codec's record in a sample entry.
"""

import struct
import sys

from pymp4.parser import Box

CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"dinf", b"stbl", b"edts", b"mvex", b"moof", b"traf"}


def size_at(data, start, end, path):
    """Returns the size of a box and of its header."""
    if end - start < 8:
        sys.exit(f"{path}: {end - start} bytes at {start} are no box")
    size, header = struct.unpack(">I", data[start:start + 4])[0], 8
    if size == 1:
        size, header = struct.unpack(">Q", data[start + 8:start + 16])[0], 16
    if size < header or start + size > end:
        sys.exit(f"{path}: the box {data[start + 4:start + 8]} at {start} declares {size} bytes, of {end - start}")
    return size, header


def walk(data, start, end, path, is_quicktime):
    """Parses the boxes from start to end. Returns their number."""
    count = 0
    while start < end:
        size, header = size_at(data, start, end, path)
        kind = data[start + 4:start + 8]
        here = f"{path}/{kind.decode('latin-1')}"
        if kind in CONTAINERS:
            count += walk(data, start + header, start + size, here, is_quicktime)
        elif kind == b"mdat":
            # pymp4 copies the media, and does not read it.
            pass
        elif kind == b"stsd":
            entries = struct.unpack(">I", data[start + 12:start + 16])[0]
            at = start + 16
            for _ in range(entries):
                at += size_at(data, at, start + size, here)[0]
            if at != start + size:
                sys.exit(f"{here}: {start + size - at} bytes follow the sample entries")
            Box.parse(data[start:start + size])
        elif not (kind == b"hdlr" and is_quicktime):
            box = Box.parse(data[start:start + size])
            if box.end - box.offset != size or box.type != kind:
                sys.exit(f"{here}: pymp4 reads {box.end - box.offset} of {size} bytes")
        count += 1
        start += size
    return count


with open(sys.argv[1], "rb") as file:
    content = file.read()
print(walk(content, 0, len(content), "", content[8:12] == b"qt  "), "boxes")
