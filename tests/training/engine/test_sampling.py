"""Batches depend only on the seed and the epoch, also after resuming."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bc_sam.errors import ConfigError
from bc_sam.training.engine.sampling import EpochBatches, balanced, shuffled, tempered

sizes = st.dictionaries(st.integers(0, 9), st.integers(1, 30), min_size=1, max_size=4)


def domains_of(sizes, seed=0):
    """The shuffled domains of the cells."""
    return np.random.default_rng(seed).permutation(np.repeat(list(sizes), list(sizes.values())))


def dealt(domains, seed=0):
    return balanced(domains)(np.random.default_rng(seed))


class TestEpochBatches:
    @given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 9))
    def test_an_epoch_has_each_cell_at_most_once_and_drops_less_than_a_batch(self, n, batch_size, epoch):
        batches = EpochBatches(shuffled(n), n, batch_size)
        batches.epoch = epoch
        seen = [cell for batch in batches for cell in batch]
        assert len(set(seen)) == len(seen)
        assert {len(batch) for batch in batches} == {batches.batch_size}
        assert n - len(seen) < batches.batch_size
        assert len(list(batches)) == len(batches)

    @given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 9), st.data())
    def test_a_resumed_epoch_continues_identically(self, n, batch_size, epoch, data):
        whole, rest = (EpochBatches(shuffled(n), n, batch_size) for _ in range(2))
        whole.epoch = rest.epoch = epoch
        rest.start = data.draw(st.integers(0, len(whole)))
        assert list(rest) == list(whole)[rest.start :]

    def test_epochs_differ_and_the_seed_decides(self):
        def epochs(seed):
            batches = EpochBatches(shuffled(50), 50, 5, seed=seed)
            for batches.epoch in (0, 1):
                yield list(batches)

        first, second = epochs(1)
        assert first != second
        assert [first, second] == list(epochs(1))
        assert first != next(epochs(2))

    def test_fewer_cells_than_a_batch_form_one_divisible_batch(self):
        assert [len(batch) for batch in EpochBatches(shuffled(7), 7, 32, n_processes=2)] == [6]

    @pytest.mark.parametrize(("n", "batch_size", "n_processes"), [(50, 5, 2), (1, 8, 2), (50, 4, 3)])
    def test_indivisible_batches_are_rejected(self, n, batch_size, n_processes):
        with pytest.raises(ConfigError, match="multiple of the number of processes"):
            EpochBatches(shuffled(n), n, batch_size, n_processes=n_processes)


class TestBalancedOrder:
    @given(sizes)
    def test_an_epoch_is_as_long_as_the_data(self, sizes):
        assert len(dealt(domains_of(sizes))) == sum(sizes.values())

    @given(sizes, st.integers(1, 5))
    def test_a_batch_has_the_domains_in_equal_parts(self, sizes, each):
        domains = domains_of(sizes)
        order = domains[dealt(domains)]
        batch_size = each * len(sizes)
        for start in range(0, len(order) - batch_size + 1, batch_size):
            assert set(Counter(order[start : start + batch_size].tolist()).values()) == {each}
        last = Counter(order.tolist())
        assert max(last.values()) - min(last[domain] for domain in sizes) <= 1

    @given(sizes)
    def test_cells_repeat_only_after_all_of_their_domain(self, sizes):
        domains = domains_of(sizes)
        order = dealt(domains)
        for domain, size in sizes.items():
            cells = order[domains[order] == domain]
            for start in range(0, len(cells), size):
                passage = cells[start : start + size]
                assert len(set(passage.tolist())) == len(passage)


class TestTempered:
    @given(sizes, st.integers(0, 9))
    def test_temperature_0_contains_every_cell_once(self, sizes, seed):
        domains = domains_of(sizes)
        order = tempered(domains, 0.0)(np.random.default_rng(seed))
        assert sorted(order) == list(range(len(domains)))

    @given(sizes, st.floats(0, 1))
    def test_small_domains_are_oversampled_but_not_beyond_others(self, sizes, temperature):
        domains = domains_of(sizes)
        order = tempered(domains, temperature)(np.random.default_rng(0))
        seen = Counter(domains[order].tolist())
        assert abs(len(order) - len(domains)) <= len(sizes)
        for one, n in sizes.items():
            for other, m in sizes.items():
                if n <= m:
                    assert seen[one] / n >= seen[other] / m - 1 / n - 1 / m
                    assert seen[one] <= seen[other] + 1

    def test_cells_repeat_only_after_all_of_their_domain(self):
        domains = np.array([0] * 3 + [1] * 27)
        order = tempered(domains, 0.5)(np.random.default_rng(0))
        counts = Counter(order[domains[order] == 0].tolist())
        assert max(counts.values()) - min(counts.values()) <= 1
