"""Saves one picture in so many as JPEG, in the way of AWS's Python library: all pictures of the fragment are
decoded and converted first, then every n-th is written.

Arguments: n, the folder to write into, the fragments. Prints the seconds it took and the most memory used, in KiB.
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

# Once beforehand, so that importing and opening libraries is not counted.
next(imageio.imiter(io.BytesIO(fragments[0]), plugin="pyav"))

start = time.perf_counter()
for number, fragment in enumerate(fragments):
    pictures = [picture for picture in imageio.imiter(io.BytesIO(fragment), plugin="pyav")]
    for i, picture in enumerate(pictures[::ratio]):
        Image.fromarray(picture).save(f"{out}/{number}-{i}.jpg", quality=80)
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
