"""Predictions as a small table with pictures, for notebooks."""

import base64
import io
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING, Any

from bc_sam.data.image_arguments import image_argument
from bc_sam.data.images import read_image
from bc_sam.errors import BCSamError
from bc_sam.utils.display import printable

if TYPE_CHECKING:
    from bc_sam.models.prediction import Prediction

_SIDE = 72  # of a picture, pixels


def picture_table(predictions: Iterable["Prediction"]) -> str:
    """Returns predictions as an HTML table: picture, label, probability, and what speaks against the label.

    A picture that can no longer be read, such as that of a file that was moved, is left empty.

    Args:
        predictions: The predictions, such as those of `CellModel.stream`.

    Example:
        In a notebook::

            from IPython.display import HTML
            HTML(picture_table(model.stream(cells, abstain=True)))
    """
    heads = "".join(f"<th>{name}</th>" for name in ("", "source", "label", "probability", "remarks"))
    return f"<table><tr>{heads}</tr>{''.join(map(_row, predictions))}</table>"


def _row(prediction: "Prediction") -> str:
    facts = prediction.to_dict()
    label = facts["label"] or ("" if facts["error"] else f"no name (likeliest: {facts['likeliest']})")
    probability = "" if prediction.probability is None else f"{prediction.probability:.2f}"
    remarks = facts["error"] or "; ".join(facts["reasons"])
    texts = (escape(printable(text)) for text in (facts["source"], label, probability, remarks))
    return f"<tr><td>{_picture(prediction.source)}</td>{''.join(f'<td>{text}</td>' for text in texts)}</tr>"


def _picture(source: Any) -> str:
    """Returns an image element with a thumbnail inside; nothing if the image cannot be read."""
    try:
        image = read_image(image_argument(source)).copy()  # the caller's image keeps its size
    except (BCSamError, OSError, ValueError):
        return ""
    image.thumbnail((_SIDE, _SIDE))
    file = io.BytesIO()
    image.save(file, "PNG")
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}">'
