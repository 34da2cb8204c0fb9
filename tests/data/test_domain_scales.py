"""The scale of whole laboratories: from stored squares and from files, rendered and real."""

import csv
import json
from collections import defaultdict

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from bc_sam.config.labels import LABELS
from bc_sam.config.normalization import NormalizationConfig
from bc_sam.data import load_cells
from bc_sam.data.appearance.light import optical_density, white_point
from bc_sam.data.appearance.magnification import measure
from bc_sam.data.domain_scales import (
    DomainScale,
    dataset_scale,
    encoder_scale_warning,
    stored_scales,
)
from bc_sam.data.images import find_images, read_image
from bc_sam.data.preparation import PROFILE_SAMPLE
from bc_sam.data.store import CellStore, store_cells
from bc_sam.data.survey import survey_cells


@pytest.fixture(scope="module")
def rendered():
    return [cell["image"] for cell in load_cells("one=rendered:barcelona:1")]


def write(folder, images, suffix="png", **options):
    folder.mkdir()
    for i, image in enumerate(images):
        image.save(folder / f"{i:02}.{suffix}", **options)
    return load_cells(f"{folder.name}={folder}")


@pytest.fixture(scope="module")
def stored(rendered, tmp_path_factory):
    """The same cells as they are, their middle enlarged to twice the size, and in images wider than high."""
    folder = tmp_path_factory.mktemp("laboratories")
    middle = [image.crop((56, 56, 168, 168)) for image in rendered]
    wide = [Image.fromarray(np.pad(image, ((0, 0), (0, 112), (0, 0)), "symmetric")) for image in rendered]
    laboratories = {"whole": rendered, "middle": middle, "wide": wide}
    datasets = [write(folder / name, images) for name, images in laboratories.items()]
    return store_cells(datasets, folder / "store", 176)


def test_squares_tell_the_scale_of_the_original_images(stored):
    scales = stored_scales(stored)
    assert scales["whole"].ruler == "red cells"
    assert scales["whole"].microns_per_pixel == pytest.approx(34 / 224, rel=0.1)
    assert scales["wide"].microns_per_pixel == pytest.approx(34 / 224, rel=0.12)


def test_the_scale_that_the_encoder_sees_counts_in_the_warning(stored):
    scales = stored_scales(stored)
    whole, middle = (scales[name].stored_microns_per_pixel for name in ("whole", "middle"))
    assert whole == pytest.approx(34 / 176, rel=0.1)
    assert whole / middle == pytest.approx(2, rel=0.25)
    survey = survey_cells(stored, LABELS, quiet=True)
    assert any("Cells of middle reach the encoder" in warning for warning in survey.warnings)
    assert "scale of whole: 0.1" in str(survey)


def test_like_scales_are_no_cause_for_a_warning():
    scales = {str(size): DomainScale(0.1, "red cells", 9, 9, size) for size in (0.1, 0.12, 0.149)}
    assert encoder_scale_warning(scales) == ""
    assert encoder_scale_warning({"one": DomainScale(None, "unknown", 0, 9)}) == ""


def test_tags_are_read_from_files_and_kept_in_the_store(rendered, tmp_path):
    dots = round(1e4 / 0.14)
    dataset = write(tmp_path / "tagged", rendered, "tif", resolution_unit=3, x_resolution=dots, y_resolution=dots)
    from_store = stored_scales(store_cells([dataset], tmp_path / "store", 96))["tagged"]
    assert dataset_scale(dataset).ruler == from_store.ruler == "resolution tag"
    assert from_store.microns_per_pixel == pytest.approx(0.14, rel=0.001)


def test_a_store_of_an_earlier_version_has_no_tags_and_is_still_read(rendered, tmp_path):
    store = store_cells([write(tmp_path / "one", rendered[:4])], tmp_path / "store", 96)
    table = store.table.to_dict()
    del table["resolution_tags"]
    (tmp_path / "store" / "table.json").write_text(json.dumps(table))
    assert stored_scales(CellStore.open(tmp_path / "store")) == stored_scales(store)


def test_lying_tags_lose_and_the_reason_is_told(rendered, tmp_path):
    dataset = write(tmp_path / "lying", rendered, "tif", resolution_unit=3, x_resolution=3e5, y_resolution=3e5)
    scale = dataset_scale(dataset)
    assert scale.ruler == "red cells"
    assert "(0.0333 µm per pixel) is ignored" in str(scale)


def test_damaged_images_are_skipped_and_an_empty_measurement_is_unknown(rendered, tmp_path):
    dataset = write(tmp_path / "blank", [Image.new("RGB", (50, 50), "white"), *rendered[:1]])
    (tmp_path / "blank" / "01.png").write_bytes(b"damaged")
    scale = dataset_scale(dataset)
    assert (scale.ruler, scale.n_sampled) == ("unknown", 1)
    assert str(scale).startswith("unknown. The image does not show")


