"""The tab on the model: which one, its classifier, and when it abstains."""

import gradio as gr

from bc_sam.config.model import BCSamConfig
from bc_sam.space.server.settings import PageSettings
from bc_sam.space.tabs import cell_tab, slide_tab
from bc_sam.space.tabs.controls import Controls, classifier_choices, label_choices, visitor_message
from bc_sam.space.views.loaded_models import LoadedModel, Models
from bc_sam.space.views.markup import plain, render


def model_tab(
    models: Models, settings: PageSettings, controls: Controls, cell: cell_tab.CellTab, slide: slide_tab.SlideTab
) -> None:
    """Builds the tab."""
    with gr.Row(equal_height=False):
        with gr.Column(min_width=300):
            gr.Markdown("### How cells are classified")
            controls.classifier.render()
            controls.probability.render()
            controls.ood.render()
            controls.labels.render()
        with gr.Column(min_width=300):
            gr.Markdown("### Model in use")
            where = "Id on the Hub, such as owner/name" + ("" if settings.public else "; or a folder on this computer")
            source = gr.Textbox(label="Model", info=where, placeholder=models.own.name, max_lines=1, elem_id="source")
            load = gr.Button("Load this model", size="sm")
            notice = gr.HTML("", elem_id="model-notice")
            facts = gr.HTML(render_facts(models.own), elem_id="facts")

    def load_model(requested: str, hand: dict[str, str] | None) -> tuple[object, ...]:
        """Returns the updates of `outputs`; results of the previous model are cleared."""
        try:
            loaded = models.get(requested)
        except Exception as error:
            return render("notice.html", text=visitor_message(error), bad=True), *[gr.skip()] * (len(outputs) - 1)
        classifier = gr.Dropdown(classifier_choices(loaded), value=loaded.model.config.default_classifier)
        text = f"{loaded.name} is loaded. Drop in cells."
        if hand:
            text += f" The names that you gave {len(hand)} images by hand are kept: drop these again to see them."
        loaded_notice = render("notice.html", text=text, bad=False)
        labels = gr.Dropdown(label_choices(loaded), value=list(loaded.model.config.allowed_labels))
        empty: tuple[object, ...] = (slide_tab.waiting(), *slide_tab.nothing_shown())
        return (
            loaded_notice,
            render_facts(loaded),
            classifier,
            labels,
            requested,
            cell_tab.waiting(),
            None,
            None,
            *empty,
        )

    choice = controls.classifier, controls.labels, controls.source
    outputs = [notice, facts, *choice, cell.answer, cell.view, slide.slide, *slide.shown]
    for event in (load.click, source.submit):
        event(
            load_model,
            [source, slide.hand],
            outputs,
            api_visibility="private",
            cancels=slide.learned,
            concurrency_id="load",
            concurrency_limit=2,
        )


def _weights(config: BCSamConfig) -> str:
    return ", ".join(f"{plain(label).lower()} (x {weight:g})" for label, weight in config.label_weights.items())


def render_facts(loaded: LoadedModel) -> str:
    """Returns a summary of a model as HTML."""
    config = loaded.model.config
    has_sam = config.network is None or config.network.needs_sam
    stored = loaded.model.reference
    facts = {
        "Model": loaded.name,
        "Classes": ", ".join(plain(label).lower() for label in config.labels),
        "Laboratories": ", ".join(config.domains) or "not recorded",
        "Classifiers": "; ".join(plain(name) for name in loaded.model.classifiers),
        **({"Expected more often": _weights(config)} if config.label_weights else {}),
        "Segment Anything": config.base or ("custom, included" if has_sam else "none"),
        "Input": f"{config.image_size} x {config.image_size} pixels, embedded in {config.latent_dim} dimensions",
        "Reference cells": f"{len(stored.latents):,}" if stored else "none",
    }
    return render("model.html", facts=facts)
