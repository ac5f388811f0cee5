"""Plane: embeddings laid out in two dimensions, so that they can be looked at."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

NEIGHBOURS = 30.0
"""t-SNE's perplexity."""
COMPONENTS = 50
"""How many principal components t-SNE is given."""
_OUTLIERS = 0.5
"""Percent at each side of an axis that must not push the others together."""


class Components(NamedTuple):
    """Standardised embeddings along their largest principal components."""

    places: NDArray[np.float64]
    """(N, up to 50), at least two."""
    explained: float
    """Share of the variance along the first two."""


def components(z: NDArray[np.float32]) -> Components | None:
    """Find the principal components of (N, D) embeddings; None where all are the same."""
    from sklearn.decomposition import PCA

    scaled = (z - z.mean(0)) / (z.std(0) + 1e-6)
    if not np.abs(scaled).max() > 0:
        return None
    found = PCA(min(COMPONENTS, *scaled.shape), random_state=0).fit(scaled)
    places = found.transform(scaled)
    if places.shape[1] < 2:
        places = np.pad(places, ((0, 0), (0, 2 - places.shape[1])))
    share = float(found.explained_variance_ratio_[:2].sum())
    return Components(places.astype(np.float64), share)


def neighbours(places: NDArray[Any]) -> NDArray[np.float64] | None:
    """t-SNE (N, 2) of principal components; None where there are too few recordings for it."""
    from sklearn.manifold import TSNE

    if len(places) <= 3 * NEIGHBOURS:
        return None
    layout = TSNE(2, perplexity=NEIGHBOURS, init="pca", random_state=0, max_iter=500)
    return np.asarray(layout.fit_transform(places.astype(np.float32)), np.float64)


def thousandths(xy: NDArray[np.float64]) -> list[int]:
    """x and y in turn, from 0 to 1000; a few far away are moved to the edge."""
    low, high = np.percentile(xy, (_OUTLIERS, 100 - _OUTLIERS), axis=0)
    room = np.maximum(high - low, 1e-9)
    held = np.clip((xy - low) / room, -0.06, 1.06)
    return [int(value) for value in np.round(1000 * (held + 0.06) / 1.12).reshape(-1)]
