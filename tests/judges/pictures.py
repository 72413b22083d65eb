"""Saves every n-th picture as JPEG, by the method of AWS's Python library.

The method decodes and converts all pictures of a fragment first, then writes every n-th.
Arguments: n, the folder to write into, the fragments. Prints the seconds it took and the peak memory in KiB.
"""

import io
import resource
import sys
import time

import imageio.v3 as imageio
from PIL import Image

ratio, out, paths = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
fragments = []
for path in paths:
    with open(path, "rb") as file:
        fragments.append(file.read())

# A first run, so that the import of libraries is not measured.
next(imageio.imiter(io.BytesIO(fragments[0]), plugin="pyav"))

start = time.perf_counter()
for number, fragment in enumerate(fragments):
    pictures = [picture for picture in imageio.imiter(io.BytesIO(fragment), plugin="pyav")]
    for i, picture in enumerate(pictures[::ratio]):
        Image.fromarray(picture).save(f"{out}/{number}-{i}.jpg", quality=80)
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
