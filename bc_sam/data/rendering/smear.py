"""Renders the surroundings of the white cell on a smear: red cells and platelets."""

import numpy as np
from numpy.typing import NDArray

from bc_sam.data.rendering.laboratory import CHROMATIN, HAEMOGLOBIN
from bc_sam.data.rendering.shapes import Array, Frame, outline, rounded
from bc_sam.data.rendering.white_cell import WhiteCell

#: Range of the radius of a red cell, micrometres.
_RED_CELL_RADIUS = (3.3, 4.0)

#: Relative amplitudes of the outline's harmonics, for round and for crenated red cells (echinocytes).
_ROUND = (0.10, 0.04, 0.02)
_CRENATED = (0.08, 0.03, 0.02, 0.0, 0.0, 0.01, 0.04, 0.05, 0.03)


def draw_smear(cell: WhiteCell, crowding: float, frame: Frame, rng: np.random.Generator) -> Array:
    """Renders a white cell and its surroundings.

    Args:
        cell: The white cell, which is never covered.
        crowding: Target density of red cells, per 100 square micrometres.
        frame: Field of view.
        rng: Random generator of positions and shapes.

    Returns:
        Concentrations, float32 (4, size, size), in the order of `MATTER`.
    """
    smear = np.zeros_like(cell.matter)
    pallor = rng.uniform(0.45, 0.95)
    waves = _CRENATED if rng.random() < 0.08 else _ROUND
    for centre, radius in _place_red_cells(cell, crowding, frame, rng):
        _add_red_cell(smear, centre, radius, waves, pallor + rng.normal(0, 0.1), frame, rng)
    for centre in rng.uniform(-frame.width / 2, frame.width / 2, (rng.poisson(0.7), 2)):
        _add_platelet(smear, centre, frame, rng)
    return smear * (1 - frame.coverage(cell.body)) + cell.matter


def _place_red_cells(
    cell: WhiteCell, crowding: float, frame: Frame, rng: np.random.Generator
) -> list[tuple[NDArray[np.floating], float]]:
    """Samples the centres and radii of red cells in and around the frame that at most touch the white cell."""
    reach = frame.width / 2 + _RED_CELL_RADIUS[1]
    target = rng.poisson(crowding / 100 * (2 * reach) ** 2)
    placed: list[tuple[NDArray[np.floating], float]] = []
    for _ in range(6 * target):
        centre, radius, spacing = rng.uniform(-reach, reach, 2), rng.uniform(*_RED_CELL_RADIUS), rng.uniform(1.2, 2.1)
        column, row = np.clip((centre + frame.width / 2) / frame.pixel, 0, frame.size - 1).astype(int)
        free = cell.body[row, column] < -0.9 * radius
        if free and all(np.hypot(*(centre - other)) > spacing * radius for other, _ in placed):
            placed.append((centre, radius))
        if len(placed) == target:
            break
    return placed


def _add_red_cell(
    smear: Array,
    centre: NDArray[np.floating],
    radius: float,
    waves: tuple[float, ...],
    pallor: float,
    frame: Frame,
    rng: np.random.Generator,
) -> None:
    """Adds one red cell, a disc with central pallor. Overlapping cells are compressed."""
    rows, columns = frame.window(centre, 1.3 * radius)
    x, y = frame.x[:, columns] - np.float32(centre[0]), frame.y[rows] - np.float32(centre[1])
    field = rounded(x, y, radius * outline(waves, rng))
    dent = np.exp(-((np.hypot(x, y) / np.float32(radius * rng.uniform(0.32, 0.52))) ** 3))
    thickness = (1 - np.clip(pallor, 0, 0.92) * dent) * np.float32(rng.uniform(0.85, 1.1))
    layers = smear[HAEMOGLOBIN, rows, columns], frame.coverage(field) * thickness
    smear[HAEMOGLOBIN, rows, columns] = np.maximum(*layers) + np.float32(0.4) * np.minimum(*layers)


def _add_platelet(smear: Array, centre: NDArray[np.floating], frame: Frame, rng: np.random.Generator) -> None:
    """Adds one platelet, small and uneven with a darker centre."""
    radius = rng.uniform(0.8, 1.5)
    rows, columns = frame.window(centre, 1.6 * radius)
    x, y = frame.x[:, columns] - np.float32(centre[0]), frame.y[rows] - np.float32(centre[1])
    field = rounded(x, y, radius * outline((0.15, 0.1, 0.06, 0.04, 0.03), rng))
    granular = 0.15 + 0.4 * rng.random() * frame.coverage(field - np.float32(0.3))
    smear[CHROMATIN, rows, columns] += frame.coverage(field) * granular.astype(np.float32)
