"""The part of the page about laboratories: the map, the table from one to another, the card."""

from collections.abc import Iterator

import gradio as gr

from bc_sam.evaluation.tables import cross_domain_table, displayed_metrics, footnotes
from bc_sam.space.tabs.controls import Controls, plain_errors
from bc_sam.space.views.cell_view import CellView
from bc_sam.space.views.latent_map import groups
from bc_sam.space.views.loaded_models import LoadedModel, Models
from bc_sam.space.views.markup import plain, render
from bc_sam.space.views.slide_view import Slide

#: Most of a visitor's cells that are drawn: more would hide the map.
_OWN = 200


def laboratories_tab(tab: gr.Tab, models: Models, controls: Controls, view: gr.State, slide: gr.State) -> None:
    """Lays out the part, inside of a tab; it is filled when the tab is opened."""
    page = gr.HTML("", elem_id="laboratories")
    with gr.Accordion("The card of the model", open=False):
        card = gr.Markdown("", elem_id="card", latex_delimiters=[])

    @plain_errors
    def fill(source: str, view: CellView | None, slide: Slide | None) -> tuple[str, str]:
        loaded = models.get(source)
        return render_laboratories(loaded, view, slide), loaded.card

    tab.select(fill, [controls.source, view, slide], [page, card], api_visibility="private", concurrency_limit=2)


def render_laboratories(loaded: LoadedModel, view: CellView | None = None, slide: Slide | None = None) -> str:
    """Returns the map with a visitor's cells, and the table, as HTML."""
    own = [*_own_cells(view, slide)]
    evaluation = loaded.model.evaluation
    measured = evaluation if evaluation is not None and evaluation.pairs else None
    return render(
        "laboratories.html",
        **_maps(loaded, own[:_OWN]),
        more=max(0, len(own) - _OWN),
        tables=[cross_domain_table(measured, metric) for metric in displayed_metrics(measured)] if measured else [],
        notes=footnotes(measured) if measured else [],
    )


def _maps(loaded: LoadedModel, own: list[tuple]) -> dict[str, object]:
    drawn = loaded.map
    if drawn is None:
        return {"maps": [], "own": [], "stored": 0, "method": ""}
    known = drawn.ood_score.reference
    placed = [(*drawn.place(latent), number, text) for number, (latent, text) in enumerate(own, 1)]
    return {
        "maps": [
            ("class", list(groups(drawn.points, known.labels, loaded.model.labels))),
            ("laboratory", list(groups(drawn.points, known.domains, loaded.model.config.domains))),
        ],
        "own": placed,
        "stored": len(drawn.points),
        "method": drawn.method,
    }


def _own_cells(view: CellView | None, slide: Slide | None) -> Iterator[tuple]:
    """Embedding and name of each cell that the visitor gave."""
    if view is not None:
        yield view.embedding, view.name
    for place, cell in enumerate(slide.cells if slide else ()):
        if cell.embedding is not None:
            hand = slide.hand.get(place) if slide else None
            yield cell.embedding, f"{cell.name}, {plain(hand)}" if hand else cell.name
