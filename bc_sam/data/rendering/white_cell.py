"""Draws one white cell: its outline, its nucleus, and the stained matter in both."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bc_sam.data.rendering.cell_types import CellType, Granules, Nucleus
from bc_sam.data.rendering.laboratory import CHROMATIN, EOSINOPHILIC, MATTER, RNA
from bc_sam.data.rendering.shapes import Array, Frame, outline, rounded, scattered, stroke

#: Cytoplasm left between the nucleus and the cell's edge, micrometres.
_MARGIN = 0.3


@dataclass(frozen=True)
class WhiteCell:
    """A drawn cell.

    Attributes:
        body: Field of the whole cell, micrometres, (size, size).
        nucleus: Field of the nucleus, which lies inside the body, (size, size).
        matter: Concentrations, (4, size, size), in the order of `MATTER`; zero outside the cell.
    """

    body: Array
    nucleus: Array
    matter: Array

    @property
    def mask(self) -> NDArray[np.uint8]:
        """0 background, 1 cytoplasm, 2 nucleus, uint8 (size, size)."""
        return (self.body > 0).astype(np.uint8) + (self.nucleus > 0)


def draw_white_cell(kind: CellType, frame: Frame, rng: np.random.Generator) -> WhiteCell:
    """Draws a cell of a kind near the centre of a frame."""
    radius = rng.uniform(*kind.diameter) / 2
    centre = rng.uniform(-0.8, 0.8, 2).astype(np.float32)
    x, y = frame.x - centre[0], frame.y - centre[1]

    waves = [*kind.outline, *[0.0] * (6 - len(kind.outline)), *[kind.ragged] * 20]  # 2 to 7, then 8 to 27
    body = rounded(x, y, np.float32(radius) * outline(waves, rng))
    spine, radii = _spine(kind.nucleus, radius, rng)
    crinkle = np.float32(kind.nucleus.roughness)
    nucleus = stroke(x + crinkle * frame.noise(2.2, rng), y + crinkle * frame.noise(2.2, rng), spine, radii)
    nucleus = np.minimum(nucleus, body - np.float32(_MARGIN))

    matter = _cytoplasm(kind, body, _golgi_zone(x, y, spine, radius), frame, rng)
    _empty_vacuoles(matter, kind.vacuoles, body, nucleus, frame, rng)
    matter *= 1 - frame.coverage(nucleus)
    matter += _chromatin(kind.nucleus, nucleus, frame, rng)
    for granules in kind.granules:
        _add_granules(matter, granules, body, nucleus, frame, rng)
    return WhiteCell(body, nucleus, matter * frame.coverage(body))


def _spine(nucleus: Nucleus, cell_radius: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Draws the discs, (n, 2) and (n,), micrometres, whose union is the nucleus; the cell's centre is the origin."""
    lobes = rng.integers(nucleus.lobes[0], nucleus.lobes[1] + 1)
    length, bend = lobes * rng.uniform(*nucleus.length), rng.uniform(*nucleus.bend)
    along = np.linspace(0, 1, 8 + 3 * int(length))
    phase = 0.25 + (lobes - 0.5) * along  # a lobe lies at each half, a neck at each whole number
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
    """Strength, 0..1, of the pale zone on the side of the nucleus that faces the cell's middle, (size, size)."""
    nucleus = spine.mean(axis=0)
    golgi = (-0.3 * radius / (np.hypot(*nucleus) + 1e-6) * nucleus).astype(np.float32)
    return np.exp(-((x - golgi[0]) ** 2 + (y - golgi[1]) ** 2) / np.float32(0.18 * radius**2))


def _cytoplasm(kind: CellType, body: Array, golgi: Array, frame: Frame, rng: np.random.Generator) -> Array:
    """Matter of the cytoplasm, (4, size, size), as if it filled the frame."""
    levels = np.array([rng.uniform(*getattr(kind, name)) for name in MATTER], dtype=np.float32)
    mottling = frame.noise(0.5, rng) + frame.noise(2.5, rng)
    relative = np.clip(1 + np.float32(0.7 * kind.mottling) * mottling, 0, 2.5)
    relative *= 1 + np.float32(kind.rim) * np.exp(-np.maximum(body, 0) / np.float32(0.8))
    matter = levels[:, None, None] * relative
    matter[RNA] *= 1 - np.float32(kind.halo) * golgi
    return matter


def _chromatin(kind: Nucleus, nucleus: Array, frame: Frame, rng: np.random.Generator) -> Array:
    """Matter of the nucleus, (4, size, size): clumps, a darker membrane, pale nucleoli."""
    clumps = np.tanh(1.5 * frame.noise(kind.clump, rng))
    flecks = np.clip(frame.noise(0.38, rng) - np.float32(0.2), 0, 0.8)  # pale parachromatin between the clumps
    membrane = 0.25 * np.exp(-np.maximum(nucleus, 0) / np.float32(0.25))
    relative = 1 + np.float32(kind.contrast) * (clumps - 1.7 * flecks) + membrane
    concentration = rng.uniform(*kind.chromatin) * np.maximum(relative, 0.2)
    nucleoli = _nucleoli(kind, nucleus, frame, rng)
    matter = np.zeros((len(MATTER), frame.size, frame.size), dtype=np.float32)
    inside = frame.coverage(nucleus)
    matter[CHROMATIN] = inside * concentration * (1 - 0.5 * nucleoli)
    matter[RNA] = inside * 0.3 * nucleoli
    return matter


def _nucleoli(kind: Nucleus, nucleus: Array, frame: Frame, rng: np.random.Generator) -> Array:
    """Coverage of the nucleoli, (size, size)."""
    radii = rng.uniform(0.7, 1.3, rng.integers(kind.nucleoli[0], kind.nucleoli[1] + 1))
    return scattered(frame, nucleus > 1.4, radii, rng)


def _empty_vacuoles(
    matter: Array, count: tuple[int, int], body: Array, nucleus: Array, frame: Frame, rng: np.random.Generator
) -> None:
    """Empties round vacuoles in the cytoplasm."""
    radii = rng.uniform(0.25, 0.75, rng.integers(count[0], count[1] + 1))
    matter *= 1 - 0.85 * scattered(frame, np.minimum(body, -nucleus) > 0.6, radii, rng)


def _add_granules(
    matter: Array, kind: Granules, body: Array, nucleus: Array, frame: Frame, rng: np.random.Generator
) -> None:
    """Adds the granules of one sort."""
    allowed = (body if kind.over_nucleus else np.minimum(body, -nucleus)) > 0.7 * kind.radius[1]
    count = int(rng.uniform(*kind.density) * np.count_nonzero(allowed) * frame.pixel**2)
    strength = scattered(frame, allowed, rng.uniform(*kind.radius, count), rng, rng.uniform(0.4, 1.0, count))
    matter[CHROMATIN] += strength * np.float32(kind.chromatin)
    matter[EOSINOPHILIC] += strength * np.float32(kind.eosinophilic)
    matter[RNA] += strength * np.float32(kind.rna)
