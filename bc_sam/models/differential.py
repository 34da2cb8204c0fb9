"""The differential count, as a laboratory prints it: order, denominators and confidence intervals."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bc_sam.config.labels import COARSE_LABELS, ERYTHROID_LABELS, KINDS_BY_HAND, NO_WHITE_CELL
from bc_sam.evaluation.naming_error import NamingError
from bc_sam.models.abstention import BLASTS

_CONFIDENCE = 0.95

#: Classes in the order of a laboratory's report; others follow, the most common first.
REPORT_ORDER = (
    *("neutrophil_segmented", "neutrophil_banded", "neutrophil"),
    *("lymphocyte_typical", "lymphocyte_atypical", "lymphocyte"),
    *("monocyte", "eosinophil", "basophil", "metamyelocyte", "myelocyte", "promyelocyte", "myeloblast"),
    *("plasma_cell", "other", "erythroblast", *ERYTHROID_LABELS, "smudge_cell"),
    *("platelet", "giant_platelet", "artefact"),
)

#: The line that sums up the neutrophils, above its subtypes; and that of those whose kind is not certain, below them.
NEUTROPHIL, NEUTROPHIL_UNDECIDED = "neutrophil", "neutrophil_undecided"

#: Counted per 100 white cells, outside the denominator, unless asked otherwise.
OUTSIDE = ("erythroblast", *ERYTHROID_LABELS, "smudge_cell")

#: Names that a person can give although no model has them.
MORE_KINDS = KINDS_BY_HAND


@dataclass(frozen=True)
class ClassCount:
    """One line of a differential count.

    Attributes:
        label: Name of the class.
        count: Number of cells.
        share: Share of all counted white cells, 0..1; above 1 is possible for a line outside the denominator.
        low: Lower bound of the confidence interval of the share.
        high: Upper bound.
        part_of: Label of the line that includes this one, such as ``"neutrophil"``.
        outside: Whether the line is outside the denominator: per 100 white cells.
    """

    label: str
    count: int
    share: float
    low: float
    high: float
    part_of: str = ""
    outside: bool = False


@dataclass(frozen=True)
class Tally:
    """What is known of the cells of a slide before they are counted.

    Attributes:
        named: Number of cells by the name that the classifier gave, without blasts that nobody has looked at.
        by_hand: Number of cells by the name that a person gave.
        unnamed: Number of cells that were left for review, or are perhaps blasts, by their likeliest name.
        undecided: Number of named cells that have the name of a parent, such as ``"neutrophil"``, by their likeliest
            name.
    """

    named: Counter[str]
    by_hand: Counter[str]
    unnamed: Counter[str]
    undecided: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, cells: Iterable[tuple[str | None, str | None, str | None]]) -> "Tally":
        """Tallies cells, each given as name, likeliest name and name by hand; blasts wait until a person has looked.

        Example:
            >>> tally = Tally.of([("a", "a", None), ("myeloblast", "myeloblast", None), (None, "a", "other")])
            >>> tally.named, tally.by_hand, tally.unnamed
            (Counter({'a': 1}), Counter({'other': 1}), Counter({'myeloblast': 1}))
        """
        named: Counter[str] = Counter()
        by_hand: Counter[str] = Counter()
        unnamed: Counter[str] = Counter()
        undecided: Counter[str] = Counter()
        for name, likeliest, hand in cells:
            if hand is not None:
                by_hand[hand] += 1
            elif name is not None and name not in BLASTS:
                named[name] += 1
                if likeliest is not None and name != likeliest:
                    undecided[likeliest] += 1
            elif likeliest is not None:
                unnamed[likeliest] += 1
        return cls(named, by_hand, unnamed, undecided)

    @property
    def counts(self) -> Counter[str]:
        """Number of counted cells by name."""
        total = Counter({label: count for label, count in self.named.items() if label not in BLASTS})
        total.update(self.by_hand)
        return Counter({label: n for label, n in total.items() if label not in NO_WHITE_CELL})


def differential_count(
    counts: Mapping[str, int],
    *,
    count_all: bool = False,
    tally: Tally | None = None,
    error: NamingError | None = None,
) -> list[ClassCount]:
    """Returns a differential count in the order of a laboratory's report.

    Neutrophils are one line if there are kinds of them, followed by these, and by those whose kind is not certain.
    Nucleated red cells and smudge cells are
    outside the denominator, unless there are no other cells.

    The 95 % confidence intervals are Wilson's (J. Am. Stat. Assoc. 22, 1927), for the error of sampling. With a
    confusion, they are widened to include the error of naming, and the bias by cells that were left for review: each
    includes 95 % of the shares that would explain what the classifier took all cells for, the unnamed ones as well.

    Args:
        counts: Number of cells per class, which may be 0.
        count_all: Count nucleated red cells and smudge cells among the 100 %.
        tally: Where the counts come from; needed with a confusion.
        error: The confusion of the classifier; by default the intervals reflect the error of sampling only.

    Returns:
        The lines; empty if there are no cells.

    Example:
        >>> first, second = differential_count({"basophil": 30, "monocyte": 10})
        >>> first.label, first.share, round(first.low, 3), round(first.high, 3)
        ('monocyte', 0.25, 0.142, 0.402)
    """
    outside = () if count_all else tuple(label for label in counts if label in OUTSIDE)
    total = sum(count for label, count in counts.items() if label not in outside)
    if not total:  # there is nothing to relate the others to
        outside, total = (), sum(counts.values())
    if not total:
        return []
    possible = _possible_counts(tally, error) if tally is not None and error is not None else None
    if possible is not None:
        within = sum(values for label, values in possible.items() if label not in (*outside, *NO_WHITE_CELL))

    def line(label: str, parts: Sequence[str], part_of: str = "") -> ClassCount:
        count = sum(counts[part] for part in parts)
        is_outside = label in outside
        low, high = _wilson(count, total + count if is_outside else total)
        if is_outside:  # odds: per white cell
            low, high = low / max(1e-9, 1 - low), high / max(1e-9, 1 - high)
        if possible is not None and possible.keys() & set(parts):
            drawn = sum(possible.get(part, np.zeros(1)) for part in parts) / np.maximum(within, 1e-9)
            explained = np.quantile(drawn, [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2])
            low, high = min(low, float(explained[0])), max(high, float(explained[1]))
        return ClassCount(label, count, count / total, low, high, part_of, is_outside)

    lines = []
    for label in _ordered(counts):
        kinds = [kind for kind in _ordered(counts) if kind in (*COARSE_LABELS[NEUTROPHIL], NEUTROPHIL)]
        if label in kinds and len(kinds) > 1:
            if label == kinds[0]:
                lines.append(line(NEUTROPHIL, kinds))
            lines.append(line(NEUTROPHIL_UNDECIDED if label == NEUTROPHIL else label, [label], NEUTROPHIL))
        else:
            lines.append(line(label, [label]))
    return lines


def _ordered(counts: Mapping[str, int]) -> list[str]:
    known = {label: place for place, label in enumerate(REPORT_ORDER)}
    return sorted(counts, key=lambda label: (known.get(label, len(known)), -counts[label]))


def _wilson(count: int, total: int) -> tuple[float, float]:
    from scipy.stats import binomtest  # which takes longer to import than naming one cell does

    interval = binomtest(count, total).proportion_ci(_CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def _possible_counts(tally: Tally, error: NamingError) -> dict[str, np.ndarray]:
    """Returns draws of the true number of cells per class; names by hand are taken to be right."""
    by_classifier = tally.named + tally.unnamed + tally.undecided  # without the names of parents, which are no labels
    drawn = error.possible_counts([by_classifier[label] for label in error.labels])
    possible = {label: drawn[:, column] for column, label in enumerate(error.labels)}
    for label, count in tally.by_hand.items():
        # A name by hand is no sample of the classifier's errors, but the slide is a sample of the patient's cells.
        draws = np.random.default_rng(0).poisson(count, len(drawn))
        possible[label] = possible.get(label, np.zeros(len(drawn))) + draws
    return possible
