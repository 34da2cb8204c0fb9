"""Measures run time and peak memory, and limits memory."""

import os
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

# Linux: writing "5" to the first resets the peak that the second reports as VmHWM (man 5 proc_pid_clear_refs,
# proc_pid_status). `ru_maxrss` would not do: it also counts what the process was before it called exec.
_CLEAR_REFS = Path("/proc/self/clear_refs")
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_STATUS = Path("/proc/self/status")

_UNIT = 1 if sys.platform == "darwin" else 1024  # unit of `ru_maxrss`, bytes


@dataclass
class Cost:
    """Wall-clock seconds and peak resident memory in MiB, set when `measure` exits."""

    seconds: float = 0.0
    peak_memory_mib: float = 0.0


@contextmanager
def measure() -> Iterator[Cost]:
    """Measures the run time and peak memory of a ``with`` block.

    Peak memory is the kernel's own counter, which needs no sampling thread and misses nothing. On Linux it covers the
    block; where the counter cannot be reset, as on macOS and in some sandboxes, the whole process so far; on Windows
    it is 0 (unknown).
    Blocks must not be nested, since the inner one resets the counter of the outer one.

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


def total_memory() -> int | None:
    """Returns the memory that this process can use at most, bytes: of the machine or its container, if known."""
    sizes = []
    with suppress(OSError, ValueError, AttributeError):
        sizes.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with suppress(OSError, ValueError):  # "max" without a limit
        sizes.append(int(_CGROUP_LIMIT.read_text()))
    return min(sizes, default=None)


def limit_memory(n_bytes: int) -> None:
    """Lets this process allocate at most so many bytes, so that what asks for more fails, and not the whole process.

    Only Linux counts all that is allocated; elsewhere little or nothing happens.
    """
    if resource is None:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        n_bytes = min(n_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (n_bytes, hard))


def _peak_mib() -> float:
    with suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    return 0.0 if resource is None else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT / 2**20
