"""Files that occur twice in a data set under different labels."""

import hashlib
from pathlib import Path

from datasets import Dataset, Image

from bc_sam.utils.display import printable


def contradicting_files(dataset: Dataset) -> list[str]:
    """Describes each pair of identical files with different labels; the survey of a run also finds other copies.

    Args:
        dataset: Data set with the columns `bc_sam.data.cells.FEATURES`. Files that cannot be read are left out.

    Example:
        >>> from bc_sam.data import load_rendered
        >>> contradicting_files(load_rendered("munich", cells_per_class=1))
        []
    """
    names = dataset.features["label"].names
    first: dict[bytes, tuple[str, int]] = {}
    pairs = []
    columns = ["image", "label", "file"]
    for row, cell in enumerate(dataset.select_columns(columns).cast_column("image", Image(decode=False))):
        digest = None if cell["label"] is None else _digest(cell["image"])
        if digest is None:
            continue
        file, label = printable(cell["file"] or f"row {row}"), cell["label"]
        other, other_label = first.setdefault(digest, (file, label))
        if other_label != label:
            pairs.append(f"{other} ({names[other_label]}) and {file} ({names[label]})")
    return pairs


def _digest(image: dict) -> bytes | None:
    try:
        content = image["bytes"] if image["bytes"] is not None else Path(image["path"]).read_bytes()
    except OSError:
        return None
    return hashlib.sha256(content).digest()
