"""Stage 1 features, computed once per cell: feature maps, masks, and cropped cells."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from peft import PeftModel
from torch import Tensor, nn
from tqdm import tqdm
from transformers import SamModel

from bc_sam.config.base import Precision
from bc_sam.config.model import BCSamConfig
from bc_sam.data.cell_crop import cell_target, largest_component
from bc_sam.networks.autoencoder import CrossDomainAutoencoder
from bc_sam.networks.feature_store import (
    SHARD_CELLS,
    FeatureStore,
    ShardedArray,
    missing_cells,
    remove_unfit_shards,
    write_shard,
)
from bc_sam.networks.precision import dtype_of
from bc_sam.networks.sam.compiling import WORTH_COMPILING, compile_blocks
from bc_sam.networks.sam.encoding import cell_logits, encode, normalise, upsample_logits
from bc_sam.networks.sam.lora import merge
from bc_sam.utils.malloc import return_freed_memory, reuse_freed_memory
from bc_sam.utils.torch_utils import frozen_copy

if TYPE_CHECKING:  # needs the training extra, which inference does not install
    from accelerate import Accelerator

    from bc_sam.data.store import CellStore


def default_batch_size(device: torch.device) -> int:
    """Returns a reasonable batch size for a device; ``bc-sam bench`` measures the best one."""
    return 16 if device.type == "cpu" else 64


def inference_sam(sam: SamModel | PeftModel, device: str | torch.device, precision: Precision = "no") -> SamModel:
    """Returns a copy of a SAM for inference: merged, frozen, on its device, at its precision.

    Tensors that neither the merge nor the cast changes are shared with the original; do not train it further.

    Args:
        sam: A SAM, with or without a LoRA adapter.
        device: Device to compute on.
        precision: Precision of the encoder's weights; the mask decoder is cheap and stays float32.
    """
    if torch.device(device).type == "cpu":
        reuse_freed_memory()
    merged = merge(sam) if isinstance(sam, PeftModel) else frozen_copy(sam)
    merged.to(device)  # type: ignore[arg-type]  # transformers' annotation lacks the argument
    merged.vision_encoder.to(dtype_of(precision, torch.device(device)))  # type: ignore[arg-type]
    return merged


@torch.inference_mode()
def encode_pixels(sam: SamModel, config: BCSamConfig, pixels: np.ndarray) -> Tensor:
    """Runs SAM's encoder on a batch of images.

    Args:
        sam: A model from `inference_sam`.
        config: Mean and standard deviation of the pixels.
        pixels: (B, S, S, 3) uint8, RGB.

    Returns:
        Feature maps (B, C, h, w) on SAM's device, in the encoder's dtype.
    """
    images = normalise(torch.tensor(pixels, device=sam.device), config.image_mean, config.image_std)
    return encode(sam, images.to(sam.vision_encoder.patch_embed.projection.weight.dtype))


@torch.inference_mode()
def embed_turns(
    sam: SamModel, autoencoder: CrossDomainAutoencoder, config: BCSamConfig, pixels: np.ndarray, upright: Tensor
) -> Tensor:
    """Returns the mean embedding of images in the four orientations, (B, latent_dim) float32.

    Args:
        sam: A model from `inference_sam`.
        autoencoder: The autoencoder.
        config: Mean and standard deviation of the pixels.
        pixels: (B, S, S, 3) uint8, RGB.
        upright: Feature maps (B, C, h, w) of the images as they are.
    """
    turned = (np.ascontiguousarray(np.rot90(pixels, turns, axes=(1, 2))) for turns in (1, 2, 3))
    maps = (upright, *(encode_pixels(sam, config, images) for images in turned))
    return torch.stack([autoencoder.encode(features.float()) for features in maps]).mean(dim=0)


@torch.inference_mode()
def predict_foreground(sam: SamModel, config: BCSamConfig, features: Tensor) -> np.ndarray:
    """Returns the predicted foreground of each image, with all its components: (B, S, S) bool."""
    logits = cell_logits(sam, features, mask_tokens=config.mask_tokens)
    return (upsample_logits(logits, config.image_size) > 0).cpu().numpy()


def predict_masks(sam: SamModel, config: BCSamConfig, features: Tensor) -> np.ndarray:
    """Returns the cell mask of each image, the largest component of its foreground: (B, S, S) bool, maybe empty."""
    return largest_components(predict_foreground(sam, config, features))


def largest_components(masks: np.ndarray) -> np.ndarray:
    """Keeps the largest connected component of each mask (B, S, S) bool."""
    return np.stack([largest_component(mask) for mask in masks])


def extract_features(
    sam: SamModel,
    config: BCSamConfig,
    cells: "CellStore",
    folder: Path,
    *,
    accelerator: "Accelerator",
    batch_size: int | None = None,
) -> FeatureStore:
    """Computes the features that are not yet stored for this encoder.

    Args:
        sam: A model from `inference_sam`.
        config: Mean and standard deviation of the pixels, and the mask tokens.
        cells: The images.
        folder: Folder of the shards; damaged ones are recomputed, those of other encoders removed.
        accelerator: The processes that share the work.
        batch_size: Images per batch; `default_batch_size` by default.

    Returns:
        The opened store.

    Raises:
        BCSamError: If the disk is full or the folder cannot be written.
    """
    encoder = _fingerprint_encoder(sam, config)
    if accelerator.is_main_process:
        remove_unfit_shards(folder, encoder)
    accelerator.wait_for_everyone()
    missing = missing_cells(folder, cells.digests, encoder)
    batch_size = batch_size or default_batch_size(sam.device)
    if len(missing) >= WORTH_COMPILING * accelerator.num_processes:
        compile_blocks(sam, batch_size)
    shards = [missing[start : start + SHARD_CELLS] for start in range(0, len(missing), SHARD_CELLS)]
    accelerator.wait_for_everyone()  # no process may write before every process has listed what is missing
    own_shards = shards[accelerator.process_index :: accelerator.num_processes]
    with tqdm(
        total=len(missing), desc="Features", unit="cell", disable=not accelerator.is_main_process or None
    ) as bar:
        for rows in own_shards:
            features = _shard_features(sam, config, cells, rows, batch_size)
            write_shard(folder, encoder, cells.digests[rows], features)
            del features
            return_freed_memory()
            bar.update(len(rows) * accelerator.num_processes)
    accelerator.wait_for_everyone()
    return FeatureStore(folder, cells.digests, encoder)


def _shard_features(
    sam: SamModel, config: BCSamConfig, cells: "CellStore", rows: np.ndarray, batch_size: int
) -> dict[str, np.ndarray]:
    """Computes the tensors of one shard."""
    maps, masks, targets = [], [], list[np.ndarray]()
    for start in range(0, len(rows), batch_size):
        pixels = cells.pixels[rows[start : start + batch_size]]
        features = encode_pixels(sam, config, pixels)
        cell_masks = predict_masks(sam, config, features)
        targets += [cell_target(*cell) for cell in zip(pixels, cell_masks, strict=True)]
        maps.append(features.half().cpu().numpy())
        masks.append(cell_masks)
    return {
        "maps": np.concatenate(maps),
        "masks": np.concatenate(masks),
        "targets": np.stack(targets),
    }


def _fingerprint_encoder(sam: SamModel, config: BCSamConfig) -> str:
    """Hashes everything but the code that determines the features of given pixels."""
    settings = repr((fingerprint_weights(sam), config.image_mean, config.image_std, config.mask_tokens))
    return hashlib.blake2b(settings.encode(), digest_size=16).hexdigest()


def fingerprint_weights(model: nn.Module) -> str:
    """Returns a hash of the names, dtypes and values of all tensors of a model."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


