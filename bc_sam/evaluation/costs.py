"""The cost of a run, and of each of its stages, over the folds."""

from collections.abc import Sequence
from typing import NamedTuple

from bc_sam.evaluation.results import StageTiming


class Cost(NamedTuple):
    """The cost of one or more stages.

    Attributes:
        folds: Number of folds.
        seconds: Wall-clock seconds, over all folds.
        peak_memory_mib: Peak resident memory, MiB.
    """

    folds: int
    seconds: float
    peak_memory_mib: float

    @property
    def seconds_per_fold(self) -> float:
        """Mean seconds of a fold; 0 without folds."""
        return self.seconds / max(self.folds, 1)


def total_cost(timings: Sequence[StageTiming]) -> Cost:
    """Sums timings over their stages and folds.

    Args:
        timings: Any number of timings, such as `Evaluation.timings`.

    Example:
        >>> total_cost([StageTiming("features", 0, 2.0, 900.0), StageTiming("features", 1, 4.0, 800.0)])
        Cost(folds=2, seconds=6.0, peak_memory_mib=900.0)
    """
    return Cost(
        folds=len({timing.fold for timing in timings}),
        seconds=sum(timing.seconds for timing in timings),
        peak_memory_mib=max((timing.peak_memory_mib for timing in timings), default=0.0),
    )


def stage_costs(timings: Sequence[StageTiming]) -> dict[str, Cost]:
    """Returns the cost of each stage over the folds, in the order in which the stages first ran.

    Args:
        timings: Any number of timings, such as `Evaluation.timings`.
    """
    stages = dict.fromkeys(timing.stage for timing in timings)
    return {stage: total_cost([timing for timing in timings if timing.stage == stage]) for stage in stages}
