"""Many cells: what was seen in each, the names given by hand, the count, the table and the files to take away."""

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from bc_sam.errors import ImageError
from bc_sam.models.abstention import Reason, image_reasons
from bc_sam.models.differential import ClassCount, differential_count
from bc_sam.models.observation import InspectedCell, ObservedCell
from bc_sam.models.prediction import Prediction, top_labels
from bc_sam.models.prediction_table import PredictionTable
from bc_sam.space.views.cell_view import prediction_json
from bc_sam.space.views.decision import Choice
from bc_sam.space.views.pictures import SMALL, as_uri, fit, outlined, upright

#: What a person may say of a cell beside the model's classes: it is not counted.
NO_CELL = "no_cell"

#: Without a name; with one that a person should check; unreadable; with a name; named by a person.
Status = Literal["review", "check", "unreadable", "named", "hand"]


@dataclass(frozen=True)
class SlideCell:
    """One image of a slide, without its pixels.

    Attributes:
        name: File name.
        thumbnail: Small picture, with the outline of the cell, as a data URI; empty if the image is unreadable.
        embedding: (d,) float32, or ``None``.
        probabilities: (n_labels,) float32 of each classifier.
        ood: Out-of-distribution score, or ``None``.
        from_image: What the image alone gives against a name.
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
    """A cell of a slide as it stands now.

    Attributes:
        cell: The cell.
        prediction: What the chosen classifier says of it.
        status: How it stands.
        name: The name that counts, by hand or by the classifier, if any.
    """

    cell: SlideCell
    prediction: Prediction
    status: Status
    name: str | None


@dataclass
class Slide:
    """The cells that a visitor has dropped, and what that person said of them.

    Attributes:
        model: Name of the model that looked at them.
        labels: Its class names.
        expected: Images that there are; more than `cells` while it is at work, or if it was stopped.
        cells: Those that were looked at.
        hand: Label that a person gave, by the place of the cell; `NO_CELL` for what is none.
        note: What else is to be said of it, such as why it was stopped.
    """

    model: str
    labels: tuple[str, ...]
    expected: int = 0
    cells: list[SlideCell] = field(default_factory=list)
    hand: dict[int, str] = field(default_factory=dict)
    note: str = ""

    def add(self, step: Sequence[InspectedCell], names: Sequence[str], errors: Sequence[ImageError | None]) -> None:
        """Takes what was seen in some images, and lets go of their pixels.

        Args:
            step: What was seen.
            names: File name of each image.
            errors: Why an upload could not be read, for those of which no image came to the model.
        """
        for item, name, error in zip(step, names, errors, strict=True):
            if item.observed is None or item.size is None:
                self.cells.append(SlideCell(name, error=error or item.error))
            else:
                self.cells.append(_without_pixels(item.observed, item.size, name))

    def correct(self, place: int, label: str) -> None:
        """Takes what a person says of a cell; an empty label takes it back. Impossible corrections are ignored."""
        if not (0 <= place < len(self.cells) and self.cells[place].error is None):
            return
        if label in (*self.labels, NO_CELL):
            self.hand[place] = label
        else:
            self.hand.pop(place, None)

    def judged(self, choice: Choice) -> Iterator[JudgedCell]:
        """Yields each cell as it stands, named as a visitor has chosen, or by hand."""
        for place, cell in enumerate(self.cells):
            if cell.error is not None:
                yield JudgedCell(cell, Prediction(cell.name, None, None, None, cell.error), "unreadable", None)
                continue
            prediction = choice.predict(cell.name, cell.probabilities, self.labels, cell.ood, cell.from_image)
            if place in self.hand:
                yield JudgedCell(cell, prediction, "hand", self.hand[place])
            else:
                yield JudgedCell(cell, prediction, _by_itself(prediction), prediction.label)

    def count(self, choice: Choice) -> list[ClassCount]:
        """Returns the differential count of the cells that have a name."""
        names = [judged.name for judged in self.judged(choice)]
        return differential_count(Counter(name for name in names if name not in (None, NO_CELL)))

    def statuses(self, choice: Choice) -> Counter[str]:
        """Returns how many cells stand how; those that a person said to be none are counted as such."""
        return Counter(NO_CELL if judged.name == NO_CELL else judged.status for judged in self.judged(choice))

    def rows(self, choice: Choice) -> list[dict[str, Any]]:
        """Returns the rows of the table in the browser, those to look at first, of them the least sure first."""
        rows = [self._row(place, judged) for place, judged in enumerate(self.judged(choice))]
        order = get_args(Status)
        return sorted(rows, key=lambda row: (order.index(row["status"]), row.get("probability", 0)))

    def _row(self, place: int, judged: JudgedCell) -> dict[str, Any]:
        cell, prediction = judged.cell, judged.prediction
        row = {"place": place, "file": cell.name, "picture": cell.thumbnail, "status": judged.status}
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
            "by_itself": _by_itself(prediction),
            "hand": self.hand.get(place, ""),
        }

    def to_csv(self, choice: Choice) -> str:
        """Returns one line a cell; see `bc_sam.models.prediction_table.PredictionTable`."""
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
        """Returns the slide as the API gives it; see ``space/README.md``."""
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


def _without_pixels(observed: ObservedCell, size: tuple[int, int], name: str) -> SlideCell:
    picture = fit(upright(observed.pixels, size), SMALL)
    return SlideCell(
        name=name,
        thumbnail=as_uri(picture if observed.mask is None else outlined(picture, observed.mask), quality=75),
        embedding=observed.embedding,
        probabilities=dict(observed.probabilities),
        ood=observed.ood,
        from_image=image_reasons(observed),
    )


def _by_itself(prediction: Prediction) -> Status:
    """How a cell stands that no person has named."""
    return "review" if prediction.abstained else "check" if prediction.check else "named"
