"""A moving average of weights."""

import pytest
import torch
from torch import nn

from bc_sam.training.engine.weight_average import WeightAverage


@pytest.fixture
def model():
    """A frozen layer, a normalization with statistics, and a trained layer."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 2).requires_grad_(False), nn.BatchNorm1d(2), nn.Linear(2, 1))


def moved(model, by):
    with torch.no_grad():
        model[2].weight += by
        model[1].running_mean += by
        model[1].num_batches_tracked += 1


def test_each_step_keeps_a_share_of_the_average(model):
    start = model[2].weight.detach().clone()
    average = WeightAverage(model, decay=0.9)
    moved(model, 1.0)
    average.update(1000)
    moved(model, 1.0)
    average.update(1001)
    torch.testing.assert_close(average.tensors()["2.weight"], start + 0.9 * 0.1 * 1 + 0.1 * 2)


def test_the_initial_weights_are_soon_forgotten(model):
    start = model[2].weight.detach().clone()
    average = WeightAverage(model, decay=0.999)
    moved(model, 1.0)
    for step in range(30):
        average.update(step)
    assert (average.tensors()["2.weight"] - start).min() > 0.99


def test_statistics_are_averaged_counts_copied_and_frozen_weights_left_out(model):
    average = WeightAverage(model, decay=0.5)
    moved(model, 1.0)
    average.update(1000)
    tensors = average.tensors()
    assert tensors["1.running_mean"].tolist() == [0.5, 0.5]
    assert tensors["1.num_batches_tracked"] == 1
    assert "0.weight" not in tensors


def test_it_takes_the_place_of_the_weights_for_a_while(model):
    average = WeightAverage(model, decay=0.5)
    moved(model, 1.0)
    average.update(1000)
    own = model[2].weight.detach().clone()
    with average.in_place():
        assert torch.equal(model[2].weight, average.tensors()["2.weight"])
    assert torch.equal(model[2].weight, own)


def test_it_continues_from_a_saved_one_and_from_no_other(model):
    average, again = WeightAverage(model, decay=0.5), WeightAverage(model, decay=0.5)
    moved(model, 1.0)
    average.update(1000)
    again.restore(average.tensors())
    assert torch.equal(again.tensors()["2.weight"], average.tensors()["2.weight"])
    with pytest.raises(ValueError, match="do not match"):
        again.restore({"other": torch.zeros(1)})
