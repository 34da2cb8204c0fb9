"""The training loop learns, validates, and can be killed at any step without changing the result."""

import copy
import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from accelerate import Accelerator
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from bc_sam.config.arguments import TrainingArguments
from bc_sam.config.base import Schedule
from bc_sam.errors import BCSamError, ConfigError
from bc_sam.training.engine import loop
from bc_sam.training.engine.accelerator import start_accelerator
from bc_sam.training.engine.checkpoints import Checkpoints

SCHEDULE = Schedule(epochs=6, batch_size=8, learning_rate=0.05, weight_decay=0.0, warmup_steps=4)


@pytest.fixture
def data():
    """A linear function: 40 inputs (3,) and targets (1,)."""
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    return TensorDataset(x, x @ torch.tensor([[1.0], [-2.0], [0.5]]))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.1), nn.Linear(8, 1))


def squared_error(model, batch):
    x, y = batch
    return F.mse_loss(model(x), y)


class Step(loop.TrainingStep):
    """A step built from functions."""

    name = "Test"

    def __init__(self, module, dataset, loss=squared_error, validate=lambda model: None):
        self.module, self.dataset = module, dataset
        self.loss_of_batch, self.validation_loss = loss, validate

    def loss(self, model, batch, epoch):
        return self.loss_of_batch(model, batch)

    def validate(self, model):
        return self.validation_loss(model)


def train(model, data, schedule=SCHEDULE, *, precision="no", accumulate=1, checkpoints=None, **functions):
    accelerator = Accelerator(cpu=True, mixed_precision=precision, gradient_accumulation_steps=accumulate)
    return loop.train(Step(model, data, **functions), schedule, accelerator, seed=2, checkpoints=checkpoints)


