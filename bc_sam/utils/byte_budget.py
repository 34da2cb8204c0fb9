"""A budget of memory that all threads of a process share."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from bc_sam.utils.malloc import return_freed_memory

# From this size on, the C library is asked to return memory, which it may otherwise keep: Pillow allocates images in
# blocks of 16 MiB, below the size from which blocks are returned at once.
_RETURNED_FROM = 64 * 2**20


class ByteBudget:
    """Lets threads use memory as long as the sum stays below a limit; the others wait, first come, first served.

    Args:
        limit: Bytes. A request for more gets the whole budget, alone.

    Example:
        >>> budget = ByteBudget(1000)
        >>> with budget.reserved(400), budget.reserved(500):
        ...     budget.used
        900
        >>> budget.used
        0
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()

    @property
    def n_waiting(self) -> int:
        """Number of threads that wait for room."""
        return len(self._waiting)

    @contextmanager
    def reserved(self, n_bytes: int) -> Iterator[None]:
        """Waits until there is room, and holds it during a ``with`` block.

        A thread must not ask for more within the block, since two such threads could wait for each other.
        """
        n_bytes = min(n_bytes, self.limit)
        turn = object()
        with self._changed:
            self._waiting.append(turn)
            try:
                # In order, so that small requests do not overtake a large one for ever.
                self._changed.wait_for(lambda: self._waiting[0] is turn and self.used + n_bytes <= self.limit)
                self.used += n_bytes
            finally:
                self._waiting.remove(turn)
                self._changed.notify_all()
        try:
            yield
        finally:
            if n_bytes >= _RETURNED_FROM:
                return_freed_memory()
            with self._changed:
                self.used -= n_bytes
                self._changed.notify_all()
