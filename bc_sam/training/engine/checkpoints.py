"""Checkpoints, from which a training killed at any moment resumes and ends with the same weights."""

import json
import logging
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bc_sam.errors import BCSamError, ConfigError
from bc_sam.utils.atomic import WRITE_ERRORS, sync_folder
from bc_sam.utils.json_config import JsonConfig

logger = logging.getLogger(__name__)

_WEIGHTS, _BEST, _OPTIMIZER, _STATE = "weights.safetensors", "best.safetensors", "optimizer.safetensors", "state.json"

# Folder of a checkpoint that is being written.
_UNFINISHED = "unfinished"


@dataclass
class Progress(JsonConfig):
    """The state of a training, without its tensors.

    Attributes:
        key: Identifies model, data and settings; a checkpoint with another key is not resumed.
        step: Number of completed steps.
        losses: Losses of the current epoch.
        history: One record per finished epoch.
        best: Lowest validation loss so far.
        best_epoch: Its epoch, from 1; 0 if there is none.
        finished: Whether the training has ended.
        scheduler: State of the learning rate scheduler.
        scaler: State of the gradient scaler of fp16.
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

    def __post_init__(self) -> None:
        # Read as floats, and would be written as such to the results of a resumed run.
        self.history = [{**record, "epoch": int(record["epoch"])} for record in self.history]


class Checkpoints:
    """The checkpoint folder of one training, which keeps the latest complete checkpoint.

    A checkpoint contains only trained tensors and state, as safetensors and JSON; nothing is pickled.

    Args:
        folder: The folder; created when needed.
        key: Identifies model, data and settings.
        every: Steps between checkpoints; one is also written after each epoch.
        writes: Whether this process writes checkpoints, or only reads them.
    """

    def __init__(self, folder: Path, key: str, *, every: int = 200, writes: bool = True) -> None:
        self.folder = folder
        self.key = key
        self.every = every
        self.writes = writes

    def load(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[Progress, dict[str, Tensor] | None]:
        """Loads the latest checkpoint into a model and its optimizer.

        Returns:
            The state of the training, fresh if there is no checkpoint, and the best weights so far, if any.

        Raises:
            BCSamError: If the checkpoint cannot be read.
        """
        self._remove_remains()
        latest = self.latest()
        if latest is None:
            if self._steps():
                logger.info("%s belongs to another training; starting from scratch.", self._steps()[-1])
            return Progress(self.key), None
        try:
            progress = Progress.load(latest / _STATE)
            restore_weights(model, load_file(latest / _WEIGHTS))
            _restore_optimizer(optimizer, load_file(latest / _OPTIMIZER))
            best = load_file(latest / _BEST) if progress.best_epoch else None
        except (OSError, SafetensorError, ConfigError, KeyError, ValueError, RuntimeError) as error:
            raise _unreadable(latest, error) from error
        logger.info("Resuming from %s, after %d steps.", latest, progress.step)
        return progress, best

    def save(
        self,
        progress: Progress,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        best: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Writes a checkpoint, then removes the previous one.

        Raises:
            BCSamError: If the disk is full; the previous checkpoint is kept then.
        """
        if not self.writes:
            return
        part, final = self.folder / _UNFINISHED, self.folder / f"step-{progress.step:08d}"
        try:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            save_file(trained_tensors(model), part / _WEIGHTS)
            save_file(_optimizer_tensors(optimizer), part / _OPTIMIZER)
            if best is not None:
                save_file(dict(best), part / _BEST)
            (part / _STATE).write_text(json.dumps(progress.to_dict()))
            sync_folder(part)
            if final.exists():  # of another training: with the same key, it would have been resumed
                remove_checkpoints(final)
            part.rename(final)
        except WRITE_ERRORS as error:
            shutil.rmtree(part, ignore_errors=True)
            previous = self._latest_intact()
            raise BCSamError(
                f"A checkpoint could not be written to {self.folder}: {error}. "
                + (f"{previous} is intact. " if previous else "")
                + "Free some space, then continue with bc-sam resume."
            ) from error
        with suppress(OSError):  # what cannot be removed now is removed by the next checkpoint
            for other in self.folder.glob("step-*"):
                if other != final:
                    remove_checkpoints(other)

    def latest(self) -> Path | None:
        """Returns the folder of the latest checkpoint of this training; ``None`` if there is none.

        Raises:
            BCSamError: If a checkpoint cannot be read.
        """
        for folder in reversed(self._steps()):
            try:
                if Progress.load(folder / _STATE).key == self.key:
                    return folder
            except ConfigError as error:
                raise _unreadable(folder, error) from error
        return None

    def _remove_remains(self) -> None:
        """Removes what a kill left of a checkpoint that was being written or removed."""
        for folder in self.folder.glob("*") if self.writes else ():
            if folder.name == _UNFINISHED or not (folder / _STATE).exists():
                shutil.rmtree(folder, ignore_errors=True)

    def _latest_intact(self) -> Path | None:
        with suppress(BCSamError):
            return self.latest()
        return None

    def _steps(self) -> list[Path]:
        return sorted(folder for folder in self.folder.glob("step-*") if (folder / _STATE).exists())


def remove_checkpoints(folder: Path) -> None:
    """Removes a checkpoint, or the folder of all checkpoints of a training, if it exists.

    The state goes first: without it a checkpoint is not read, so that a kill leaves no half of one to resume from.

    Raises:
        OSError: If a state cannot be removed.
    """
    for state in folder.rglob(_STATE):
        state.unlink()
    shutil.rmtree(folder, ignore_errors=True)


def _unreadable(checkpoint: Path, error: Exception) -> BCSamError:
    reason = str(error).rstrip(".")
    return BCSamError(f"The checkpoint {checkpoint} cannot be read: {reason}. Delete it to start from scratch.")


def trained_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Returns copies of the parameters that require gradients, and of all buffers, on the CPU, by name."""
    parameters = {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}
    return {
        name: tensor.detach().cpu().clone().contiguous()
        for name, tensor in (parameters | dict(model.named_buffers())).items()
    }


def restore_weights(model: nn.Module, saved: Mapping[str, Tensor]) -> None:
    """Copies tensors saved by `trained_tensors` back into a model.

    Raises:
        ValueError: If the tensors do not match the model.
    """
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    if saved.keys() != trained_tensors(model).keys():
        raise ValueError("its tensors do not match the model.")
    with torch.no_grad():
        for name, tensor in saved.items():
            tensors[name].copy_(tensor)


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
