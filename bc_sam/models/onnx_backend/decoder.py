"""The autoencoder's decoder in NumPy, which draws one cell where torch may not be installed."""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from bc_sam.config.base import DECODER_LAYERS
from bc_sam.config.model import BCSamConfig
from bc_sam.errors import WeightsError

# Added to variances by batch normalization, the default of torch.
_EPSILON = 1e-5


def decode(latent: np.ndarray, config: BCSamConfig, weights: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns the image (3, 128, 128) float32, RGB in 0..1, of an embedding (d,).

    Args:
        latent: The embedding.
        config: The config of the model.
        weights: Its tensors by name, see `bc_sam.models.onnx_backend.shared_weights.NetworkWeights`.

    Raises:
        WeightsError: If a tensor is missing, or has another shape than the config says.
    """
    values = np.asarray(latent, np.float32)[:, None, None]
    channels = (config.latent_dim, *config.decoder_channels)
    for index, ((n_in, n_out), (kernel, stride)) in enumerate(zip(pairwise(channels), DECODER_LAYERS, strict=True)):
        convolution, norm = f"decoder.{3 * index}", f"decoder.{3 * index + 1}"  # a ReLU follows
        values = _conv_transpose(values, *_parameters(weights, convolution, (n_in, n_out, kernel, kernel)), stride)
        values = np.maximum(_batch_norm(values, weights, norm, n_out), 0)
    values = _conv_transpose(values, *_parameters(weights, f"decoder.{3 * len(DECODER_LAYERS)}", (n_out, 3, 1, 1)), 1)
    return 1 / (1 + np.exp(-values))


def _conv_transpose(values: np.ndarray, weight: np.ndarray, bias: np.ndarray, stride: int) -> np.ndarray:
    """Applies a transposed convolution (in, out, k, k) to values (in, h, w)."""
    _, n_out, kernel, _ = weight.shape
    _, height, width = values.shape
    taps = np.tensordot(weight, values, axes=(0, 0))  # (out, k, k, h, w): what each pixel adds around its place
    result = np.zeros((n_out, stride * (height - 1) + kernel, stride * (width - 1) + kernel), np.float32)
    for row, column in np.ndindex(kernel, kernel):
        rows = slice(row, row + stride * (height - 1) + 1, stride)
        columns = slice(column, column + stride * (width - 1) + 1, stride)
        result[:, rows, columns] += taps[:, row, column]
    return result + bias[:, None, None]


def _batch_norm(values: np.ndarray, weights: Mapping[str, np.ndarray], name: str, n: int) -> np.ndarray:
    """Normalizes values (n, h, w) by the statistics of the training."""
    scale, shift = _parameters(weights, name, (n,))
    mean, variance = (_tensor(weights, f"{name}.running_{part}", (n,)) for part in ("mean", "var"))
    scale = scale / np.sqrt(variance + _EPSILON)
    return values * scale[:, None, None] + (shift - mean * scale)[:, None, None]


def _parameters(
    weights: Mapping[str, np.ndarray], layer: str, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns weight and bias of a layer, given the shape of the weight."""
    n_out = shape[1] if len(shape) == 4 else shape[0]
    return _tensor(weights, f"{layer}.weight", shape), _tensor(weights, f"{layer}.bias", (n_out,))


def _tensor(weights: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
    found = weights.get(name)
    if found is None or found.shape != shape:
        raise WeightsError(
            f"The autoencoder has no tensor {name} of the shape {shape} that its config says. Download or save the "
            "model again."
        )
    return found
