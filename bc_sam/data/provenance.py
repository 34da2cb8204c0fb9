"""Where known data sets come from: who made them, with which stain and microscope, and under which licence."""

from dataclasses import dataclass

from bc_sam.utils.json_config import JsonConfig


@dataclass(frozen=True)
class Provenance(JsonConfig):
    """Where a data set comes from. What its makers do not state is empty.

    Attributes:
        title: Its name.
        licence: Its licence, such as ``"CC BY 4.0"``.
        homepage: Address under which its makers keep it.
        laboratory: Who stained and photographed the cells.
        stain: How.
        microscope: With what.
        image: Size and format.
        citation: What to cite, as text.
        bibtex: The same as BibTeX.
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
