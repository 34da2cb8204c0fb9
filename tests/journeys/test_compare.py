"""All methods in one table, and the use of each trained model."""

import json

import pytest
from made_once import made_once
from small_run import CELLS, DATA, ONE_CLASSIFIER, small_options

from bc_sam import load_model
from bc_sam.config.labels import LABELS
from bc_sam.evaluation.results import Evaluation

METHODS = ("resnet", "bc-sam", "slca", "shape-aware")


@pytest.fixture(scope="module")
def options(small_base):
    networks = ("--set", "network.epochs=2", "--set", "network.input_size=48")
    return (*small_options(small_base), *DATA, *ONE_CLASSIFIER, *networks)


@pytest.fixture(scope="module")
def table(tmp_path_factory, run_bc_sam, options):
    """A finished `bc-sam compare` of all methods. Not a copy, as its runs name the folder that they share."""

    def compare(folder):
        assert run_bc_sam("compare", "--out", folder, *options) == 0

    return made_once(tmp_path_factory, "table", compare)


def test_one_command_makes_the_table(table):
    evaluation = Evaluation.load(table / "evaluation.json")
    rows = set(evaluation.classifiers)
    assert {"resnet", "slca", "shape-aware", "bc-sam"} <= rows
    counted = {(pair.source, pair.target): pair.n_test for pair in evaluation.pairs if pair.classifier == "resnet"}
    for pair in evaluation.pairs:  # the same cells for all
        assert pair.n_test == counted[pair.source, pair.target]
    text = (table / "comparison.md").read_text()
    assert all(f"| {method} |" in text for method in METHODS)
    assert "trained parameters" in text


def test_shared_stages_are_computed_once(table):
    shared = table / "work"
    assert (shared / "cells" / "table.json").exists()
    stage = {
        method: {
            timing.seconds
            for timing in Evaluation.load(table / method / "evaluation.json").timings
            if timing.stage == "stage 1: masks"
        }
        for method in ("bc-sam", "slca", "shape-aware")
    }
    assert stage["bc-sam"] == stage["slca"] == stage["shape-aware"]  # its cost is reported for each


def test_repeating_the_command_does_not_rerun_anything(options, run_bc_sam, tmp_path, capsys):
    outputs = []
    for _ in range(2):
        assert run_bc_sam("compare", "--method", "resnet", "--out", tmp_path, *options) == 0
        results = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")}
        outputs.append((results, capsys.readouterr().out))
    (before, _), (after, out) = outputs
    assert before == after != {}
    assert "resnet" in out


@pytest.mark.parametrize("method", ["resnet", "slca", "shape-aware"])
def test_each_model_predicts(table, run_bc_sam, cell_files, tmp_path, capsys, method):
    out = tmp_path / "cells.csv"
    cells = ("--no-abstain", cell_files[0].parent.parent)
    assert run_bc_sam("predict", "--model", table / method, *cells, "--csv", out) == 0
    assert len(out.read_text().splitlines()) == len(cell_files) + 1
    assert "Differential count" in capsys.readouterr().out
    assert run_bc_sam("info", table / method) == 0
    assert f"method          {method}" in capsys.readouterr().out


def test_a_network_is_evaluated_as_any_model(table, run_bc_sam, tmp_path):
    figures = tmp_path / "figures.json"
    assert run_bc_sam("evaluate", table / "slca", "--data", "new=rendered:tehran:1", "--out", figures) == 0
    (pair,) = json.loads(figures.read_text())["pairs"]
    assert (pair["classifier"], pair["n_test"]) == ("slca", 13)


def test_a_network_gets_a_report(options, run_bc_sam, tmp_path):
    """Its other folds, under the protocol of the paper, in a run of its own that shares nothing."""
    out = tmp_path / "run"
    assert run_bc_sam("train", "--method", "slca", "--out", out, *options, "--protocol", "paper") == 0
    assert "Attention maps" in (out / "report.html").read_text()
    pairs = Evaluation.load(out / "evaluation.json").pairs
    assert {pair.n_test for pair in pairs if (pair.source, pair.target) == ("north", "south")} == {CELLS * len(LABELS)}


@pytest.mark.parametrize("method", ["slca", "shape-aware"])
def test_attention_is_drawn_and_unreadable_images_are_reported(
    table, run_bc_sam, cell_files, tmp_path, capsys, method
):
    bad = tmp_path / "bad.png"
    bad.write_text("no image")
    assert run_bc_sam("attention", "--model", table / method, *cell_files[:3], bad, "--out", tmp_path / "drawn") == 3
    assert [path.name for path in (tmp_path / "drawn").iterdir()] == ["attention_001.png"]
    assert "bad.png" in capsys.readouterr().err


def test_models_without_attention_are_rejected(table, run_bc_sam, cell_files, tmp_path, capsys):
    for method in ("resnet", "bc-sam"):
        assert run_bc_sam("attention", "--model", table / method, cell_files[0], "--out", tmp_path) == 1
        assert "--method slca" in capsys.readouterr().err


def test_a_network_is_pushed_and_loaded_from_the_hub(table, run_bc_sam, hub, repo_id, cell_files):
    assert run_bc_sam("push", table / "shape-aware", repo_id) == 0
    here, there = load_model(table / "shape-aware"), load_model(repo_id)
    assert here.predict([cell_files[0]]) == there.predict([cell_files[0]])
    assert there.evaluation == here.evaluation


def test_an_unknown_method_is_an_error(run_bc_sam, tmp_path, capsys):
    assert run_bc_sam("train", "--method", "vgg", "--out", tmp_path / "run") == 1
    assert "shape-aware" in capsys.readouterr().err


def test_a_network_cannot_be_adapted(table, run_bc_sam, tmp_path, capsys):
    new = ("--data", "new=rendered:tehran:1")
    assert run_bc_sam("adapt", table / "resnet", *new, "--out", tmp_path / "run") == 1
    assert "cannot be adapted" in capsys.readouterr().err
