"""Decides whether to name a cell or to abstain, and why; shared by code, command line and page."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bc_sam.config.labels import COARSE_LABELS, plain_name
from bc_sam.data.mask_quality import NO_CELL, mask_problem
from bc_sam.models.observation import ObservedCell

#: Default thresholds: a given name is more probable than all others together. Of the 535 validation cells of
#: bc-sam-tiny 77 % are named, 82 % of these correctly (73 % without abstention). On 1,108 held-out cells of
#: Acevedo-20, the figures are 75 %, 83 % and 73 %.
LEAST_PROBABILITY = 0.5
MOST_OOD = 0.99

# The margin of a name over the second, as a share of the least probability: 0.2 by default, so that of two names 60
# against 40 % is enough and 59 against 41 % is not. Of 121 cells of Acevedo-20 that are no reference cells, 88 are
# named without a margin, 84 % correctly, and 80 with it, 86 % correctly; a margin of 0.4 would leave 52.
_MARGIN = 0.4

#: Labels that are never counted before a person has looked at the cell.
BLASTS = ("myeloblast",)


# Short forms of the reasons that leave nothing else to say.
_SHOWS_NO_CELL = ("blank", "no cell")

#: Where to go with a photograph of many cells.
COUNT_FIELDS = "The cells of whole fields are found and named by bc-sam count."


@dataclass(frozen=True)
class RejectionThresholds:
    """Thresholds of abstention.

    Attributes:
        probability: Minimum probability of a name, 0..1.
        ood: Maximum out-of-distribution score of a named cell, 0..1.
        margin: Minimum margin of a name's probability over the second, 0..1; by default two fifths of `probability`,
            so that lowering that one lowers both.
    """

    probability: float = LEAST_PROBABILITY
    ood: float = MOST_OOD
    margin: float | None = None

    @property
    def least_margin(self) -> float:
        """The margin that counts."""
        return _MARGIN * self.probability if self.margin is None else self.margin


@dataclass(frozen=True)
class Reason:
    """A reason against naming a cell.

    Attributes:
        text: One or two sentences.
        abstain: Whether to give no name for it; otherwise the name should be checked.
        short: Two or three words for a table.
        of_image: Whether the image alone gives the reason, such as a blurred one.
    """

    text: str
    abstain: bool
    short: str
    of_image: bool = False


@dataclass(frozen=True)
class Decision:
    """Whether a cell gets a name.

    Attributes:
        label: Index of the most probable label.
        reasons: Reasons against the name, strongest first.
        parent: The name to give instead of the label, one of `bc_sam.config.labels.COARSE_LABELS`, if it is certain
            but the kind is not; else empty.
    """

    label: int
    reasons: tuple[Reason, ...] = ()
    parent: str = ""

    @property
    def abstain(self) -> bool:
        """Whether the cell gets no name."""
        return any(reason.abstain for reason in self.reasons)


def shows_cell(observed: ObservedCell) -> bool:
    """Returns whether the image shows a cell; otherwise the probabilities are meaningless."""
    return not observed.blank and (observed.mask is None or mask_problem(observed.mask) not in NO_CELL)


def image_reasons(observed: ObservedCell) -> tuple[Reason, ...]:
    """Returns the reasons against a name that follow from the image alone, whatever the classifier predicts.

    For models that predict no masks, only the image quality is considered.
    """
    return tuple(replace(reason, of_image=True) for reason in _image_reasons(observed))


def _image_reasons(observed: ObservedCell) -> Iterator[Reason]:
    if observed.blank:
        yield Reason("The image shows nothing. Give a photograph of one cell.", True, "blank")
        return
    if not shows_cell(observed):
        yield Reason(f"No cell was found. Crop the photograph to one cell. {COUNT_FIELDS}", True, "no cell")
        return
    if observed.scale_problem:
        yield Reason(observed.scale_problem, True, "scale")
    if observed.cut_off:
        yield Reason("The border of the field cuts off the nucleus.", True, "cut off")
    mask, found = observed.mask, observed.n_cells
    if mask is not None and mask.mean() < observed.mask_limits.platelet:
        yield Reason(
            "The cell is very small: perhaps a platelet, which is not a class of the model.", True, "very small"
        )
    elif observed.no_nucleus:
        yield Reason(
            "Nothing is as large and as dark as a nucleus: perhaps a platelet, which is not a class of the model.",
            True,
            "no nucleus",
        )
    if found is not None and found > 1:
        yield Reason(
            f"There seem to be {found} cells. Crop the image to one of them. {COUNT_FIELDS}",
            True,
            f"{found} cells",
        )
    if observed.blurred:
        yield Reason("The image is out of focus. Photograph the cell again.", True, "blurred")
    if observed.size_assumed:
        yield Reason(
            "Too few red cells are around the cell to measure its size: check that it is no platelet.",
            False,
            "size unknown",
        )
    if mask is not None and (problem := mask_problem(mask, observed.mask_limits)) is not None:
        yield Reason(f"Check the outline: {problem}.", False, "check outline")


def decide(
    probabilities: np.ndarray,
    ood: float | None,
    from_image: Sequence[Reason] = (),
    thresholds: RejectionThresholds | None = None,
    labels: Sequence[str] = (),
) -> Decision:
    """Decides whether to name a cell, and whether the name should be checked.

    A name must be probable enough, and by a margin more probable than the second. If that is true only of the kinds of
    one parent together, such as band and segmented neutrophils, the cell gets the parent's name. A blast gets its
    name, but should always be checked. Of an image that shows no cell, nothing else is said.

    Args:
        probabilities: (n_labels,) of one classifier.
        ood: Out-of-distribution score, 0..1; ``None`` if the model has no reference embeddings to compare with.
        from_image: See `image_reasons`.
        thresholds: Thresholds of abstention; by default `RejectionThresholds()`.
        labels: Label names, by which blasts and kinds of one parent are recognized.

    Example:
        >>> decide(np.array([0.2] * 5), 0.2).abstain
        True
        >>> decide(np.array([0.1, 0.8, 0.1]), 0.2).abstain
        False
        >>> decide(np.array([0.55, 0.45]), 0.2).reasons[0].short
        'close second'
        >>> decide(np.array([0.5, 0.45, 0.05]), 0.2, labels=("neutrophil_banded", "neutrophil_segmented", "a")).parent
        'neutrophil'
    """
    thresholds = thresholds or RejectionThresholds()
    label = int(probabilities.argmax())
    if not_shown := tuple(reason for reason in from_image if reason.short in _SHOWS_NO_CELL):
        return Decision(label, not_shown)
    parent, kinds = "", tuple[int, ...]()
    reasons = [reason for reason in from_image if reason.abstain]
    if ood is not None and ood > thresholds.ood:
        reasons.append(Reason(_ood_text(ood), True, "out of distribution"))
    if not np.isfinite(probabilities[label]):
        reasons.append(Reason("The model computes no finite values for this image.", True, "not finite"))
    elif (doubt := _doubt(probabilities, thresholds)) is not None:
        if not reasons:  # otherwise there is no name whose kind could be open
            parent, kinds = _certain_parent(probabilities, label, thresholds, labels)
        reasons += [] if parent else [doubt]
    if label < len(labels) and labels[label] in BLASTS:
        reasons.append(Reason("Perhaps a blast: it is not counted before a person has looked.", False, "blast?"))
    if parent:
        reasons.append(_kind_reason(parent, [(labels[kind], float(probabilities[kind])) for kind in kinds]))
    reasons += [reason for reason in from_image if not reason.abstain]
    return Decision(label, tuple(reasons), parent)


def _doubt(probabilities: np.ndarray, thresholds: RejectionThresholds) -> Reason | None:
    """Returns what is wrong with the largest of probabilities (n,); ``None`` if it is enough for a name."""
    best = float(probabilities.max())
    second = float(np.sort(probabilities)[-2]) - 1e-6 if len(probabilities) > 1 else 0.0  # less rounding errors
    if best < thresholds.probability:
        required = _percent(thresholds.probability)
        text = f"No class is probable enough: the best has {_percent(best)}, and {required} are required."
        return Reason(text, True, "unsure")
    if second > best - thresholds.least_margin:
        text = (
            f"Two classes are close: the best has {_percent(best)}, the second {_percent(second)}; "
            f"{100 * thresholds.least_margin:.0f} percentage points between them are required."
        )
        return Reason(text, True, "close second")
    return None


def _certain_parent(
    probabilities: np.ndarray, label: int, thresholds: RejectionThresholds, labels: Sequence[str]
) -> tuple[str, tuple[int, ...]]:
    """Returns the parent of a label, and its kinds, if they are probable enough together; else nothing."""
    for parent, names in COARSE_LABELS.items():
        kinds = [column for column, name in enumerate(labels) if name in names]
        if label in kinds:
            together = np.append(np.delete(probabilities, kinds), probabilities[kinds].sum())
            if together.argmax() == len(together) - 1 and _doubt(together, thresholds) is None:
                return parent, tuple(sorted(kinds, key=lambda kind: -probabilities[kind]))
    return "", ()


def _kind_reason(parent: str, kinds: Sequence[tuple[str, float]]) -> Reason:
    each = ", ".join(f"{plain_name(kind).lower()} {_percent(share)}" for kind, share in kinds)
    return Reason(f"The kind of {parent} is not certain: {each}.", False, "which kind?")


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _ood_text(ood: float) -> str:
    share = "than every reference cell" if ood >= 1 else f"than {100 * ood:.1f} % of the reference cells"
    return f"The image is unlike the training cells: it is farther from its nearest neighbours {share}."
