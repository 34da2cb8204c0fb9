"""What a Hub id reads like. Apart from `bc_sam.utils.hub`, so that nothing that only checks one loads its client."""

import re

_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def reads_as_hub_id(text: str) -> bool:
    """Whether a text reads ``owner/name``. It then also names no path that leads out of a folder.

    Example:
        >>> [reads_as_hub_id(text) for text in ("org/bc-sam", "bc-sam", "org/../etc", "a/b/c", "/org/bc-sam")]
        [True, False, False, False, False]
    """
    return _HUB_ID.fullmatch(text) is not None
