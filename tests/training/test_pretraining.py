import numpy as np
import pytest
import torch
from datasets import concatenate_datasets
from small_model import small_sam

from bc_sam import load_rendered
from bc_sam.config import BCSamConfig, PretrainingArguments, TrainingArguments
from bc_sam.data.store import store_cells
from bc_sam.sam.encoding import feature_shape
from bc_sam.training.accelerator import start_accelerator
from bc_sam.training.checkpoints import Checkpoints
from bc_sam.training.pretraining import pretrain

ARGUMENTS = PretrainingArguments(window=48, window_epochs=6, epochs=2, batch_size=8, learning_rate=2e-3, colour=0.1)


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """Three kinds of cell in two laboratories, 72 in all; those of one laboratory have no mask."""
    labels = ("basophil", "lymphocyte_typical", "eosinophil")
    north = load_rendered("munich", cells_per_class=12, labels=labels)
    south = load_rendered("barcelona", cells_per_class=12, labels=labels)
    south = south.map(lambda cell: {**cell, "mask": None})
    assert len(concatenate_datasets([north, south])) == 72
    return store_cells([north, south], tmp_path_factory.mktemp("cells"), 64)


def learn(cells, tmp_path, arguments=ARGUMENTS, name="a", **more):
    accelerator, _ = start_accelerator(TrainingArguments(mixed_precision="no"), tmp_path)
    sam = small_sam()
    rows = np.arange(len(cells))
    mean, std = cells.mean_std(rows)
    config = BCSamConfig(image_size=64, feature_channels=feature_shape(sam)[0], image_mean=mean, image_std=std)
    kept = tuple(Checkpoints(tmp_path / name / part, "key") for part in ("window", "whole"))
    return pretrain(sam, cells, rows, arguments, accelerator, config, 5, checkpoints=kept, **more)


def test_the_loss_falls_and_the_model_ends_at_the_size_of_the_cells(cells, tmp_path):
    sam, history = learn(cells, tmp_path)
    assert [record["epoch"] for record in history] == [1, 2, 3, 4, 5, 6, 1, 2]
    assert history[5]["loss"] < history[0]["loss"] - 0.1
    assert sam.config.vision_config.image_size == 64
    assert not sam.training
    assert not any(parameter.requires_grad for parameter in sam.parameters())


def test_taken_up_again_it_ends_with_the_same_weights(cells, tmp_path, monkeypatch):
    unbroken, _ = learn(cells, tmp_path, name="unbroken")
    saved = Checkpoints.save
    seen = []

    def killed(self, progress, *rest):
        saved(self, progress, *rest)
        seen.append(progress.step)
        if len(seen) == 7:  # in the second part
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        learn(cells, tmp_path, name="broken")
    monkeypatch.undo()
    resumed, history = learn(cells, tmp_path, name="broken")
    assert len(history) == 8
    for one, other in zip(unbroken.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_the_best_epoch_is_chosen_by_cells_that_are_not_learned_from(cells, tmp_path):
    _, history = learn(cells, tmp_path, validation_rows=np.arange(0, 72, 9))
    assert ["validation_loss" in record for record in history] == [False] * 6 + [True] * 2
