"""Fields in, cells out: what the bundled model finds on drawn smears, on seams, and where there is nothing to find."""

from dataclasses import replace

import numpy as np
import pytest
from drawn_smear import draw_smear
from PIL import Image

from bc_sam.data.fields.sources import WholeField
from bc_sam.models.auto import load_model
from bc_sam.models.fields import SQUARE_UM, Search, find_cell_at, profile_fields, search_field
from bc_sam.models.fields.tile_store import TileStore

CENTRES = ((0.3, 0.3), (0.7, 0.6))
SIDE, WIDTH = 480, 104


@pytest.fixture(scope="module")
def model():
    return load_model(classifiers=["default"])


@pytest.fixture(scope="module")
def smear():
    return draw_smear(SIDE, 60, 14, CENTRES, WIDTH)


def centres(found):
    return [((top + bottom) / 2 / SIDE, (left + right) / 2 / SIDE) for left, top, right, bottom in found.boxes]


def test_white_cells_are_found_with_boxes_and_masks(model, smear):
    found = model.find_cells(smear)
    assert centres(found) == [pytest.approx(place, abs=0.03) for place in CENTRES]
    for cell in found.cells:
        left, top, right, bottom = cell.box
        assert cell.mask.shape == (bottom - top, right - left)
        assert right - left == pytest.approx(WIDTH, rel=0.25)
        assert cell.mask.mean() == pytest.approx(np.pi / 4, abs=0.12)
        assert cell.full_mask(found.shape).sum() == cell.mask.sum()
        assert 0 <= cell.score <= 1
        assert cell.prediction is None
    assert found.red_cells is None
    assert found.problem == ""


def test_red_cells_are_counted_and_cells_named_if_asked(model, smear):
    found = model.find_cells(smear, red_cells=True, platelets=True, name=True, abstain=False)
    assert len(found.red_cells) == pytest.approx(14, abs=2)
    assert found.platelets == ()
    assert found.counts.total() == 2
    assert {cell.prediction.label for cell in found.cells} <= set(model.labels)


def test_touching_cells_are_two(model):
    found = model.find_cells(draw_smear(SIDE, 60, 10, ((0.5, 0.4), (0.5, 0.61)), WIDTH))
    assert len(found) == 2


def test_a_cell_that_the_border_cuts_off_gets_no_name(model):
    (cell,) = model.find_cells(draw_smear(SIDE, 60, 14, ((0.02, 0.5),), WIDTH), name=True).cells
    assert cell.cut_off
    assert "cut off" in [reason.short for reason in cell.prediction.reasons]
    assert cell.box[1] == 0


def test_a_cell_on_a_seam_is_counted_once(model, smear):
    whole = model.find_cells(smear)
    side = SIDE * 0.3 * 7.5 / 60  # four columns; the cells lie on seams
    tiled = search_field(model, WholeField(smear), Search(red_cells=True), profile=whole.profile, tile_um=side)
    assert centres(tiled) == [pytest.approx(place, abs=0.03) for place in CENTRES]
    assert len(tiled.red_cells) == pytest.approx(14, abs=3)


class InterruptedField(WholeField):
    """A field of which the lower half is not reached before the user interrupts."""

    def read(self, rows, columns):
        if rows.start > 0 and rows.stop - rows.start < SIDE:
            raise KeyboardInterrupt
        return super().read(rows, columns)


def test_an_interrupted_search_goes_on_where_it_stopped_with_the_same_result(model, smear, tmp_path):
    store = TileStore(tmp_path, {})
    options = {"profile": profile_fields([smear]), "tile_um": 0.6 * SIDE * 7.5 / 60}  # four tiles
    search = Search(red_cells=True, name=True)
    unbroken = search_field(model, WholeField(smear), search, **options)
    with pytest.raises(KeyboardInterrupt):
        search_field(model, InterruptedField(smear), search, store=store, **options)
    finished = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(finished) == 2
    resumed = search_field(model, WholeField(smear), search, store=store, **options)
    assert len(list(tmp_path.iterdir())) == 4
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert resumed.red_cells == unbroken.red_cells
    assert np.array_equal(resumed.boxes, unbroken.boxes)
    for one, other in zip(resumed.cells, unbroken.cells, strict=True):
        assert np.array_equal(one.mask, other.mask)
        assert one.prediction.label == other.prediction.label
        assert one.prediction.probabilities == pytest.approx(other.prediction.probabilities, abs=1e-6)


