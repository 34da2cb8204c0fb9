"""A laboratory adapts a trained model to its own cells, with or without labels, and compares both."""

import csv
import io
import json
import re
import shutil
from contextlib import redirect_stdout
from dataclasses import replace

import numpy as np
import pytest
from made_once import copied, made_once

from bc_sam import BCSam
from bc_sam.config.labels import LABELS
from bc_sam.data.datasets.rendered import write_rendered
from bc_sam.evaluation.results import Evaluation
from bc_sam.training.adaptation import ENOUGH_MASKS, AdaptationResult

#: Four classes under names of the hospital's own.
OURS = {
    "eos": "eosinophil",
    "neutro": "neutrophil_segmented",
    "mono": "monocyte",
    "lympho": "lymphocyte_typical",
}
#: Cells of each class: two on each of eight slides.
CELLS = 16
SMALL = ("--set", "training.autoencoder.epochs=1", "--set", "training.segmentation.epochs=1")


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    """Cells of a third laboratory, eight slides of four classes, and annotated masks of all of them."""
    return made_once(tmp_path_factory, "hospital", write_hospital)


def write_hospital(folder):
    write_rendered(folder / "all", ("tehran",), cells_per_class=CELLS, size=96, labels=tuple(OURS.values()))
    names = {label: name for name, label in OURS.items()}
    pairs = []
    for file in sorted((folder / "all" / "tehran").rglob("*.png")):
        number = int(file.stem.split("_")[-1])
        target = folder / "cells" / names[file.parent.name] / f"slide{number % 8}_{number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
        mask = next((folder / "all" / "masks").rglob(f"{file.stem}.png"))
        pairs.append((f"{target.parent.name}/{target.name}", mask))
    with (folder / "pairs.csv").open("w", newline="") as table:
        csv.writer(table).writerows([("image", "mask"), *pairs])


@pytest.fixture(scope="module")
def cells(hospital):
    """Options that name the cells of the hospital, and keep an adaptation to seconds."""
    maps = [option for name, label in OURS.items() for option in ("--map", f"{name}={label}")]
    return ("--data", f"ours={hospital / 'cells'}", "--group-pattern", "^([^_]+)_", *maps, *SMALL)


@pytest.fixture(scope="module")
def adapted(run_bc_sam, run_folder, cells, tmp_path_factory):
    """An adaptation of a model with every kind of classifier."""

    def adapt(out):
        assert run_bc_sam("adapt", run_folder, *cells, "--out", out) == 0

    return copied(made_once(tmp_path_factory, "adapted", adapt), tmp_path_factory)


@pytest.fixture(scope="module")
def model(run_folder, tmp_path_factory):
    """The folder of a model with two classifiers, which is adapted in a fraction of the time."""
    model = BCSam.from_pretrained(run_folder)
    names = ("logistic", "svm_rbf")
    model.classifiers = {name: model.classifiers[name] for name in names}
    model.config = replace(model.config, classifiers={name: model.config.classifiers[name] for name in names})
    fitted = replace(model.record.arguments.classifiers, names=names)
    model.record = replace(model.record, arguments=replace(model.record.arguments, classifiers=fitted))
    return model.save_pretrained(tmp_path_factory.mktemp("models") / "two")


@pytest.fixture(scope="module")
def options(model, cells):
    return ("adapt", model, *cells)


@pytest.fixture(scope="module")
def unlabelled(run_bc_sam, options, tmp_path_factory):
    """An adaptation without labels that keeps pictures of the cells."""
    out = tmp_path_factory.mktemp("unlabelled") / "run"
    assert run_bc_sam(*options, "--out", out, "--labels-per-class", 0, "--keep-pictures") == 0
    return out


@pytest.fixture(scope="module")
def restricted(run_bc_sam, options, tmp_path_factory):
    """An adaptation that is restricted to the classes of the hospital, and what it printed."""
    out = tmp_path_factory.mktemp("restricted") / "run"
    with redirect_stdout(io.StringIO()) as printed:
        assert run_bc_sam(*options, "--out", out, "--labels", ",".join(OURS.values())) == 0
    return out, printed.getvalue()


