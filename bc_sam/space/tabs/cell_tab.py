"""The tab for one cell."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from bc_sam.data.images import IMAGE_SUFFIXES
from bc_sam.space.server.settings import PageSettings
from bc_sam.space.server.uploads import remove
from bc_sam.space.tabs.controls import (
    Controls,
    api_options,
    checked_choice,
    plain_errors,
    to_choice,
    visitor_message,
)
from bc_sam.space.views.cell_view import CellView, as_json, render_cell_view, view_cell, view_upload
from bc_sam.space.views.examples import Example, data_sets, hub_examples, rendered_examples
from bc_sam.space.views.loaded_models import Models
from bc_sam.space.views.markup import asset, plain, render

_WAITING = (
    "Drop or paste an image of a cell, or choose an example. The answer appears here: its class, or why none is "
    "given; its outline; what each classifier says; and the most similar cells that the model learned from."
)


@dataclass(frozen=True)
class CellTab:
    """The components of this tab that other tabs use.

    Attributes:
        view: The latest cell, a `CellView`, or ``None``.
        answer: The HTML of its answer.
    """

    view: gr.State
    answer: gr.HTML


def cell_tab(models: Models, settings: PageSettings, controls: Controls) -> CellTab:
    """Builds the tab."""
    shelf = rendered_examples()
    view = gr.State(None, time_to_live=settings.results_seconds)
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=280):
            file = gr.File(
                label="One cell: JPEG, PNG, TIFF, BMP, ...",
                file_types=list(IMAGE_SUFFIXES),
                height=170,
                elem_classes="bc-drop",
            )
            gr.Markdown(
                "Or try a synthetic cell, rendered in the style of three laboratories:", elem_classes="bc-lead"
            )
            examples = gr.HTML(_render_examples(shelf), js_on_load=asset("examples.js"), elem_id="examples")
            more = gr.Button("More from the Hub", size="sm", visible=bool(data_sets(models.own)))
        with gr.Column(scale=3, min_width=300):
            answer = gr.HTML(waiting(), elem_id="answer")

    @plain_errors
    def name_file(file: str | None, source: str, *choice: Any) -> tuple[str, CellView | None, None]:
        if file is None:
            return waiting(), None, None
        try:
            result = view_upload(models.get(source), Path(file), settings)
        except Exception as error:
            return _as_new(render("notice.html", text=visitor_message(error), bad=True)), None, None
        finally:
            remove([file])
        return _as_new(render_cell_view(result, to_choice(*choice))), result, None

    @plain_errors
    def name_example(event: gr.EventData, source: str, *choice: Any) -> tuple[str, CellView]:
        example = shelf[int(event.position)]
        name = f"Example: {plain(example.label).lower()}, {plain(example.laboratory)}"
        result = view_cell(models.get(source), example.image, name, settings)
        return render_cell_view(result, to_choice(*choice)), result

    @plain_errors
    def name_again(view: CellView | None, *choice: Any) -> str:
        return waiting() if view is None else render_cell_view(view, to_choice(*choice))

    @plain_errors
    def fetch_more() -> tuple[str, Any]:
        if len(shelf) == n_rendered:
            shelf.extend(hub_examples(data_sets(models.own)))
        return _render_examples(shelf), gr.Button(visible=False)

    n_rendered = len(shelf)
    options: dict[str, Any] = {"api_visibility": "private", "concurrency_id": "cell", "concurrency_limit": 8}
    choice = [controls.source, *controls.choice]
    file.upload(name_file, [file, *choice], [answer, view, file], scroll_to_output=True, **options)
    examples.choose(name_example, choice, [answer, view], scroll_to_output=True, **options)
    more.click(fetch_more, None, [examples, more], **options)
    for changed in controls.changed:
        changed(name_again, [view, *controls.choice], answer, **options)
    _api(models, settings)
    return CellTab(view, answer)


def waiting() -> str:
    """Returns the placeholder of the answer."""
    return render("notice.html", text=_WAITING, bad=False)


def _as_new(answer: str) -> str:
    """Marks an answer, so that the browser notices it although it may be the same as the one before; see page.js."""
    return f'{answer}<i hidden data-answer="{time.monotonic_ns()}"></i>'


def _render_examples(shelf: list[Example]) -> str:
    return render("examples.html", title="Examples", examples=shelf)


def _api(models: Models, settings: PageSettings) -> None:
    """Adds the API endpoint ``name_cell``; see ``space/README.md``."""

    @plain_errors
    def name_cell(
        file: str, classifier: str, least_probability: float, most_ood: float, labels: list[str]
    ) -> dict[str, Any]:
        if file is None:
            raise gr.Error("No file was given. Upload one.", print_exception=False)
        try:
            choice = checked_choice(models.own, classifier, least_probability, most_ood, labels)
            return as_json(view_upload(models.own, Path(file), settings), choice)
        finally:
            remove([file])

    file = gr.File(label="file", visible=False)
    options = api_options()
    answer = gr.JSON(label="answer", visible=False)
    gr.Button(visible=False).click(
        name_cell,
        [file, *options],
        answer,
        api_name="name_cell",
        api_description="Classifies one cell: its class or why none is given, the probabilities of every classifier, "
        "and the most similar reference cells.",
        concurrency_id="cell",
        concurrency_limit=8,
    )
