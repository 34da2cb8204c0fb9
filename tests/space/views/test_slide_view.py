"""A slide: what is counted, what waits for a person, what a person says, and the files to take away."""

import csv
import io
import pickle
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from bc_sam.models.abstention import Reason, RejectionThresholds
from bc_sam.space.server.settings import PageSettings
from bc_sam.space.views.decision import Choice
from bc_sam.space.views.loaded_models import LoadedModel
from bc_sam.space.views.slide_inference import STEP, predict_slide
from bc_sam.space.views.slide_report import render_count, render_report
from bc_sam.space.views.slide_view import NO_CELL

ALL = Choice("rf", RejectionThresholds(probability=0, ood=1))
NONE = Choice("rf", RejectionThresholds(probability=1.01, ood=1))


@pytest.fixture(scope="module")
def loaded(model):
    return LoadedModel("small-model", model)


def look(loaded, files, **changes):
    *_, slide = predict_slide(loaded, files, PageSettings(**changes))
    return slide


@pytest.fixture
def slide(loaded, cell_files, tmp_path):
    (tmp_path / "broken.png").write_text("no image")
    return look(loaded, [*cell_files, tmp_path / "broken.png"])


def test_every_image_is_looked_at_once_and_named_as_the_model_does(slide, model, cell_files):
    assert [cell.name for cell in slide.cells] == [*(file.name for file in cell_files), "broken.png"]
    names = [judged.name for judged in slide.judged(ALL)]
    assert names == [*model.predict(cell_files, classifier="rf"), None]
    assert {line.label: line.count for line in slide.count(ALL)} == {name: names.count(name) for name in names[:-1]}


def test_what_is_not_sure_is_not_counted_and_comes_first(slide):
    assert slide.count(NONE) == []
    assert slide.statuses(NONE) == {"review": 4, "unreadable": 1}
    mixed = Choice(
        "rf", RejectionThresholds(probability=np.median([row["probability"] for row in slide.rows(ALL)[1:]]), ood=1)
    )
    statuses = [row["status"] for row in slide.rows(mixed)]
    assert statuses == sorted(statuses, key=["review", "unreadable", "named"].index)
    assert {"review", "named", "unreadable"} == set(statuses)


def test_where_it_is_known_what_can_occur_nothing_else_is_counted_shown_or_written(slide):
    some = replace(ALL, labels=("monocyte", "basophil"))
    labels = set(some.labels)
    assert {line.label for line in slide.count(some)} <= labels
    readable = [row for row in slide.rows(some) if row["status"] != "unreadable"]
    assert {row["label"] for row in readable} | {row["second"] for row in readable} == labels
    assert all(row["probability"] + row["second_probability"] == pytest.approx(1, abs=1e-3) for row in readable)
    table = [row for row in csv.DictReader(io.StringIO(slide.to_csv(some))) if row["error"] == ""]
    assert all(float(row["monocyte"]) + float(row["basophil"]) == pytest.approx(1, abs=1e-3) for row in table)
    assert "Possible labels: monocyte, basophil." in render_count(slide, some)
    assert "Possible labels: monocyte, basophil only" in render_report(slide, some, "today")
    assert "Possible labels" not in render_report(slide, ALL, "today")


class TestWhereTheOutlineLooksWrong:
    @pytest.fixture
    def ragged(self, slide):
        """The outline of the first cell should be checked; nothing speaks against the others."""
        check = Reason("Check the outline: the outline is ragged.", False, "check outline")
        readable = [replace(cell, from_image=()) for cell in slide.cells[:-1]]
        slide.cells[:-1] = [replace(readable[0], from_image=(check,)), *readable[1:]]
        return slide

    def test_the_cell_keeps_its_name_is_counted_and_comes_first_to_be_checked(self, ragged):
        assert ragged.statuses(ALL) == {"check": 1, "named": 3, "unreadable": 1}
        assert sum(line.count for line in ragged.count(ALL)) == 4
        first = ragged.rows(ALL)[0]
        assert (first["place"], first["status"], first["short"]) == (0, "check", "check outline")
        assert "4 named by the\n    classifier, 1 of which should be checked; 0 by hand" in render_count(ragged, ALL)

    def test_below_the_threshold_it_has_no_name(self, ragged):
        row = next(row for row in ragged.rows(NONE) if row["place"] == 0)
        assert (row["status"], row["short"]) == ("review", "unsure, check outline")
        assert ragged.count(NONE) == []

    def test_a_person_settles_it(self, ragged):
        ragged.correct(0, "smudge_cell")
        assert ragged.statuses(ALL) == {"hand": 1, "named": 3, "unreadable": 1}
        row = next(row for row in ragged.rows(ALL) if row["place"] == 0)
        assert (row["status"], row["by_itself"]) == ("hand", "check")

    def test_csv_report_and_api_say_it(self, ragged):
        first, *_ = csv.DictReader(io.StringIO(ragged.to_csv(ALL)))
        assert (first["given_by"], first["reasons"]) == ("rf", "Check the outline: the outline is ragged.")
        assert first["name"] == first["likeliest"]
        page = render_report(ragged, ALL, "today")
        assert "Named by the classifier, to be checked: 1" in page
        asked = [cell.get("review") for cell in ragged.as_json(ALL)["cells"]]
        assert asked == [True, False, False, False, None]


