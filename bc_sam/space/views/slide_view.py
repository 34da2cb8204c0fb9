"""The cells of a slide: results, manual corrections, differential count, table and exports."""

import base64
import io
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np

from bc_sam.classifiers.laboratory_fit import LaboratoryFit
from bc_sam.config.labels import KINDS_THAT_CAN_OCCUR
from bc_sam.data.preparation import map_in_threads
from bc_sam.errors import ImageError
from bc_sam.evaluation.naming_error import NamingError
from bc_sam.models.abstention import BLASTS, Reason, image_reasons
from bc_sam.models.differential import MORE_KINDS, REPORT_ORDER, ClassCount, Tally, differential_count
from bc_sam.models.labelling_order import FIRST_LABELS, typical_cells
from bc_sam.models.laboratory import NOT_KNOWN, describe_laboratory, is_usable
from bc_sam.models.observation import InspectedCell, ObservedCell
from bc_sam.models.prediction import Prediction, top_labels
from bc_sam.models.prediction_table import PredictionTable
from bc_sam.space.views.cell_view import prediction_json
from bc_sam.space.views.decision import Choice
from bc_sam.space.views.large_pictures import OriginalPicture
from bc_sam.space.views.slide_adaptation import Adaptation, Adapted, NamedCells
from bc_sam.space.views.slide_fields import NO_OUTLINE, CellPlace, SlideField, is_same_cell, shape_json

#: Label by which a visitor excludes an image from the count.
NO_CELL = "no_cell"

# Index of the last name by hand that has a key of its own, 1 to 9.
_LAST_KEY = 8

#: Perhaps a blast; no name; named, but to be checked; unreadable; named by the classifier; named by hand.
Status = Literal["blast", "review", "check", "unreadable", "named", "hand"]


@dataclass(frozen=True)
class SlideCell:
    """One cell of a slide, from a crop or a field, without the pixels of its image.

    Attributes:
        name: File name, and of a cell in a field its number.
        thumbnail: Thumbnail with the outline of the cell, as a data URI; empty if the image is unreadable.
        original: The cell as it was photographed, to be shown large; ``None`` for cells of fields.
        embedding: (d,) float32, or ``None``.
        probabilities: (n_labels,) float32 of each classifier.
        ood: Out-of-distribution score, or ``None``.
        from_image: Reasons against a name from the image alone.
        error: Why the image is unreadable, or ``None``.
        digest: SHA-256 of the file, by which a name given by hand is found again; of a cell in a field followed by
            ``@`` and its centre (x, y), pixels.
        place: Its place in a field; ``None`` for crops.
        adapted: What each classifier says that was adapted to the slide.
    """

    name: str
    thumbnail: str = ""
    original: OriginalPicture | None = None
    embedding: np.ndarray | None = None
    probabilities: dict[str, np.ndarray] = field(default_factory=dict)
    ood: float | None = None
    from_image: tuple[Reason, ...] = ()
    error: ImageError | None = None
    digest: str = ""
    place: CellPlace | None = None
    adapted: dict[str, Adapted] = field(default_factory=dict)

    def large(self) -> str:
        """Returns the cell large, with its outline, as a data URI; empty if no such picture is kept."""
        if self.original is not None:
            return self.original.as_uri()
        return self.place.crop_uri(with_outline=NO_OUTLINE not in self.from_image) if self.place else ""

    def predict(self, choice: Choice, labels: Sequence[str]) -> Prediction:
        """Classifies the cell, or abstains; a classifier that was adapted to the slide counts in place of its own."""
        probabilities, ood = self.probabilities, self.ood
        if (adapted := self.adapted.get(choice.classifier)) is not None:
            probabilities, ood = probabilities | {choice.classifier: adapted.probabilities}, adapted.ood
        return choice.predict(self.name, probabilities, labels, ood, self.from_image)


