"""The model card, rendered from the evaluation and training record with the template ``model_card.md``."""

import logging
import math
import re
from collections.abc import Collection, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import PackageLoader

from bc_sam.config.labels import LABELS
from bc_sam.config.model import BCSamConfig
from bc_sam.data.provenance import Provenance
from bc_sam.evaluation.bootstrap import evaluation_intervals, explain_ends
from bc_sam.evaluation.by_class import class_scores
from bc_sam.evaluation.costs import stage_costs
from bc_sam.evaluation.results import ALL, Evaluation, pool_dice
from bc_sam.evaluation.tables import calibration_errors, render_markdown
from bc_sam.models.card_merge import assemble, begin, end, merge_cards
from bc_sam.models.folder import CARD, FIGURES
from bc_sam.models.training_record import DataRecord, TrainingRecord
from bc_sam.utils.extras import install_command
from bc_sam.utils.markdown import markdown_cell
from bc_sam.utils.templates import markdown_templates

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

TAGS = ("bc_sam", "blood-cells", "haematology", "microscopy", "segment-anything", "lora", "domain-adaptation", "skops")

#: Metrics in the metadata, with their names on the Hub.
METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced_accuracy",
    "macro_f1": "f1",
    "calibration_error": "expected_calibration_error",
}


def write_card(
    folder: Path,
    config: BCSamConfig,
    evaluation: Evaluation | None,
    record: TrainingRecord | None,
    *,
    existing: str | None = None,
    repo_id: str | None = None,
    thumbnails: Mapping[str, int] | None = None,
) -> None:
    """Writes the card of a model folder and its figures, which require matplotlib.

    Args:
        folder: The model folder.
        config: Its config.
        evaluation: Evaluation of the model.
        record: How it was trained.
        existing: The existing card, whose manual edits are kept.
        repo_id: Id of the model on the Hub.
        thumbnails: See `render_card`.
    """
    pictures = _draw(folder / FIGURES, evaluation, _shown_classifier(config, evaluation))
    options: dict[str, Any] = {"repo_id": repo_id, "existing": existing, "thumbnails": thumbnails}
    card = render_card(config, evaluation, record, pictures=pictures, **options)
    (folder / CARD).write_text(card, encoding="utf-8")


def render_card(
    config: BCSamConfig,
    evaluation: Evaluation | None = None,
    record: TrainingRecord | None = None,
    *,
    repo_id: str | None = None,
    existing: str | None = None,
    pictures: Collection[str] = (),
    thumbnails: Mapping[str, int] | None = None,
) -> str:
    """Renders a model card.

    Args:
        config: The model's config.
        evaluation: Its evaluation; missing results are marked as such.
        record: How it was trained.
        repo_id: Id of the model on the Hub.
        existing: The existing card; everything outside its generated sections is kept.
        pictures: File names in the folder ``figures``.
        thumbnails: Number of stored thumbnails by laboratory.

    Returns:
        Markdown with YAML metadata, as the Hub reads it.

    Raises:
        BCSamError: If the metadata of the existing card cannot be read.

    Example:
        >>> "not a medical device" in render_card(BCSamConfig(base_inside=True))
        True
    """
    classifier = _shown_classifier(config, evaluation)
    name = (repo_id or "BC-SAM").rpartition("/")[2]
    intervals = evaluation_intervals(evaluation, classifier) if evaluation and evaluation.pairs else []
    text = _template().render(
        title=name,
        config=config,
        what_it_is=_what_it_is(config),
        what_it_sees=_what_it_sees(config),
        white=config.labels == LABELS,
        base=_base(config),
        plain_base=_plain_base(config),
        repo_id=repo_id or "path/to/this/folder",
        evaluation=evaluation,
        record=record,
        classifier=classifier,
        table=render_markdown(evaluation) if evaluation and evaluation.pairs else "",
        dice=pool_dice(evaluation.dice) if evaluation else [],
        costs=stage_costs(evaluation.timings) if evaluation else {},
        environment=evaluation.environment if evaluation else {},
        per_class=list(_per_class(evaluation, classifier)),
        intervals=intervals,
        interval_note=explain_ends(one for pair in intervals for one in pair.metrics.values()),
        calibration=calibration_errors(evaluation) if evaluation else [],
        missing=list(evaluation.missing()) if evaluation else [],
        pictures=pictures,
        thumbnails=list(thumbnail_licences(thumbnails or {}, record)),
    )
    text = re.sub(r"\n{3,}", "\n\n", text)
    card = assemble(_metadata(config, evaluation, record, name, classifier), text)
    return card if existing is None else merge_cards(card, existing)


