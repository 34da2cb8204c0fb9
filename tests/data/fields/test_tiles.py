"""Every pixel of a field is in the core of one tile, and every box is owned by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bc_sam.data.fields.sources import WholeField
from bc_sam.data.fields.tiles import Damage, divide, read_tiles
from bc_sam.errors import ImageError

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


class DamagedField(WholeField):
    """A field of which the pixel in row 20, column 30 cannot be read."""

    def read(self, rows, columns):
        if rows.start <= 20 < rows.stop and columns.start <= 30 < columns.stop:
            raise ImageError("tile 7 is damaged.")
        return super().read(rows, columns)


def test_around_damage_a_tile_is_read_in_smaller_parts():
    pixels = np.random.default_rng(0).integers(0, 255, (128, 256, 3), dtype=np.uint8)
    damage = Damage((128, 256))
    read = np.zeros((128, 256), bool)
    for tile, content in read_tiles(DamagedField(pixels), divide((128, 256), 128, 0), 0, damage):
        assert np.array_equal(content, pixels[tile.reach])
        read[tile.core] = True
    assert (~read).sum() == damage.area == 16 * 16
    assert damage.sentences() == ("tile 7 is damaged.", "0.78% of the field was not searched.")


def test_a_field_of_which_nothing_can_be_read_is_an_error():
    damage = Damage((128, 128))
    tiles = read_tiles(DamagedField(np.zeros((128, 128, 3), np.uint8)), divide((128, 128), 128, 128), 128, damage)
    assert not list(tiles)
    with pytest.raises(ImageError, match="tile 7"):
        damage.sentences()
