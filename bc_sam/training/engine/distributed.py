"""Statistics of the whole batch where several processes share it, so that they train as one process would."""

import torch
from torch import Tensor, nn
from torch.distributed import nn as collectives


def is_shared() -> bool:
    """Whether several processes share each batch."""
    return torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1


def gather(tensor: Tensor) -> Tensor:
    """Joins the parts (B, ...) of all processes to the whole batch; gradients flow back to each process."""
    return torch.cat(collectives.all_gather(tensor.contiguous())) if is_shared() else tensor


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm by the mean and variance of the whole batch; PyTorch's own, `SyncBatchNorm`, needs a GPU.

    In a single process, and in eval mode, it is `nn.BatchNorm2d`.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Returns the normalised input (B, C, H, W)."""
        if not (self.training and is_shared()):
            return super().forward(input)
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        moments = torch.stack([x.mean(dim=(0, 2, 3)), x.square().mean(dim=(0, 2, 3))])
        processes = torch.distributed.get_world_size()
        mean, square = collectives.all_reduce(moments) / processes
        variance = square - mean.square()
        self._remember(mean.detach(), variance.detach(), processes * x.numel() // x.shape[1])
        scale = (variance + self.eps).rsqrt() * self.weight
        shift = self.bias - mean * scale
        return (x * scale[:, None, None] + shift[:, None, None]).to(input.dtype)

    def _remember(self, mean: Tensor, variance: Tensor, n: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum or 0.0)
        self.running_var.lerp_(variance * n / (n - 1), self.momentum or 0.0)


def share_batch_norm(model: nn.Module) -> None:
    """Lets every batch norm of a model see the whole batch, in place. The names and shapes of its tensors stay."""
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SharedBatchNorm2d
