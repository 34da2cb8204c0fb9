"""From image files to a model folder, a table and a report, in one command."""

import json
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from small_run import CELLS, DATA, ONE_CLASSIFIER

from bc_sam import BCSam
from bc_sam.classifiers.thumbnails import draw_thumbnail
from bc_sam.config.labels import LABELS
from bc_sam.evaluation.results import Evaluation
from bc_sam.training.experiment import Experiment


def files_of(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def split(run_folder):
    """The cells of the run, and the fold of each."""
    experiment = Experiment.open(run_folder)
    return experiment.cells, experiment.folds


class TestTrain:
    def test_writes_a_model_folder_with_every_part(self, run_folder):
        classifiers = {
            f"classifiers/{name}.skops" for name in ("rf", "svm_poly", "svm_rbf", "ann", "xgboost", "logistic")
        }
        figures = {f"figures/{name}.png" for name in ("cross_domain", "confusion_1", "confusion_2", "calibration")}
        assert files_of(run_folder / "model") == classifiers | figures | {
            "README.md",
            "config.json",
            "preprocessor_config.json",
            "evaluation.json",
            "training.json",
            "classifiers/reference.safetensors",
            "adapter/adapter_config.json",
            "adapter/adapter_model.safetensors",
            "autoencoder/model.safetensors",
            "base/config.json",
            "base/model.safetensors",
        }

    def test_evaluates_each_classifier_on_every_domain_pair(self, run_folder):
        evaluation = Evaluation.load(run_folder / "evaluation.json")
        sources, targets = ("north", "south", "all"), ("north", "south")
        assert set(evaluation.domain_pairs) == {(source, target) for source in sources for target in targets}
        assert len(evaluation.pairs) == 6 * len(evaluation.domain_pairs)
        assert {timing.stage for timing in evaluation.timings} == {
            "stage 1: masks",
            "features",
            "stage 2: autoencoder",
            "embeddings",
            "stage 3: classifiers",
        }
        assert {dice.domain for dice in evaluation.dice} == {"north", "south"}
        assert evaluation.counts["north"] == dict.fromkeys(LABELS, CELLS)

    def test_the_held_out_fold_is_in_no_stage(self, run_folder, split):
        cells, folds = split
        held_out = folds == 0
        for pair in Evaluation.load(run_folder / "evaluation.json").pairs:
            of_target = cells.domains == ("north", "south").index(pair.target)
            assert pair.n_test == (held_out & of_target).sum()
            assert pair.n_train <= (~held_out).sum()

    def test_slides_stay_together(self, split):
        cells, folds = split
        slides = {}
        for domain, group, fold in zip(cells.table.domains, cells.table.groups, folds, strict=True):
            slides.setdefault((domain, group), set()).add(fold)
        assert all(len(folds) == 1 for folds in slides.values())

    def test_the_report_is_self_contained(self, run_folder):
        page = (run_folder / "report.html").read_text()
        sources = []

        class Images(HTMLParser):
            def handle_starttag(self, tag, attributes):
                if tag == "img":
                    sources.append(dict(attributes)["src"])

        Images().feed(page)
        # Bars, six confusion matrices, calibration, latents, masks, reconstructions, mistakes and curves.
        assert len(sources) == 13
        assert all(source.startswith("data:image/png;base64,") for source in sources)
        assert "bc-sam train --out " in page

    def test_is_resumed(self, run_folder, run_bc_sam, train_options):
        before = {path: path.stat().st_mtime_ns for path in (run_folder / "work").rglob("*") if path.is_file()}
        assert run_bc_sam(*train_options(run_folder, *DATA)) == 0
        after = {path: path.stat().st_mtime_ns for path in (run_folder / "work").rglob("*") if path.is_file()}
        assert after == before

    def test_other_options_do_not_overwrite_a_run(self, run_folder, run_bc_sam, capsys, train_options):
        assert run_bc_sam(*train_options(run_folder, *DATA, "--seed", "5")) == 1
        assert "other options" in capsys.readouterr().err

    def test_other_folders_are_rejected(self, tmp_path, run_bc_sam, capsys, train_options):
        (tmp_path / "thesis.txt").write_text("mine")
        assert run_bc_sam(*train_options(tmp_path, *DATA)) == 1
        assert files_of(tmp_path) == {"thesis.txt"}

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (("--data", "x=/no/such/folder"), "does not exist"),
            (("--data", "no-name"), "NAME=SOURCE"),
            (("--data", "a=rendered:atlantis:2"), "munich"),
            ((*DATA, "--set", "segmentation.epochs"), "no value"),
            ((*DATA, "--set", "segmentation.epocs=3"), "epocs"),
            ((*DATA, "--set", "segmentation.epochs=many"), "epochs"),
            ((*DATA, "--set", "stage1.epochs=3"), "stage1"),
            ((*DATA, "--preset", "huge"), "tiny"),
            ((*DATA, "--protocol", "lax"), "strict"),
            ((*DATA, "--map", "neutrophil"), "--map"),
            ((*DATA, "--set", "folds=1"), "folds"),
            ((DATA[0], DATA[1], DATA[0], DATA[1]), "share a name"),
        ],
    )
    def test_wrong_options_say_what_to_do(self, tmp_path, run_bc_sam, capsys, options, message, train_options):
        assert run_bc_sam(*train_options(tmp_path / "run", *options)) == 1
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("error: ")
        assert message in error
        assert not (tmp_path / "run" / "model").exists()


