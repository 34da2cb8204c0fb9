"""The differential count: how many cells of each class, their share, and how sure that share is."""

from collections.abc import Mapping
from dataclasses import dataclass

from scipy.stats import binomtest


@dataclass(frozen=True)
class ClassCount:
    """One line of a differential count.

    Attributes:
        label: Name of the class.
        count: Cells of it.
        share: Their share of all, 0..1.
        low: Lower end of the confidence interval of the share.
        high: Upper end.
    """

    label: str
    count: int
    share: float
    low: float
    high: float


def differential_count(counts: Mapping[str, int], confidence: float = 0.95) -> list[ClassCount]:
    """Counts cells, with Wilson's interval of each share (Wilson, J. Am. Stat. Assoc. 22, 1927).

    The interval tells how much chance is in counting so few cells. It knows nothing of wrong names.

    Args:
        counts: Cells of each class; classes with none may be given.
        confidence: Of the intervals, 0..1.

    Returns:
        A line a class, the most common first; none if there is no cell.

    Example:
        >>> first, second = differential_count({"monocyte": 10, "basophil": 30})
        >>> first.label, first.share, round(first.low, 3), round(first.high, 3)
        ('basophil', 0.75, 0.598, 0.858)
    """
    total = sum(counts.values())
    lines = []
    for label, count in sorted(counts.items(), key=lambda item: -item[1]) if total else ():
        interval = binomtest(count, total).proportion_ci(confidence, method="wilson")
        lines.append(ClassCount(label, count, count / total, float(interval.low), float(interval.high)))
    return lines
