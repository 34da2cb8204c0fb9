"""The answer for one cell: its name or why it has none, what was seen, every classifier, the most similar cells."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bc_sam.classifiers.ood import Neighbour
from bc_sam.data.batches import Batch
from bc_sam.data.images import read_image, to_square
from bc_sam.models.abstention import Assessment, Reason, agreement, image_reasons, shows_cell
from bc_sam.models.inspection import Inspection
from bc_sam.space.server.settings import PageSettings
from bc_sam.space.server.uploads import read_file
from bc_sam.space.views.decision import Choice
from bc_sam.space.views.loaded_models import LoadedModel
from bc_sam.space.views.markup import render
from bc_sam.space.views.pictures import LARGE, as_uri, fit, outlined

_TOP = 5


@dataclass(frozen=True)
class CellView:
    """A cell that was looked at, with what is shown of it; enough to name it again by another classifier.

    Attributes:
        name: Its file name.
        picture: The image with the outline, as a data URI.
        crop: What the autoencoder saw, likewise.
        rebuilt: What it made of it, likewise.
        labels: Class names.
        domains: Laboratories of the model.
        latent: (d,) float32.
        probabilities: For each classifier (n_labels,).
        novelty: See `bc_sam.classifiers.ood.NoveltyScale`; ``None`` where it cannot be told.
        from_image: What the picture gives to doubt.
        shows_cell: Whether a cell was found at all; without one, what classifiers say means nothing.
        similar: The stored cells that are most like it.
    """

    name: str
    picture: str
    crop: str
    rebuilt: str
    labels: tuple[str, ...]
    domains: tuple[str, ...]
    latent: np.ndarray
    probabilities: dict[str, np.ndarray]
    novelty: float | None
    from_image: tuple[Reason, ...]
    shows_cell: bool
    similar: tuple[Neighbour, ...]


def view_cell(loaded: LoadedModel, source: Any, name: str, settings: PageSettings) -> CellView:
    """Reads an image, looks at the cell in it and draws what is shown.

    Args:
        loaded: The model.
        source: A path, or an image.
        name: What to call it, also in an error.
        settings: What is allowed.

    Raises:
        ImageError: If it cannot be read.
    """
    image = read_image(source, max_pixels=settings.max_pixels)
    pixels = to_square(image, loaded.model.config.image_size)[None]
    (seen,) = loaded.inspect(Batch([name], [None], [(image.height, image.width)], pixels))
    assert seen.inspection is not None
    return _view(loaded, seen.inspection, image, name)


def view_upload(loaded: LoadedModel, file: Path, settings: PageSettings) -> CellView:
    """Looks at a file that was uploaded; an error says its name and nothing of where it lies. See `view_cell`."""
    content = read_file(file, settings.max_image_bytes)
    return view_cell(loaded, {"bytes": content, "path": file.name}, file.name, settings)


def _view(loaded: LoadedModel, inspection: Inspection, image: Image.Image, name: str) -> CellView:
    scale = loaded.scale
    return CellView(
        name=name,
        picture=as_uri(outlined(fit(image, LARGE), inspection.mask), quality=88),
        crop=as_uri(Image.fromarray(inspection.crop)),
        rebuilt=as_uri(Image.fromarray(loaded.redraw(inspection.latent))),
        labels=loaded.model.labels,
        domains=loaded.model.config.domains,
        latent=inspection.latent,
        probabilities=inspection.probabilities,
        novelty=None if scale is None else float(scale.novelty(inspection.latent[None])[0]),
        from_image=image_reasons(inspection),
        shows_cell=shows_cell(inspection),
        similar=() if scale is None else tuple(scale.nearest(inspection.latent)),
    )


def render_cell_view(view: CellView, choice: Choice) -> str:
    """Returns the answer as HTML."""
    probabilities = choice.possible(view.probabilities, view.labels)
    assessment = choice.assess(probabilities, view.novelty, view.from_image)
    most = min(_TOP, len(choice.among) or _TOP)
    return render(
        "cell.html",
        view=view,
        label=view.labels[assessment.label],
        assessment=assessment,
        choice=choice,
        agreeing=agreement(probabilities, assessment.label),
        classifiers=[
            (name, view.labels[row.argmax()], top_labels(row, view.labels, most))
            for name, row in probabilities.items()
        ],
    )


def top_labels(probabilities: np.ndarray, labels: tuple[str, ...], count: int) -> list[tuple[str, float]]:
    """Returns the likeliest labels with their probabilities, the likeliest first."""
    return [(labels[i], float(probabilities[i])) for i in np.argsort(-probabilities, kind="stable")[:count]]


def as_json(view: CellView, choice: Choice) -> dict[str, Any]:
    """Returns the answer as the API gives it; see ``space/README.md``."""
    probabilities = choice.possible(view.probabilities, view.labels)
    return {
        "file": view.name,
        **verdict_json(choice.assess(probabilities, view.novelty, view.from_image), view.labels),
        "novelty": view.novelty,
        "classifiers": {
            name: {label: round(probability, 6) for label, probability in top_labels(row, view.labels, len(row))}
            for name, row in probabilities.items()
        },
        "similar": [
            {
                "label": view.labels[cell.label] if cell.label >= 0 else None,
                "laboratory": view.domains[cell.domain] if 0 <= cell.domain < len(view.domains) else None,
                "distance": round(cell.distance, 4),
            }
            for cell in view.similar
        ],
    }


def verdict_json(assessment: Assessment, labels: tuple[str, ...]) -> dict[str, Any]:
    """Returns the name, or why there is none, as the API gives it."""
    return {
        "name": None if assessment.abstain else labels[assessment.label],
        "likeliest": labels[assessment.label],
        "probability": round(assessment.probability, 6),
        "review": assessment.abstain or assessment.check,
        "reasons": [reason.text for reason in assessment.reasons],
    }