class TestOwnData:
    @pytest.fixture
    def hospital(self, tmp_path, cell_files):
        """A folder with one subfolder per class, one unreadable file and no masks."""
        for file in cell_files[:6]:
            label = file.parent.name
            for copy in range(3):
                target = tmp_path / "hospital" / label / f"slide{copy}_{file.name}"
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, target)
        broken = tmp_path / "hospital" / label / "slide0_broken.png"
        broken.write_bytes(b"not an image")
        return tmp_path / "hospital"

    def test_needs_a_mask_somewhere(self, hospital, tmp_path, run_bc_sam, capsys, train_options):
        # Copies of one picture are one group, so that the three folds need six classes' worth of pictures.
        assert run_bc_sam(*train_options(tmp_path / "run", "--data", f"ours={hospital}")) == 1
        assert "--masks" in capsys.readouterr().err

    def test_is_combined_with_a_data_set_with_masks_and_reports_unreadable_images(
        self, hospital, tmp_path, run_bc_sam, train_options
    ):
        out = tmp_path / "run"
        data = ("--data", "north=rendered:munich:6", "--data", f"ours={hospital}")
        more = ("--base", "tiny", "--set", "folds=2", *ONE_CLASSIFIER)
        assert run_bc_sam(*train_options(out, *data, *more)) == 0
        evaluation = Evaluation.load(out / "evaluation.json")
        assert any("slide0_broken.png" in note for note in evaluation.notes)
        assert sum(evaluation.counts["ours"].values()) == 18
        missing = {(source, target): classes for source, target, classes in evaluation.missing()}
        assert len(missing["ours", "north"]) == len(LABELS) - len(evaluation.counts["ours"])


class TestEvaluate:
    def test_measures_the_remaining_folds(self, logistic_run, run_bc_sam, tmp_path, capsys):
        run = tmp_path / "run"
        shutil.copytree(logistic_run, run)
        assert run_bc_sam("evaluate", run, "--out", tmp_path / "figures.json") == 0
        table = capsys.readouterr().out
        assert "±" in table
        evaluation = Evaluation.load(tmp_path / "figures.json")
        assert {pair.fold for pair in evaluation.pairs} == {0, 1, 2}
        for source, target in evaluation.domain_pairs:
            tested = sum(pair.n_test for pair in evaluation.select("logistic", source, target))
            assert tested == CELLS * len(LABELS)  # each cell of the target once, by a model that never saw it

    def test_a_finished_model_on_labelled_cells(self, run_folder, run_bc_sam, tmp_path, capsys):
        figures = tmp_path / "figures.json"
        assert run_bc_sam("evaluate", run_folder, "--data", "new=rendered:tehran:2", "--out", figures) == 0
        assert "svm_rbf" in capsys.readouterr().out
        pairs = json.loads(figures.read_text())["pairs"]
        assert {pair["n_test"] for pair in pairs} == {26}

    def test_a_trained_model_can_be_restricted_to_labels(self, run_folder, run_bc_sam, tmp_path):
        figures, among = tmp_path / "figures.json", ["basophil", "monocyte"]
        options = ("--data", "new=rendered:tehran:2", "--labels", ",".join(among), "--out", figures)
        assert run_bc_sam("evaluate", run_folder, *options) == 0
        evaluation = json.loads(figures.read_text())
        assert "rf was restricted to the labels basophil, monocyte." in evaluation["notes"]
        for pair in evaluation["pairs"]:
            named = np.array(pair["confusion"]).sum(axis=0)
            assert {LABELS[label] for label in named.nonzero()[0]} <= set(among)
        assert run_bc_sam("evaluate", run_folder, "--labels", "monocyte") == 1  # its own folds know nothing of that

    def test_the_paper_protocol_tests_other_domains_whole(self, run_bc_sam, tmp_path, train_options):
        out = tmp_path / "run"
        more = ("--protocol", "paper", "--set", "classifiers.rendered=1", *ONE_CLASSIFIER)
        assert run_bc_sam(*train_options(out, *DATA, *more)) == 0
        assert "also on 1 rendered cells per class" in (out / "model" / "README.md").read_text()
        evaluation = Evaluation.load(out / "evaluation.json")
        assert {pair.fold for pair in evaluation.pairs} == {0, 1, 2}
        assert {pair.n_test for pair in evaluation.select("logistic", "north", "south")} == {CELLS * len(LABELS)}
        own = [pair.n_test for pair in evaluation.select("logistic", "north", "north")]
        assert sum(own) == CELLS * len(LABELS)

    def test_the_same_seed_gives_the_same_model_with_pictures_of_its_cells_or_without(self, run_folder, logistic_run):
        latents = [np.load(folder / "work/fold-0/latents.npy") for folder in (run_folder, logistic_run)]
        np.testing.assert_array_equal(*latents)
        first, second = (BCSam.from_pretrained(folder) for folder in (run_folder, logistic_run))
        np.testing.assert_array_equal(second.reference.latents, first.reference.latents)
        assert first.n_thumbnails == {}
        assert sum(second.n_thumbnails.values()) == len(second.reference.latents)
        self.every_picture_is_of_its_cell(logistic_run, second)

    @staticmethod
    def every_picture_is_of_its_cell(run, model):
        """Each thumbnail shows the cell with the same latent."""
        cells, latents = Experiment.open(run).cells, np.load(run / "work/fold-0/latents.npy")
        for row, latent in enumerate(model.reference.latents):
            (cell,) = np.flatnonzero((latents == latent).all(axis=1))[:1]
            assert model.reference.thumbnail(row) == draw_thumbnail(cells.pixels[cell])

    def test_a_folder_that_is_not_a_run_is_rejected(self, run_bc_sam, tmp_path, capsys):
        assert run_bc_sam("evaluate", tmp_path) == 1
        assert "bc-sam train" in capsys.readouterr().err
