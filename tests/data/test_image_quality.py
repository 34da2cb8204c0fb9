"""Blank and blurred images and hidden copies are found; cells as laboratories deliver them are not."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter

from bc_sam.config.labels import LABELS
from bc_sam.data import image_quality as quality
from bc_sam.data import load_cells
from bc_sam.data.datasets.rendered import LABORATORIES, render_cell
from bc_sam.data.image_quality import find_lookalikes, measure_quality
from bc_sam.data.store import store_cells

SIZE = 224


def look(images):
    return measure_quality(np.stack(list(images)), quiet=True)


def blur(image, radius):
    return gaussian_filter(image.astype(np.float32), (radius, radius, 0)).round().astype(np.uint8)


def noise(image, deviation):
    drawn = np.random.default_rng(0).normal(0, deviation, image.shape)
    return np.clip(image + drawn, 0, 255).astype(np.uint8)


def compress(image, quality, scale):
    file = io.BytesIO()
    Image.fromarray(image).resize((int(SIZE * scale),) * 2).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file).resize((SIZE, SIZE)))


def stain_anew(image):
    return (255 * (image / 255) ** 1.4 * [0.9, 1, 0.95]).astype(np.uint8)


@pytest.fixture(scope="module")
def cells():
    """Two cells of each class from each of three laboratories, (78, S, S, 3), and the laboratory of each."""
    of_each = 2 * len(LABELS)
    images = [
        render_cell(LABELS[i % len(LABELS)], laboratory, np.random.default_rng([number, i]), SIZE)[0]
        for number, laboratory in enumerate(LABORATORIES.values())
        for i in range(of_each)
    ]
    return np.stack(images), np.repeat(range(len(LABORATORIES)), of_each)


class TestBlank:
    @given(st.integers(0, 255), st.floats(0, 5))
    def test_a_field_of_one_colour_is_blank_whatever_the_camera_adds(self, level, deviation):
        assert look([noise(np.full((64, 64, 3), level, np.uint8), deviation)]).blank.tolist() == [True]

    def test_a_blank_image_is_not_called_blurred_too(self):
        quality = look([np.full((64, 64, 3), 255, np.uint8)])
        assert quality.blurred(np.array([0])).tolist() == [False]
        assert np.isfinite(quality.sharpness).all()

    def test_no_cell_is(self, cells):
        assert not look(cells[0]).blank.any()

    def test_a_pale_cell_is_not(self, cells):
        assert not look([255 - (255 - cells[0][0]) // 3]).blank.any()


class TestBlurred:
    def test_no_rendered_cell_is(self, cells):
        images, laboratories = cells
        assert not look(images).blurred(laboratories).any()

    @pytest.mark.parametrize("spoil", [lambda i: i, lambda i: noise(i, 2), lambda i: compress(i, 75, 1)])
    def test_a_cell_out_of_focus_is_whatever_came_after(self, cells, spoil):
        images, laboratories = cells
        every_third = slice(None, None, 3)
        spoilt = images.copy()
        spoilt[every_third] = [spoil(blur(image, 4)) for image in images[every_third]]
        found = look(spoilt).blurred(laboratories)
        assert found[every_third].all()
        assert found.sum() == len(images[every_third])

    def test_contrast_and_light_do_not_matter(self, cells):
        image = cells[0][0]
        sharpness = look([image, 127 + image // 2, image // 2]).sharpness
        assert sharpness == pytest.approx(sharpness[0], abs=0.15)

    def test_a_laboratory_that_is_out_of_focus_as_a_whole_is_told_too(self, cells):
        images = [blur(image, 4) for image in cells[0][:6]]
        assert look(images).blurred(np.zeros(6, int)).all()


class TestLookalikes:
    @pytest.mark.parametrize(
        "disguise",
        [
            stain_anew,
            lambda image: compress(image, 20, 0.6),
            lambda image: np.roll(image, 2, axis=1),
            lambda image: stain_anew(np.rot90(compress(image, 30, 0.8))[:, ::-1]),
        ],
    )
    def test_a_copy_in_disguise_is_found(self, cells, disguise):
        images = np.concatenate([cells[0], [disguise(cells[0][30])]])
        assert find_lookalikes(look(images).thumbnails, np.arange(len(images))) == [(30, len(images) - 1)]

    def test_images_of_one_unit_are_not_compared(self, cells):
        thumbnails = look([cells[0][0]] * 3).thumbnails
        assert find_lookalikes(thumbnails, np.zeros(3)) == []
        assert find_lookalikes(thumbnails, np.array([0, 0, 1])) == [(0, 2), (1, 2)]

    def test_blank_images_look_like_nothing(self):
        images = [np.full((64, 64, 3), 200, np.uint8)] * 2
        assert find_lookalikes(look(images).thumbnails, np.arange(2)) == []

    def test_of_very_many_images_only_some_are_compared(self, cells, monkeypatch):
        monkeypatch.setattr(quality, "_COMPARED", 4)
        thumbnails = np.repeat(look(cells[0][:8]).thumbnails, 2, axis=0)
        thumbnails[15] = thumbnails[0]
        assert find_lookalikes(thumbnails, np.arange(16)) == [(0, 15)]

    def test_many_images_are_compared_across_the_parts_that_they_are_dealt_with_in(self, cells):
        thumbnails = np.repeat(look([cells[0][0], cells[0][9]]).thumbnails, 150, axis=0)
        units = np.full(300, 1)
        units[[0, 299]] = 2, 3
        assert find_lookalikes(thumbnails, units) == [(0, row) for row in range(1, 150)] + [
            (row, 299) for row in range(150, 299)
        ]


def test_real_cells_are_neither_blank_nor_alike_and_few_are_out_of_focus(real_data, tmp_path):
    sources = {"matek19": "matek19/AML-Cytomorphology", "ours": "new_hospital"}
    pattern = {"neutrophil": "neutrophil_segmented", "lymphocyte": "lymphocyte_typical"}
    datasets = [
        load_cells(f"{name}={real_data / folder}", label_map=pattern if name == "ours" else None)
        for name, folder in sources.items()
    ]
    cells = store_cells(datasets, tmp_path, SIZE)
    quality = measure_quality(cells.pixels, quiet=True)
    assert not quality.blank.any()
    assert find_lookalikes(quality.thumbnails, np.arange(len(cells))) == []
    blurred = quality.blurred(cells.domains)
    assert "MYO/MYO_1844.tiff" in np.array(cells.table.files)[blurred]  # one can see it
    assert not blurred[cells.domains == 1].any()
    assert blurred.mean() < 0.05
