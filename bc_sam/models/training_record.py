"""The training record stored with a model: its settings and its data."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from bc_sam.config.arguments import ClassifierArguments, TrainingArguments
from bc_sam.data.provenance import Provenance
from bc_sam.utils.json_config import JsonConfig


@dataclass(frozen=True)
class DataRecord(JsonConfig):
    """The data of one laboratory, without local paths.

    Attributes:
        name: Name of the laboratory.
        images: Number of readable images.
        labelled: Number of those with a label.
        masks: Number of those with an annotated mask.
        unreadable: Number of unreadable images.
        hub_id: Id of the data set on the Hub, or ``None``.
        provenance: Provenance of the data, or ``None`` if unknown.
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
        arguments: Settings of the training.
        data: The data of each laboratory.
    """

    arguments: TrainingArguments
    data: tuple[DataRecord, ...]

    def with_fitted(self, cells: Mapping[str, int], classifiers: ClassifierArguments) -> "TrainingRecord":
        """Returns the record after classifiers were fitted on other cells.

        Args:
            cells: Number of cells of each laboratory; those that are recorded already are left as they are.
            classifiers: The new classifiers.
        """
        known = {data.name for data in self.data}
        new = tuple(DataRecord(name, n, n, 0) for name, n in cells.items() if name not in known)
        return replace(self, arguments=replace(self.arguments, classifiers=classifiers), data=(*self.data, *new))
