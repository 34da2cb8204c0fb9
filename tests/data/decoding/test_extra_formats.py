"""Formats of the extra ``formats`` are read where their package is installed; else the error says what to install."""

import io
import sys

import numpy as np
import pytest
from PIL import Image

from bc_sam.data.images import read_image
from bc_sam.errors import ImageError

HEIC_HEAD = b"\0\0\0\x18ftypheic" + bytes(120)


def test_heic_is_read():
    pillow_heif = pytest.importorskip("pillow_heif")
    rows, columns = np.mgrid[:64, :48]
    drawing = np.stack([rows * 3, columns * 4, 255 - rows * 3], axis=2).astype(np.uint8)
    file = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(drawing)).save(file, quality=-1, chroma=444)
    assert np.abs(np.asarray(read_image(file.getvalue()), int) - drawing).max() <= 6
    with pytest.raises(ImageError, match="has 48 x 64 pixels, more than 3000"):
        read_image(file.getvalue(), max_pixels=3000)
    with pytest.raises(ImageError, match="damaged"):
        read_image(file.getvalue()[:400])


@pytest.mark.parametrize(
    ("package", "content", "kind"),
    [("pillow_heif", HEIC_HEAD, "HEIC image"), ("pydicom", bytes(128) + b"DICM", "DICOM file")],
)
def test_a_missing_package_is_named(tmp_path, monkeypatch, package, content, kind):
    monkeypatch.setitem(sys.modules, package, None)
    path = tmp_path / "cell.any"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=rf'cell\.any is a {kind}, which needs .*pip install "bc_sam\[formats\]"'):
        read_image(path)
