"""Cost: what rounding takes from two real questions, before anything is written."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nerula.bootstrap import Interval, Judged, Resamples, metric
from nerula.metrics import Answers
from nerula.onnx.verify import Trial, answers_of
from nerula.portable import Probe


@dataclass(frozen=True)
class Cost:
    """One question: what the model reaches, what the rounded file does, and what that costs."""

    question: str
    model: Interval
    rounded: Interval
    lost: Interval
    """Model minus rounded, on the same people each time."""


@dataclass(frozen=True)
class Change:
    """What rounding does to the answers of the probe that goes along."""

    mean: float
    """Of absolute differences, of probabilities or of values in their own unit."""
    most: float
    decisions: int | None
    """Recordings of which it says another class; None where it decides on none."""


def change(given: Mapping[str, NDArray[np.float32]], of: Trial, probe: Probe) -> Change:
    """Compare what a rounded file says of the sample with what the probe says of the model."""
    ours, theirs = answers_of(probe, of.z, given)
    apart = np.abs(ours - theirs) * (probe.arrays["unit"] if probe.kind == "values" else 1)
    decides = probe.kind == "classes"
    decisions = int((ours.argmax(1) != theirs.argmax(1)).sum()) if decides else None
    return Change(float(apart.mean()), float(apart.max()), decisions)


def cost(z: NDArray[np.float32], of: Trial) -> list[Cost]:
    """Sex (AUROC) and age (R2) on the sample, each fold by probes fitted on all others.

    The probes are fitted on the model's embeddings and applied to the file's, z: so a probe is
    used that was fitted before anybody thought of the device.
    """
    known = np.isfinite(of.age)
    questions = (
        ("sex, AUROC", "auroc", _sex, np.ones(len(of.z), np.bool_)),
        ("age, R2", "r2", _age, known),
    )
    costs = []
    for name, judge, answer, rows in questions:
        ours = [_judged(answer(of, of.z, rows), of, rows)]
        theirs = [_judged(answer(of, z, rows), of, rows)]
        draws = Resamples(ours)
        costs.append(
            Cost(
                name,
                draws.interval(ours, metric(judge)),
                draws.interval(theirs, metric(judge)),
                draws.difference(ours, theirs, metric(judge)),
            )
        )
    return costs


def _judged(answers: Answers, of: Trial, rows: NDArray[np.bool_]) -> Judged:
    count = answers.classes
    return Judged(answers, np.flatnonzero(rows), of.person[rows], np.full(count, np.nan))


def _sex(of: Trial, z: NDArray[np.float32], rows: NDArray[np.bool_]) -> Answers:
    from sklearn.linear_model import LogisticRegression

    score = np.zeros((len(z), 2))
    for train, test in _folds(of, rows):
        x, y = _standardised(of.z[train], z[test])
        fitted = LogisticRegression(C=0.03, max_iter=1000).fit(x, of.female[train])
        score[test] = fitted.predict_proba(y)
    return Answers(of.female[rows].astype(np.int64), score[rows], score[rows].argmax(1))


def _age(of: Trial, z: NDArray[np.float32], rows: NDArray[np.bool_]) -> Answers:
    from sklearn.linear_model import Ridge

    score = np.zeros(len(z))
    for train, test in _folds(of, rows):
        x, y = _standardised(of.z[train], z[test])
        score[test] = Ridge(alpha=300.0).fit(x, of.age[train]).predict(y)
    return Answers(of.age[rows], score[rows, None], score[rows])


def _folds(
    of: Trial, rows: NDArray[np.bool_]
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Training and test rows; no person is on both sides."""
    return [
        (np.flatnonzero(rows & (of.fold != fold)), np.flatnonzero(rows & (of.fold == fold)))
        for fold in np.unique(of.fold)
    ]


def _standardised(
    train: NDArray[np.float32], test: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    centre, spread = train.mean(0), train.std(0) + 1e-6
    return (train - centre) / spread, (test - centre) / spread
