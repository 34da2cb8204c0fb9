"""A slide: counts, cells for review, manual corrections and exports."""

import base64
import csv
import io
import pickle
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from drawn_smear import draw_smear
from PIL import Image
from small_model import small_model

from bc_sam.classifiers.laboratory_fit import LaboratoryFit
from bc_sam.config.labels import kinds_that_can_occur
from bc_sam.config.normalization import NormalizationConfig
from bc_sam.data.preparation import PROFILE_SAMPLE
from bc_sam.models.abstention import Reason, RejectionThresholds
from bc_sam.space.server.settings import PageSettings
from bc_sam.space.views.decision import Choice
from bc_sam.space.views.loaded_models import LoadedModel
from bc_sam.space.views.slide_inference import BATCH_SIZE, predict_slide
from bc_sam.space.views.slide_report import ReportHead, render_count, render_laboratory, render_report
from bc_sam.space.views.slide_view import NO_CELL

ALL = Choice("rf", RejectionThresholds(probability=0, ood=1))
NONE = Choice("rf", RejectionThresholds(probability=1.01, ood=1))


@pytest.fixture(scope="module")
def loaded(model):
    return LoadedModel("small-model", model)


def look(loaded, files, **changes):
    *_, slide = predict_slide(loaded, files, PageSettings(**changes))
    return slide


def counted(slide, choice):
    """Number of cells of each line that has any, without the line that sums up the neutrophils."""
    return {line.label: line.count for line in slide.count(choice) if line.count and line.label != "neutrophil"}


@pytest.fixture
def slide(loaded, cell_files, tmp_path):
    (tmp_path / "broken.png").write_text("no image")
    return look(loaded, [*cell_files, tmp_path / "broken.png"])


def test_every_image_is_processed_once_and_classified_as_by_the_model(slide, model, cell_files):
    assert [cell.name for cell in slide.cells] == [*(file.name for file in cell_files), "broken.png"]
    names = [judged.name for judged in slide.judged(ALL)]
    assert names == [*model.predict(cell_files, classifier="rf"), None]
    assert counted(slide, ALL) == {name: names.count(name) for name in names[:-1]}


def test_cells_for_review_are_not_counted_and_come_first(slide):
    assert counted(slide, NONE) == {}
    assert slide.statuses(NONE) == {"review": 4, "unreadable": 1}
    mixed = Choice(
        "rf", RejectionThresholds(probability=np.median([row["probability"] for row in slide.rows(ALL)[1:]]), ood=1)
    )
    statuses = [row["status"] for row in slide.rows(mixed)]
    assert statuses == sorted(statuses, key=["review", "unreadable", "named"].index)
    assert {"review", "named", "unreadable"} == set(statuses)


def test_restricted_labels_apply_to_count_table_and_exports(slide):
    some = replace(ALL, labels=("monocyte", "basophil"))
    labels = set(some.labels)
    assert {line.label for line in slide.count(some)} <= labels
    readable = [row for row in slide.rows(some) if row["status"] != "unreadable"]
    assert {row["label"] for row in readable} | {row["second"] for row in readable} == labels
    assert all(row["probability"] + row["second_probability"] == pytest.approx(1, abs=1e-3) for row in readable)
    table = [row for row in csv.DictReader(io.StringIO(slide.to_csv(some))) if row["error"] == ""]
    assert all(float(row["monocyte"]) + float(row["basophil"]) == pytest.approx(1, abs=1e-3) for row in table)
    assert "Possible names: monocyte, basophil." in render_count(slide, some)
    assert "Possible names: monocyte, basophil only" in render_report(slide, some, "today")
    assert "Possible names" not in render_report(slide, ALL, "today")


