"""Draws smears of known dimensions."""

import numpy as np

GLASS, RED_CELL, CYTOPLASM, NUCLEUS = (235, 230, 228), (205, 165, 172), (188, 172, 212), (92, 50, 140)


def draw_smear(
    side=400, red_cell=70.0, n_red_cells=24, white_cells=((0.5, 0.5),), white_cell=130.0, gain=(1.0, 1.0, 1.0), seed=1
):
    """Draws red cells around white cells; sizes are diameters in pixels, white cells' places are shares of the side.

    `gain` multiplies the channels, as another lamp or white balance does.
    """
    rng = np.random.default_rng(seed)
    row, column = np.ogrid[:side, :side]
    image = np.tile(np.array(GLASS, np.float64), (side, side, 1))
    places = [np.array(place) * side for place in white_cells]
    taken = []
    for place in rng.uniform(0, side, (60 * n_red_cells, 2)):
        clear = all(np.hypot(*(place - other)) > (white_cell + red_cell) / 2 for other in places)
        if clear and len(taken) < n_red_cells and all(np.hypot(*(place - other)) > 0.85 * red_cell for other in taken):
            taken.append(place)
            image[np.hypot(row - place[0], column - place[1]) < red_cell / 2] = RED_CELL
    for place in places:
        distance = np.hypot(row - place[0], column - place[1])
        image[distance < white_cell / 2] = CYTOPLASM
        image[distance < white_cell / 3] = NUCLEUS
    image = image * gain + rng.normal(0, 2, image.shape)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
