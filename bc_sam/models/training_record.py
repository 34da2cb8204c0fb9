"""How a model came about, as plain data that travels with it: the numbers of its training, and its data."""

from dataclasses import dataclass

from bc_sam.config.arguments import TrainingArguments
from bc_sam.data.provenance import Provenance
from bc_sam.utils.json_config import JsonConfig


@dataclass(frozen=True)
class DataRecord(JsonConfig):
    """The cells of one laboratory. It never says where they lay on the disk.

    Attributes:
        name: Name of the laboratory.
        images: Images that could be read.
        labelled: Those with a label.
        masks: Those with a hand mask.
        unreadable: Images that could not be read.
        hub_id: Id of the data set on the Hub, or ``None``.
        provenance: Where it comes from, or ``None`` where that is not known.
    """

    name: str
    images: int
    labelled: int
    masks: int
    unreadable: int = 0
    hub_id: str | None = None
    provenance: Provenance | None = None


@dataclass(frozen=True)
class TrainingRecord(JsonConfig):
    """How a model was trained.

    Attributes:
        arguments: Numbers of the training.
        data: The laboratories.
    """

    arguments: TrainingArguments
    data: tuple[DataRecord, ...]
