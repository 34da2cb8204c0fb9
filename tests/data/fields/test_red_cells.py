"""Red cells are counted, also those that overlap or that the border cuts off."""

import numpy as np
import pytest
from drawn_smear import GLASS, draw_smear

from bc_sam.data.fields.nuclei import WORKING_UM, examine_tile
from bc_sam.data.fields.red_cells import find_red_cell_boxes

WHITE = tuple(map(float, GLASS))
RED_CELL_PX = 7.5 / WORKING_UM


def tile_of(n_red_cells, n_white_cells=1):
    places = ((0.5, 0.5), (0.2, 0.2))[:n_white_cells]
    tile = examine_tile(draw_smear(320, RED_CELL_PX, n_red_cells, places, 42), WHITE)
    white_cells = np.logical_or.reduce([candidate.cell for candidate in tile.candidates], initial=False)
    return tile, np.broadcast_to(white_cells, tile.nuclei.shape)


@pytest.mark.parametrize("number", [5, 20, 40])
def test_red_cells_are_counted(number):
    boxes = find_red_cell_boxes(*tile_of(number))
    assert len(boxes) == pytest.approx(number, rel=0.15)


def test_boxes_of_red_cells_have_their_size():
    sides = [right - left for left, _, right, _ in find_red_cell_boxes(*tile_of(5))]
    assert np.median(sides) == pytest.approx(RED_CELL_PX, rel=0.15)


def test_white_cells_are_no_red_cells():
    assert find_red_cell_boxes(*tile_of(0, 2)) == []


def test_empty_glass_has_none():
    tile = examine_tile(np.tile(np.array(GLASS, np.uint8), (60, 60, 1)), WHITE)
    assert find_red_cell_boxes(tile, np.zeros((60, 60), bool)) == []
