"""TIFF files of every kind are read as what was written, or refused by name with what to do."""

import importlib.util
import io
import itertools
import struct

import numpy as np
import pytest
import tifffile

from bc_sam.data.images import read_image, read_mask
from bc_sam.errors import ImageError

imagecodecs = pytest.importorskip("imagecodecs", reason="Most compressions need imagecodecs.")

DEPTHS = {"8 bits": "u1", "16 bits": "u2", "half": "f2", "float": "f4"}
CHANNELS = {
    "grey": ("minisblack", 1, None),
    "inverted": ("miniswhite", 1, None),
    "grey+alpha": ("minisblack", 2, "unassalpha"),
    "colour": ("rgb", 3, None),
    "colour+alpha": ("rgb", 4, "unassalpha"),
    "colour+unused": ("rgb", 4, "unspecified"),
}
COMPRESSIONS = [None, "lzw", "deflate", "packbits", "zstd", "lzma"]


def drawn(n_channels):
    """(48, 40, n) uint8: a smooth image whose channels differ, opaque if there is alpha."""
    y, x = np.mgrid[:48, :40]
    values = np.stack([40 + y * 2 + x * c for c in range(n_channels)], axis=2).astype(np.uint8)
    values[..., -1] = np.where(n_channels in (2, 4), 255, values[..., -1])
    return values


def deep(values, dtype):
    """The values of 0..255 over the full range of a type."""
    return (values * {"u1": 1, "u2": 257.0}.get(dtype, 1 / 255)).astype(dtype)


def written(values, photometric, alpha=None, *, apart=False, **options):
    if alpha:
        options["extrasamples"] = [alpha]
    if values.shape[-1] > 1:
        options["planarconfig"] = "separate" if apart else "contig"
    values = values[..., 0] if values.shape[-1] == 1 else np.moveaxis(values, -1, 0) if apart else values
    file = io.BytesIO()
    tifffile.imwrite(file, values, photometric=photometric, **{"metadata": None, **options})
    return file.getvalue()


def as_rgb(values):
    return np.repeat(values[..., :1], 3, axis=2) if values.shape[-1] < 3 else values[..., :3]


def by_libtiff(content):
    """Reads the first page with the libtiff of imagecodecs, which shares no code with Pillow or tifffile."""
    return imagecodecs.tiff_decode(content, index=0)


@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("apart", [False, True], ids=["together", "apart"])
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("depth", DEPTHS)
def test_depth_planes_compression_photometric_and_byte_order(depth, channels, apart, compression, order):
    photometric, n, alpha = CHANNELS[channels]
    drawing = drawn(n)
    values = deep(drawing, DEPTHS[depth])
    content = written(values, photometric, alpha, apart=apart, compression=compression, byteorder=order)
    expected = as_rgb(255 - drawing if channels == "inverted" else drawing).astype(int)
    assert np.abs(np.asarray(read_image(content)) - expected).max() <= (depth == "half")

    other = by_libtiff(content)
    other = np.moveaxis(other, 0, -1) if apart and n > 1 else other.reshape(48, 40, -1)
    assert np.array_equal(other, values)


@pytest.mark.parametrize(
    ("channels", "depth", "tile"), [*itertools.product(CHANNELS, DEPTHS, [{"tile": (16, 16)}, {"rowsperstrip": 7}])]
)
def test_tiles_and_strips_that_do_not_divide_the_image(channels, depth, tile):
    photometric, n, alpha = CHANNELS[channels]
    drawing = drawn(n)
    content = written(deep(drawing, DEPTHS[depth]), photometric, alpha, compression="lzw", **tile)
    expected = as_rgb(255 - drawing if channels == "inverted" else drawing).astype(int)
    assert np.abs(np.asarray(read_image(content)) - expected).max() <= (depth == "half")


@pytest.mark.parametrize("predictor", [2, 3])
@pytest.mark.parametrize("order", ["<", ">"])
def test_predictors(predictor, order):
    drawing = drawn(3)
    values = deep(drawing, "u2" if predictor == 2 else "f4")
    content = written(values, "rgb", compression="deflate", predictor=predictor, byteorder=order)
    assert np.array_equal(read_image(content), drawing)


