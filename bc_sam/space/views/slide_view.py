"""Many cells: what was seen in each, the names given by hand, the count, the table and the files to take away."""

import csv
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from bc_sam.models.abstention import Assessment, Reason, image_reasons
from bc_sam.models.differential import ClassCount, differential_count
from bc_sam.models.inspection import Inspected
from bc_sam.space.views.cell_view import top_labels, verdict_json
from bc_sam.space.views.decision import Choice
from bc_sam.space.views.loaded_models import LoadedModel
from bc_sam.space.views.pictures import SMALL, as_uri, fit, outlined, upright

#: What a person may say of a cell beside the model's classes: it is not counted.
NO_CELL = "no_cell"

_COLUMNS = (
    *("file", "name", "given_by", "likeliest", "probability", "second", "second_probability", "novelty"),
    *("reasons", "error"),
)

#: Without a name; with one that a person should check; not to be read; with a name; named by a person.
Status = Literal["review", "check", "unreadable", "named", "hand"]

# What a spreadsheet would take for a formula if a cell of a table began with it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class SlideCell:
    """One image of a slide, without its pixels.

    Attributes:
        name: File name.
        thumbnail: Small picture with the outline, as a data URI; empty if it could not be read.
        latent: (d,) float32, or ``None``.
        probabilities: For each classifier (n_labels,) float32.
        novelty: See `bc_sam.classifiers.ood.NoveltyScale`.
        from_image: What the picture gives to doubt.
        error: Why it could not be read, or ``None``.
    """

    name: str
    thumbnail: str = ""
    latent: np.ndarray | None = None
    probabilities: dict[str, np.ndarray] = field(default_factory=dict)
    novelty: float | None = None
    from_image: tuple[Reason, ...] = ()
    error: str | None = None


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

    def add(self, loaded: LoadedModel, step: list[Inspected], names: list[str], errors: list[str | None]) -> None:
        """Takes what was seen in some images, and lets go of their pixels."""
        seen = [item.inspection for item in step if item.inspection is not None]
        novelty: Iterator[float | None] = iter([None] * len(seen))
        if seen and loaded.scale is not None:
            novelty = iter(loaded.scale.novelty(np.stack([inspection.latent for inspection in seen])).tolist())
        for item, name, error in zip(step, names, errors, strict=True):
            if item.inspection is None:
                self.cells.append(SlideCell(name, error=error or str(item.error)))
                continue
            inspection = item.inspection
            picture = outlined(fit(upright(inspection.pixels, inspection.size), SMALL), inspection.mask)
            self.cells.append(
                SlideCell(
                    name,
                    as_uri(picture, quality=75),
                    inspection.latent,
                    inspection.probabilities,
                    next(novelty),
                    image_reasons(inspection),
                )
            )

    def correct(self, place: int, label: str) -> None:
        """Takes what a person says of a cell; an empty label takes it back. What makes no sense is passed over."""
        if not (0 <= place < len(self.cells) and self.cells[place].error is None):
            return
        if label in (*self.labels, NO_CELL):
            self.hand[place] = label
        else:
            self.hand.pop(place, None)

    def judged(self, choice: Choice) -> Iterator[tuple[SlideCell, Assessment | None, Status, str | None]]:
        """Yields each cell, what the classifier makes of it, how it stands, and the name that counts, if any."""
        for place, cell in enumerate(self.cells):
            if cell.error is not None:
                yield cell, None, "unreadable", None
                continue
            probabilities = choice.possible(cell.probabilities, self.labels)
            assessment = choice.assess(probabilities, cell.novelty, cell.from_image)
            if place in self.hand:
                yield cell, assessment, "hand", self.hand[place]
            else:
                name = None if assessment.abstain else self.labels[assessment.label]
                yield cell, assessment, _by_itself(assessment), name

    def count(self, choice: Choice) -> list[ClassCount]:
        """Returns the differential count of the cells that have a name."""
        names = [name for _, _, _, name in self.judged(choice) if name not in (None, NO_CELL)]
        return differential_count(Counter(names))

    def statuses(self, choice: Choice) -> Counter[str]:
        """Returns how many cells stand how; those that a person said to be none are counted as such."""
        return Counter(NO_CELL if name == NO_CELL else status for _, _, status, name in self.judged(choice))

    def rows(self, choice: Choice) -> list[dict[str, Any]]:
        """Returns the rows of the table in the browser, those to look at first, of them the least sure first."""
        rows = []
        for place, (cell, assessment, status, _) in enumerate(self.judged(choice)):
            row: dict[str, Any] = {"place": place, "file": cell.name, "picture": cell.thumbnail, "status": status}
            if assessment is None:
                row |= {"label": "", "hand": "", "why": cell.error}
            else:
                second, probability = top_labels(self._shares(cell, choice), self.labels, 2)[-1]
                row |= {
                    "label": self.labels[assessment.label],
                    "probability": round(assessment.probability, 4),
                    "second": second,
                    "second_probability": round(probability, 4),
                    "short": ", ".join(reason.short for reason in assessment.reasons),
                    "why": " ".join(reason.text for reason in assessment.reasons),
                    "by_itself": _by_itself(assessment),
                    "hand": self.hand.get(place, ""),
                }
            rows.append(row)
        order = get_args(Status)
        return sorted(rows, key=lambda row: (order.index(row["status"]), row.get("probability", 0)))

    def to_csv(self, choice: Choice) -> str:
        """Returns a line a cell: the name that counts, who gave it, the classifier's guesses, the reasons."""
        file = io.StringIO()
        table = csv.writer(file)
        table.writerow([*_COLUMNS, *self.labels])
        for cell, assessment, status, name in self.judged(choice):
            if assessment is None:
                row = [_harmless(cell.name), *[""] * (len(_COLUMNS) - 2), _harmless(cell.error or "")]
                table.writerow([*row, *[""] * len(self.labels)])
                continue
            shares = self._shares(cell, choice)
            (first, p), (second, q) = top_labels(shares, self.labels, 2)
            by = "hand" if status == "hand" else choice.classifier if name else ""
            novelty = "" if cell.novelty is None else f"{cell.novelty:.4f}"
            reasons = "; ".join(reason.short for reason in assessment.reasons)
            row = [_harmless(cell.name), name or "", by, first, f"{p:.4f}", second, f"{q:.4f}", novelty, reasons, ""]
            table.writerow([*row, *(f"{share:.4f}" for share in shares)])
        return file.getvalue()

    def _shares(self, cell: SlideCell, choice: Choice) -> np.ndarray:
        """The probabilities (n_labels,) by which a cell is named."""
        return choice.possible(cell.probabilities, self.labels)[choice.classifier]

    def as_json(self, choice: Choice) -> dict[str, Any]:
        """Returns the slide as the API gives it; see ``space/README.md``."""
        return {
            "model": self.model,
            "classifier": choice.classifier,
            "note": self.note,
            "count": [vars(line) for line in self.count(choice)],
            "cells": [
                {"file": cell.name, "error": cell.error}
                if assessment is None
                else {"file": cell.name, **verdict_json(assessment, self.labels), "novelty": cell.novelty}
                for cell, assessment, _, _ in self.judged(choice)
            ],
        }


def _by_itself(assessment: Assessment) -> Status:
    """How a cell stands that no person has named."""
    return "review" if assessment.abstain else "check" if assessment.check else "named"


def _harmless(text: str) -> str:
    """A name that a spreadsheet does not take for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text
