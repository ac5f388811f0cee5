"""Likeness: how alike the embeddings of recordings are, as a gallery of people judges it."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Floats = NDArray[np.float64]
SHRINKAGE = 1.0
"""How much of the mean variance within people is added to each direction's."""
KEPT = 64
"""Directions of a discriminant, at most. Both were chosen on people of PTB-XL's folds 1 to 8."""


def compared(
    probe: str,
    gallery: Array,
    query: Array,
    pieces: Callable[[], tuple[Array, NDArray[np.int64]]],
) -> Floats:
    """(queries, gallery) as a probe has it; a `discriminant` asks for pieces of the gallery."""
    if probe == "discriminant":
        return discriminated(gallery, query, *pieces())
    return similarity(gallery, query, centred=probe == "centred")


def similarity(gallery: Array, query: Array, *, centred: bool = False) -> Floats:
    """(queries, gallery) cosines; `centred` ones after standardising both by the gallery.

    Embeddings of different people share a large part, which a plain cosine is full of.
    """
    a, b = gallery.astype(np.float64), query.astype(np.float64)
    if centred:
        centre, spread = _level(a)
        a, b = (a - centre) / spread, (b - centre) / spread
    a, b = (one / np.maximum(np.linalg.norm(one, axis=1), 1e-12)[:, None] for one in (a, b))
    product: Floats = b @ a.T
    return product


def discriminated(gallery: Array, query: Array, pieces: Array, whose: NDArray[np.int64]) -> Floats:
    """(queries, gallery) cosines along the directions that tell the gallery's people apart.

    Linear discriminants of the `pieces` (N, D) of the gallery's recordings, `whose` (N,) saying
    which one each is from: what varies between people counts in proportion to what varies within
    a recording. Queries teach nothing.
    """
    centre, spread = _level(pieces.astype(np.float64))
    told = (pieces - centre) / spread
    people, place, count = np.unique(whose, return_inverse=True, return_counts=True)
    means = np.zeros((len(people), told.shape[1]))
    np.add.at(means, place, told)
    means /= count[:, None]
    apart = told - means[place]
    within = apart.T @ apart / max(1, len(told) - len(people))
    typical = np.trace(within) / len(within) or 1.0  # 1 where pieces of a recording are the same
    within += SHRINKAGE * typical * np.eye(len(within))
    between = np.cov(means.T)
    # Generalised eigenvectors, largest ratios first.
    root = np.linalg.inv(np.linalg.cholesky(within))
    _, directions = np.linalg.eigh(root @ between @ root.T)
    chosen = (root.T @ directions)[:, ::-1][:, : min(KEPT, len(people) - 1)]
    a, b = (((one - centre) / spread) @ chosen for one in (gallery, query))
    common = a.mean(axis=0)
    return similarity(a - common, b - common)


def _level(z: Floats) -> tuple[Floats, Floats]:
    """Mean and deviation of each value; 1 where it is all the same."""
    centre, spread = z.mean(axis=0), z.std(axis=0)
    return centre, np.where(spread > 1e-9 * (np.abs(centre) + 1), spread, 1.0)
