"""Survey of the training data before a run: counts, and warnings about potential problems."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from bc_sam.data.copies import contradicting_pairs
from bc_sam.data.domain_scales import DomainScale, encoder_scale_warning, stored_scales
from bc_sam.data.image_quality import find_near_duplicates, measure_quality
from bc_sam.data.splits import find_copies, independent_units
from bc_sam.data.store import CellStore
from bc_sam.errors import DataError
from bc_sam.utils.display import printable
from bc_sam.utils.json_config import JsonConfig

_FEW = 10
_IMBALANCE = 20
_MAX_LISTED = 5


@dataclass(frozen=True)
class Survey(JsonConfig):
    """Counts and potential problems of the training data.

    Attributes:
        images: Number of images per laboratory.
        labelled: Number of labelled images per laboratory.
        masks: Number of images with an annotated mask per laboratory.
        slides: Number of known slides per laboratory; 0 if unknown.
        classes: Number of cells per class and laboratory, ``classes[label][laboratory]``.
        sizes: Image sizes per laboratory, such as ``"360 x 363"``, pixels.
        blank: Files of blank images.
        blurred: Files of out-of-focus images.
        alike: Pairs of near-duplicates, which may end up in different folds.
        copies: Number of images that are copies of another; copies are kept in the same fold.
        contradicting_copies: Pairs of copies with different labels.
        warnings: Warnings to review before training.
        scales: Estimated pixel size of each laboratory's original images.
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
    contradicting_copies: list[str] = field(default_factory=list)

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
        return "\n".join([*lines, *(f"warning: {warning}" for warning in self.warnings)])


def survey_cells(cells: CellStore, labels: Sequence[str], *, quiet: bool = False) -> Survey:
    """Surveys the decoded cells of a run.

    Args:
        cells: The decoded cells.
        labels: Class names.
        quiet: Whether to hide the progress bar.
    """
    table = cells.table
    quality = measure_quality(cells.pixels, quiet=quiet)
    units = independent_units(table.groups, table.fingerprints)
    alike = find_near_duplicates(quality.thumbnails, units)
    copies = find_copies(table.fingerprints)
    present = np.unique(cells.labels[cells.labels >= 0])
    classes = {labels[index]: _per_laboratory(cells, cells.labels == index) for index in present}
    survey = Survey(
        images=_per_laboratory(cells, np.ones(len(cells), bool)),
        labelled=_per_laboratory(cells, cells.labels >= 0),
        masks=_per_laboratory(cells, cells.has_mask),
        slides={
            name: len({g for g, d in zip(table.groups, table.domains, strict=True) if d == domain and g is not None})
            for domain, name in enumerate(table.domain_names)
        },
        classes=classes,
        sizes={
            name: sorted({f"{w} x {h}" for (h, w), d in zip(table.sizes, table.domains, strict=True) if d == domain})
            for domain, name in enumerate(table.domain_names)
        },
        blank=[table.files[row] for row in np.flatnonzero(quality.blank)],
        blurred=[table.files[row] for row in np.flatnonzero(quality.blurred(cells.domains))],
        alike=[f"{table.files[one]} and {table.files[other]}" for one, other in alike],
        copies=len(np.unique(copies)),
        scales=stored_scales(cells),
        contradicting_copies=_contradicting(cells, copies, labels),
    )
    survey.warnings.extend(_mask_warnings(table.mask_values))
    survey.warnings.extend(_warnings(survey))
    return survey


def require_two_classes(survey: Survey) -> None:
    """Checks before the hours of stages 1 and 2 that stage 3 can be fitted.

    Raises:
        DataError: If fewer than two classes have labelled cells.
    """
    if len(survey.classes) < 2:
        found = ", ".join(survey.classes) or "none"
        raise DataError(f"Training needs labelled cells of at least two classes, but found {found}. Label more cells.")


def _per_laboratory(cells: CellStore, selected: np.ndarray) -> dict[str, int]:
    names = cells.table.domain_names
    return {name: int((selected & (cells.domains == domain)).sum()) for domain, name in enumerate(names)}


def _contradicting(cells: CellStore, copies: np.ndarray, labels: Sequence[str]) -> list[str]:
    """Describes the pairs of copies (m, 2) that have different labels."""
    files, index = cells.table.files, cells.labels
    return [
        f"{files[one]} ({labels[index[one]]}) and {files[other]} ({labels[index[other]]})"
        for one, other in contradicting_pairs(copies.tolist(), index.tolist())
    ]


def _mask_warnings(mask_values: dict[str, list[float]]) -> list[str]:
    return [
        f"{name}: masks have values other than 0 (background), 1 (cytoplasm) and 2 (nucleus): "
        f"{', '.join(f'{value:g}' for value in values)}. In these masks, all that is not 0 is read as 1."
        for name, values in mask_values.items()
    ]


def _warnings(survey: Survey) -> list[str]:
    found = []
    for name, sizes in survey.sizes.items():
        if len(sizes) > 1:
            found.append(f"{name}: images have {len(sizes)} different sizes: {_listed(sizes)} px.")
    if survey.alike:
        pairs = _some(len(survey.alike), "pair")
        found.append(f"{pairs} of near-duplicates may lie in different folds: {_listed(survey.alike)}.")
    for files, problem in ((survey.blank, "blank"), (survey.blurred, "out-of-focus")):
        if files:
            found.append(f"{_some(len(files), f'{problem} image')}: {_listed(files)}.")
    if survey.copies:
        found.append(f"{_some(survey.copies, 'extra image')} copied from others; copies are kept in the same fold.")
    if survey.contradicting_copies:
        found.append(
            f"{_some(len(survey.contradicting_copies), 'pair')} of copies with different labels: "
            f"{_listed(survey.contradicting_copies)}. Decide which is right, and remove the other."
        )
    for name, slides in survey.slides.items():
        if not slides:
            found.append(
                f"{name}: slides are unknown, so cells of one slide may lie in different folds and metrics may be "
                "optimistic. Set --group-pattern or --group-by."
            )
        elif slides < _FEW:
            if slides == 1:
                found.append(
                    f"{name}: only one slide, so none can be held out. Check --group-pattern or --group-by, or omit "
                    "it; results may not generalize to other slides."
                )
            else:
                found.append(f"{name}: only {slides} slides. Results may not generalize to other slides.")
    if warning := encoder_scale_warning(survey.scales):
        found.append(warning)
    for name in survey.images:
        found += _class_warnings(name, {label: counts[name] for label, counts in survey.classes.items()})
    return found


def _class_warnings(laboratory: str, counts: dict[str, int]) -> list[str]:
    present = {label: n for label, n in counts.items() if n}
    found = []
    rare = [f"{label} ({n})" for label, n in present.items() if n < _FEW]
    if rare:
        found.append(f"{laboratory}: few cells of {', '.join(rare)}. Expect low accuracy on these classes.")
    if present and max(present.values()) > _IMBALANCE * min(present.values()):
        most, least = max(present, key=lambda label: present[label]), min(present, key=lambda label: present[label])
        counted = f"{present[most]} {most} and {present[least]} {least}"
        found.append(f"{laboratory}: imbalanced classes, {counted}. Use balanced accuracy instead of accuracy.")
    return found


def _some(n: int, thing: str) -> str:
    return f"{n} {thing}" if n == 1 else f"{n} {thing}s"


def _listed(files: Sequence[str]) -> str:
    more = f" and {len(files) - _MAX_LISTED} more" if len(files) > _MAX_LISTED else ""
    return ", ".join(map(printable, files[:_MAX_LISTED])) + more
