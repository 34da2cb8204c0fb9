"""Where the model is asked for masks, and which of its answers are one cell's."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bc_sam.data.appearance.normalization import Window
from bc_sam.data.fields.nuclei import Candidate, centroid, seen_through
from bc_sam.models.observation import ObservedCell

# Parts of a group of nuclei belong to one cell if the mask of one contains this share of the other.
_SAME_CELL = 0.4


@dataclass(frozen=True)
class Prompt:
    """A place of a tile at which the model is asked for a mask.

    Attributes:
        candidate: Index of the candidate.
        nucleus: (H, W) bool, its nucleus, or a part of it, in pixels of the reduced tile.
        window: What the model sees.
    """

    candidate: int
    nucleus: NDArray[np.bool_]
    window: Window


@dataclass(frozen=True)
class Answer:
    """What the model says at a prompt.

    Attributes:
        prompt: The prompt.
        nucleus: (S, S) bool, the nucleus in the window.
        predicted: (S, S) bool, the predicted mask; ``None`` if the model predicts none.
        observed: The results for the window.
    """

    prompt: Prompt
    nucleus: NDArray[np.bool_]
    predicted: NDArray[np.bool_] | None
    observed: ObservedCell

    @property
    def cover(self) -> float:
        """Share of the nucleus in the predicted mask."""
        if self.predicted is None:
            return 1.0
        return float(self.predicted[self.nucleus].mean()) if self.nucleus.any() else 0.0

    def distance(self, place: tuple[float, float]) -> float:
        """Returns the distance of a place from the nearest pixel of the nucleus, pixels of the reduced tile."""
        return float(np.hypot(*(np.argwhere(self.prompt.nucleus) + 0.5 - place).T).min())


def places_to_ask(candidate: Candidate) -> Iterator[tuple[NDArray[np.bool_], tuple[float, float]]]:
    """Yields the nuclei to ask for, and where: the whole group, and its parts if it may be that of several cells."""
    yield candidate.nucleus, candidate.centre
    for part in candidate.parts:
        yield part, centroid(part)


def tell_apart(answers: Sequence[Answer], factor: float) -> list[Answer]:
    """Returns one answer for each cell of a group of nuclei.

    Args:
        answers: For the places of a candidate, in the order of `places_to_ask`.
        factor: Pixels of the reduced tile per pixel of the tile.
    """
    whole, *parts = answers
    owner = list(range(len(parts)))
    for one in range(len(parts)):
        for other in range(one + 1, len(parts)):
            shared = max(_contains(parts[one], parts[other], factor), _contains(parts[other], parts[one], factor))
            if shared > _SAME_CELL:
                kept, merged = owner[one], owner[other]
                owner = [kept if index == merged else index for index in owner]
    cells = sorted(set(owner))
    if len(cells) < 2:
        return [whole]
    return [
        _joined([part for part, index in zip(parts, owner, strict=True) if index == cell], factor) for cell in cells
    ]


def _contains(one: Answer, other: Answer, factor: float) -> float:
    """Returns the share of another part's nucleus that the mask of one contains."""
    if one.predicted is None:
        return 1.0
    nucleus = seen_through(other.prompt.nucleus, one.prompt.window, factor)
    return float(one.predicted[nucleus].mean()) if nucleus.any() else 0.0


def _joined(parts: Sequence[Answer], factor: float) -> Answer:
    """Returns the answer for the largest of the parts of a cell, with the nuclei of all."""
    largest = max(parts, key=lambda part: part.prompt.nucleus.sum())
    nucleus = np.logical_or.reduce([part.prompt.nucleus for part in parts])
    prompt = replace(largest.prompt, nucleus=nucleus)
    return replace(largest, prompt=prompt, nucleus=seen_through(nucleus, prompt.window, factor))