def test_the_scale_of_several_fields_is_shared(model, smear):
    profile = profile_fields([smear, draw_smear(SIDE, 60, 14, (), seed=2), b"no image"])
    assert profile.n_images == 2
    assert model.find_cells(smear, profile=profile).profile is profile


def draw_section(side=400):
    """Draws tissue: nuclei everywhere in pink, and no glass."""
    rng = np.random.default_rng(0)
    image = np.array((225, 150, 190)) + rng.normal(0, 8, (side, side, 3))
    row, column = np.ogrid[:side, :side]
    for place in rng.uniform(0, side, (120, 2)):
        image[np.hypot(row - place[0], column - place[1]) < rng.uniform(8, 12)] = (95, 60, 140)
    return np.clip(image, 0, 255).astype(np.uint8)


def test_a_section_of_tissue_has_no_cells_even_if_its_scale_is_given(model):
    found = model.find_cells(draw_section(), microns_per_pixel=0.25)
    assert len(found) == 0
    assert "section of tissue" in found.problem


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        (np.full((300, 300, 3), 235, np.uint8), "too few red cells"),
        (np.random.default_rng(0).integers(0, 255, (300, 300, 3), dtype=np.uint8), "too few red cells|No glass"),
        (255 - draw_smear(400, 60, 14), "too few red cells|No glass"),
        (np.repeat(draw_smear(400, 60, 14)[..., 1:2], 3, axis=2), "no colours"),
        (draw_section(), "too few red cells|No glass"),
    ],
    ids=["empty", "noise", "inverted", "grey", "section of tissue"],
)
def test_what_is_no_smear_has_no_cells_and_a_reason(model, field, reason):
    found = model.find_cells(field)
    assert len(found) == 0
    assert any(text in found.problem for text in reason.split("|"))


def test_light_of_the_colour_of_tissue_is_no_reason_where_there_are_red_cells(model):
    found = model.find_cells((draw_smear(400, 60, 14, ()) * (1, 0.8, 0.97)).astype(np.uint8), red_cells=True)
    assert found.problem == ""
    assert len(found.red_cells) > 10


def test_a_field_without_white_cells_has_none_and_no_problem(model):
    found = model.find_cells(draw_smear(400, 60, 14, ()), red_cells=True)
    assert len(found) == 0
    assert found.problem == ""
    assert len(found.red_cells) > 10


def test_a_crop_of_one_cell_says_so(model):
    crop = Image.fromarray(draw_smear(230, 60, 6, ((0.5, 0.5),), WIDTH))
    found = model.find_cells(crop, microns_per_pixel=7.5 / 60)
    assert len(found) == 1
    assert "bc-sam predict" in found.problem


@pytest.fixture(scope="module")
def ask(model, smear):
    """Asks the model for a cell at a place that a person points at."""
    profile = model.find_cells(smear).profile
    search = Search(name=True, keep_observed=True)
    return lambda *place, **options: find_cell_at(model, WholeField(smear), place, search, profile, **options)


def test_a_cell_asked_for_is_outlined_as_if_it_had_been_found(ask, model, smear):
    found = model.find_cells(smear).cells[0]
    asked = ask(CENTRES[0][0] * SIDE + 20, CENTRES[0][1] * SIDE - 10)
    assert asked.outlined
    assert asked.box == pytest.approx(found.box, abs=3)
    assert asked.mask.shape == (asked.box[3] - asked.box[1], asked.box[2] - asked.box[0])
    assert set(asked.observed.probabilities) == set(model.classifiers)


def test_where_the_model_predicts_no_mask_a_square_stands_for_the_cell(ask, model):
    def observe(pixels, *rest, **options):
        observed = model.observe(pixels, *rest, **options)
        return replace(observed, masks=np.zeros_like(observed.masks))

    asked = ask(30.0, 300.0, observe=observe)
    left, top, right, bottom = asked.box
    side = SQUARE_UM / (7.5 / 60)
    assert right - left == pytest.approx(side, rel=0.05)
    assert (left + right) / 2 == pytest.approx(300, abs=2)
    assert (top, bottom) == (0, pytest.approx(30 + side / 2, abs=4))  # clipped at the border
    assert (asked.outlined, asked.score) == (False, 0.0)
    assert asked.mask.all()


def test_the_results_of_the_model_are_kept_only_if_asked(model, smear):
    assert {cell.observed for cell in model.find_cells(smear, name=True).cells} == {None}
