"""Syntax of Hub ids, separate from `bc_sam.utils.hub` so that a check does not import the Hub client."""

import re

_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def reads_as_hub_id(text: str) -> bool:
    """Whether a text has the form ``owner/name``. Such a text is never a path that leads out of a folder.

    Example:
        >>> [reads_as_hub_id(text) for text in ("org/bc-sam", "bc-sam", "org/../etc", "a/b/c", "/org/bc-sam")]
        [True, False, False, False, False]
    """
    return _HUB_ID.fullmatch(text) is not None
