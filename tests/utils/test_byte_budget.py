"""Threads share a budget: the sum stays below the limit, nobody is overtaken for ever, and everything comes back."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from bc_sam.utils.byte_budget import ByteBudget


def test_the_sum_stays_below_the_limit():
    budget = ByteBudget(1000)

    def work(n_bytes):
        with budget.reserved(n_bytes):
            return budget.used

    with ThreadPoolExecutor(8) as pool:
        used = list(pool.map(work, [400, 700, 1, 999, 5000] * 40))
    assert max(used) <= 1000
    assert budget.used == budget.n_waiting == 0


def test_a_request_beyond_the_limit_gets_the_whole_budget():
    budget = ByteBudget(1000)
    with budget.reserved(10**12):
        assert budget.used == 1000


def test_small_requests_do_not_overtake_a_large_one():
    budget, order = ByteBudget(1000), []

    def work(n_bytes):
        with budget.reserved(n_bytes):
            order.append(n_bytes)

    with ThreadPoolExecutor(2) as pool, budget.reserved(500):
        pool.submit(work, 900)
        while budget.n_waiting < 1:
            pass
        pool.submit(work, 10)
        while budget.n_waiting < 2:
            pass
    assert order == [900, 10]


def test_memory_comes_back_after_an_error():
    budget = ByteBudget(1000)
    with pytest.raises(ZeroDivisionError), budget.reserved(900):
        1 / 0  # noqa: B018
    assert budget.used == 0