def test_classifiers_that_disagree_do_not_make_a_name_doubtful(slide):
    rf = slide.cells[0].probabilities["rf"]
    before = next(slide.judged(ALL)).prediction
    slide.cells[0] = replace(slide.cells[0], probabilities={"rf": rf, "logistic": np.roll(rf, 1)})
    after = next(slide.judged(ALL)).prediction
    assert (after.label, after.reasons) == (before.label, before.reasons)


def test_what_a_person_says_counts(slide):
    slide.correct(0, "smudge_cell")
    slide.correct(1, NO_CELL)
    assert [(line.label, line.count) for line in slide.count(NONE)] == [("smudge_cell", 1)]
    assert slide.statuses(NONE) == {"hand": 1, NO_CELL: 1, "review": 2, "unreadable": 1}
    slide.correct(0, "")
    assert slide.count(NONE) == []


@pytest.mark.parametrize(("place", "label"), [(99, "monocyte"), (-1, "monocyte"), (4, "monocyte"), (0, "<b>")])
def test_a_correction_that_makes_no_sense_is_passed_over(slide, place, label):
    slide.correct(place, label)
    assert slide.hand == {}


def test_the_csv_holds_all_and_no_formula(loaded, cell_files, tmp_path):
    formula = tmp_path / "=HYPERLINK(1).png"
    formula.write_bytes(cell_files[0].read_bytes())
    (tmp_path / "@bad.png").write_text("no image")
    slide = look(loaded, [formula, tmp_path / "@bad.png", cell_files[1]])
    slide.correct(2, "monocyte")
    first, bad, corrected = csv.DictReader(io.StringIO(slide.to_csv(ALL)))
    assert first["file"] == "'=HYPERLINK(1).png"
    assert bad["file"] == "'@bad.png"
    assert bad["error"].startswith("'@bad.png is not an image")
    assert (first["given_by"], corrected["given_by"], corrected["name"]) == ("rf", "hand", "monocyte")
    assert sum(float(first[label]) for label in slide.labels) == pytest.approx(1, abs=0.01)


def test_the_report_says_all_and_runs_nothing(loaded, cell_files, tmp_path):
    hostile = tmp_path / "<script>alert(1)<x>.png"
    hostile.write_bytes(cell_files[0].read_bytes())
    (tmp_path / "broken.png").write_text("no image")
    slide = look(loaded, [hostile, cell_files[1], tmp_path / "broken.png"])
    slide.correct(1, "smudge_cell")
    page = render_report(slide, ALL, "today")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "Smudge cell" in page
    assert "broken.png is not an image" in page
    assert "Not a medical device" in page
    assert "http" not in page.replace("http-equiv", "")


def test_the_page_own_templates_find_nothing_to_run_in_a_name(loaded, cell_files, tmp_path):
    strange = tmp_path / "{{constructor}}${alert(1)}.png"
    strange.write_bytes(cell_files[0].read_bytes())
    page = render_report(look(loaded, [strange]), ALL, "today")
    assert "{{" not in page
    assert "${" not in page


def test_the_count_is_a_table_with_intervals(slide):
    text = render_count(slide, ALL)
    assert "4 of 5 images counted" in text
    assert "1 could not be read" in text
    assert text.count('<th scope="row">') == len(slide.count(ALL))


def test_little_is_kept_of_a_cell(loaded, tmp_path):
    with zipfile.ZipFile(tmp_path / "cells.zip", "w") as archive:
        for number in range(40):
            file = io.BytesIO()
            noise = np.random.default_rng(number).integers(0, 255, (300, 400, 3), dtype=np.uint8)
            Image.fromarray(noise).save(file, "PNG")
            archive.writestr(f"{number}.png", file.getvalue())
    slide = look(loaded, [tmp_path / "cells.zip"])
    assert len(slide.cells) == 40
    assert len(pickle.dumps(slide)) < 40 * 12_000


def test_it_grows_step_by_step_and_stops_when_its_time_is_over(loaded, cell_files):
    seen = [len(slide.cells) for slide in predict_slide(loaded, cell_files * 5, PageSettings())]
    assert seen == [0, STEP, 20]
    slide = look(loaded, cell_files * 5, seconds=0)
    assert len(slide.cells) == STEP
    assert slide.note.startswith("Stopped after 0 minutes")
