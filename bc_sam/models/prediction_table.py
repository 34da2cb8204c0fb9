"""Predictions as a CSV file, written by the command line and by the page."""

from collections.abc import Sequence
from typing import TextIO

from bc_sam.models.prediction import Prediction, top_labels
from bc_sam.utils.guarded_csv import GuardedCsv

#: The columns before those of the labels.
COLUMNS = (
    *("file", "name", "likeliest", "probability", "reasons", "ood"),
    *("second", "second_probability", "given_by", "laboratory", "error"),
)


class PredictionTable:
    """A CSV file that grows by one row per image.

    The columns are those of `COLUMNS`, and the probability of each label; ``probability`` is that of ``likeliest``.
    ``name`` is empty where the model abstains, for the given ``reasons``, and ``neutrophil`` or ``lymphocyte`` where
    only the kind is uncertain; ``given_by`` is the classifier, or ``hand`` for a manual label; ``laboratory`` says
    if the model does not know the laboratory of the cells, where names are often wrong.

    Args:
        file: Open text file.
        labels: Label names, in the order of the probabilities.
        laboratory: The column of that name.
        further: Names of columns after those of the labels, such as the place of a cell in a field.

    Example:
        >>> import io
        >>> from bc_sam.errors import ImageError
        >>> file = io.StringIO()
        >>> PredictionTable(file, ["monocyte"]).add("=1.png", Prediction("", None, None, None, ImageError("Empty.")))
        >>> file.getvalue().splitlines()[1]
        "'=1.png,,,,,,,,,,Empty.,"
    """

    def __init__(
        self, file: TextIO, labels: Sequence[str], laboratory: str = "", *, further: Sequence[str] = ()
    ) -> None:
        self.labels = labels
        self.laboratory = laboratory
        self._table = GuardedCsv(file)
        self._table.write([*COLUMNS, *labels, *further])

    def add(
        self,
        file: str,
        prediction: Prediction,
        *,
        given_by: str = "",
        name: str | None = None,
        further: Sequence[str] = (),
    ) -> None:
        """Writes the row of one image.

        Args:
            file: File name.
            prediction: Its prediction.
            given_by: The origin of the name, if there is one.
            name: A name that overrides the model's, such as a manual label.
            further: Values of the further columns.
        """
        if prediction.probabilities is None:
            self._table.write(
                [file, *[""] * (len(COLUMNS) - 2), str(prediction.error or ""), *[""] * len(self.labels), *further]
            )
            return
        (first, p), *others = top_labels(prediction.probabilities, self.labels, 2)
        second, q = others[0] if others else ("", 0.0)
        name = name or prediction.label or ""
        ood = "" if prediction.ood is None else f"{prediction.ood:.4f}"
        reasons = " ".join(reason.text for reason in prediction.reasons)
        row = [file, name, first, f"{p:.4f}", reasons, ood, second, f"{q:.4f}", given_by if name else ""]
        row += [self.laboratory, ""]
        self._table.write([*row, *(f"{share:.4f}" for share in prediction.probabilities), *further])