@dataclass(frozen=True)
class JudgedCell:
    """A cell of a slide with its current status.

    Attributes:
        index: Its index among the cells of the slide.
        cell: The cell.
        prediction: The prediction of the chosen classifier.
        status: Its status.
        name: The name that is counted, given by hand or by the classifier, if any.
    """

    index: int
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
        possible: Labels that the model was restricted to when it was saved; empty for all.
        expected: Number of images, crops and fields.
        processed: Number of them that are processed; fewer while inference runs, or if it was stopped.
        cells: The cells.
        fields: The fields in which some of the cells are.
        hand: Labels given by hand, by index of the cell; `NO_CELL` for images of no cell and false finds.
        turns: Number of the latest correction of a cell, by its index.
        stopped: Whether the visitor stopped the work: what was under way is not added any more.
        note: A remark, such as why inference was stopped.
        taken: What was taken as a field and what as a crop, in a sentence; empty if all are crops.
        keeps_pictures: Whether pictures of its cells and fields are made, which the API does not need.
        unkept: Number of fields whose pictures and crops are not kept.
        n_bytes: Size of what is kept of the fields, bytes.
        laboratory: Whether the model knows the laboratory of the cells.
        naming: How often each classifier takes one class for another, where that is known.
        can_adapt: Whether the classifiers of the model can learn from cells that the visitor names.
        adaptations: Classifiers that learned from cells that the visitor named, used in place of the model's.
    """

    model: str
    labels: tuple[str, ...]
    possible: tuple[str, ...] = ()
    expected: int = 0
    processed: int = 0
    cells: list[SlideCell] = field(default_factory=list)
    fields: list[SlideField] = field(default_factory=list)
    hand: dict[int, str] = field(default_factory=dict)
    turns: dict[int, int] = field(default_factory=dict)
    stopped: bool = False
    _first: tuple[int, list[int]] | None = field(default=None, init=False)  # of `label_first`, by the number of cells
    note: str = ""
    taken: str = ""
    keeps_pictures: bool = True
    unkept: int = 0
    n_bytes: int = 0
    laboratory: LaboratoryFit = field(default_factory=lambda: LaboratoryFit(None))
    naming: dict[str, NamingError] = field(default_factory=dict)
    can_adapt: bool = False
    adaptations: dict[str, Adaptation] = field(default_factory=dict)

    def add(
        self,
        batch: Sequence[InspectedCell],
        names: Sequence[str],
        errors: Sequence[ImageError | None],
        digests: Sequence[str],
    ) -> None:
        """Adds a batch of inspected images, without their pixels.

        Args:
            batch: The inspected images.
            names: File name of each.
            errors: Error of each upload that could not be read, else ``None``.
            digests: SHA-256 of each file.
        """
        pictures = map_in_threads(_pictures_of, batch) if self.keeps_pictures else [(None, "")] * len(batch)
        added = [
            SlideCell(name, error=error or item.error)
            if item.observed is None or item.prepared is None
            else replace(_without_pixels(item.observed, *shown, name), digest=digest)
            for item, shown, name, error, digest in zip(batch, pictures, names, errors, digests, strict=True)
        ]
        if not self.stopped:
            self.cells += added
            self.processed += len(batch)

    def add_field(self, field: SlideField) -> None:
        """Adds a field, without its cells."""
        self.fields.append(field)
        self.n_bytes += len(field.picture)

    def add_found(self, cell: SlideCell) -> int:
        """Adds a cell of the fields, and returns its index.

        If a person points at a cell that is there already, nothing is added; one that was removed comes back.
        """
        assert cell.place is not None
        if cell.place.added:
            for index, other in enumerate(self.cells):
                place = other.place
                if place and place.field == cell.place.field and is_same_cell(place.box, cell.place.box):
                    if self.hand.get(index) == NO_CELL:
                        del self.hand[index]
                    return index
        self.n_bytes += len(cell.place.crop)
        for adaptation in self.adaptations.values():
            (cell,) = _with_adapted([cell], adaptation)
        self.cells.append(cell)
        return len(self.cells) - 1

    def is_withdrawn(self, index: int) -> bool:
        """Returns whether a person added a cell of a field and took it back."""
        place = self.cells[index].place
        return place is not None and place.added and self.hand.get(index) == NO_CELL

    def correct(self, index: int, label: str, turn: int = 0) -> None:
        """Sets the label of a cell by hand; an empty one resets it. Invalid corrections are ignored.

        Args:
            index: Index of the cell.
            label: One of `names_by_hand`, or an empty text.
            turn: Number of the correction, which grows. Requests of a browser may overtake each other, so what comes
                after a later correction of the same cell is ignored.
        """
        if not (0 <= index < len(self.cells) and self.cells[index].error is None):
            return
        if turn < self.turns.get(index, 0):
            return
        self.turns[index] = turn
        if label in self.names_by_hand:
            self.hand[index] = label
        else:
            self.hand.pop(index, None)

    @property
    def names_by_hand(self) -> tuple[str, ...]:
        """The names that a person can give, in the order of a report; blasts among the nine that have a key."""
        known = (*self.labels, *(kind for kind in MORE_KINDS if kind not in self.labels))
        kinds = sorted(known, key=lambda label: [*REPORT_ORDER, *known].index(label))
        for blast in BLASTS:
            if blast in kinds[_LAST_KEY:]:
                kinds.insert(_LAST_KEY, kinds.pop(kinds.index(blast)))
        return (*kinds, NO_CELL)

    def remember(self, hand: Mapping[str, str]) -> int:
        """Gives cells the names that a person gave the same images before, and returns the number of these cells.

        A cell in a field is the same if the place of the name is in its box, since models outline it differently.
        """
        in_fields: dict[str, list[tuple[int, int, str]]] = {}
        for key, name in hand.items():
            digest, at, place = key.partition("@")
            if at:
                x, y = map(int, place.split(","))
                in_fields.setdefault(digest, []).append((x, y, name))
        kept = 0
        for index, cell in enumerate(self.cells):
            label = hand.get(cell.digest)
            if label is None and cell.place is not None:
                left, top, right, bottom = cell.place.box
                named = in_fields.get(cell.digest.partition("@")[0], ())
                label = next((name for x, y, name in named if left <= x < right and top <= y < bottom), None)
            if label is not None:
                kept += 1
                if index not in self.hand:
                    self.correct(index, label)
        return kept

    def hand_by_digest(self) -> dict[str, str]:
        """Returns the names given by hand by the digest of the image."""
        named = (index for index in self.hand if not self.is_withdrawn(index))
        return {self.cells[index].digest: self.hand[index] for index in named}

    def usable(self) -> tuple[list[np.ndarray], list[float | None]]:
        """Returns embeddings and out-of-distribution scores of the cells by which the laboratory is judged."""
        cells = [cell for cell in self.cells if cell.embedding is not None and is_usable(cell.from_image)]
        return [cell.embedding for cell in cells if cell.embedding is not None], [cell.ood for cell in cells]

    def unknown(self) -> str:
        """Returns a sentence if the model does not know the laboratory, else an empty text."""
        return describe_laboratory(self.laboratory)

    def withheld(self, choice: Choice) -> bool:
        """Returns whether shares and ticks are withheld until a person says which kinds can occur."""
        said = choice.labels or self.possible or self.is_adapted(choice)
        return bool(self.unknown()) and not said

    def named_cells(self, classifier: str) -> NamedCells:
        """Returns the cells that have a name by hand that the model has, by which a classifier can be adapted."""
        named = {
            self.cells[index].digest: (self.cells[index], self.labels.index(label))
            for index, label in self.hand.items()
            if label in self.labels and self.cells[index].embedding is not None
        }
        cells = [cell for cell, _ in named.values()]
        rows = [cell.embedding for cell in cells if cell.embedding is not None]
        return NamedCells(
            np.stack(rows) if rows else np.empty((0, 0), np.float32),
            np.array([label for _, label in named.values()], np.int64),
            np.stack([cell.probabilities[classifier] for cell in cells]) if cells else np.empty((0, len(self.labels))),
        )

    def adopt(self, adaptation: Adaptation) -> None:
        """Uses an adapted classifier in place of the model's, for this slide."""
        self.restore(adaptation.classifier)
        self.adaptations[adaptation.classifier] = adaptation
        self.n_bytes += adaptation.n_bytes
        self.cells = _with_adapted(self.cells, adaptation)

    def restore(self, classifier: str) -> None:
        """Removes an adaptation: the cells are classified as before it."""
        removed = self.adaptations.pop(classifier, None)
        if removed is not None:
            self.n_bytes -= removed.n_bytes
            self.cells = [
                replace(cell, adapted={name: said for name, said in cell.adapted.items() if name != classifier})
                for cell in self.cells
            ]

    def is_adapted(self, choice: Choice) -> bool:
        """Returns whether the chosen classifier is adapted to the slide."""
        return choice.classifier in self.adaptations

    def n_learned(self, choice: Choice) -> int:
        """Returns the number of cells of the slide that the chosen classifier has learned from."""
        return len(self.adaptations[choice.classifier].cells.labels) if self.is_adapted(choice) else 0

    def judged(self, choice: Choice) -> Iterator[JudgedCell]:
        """Yields each cell with its current status, classified by the visitor's choice or by hand."""
        for index, cell in enumerate(self.cells):
            if self.is_withdrawn(index):
                continue
            if cell.error is not None:
                unread = Prediction(cell.name, None, None, None, cell.error)
                yield JudgedCell(index, cell, unread, "unreadable", None)
                continue
            prediction = cell.predict(choice, self.labels)
            if index in self.hand:
                yield JudgedCell(index, cell, prediction, "hand", self.hand[index])
            else:
                status = self._automatic_status(prediction, choice)
                yield JudgedCell(index, cell, prediction, status, prediction.label)

    def _automatic_status(self, prediction: Prediction, choice: Choice) -> Status:
        """Returns the status of a cell that was not named by hand."""
        if prediction.likeliest in BLASTS and is_usable(prediction.reasons):
            return "blast"
        if prediction.abstained:
            return "review"
        return "check" if prediction.check or self.withheld(choice) else "named"

    def tally(self, choice: Choice) -> Tally:
        """Returns how many cells have which name, and from whom."""
        judged = [one for one in self.judged(choice) if one.status != "unreadable"]
        return Tally.of(
            (one.prediction.label, one.prediction.likeliest, one.name if one.status == "hand" else None)
            for one in judged
        )

    def count(self, choice: Choice) -> list[ClassCount]:
        """Returns the differential count of the cells that have a name, with a line for each common kind."""
        tally = self.tally(choice)
        possible = choice.labels or self.possible or self.labels
        counts = dict.fromkeys((kind for kind in KINDS_THAT_CAN_OCCUR["five-part"] if kind in possible), 0)
        error = self.naming_error(choice)
        return differential_count(
            counts | tally.counts,
            count_all=choice.count_all,
            tally=tally,
            error=None if error is None else error.restricted(possible),
        )

    def naming_error(self, choice: Choice) -> NamingError | None:
        """Returns how often the classifier takes one class for another; if it is adapted, as measured on the slide."""
        if self.is_adapted(choice):
            return self.adaptations[choice.classifier].naming(choice, self.labels)
        return self.naming.get(choice.classifier)

    def statuses(self, choice: Choice) -> Counter[str]:
        """Returns the number of cells of each status; images marked as no cell are counted under `NO_CELL`."""
        return Counter(NO_CELL if judged.name == NO_CELL else judged.status for judged in self.judged(choice))

    def rows(self, choice: Choice) -> list[dict[str, Any]]:
        """Returns the rows of the table in the browser, sorted by status, then by ascending probability."""
        first = {index: rank for rank, index in enumerate(self.label_first(), start=1)}
        rows = [self._row(judged, choice) | {"first": first.get(judged.index)} for judged in self.judged(choice)]
        order = get_args(Status)
        return sorted(rows, key=lambda row: (order.index(row["status"]), row.get("probability", 0)))

    def label_first(self) -> list[int]:
        """Returns the indices of the cells whose names would help the others most, see `typical_cells`.

        There are none if the classifiers cannot learn, or if these would be all cells.
        """
        if not self.can_adapt:
            return []
        embedded = [(index, cell.embedding) for index, cell in enumerate(self.cells) if cell.embedding is not None]
        if len(embedded) <= FIRST_LABELS:
            return []
        if self._first is None or self._first[0] != len(embedded):
            typical = typical_cells(np.stack([embedding for _, embedding in embedded]))
            self._first = len(embedded), [embedded[one][0] for one in typical]
        return self._first[1]

    def _row(self, judged: JudgedCell, choice: Choice) -> dict[str, Any]:
        index, cell, prediction = judged.index, judged.cell, judged.prediction
        row = {"position": index, "file": cell.name, "picture": cell.thumbnail, "status": judged.status}
        if cell.place is not None:
            row |= {"field": cell.place.field, "added": cell.place.added}
        if prediction.probabilities is None:
            return row | {"label": "", "hand": "", "why": str(cell.error)}
        second, probability = top_labels(prediction.probabilities, self.labels, 2)[-1]
        return row | {
            "name": prediction.label or "",
            "name_probability": round(prediction.label_probability or 0.0, 4),
            "label": prediction.likeliest,
            "probability": round(float(prediction.probabilities.max()), 4),
            "second": second,
            "second_probability": round(probability, 4),
            "short": ", ".join([*(reason.short for reason in prediction.reasons), *self._doubt(choice)]),
            "why": " ".join(reason.text for reason in prediction.reasons),
            "automatic": self._automatic_status(prediction, choice),
            "hand": self.hand.get(index, ""),
        }

    def _doubt(self, choice: Choice) -> tuple[str, ...]:
        return ("unknown laboratory",) if self.withheld(choice) else ()

    def to_csv(self, choice: Choice) -> str:
        """Returns a CSV with one row per cell; see `bc_sam.models.prediction_table.PredictionTable`.

        The file of a cell in a field is that of its crop in `to_zip`; more columns give its field and box.
        """
        file = io.StringIO()
        further = ("field", "left", "top", "right", "bottom") if self.fields else ()
        table = PredictionTable(file, self.labels, NOT_KNOWN if self.unknown() else "", further=further)
        for judged in self.judged(choice):
            by_hand, place = judged.status == "hand", judged.cell.place
            table.add(
                place.crop_name if place else judged.cell.name,
                judged.prediction,
                given_by="hand" if by_hand else self.given_by(choice),
                name=judged.name if by_hand else None,
                further=(self.fields[place.field].name, *map(str, place.box)) if place else [""] * len(further),
            )
        return file.getvalue()

    def given_by(self, choice: Choice) -> str:
        """Returns the name of the classifier for a table."""
        return f"{choice.classifier}, adapted" if self.is_adapted(choice) else choice.classifier

    def to_zip(self, choice: Choice) -> str:
        """Returns a zip of ``cells.csv`` and the crops of the fields' cells, for ``bc-sam adapt``, in Base64."""
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:  # stored, since JPEG hardly shrinks
            archive.writestr("cells.csv", self.to_csv(choice))
            for judged in self.judged(choice):
                if (place := judged.cell.place) and place.crop:
                    archive.writestr(place.crop_name, place.crop)
        return base64.b64encode(file.getvalue()).decode()

    def shapes(self, field: int) -> dict[str, dict[str, Any]]:
        """Returns where the browser draws the cells of a field, by index of the cell as text, for JSON."""
        return {
            str(index): shape_json(cell.place, self.fields[field].shape)
            for index, cell in enumerate(self.cells)
            if cell.place is not None and cell.place.field == field and not self.is_withdrawn(index)
        }

    def as_json(self, choice: Choice) -> dict[str, Any]:
        """Returns the slide in the format of the API; see ``space/README.md``."""
        return {
            "model": self.model,
            "classifier": choice.classifier,
            "note": self.note,
            "laboratory": {
                "known": self.laboratory.known,
                "nearest": self.laboratory.nearest,
                "message": self.unknown(),
            },
            "count": [_line_json(line, withheld=self.withheld(choice)) for line in self.count(choice)],
            "blasts_to_look_at": self.statuses(choice)["blast"],
            "cells": [
                {"file": judged.cell.name, "error": str(judged.cell.error)}
                if judged.status == "unreadable"
                else {**self._origin_json(judged.cell), **prediction_json(judged.prediction)}
                for judged in self.judged(choice)
            ],
        }

    def _origin_json(self, cell: SlideCell) -> dict[str, Any]:
        if cell.place is None:
            return {"file": cell.name}
        return {"field": self.fields[cell.place.field].name, "box": list(cell.place.box)}

    def fields_json(self) -> list[dict[str, Any]]:
        """Returns the fields in the format of the API; see ``space/README.md``."""
        n_cells = Counter(cell.place.field for cell in self.cells if cell.place is not None)
        return [
            {
                "field": field.name,
                "height": field.shape[0],
                "width": field.shape[1],
                "microns_per_pixel": field.microns_per_pixel,
                "cells": n_cells[index],
                "red_cells": field.n_red_cells,
                "problem": field.problem,
            }
            for index, field in enumerate(self.fields)
        ]


