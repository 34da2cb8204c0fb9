"""Builds and serves the page."""

import signal
import sys
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from bc_sam.models.auto import load_model
from bc_sam.models.base import CellModel
from bc_sam.models.stored_model import LoadOptions
from bc_sam.space.server.sessions import KeepWork
from bc_sam.space.server.settings import PageSettings, page_settings
from bc_sam.space.server.upload_requests import SeparateUploads, UploadedFilesOnly, UploadLimit
from bc_sam.space.server.uploads import UPLOADS_PREFIX, UploadFolder
from bc_sam.space.tabs.cell_tab import cell_tab
from bc_sam.space.tabs.controls import Controls
from bc_sam.space.tabs.laboratories_tab import laboratories_tab
from bc_sam.space.tabs.model_tab import model_tab
from bc_sam.space.tabs.slide_tab import slide_tab
from bc_sam.space.views.loaded_models import DOWNLOAD_PREFIX, LoadedModel, Models
from bc_sam.space.views.markup import asset
from bc_sam.space.views.slide_adaptation import ADAPTED_PREFIX
from bc_sam.utils.malloc import share_heaps
from bc_sam.utils.model_source import display_name
from bc_sam.utils.private_folder import remove_abandoned
from bc_sam.utils.resources import limit_memory, total_memory

# The part of the machine's memory that a public page may take.
_MOST_MEMORY = 0.9

_HEAD = """# Which blood cell is it?

Classifies single white blood cells in images of stained smears, and abstains when it is unsure."""

_WARNING = "Research software. **Not a medical device, not for diagnosis.** Your images are not kept."


def build(model: CellModel, settings: PageSettings | None = None, name: str = "this model") -> gr.Blocks:
    """Builds the page.

    Args:
        model: The initial model.
        settings: Limits of the page.
        name: Display name of the model.
    """
    settings = settings or PageSettings()
    own = LoadedModel(name, model)
    models = Models(own, settings)
    with gr.Blocks(title="BC-SAM: which blood cell is it?", analytics_enabled=False) as page:
        controls = Controls.create(own)
        gr.Markdown(_HEAD, elem_id="head")
        gr.Markdown(_WARNING, elem_id="warning")
        with gr.Tabs():
            with gr.Tab("One cell"):
                cell = cell_tab(models, settings, controls)
            with gr.Tab("A slide"):
                slide = slide_tab(models, settings, controls)
            with gr.Tab("Laboratories") as laboratories:
                laboratories_tab(laboratories, models, controls, cell.view, slide.slide)
            with gr.Tab("Model"):
                model_tab(models, settings, controls, cell, slide)
    return page.queue(max_size=256)


def launch_options(settings: PageSettings) -> dict[str, Any]:
    """Returns the options of Gradio's ``launch``: theme, and the limits that Gradio enforces."""
    middleware = [
        Middleware(KeepWork, settings=settings),
        Middleware(UploadLimit, settings=settings),
        Middleware(SeparateUploads),
        Middleware(UploadedFilesOnly),
    ]
    return {
        "theme": _theme(),
        "css": asset("page.css"),
        "head": f"<script>{asset('page.js')}</script><style>{asset('print.css')}</style>",
        "max_file_size": settings.max_file_bytes,
        "app_kwargs": {"middleware": middleware},
        "show_error": False,
        "run_history": False,
        "enable_monitoring": False,
        "state_session_capacity": settings.sessions,
        "ssr_mode": False,
        "footer_links": ["api", "settings"],
    }


def _theme() -> gr.Theme:
    system = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
    mono = ("ui-monospace", "Consolas", "monospace")
    theme = gr.themes.Default(
        primary_hue="teal", neutral_hue="slate", font=system, font_mono=mono, radius_size="md", text_size="md"
    )
    # Gradio's own are hardly seen, above all in dark mode.
    return theme.set(checkbox_border_color="*neutral_500", checkbox_border_color_dark="*neutral_400")


def serve(source: str, loading: LoadOptions | None = None, **options: Any) -> None:
    """Loads a model and serves the page until it is stopped.

    Args:
        source: Model folder, run folder or Hub id.
        loading: How to load it, such as its revision; see `bc_sam.load_model`.
        **options: For Gradio's ``launch``, such as ``server_port``.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that uploads are removed on exit
    share_heaps()  # of dozens of threads; 100 MB less after visits of 32 clients and a slide
    settings = page_settings()
    if settings.public and (memory := total_memory()):
        limit_memory(int(memory * _MOST_MEMORY))  # of which a visitor's model may ask for any amount
    for prefix in (UPLOADS_PREFIX, DOWNLOAD_PREFIX, ADAPTED_PREFIX):
        remove_abandoned(prefix)  # by servers that were killed
    options_of_model: LoadOptions = {"device": "cpu", **(loading or {})}
    model = load_model(source, **options_of_model)
    model.require_classifiers()
    with UploadFolder(settings.keep_seconds):
        build(model, settings, display_name(source)).launch(**launch_options(settings) | options)
