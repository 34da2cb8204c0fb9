"""What every part of the page shares: the visitor's choice of a model and how it names, and plain errors."""

import functools
import inspect
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import gradio as gr

from bc_sam.errors import BCSamError
from bc_sam.models.abstention import RejectionThresholds
from bc_sam.space.views.decision import Choice
from bc_sam.space.views.loaded_models import LoadedModel
from bc_sam.space.views.markup import plain

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Controls:
    """The components of the choice. They are drawn under "Model", and read everywhere.

    Attributes:
        source: The model, as `bc_sam.space.views.loaded_models.Models.get` takes it; a visitor's own.
        classifier: Its classifier.
        probability: Least probability of a name, percent.
        ood: Highest out-of-distribution score of a named cell, percent.
        labels: Labels that can occur; none chosen for all.
    """

    source: gr.State
    classifier: gr.Dropdown
    probability: gr.Slider
    ood: gr.Slider
    labels: gr.Dropdown

    @classmethod
    def create(cls, own: LoadedModel) -> "Controls":
        """Makes the components, to be drawn later."""
        thresholds = RejectionThresholds()
        return cls(
            gr.State(""),
            gr.Dropdown(
                classifier_choices(own),
                value=own.model.config.default_classifier,
                label="Classifier",
                info="It gives the name; all of them are shown side by side.",
                filterable=False,
                render=False,
            ),
            gr.Slider(
                0,
                100,
                100 * thresholds.probability,
                step=1,
                label="Least probability, %",
                info="Below it a cell gets no name and is left to you.",
                render=False,
            ),
            gr.Slider(
                50,
                100,
                100 * thresholds.ood,
                step=0.5,
                label="Highest out-of-distribution score, %",
                info="A cell that is farther from the reference cells than this share of those are from one another "
                "gets no name. At 100 this rejects none.",
                render=False,
            ),
            gr.Dropdown(
                label_choices(own),
                value=list(own.model.config.allowed_labels),
                multiselect=True,
                label="Possible labels",
                info="Choose all that can occur on your slides, such as the classes that you count; no other name is "
                "given. None chosen: every label of the model.",
                elem_id="labels",
                render=False,
            ),
        )

    @property
    def choice(self) -> list[gr.components.Component]:
        """The inputs of `to_choice`."""
        return [self.classifier, self.probability, self.ood, self.labels]

    @property
    def changed(self) -> list[Callable[..., Any]]:
        """The events that tell of another choice by the visitor."""
        return [self.classifier.input, self.probability.release, self.ood.release, self.labels.input]


def to_choice(classifier: str, probability: float, ood: float, labels: list[str]) -> Choice:
    """Reads the components of `Controls.choice`."""
    return Choice(classifier, RejectionThresholds(probability / 100, ood / 100), tuple(labels))


def classifier_choices(loaded: LoadedModel) -> list[tuple[str, str]]:
    """Returns the classifiers of a model, each as it is shown and as it is called."""
    return [(plain(name), name) for name in loaded.model.classifiers]


def label_choices(loaded: LoadedModel) -> list[tuple[str, str]]:
    """Returns the labels that a model may predict, each as it is shown and as it is called."""
    return [(plain(label), label) for label in loaded.model.config.allowed_labels or loaded.model.labels]


def checked_choice(loaded: LoadedModel, classifier: str, probability: float, ood: float, labels: list[str]) -> Choice:
    """Reads a choice that came over the API; an empty classifier is the model's own.

    Raises:
        gr.Error: If there is no such classifier, or label.
    """
    names = list(loaded.model.classifiers)
    if classifier and classifier not in names:
        raise gr.Error(f"There is no such classifier; choose one of {', '.join(names)}.", print_exception=False)
    possible = [label for _, label in label_choices(loaded)]
    if not isinstance(labels, list) or any(label not in possible for label in labels):
        raise gr.Error(f"The labels are a list of some of {', '.join(possible)}.", print_exception=False)
    chosen = classifier or loaded.model.config.default_classifier
    return Choice(chosen, RejectionThresholds(probability, ood), tuple(labels))


def plain_errors(function: Callable[..., Any]) -> Callable[..., Any]:
    """Makes the package's errors those of the page. Of any other a visitor learns nothing; the log has it."""
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def generate(*inputs: Any) -> Iterator[Any]:
            try:
                yield from function(*inputs)
            except Exception as error:
                _tell(error)

        return generate

    @functools.wraps(function)
    def answer(*inputs: Any) -> Any:
        try:
            return function(*inputs)
        except Exception as error:
            _tell(error)

    return answer


def _tell(error: Exception) -> NoReturn:
    if isinstance(error, gr.Error):
        raise error
    raise gr.Error(told(error), print_exception=False) from None


def told(error: Exception) -> str:
    """Returns what a visitor is told of an error: nothing of one that is not the package's own, which is logged."""
    if isinstance(error, BCSamError):
        return str(error)
    logger.error("The page failed.", exc_info=error)
    return "Something went wrong here. It was noted; please try again."


def api_options() -> list[gr.components.Component]:
    """The options that both calls of the API have, with their defaults."""
    thresholds = RejectionThresholds()
    return [
        gr.Textbox("", label="classifier", visible=False),
        gr.Number(thresholds.probability, label="least_probability", visible=False),
        gr.Number(thresholds.ood, label="most_ood", visible=False),
        gr.JSON([], label="labels", visible=False),
    ]
