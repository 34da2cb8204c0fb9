"""The cells of a slide: results, manual corrections, differential count, table and exports."""

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image

from bc_sam.data.preparation import PreparedImage
from bc_sam.errors import ImageError
from bc_sam.models.abstention import Reason, image_reasons
from bc_sam.models.differential import ClassCount, differential_count
from bc_sam.models.observation import InspectedCell, ObservedCell
from bc_sam.models.prediction import Prediction, top_labels
from bc_sam.models.prediction_table import PredictionTable
from bc_sam.space.views.cell_view import prediction_json
from bc_sam.space.views.decision import Choice
from bc_sam.space.views.pictures import SMALL, as_uri, fit, outlined, upright

#: Label by which a visitor excludes an image from the count.
NO_CELL = "no_cell"

#: No name; named, but to be checked; unreadable; named by the classifier; named by hand.
Status = Literal["review", "check", "unreadable", "named", "hand"]


@dataclass(frozen=True)
class SlideCell:
    """One image of a slide, without its pixels.

    Attributes:
        name: File name.
        thumbnail: Thumbnail with the outline of the cell, as a data URI; empty if the image is unreadable.
        embedding: (d,) float32, or ``None``.
        probabilities: (n_labels,) float32 of each classifier.
        ood: Out-of-distribution score, or ``None``.
        from_image: Reasons against a name from the image alone.
        error: Why the image is unreadable, or ``None``.
    """

    name: str
    thumbnail: str = ""
    embedding: np.ndarray | None = None
    probabilities: dict[str, np.ndarray] = field(default_factory=dict)
    ood: float | None = None
    from_image: tuple[Reason, ...] = ()
    error: ImageError | None = None


@dataclass(frozen=True)
class JudgedCell:
    """A cell of a slide with its current status.

    Attributes:
        cell: The cell.
        prediction: The prediction of the chosen classifier.
        status: Its status.
        name: The name that is counted, given by hand or by the classifier, if any.
    """

    cell: SlideCell
    prediction: Prediction
    status: Status
    name: str | None


@dataclass
class Slide:
    """A visitor's cells and corrections.

    Attributes:
        model: Name of the model.
        labels: Its class names.
        expected: Number of images; more than `cells` while inference runs, or if it was stopped.
        cells: The processed images.
        hand: Labels given by hand, by index of the cell; `NO_CELL` for images of no cell.
        note: A remark, such as why inference was stopped.
    """

    model: str
    labels: tuple[str, ...]
    expected: int = 0
    cells: list[SlideCell] = field(default_factory=list)
    hand: dict[int, str] = field(default_factory=dict)
    note: str = ""

    def add(self, batch: Sequence[InspectedCell], names: Sequence[str], errors: Sequence[ImageError | None]) -> None:
        """Adds a batch of inspected images, without their pixels.

        Args:
            batch: The inspected images.
            names: File name of each.
            errors: Error of each upload that could not be read, else ``None``.
        """
        for item, name, error in zip(batch, names, errors, strict=True):
            if item.observed is None or item.prepared is None:
                self.cells.append(SlideCell(name, error=error or item.error))
            else:
                self.cells.append(_without_pixels(item.observed, item.prepared, name))

    def correct(self, index: int, label: str) -> None:
        """Sets the label of a cell by hand; an empty one resets it. Invalid corrections are ignored."""
        if not (0 <= index < len(self.cells) and self.cells[index].error is None):
            return
        if label in (*self.labels, NO_CELL):
            self.hand[index] = label
        else:
            self.hand.pop(index, None)

    def judged(self, choice: Choice) -> Iterator[JudgedCell]:
        """Yields each cell with its current status, classified by the visitor's choice or by hand."""
        for index, cell in enumerate(self.cells):
            if cell.error is not None:
                yield JudgedCell(cell, Prediction(cell.name, None, None, None, cell.error), "unreadable", None)
                continue
            prediction = choice.predict(cell.name, cell.probabilities, self.labels, cell.ood, cell.from_image)
            if index in self.hand:
                yield JudgedCell(cell, prediction, "hand", self.hand[index])
            else:
                yield JudgedCell(cell, prediction, _automatic_status(prediction), prediction.label)

    def count(self, choice: Choice) -> list[ClassCount]:
        """Returns the differential count of the cells that have a name."""
        names = [judged.name for judged in self.judged(choice)]
        return differential_count(Counter(name for name in names if name not in (None, NO_CELL)))

    def statuses(self, choice: Choice) -> Counter[str]:
        """Returns the number of cells of each status; images marked as no cell are counted under `NO_CELL`."""
        return Counter(NO_CELL if judged.name == NO_CELL else judged.status for judged in self.judged(choice))

    def rows(self, choice: Choice) -> list[dict[str, Any]]:
        """Returns the rows of the table in the browser, sorted by status, then by ascending probability."""
        rows = [self._row(index, judged) for index, judged in enumerate(self.judged(choice))]
        order = get_args(Status)
        return sorted(rows, key=lambda row: (order.index(row["status"]), row.get("probability", 0)))

    def _row(self, index: int, judged: JudgedCell) -> dict[str, Any]:
        cell, prediction = judged.cell, judged.prediction
        row = {"position": index, "file": cell.name, "picture": cell.thumbnail, "status": judged.status}
        if prediction.probabilities is None:
            return row | {"label": "", "hand": "", "why": str(cell.error)}
        second, probability = top_labels(prediction.probabilities, self.labels, 2)[-1]
        return row | {
            "label": prediction.likeliest,
            "probability": round(float(prediction.probabilities.max()), 4),
            "second": second,
            "second_probability": round(probability, 4),
            "short": ", ".join(reason.short for reason in prediction.reasons),
            "why": " ".join(reason.text for reason in prediction.reasons),
            "automatic": _automatic_status(prediction),
            "hand": self.hand.get(index, ""),
        }

    def to_csv(self, choice: Choice) -> str:
        """Returns a CSV with one row per cell; see `bc_sam.models.prediction_table.PredictionTable`."""
        file = io.StringIO()
        table = PredictionTable(file, self.labels)
        for judged in self.judged(choice):
            by_hand = judged.status == "hand"
            table.add(
                judged.cell.name,
                judged.prediction,
                given_by="hand" if by_hand else choice.classifier,
                name=judged.name if by_hand else None,
            )
        return file.getvalue()

    def as_json(self, choice: Choice) -> dict[str, Any]:
        """Returns the slide in the format of the API; see ``space/README.md``."""
        return {
            "model": self.model,
            "classifier": choice.classifier,
            "note": self.note,
            "count": [vars(line) for line in self.count(choice)],
            "cells": [
                {"file": judged.cell.name, "error": str(judged.cell.error)}
                if judged.status == "unreadable"
                else {"file": judged.cell.name, **prediction_json(judged.prediction)}
                for judged in self.judged(choice)
            ],
        }


def _without_pixels(observed: ObservedCell, prepared: PreparedImage, name: str) -> SlideCell:
    seen_as_square = prepared.window is not None
    picture = Image.fromarray(observed.pixels) if seen_as_square else upright(observed.pixels, prepared.shape)
    picture = fit(picture, SMALL)
    return SlideCell(
        name=name,
        thumbnail=as_uri(picture if observed.mask is None else outlined(picture, observed.mask), quality=75),
        embedding=observed.embedding,
        probabilities=dict(observed.probabilities),
        ood=observed.ood,
        from_image=image_reasons(observed),
    )


def _automatic_status(prediction: Prediction) -> Status:
    """Returns the status of a cell that was not named by hand."""
    return "review" if prediction.abstained else "check" if prediction.check else "named"
