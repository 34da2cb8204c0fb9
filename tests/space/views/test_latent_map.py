"""The latent map shows every class and laboratory, and places a new cell among similar ones."""

import numpy as np

from bc_sam.classifiers.ood import OodScore
from bc_sam.classifiers.reference_latents import ReferenceLatents
from bc_sam.space.tabs.laboratories_tab import render_laboratories
from bc_sam.space.views.latent_map import draw_map, groups
from bc_sam.space.views.loaded_models import LoadedModel


def two_clouds(n=80):
    random = np.random.default_rng(0)
    latents = np.concatenate([random.normal(0, 1, (n, 6)), random.normal(12, 1, (n, 6))]).astype(np.float32)
    return ReferenceLatents(latents, np.repeat([0, 2], n), np.arange(2 * n) % 2)


def test_a_new_cell_is_placed_in_its_cluster():
    known = two_clouds()
    drawn = draw_map(OodScore(known))
    labels = drawn.ood_score.reference.labels
    for cloud, centre in ((0, 0.0), (2, 12.0)):
        own = drawn.points[labels == cloud]
        x, y = drawn.place(np.full(6, centre, np.float32))
        inside = np.linalg.norm(own - own.mean(axis=0), axis=1).max()
        assert np.linalg.norm(np.array([x, y]) - own.mean(axis=0)) <= inside
    assert drawn.points.min() >= 0
    assert drawn.points.max() <= 100


def test_a_large_sample_is_subsampled_by_stratum():
    known = two_clouds(3000)
    drawn = draw_map(OodScore(known)).ood_score.reference
    assert len(drawn.latents) <= 1000
    _, counts = np.unique(drawn.labels, return_counts=True)
    assert counts[0] == counts[1]


def test_groups_differ_in_colour_or_shape_and_cover_all_points():
    members = np.arange(39) % 13
    members[:2] = -1
    found = list(groups(np.random.default_rng(0).random((39, 2)), members, [f"class {n}" for n in range(13)]))
    assert sum(group.count for group in found) == 39
    assert len({(group.colour, group.mark) for group in found}) == len(found) == 14
    assert found[0].name == "unknown"


def test_the_page_shows_the_map_and_the_table(model):
    page = render_laboratories(LoadedModel("small", model))
    assert page.count('<svg viewBox="0 0 100 100"') == 2
    assert "Random forest" in page
    assert "Basophil" in page
    assert "south" in page


def test_a_model_without_reference_cells_or_evaluation_says_so(model):
    from small_model import small_model

    bare = small_model()
    bare.reference = None
    page = render_laboratories(LoadedModel("bare", bare))
    assert "too few reference cells for a map" in page
    assert "has not been evaluated" in page
