from dataclasses import replace

import pytest
from example_evaluation import example_evaluation

from bc_sam.config.presets import preset
from bc_sam.evaluation.results import StageTiming
from bc_sam.training.comparison_runs import (
    costs,
    join,
    planned_runs,
    render_all_markdown,
    render_all_text,
    run_all,
)
from bc_sam.training.experiment import RunConfig


def evaluated(name, classifiers, parameters="1,234"):
    """A run of one method with two folds of ten and twenty seconds."""
    evaluation = example_evaluation(folds=2, classifiers=classifiers)
    pairs = evaluation.pairs
    if len(classifiers) == 1:
        pairs = [replace(pair, classifier=name) for pair in pairs]
    return replace(
        evaluation,
        pairs=pairs,
        timings=[StageTiming("stage 3: network", fold, 10.0 * (fold + 1), 100.0) for fold in (0, 1)],
        environment={"method": name, "torch": "2", "trained parameters": parameters},
    )


@pytest.fixture
def evaluations():
    return {"slca": evaluated("slca", ("rf",)), "bc-sam": evaluated("bc-sam", ("rf", "ann"), "99")}


def tiny(method):
    return preset("tiny", method)


def test_every_method_is_run_once():
    runs = planned_runs(tiny, ["resnet", "bc-sam", "slca", "shape-aware"])
    assert list(runs) == ["resnet", "bc-sam", "slca", "shape-aware"]
    assert [arguments.method for arguments in runs.values()] == list(runs)


def test_every_method_sees_a_cell_in_one_orientation():
    runs = planned_runs(lambda method: preset("pretrained", method), ["bc-sam", "resnet"])
    assert [arguments.average_turns for arguments in runs.values()] == [False, False]


def test_ablations_are_those_of_the_papers():
    runs = planned_runs(tiny, ["slca", "shape-aware"], ablations=True)
    assert list(runs) == [
        "slca",
        "slca without attention",
        "shape-aware",
        "shape-aware without mask",
        "shape-aware without attention",
        "shape-aware on sam",
    ]
    assert len(set(map(repr, runs.values()))) == len(runs)


def test_label_fractions_apply_to_slca():
    runs = planned_runs(tiny, ["resnet", "slca"], ablations=True, fractions=[0.1, 0.5])
    shares = {name: arguments.label_fraction for name, arguments in runs.items() if arguments.label_fraction < 1}
    assert shares == {
        "slca, 10% of labels": 0.1,
        "slca without attention, 10% of labels": 0.1,
        "slca, 50% of labels": 0.5,
        "slca without attention, 50% of labels": 0.5,
    }


def test_networks_have_one_row_and_bc_sam_one_per_classifier(evaluations):
    joined = join(evaluations)
    assert joined.classifiers == ["slca", "bc-sam rf", "bc-sam ann"]
    own = evaluations["bc-sam"]
    assert joined.mean_std("bc-sam ann", *own.domain_pairs[0]) == own.mean_std("ann", *own.domain_pairs[0])
    assert "method" not in joined.environment


def test_costs_are_per_fold(evaluations):
    heading, *lines = costs(evaluations)
    assert heading[0] == "method"
    assert lines == [["slca", "1,234", "15", "100"], ["bc-sam", "99", "15", "100"]]


@pytest.mark.parametrize("render", [render_all_text, render_all_markdown])
def test_every_rendering_has_every_row(evaluations, render):
    text = render(evaluations)
    for name in ("slca", "bc-sam rf", "bc-sam ann", "1,234", "Macro F1"):
        assert name in text


def test_checkpoints_that_a_kill_left_are_removed_once_all_runs_are_finished(tmp_path):
    for stage in ("fold-0/stage-1", "fold-0/stage-2", "all/stage-2"):
        (tmp_path / "work" / stage / "step-00000002").mkdir(parents=True)
        (tmp_path / "work" / stage / "step-00000002" / "state.json").write_text("{}")
    run_all(tmp_path, RunConfig(()), {}, all_folds=False)
    assert [stage.name for stage in (tmp_path / "work").glob("*/*")] == ["stage-1"]
