"""How the cells of a source are read: the options that every command shares."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bc_sam.data.annotated_masks import MaskList
from bc_sam.errors import DataError
from bc_sam.utils.json_config import JsonConfig

if TYPE_CHECKING:
    from bc_sam.data.streaming.cache import ShardCache

#: Roles that a column of a table or data set can have.
COLUMN_ROLES = ("image", "file", "label", "group", "mask")


@dataclass(frozen=True)
class Layout(JsonConfig):
    """Where slides, splits and columns of the sources are, as saved in the config of a run; see `ReadingOptions`.

    Attributes:
        group_by: ``"folder"`` if folders are slides or patients.
        config: Config of a data set on the Hub.
        split: The only split to read.
        columns: Name of the column for each of `COLUMN_ROLES`.
    """

    group_by: str | None = None
    config: str | None = None
    split: str | None = None
    columns: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ReadingOptions:
    """How the cells of one or more sources are read; see `bc_sam.data.sources.load_cells`.

    Attributes:
        masks: CSV that assigns masks to images.
        label_map: Maps class names to canonical ones, or to ``None`` to exclude them.
        group_pattern: Regular expression that extracts the slide or patient from a file name or path.
        group_by: ``"folder"`` if folders are slides or patients.
        config: Config of a data set on the Hub.
        split: The only split to read; ``None`` joins all.
        columns: Name of the column for each of `COLUMN_ROLES`; by default found by its name.
        revision: Branch, tag or commit of a data set on the Hub.
        token: Hub access token; by default the stored one.
        labelled: Whether labels are read; without, no class name is looked at.
        cache: Decodes data sets in shards one shard after the other, instead of loading them as a whole.
    """

    masks: MaskList | str | Path | None = None
    label_map: Mapping[str, str | None] | None = None
    group_pattern: str | None = None
    group_by: str | None = None
    config: str | None = None
    split: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    revision: str | None = None
    token: str | None = None
    labelled: bool = True
    cache: "ShardCache | None" = None

    def __post_init__(self) -> None:
        for role in self.columns:
            if role not in COLUMN_ROLES:
                raise DataError(f"There is no column {role!r} to set. Choose one of {', '.join(COLUMN_ROLES)}.")