def test_the_adapted_model_lists_old_and_new_laboratories(adapted, run_folder, hospital):
    model = BCSam.from_pretrained(adapted)
    assert model.config.domains == ("north", "south", "ours")
    assert set(np.unique(model.reference.domains)) == {0, 1, 2}
    assert set(model.predict(sorted((hospital / "cells").rglob("*.png"))[:8])) <= set(model.labels)
    old = BCSam.from_pretrained(run_folder)
    assert old.config.domains == ("north", "south")


def test_every_classifier_is_compared_on_whole_slides_that_were_held_out(adapted):
    result = AdaptationResult.load(adapted / "result.json")
    assert result.learned + result.held_out == CELLS * len(OURS)
    assert result.labelled == result.learned
    assert {comparison.classifier for comparison in result.comparisons} == set(
        BCSam.from_pretrained(adapted).classifiers
    )
    for comparison in result.comparisons:
        assert comparison.cells == result.held_out
        assert comparison.slides * len(OURS) * CELLS // 8 == comparison.cells
        assert set(comparison.per_class) == set(OURS.values())


def test_evaluate_shows_the_outcome_without_the_data(adapted, run_bc_sam, tmp_path, capsys):
    capsys.readouterr()
    assert run_bc_sam("evaluate", adapted, "--out", tmp_path / "results.json") == 0
    out = capsys.readouterr().out
    result = AdaptationResult.load(adapted / "result.json")
    assert all(str(comparison.gain) in out for comparison in result.comparisons)
    assert f"Report: {adapted / 'report.html'}" in out
    assert Evaluation.load(tmp_path / "results.json") == BCSam.from_pretrained(adapted).evaluation


