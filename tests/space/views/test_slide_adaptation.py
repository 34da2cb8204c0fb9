"""A classifier that learns from the cells of a slide that a visitor named, for that slide only."""

import base64
import csv
import io
import pickle
import re
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from bc_sam import BCSam
from bc_sam.classifiers.laboratory_fit import LaboratoryFit
from bc_sam.data.datasets.rendered import LABORATORIES, render_cell
from bc_sam.errors import DataError
from bc_sam.models.abstention import RejectionThresholds
from bc_sam.models.labelling_order import FIRST_LABELS, typical_cells
from bc_sam.space.server.settings import PageSettings
from bc_sam.space.views.adaptation_view import render_adaptation
from bc_sam.space.views.decision import Choice
from bc_sam.space.views.loaded_models import LoadedModel
from bc_sam.space.views.slide_adaptation import FEWEST_CELLS, adapt, can_adapt, zip_model
from bc_sam.space.views.slide_inference import predict_slide
from bc_sam.space.views.slide_report import render_count, render_laboratory, render_report
from bc_sam.space.views.slide_view import NO_CELL

CHOICE = Choice("logistic", RejectionThresholds(probability=0, ood=1))
KINDS = ("basophil", "monocyte")
N = 30


@pytest.fixture(scope="module")
def loaded(model):
    return LoadedModel("small-model", model)


@pytest.fixture(scope="module")
def predicted(loaded, tmp_path_factory):
    """A slide of two kinds in a laboratory that the model has not seen, with inverted colours."""
    folder = tmp_path_factory.mktemp("slide")
    for number in range(N):
        kind = KINDS[number % 2]
        pixels, _ = render_cell(kind, list(LABORATORIES.values())[2], np.random.default_rng(100 + number), 96)
        Image.fromarray(255 - pixels[..., ::-1]).save(folder / f"{number:02d}_{kind}.png")
    *_, slide = predict_slide(loaded, sorted(folder.iterdir()), PageSettings())
    return pickle.dumps(slide)


@pytest.fixture
def slide(predicted):
    return pickle.loads(predicted)


def name(slide, n, labels=KINDS):
    """Names the first cells by hand, and returns the slide."""
    for index in range(n):
        slide.correct(index, labels[index % 2])
    return slide


def learn(loaded, slide, choice=CHOICE):
    return adapt(loaded, choice.classifier, slide.named_cells(choice.classifier))


def n_right(slide, choice=CHOICE):
    """Number of cells without a name by hand whose likeliest label is right."""
    judged = [one for one in slide.judged(choice) if one.status != "hand"]
    return sum(one.prediction.likeliest in one.cell.name for one in judged)


class TestLabelFirst:
    def test_typical_cells_are_numbered_in_the_table(self, slide):
        ranks = {row["first"]: row["position"] for row in slide.rows(CHOICE) if row["first"]}
        assert sorted(ranks) == list(range(1, FIRST_LABELS + 1))
        assert [ranks[rank] for rank in sorted(ranks)] == typical_cells(np.stack([c.embedding for c in slide.cells]))

    def test_names_given_by_hand_and_learning_do_not_change_them(self, loaded, slide):
        before = list(slide.label_first())
        slide.adopt(learn(loaded, name(slide, 20)))
        assert slide.label_first() == before

    def test_there_are_none_in_a_small_slide_or_if_nothing_can_be_learned(self, slide):
        assert replace(slide, cells=slide.cells[:FIRST_LABELS]).label_first() == []
        assert replace(slide, can_adapt=False).label_first() == []


class TestNamedCells:
    def test_only_names_of_the_model_are_learned_and_copies_once(self, slide):
        name(slide, 4)
        slide.correct(4, "giant_platelet")
        slide.correct(5, NO_CELL)
        slide.cells[3] = replace(slide.cells[3], digest=slide.cells[1].digest)  # a copy of another image
        cells = slide.named_cells("logistic")
        assert [slide.labels[label] for label in cells.labels] == ["basophil", "monocyte", "basophil"]
        assert np.array_equal(cells.embeddings[1], slide.cells[3].embedding)
        assert cells.before.shape == (3, len(slide.labels))

    def test_too_few_or_of_one_kind_are_refused(self, loaded, slide):
        few = name(slide, FEWEST_CELLS - 1).named_cells("logistic")
        assert (few.n_missing, few.are_enough) == (1, False)
        one_kind = name(slide, FEWEST_CELLS, ("basophil", "basophil")).named_cells("logistic")
        assert (one_kind.n_missing, one_kind.are_enough) == (0, False)
        for cells in (few, one_kind):
            with pytest.raises(DataError, match="at least 20 cells of at least 2 kinds"):
                adapt(loaded, "logistic", cells)


