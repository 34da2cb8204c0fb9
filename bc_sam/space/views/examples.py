"""Example cells: rendered ones and, if the Hub is reachable, some of the model's training data sets."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from PIL import Image

from bc_sam.data.images import read_image
from bc_sam.data.rendering.cell import render_cell
from bc_sam.data.rendering.laboratory import LABORATORIES
from bc_sam.errors import HubError
from bc_sam.space.views.loaded_models import LoadedModel
from bc_sam.space.views.pictures import as_uri, fit
from bc_sam.utils.hub import HUB_ERRORS

#: Classes of the rendered examples, one per laboratory, and the seed of the rendering.
_CLASSES = ("neutrophil_segmented", "eosinophil", "lymphocyte_typical", "monocyte")
_SEED = 4

#: Rows of a data set that are searched for examples of different classes.
_SEARCHED_ROWS = 64

#: Examples per data set.
_CELLS_PER_DATA_SET = 4

_SIDE = 96


@dataclass(frozen=True)
class Example:
    """An example cell.

    Attributes:
        image: The whole image.
        label: Its class.
        laboratory: The laboratory it is from, or imitates.
    """

    image: Image.Image
    label: str
    laboratory: str

    @property
    def picture(self) -> str:
        """A thumbnail as a data URI."""
        return as_uri(fit(self.image, _SIDE), quality=85)


def rendered_examples() -> list[Example]:
    """Renders example cells in the style of each laboratory."""
    return [
        Example(Image.fromarray(render_cell(label, laboratory, np.random.default_rng(_SEED))[0]), label, name)
        for name, laboratory in LABORATORIES.items()
        for label in _CLASSES
    ]


def data_sets(loaded: LoadedModel) -> list[str]:
    """Returns the Hub data sets of examples: ``BC_SAM_EXAMPLES``, else the model's training data."""
    if configured := os.environ.get("BC_SAM_EXAMPLES"):
        return configured.split(",")
    record = loaded.model.record
    return [data.hub_id for data in record.data if data.hub_id] if record else []


def hub_examples(data_sets: Iterable[str]) -> list[Example]:
    """Fetches a few cells of different classes from data sets on the Hub.

    Raises:
        HubError: If no example can be fetched.
    """
    from datasets import Image as ImageFeature
    from datasets import load_dataset

    found: list[Example] = []
    for name in data_sets:
        try:
            rows = load_dataset(name, split="train", streaming=True, token=False)
            labels = rows.features["label"].names
            rows = rows.cast_column("image", ImageFeature(decode=False))
            found += _of_different_classes(islice(rows, _SEARCHED_ROWS), labels, name, _CELLS_PER_DATA_SET)
        except (*HUB_ERRORS, KeyError, AttributeError, ImportError):
            continue
    if not found:
        raise HubError("No examples could be fetched from the Hub. Use the synthetic cells, which need no network.")
    return found


def _of_different_classes(rows: Iterable[dict], labels: Sequence[str], name: str, count: int) -> Iterator[Example]:
    seen_labels: set[int] = set()
    for row in rows:
        if len(seen_labels) < count and row["label"] is not None and row["label"] not in seen_labels:
            seen_labels.add(row["label"])
            yield Example(read_image(row["image"]), labels[row["label"]], name)
