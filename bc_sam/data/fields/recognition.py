"""Tells whole fields from crops of one cell."""

from bc_sam.data.appearance.magnification import RED_CELL_UM, WHITE_CELL_UM, Measurement

#: Crops of one cell are at most this wide, µm. Those of Acevedo-20 are 36 µm wide; fields of BCCD 55 µm and more.
WIDEST_CROP_UM = 45.0

# With the white cell as the ruler, since that of a lymphocyte is a third too short.
_WIDEST_BY_WHITE_CELL_UM = 68.0

# An image in which nothing can be measured is a field if its shorter side has this many pixels.
_FIELD_SIDE = 1000


def shows_field(found: Measurement, shape: tuple[int, int], microns_per_pixel: float | None = None) -> bool:
    """Returns whether an image shows more than the surroundings of one cell.

    Args:
        found: What was measured in the image.
        shape: Its height and width, pixels.
        microns_per_pixel: Its pixel size, µm, if known; otherwise red cells are the ruler, or else the white cell.

    Example:
        >>> shows_field(Measurement((240.0,) * 3, (0.0, 0.0), red_cell_px=75.0, n_red_cells=5), (480, 640))
        True
        >>> shows_field(Measurement((240.0,) * 3, (0.0, 0.0), red_cell_px=75.0, n_red_cells=5), (360, 363))
        False
    """
    side = max(shape)
    if microns_per_pixel:
        return side * microns_per_pixel > WIDEST_CROP_UM
    if found.has_red_cell_ruler and found.red_cell_px:
        return side * RED_CELL_UM / found.red_cell_px > WIDEST_CROP_UM
    if found.white_cell_px:
        return side * WHITE_CELL_UM / found.white_cell_px > _WIDEST_BY_WHITE_CELL_UM
    return min(shape) >= _FIELD_SIDE