@torch.inference_mode()
def embed_cells_in_turns(
    sam: SamModel,
    autoencoder: CrossDomainAutoencoder,
    config: BCSamConfig,
    cells: "CellStore",
    maps: ShardedArray,
) -> np.ndarray:
    """Returns the mean embedding of stored cells in the four orientations, (n, d) float32.

    Args:
        sam: A model from `inference_sam`.
        autoencoder: The autoencoder.
        config: Mean and standard deviation of the pixels.
        cells: The cells.
        maps: Their feature maps as they are, (n, C, h, w); those of the other orientations are not stored.
    """
    size, latents = default_batch_size(sam.device), []
    for start in tqdm(range(0, len(maps), size), desc="Other orientations", unit="batch", disable=None):
        part = slice(start, start + size)
        upright = torch.tensor(maps[part], device=sam.device)
        latents.append(embed_turns(sam, autoencoder, config, cells.pixels[part], upright).cpu().numpy())
    return np.concatenate(latents)


@torch.inference_mode()
def embed_features(autoencoder: CrossDomainAutoencoder, maps: ShardedArray, batch_size: int = 256) -> np.ndarray:
    """Returns the latents (n, d), float32, of stored feature maps (n, C, h, w)."""
    device = next(autoencoder.parameters()).device
    batches = (maps[start : start + batch_size] for start in range(0, len(maps), batch_size))
    return np.concatenate(
        [autoencoder.encode(torch.tensor(batch, device=device).float()).cpu().numpy() for batch in batches]
    )
