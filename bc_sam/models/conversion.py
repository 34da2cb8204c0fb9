"""Converts checkpoints of the original BC-SAM to a model of this package."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from bc_sam.config.model import BCSamConfig
from bc_sam.models.bc_sam import BCSam
from bc_sam.networks.autoencoder import CrossDomainAutoencoder
from bc_sam.networks.sam.encoding import feature_shape
from bc_sam.networks.sam.loading import load_sam
from bc_sam.networks.sam.segment_anything import adapter_from_original, read_torch_file
from bc_sam.utils.model_source import is_hub_id
from bc_sam.utils.torch_utils import require_match


def convert_original(sam: str, adapter: Path, autoencoder: Path, *, image_size: int = 224) -> BCSam:
    """Builds a model from the original's files. It has no classifiers, as the original saved none.

    Args:
        sam: The base SAM of the original: ``sam_vit_b_01ec64.pth``, a folder, or a Hub id.
        adapter: Checkpoint of stage 1, such as ``epoch_85.pth``.
        autoencoder: State dict of the autoencoder.
        image_size: Input size of SAM, pixels.

    Raises:
        UntrustedFileError: If opening a file would execute code.
        WeightsError: If a tensor is missing, unexpected or misshapen.
    """
    state = read_torch_file(adapter)
    base = load_sam(sam, image_size=image_size)
    width = feature_shape(base)[0]
    weights = autoencoder_from_original(read_torch_file(autoencoder), feature_channels=width, source=str(autoencoder))
    on_hub = is_hub_id(sam)
    config = BCSamConfig(
        base=sam if on_hub else None,
        base_revision=base.config._commit_hash if on_hub else None,
        base_inside=not on_hub,
        image_size=image_size,
        mask_tokens="two" if any(name.startswith("mask_decoder.") for name in state) else "single",
        feature_channels=width,
        latent_dim=weights["encoder.6.weight"].shape[0],
    )
    model = CrossDomainAutoencoder(config.feature_channels, config.latent_dim)
    model.load_state_dict(weights, strict=True)
    return BCSam(config, adapter_from_original(state, base, base=config.base), model, {})


def autoencoder_from_original(
    state: Mapping[str, Tensor], *, feature_channels: int = 768, source: str = "the autoencoder"
) -> dict[str, Tensor]:
    """Checks the weights of the original autoencoder, whose names `CrossDomainAutoencoder` shares.

    Args:
        state: Its state dict, as `read_torch_file` returns it.
        feature_channels: Width of the SAM it was trained on.
        source: Its origin, for error messages.

    Returns:
        The state dict of a `bc_sam.networks.autoencoder.CrossDomainAutoencoder` with the paper's sizes.

    Raises:
        WeightsError: If a tensor is missing, unexpected or misshapen.
    """
    with torch.device("meta"):
        expected = CrossDomainAutoencoder(feature_channels).state_dict()
    require_match(expected, state, source)
    return dict(state)
