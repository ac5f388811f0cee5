"""Metrics, NumPy only. Each takes many weightings of the same answers at once.

A bootstrap resample is nothing but whole-number weights, so `weight` is (B, N) and the result
(B,): one row of ones gives the value, a thousand rows of counts its interval. Where a resample
cannot be judged, such as an AUROC without positives, the result is NaN.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nerula import challenge_score as diagnoses

Floats = NDArray[np.float64]

LOWER = frozenset({"mae", "rmse", "brier", "eer", "alignment_shuffled", "lead_rmse"})
"""Metrics of which less is better."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What is true and what a probe says of N recordings.

    classes: truth (N,) numbers, score (N, K) probabilities, predicted (N,).
    values: truth (N,), score (N, 1), predicted (N,) the same.
    labels: truth (N, K) of 0 and 1, score (N, K) probabilities, predicted (N, K) of 0 and 1.
    identity: truth (N,) whose gallery entry is theirs, score (N, N) similarities, predicted (N,).
    """

    truth: NDArray[np.generic]
    score: Floats
    predicted: NDArray[np.generic]

    @property
    def classes(self) -> int:
        """How many classes, labels or persons there are."""
        return int(self.score.shape[1])

    @cached_property
    def onehot(self) -> Floats:
        """(N, K), the truth as 0 and 1."""
        if self.truth.ndim == 2:
            return np.asarray(self.truth, np.float64)
        return np.asarray(self.truth[:, None] == np.arange(self.classes), np.float64)

    @cached_property
    def _pairs(self) -> Floats:
        """(N, K * K), 1 where truth and prediction are this pair."""
        code = self.truth.astype(np.int64) * self.classes + self.predicted.astype(np.int64)
        return np.asarray(code[:, None] == np.arange(self.classes**2), np.float64)

    def confusion(self, weight: Floats) -> Floats:
        """(B, K, K): rows are the truth, columns the prediction."""
        return (weight @ self._pairs).reshape(-1, self.classes, self.classes)


def confusion_f1(confusion: Floats) -> Floats:
    """(B, K): F1 of each class; 0 where it is neither there nor predicted."""
    both = confusion.sum(-1) + confusion.sum(-2)
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    return np.asarray(2 * hits / np.maximum(both, 1e-12))


def accuracy(answers: Answers, weight: Floats) -> Floats:
    """Share of right answers."""
    return _mean(weight, (answers.truth == answers.predicted).astype(np.float64))


def balanced_accuracy(answers: Answers, weight: Floats) -> Floats:
    """Mean over classes of the share that is recognised."""
    confusion = answers.confusion(weight)
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    return _nanmean(_ratio(hits, confusion.sum(-1)))


def macro_f1(answers: Answers, weight: Floats) -> Floats:
    """Mean F1 over classes that are there or predicted; of labels, over those that are there."""
    if answers.truth.ndim == 2:
        return _nanmean(_f1_of_labels(answers, weight))
    confusion = answers.confusion(weight)
    seen = confusion.sum(-1) + confusion.sum(-2) > 0
    return _nanmean(np.where(seen, confusion_f1(confusion), np.nan))


def _f1_of_labels(answers: Answers, weight: Floats) -> Floats:
    """(B, K): F1 of each label, NaN where nobody has it, and where nothing was decided."""
    if answers.predicted.ndim == 1:  # results of earlier versions
        return np.full((len(weight), answers.classes), np.nan)
    said = answers.predicted.astype(np.float64)
    there = weight @ answers.onehot
    f1 = _ratio(2 * (weight @ (said * answers.onehot)), there + weight @ said)
    return np.where(there > 0, f1, np.nan)


def weighted_f1(answers: Answers, weight: Floats) -> Floats:
    """Mean F1 over classes, each by how often it is true."""
    confusion = answers.confusion(weight)
    support = confusion.sum(-1)
    return _ratio((confusion_f1(confusion) * support).sum(-1), support.sum(-1))


def challenge_f1(answers: Answers, weight: Floats) -> Floats:
    """The Challenge 2017's: mean F1 of normal, fibrillation and other, noise left out of it.

    Noise that is taken for a rhythm, and the reverse, still costs that rhythm.
    """
    f1: Floats = confusion_f1(answers.confusion(weight))[:, :3].mean(-1)
    return f1


def challenge_score(answers: Answers, weight: Floats) -> Floats:
    """The Challenge 2020's: 1 for the truth, 0 for a sinus rhythm everywhere."""
    if answers.predicted.ndim == 1:  # nothing was decided
        return np.full(len(weight), np.nan)
    points = diagnoses.points(answers.onehot, answers.predicted.astype(np.float64))
    said, true, normal = (weight @ points).T
    return _ratio(said - normal, true - normal)