class TestSuspiciousOutline:
    @pytest.fixture
    def ragged(self, slide):
        """A slide of which only the first cell has a suspicious outline."""
        check = Reason("Check the outline: the outline is ragged.", False, "check outline")
        readable = [replace(cell, from_image=()) for cell in slide.cells[:-1]]
        slide.cells[:-1] = [replace(readable[0], from_image=(check,)), *readable[1:]]
        return slide

    def test_the_cell_is_named_counted_and_listed_first(self, ragged):
        assert ragged.statuses(ALL) == {"check": 1, "named": 3, "unreadable": 1}
        assert sum(counted(ragged, ALL).values()) == 4
        first = ragged.rows(ALL)[0]
        assert (first["position"], first["status"], first["short"]) == (0, "check", "check outline")
        assert "4 named by the\n    classifier, 1 of them to be checked; 0 by hand" in render_count(ragged, ALL)

    def test_below_the_threshold_the_cell_has_no_name(self, ragged):
        row = next(row for row in ragged.rows(NONE) if row["position"] == 0)
        assert (row["status"], row["short"]) == ("review", "unsure, check outline")
        assert counted(ragged, NONE) == {}

    def test_a_manual_label_settles_it(self, ragged):
        ragged.correct(0, "smudge_cell")
        assert ragged.statuses(ALL) == {"hand": 1, "named": 3, "unreadable": 1}
        row = next(row for row in ragged.rows(ALL) if row["position"] == 0)
        assert (row["status"], row["automatic"]) == ("hand", "check")

    def test_csv_report_and_api_include_it(self, ragged):
        first, *_ = csv.DictReader(io.StringIO(ragged.to_csv(ALL)))
        assert (first["given_by"], first["reasons"]) == ("rf", "Check the outline: the outline is ragged.")
        assert first["name"] == first["likeliest"]
        page = render_report(ragged, ALL, "today")
        assert "Named by the classifier, to be checked: 1" in page
        asked = [cell.get("review") for cell in ragged.as_json(ALL)["cells"]]
        assert asked == [True, False, False, False, None]


def test_disagreeing_classifiers_are_no_reason_against_a_name(slide):
    rf = slide.cells[0].probabilities["rf"]
    before = next(slide.judged(ALL)).prediction
    slide.cells[0] = replace(slide.cells[0], probabilities={"rf": rf, "logistic": np.roll(rf, 1)})
    after = next(slide.judged(ALL)).prediction
    assert (after.label, after.reasons) == (before.label, before.reasons)


def test_manual_labels_are_counted(slide):
    slide.correct(0, "smudge_cell")
    slide.correct(1, NO_CELL)
    slide.correct(2, "monocyte")
    assert counted(slide, NONE) == {"smudge_cell": 1, "monocyte": 1}
    assert slide.statuses(NONE) == {"hand": 2, NO_CELL: 1, "review": 1, "unreadable": 1}
    slide.correct(0, "")
    slide.correct(2, "")
    assert counted(slide, NONE) == {}


def test_a_correction_that_was_overtaken_by_a_later_one_is_ignored(slide):
    slide.correct(0, "monocyte", turn=3)
    slide.correct(0, "basophil", turn=2)
    slide.correct(1, "basophil", turn=1)  # of another cell
    assert slide.hand == {0: "monocyte", 1: "basophil"}
    slide.correct(0, "", turn=4)
    assert slide.hand == {1: "basophil"}


@pytest.mark.parametrize(("index", "label"), [(99, "monocyte"), (-1, "monocyte"), (4, "monocyte"), (0, "<b>")])
def test_invalid_corrections_are_ignored(slide, index, label):
    slide.correct(index, label)
    assert slide.hand == {}


def test_the_csv_is_complete_and_free_of_formulas(loaded, cell_files, tmp_path):
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


def test_the_report_is_complete_and_runs_no_script(loaded, cell_files, tmp_path):
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


def test_template_syntax_in_file_names_is_escaped(loaded, cell_files, tmp_path):
    strange = tmp_path / "{{constructor}}${alert(1)}.png"
    strange.write_bytes(cell_files[0].read_bytes())
    page = render_report(look(loaded, [strange]), ALL, "today")
    assert "{{" not in page
    assert "${" not in page


def test_the_count_is_a_table_with_confidence_intervals(slide):
    text = render_count(slide, ALL)
    assert "4 of 5 images counted" in text
    assert "1 could not be read" in text
    assert text.count('<th scope="row">') == len(slide.count(ALL))


