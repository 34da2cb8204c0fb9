from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bc_sam.training.autoencoder import BalancedDomainSampler

sizes = st.dictionaries(st.integers(0, 9), st.integers(1, 30), min_size=1, max_size=4)


def domains_of(sizes, seed=0):
    """The domain of each cell, mixed."""
    return np.random.default_rng(seed).permutation(np.repeat(list(sizes), list(sizes.values())))


@given(sizes)
def test_an_epoch_is_as_long_as_the_data(sizes):
    sampler = BalancedDomainSampler(domains_of(sizes))
    assert len(list(sampler)) == len(sampler) == sum(sizes.values())


@given(sizes, st.integers(1, 5))
def test_a_batch_holds_the_domains_in_equal_parts(sizes, each):
    domains = domains_of(sizes)
    dealt = domains[list(BalancedDomainSampler(domains))]
    batch_size = each * len(sizes)
    for start in range(0, len(dealt) - batch_size + 1, batch_size):
        assert set(Counter(dealt[start : start + batch_size].tolist()).values()) == {each}
    last = Counter(dealt.tolist())
    assert max(last.values()) - min(last[domain] for domain in sizes) <= 1


@given(sizes)
def test_no_cell_comes_again_before_all_of_its_domain_have_come(sizes):
    domains = domains_of(sizes)
    dealt = np.array(list(BalancedDomainSampler(domains)))
    for domain, size in sizes.items():
        cells = dealt[domains[dealt] == domain]
        for start in range(0, len(cells), size):
            passage = cells[start : start + size]
            assert len(set(passage.tolist())) == len(passage)


def test_epochs_differ_and_the_seed_decides():
    domains = domains_of({0: 40, 1: 10})
    sampler, again, other = (BalancedDomainSampler(domains, seed) for seed in (1, 1, 2))
    first, second = list(sampler), list(sampler)
    assert first != second
    assert [first, second] == [list(again), list(again)]
    assert first != list(other)
