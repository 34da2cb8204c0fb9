import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from bc_sam.utils.resources import limit_memory, measure

MIB = 2**17  # float64 values


def test_seconds_are_the_run_time_of_the_block():
    start = time.perf_counter()
    with measure() as cost:
        time.sleep(0.1)
    assert 0.1 <= cost.seconds <= time.perf_counter() - start


def peaks_of(sizes):
    """Peak memory, in MiB, of one block for each of `sizes`, which allocates so many MiB and frees them at once."""
    peaks = []
    for mib in sizes:
        with measure() as cost:
            np.ones(mib * MIB)
        peaks.append(cost.peak_memory_mib)
    return peaks


def in_a_new_process(function, *args):
    """What `function` returns in a process that has used no memory yet, as a test worker has."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


def the_peak_can_be_reset():
    """Whether the kernel lets a process reset its peak, which sandboxes may refuse or ignore."""
    np.ones(200 * MIB)
    try:
        Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
    except OSError:
        return False
    peak, current = (int(status.split(f"{name}:")[1].split()[0]) for name in ("VmHWM", "VmRSS"))
    return peak - current < 100 * 2**10


def test_the_peak_includes_memory_that_was_freed():
    nothing, much = in_a_new_process(peaks_of, [0, 80])
    assert much - nothing == pytest.approx(80, abs=10)


def test_the_peak_is_reset_for_each_block_where_the_kernel_allows_it():
    large, small = in_a_new_process(peaks_of, [200, 20])
    freed = 180 if in_a_new_process(the_peak_can_be_reset) else 0
    assert small == pytest.approx(large - freed, abs=15)


def fail_after(seconds):
    time.sleep(seconds)
    raise ValueError("broken")


def test_a_failing_block_is_measured_and_its_error_propagates():
    with pytest.raises(ValueError, match="broken"), measure() as cost:
        fail_after(0.01)
    assert cost.seconds >= 0.01
    assert cost.peak_memory_mib > 0


def can_allocate(sizes, limit):
    """Which arrays, in MiB, can be made in a process that may allocate `limit` bytes."""
    limit_memory(limit)
    made = []
    for mib in sizes:
        try:
            np.ones(mib * MIB)
        except MemoryError:
            continue
        made.append(mib)
    return made


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts all that is allocated")
def test_what_asks_for_more_than_the_limit_fails_and_all_else_goes_on():
    assert in_a_new_process(can_allocate, [10, 4000, 20], 2**31) == [10, 20]
    assert in_a_new_process(can_allocate, [10, 4000, 20], 2**43) == [10, 4000, 20]
