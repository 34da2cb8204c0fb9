"""Fields of a slide: recognized among crops, searched, corrected by hand, exported; within the limits of the page."""

import base64
import csv
import io
import pickle
import zipfile

import numpy as np
import pytest
from drawn_smear import draw_smear
from PIL import Image

from bc_sam.data import load_cells
from bc_sam.errors import ConfigError, DataError
from bc_sam.models.abstention import RejectionThresholds
from bc_sam.space.server.settings import PageSettings
from bc_sam.space.views.decision import Choice
from bc_sam.space.views.field_inference import ask_for_cell
from bc_sam.space.views.field_view import describe_added, describe_work, fields_value
from bc_sam.space.views.loaded_models import LoadedModel
from bc_sam.space.views.slide_fields import NO_OUTLINE
from bc_sam.space.views.slide_inference import predict_slide
from bc_sam.space.views.slide_report import render_count
from bc_sam.space.views.slide_view import NO_CELL

ALL = Choice("rf", RejectionThresholds(probability=0, ood=1))


@pytest.fixture(scope="module")
def loaded(model):
    return LoadedModel("small-model", model)


def look(loaded, files, kind="recognize", microns_per_pixel=None, **changes):
    *_, slide = predict_slide(loaded, files, PageSettings(**changes), kind, microns_per_pixel)
    return slide


@pytest.fixture(scope="module")
def searched(loaded, field_files):
    return pickle.dumps(look(loaded, field_files))


@pytest.fixture
def slide(searched):
    """Two fields with two cells and one."""
    return pickle.loads(searched)


def places(slide):
    return [(cell.place.field, cell.place.box) for cell in slide.cells if cell.place]


def saved(folder, name, pixels):
    Image.fromarray(pixels).save(folder / name)
    return folder / name


@pytest.fixture(scope="module")
def large(loaded, tmp_path_factory):
    """A field of one cell, whose kept picture is reduced."""
    field = saved(tmp_path_factory.mktemp("large"), "large.png", draw_smear(1000, 120, 14, ((0.5, 0.5),), 208))
    return look(loaded, [field], "fields", microns_per_pixel=7.5 / 120)


def outline_of(cell):
    """Places with the colour of an outline in the large picture of a cell, pixels of the field."""
    content = base64.b64decode(cell.large().partition(",")[2])
    pixels = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)
    rows, columns = np.nonzero(np.abs(pixels - (255, 212, 0)).sum(axis=2) < 90)
    left, top, right, bottom = cell.place.crop_box
    return left + columns * (right - left) / pixels.shape[1], top + rows * (bottom - top) / pixels.shape[0]


class TestWhatIsTakenAsAField:
    def test_fields_are_recognized_among_crops_and_that_is_said(self, loaded, field_files, cell_files):
        slide = look(loaded, [cell_files[0], *field_files, cell_files[1]])
        assert [field.name for field in slide.fields] == ["field1.png", "field2.png"]
        assert [cell.name for cell in slide.cells if cell.place is None] == [cell_files[0].name, cell_files[1].name]
        assert len(places(slide)) == 3
        said = describe_work(slide)
        assert said.startswith("4 of 4 images processed. Taken as fields: field1.png, field2.png.")
        assert f"Taken as crops of one cell: {cell_files[0].name}, {cell_files[1].name}." in said

    def test_the_visitor_can_say_what_the_images_show(self, loaded, field_files):
        assert look(loaded, field_files[:1], "cells").fields == []
        crop = look(loaded, [field_files[1]], "fields", microns_per_pixel=0.03).fields[0]
        assert crop.microns_per_pixel in (0.03, None)

    def test_of_crops_alone_nothing_is_said(self, loaded, cell_files):
        assert "Taken as" not in describe_work(look(loaded, cell_files[:1]))


