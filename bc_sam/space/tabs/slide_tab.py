"""The part of the page for many cells."""

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
    told,
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
    """What other parts of the page need of this one.

    Attributes:
        slide: The `Slide` of the visitor, or ``None``.
        shown: Where it is shown: notice, count, table, buttons.
    """

    slide: gr.State
    shown: tuple[gr.components.Component, ...]


def slide_tab(models: Models, settings: PageSettings, controls: Controls) -> SlideTab:
    """Lays out the part, inside of a tab."""
    slide = gr.State(None, time_to_live=settings.results_seconds)
    files = gr.File(
        label=f"Up to {settings.max_cells:,} images of one cell each, or zips",
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
        report = gr.Button("Save a report to print", size="sm")
    table = gr.HTML({}, html_template=_SHELL, js_on_load=asset("slide_table.js"), elem_id="cells")
    text = gr.Textbox(visible="hidden", elem_id="taken")

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
    """What looks at the files that were dropped."""
    look = on_gpu(seconds=120)(_look(models, settings))

    @plain_errors
    def work(files: list[str] | None, source: str, *choice: Any) -> Iterator[tuple[Any, ...]]:
        """Notice, stop button, count, exports, table, state and the field, as the work goes on."""
        if not files:
            yield *_show(None, to_choice(*choice)), None, None
            return
        found = None
        try:
            for found in look(source, files):
                yield _progress(found), gr.Button(visible=True), gr.skip(), gr.skip(), gr.skip(), found, None
        except Exception as error:
            wrong = render("notice.html", text=told(error), bad=True)
            yield wrong, gr.Button(visible=False), "", gr.Row(visible=False), {}, None, None
            return
        finally:
            remove(files)
        yield *_show(found, to_choice(*choice)), found, None

    return work


def _show(slide: Slide | None, choice: Choice, keep: bool = False) -> tuple[Any, ...]:
    """Notice, stop button, count, exports and table of a finished slide."""
    if slide is None or not slide.cells:
        return waiting(), gr.Button(visible=False), "", gr.Row(visible=False), {}
    said = f"{len(slide.cells):,} of {slide.expected:,} images were looked at. {slide.note}"
    rows = {"rows": slide.rows(choice), "labels": slide.labels, "keep": keep}
    done = render("notice.html", text=said, bad=False)
    return done, gr.Button(visible=False), render_count(slide, choice), gr.Row(visible=True), rows


@plain_errors
def _show_again(slide: Slide | None, *choice: Any) -> tuple[Any, ...]:
    return _show(slide, to_choice(*choice), keep=True)


@plain_errors
def _correct(
    slide: Slide | None, classifier: str, probability: float, ood: float, labels: list[str], event: gr.EventData
) -> tuple[str, Slide]:
    kept(slide).correct(int(event.place), str(event.label))
    return render_count(kept(slide), to_choice(classifier, probability, ood, labels)), kept(slide)


def _export(write: Callable[[Slide, Choice], str]) -> Callable[..., str]:
    """What writes a visitor's slide to be taken away."""

    @plain_errors
    def exported(slide: Slide | None, *choice: Any) -> str:
        return write(kept(slide), to_choice(*choice))

    return exported


def _printed(slide: Slide, choice: Choice) -> str:
    return render_report(slide, choice, datetime.now().strftime("%d %B %Y, %H:%M"))


def kept(slide: Slide | None) -> Slide:
    """Returns a visitor's slide.

    Raises:
        DataError: If it has been forgotten.
    """
    if slide is None:
        raise DataError("This slide is no longer kept here. Drop it again.")
    return slide


def waiting() -> str:
    """What is shown before there is a slide."""
    said = (
        "Drop the images of a slide, one cell each. You get the differential count, and a table in which the cells "
        "that you should look at come first, to be named by hand; both can be saved."
    )
    return render("notice.html", text=said, bad=False)


def _look(models: Models, settings: PageSettings) -> Callable[[str, list[str]], Iterator[Slide]]:
    def look(source: str, files: list[str]) -> Iterator[Slide]:
        yield from predict_slide(models.get(source), files, settings)

    return look


def _progress(slide: Slide) -> str:
    done, expected = len(slide.cells), slide.expected
    return render("progress.html", text=f"{done:,} of {expected:,} images", done=done, expected=expected)


def _api(models: Models, settings: PageSettings) -> None:
    """The call for programs; ``space/README.md`` documents it."""
    look = on_gpu(seconds=120)(_look(models, settings))

    @plain_errors
    def name_slide(
        files: list[str] | None, classifier: str, least_probability: float, most_ood: float, labels: list[str]
    ) -> dict[str, Any]:
        if not files:
            raise gr.Error("Give a list of files.", print_exception=False)
        try:
            choice = checked_choice(models.own, classifier, least_probability, most_ood, labels)
            *_, slide = look("", files)
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
        api_description="Names the cells of many images, or of zips of them: the differential count with confidence "
        "intervals, and for each image its name or why it has none.",
        concurrency_id="slide",
        concurrency_limit=2,
    )
