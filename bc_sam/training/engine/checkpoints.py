"""A training on disk, such that it can be killed at any moment and taken up again to end with the same weights."""

import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bc_sam.errors import BCSamError, ConfigError
from bc_sam.utils.json_config import JsonConfig

logger = logging.getLogger(__name__)

_WEIGHTS, _BEST, _OPTIMIZER, _STATE = "weights.safetensors", "best.safetensors", "optimizer.safetensors", "state.json"


@dataclass
class Progress(JsonConfig):
    """How far a training has come; all but the tensors.

    Attributes:
        key: What is trained, on what; a checkpoint of another training is left alone.
        step: Steps that were taken.
        losses: Loss of each step of the unfinished epoch.
        history: A record of each finished epoch.
        best: Lowest validation loss so far.
        best_epoch: The epoch, from 1, that had it; 0 while there is none.
        finished: Whether the training came to its end.
        scheduler: State of the learning rate.
        scaler: State of the loss scale of fp16.
    """

    key: str
    step: int = 0
    losses: list[float] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)
    best: float | None = None
    best_epoch: int = 0
    finished: bool = False
    scheduler: dict[str, Any] = field(default_factory=dict)
    scaler: dict[str, Any] = field(default_factory=dict)


class Checkpoints:
    """The folder of one training's checkpoints. It holds one whole checkpoint, the newest, once there is any.

    Only what is trained is in it, as safetensors and JSON; nothing in it is ever unpickled.

    Args:
        folder: Where; made when it is needed.
        key: What is trained, on what.
        every: Steps between two checkpoints; there is one after each epoch too.
        writes: Whether this process writes, or only reads.
    """

    def __init__(self, folder: Path, key: str, *, every: int = 200, writes: bool = True) -> None:
        self.folder = folder
        self.key = key
        self.every = every
        self.writes = writes

    def load(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[Progress, dict[str, Tensor] | None]:
        """Puts the newest checkpoint's tensors into a model and its optimizer.

        Returns:
            How far it has come, a fresh start where there is no checkpoint, and the best weights so far.

        Raises:
            BCSamError: If the checkpoint cannot be read.
        """
        newest = self._newest()
        if newest is None:
            return Progress(self.key), None
        try:
            progress = Progress.load(newest / _STATE)
            if progress.key != self.key:
                logger.info("%s is of another training; starting anew.", newest)
                return Progress(self.key), None
            restore_weights(model, load_file(newest / _WEIGHTS))
            _restore_optimizer(optimizer, load_file(newest / _OPTIMIZER))
            best = load_file(newest / _BEST) if progress.best_epoch else None
        except (OSError, SafetensorError, ConfigError, KeyError, ValueError, RuntimeError) as error:
            raise BCSamError(f"The checkpoint {newest} cannot be read: {error} Delete it to start anew.") from error
        logger.info("Going on from %s, after %d steps.", newest, progress.step)
        return progress, best

    def save(
        self,
        progress: Progress,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        best: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Writes a checkpoint, then removes the older one.

        Raises:
            BCSamError: If the disk is full; the older checkpoint is whole then.
        """
        if not self.writes:
            return
        part, place = self.folder / "unfinished", self.folder / f"step-{progress.step:08d}"
        try:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            save_file(trained_tensors(model), part / _WEIGHTS)
            save_file(_optimizer_tensors(optimizer), part / _OPTIMIZER)
            if best is not None:
                save_file(dict(best), part / _BEST)
            (part / _STATE).write_text(json.dumps(progress.to_dict()))
            _flush(part)
            part.rename(place)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(part, ignore_errors=True)
            kept = self._newest()
            raise BCSamError(
                f"A checkpoint could not be written to {self.folder}: {error}. "
                + (f"{kept} is whole. " if kept else "")
                + "Free some space, then go on with --resume."
            ) from error
        for older in self.folder.glob("step-*"):
            if older != place:
                shutil.rmtree(older, ignore_errors=True)

    def _newest(self) -> Path | None:
        return max(self.folder.glob("step-*"), default=None)


def trained_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the parameters that ask for gradients, and of all buffers, on the processor, by name."""
    parameters = {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}
    return {
        name: tensor.detach().cpu().clone().contiguous()
        for name, tensor in (parameters | dict(model.named_buffers())).items()
    }


def restore_weights(model: nn.Module, saved: Mapping[str, Tensor]) -> None:
    """Puts what `trained_tensors` gave back into its place.

    Raises:
        ValueError: If the model trains other tensors.
    """
    places = dict(model.named_parameters()) | dict(model.named_buffers())
    if saved.keys() != trained_tensors(model).keys():
        raise ValueError("it holds other tensors than the model.")
    with torch.no_grad():
        for name, tensor in saved.items():
            places[name].copy_(tensor)


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{index}.{name}": tensor.detach().cpu().clone().contiguous()
        for index, tensors in optimizer.state_dict()["state"].items()
        for name, tensor in tensors.items()
    }


def _restore_optimizer(optimizer: torch.optim.Optimizer, saved: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in saved.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _flush(folder: Path) -> None:
    """Makes sure that the content is on the disk before the name is, should the power fail."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
