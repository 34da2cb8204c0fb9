"""Progress of a batch job: a bar in a terminal, else a line a minute for the log of a scheduler."""

import logging
import sys
import time
from types import TracebackType
from typing import Self

from tqdm import tqdm

from bc_sam.models.batch.rows import Counts
from bc_sam.utils.durations import rough_duration

logger = logging.getLogger(__name__)

_SECONDS = 60


class Progress:
    """Shows how many cells or fields are done, how many a second, and how long the rest takes.

    Args:
        n_blocks: Number of blocks to do.
        n_images: Number of cells, or fields, in them; ``None`` if it is not known, when blocks are counted.
        before: What was finished before.
        image: What an image is: a ``"cell"`` or a ``"field"``.
        quiet: Show nothing.
    """

    def __init__(
        self, n_blocks: int, n_images: int | None, before: Counts, *, image: str = "cell", quiet: bool = False
    ) -> None:
        self._n_blocks, self._before, self._quiet, self._done = n_blocks, before, quiet, Counts()
        self._image, self._by_images = image, n_images is not None
        first = self._count(before)
        total, unit = (n_images, image) if n_images is not None else (n_blocks, "block")
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
        rate = done.images / max(time.monotonic() - self._start, 1e-9)
        blocks = f"{before.blocks + done.blocks} of {before.blocks + self._n_blocks} blocks"
        text = f"{blocks}, {before.images + done.images} {self._image}s, {rate:.1f} {self._image}s/s"
        rest = (self._n_blocks - done.blocks) * done.images / max(done.blocks, 1)
        return f"{text}, {rough_duration(rest / rate)} left" if rate and rest else text

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.close()

    def _count(self, counts: Counts) -> int:
        return counts.images if self._by_images else counts.blocks
