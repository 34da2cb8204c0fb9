"""The answer for one cell: its class or why none is given, all classifiers, the most similar reference cells."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bc_sam.classifiers.ood import Neighbour
from bc_sam.data.appearance.magnification import Scale
from bc_sam.data.decoding_budget import memory_for
from bc_sam.data.images import read_image
from bc_sam.data.preparation import PreparedImage
from bc_sam.models.abstention import Reason, image_reasons, shows_cell
from bc_sam.models.observation import ObservedCell
from bc_sam.models.prediction import Prediction, top_labels
from bc_sam.space.server.settings import PageSettings
from bc_sam.space.server.uploads import read_file
from bc_sam.space.views.decision import Choice
from bc_sam.space.views.loaded_models import LoadedModel
from bc_sam.space.views.markup import render
from bc_sam.space.views.pictures import LARGE, as_uri, fit, outlined

_TOP = 5


@dataclass(frozen=True)
class CellView:
    """An inspected cell with its pictures; enough to reclassify it by another classifier.

    Attributes:
        name: File name.
        picture: The image, with the outline of the cell if the model predicts masks, as a data URI.
        crop: The masked cell on grey, as a data URI; empty if the model predicts no masks.
        rendered: The cell as decoded from its embedding, as a data URI; empty if the model has no decoder.
        labels: Class names of the model.
        domains: Laboratories of the model.
        embedding: (d,) float32.
        probabilities: (n_labels,) of each classifier.
        ood: Out-of-distribution score; ``None`` if the model stores too few reference cells.
        from_image: Reasons against a name from the image alone.
        shows_cell: Whether a cell was detected; otherwise the probabilities are meaningless.
        similar: The nearest reference cells.
        scale: Pixel size of the image and what it was measured from; empty if the model does not normalize images.
    """

    name: str
    picture: str
    crop: str
    rendered: str
    labels: tuple[str, ...]
    domains: tuple[str, ...]
    embedding: np.ndarray
    probabilities: dict[str, np.ndarray]
    ood: float | None
    from_image: tuple[Reason, ...]
    shows_cell: bool
    similar: tuple[Neighbour, ...]
    scale: str = ""

    def predict(self, choice: Choice) -> Prediction:
        """Returns the prediction under a visitor's choice."""
        return choice.predict(self.name, self.probabilities, self.labels, self.ood, self.from_image)


def view_cell(loaded: LoadedModel, source: Any, name: str, settings: PageSettings) -> CellView:
    """Reads an image, runs the model on it and renders the pictures.

    Args:
        loaded: The model.
        source: The image; see `bc_sam.data.images.read_image`.
        name: Its display name, also in errors.
        settings: Limits of the page.

    Raises:
        ImageError: If it cannot be read.
    """
    with memory_for(source, max_pixels=settings.max_pixels):
        picture = fit(read_image(source, max_pixels=settings.max_pixels), LARGE)
    (batch,) = loaded.model.batches([source], 1, max_pixels=settings.max_pixels)
    (cell,) = loaded.inspect(batch)
    if cell.error is not None:
        raise cell.error
    assert cell.observed is not None
    assert cell.prepared is not None
    return _view(loaded, cell.observed, cell.prepared, picture, name)


def view_upload(loaded: LoadedModel, file: Path, settings: PageSettings) -> CellView:
    """Views an uploaded file; errors name the file but not its folder. See `view_cell`."""
    content = read_file(file, settings.max_image_bytes)
    return view_cell(loaded, {"bytes": content, "path": file.name}, file.name, settings)


def _view(
    loaded: LoadedModel, observed: ObservedCell, prepared: PreparedImage, picture: Image.Image, name: str
) -> CellView:
    assert observed.embedding is not None
    mask = None if observed.mask is None else prepared.restore(observed.mask)
    score = loaded.model.ood_score
    return CellView(
        name=name,
        picture=as_uri(picture if mask is None else outlined(picture, mask), quality=88),
        crop=_as_uri(observed.crop),
        rendered=_as_uri(loaded.render(observed.embedding)),
        labels=loaded.model.labels,
        domains=loaded.model.config.domains,
        embedding=observed.embedding,
        probabilities=dict(observed.probabilities),
        ood=observed.ood,
        from_image=image_reasons(observed),
        shows_cell=shows_cell(observed),
        similar=() if score is None else tuple(score.nearest(observed.embedding)),
        scale=_describe(prepared.scale),
    )


def _describe(scale: Scale | None) -> str:
    if scale is None:
        return ""
    size = scale.microns_per_pixel
    return "scale unknown" if size is None else f"{size:.2g} µm per pixel, by {scale.ruler}"


def _as_uri(pixels: np.ndarray | None) -> str:
    return "" if pixels is None else as_uri(Image.fromarray(pixels))


def render_cell_view(view: CellView, choice: Choice) -> str:
    """Returns the answer as HTML."""
    prediction = view.predict(choice)
    probabilities = choice.restrict(view.probabilities, view.labels)
    n_shown = min(_TOP, len(choice.labels) or _TOP)
    first = {name: view.labels[row.argmax()] for name, row in probabilities.items()}
    return render(
        "cell.html",
        view=view,
        prediction=prediction,
        choice=choice,
        classifiers=[
            (name, first[name], top_labels(row, view.labels, n_shown)) for name, row in probabilities.items()
        ],
    )


def as_json(view: CellView, choice: Choice) -> dict[str, Any]:
    """Returns the answer in the format of the API; see ``space/README.md``."""
    return {
        "file": view.name,
        **prediction_json(view.predict(choice)),
        "classifiers": {
            name: {label: round(probability, 6) for label, probability in top_labels(row, view.labels, len(row))}
            for name, row in choice.restrict(view.probabilities, view.labels).items()
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


def prediction_json(prediction: Prediction) -> dict[str, Any]:
    """Returns the prediction of a readable cell in the format of the API."""
    assert prediction.probability is not None
    return {
        "name": prediction.label,
        "likeliest": prediction.likeliest,
        "probability": round(prediction.probability, 6),
        "review": prediction.abstained or prediction.check,
        "reasons": [reason.text for reason in prediction.reasons],
        "ood": prediction.ood,
    }
