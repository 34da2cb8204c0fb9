"""Loads a Segment Anything model from any source at any image size."""

from pathlib import Path
from typing import Any, Unpack

from transformers import SamConfig, SamMaskDecoderConfig, SamModel, SamPromptEncoderConfig, SamVisionConfig

from bc_sam.errors import WeightsError
from bc_sam.networks.sam.attention import use_fused_bias_attention
from bc_sam.networks.sam.resizing import patch_grid, resize_sam
from bc_sam.networks.sam.safe_folder import load_sam_folder
from bc_sam.networks.sam.segment_anything import read_torch_file, sam_from_original
from bc_sam.utils.hub import SAM_FILES, download_snapshot
from bc_sam.utils.model_source import SnapshotOptions, damage_explained, is_hub_id
from bc_sam.utils.torch_utils import seeded

# Side of the patches of the tiny SAM, pixels.
_TINY_PATCH = 16


def load_sam(
    source: str | Path, *, image_size: int = 224, seed: int = 0, **options: Unpack[SnapshotOptions]
) -> SamModel:
    """Loads a `SamModel` and resizes it to `image_size`; the source must match the model exactly.

    Args:
        source: Hub id such as ``"facebook/sam-vit-base"``; a folder with ``config.json`` and
            ``model.safetensors``; a ``.pth`` checkpoint of the original `segment_anything`; or ``"tiny"`` for a small
            model with random weights (use ``"./tiny"`` for a folder of that name).
        image_size: Side of the square input, pixels; a multiple of the patch size.
        seed: Seed of the random weights of ``"tiny"``; the global random state is not changed.
        **options: ``revision``, ``token`` and other Hub options; see `bc_sam.utils.model_source.SnapshotOptions`.

    Returns:
        The model in eval mode, float32.

    Raises:
        WeightsError: If the source is not found, or its tensors do not match the model.
        HubError: If the repository does not exist or the Hub cannot be reached.
        UntrustedFileError: If the weights are a pickle that holds more than tensors.
        ConfigError: If `image_size` is not a multiple of the patch size.

    Example:
        >>> sam = load_sam("tiny", image_size=224)
        >>> sam.config.vision_config.image_size
        224
    """
    path = Path(source)
    if source == "tiny":
        return _new_sam(tiny_sam_config(image_size), seed)
    if path.is_file():
        sam = sam_from_original(read_torch_file(path), source=str(path))
    elif path.is_dir():
        sam = load_sam_folder(path, str(path))
    elif not is_hub_id(source):
        raise WeightsError(f"There is no file or folder {source}. Pass an existing path, a Hub id, or 'tiny'.")
    else:
        return load_hub_sam(str(source), image_size=image_size, **options)
    return resize_sam(sam, image_size)


def load_hub_sam(repo_id: str, *, image_size: int = 224, **options: Unpack[SnapshotOptions]) -> SamModel:
    """Loads a SAM from the Hub, even if there is a local folder of the same name; see `load_sam`.

    Args:
        repo_id: Hub id.
        image_size: Side of the square input, pixels.
        **options: See `bc_sam.utils.model_source.SnapshotOptions`.

    Raises:
        HubError: If the repository or revision does not exist, or the Hub cannot be reached.
        WeightsError: If its tensors do not match the model.
    """
    folder = download_snapshot(repo_id, SAM_FILES, **options)
    with damage_explained(repo_id, f"hf download {repo_id}"):
        sam = load_sam_folder(folder, repo_id)
    sam.config._commit_hash = folder.name  # where transformers stores it, so that callers can pin the base
    return resize_sam(sam, image_size)


def tiny_sam_config(image_size: int = 224) -> SamConfig:
    """Returns the config of a SAM with 5.65 million encoder parameters, small enough to train on two CPU cores.

    All blocks attend globally: a grid of 14 x 14 patches is no larger than one of SAM's windows.

    Raises:
        ConfigError: If `image_size` is not a multiple of 16, the side of the patches.
    """
    grid = patch_grid(image_size, _TINY_PATCH)
    vision = SamVisionConfig(
        hidden_size=256,
        num_hidden_layers=6,
        num_attention_heads=8,
        mlp_dim=1024,
        image_size=image_size,
        patch_size=_TINY_PATCH,
        window_size=grid,
        global_attn_indexes=list(range(6)),
        # The default of transformers, 1e-10, assumes a checkpoint; with it no signal would pass.
        initializer_range=0.02,
    )
    # Scale of the random Fourier position encoding: 1 as in the original. The default of transformers, half the hidden
    # size, also assumes a checkpoint; it would give neighbouring positions unrelated encodings.
    vision.scale = 1
    prompt = SamPromptEncoderConfig(image_size=image_size, patch_size=_TINY_PATCH)
    return SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=SamMaskDecoderConfig())


def _new_sam(config: SamConfig, seed: int) -> SamModel:
    """Returns a randomly initialized SAM."""
    with seeded(seed):
        sam = use_fused_bias_attention(SamModel(config).eval())
    # The scale is used at initialization only. transformers saves `scale` but restores its default on loading.
    vision: Any = config.vision_config
    vision.scale = vision.hidden_size // 2
    return sam
