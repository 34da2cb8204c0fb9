#!/usr/bin/env bash
# pydicom 3.0.2: `pixel_array` of a slide-microscopy image in JPEG is already RGB, while the PhotometricInterpretation of the
# same data set still says YBR_FULL_422. Code that converts whatever the tag calls YBR, as pydicom 2 required, converts twice.
# Only `decompress()` also changes the tag.
#
# Output seen:
#   tag after pixel_array: YBR_FULL_422; mean error of pixel_array 0.5, after converting as the tag says 113.2
#   tag after decompress: RGB
#
# What to do: take `pixel_array` for RGB, or ask for `raw=True` and convert once.

set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pydicom==3.0.2 pillow==12.3.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import io
import sys

import numpy as np
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import convert_color_space
from pydicom.uid import JPEGBaseline8Bit, VLMicroscopicImageStorage, generate_uid

rows, columns = np.indices((64, 64))
picture = np.stack([np.full((64, 64), 200), rows * 2, columns * 2], axis=2).astype(np.uint8)
jpeg = io.BytesIO()
Image.fromarray(picture).save(jpeg, "JPEG", quality=95)

slide = Dataset()
slide.file_meta = FileMetaDataset()
slide.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
slide.file_meta.MediaStorageSOPClassUID = slide.SOPClassUID = VLMicroscopicImageStorage
slide.file_meta.MediaStorageSOPInstanceUID = slide.SOPInstanceUID = generate_uid()
slide.Rows = slide.Columns = 64
slide.SamplesPerPixel, slide.PlanarConfiguration, slide.PhotometricInterpretation = 3, 0, "YBR_FULL_422"
slide.BitsAllocated = slide.BitsStored = 8
slide.HighBit, slide.PixelRepresentation = 7, 0
slide.PixelData = encapsulate([jpeg.getvalue()])
slide["PixelData"].VR = "OB"
slide.save_as("slide.dcm", enforce_file_format=True)


def error(pixels):
    return np.abs(pixels.astype(int) - picture).mean()


read = dcmread("slide.dcm")
pixels, tag = read.pixel_array, read.PhotometricInterpretation
twice = convert_color_space(pixels, tag, "RGB")
print(f"tag after pixel_array: {tag}; mean error of pixel_array {error(pixels):.1f}, ", end="")
print(f"after converting as the tag says {error(twice):.1f}")
read.decompress()
print(f"tag after decompress: {read.PhotometricInterpretation}")
same = tag == "YBR_FULL_422" and error(pixels) < 2 and error(twice) > 50 and read.PhotometricInterpretation == "RGB"
sys.exit(0 if same else "pydicom's pixels and its tag go together otherwise now.")
PYTHON
