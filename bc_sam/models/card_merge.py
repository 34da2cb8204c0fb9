"""A new card over an old one: measured parts are renewed, and what people have written stays."""

import re
from collections.abc import Mapping
from typing import Any

import yaml
from huggingface_hub.repocard import REGEX_YAML_BLOCK
from huggingface_hub.utils import yaml_dump

from bc_sam.errors import BCSamError

#: Heads the measured parts that are added to a card which never had any.
ADDED = "## Measured by bc_sam"

# Lists that people add to; all other keys of ours take the place of the old ones.
_UNITED = ("tags", "datasets", "metrics")

# A choice that is ours to propose, and theirs to make.
_PROPOSED = ("license",)


def begin(name: str) -> str:
    """Returns the line before a measured part."""
    return f"<!-- bc_sam:begin {name} -->"


def end(name: str) -> str:
    """Returns the line after a measured part."""
    return f"<!-- bc_sam:end {name} -->"


def merge_cards(new: str, old: str) -> str:
    """Renews the measured parts and the metadata of a card.

    A measured part that people have removed stays removed; a card that never had one gets them all, at its end.

    Args:
        new: The card as rendered anew.
        old: The card as it is, edited by people.

    Raises:
        BCSamError: If the metadata of the old card is no YAML.
    """
    fresh, fresh_text = split(new)
    kept, kept_text = split(old)
    return assemble(merge_metadata(fresh, kept), merge_text(fresh_text, kept_text))


def assemble(metadata: Mapping[str, Any], text: str) -> str:
    """Returns a card of metadata and text."""
    return f"---\n{yaml_dump(dict(metadata), sort_keys=False)}---\n\n{text.strip()}\n"


def split(card: str) -> tuple[dict[str, Any], str]:
    """Returns the metadata and the text of a card; one without metadata has none.

    `huggingface_hub.ModelCardData`, which writes our own metadata, would not do here: it joins the results of several
    models under one name, and refuses a card whose results it does not understand.

    Raises:
        BCSamError: If there is metadata that is no mapping in YAML.
    """
    card = card.removeprefix("\ufeff")  # editors on Windows begin a file with it
    match = REGEX_YAML_BLOCK.search(card)
    if match is None:
        return {}, card
    try:
        metadata = yaml.safe_load(match.group(2)) or {}
    except yaml.YAMLError as error:
        raise BCSamError(f"The metadata at the top of the README.md there is no YAML: {error} Correct it.") from error
    if not isinstance(metadata, dict):
        raise BCSamError("The metadata at the top of the README.md there is no list of keys and values. Correct it.")
    return metadata, card[match.end() :]


def merge_text(new: str, old: str) -> str:
    """Puts the measured parts of one text into their places in another."""
    blocks = _blocks(new)
    places = [name for name in blocks if _pattern(name).search(old)]
    if not places:
        return "\n\n".join([old.strip(), ADDED, *blocks.values()]) + "\n"
    for name in places:
        match = _pattern(name).search(old)
        assert match is not None
        old = old[: match.start()] + blocks[name] + old[match.end() :]
    return old


def merge_metadata(new: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    """Joins metadata: ours is renewed, lists are united, and what only people have set stays."""
    merged = {**old, **new}
    for key in _PROPOSED:
        merged[key] = old.get(key) or new.get(key)
    for key in _UNITED:
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
    """Returns each measured part of a text with its two lines, by name."""
    names = re.findall(r"<!-- bc_sam:begin (\w+) -->", text)
    return {name: match.group() for name in names if (match := _pattern(name).search(text))}


def _pattern(name: str) -> re.Pattern[str]:
    """Finds a part from its first line to its last, with no other line of ours between them."""
    return re.compile(rf"{re.escape(begin(name))}(?:(?!<!-- bc_sam:).)*?{re.escape(end(name))}", re.DOTALL)
