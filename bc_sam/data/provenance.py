"""Provenance of published data sets: authors, stain, microscope and licence."""

from dataclasses import dataclass

from bc_sam.utils.json_config import JsonConfig


@dataclass(frozen=True)
class Provenance(JsonConfig):
    """Origin of a data set. Fields that its authors do not state are empty.

    Attributes:
        title: Name of the data set.
        licence: Licence, such as ``"CC BY 4.0"``.
        homepage: URL of the data set.
        laboratory: Laboratory that stained and imaged the cells.
        stain: Staining protocol.
        microscope: Microscope and camera.
        image: Image size and format.
        citation: Reference as text.
        bibtex: Reference as BibTeX.
    """

    title: str
    licence: str = ""
    homepage: str = ""
    laboratory: str = ""
    stain: str = ""
    microscope: str = ""
    image: str = ""
    citation: str = ""
    bibtex: str = ""
