"""One fold of a comparison network, which is trained on each source; the model of all sources is kept."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from small_network import small_arguments

from bc_sam import BCSam
from bc_sam.config.arguments import ClassifierArguments
from bc_sam.errors import DataError
from bc_sam.models.auto import load_model
from bc_sam.training.comparison_fold import prepare_sam
from bc_sam.training.experiment import Experiment, RunConfig


def network(variant, **more):
    method, arguments = small_arguments(variant, epochs=1, batch_size=8, warmup_epochs=0, **more)
    return {"method": method, "network": arguments}


@pytest.fixture
def finished(experiment):
    def run(variant, **options):
        started = experiment(**network(variant), **options)
        return started, started.run_fold(0)

    return run


class TestPlainNetwork:
    def test_it_is_trained_on_each_source_and_tested_on_each_target(self, finished):
        _, result = finished("resnet")
        assert {(pair.source, pair.target) for pair in result.pairs} == {
            (source, target) for source in ("north", "south", "all") for target in ("north", "south")
        }
        assert {pair.classifier for pair in result.pairs} == {"resnet"}
        assert sorted(result.history) == [f"stage 3: network, {source}" for source in ("all", "north", "south")]
        assert result.dice == []

    @pytest.mark.parametrize("weights", [{}, {"monocyte": 1000.0}])
    def test_the_saved_model_is_trained_on_all_domains_and_answers_as_it_was_evaluated(self, finished, weights):
        run, result = finished("resnet", classifiers=ClassifierArguments(label_weights=weights))
        model = load_model(run.folder / "work" / "fold-0" / "model")
        assert model.config.label_weights == weights
        held_out = np.flatnonzero(run.folds == 0)
        north = held_out[run.cells.domains[held_out] == 0]
        named = model.predict(list(run.cells.pixels[north]), abstain=False)
        (pair,) = [pair for pair in result.pairs if (pair.source, pair.target) == ("all", "north")]
        correct = [run.labels[label] == name for label, name in zip(run.cells.labels[north], named, strict=True)]
        assert pair.accuracy == pytest.approx(np.mean(correct))

    def test_it_has_no_sam(self, experiment):
        run = experiment(**network("resnet"))
        frozen = prepare_sam(run._fold(0))
        assert (frozen.sam, frozen.features, frozen.channels) == (None, None, 0)


class TestNetworkOnSam:
    def test_networks_that_need_masks_get_a_fine_tuned_sam(self, finished):
        run, result = finished("shape-aware")
        assert "stage 1: masks" in result.history
        assert sum(dice.n for dice in result.dice) == (run.folds == 0).sum()
        assert not isinstance(load_model(run.folder / "work" / "fold-0" / "model"), BCSam)

    def test_other_networks_use_the_unchanged_base(self, experiment):
        run = experiment(**network("slca", learn_masks=False))
        result = run.run_fold(0)
        assert "stage 1: masks" not in result.history
        assert (run.work / "frozen" / "features").is_dir()  # the same in every fold


def test_a_source_of_a_single_class_is_rejected(laboratories, small_training, tmp_path):
    north, south = laboratories / "munich", laboratories / "barcelona"
    only = tmp_path / "south"
    shutil.copytree(south / "monocyte", only / "monocyte")
    config = RunConfig((f"north={north}", f"south={only}"), arguments=replace(small_training, **network("resnet")))
    with pytest.raises(DataError, match="All labelled cells of 'south' are monocyte"):
        Experiment.create(tmp_path / "run", config).run_fold(0)
