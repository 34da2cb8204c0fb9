"""The cross-domain autoencoder: maps SAM features to a 50-dimensional latent and a reconstructed cell."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from bc_sam.config.base import DECODER_LAYERS, PAPER_DECODER_CHANNELS
from bc_sam.errors import WeightsError
from bc_sam.utils.torch_utils import require_match, seeded


class PhasedConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution with the same output as PyTorch's, several times faster on CPUs.

    With stride 1 it is an ordinary convolution with a flipped kernel. With stride 2, output pixels of one row and
    column parity depend on every other kernel tap only, so each of the four parities is an ordinary convolution with a
    smaller kernel, and the four outputs are interleaved. PyTorch's CPU kernel takes up to ten times as long in bf16;
    its GPU kernel is fast and is used there. ``benchmarks/training.py`` compares stage 2 with PyTorch's own kernel.
    """

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Returns (B, out, stride (H - 1) + kernel, stride (W - 1) + kernel) for x (B, in, H, W)."""
        stride = self.stride[0]
        if x.device.type != "cpu" or stride > 2 or self.bias is None:
            return super().forward(x, output_size)
        in_channels, out_channels, kernel, _ = self.weight.shape
        if kernel == stride == 1:  # a matrix product: PyTorch's convolution is slow for very few channels
            return (x.permute(0, 2, 3, 1) @ self.weight[..., 0, 0] + self.bias).permute(0, 3, 1, 2)
        taps = -(-kernel // stride)
        excess = stride * taps - kernel
        padded = F.pad(self.weight, (0, excess, 0, excess))
        phases = padded.view(in_channels, out_channels, taps, stride, taps, stride).flip(2, 4)
        phases = phases.permute(3, 5, 1, 0, 2, 4).reshape(stride**2 * out_channels, in_channels, taps, taps)
        outputs = F.conv2d(x, phases, self.bias.repeat(stride**2), padding=taps - 1)
        if stride == 1:
            return outputs
        return self._interleave(outputs, *(2 * side - 2 + kernel for side in x.shape[-2:]))

    @staticmethod
    def _interleave(phases: Tensor, height: int, width: int) -> Tensor:
        """Returns (B, out, height, width), interleaving even and odd rows and columns of phases (B, 4 out, h, w).

        Input and output are channels-last: batch norm is ten times slower on a layout that is neither
        channels-first nor channels-last.
        """
        rows, columns = phases.shape[-2:]
        split = phases.permute(0, 2, 3, 1).unflatten(3, (2, 2, -1))
        interleaved = split.transpose(2, 3).reshape(len(phases), 2 * rows, 2 * columns, -1)
        return interleaved[:, :height, :width].contiguous().permute(0, 3, 1, 2)


class CrossDomainAutoencoder(nn.Module):
    """Compresses a feature map into a latent from which the cell can be reconstructed (BC-SAM, section 2.2).

    Parameter names match the original implementation, so its weights load without renaming.

    Args:
        feature_channels: Channels of the feature map, 768 for SAM ViT-B.
        latent_dim: Dimension of the latent.
        decoder_channels: Output channels of the seven transposed convolutions before the last one.

    Example:
        >>> import torch
        >>> latent, cell = CrossDomainAutoencoder().eval()(torch.zeros(2, 768, 14, 14))
        >>> latent.shape, cell.shape
        (torch.Size([2, 50]), torch.Size([2, 3, 128, 128]))
    """

    def __init__(
        self,
        feature_channels: int = 768,
        latent_dim: int = 50,
        decoder_channels: Sequence[int] = PAPER_DECODER_CHANNELS,
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.encoder = nn.Sequential(
            nn.Conv2d(feature_channels, 256, kernel_size=1),
            nn.BatchNorm2d(256),
            nn.ReLU(),
            nn.Conv2d(256, 256, kernel_size=3, stride=2),
            nn.BatchNorm2d(256),
            nn.ReLU(),
            nn.Conv2d(256, latent_dim, kernel_size=1),
            nn.BatchNorm2d(latent_dim),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
        )
        layers: list[nn.Module] = []
        channels = (latent_dim, *decoder_channels)
        for (n_in, n_out), (kernel, stride) in zip(pairwise(channels), DECODER_LAYERS, strict=True):
            layers += [PhasedConvTranspose2d(n_in, n_out, kernel, stride), nn.BatchNorm2d(n_out), nn.ReLU()]
        self.decoder = nn.Sequential(*layers, PhasedConvTranspose2d(channels[-1], 3, kernel_size=1), nn.Sigmoid())

    def encode(self, features: Tensor) -> Tensor:
        """Returns non-negative latents (B, latent_dim) of feature maps (B, feature_channels, H, W)."""
        return self.encoder(features).flatten(1)

    def decode(self, latents: Tensor) -> Tensor:
        """Returns reconstructed cells (B, 3, 128, 128), RGB in 0..1, of latents (B, latent_dim)."""
        return self.decoder(latents[:, :, None, None])

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Returns latents (B, latent_dim) and reconstructions (B, 3, 128, 128) of feature maps (B, C, H, W)."""
        latents = self.encode(features)
        return latents, self.decode(latents)


def new_autoencoder(
    feature_channels: int, latent_dim: int, decoder_channels: Sequence[int], seed: int
) -> CrossDomainAutoencoder:
    """Returns an autoencoder whose initial weights are drawn from `seed`; see `CrossDomainAutoencoder`."""
    with seeded(seed):
        return CrossDomainAutoencoder(feature_channels, latent_dim, decoder_channels)


def save_autoencoder(model: CrossDomainAutoencoder, path: Path) -> None:
    """Writes the weights as safetensors."""
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}, path)


def load_autoencoder(
    path: Path, feature_channels: int, latent_dim: int, decoder_channels: Sequence[int]
) -> CrossDomainAutoencoder:
    """Loads an autoencoder written by `save_autoencoder`; the tensors must match exactly.

    Args:
        path: A safetensors file.
        feature_channels: As for `CrossDomainAutoencoder`.
        latent_dim: As for `CrossDomainAutoencoder`.
        decoder_channels: As for `CrossDomainAutoencoder`.

    Returns:
        The model in eval mode, float32.

    Raises:
        WeightsError: If the file is missing or damaged, or a tensor is missing, unexpected or of the wrong shape.
    """
    try:
        state = {name: _to_float32(tensor) for name, tensor in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} is missing or damaged ({error}). Download or save the model again.") from error
    with torch.device("meta"):  # an untrusted config must not allocate memory before the file is known to match it
        model = CrossDomainAutoencoder(feature_channels, latent_dim, decoder_channels)
    require_match(model.state_dict(), state, str(path))
    model.load_state_dict(state, assign=True)
    return model.eval()


def _to_float32(tensor: Tensor) -> Tensor:
    """Converts floating-point tensors to float32; integer counters keep their dtype."""
    return tensor.float() if tensor.is_floating_point() else tensor
