"""An experiment splits its cells, runs each pass once, and joins the results."""

from dataclasses import replace

import numpy as np
import pytest

from bc_sam.errors import BCSamError, ConfigError, DataError
from bc_sam.evaluation.results import DiceResult, PairResult, StageTiming
from bc_sam.training.experiment import FOLD_RUNNERS, Experiment, FoldRunner
from bc_sam.training.fold import FoldResult


class Recorder:
    """Stands in for a method's fold runner: records the folds it is called with."""

    def __init__(self):
        self.folds = []

    def __call__(self, fold):
        self.folds.append(fold)
        pair = PairResult("rf", "north", "south", fold.number, 10, 5, 0.5, 0.5, 0.5, 0.5, [[0]])
        FoldResult(
            [pair],
            [DiceResult("north", fold.number, 0.9, 0.1, 3)],
            [StageTiming("stage 1: masks", fold.number, 1.0, 2.0)],
            {},
            {"stage 1: masks": 1000},
        ).save(fold.folder / "result.json")


@pytest.fixture
def recorded(experiment):
    """An experiment whose passes only record their inputs."""

    def start(one_pass_for_paper=False, **options):
        run = experiment(**options)
        run.runner = FoldRunner(Recorder(), one_pass_for_paper)
        return run

    return start


class TestFolds:
    def test_every_fold_has_cells_of_every_class_and_laboratory(self, experiment):
        run = experiment()
        for fold in range(3):
            held_out = run.folds == fold
            assert set(run.cells.labels[held_out]) == set(run.cells.labels)
            assert set(run.cells.domains[held_out]) == {0, 1}

    def test_slides_stay_together(self, experiment):
        run = experiment()
        table = run.cells.table
        slides = {}
        for domain, group, fold in zip(table.domains, table.groups, run.folds, strict=True):
            slides.setdefault((domain, group), set()).add(fold)
        assert len(slides) < len(run.cells)
        assert all(len(folds) == 1 for folds in slides.values())

    def test_the_seed_decides_them(self, experiment, tmp_path):
        first, again, other = (
            experiment(tmp_path / name, seed=seed).folds for name, seed in (("a", 1), ("b", 1), ("c", 2))
        )
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)


class TestLeaveOneOut:
    def test_each_laboratory_is_a_fold(self, experiment):
        run = experiment(protocol="leave-one-out")
        assert run.n_folds == 2
        assert np.array_equal(run.folds, run.cells.domains)

    def test_no_stage_sees_cells_of_the_held_out_laboratory(self, recorded):
        run = recorded(protocol="leave-one-out", validation=0.25)
        run.run_fold(1)
        (fold,) = run.runner.run.folds
        seen = np.concatenate([fold.pipeline.rows, fold.pipeline.validation])
        assert set(run.cells.domains[seen]) == {0}

    def test_a_single_laboratory_is_rejected(self, laboratories, small_training, tmp_path):
        from bc_sam.training.experiment import RunConfig

        arguments = replace(small_training, protocol="leave-one-out")
        config = RunConfig((f"north={laboratories / 'munich'}",), arguments=arguments)
        with pytest.raises(ConfigError, match="needs two or more laboratories"):
            Experiment.create(tmp_path / "run", config).run_fold(0)

    def test_each_laboratory_is_tested_by_a_model_of_the_others(self, experiment):
        run = experiment(protocol="leave-one-out")
        for number in range(run.n_folds):
            run.run_fold(number)
        evaluation = run.evaluation()
        assert [tuple(pair) for pair in evaluation.domain_pairs] == [("others", "north"), ("others", "south")]
        assert evaluation.n_folds == 2
        for pair in evaluation.pairs:
            assert (pair.n_train, pair.n_test) == (18, 18)
            assert pair.restricted is not None


class TestValidation:
    def test_by_default_there_is_no_validation_set(self, experiment):
        rows, validation = experiment().split_validation(np.arange(30))
        assert rows.tolist() == list(range(30))
        assert len(validation) == 0

    def test_training_and_validation_cells_are_disjoint(self, experiment):
        run = experiment(validation=0.25)
        learned = np.flatnonzero(run.folds != 0)
        rows, validation = run.split_validation(learned)
        assert sorted([*rows, *validation]) == learned.tolist()
        assert 0 < len(validation) < len(rows)

    def test_no_slide_is_split(self, experiment):
        run = experiment(validation=0.25)
        rows, validation = run.split_validation(np.arange(len(run.cells)))
        table = run.cells.table
        sides = [{(table.domains[row], table.groups[row]) for row in part} for part in (rows, validation)]
        assert not sides[0] & sides[1]


