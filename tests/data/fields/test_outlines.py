"""Masks are confined to the cell of their nucleus."""

import numpy as np

from bc_sam.data.fields.outlines import refine_outline

SIDE, UM = 100, 0.2
NOTHING = np.zeros((SIDE, SIDE), bool)
EVERYWHERE = ~NOTHING


def disc(row, column, diameter):
    y, x = np.ogrid[:SIDE, :SIDE]
    return np.hypot(y - row, x - column) < diameter / 2 / UM


def refine(predicted, nucleus, *, others=NOTHING, red_cells=NOTHING, inside=EVERYWHERE):
    return refine_outline(predicted, nucleus, others, red_cells, inside, UM)


def test_a_good_mask_stays():
    cell = disc(50, 50, 12)
    refined = refine(cell, disc(50, 50, 7))
    assert (refined ^ cell).sum() < 0.03 * cell.sum()


def test_a_mask_without_its_nucleus_gets_it():
    nucleus = disc(50, 50, 7)
    assert refine(NOTHING, nucleus)[nucleus].all()


def test_a_mask_does_not_reach_farther_than_cytoplasm_does():
    refined = refine(EVERYWHERE, disc(50, 50, 6))
    assert refined[50, 50 + round(7 / UM)]
    assert not refined[50, 50 + round(9 / UM)]


def test_a_mask_does_not_cover_the_nucleus_of_another_cell():
    other = disc(50, 75, 5)
    assert not refine(EVERYWHERE, disc(50, 40, 7), others=other)[other].any()


def test_a_mask_does_not_cover_red_cells():
    red_cell = disc(50, 78, 7)
    refined = refine(disc(50, 50, 8) | red_cell, disc(50, 50, 7), red_cells=red_cell)
    assert not refined[50, 78]


def test_spikes_are_cut_off_and_holes_filled():
    cell = disc(50, 50, 10)
    spiky = cell.copy()
    spiky[49:51, 50:90] = True
    spiky[50 + 20, 50] = False
    refined = refine(spiky, disc(50, 50, 6))
    assert not refined[50, 80]
    assert refined[70, 50]


def test_the_border_of_the_field_cuts_a_cell_straight():
    inside = EVERYWHERE.copy()
    inside[:50] = False
    refined = refine(disc(50, 50, 12) & inside, disc(50, 50, 7) & inside, inside=inside)
    assert not refined[:50].any()
    assert refined[50, 50 - round(5.5 / UM)]  # opening rounds no corners there
