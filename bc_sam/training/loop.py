"""The one training loop: AdamW, warm-up and cosine, under Accelerate. Each stage brings its model, data and loss."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import get_cosine_schedule_with_warmup

from bc_sam.errors import BCSamError

#: Loss of one batch, a scalar. The model's forward pass runs in mixed precision, the loss itself in float32.
LossFunction = Callable[[nn.Module, Any], Tensor]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Attributes:
        epochs: Passes over the data.
        warmup_steps: Steps of linear warm-up before the cosine; at most a fifth of all steps.
        learning_rate: Peak rate.
        weight_decay: Decay of AdamW.
    """

    epochs: int
    warmup_steps: int
    learning_rate: float
    weight_decay: float


def fit(
    model: nn.Module,
    loader: DataLoader,
    loss_function: LossFunction,
    schedule: Schedule,
    accelerator: Accelerator,
    description: str,
) -> list[dict[str, float]]:
    """Trains those parameters of a model that ask for gradients, in place.

    Args:
        model: The model; left in eval mode, on the accelerator's device.
        loader: Its batches.
        loss_function: Gives the loss of the model on a batch.
        schedule: How long and how fast.
        accelerator: Device, processes and precision.
        description: Text of the progress bar.

    Returns:
        For each epoch its number, mean loss and last learning rate.

    Raises:
        BCSamError: If the loss stops being a number.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=schedule.learning_rate, weight_decay=schedule.weight_decay)
    steps = schedule.epochs * len(loader)
    warmup = min(schedule.warmup_steps, steps // 5)
    scheduler = get_cosine_schedule_with_warmup(optimizer, warmup, max(steps, 1))
    wrapped, optimizer, loader, scheduler = accelerator.prepare(model, optimizer, loader, scheduler)
    history = []
    with tqdm(total=steps, desc=description, unit="step", disable=not accelerator.is_main_process) as progress:
        for epoch in range(schedule.epochs):
            wrapped.train()
            losses = []
            for batch in loader:
                with accelerator.accumulate(wrapped):
                    loss = loss_function(wrapped, batch)
                    accelerator.backward(loss)
                    optimizer.step()
                    scheduler.step()
                    optimizer.zero_grad()
                losses.append(loss.detach())
                progress.update()
            mean = _mean_over_processes(losses, accelerator)
            if not math.isfinite(mean):
                raise BCSamError(f"{description}: the loss is no number in epoch {epoch + 1}. Lower learning_rate.")
            progress.set_postfix(epoch=epoch + 1, loss=f"{mean:.4f}")
            history.append({"epoch": epoch + 1, "loss": mean, "learning_rate": scheduler.get_last_lr()[0]})
    accelerator.unwrap_model(wrapped, keep_fp32_wrapper=False).eval()
    accelerator.free_memory()  # it would hold on to the data of every stage and fold
    return history


def _mean_over_processes(losses: Sequence[Tensor], accelerator: Accelerator) -> float:
    return float(accelerator.reduce(torch.stack(list(losses)).mean(), "mean"))
