"""The tab for the cells of a slide."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import gradio as gr

from bc_sam.data.images import IMAGE_SUFFIXES
from bc_sam.errors import DataError
from bc_sam.space.server.gpu import on_gpu
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
from bc_sam.space.views.decision import Choice
from bc_sam.space.views.loaded_models import Models
from bc_sam.space.views.markup import asset, render
from bc_sam.space.views.slide_inference import predict_slide
from bc_sam.space.views.slide_report import render_count, render_report
from bc_sam.space.views.slide_view import Slide

_SHELL = '<div class="bc-slide" hidden></div>'


@dataclass(frozen=True)
class SlideTab:
    """The components of this tab that other tabs use.

    Attributes:
        slide: The visitor's `Slide`, or ``None``.
        shown: The components that show it: notice, stop button, count, exports, table.
    """

    slide: gr.State
    shown: tuple[gr.components.Component, ...]


def slide_tab(models: Models, settings: PageSettings, controls: Controls) -> SlideTab:
    """Builds the tab."""
    slide = gr.State(None, time_to_live=settings.results_seconds)
    files = gr.File(
        label=f"Up to {settings.max_cells:,} images of one cell each, or zips of them",
        file_count="multiple",
        file_types=[*IMAGE_SUFFIXES, ".zip"],
        height=170,
        elem_classes="bc-drop",
    )
    notice = gr.HTML(waiting(), elem_id="slide-notice")
    stop = gr.Button("Stop", size="sm", visible=False, elem_id="slide-stop")
    count = gr.HTML("", elem_id="count")
    with gr.Row(visible=False, elem_id="exports") as exports:
        csv = gr.Button("Save as CSV", size="sm")
        report = gr.Button("Save printable report", size="sm")
    table = gr.HTML({}, html_template=_SHELL, js_on_load=asset("slide_table.js"), elem_id="cells")
    text = gr.Textbox(visible="hidden", elem_id="export")

    shown = (notice, stop, count, exports, table)
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    at_work = files.upload(
        _work(models, settings),
        [files, controls.source, *controls.choice],
        [*shown, slide, files],
        concurrency_id="slide",
        concurrency_limit=2,
        **quiet,
    )
    stop.click(_show_again, [slide, *controls.choice], [*shown], cancels=at_work, **quiet)
    table.correct(_correct, [slide, *controls.choice], [count, slide], trigger_mode="multiple", **quiet)
    for changed in controls.changed:
        changed(_show_again, [slide, *controls.choice], [*shown], **quiet)
    for button, write, name, kind in (
        (csv, Slide.to_csv, "cells.csv", "text/csv"),
        (report, _printed, "differential_count.html", "text/html"),
    ):
        button.click(_export(write), [slide, *controls.choice], text, **quiet).then(
            None, text, None, js=f"(text) => bcSave(text, '{name}', '{kind}')", **quiet
        )
    _api(models, settings)
    return SlideTab(slide, shown)


def _work(models: Models, settings: PageSettings) -> Callable[..., Iterator[tuple[Any, ...]]]:
    """Returns the handler of dropped files."""
    predict = on_gpu(seconds=120)(_predictor(models, settings))

    @plain_errors
    def work(files: list[str] | None, source: str, *choice: Any) -> Iterator[tuple[Any, ...]]:
        """Yields notice, stop button, count, exports, table, state and file field after each batch."""
        if not files:
            yield *_show(None, to_choice(*choice)), None, None
            return
        slide = None
        try:
            for slide in predict(source, files):
                yield _progress(slide), gr.Button(visible=True), gr.skip(), gr.skip(), gr.skip(), slide, None
        except Exception as error:
            notice = render("notice.html", text=visitor_message(error), bad=True)
            yield notice, gr.Button(visible=False), "", gr.Row(visible=False), {}, None, None
            return
        finally:
            remove(files)
        yield *_show(slide, to_choice(*choice)), slide, None

    return work


def _show(slide: Slide | None, choice: Choice, keep: bool = False) -> tuple[Any, ...]:
    """Returns notice, stop button, count, exports and table of a finished slide."""
    if slide is None or not slide.cells:
        return waiting(), gr.Button(visible=False), "", gr.Row(visible=False), {}
    text = f"{len(slide.cells):,} of {slide.expected:,} images processed. {slide.note}"
    rows = {"rows": slide.rows(choice), "labels": slide.labels, "keep": keep}
    notice = render("notice.html", text=text, bad=False)
    return notice, gr.Button(visible=False), render_count(slide, choice), gr.Row(visible=True), rows


@plain_errors
def _show_again(slide: Slide | None, *choice: Any) -> tuple[Any, ...]:
    return _show(slide, to_choice(*choice), keep=True)


@plain_errors
def _correct(
    slide: Slide | None, classifier: str, probability: float, ood: float, labels: list[str], event: gr.EventData
) -> tuple[str, Slide]:
    require_slide(slide).correct(int(event.position), str(event.label))
    return render_count(require_slide(slide), to_choice(classifier, probability, ood, labels)), require_slide(slide)


def _export(write: Callable[[Slide, Choice], str]) -> Callable[..., str]:
    """Returns the handler of an export button."""

    @plain_errors
    def export(slide: Slide | None, *choice: Any) -> str:
        return write(require_slide(slide), to_choice(*choice))

    return export


def _printed(slide: Slide, choice: Choice) -> str:
    return render_report(slide, choice, datetime.now().strftime("%d %B %Y, %H:%M"))


def require_slide(slide: Slide | None) -> Slide:
    """Returns the visitor's slide.

    Raises:
        DataError: If it has expired.
    """
    if slide is None:
        raise DataError("This slide has expired. Drop it again.")
    return slide


def waiting() -> str:
    """Returns the placeholder of the slide."""
    text = (
        "Drop the images of a slide, one cell each. You get the differential count and a table that lists the cells "
        "for review first, where you can name them by hand; both can be saved."
    )
    return render("notice.html", text=text, bad=False)


def _predictor(models: Models, settings: PageSettings) -> Callable[[str, list[str]], Iterator[Slide]]:
    def predict(source: str, files: list[str]) -> Iterator[Slide]:
        yield from predict_slide(models.get(source), files, settings)

    return predict


def _progress(slide: Slide) -> str:
    done, expected = len(slide.cells), slide.expected
    return render("progress.html", text=f"{done:,} of {expected:,} images", done=done, expected=expected)


def _api(models: Models, settings: PageSettings) -> None:
    """Adds the API endpoint ``name_slide``; see ``space/README.md``."""
    predict = on_gpu(seconds=120)(_predictor(models, settings))

    @plain_errors
    def name_slide(
        files: list[str] | None, classifier: str, least_probability: float, most_ood: float, labels: list[str]
    ) -> dict[str, Any]:
        if not files:
            raise gr.Error("No files were given. Upload a list of files.", print_exception=False)
        try:
            choice = checked_choice(models.own, classifier, least_probability, most_ood, labels)
            *_, slide = predict("", files)
        finally:
            remove(files)
        return slide.as_json(choice)

    files = gr.File(label="files", file_count="multiple", visible=False)
    answer = gr.JSON(label="answer", visible=False)
    gr.Button(visible=False).click(
        name_slide,
        [files, *api_options()],
        answer,
        api_name="name_slide",
        api_description="Classifies the cells of many images, or of zips of them: the differential count with "
        "confidence intervals, and for each image its class or why none is given.",
        concurrency_id="slide",
        concurrency_limit=2,
    )
