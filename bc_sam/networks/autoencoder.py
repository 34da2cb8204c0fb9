"""The cross-domain autoencoder: SAM's feature map in, 50 numbers and the reconstructed cell out."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from bc_sam.config.base import PAPER_DECODER_CHANNELS
from bc_sam.errors import WeightsError
from bc_sam.utils.torch_utils import require_match, seeded

#: Kernel size and stride of the decoder's transposed convolutions: 1 pixel grows to 5, 12, 14, 31, 63, 127, 128.
_DECODER_STEPS = ((5, 1), (4, 2), (3, 1), (5, 2), (3, 2), (3, 2), (2, 1))


class PhasedConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution that processors compute several times faster; the numbers are the same.

    With stride 1 it is an ordinary convolution with the kernel turned round. With stride 2, each output pixel of one
    parity of row and column sees every other tap of the kernel: an ordinary convolution with one small kernel for each
    of the four parities, whose outputs are then interleaved. PyTorch's own kernel for processors takes up to ten times
    as long in bf16; GPUs have a good one, which stays in use there.
    """

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Returns (B, out, stride (H - 1) + kernel, stride (W - 1) + kernel) for x (B, in, H, W)."""
        stride = self.stride[0]
        if x.device.type != "cpu" or stride > 2 or self.bias is None:
            return super().forward(x, output_size)
        inner, outer, kernel, _ = self.weight.shape
        if kernel == stride == 1:  # as a plain product: the library's convolution is slow for very few channels
            return (x.permute(0, 2, 3, 1) @ self.weight[..., 0, 0] + self.bias).permute(0, 3, 1, 2)
        taps = -(-kernel // stride)
        beyond = stride * taps - kernel
        phases = F.pad(self.weight, (0, beyond, 0, beyond)).view(inner, outer, taps, stride, taps, stride).flip(2, 4)
        phases = phases.permute(3, 5, 1, 0, 2, 4).reshape(stride**2 * outer, inner, taps, taps)
        parts = F.conv2d(x, phases, self.bias.repeat(stride**2), padding=taps - 1)
        return parts if stride == 1 else self._interleave(parts, *(2 * side - 2 + kernel for side in x.shape[-2:]))

    @staticmethod
    def _interleave(parts: Tensor, height: int, width: int) -> Tensor:
        """Returns (B, out, height, width) of parts (B, 4 out, h, w): rows of even and odd, columns likewise.

        Channels come last in memory, before and after: batch norm is ten times slower on a layout of neither kind.
        """
        rows, columns = parts.shape[-2:]
        apart = parts.permute(0, 2, 3, 1).unflatten(3, (2, 2, -1))
        woven = apart.transpose(2, 3).reshape(len(parts), 2 * rows, 2 * columns, -1)
        return woven[:, :height, :width].contiguous().permute(0, 3, 1, 2)


class CrossDomainAutoencoder(nn.Module):
    """Squeezes an encoder's feature map to a latent that still draws the cell (BC-SAM, section 2.2).

    The tensors keep the names of the original's, so its weights load without renaming.

    Args:
        feature_channels: Channels of the feature map, 768 for SAM ViT-B.
        latent_dim: Numbers that a cell is squeezed to.
        decoder_channels: Widths of the seven transposed convolutions before the last one.

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
        steps: list[nn.Module] = []
        widths = (latent_dim, *decoder_channels)
        for (inner, outer), (kernel, stride) in zip(pairwise(widths), _DECODER_STEPS, strict=True):
            steps += [PhasedConvTranspose2d(inner, outer, kernel, stride), nn.BatchNorm2d(outer), nn.ReLU()]
        self.decoder = nn.Sequential(*steps, PhasedConvTranspose2d(widths[-1], 3, kernel_size=1), nn.Sigmoid())

    def encode(self, features: Tensor) -> Tensor:
        """Returns the latents (B, latent_dim), not negative, of feature maps (B, feature_channels, H, W)."""
        return self.encoder(features).flatten(1)

    def decode(self, latents: Tensor) -> Tensor:
        """Returns the cells (B, 3, 128, 128), RGB in 0..1, that latents (B, latent_dim) stand for."""
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
    """Reads what `save_autoencoder` wrote; every tensor must be there, and no other.

    Args:
        path: A safetensors file.
        feature_channels: As for `CrossDomainAutoencoder`.
        latent_dim: Likewise.
        decoder_channels: Likewise.

    Returns:
        The model in eval mode.

    Raises:
        WeightsError: If the file is missing or broken, or a tensor is missing, unexpected or misshapen.
    """
    try:
        state = {name: _to_float32(tensor) for name, tensor in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} is missing or broken ({error}). Download or save the model again.") from error
    with torch.device("meta"):  # sizes that a stranger chose take no memory before the file has shown that it fits
        model = CrossDomainAutoencoder(feature_channels, latent_dim, decoder_channels)
    require_match(model.state_dict(), state, str(path))
    model.load_state_dict(state, assign=True)
    return model.eval()


def _to_float32(tensor: Tensor) -> Tensor:
    """Numbers of any precision become float32; counts stay."""
    return tensor.float() if tensor.is_floating_point() else tensor
