"""What stage 1 sees in every cell, computed once and kept on disk: feature maps, masks, and the cells cut out."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from tqdm import tqdm
from transformers import SamModel

from bc_sam.autoencoder import CrossDomainAutoencoder
from bc_sam.cell_crop import cell_target, largest_component
from bc_sam.config import BCSamConfig, Precision
from bc_sam.disk import create_array
from bc_sam.precision import autocast
from bc_sam.sam.encoding import Encoded, cell_logits, encode, feature_shape, normalise, upsample_logits

if TYPE_CHECKING:  # their packages are of training, which predicting does without
    from accelerate import Accelerator

    from bc_sam.data.store import CellStore

_KEY = "key.txt"


@torch.inference_mode()
def encode_pixels(sam: SamModel, config: BCSamConfig, pixels: np.ndarray, precision: Precision = "no") -> Encoded:
    """Runs SAM's encoder on a batch of pixels.

    Args:
        sam: SAM with the adapter merged in.
        config: Gives the pixels' mean and deviation.
        pixels: (B, S, S, 3) uint8, RGB.
        precision: Number format of the matrix products.

    Returns:
        Feature maps (B, C, h, w) and embeddings (B, 256, h, w), float32, on SAM's device.
    """
    images = normalise(torch.tensor(pixels, device=sam.device), config.image_mean, config.image_std)
    with autocast(precision, sam.device):
        encoded = encode(sam, images)
    return Encoded(encoded.features.float(), encoded.embeddings.float())


@torch.inference_mode()
def predict_masks(sam: SamModel, config: BCSamConfig, encoded: Encoded) -> np.ndarray:
    """Returns the cell in each image, the largest part of its mask: (B, S, S) bool; all false where none is seen."""
    logits = cell_logits(sam, encoded.embeddings, mask_tokens=config.mask_tokens)
    masks = upsample_logits(logits, config.image_size) > 0
    return np.stack([largest_component(mask) for mask in masks.cpu().numpy()])


class FeatureStore:
    """Features of all cells of a `CellStore`, memory-mapped from a folder.

    Attributes:
        maps: (n, C, h, w) float16, the encoder's last hidden state before the neck.
        masks: (n, S, S) bool, predicted.
        targets: (n, 128, 128, 3) uint8, the predicted cell on grey.
        key: What they were computed from.
    """

    def __init__(self, folder: Path) -> None:
        self.key = (folder / _KEY).read_text()
        self.maps = np.load(folder / "maps.npy", mmap_mode="r")
        self.masks = np.load(folder / "masks.npy", mmap_mode="r")
        self.targets = np.load(folder / "targets.npy", mmap_mode="r")


def extract_features(
    sam: SamModel,
    config: BCSamConfig,
    cells: "CellStore",
    folder: Path,
    *,
    accelerator: "Accelerator",
    target_size: int = 128,
    batch_size: int = 32,
    precision: Precision = "no",
) -> FeatureStore:
    """Computes the features of all cells, or opens them where this very encoder has left them.

    Args:
        sam: SAM with the adapter merged in.
        config: Gives the pixels' mean and deviation and how to read the mask.
        cells: The images.
        folder: Where the arrays go.
        accelerator: The processes, which share the cells.
        target_size: Side of the autoencoder's targets, pixels.
        batch_size: Images a step.
        precision: Number format of the matrix products.

    Returns:
        The opened store.
    """
    done = folder / _KEY
    key = f"{cells.table.key} {fingerprint_weights(sam)} {target_size} {precision}"
    if done.exists() and done.read_text() == key:
        return FeatureStore(folder)
    accelerator.wait_for_everyone()  # until all have seen that the old ones do not serve
    if accelerator.is_main_process:
        _create_arrays(folder, len(cells), feature_shape(sam), config.image_size, target_size)
    accelerator.wait_for_everyone()
    starts = range(0, len(cells), batch_size)[accelerator.process_index :: accelerator.num_processes]
    _fill_arrays(sam, config, cells, folder, starts, batch_size, precision, quiet=not accelerator.is_main_process)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        done.with_suffix(".part").write_text(key)
        os.replace(done.with_suffix(".part"), done)
    accelerator.wait_for_everyone()
    return FeatureStore(folder)


def _create_arrays(folder: Path, n: int, shape: tuple[int, ...], image_size: int, target_size: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _KEY).unlink(missing_ok=True)
    create_array(folder / "maps.npy", np.float16, (n, *shape))
    create_array(folder / "masks.npy", np.bool_, (n, image_size, image_size))
    create_array(folder / "targets.npy", np.uint8, (n, target_size, target_size, 3))


def _fill_arrays(
    sam: SamModel,
    config: BCSamConfig,
    cells: "CellStore",
    folder: Path,
    starts: range,
    batch_size: int,
    precision: Precision,
    *,
    quiet: bool,
) -> None:
    """Fills the rows of the batches that begin at `starts`."""
    maps, masks, targets = (np.load(folder / f"{name}.npy", mmap_mode="r+") for name in ("maps", "masks", "targets"))
    size = targets.shape[1]
    with ThreadPoolExecutor() as pool, tqdm(total=len(starts), desc="Features", unit="batch", disable=quiet) as bar:
        for start in starts:
            batch = slice(start, min(start + batch_size, len(cells)))
            encoded = encode_pixels(sam, config, cells.pixels[batch], precision)
            maps[batch] = encoded.features.half().cpu().numpy()
            masks[batch] = predict_masks(sam, config, encoded)
            crops = pool.map(cell_target, cells.pixels[batch], masks[batch], [size] * (batch.stop - start))
            targets[batch] = list(crops)
            bar.update()
    for array in (maps, masks, targets):
        array.flush()


def fingerprint_weights(model: nn.Module) -> str:
    """Returns a hash of every tensor of a model, by name."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


@torch.inference_mode()
def embed_features(autoencoder: CrossDomainAutoencoder, maps: np.ndarray, batch_size: int = 256) -> np.ndarray:
    """Returns the latents (n, d), float32, of stored feature maps (n, C, h, w)."""
    device = next(autoencoder.parameters()).device
    batches = (maps[start : start + batch_size] for start in range(0, len(maps), batch_size))
    return np.concatenate(
        [autoencoder.encode(torch.tensor(batch, device=device).float()).cpu().numpy() for batch in batches]
    )
