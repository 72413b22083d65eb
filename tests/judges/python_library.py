"""Reads a payload by the method of AWS's Python library, and prints the seconds it took.

After each KiB, the whole buffer is parsed into an ebmlite tree. When it has two EBML headers, the first part is a
fragment.
"""

import io
import sys
import time

import ebmlite

schema = ebmlite.loadSchema("matroska.xml")
payload = open(sys.argv[1], "rb").read()
start = time.perf_counter()
buffer, fragments = b"", 0
for at in range(0, len(payload), 1024):
    buffer += payload[at : at + 1024]
    headers = [top.offset for top in schema.load(io.BytesIO(buffer), headers=True) if top.name == "EBML"]
    if len(headers) > 1:
        fragment, buffer = buffer[: headers[1]], buffer[headers[1] :]
        fragments += 1
print(time.perf_counter() - start)
# This method never yields the last fragment.
assert fragments == 2, fragments
