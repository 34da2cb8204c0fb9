"""What figures depend on and what they cost: the machine and its libraries, seconds and peak memory."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

_INTERVAL = 0.05


@dataclass
class Cost:
    """Seconds, and peak resident memory in MiB; filled in when `measure` ends."""

    seconds: float = 0.0
    peak_memory_mib: float = 0.0


@contextmanager
def measure() -> Iterator[Cost]:
    """Measures the block under `with`, watching the memory of this process from a second thread.

    Example:
        >>> with measure() as cost:
        ...     _ = sum(range(1000))
        >>> cost.seconds > 0 and cost.peak_memory_mib > 0
        True
    """
    process, cost, done = psutil.Process(), Cost(), threading.Event()

    def watch() -> None:
        while not done.wait(_INTERVAL):
            cost.peak_memory_mib = max(cost.peak_memory_mib, process.memory_info().rss / 2**20)

    cost.peak_memory_mib = process.memory_info().rss / 2**20
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    start = time.perf_counter()
    try:
        yield cost
    finally:
        cost.seconds = time.perf_counter() - start
        done.set()
        watcher.join()