def same_weights(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_the_loss_falls(model, data):
    history = train(model, data)
    assert [entry["epoch"] for entry in history] == [1, 2, 3, 4, 5, 6]
    assert history[-1]["loss"] < history[0]["loss"] / 4


def test_losses_are_fetched_from_the_device_a_few_at_a_time_in_however_long_an_epoch(model):
    fetched = []

    class Counting(Accelerator):
        def reduce(self, losses, *more):
            fetched.append(len(losses))
            return super().reduce(losses, *more)

    x = torch.randn(800, 3, generator=torch.Generator().manual_seed(0))
    step = Step(model, TensorDataset(x, x[:, :1]))
    loop.train(step, replace(SCHEDULE, epochs=1), Counting(cpu=True, mixed_precision="no"))
    assert sum(fetched) == 100
    assert max(fetched) <= 32


def test_the_rate_warms_up_and_then_falls_to_zero(model, data):
    rates = [entry["learning_rate"] for entry in train(model, data)]
    assert rates[0] == pytest.approx(0.05, rel=0.02)  # 5 steps: 4 of warm-up, and the first of the cosine
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(0, abs=1e-12)


def test_warm_up_takes_at_most_a_fifth_of_a_short_training(model, data):
    seen = []

    def watch(model, batch):
        seen.append(copy.deepcopy(model.state_dict()))
        return squared_error(model, batch)

    short = train(model, data, replace(SCHEDULE, epochs=1, warmup_steps=500), loss=watch)
    assert len(seen) == 5
    assert short[0]["learning_rate"] == pytest.approx(0, abs=1e-12)
    moved = [not torch.equal(before["0.weight"], after["0.weight"]) for before, after in pairwise(seen)]
    assert moved == [False, True, True, True]  # the one step of warm-up starts from a rate of zero


def test_the_same_seeds_give_the_same_weights(model, data):
    again = copy.deepcopy(model)
    assert train(model, data) == train(again, data)
    for ours, theirs in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_frozen_parameters_are_unchanged(model, data):
    model[0].requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    train(model, data, replace(SCHEDULE, epochs=2, warmup_steps=0, weight_decay=0.5))
    assert torch.equal(model[0].weight, before["0.weight"])
    assert torch.equal(model[0].bias, before["0.bias"])
    assert not torch.equal(model[2].weight, before["2.weight"])


def test_the_model_learns_in_training_mode_and_is_left_in_eval_mode(model, data):
    modes = []

    def watch(model, batch):
        modes.append(model.training)
        return squared_error(model, batch)

    train(model, data, loss=watch)
    assert all(modes)
    assert not any(module.training for module in model.modules())


def test_no_epochs_change_nothing(model, data):
    before = copy.deepcopy(model.state_dict())
    assert train(model, data, replace(SCHEDULE, epochs=0, weight_decay=0.1)) == []
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_the_training(model, data, value):
    one_batch = TensorDataset(*data[:8])
    with pytest.raises(BCSamError, match=r"Test: .*the loss is not finite in epoch 1\. Lower .*learning_rate"):
        train(model, one_batch, loss=lambda model, batch: value * squared_error(model, batch))


def test_weights_that_the_last_step_makes_infinite_end_the_training_too(model, data):
    """No loss is computed after the last step."""
    one_batch, steps = TensorDataset(*data[:8]), []

    def loss(model, batch):
        steps.append(None)
        return squared_error(model, batch) * (1e30 if len(steps) == 3 else 1.0)

    steep = replace(SCHEDULE, epochs=3, warmup_steps=0, optimizer="sgd", learning_rate=1e30)
    with pytest.raises(BCSamError, match=r"Test: .*the (weights are|loss is) not finite in epoch [123]\."):
        train(model, one_batch, steep, loss=loss)


def test_a_validation_loss_that_is_not_finite_is_no_best_one(model, data):
    with pytest.raises(BCSamError, match=r"the validation loss is not finite in epoch 1\."):
        train(model, data, validate=lambda model: math.nan)


def test_a_diverged_training_keeps_its_last_good_checkpoint_and_names_it(model, data, tmp_path):
    checkpoints, steps = Checkpoints(tmp_path, "key", every=2), []

    def loss(model, batch):
        steps.append(None)
        return squared_error(model, batch) * (math.nan if len(steps) == 8 else 1.0)

    with pytest.raises(BCSamError, match=r"not finite in epoch 2\..*kept: .*step-00000006"):
        train(model, data, loss=loss, checkpoints=checkpoints)
    assert [folder.name for folder in tmp_path.iterdir()] == ["step-00000006"]
    checkpoints.load(model, torch.optim.AdamW(model.parameters()))
    assert all(parameter.isfinite().all() for parameter in model.parameters())


class TestMixedPrecision:
    def test_it_learns_too(self, model, data):
        history = train(model, data, precision="bf16")
        assert history[-1]["loss"] < history[0]["loss"] / 4

    def test_products_run_in_bf16_and_the_loss_in_float32(self, model, data):
        inner, outer = set(), set()
        model[0].register_forward_hook(lambda module, inputs, output: inner.add(output.dtype))

        def watch(model, batch):
            prediction = model(batch[0])
            outer.add(prediction.dtype)
            return F.mse_loss(prediction, batch[1])

        train(model, data, loss=watch, precision="bf16")
        assert inner == {torch.bfloat16}
        assert outer == {torch.float32}
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}

    def test_afterwards_the_model_computes_in_full_precision(self, model, data):
        train(model, data, precision="bf16")
        assert model.forward.__func__ is nn.Sequential.forward
        x = data.tensors[0]
        by_hand = F.linear(F.linear(x, model[0].weight, model[0].bias), model[2].weight, model[2].bias)
        assert torch.equal(model(x), by_hand)
        assert torch.equal(copy.deepcopy(model)(x), by_hand)

    def test_a_second_training_of_the_model_is_in_bf16_too(self, model, data):
        train(model, data, precision="bf16")
        inner = set()
        model[0].register_forward_hook(lambda module, inputs, output: inner.add(output.dtype))
        train(model, data, precision="bf16")
        assert inner == {torch.bfloat16}


