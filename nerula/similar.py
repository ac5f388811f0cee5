"""Similar: the recordings of a store whose embeddings are nearest, exactly."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nerula.errors import UsageError
from nerula.features import Features, Whole
from nerula.store import Store

if TYPE_CHECKING:
    from nerula.model import Model

_ROWS = 1 << 16
"""Recordings that are compared at once."""


class Similar(NamedTuple):
    """The nearest recordings of a store, nearest first: (k,), or (N, k) for many."""

    names: NDArray[np.str_]
    rows: NDArray[np.int64]
    """Their numbers in the store."""
    distances: NDArray[np.float32]
    """1 - cosine of standardised embeddings: 0 is the same, 1 is unrelated."""


class Neighbours:
    """All embeddings of a store, ready to be compared: what `Model.similar` keeps.

    Or those of some recordings only, whose numbers in the store are `rows`.
    """

    def __init__(
        self, store: Store, z: NDArray[np.float32], rows: NDArray[np.int64] | None = None
    ) -> None:
        rows = np.arange(len(store)) if rows is None else rows
        if z.ndim != 2 or len(z) != len(rows):
            raise UsageError(
                f"Embeddings of {len(rows)} recordings are wanted, not {z.shape}.",
                "Give one row per recording of the store.",
            )
        self.store, self._names = store, store.column("name").astype(np.str_)
        known = np.isfinite(z).all(1)
        self.rows = rows[known]
        """Recordings that can be found."""
        if not len(self.rows):
            raise UsageError(f"{store.path} holds no recording that could be embedded.")
        z = z[known]
        self._centre = z.mean(0, dtype=np.float64).astype(np.float32)
        spread = z.std(0, dtype=np.float64)
        near = 1e-9 * (np.abs(self._centre) + 1)
        self._spread = np.where(spread > near, spread, 1).astype(np.float32)
        self._z = self._directions(z)

    @classmethod
    def of(cls, model: "Model", store: Store, z: ArrayLike | None = None) -> Self:
        """The embeddings that are given, or those kept beside the store, or computed now."""
        return cls(store, embedded(model, store) if z is None else np.asarray(z, np.float32))

    def nearest(self, z: NDArray[np.float32], k: int = 5) -> Similar:
        """The `k` nearest of (D,) or of each of (N, D); fewer where there are no more."""
        if not (isinstance(k, int | np.integer) and k > 0):
            raise UsageError(f"There are no {k} nearest recordings.", "Ask for 1 or more.")
        if z.ndim not in (1, 2) or z.shape[-1] != self._z.shape[1]:
            raise UsageError(
                f"Embeddings of {self._z.shape[1]} values are wanted, not {z.shape}.",
                "The store's embeddings are those of another model.",
            )
        wanted = self._directions(np.atleast_2d(z))
        found = [
            _first(wanted @ self._z[start : start + _ROWS].T, start, k)
            for start in range(0, len(self._z), _ROWS)
        ]
        cosine, place = (np.concatenate(parts, axis=1) for parts in zip(*found, strict=True))
        order = np.lexsort((place, -cosine), axis=1)[:, :k]
        rows = self.rows[np.take_along_axis(place, order, 1)]
        apart = np.clip(1 - np.take_along_axis(cosine, order, 1), 0, 2)
        shape = (*z.shape[:-1], rows.shape[1])
        rows, apart = rows.reshape(shape), apart.reshape(shape)
        return Similar(self._names[rows], rows, apart)

    def _directions(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        """Standardised, and of length 1."""
        standard = (z - self._centre) / self._spread
        length = np.linalg.norm(standard, axis=1, keepdims=True)
        unit: NDArray[np.float32] = standard / np.maximum(length, np.float32(1e-12))
        return unit


def embedded(model: "Model", store: Store) -> NDArray[np.float32]:
    """(recordings, D) embeddings of a store, NaN where nothing was measured; kept beside it."""
    measured = np.flatnonzero((store.column("valid") > 0) & (store.lengths > 0))
    place = store.path.with_name(f"{store.path.name}.embeddings")
    z = Features(model, store, Whole(), Path(place)).of(measured)
    full = np.full((len(store), z.shape[1]), np.nan, np.float32)
    full[measured] = z
    return full


def _first(
    cosine: NDArray[np.float32], start: int, k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Of (N, rows) the `k` largest in each line, and their places; not yet in order."""
    count = min(k, cosine.shape[1])
    place = np.argpartition(-cosine, count - 1, axis=1)[:, :count]
    return np.take_along_axis(cosine, place, 1), place + start
