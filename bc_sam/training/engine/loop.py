"""The one training loop: AdamW or SGD, warm-up and cosine, under Accelerate. A stage brings model, data and loss."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm
from transformers import get_cosine_schedule_with_warmup

from bc_sam.errors import BCSamError
from bc_sam.training.engine.checkpoints import Checkpoints, Progress, restore_weights, trained_tensors
from bc_sam.training.engine.sampling import EpochBatches

#: Loss of one batch, a scalar. The model's forward pass runs in mixed precision, the loss itself in float32.
LossFunction = Callable[[nn.Module, Any], Tensor]

#: Loss of the model, in eval mode, on cells that it does not learn from.
Validation = Callable[[nn.Module], float]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Attributes:
        epochs: Passes over the data.
        warmup_steps: Steps of linear warm-up before the cosine; at most a fifth of all steps.
        learning_rate: Peak rate.
        weight_decay: Decay of the weights.
        max_grad_norm: Gradients longer than this are shortened to it; ``None`` leaves them.
        patience: Epochs without a better validation loss after which to stop; ``None`` goes on to the end.
        optimizer: ``"adamw"``, or ``"sgd"`` with Nesterov momentum 0.9.
    """

    epochs: int
    warmup_steps: int
    learning_rate: float
    weight_decay: float
    max_grad_norm: float | None = None
    patience: int | None = None
    optimizer: Literal["adamw", "sgd"] = "adamw"

    def optimize(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """Returns the optimizer of some parameters, at the peak rate."""
        if self.optimizer == "sgd":
            return torch.optim.SGD(
                parameters, lr=self.learning_rate, momentum=0.9, nesterov=True, weight_decay=self.weight_decay
            )
        return torch.optim.AdamW(parameters, lr=self.learning_rate, weight_decay=self.weight_decay)


def fit(
    model: nn.Module,
    data: Dataset,
    batches: EpochBatches,
    loss_function: LossFunction,
    schedule: Schedule,
    accelerator: Accelerator,
    description: str,
    *,
    checkpoints: Checkpoints | None = None,
    validate: Validation | None = None,
) -> list[dict[str, float]]:
    """Trains those parameters of a model that ask for gradients, in place.

    Args:
        model: The model; left in eval mode, on the accelerator's device. With a validation it is left with the
            weights of its best epoch, else with the last.
        data: What the batches index.
        batches: Which items make up each batch of an epoch.
        loss_function: Gives the loss of the model on a batch.
        schedule: How long and how fast.
        accelerator: Device, processes, precision, accumulation and trackers.
        description: Text of the progress bar, and name of the stage in trackers.
        checkpoints: Where to keep checkpoints, and to take up a training that was killed.
        validate: Gives the loss on cells that the model does not learn from, after each epoch.

    Returns:
        For each epoch its number, mean loss, last learning rate and, if there is a validation, ``validation_loss``.

    Raises:
        BCSamError: If the loss stops being a number, or a checkpoint cannot be read or written.
    """
    run = _Run(model, data, batches, schedule, accelerator, description, checkpoints)
    with tqdm(
        total=run.steps,
        initial=run.progress.step,
        desc=description,
        unit="step",
        disable=not accelerator.is_main_process,
    ) as bar:
        while not run.progress.finished:
            for batch in run.rest_of_epoch():
                run.take_step(loss_function, batch)
                bar.update()
            bar.set_postfix(run.end_epoch(validate))
    return run.end()


# Losses that wait to be brought from the device. To wait for each would take time, and thousands of small tensors that
# stay would keep the room between them from being used again: 100 kB of memory a cell.
_FRESH_LOSSES = 32


class _Run:
    """What one training holds while it goes on."""

    def __init__(
        self,
        model: nn.Module,
        data: Dataset,
        batches: EpochBatches,
        schedule: Schedule,
        accelerator: Accelerator,
        description: str,
        checkpoints: Checkpoints | None,
    ) -> None:
        self.model, self.batches, self.schedule = model, batches, schedule
        self.accelerator, self.description, self.checkpoints = accelerator, description, checkpoints
        self.steps = schedule.epochs * len(batches)
        updates = schedule.epochs * -(-len(batches) // accelerator.gradient_accumulation_steps)
        optimizer = schedule.optimize([p for p in model.parameters() if p.requires_grad])
        warmup = min(schedule.warmup_steps, updates // 5)
        scheduler = get_cosine_schedule_with_warmup(optimizer, warmup, max(updates, 1))
        loader = DataLoader(data, batch_sampler=batches)
        self.wrapped, self.optimizer, self.loader, self.scheduler = accelerator.prepare(
            model, optimizer, loader, scheduler
        )
        self.fresh_losses: list[Tensor] = []
        self.progress = Progress("", finished=not schedule.epochs)
        self.best: dict[str, Tensor] | None = None
        if checkpoints is not None and schedule.epochs:
            self._take_up(checkpoints)

    def _take_up(self, checkpoints: Checkpoints) -> None:
        self.progress, self.best = checkpoints.load(self.model, self.optimizer)
        if self.progress.scheduler:
            self.scheduler.load_state_dict(self.progress.scheduler)
            for group, rate in zip(self.optimizer.param_groups, self.scheduler.get_last_lr(), strict=True):
                group["lr"] = rate
        if self.progress.scaler and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(self.progress.scaler)

    def rest_of_epoch(self) -> Iterable[Any]:
        """The batches of the epoch that have not been learned from."""
        self.batches.epoch, self.batches.start = divmod(self.progress.step, len(self.batches))
        self.wrapped.train()
        return self.loader

    def take_step(self, loss_function: LossFunction, batch: Any) -> None:
        """Learns from one batch."""
        # What is random in a step, such as dropout, depends on the step alone, and not on what came before.
        processes, process = self.accelerator.num_processes, self.accelerator.process_index
        torch.manual_seed(self.batches.seed + self.progress.step * processes + process)
        with self.accelerator.accumulate(self.wrapped):
            loss = loss_function(self.wrapped, batch)
            self.accelerator.backward(loss)
            if self.schedule.max_grad_norm is not None and self.accelerator.sync_gradients:
                self.accelerator.clip_grad_norm_(self.wrapped.parameters(), self.schedule.max_grad_norm)
            self.optimizer.step()
            self.scheduler.step()
            self.optimizer.zero_grad()
        self.fresh_losses.append(loss.detach())
        if len(self.fresh_losses) == _FRESH_LOSSES:
            self._settle_losses()
        self.progress.step += 1
        if self.checkpoints is not None and self._is_due(self.checkpoints.every):
            self._save(self.checkpoints)

    def _is_due(self, every: int) -> bool:
        """Whether to save now; not at the end of an epoch, which does so itself, nor amid an accumulation."""
        step = self.progress.step
        return step % every == 0 and step % len(self.batches) != 0 and self.accelerator.sync_gradients

    def end_epoch(self, validate: Validation | None) -> dict[str, Any]:
        """Records, validates, logs and saves a finished epoch, and decides whether it was the last."""
        self._settle_losses()
        progress = self.progress
        epoch = progress.step // len(self.batches)
        mean = sum(progress.losses) / len(progress.losses)
        if not math.isfinite(mean):
            raise BCSamError(f"{self.description}: the loss is no number in epoch {epoch}. Lower learning_rate.")
        record = {"epoch": epoch, "loss": mean, "learning_rate": self.scheduler.get_last_lr()[0]}
        if validate is not None:
            record["validation_loss"] = self._validate(validate, epoch)
        progress.history.append(record)
        progress.losses = []
        patience = self.schedule.patience if validate is not None else None
        out_of_patience = patience is not None and epoch - progress.best_epoch >= patience
        progress.finished = epoch == self.schedule.epochs or out_of_patience
        self.accelerator.log(
            {f"{self.description}/{name}": value for name, value in record.items() if name != "epoch"}, step=epoch
        )
        if self.checkpoints is not None:
            self._save(self.checkpoints)
        return {name: f"{value:.4g}" for name, value in record.items() if name != "learning_rate"}

    def _validate(self, validate: Validation, epoch: int) -> float:
        model = self.accelerator.unwrap_model(self.wrapped).eval()
        with torch.inference_mode():
            loss = validate(model)
        if self.progress.best is None or loss < self.progress.best:
            self.progress.best, self.progress.best_epoch = loss, epoch
            self.best = trained_tensors(model)
        return loss

    def _settle_losses(self) -> None:
        """Brings the newest losses from the device and the other processes, which takes time, a few at once."""
        if self.fresh_losses:
            self.progress.losses += self.accelerator.reduce(torch.stack(self.fresh_losses), "mean").tolist()
            self.fresh_losses = []

    def _save(self, checkpoints: Checkpoints) -> None:
        self._settle_losses()
        self.progress.scheduler = self.scheduler.state_dict()
        if self.accelerator.scaler is not None:
            self.progress.scaler = self.accelerator.scaler.state_dict()
        checkpoints.save(self.progress, self.accelerator.unwrap_model(self.wrapped), self.optimizer, self.best)

    def end(self) -> list[dict[str, float]]:
        """Unwraps the model, puts its best weights in, and lets go of the data."""
        model = self.accelerator.unwrap_model(self.wrapped, keep_fp32_wrapper=False).eval()
        # Else a second training of the model would go without mixed precision and without the other processes.
        vars(model).pop("_is_accelerate_prepared", None)
        if self.best is not None:
            restore_weights(model, self.best)
        self.accelerator.free_memory()  # it would hold on to the data of every stage and fold
        return self.progress.history
