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
from bc_sam.config.network import IMAGENET_MEAN, IMAGENET_STD
from bc_sam.data.store import store_cells
from bc_sam.errors import ConfigError
from bc_sam.networks.cell_network import load_network, save_network
from bc_sam.networks.sam.encoding import feature_shape, normalise
from bc_sam.training.engine.accelerator import start_accelerator
from bc_sam.training.engine.checkpoints import Checkpoints
from bc_sam.training.steps.pretrain import PretrainingCheckpoints, pretrain
from bc_sam.training.steps.train_labels import LabelledCells, LabelledViews
from bc_sam.training.steps.train_teacher import Teacher, taught, train_teacher

STEADY = ViewArguments(stain=0.1, slide=0.1, focus=0.3)
ARGUMENTS = PretrainingArguments(
    epochs=6, batch_size=8, learning_rate=2e-3, teacher_sizes=(32, 40), teacher_epochs=3, view=STEADY
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


def checkpoints(folder, arguments=ARGUMENTS):
    teachers = tuple(Checkpoints(folder / f"teacher-{size}", "key") for size in arguments.teacher_sizes)
    return PretrainingCheckpoints(teachers, Checkpoints(folder / "sam", "key"))


def learn(cells, tmp_path, name="a", arguments=ARGUMENTS, **more):
    views = labelled_views(cells, tmp_path, arguments=arguments, **more)
    return pretrain(small_sam(), views, checkpoints=checkpoints(tmp_path / name, arguments))


def test_the_loss_falls_and_the_model_is_frozen(cells, tmp_path):
    sam, teachers, history = learn(cells, tmp_path)
    assert [record["epoch"] for record in history] == [1, 2, 3, 4, 5, 6]
    assert history[-1]["loss"] < history[0]["loss"] - 0.1
    assert [teacher.size for teacher in teachers] == [32, 40]
    assert sam.config.vision_config.image_size == 64
    assert not sam.training
    assert not any(parameter.requires_grad for parameter in sam.parameters())


def test_resuming_gives_the_same_weights(cells, tmp_path):
    brief = replace(ARGUMENTS, epochs=2, teacher_epochs=1)
    unbroken, _, _ = learn(cells, tmp_path, "unbroken", brief)

    class Dying(Checkpoints):
        def save(self, progress, *rest):
            super().save(progress, *rest)
            raise KeyboardInterrupt

    folder = tmp_path / "broken"
    kept = checkpoints(folder, brief)
    for dying in (
        kept._replace(teachers=(Dying(folder / "teacher-32", "key"), kept.teachers[1])),
        kept._replace(teachers=(kept.teachers[0], Dying(folder / "teacher-40", "key"))),
        kept._replace(sam=Dying(folder / "sam", "key")),
    ):
        with pytest.raises(KeyboardInterrupt):
            pretrain(small_sam(), labelled_views(cells, tmp_path, brief), checkpoints=dying)
    resumed, _, history = learn(cells, tmp_path, "broken", brief)
    assert len(history) == 2
    for one, other in zip(unbroken.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_the_best_epoch_is_chosen_on_validation_cells(cells, tmp_path):
    brief = replace(ARGUMENTS, epochs=2, teacher_sizes=())
    _, _, history = learn(cells, tmp_path, arguments=brief, validation_rows=np.arange(0, 72, 9))
    assert ["validation_loss" in record for record in history] == [True, True]


def test_teachers_are_optional(cells, tmp_path):
    _, teachers, history = learn(cells, tmp_path, arguments=replace(ARGUMENTS, teacher_sizes=()))
    assert teachers == []
    assert history[-1]["loss"] < history[0]["loss"]


def test_teachers_change_what_is_learned(cells, tmp_path):
    brief = replace(ARGUMENTS, epochs=1, teacher_epochs=1)
    told, alone = (
        learn(cells, tmp_path, f"{weight}", replace(brief, distillation_weight=weight))[0].state_dict()
        for weight in (0.7, 0.0)
    )
    assert any(not torch.equal(told[name], alone[name]) for name in told)


def test_cells_without_masks_train_the_classes(cells, tmp_path):
    south = np.flatnonzero(cells.domains == 1)
    views = labelled_views(cells, tmp_path, replace(ARGUMENTS, teacher_sizes=()))
    _, _, history = pretrain(small_sam(), replace(views, rows=south))
    assert history[-1]["loss"] < history[0]["loss"]


MEAN, STD = (200.0, 150.0, 180.0), (40.0, 50.0, 30.0)


class TestTeacher:
    def test_it_learns_the_classes(self, cells, tmp_path):
        views = labelled_views(cells, tmp_path, replace(ARGUMENTS, teacher_epochs=12, teacher_sizes=(48,)))
        teacher = train_teacher(views, 0)
        with torch.inference_mode():
            correct = teacher(views.sample(72)).argmax(1).numpy() == cells.labels
        assert correct.mean() > 0.6
        assert not teacher.training
        assert not any(parameter.requires_grad for parameter in teacher.parameters())

    @pytest.mark.parametrize("size", [16, 40, 64])
    def test_it_sees_images_at_its_own_size(self, size):
        teacher, seen = Teacher(size, 13, MEAN, STD, seed=0).eval(), []
        teacher.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
        assert teacher(torch.randn(2, 3, 64, 64)).shape == (2, 13)
        assert seen == [(2, 3, size, size)]

    def test_its_network_is_a_comparison_network(self, tmp_path):
        """It sees pixels as that network does when it is saved by itself."""
        teacher = Teacher(64, 3, MEAN, STD, seed=0).eval()
        pixels = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
        empty = torch.empty(0)
        expected = teacher.network(normalise(pixels, IMAGENET_MEAN, IMAGENET_STD), empty, empty)
        images = normalise(pixels, MEAN, STD)
        torch.testing.assert_close(teacher(images), expected, atol=1e-4, rtol=1e-4)
        config = teacher.config(3)
        assert (config.method, config.classes, config.input_size) == ("resnet", (0, 1, 2), 64)
        save_network(teacher.network, tmp_path / "network.safetensors")
        loaded = load_network(config, tmp_path / "network.safetensors")
        torch.testing.assert_close(loaded(normalise(pixels, IMAGENET_MEAN, IMAGENET_STD), empty, empty), expected)

    def test_each_has_its_own_initial_weights(self, cells, tmp_path):
        views = labelled_views(cells, tmp_path, replace(ARGUMENTS, teacher_epochs=1, teacher_sizes=(32, 40)))
        one, other = (train_teacher(views, index).network.head.weight for index in (0, 1))
        assert not torch.equal(one, other)

    def test_teachers_teach_their_mean_probabilities(self):
        teachers = [Teacher(16, 3, MEAN, STD, seed=seed).eval() for seed in (0, 1)]
        images = torch.randn(2, 3, 32, 32)
        mean = taught(teachers, images)
        assert not mean.requires_grad
        torch.testing.assert_close(mean.sum(dim=1), torch.ones(2))
        expected = sum(teacher(images).softmax(dim=1) for teacher in teachers) / 2
        torch.testing.assert_close(mean, expected.detach())


@pytest.mark.parametrize("sizes", [(31,), (32, 32), (64, 0)])
def test_teachers_that_could_not_be_saved_apart_are_rejected_beforehand(sizes):
    with pytest.raises(ConfigError, match="teacher_sizes must be different sizes between 32 and"):
        PretrainingArguments(teacher_sizes=sizes)


class TestLabelledCells:
    def test_cells_without_a_label_are_skipped(self, cells):
        partly = copy.copy(cells)
        partly.labels = np.where(np.arange(72) < 10, -1, cells.labels)
        assert len(LabelledCells(partly, np.arange(72))) == 62

    def test_rendered_cells_are_appended_as_a_separate_domain(self, cells):
        labelled = LabelledCells(cells, np.arange(0, 72, 2), cells)
        assert len(labelled) == 36 + 72
        assert not set(labelled.strata[:36]) & set(labelled.strata[36:])
        pixels, _, has_mask, label, position = labelled[36 + 5]
        assert torch.equal(pixels, torch.tensor(cells.pixels[5]))
        assert (has_mask, label, position) == (True, cells.labels[5], 41)

    def test_the_classes_of_each_laboratory_are_strata(self, cells):
        labelled = LabelledCells(cells, np.arange(72), cells)
        places = np.concatenate([cells.domains, np.full(72, 2)])
        kinds = list(zip(places.tolist(), np.tile(cells.labels, 2).tolist(), strict=True))
        assert len(set(labelled.strata)) == len(set(kinds)) == 9
        assert len(set(zip(labelled.strata, kinds, strict=True))) == 9

    def test_no_cells_have_no_strata(self, cells):
        assert len(LabelledCells(cells, np.array([], int)).strata) == 0


def test_rare_classes_are_shown_more_often(cells, tmp_path):
    """With a temperature of 1, every class of each laboratory equally often."""
    rows = np.flatnonzero((cells.domains == 1) | (cells.labels == cells.labels[0]))[6:]  # one class of north, halved
    views = replace(labelled_views(cells, tmp_path, replace(ARGUMENTS, sampling_temperature=1.0)), rows=rows)
    seen = []

    class Counting(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

    def loss(model, batch):
        seen.extend(batch.labels.tolist())
        return model.weight.sum()

    views.fit(Counting(), loss, "Counting", epochs=8, learning_rate=1e-3)
    counts = np.bincount(seen)
    common = counts[cells.labels[0]] / 2  # in two laboratories
    others = counts[[label for label in set(cells.labels) if label != cells.labels[0]]]
    assert others == pytest.approx(np.full(2, common), rel=0.25)
