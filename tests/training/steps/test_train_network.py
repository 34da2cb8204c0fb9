"""A network learns by the one loop: to name cells, and the same whether it is left alone or taken up again."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from small_network import small_arguments

from bc_sam.data import load_rendered
from bc_sam.data.store import store_cells
from bc_sam.networks.cell_network import new_network
from bc_sam.training.engine import loop
from bc_sam.training.engine.checkpoints import Checkpoints
from bc_sam.training.steps.train_network import NetworkCells, NetworkInputs, NetworkStep, embed_cells

CLASSES = (0, 1)


class Features:
    """Synthetic features and predicted masks."""

    def __init__(self, n, size):
        random = np.random.default_rng(0)
        self.maps = random.standard_normal((n, 32, 4, 4)).astype(np.float16)
        self.masks = np.zeros((n, size, size), bool)
        self.masks[:, : size // 2] = True


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """Basophils and eosinophils, with exact masks."""
    dataset = load_rendered("munich", labels=("basophil", "eosinophil"), cells_per_class=8)
    return store_cells([dataset], tmp_path_factory.mktemp("cells"), 64)


def make(cells, variant, **more):
    method, arguments = small_arguments(variant, **({"epochs": 4, "batch_size": 8, "warmup_epochs": 0} | more))
    config, network = new_network(method, arguments, CLASSES, 32, seed=0)
    return network, NetworkInputs(cells, Features(len(cells), 64), config), arguments


def train(network, inputs, arguments, rows=None, validation_rows=(), checkpoints=None):
    rows = np.arange(len(inputs.cells)) if rows is None else rows
    step = NetworkStep("Network", network, inputs, rows, np.array(validation_rows, dtype=int), arguments, 1234)
    accelerator = Accelerator(cpu=True, mixed_precision="no")
    return loop.train(step, arguments.schedule(), accelerator, checkpoints=checkpoints)


def test_a_plain_network_fits_its_training_cells(cells):
    network, inputs, arguments = make(cells, "resnet", epochs=12)
    history = train(network, inputs, arguments)
    assert history[-1]["loss"] < history[0]["loss"] / 2
    logits = network.head(torch.tensor(embed_cells(network, inputs, np.arange(len(cells)))))
    assert (logits.argmax(dim=1).numpy() == cells.labels).mean() > 0.8


@pytest.mark.parametrize("variant", ["slca", "shape-aware", "shape-aware on sam"])
def test_every_network_trains_by_both_optimizers(cells, variant):
    for optimizer in ("adamw", "sgd"):
        network, inputs, arguments = make(cells, variant, epochs=2, optimizer=optimizer, label_smoothing=0.1)
        before = copy.deepcopy(network.state_dict())
        history = train(network, inputs, arguments)
        assert np.isfinite([record["loss"] for record in history]).all()
        assert not torch.equal(network.head.weight, before["head.weight"])


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_resuming_gives_the_same_bytes(cells, tmp_path, optimizer):
    whole, inputs, arguments = make(cells, "slca", optimizer=optimizer)
    half, _, _ = make(cells, "slca", optimizer=optimizer)
    train(whole, inputs, arguments, checkpoints=Checkpoints(tmp_path / "whole", "key", every=1))

    class Killed(Exception):
        pass

    class Dying(Checkpoints):
        def save(self, progress, *more):
            super().save(progress, *more)
            if progress.step == 5:  # in the middle of an epoch of two steps, the third
                raise Killed

    with pytest.raises(Killed):
        train(half, inputs, arguments, checkpoints=Dying(tmp_path / "half", "key", every=1))
    again, _, _ = make(cells, "slca", optimizer=optimizer)
    train(again, inputs, arguments, checkpoints=Checkpoints(tmp_path / "half", "key", every=1))
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_it_is_trained_on_annotated_and_tested_on_predicted_masks(cells):
    _, inputs, _ = make(cells, "shape-aware")
    size = inputs.config.input_size
    annotated_mask, predicted = (
        NetworkCells(inputs, np.array([3]), annotated_masks=annotated)[0][2] for annotated in (True, False)
    )
    assert annotated_mask.shape == predicted.shape == (size, size)
    assert predicted[: size // 2 - 1].all()
    assert not torch.equal(annotated_mask, predicted)
    share = (cells.masks[3] > 0).mean()
    assert annotated_mask.float().mean().item() == pytest.approx(share, abs=0.02)


def test_validation_selects_the_best_epoch(cells):
    network, inputs, arguments = make(cells, "resnet")
    history = train(network, inputs, arguments, rows=np.arange(0, 16, 2), validation_rows=np.arange(1, 16, 2))
    assert all("validation_loss" in record for record in history)


def test_unused_inputs_are_not_read(cells):
    network, inputs, _ = make(cells, "resnet")
    blind = replace(inputs, features=None)
    assert embed_cells(network.eval(), blind, np.arange(4)).shape == (4, 128)
