"""Any supported image becomes 8-bit RGB; everything else raises `ImageError`."""

import contextlib
import io
import os
import struct
import zlib

import numpy as np
import PIL
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from bc_sam.data.images import IMAGE_SUFFIXES, find_images, read_image, read_mask, to_square
from bc_sam.errors import DataError, ImageError

MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16")
PURPLE = (120, 40, 160)


def encode(image, fmt="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, fmt, **options)
    return stream.getvalue()


def png_header(width, height):
    """A valid PNG header that declares a size, without pixel data."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    header = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return b"\x89PNG\r\n\x1a\n" + header + struct.pack(">I", 100) + b"IDAT"


@pytest.fixture
def photo():
    """Smooth colours, which JPEG preserves."""
    rows, columns = np.mgrid[:40, :30]
    return Image.fromarray(np.stack([rows * 5, columns * 6, 255 - rows * 3], axis=2).astype(np.uint8))


@pytest.mark.parametrize(
    ("fmt", "options", "tolerance"),
    [
        ("PNG", {}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_adobe_deflate"}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("BMP", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("JPEG", {"quality": 95}, 8),
    ],
)
def test_every_format_gives_the_same_pixels(photo, fmt, options, tolerance):
    read = read_image(encode(photo, fmt, **options))
    assert read.mode == "RGB"
    assert np.abs(np.asarray(read, dtype=int) - np.asarray(photo)).max() <= tolerance


def test_every_source_type_gives_the_same_pixels(tmp_path, photo):
    path = tmp_path / "cell.png"
    photo.save(path)
    data = path.read_bytes()
    sources = [path, str(path), data, {"bytes": data, "path": None}, {"bytes": None, "path": str(path)}]
    for source in [*sources, photo, np.asarray(photo), np.asarray(photo) / 255]:
        assert np.array_equal(read_image(source), photo)


def test_the_callers_image_stays_open_and_unchanged(tmp_path, photo):
    photo.save(tmp_path / "cell.tiff")
    with Image.open(tmp_path / "cell.tiff") as image:
        read_image(image)
        assert np.array_equal(image, photo)


def test_a_large_jpeg_is_never_read_in_pillows_draft_mode(photo):
    content = encode(photo.resize((1600, 1280)), "JPEG")
    expected = np.asarray(Image.open(io.BytesIO(content)))
    for source in (content, Image.open(io.BytesIO(content))):
        assert np.array_equal(read_image(source), expected)
        assert np.array_equal(to_square(read_image(source), 64), to_square(Image.fromarray(expected), 64))


def test_alpha_is_dropped_and_transparent_black_becomes_white():
    image = Image.new("RGBA", (3, 1), (*PURPLE, 255))
    image.putpixel((1, 0), (*PURPLE, 0))
    image.putpixel((2, 0), (0, 0, 0, 0))
    expected = [[PURPLE, PURPLE, (255, 255, 255)]]
    assert np.asarray(read_image(image)).tolist() == np.array(expected).tolist()
    assert np.array_equal(read_image(encode(image, "TIFF")), np.array(expected, dtype=np.uint8))
    assert np.array_equal(read_image(np.asarray(image)), np.array(expected, dtype=np.uint8))


def test_opaque_black_stays_black():
    assert not np.asarray(read_image(Image.new("RGBA", (2, 2), (0, 0, 0, 255)))).any()


def test_sixteen_bits_are_scaled_by_the_full_range():
    values = np.array([[0, 255, 256, 32768, 65535]], dtype=np.uint16)
    for source in (values, encode(Image.fromarray(values)), encode(Image.fromarray(values), "TIFF")):
        assert np.asarray(read_image(source))[0, :, 0].tolist() == [0, 0, 1, 128, 255]


def test_floats_are_scaled_by_255():
    assert np.asarray(read_image(np.array([[0.0, 0.5, 1.0]])))[0, :, 1].tolist() == [0, 128, 255]


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 3), (4, 5, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_arrays_of_every_supported_shape_and_type_are_read(shape, dtype):
    assert read_image(np.zeros(shape, dtype=dtype)).size == (5, 4)


def test_palette_bilevel_and_cmyk_keep_their_colours():
    flat = Image.new("RGB", (8, 8), PURPLE)
    for image in (flat.convert("P", palette=Image.Palette.ADAPTIVE), flat.convert("CMYK")):
        assert read_image(image).getpixel((0, 0)) == PURPLE
    assert read_image(Image.new("1", (8, 8), 1)).getpixel((0, 0)) == (255, 255, 255)


def test_exif_orientation_is_applied(photo):
    exif = Image.Exif()
    exif[0x0112] = 6
    assert read_image(encode(photo, "JPEG", exif=exif)).size == (photo.height, photo.width)


@pytest.mark.parametrize("fmt", ["TIFF", "GIF", "WEBP", "PNG"])
def test_only_the_first_page_or_frame_is_read(fmt):
    pages = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = encode(pages[0], fmt, save_all=True, append_images=pages[1:])
    red, _, blue = read_image(data).getpixel((4, 4))
    assert red > 250
    assert blue < 5


def test_the_file_suffix_is_ignored(tmp_path, photo):
    path = tmp_path / "cell.jpg"
    path.write_bytes(encode(photo, "PNG"))
    assert read_image(path).size == photo.size


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"MZ\x90\x00 an executable",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.7",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    ],
)
def test_other_files_are_rejected_with_their_name_and_the_remedy(tmp_path, content):
    path = tmp_path / "virus.png"
    path.write_bytes(content)
    with pytest.raises(
        ImageError, match=r"virus\.png is not an image of a known format\. Convert it to one of BMP, GIF, JPEG"
    ):
        read_image(path)


@pytest.mark.parametrize("fmt", ["PNG", "JPEG", "TIFF", "BMP", "WEBP"])
def test_truncated_files_are_rejected(tmp_path, fmt):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / "half.img"
    data = encode(Image.fromarray(noise), fmt)
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ImageError, match=r"half\.img"):
        read_image(path)


def test_a_decompression_bomb_is_rejected_by_its_header():
    with pytest.raises(ImageError, match=r"30000 x 2000 pixels, more than 50000000\. Crop"):
        read_image(png_header(30_000, 2_000))
    with pytest.raises(ImageError, match="too many pixels"):
        read_image(png_header(2**30, 2**30))


def test_the_size_limit_can_be_set(photo):
    with pytest.raises(ImageError, match="30 x 40 pixels, more than 1199"):
        read_image(photo, max_pixels=1199)
    with pytest.raises(ImageError, match="more than 1199"):
        read_image(np.asarray(photo), max_pixels=1199)
    assert read_image(photo, max_pixels=1200).size == (30, 40)


def test_missing_files_folders_and_devices_are_rejected(tmp_path):
    with pytest.raises(ImageError, match=r"gone\.png does not exist"):
        read_image(tmp_path / "gone.png")
    with pytest.raises(ImageError, match="is a folder or a device"):
        read_image(tmp_path)
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match=r"pipe\.png is a folder or a device"):
        read_image(tmp_path / "pipe.png")


def test_missing_permissions_are_reported(tmp_path, photo, monkeypatch):
    path = tmp_path / "locked.png"
    photo.save(path)

    def refuse(*args, **kwargs):
        raise PermissionError

    monkeypatch.setattr(Image, "open", refuse)  # the tests may run as root, which can read everything
    with pytest.raises(ImageError, match=r"locked\.png cannot be read: permission denied\. Change its permissions"):
        read_image(path)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4), dtype=np.int64),
        np.zeros((4, 4), dtype=bool),
        np.full((4, 4), np.nan),
        np.full((4, 4), 1.5),
        np.full((4, 4), -0.1),
        np.zeros((4, 4, 2), dtype=np.uint8),
        np.zeros((2, 4, 4, 3), dtype=np.uint8),
        np.zeros(4, dtype=np.uint8),
        np.zeros((0, 4, 3), dtype=np.uint8),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_invalid_arrays_are_rejected_with_their_shape(array):
    with pytest.raises(ImageError, match=r"The array of shape \("):
        read_image(array)


@pytest.mark.parametrize("source", [None, 3, [1, 2], {}, {"bytes": None, "path": None}])
def test_other_objects_are_rejected(source):
    with pytest.raises(ImageError):
        read_image(source)


@given(st.sampled_from(MODES), st.integers(1, 24), st.integers(1, 24), st.sampled_from(("PNG", "TIFF", "JPEG")))
@settings(max_examples=80)
def test_every_mode_size_and_format_reads_as_rgb(mode, width, height, fmt):
    # Pillow 12 writes TIFF files of this mode that no Pillow can read.
    assume((mode, fmt) != ("YCbCr", "TIFF") or int(PIL.__version__.split(".")[0]) >= 13)
    image = Image.new(mode, (width, height))
    try:
        source = encode(image, fmt)
    except OSError:  # the format does not support this mode
        source = image
    read = read_image(source)
    assert (read.mode, read.size) == ("RGB", (width, height))


@given(st.data())
@settings(max_examples=150)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_bytes_give_rgb_or_an_image_error(data):
    fmt = data.draw(st.sampled_from(("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF")))
    content = bytearray(encode(Image.linear_gradient("L").resize((9, 7)), fmt))
    for _ in range(data.draw(st.integers(0, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = bytes(content[: data.draw(st.integers(0, len(content)))])
    with contextlib.suppress(ImageError):
        assert read_image(content, max_pixels=10_000).mode == "RGB"


@given(st.binary(max_size=200))
def test_random_bytes_are_rejected(content):
    with pytest.raises(ImageError):
        read_image(content)


def test_to_square_ignores_the_aspect_ratio_and_antialiases():
    stripes = np.tile(np.array([0, 255], dtype=np.uint8), (90, 60))
    square = to_square(read_image(stripes), 30)
    assert square.shape == (30, 30, 3)
    assert square.dtype == np.uint8
    assert np.abs(square[:, 2:-2].astype(int) - 127).max() < 15


@pytest.mark.parametrize("values", [[0, 1, 2], [0, 2, 2], [0, 1, 1]])
def test_mask_values_up_to_two_are_kept(values):
    mask = np.array([values], dtype=np.uint8)
    assert np.array_equal(read_mask(encode(Image.fromarray(mask))), mask)


@pytest.mark.parametrize("values", [[0, 255, 255], [0, 7, 200]])
def test_other_nonzero_mask_values_become_one(values):
    mask = np.array([values], dtype=np.uint8)
    for source in (mask, mask.astype(np.int64), Image.fromarray(mask), encode(Image.fromarray(mask), "TIFF")):
        assert read_mask(source).tolist() == [[0, 1, 1]]


def test_bilevel_colour_alpha_and_palette_masks_are_read():
    blue = Image.new("RGB", (2, 1), (0, 0, 9))
    blue.putpixel((0, 0), (0, 0, 0))
    palette = Image.new("P", (3, 1))
    palette.putdata([0, 1, 2])
    palette.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    assert read_mask(blue).tolist() == [[0, 1]]
    assert read_mask(blue.convert("RGBA")).tolist() == [[0, 1]]
    assert read_mask(blue.convert("L").convert("LA")).tolist() == [[0, 1]]
    assert read_mask(Image.new("1", (1, 1), 1)).tolist() == [[1]]
    assert read_mask(np.array([[False, True]])).tolist() == [[0, 1]]
    assert read_mask(encode(palette)).tolist() == [[0, 1, 2]]


@given(arrays(np.uint8, (7, 9), elements=st.sampled_from((0, 2))), st.integers(1, 20))
def test_resizing_a_mask_introduces_no_new_values(mask, size):
    resized = read_mask(mask, size)
    assert resized.shape == (size, size)
    assert set(np.unique(resized)) <= set(np.unique(mask))


@pytest.mark.parametrize("mask", [np.full((2, 2), np.nan), np.zeros(3), np.array([["a"]])])
def test_invalid_masks_are_rejected(mask):
    with pytest.raises(ImageError, match="The array of shape"):
        read_mask(mask)


def test_find_images_sorts_and_skips_hidden_files(tmp_path):
    kept = [tmp_path / "a" / f"cell_{i:02d}{suffix.upper()}" for i, suffix in enumerate(IMAGE_SUFFIXES)]
    ignored = [tmp_path / ".x.png", tmp_path / ".git" / "x.png", tmp_path / "__MACOSX" / "x.png", tmp_path / "x.csv"]
    for path in [*reversed(kept), *ignored]:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert find_images(tmp_path) == kept


def test_find_images_needs_a_folder(tmp_path):
    with pytest.raises(DataError, match="is not a folder"):
        find_images(tmp_path / "gone")