def test_a_cell_keeps_little_memory(loaded, tmp_path):
    with zipfile.ZipFile(tmp_path / "cells.zip", "w") as archive:
        for number in range(40):
            file = io.BytesIO()
            noise = np.random.default_rng(number).integers(0, 255, (300, 400, 3), dtype=np.uint8)
            Image.fromarray(noise).save(file, "PNG")
            archive.writestr(f"{number}.png", file.getvalue())
    slide = look(loaded, [tmp_path / "cells.zip"])
    assert len(slide.cells) == 40
    assert len(pickle.dumps(slide)) < 40 * 64_000


def test_what_was_under_way_is_not_added_to_a_stopped_slide(loaded, cell_files):
    for slide in predict_slide(loaded, cell_files * 10, PageSettings()):
        slide.stopped = slide.processed == BATCH_SIZE
    assert (len(slide.cells), slide.processed) == (BATCH_SIZE, BATCH_SIZE)


def test_it_grows_by_batches_and_stops_at_the_time_limit(loaded, cell_files):
    seen = [len(slide.cells) for slide in predict_slide(loaded, cell_files * 5, PageSettings())]
    assert seen == [0, BATCH_SIZE, 20]
    slide = look(loaded, cell_files * 5, seconds=0)
    assert len(slide.cells) == BATCH_SIZE
    assert slide.note.startswith("Stopped after 0 minutes")


class TestNormalized:
    """The images of a slide share a scale, measured on a sample of all of them."""

    @pytest.fixture
    def normalized(self):
        return small_model(normalization=NormalizationConfig(30.0))

    def test_the_answers_are_those_of_the_model(self, normalized, cell_files):
        slide = look(LoadedModel("small", normalized), cell_files)
        names = [judged.name for judged in slide.judged(ALL)]
        assert names == normalized.predict(cell_files, classifier="rf", abstain=ALL.thresholds)

    def test_the_sample_is_of_the_whole_slide(self, normalized, tmp_path, monkeypatch):
        """Uploads are often sorted by class."""
        files = []
        for i in range(PROFILE_SAMPLE + 10):
            files.append(tmp_path / f"{i:03}.png")
            Image.new("RGB", (20, 20), (255 - i, 200, 200)).save(files[-1])
        samples, profile = [], normalized.profile

        def record(images, *rest, **options):
            samples.append(list(images))
            return profile(samples[-1], *rest, **options)

        monkeypatch.setattr(normalized, "profile", record)
        look(LoadedModel("small", normalized), files)
        (sample,) = samples
        assert len(sample) == PROFILE_SAMPLE
        assert (sample[0]["path"], sample[-1]["path"]) == (files[0].name, files[-1].name)

    def test_an_image_above_the_limit_is_not_measured(self, normalized, cell_files):
        slide = look(LoadedModel("small", normalized), cell_files, max_pixels=100)
        assert slide.statuses(ALL) == {"unreadable": len(cell_files)}

    def test_a_cell_is_shown_large_from_its_own_pixels_with_surroundings(self, normalized, tmp_path):
        """At 100 px the cell would be a blur if it came from the model's own input of 64 px."""
        pixels = draw_smear(400, 100, n_red_cells=12, white_cell=200)
        pixels[196:204, 196:204] = (255, 0, 0)  # a detail of 8 px, a seventh of a pixel of the encoder's
        Image.fromarray(pixels).save(tmp_path / "cell.png")
        (cell,) = look(LoadedModel("small", normalized), [tmp_path / "cell.png"]).cells
        large, small = (
            Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
            for uri in (cell.original.as_uri(), cell.thumbnail)
        )
        assert (large.size, small.size) == ((640, 640), (160, 160))
        red = np.asarray(large).astype(int) @ (1, -1, 0)
        assert red.max() > 150
        assert np.hypot(*(np.argwhere(red > 150).mean(axis=0) - 320)) < 25

    def test_thumbnails_are_what_the_model_saw(self, normalized, tmp_path):
        image = tmp_path / "wide.png"
        Image.fromarray(draw_smear(300, 50, white_cell=100)[:150]).save(image)
        (square,) = look(LoadedModel("small", normalized), [image]).cells
        (wide,) = look(LoadedModel("small", small_model()), [image]).cells
        pictures = [base64.b64decode(cell.thumbnail.partition(",")[2]) for cell in (square, wide)]
        sizes = [Image.open(io.BytesIO(picture)).size for picture in pictures]
        assert sizes[0][0] == sizes[0][1]
        assert sizes[1][0] > 1.5 * sizes[1][1]


