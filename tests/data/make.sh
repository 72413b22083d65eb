#!/usr/bin/env bash
# Makes the fixtures of this folder from FFmpeg's test sources. They are committed, so that tests and
# the demo need no encoder; run this after a change, with FFmpeg 5.1 to get the same bytes.
set -euo pipefail
cd "$(dirname "$0")"

# camera.mkv: 4 seconds of H.264 and AAC, a Cluster and a key frame each second, two tags.
ffmpeg -v error -y \
  -f lavfi -i testsrc2=size=320x240:rate=15 -f lavfi -i sine=frequency=440:sample_rate=16000 -t 4 \
  -c:v libx264 -preset slow -crf 32 -pix_fmt yuv420p -g 15 -keyint_min 15 -sc_threshold 0 -threads 1 \
  -c:a aac -b:a 24k -ac 1 \
  -metadata LOCATION=hall -metadata CAMERA="test source" \
  -fflags +bitexact -flags:v +bitexact -flags:a +bitexact \
  camera.mkv
