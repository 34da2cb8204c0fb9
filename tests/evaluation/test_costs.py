import pytest

from bc_sam.evaluation.costs import stage_costs, total_cost
from bc_sam.evaluation.results import StageTiming

TIMINGS = [
    StageTiming("features", 0, 2.0, 900.0),
    StageTiming("autoencoder", 0, 10.0, 400.0),
    StageTiming("features", 1, 4.0, 800.0),
]


def test_seconds_are_summed_and_memory_peaks_over_stages_and_folds():
    assert total_cost(TIMINGS) == (2, 16.0, 900.0)
    assert total_cost(TIMINGS).seconds_per_fold == pytest.approx(8.0)


def test_each_stage_is_averaged_over_its_own_folds():
    costs = stage_costs(TIMINGS)
    assert list(costs) == ["features", "autoencoder"]
    assert [cost.seconds_per_fold for cost in costs.values()] == [3.0, 10.0]
    assert [cost.peak_memory_mib for cost in costs.values()] == [900.0, 400.0]


def test_a_run_without_timings_costs_nothing():
    assert stage_costs([]) == {}
    assert total_cost([]).seconds_per_fold == 0