def _what_it_sees(config: BCSamConfig) -> str:
    """Describes what the network sees of an image."""
    size = config.network.input_size if config.network else config.image_size
    square = f"{size} x {size} px"
    turns = "; the embedding is the mean over its four orientations" if config.average_turns else ""
    if config.normalization is None:
        return f"resized to {square}{turns}"
    return (
        f"brought to one scale and light: {square} of {config.normalization.field_of_view:g} µm, centred on the white "
        f"cell; the pixel size is measured from the red cells unless `microns_per_pixel` is given{turns}"
    )


def card_pictures(evaluation: Evaluation, classifier: str) -> dict[str, "Figure"]:
    """Returns the figures of a card by file name."""
    from bc_sam.evaluation import plots

    figures = {"cross_domain.png": plots.cross_domain_bars(evaluation)}
    for number, (source, target) in enumerate(_shipped(evaluation), 1):
        matrix = evaluation.confusion(classifier, source, target)
        title = f"{classifier}: trained on {source}, tested on {target}"
        figures[f"confusion_{number}.png"] = plots.confusion_matrix(matrix, evaluation.labels, title)
    diagram = plots.reliability_diagram(evaluation, classifier, evaluation.domain_pairs)
    return figures if diagram is None else {**figures, "calibration.png": diagram}


def _draw(folder: Path, evaluation: Evaluation | None, classifier: str) -> list[str]:
    """Saves the figures to a folder and returns their file names."""
    if evaluation is None or not evaluation.pairs:
        return []
    if find_spec("matplotlib") is None:
        logger.warning(
            "matplotlib is not installed, so the card has no figures. Run: %s", install_command("matplotlib")
        )
        return []
    from bc_sam.evaluation.plots import to_png

    folder.mkdir()
    figures = card_pictures(evaluation, classifier)
    for name, figure in figures.items():
        (folder / name).write_bytes(to_png(figure))
    return list(figures)


def _template() -> Any:
    # Not autoescaped, as this is Markdown: user input goes through the filters `cell`, `readable` or `verbatim`.
    environment = markdown_templates(PackageLoader("bc_sam.models"))
    environment.filters |= {
        "readable": lambda label: markdown_cell(label.replace("_", " ")),
        "verbatim": lambda text: re.sub(r"```|<!--|-->", "", text),
    }
    environment.globals |= {
        "begin": begin,
        "end": end,
        "laboratory": _laboratory,
        "stated": _stated,
        "unknown": Provenance(""),
    }
    return environment.get_template("model_card.md")


def _laboratory(data: DataRecord) -> str:
    """Returns the laboratory of a data set, with a link to the data."""
    if data.provenance is None:
        return _link(data.hub_id, f"https://huggingface.co/datasets/{data.hub_id}") if data.hub_id else "not described"
    provenance = data.provenance
    title = _link(provenance.title, provenance.homepage)
    return f"{title}, {markdown_cell(provenance.laboratory)}" if provenance.laboratory else title


def thumbnail_licences(counts: Mapping[str, int], record: TrainingRecord | None) -> Iterator[tuple[str, int, str]]:
    """Yields name, number of thumbnails and licence of each laboratory that has thumbnails."""
    provenances = {data.name: data.provenance for data in record.data} if record else {}
    for name, count in counts.items():
        provenance = provenances.get(name)
        yield name, count, provenance.licence if provenance else ""


def _stated(fact: str) -> str:
    return markdown_cell(fact or "not stated")


def _link(text: str, address: str) -> str:
    if not address.startswith("https://"):
        return markdown_cell(text)
    return f"[{markdown_cell(text)}]({quote(address, safe=':/?=&#%')})"


def _base(config: BCSamConfig) -> str:
    if config.base is None:
        return "custom SAM, in `base/`"
    revision = f" at `{config.base_revision}`" if config.base_revision else ""
    return f"[{config.base}](https://huggingface.co/{config.base}){revision}"


