"""Bootstrap over subjects: intervals of one result, and of the difference between two.

A resample draws as many subjects as there are, with replacement, and all recordings of each. The
statistic is the mean over runs (splits and draws of labels) of a metric on each run's test side,
and a resample moves all runs together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nerula.metrics import METRICS, Answers, Floats

RESAMPLES, SEED, CONFIDENCE = 1000, 0, 0.95
_AT_ONCE = 1 << 21  # weights in memory, 16 MB of them


@dataclass(frozen=True, eq=False)
class Judged:
    """The answers of one run, and which recordings and people they are about."""

    answers: Answers
    row: NDArray[np.int64]
    """(N,) recordings, as numbers that all runs share."""
    person: NDArray[np.int64]
    """(N,) whose they are, as numbers that all runs share."""
    thresholds: Floats
    """(K,) per class, chosen on the training side; NaN where there is none."""

    def where(self, chosen: NDArray[np.bool_]) -> "Judged":
        """Only some of the recordings."""
        answers = self.answers
        part = Answers(answers.truth[chosen], answers.score[chosen], answers.predicted[chosen])
        return Judged(part, self.row[chosen], self.person[chosen], self.thresholds)


Statistic = Callable[[Judged, Floats], Floats]
"""A run and weights (B, N) to (B,) or (B, K)."""


def metric(name: str) -> Statistic:
    """A metric as a statistic of a run."""
    return lambda run, weight: METRICS[name](run.answers, weight)


@dataclass(frozen=True)
class Interval:
    """A value with the middle 95 % of its resamples."""

    value: float
    low: float
    high: float


class Resamples:
    """The same draws of people for every statistic, so that differences are paired."""

    def __init__(self, runs: Sequence[Judged], count: int = RESAMPLES, seed: int = SEED) -> None:
        everybody = [run.person for run in runs]
        self.people, places = np.unique(np.concatenate(everybody), return_inverse=True)
        self._columns = np.split(places, np.cumsum([len(one) for one in everybody])[:-1])
        rng = np.random.default_rng(seed)
        size = len(self.people)
        self._drawn = rng.multinomial(size, np.full(size, 1 / size), count).astype(np.float64)

    def interval(self, runs: Sequence[Judged], statistic: Statistic) -> Interval:
        """The mean of a statistic over runs, with its interval."""
        return self.intervals(runs, lambda run, weight: statistic(run, weight)[:, None])[0]

    def intervals(self, runs: Sequence[Judged], statistic: Statistic) -> list[Interval]:
        """Those of a statistic that has several values."""
        values, resampled = self._of(runs, statistic)
        return [middle(*pair) for pair in zip(values, resampled.T, strict=True)]

    def difference(
        self, ours: Sequence[Judged], theirs: Sequence[Judged], statistic: Statistic
    ) -> Interval:
        """Ours minus theirs: both are judged on the same people each time."""

        mine, my_draws = self.values(ours, statistic)
        other, other_draws = self.values(theirs, statistic)
        return middle(mine - other, my_draws - other_draws)

    def values(self, runs: Sequence[Judged], statistic: Statistic) -> tuple[float, Floats]:
        """The mean of a statistic over runs, and (B,) what it is in each resample."""
        value, resampled = self._of(runs, lambda run, weight: statistic(run, weight)[:, None])
        return float(value[0]), resampled[:, 0]

    def _of(self, runs: Sequence[Judged], statistic: Statistic) -> tuple[Floats, Floats]:
        """(K,) means over runs, and (B, K) of each resample."""
        values, resampled = [], []
        for run, column in zip(runs, self._columns, strict=True):
            values.append(statistic(run, np.ones((1, len(column))))[0])
            step = max(1, _AT_ONCE // max(1, len(column)))
            parts = [
                statistic(run, self._drawn[first : first + step][:, column])
                for first in range(0, len(self._drawn), step)
            ]
            resampled.append(np.concatenate(parts))
        return np.mean(values, axis=0), np.mean(resampled, axis=0)


def middle(value: float, resampled: Floats) -> Interval:
    """A value with the middle 95 % of its resamples that are known."""
    known = resampled[~np.isnan(resampled)]
    if not len(known):
        return Interval(float(value), float("nan"), float("nan"))
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(known, (tail, 100 - tail))
    return Interval(float(value), float(low), float(high))
