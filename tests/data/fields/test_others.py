"""Red cells and platelets are counted beside white cells."""

import numpy as np
import pytest
from drawn_smear import GLASS, NUCLEUS, draw_smear

from bc_sam.data.fields.nuclei import WORKING_UM, examine_tile
from bc_sam.data.fields.others import find_platelet_boxes, find_red_cell_boxes

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


def test_empty_glass_has_neither():
    tile = examine_tile(np.tile(np.array(GLASS, np.uint8), (60, 60, 1)), WHITE)
    nothing = np.zeros((60, 60), bool)
    assert find_red_cell_boxes(tile, nothing) == find_platelet_boxes(tile, nothing) == []


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