def _with_adapted(cells: Sequence[SlideCell], adaptation: Adaptation) -> list[SlideCell]:
    """Returns cells with what an adapted classifier says of them."""
    rows = [cell.embedding for cell in cells if cell.embedding is not None]
    said = iter(adaptation.predict(np.stack(rows)) if rows else ())
    return [
        cell if cell.embedding is None else replace(cell, adapted=cell.adapted | {adaptation.classifier: next(said)})
        for cell in cells
    ]


def _pictures_of(cell: InspectedCell) -> tuple[OriginalPicture | None, str]:
    """Returns the picture of an inspected cell and its thumbnail."""
    original = OriginalPicture.of(cell)
    return original, "" if original is None else original.thumbnail


def _without_pixels(observed: ObservedCell, original: OriginalPicture | None, thumbnail: str, name: str) -> SlideCell:
    return SlideCell(
        name=name,
        thumbnail=thumbnail,
        original=original,
        embedding=observed.embedding,
        probabilities=dict(observed.probabilities),
        ood=observed.ood,
        from_image=image_reasons(observed),
    )


def _line_json(line: ClassCount, *, withheld: bool) -> dict[str, Any]:
    """Returns a line of the count in the format of the API; without shares in an unknown laboratory."""
    return vars(line) | (dict.fromkeys(("share", "low", "high")) if withheld else {})
