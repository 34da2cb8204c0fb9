"""What a piece of work costs: seconds and peak memory."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

# Writing "5" here makes Linux count the peak of this process from now on (man 5 proc_pid_clear_refs).
_CLEAR_REFS = Path("/proc/self/clear_refs")

_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes, in which the system counts the peak


@dataclass
class Cost:
    """Seconds, and peak resident memory in MiB; filled in when `measure` ends."""

    seconds: float = 0.0
    peak_memory_mib: float = 0.0


@contextmanager
def measure() -> Iterator[Cost]:
    """Measures the block under `with`.

    The peak is the kernel's own count, which misses nothing and takes no thread. On Linux it is the peak of the block;
    where the count cannot be reset, as on macOS, it is that of the process so far; on Windows it is 0, for unknown.
    Blocks must not be nested: the inner one would reset the count of the outer one.

    Example:
        >>> with measure() as cost:
        ...     _ = sum(range(1000))
        >>> cost.seconds > 0
        True
    """
    cost = Cost()
    with suppress(OSError):
        _CLEAR_REFS.write_text("5")
    start = time.perf_counter()
    try:
        yield cost
    finally:
        cost.seconds = time.perf_counter() - start
        cost.peak_memory_mib = _peak_mib()


def _peak_mib() -> float:
    return 0.0 if resource is None else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT / 2**20
