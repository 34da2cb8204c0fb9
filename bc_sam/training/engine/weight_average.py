"""A moving average of the weights over the steps of a training."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bc_sam.training.engine.checkpoints import restore_weights, trained_tensors

# The average begins as the mean of about the last tenth of the steps, so that the initial weights are soon forgotten.
_FIRST_STEPS = 10


class WeightAverage:
    """An exponential moving average of a model's trained parameters and buffers.

    In laboratories that it has not seen, the accuracy of a network rises and falls by several points from epoch to epoch
    (docs/bc_sam_tiny.md, "Averaged weights"); that of its average does not (Cha et al., "SWAD: Domain generalization by
    seeking flat minima", NeurIPS 2021).

    Args:
        model: The model, trained in place.
        decay: Share of the average that each step keeps, 0..1; 0.998 averages over about 500 steps. During the first
            steps it is smaller.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay = model, decay
        self._tensors = {name: tensor.detach().clone() for name, tensor in _tensors_of(model).items()}

    @torch.no_grad()
    def update(self, n_steps: int) -> None:
        """Adds the weights after a step to the average.

        Args:
            n_steps: Number of steps taken before this one.
        """
        weight = 1 - min(self.decay, (n_steps + 1) / (n_steps + 1 + _FIRST_STEPS))
        for name, tensor in _tensors_of(self.model).items():
            average = self._tensors[name]
            if average.is_floating_point():
                average.lerp_(tensor, weight)
            else:  # such as the number of batches that a normalization has seen
                average.copy_(tensor)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Gives the model the averaged weights, and afterwards its own."""
        own = trained_tensors(self.model)
        restore_weights(self.model, self._tensors)
        try:
            yield
        finally:
            restore_weights(self.model, own)

    def tensors(self) -> dict[str, Tensor]:
        """Returns copies of the averaged tensors on the CPU, by name."""
        return {name: tensor.cpu().clone().contiguous() for name, tensor in self._tensors.items()}

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        """Continues from tensors of `tensors`.

        Raises:
            ValueError: If they do not match the model.
        """
        if saved.keys() != self._tensors.keys():
            raise ValueError("its averaged tensors do not match the model.")
        for name, tensor in saved.items():
            self._tensors[name].copy_(tensor)


def _tensors_of(model: nn.Module) -> dict[str, Tensor]:
    trained = {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}
    return trained | dict(model.named_buffers())
