"""Outlines of masks as polygons."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from bc_sam.utils.polygons import outline_polygon


def test_the_polygon_has_the_shape_of_the_mask():
    row, column = np.ogrid[:90, :120]
    mask = ((row - 45) / 40) ** 2 + ((column - 60) / 50) ** 2 < 1
    image = Image.new("1", (120, 90))
    ImageDraw.Draw(image).polygon([(x - 0.5, y - 0.5) for x, y in outline_polygon(mask)], fill=1)
    drawn = np.asarray(image)
    assert (drawn & mask).sum() / (drawn | mask).sum() > 0.96


def test_the_polygon_is_where_the_mask_is():
    corners = np.array(outline_polygon(np.ones((20, 30), bool), left=100, top=200))
    assert corners.min(axis=0) == pytest.approx((100, 200), abs=1)
    assert corners.max(axis=0) == pytest.approx((130, 220), abs=1)


def test_pixels_that_touch_at_a_corner_do_not_confuse_it():
    mask = np.zeros((6, 6), bool)
    mask[:3, :3] = mask[3:, 3:] = True
    assert max(x for x, _ in outline_polygon(mask)) <= 3


def test_an_empty_mask_has_none():
    assert outline_polygon(np.zeros((4, 4), bool)) == []
