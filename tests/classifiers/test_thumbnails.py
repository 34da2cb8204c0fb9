"""Thumbnails of reference cells contain the cell, round-trip, and are validated before they are displayed."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import save_file

from bc_sam.classifiers.reference_latents import ReferenceLatents
from bc_sam.classifiers.thumbnails import MAX_BYTES, MAX_SIDE, SIDE, draw_thumbnail, load_thumbnails, save_thumbnails
from bc_sam.data.datasets.rendered import LABORATORIES, render_cell
from bc_sam.errors import WeightsError


def drawn(seed=0, size=224):
    image, mask = render_cell("monocyte", LABORATORIES["munich"], np.random.default_rng(seed), size)
    return image, mask


def jpeg(size, kind="JPEG"):
    file = io.BytesIO()
    Image.new("RGB", size).save(file, kind)
    return file.getvalue()


def written(path, thumbnails, **changes):
    """Writes a thumbnail file, optionally with some of its arrays replaced."""
    ends = np.cumsum([len(thumbnail) for thumbnail in thumbnails], dtype=np.int64)
    save_file({"bytes": np.frombuffer(b"".join(thumbnails), np.uint8), "ends": ends} | changes, path)
    return path


@pytest.mark.parametrize("size", [64, 96, 224, 1024])
def test_a_thumbnail_contains_the_central_cell(size):
    image, mask = drawn(size=size)
    picture = Image.open(io.BytesIO(draw_thumbnail(image)))
    assert (picture.format, picture.size) == ("JPEG", (SIDE, SIDE))
    edge = round(size * 2.5 / 14)
    middle = np.asarray(Image.fromarray(image[edge : size - edge, edge : size - edge]).resize((SIDE, SIDE)))
    assert np.abs(np.asarray(picture).astype(int) - middle).mean() < 8
    inside = mask.astype(bool)
    assert inside[edge : size - edge, edge : size - edge].sum() > 0.9 * inside.sum()


def test_a_thumbnail_has_no_metadata():
    picture = Image.open(io.BytesIO(draw_thumbnail(drawn()[0])))
    assert set(picture.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    assert not picture.getexif()


@settings(max_examples=20)
@given(st.lists(st.one_of(st.just(b""), st.integers(0, 3).map(lambda seed: draw_thumbnail(drawn(seed, 64)[0])))))
def test_saving_and_loading_round_trips_including_empty_ones(tmp_path_factory, thumbnails):
    path = tmp_path_factory.mktemp("pictures") / "thumbnails.safetensors"
    save_thumbnails(thumbnails, path)
    assert load_thumbnails(path, len(thumbnails)) == tuple(thumbnails)


def test_even_pure_noise_is_within_the_size_limit():
    noise = np.random.default_rng(0).integers(0, 256, (75, 75, 3), dtype=np.uint8)
    assert len(draw_thumbnail(noise)) < MAX_BYTES / 2


@pytest.mark.parametrize(
    "content",
    [
        jpeg((MAX_SIDE + 1, 8)),
        jpeg((2000, 1)),
        jpeg((8, 8), "PNG"),
        jpeg((8, 8), "GIF"),
        jpeg((48, 48))[:300],
        b"\xff\xd8",
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
    ],
    ids=["large", "wide", "png", "gif", "cut off", "empty", "script"],
)
def test_anything_but_a_small_jpeg_is_refused_by_row(tmp_path, content):
    pictures = load_thumbnails(written(tmp_path / "thumbnails.safetensors", [jpeg((48, 48)), content, b""]), 3)
    stored = ReferenceLatents(np.zeros((3, 2)), np.zeros(3), np.zeros(3), thumbnails=pictures)
    assert stored.thumbnail(0) == jpeg((48, 48))
    assert stored.thumbnail(2) == b""
    with pytest.raises(WeightsError, match=r"thumbnail of reference cell 1 is not a JPEG"):
        stored.thumbnail(1)
    with pytest.raises(WeightsError, match=r"thumbnail of reference cell 1 is not a JPEG"):
        stored.joined(stored)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ends": np.array([5, 3], np.int64)}, "invalid thumbnail offsets"),
        ({"ends": np.array([-5, 3], np.int64)}, "invalid thumbnail offsets"),
        ({"ends": np.array([2**63 - 1, -(2**63)], np.int64)}, "invalid thumbnail offsets"),
        ({"ends": np.array([0, MAX_BYTES + 1], np.int64)}, "invalid thumbnail offsets"),
        ({"ends": np.array([0, 10], np.float64)}, "invalid thumbnail offsets"),
        ({"ends": np.zeros(3, np.int64)}, "does not fit"),
        ({"bytes": np.zeros(2 * MAX_BYTES + 1, np.uint8)}, "does not fit"),
        ({"bytes": np.zeros(0, np.int8), "ends": np.zeros(2, np.int64)}, "invalid thumbnail offsets"),
        ({"bytes": np.zeros((2, 2), np.uint8)}, "damaged"),
    ],
)
def test_an_inconsistent_file_is_refused(tmp_path, changes, words):
    path = written(tmp_path / "thumbnails.safetensors", [jpeg((48, 48))] * 2, **changes)
    with pytest.raises(WeightsError, match=words):
        load_thumbnails(path, 2)


@pytest.mark.parametrize("content", [b"", b"\xff" * 100])
def test_a_damaged_file_is_refused(tmp_path, content):
    (tmp_path / "thumbnails.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match="damaged"):
        load_thumbnails(tmp_path / "thumbnails.safetensors", 2)


def test_a_file_with_a_missing_array_is_refused(tmp_path):
    save_file({"bytes": np.zeros(1, np.uint8)}, tmp_path / "thumbnails.safetensors")
    with pytest.raises(WeightsError, match="damaged"):
        load_thumbnails(tmp_path / "thumbnails.safetensors", 2)
