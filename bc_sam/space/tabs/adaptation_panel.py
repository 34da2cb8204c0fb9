"""The part of the slide tab in which a classifier learns from the cells that a visitor named."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from bc_sam.errors import DataError
from bc_sam.space.tabs.controls import plain_errors, to_choice
from bc_sam.space.views.adaptation_view import render_adaptation
from bc_sam.space.views.decision import Choice
from bc_sam.space.views.loaded_models import Models
from bc_sam.space.views.markup import render
from bc_sam.space.views.slide_adaptation import Adaptation, adapt, zip_model
from bc_sam.space.views.slide_view import Slide


@dataclass(frozen=True)
class AdaptationPanel:
    """The components of the panel.

    Attributes:
        box: All of them; hidden without a slide.
        said: What can be learned, or was.
        learn: The button that adapts the classifier.
        when_used: The buttons that follow, which are shown while an adapted classifier is used.
        restore: The button that returns to the classifier as it was.
        save: The button that downloads the adapted model.
    """

    box: gr.Column
    said: gr.HTML
    learn: gr.Button
    when_used: gr.Row
    restore: gr.Button
    save: gr.Button

    @classmethod
    def create(cls) -> "AdaptationPanel":
        """Creates and renders the components."""
        with gr.Column(visible=False, elem_id="adaptation") as box:
            said = gr.HTML("", elem_id="adaptation-said")
            learn = gr.Button("Adapt to the cells named by hand", size="sm", interactive=False, elem_id="adapt")
            with gr.Row(visible=False) as when_used:
                restore = gr.Button("Use the classifier as it was", size="sm")
                save = gr.Button("Save adapted model", size="sm")
        return cls(box, said, learn, when_used, restore, save)

    @property
    def shown(self) -> tuple[gr.blocks.Block, ...]:
        """The components that `show_adaptation` updates."""
        return self.box, self.said, self.learn, self.when_used


def show_adaptation(slide: Slide | None, choice: Choice, rejected: Adaptation | None = None) -> tuple[Any, ...]:
    """Returns what the components of `AdaptationPanel.shown` show of a slide."""
    if slide is None or not slide.can_adapt:
        return gr.Column(visible=False), "", gr.Button(interactive=False), gr.Row(visible=False)
    return (
        gr.Column(visible=True),
        render_adaptation(slide, choice, rejected),
        gr.Button(interactive=slide.named_cells(choice.classifier).are_enough),
        gr.Row(visible=slide.is_adapted(choice)),
    )


@plain_errors
def begin_learning(slide: Slide | None, *options: Any) -> tuple[str, gr.Button]:
    """Says that the classifier learns, in `said` and `learn` of the panel.

    This is an event of its own, since what a generator skips in a first step is sent again as it was before.
    """
    n = len(_held(slide).named_cells(to_choice(*options).classifier).labels)
    text = f"The classifier learns from {n} cells. This takes some seconds."
    return render("notice.html", text=text, bad=False), gr.Button(interactive=False)


def learner(models: Models, show: Callable[[Slide, Choice, Adaptation | None], tuple[Any, ...]]) -> Callable[..., Any]:
    """Returns the handler that adapts the classifier, a generator, since a function could not be cancelled.

    Args:
        models: The models of the page.
        show: Returns the updates of all components that show a slide, given an adaptation that is not used, if any.
    """

    @plain_errors
    def learn(slide: Slide | None, source: str, *options: Any) -> Iterator[tuple[Any, ...]]:
        held, choice = _held(slide), to_choice(*options)
        adaptation = adapt(models.get(source), choice.classifier, held.named_cells(choice.classifier))
        worse = adaptation.is_worse(choice, held.labels)
        if not worse:
            held.adopt(adaptation)
        yield *show(held, choice, adaptation if worse else None), held

    return learn


def _held(slide: Slide | None) -> Slide:
    if slide is None:
        raise DataError("This slide has expired. Drop it again.")
    return slide


def saver(models: Models) -> Callable[..., str]:
    """Returns the handler of the button that downloads the adapted model, which returns a zip in Base64."""

    @plain_errors
    def save(slide: Slide | None, source: str, *options: Any) -> str:
        choice = to_choice(*options)
        if slide is None or not slide.is_adapted(choice):
            raise DataError("There is no adapted model any more. Drop the slide again.")
        return zip_model(models.get(source), slide.adaptations[choice.classifier])

    return save
