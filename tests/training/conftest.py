"""Data and settings for runs of seconds: three classes of two laboratories, and a base of a few hundred kilobytes."""

import shutil
from dataclasses import replace

import pytest
from small_model import DECODER_CHANNELS, IMAGE_SIZE, LATENT_DIM, small_sam

from bc_sam.config.arguments import (
    AutoencoderArguments,
    ClassifierArguments,
    SegmentationArguments,
    TrainingArguments,
)
from bc_sam.data.datasets.rendered import write_rendered

CLASSES = ("basophil", "eosinophil", "monocyte")


@pytest.fixture(scope="session")
def laboratories(tmp_path_factory):
    """Two folders, `north` and `south`, with six cells per class, all with annotated masks: 36 cells."""
    folder = tmp_path_factory.mktemp("laboratories")
    write_rendered(folder, ("munich", "barcelona"), cells_per_class=6, size=IMAGE_SIZE, labels=CLASSES)
    return folder


@pytest.fixture(scope="session")
def small_base(tmp_path_factory):
    """The folder of a small SAM with random weights."""
    folder = tmp_path_factory.mktemp("base")
    small_sam().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def small_training(small_base):
    """Settings of a training of seconds."""
    return TrainingArguments(
        base=str(small_base),
        image_size=IMAGE_SIZE,
        folds=3,
        mixed_precision="no",
        segmentation=SegmentationArguments(epochs=1, warmup_epochs=0, batch_size=8),
        autoencoder=AutoencoderArguments(
            latent_dim=LATENT_DIM, decoder_channels=DECODER_CHANNELS, epochs=1, batch_size=8
        ),
        classifiers=ClassifierArguments(names=("logistic",), default="logistic"),
    )


@pytest.fixture(scope="session")
def run_config(laboratories, small_training):
    """Returns the config of a run on both laboratories, with given changes of the training settings."""
    from bc_sam.training.experiment import RunConfig

    def configure(shared=None, **changes):
        return RunConfig(
            data=(f"north={laboratories / 'munich'}", f"south={laboratories / 'barcelona'}"),
            masks=str(laboratories / "masks" / "pairs.csv"),
            group_pattern=r"(\d+)\.png$",
            shared=shared,
            arguments=replace(small_training, **changes),
        )

    return configure


@pytest.fixture(scope="session")
def decoded_cells(run_config, tmp_path_factory):
    """The folder of the decoded cells of both laboratories. Decoding them takes longer than most tests."""
    from bc_sam.training.experiment import Experiment

    run = Experiment.create(tmp_path_factory.mktemp("decoded") / "run", run_config())
    assert len(run.cells) == 36
    return run.work / "cells"


@pytest.fixture
def experiment(run_config, decoded_cells, tmp_path):
    """Starts an experiment on both laboratories, with given changes of the training settings."""
    from bc_sam.training.experiment import Experiment

    def start(folder=tmp_path / "run", shared=None, **changes):
        run = Experiment.create(folder, run_config(shared, **changes))
        if not (run.work / "cells").exists():
            shutil.copytree(decoded_cells, run.work / "cells")
        return run

    return start
