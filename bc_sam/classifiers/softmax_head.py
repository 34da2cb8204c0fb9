"""The classification head of a network as a classifier on its embeddings."""

from collections.abc import Sequence

import numpy as np

from bc_sam.classifiers.fitting import LatentClassifier


class _Softmax:
    """A linear layer with softmax, with the part of scikit-learn's interface that `LatentClassifier` uses."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray) -> None:
        self.weight, self.bias = weight, bias

    def predict_proba(self, latents: np.ndarray) -> np.ndarray:
        """Returns probabilities (n, k), float32, for embeddings (n, d)."""
        # einsum rather than a matrix product, whose rounding depends on the number of rows.
        logits = np.einsum("nd,kd->nk", latents, self.weight, dtype=np.float64) + self.bias
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        return (exponentials / exponentials.sum(axis=1, keepdims=True)).astype(np.float32)


def head_classifier(weight: np.ndarray, bias: np.ndarray, classes: Sequence[int], n_labels: int) -> LatentClassifier:
    """Wraps the head of a network as a classifier on its input, the network's embeddings.

    Args:
        weight: (k, d) float64.
        bias: (k,) float64.
        classes: Label index of each of the k outputs, ascending.
        n_labels: Number of labels of the model.
    """
    return LatentClassifier(_Softmax(weight, bias), np.array(classes), n_labels)
