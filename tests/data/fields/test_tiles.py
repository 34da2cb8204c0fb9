"""Every pixel of a field is in the core of one tile, and every box is owned by one."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bc_sam.data.fields.tiles import divide

sides = st.integers(1, 90)


@given(st.tuples(sides, sides), st.integers(1, 40), st.integers(0, 20))
def test_cores_cover_a_field_once_and_reach_into_their_neighbours(shape, side, margin):
    covered = np.zeros(shape, int)
    for tile in divide(shape, side, margin):
        covered[tile.core] += 1
        for core, reach, length in zip(tile.core, tile.reach, shape, strict=True):
            assert core.stop - core.start <= side + 1
            assert (reach.start, reach.stop) == (max(core.start - margin, 0), min(core.stop + margin, length))
    assert (covered == 1).all()


@given(st.integers(0, 80), st.integers(0, 80), st.integers(1, 20))
def test_a_box_on_a_seam_is_owned_by_one_tile(left, top, side):
    tiles = divide((100, 100), 30, 10)
    assert sum(tile.owns((left, top, left + side, top + side)) for tile in tiles) == 1


def test_boxes_of_a_tile_return_to_the_field():
    *_, last = divide((100, 100), 60, 10)
    assert last.to_field((2, 4, 22, 24)) == (42, 44, 62, 64)
