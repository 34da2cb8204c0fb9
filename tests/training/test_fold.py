"""One pass of BC-SAM, from the base to the results on the held-out fold."""

import numpy as np
import pytest

from bc_sam import BCSam
from bc_sam.config.arguments import ClassifierArguments
from bc_sam.models.observation import Parts
from bc_sam.training.fold import FoldResult


@pytest.fixture(scope="module")
def finished(run_config, tmp_path_factory):
    """A finished pass with fold 0 held out, of a model that averages over orientations, and its experiment."""
    from bc_sam.training.experiment import Experiment

    experiment = Experiment.create(tmp_path_factory.mktemp("finished") / "run", run_config(average_turns=True))
    return experiment, experiment.run_fold(0)


@pytest.fixture(scope="module")
def folder(finished):
    return finished[0].folder / "work" / "fold-0"


def test_every_domain_pair_is_evaluated(finished):
    _, result = finished
    assert {(pair.source, pair.target) for pair in result.pairs} == {
        (source, target) for source in ("north", "south", "all") for target in ("north", "south")
    }


def test_only_the_held_out_fold_is_tested(finished):
    experiment, result = finished
    for pair in result.pairs:
        of_target = experiment.cells.domains == ("north", "south").index(pair.target)
        assert pair.n_test == (of_target & (experiment.folds == 0)).sum()
        assert pair.n_train <= (experiment.folds != 0).sum()


def test_dice_is_computed_on_held_out_masks(finished):
    experiment, result = finished
    assert sum(dice.n for dice in result.dice) == (experiment.folds == 0).sum()


def test_each_stage_is_timed(finished):
    _, result = finished
    stages = ["stage 1: masks", "features", "stage 2: autoencoder", "embeddings", "stage 3: classifiers"]
    assert [timing.stage for timing in result.timings] == stages


def test_the_latents_are_those_of_the_saved_model(finished, folder):
    experiment, _ = finished
    latents = np.load(folder / "latents.npy")
    model = BCSam.from_pretrained(folder / "model", dtype="float32")
    assert len(latents) == len(experiment.cells)
    assert model.config.average_turns
    of_cells = model.observe(experiment.cells.pixels[:3], Parts.EMBEDDINGS).embeddings
    np.testing.assert_allclose(of_cells, latents[:3], atol=1e-4)


def test_prediction_prepares_images_as_training_does(finished, folder, laboratories):
    experiment, _ = finished
    assert experiment.cells.table.profiles
    model = BCSam.from_pretrained(folder / "model", dtype="float32")
    assert model.config.normalization == experiment.training.normalization
    north = np.flatnonzero(experiment.cells.domains == 0)
    files = [laboratories / "munich" / experiment.cells.table.files[row] for row in north]
    np.testing.assert_allclose(model.embed(files), np.load(folder / "latents.npy")[north], atol=1e-4)


def test_the_model_only_stores_latents_of_training_cells(finished, folder):
    experiment, _ = finished
    latents = np.load(folder / "latents.npy")
    stored = {latent.tobytes() for latent in BCSam.from_pretrained(folder / "model").reference.latents}
    assert stored <= {latents[row].tobytes() for row in np.flatnonzero(experiment.folds != 0)}


def test_its_checkpoints_are_removed(folder):
    assert not list(folder.glob("stage-*"))


def test_the_result_is_round_tripped(finished, folder):
    assert FoldResult.load(folder / "result.json") == finished[1]


class TestSynthetic:
    def test_classifiers_of_all_domains_include_synthetic_classes(self, experiment):
        classifiers = ClassifierArguments(names=("logistic",), default="logistic", rendered=1)
        run = experiment(classifiers=classifiers)
        run.run_fold(0)
        model = BCSam.from_pretrained(run.folder / "work" / "fold-0" / "model")
        assert len(model.classifiers["logistic"].classes) == 13


class TestPaper:
    def test_one_pass_evaluates_every_fold_and_trains_on_all_cells(self, experiment):
        run = experiment(protocol="paper")
        result = run.run_fold(0)
        assert {pair.fold for pair in result.pairs} == {0, 1, 2}
        foreign = [pair.n_test for pair in result.pairs if (pair.source, pair.target) == ("north", "south")]
        assert foreign == [18, 18, 18]
        assert result.dice == []  # stage 1 was trained on every mask


class TestValidationCells:
    def test_no_classifier_is_trained_on_them(self, experiment):
        run = experiment(validation=0.25)
        result = run.run_fold(0)
        rows, validation = run.split_validation(np.flatnonzero(run.folds != 0))
        assert len(validation) > 0
        assert {pair.n_train for pair in result.pairs if pair.source == "all"} == {len(rows)}
        assert "validation_loss" in result.history["stage 1: masks"][0]
