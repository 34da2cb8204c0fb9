"""Limits of the page, which are stricter if it is public."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

_LOOPBACK = ("", "127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class PageSettings:
    """Limits of the page.

    Attributes:
        public: Whether others can reach the page. Visitors may then load public models from the Hub, but no local
            folders, and the owner's token is not used.
        max_file_bytes: Largest size of a file, bytes.
        max_upload_bytes: Largest total size of one upload, bytes.
        max_stored_bytes: Largest total size of the uploads of all visitors that are on disk or on their way, bytes.
        max_image_bytes: Largest size of an image, alone or in a zip, bytes.
        max_pixels: Largest size of an image, pixels. Single cells have fewer than one million.
        max_cells: Largest number of images per slide.
        max_fields: Largest number of fields per slide.
        max_field_bytes: Largest size of a field, alone or in a zip, bytes. Fields may have 50 million pixels.
        max_slide_bytes: Largest size of the pictures and crops that are kept of the fields of a slide, bytes.
        max_results_bytes: Largest size of those of all visitors, bytes.
        max_model_bytes: Largest size of a model's files on the Hub, with its base, if the page is public, bytes.
        seconds: Time limit of a slide.
        keep_seconds: Lifetime of an unprocessed upload on disk; longer than `seconds` plus the time in the queue.
        models: Number of models kept in memory, and of models that may be loaded at the same time.
        load_seconds: Time a visitor waits for a model; loading goes on.
        results_seconds: Lifetime of a visitor's results in memory.
        sessions: Number of visitors whose results are kept; the least recently active are evicted first, those
            with names given by hand last.
    """

    public: bool = False
    max_file_bytes: int = 100 * 2**20
    max_upload_bytes: int = 500 * 2**20
    max_stored_bytes: int = 4 * 2**30
    max_image_bytes: int = 20 * 2**20
    max_pixels: int = 25_000_000
    max_cells: int = 2000
    max_fields: int = 100
    max_field_bytes: int = 100 * 2**20
    max_slide_bytes: int = 64 * 2**20
    max_results_bytes: int = 2**30
    max_model_bytes: int = 3 * 2**30
    seconds: int = 600
    keep_seconds: int = 1200
    models: int = 3
    load_seconds: int = 120
    results_seconds: int = 3600
    sessions: int = 256


def page_settings(environment: Mapping[str, str] = os.environ) -> PageSettings:
    """Returns the settings for this process; a Space, or a server not bound to loopback, is public.

    Example:
        >>> page_settings({"SPACE_ID": "alice/bc-sam"}).public
        True
    """
    is_reachable = environment.get("GRADIO_SERVER_NAME", "") not in _LOOPBACK
    shared = environment.get("GRADIO_SHARE", "").lower() == "true"
    return PageSettings(public="SPACE_ID" in environment or is_reachable or shared)