def test_an_unfinished_adaptation_is_not_shown_but_to_be_resumed(adapted, run_bc_sam, tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(adapted / "adaptation.json", run)
    assert run_bc_sam("evaluate", run) == 1
    assert f"bc-sam resume {run}" in capsys.readouterr().err


def test_evaluation_on_cells_leads_with_the_classifier_that_answers(adapted, hospital, run_bc_sam, capsys):
    maps = [option for name, label in OURS.items() for option in ("--map", f"{name}={label}")]
    capsys.readouterr()
    assert run_bc_sam("evaluate", adapted, "--data", f"ours={hospital / 'cells'}", *maps) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    default = BCSam.from_pretrained(adapted).config.default_classifier
    assert first == f"{default} on {CELLS * len(OURS)} cells of ours, % (95 % confidence interval)"
    heads = next(number for number, line in enumerate(lines) if "most often mistaken for" in line)
    assert [line.split()[:2] for line in lines[heads + 1 : heads + 5]] == [
        [label, str(CELLS)] for label in LABELS if label in OURS.values()
    ]


def test_options_of_cells_are_refused_without_cells(adapted, run_bc_sam, capsys):
    assert run_bc_sam("evaluate", adapted, "--map", "a=monocyte", "--batch-size", 2) == 1
    assert "--map, --batch-size applies to a model on labelled cells. Add --data" in capsys.readouterr().err


def test_the_table_states_the_verdict(options, run_bc_sam, tmp_path, capsys):
    assert run_bc_sam(*options, "--out", tmp_path / "run", "--labels-per-class", 3) == 0
    out = capsys.readouterr().out
    assert "12 of them labelled" in out
    assert "Too few held-out cells to tell" in out


def test_without_labels_the_classifiers_are_unchanged(unlabelled, model):
    assert AdaptationResult.load(unlabelled / "result.json").labelled == 0
    assert list((model / "classifiers").glob("*.skops"))
    for file in (model / "classifiers").glob("*.skops"):
        assert file.read_bytes() == (unlabelled / "model" / "classifiers" / file.name).read_bytes()


def test_thumbnails_are_stored_on_request_only_and_declared(adapted, unlabelled, run_bc_sam, capsys):
    assert BCSam.from_pretrained(adapted).n_thumbnails == {}
    model = BCSam.from_pretrained(unlabelled)
    assert model.n_thumbnails == {"ours": int((model.reference.domains == 2).sum())}
    assert f"{model.n_thumbnails['ours']} of ours" in (unlabelled / "model" / "README.md").read_text()
    capsys.readouterr()
    assert run_bc_sam("info", adapted) == 0
    assert re.search(r"^pictures inside +none$", capsys.readouterr().out, re.MULTILINE)
    assert run_bc_sam("info", unlabelled) == 0
    assert f"{model.n_thumbnails['ours']} of ours (licence: not stated)" in capsys.readouterr().out


def test_learn_from_new_has_only_the_new_classes(options, run_bc_sam, tmp_path):
    assert run_bc_sam(*options, "--out", tmp_path / "run", "--learn-from", "new") == 0
    model = BCSam.from_pretrained(tmp_path / "run")
    for classifier in model.classifiers.values():
        assert {model.labels[i] for i in classifier.classes} == set(OURS.values())


def test_restricted_to_labels_that_can_occur_it_predicts_no_others(restricted, run_bc_sam, hospital, capsys):
    run, printed = restricted
    assert "restrict it to these" not in printed
    model = BCSam.from_pretrained(run)
    assert set(model.config.allowed_labels) == set(OURS.values())
    files = sorted((hospital / "cells").rglob("*.png"))[::6]
    others = [column for column, label in enumerate(LABELS) if label not in OURS.values()]
    for name, classifier in model.classifiers.items():
        assert len(classifier.classes) > len(OURS)  # the others are trained, but not predicted
        assert not model.predict_proba(files, classifier=name)[:, others].any()
    card = (run / "model" / "README.md").read_text()
    assert "| allowed labels | " in card
    assert "The classifiers were restricted to " in card
    capsys.readouterr()
    assert run_bc_sam("info", run) == 0
    assert "allowed labels  " in capsys.readouterr().out


def test_labels_of_some_classes_only_bring_the_advice_to_restrict_the_labels(adapted, run_bc_sam, capsys):
    assert run_bc_sam("resume", adapted) == 0
    out = capsys.readouterr().out
    assert "your cells carry 4 of them" in out
    assert f"--labels {','.join(label for label in LABELS if label in OURS.values())} " in out


def test_annotated_masks_fine_tune_the_adapter(options, run_bc_sam, model, hospital, tmp_path):
    assert run_bc_sam(*options, "--out", tmp_path / "run", "--masks", hospital / "pairs.csv") == 0
    result = AdaptationResult.load(tmp_path / "run" / "result.json")
    assert result.masks == result.learned >= ENOUGH_MASKS
    name = "adapter/adapter_model.safetensors"
    assert (tmp_path / "run" / "model" / name).read_bytes() != (model / name).read_bytes()


def test_a_flat_folder_without_labels_is_accepted(run_bc_sam, model, hospital, tmp_path, capsys):
    (tmp_path / "flat").mkdir()
    for file in sorted((hospital / "cells" / "mono").iterdir()):
        shutil.copy(file, tmp_path / "flat")
    data = ("--data", f"ours={tmp_path / 'flat'}", "--group-pattern", "^([^_]+)_")
    assert run_bc_sam("adapt", model, *data, *SMALL, "--out", tmp_path / "run") == 0
    assert "cannot be compared with the original" in capsys.readouterr().out
    assert BCSam.from_pretrained(tmp_path / "run").evaluation is None


def test_the_card_states_how_it_was_evaluated(adapted):
    card = (adapted / "model" / "README.md").read_text()
    assert "tested on held-out slides of it" in card
    assert "| ours |" in card


def test_finished_and_interrupted_runs_are_resumed(adapted, run_bc_sam, tmp_path):
    copy = shutil.copytree(adapted, tmp_path / "run")
    (copy / "result.json").unlink()
    before = (copy / "model" / "autoencoder" / "model.safetensors").read_bytes()
    assert run_bc_sam("resume", copy) == 0
    assert (copy / "model" / "autoencoder" / "model.safetensors").read_bytes() == before


class TestFormerSpellings:
    def test_train_from_adapts_and_names_the_new_spelling(self, restricted, options, run_bc_sam, capsys):
        """It is taken for the command that made the run, in whose folder any other would be refused."""
        _, model, *rest = options
        former = ("--among", ",".join(OURS.values()), "--out", restricted[0])
        assert run_bc_sam("train", "--from", model, *rest, *former) == 0
        assert "train --from MODEL is now spelled adapt MODEL." in capsys.readouterr().err.splitlines()
        assert run_bc_sam("train", "--from", model, *rest, *former, "--labels-per-class", 0) == 1
        assert "other options" in capsys.readouterr().err

    def test_train_resume_resumes_and_names_the_new_spelling(self, adapted, run_bc_sam, capsys):
        assert run_bc_sam("train", "--resume", "--out", adapted) == 0
        assert "train --resume --out RUN is now spelled resume RUN." in capsys.readouterr().err.splitlines()

    def test_runs_of_older_versions_are_resumed(self, adapted, run_bc_sam, tmp_path):
        run = shutil.copytree(adapted, tmp_path / "run")
        config = json.loads((run / "adaptation.json").read_text())
        config["arguments"]["among"] = config["arguments"].pop("allowed_labels")
        (run / "adaptation.json").write_text(json.dumps(config))
        assert run_bc_sam("resume", run) == 0


class TestMistakes:
    def test_unknown_folder_names_get_a_suggestion(self, run_bc_sam, model, hospital, tmp_path, capsys):
        data = ("--data", f"ours={hospital / 'cells'}")
        assert run_bc_sam("adapt", model, *data, "--out", tmp_path / "run") == 1
        assert "--map neutro=neutrophil_segmented" in capsys.readouterr().err

    def test_one_laboratory_at_a_time(self, options, run_bc_sam, tmp_path, capsys):
        assert run_bc_sam(*options, "--data", "more=rendered:munich:1", "--out", tmp_path / "run") == 1
        assert "one laboratory at a time" in capsys.readouterr().err

    def test_labels_outside_the_allowed_ones_are_rejected(self, options, run_bc_sam, tmp_path, capsys):
        assert run_bc_sam(*options, "--out", tmp_path / "run", "--labels", "monocyte,eosinophil,basophil") == 1
        error = capsys.readouterr().err
        assert "cells labelled lymphocyte_typical, neutrophil_segmented" in error
        assert "Add the others to --labels" in error

    def test_options_of_adapt_are_rejected_by_train(self, run_bc_sam, tmp_path, capsys):
        for option, value in (("--among", "monocyte"), ("--labels-per-class", 0), ("--learn-from", "new")):
            assert run_bc_sam("train", option, value, "--out", tmp_path / "run") == 1
            assert "bc-sam adapt MODEL" in capsys.readouterr().err

    def test_a_model_without_embeddings_is_rejected(self, cells, run_bc_sam, model, tmp_path, capsys):
        bare = BCSam.from_pretrained(model)
        bare.reference = None
        bare.save_pretrained(tmp_path / "bare")
        assert run_bc_sam("adapt", tmp_path / "bare", *cells, "--out", tmp_path / "run") == 1
        assert "stores no embeddings" in capsys.readouterr().err

    def test_other_options_need_another_folder(self, adapted, options, run_bc_sam, capsys):
        assert run_bc_sam(*options, "--out", adapted, "--seed", 5) == 1
        assert "other options" in capsys.readouterr().err
        assert json.loads((adapted / "adaptation.json").read_text())["arguments"]["training"]["seed"] == 1234

    def test_a_single_slide_cannot_be_held_out(self, options, run_bc_sam, hospital, tmp_path, capsys):
        arguments = [option if option != "^([^_]+)_" else "^(slide)" for option in options]
        assert run_bc_sam(*arguments, "--out", tmp_path / "run") == 1
        assert "slides" in capsys.readouterr().err
