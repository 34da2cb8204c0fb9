"""The YAML front matter of a README."""

import json
import re
from typing import Any

import yaml

from hub_server.errors import HubError

SDKS = ("gradio", "streamlit", "docker", "static")


def front_matter(text: str) -> dict[str, Any]:
    """Returns the metadata of a card, empty if it has none.

    Raises:
        HubError: If it is not valid YAML or not a mapping.
    """
    found = re.match(r"\s*---[ \t]*\n(.*?)^---[ \t]*$", text, re.DOTALL | re.MULTILINE)
    if found is None:
        return {}
    try:
        metadata = yaml.safe_load(found[1])
    except yaml.YAMLError as error:
        raise HubError(400, f"YAML metadata is not valid: {error}") from None
    if not isinstance(metadata, dict | None):
        raise HubError(400, "YAML metadata must be a mapping")
    plain: dict[str, Any] = json.loads(json.dumps(metadata or {}, default=str))  # dates become text
    return plain


def problems(text: str, repo_type: str) -> tuple[list[str], list[str]]:
    """Returns the errors and warnings for a card."""
    try:
        metadata = front_matter(text)
    except HubError as error:
        return [str(error)], []
    if repo_type == "space" and metadata and metadata.get("sdk") not in SDKS:
        return [f'"sdk" must be one of {list(SDKS)}'], []
    return [], [] if metadata else ["empty or missing yaml metadata in repo card"]