class TestAdapt:
    def test_other_cells_of_the_slide_are_named_better_and_the_model_is_unchanged(self, loaded, slide):
        learned, before = loaded.model.classifiers["logistic"], n_right(slide)
        slide.adopt(learn(loaded, name(slide, 20)))
        assert n_right(slide) > before / 3 + 3  # of 10 cells, where it was of 30
        assert loaded.model.classifiers["logistic"] is learned
        assert not slide.is_adapted(replace(CHOICE, classifier="rf"))

    def test_the_gain_is_measured_on_cells_that_were_not_learned(self, loaded, slide):
        """Labels at random would seem to be known if a classifier judged the cells that it has learned."""
        labels = np.random.default_rng(0).permutation(np.repeat(KINDS, N // 2))
        for index, label in enumerate(labels):
            slide.correct(index, str(label))
        measured = learn(loaded, slide).comparison(CHOICE, slide.labels)
        assert measured.cells == N
        assert measured.after.value < 0.8

    def test_named_cells_that_a_known_kind_looks_like_are_no_longer_unusual(self, loaded, slide):
        usual = [cell.ood for cell in slide.cells[20:]]
        slide.adopt(learn(loaded, name(slide, 20)))
        assert np.mean([cell.adapted["logistic"].ood for cell in slide.cells[20:]]) < np.mean(usual)

    def test_it_can_be_taken_back(self, loaded, slide):
        before = slide.rows(CHOICE), slide.n_bytes
        slide.adopt(learn(loaded, name(slide, 20)))
        assert slide.n_bytes > before[1]
        slide.restore("logistic")
        for index in range(20):
            slide.correct(index, "")
        assert (slide.rows(CHOICE), slide.n_bytes) == before

    def test_a_cell_that_is_added_later_is_named_by_it(self, loaded, slide):
        slide.adopt(learn(loaded, name(slide, 20)))
        place = type("Place", (), {"added": False, "crop": b""})()
        late = replace(slide.cells[25], place=place, adapted={})
        index = slide.add_found(late)
        assert np.allclose(
            slide.cells[index].adapted["logistic"].probabilities, slide.cells[25].adapted["logistic"].probabilities
        )

    def test_a_model_without_stored_cells_cannot(self, loaded, slide):
        bare = LoadedModel("bare", type("Other", (), {"reference": None})())
        assert not can_adapt(bare)
        with pytest.raises(DataError, match="stores no embeddings"):
            adapt(bare, "logistic", name(slide, 20).named_cells("logistic"))


class TestUnknownLaboratory:
    @pytest.fixture
    def adapted(self, loaded, slide):
        slide.laboratory = LaboratoryFit(False, "north", 3.0, 0.9, N)
        assert slide.withheld(CHOICE)
        slide.adopt(learn(loaded, name(slide, 20)))
        return slide

    def test_shares_are_shown_with_the_errors_measured_on_the_slide(self, adapted):
        assert not adapted.withheld(CHOICE)
        assert adapted.naming_error(CHOICE).confusion.sum() == 20
        count = render_count(adapted, CHOICE)
        assert "95 % interval" in count
        assert "measured on the 20 cells" in count

    def test_the_banner_table_csv_and_report_say_so(self, adapted):
        assert "learned from 20 cells of this slide" in render_laboratory(adapted, CHOICE)
        rows = list(csv.DictReader(io.StringIO(adapted.to_csv(CHOICE))))
        assert {row["given_by"] for row in rows} <= {"hand", "logistic, adapted", ""}
        assert "adapted to 20 cells of this slide" in render_report(adapted, CHOICE, "today")

    def test_another_classifier_is_as_it_was(self, adapted):
        other = replace(CHOICE, classifier="rf")
        assert adapted.withheld(other)
        assert "adapted" not in render_report(adapted, other, "today")


class TestWhatIsSaid:
    def said(self, slide, rejected=None):
        return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", render_adaptation(slide, CHOICE, rejected)))

    def test_before_what_is_missing(self, slide):
        said = self.said(slide)
        assert "No cell has a name by hand yet. 20 more are needed, of at least 2 kinds." in said
        assert "bc-sam adapt small-model --data ours=FOLDER/cells.csv --out adapted" in said  # for further slides
        name(slide, 20, ("basophil", "basophil"))
        slide.correct(21, "platelet")
        said = self.said(slide)
        assert "Named by hand: 20 basophil. Cells of a second kind are needed." in said
        assert "1 named as what the model does not know, such as platelets, is not learned." in said

    def test_after_before_and_after_by_kind(self, loaded, slide):
        slide.adopt(learn(loaded, name(slide, 20)))
        said = self.said(slide)
        assert "adapted to 20 cells that you named" in said
        assert re.search(r"names \d+ % rightly before and (> )?\d+ % after", said)
        measured = slide.adaptations["logistic"].comparison(CHOICE, slide.labels)
        for label, (n, before, after) in measured.per_class.items():
            assert f"{label.capitalize()}{n}{round(n * before)}{round(n * after)}" in said.replace(" ", "")
        name(slide, 22)
        assert "Adapt again to learn from all of them." in self.said(slide)

    def test_what_is_worse_is_not_used(self, loaded, slide):
        adaptation = learn(loaded, name(slide, 20))
        assert adaptation.comparison(CHOICE, slide.labels).gain.value > 0
        assert not adaptation.is_worse(CHOICE, slide.labels)
        swapped = replace(
            adaptation, after=adaptation.cells.before, cells=replace(adaptation.cells, before=adaptation.after)
        )
        assert swapped.is_worse(CHOICE, slide.labels)
        assert "Not used: after learning, it named fewer" in self.said(slide, rejected=swapped)


def test_the_adapted_model_is_downloaded_and_names_as_the_page_did(loaded, slide, tmp_path):
    slide.adopt(learn(loaded, name(slide, 20)))
    packed = io.BytesIO(base64.b64decode(zip_model(loaded, slide.adaptations["logistic"])))
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(tmp_path)
    model = BCSam.from_pretrained(tmp_path / "adapted")
    assert model.config.domains == ("north", "south", "ours")
    assert (list(model.classifiers), model.evaluation) == (["logistic"], None)
    rows = model.classifiers["logistic"].predict_proba(np.stack([cell.embedding for cell in slide.cells]))
    assert np.allclose(rows, [cell.adapted["logistic"].probabilities for cell in slide.cells], atol=1e-5)
    assert loaded.model.config.domains == ("north", "south")
