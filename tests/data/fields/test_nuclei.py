"""Nuclei of white cells are told from platelets, debris and red cells, and touching nuclei are divided."""

import numpy as np
import pytest
from drawn_smear import CYTOPLASM, GLASS, NUCLEUS, RED_CELL

from bc_sam.data.fields.nuclei import WORKING_UM, candidate_at, examine_tile

WHITE = tuple(map(float, GLASS))
SIDE = 160


def draw(*discs):
    """A tile with discs: row and column in pixels, diameter in µm, and colour."""
    row, column = np.ogrid[:SIDE, :SIDE]
    image = np.tile(np.array(GLASS, np.uint8), (SIDE, SIDE, 1))
    for y, x, diameter, colour in discs:
        image[np.hypot(row - y, column - x) < diameter / 2 / WORKING_UM] = colour
    return image


def candidates(*discs):
    return examine_tile(draw(*discs), WHITE).candidates


def test_a_nucleus_is_found_with_its_cytoplasm():
    (found,) = candidates((80, 90, 12, CYTOPLASM), (80, 90, 8, NUCLEUS))
    assert found.centre == pytest.approx((80, 90), abs=1)
    assert found.nucleus.sum() < found.cell.sum()
    assert found.parts == ()


@pytest.mark.parametrize("diameter", [1.5, 3, 4.5])
def test_platelets_and_debris_are_too_small(diameter):
    assert candidates((80, 80, diameter, NUCLEUS)) == ()


@pytest.mark.parametrize("colour", [RED_CELL, (150, 90, 80), (110, 60, 40)])
def test_red_cells_are_none_however_dark(colour):
    assert candidates((50, 50, 7.5, colour), (100, 100, 7.5, colour)) == ()


def test_an_empty_tile_has_none():
    assert candidates() == ()


def test_lobes_of_one_nucleus_are_one_candidate():
    (found,) = candidates((80, 80, 13, CYTOPLASM), (80, 73, 4, NUCLEUS), (80, 87, 4, NUCLEUS))
    assert found.nucleus[80, 73]
    assert found.nucleus[80, 87]


def test_nuclei_of_touching_cells_are_parts_of_a_candidate():
    (found,) = candidates((80, 60, 8, NUCLEUS), (80, 86, 8, NUCLEUS))
    assert len(found.parts) == 2
    assert sorted(bool(part[80, 60]) for part in found.parts) == [False, True]


def test_pixels_of_the_hue_of_red_cells_are_known():
    orange = (190, 150, 140)
    tile = examine_tile(draw((40, 40, 7.5, orange), (110, 110, 12, CYTOPLASM), (110, 110, 8, NUCLEUS)), WHITE)
    assert tile.red_cells[40, 40]
    assert not tile.red_cells[110, 110]
    assert not tile.red_cells[110, 94]  # cytoplasm


class TestAPlaceThatAPersonPointsAt:
    def test_in_a_cell_its_candidate_is_meant(self):
        tile = examine_tile(draw((80, 80, 13, CYTOPLASM), (80, 73, 4, NUCLEUS), (80, 87, 4, NUCLEUS)), WHITE)
        assert candidate_at(tile, (80.0, 72.0)) is tile.candidates[0]

    def test_a_nucleus_too_small_for_a_candidate_is_meant_all_the_same(self):
        tile = examine_tile(draw((80, 80, 4, NUCLEUS)), WHITE)
        assert tile.candidates == ()
        assert candidate_at(tile, (83.0, 88.0)).centre == pytest.approx((80.5, 80.5), abs=1)

    def test_elsewhere_a_small_disc_is_meant(self):
        made = candidate_at(examine_tile(draw((30, 30, 8, NUCLEUS)), WHITE), (120.0, 110.0))
        assert made.centre == pytest.approx((120.5, 110.5), abs=0.1)
        assert made.nucleus.sum() * WORKING_UM**2 == pytest.approx(np.pi * 2**2, rel=0.1)
