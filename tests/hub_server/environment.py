"""The environment of client processes, which must be set before `huggingface_hub` is imported."""

import os
import re
from pathlib import Path

_FOREIGN = re.compile(r"HF_|HUGGING|TRANSFORMERS_|\w+_proxy$", re.IGNORECASE)
_QUIET = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "NO_PROXY": "127.0.0.1,localhost",
    "HF_XET_CLIENT_RETRY_MAX_ATTEMPTS": "2",  # otherwise it retries for minutes on injected faults
    "HF_XET_CLIENT_RETRY_BASE_DELAY": "100ms",
}


def client_environment(
    endpoint: str, home: Path | str, token: str | None = None, *, xet: bool = True
) -> dict[str, str]:
    """Returns this process's environment without settings for the real Hub and with those for this one.

    Args:
        endpoint: Address of the Hub.
        home: Folder of caches and tokens, separate from the developer's.
        token: Default token.
        xet: Whether to transfer large files with Xet.
    """
    inherited = {name: value for name, value in os.environ.items() if not _FOREIGN.match(name)}
    chosen = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "0" if xet else "1"}
    return inherited | _QUIET | chosen | ({"HF_TOKEN": token} if token else {})
