"""The last layer of a network as a classifier on embeddings."""

from collections.abc import Sequence

import numpy as np

from bc_sam.classifiers.fitting import LatentClassifier


class _Softmax:
    """The last layer of a network as an estimator of scikit-learn would be asked."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray) -> None:
        self.weight, self.bias = weight, bias

    def predict_proba(self, latents: np.ndarray) -> np.ndarray:
        """Returns probabilities (n, k), float32, of what the last layer sees (n, d)."""
        # A sum for each row by itself: a product of matrices rounds differently for different numbers of rows.
        logits = np.einsum("nd,kd->nk", latents, self.weight, dtype=np.float64) + self.bias
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        return (exponentials / exponentials.sum(axis=1, keepdims=True)).astype(np.float32)


def head_classifier(weight: np.ndarray, bias: np.ndarray, classes: Sequence[int], n_labels: int) -> LatentClassifier:
    """Wraps the last layer of a network as a classifier on that layer's inputs, which are the network's embeddings.

    Args:
        weight: (k, d) float64.
        bias: (k,) float64.
        classes: Label index of each of the k outputs, ascending.
        n_labels: Number of labels of the model.
    """
    return LatentClassifier(_Softmax(weight, bias), np.array(classes), n_labels)
