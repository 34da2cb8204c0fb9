"""Cells to try the page with: drawn ones, and where the Hub can be reached, some that the model's data hold there."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from PIL import Image

from bc_sam.data.datasets.rendered import LABORATORIES, render_cell
from bc_sam.data.images import read_image
from bc_sam.errors import HubError
from bc_sam.space.views.loaded_models import LoadedModel
from bc_sam.space.views.pictures import as_uri, fit
from bc_sam.utils.hub import HUB_ERRORS

#: The drawn cells, one of each laboratory, and the number that decides how they look.
_CLASSES = ("neutrophil_segmented", "eosinophil", "lymphocyte_typical", "monocyte")
_SEED = 4

#: Rows of a data set that are looked through for some of different classes.
_LOOKED_THROUGH = 64
_SIDE = 96


@dataclass(frozen=True)
class Example:
    """A cell to try.

    Attributes:
        image: The whole image.
        label: What it is.
        laboratory: Who photographed it, or would have.
    """

    image: Image.Image
    label: str
    laboratory: str

    @property
    def picture(self) -> str:
        """A small picture of it, as a data URI."""
        return as_uri(fit(self.image, _SIDE), quality=85)


def drawn_examples() -> list[Example]:
    """Draws cells as each rendered laboratory would show them."""
    return [
        Example(Image.fromarray(render_cell(label, laboratory, np.random.default_rng(_SEED))[0]), label, name)
        for name, laboratory in LABORATORIES.items()
        for label in _CLASSES
    ]


def data_sets(loaded: LoadedModel) -> list[str]:
    """Returns the data sets on the Hub to take examples from: ``BC_SAM_EXAMPLES``, else those that it learned from."""
    if asked := os.environ.get("BC_SAM_EXAMPLES"):
        return asked.split(",")
    record = loaded.model.record
    return [data.hub_id for data in record.data if data.hub_id] if record else []


def hub_examples(data_sets: Iterable[str], each: int = 4) -> list[Example]:
    """Fetches a few cells of different classes from data sets on the Hub.

    Raises:
        HubError: If none can be had.
    """
    from datasets import Image as ImageFeature
    from datasets import load_dataset

    found: list[Example] = []
    for name in data_sets:
        try:
            rows = load_dataset(name, split="train", streaming=True, token=False)
            labels = rows.features["label"].names
            rows = rows.cast_column("image", ImageFeature(decode=False))
            found += _of_different_classes(islice(rows, _LOOKED_THROUGH), labels, name, each)
        except (*HUB_ERRORS, KeyError, AttributeError, ImportError):
            continue
    if not found:
        raise HubError("The Hub has no examples now, or cannot be reached. The drawn cells need no network.")
    return found


def _of_different_classes(rows: Iterable[dict], labels: Sequence[str], name: str, count: int) -> Iterator[Example]:
    taken: set[int] = set()
    for row in rows:
        if len(taken) < count and row["label"] is not None and row["label"] not in taken:
            taken.add(row["label"])
            yield Example(read_image(row["image"]), labels[row["label"]], name)
