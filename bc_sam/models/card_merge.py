"""Merges a new card into an existing one: generated sections are updated, manual edits are kept."""

import re
from collections.abc import Mapping
from typing import Any

import yaml
from huggingface_hub.repocard import REGEX_YAML_BLOCK
from huggingface_hub.utils import yaml_dump

from bc_sam.errors import BCSamError

#: Heading of the generated sections when they are appended to a card that had none.
ADDED = "## Measured by bc_sam"

# Lists that users may extend; all other generated keys replace the old ones.
_EXTENSIBLE = ("tags", "datasets", "metrics")

# Defaults that users may override.
_OVERRIDABLE = ("license",)


def begin(name: str) -> str:
    """Returns the marker before a generated section."""
    return f"<!-- bc_sam:begin {name} -->"


def end(name: str) -> str:
    """Returns the marker after a generated section."""
    return f"<!-- bc_sam:end {name} -->"


def merge_cards(new: str, old: str) -> str:
    """Updates the generated sections and the metadata of a card.

    A generated section that users removed stays removed; if a card has none, all are appended.

    Args:
        new: The newly rendered card.
        old: The existing card, possibly edited.

    Raises:
        BCSamError: If the metadata of the old card is not valid YAML.
    """
    new_metadata, new_text = split(new)
    old_metadata, old_text = split(old)
    return assemble(merge_metadata(new_metadata, old_metadata), merge_text(new_text, old_text))


def assemble(metadata: Mapping[str, Any], text: str) -> str:
    """Returns a card of metadata and text."""
    return f"---\n{yaml_dump(dict(metadata), sort_keys=False)}---\n\n{text.strip()}\n"


def split(card: str) -> tuple[dict[str, Any], str]:
    """Returns the metadata, which may be empty, and the text of a card.

    `huggingface_hub.ModelCardData`, which writes our own metadata, does not work here: it merges the results of
    several models under one name, and rejects cards whose results it cannot parse.

    Raises:
        BCSamError: If the metadata is not a mapping in YAML.
    """
    card = card.removeprefix("\ufeff")  # byte order mark of Windows editors
    match = REGEX_YAML_BLOCK.search(card)
    if match is None:
        return {}, card
    try:
        metadata = yaml.safe_load(match.group(2)) or {}
    except yaml.YAMLError as error:
        raise BCSamError(f"The metadata of the existing README.md is not valid YAML: {error} Correct it.") from error
    if not isinstance(metadata, dict):
        raise BCSamError("The metadata of the existing README.md is not a mapping of keys to values. Correct it.")
    return metadata, card[match.end() :]


def merge_text(new: str, old: str) -> str:
    """Replaces the generated sections of one text by those of another."""
    blocks = _blocks(new)
    shared = [name for name in blocks if _pattern(name).search(old)]
    if not shared:
        return "\n\n".join([old.strip(), ADDED, *blocks.values()]) + "\n"
    for name in shared:
        match = _pattern(name).search(old)
        assert match is not None
        old = old[: match.start()] + blocks[name] + old[match.end() :]
    return old


def merge_metadata(new: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    """Merges metadata: generated keys are updated, lists are united, and users' keys are kept."""
    merged = {**old, **new}
    for key in _OVERRIDABLE:
        merged[key] = old.get(key) or new.get(key)
    for key in _EXTENSIBLE:
        theirs = _as_list(old.get(key))
        merged[key] = [*theirs, *(value for value in _as_list(new.get(key)) if value not in theirs)]
    ours = [_name(entry) for entry in _as_list(new.get("model-index"))]
    others = [entry for entry in _as_list(old.get("model-index")) if _name(entry) not in ours]
    merged["model-index"] = [*_as_list(new.get("model-index")), *others]
    return {key: value for key, value in merged.items() if value not in (None, [])}


def _name(entry: Any) -> Any:
    return entry.get("name") if isinstance(entry, Mapping) else None


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _blocks(text: str) -> dict[str, str]:
    """Returns each generated section of a text, markers included, by name."""
    names = re.findall(r"<!-- bc_sam:begin (\w+) -->", text)
    return {name: match.group() for name in names if (match := _pattern(name).search(text))}


def _pattern(name: str) -> re.Pattern[str]:
    """Returns a pattern of a section from begin to end marker, with no other marker between them."""
    return re.compile(rf"{re.escape(begin(name))}(?:(?!<!-- bc_sam:).)*?{re.escape(end(name))}", re.DOTALL)