class TestBlasts:
    """A blast is shown first and counted only once a person has named it."""

    @pytest.fixture
    def blast(self, slide):
        sure = np.zeros(len(slide.labels), np.float32)
        sure[slide.labels.index("myeloblast")] = 1
        slide.cells[2] = replace(slide.cells[2], probabilities={"rf": sure}, from_image=())
        return slide

    def test_it_stands_first_with_its_picture(self, blast):
        first = blast.rows(ALL)[0]
        assert (first["position"], first["status"], first["short"]) == (2, "blast", "blast?")
        for page in (render_count(blast, ALL), render_report(blast, ALL, "today")):
            assert "1 perhaps a blast" in page
            assert page.index(first["picture"]) < page.index("<table")

    def test_it_is_counted_once_it_is_named_by_hand(self, blast):
        assert "myeloblast" not in counted(blast, ALL)
        assert blast.as_json(ALL)["blasts_to_look_at"] == 1
        blast.correct(2, "myeloblast")
        assert counted(blast, ALL)["myeloblast"] == 1
        assert "perhaps" not in render_count(blast, ALL)


class TestUnknownLaboratory:
    @pytest.fixture
    def foreign(self, slide):
        slide.laboratory = LaboratoryFit(False, "north", 4.0, 0.5, 40)
        return slide

    def test_it_is_said_with_no_ticks_and_no_shares(self, foreign):
        said = render_laboratory(foreign, ALL)
        assert "names are often wrong here" in said
        assert said.count("data-kinds=") == 3
        assert "see “Adapt to this slide”" in said
        assert {row["status"] for row in foreign.rows(ALL)} == {"check", "unreadable"}
        for page in (render_count(foreign, ALL), render_report(foreign, ALL, "today")):
            assert "95 % interval" not in page
            assert "No shares are given" in page
        assert {line["share"] for line in foreign.as_json(ALL)["count"]} == {None}
        assert foreign.as_json(ALL)["laboratory"]["known"] is False
        assert {row["laboratory"] for row in csv.DictReader(io.StringIO(foreign.to_csv(ALL)))} == {
            "not known to the model",
            "",
        }

    def test_once_the_kinds_are_chosen_there_are_shares(self, foreign):
        some = replace(ALL, labels=kinds_that_can_occur("five-part", foreign.labels))
        said = render_laboratory(foreign, some)
        assert "not known to the model" in said
        assert "often wrong here</h3>" not in said
        assert 'data-kinds="five-part" aria-pressed="true"' in said
        assert "95 % interval" in render_count(foreign, some)
        assert "named" in {row["status"] for row in foreign.rows(some)}

    def test_a_known_laboratory_is_not_remarked_upon(self, slide):
        said = render_laboratory(slide, ALL)
        assert "not known" not in said
        assert "Which kinds can occur?" in said


def test_more_kinds_can_be_given_by_hand_than_the_model_has(slide):
    assert slide.names_by_hand[:3] == ("neutrophil_segmented", "neutrophil_banded", "lymphocyte_typical")
    assert slide.names_by_hand[8] == "myeloblast"  # by the key 9
    for index, kind in enumerate(("plasma_cell", "giant_platelet", "artefact")):
        slide.correct(index, kind)
    assert slide.statuses(ALL)["hand"] == 3
    assert counted(slide, NONE) == {"plasma_cell": 1}


def test_names_by_hand_are_found_again_by_the_image_whatever_its_name(loaded, slide, cell_files, tmp_path):
    slide.correct(1, "plasma_cell")
    renamed = tmp_path / f"renamed{cell_files[1].suffix}"
    renamed.write_bytes(cell_files[1].read_bytes())
    again = look(loaded, [cell_files[0], renamed])
    assert again.remember(slide.hand_by_digest()) == 1
    assert again.hand == {1: "plasma_cell"}


def test_the_report_has_fields_for_sample_date_and_reader(slide):
    page = render_report(slide, ALL, "today", ReportHead("B 17", "1 May", "<b>Dr Who"))
    assert "B 17" in page
    assert "&lt;b&gt;Dr Who" in page