def _what_it_is(config: BCSamConfig) -> str:
    """Describes a comparison network in a sentence or two."""
    network = config.network
    if network is None:
        return ""
    methods = {
        "slca": "[SLCA](https://arxiv.org/abs/2505.06217): the features of a frozen Segment Anything weight the "
        "channels of an image classifier at each position",
        "shape-aware": "the shape-aware network of [Wang et al.](https://arxiv.org/abs/2212.13695): one backbone for "
        "the image, another for the mask, combined by shape attention",
        "resnet": "a fine-tuned image classifier",
    }
    without = "" if network.ablation == "nothing" else f" This is the ablation without {network.ablation}."
    return (
        f"Classifies single blood cells by {methods[network.method]}.{without} Part of the library `bc_sam`, as a "
        "comparison method for [BC-SAM](https://arxiv.org/abs/2408.06716)."
    )


def _tags(config: BCSamConfig) -> list[str]:
    """Returns the tags of a model, without those specific to BC-SAM for other methods."""
    specific = ("segment-anything", "lora", "domain-adaptation", "skops")
    if config.network is None:
        return list(TAGS)
    return [*(tag for tag in TAGS if tag not in specific), config.network.method]


def _plain_base(config: BCSamConfig) -> str:
    """Returns the arguments of `SamModel.from_pretrained` for the base, as Python source."""
    if config.base_inside:
        return '"base"'
    return f'"{config.base}"' + (f', revision="{config.base_revision}"' if config.base_revision else "")


def _shown_classifier(config: BCSamConfig, evaluation: Evaluation | None) -> str:
    measured = evaluation.classifiers if evaluation else []
    return config.default_classifier if config.default_classifier in measured or not measured else measured[0]


def _shipped(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Returns the domain pairs whose source is that of the shipped classifiers: all laboratories together."""
    sources = [source for source, _ in evaluation.domain_pairs]
    shipped = ALL if ALL in sources else sources[-1]
    return [pair for pair in evaluation.domain_pairs if pair.source == shipped]


def _per_class(evaluation: Evaluation | None, classifier: str) -> Iterator[dict[str, Any]]:
    """Yields precision, recall and F1 of each class, percent, for each domain pair of the shipped classifiers."""
    if evaluation is None or not evaluation.pairs:
        return
    for source, target in _shipped(evaluation):
        rows = class_scores(evaluation.confusion(classifier, source, target), evaluation.labels)
        yield {"source": source, "target": target, "rows": rows}


def _metadata(
    config: BCSamConfig, evaluation: Evaluation | None, record: TrainingRecord | None, name: str, classifier: str
) -> dict[str, Any]:
    """Returns the metadata for the Hub: tags, base, data sets and results."""
    hub_ids = [data.hub_id for data in record.data if data.hub_id] if record else []
    results = list(_eval_results(evaluation, classifier)) if evaluation else []
    optional: dict[str, Any] = {}
    if config.base is not None:
        relation = "adapter" if config.network is None else "finetune"
        optional |= {"base_model": config.base, "base_model_relation": relation}
    if hub_ids:
        optional["datasets"] = hub_ids
    if results:
        metrics = list(dict.fromkeys(result.metric_type for result in results))
        optional |= {"eval_results": results, "model_name": name, "metrics": metrics}
    data = ModelCardData(
        library_name="bc_sam",
        pipeline_tag="image-classification",
        license="apache-2.0",
        tags=_tags(config),
        **optional,
    )
    return data.to_dict()


def _eval_results(evaluation: Evaluation, classifier: str) -> Iterator[EvalResult]:
    """Yields the mean results of one classifier over the folds, for every domain pair."""
    for source, target in evaluation.domain_pairs:
        for measure, metric in METRICS.items():
            value = _measured(evaluation, classifier, source, target, measure)
            if math.isnan(value):
                continue
            yield EvalResult(
                task_type="image-classification",
                task_name="Blood cell classification",
                dataset_type=re.sub(r"[^\w.-]+", "-", target),
                dataset_name=target,
                dataset_config=f"trained on {source}, tested on {target}",
                dataset_split=f"{evaluation.protocol}, folds of seed {evaluation.seed}",
                metric_type=metric,
                metric_name=f"{measure} of {classifier}",
                metric_value=round(value, 4),
            )


def _measured(evaluation: Evaluation, classifier: str, source: str, target: str, measure: str) -> float:
    if measure == "calibration_error":
        return evaluation.calibration_error(classifier, source, target)
    return evaluation.mean_std(classifier, source, target, measure)[0]
