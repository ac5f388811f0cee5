"""Einthoven's law: six limb leads are two measurements, so four equations tell swapped electrodes.

With leads I and II, III = II - I, aVR = -(I + II)/2, aVL = I - II/2 and aVF = II - I/2. Whatever
the heart does, the six signals lie in a plane; how much of their energy lies outside it is
compared with how much would after one lead was turned upside down or two names were exchanged.

Electrodes swapped on the body obey the law, and no signal tells them from an unusual heart.
"""

from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_OF_I_AND_II = {
    "I": (1, 0), "II": (0, 1), "III": (-1, 1),
    "aVR": (-0.5, -0.5), "aVL": (1, -0.5), "aVF": (-0.5, 1),
}  # fmt: skip

_INEXACT, _BROKEN = 0.03, 0.1
"""Share of the amplitude outside the plane. PTB-XL has 0.005 in 99 % of its records, and 0.1 or
more in 0.995 of what two exchanged names make of them."""
_RESTORED = 0.3
"""A remedy explains a broken law if it leaves at most this share of what was outside."""
_ROUNDING = 0.005
"""mV that rounding to steps of 15 µV leaves outside."""

_SURELY = 0.9
"""Of what is allowed to be outside: more than rounding is away."""


class Departure(NamedTuple):
    """How far limb leads are from the law, and which mistakes would explain it."""

    share: float
    explanations: tuple[str, ...]
    broken: bool

    def __str__(self) -> str:
        said = f"{100 * self.share:.0f} % of the amplitude contradicts it"
        return f"{said}; {' or '.join(self.explanations)}" if self.explanations else said


class _Law(NamedTuple):
    """For some of the six leads: quadratic forms of the energy outside, per explanation."""

    rows: slice | list[int]
    outside: NDArray[np.float64]
    names: tuple[str, ...]


def may_depart(x: NDArray[np.float32], leads: tuple[str, ...], second: int) -> NDArray[np.bool_]:
    """Tell of which records (records, leads, time) `departure` may say something."""
    law = _law(leads)
    if law is None or x.shape[2] < 2 * second:
        return np.zeros(len(x), np.bool_)
    y = x[:, law.rows, :: max(second // 100, 1)]
    y = y - y[:, :, :1]
    sums = y.sum(axis=2)
    energy = y @ y.swapaxes(1, 2) - sums[:, :, None] * (sums[:, None] / y.shape[2])
    outside = np.einsum("ij,nij->n", law.outside[0], energy)
    within = _INEXACT**2 * np.trace(energy, axis1=1, axis2=2)
    least = np.maximum(within, _ROUNDING**2 * y.shape[2] * y.shape[1])
    holds: NDArray[np.bool_] = outside < _SURELY * least
    return ~holds


def departure(x: NDArray[np.float32], leads: tuple[str, ...], second: int) -> Departure | None:
    """Return how `x` (leads, time) departs from the law; None where it holds or says nothing.

    `second` is a second's samples: what one of them contradicts may be a loose contact, what
    every second contradicts is a wrong name.
    """
    law = _law(leads)
    if law is None or x.shape[1] < 2 * second:
        return None
    step = max(second // 100, 1)  # the law holds for every sample: a hundred a second will do
    y, second = x[law.rows, ::step], second // step
    y = y - y[:, :1]  # or an electrode's offset would take what precision float32 has
    sums = y @ np.ones(y.shape[1], np.float32)
    spread = y @ y.T - sums[:, None] * (sums / y.shape[1])
    if not _is_outside(law.outside[0], spread, y.shape[1]):
        return None
    return _explained(law, _typical_second(law, y, second), second)


def _typical_second(law: _Law, y: NDArray[np.float32], second: int) -> NDArray[np.float64]:
    """Return products of leads, summed over the second that is outside as much as most are."""
    seconds = y.shape[1] // second
    cut = y[:, : seconds * second].reshape(len(y), seconds, second).swapaxes(0, 1)
    cut = cut - cut.mean(axis=2, keepdims=True, dtype=np.float64)
    energy = cut @ cut.swapaxes(1, 2)
    typical: NDArray[np.float64] = energy[np.argsort(_share(law.outside[0], energy))[seconds // 2]]
    return typical


def _explained(law: _Law, energy: NDArray[np.float64], second: int) -> Departure | None:
    if not _is_outside(law.outside[0], energy, second):
        return None
    share = float(_share(law.outside[0], energy))
    after = np.array([_share(form, energy) for form in law.outside[1:]])
    best = [
        name
        for name, left in zip(law.names, after, strict=True)
        if left <= _RESTORED * share and left <= 1.5 * after.min() + 0.002
    ]
    return Departure(share, tuple(best), share > _BROKEN or bool(best))


def _is_outside(form: NDArray[np.float64], energy: NDArray[np.floating], samples: int) -> bool:
    outside = float(np.vdot(form, energy))
    within = _INEXACT**2 * float(np.trace(energy))
    return outside > max(within, _ROUNDING**2 * samples * len(form))


def _share(form: NDArray[np.float64], energy: NDArray[np.float64]) -> NDArray[np.float64]:
    total = np.trace(energy, axis1=-2, axis2=-1)
    outside = (form * energy).sum(axis=(-2, -1))
    share: NDArray[np.float64] = np.sqrt(np.maximum(outside, 0) / np.maximum(total, 1e-12))
    return share


@lru_cache(maxsize=64)
def _law(leads: tuple[str, ...]) -> _Law | None:
    """Return the law of the limb leads among `leads`; None where they are free of each other."""
    rows = [row for row, lead in enumerate(leads) if lead in _OF_I_AND_II]
    limb = [leads[row] for row in rows]
    if len(limb) < 3:
        return None
    plane = np.array([_OF_I_AND_II[lead] for lead in limb], np.float64)
    outside = np.eye(len(limb)) - plane @ np.linalg.pinv(plane)
    forms, names = [outside], []
    for row, lead in enumerate(limb):
        flip = np.eye(len(limb))
        flip[row, row] = -1
        forms.append(flip @ outside @ flip)
        names.append(f"{lead} looks upside down")
    for pair in combinations(range(len(limb)), 2):
        order = list(range(len(limb)))
        order[pair[0]], order[pair[1]] = order[pair[1]], order[pair[0]]
        forms.append(outside[np.ix_(order, order)])
        names.append(f"{limb[pair[0]]} and {limb[pair[1]]} look exchanged")
    together = rows[-1] - rows[0] == len(rows) - 1
    return _Law(slice(rows[0], rows[-1] + 1) if together else rows, np.array(forms), tuple(names))