def auroc(answers: Answers, weight: Floats) -> Floats:
    """Area under the ROC curve: of the second class of two, else the mean of one against rest."""
    return _nanmean(auroc_each(answers, weight))


def auroc_each(answers: Answers, weight: Floats) -> Floats:
    """(B, K) area under each class's or label's curve, NaN where it has no positive."""
    two = answers.truth.ndim == 1 and answers.classes == 2
    columns = [1] if two else range(answers.classes)
    areas = [
        _area(answers.onehot[:, column], answers.score[:, column], weight) for column in columns
    ]
    return np.stack(areas, axis=1)


def average_precision(answers: Answers, weight: Floats) -> Floats:
    """Mean over labels of the area under the precision-recall curve, as a sum of steps."""
    each = [
        _precision(answers.onehot[:, column], answers.score[:, column], weight)
        for column in range(answers.classes)
    ]
    return _nanmean(np.stack(each, axis=1))


def brier(answers: Answers, weight: Floats) -> Floats:
    """Mean squared distance of the probabilities from the truth: of two classes, the second's."""
    squares = (answers.score - answers.onehot) ** 2
    if answers.truth.ndim == 2:
        return _mean(weight, squares.mean(1))
    return _mean(weight, squares[:, 1] if answers.classes == 2 else squares.sum(1))


def mae(answers: Answers, weight: Floats) -> Floats:
    """Mean absolute error."""
    return _mean(weight, np.abs(_error(answers)))


def rmse(answers: Answers, weight: Floats) -> Floats:
    """Root of the mean squared error."""
    return np.sqrt(_mean(weight, _error(answers) ** 2))


def r2(answers: Answers, weight: Floats) -> Floats:
    """Share of the variance that is explained."""
    truth = answers.truth.astype(np.float64)
    centre = _mean(weight, truth)
    spread = _mean(weight, truth**2) - centre**2
    return 1 - _ratio(_mean(weight, _error(answers) ** 2), np.where(spread > 1e-12, spread, 0))


def rank1(answers: Answers, weight: Floats) -> Floats:
    """Share of queries whose most similar gallery entry is the person's own."""
    return accuracy(answers, weight)


def eer(answers: Answers, weight: Floats) -> Floats:
    """Equal error rate: where as many strangers pass as owners are turned away.

    A pair of persons counts as often as both were drawn; between two thresholds the mean of both
    rates at the one where they are closest.
    """
    people = np.arange(len(answers.truth))
    own = answers.score[people, answers.truth.astype(np.int64)]
    strange = answers.truth[:, None] != answers.truth[None, :]
    rows, columns = np.nonzero(strange)
    # the gallery's column of person `columns`
    others = answers.score[rows, answers.truth[columns].astype(np.int64)]
    scores = np.concatenate((own, others))
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    rates = []
    for drawn in weight:
        mine = np.concatenate((drawn, np.zeros(len(rows))))[order].cumsum()[last]
        theirs = np.concatenate((np.zeros(len(own)), drawn[rows] * drawn[columns]))[order]
        theirs = theirs.cumsum()[last]
        if not mine[-1] or not theirs[-1]:
            rates.append(np.nan)
            continue
        missed, passed = 1 - mine / mine[-1], theirs / theirs[-1]
        closest = int(np.argmin(np.abs(missed - passed)))
        rates.append(float(missed[closest] + passed[closest]) / 2)
    return np.array(rates)


def alignment(answers: Answers, weight: Floats) -> Floats:
    """Mean correlation between two leads of a recording, less the mean vector of all."""
    return _mean(weight, answers.score[:, 0])


def alignment_own(answers: Answers, weight: Floats) -> Floats:
    """The same less the mean vector of each lead."""
    return _mean(weight, answers.score[:, 1])


def alignment_shuffled(answers: Answers, weight: Floats) -> Floats:
    """The same between leads of different recordings."""
    return _mean(weight, answers.score[:, 2])


def lead_pearson(answers: Answers, weight: Floats) -> Floats:
    """Mean over leads of the recordings' mean correlation with what was measured."""
    return _nanmean(_by_lead(answers, weight, 0))


def lead_rmse(answers: Answers, weight: Floats) -> Floats:
    """Mean over leads of the root mean squared error, in mV."""
    return _nanmean(np.sqrt(_by_lead(answers, weight, 1)))


def lead_r2(answers: Answers, weight: Floats) -> Floats:
    """Mean over leads of the share of the variance that is explained."""
    error, variance = (_by_lead(answers, weight, place) for place in (1, 2))
    return _nanmean(1 - _ratio(error, variance))


