"""What a TIFF file says of its pixels is read, and what is no statement is not."""

import io

import pytest
from PIL import Image

from bc_sam.data.appearance.resolution_tags import ResolutionTag, read_resolution_tag


def tiff(**options):
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "TIFF", **options)
    return file.getvalue()


def test_dots_per_centimetre():
    found = read_resolution_tag(tiff(resolution_unit=3, x_resolution=125_000, y_resolution=125_000))
    assert found.microns_per_pixel == pytest.approx(0.08)
    assert not found.is_display_default


@pytest.mark.parametrize(("dpi", "is_default"), [(72, True), (96, True), (254_000, False)])
def test_dots_per_inch(dpi, is_default):
    found = read_resolution_tag(tiff(dpi=(dpi, dpi)))
    assert found == ResolutionTag(pytest.approx(25_400 / dpi), f"{dpi:g} dpi", is_default)


@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        ('PhysicalSizeX="0.11" PhysicalSizeXUnit="µm"', 0.11),
        ('PhysicalSizeX="0.11" PhysicalSizeXUnit="&#181;m"', 0.11),
        ('PhysicalSizeX="0.11"', 0.11),
        ('PhysicalSizeX="110" PhysicalSizeXUnit="nm"', 0.11),
        ('PhysicalSizeX="1.1E-4" PhysicalSizeXUnit="mm"', 0.11),
    ],
)
def test_ome_metadata_come_before_dpi(attributes, size):
    ome = f'<OME><Image><Pixels SizeX="8" {attributes}/></Image></OME>'.encode()
    found = read_resolution_tag(tiff(tiffinfo={270: ome}, dpi=(72, 72)))
    assert found is not None
    assert found.microns_per_pixel == pytest.approx(size)


@pytest.mark.parametrize(
    "source",
    [
        tiff(),
        tiff(resolution_unit=1, x_resolution=300, y_resolution=300),
        tiff(resolution_unit=2, x_resolution=0, y_resolution=0),
        tiff(tiffinfo={270: 'PhysicalSizeX="-3"'}),
        tiff(tiffinfo={270: 'PhysicalSizeX="0.1" PhysicalSizeXUnit="mile"'}),
        tiff()[:40],
        b"no image",
        "no/such/file.tif",
    ],
    ids=["no tag", "no unit", "zero", "negative", "unknown unit", "cut off", "no image", "no file"],
)
def test_anything_else_is_no_statement(source):
    assert read_resolution_tag(source) is None


def test_other_formats_are_not_asked():
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", dpi=(254_000, 254_000))
    assert read_resolution_tag(file.getvalue()) is None
