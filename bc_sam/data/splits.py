"""Stratified folds that keep the cells of one slide, and copies of one image, together."""

import warnings
from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from sklearn.model_selection import StratifiedGroupKFold

from bc_sam.errors import DataError

# Each of the 16 rings of a 224 px image is 7 px wide. Root-mean-square difference of two fingerprints in grey levels,
# measured on the cells of three laboratories: at most 0.9 for copies rotated by any angle, at least 2.4 for different
# cells.
_RINGS = 16
_TOLERANCE = 1.25
_BYTES = _RINGS * 2 * 3


def fingerprint(pixels: np.ndarray) -> str:
    """Computes a fingerprint of an image that is invariant to flips and to rotations about its centre.

    It consists of the mean and standard deviation of each colour channel in concentric rings. `assign_folds` treats
    images with nearly equal fingerprints as copies: images that were flipped, rotated by any angle, lightly
    recompressed, or saved in another lossless format. Images that were shifted, scaled, restained or strongly
    recompressed are not recognized.

    Args:
        pixels: Array (S, S, 3), uint8, S at least 32, from `bc_sam.data.images.to_square`. Use the same S for all.

    Returns:
        192 hexadecimal digits.

    Raises:
        DataError: If the shape or type is wrong.

    Example:
        >>> pixels = np.arange(64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8)
        >>> fingerprint(pixels) == fingerprint(pixels[::-1])
        True
    """
    size = len(pixels)
    if pixels.shape != (size, size, 3) or pixels.dtype != np.uint8 or size < 2 * _RINGS:
        raise DataError(f"A fingerprint needs uint8 (S, S, 3) with S >= 32, but got {pixels.dtype} {pixels.shape}.")
    offset = np.arange(size) - (size - 1) / 2
    ring = (np.hypot(offset[:, None], offset) * (2 * _RINGS / size)).astype(int)
    inside = ring < _RINGS
    ring, values = ring[inside], pixels[inside].astype(np.float64)
    count = np.bincount(ring)[:, None]
    mean = _sum_by(ring, values) / count
    deviation = np.sqrt(np.maximum(_sum_by(ring, values**2) / count - mean**2, 0))
    return np.rint(np.stack([mean, deviation])).astype(np.uint8).tobytes().hex()


def find_copies(fingerprints: Sequence[str]) -> np.ndarray:
    """Finds pairs of images that are copies of each other.

    Args:
        fingerprints: `fingerprint` of each image.

    Returns:
        Array (m, 2), int64: index pairs whose fingerprints agree within the tolerance.

    Raises:
        DataError: If a fingerprint is invalid.

    Example:
        >>> pixels = np.arange(64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8)
        >>> find_copies([fingerprint(pixels), fingerprint(np.rot90(pixels)), fingerprint(pixels // 2)]).tolist()
        [[0, 1]]
    """
    try:
        vectors = np.array([list(bytes.fromhex(text)) for text in fingerprints], dtype=np.float64)
        vectors = vectors.reshape(len(fingerprints), _BYTES)
    except (TypeError, ValueError):
        raise DataError("Invalid fingerprints. Use bc_sam.data.splits.fingerprint to compute them.") from None
    radius = _TOLERANCE * np.sqrt(_BYTES)
    return cKDTree(vectors).query_pairs(radius, output_type="ndarray").astype(np.int64)


def assign_folds(
    labels: Sequence[int | None],
    groups: Sequence[str | None],
    fingerprints: Sequence[str],
    n_folds: int = 5,
    seed: int = 1234,
) -> np.ndarray:
    """Assigns the images of one domain to folds, stratified by class.

    Images of one group, copies of one image, and all images that these link transitively share a fold. Unlabelled
    images are distributed like another class. A class with fewer independent images than folds is missing from some.

    Args:
        labels: Class index of each image, or ``None``.
        groups: Slide or patient of each image, or ``None`` if unknown.
        fingerprints: `fingerprint` of each image.
        n_folds: Number of folds.
        seed: Seed of the shuffling; the same inputs and seed give the same folds.

    Returns:
        Array (n,), int64: the fold of each image, 0 to `n_folds` - 1. No fold is empty.

    Raises:
        DataError: If there are fewer independent groups of images than folds, the lengths differ, or a fingerprint
            is invalid.

    Example:
        >>> prints = [fingerprint(np.full((32, 32, 3), 20 * i, dtype=np.uint8)) for i in range(4)]
        >>> sorted(assign_folds([0, 0, 1, 1], [None] * 4, prints, n_folds=2).tolist())
        [0, 0, 1, 1]
    """
    if not len(labels) == len(groups) == len(fingerprints):
        lengths = f"{len(labels)}, {len(groups)} and {len(fingerprints)}"
        raise DataError(f"labels, groups and fingerprints must have the same length, but have {lengths}.")
    if n_folds < 2:
        raise DataError(f"n_folds must be at least 2, but is {n_folds}.")
    units = independent_units(groups, fingerprints)
    n_units = len(np.unique(units))
    if n_units < n_folds:
        raise DataError(
            f"{len(labels)} images form {n_units} independent groups (slides and copies stay together), too few for "
            f"{n_folds} folds. Use fewer folds, or add images of other slides."
        )
    return _stratify(np.array([-1 if label is None else label for label in labels]), units, n_folds, seed)


def _sum_by(ring: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.stack([np.bincount(ring, channel) for channel in values.T], axis=1)


def independent_units(groups: Sequence[str | None], fingerprints: Sequence[str]) -> np.ndarray:
    """Returns the connected components of images that share a group or are copies.

    Args:
        groups: As for `assign_folds`.
        fingerprints: As for `assign_folds`.

    Returns:
        Array (n,) of integers: the component of each image. Images of one component always share a fold.
    """
    first: dict[str, int] = {}
    same_group = [(first.setdefault(group, i), i) for i, group in enumerate(groups) if group is not None]
    links = np.array(same_group, dtype=np.int64).reshape(-1, 2)
    links = np.concatenate([links, find_copies(fingerprints)])
    n = len(fingerprints)
    graph = coo_array((np.ones(len(links)), links.T), shape=(n, n))
    return connected_components(graph, directed=False)[1]


def _stratify(labels: np.ndarray, units: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """Stratifies the units by class, or only balances fold sizes where stratification would leave a fold empty."""
    unstratified = np.zeros_like(labels)
    if np.unique(labels, return_counts=True)[1].max() < n_folds:
        return _split(unstratified, units, n_folds, seed)
    folds = _split(labels, units, n_folds, seed)
    return folds if len(np.unique(folds)) == n_folds else _split(unstratified, units, n_folds, seed)


def _split(labels: np.ndarray, units: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    folds = np.full(len(labels), -1, dtype=np.int64)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        for fold, (_, test) in enumerate(splitter.split(labels, labels, units)):
            folds[test] = fold
    return folds
