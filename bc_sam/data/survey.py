"""What a training would learn from, looked at before it begins: what is odd about it, and what cannot work."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from bc_sam.data.appearance.domain_scales import DomainScale, encoder_scale_warning, stored_scales
from bc_sam.data.image_quality import find_lookalikes, measure_quality
from bc_sam.data.splits import find_copies, independent_units
from bc_sam.data.store import CellStore
from bc_sam.errors import DataError
from bc_sam.utils.json_config import JsonConfig

_FEW_CELLS = 10
_IMBALANCE = 20
_NAMED = 5


@dataclass(frozen=True)
class Survey(JsonConfig):
    """What was found.

    Attributes:
        images: Images of each laboratory.
        labelled: Those with a label.
        masks: Those with an annotated mask.
        slides: Slides that file names tell; 0 where they tell none.
        classes: Cells of each class in each laboratory, ``classes[label][laboratory]``.
        sizes: Sizes of the images of each laboratory, as ``"360 x 363"`` pixels.
        blank: Files of images with nothing in them.
        blurred: Files of images less sharp than others of their laboratory.
        alike: Pairs of files that look alike though no slide or copy ties them, which a split may part.
        copies: Images that are a copy of another; a split keeps them on one side.
        warnings: What to look at, in words.
        scales: Pixel size of each laboratory's original images, as its cells show it.
    """

    images: dict[str, int]
    labelled: dict[str, int]
    masks: dict[str, int]
    slides: dict[str, int]
    classes: dict[str, dict[str, int]]
    sizes: dict[str, list[str]] = field(default_factory=dict)
    blank: list[str] = field(default_factory=list)
    blurred: list[str] = field(default_factory=list)
    alike: list[str] = field(default_factory=list)
    copies: int = 0
    warnings: list[str] = field(default_factory=list)
    scales: dict[str, DomainScale] = field(default_factory=dict)

    def __str__(self) -> str:
        names = list(self.images)
        width = max(22, *(len(name) for name in self.classes)) if self.classes else 22
        rows = [("images", self.images), ("with a label", self.labelled), ("with an annotated mask", self.masks)]
        rows += [("slides", self.slides), *self.classes.items()]
        lines = ["".ljust(width) + "".join(f"{name[:14]:>16}" for name in names)]
        lines += [
            label.ljust(width) + "".join(f"{counts.get(name, 0):>16}" for name in names) for label, counts in rows
        ]
        lines += [f"scale of {name}: {scale}" for name, scale in self.scales.items()]
        return "\n".join([*lines, *(f"look at this: {warning}" for warning in self.warnings)])


def survey_cells(cells: CellStore, labels: Sequence[str], *, quiet: bool = False) -> Survey:
    """Looks at every image once.

    Args:
        cells: The decoded cells.
        labels: Class names.
        quiet: Show no progress.
    """
    table = cells.table
    quality = measure_quality(cells.pixels, quiet=quiet)
    units = independent_units(table.groups, table.fingerprints)
    alike = find_lookalikes(quality.thumbnails, units)
    known = np.unique(cells.labels[cells.labels >= 0])
    classes = {labels[index]: _per_laboratory(cells, cells.labels == index) for index in known}
    survey = Survey(
        images=_per_laboratory(cells, np.ones(len(cells), bool)),
        labelled=_per_laboratory(cells, cells.labels >= 0),
        masks=_per_laboratory(cells, cells.has_mask),
        slides={
            name: len({g for g, d in zip(table.groups, table.domains, strict=True) if d == number and g is not None})
            for number, name in enumerate(table.domain_names)
        },
        classes=classes,
        sizes={
            name: sorted({f"{w} x {h}" for (h, w), d in zip(table.sizes, table.domains, strict=True) if d == number})
            for number, name in enumerate(table.domain_names)
        },
        blank=[table.files[row] for row in np.flatnonzero(quality.blank)],
        blurred=[table.files[row] for row in np.flatnonzero(quality.blurred(cells.domains))],
        alike=[f"{table.files[one]} and {table.files[other]}" for one, other in alike],
        copies=len(np.unique(find_copies(table.fingerprints))),
        scales=stored_scales(cells),
    )
    survey.warnings.extend(_warnings(survey))
    return survey


def require_two_classes(survey: Survey) -> None:
    """Refuses what stage 3 could not learn from, before the hours of stages 1 and 2.

    Raises:
        DataError: If fewer than two classes have a labelled cell.
    """
    if len(survey.classes) < 2:
        known = ", ".join(survey.classes) or "none"
        raise DataError(f"A classifier needs labels of at least two classes, and here are {known}. Label more cells.")


def _per_laboratory(cells: CellStore, chosen: np.ndarray) -> dict[str, int]:
    names = cells.table.domain_names
    return {name: int((chosen & (cells.domains == number)).sum()) for number, name in enumerate(names)}


def _warnings(survey: Survey) -> list[str]:
    """What is odd, in words."""
    found = []
    for name, sizes in survey.sizes.items():
        if len(sizes) > 1:
            found.append(f"{name}: images of {len(sizes)} sizes: {_some(sizes)} px.")
    if survey.alike:
        found.append(
            f"{len(survey.alike)} pairs look alike, and may lie on both sides of a split: {_some(survey.alike)}."
        )
    for files, what in ((survey.blank, "blank"), (survey.blurred, "out of focus")):
        if files:
            found.append(f"{len(files)} images are {what}: {_some(files)}.")
    if survey.copies:
        found.append(f"{survey.copies} images are copies of others; a split keeps copies on one side.")
    for name, slides in survey.slides.items():
        if not slides:
            found.append(
                f"{name}: no slide is known, so cells of one slide may lie on both sides of a split, and figures will "
                "be too good. Tell it with --group-pattern."
            )
        elif slides < _FEW_CELLS:
            counted = "a single slide" if slides == 1 else f"only {slides} slides"
            found.append(f"{name}: {counted}. What holds for them need not hold for the next.")
    if warning := encoder_scale_warning(survey.scales):
        found.append(warning)
    for name in survey.images:
        found += _class_warnings(name, {label: counts[name] for label, counts in survey.classes.items()})
    return found


def _class_warnings(laboratory: str, counts: dict[str, int]) -> list[str]:
    present = {label: n for label, n in counts.items() if n}
    found = []
    rare = [f"{label} ({n})" for label, n in present.items() if n < _FEW_CELLS]
    if rare:
        found.append(f"{laboratory}: few cells of {', '.join(rare)}. They will be named badly.")
    if present and max(present.values()) > _IMBALANCE * min(present.values()):
        most, least = max(present, key=lambda label: present[label]), min(present, key=lambda label: present[label])
        counted = f"{present[most]} {most} and {present[least]} {least}"
        found.append(f"{laboratory}: {counted}. Look at balanced accuracy, not accuracy.")
    return found


def _some(files: Sequence[str]) -> str:
    more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
    return ", ".join(files[:_NAMED]) + more
