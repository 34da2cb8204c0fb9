"""Platelets are counted beside white cells."""

import numpy as np
import pytest
from drawn_smear import GLASS, NUCLEUS, draw_smear

from bc_sam.data.fields.nuclei import WORKING_UM, examine_tile
from bc_sam.data.fields.others import find_platelet_boxes

WHITE = tuple(map(float, GLASS))
RED_CELL_PX = 7.5 / WORKING_UM


def test_platelets_are_small_nuclei_outside_white_cells():
    image = draw_smear(160, RED_CELL_PX, 0, (), 42)
    row, column = np.ogrid[:160, :160]
    for place in ((40, 40), (120, 100)):
        image[np.hypot(row - place[0], column - place[1]) < 4] = NUCLEUS
    tile = examine_tile(image, WHITE)
    nothing = np.zeros((160, 160), bool)
    assert len(find_platelet_boxes(tile, nothing)) == 2
    nothing[30:50, 30:50] = True
    ((left, top, _, _),) = find_platelet_boxes(tile, nothing)
    assert (left, top) == pytest.approx((97, 117), abs=2)


def test_empty_glass_has_none():
    tile = examine_tile(np.tile(np.array(GLASS, np.uint8), (60, 60, 1)), WHITE)
    assert find_platelet_boxes(tile, np.zeros((60, 60), bool)) == []
