import time
from pathlib import Path

import numpy as np
import pytest

from bc_sam.utils.resources import measure

MIB = 2**17  # float64 values


def test_seconds_are_the_run_time_of_the_block():
    start = time.perf_counter()
    with measure() as cost:
        time.sleep(0.1)
    assert 0.1 <= cost.seconds <= time.perf_counter() - start


def peak_of(mib):
    """Peak memory of a block that allocates `mib` MiB and frees it at once."""
    with measure() as cost:
        np.ones(mib * MIB)
    return cost.peak_memory_mib


def test_the_peak_includes_memory_that_was_freed():
    assert peak_of(80) - peak_of(0) == pytest.approx(80, abs=10)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="The peak counter cannot be reset.")
def test_the_peak_is_reset_for_each_block():
    large = peak_of(200)
    assert peak_of(20) == pytest.approx(large - 180, abs=15)


def fail_after(seconds):
    time.sleep(seconds)
    raise ValueError("broken")


def test_a_failing_block_is_measured_and_its_error_propagates():
    with pytest.raises(ValueError, match="broken"), measure() as cost:
        fail_after(0.01)
    assert cost.seconds >= 0.01
    assert cost.peak_memory_mib > 0