class TestBadFields:
    @pytest.mark.parametrize(
        ("pixels", "said"),
        [
            (np.full((1000, 1000, 3), 235, np.uint8), "scale could not be measured"),
            (np.full((1000, 1000, 3), 20, np.uint8), "No glass|scale could not be measured"),
            (255 - draw_smear(480, 60, 14), "No glass|scale could not be measured"),
        ],
        ids=["empty", "dark", "inverted"],
    )
    def test_they_have_a_reason_and_no_cells(self, loaded, tmp_path, pixels, said):
        slide = look(loaded, [saved(tmp_path, "bad.png", pixels)], "fields")
        assert slide.cells == []
        (field,) = slide.fields
        assert any(text in field.problem for text in said.split("|"))
        assert f"bad.png: {field.problem}" in describe_work(slide)
        assert "--microns-per-pixel" not in field.problem
        assert not fields_value(slide)["can_add"]

    def test_the_others_go_on(self, loaded, field_files, tmp_path):
        (tmp_path / "broken.png").write_text("no image")
        empty = saved(tmp_path, "empty.png", np.full((480, 480, 3), 235, np.uint8))
        crop = saved(tmp_path, "crop.png", draw_smear(230, 60, 6, ((0.5, 0.5),), 104))
        slide = look(loaded, [tmp_path / "broken.png", empty, crop, field_files[0]], "fields")
        assert slide.processed == 4
        assert slide.statuses(ALL)["unreadable"] == 1
        assert [field for field, _ in places(slide)] == [1, 2, 2]
        assert "Neither white nor red cells" in slide.fields[0].problem
        assert "choose “One cell each”" in slide.fields[1].problem

    def test_a_given_pixel_size_stands_in_for_red_cells(self, loaded, tmp_path):
        alone = saved(tmp_path, "alone.png", draw_smear(480, 60, 0, ((0.5, 0.5),), 104))
        assert len(look(loaded, [alone], "fields", microns_per_pixel=7.5 / 60).cells) == 1
        with pytest.raises(ConfigError, match="must be between"):
            look(loaded, [alone], "fields", microns_per_pixel=7.5)


class TestByHand:
    def test_a_cell_is_named_like_a_crop(self, slide):
        slide.correct(0, "monocyte")
        assert slide.statuses(ALL)["hand"] == 1
        assert "1 by hand" in render_count(slide, ALL)
        assert "of 3 cells counted" in render_count(slide, ALL)

    def test_a_false_find_is_removed_and_can_come_back(self, slide):
        slide.correct(1, NO_CELL)
        assert sum(line.count for line in slide.count(ALL) if not line.part_of) == 2
        slide.correct(1, "")
        assert sum(line.count for line in slide.count(ALL) if not line.part_of) == 3

    def test_a_missed_cell_is_added_at_its_place(self, loaded, slide):
        removed = slide.cells.pop(1)
        left, top, right, bottom = removed.place.box
        cell = ask_for_cell(loaded, slide, 0, ((top + bottom) / 2, (left + right) / 2))
        assert cell.place.box == pytest.approx(removed.place.box, abs=4)
        index = slide.add_found(cell)
        assert slide.cells[index].name == "field1.png, cell 2"
        assert str(index) in slide.shapes(0)
        assert describe_added(slide, index, is_new=True) == "field1.png, cell 2 was added."

    def test_taken_back_it_is_as_if_it_had_never_been(self, loaded, slide):
        index = slide.add_found(ask_for_cell(loaded, slide, 1, (60.0, 400.0)))
        before = len(slide.rows(ALL))
        slide.correct(index, NO_CELL)
        assert len(slide.rows(ALL)) == before - 1
        assert str(index) not in slide.shapes(1)
        assert slide.statuses(ALL)[NO_CELL] == 0
        assert slide.hand_by_digest() == {}

    def test_a_cell_that_is_there_is_not_added_again_and_a_removed_one_comes_back(self, loaded, slide):
        left, top, right, bottom = slide.cells[0].place.box
        slide.correct(0, NO_CELL)
        cell = ask_for_cell(loaded, slide, 0, ((top + bottom) / 2, (left + right) / 2))
        assert slide.add_found(cell) == 0
        assert (len(slide.cells), slide.hand) == (3, {})

    def test_where_the_model_finds_nothing_a_square_awaits_a_name(self, loaded, slide, monkeypatch):
        monkeypatch.setattr(loaded.model.sam, "forward", nothing_segmented)
        index = slide.add_found(ask_for_cell(loaded, slide, 1, (60.0, 400.0)))
        cell = slide.cells[index]
        assert cell.from_image == (NO_OUTLINE,)
        assert len(outline_of(cell)[0]) == 0
        assert "no outline at this place" in describe_added(slide, index, is_new=True)
        (row,) = [row for row in slide.rows(ALL) if row["position"] == index]
        assert (row["status"], row["short"]) == ("review", "no outline")

    @pytest.mark.parametrize(("field", "place"), [(5, (10.0, 10.0)), (0, (-1.0, 10.0)), (0, (10.0, 480.0))])
    def test_a_place_outside_is_refused(self, loaded, slide, field, place):
        with pytest.raises(DataError, match="not in the field"):
            ask_for_cell(loaded, slide, field, place)

    def test_names_are_found_again_in_the_same_field(self, slide, searched):
        slide.correct(0, "monocyte")
        slide.correct(2, NO_CELL)
        again = pickle.loads(searched)
        assert again.remember(slide.hand_by_digest()) == 2
        assert again.hand == {0: "monocyte", 2: NO_CELL}


