import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from datasets import concatenate_datasets
from small_model import small_sam

from bc_sam import load_rendered
from bc_sam.config.arguments import PretrainingArguments, TrainingArguments, ViewArguments
from bc_sam.config.model import BCSamConfig
from bc_sam.data.store import store_cells
from bc_sam.networks.sam.encoding import feature_shape
from bc_sam.training.engine.accelerator import start_accelerator
from bc_sam.training.engine.checkpoints import Checkpoints
from bc_sam.training.steps.pretrain import pretrain
from bc_sam.training.steps.train_labels import LabelledCells, LabelledViews
from bc_sam.training.steps.train_teacher import Teacher, train_teacher

STEADY = ViewArguments(stain=0.1, slide=0.1, focus=0.3)
ARGUMENTS = PretrainingArguments(
    window=48, window_epochs=6, epochs=2, batch_size=8, learning_rate=2e-3, teacher_epochs=3, view=STEADY
)


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """Three kinds of cell in two laboratories, 72 in all; those of one laboratory have no mask."""
    labels = ("basophil", "lymphocyte_typical", "eosinophil")
    north = load_rendered("munich", cells_per_class=12, labels=labels)
    south = load_rendered("barcelona", cells_per_class=12, labels=labels)
    south = south.map(lambda cell: {**cell, "mask": None})
    assert len(concatenate_datasets([north, south])) == 72
    return store_cells([north, south], tmp_path_factory.mktemp("cells"), 64)


def labelled_views(cells, tmp_path, arguments=ARGUMENTS, rendered=None, validation_rows=()):
    accelerator, _ = start_accelerator(TrainingArguments(mixed_precision="no"), tmp_path)
    rows = np.arange(len(cells))
    mean, std = cells.mean_std(rows)
    config = BCSamConfig(image_size=64, feature_channels=feature_shape(small_sam())[0], image_mean=mean, image_std=std)
    validation = np.array(validation_rows, dtype=int)
    return LabelledViews(cells, rows, rendered, validation, arguments, accelerator, config, 5)


def learn(cells, tmp_path, name="a", **more):
    kept = tuple(Checkpoints(tmp_path / name / part, "key") for part in ("teacher", "window", "whole"))
    return pretrain(small_sam(), labelled_views(cells, tmp_path, **more), checkpoints=kept)


def test_the_loss_falls_and_the_model_ends_at_the_size_of_the_cells(cells, tmp_path):
    sam, history = learn(cells, tmp_path)
    assert [record["epoch"] for record in history] == [1, 2, 3, 4, 5, 6, 1, 2]
    assert history[5]["loss"] < history[0]["loss"] - 0.1
    assert sam.config.vision_config.image_size == 64
    assert not sam.training
    assert not any(parameter.requires_grad for parameter in sam.parameters())


def test_resuming_gives_the_same_weights(cells, tmp_path):
    unbroken, _ = learn(cells, tmp_path, name="unbroken")

    class Dying(Checkpoints):
        def save(self, progress, *rest):
            super().save(progress, *rest)
            raise KeyboardInterrupt

    folder = tmp_path / "broken"
    teacher, window = (Checkpoints(folder / part, "key") for part in ("teacher", "window"))
    with pytest.raises(KeyboardInterrupt):  # after the first epoch on whole images
        pretrain(
            small_sam(), labelled_views(cells, tmp_path), checkpoints=(teacher, window, Dying(folder / "whole", "key"))
        )
    resumed, history = learn(cells, tmp_path, name="broken")
    assert len(history) == 8
    for one, other in zip(unbroken.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_the_best_epoch_is_chosen_on_validation_cells(cells, tmp_path):
    _, history = learn(cells, tmp_path, validation_rows=np.arange(0, 72, 9))
    assert ["validation_loss" in record for record in history] == [False] * 6 + [True] * 2


def test_the_teacher_is_optional(cells, tmp_path):
    _, history = learn(cells, tmp_path, arguments=replace(ARGUMENTS, teacher_epochs=0))
    assert history[5]["loss"] < history[0]["loss"]


def test_cells_without_masks_train_the_classes(cells, tmp_path):
    south = np.flatnonzero(cells.domains == 1)
    _, history = pretrain(small_sam(), replace(labelled_views(cells, tmp_path), rows=south))
    assert history[5]["loss"] < history[0]["loss"]


class TestTeacher:
    def test_it_learns_the_classes(self, cells, tmp_path):
        told = labelled_views(cells, tmp_path, replace(ARGUMENTS, teacher_epochs=12))
        teacher = train_teacher(told)
        with torch.inference_mode():
            correct = teacher(told.sample(72)).argmax(1).numpy() == cells.labels
        assert correct.mean() > 0.6
        assert not teacher.training
        assert not any(parameter.requires_grad for parameter in teacher.parameters())

    def test_it_sees_only_the_centre(self):
        teacher = Teacher(48, 13, seed=0).eval()
        image = torch.randn(1, 3, 64, 64)
        other = image.clone()
        other[:, :, :8] = other[:, :, 56:] = other[..., :8] = other[..., 56:] = 3
        assert torch.equal(teacher(image), teacher(other))
        torch.testing.assert_close(teacher(image), teacher(image[:, :, 8:56, 8:56]))


class TestLabelledCells:
    def test_cells_without_a_label_are_skipped(self, cells):
        partly = copy.copy(cells)
        partly.labels = np.where(np.arange(72) < 10, -1, cells.labels)
        assert len(LabelledCells(partly, np.arange(72))) == 62

    def test_rendered_cells_are_appended_as_a_separate_domain(self, cells):
        labelled = LabelledCells(cells, np.arange(0, 72, 2), cells)
        assert len(labelled) == 36 + 72
        assert labelled.domains.tolist() == [0] * 18 + [1] * 18 + [2] * 72
        pixels, _, has_mask, label, position = labelled[36 + 5]
        assert torch.equal(pixels, torch.tensor(cells.pixels[5]))
        assert (has_mask, label, position) == (True, cells.labels[5], 41)