class Killed(Exception):
    """Simulates the end of the process."""


class TestResume:
    """A training killed after any step ends with the weights of an uninterrupted one."""

    @pytest.mark.parametrize("killed_after", [0, 1, 3, 4, 5, 7, 12, 29])
    @pytest.mark.parametrize("every", [1, 3, 100])
    def test_the_weights_and_the_history_are_the_same(self, model, data, tmp_path, killed_after, every):
        alone, again = copy.deepcopy(model), copy.deepcopy(model)
        history = train(alone, data)
        steps = iter(range(killed_after))

        def mortal(model, batch):
            if next(steps, None) is None:
                raise Killed
            return squared_error(model, batch)

        checkpoints = Checkpoints(tmp_path, "key", every=every)
        with pytest.raises(Killed):
            train(model, data, loss=mortal, checkpoints=checkpoints)
        assert train(again, data, checkpoints=checkpoints) == history
        assert same_weights(alone, again)

    def test_a_finished_training_is_not_rerun(self, model, data, tmp_path):
        again = copy.deepcopy(model)
        checkpoints = Checkpoints(tmp_path, "key")
        history = train(model, data, checkpoints=checkpoints)

        def never(model, batch):
            raise AssertionError

        assert train(again, data, loss=never, checkpoints=checkpoints) == history
        assert same_weights(model, again)

    def test_another_training_does_not_resume_it(self, model, data, tmp_path):
        alone, again = copy.deepcopy(model), copy.deepcopy(model)
        train(alone, data)
        train(model, data, replace(SCHEDULE, epochs=2, learning_rate=0.3), checkpoints=Checkpoints(tmp_path, "one"))
        train(again, data, checkpoints=Checkpoints(tmp_path, "other"))
        assert same_weights(alone, again)


class TestValidation:
    @staticmethod
    def rising_from(epoch):
        """A validation whose loss falls up to an epoch and then rises."""
        calls = iter(range(1, 100))
        return lambda model: float(abs(next(calls) - epoch))

    def test_the_model_is_left_with_its_best_weights(self, model, data):
        best = copy.deepcopy(model)
        validate = self.rising_from(3)
        kept = {}

        def watch(model):
            loss = validate(model)
            if loss == 0:
                kept.update(copy.deepcopy(model.state_dict()))
            return loss

        history = train(model, data, validate=watch)
        assert [entry["validation_loss"] for entry in history] == [2, 1, 0, 1, 2, 3]
        best.load_state_dict(kept)
        assert same_weights(model, best)

    def test_it_stops_early_when_patience_runs_out(self, model, data):
        assert len(train(model, data, replace(SCHEDULE, patience=2), validate=self.rising_from(2))) == 4

    def test_patience_has_no_effect_without_validation(self, model, data):
        assert len(train(model, data, replace(SCHEDULE, patience=1))) == 6

    def test_the_best_weights_survive_a_kill(self, model, data, tmp_path):
        alone, again = copy.deepcopy(model), copy.deepcopy(model)
        history = train(alone, data, validate=self.rising_from(2))
        checkpoints = Checkpoints(tmp_path, "key")
        validate = self.rising_from(2)

        def mortal(model):
            loss = validate(model)
            if loss == 2:  # in epoch 4, two epochs after the best
                raise Killed
            return loss

        with pytest.raises(Killed):
            train(model, data, validate=mortal, checkpoints=checkpoints)
        resumed = train(again, data, validate=lambda model: 2.0, checkpoints=checkpoints)
        assert len(resumed) == len(history)
        assert same_weights(alone, again)

    def test_the_model_is_validated_in_eval_mode_without_gradients(self, model, data):
        modes = []

        def watch(model):
            modes.append((model.training, torch.is_grad_enabled()))
            return 1.0

        train(model, data, validate=watch)
        assert modes == [(False, False)] * 6