@pytest.mark.parametrize("apart", [False, True])
def test_jpeg_in_tiff(apart):
    drawing = drawn(3)
    content = written(drawing, "rgb", apart=apart, compression="jpeg")
    assert np.abs(np.asarray(read_image(content)) - drawing.astype(int)).max() <= 8


def test_big_tiff():
    values = deep(drawn(3), "u2")
    for apart in (False, True):
        assert np.array_equal(read_image(written(values, "rgb", apart=apart, bigtiff=True)), drawn(3))


def test_twelve_packed_bits_are_scaled_to_the_full_range():
    values = np.linspace(0, 4095, 48 * 40).reshape(48, 40).astype(int)
    first, second = values[:, ::2], values[:, 1::2]
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=2).reshape(48, 60, 1)
    content = written(packed.astype(np.uint8), "minisblack")
    content = content.replace(struct.pack("<HHII", 256, 4, 1, 60), struct.pack("<HHII", 256, 4, 1, 40))
    content = content.replace(struct.pack("<HHII", 258, 3, 1, 8), struct.pack("<HHII", 258, 3, 1, 12))
    assert np.array_equal(np.asarray(read_image(content))[..., 0], values >> 4)


MAX_SAMPLE_VALUE, S_MAX_SAMPLE_VALUE = 281, 341


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("stated", ["MaxSampleValue", "SMaxSampleValue", "OME"])
def test_bits_of_the_camera_that_the_file_states_are_scaled_to_the_full_range(stated, bits, n):
    drawing = drawn(n)
    values = drawing.astype(np.uint16) << (bits - 8)
    options = {"compression": "lzw"}
    if stated == "OME":
        ome = f'<OME><Image><Pixels SizeC="{n}" SizeZ="1" SizeT="1" SignificantBits="{bits}"/></Image></OME>'
        options["description"] = ome
    else:
        number = MAX_SAMPLE_VALUE if stated == "MaxSampleValue" else S_MAX_SAMPLE_VALUE
        options["extratags"] = [(number, "H", n, [(1 << bits) - 1] * n if n > 1 else (1 << bits) - 1, True)]
    photometric = "minisblack" if n == 1 else "rgb"
    assert np.array_equal(read_image(written(values, photometric, **options)), as_rgb(drawing))


def test_white_is_zero_is_inverted_within_the_stated_bits():
    drawing = drawn(1)
    content = written(drawing.astype(np.uint16) << 4, "miniswhite", extratags=[(MAX_SAMPLE_VALUE, "H", 1, 4095, True)])
    assert np.array_equal(read_image(content), as_rgb(255 - drawing))


@pytest.mark.parametrize("maximum", [3904, 65535])
def test_the_largest_value_of_the_image_at_hand_states_no_bits(maximum):
    values = drawn(1).astype(np.uint16) << 4
    with pytest.raises(ImageError, match="as cameras with fewer bits do"):
        read_image(written(values, "minisblack", extratags=[(MAX_SAMPLE_VALUE, "H", 1, maximum, True)]))


def test_values_beyond_the_stated_bits_are_refused():
    values = deep(drawn(1), "u2")
    with pytest.raises(ImageError, match="states 12 bits per value, but has values up to"):
        read_image(written(values.astype(np.uint16), "minisblack", extratags=[(MAX_SAMPLE_VALUE, "H", 1, 4095, True)]))


def test_a_white_is_zero_mask_is_read_like_an_image():
    values = np.full((4, 4, 1), 65535, np.uint16)
    values[1, 1] = 65534
    assert read_mask(written(values, "miniswhite")).sum() == 1


# Colours on pages of their own


def pages(order=(0, 1, 2), dtype="u2"):
    return np.moveaxis(deep(drawn(3)[..., list(order)], dtype), -1, 0)


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("compression", [None, "lzw"])
def test_colours_on_pages_of_their_own_are_joined(compression, dtype):
    values = pages(dtype=dtype)
    ome, imagej = io.BytesIO(), io.BytesIO()
    tifffile.imwrite(
        ome, values, ome=True, photometric="minisblack", metadata={"axes": "CYX"}, compression=compression
    )
    tifffile.imwrite(imagej, values, imagej=True, metadata={"axes": "CYX", "mode": "composite"})
    for file in (ome, imagej):
        assert np.array_equal(read_image(file.getvalue()), drawn(3))


