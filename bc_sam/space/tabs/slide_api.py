"""The API endpoints for a slide: of crops, and of fields."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import gradio as gr

from bc_sam.space.server.gpu import on_gpu
from bc_sam.space.server.settings import PageSettings
from bc_sam.space.server.uploads import remove
from bc_sam.space.tabs.controls import api_options, checked_choice, checked_pixel_size, plain_errors
from bc_sam.space.views.decision import Choice
from bc_sam.space.views.field_inference import Kind
from bc_sam.space.views.loaded_models import Models
from bc_sam.space.views.slide_inference import predict_slide
from bc_sam.space.views.slide_view import Slide


def predictor(models: Models, settings: PageSettings) -> Callable[..., Iterator[Slide]]:
    """Returns what runs a model, given by its source, on uploaded files."""

    def predict(
        source: str,
        files: list[str],
        kind: Kind = "cells",
        microns_per_pixel: float | None = None,
        pictures: bool = True,
    ) -> Iterator[Slide]:
        yield from predict_slide(models.get(source), files, settings, kind, microns_per_pixel, pictures=pictures)

    return predict


def slide_api(models: Models, settings: PageSettings) -> None:
    """Adds the API endpoints ``name_slide`` and ``count_fields``; see ``space/README.md``."""
    predict = on_gpu(seconds=120)(predictor(models, settings))

    @plain_errors
    def name_slide(
        files: list[str] | None,
        classifier: str,
        least_probability: float,
        most_ood: float,
        labels: list[str],
        count_all: bool,
    ) -> dict[str, Any]:
        slide, choice = run(files, classifier, least_probability, most_ood, labels, count_all)
        return slide.as_json(choice)

    @plain_errors
    def count_fields(
        files: list[str] | None,
        classifier: str,
        least_probability: float,
        most_ood: float,
        labels: list[str],
        count_all: bool,
        microns_per_pixel: Any,
    ) -> dict[str, Any]:
        options = classifier, least_probability, most_ood, labels, count_all
        slide, choice = run(files, *options, kind="fields", microns_per_pixel=microns_per_pixel)
        return slide.as_json(choice) | {"fields": slide.fields_json()}

    def run(
        files: list[str] | None, *options: Any, kind: Kind = "cells", microns_per_pixel: Any = None
    ) -> tuple[Slide, Choice]:
        """Returns the slide, and how to show it by the options that both endpoints have."""
        if not files:
            raise gr.Error("No files were given. Upload a list of files.", print_exception=False)
        *checked, count_all = options
        try:
            choice = checked_choice(models.own, *checked)
            *_, slide = predict("", files, kind, checked_pixel_size(microns_per_pixel), False)
        finally:
            remove(files)
        return slide, replace(choice, count_all=bool(count_all))

    described = {
        name_slide: "Classifies the cells of many images, or of zips of them: the differential count with "
        "confidence intervals, and for each image its class or why none is given.",
        count_fields: "Finds and classifies the white cells of whole fields, or of zips of them: the differential "
        "count with confidence intervals, for each cell its field, box and class or why none is given, and for each "
        "field its scale, red cells and what is wrong with it.",
    }
    for endpoint, description in described.items():
        files = gr.File(label="files", file_count="multiple", visible=False)
        answer = gr.JSON(label="answer", visible=False)
        options = [*api_options(), gr.Checkbox(False, label="count_all", visible=False)]
        if endpoint is count_fields:
            options.append(gr.JSON("0", label="microns_per_pixel", visible=False))
        gr.Button(visible=False).click(
            endpoint,
            [files, *options],
            answer,
            api_name=endpoint.__name__,
            api_description=description,
            concurrency_id="slide",
            concurrency_limit=2,
        )
