"""The part of the page about the model: which one, how it names, when it gives no name."""

import gradio as gr

from bc_sam.space.server.settings import PageSettings
from bc_sam.space.tabs import cell_tab, slide_tab
from bc_sam.space.tabs.controls import Controls, classifier_choices, label_choices, told
from bc_sam.space.views.loaded_models import LoadedModel, Models
from bc_sam.space.views.markup import plain, render


def model_tab(
    models: Models, settings: PageSettings, controls: Controls, cell: cell_tab.CellTab, slide: slide_tab.SlideTab
) -> None:
    """Lays out the part, inside of a tab."""
    with gr.Row(equal_height=False):
        with gr.Column(min_width=300):
            gr.Markdown("### How cells are named")
            controls.classifier.render()
            controls.probability.render()
            controls.ood.render()
            controls.labels.render()
        with gr.Column(min_width=300):
            gr.Markdown("### Which model names them")
            where = "Id on the Hub, such as owner/name" + ("" if settings.public else "; or a folder of this computer")
            source = gr.Textbox(label="Model", info=where, placeholder=models.own.name, max_lines=1, elem_id="source")
            load = gr.Button("Load this model", size="sm")
            notice = gr.HTML("", elem_id="model-notice")
            facts = gr.HTML(render_facts(models.own), elem_id="facts")

    def load_model(wanted: str) -> tuple[object, ...]:
        """Notice, facts, classifier and the visitor's model; what was named by the one before is taken away."""
        try:
            loaded = models.get(wanted)
        except Exception as error:
            return render("notice.html", text=told(error), bad=True), *[gr.skip()] * (len(outputs) - 1)
        classifier = gr.Dropdown(classifier_choices(loaded), value=loaded.model.config.default_classifier)
        said = render("notice.html", text=f"{loaded.name} is loaded. Give it cells.", bad=False)
        labels = gr.Dropdown(label_choices(loaded), value=list(loaded.model.config.allowed_labels))
        empty: tuple[object, ...] = (slide_tab.waiting(), gr.Button(visible=False), "", gr.Row(visible=False), {})
        return said, render_facts(loaded), classifier, labels, wanted, cell_tab.waiting(), None, None, *empty

    chosen = controls.classifier, controls.labels, controls.source
    outputs = [notice, facts, *chosen, cell.answer, cell.view, slide.slide, *slide.shown]
    for event in (load.click, source.submit):
        event(load_model, source, outputs, api_visibility="private", concurrency_id="load", concurrency_limit=2)


def render_facts(loaded: LoadedModel) -> str:
    """Returns what a model is, as HTML."""
    config = loaded.model.config
    stored = loaded.model.reference
    facts = {
        "Model": loaded.name,
        "Cells": ", ".join(plain(label).lower() for label in config.labels),
        "Laboratories": ", ".join(config.domains) or "not told",
        "Classifiers": "; ".join(plain(name) for name in loaded.model.classifiers),
        "Segment Anything": config.base or ("one of its own" if loaded.model.sam else "none"),
        "It sees": f"squares of {config.image_size} pixels, compressed into {config.latent_dim} numbers",
        "Reference cells": f"{len(stored.latents):,}" if stored else "none",
    }
    return render("model.html", facts=facts)
