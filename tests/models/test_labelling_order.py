"""The cells to label first are typical of what there is, and not the odd ones."""

import numpy as np

from bc_sam.models.labelling_order import typical_cells


def test_each_cluster_has_one_and_large_clusters_come_first():
    rng = np.random.default_rng(0)
    places = np.concatenate([rng.normal(centre, 0.1, (size, 5)) for centre, size in ((0, 5), (3, 30), (9, 12))])
    chosen = typical_cells(places, 3)
    assert [5 <= chosen[0] < 35, 35 <= chosen[1] < 47, chosen[2] < 5] == [True, True, True]


def test_there_are_no_more_than_there_are_different_cells():
    assert typical_cells(np.zeros((4, 3)), 20) == [0]
    assert typical_cells(np.zeros((0, 3))) == []
