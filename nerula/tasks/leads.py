"""Twelve leads from one: from lead I, and from lead II, in millivolt, beside simple answers.

What counts are I, II and V1 to V6 without the source: III, aVR, aVL and aVF follow from I and II
by arithmetic, so nothing is learned with them. Beside the model's decoders stand the least-squares
lead transformation (`scaled`: one factor; `filtered`: a factor for each of the samples around) and
the mean beat of the target lead in the training folds, laid where the source lead beats.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from nerula.tasks.person import CHOOSE, TEST, TRAIN
from nerula.tasks.task import Facts, Task, by_folds

Array = NDArray[np.float32]
Floats = NDArray[np.float64]
SOURCES = ("I", "II")
COUNTED = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
METRICS = ("lead_pearson", "lead_rmse", "lead_r2")
ANSWERS = ("decoded", "scaled", "filtered", "beat")
REACH = 0.1
"""Seconds on either side of a sample that the filter looks at."""
BEFORE, AFTER = 0.3, 0.5
"""Seconds of a beat around its R peak."""
APART = 0.25
"""Least seconds between two beats."""


def targets(source: str, leads: Sequence[str]) -> list[int]:
    """Which leads count where `source` is given."""
    return [row for row, lead in enumerate(leads) if lead in COUNTED and lead != source]


def agreement(guess: Array, truth: Array, valid: NDArray[np.bool_]) -> Floats:
    """Of each lead (L, time): Pearson's r, mean squared error and variance, means taken out.

    NaN where a lead holds too little.
    """
    found = np.full((len(truth), 3), np.nan)
    for row, seen in enumerate(valid):
        if seen.sum() < 2:
            continue
        a, b = (one[row, seen].astype(np.float64) for one in (guess, truth))
        a, b = a - a.mean(), b - b.mean()
        size = np.sqrt((a @ a) * (b @ b))
        r = a @ b / size if size > 1e-12 else 0.0
        found[row] = r, np.mean((a - b) ** 2), np.mean(b**2)
    return found


class Filters:
    """Least squares from one lead to all, over so many samples around; 0 is one factor each."""

    def __init__(self, reach: int, leads: int) -> None:
        self.reach = reach
        size = 2 * reach + 1
        self._squares, self._products = np.zeros((size, size)), np.zeros((size, leads))

    def add(self, x: Array, valid: NDArray[np.bool_], source: int) -> None:
        """Learn from a recording (leads, time), where all of its leads are valid."""
        lagged, whole = self._lagged(x[source]), valid.all(axis=0)
        centred = (x - x.mean(axis=1, keepdims=True))[:, whole].astype(np.float64)
        self._squares += lagged[:, whole] @ lagged[:, whole].T
        self._products += lagged[:, whole] @ centred.T

    def guess(self, source: Array) -> Array:
        """All leads from the source lead (time,)."""
        ridge = 1e-6 * np.trace(self._squares) / len(self._squares) * np.eye(len(self._squares))
        weights = np.linalg.solve(self._squares + ridge, self._products)
        return (weights.T @ self._lagged(source)).astype(np.float32)

    def _lagged(self, x: Array) -> Floats:
        padded = np.pad(x - x.mean(), self.reach).astype(np.float64)
        view = np.lib.stride_tricks.sliding_window_view(padded, len(x))
        return np.asarray(view)


class MeanBeat:
    """The mean of all leads around a beat of the source lead, laid where beats are."""

    def __init__(self, rate: float, leads: int) -> None:
        self.rate = rate
        self._before, self._after = round(BEFORE * rate), round(AFTER * rate)
        self._sum, self._count = np.zeros((leads, self._before + self._after)), 0

    def add(self, x: Array, valid: NDArray[np.bool_], source: int) -> None:
        """Learn from the whole beats of a recording."""
        if not valid.all():
            return
        centred = x - x.mean(axis=1, keepdims=True)
        for peak in peaks(x[source], self.rate):
            if peak >= self._before and peak + self._after <= x.shape[1]:
                self._sum += centred[:, peak - self._before : peak + self._after]
                self._count += 1

    def guess(self, source: Array) -> Array:
        """All leads (L, time); where two beats overlap their mean."""
        beat = self._sum / max(1, self._count)
        total, count = np.zeros((len(beat), len(source))), np.zeros(len(source))
        for peak in peaks(source, self.rate):
            left, right = max(0, peak - self._before), min(len(source), peak + self._after)
            part = slice(left - peak + self._before, right - peak + self._before)
            total[:, left:right] += beat[:, part]
            count[left:right] += 1
        return (total / np.maximum(count, 1)).astype(np.float32)


def peaks(x: Array, rate: float) -> list[int]:
    """R peaks of one lead: where it is steep for a tenth of a second, and farthest out there."""
    width = max(1, round(0.1 * rate))
    steep = np.convolve(np.diff(x, prepend=x[:1]) ** 2, np.ones(width) / width, "same")
    level, found = 0.3 * np.percentile(steep, 99), list[int]()
    away = np.abs(x - np.median(x))
    for place in np.argsort(-steep, kind="stable"):
        if steep[place] <= level or level <= 0:
            break
        if all(abs(int(place) - other) >= APART * rate for other in found):
            found.append(int(place))
    half = max(1, width // 2)
    return sorted(
        max(0, place - half) + int(away[max(0, place - half) : place + half + 1].argmax())
        for place in found
    )


def fitted(
    recordings: Iterable[tuple[Array, NDArray[np.bool_]]],
    source: int,
    rate: float,
    leads: int,
) -> dict[str, "Filters | MeanBeat"]:
    """The simple answers, from recordings of the training side."""
    simple: dict[str, Filters | MeanBeat] = {
        "scaled": Filters(0, leads),
        "filtered": Filters(round(REACH * rate), leads),
        "beat": MeanBeat(rate, leads),
    }
    for x, valid in recordings:
        for one in simple.values():
            one.add(x, valid, source)
    return simple


def probes() -> Iterator[str]:
    """Every answer from every source, such as "decoded-I"."""
    for source in SOURCES:
        yield from (f"{answer}-{source}" for answer in ANSWERS)


def _target(facts: Facts) -> NDArray[np.int64]:
    return np.zeros(len(facts), np.int64)


TASKS = (
    Task(
        name="leads",
        title="Twelve leads from one",
        family="ptbxl",
        kind="leads",
        answers=tuple(f"{lead} {value}" for lead in COUNTED for value in ("r", "mse", "mV²")),
        metrics=METRICS,
        main="lead_pearson",
        probes=tuple(probes()),
        protocol="PTB-XL's fold 10 from lead I or II alone; means over I, II and V1 to V6 without "
        "the source. Simple answers are fitted on folds 1 to 8.",
        target=_target,
        splits=by_folds(TRAIN, CHOOSE, TEST),
        fetch="ptbxl100",
    ),
)
