"""Projects latents to two dimensions for plotting."""

import numpy as np

from bc_sam.errors import DataError

#: t-SNE takes about ten seconds for this many cells; beyond it the projection is plain PCA.
TSNE_LIMIT = 3000


def project(latents: np.ndarray) -> tuple[np.ndarray, str]:
    """Projects latents to two dimensions: t-SNE after PCA for up to 3,000 cells, PCA alone for more.

    The projection is deterministic.

    Args:
        latents: Latents (n, d), finite.

    Returns:
        Points (n, 2), float32, and the name of the method, ``"t-SNE"`` or ``"PCA"``.

    Raises:
        DataError: If the latents are not a finite, non-empty two-dimensional array.

    Example:
        >>> points, method = project(np.random.default_rng(0).normal(size=(40, 50)))
        >>> points.shape, method
        ((40, 2), 't-SNE')
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    latents = np.asarray(latents, dtype=np.float32)
    if latents.ndim != 2 or not latents.size or not np.isfinite(latents).all():
        raise DataError(f"Cannot project latents of shape {latents.shape}. Pass finite values of shape (cells, dim).")
    n, dim = latents.shape
    # A collapsed autoencoder gives identical latents, on which scikit-learn's t-SNE crashes.
    if (latents == latents[0]).all():
        return np.zeros((n, 2), dtype=np.float32), "PCA"
    # With five cells or fewer there are no neighbourhoods for t-SNE to preserve.
    if n <= 5 or n > TSNE_LIMIT or dim == 1:
        points = PCA(min(2, n, dim), random_state=0).fit_transform(latents)
        return np.pad(points, ((0, 0), (0, 2 - points.shape[1]))), "PCA"
    reduced = PCA(min(50, n, dim), random_state=0).fit_transform(latents)
    embedding = TSNE(perplexity=min(30.0, n / 4), init="pca", random_state=0)
    return embedding.fit_transform(reduced).astype(np.float32), "t-SNE"
