"""The training loop: AdamW or SGD with linear warm-up and cosine decay, under Accelerate."""

import math
from collections.abc import Iterable, Iterator, Sized
from typing import Any, Protocol, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm
from transformers import get_cosine_schedule_with_warmup

from bc_sam.config.base import Schedule
from bc_sam.errors import BCSamError
from bc_sam.training.engine.checkpoints import Checkpoints, Progress, restore_weights, trained_tensors
from bc_sam.training.engine.sampling import Order, shuffled, stage_batches


class SizedDataset(Sized, Protocol):
    """A map-style dataset, as accepted by `torch.utils.data.DataLoader`."""

    def __getitem__(self, index: int) -> Any:
        """Returns one item."""


class TrainingStep(Protocol):
    """The module, data and loss of a training. Everything else is shared by all steps.

    Attributes:
        name: Label of the progress bar, and prefix in trackers.
        module: The module, of which parameters that require gradients are trained.
        dataset: The training items.
    """

    name: str
    module: nn.Module
    dataset: SizedDataset

    def order(self) -> Order:
        """Returns the order of an epoch; by default every item once, shuffled."""
        return shuffled(len(self.dataset))

    def loss(self, model: nn.Module, batch: Any, epoch: int) -> Tensor:
        """Returns the loss of one batch, a scalar.

        Args:
            model: `module`, wrapped by Accelerate: its forward pass runs in mixed precision, the loss in float32.
            batch: Collated items, on the accelerator's device.
            epoch: Number of the epoch, from 0, on which random augmentation may depend.
        """
        ...

    def validate(self, model: nn.Module) -> float | None:
        """Returns the validation loss, by which the best epoch is chosen; ``None`` without validation data.

        Args:
            model: `module` in eval mode, without gradients.
        """
        return None


def train(
    step: TrainingStep,
    schedule: Schedule,
    accelerator: Accelerator,
    seed: int = 1234,
    *,
    checkpoints: Checkpoints | None = None,
) -> list[dict[str, float]]:
    """Trains the module of a step in place.

    The module is left in eval mode on the accelerator's device, with the weights of its best epoch if the step
    validates, else with those of the last.

    Args:
        step: The module, data and loss.
        schedule: Epochs, batch size, optimizer and learning rate.
        accelerator: Device, processes, precision, gradient accumulation and trackers.
        seed: Seed of the order of the items, and of random operations such as dropout.
        checkpoints: Checkpoints to write, and to resume from after an interruption.

    Returns:
        For each epoch its number, mean loss, last learning rate and, if the step validates, ``validation_loss``.

    Raises:
        ConfigError: If the batch is not divisible by the numbers of processes and accumulation steps.
        BCSamError: If the loss or the weights are not finite, or a checkpoint cannot be read or written. The last
            good checkpoint is kept.
    """
    run = _Run(step, schedule, accelerator, seed, checkpoints)
    with tqdm(
        total=run.steps,
        initial=run.progress.step,
        desc=step.name,
        unit="step",
        disable=not accelerator.is_main_process or None,  # None: quiet without a terminal
    ) as bar:
        while not run.progress.finished:
            for batch in run.rest_of_epoch():
                run.take_step(batch)
                bar.update()
            bar.set_postfix(run.end_epoch())
    return run.end()


def batches_on_device(dataset: SizedDataset, batch_size: int, model: nn.Module) -> Iterator[tuple[Tensor, ...]]:
    """Iterates once over a dataset of tuples, in order, with each batch on the device of a model."""
    device = next(model.parameters()).device
    for batch in DataLoader(cast(Dataset, dataset), batch_size):
        yield tuple(part.to(device) for part in batch)


def _optimizer(schedule: Schedule, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    if schedule.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=schedule.learning_rate,
            momentum=0.9,
            nesterov=True,
            weight_decay=schedule.weight_decay,
        )
    return torch.optim.AdamW(parameters, lr=schedule.learning_rate, weight_decay=schedule.weight_decay)


# Losses are fetched from the device this many at a time. Fetching each would stall the device; keeping thousands of
# small tensors would fragment its memory: 100 kB per cell (row "stage 2" of benchmarks/memory.py).
_PENDING_LOSSES = 32


