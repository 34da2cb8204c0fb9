"""Progress of a batch job: a bar in a terminal, else a line a minute for the log of a scheduler."""

import logging
import sys
import time
from types import TracebackType
from typing import Self

from tqdm import tqdm

from bc_sam.models.batch.output import Counts
from bc_sam.utils.durations import rough_duration

logger = logging.getLogger(__name__)

_SECONDS = 60


class Progress:
    """Shows how many cells are done, how many a second, and how long the rest takes.

    Args:
        n_blocks: Number of blocks to do.
        n_cells: Number of cells in them; ``None`` if it is not known, when blocks are counted.
        before: What was finished before.
        quiet: Show nothing.
    """

    def __init__(self, n_blocks: int, n_cells: int | None, before: Counts, *, quiet: bool = False) -> None:
        self._n_blocks, self._before, self._quiet, self._done = n_blocks, before, quiet, Counts()
        self._by_cells = n_cells is not None
        first = self._count(before)
        total, unit = (n_cells, "cell") if n_cells is not None else (n_blocks, "block")
        self._bar = tqdm(total=total + first, initial=first, unit=unit, smoothing=0.1, disable=quiet or None)
        self._start = self._last = time.monotonic()

    def add(self, counts: Counts) -> None:
        """Notes that more blocks are finished."""
        self._done += counts
        self._bar.update(self._count(counts))
        now = time.monotonic()
        if not self._quiet and not sys.stderr.isatty() and now - self._last >= _SECONDS:
            self._last = now
            logger.info("%s", self.describe())

    def describe(self) -> str:
        """Returns the progress in one line, such as for a log."""
        before, done = self._before, self._done
        rate = done.cells / max(time.monotonic() - self._start, 1e-9)
        blocks = f"{before.blocks + done.blocks} of {before.blocks + self._n_blocks} blocks"
        text = f"{blocks}, {before.cells + done.cells} cells, {rate:.1f} cells/s"
        rest = (self._n_blocks - done.blocks) * done.cells / max(done.blocks, 1)
        return f"{text}, {rough_duration(rest / rate)} left" if rate and rest else text

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.close()

    def _count(self, counts: Counts) -> int:
        return counts.cells if self._by_cells else counts.blocks
