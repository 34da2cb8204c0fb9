"""Shared by all tabs: the choice of model, classifier and thresholds, and error handling."""

import functools
import inspect
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import gradio as gr

from bc_sam.errors import BCSamError, DataError
from bc_sam.models.abstention import RejectionThresholds
from bc_sam.space.views.decision import Choice
from bc_sam.space.views.loaded_models import LoadedModel
from bc_sam.space.views.markup import plain

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Controls:
    """The components of the choice, rendered in the tab "Model" and read by all tabs.

    Attributes:
        source: The visitor's model; see `bc_sam.space.views.loaded_models.Models.get`.
        classifier: The classifier.
        probability: Minimum probability of a named cell, percent.
        ood: Maximum out-of-distribution score of a named cell, percent.
        labels: Labels that can occur; empty for all.
        count_all: Whether nucleated red cells and smudge cells count among the 100 %.
    """

    source: gr.State
    classifier: gr.Dropdown
    probability: gr.Slider
    ood: gr.Slider
    labels: gr.Dropdown
    count_all: gr.Checkbox

    @classmethod
    def create(cls, own: LoadedModel) -> "Controls":
        """Creates the components without rendering them."""
        thresholds = RejectionThresholds()
        return cls(
            gr.State(""),
            gr.Dropdown(
                classifier_choices(own),
                value=own.model.config.default_classifier,
                label="Classifier",
                info="Its prediction counts; all classifiers are shown side by side.",
                filterable=False,
                render=False,
            ),
            gr.Slider(
                0,
                100,
                100 * thresholds.probability,
                step=1,
                label="Minimum probability, %",
                info="Cells below it get no name and are left for review; so are those whose second name is close.",
                render=False,
            ),
            gr.Slider(
                50,
                100,
                100 * thresholds.ood,
                step=0.5,
                label="How unusual a named cell may be, %",
                info="Cells that look less like the training cells than this share of those look like one another get "
                "no name. At 100 no cell is too unusual.",
                render=False,
            ),
            gr.Dropdown(
                label_choices(own),
                value=list(own.model.config.allowed_labels),
                multiselect=True,
                label="Possible names",
                info="Select all that can occur on your slides, such as the classes that you count; no other name is "
                "given. If empty, all classes of the model.",
                elem_id="labels",
                render=False,
            ),
            gr.Checkbox(
                False,
                label="Count nucleated red cells and smudge cells among the 100 %",
                elem_id="count-all",
                render=False,
            ),
        )

    @property
    def choice(self) -> list[gr.components.Component]:
        """The inputs of `to_choice`."""
        return [self.classifier, self.probability, self.ood, self.labels, self.count_all]

    @property
    def changed(self) -> list[Callable[..., Any]]:
        """The events that a changed choice triggers."""
        inputs = [self.classifier.input, self.probability.release, self.ood.release, self.count_all.input]
        return [*inputs, self.labels.change]  # also by one click in the tab "A slide"


def to_choice(classifier: str, probability: float, ood: float, labels: list[str], count_all: bool) -> Choice:
    """Converts the values of `Controls.choice`."""
    return Choice(classifier, RejectionThresholds(probability / 100, ood / 100), tuple(labels), count_all)


def classifier_choices(loaded: LoadedModel) -> list[tuple[str, str]]:
    """Returns the display name and the name of each classifier of a model."""
    return [(plain(name), name) for name in loaded.model.classifiers]


def label_choices(loaded: LoadedModel) -> list[tuple[str, str]]:
    """Returns the display name and the name of each label that a model may predict."""
    return [(plain(label), label) for label in loaded.model.config.allowed_labels or loaded.model.labels]


def checked_choice(loaded: LoadedModel, classifier: str, probability: float, ood: float, labels: list[str]) -> Choice:
    """Validates a choice made through the API; an empty classifier is the model's default.

    Raises:
        gr.Error: If the classifier or a label is unknown, or a threshold is not a number from 0 to 1.
    """
    names = list(loaded.model.classifiers)
    if classifier and classifier not in names:
        raise gr.Error(f"Unknown classifier. Choose one of {', '.join(names)}.", print_exception=False)
    possible = [label for _, label in label_choices(loaded)]
    if not isinstance(labels, list) or any(label not in possible for label in labels):
        raise gr.Error(f"Unknown labels. Give a list of labels out of {', '.join(possible)}.", print_exception=False)
    name = classifier or loaded.model.config.default_classifier
    thresholds = RejectionThresholds(_share("least_probability", probability), _share("most_ood", ood))
    return Choice(name, thresholds, tuple(labels))


def checked_pixel_size(microns_per_pixel: Any) -> float | None:
    """Validates a pixel size given through the API; 0 measures it, as Gradio takes ``None`` for no default.

    Raises:
        gr.Error: If it is no number.
    """
    if microns_per_pixel is None or (microns_per_pixel == 0 and microns_per_pixel is not False):
        return None
    if isinstance(microns_per_pixel, bool) or not isinstance(microns_per_pixel, int | float):
        raise gr.Error("microns_per_pixel must be a number, such as 0.1, or 0 to measure it.", print_exception=False)
    return float(microns_per_pixel)


def typed_pixel_size(text: Any) -> float | None:
    """Returns the pixel size that a visitor typed, µm; ``None`` if the field is empty, or a program sent nothing.

    Raises:
        DataError: If it is no number.

    Example:
        >>> typed_pixel_size("0,1"), typed_pixel_size(" "), typed_pixel_size(None)
        (0.1, None, None)
    """
    text = "" if text is None else str(text)
    try:
        return float(text.replace(",", ".")) if text.strip() else None
    except ValueError:
        raise DataError(f"The pixel size of fields must be a number, such as 0.1, but is {text!r}.") from None


def _share(name: str, value: Any) -> float:
    """Validates a threshold given through the API."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or not 0 <= value <= 1:
        raise gr.Error(f"{name} must be a number from 0 to 1, such as 0.5 for 50 %.", print_exception=False)
    return float(value)


def plain_errors(function: Callable[..., Any]) -> Callable[..., Any]:
    """Shows the package's errors to visitors; any other error is only logged."""
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def generate(*inputs: Any) -> Iterator[Any]:
            try:
                yield from function(*inputs)
            except Exception as error:
                _raise_for_visitor(error)

        return generate

    @functools.wraps(function)
    def answer(*inputs: Any) -> Any:
        try:
            return function(*inputs)
        except Exception as error:
            _raise_for_visitor(error)

    return answer


def _raise_for_visitor(error: Exception) -> NoReturn:
    if isinstance(error, gr.Error):
        raise error
    raise gr.Error(visitor_message(error), print_exception=False) from None


def visitor_message(error: Exception) -> str:
    """Returns the message that a visitor sees; an error from outside the package is logged, without details."""
    if isinstance(error, BCSamError):
        return str(error)
    logger.error("The page failed.", exc_info=error)
    return "Something went wrong on our side and was logged. Please try again."


def api_options() -> list[gr.components.Component]:
    """Returns the options of both API endpoints, with their defaults.

    The thresholds are no `gr.Number`, whose error about a text tells visitors nothing; `checked_choice` checks them.
    """
    thresholds = RejectionThresholds()
    return [
        gr.Textbox("", label="classifier", visible=False),
        gr.JSON(str(thresholds.probability), label="least_probability", visible=False),
        gr.JSON(str(thresholds.ood), label="most_ood", visible=False),
        gr.JSON([], label="labels", visible=False),
    ]
