"""The outline is drawn inside the mask; other pixels stay unchanged."""

import numpy as np
from PIL import Image

from bc_sam.space.views.pictures import outlined

LINE = (255, 212, 0)


def test_the_outline_is_a_closed_line_inside_the_mask():
    mask = np.zeros((64, 64), bool)
    mask[16:48, 16:48] = True
    drawn = np.asarray(outlined(Image.new("RGB", (64, 64), (9, 9, 9)), mask))
    line = (drawn == LINE).all(axis=2)
    edge = mask & ~np.pad(mask[18:46, 18:46], 18)
    assert (line & mask).sum() == line.sum()
    assert line[16, 16:48].all()
    assert line[16:48, 47].all()
    assert not (line & ~edge).any()
    assert (drawn[~mask] == 9).all()
    assert (drawn[24:40, 24:40] == 9).all()


def test_masks_are_outlined_at_the_image_edge_too():
    drawn = np.asarray(outlined(Image.new("RGB", (64, 64)), np.ones((64, 64), bool)))
    assert (drawn[0] == LINE).all()