def nothing_segmented(image_embeddings, **_):
    """Replaces a mask decoder that finds nothing."""
    import torch

    return type("Output", (), {"pred_masks": torch.full((len(image_embeddings), 1, 1, 16, 16), -1.0)})


class TestLargePicture:
    def test_a_cell_of_a_field_is_large_with_its_surroundings_and_outline(self, slide):
        for cell in slide.cells:
            x, y = outline_of(cell)
            left, top, right, bottom = cell.place.box
            assert (x.min(), y.min(), x.max(), y.max()) == pytest.approx((left, top, right, bottom), abs=2)

    def test_so_is_one_that_was_added_in_the_reduced_picture(self, loaded, large):
        left, top, right, bottom = large.cells[0].place.box
        added = ask_for_cell(loaded, large, 0, ((top + bottom) / 2, (left + right) / 2))
        x, y = outline_of(added)
        assert (x.min(), y.min(), x.max(), y.max()) == pytest.approx(added.place.box, abs=6)


class TestExports:
    def test_the_csv_gives_field_and_box(self, slide, loaded, cell_files):
        first, *_ = csv.DictReader(io.StringIO(slide.to_csv(ALL)))
        assert first["field"] == "field1.png"
        assert [int(first[edge]) for edge in ("left", "top", "right", "bottom")] == list(slide.cells[0].place.box)
        crops = csv.DictReader(io.StringIO(look(loaded, cell_files[:1]).to_csv(ALL)))
        assert "field" not in next(crops)

    def test_the_zip_is_what_adapt_takes(self, slide, tmp_path):
        slide.correct(0, "monocyte")
        slide.correct(1, NO_CELL)
        with zipfile.ZipFile(io.BytesIO(base64.b64decode(slide.to_zip(ALL)))) as archive:
            archive.extractall(tmp_path / "cells")
        cells = load_cells(f"ours={tmp_path / 'cells' / 'cells.csv'}")
        names = cells.features["label"]
        assert [names.int2str(label) if label is not None else None for label in cells["label"]] == ["monocyte", None]
        side = round(30 / (7.5 / 60))
        for path in (tmp_path / "cells" / "crops").iterdir():
            assert Image.open(path).size == (pytest.approx(side, rel=0.05),) * 2


class TestLimits:
    def test_the_browser_gets_one_field_at_a_time(self, slide):
        value = fields_value(slide, 1)
        assert value["picture"].startswith("data:image/jpeg")
        assert list(value["shapes"]) == ["2"]
        assert [field["name"] for field in value["fields"]] == ["field1.png", "field2.png"]

    def test_what_is_kept_is_reduced(self, large):
        (field,) = large.fields
        assert field.reduced()[0].shape[0] == pytest.approx(1000 * 7.5 / 120 / 0.1, abs=1)
        assert len(pickle.dumps(large)) < 300_000
        assert large.n_bytes == len(field.picture) + sum(len(cell.place.crop) for cell in large.cells)

    def test_beyond_the_memory_of_a_slide_cells_are_counted_without_pictures(self, loaded, field_files):
        slide = look(loaded, field_files, max_slide_bytes=1000)
        assert len(places(slide)) == 3
        assert slide.n_bytes == 0
        assert slide.cells[0].large() == ""
        assert "pictures and crops of 2 fields are not kept" in describe_work(slide)
        with pytest.raises(DataError, match="its picture is not kept"):
            ask_for_cell(loaded, slide, 0, (10.0, 10.0))

    def test_too_many_fields_are_refused(self, loaded, field_files):
        with pytest.raises(DataError, match="2 fields are too many: the page accepts 1 at once"):
            look(loaded, field_files, max_fields=1)

    def test_a_field_may_be_larger_than_an_image_of_one_cell(self, loaded, field_files):
        slide = look(loaded, field_files, max_pixels=1000, max_image_bytes=1000)
        assert len(places(slide)) == 3

    def test_a_field_under_way_is_not_added_to_a_stopped_slide(self, loaded, field_files):
        for slide in predict_slide(loaded, field_files, PageSettings(), "fields"):
            slide.stopped = len(slide.fields) == 1
        assert len(field_files) > len(slide.fields) == slide.processed == 1

    def test_the_time_limit_holds_between_fields(self, loaded, field_files):
        slide = look(loaded, field_files, seconds=0)
        assert (slide.processed, len(slide.fields)) == (1, 1)
        assert "Stopped after 0 minutes" in describe_work(slide)
