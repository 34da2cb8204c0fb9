"""Folds are a stratified partition that keeps slides and copies together; fingerprints identify copies."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from bc_sam.data import load_acevedo20, load_matek19
from bc_sam.data.images import read_image, to_square
from bc_sam.data.splits import assign_folds, find_copies, fingerprint
from bc_sam.errors import DataError


def plain_fingerprint(level):
    """Fingerprint of a uniform grey image; levels that differ by 2 or more are not copies."""
    return fingerprint(np.full((32, 32, 3), level, dtype=np.uint8))


FINGERPRINTS = [plain_fingerprint(2 * i) for i in range(128)]


def cell(seed=0, size=96):
    """A smooth random image without symmetries."""
    noise = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC)


@st.composite
def cells(draw):
    """Labels, groups and fingerprints of 10 to 60 images, some of them unlabelled, ungrouped or copies."""
    n = draw(st.integers(10, 60))
    labels = draw(st.lists(st.none() | st.integers(0, 4), min_size=n, max_size=n))
    groups = draw(st.lists(st.none() | st.sampled_from("abcdefgh"), min_size=n, max_size=n))
    prints = draw(st.lists(st.sampled_from(FINGERPRINTS), min_size=n, max_size=n))
    return labels, groups, prints


def count_units(groups, prints):
    """Counts the independent groups of images by repeated relabelling."""
    units = list(range(len(groups)))
    for keys in (groups, prints) * len(groups):
        for key in set(keys) - {None}:
            members = [i for i, other in enumerate(keys) if other == key]
            linked = {units[i] for i in members}
            units = [min(linked) if unit in linked else unit for unit in units]
    return len(set(units))


@given(cells(), st.integers(2, 5), st.integers(0, 9))
@settings(max_examples=100)
@pytest.mark.filterwarnings("error")
def test_folds_are_a_partition_that_keeps_slides_and_copies_together(images, n_folds, seed):
    labels, groups, prints = images
    assume(count_units(groups, prints) >= n_folds)
    folds = assign_folds(labels, groups, prints, n_folds, seed)
    assert folds.dtype == np.int64
    assert set(folds) == set(range(n_folds))
    for keys in (groups, prints):
        for key in set(keys) - {None}:
            assert len({fold for fold, other in zip(folds, keys, strict=True) if other == key}) == 1
    assert np.array_equal(folds, assign_folds(labels, groups, prints, n_folds, seed))


@given(st.lists(st.none() | st.integers(0, 5), min_size=5, max_size=len(FINGERPRINTS)), st.integers(2, 5))
@settings(max_examples=50)
def test_independent_images_are_stratified_to_within_one(labels, n_folds):
    folds = assign_folds(labels, [None] * len(labels), FINGERPRINTS[: len(labels)], n_folds)
    sizes = [labels.count(label) for label in set(labels)]
    if max(sizes) < n_folds:
        assert np.ptp(np.bincount(folds)) <= 1
        return
    for label in set(labels):
        counts = np.bincount(folds[[other == label for other in labels]], minlength=n_folds)
        assert np.ptp(counts) <= 1


def test_folds_depend_on_the_seed():
    arguments = ([0] * 100, [None] * 100, FINGERPRINTS[:100])
    assert not np.array_equal(assign_folds(*arguments, seed=1), assign_folds(*arguments, seed=2))


def test_copies_link_their_slides():
    prints = [*FINGERPRINTS[:5], FINGERPRINTS[0]]
    folds = assign_folds([0] * 6, ["a", "a", "b", "c", None, "b"], prints, n_folds=3)
    assert len(set(folds[[0, 1, 2, 5]])) == 1


def test_one_huge_slide_leaves_no_fold_empty():
    labels, groups = [1] * 3 + [0] * 17, ["a"] * 2 + ["b"] + ["c"] * 15 + ["d"] * 2
    assert set(assign_folds(labels, groups, FINGERPRINTS[:20], n_folds=4)) == {0, 1, 2, 3}


def test_too_few_slides_are_rejected():
    with pytest.raises(DataError, match=r"6 images form 2 independent groups .* too few for 3 folds"):
        assign_folds([0] * 6, list("aaabbb"), FINGERPRINTS[:6], n_folds=3)


@pytest.mark.parametrize(
    ("groups", "prints", "n_folds", "message"),
    [
        ([None], FINGERPRINTS[:2], 2, "must have the same length"),
        ([None] * 2, FINGERPRINTS[:2], 1, "at least 2"),
        ([None] * 2, ["one", "two"], 2, "Invalid fingerprints"),
        ([None] * 2, ["00", "01"], 2, "Invalid fingerprints"),
    ],
)
def test_invalid_arguments_are_rejected(groups, prints, n_folds, message):
    with pytest.raises(DataError, match=message):
        assign_folds([0, 0], groups, prints, n_folds)


def are_copies(first, second, size=96):
    """Whether two images, resized as in the pipeline, are recognized as copies."""
    return len(find_copies([fingerprint(to_square(image, size)) for image in (first, second)])) == 1


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_flips_and_rotations_by_90_degrees_are_copies_at_any_size(seed):
    image = cell(seed, size=101)
    for turned in [image.transpose(method) for method in Image.Transpose]:
        assert are_copies(image, turned, size=101)
        assert are_copies(image, turned, size=64)


@given(st.integers(0, 100), st.integers(0, 100))
@settings(max_examples=50)
def test_different_images_are_not_copies(first, second):
    assert are_copies(cell(first), cell(second)) == (first == second)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((32, 33, 3), dtype=np.uint8),
        np.zeros((16, 16, 3), dtype=np.uint8),
        np.zeros((32, 32), dtype=np.uint8),
        np.zeros((32, 32, 3)),
    ],
    ids=["oblong", "small", "grey", "float"],
)
def test_a_fingerprint_needs_a_square_uint8_image(pixels):
    with pytest.raises(DataError, match="A fingerprint needs uint8"):
        fingerprint(pixels)


def test_real_cells_rotated_by_any_angle_are_copies(real_data):
    images = [read_image(image) for image in load_matek19(real_data / "matek19")["image"][::16]]
    for i, image in enumerate(images):
        assert are_copies(image, image.rotate(23 * i + 1, Image.Resampling.BICUBIC), size=224)


def test_different_real_cells_are_not_copies(real_data):
    images = load_acevedo20(real_data / "acevedo20")["image"][::5]
    assert len(find_copies([fingerprint(to_square(read_image(image), 224)) for image in images])) == 0
