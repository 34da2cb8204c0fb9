"""Renders one white cell: outline, nucleus, and the concentrations of stained matter."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bc_sam.data.rendering.cell_types import CellType, Granules, Nucleus
from bc_sam.data.rendering.laboratory import CHROMATIN, EOSINOPHILIC, MATTER, RNA
from bc_sam.data.rendering.shapes import Array, Frame, outline, rounded, scattered, stroke

#: Minimum width of cytoplasm between the nucleus and the cell's edge, micrometres.
_MARGIN = 0.3


@dataclass(frozen=True)
class WhiteCell:
    """A rendered white cell.

    Attributes:
        body: Field of the whole cell, micrometres, (size, size).
        nucleus: Field of the nucleus, which lies inside the body, (size, size).
        matter: Concentrations, (4, size, size), in the order of `MATTER`; 0 outside the cell.
    """

    body: Array
    nucleus: Array
    matter: Array

    @property
    def mask(self) -> NDArray[np.uint8]:
        """Mask, uint8 (size, size): 0 background, 1 cytoplasm, 2 nucleus."""
        return (self.body > 0).astype(np.uint8) + (self.nucleus > 0)


def draw_white_cell(cell_type: CellType, frame: Frame, rng: np.random.Generator) -> WhiteCell:
    """Samples a white cell of a type near the centre of the frame."""
    radius = rng.uniform(*cell_type.diameter) / 2
    centre = rng.uniform(-0.8, 0.8, 2).astype(np.float32)
    x, y = frame.x - centre[0], frame.y - centre[1]

    # Harmonics 2 to 7, then 8 to 27.
    waves = [*cell_type.outline, *[0.0] * (6 - len(cell_type.outline)), *[cell_type.ragged] * 20]
    body = rounded(x, y, np.float32(radius) * outline(waves, rng))
    spine, radii = _spine(cell_type.nucleus, radius, rng)
    roughness = np.float32(cell_type.nucleus.roughness)
    nucleus = stroke(x + roughness * frame.noise(2.2, rng), y + roughness * frame.noise(2.2, rng), spine, radii)
    nucleus = np.minimum(nucleus, body - np.float32(_MARGIN))

    matter = _cytoplasm(cell_type, body, _golgi_zone(x, y, spine, radius), frame, rng)
    _empty_vacuoles(matter, cell_type.vacuoles, body, nucleus, frame, rng)
    matter *= 1 - frame.coverage(nucleus)
    matter += _chromatin(cell_type.nucleus, nucleus, frame, rng)
    for granules in cell_type.granules:
        _add_granules(matter, granules, body, nucleus, frame, rng)
    return WhiteCell(body, nucleus, matter * frame.coverage(body))


def _spine(nucleus: Nucleus, cell_radius: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Samples the centres (n, 2) and radii (n,), micrometres, of the discs whose union is the nucleus."""
    lobes = rng.integers(nucleus.lobes[0], nucleus.lobes[1] + 1)
    length, bend = lobes * rng.uniform(*nucleus.length), rng.uniform(*nucleus.bend)
    along = np.linspace(0, 1, 8 + 3 * int(length))
    phase = 0.25 + (lobes - 0.5) * along  # lobes at half-integers, constrictions at integers
    necks = rng.uniform(*nucleus.constriction) * (1 + np.cos(2 * np.pi * phase)) / 2
    profile = (1 - necks) * np.interp(along, np.linspace(0, 1, lobes + 1), rng.uniform(0.8, 1.1, lobes + 1))

    area = rng.uniform(*nucleus.share) * np.pi * cell_radius**2
    scale = np.sqrt(area / (2 * length * profile.mean() + np.pi * profile.mean() ** 2))
    sway = nucleus.wobble * np.sin(2 * np.pi * (rng.uniform(1, 2) * along + rng.random()))
    heading = 2 * np.pi * rng.random() + bend * (along - 0.5) + sway
    spine = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=1), axis=0) * scale * length / len(along)
    radii = scale * profile

    spine -= np.average(spine, axis=0, weights=radii)
    limit, extent = cell_radius - _MARGIN, (np.linalg.norm(spine, axis=1) + radii).max()
    fit = min(1.0, limit / extent)
    spine, radii, room = spine * fit, radii * fit, limit - extent * fit
    direction = 2 * np.pi * rng.random()
    offset = rng.uniform(*nucleus.eccentricity) * room * np.array([np.cos(direction), np.sin(direction)])
    return (spine + offset).astype(np.float32), radii.astype(np.float32)


