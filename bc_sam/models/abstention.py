"""Whether to name a cell or to leave it to a person, and why, in plain words."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bc_sam.data.mask_quality import doubt
from bc_sam.models.inspection import Inspection

#: Least probability of a name that is given, and most novelty (see `bc_sam.classifiers.ood`) of a cell that is named.
#: A name that is given is likelier than all others together. Of the 263 cells of the validation of bc-sam-tiny, which
#: chose this, 93 % are named then, 83 % of these rightly, and 81 % of all would be; of 612 cells of Acevedo-20 in no
#: stage, 92 %, 84 % and 82 %.
LEAST_PROBABILITY = 0.5
MOST_NOVELTY = 0.99

# A name is doubtful unless more than this share of the classifiers find it the likeliest: without a majority, a vote
# of them might be for another. Measured with the six of bc-sam-tiny on the 658 cells of Matek-19 and Acevedo-20 that
# no stage had seen: 41 names of logistic regression had no majority. Of these 46 % were right, of the others 84 %.
# Four of six are a majority, of which most were right (21 of 34): to doubt these as well would find 13 errors more,
# for 21 more second looks in vain.
_MAJORITY = 0.5

# What `doubt` says of a mask that is none of a cell.
_NO_CELL = ("no cell found", "the cell is too small")

# A cell that fills less of the image than this may be a platelet, which is none of the classes. By bc-sam-tiny's
# outlines 61 % of 72 platelets of Acevedo-20 are smaller, and 2 % of the erythroblasts, the smallest of the cells.
_PLATELET = 0.032


@dataclass(frozen=True)
class Limits:
    """When to leave a cell without a name.

    Attributes:
        probability: Least probability of the likeliest name, 0..1.
        novelty: Most novelty, 0..1.
    """

    probability: float = LEAST_PROBABILITY
    novelty: float = MOST_NOVELTY


@dataclass(frozen=True)
class Reason:
    """What speaks against naming a cell.

    Attributes:
        text: A sentence or two.
        abstain: Whether it is reason enough to give no name.
        short: Two or three words, for a table.
    """

    text: str
    abstain: bool
    short: str


@dataclass(frozen=True)
class Assessment:
    """What is said of a cell.

    Attributes:
        label: Index of the likeliest label, of which `probability` is that of the classifier.
        probability: 0..1.
        reasons: What speaks against it, the strongest first.
    """

    label: int
    probability: float
    reasons: tuple[Reason, ...] = ()

    @property
    def abstain(self) -> bool:
        """Whether the cell is to be left to a person."""
        return any(reason.abstain for reason in self.reasons)

    @property
    def check(self) -> bool:
        """Whether the cell has a name that a person should check."""
        return bool(self.reasons) and not self.abstain


def shows_cell(inspection: Inspection) -> bool:
    """Returns whether there is a cell in the picture at all, of which anything could be said."""
    return not inspection.blank and doubt(inspection.mask) not in _NO_CELL


def image_reasons(inspection: Inspection) -> tuple[Reason, ...]:
    """Returns what the picture alone gives to doubt, whatever the classifiers say."""
    return tuple(_image_reasons(inspection))


def _image_reasons(inspection: Inspection) -> Iterator[Reason]:
    if inspection.blank:
        yield Reason("The image shows nothing. Give a photograph of one cell.", True, "blank")
        return
    wrong = doubt(inspection.mask)
    if not shows_cell(inspection):
        yield Reason("No cell was found. Give a photograph of one cell, which fills much of it.", True, "no cell")
        return
    if inspection.mask.mean() < _PLATELET:
        yield Reason("It is very small: perhaps a platelet, which the model does not know.", True, "very small")
    if inspection.cells > 1:
        found = inspection.cells
        yield Reason(f"There seem to be {found} cells. Crop the image to one of them.", True, f"{found} cells")
    if inspection.blurred:
        yield Reason("The image is out of focus. Photograph the cell again.", True, "blurred")
    if wrong is not None:
        yield Reason(f"Check the outline: {wrong}.", False, "check outline")


def assess(
    probabilities: np.ndarray,
    novelty: float | None,
    from_image: Sequence[Reason] = (),
    limits: Limits | None = None,
    of_all: Mapping[str, np.ndarray] | None = None,
) -> Assessment:
    """Says whether to name a cell, and whether a person should check the name.

    Args:
        probabilities: (n_labels,) of one classifier.
        novelty: See `bc_sam.classifiers.ood.NoveltyScale`; ``None`` where the model stores no cells.
        from_image: See `image_reasons`.
        limits: When to abstain.
        of_all: What every classifier says, this one included, (n_labels,) each; ``None`` where only one was asked.
            That they disagree makes a name doubtful, but is no reason to give none.

    Example:
        >>> assess(np.array([0.2] * 5), 0.2).abstain
        True
        >>> rf, svm = np.array([0.1, 0.8, 0.1]), np.array([0.7, 0.2, 0.1])
        >>> said = assess(rf, 0.2, of_all={"rf": rf, "svm": svm})
        >>> said.abstain, said.check
        (False, True)
    """
    limits = limits or Limits()
    label = int(probabilities.argmax())
    probability = float(probabilities[label])
    reasons = [reason for reason in from_image if reason.abstain]
    if novelty is not None and novelty > limits.novelty:
        reasons.append(Reason(_unlike(novelty), True, "unlike all seen"))
    if probability < limits.probability:
        best, asked_for = _percent(probability), _percent(limits.probability)
        text = f"No name is likely enough: the best has {best}, and {asked_for} are asked for."
        reasons.append(Reason(text, True, "unsure"))
    agreeing, asked = agreement(of_all or {}, label), len(of_all or {})
    bad_image = any(reason.abstain for reason in from_image)  # of which the classifiers cannot but disagree
    if not bad_image and agreeing < asked and agreeing <= _MAJORITY * asked:
        text = f"The classifiers disagree: {agreeing} of {asked} find this name the likeliest. Look at the cell again."
        reasons.append(Reason(text, False, f"{agreeing} of {asked} agree"))
    reasons += [reason for reason in from_image if not reason.abstain]
    return Assessment(label, probability, tuple(reasons))


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _unlike(novelty: float) -> str:
    share = "than every cell" if novelty >= 1 else f"than {100 * novelty:.1f} % of the cells"
    return f"The image is unlike what the model learned from: farther away {share} it stores."


def agreement(probabilities: Mapping[str, np.ndarray], label: int) -> int:
    """Returns how many classifiers find a label the likeliest."""
    return sum(int(row.argmax()) == label for row in probabilities.values())