METRICS: dict[str, Callable[[Answers, Floats], Floats]] = {
    function.__name__: function
    for function in (
        accuracy, balanced_accuracy, macro_f1, weighted_f1, challenge_f1,
        challenge_score, auroc, average_precision, brier, mae, rmse, r2, rank1, eer,
        alignment, alignment_own, alignment_shuffled, lead_pearson, lead_rmse, lead_r2,
    )
}  # fmt: skip
"""Every metric by its name."""


def sensitivity_and_specificity(
    positive: NDArray[np.bool_], score: Floats, threshold: float, weight: Floats
) -> tuple[Floats, Floats]:
    """(B,) shares of the positive at or above a threshold, and of the negative below it."""
    above = (score >= threshold).astype(np.float64)
    true = positive.astype(np.float64)
    sensitivity = _ratio(weight @ (above * true), weight @ true)
    return sensitivity, _ratio(weight @ ((1 - above) * (1 - true)), weight @ (1 - true))


def threshold_at(positive: NDArray[np.bool_], score: Floats, specificity: float) -> float:
    """The lowest threshold at which at least this share of the negative lies below it."""
    negative = np.sort(score[~positive])
    if not len(negative):
        return float("nan")
    candidates = np.unique(score)
    below = np.searchsorted(negative, candidates, side="left") / len(negative)
    enough = np.flatnonzero(below >= specificity - 1e-12)
    return float(candidates[enough[0]]) if len(enough) else float(np.nextafter(score.max(), 9e9))


def threshold_for_f1(positive: NDArray[np.bool_], score: Floats) -> float:
    """The threshold with the largest F1; even odds where there is no positive to choose by."""
    if not positive.any():
        return 0.5
    order = np.argsort(-score, kind="stable")
    last = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)  # of equal scores
    hits = np.cumsum(positive[order])[last]
    best = int(np.argmax(2 * hits / (last + 1 + positive.sum())))
    return float(score[order][last[best]])


def reliability(probability: Floats, happened: Floats, bins: int = 10) -> list[dict[str, float]]:
    """The reliability curve: what was predicted and what happened, in bins of equal width."""
    place = np.minimum((probability * bins).astype(np.int64), bins - 1)
    rows = []
    for number in range(bins):
        inside = place == number
        if inside.any():
            rows.append(
                {
                    "low": number / bins,
                    "high": (number + 1) / bins,
                    "n": int(inside.sum()),
                    "predicted": float(probability[inside].mean()),
                    "observed": float(happened[inside].mean()),
                }
            )
    return rows


def _area(positive: Floats, score: Floats, weight: Floats) -> Floats:
    order = np.argsort(score, kind="stable")
    first = np.concatenate(([0], np.flatnonzero(np.diff(score[order])) + 1))
    up = np.add.reduceat(weight[:, order] * positive[order], first, axis=1)
    down = np.add.reduceat(weight[:, order] * (1 - positive[order]), first, axis=1)
    below = np.cumsum(down, axis=1) - down / 2  # ties count half
    return _ratio((up * below).sum(1), up.sum(1) * down.sum(1))


def _precision(positive: Floats, score: Floats, weight: Floats) -> Floats:
    order = np.argsort(-score, kind="stable")
    first = np.concatenate(([0], np.flatnonzero(np.diff(score[order])) + 1))
    hits = np.add.reduceat(weight[:, order] * positive[order], first, axis=1)
    taken = np.add.reduceat(weight[:, order], first, axis=1)
    precision = np.cumsum(hits, axis=1) / np.maximum(np.cumsum(taken, axis=1), 1e-12)
    return _ratio((hits * precision).sum(1), hits.sum(1))


def _error(answers: Answers) -> Floats:
    return answers.score[:, 0] - answers.truth.astype(np.float64)


def _by_lead(answers: Answers, weight: Floats, place: int) -> Floats:
    """(B, leads): means over the recordings that hold a lead, of what was said of it."""
    said = answers.score[:, place::3]
    known = ~np.isnan(said)
    return _ratio(weight @ np.where(known, said, 0.0), weight @ known.astype(np.float64))


def _mean(weight: Floats, values: Floats) -> Floats:
    return _ratio(weight @ values, weight.sum(-1))


def _ratio(above: Floats, below: Floats) -> Floats:
    found = np.full(np.broadcast(above, below).shape, np.nan)
    np.divide(above, below, out=found, where=np.asarray(below) > 0)
    return found


def _nanmean(values: Floats) -> Floats:
    """Mean over the last axis of what is not NaN."""
    known = ~np.isnan(values)
    return _ratio(np.where(known, values, 0).sum(-1), known.sum(-1).astype(np.float64))
