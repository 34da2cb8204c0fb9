"""The tab for the cells of a slide."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import gradio as gr
from gradio.events import Dependency

from bc_sam.config.labels import COARSE_LABELS, kinds_that_can_occur
from bc_sam.data.images import IMAGE_SUFFIXES
from bc_sam.errors import BCSamError, DataError
from bc_sam.space.server.gpu import on_gpu
from bc_sam.space.server.settings import PageSettings
from bc_sam.space.server.uploads import remove
from bc_sam.space.tabs.adaptation_panel import AdaptationPanel, begin_learning, learner, saver, show_adaptation
from bc_sam.space.tabs.controls import (
    Controls,
    plain_errors,
    to_choice,
    typed_pixel_size,
    visitor_message,
)
from bc_sam.space.tabs.slide_api import predictor, slide_api
from bc_sam.space.views.decision import Choice
from bc_sam.space.views.field_inference import Kind, ask_for_cell
from bc_sam.space.views.field_view import describe_added, describe_work, fields_value
from bc_sam.space.views.loaded_models import Models
from bc_sam.space.views.markup import asset, plain, render
from bc_sam.space.views.slide_adaptation import Adaptation
from bc_sam.space.views.slide_report import ReportHead, render_count, render_laboratory, render_report
from bc_sam.space.views.slide_view import Slide, SlideCell

_KINDS = [("Recognize", "recognize"), ("One cell each", "cells"), ("Whole fields", "fields")]
_FIELDS_SHELL = '<section class="bc-fields" aria-label="Fields" hidden></section>'
_SHELL = '<div class="bc-slide" hidden></div>'


@dataclass(frozen=True)
class SlideTab:
    """The components of this tab that other tabs use.

    Attributes:
        slide: The visitor's `Slide`, or ``None``.
        hand: Names given by hand, by the digest of the image; they outlive the slide and the model.
        shown: The components that show it: notice, stop button, laboratory, count, fields, counting rule and exports,
            button for a zip, table, adaptation.
        learned: The event in which a classifier learns from the slide.
    """

    slide: gr.State
    hand: gr.State
    shown: tuple[gr.blocks.Block, ...]
    learned: Dependency


def slide_tab(models: Models, settings: PageSettings, controls: Controls) -> SlideTab:
    """Builds the tab."""
    slide = gr.State(None, time_to_live=settings.results_seconds)
    hand = gr.State({}, time_to_live=settings.results_seconds)
    files = gr.File(
        label=f"Up to {settings.max_cells:,} cells, {settings.max_fields:,} fields, or zips",
        file_count="multiple",
        file_types=[*IMAGE_SUFFIXES, ".zip"],
        height=170,
        elem_classes="bc-drop",
    )
    with gr.Row(elem_id="slide-options"):
        kind = gr.Radio(
            _KINDS,
            value="recognize",
            label="What the images show",
            info="Fields are photographs of many cells, in which the white cells are found.",
            scale=3,
            min_width=260,
        )
        microns = gr.Textbox(
            label="Pixel size of fields, µm",
            info="If empty, measured from the red cells.",
            placeholder="such as 0.1",
            max_lines=1,
            min_width=160,
            elem_id="microns",
        )
    notice = gr.HTML(waiting(), elem_id="slide-notice")
    stop = gr.Button("Stop", size="sm", visible=False, elem_id="slide-stop")
    laboratory = gr.HTML("", js_on_load=asset("laboratory.js"), elem_id="laboratory")
    count = gr.HTML("", js_on_load=asset("count.js"), elem_id="count")
    fields = gr.HTML(
        {},
        html_template=_FIELDS_SHELL,
        js_on_load=asset("slide_common.js") + asset("slide_fields.js"),
        elem_id="fields",
    )
    with gr.Column(visible=False, elem_id="exports") as exports:
        controls.count_all.render()
        with gr.Row():
            head = [
                gr.Textbox(label=label, max_lines=1, min_width=140, elem_id=f"head-{label.lower()}")
                for label in ("Sample", "Date", "Reader")
            ]
        with gr.Row():
            csv = gr.Button("Save as CSV", size="sm")
            report = gr.Button("Save printable report", size="sm")
            zipped = gr.Button("Save CSV and crops of the fields", size="sm", visible=False)
    adaptation = AdaptationPanel.create()
    table = gr.HTML(
        {}, html_template=_SHELL, js_on_load=asset("slide_common.js") + asset("slide_table.js"), elem_id="cells"
    )
    text = gr.Textbox(visible="hidden", elem_id="export")
    large = gr.Textbox(visible="hidden", elem_id="large-picture")

    shown = (notice, stop, laboratory, count, fields, exports, zipped, table, *adaptation.shown)
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    at_work = files.upload(
        _work(models, settings),
        [files, kind, microns, controls.source, hand, *controls.choice],
        [*shown, slide, files],
        scroll_to_output=True,
        concurrency_id="slide",
        concurrency_limit=2,
        **quiet,
    )
    # Two events, since the browser sends an event before its cancellations: progress on its way would hide the answer.
    stopped = stop.click(None, cancels=at_work)
    stopped.then(_stop, [slide, *controls.choice], [*shown], **quiet)
    corrected = [count, *adaptation.shown, slide, hand]
    table.correct(_correct, [slide, hand, *controls.choice], corrected, trigger_mode="multiple", **quiet)
    fields.turn(_turn, slide, fields, **quiet)
    fields.point(
        _add(models),
        [slide, controls.source, *controls.choice],
        [count, fields, table, slide],
        concurrency_id="point",
        concurrency_limit=2,
        **quiet,
    )
    laboratory.choose(_choose_kinds, slide, controls.labels, **quiet)  # which shows the slide again
    for changed in controls.changed:
        changed(_show_again, [slide, *controls.choice], [*shown], **quiet)
    begun = adaptation.learn.click(
        begin_learning, [slide, *controls.choice], [adaptation.said, adaptation.learn], **quiet
    )
    learned = begun.success(
        learner(models, _show_adapted),
        [slide, controls.source, *controls.choice],
        [*shown, slide],
        concurrency_id="adapt",
        concurrency_limit=1,
        **quiet,
    )
    learned.failure(_show_again, [slide, *controls.choice], [*shown], **quiet)
    files.upload(None, cancels=learned, **quiet)  # whose result would be of the slide before
    adaptation.restore.click(_restore, [slide, *controls.choice], [*shown, slide], **quiet)
    adaptation.save.click(saver(models), [slide, controls.source, *controls.choice], text, **quiet).then(
        None, text, None, js="(text) => bcSave(text, 'adapted_model.zip', 'base64')", **quiet
    )
    for button, write, inputs, name, media_type in (
        (csv, Slide.to_csv, [], "cells.csv", "text/csv"),
        (zipped, Slide.to_zip, [], "cells.zip", "base64"),
        (report, _printed, head, "differential_count.html", "text/html"),
    ):
        button.click(_export(write, len(inputs)), [slide, *inputs, *controls.choice], text, **quiet).then(
            None, text, None, js=f"(text) => bcSave(text, '{name}', '{media_type}')", **quiet
        )
    # A large picture is sent only when it is looked at, since thousands would be too much for the page.
    table.look(_large_picture, slide, large, trigger_mode="multiple", **quiet).then(
        None, large, None, js="(text) => bcLarge(text)", **quiet
    )
    slide_api(models, settings)
    return SlideTab(slide, hand, shown, learned)


def _work(models: Models, settings: PageSettings) -> Callable[..., Iterator[tuple[Any, ...]]]:
    """Returns the handler of dropped files."""
    predict = on_gpu(seconds=120)(predictor(models, settings))

    @plain_errors
    def work(
        files: list[str] | None,
        kind: Kind,
        microns: str,
        source: str,
        hand: dict[str, str] | None,
        *choice: Any,
    ) -> Iterator[tuple[Any, ...]]:
        """Yields the components that show the slide, its state and the file field after each batch."""
        if not files:
            yield *_show(None, to_choice(*choice)), None, None
            return
        slide = None
        try:
            for slide in predict(source, files, kind, typed_pixel_size(microns)):
                kept = slide.remember(hand or {})
                _, *nothing = nothing_shown()  # of the slide before
                yield _progress(slide), gr.Button(visible=True), *nothing, slide, None
            if slide is not None and kept:
                slide.note += f" {kept} named by hand before, {'which are' if kept > 1 else 'which is'} kept."
        except Exception as error:
            notice = render("notice.html", text=visitor_message(error), bad=True)
            yield notice, *nothing_shown(), None, None
            return
        finally:
            remove(files)
        yield *_show(slide, to_choice(*choice)), slide, None

    return work


def _show(
    slide: Slide | None, choice: Choice, keep: bool = False, rejected: Adaptation | None = None
) -> tuple[Any, ...]:
    """Returns what the components of `SlideTab.shown` show of a finished slide."""
    if slide is None or not (slide.cells or slide.fields):
        return waiting(), *nothing_shown()
    return (
        render("notice.html", text=describe_work(slide), bad=False),
        gr.Button(visible=False),
        render_laboratory(slide, choice),
        render_count(slide, choice),
        gr.skip() if keep else fields_value(slide),  # the browser keeps the field that it shows
        gr.Column(visible=True),
        gr.Button(visible=bool(slide.fields)),
        _rows(slide, choice, keep=keep),
        *show_adaptation(slide, choice, rejected),
    )


def _rows(slide: Slide, choice: Choice, **more: Any) -> dict[str, Any]:
    """Returns the value of the table of cells."""
    kinds = [(label, plain(label)) for label in slide.names_by_hand]
    parents = [(parent, plain(parent)) for parent in COARSE_LABELS]
    return {"rows": slide.rows(choice), "kinds": kinds, "parents": parents, **more}


def nothing_shown() -> tuple[Any, ...]:
    """Returns what the components of `SlideTab.shown` after the notice show without a slide."""
    others: tuple[Any, ...] = (
        gr.Button(visible=False),
        "",
        "",
        {},
        gr.Column(visible=False),
        gr.Button(visible=False),
        {},
    )
    return *others, *show_adaptation(None, to_choice("", 0, 0, [], False))


@plain_errors
def _show_again(slide: Slide | None, *choice: Any) -> tuple[Any, ...]:
    return _show(slide, to_choice(*choice), keep=True)


@plain_errors
def _stop(slide: Slide | None, *choice: Any) -> tuple[Any, ...]:
    if slide is not None:
        slide.stopped = True  # a thread still finishes what it was at
    return _show(slide, to_choice(*choice))


def _show_adapted(slide: Slide, choice: Choice, rejected: Adaptation | None = None) -> tuple[Any, ...]:
    return _show(slide, choice, keep=True, rejected=rejected)


@plain_errors
def _restore(slide: Slide | None, *options: Any) -> tuple[Any, ...]:
    held, choice = require_slide(slide), to_choice(*options)
    held.restore(choice.classifier)
    return *_show_adapted(held, choice), held


@plain_errors
def _correct(event: gr.EventData, slide: Slide | None, hand: dict[str, str] | None, *options: Any) -> tuple[Any, ...]:
    corrected, choice = require_slide(slide), to_choice(*options)
    corrected.correct(int(event.position), str(event.label), int(event.turn))
    of_slide = {cell.digest for cell in corrected.cells}
    others = {digest: label for digest, label in (hand or {}).items() if digest not in of_slide}
    shown = render_count(corrected, choice), *show_adaptation(corrected, choice)
    return *shown, corrected, others | corrected.hand_by_digest()


@plain_errors
def _turn(slide: Slide | None, event: gr.EventData) -> dict[str, Any]:
    """Shows another field."""
    return fields_value(require_slide(slide), int(event.field))


def _add(models: Models) -> Callable[..., tuple[Any, ...]]:
    """Returns the handler of a click on a cell that was missed."""

    @on_gpu(seconds=30)
    def ask(source: str, slide: Slide, field: int, place: tuple[float, float]) -> SlideCell:
        return ask_for_cell(models.get(source), slide, field, place)

    @plain_errors
    def add(event: gr.EventData, slide: Slide | None, source: str, *options: Any) -> tuple[Any, ...]:
        held = require_slide(slide)
        choice = to_choice(*options)
        field = int(event.field)
        try:
            cell = ask(source, held, field, (float(event.y), float(event.x)))
        except BCSamError as error:
            return gr.skip(), fields_value(held, field, said=str(error)), gr.skip(), gr.skip()
        before = len(held.cells)
        index = held.add_found(cell)
        value = fields_value(held, field, focus=index, said=describe_added(held, index, is_new=index == before))
        table = _rows(held, choice, keep=True, added=index if index == before else None)
        return render_count(held, choice), value, table, held

    return add


@plain_errors
def _large_picture(slide: Slide | None, event: gr.EventData) -> str:
    """Returns the position of a cell and its picture as JSON; an empty text if there is no such cell."""
    position = int(event.position)
    cells = [] if slide is None else slide.cells
    picture = cells[position].large() if 0 <= position < len(cells) else ""
    return json.dumps({"position": position, "file": cells[position].name, "picture": picture}) if picture else ""


@plain_errors
def _choose_kinds(slide: Slide | None, event: gr.EventData) -> Any:
    return gr.Dropdown(value=list(kinds_that_can_occur(str(event.kinds), require_slide(slide).labels)))


def _export(write: Callable[..., str], n_inputs: int) -> Callable[..., str]:
    """Returns the handler of an export button with a number of inputs of its own."""

    @plain_errors
    def export(slide: Slide | None, *inputs: Any) -> str:
        return write(require_slide(slide), to_choice(*inputs[n_inputs:]), *inputs[:n_inputs])

    return export


def _printed(slide: Slide, choice: Choice, *head: str) -> str:
    return render_report(slide, choice, datetime.now().strftime("%d %B %Y, %H:%M"), ReportHead(*head))


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
        "Drop the images of a slide: crops of one cell, or fields, in which the cells are found. You get the "
        "differential count and a table that lists the cells to look at first, where you can name them by hand; both "
        "can be saved."
    )
    return render("notice.html", text=text, bad=False)


def _progress(slide: Slide) -> str:
    done, expected = slide.processed, slide.expected
    return render("progress.html", text=f"{done:,} of {expected:,} images", done=done, expected=expected)