def test_at_most_60_images_are_measured(rendered, tmp_path):
    small = [image.resize((40, 40)) for image in rendered] * 5
    assert dataset_scale(write(tmp_path / "many", small)).n_sampled == PROFILE_SAMPLE < len(small)


class TestNormalizedStore:
    """Cells stored at one scale have the scale of their laboratory's profile."""

    @pytest.fixture
    def normalized(self, rendered, tmp_path):
        middle = [image.crop((56, 56, 168, 168)).resize((224, 224)) for image in rendered]
        datasets = [write(tmp_path / name, images) for name, images in (("whole", rendered), ("middle", middle))]
        blank = write(tmp_path / "blank", [Image.new("RGB", (50, 50), "white")] * 2)
        known = {"middle": 17 / 224}
        return store_cells(
            [*datasets, blank], tmp_path / "store", 96, NormalizationConfig(20.0), microns_per_pixel=known
        )

    def test_it_is_that_of_the_original_images_and_the_encoder_sees_one(self, normalized):
        scales = stored_scales(normalized)
        assert scales["whole"].ruler == "red cells"
        assert scales["whole"].microns_per_pixel == pytest.approx(34 / 224, rel=0.1)
        assert (scales["whole"].n_sampled, scales["whole"].n_images) == (13, 13)
        assert (scales["middle"].ruler, scales["middle"].microns_per_pixel) == ("given", 17 / 224)
        assert str(scales["middle"]) == "0.0759 µm per pixel as given."

        # ... and the encoder sees one.
        assert {scales[name].stored_microns_per_pixel for name in ("whole", "middle")} == {20 / 96}
        assert encoder_scale_warning(scales) == ""

        # A laboratory whose scale could not be measured is unknown.
        scale = scales["blank"]
        assert (scale.microns_per_pixel, scale.ruler, scale.stored_microns_per_pixel) == (None, "unknown", None)
        assert "No white cell was found" in str(scale)


class TestRealImages:
    """The bounds leave about a third above what 25 images of each laboratory measured.

    Standard deviation of the logarithm: Acevedo-20 0.081, Matek-19 0.079 (23 images), BCCD 0.053 (23 fields), JTSC by
    white cells 0.156, most of which is that cell types differ.
    """

    def measurements(self, folder, n=24):
        files = [path for path in find_images(folder) if "masks" not in path.parts]
        return [measure(np.asarray(read_image(path))) for path in files[:: max(1, len(files) // n)]]

    @pytest.mark.parametrize(
        ("folder", "attribute", "spread"),
        [
            ("acevedo20", "red_cell_px", 0.11),
            ("matek19", "red_cell_px", 0.11),
            ("bccd", "red_cell_px", 0.08),
            ("jtsc", "white_cell_px", 0.20),
        ],
    )
    def test_estimates_of_one_laboratory_agree(self, real_data, folder, attribute, spread):
        found = self.measurements(real_data / folder)
        usable = [m for m in found if attribute == "white_cell_px" or m.has_red_cell_ruler]
        assert len(usable) >= 0.75 * len(found)
        logarithms = np.log([getattr(m, attribute) for m in usable])
        assert logarithms.std() < spread, logarithms.std()

    def test_red_cells_of_bccd_agree_with_their_boxes(self, real_data):
        """Boxes leave a margin, so the red cell is segmented within each: a disc of its area is the measure."""
        boxes = defaultdict(list)
        with (real_data / "bccd" / "boxes.csv").open() as file:
            for row in csv.DictReader(file):
                left, top, right, bottom = (int(row[key]) for key in ("xmin", "ymin", "xmax", "ymax"))
                if row["object"] == "RBC" and min(left, top) > 2 and right < 637 and bottom < 477:
                    boxes[row["field"]].append((left, top, right, bottom))
        to_cell, to_box = [], []
        for field in [field for field in sorted(boxes) if len(boxes[field]) >= 4][::14]:
            image = np.asarray(read_image(real_data / "bccd" / "fields" / field))
            found = measure(image)
            if not found.has_red_cell_ruler:
                continue
            sides = [((right - left) + (bottom - top)) / 2 for left, top, right, bottom in boxes[field]]
            to_box.append(found.red_cell_px / np.median(sides))
            to_cell.append(found.red_cell_px / np.median([diameter(image, box) for box in boxes[field]]))
        assert len(to_cell) >= 15
        assert np.median(to_cell) == pytest.approx(1, abs=0.1)
        assert np.median(to_box) == pytest.approx(0.87, abs=0.05)


def diameter(image, box):
    """Diameter of a disc as large as the red cell in a box, by a threshold halfway between glass and cell."""
    left, top, right, bottom = box
    density = ndimage.gaussian_filter(optical_density(image, white_point(image))[top:bottom, left:right, 1], 1.5)
    threshold = (np.percentile(density, 2) + np.percentile(density, 80)) / 2
    return 2 * np.sqrt(ndimage.binary_fill_holes(density > threshold).sum() / np.pi)