def test_accumulated_batches_make_one_step(model, data):
    model[1].p = 0.0
    again = copy.deepcopy(model)
    whole, parts = train(model, data), train(again, data, accumulate=2)
    assert [entry["learning_rate"] for entry in parts] == pytest.approx([entry["learning_rate"] for entry in whole])
    for ours, theirs in zip(model.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_gradients_are_clipped(model, data):
    start, clipped = copy.deepcopy(model), copy.deepcopy(model)
    steep = replace(SCHEDULE, epochs=1, learning_rate=1e-3, optimizer="sgd", warmup_steps=0)

    def loss(model, batch):
        return 10 * squared_error(model, batch)

    train(model, data, steep, loss=loss)
    train(clipped, data, replace(steep, max_grad_norm=0.1), loss=loss)
    # With gradients of norm 0.1, momentum 0.9 moves the weights at most ten times as far in each of the five steps.
    assert distance(start, clipped) <= 5 * 10 * 0.1 * 1e-3
    assert distance(start, model) > 5 * 10 * 0.1 * 1e-3


def distance(one, other):
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return math.sqrt(sum(float((a - b).detach().square().sum()) for a, b in pairs))


def test_warm_up_may_be_given_in_epochs(model, data):
    again = copy.deepcopy(model)
    in_steps, in_epochs = replace(SCHEDULE, warmup_steps=5), replace(SCHEDULE, warmup_steps=0, warmup_epochs=1)
    assert train(model, data, in_steps) == train(again, data, in_epochs)


def test_the_loss_knows_the_epoch_also_after_resuming(model, data, tmp_path):
    epochs = []

    class Watching(Step):
        def loss(self, model, batch, epoch):
            epochs.append(epoch)
            if len(epochs) == 13:  # in the third epoch
                raise Killed
            return squared_error(model, batch)

    accelerator, checkpoints = Accelerator(cpu=True), Checkpoints(tmp_path, "key")
    with pytest.raises(Killed):
        loop.train(Watching(model, data), SCHEDULE, accelerator, checkpoints=checkpoints)
    loop.train(Watching(model, data), SCHEDULE, accelerator, checkpoints=checkpoints)
    assert epochs == [0] * 5 + [1] * 5 + [2] * 3 + [2] * 5 + [3] * 5 + [4] * 5 + [5] * 5


def test_a_step_decides_the_order_of_its_items(model, data):
    seen = []

    class Sorted(Step):
        def order(self):
            return lambda rng: torch.arange(40).numpy()

        def loss(self, model, batch, epoch):
            seen.append(batch[0])
            return squared_error(model, batch)

    loop.train(Sorted(model, data), replace(SCHEDULE, epochs=1), Accelerator(cpu=True))
    assert torch.equal(torch.cat(seen), data.tensors[0])


def test_losses_go_to_a_tracker(model, data, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accelerator, _ = start_accelerator(TrainingArguments(mixed_precision="no"), tmp_path, ["tensorboard"])
    step = Step(model, data)
    step.name = "Stage 1"
    history = loop.train(step, SCHEDULE, accelerator)
    accelerator.end_training()
    events = EventAccumulator(str(tmp_path / "logs" / "bc_sam"))
    events.Reload()
    logged = {scalar.step: scalar.value for scalar in events.Scalars("Stage 1/loss")}
    assert logged == {record["epoch"]: pytest.approx(record["loss"]) for record in history}


def test_an_unknown_tracker_is_rejected(tmp_path):
    with pytest.raises(ConfigError, match="carrier_pigeon"):
        start_accelerator(TrainingArguments(), tmp_path, ["carrier_pigeon"])


class TestLaunchedPrecision:
    """`accelerate launch` and `accelerate config` set environment variables."""

    @pytest.mark.parametrize(("asked", "used"), [("auto", "bf16"), ("no", "no")])
    def test_auto_is_what_was_launched(self, asked, used, tmp_path, monkeypatch):
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
        _, precision = start_accelerator(TrainingArguments(mixed_precision=asked), tmp_path)
        assert precision == used
