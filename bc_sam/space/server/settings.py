"""What the page allows, which is less where everybody can reach it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

_LOOPBACK = ("", "127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class PageSettings:
    """Limits of the page.

    Attributes:
        public: Whether others than the owner of the machine can reach it. They may choose models of the Hub, but
            name no folder of this machine, and use nobody's token.
        max_file_bytes: Most bytes of a file.
        max_upload_bytes: Most bytes of the files that are dropped together.
        max_image_bytes: Most bytes of an image, also of one in a zip.
        max_pixels: Most pixels of an image. Single cells have fewer than one million.
        max_cells: Most images of a slide.
        max_model_bytes: Most bytes of a model's weights on the Hub, where the page is public.
        seconds: Longest time that a slide is worked on.
        keep_seconds: How long an upload lies on the disk if no work on it ends before; longer than any, with the wait.
        models: Models that are kept in memory.
        results_seconds: How long the results of a visitor are kept in memory.
        sessions: Visitors whose results are kept; of more, those of the longest silent are forgotten.
    """

    public: bool = False
    max_file_bytes: int = 100 * 2**20
    max_upload_bytes: int = 500 * 2**20
    max_image_bytes: int = 20 * 2**20
    max_pixels: int = 25_000_000
    max_cells: int = 2000
    max_model_bytes: int = 3 * 2**30
    seconds: int = 600
    keep_seconds: int = 1200
    models: int = 3
    results_seconds: int = 3600
    sessions: int = 256


def page_settings(environment: Mapping[str, str] = os.environ) -> PageSettings:
    """Returns the settings for where this process runs: a Space, or a server that listens to others, is public.

    Example:
        >>> page_settings({"SPACE_ID": "alice/bc-sam"}).public
        True
    """
    listens_to_others = environment.get("GRADIO_SERVER_NAME", "") not in _LOOPBACK
    shared = environment.get("GRADIO_SHARE", "").lower() == "true"
    return PageSettings(public="SPACE_ID" in environment or listens_to_others or shared)
