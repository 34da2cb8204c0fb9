"""What reading a file takes is known from its header, whichever decoder reads it."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from bc_sam.data.decoding.declared import declared
from bc_sam.data.images import read_image
from bc_sam.errors import ImageError

SHAPE = (30, 40)


def pillow(kind, mode="RGB"):
    file = BytesIO()
    Image.new(mode, SHAPE[::-1]).save(file, kind)
    return file.getvalue()


def tiff(dtype, channels=3, **options):
    tifffile = pytest.importorskip("tifffile")
    file = BytesIO()
    values = np.full((*SHAPE, channels), 1 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max, dtype)
    tifffile.imwrite(file, values, photometric="rgb", compression="zlib", **options)
    return file.getvalue()


def heic():
    pillow_heif = pytest.importorskip("pillow_heif")
    file = BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", SHAPE[::-1])).save(file)
    return file.getvalue()


def dicom(kind="RGB"):
    pytest.importorskip("pydicom")
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.77.1.2", "1.2.3"
    data = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    data.Rows, data.Columns, data.SamplesPerPixel, data.PlanarConfiguration = *SHAPE, 3, 0
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation, data.PhotometricInterpretation = 7, 0, kind
    data.PixelData = bytes(3 * SHAPE[0] * SHAPE[1])
    file = BytesIO()
    data.save_as(file, enforce_file_format=True)
    return file.getvalue()


@pytest.mark.parametrize(
    ("make", "least"),
    [
        (lambda: pillow("JPEG"), 7),
        (lambda: pillow("PNG", "RGBA"), 7),
        (lambda: pillow("TIFF"), 7),
        (lambda: pillow("WEBP"), 16),
        (lambda: tiff(np.uint16), 7),
        (lambda: tiff(np.float32), 4 * 3 + 3),
        (lambda: tiff(np.float64, 4, extrasamples=["unassalpha"]), 8 * 4 + 3),
        (heic, 8),
        (dicom, 7),
        (lambda: dicom("YBR_FULL"), 30),
    ],
)
def test_every_kind_of_file_declares_its_size(make, least):
    content = make()
    read_image(content)
    n_pixels, bytes_per_pixel = declared(BytesIO(content))
    assert n_pixels == SHAPE[0] * SHAPE[1]
    assert least <= bytes_per_pixel <= 3 * least


def test_colours_on_pages_of_their_own_are_counted():
    tifffile = pytest.importorskip("tifffile")
    file = BytesIO()
    tifffile.imwrite(file, np.zeros((3, *SHAPE), np.uint8), imagej=True, metadata={"axes": "CYX"})
    read_image(file.getvalue())
    assert declared(BytesIO(file.getvalue())).bytes_per_pixel >= 2 * 3 + 3


def test_deep_colours_count_towards_the_largest_size():
    content = tiff(np.float64)
    assert read_image(content, max_pixels=3 * SHAPE[0] * SHAPE[1]).size == SHAPE[::-1]
    with pytest.raises(ImageError, match=r"40 x 30 pixels of 24 bytes, more than 9600 bytes.*8-bit RGB"):
        read_image(content, max_pixels=SHAPE[0] * SHAPE[1])