def test_pages_of_an_imagej_hyperstack_are_joined():
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for number, page in enumerate(pages()):
            description = "ImageJ=1.54f\nimages=3\nchannels=3\nhyperstack=true\nmode=composite\n"
            writer.write(page, description=None if number else description, metadata=None, photometric="minisblack")
    assert np.array_equal(read_image(file.getvalue()), drawn(3))


@pytest.mark.parametrize("names", [["Blue", "Green", "Red"], ["B", "G", "R"], ["blue channel", "the green", "red"]])
def test_names_of_the_channels_give_their_order(names):
    file = io.BytesIO()
    metadata = {"axes": "CYX", "Channel": {"Name": names}}
    tifffile.imwrite(file, pages((2, 1, 0)), ome=True, photometric="minisblack", metadata=metadata)
    assert np.array_equal(read_image(file.getvalue()), drawn(3))


def test_colours_within_a_page_are_read_as_before():
    for options in ({"ome": True, "metadata": {"axes": "YXS"}}, {"imagej": True}):
        file = io.BytesIO()
        tifffile.imwrite(file, drawn(3), photometric="rgb", **options)
        assert np.array_equal(read_image(file.getvalue()), drawn(3))


@pytest.mark.parametrize(
    ("axes", "shape", "message"),
    [
        ("CYX", (2, 8, 8), "has 2 channels on pages of their own, not 3"),
        ("CYX", (4, 8, 8), "has 4 channels on pages of their own, not 3"),
        ("ZYX", (5, 8, 8), "is a stack of 5 focal planes or time points"),
        ("ZCYX", (5, 3, 8, 8), "is a stack of 5 focal planes or time points"),
        ("TYX", (2, 8, 8), "is a stack of 2 focal planes or time points"),
    ],
)
def test_other_stacks_are_refused(axes, shape, message):
    values = np.full(shape, 60000, np.uint16)
    ome, imagej = io.BytesIO(), io.BytesIO()
    tifffile.imwrite(ome, values, ome=True, photometric="minisblack", metadata={"axes": axes})
    tifffile.imwrite(imagej, values, imagej=True, metadata={"axes": axes})
    for file in (ome, imagej):
        with pytest.raises(ImageError, match=message):
            read_image(file.getvalue())


def test_no_other_file_is_opened_that_the_metadata_name(tmp_path):
    tifffile.imwrite(tmp_path / "other.ome.tif", 65535 - pages(), photometric="minisblack", metadata=None)
    size = 'SizeX="40" SizeY="48" SizeC="3" SizeZ="1" SizeT="1" Type="uint16" DimensionOrder="XYCZT"'
    data = "".join(
        f'<TiffData IFD="{i}" FirstC="{i}"><UUID FileName="other.ome.tif">u</UUID></TiffData>' for i in range(3)
    )
    description = f'<OME xmlns="ome"><Image><Pixels {size}>{data}</Pixels></Image></OME>'
    with tifffile.TiffWriter(tmp_path / "cell.ome.tif") as writer:
        for page in pages():
            writer.write(page, description=description, metadata=None, photometric="minisblack")
    assert np.array_equal(read_image(tmp_path / "cell.ome.tif"), drawn(3))


# What is refused


