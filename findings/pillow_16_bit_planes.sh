#!/usr/bin/env bash
# Pillow 12.3.0: an uncompressed TIFF of 16-bit RGB with a plane per colour (PlanarConfiguration 2), as microscope software
# and tifffile write it, is opened without an error or a warning, and its pixels are wrong. With one plane for all colours
# (PlanarConfiguration 1) Pillow reads the same picture correctly, if only to 8 bits.
#
# Output seen:
#   largest error of 255: colours together 0, planes apart 241
#
# What to do: read such files with tifffile.

set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pillow==12.3.0 tifffile==2026.3.3 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import warnings

import numpy as np
import tifffile
from PIL import Image

warnings.simplefilter("error")
rows, columns = np.indices((64, 64))
picture = np.stack([rows * 1000, columns * 1000, (rows + columns) * 500], axis=2).astype(np.uint16)


def error(name):
    seen = np.asarray(Image.open(name).convert("RGB")).astype(int)
    return int(np.abs(seen - (picture >> 8)).max())


tifffile.imwrite("together.tiff", picture, photometric="rgb", planarconfig="contig")
tifffile.imwrite("apart.tiff", picture.transpose(2, 0, 1).copy(), photometric="rgb", planarconfig="separate")
assert np.array_equal(tifffile.imread("apart.tiff").transpose(1, 2, 0), picture)
together, apart = error("together.tiff"), error("apart.tiff")
print(f"largest error of 255: colours together {together}, planes apart {apart}")
sys.exit(0 if together <= 1 and apart > 50 else "Pillow reads planes apart differently now.")
PYTHON
