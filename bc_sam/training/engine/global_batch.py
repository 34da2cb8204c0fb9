"""Batch statistics over all processes, so that training does not depend on the number of processes."""

from typing import Self

import torch
from torch import Tensor, nn
from torch.distributed import nn as collectives


def is_distributed() -> bool:
    """Whether batches are shared by several processes."""
    return torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1


def gather(tensor: Tensor) -> Tensor:
    """Concatenates the batches (B, ...) of all processes; gradients flow back to each process."""
    return torch.cat(collectives.all_gather(tensor.contiguous())) if is_distributed() else tensor


class SyncBatchNorm2d(nn.BatchNorm2d):
    """Batch norm with the statistics of the global batch. PyTorch's own `nn.SyncBatchNorm` requires a GPU.

    In a single process, and in eval mode, it is identical to `nn.BatchNorm2d`.
    """

    @classmethod
    def replacing(cls, ordinary: nn.BatchNorm2d) -> Self:
        """Returns a layer that shares settings, mode and tensors with an ordinary one."""
        settings = ordinary.eps, ordinary.momentum, ordinary.affine, ordinary.track_running_stats
        layer = cls(ordinary.num_features, *settings).train(ordinary.training)
        for name, tensor in (*ordinary.named_parameters(), *ordinary.named_buffers()):
            setattr(layer, name, tensor)
        return layer

    def forward(self, input: Tensor) -> Tensor:
        """Returns the normalized input (B, C, H, W)."""
        if not (self.training and is_distributed()):
            return super().forward(input)
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        moments = torch.stack([x.mean(dim=(0, 2, 3)), x.square().mean(dim=(0, 2, 3))])
        processes = torch.distributed.get_world_size()
        mean, square = collectives.all_reduce(moments) / processes
        variance = square - mean.square()
        self._update_running_statistics(mean.detach(), variance.detach(), processes * x.numel() // x.shape[1])
        scale = (variance + self.eps).rsqrt() * self.weight
        shift = self.bias - mean * scale
        return (x * scale[:, None, None] + shift[:, None, None]).to(input.dtype)

    def _update_running_statistics(self, mean: Tensor, variance: Tensor, n: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum or 0.0)
        self.running_var.lerp_(variance * n / (n - 1), self.momentum or 0.0)


def synchronize_batch_norm(model: nn.Module) -> None:
    """Replaces every `nn.BatchNorm2d` in a model by `SyncBatchNorm2d`, in place; the state dict is unchanged."""
    for name, layer in list(model.named_children()):
        if type(layer) is nn.BatchNorm2d:
            setattr(model, name, SyncBatchNorm2d.replacing(layer))
        else:
            synchronize_batch_norm(layer)
