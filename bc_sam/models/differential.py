"""The differential count: number and share of cells per class, with confidence intervals."""

from collections.abc import Mapping
from dataclasses import dataclass

from scipy.stats import binomtest

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class ClassCount:
    """One line of a differential count.

    Attributes:
        label: Name of the class.
        count: Number of cells.
        share: Share of all cells, 0..1.
        low: Lower bound of the confidence interval of the share.
        high: Upper bound.
    """

    label: str
    count: int
    share: float
    low: float
    high: float


def differential_count(counts: Mapping[str, int]) -> list[ClassCount]:
    """Returns a differential count with 95 % Wilson confidence intervals (Wilson, J. Am. Stat. Assoc. 22, 1927).

    The intervals reflect sampling error only, not misclassification.

    Args:
        counts: Number of cells per class, which may be 0.

    Returns:
        One line per class, the most common first; empty if there are no cells.

    Example:
        >>> first, second = differential_count({"monocyte": 10, "basophil": 30})
        >>> first.label, first.share, round(first.low, 3), round(first.high, 3)
        ('basophil', 0.75, 0.598, 0.858)
    """
    total = sum(counts.values())
    lines = []
    for label, count in sorted(counts.items(), key=lambda item: -item[1]) if total else ():
        interval = binomtest(count, total).proportion_ci(_CONFIDENCE, method="wilson")
        lines.append(ClassCount(label, count, count / total, float(interval.low), float(interval.high)))
    return lines
