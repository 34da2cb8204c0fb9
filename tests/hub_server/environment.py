"""What must be set in the environment of a process before it imports `huggingface_hub`, which reads it once."""

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
    "HF_XET_CLIENT_RETRY_MAX_ATTEMPTS": "2",  # else it goes on for minutes where a test makes it fail
    "HF_XET_CLIENT_RETRY_BASE_DELAY": "100ms",
}


def client_environment(
    endpoint: str, home: Path | str, token: str | None = None, *, xet: bool = True
) -> dict[str, str]:
    """Returns this process's environment, less what a developer has set for the real Hub, plus what leads to ours.

    Args:
        endpoint: Address of the Hub.
        home: Folder of caches and tokens, which must not be the developer's.
        token: Token to be used where none is given.
        xet: Whether large files go by Xet.
    """
    inherited = {name: value for name, value in os.environ.items() if not _FOREIGN.match(name)}
    chosen = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "0" if xet else "1"}
    return inherited | _QUIET | chosen | ({"HF_TOKEN": token} if token else {})