class TestPasses:
    def test_the_held_out_fold_is_not_trained_on(self, recorded):
        run = recorded(validation=0.25)
        run.run_fold(1)
        (fold,) = run.runner.run.folds
        seen = np.concatenate([fold.pipeline.rows, fold.pipeline.validation])
        assert sorted(seen) == np.flatnonzero(run.folds != 1).tolist()
        assert (fold.number, fold.folder.name, fold.pipeline.folder.name) == (1, "fold-1", "fold-1")

    def test_a_finished_pass_is_not_rerun(self, recorded):
        run = recorded()
        assert not run.is_measured(0)
        first = run.run_fold(0)
        assert run.is_measured(0)
        assert run.run_fold(0) == first
        assert len(run.runner.run.folds) == 1

    def test_a_pass_on_other_cells_is_rerun_and_its_result_not_joined(self, recorded, caplog):
        run = recorded()
        run.run_fold(0)
        path = run.work / "fold-0" / "result.json"
        replace(FoldResult.load(path), cells=run.cells.content_key).save(path)
        assert run.is_measured(0)
        replace(FoldResult.load(path), cells=run.cells.content_key + 1).save(path)
        assert not run.finished_passes()
        run.run_fold(0)
        assert len(run.runner.run.folds) == 2
        assert "The cells have changed" in caplog.text

    def test_a_pass_from_another_base_is_rerun_and_its_result_not_joined(self, recorded, caplog):
        run = recorded()
        run.run_fold(0)
        path = run.work / "fold-0" / "result.json"
        replace(FoldResult.load(path), base=run.base).save(path)
        assert run.base
        assert run.is_measured(0)
        replace(FoldResult.load(path), base="another").save(path)
        assert not run.finished_passes()
        assert not run.is_measured(0)
        run.run_fold(0)
        assert len(run.runner.run.folds) == 2
        assert caplog.text.count("The base has changed") == 1

    def test_the_paper_protocol_trains_on_every_image(self, recorded):
        run = recorded(protocol="paper")
        run.run_fold(1)
        (fold,) = run.runner.run.folds
        assert len(fold.pipeline.rows) == len(run.cells)
        assert fold.folder.name == "fold-1"
        assert fold.pipeline.folder.name == "all"  # stage 1 is the same for all folds
        assert fold.keep_stage_1

    def test_the_paper_protocol_may_use_one_pass_for_all_folds(self, recorded):
        run = recorded(one_pass_for_paper=True, protocol="paper")
        for number in range(3):
            run.run_fold(number)
        assert len(run.runner.run.folds) == 1
        assert [folder.name for folder in run.finished_passes()] == ["all"]

    def test_checkpoints_of_stage_1_are_kept_for_runs_that_share_them(self, recorded, tmp_path):
        alone, shared = recorded(), recorded(folder=tmp_path / "other", shared=str(tmp_path / "shared"))
        for run in (alone, shared):
            run.run_fold(0)
        assert [run.runner.run.folds[0].keep_stage_1 for run in (alone, shared)] == [False, True]
        assert shared.runner.run.folds[0].pipeline.folder == tmp_path / "shared" / "fold-0"

    def test_a_single_class_is_rejected_before_training(self, laboratories, small_training, tmp_path):
        from bc_sam.training.experiment import RunConfig

        others = dict.fromkeys(("basophil", "eosinophil"))
        config = RunConfig((f"north={laboratories / 'munich'}",), label_map=others, arguments=small_training)
        run = Experiment.create(tmp_path / "run", config)
        run.runner = FoldRunner(Recorder())
        with pytest.raises(DataError, match="two classes"):
            run.run_fold(0)
        assert run.runner.run.folds == []

    def test_every_method_has_a_runner(self):
        from typing import get_args

        from bc_sam.config.network import Method

        assert set(FOLD_RUNNERS) == set(get_args(Method))


class TestEvaluation:
    def test_it_joins_the_finished_passes(self, recorded):
        run = recorded()
        run.run_fold(0)
        run.run_fold(2)
        evaluation = run.evaluation()
        assert [pair.fold for pair in evaluation.pairs] == [0, 2]
        assert [dice.fold for dice in evaluation.dice] == [0, 2]
        assert [timing.fold for timing in evaluation.timings] == [0, 2]
        assert evaluation.environment["trained parameters"] == "1,000"
        assert (evaluation.n_folds, evaluation.domains) == (3, ["north", "south"])

    def test_it_counts_the_cells_of_each_class(self, recorded):
        run = recorded()
        run.run_fold(0)
        assert run.evaluation().counts["north"] == {"basophil": 6, "eosinophil": 6, "monocyte": 6}


class TestFolder:
    def test_it_is_opened_with_its_config(self, experiment):
        started = experiment(seed=7)
        assert Experiment.open(started.folder).config == started.config

    def test_other_options_are_rejected_once_there_are_results(self, experiment):
        run = experiment()
        (run.folder / "work" / "fold-0").mkdir(parents=True)
        (run.folder / "work" / "fold-0" / "result.json").write_text("{}")
        with pytest.raises(BCSamError, match="other options"):
            experiment(run.folder, seed=7)

    def test_other_folders_are_rejected_with_a_hint(self, tmp_path):
        with pytest.raises(ConfigError, match="bc-sam train"):
            Experiment.open(tmp_path)

    def test_a_run_of_an_older_version_is_opened(self, experiment):
        """Its settings had other names."""
        run = experiment()
        path = run.folder / "run.json"
        path.write_text(path.read_text().replace('"ablation"', '"left_out"'))
        assert '"left_out"' in path.read_text()
        assert Experiment.open(run.folder).config == run.config
