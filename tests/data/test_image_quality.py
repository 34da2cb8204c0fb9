"""Blank images, out-of-focus images and near-duplicates are found; regular cells are not flagged."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter

from bc_sam.config.labels import LABELS
from bc_sam.data import image_quality, load_cells
from bc_sam.data.datasets.rendered import LABORATORIES, render_cell
from bc_sam.data.image_quality import find_near_duplicates, measure_quality
from bc_sam.data.store import store_cells

SIZE = 224


def measure(images):
    return measure_quality(np.stack(list(images)), quiet=True)


def blur(image, radius):
    return gaussian_filter(image.astype(np.float32), (radius, radius, 0)).round().astype(np.uint8)


def add_noise(image, deviation):
    noise = np.random.default_rng(0).normal(0, deviation, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def compress(image, quality, scale):
    file = io.BytesIO()
    Image.fromarray(image).resize((int(SIZE * scale),) * 2).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file).resize((SIZE, SIZE)))


def restain(image):
    return (255 * (image / 255) ** 1.4 * [0.9, 1, 0.95]).astype(np.uint8)


@pytest.fixture(scope="module")
def cells():
    """Two cells of each class from each of three laboratories, (78, S, S, 3), and the laboratory of each."""
    per_laboratory = 2 * len(LABELS)
    images = [
        render_cell(LABELS[i % len(LABELS)], laboratory, np.random.default_rng([number, i]), SIZE)[0]
        for number, laboratory in enumerate(LABORATORIES.values())
        for i in range(per_laboratory)
    ]
    return np.stack(images), np.repeat(range(len(LABORATORIES)), per_laboratory)


class TestBlank:
    @given(st.integers(0, 255), st.floats(0, 5))
    def test_a_uniform_image_with_camera_noise_is_blank(self, level, deviation):
        assert measure([add_noise(np.full((64, 64, 3), level, np.uint8), deviation)]).blank.tolist() == [True]

    def test_a_blank_image_is_not_also_blurred(self):
        quality = measure([np.full((64, 64, 3), 255, np.uint8)])
        assert quality.blurred(np.array([0])).tolist() == [False]
        assert np.isfinite(quality.sharpness).all()

    def test_rendered_cells_are_not_blank(self, cells):
        assert not measure(cells[0]).blank.any()

    def test_a_pale_cell_is_not_blank(self, cells):
        assert not measure([255 - (255 - cells[0][0]) // 3]).blank.any()


class TestBlurred:
    def test_rendered_cells_are_not_blurred(self, cells):
        images, laboratories = cells
        assert not measure(images).blurred(laboratories).any()

    @pytest.mark.parametrize("degrade", [lambda i: i, lambda i: add_noise(i, 2), lambda i: compress(i, 75, 1)])
    def test_out_of_focus_cells_are_found_despite_noise_or_compression(self, cells, degrade):
        images, laboratories = cells
        every_third = slice(None, None, 3)
        degraded = images.copy()
        degraded[every_third] = [degrade(blur(image, 4)) for image in images[every_third]]
        found = measure(degraded).blurred(laboratories)
        assert found[every_third].all()
        assert found.sum() == len(images[every_third])

    def test_sharpness_is_independent_of_contrast_and_brightness(self, cells):
        image = cells[0][0]
        sharpness = measure([image, 127 + image // 2, image // 2]).sharpness
        assert sharpness == pytest.approx(sharpness[0], abs=0.15)

    def test_an_entirely_out_of_focus_laboratory_is_found(self, cells):
        images = [blur(image, 4) for image in cells[0][:6]]
        assert measure(images).blurred(np.zeros(6, int)).all()


class TestNearDuplicates:
    @pytest.mark.parametrize(
        "disguise",
        [
            restain,
            lambda image: compress(image, 20, 0.6),
            lambda image: np.roll(image, 2, axis=1),
            lambda image: restain(np.rot90(compress(image, 30, 0.8))[:, ::-1]),
        ],
    )
    def test_a_disguised_copy_is_found(self, cells, disguise):
        images = np.concatenate([cells[0], [disguise(cells[0][30])]])
        assert find_near_duplicates(measure(images).thumbnails, np.arange(len(images))) == [(30, len(images) - 1)]

    def test_images_of_one_unit_are_not_compared(self, cells):
        thumbnails = measure([cells[0][0]] * 3).thumbnails
        assert find_near_duplicates(thumbnails, np.zeros(3)) == []
        assert find_near_duplicates(thumbnails, np.array([0, 0, 1])) == [(0, 2), (1, 2)]

    def test_blank_images_are_not_near_duplicates(self):
        images = [np.full((64, 64, 3), 200, np.uint8)] * 2
        assert find_near_duplicates(measure(images).thumbnails, np.arange(2)) == []

    def test_above_the_limit_only_a_subset_is_compared(self, cells, monkeypatch):
        monkeypatch.setattr(image_quality, "_MAX_COMPARED", 4)
        thumbnails = np.repeat(measure(cells[0][:8]).thumbnails, 2, axis=0)
        thumbnails[15] = thumbnails[0]
        assert find_near_duplicates(thumbnails, np.arange(16)) == [(0, 15)]

    def test_images_are_compared_across_blocks(self, cells):
        thumbnails = np.repeat(measure([cells[0][0], cells[0][9]]).thumbnails, 150, axis=0)
        units = np.full(300, 1)
        units[[0, 299]] = 2, 3
        assert find_near_duplicates(thumbnails, units) == [(0, row) for row in range(1, 150)] + [
            (row, 299) for row in range(150, 299)
        ]


def test_real_cells_are_neither_blank_nor_near_duplicates_and_few_are_out_of_focus(real_data, tmp_path):
    sources = {"matek19": "matek19/AML-Cytomorphology", "ours": "new_hospital"}
    label_map = {"neutrophil": "neutrophil_segmented", "lymphocyte": "lymphocyte_typical"}
    datasets = [
        load_cells(f"{name}={real_data / folder}", label_map=label_map if name == "ours" else None)
        for name, folder in sources.items()
    ]
    cells = store_cells(datasets, tmp_path, SIZE)
    quality = measure_quality(cells.pixels, quiet=True)
    assert not quality.blank.any()
    assert find_near_duplicates(quality.thumbnails, np.arange(len(cells))) == []
    blurred = quality.blurred(cells.domains)
    assert "MYO/MYO_1844.tiff" in np.array(cells.table.files)[blurred]  # visibly out of focus
    assert not blurred[cells.domains == 1].any()
    assert blurred.mean() < 0.05
