"""Rendered cells: distinct classes, exact masks, different laboratories, and reproducible pixels."""

import csv
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from scipy.spatial import ConvexHull
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import cross_val_score

from bc_sam.config.labels import LABELS
from bc_sam.data.cells import FEATURES
from bc_sam.data.datasets.acevedo import ACEVEDO20_CODES
from bc_sam.data.datasets.image_folder import load_folder
from bc_sam.data.datasets.matek import MATEK19_CODES
from bc_sam.data.datasets.rendered import ANYWHERE, LABORATORIES, SLIDES, load_rendered, render_cell, write_rendered
from bc_sam.data.rendering.cell_types import CELL_TYPES
from bc_sam.data.rendering.laboratory import any_laboratory
from bc_sam.errors import ConfigError, DataError

labels = st.sampled_from(LABELS)
laboratories = st.sampled_from(sorted(LABORATORIES))
seeds = st.integers(0, 2**32 - 1)


def render(label: str, laboratory: str = "munich", seed: int = 0, size: int = 224) -> tuple[np.ndarray, np.ndarray]:
    return render_cell(label, LABORATORIES[laboratory], np.random.default_rng(seed), size)


def background(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Colour of the empty slide: the 90th percentile outside the cell."""
    return np.percentile(image[mask == 0], 90, axis=0)


def solidity(region: np.ndarray) -> float:
    """Ratio of the area to that of the convex hull: 1 for an oval, less for a horseshoe."""
    return region.sum() / ConvexHull(np.argwhere(region)).volume


def lobes(nucleus: np.ndarray) -> int:
    """Number of components of a nucleus eroded to 0.6 of its maximum depth."""
    depth = ndimage.distance_transform_edt(nucleus)
    return ndimage.label(depth > 0.6 * depth.max())[1]


@cache
def mean_over_cells(measure: Callable[[np.ndarray], float], label: str) -> float:
    return float(np.mean([measure(render(label, seed=seed)[1]) for seed in range(15)]))


def cell_area(mask: np.ndarray) -> float:
    return np.count_nonzero(mask)


def nucleus_share(mask: np.ndarray) -> float:
    return np.count_nonzero(mask == 2) / np.count_nonzero(mask)


def nucleus_solidity(mask: np.ndarray) -> float:
    return solidity(mask == 2)


def nucleus_lobes(mask: np.ndarray) -> float:
    return lobes(mask == 2)


class TestOneCell:
    def test_every_class_has_a_cell_type(self):
        assert set(CELL_TYPES) == set(LABELS)

    @pytest.mark.parametrize("laboratory", LABORATORIES)
    @pytest.mark.parametrize("label", LABELS)
    def test_equal_generators_give_equal_pixels(self, label, laboratory):
        image, mask = render(label, laboratory, seed=3)
        again, mask_again = render(label, laboratory, seed=3)
        other, _ = render(label, laboratory, seed=4)
        assert image.shape == (224, 224, 3)
        assert image.dtype == mask.dtype == np.uint8
        assert np.array_equal(image, again)
        assert np.array_equal(mask, mask_again)
        assert not np.array_equal(image, other)

    @settings(max_examples=50)
    @given(labels, laboratories, seeds)
    def test_the_mask_is_one_cell_around_one_nucleus(self, label, laboratory, seed):
        image, mask = render(label, laboratory, seed)
        cell, nucleus = mask > 0, mask == 2
        assert set(np.unique(mask)) == {0, 1, 2}
        assert ndimage.label(cell)[1] == 1
        assert cell[104:120, 104:120].all()
        assert not cell[[0, -1]].any()
        assert not cell[:, [0, -1]].any()
        assert np.all(cell[ndimage.binary_dilation(nucleus)])
        assert image[nucleus].mean() < image[mask == 1].mean() < background(image, mask).mean()

    @settings(max_examples=20)
    @given(labels, laboratories, seeds)
    def test_the_cell_does_not_depend_on_the_image_size(self, label, laboratory, seed):
        _, large = render(label, laboratory, seed, size=256)
        _, small = render(label, laboratory, seed, size=128)
        enlarged = small.repeat(2, axis=0).repeat(2, axis=1)
        for part in (1, 2):
            overlap = np.sum((large >= part) & (enlarged >= part)) / np.sum((large >= part) | (enlarged >= part))
            assert overlap > 0.9

    @settings(max_examples=10)
    @given(labels, seeds)
    def test_surroundings_never_cover_the_cell(self, label, seed):
        munich = LABORATORIES["munich"]
        alone, mask = render_cell(label, replace(munich, crowding=0), np.random.default_rng(seed))
        crowded, mask_crowded = render_cell(label, replace(munich, crowding=4), np.random.default_rng(seed))
        inside = ndimage.binary_erosion(mask > 0, iterations=12)  # beyond the reach of the blur
        assert np.array_equal(mask, mask_crowded)
        assert np.array_equal(alone[inside], crowded[inside])
        assert not np.array_equal(alone, crowded)

    def test_an_unknown_label_is_rejected_with_the_valid_ones(self):
        with pytest.raises(DataError, match=r"'platelet'.*basophil.*smudge_cell"):
            render("platelet")

    def test_a_size_below_32_pixels_is_rejected(self):
        with pytest.raises(ConfigError, match="at least 32 pixels, but is 16"):
            render("basophil", size=16)


class TestMorphology:
    @pytest.mark.parametrize(
        ("smaller", "larger"),
        [
            ("lymphocyte_typical", "neutrophil_segmented"),
            ("lymphocyte_typical", "lymphocyte_atypical"),
            ("erythroblast", "basophil"),
            ("myelocyte", "promyelocyte"),
            ("neutrophil_banded", "monocyte"),
        ],
    )
    def test_cell_sizes_are_ordered_as_on_a_smear(self, smaller, larger):
        assert mean_over_cells(cell_area, smaller) < 0.9 * mean_over_cells(cell_area, larger)

    def test_the_nucleus_shrinks_during_granulopoiesis(self):
        maturation = ("myeloblast", "promyelocyte", "myelocyte", "metamyelocyte", "neutrophil_segmented")
        shares = [mean_over_cells(nucleus_share, label) for label in maturation]
        assert shares == sorted(shares, reverse=True)

    def test_the_nucleus_bends_and_segments_during_granulopoiesis(self):
        maturation = ("myelocyte", "metamyelocyte", "neutrophil_banded")
        solidities = [mean_over_cells(nucleus_solidity, label) for label in maturation]
        assert solidities == sorted(solidities, reverse=True)
        assert mean_over_cells(nucleus_lobes, "neutrophil_segmented") > 1 + mean_over_cells(
            nucleus_lobes, "neutrophil_banded"
        )

    def test_a_lymphocyte_is_mostly_nucleus(self):
        assert mean_over_cells(nucleus_share, "lymphocyte_typical") > 0.65

    @pytest.mark.parametrize("laboratory", LABORATORIES)
    def test_eosinophils_have_the_reddest_cytoplasm(self, laboratory):
        def redness(label: str) -> float:
            cells = [render(label, laboratory, seed) for seed in range(5)]
            return np.mean([image[mask == 1, 0].mean() - image[mask == 1, 1].mean() for image, mask in cells])

        others = set(LABELS) - {"eosinophil", "basophil", "smudge_cell"}  # their purple is as far from green
        assert redness("eosinophil") > max(map(redness, others))

    def test_classes_are_separable_by_simple_features(self):
        cells = load_rendered("munich", cells_per_class=12)
        features = [_features(np.array(cell["image"]), np.array(cell["mask"])) for cell in cells]
        forest = RandomForestClassifier(100, random_state=0)
        accuracy = cross_val_score(forest, features, cells["label"][:], cv=3).mean()
        assert accuracy > 0.7  # chance is 0.08


def _features(image: np.ndarray, mask: np.ndarray) -> list[float]:
    colours = [statistic(image[mask == part], axis=0) for part in (1, 2) for statistic in (np.mean, np.std)]
    shape = [cell_area(mask), nucleus_share(mask), nucleus_solidity(mask), nucleus_lobes(mask), solidity(mask > 0)]
    return [*shape, *np.concatenate(colours)]


class TestLaboratories:
    def test_backgrounds_differ_more_between_laboratories_than_within_one(self):
        colours = {
            name: np.array([background(*render("monocyte", name, seed)) for seed in range(6)]) for name in LABORATORIES
        }
        within = max(np.ptp(cells, axis=0).max() for cells in colours.values())
        means = [cells.mean(axis=0) for cells in colours.values()]
        between = min(np.abs(a - b).max() for i, a in enumerate(means) for b in means[:i])
        assert between > 2 * within

    def test_cell_area_scales_with_magnification(self):
        munich = LABORATORIES["munich"]
        high, low = (
            cell_area(render_cell("monocyte", replace(munich, width=width), np.random.default_rng(0))[1])
            for width in (30, 60)
        )
        assert high / low == pytest.approx(4, rel=0.03)

    def test_cells_of_one_slide_share_its_background(self):
        cells = load_rendered("munich", cells_per_class=2 * SLIDES, labels=["erythroblast", "monocyte"])
        colours: dict[str, list[np.ndarray]] = {}
        for cell in cells:
            colour = background(np.array(cell["image"]), np.array(cell["mask"]))
            colours.setdefault(cell["group"], []).append(colour)
        assert len(colours) == SLIDES
        between = np.std([np.mean(slide, axis=0) for slide in colours.values()], axis=0)
        within = np.mean([np.std(slide, axis=0) for slide in colours.values()], axis=0)
        assert np.all(between > within)


class TestLoadRendered:
    def test_columns_are_those_of_every_loader(self):
        cells = load_rendered("tehran", cells_per_class=1, size=64)
        assert cells.features == FEATURES
        assert cells["label"][:] == list(range(len(LABELS)))
        assert set(cells["domain"]) == {"tehran"}
        assert cells[0]["file"] == "basophil_0000.png"
        assert cells[0]["image"].size == cells[0]["mask"].size == (64, 64)
        assert cells[0]["mask"].mode == "L"

    def test_a_cell_does_not_depend_on_the_other_cells(self):
        few = load_rendered("munich", cells_per_class=1, labels=["monocyte"], size=64)[0]
        many = load_rendered("munich", cells_per_class=3, labels=["basophil", "monocyte"], size=64)[3]
        assert few["file"] == many["file"]
        assert few["group"] == many["group"]
        assert few["image"].tobytes() == many["image"].tobytes()
        assert few["mask"].tobytes() == many["mask"].tobytes()

    def test_all_cells_differ(self):
        cells = [
            load_rendered(laboratory, cells_per_class=6, labels=["basophil", "monocyte"], seed=seed, size=64)
            for laboratory, seed in [("munich", 0), ("munich", 1), ("tehran", 0)]
        ]
        masks = {mask.tobytes() for part in cells for mask in part["mask"]}
        assert len(masks) == 3 * 2 * 6

    def test_every_class_is_on_every_slide(self):
        cells = load_rendered("munich", cells_per_class=SLIDES, size=32)
        assert len(set(zip(cells["label"], cells["group"], strict=True))) == SLIDES * len(LABELS)

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"laboratory": "atlantis"}, DataError, "'atlantis'.*munich, barcelona, tehran"),
            ({"labels": ["platelet"]}, DataError, "'platelet'.*basophil"),
            ({"cells_per_class": 0}, ConfigError, "cells_per_class must be at least 1, but is 0"),
            ({"seed": -1}, ConfigError, "seed must not be negative, but is -1"),
            ({"size": 8}, ConfigError, "size must be at least 32"),
        ],
    )
    def test_invalid_arguments_are_rejected(self, options, error, message):
        with pytest.raises(error, match=message):
            load_rendered(**options)


class TestAnywhere:
    def test_every_slide_has_its_own_laboratory(self):
        cells = load_rendered(ANYWHERE, cells_per_class=6, size=48, labels=LABELS[:2])
        assert sorted(set(cells["group"])) == [f"anywhere_slide_{i}" for i in range(6)]
        by_slide = {
            slide: np.mean([background(np.array(image), np.array(mask)) for image, mask, _ in own], axis=0)
            for slide in set(cells["group"])
            if (
                own := [
                    row for row in zip(cells["image"], cells["mask"], cells["group"], strict=True) if row[2] == slide
                ]
            )
        }
        assert np.array(list(by_slide.values())).std(axis=0).min() > 4  # below 2 within a laboratory

    @given(seeds)
    def test_sampled_laboratories_are_plausible_and_reproducible(self, seed):
        laboratory = any_laboratory(np.random.default_rng(seed))
        assert all(150 < channel <= 255 for channel in laboratory.light)
        assert laboratory.chromatin[1] == max(laboratory.chromatin)  # nuclei absorb green most
        assert any_laboratory(np.random.default_rng(seed)) == laboratory


class TestWriteRendered:
    options = {"cells_per_class": 2, "labels": ["basophil", "monocyte"], "size": 64}  # noqa: RUF012

    def test_files_contain_the_cells_of_load_rendered(self, tmp_path):
        pairs = write_rendered(tmp_path / "new", ["munich", "tehran"], **self.options)
        read = load_folder(tmp_path / "new" / "tehran", domain="tehran", masks=pairs)
        expected = load_rendered("tehran", **self.options)
        assert read["label"][:] == expected["label"][:]
        for cell, other in zip(read, expected, strict=True):
            assert Path(cell["file"]).name == other["file"]
            assert cell["image"].tobytes() == other["image"].tobytes()
            assert cell["mask"].tobytes() == other["mask"].tobytes()

    def test_paths_in_the_csv_are_relative_to_the_folder(self, tmp_path):
        pairs = write_rendered(tmp_path, ["munich"], **self.options)
        assert pairs == tmp_path / "masks" / "pairs.csv"
        rows = list(csv.DictReader(pairs.open()))
        assert len(rows) == 4
        assert all((tmp_path / row["image"]).is_file() and (tmp_path / row["mask"]).is_file() for row in rows)

    def test_a_folder_that_is_not_empty_is_rejected_and_unchanged(self, tmp_path):
        (tmp_path / "mine.txt").write_text("keep")
        with pytest.raises(DataError, match="not an empty folder"):
            write_rendered(tmp_path, ["munich"], **self.options)
        assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]

    def test_an_unknown_laboratory_writes_nothing(self, tmp_path):
        with pytest.raises(DataError, match="atlantis"):
            write_rendered(tmp_path / "new", ["munich", "atlantis"], **self.options)
        assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("archive", "codes", "laboratory"),
    [("matek19", MATEK19_CODES, "munich"), ("acevedo20", ACEVEDO20_CODES, "barcelona")],
)
def test_colours_and_sizes_match_real_cells(real_data, archive, codes, laboratory):
    rows = [row for row in csv.DictReader((real_data / "masks" / "pairs.csv").open()) if archive in row["image"]]
    real, rendered = [], []
    for row in rows[::2]:
        image = np.array(Image.open(real_data / row["image"]).convert("RGB").resize((224, 224)))
        mask = np.array(Image.open(real_data / row["mask"]).resize((224, 224), Image.Resampling.NEAREST))
        label = codes[Path(row["image"]).name.split("_")[0]]
        if label and set(np.unique(mask)) == {0, 1, 2}:
            real.append(_appearance(image, mask))
            rendered.append(_appearance(*render(label, laboratory, seed=len(real))))
    difference = np.abs(np.mean(real, axis=0) - np.mean(rendered, axis=0))
    assert difference[0] < 10  # diameter, pixels of 224
    assert np.all(difference[1:4] < 10)  # background, of 255
    assert np.all(difference[4:7] < 20)  # nucleus
    assert np.all(difference[7:] < 30)  # cytoplasm


def _appearance(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    diameter = 2 * np.sqrt(np.count_nonzero(mask) / np.pi)
    parts = [np.median(image[mask == part], axis=0) for part in (2, 1)]
    return np.concatenate([[diameter], background(image, mask), *parts])
