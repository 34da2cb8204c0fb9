"""Large TIFF files are read in parts; what cannot be is refused with a reason."""

import numpy as np
import pytest
import tifffile

from bc_sam.data.fields.sources import TiffField, WholeField, open_field
from bc_sam.errors import ImageError


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(1).integers(0, 255, (300, 420, 3), dtype=np.uint8)


def read_parts(path, *places):
    with tifffile.TiffFile(path) as file:
        field = TiffField(file, "big.tif")
        return field.shape, [field.read(*place) for place in places]


@pytest.mark.parametrize(
    "layout",
    [
        {"tile": (64, 80)},
        {"tile": (64, 80), "compression": "zlib", "predictor": True, "bigtiff": True},
        {"rowsperstrip": 37},
        {"rowsperstrip": 16, "compression": "lzw"},
    ],
    ids=["tiles", "compressed tiles of a BigTIFF", "strips", "compressed strips"],
)
def test_parts_of_a_tiff_are_those_of_the_image(tmp_path, pixels, layout):
    path = tmp_path / "big.tif"
    tifffile.imwrite(path, pixels, photometric="rgb", **layout)
    places = [(slice(0, 300), slice(0, 420)), (slice(50, 130), slice(79, 81)), (slice(255, 300), slice(300, 420))]
    shape, parts = read_parts(path, *places)
    assert shape == (300, 420)
    for place, part in zip(places, parts, strict=True):
        assert np.array_equal(part, pixels[place])


def test_the_full_resolution_of_a_pyramid_is_read(tmp_path, pixels):
    path = tmp_path / "pyramid.ome.tif"
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        file.write(pixels, photometric="rgb", tile=(64, 64), subifds=1)
        file.write(pixels[::2, ::2], photometric="rgb", tile=(64, 64), subfiletype=1)
    shape, (part,) = read_parts(path, (slice(100, 200), slice(100, 200)))
    assert shape == (300, 420)
    assert np.array_equal(part, pixels[100:200, 100:200])


@pytest.mark.parametrize("array", [np.zeros((64, 64, 3), np.uint16), np.zeros((64, 64), np.uint8)])
def test_other_kinds_of_large_tiff_are_refused(tmp_path, array):
    tifffile.imwrite(tmp_path / "big.tif", array)
    with pytest.raises(ImageError, match=r"not RGB of 8 bits.*Convert it"):
        read_parts(tmp_path / "big.tif")


def test_a_damaged_tile_is_named_and_the_others_are_read(tmp_path, pixels):
    path = tmp_path / "big.tif"
    tifffile.imwrite(path, pixels, photometric="rgb", tile=(64, 64), compression="zlib")
    with tifffile.TiffFile(path) as file:
        offset = file.pages[0].dataoffsets[0]
    content = bytearray(path.read_bytes())
    content[offset : offset + 40] = bytes(40)
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"big.tif is damaged in tile 0"):
        read_parts(path, (slice(0, 10), slice(0, 10)))
    _, (part,) = read_parts(path, (slice(100, 200), slice(100, 200)))
    assert np.array_equal(part, pixels[100:200, 100:200])


def test_small_images_are_decoded_as_a_whole(tmp_path, pixels):
    tifffile.imwrite(tmp_path / "field.tif", pixels, photometric="rgb")
    for source in (pixels, tmp_path / "field.tif"):
        with open_field(source) as field:
            assert isinstance(field, WholeField)
            assert np.array_equal(field.read(slice(3, 9), slice(4, 8)), pixels[3:9, 4:8])


def test_a_slide_that_is_none_is_reported(tmp_path):
    (tmp_path / "slide.svs").write_bytes(b"no slide")
    reason = r"slide.svs is (a scanned slide, which needs OpenSlide|no slide)"
    with pytest.raises(ImageError, match=reason), open_field(tmp_path / "slide.svs"):
        pass


def test_a_scanned_slide_is_read_in_parts(tmp_path, pixels):
    pytest.importorskip("openslide", reason="needs the extra slides")
    tifffile.imwrite(tmp_path / "slide.svs", pixels, photometric="rgb", tile=(64, 64), compression="zlib")
    with open_field(tmp_path / "slide.svs") as field:
        assert field.shape == (300, 420)
        assert field.microns_per_pixel is None
        assert np.array_equal(field.read(slice(50, 130), slice(79, 181)), pixels[50:130, 79:181])


def test_after_a_damaged_part_a_scanned_slide_is_read_on(tmp_path, pixels):
    pytest.importorskip("openslide", reason="needs the extra slides")
    path = tmp_path / "slide.svs"
    tifffile.imwrite(path, pixels, photometric="rgb", tile=(64, 64), compression="jpeg")
    with tifffile.TiffFile(path) as file:
        offset = file.pages[0].dataoffsets[0]
    content = bytearray(path.read_bytes())
    content[offset : offset + 40] = bytes(40)
    path.write_bytes(content)
    with open_field(path) as field:
        with pytest.raises(ImageError, match=r"slide.svs is damaged"):
            field.read(slice(0, 10), slice(0, 10))
        assert field.read(slice(100, 200), slice(100, 200)).mean() == pytest.approx(127, abs=10)