@pytest.mark.parametrize(
    ("values", "photometric", "options", "message"),
    [
        (np.full((8, 8, 1), 9, np.int32), "minisblack", {}, "has values of type int32. Convert it to uint8"),
        (np.full((8, 8, 1), 9, np.int16), "minisblack", {}, "has values of type int16"),
        (np.full((8, 8, 3), 9, np.uint32), "rgb", {}, "has values of type uint32"),
        (np.full((8, 8, 1), 4095, np.uint16), "minisblack", {}, "only 16-bit values up to 4095.*multiply 12-bit"),
        (np.full((8, 8, 3), 4095, np.uint16), "rgb", {}, "only 16-bit values below 4096"),
        (np.full((8, 8, 3), 255, np.uint16), "rgb", {}, "only 16-bit values below 256"),
        (np.full((8, 8, 3), 200, np.float32), "rgb", {}, r"values from 200 to 200\. Scale them to 0\.\.1"),
        (np.full((8, 8, 3), 0.06, np.float32), "rgb", {}, "only floating-point values up to 0.06"),
        (np.full((8, 8, 1), np.nan, np.float32), "minisblack", {}, "values from nan to nan"),
        (np.full((8, 8, 3), 9, np.uint8), "cielab", {}, "pixels of kind CIELAB. Convert it to RGB"),
        (np.full((8, 8, 3), 9, np.uint8), "rgb", {"compression": "webp"}, "WEBP compression.*Save it with LZW"),
        (np.full((8, 8, 5), 9, np.float32), "rgb", {"extrasamples": [0, 0]}, "5 channels"),
    ],
)
def test_other_kinds_are_refused_by_name(tmp_path, values, photometric, options, message):
    path = tmp_path / "cell.tif"
    path.write_bytes(written(values, photometric, **options))
    with pytest.raises(ImageError, match=rf"cell\.tif .*{message}"):
        read_image(path)


@pytest.mark.parametrize("compression", [None, "lzw", "deflate", "packbits", "zstd"])
@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_truncated_files_are_refused(compression, dtype):
    noise = np.random.default_rng(0).random((64, 64, 3))
    values = (noise * 65535).astype("u2") if dtype == "u2" else noise.astype("f4")
    content = written(values, "rgb", apart=True, compression=compression)
    for share in (0.3, 0.6, 0.95):
        with pytest.raises(ImageError):
            read_image(content[: int(len(content) * share)])


def test_declared_sizes_are_checked_before_decoding():
    content = bytearray(written(np.full((64, 64, 3), 60000, np.uint16), "rgb", apart=True))
    entry = content.index(struct.pack("<HHI", 256, 4, 1))  # ImageWidth
    content[entry + 8 : entry + 12] = struct.pack("<I", 1_000_000)
    with pytest.raises(ImageError, match="1000000 x 64 pixels, more than"):
        read_image(bytes(content))


def test_without_imagecodecs_the_message_says_what_to_install(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "imagecodecs" else find_spec(name))
    content = written(deep(drawn(3), "f4"), "rgb", compression="lzw")
    with pytest.raises(ImageError, match=r'LZW compression, which needs imagecodecs.*pip install "bc_sam\[formats\]"'):
        read_image(content)


def test_libtiff_does_not_write_to_the_terminal(capfd):
    content = bytearray(written(drawn(3), "rgb", compression="lzw"))
    content[-400:] = bytes(400)
    with pytest.raises(ImageError, match="damaged"):
        read_image(bytes(content))
    assert capfd.readouterr() == ("", "")


@pytest.mark.filterwarnings("ignore:Truncated File Read")
def test_tifffile_does_not_write_to_the_terminal(capfd):
    content = bytearray(written(deep(drawn(3), "f4"), "rgb"))
    position = content.index(struct.pack("<HH", 282, 5))  # XResolution
    content[position + 8 : position + 12] = struct.pack("<I", 2**31)
    read_image(bytes(content))
    assert capfd.readouterr() == ("", "")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_files_of_rarer_kinds_are_read_or_refused():
    rng = np.random.default_rng(0)
    for compression, values in itertools.product([None, "lzw", "deflate"], [pages(), pages(dtype="f4")]):
        file = io.BytesIO()
        tifffile.imwrite(file, values, ome=True, metadata={"axes": "CYX"}, compression=compression)
        good = np.frombuffer(file.getvalue(), np.uint8)
        for _ in range(60):
            bad = good.copy()
            places = rng.choice([*range(600), *range(len(bad) - 600, len(bad))], rng.integers(1, 6))
            bad[places] = rng.integers(0, 256, len(places))
            try:
                assert read_image(bad.tobytes(), max_pixels=10_000).mode == "RGB"
            except ImageError:
                continue
