"""Morphology parameters of the 13 cell types. Lengths are in micrometres, concentrations relative to the stain.

Proportions follow standard descriptions of Romanowsky-stained smears, as in Bain, *Blood Cells: A Practical Guide*;
sizes, area fractions and colours were then tuned to real cells of Matek-19 and Acevedo-20. A `Range` is the minimum
and maximum over cells of a type.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from bc_sam.data.rendering.shapes import Range


@dataclass(frozen=True)
class Nucleus:
    """Shape and chromatin of a nucleus: a thick curve, short for round nuclei, long and bent for bands.

    Attributes:
        share: Ratio of nuclear to cell area.
        length: Length of the curve per lobe, relative to its maximum radius.
        bend: Total turning angle of the curve, radians.
        lobes: Minimum and maximum number of lobes.
        constriction: Depth of the constrictions between lobes: 0 is none, 1 separates them.
        wobble: Angular deviation of the curve from an arc, radians.
        eccentricity: Offset from the cell's centre, relative to the maximum possible offset.
        roughness: Amplitude of outline irregularities, micrometres.
        chromatin: Mean concentration of chromatin.
        clump: Grain size of the chromatin, micrometres.
        contrast: Relative deviation of the chromatin concentration.
        nucleoli: Minimum and maximum number of nucleoli.
    """

    share: Range
    length: Range = (0.1, 0.5)
    bend: Range = (0.0, 0.3)
    lobes: tuple[int, int] = (1, 1)
    constriction: Range = (0.0, 0.0)
    wobble: float = 0.0
    eccentricity: Range = (0.1, 0.8)
    roughness: float = 0.15
    chromatin: Range = (0.85, 1.05)
    clump: float = 0.9
    contrast: float = 0.25
    nucleoli: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Granules:
    """One type of granules.

    Attributes:
        density: Granules per square micrometre of cytoplasm.
        radius: Radius, micrometres.
        chromatin: Concentration of matter that stains like chromatin.
        eosinophilic: Concentration of eosinophilic protein.
        rna: Concentration of matter that stains like RNA.
        over_nucleus: Whether granules also lie over the nucleus.
    """

    density: Range
    radius: Range
    chromatin: float = 0.0
    eosinophilic: float = 0.0
    rna: float = 0.0
    over_nucleus: bool = False


@dataclass(frozen=True)
class CellType:
    """Morphology of one cell type.

    Attributes:
        diameter: Equivalent diameter of the cell's area, micrometres.
        nucleus: Parameters of the nucleus.
        outline: Relative amplitudes of the outline's harmonics 2, 3, 4, ...
        chromatin: Concentration in the cytoplasm of matter that stains like chromatin.
        rna: Basophilia of the cytoplasm.
        eosinophilic: Acidophilia of the cytoplasm.
        haemoglobin: Concentration of haemoglobin in the cytoplasm.
        mottling: Relative deviation of the cytoplasm's concentrations.
        rim: Relative increase of all concentrations at the cell's edge.
        halo: Fraction of basophilia missing in the Golgi zone beside the nucleus.
        granules: Types of granules.
        vacuoles: Minimum and maximum number of vacuoles.
        ragged: Relative amplitude of each of the harmonics 8 to 27, which fray the outline.
    """

    diameter: Range
    nucleus: Nucleus
    outline: tuple[float, ...] = (0.08, 0.04, 0.02, 0.01)
    chromatin: Range = (0.0, 0.0)
    rna: Range = (0.0, 0.0)
    eosinophilic: Range = (0.0, 0.0)
    haemoglobin: Range = (0.0, 0.0)
    mottling: float = 0.15
    rim: float = 0.15
    halo: float = 0.0
    granules: tuple[Granules, ...] = ()
    vacuoles: tuple[int, int] = (0, 0)
    ragged: float = 0.0


_NEUTROPHIL_GRANULES = (
    Granules(density=(1.5, 3.0), radius=(0.12, 0.20), chromatin=0.07, eosinophilic=0.10),
    Granules(density=(0.2, 0.6), radius=(0.12, 0.22), chromatin=0.22, eosinophilic=0.05),
)

#: Cell types by label.
CELL_TYPES: Mapping[str, CellType] = MappingProxyType(
    {
        "basophil": CellType(
            diameter=(11.2, 13.4),
            nucleus=Nucleus(
                share=(0.48, 0.62),
                length=(1.3, 1.8),
                bend=(1.5, 3.5),
                lobes=(2, 3),
                constriction=(0.2, 0.5),
                wobble=0.4,
                clump=1.2,
            ),
            chromatin=(0.12, 0.35),
            eosinophilic=(0.05, 0.12),
            granules=(Granules(density=(1.8, 4.0), radius=(0.18, 0.40), chromatin=0.95, rna=0.6, over_nucleus=True),),
        ),
        "eosinophil": CellType(
            diameter=(12.8, 15.0),
            nucleus=Nucleus(
                share=(0.32, 0.42),
                length=(1.7, 2.2),
                bend=(1.8, 3.8),
                lobes=(2, 3),
                constriction=(0.6, 0.9),
                wobble=0.3,
                eccentricity=(0.5, 1.0),
                clump=0.9,
            ),
            chromatin=(0.03, 0.06),
            eosinophilic=(0.16, 0.28),
            granules=(Granules(density=(3.5, 5.0), radius=(0.26, 0.40), eosinophilic=0.7, chromatin=0.05),),
            vacuoles=(0, 2),
        ),
        "erythroblast": CellType(
            diameter=(8.6, 11.6),
            nucleus=Nucleus(
                share=(0.28, 0.48),
                length=(0.05, 0.25),
                roughness=0.06,
                chromatin=(1.15, 1.5),
                clump=1.0,
                contrast=0.18,
            ),
            outline=(0.05, 0.02, 0.01),
            rna=(0.25, 0.55),
            haemoglobin=(0.35, 0.6),
            mottling=0.05,
        ),
        "myeloblast": CellType(
            diameter=(12.2, 15.0),
            nucleus=Nucleus(
                share=(0.66, 0.82),
                length=(0.1, 0.6),
                roughness=0.15,
                chromatin=(0.72, 0.9),
                clump=0.5,
                contrast=0.14,
                nucleoli=(1, 3),
            ),
            outline=(0.06, 0.04, 0.02, 0.01),
            rna=(0.55, 0.95),
            rim=0.5,
        ),
        "promyelocyte": CellType(
            diameter=(14.8, 17.6),
            nucleus=Nucleus(
                share=(0.54, 0.68),
                length=(0.3, 1.0),
                bend=(0.2, 1.0),
                eccentricity=(0.5, 1.0),
                roughness=0.15,
                chromatin=(0.75, 0.95),
                clump=0.6,
                contrast=0.18,
                nucleoli=(0, 2),
            ),
            chromatin=(0.08, 0.14),
            rna=(0.45, 0.8),
            rim=0.3,
            halo=0.5,
            granules=(Granules(density=(2.0, 4.5), radius=(0.13, 0.26), chromatin=0.5, over_nucleus=True),),
        ),
        "myelocyte": CellType(
            diameter=(13.0, 15.2),
            nucleus=Nucleus(
                share=(0.48, 0.62),
                length=(0.3, 0.9),
                bend=(0.0, 0.5),
                eccentricity=(0.6, 1.0),
                clump=0.9,
                roughness=0.12,
            ),
            chromatin=(0.07, 0.12),
            rna=(0.22, 0.45),
            eosinophilic=(0.03, 0.08),
            halo=0.4,
            granules=(Granules(density=(1.2, 2.4), radius=(0.14, 0.24), chromatin=0.22),),
        ),
        "metamyelocyte": CellType(
            diameter=(12.8, 15.0),
            nucleus=Nucleus(
                share=(0.46, 0.58),
                length=(0.8, 1.2),
                bend=(1.3, 2.4),
                lobes=(2, 2),
                constriction=(0.02, 0.15),
                clump=0.9,
                contrast=0.3,
            ),
            chromatin=(0.06, 0.10),
            rna=(0.15, 0.30),
            eosinophilic=(0.05, 0.10),
            granules=(Granules(density=(1.2, 2.4), radius=(0.13, 0.22), chromatin=0.18, eosinophilic=0.05),),
        ),
        "neutrophil_banded": CellType(
            diameter=(12.4, 14.8),
            nucleus=Nucleus(
                share=(0.34, 0.44),
                length=(2.3, 3.2),
                bend=(2.8, 4.6),
                lobes=(2, 2),
                constriction=(0.05, 0.25),
                wobble=0.2,
                eccentricity=(0.0, 0.4),
                chromatin=(1.0, 1.3),
                clump=0.9,
            ),
            chromatin=(0.03, 0.06),
            rna=(0.02, 0.06),
            eosinophilic=(0.06, 0.12),
            granules=_NEUTROPHIL_GRANULES,
        ),
        "neutrophil_segmented": CellType(
            diameter=(12.2, 14.4),
            nucleus=Nucleus(
                share=(0.28, 0.37),
                length=(1.8, 2.2),
                bend=(3.0, 5.5),
                lobes=(3, 5),
                constriction=(0.7, 0.9),
                wobble=0.6,
                eccentricity=(0.0, 0.4),
                chromatin=(1.0, 1.3),
                clump=0.9,
            ),
            chromatin=(0.03, 0.06),
            rna=(0.0, 0.03),
            eosinophilic=(0.08, 0.15),
            granules=_NEUTROPHIL_GRANULES,
        ),
        "monocyte": CellType(
            diameter=(15.2, 18.8),
            nucleus=Nucleus(
                share=(0.46, 0.58),
                length=(0.6, 1.3),
                bend=(1.2, 3.0),
                lobes=(2, 2),
                constriction=(0.05, 0.25),
                wobble=0.4,
                roughness=0.25,
                chromatin=(0.68, 0.85),
                clump=0.8,
                contrast=0.22,
            ),
            outline=(0.07, 0.05, 0.03, 0.02, 0.01),
            chromatin=(0.04, 0.08),
            rna=(0.28, 0.48),
            mottling=0.18,
            granules=(Granules(density=(0.2, 0.8), radius=(0.12, 0.18), chromatin=0.15),),
            vacuoles=(2, 10),
            ragged=0.003,
        ),
        "lymphocyte_typical": CellType(
            diameter=(9.0, 11.2),
            nucleus=Nucleus(share=(0.70, 0.86), length=(0.05, 0.4), chromatin=(1.0, 1.3), clump=1.3, contrast=0.22),
            outline=(0.05, 0.02, 0.01),
            chromatin=(0.03, 0.10),
            rna=(0.5, 0.9),
            rim=0.4,
        ),
        "lymphocyte_atypical": CellType(
            diameter=(12.0, 16.0),
            nucleus=Nucleus(
                share=(0.48, 0.64),
                length=(0.3, 1.0),
                bend=(0.0, 0.8),
                roughness=0.3,
                clump=1.0,
                contrast=0.24,
                eccentricity=(0.3, 1.0),
            ),
            outline=(0.12, 0.09, 0.06, 0.05, 0.03, 0.02),
            rna=(0.6, 1.1),
            mottling=0.15,
            rim=0.7,
            halo=0.3,
            vacuoles=(0, 2),
            ragged=0.003,
        ),
        "smudge_cell": CellType(
            diameter=(12.5, 17.0),
            nucleus=Nucleus(
                share=(0.80, 0.95),
                length=(0.3, 1.2),
                bend=(0.0, 0.8),
                eccentricity=(0.0, 0.5),
                roughness=0.5,
                chromatin=(0.50, 0.70),
                clump=1.4,
                contrast=0.18,
            ),
            outline=(0.16, 0.12, 0.08, 0.05, 0.03, 0.02),
            chromatin=(0.08, 0.25),
            mottling=0.35,
            ragged=0.004,
        ),
    }
)
