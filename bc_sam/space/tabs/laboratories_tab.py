"""The tab on laboratories: latent map, cross-laboratory table, model card."""

from collections.abc import Iterator

import gradio as gr

from bc_sam.evaluation.tables import cross_domain_table, displayed_metrics, footnotes
from bc_sam.space.tabs.controls import Controls, plain_errors
from bc_sam.space.views.cell_view import CellView
from bc_sam.space.views.latent_map import groups
from bc_sam.space.views.loaded_models import LoadedModel, Models
from bc_sam.space.views.markup import plain, render
from bc_sam.space.views.slide_view import Slide

#: Maximum number of a visitor's cells on the map, which more would hide.
_MAX_OWN_CELLS = 200


_DRAWING = "The map of the training cells appears here. Drawing it takes some seconds, the first time."


def laboratories_tab(tab: gr.Tab, models: Models, controls: Controls, view: gr.State, slide: gr.State) -> None:
    """Builds the tab; its content is rendered when the tab is opened."""
    page = gr.HTML(render("notice.html", text=_DRAWING, bad=False), elem_id="laboratories")
    with gr.Accordion("Model card", open=False):
        card = gr.Markdown("", elem_id="card", latex_delimiters=[])

    @plain_errors
    def fill(source: str, view: CellView | None, slide: Slide | None) -> tuple[str, str]:
        loaded = models.get(source)
        return render_laboratories(loaded, view, slide), loaded.card

    tab.select(fill, [controls.source, view, slide], [page, card], api_visibility="private", concurrency_limit=2)


def render_laboratories(loaded: LoadedModel, view: CellView | None = None, slide: Slide | None = None) -> str:
    """Returns the map with a visitor's cells and the cross-laboratory table, as HTML."""
    own = [*_own_cells(view, slide)]
    evaluation = loaded.model.evaluation
    evaluated = evaluation if evaluation is not None and evaluation.pairs else None
    return render(
        "laboratories.html",
        **_maps(loaded, own[:_MAX_OWN_CELLS]),
        more=max(0, len(own) - _MAX_OWN_CELLS),
        tables=[cross_domain_table(evaluated, metric) for metric in displayed_metrics(evaluated)] if evaluated else [],
        notes=footnotes(evaluated) if evaluated else [],
    )


def _maps(loaded: LoadedModel, own: list[tuple]) -> dict[str, object]:
    latent_map = loaded.map
    if latent_map is None:
        return {"maps": [], "own": [], "stored": 0, "method": ""}
    reference = latent_map.ood_score.reference
    placed = [(*latent_map.place(latent), number, text) for number, (latent, text) in enumerate(own, 1)]
    return {
        "maps": [
            ("class", list(groups(latent_map.points, reference.labels, loaded.model.labels))),
            ("laboratory", list(groups(latent_map.points, reference.domains, loaded.model.config.domains))),
        ],
        "own": placed,
        "stored": len(latent_map.points),
        "method": latent_map.method,
    }


def _own_cells(view: CellView | None, slide: Slide | None) -> Iterator[tuple]:
    """Yields the embedding and name of each of the visitor's cells."""
    if view is not None:
        yield view.embedding, view.name
    for index, cell in enumerate(slide.cells if slide else ()):
        if cell.embedding is not None and not (slide and slide.is_withdrawn(index)):
            hand = slide.hand.get(index) if slide else None
            yield cell.embedding, f"{cell.name}, {plain(hand)}" if hand else cell.name
