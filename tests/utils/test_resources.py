import time

import numpy as np
import psutil
import pytest

from bc_sam.utils.resources import measure


def resident_mib():
    return psutil.Process().memory_info().rss / 2**20


def test_seconds_are_those_of_the_block():
    start = time.perf_counter()
    with measure() as cost:
        time.sleep(0.1)
    assert 0.1 <= cost.seconds <= time.perf_counter() - start


def test_memory_that_the_block_gave_back_is_seen():
    before = resident_mib()
    with measure() as cost:
        block = np.ones(80 * 2**17)  # 80 MiB
        time.sleep(0.2)
        del block
    assert cost.peak_memory_mib > before + 60


def test_the_shortest_block_has_a_memory():
    with measure() as cost:
        pass
    assert cost.peak_memory_mib == pytest.approx(resident_mib(), rel=0.2)


def fail_after(seconds):
    time.sleep(seconds)
    raise ValueError("broken")


def test_a_block_that_fails_is_measured_and_its_error_goes_on():
    with pytest.raises(ValueError, match="broken"), measure() as cost:
        fail_after(0.01)
    assert cost.seconds >= 0.01
