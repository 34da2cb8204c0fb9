"""What every part of the page shares: the visitor's choice of a model and how it names, and plain errors."""

import functools
import inspect
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import gradio as gr

from bc_sam.errors import BCSamError
from bc_sam.models.abstention import Limits
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
        novelty: Most novelty of a named cell, percent.
        among: Labels that are possible; none chosen for all.
    """

    source: gr.State
    classifier: gr.Dropdown
    probability: gr.Slider
    novelty: gr.Slider
    among: gr.Dropdown

    @classmethod
    def create(cls, own: LoadedModel) -> "Controls":
        """Makes the components, to be drawn later."""
        limits = Limits()
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
                100 * limits.probability,
                step=1,
                label="Least probability, %",
                info="Below it a cell gets no name and is left to you.",
                render=False,
            ),
            gr.Slider(
                50,
                100,
                100 * limits.novelty,
                step=0.5,
                label="Most novelty, %",
                info="A cell that is farther from the known cells than so many of those are from one another gets no "
                "name. At 100 all get one.",
                render=False,
            ),
            gr.Dropdown(
                label_choices(own),
                value=list(own.model.config.among),
                multiselect=True,
                label="Possible names",
                info="Choose all that can occur on your slides, such as the kinds that you count, and nothing else is "
                "said. None chosen: every name that the model knows.",
                elem_id="among",
                render=False,
            ),
        )

    @property
    def choice(self) -> list[gr.components.Component]:
        """The inputs of `to_choice`."""
        return [self.classifier, self.probability, self.novelty, self.among]

    @property
    def changed(self) -> list[Callable[..., Any]]:
        """The events that tell of another choice by the visitor."""
        return [self.classifier.input, self.probability.release, self.novelty.release, self.among.input]


def to_choice(classifier: str, probability: float, novelty: float, among: list[str]) -> Choice:
    """Reads the components of `Controls.choice`."""
    return Choice(classifier, Limits(probability / 100, novelty / 100), tuple(among))


def classifier_choices(loaded: LoadedModel) -> list[tuple[str, str]]:
    """Returns the classifiers of a model, each as it is shown and as it is called."""
    return [(plain(name), name) for name in loaded.model.classifiers]


def label_choices(loaded: LoadedModel) -> list[tuple[str, str]]:
    """Returns the labels that a model chooses among, each as it is shown and as it is called."""
    return [(plain(label), label) for label in loaded.model.config.among or loaded.model.labels]


def checked_choice(
    loaded: LoadedModel, classifier: str, probability: float, novelty: float, among: list[str]
) -> Choice:
    """Reads a choice that came over the API; an empty classifier is the model's own.

    Raises:
        gr.Error: If there is no such classifier, or label.
    """
    names = list(loaded.model.classifiers)
    if classifier and classifier not in names:
        raise gr.Error(f"There is no such classifier; choose one of {', '.join(names)}.", print_exception=False)
    labels = [label for _, label in label_choices(loaded)]
    if not isinstance(among, list) or any(label not in labels for label in among):
        raise gr.Error(f"The labels are a list of some of {', '.join(labels)}.", print_exception=False)
    chosen = classifier or loaded.model.config.default_classifier
    return Choice(chosen, Limits(probability, novelty), tuple(among))


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


def local_files_only(field: gr.File) -> gr.File:
    """Keeps a caller of the API from having the server fetch an address, of any size, in the place of an upload."""

    async def refuse(path: Any) -> str | None:
        if "://" in str(path):
            raise gr.Error("Upload the file itself.", print_exception=False)
        return await move(path)

    move = field.async_move_resource_to_block_cache
    field.async_move_resource_to_block_cache = refuse  # type: ignore[method-assign, assignment]
    return field


def api_options() -> list[gr.components.Component]:
    """The options that both calls of the API have, with their defaults."""
    limits = Limits()
    return [
        gr.Textbox("", label="classifier", visible=False),
        gr.Number(limits.probability, label="least_probability", visible=False),
        gr.Number(limits.novelty, label="most_novelty", visible=False),
        gr.JSON([], label="among", visible=False),
    ]