class _Run:
    """The state of one training."""

    def __init__(
        self,
        step: TrainingStep,
        schedule: Schedule,
        accelerator: Accelerator,
        seed: int,
        checkpoints: Checkpoints | None,
    ) -> None:
        self.step, self.schedule = step, schedule
        self.accelerator, self.checkpoints = accelerator, checkpoints
        order, n = step.order(), len(step.dataset)
        self.batches = batches = stage_batches(order, n, schedule.batch_size, accelerator, seed)
        self.steps = schedule.epochs * len(batches)
        updates = schedule.epochs * -(-len(batches) // accelerator.gradient_accumulation_steps)
        optimizer = _optimizer(schedule, [p for p in step.module.parameters() if p.requires_grad])
        warmup = min(schedule.warmup_epochs * len(batches) + schedule.warmup_steps, updates // 5)
        scheduler = get_cosine_schedule_with_warmup(optimizer, warmup, max(updates, 1))
        loader = DataLoader(cast(Dataset, step.dataset), batch_sampler=batches)
        self.wrapped, self.optimizer, self.loader, self.scheduler = accelerator.prepare(
            step.module, optimizer, loader, scheduler
        )
        self.pending_losses: list[Tensor] = []
        self.progress = Progress("", finished=not schedule.epochs)
        self.best: dict[str, Tensor] | None = None
        if checkpoints is not None and schedule.epochs:
            self._resume(checkpoints)

    def _resume(self, checkpoints: Checkpoints) -> None:
        self.progress, self.best = checkpoints.load(self.step.module, self.optimizer)
        if self.progress.scheduler:
            self.scheduler.load_state_dict(self.progress.scheduler)
            for group, rate in zip(self.optimizer.param_groups, self.scheduler.get_last_lr(), strict=True):
                group["lr"] = rate
        if self.progress.scaler and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(self.progress.scaler)

    def rest_of_epoch(self) -> Iterable[Any]:
        """Returns the remaining batches of the current epoch."""
        self.batches.epoch, self.batches.start = divmod(self.progress.step, len(self.batches))
        self.wrapped.train()
        return self.loader

    def take_step(self, batch: Any) -> None:
        """Takes one optimization step."""
        # Random operations such as dropout depend only on the step number, so that a resumed training repeats them.
        processes, process = self.accelerator.num_processes, self.accelerator.process_index
        torch.manual_seed(self.batches.seed + self.progress.step * processes + process)
        with self.accelerator.accumulate(self.wrapped):
            loss = self.step.loss(self.wrapped, batch, self.batches.epoch)
            self.accelerator.backward(loss)
            if self.schedule.max_grad_norm is not None and self.accelerator.sync_gradients:
                self.accelerator.clip_grad_norm_(self.wrapped.parameters(), self.schedule.max_grad_norm)
            self.optimizer.step()
            self.scheduler.step()
            self.optimizer.zero_grad()
        self.pending_losses.append(loss.detach())
        if len(self.pending_losses) == _PENDING_LOSSES:
            self._fetch_losses()
        self.progress.step += 1
        if self.checkpoints is not None and self._is_due(self.checkpoints.every):
            self._fetch_losses()
            self._require_finite(self.batches.epoch + 1)
            self._save(self.checkpoints)

    def _is_due(self, every: int) -> bool:
        """Whether to save now: not at the end of an epoch, which always saves, nor within an accumulation."""
        step = self.progress.step
        return step % every == 0 and step % len(self.batches) != 0 and self.accelerator.sync_gradients

    def end_epoch(self) -> dict[str, Any]:
        """Validates, records, logs and saves a finished epoch, and decides whether to stop."""
        self._fetch_losses()
        progress = self.progress
        epoch = progress.step // len(self.batches)
        self._require_finite(epoch)
        mean = sum(progress.losses) / len(progress.losses)
        record = {"epoch": epoch, "loss": mean, "learning_rate": self.scheduler.get_last_lr()[0]}
        validation_loss = self._validate(epoch)
        if validation_loss is not None:
            record["validation_loss"] = validation_loss
        progress.history.append(record)
        progress.losses = []
        patience = self.schedule.patience if validation_loss is not None else None
        out_of_patience = patience is not None and epoch - progress.best_epoch >= patience
        progress.finished = epoch == self.schedule.epochs or out_of_patience
        self.accelerator.log(
            {f"{self.step.name}/{name}": value for name, value in record.items() if name != "epoch"}, step=epoch
        )
        if self.checkpoints is not None:
            self._save(self.checkpoints)
        return {name: f"{value:.4g}" for name, value in record.items() if name != "learning_rate"}

    def _validate(self, epoch: int) -> float | None:
        model = self.accelerator.unwrap_model(self.wrapped).eval()
        with torch.inference_mode():
            loss = self.step.validate(model)
        if loss is not None and not math.isfinite(loss):
            raise self._diverged("validation loss is", epoch)
        if loss is not None and (self.progress.best is None or loss < self.progress.best):
            self.progress.best, self.progress.best_epoch = loss, epoch
            self.best = trained_tensors(model)
        return loss

    def _require_finite(self, epoch: int) -> None:
        """Checks the losses and the weights, also those of the last step, which no loss has seen yet.

        Raises:
            BCSamError: If one is not finite.
        """
        if not all(map(math.isfinite, self.progress.losses)):
            raise self._diverged("loss is", epoch)
        trained = (parameter for parameter in self.step.module.parameters() if parameter.requires_grad)
        if not all(tensor.isfinite().all() for tensor in (*trained, *self.step.module.buffers())):
            raise self._diverged("weights are", epoch)

    def _diverged(self, what: str, epoch: int) -> BCSamError:
        latest = self.checkpoints.latest() if self.checkpoints is not None else None
        kept = f" The last good checkpoint is kept: {latest}." if latest else ""
        return BCSamError(
            f"{self.step.name}: the training diverged: the {what} not finite in epoch {epoch}. Lower this stage's "
            f"learning_rate, now {self.schedule.learning_rate:g}, in another --out.{kept}"
        )

    def _fetch_losses(self) -> None:
        """Fetches the pending losses from the device, averaged over processes."""
        if self.pending_losses:
            self.progress.losses += self.accelerator.reduce(torch.stack(self.pending_losses), "mean").tolist()
            self.pending_losses = []

    def _save(self, checkpoints: Checkpoints) -> None:
        self._fetch_losses()
        self.progress.scheduler = self.scheduler.state_dict()
        if self.accelerator.scaler is not None:
            self.progress.scaler = self.accelerator.scaler.state_dict()
        checkpoints.save(self.progress, self.accelerator.unwrap_model(self.wrapped), self.optimizer, self.best)

    def end(self) -> list[dict[str, float]]:
        """Unwraps the module, restores its best weights, releases the data, and returns the history."""
        model = self.accelerator.unwrap_model(self.wrapped, keep_fp32_wrapper=False).eval()
        # Otherwise a second training of the module would ignore mixed precision and other processes.
        vars(model).pop("_is_accelerate_prepared", None)
        if self.best is not None:
            restore_weights(model, self.best)
        self.accelerator.free_memory()  # which otherwise keeps references to the data of every stage
        return self.progress.history