def _golgi_zone(x: Array, y: Array, spine: Array, radius: float) -> Array:
    """Returns the strength of the pale zone between nucleus and cell centre, 0..1, (size, size)."""
    nucleus = spine.mean(axis=0)
    golgi = (-0.3 * radius / (np.hypot(*nucleus) + 1e-6) * nucleus).astype(np.float32)
    return np.exp(-((x - golgi[0]) ** 2 + (y - golgi[1]) ** 2) / np.float32(0.18 * radius**2))


def _cytoplasm(cell_type: CellType, body: Array, golgi: Array, frame: Frame, rng: np.random.Generator) -> Array:
    """Returns the concentrations of the cytoplasm, (4, size, size), extended to the whole frame."""
    levels = np.array([rng.uniform(*getattr(cell_type, name)) for name in MATTER], dtype=np.float32)
    mottling = frame.noise(0.5, rng) + frame.noise(2.5, rng)
    relative = np.clip(1 + np.float32(0.7 * cell_type.mottling) * mottling, 0, 2.5)
    relative *= 1 + np.float32(cell_type.rim) * np.exp(-np.maximum(body, 0) / np.float32(0.8))
    matter = levels[:, None, None] * relative
    matter[RNA] *= 1 - np.float32(cell_type.halo) * golgi
    return matter


def _chromatin(parameters: Nucleus, nucleus: Array, frame: Frame, rng: np.random.Generator) -> Array:
    """Returns the concentrations of the nucleus, (4, size, size): clumps, a darker membrane, pale nucleoli."""
    clumps = np.tanh(1.5 * frame.noise(parameters.clump, rng))
    flecks = np.clip(frame.noise(0.38, rng) - np.float32(0.2), 0, 0.8)  # pale parachromatin between the clumps
    membrane = 0.25 * np.exp(-np.maximum(nucleus, 0) / np.float32(0.25))
    relative = 1 + np.float32(parameters.contrast) * (clumps - 1.7 * flecks) + membrane
    concentration = rng.uniform(*parameters.chromatin) * np.maximum(relative, 0.2)
    nucleoli = _nucleoli(parameters, nucleus, frame, rng)
    matter = np.zeros((len(MATTER), frame.size, frame.size), dtype=np.float32)
    inside = frame.coverage(nucleus)
    matter[CHROMATIN] = inside * concentration * (1 - 0.5 * nucleoli)
    matter[RNA] = inside * 0.3 * nucleoli
    return matter


def _nucleoli(parameters: Nucleus, nucleus: Array, frame: Frame, rng: np.random.Generator) -> Array:
    """Returns the coverage of the nucleoli, (size, size)."""
    radii = rng.uniform(0.7, 1.3, rng.integers(parameters.nucleoli[0], parameters.nucleoli[1] + 1))
    return scattered(frame, nucleus > 1.4, radii, rng)


def _empty_vacuoles(
    matter: Array, count: tuple[int, int], body: Array, nucleus: Array, frame: Frame, rng: np.random.Generator
) -> None:
    """Removes matter in round vacuoles of the cytoplasm, in place."""
    radii = rng.uniform(0.25, 0.75, rng.integers(count[0], count[1] + 1))
    matter *= 1 - 0.85 * scattered(frame, np.minimum(body, -nucleus) > 0.6, radii, rng)


def _add_granules(
    matter: Array, granules: Granules, body: Array, nucleus: Array, frame: Frame, rng: np.random.Generator
) -> None:
    """Adds granules of one type, in place."""
    allowed = (body if granules.over_nucleus else np.minimum(body, -nucleus)) > 0.7 * granules.radius[1]
    count = int(rng.uniform(*granules.density) * np.count_nonzero(allowed) * frame.pixel**2)
    strength = scattered(frame, allowed, rng.uniform(*granules.radius, count), rng, rng.uniform(0.4, 1.0, count))
    matter[CHROMATIN] += strength * np.float32(granules.chromatin)
    matter[EOSINOPHILIC] += strength * np.float32(granules.eosinophilic)
    matter[RNA] += strength * np.float32(granules.rna)
