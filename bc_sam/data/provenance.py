"""Where known data sets come from: who made them, with which stain and microscope, and under which licence."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bc_sam.utils.json_config import JsonConfig

if TYPE_CHECKING:
    from datasets import Dataset


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


MATEK19 = Provenance(
    title="Matek-19 (AML-Cytomorphology_LMU)",
    licence="CC BY 3.0",
    homepage="https://doi.org/10.7937/tcia.2019.36f5o9ld",
    laboratory="Munich University Hospital: 100 patients with acute myeloid leukaemia, 100 without a malignancy",
    microscope="M8 digital microscope (Precipoint), 100-fold magnification, oil immersion",
    image="400 x 400 px, TIFF",
    citation="Matek, Schwarz, Marr, Spiekermann: A Single-cell Morphological Dataset of Leukocytes from AML Patients "
    "and Non-malignant Controls. The Cancer Imaging Archive, 2019. Matek, Schwarz, Spiekermann, Marr: Human-level "
    "recognition of blast cells in acute myeloid leukaemia with convolutional neural networks. Nature Machine "
    "Intelligence 1, 538-544, 2019.",
    bibtex="""@misc{matek2019aml,
  author = {Matek, Christian and Schwarz, Simone and Marr, Carsten and Spiekermann, Karsten},
  title = {A Single-cell Morphological Dataset of Leukocytes from {AML} Patients and Non-malignant Controls},
  publisher = {The Cancer Imaging Archive},
  year = {2019},
  doi = {10.7937/tcia.2019.36f5o9ld}
}

@article{matek2019recognition,
  author = {Matek, Christian and Schwarz, Simone and Spiekermann, Karsten and Marr, Carsten},
  title = {Human-level recognition of blast cells in acute myeloid leukaemia with convolutional neural networks},
  journal = {Nature Machine Intelligence},
  volume = {1},
  pages = {538--544},
  year = {2019},
  doi = {10.1038/s42256-019-0101-9}
}""",
)

ACEVEDO20 = Provenance(
    title="Acevedo-20 (PBC_dataset_normal_DIB)",
    licence="CC BY 4.0",
    homepage="https://doi.org/10.17632/snkd93bnjr.1",
    laboratory="Core Laboratory, Hospital Clinic of Barcelona: people without infection, blood disease or tumour",
    stain="May Grünwald-Giemsa (Sysmex SP1000i)",
    microscope="CellaVision DM96",
    image="360 x 363 px, JPEG",
    citation="Acevedo, Merino, Alférez, Molina, Boldú, Rodellar: A dataset of microscopic peripheral blood cell "
    "images for development of automatic recognition systems. Data in Brief 30, 105474, 2020.",
    bibtex="""@article{acevedo2020dataset,
  author = {Acevedo, Andrea and Merino, Anna and Alf{\\'e}rez, Santiago and Molina, {\\'A}ngel and Bold{\\'u}, Laura
    and Rodellar, Jos{\\'e}},
  title = {A dataset of microscopic peripheral blood cell images for development of automatic recognition systems},
  journal = {Data in Brief},
  volume = {30},
  pages = {105474},
  year = {2020},
  doi = {10.1016/j.dib.2020.105474}
}""",
)

BMEC = Provenance(
    title="BMEC (Bone Marrow Erythroid Cells)",
    homepage="https://github.com/wangye8899/BMEC",
    image="single cells, 5,666 images",
    citation="Wang, Ma, Ma, Cui, Xiao, Wu, Zhou: Shape-aware fine-grained classification of erythroid cells. Applied "
    "Intelligence, 2023.",
    bibtex="""@article{wang2023shape,
  author = {Wang, Ye and Ma, Rui and Ma, Xiaoqing and Cui, Honghua and Xiao, Yubin and Wu, Xuan and Zhou, You},
  title = {Shape-aware fine-grained classification of erythroid cells},
  journal = {Applied Intelligence},
  year = {2023},
  doi = {10.1007/s10489-023-04465-z}
}""",
)

RENDERED = Provenance(
    title="Rendered cells",
    licence="Apache-2.0",
    homepage="bc_sam.data.datasets.rendered",
    laboratory="none: bc_sam draws them, no patient is in them",
    stain="imitated",
    microscope="imitated",
    image="224 x 224 px",
)


def provenance_of(dataset: "Dataset") -> Provenance | None:
    """Returns where a data set comes from, or ``None`` where it is not known.

    Example:
        >>> from bc_sam.data import load_rendered
        >>> provenance_of(load_rendered("munich", cells_per_class=1)).title
        'Rendered cells'
    """
    known = {provenance.homepage: provenance for provenance in (MATEK19, ACEVEDO20, BMEC, RENDERED)}
    return known.get(dataset.info.homepage)
