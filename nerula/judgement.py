"""Judgement: everything that is said of the answers of a probe, as plain JSON values."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerula import metrics
from nerula.bootstrap import Interval, Judged, Resamples, Statistic, metric
from nerula.metrics import Answers, Floats, reliability
from nerula.tasks import Facts, Task

AGES = ((0, 40), (40, 60), (60, 75), (75, 150))
"""Bands of age, in years; the upper end belongs to the next."""
SPECIFICITY = 0.9
SUBGROUP_RESAMPLES = 300
LEAST = 20
"""Recordings that a subgroup needs to be judged at all, and a statement with it and without."""


def overall(
    task: Task, runs: Sequence[Judged], chance: Sequence[Judged] | None, resamples: int
) -> dict[str, Any]:
    """Every metric of the task with its interval, and what one gets without looking."""
    drawn = Resamples(runs, resamples)
    rows = np.unique(np.concatenate([run.row for run in runs]))
    found = {}
    for name in task.metrics:
        without = _chance(name, runs) if chance is None else _value(name, chance)
        found[name] = {
            **_rounded(drawn.interval(runs, metric(name))),
            "n": len(rows),
            "subjects": len(drawn.people),
            "chance": _number(without),
            "better": "lower" if name in metrics.LOWER else "higher",
        }
    return found


def details(task: Task, runs: Sequence[Judged], facts: Facts, resamples: int) -> dict[str, Any]:
    """Subgroups, calibration, thresholds and errors, as far as the kind of task has them."""
    found: dict[str, Any] = {"subgroups": _subgroups(task, runs, facts)}
    if task.kind == "classes":
        ones = [run.answers.confusion(np.ones((1, len(run.row))))[0] for run in runs]
        found["confusion"] = np.sum(ones, axis=0).astype(int).tolist()
    if task.kind in ("classes", "labels"):
        found["operating_points"] = _operating_points(task, runs, resamples)
        found["calibration"] = _calibration(task, runs)
    if task.kind == "labels":
        found["each"] = _each_label(task, runs, resamples)
    return found


def thresholds(held: Answers | None, columns: int) -> Floats:
    """Per class or statement, where 90 % of the others lie below, on rows of the training side.

    NaN where there are no such rows, or too few without a statement.
    """
    several = held is not None and held.truth.ndim == 2
    if held is None or (columns < 2 and not several):
        return np.full(columns, np.nan)
    positive = held.onehot > 0
    enough = (~positive).sum(0) >= (LEAST if several else 1)
    chosen = [
        metrics.threshold_at(positive[:, one], held.score[:, one], SPECIFICITY)
        if enough[one]
        else np.nan
        for one in range(columns)
    ]
    return np.array(chosen)


def age_name(low: int, high: int) -> str:
    """What a band of age is called."""
    return f"{low}-{high - 1}" if high < AGES[-1][1] else f"{low} and over"


def decided(task: Task, score: Floats, held: Answers | None) -> NDArray[np.int8]:
    """Which statements are made (N, K): above what was best on the training side."""
    limits = np.full(score.shape[1], 0.5)
    if held is not None:
        limits = (task.limits or _limits_for_f1)(held.onehot, held.score)
    return (score >= limits).astype(np.int8)


def _limits_for_f1(truth: Floats, score: Floats) -> Floats:
    """For each statement by itself."""
    pairs = zip(truth.T > 0, score.T, strict=True)
    return np.array([metrics.threshold_for_f1(*pair) for pair in pairs])


def _subgroups(task: Task, runs: Sequence[Judged], facts: Facts) -> list[dict[str, Any]]:
    """The metrics among women, men and bands of age, where these are known."""
    if task.kind == "identity":
        return []
    groups: list[tuple[str, str, NDArray[np.bool_]]] = [
        ("sex", sex, facts.sex == sex) for sex in ("female", "male")
    ]
    for low, high in AGES:
        groups.append(("age", age_name(low, high), (facts.age >= low) & (facts.age < high)))
    found = []
    for by, group, members in groups:
        parts = [run.where(members[run.row]) for run in runs]
        size = len(np.unique(np.concatenate([part.row for part in parts])))
        if min(len(part.row) for part in parts) < LEAST:
            if size:
                found.append({"by": by, "group": group, "n": size, "metrics": None})
            continue
        drawn = Resamples(parts, SUBGROUP_RESAMPLES)
        values = {name: _rounded(drawn.interval(parts, metric(name))) for name in task.metrics}
        found.append(
            {"by": by, "group": group, "n": size, "subjects": len(drawn.people), "metrics": values}
        )
    return found


def _operating_points(task: Task, runs: Sequence[Judged], resamples: int) -> list[dict[str, Any]]:
    """What a threshold that was chosen on the training side does on the test side.

    Of two classes for the second; of statements for those with enough recordings to be judged.
    """
    drawn = Resamples(runs, resamples)

    def of(column: int) -> Statistic:
        def both(run: Judged, weight: Floats) -> Floats:
            answers = run.answers
            pair = metrics.sensitivity_and_specificity(
                answers.onehot[:, column] > 0,
                answers.score[:, column],
                float(run.thresholds[column]),
                weight,
            )
            return np.stack(pair, axis=1)

        return both

    points = []
    for column, name in enumerate(task.answers):
        if task.kind == "labels":
            if min(_fewest(run, column) for run in runs) < LEAST:
                continue
        elif len(task.answers) == 2 and not column:
            continue
        chosen = [run.thresholds[column] for run in runs]
        if np.isnan(chosen).any():
            continue
        sensitivity, specificity = drawn.intervals(runs, of(column))
        points.append(
            {
                "class": name,
                "aimed_specificity": SPECIFICITY,
                "threshold": [_number(one) for one in chosen],
                "sensitivity": _rounded(sensitivity),
                "specificity": _rounded(specificity),
            }
        )
    return points


def _fewest(run: Judged, column: int) -> int:
    """How many tested recordings have a statement, or lack it, whichever is fewer."""
    having = int(run.answers.onehot[:, column].sum())
    return min(having, len(run.row) - having)


def _calibration(task: Task, runs: Sequence[Judged]) -> dict[str, Any]:
    """How often what was said with 70 % happened.

    Of two classes for the second, of more for the most probable one, of statements for each. All
    runs together; "expected_error" is the mean distance over bins by their size.
    """
    score = np.concatenate([run.answers.score for run in runs])
    onehot = np.concatenate([run.answers.onehot for run in runs])
    if task.kind == "labels":
        said, happened, of = score.ravel(), onehot.ravel(), "every statement"
    elif len(task.answers) == 2:
        said, happened, of = score[:, 1], onehot[:, 1], task.answers[1]
    else:
        top = score.argmax(1)
        said, happened = score.max(1), onehot[np.arange(len(top)), top]
        of = "the most probable class"
    curve = reliability(said, happened)
    apart = sum(one["n"] * abs(one["predicted"] - one["observed"]) for one in curve)
    return {"of": of, "curve": curve, "expected_error": round(apart / len(said), 5)}


def _each_label(task: Task, runs: Sequence[Judged], resamples: int) -> list[dict[str, Any]]:
    """The AUROC of each statement, NaN (null) where the test side lacks it."""
    drawn = Resamples(runs, resamples)
    areas = drawn.intervals(runs, lambda run, w: metrics.auroc_each(run.answers, w))
    positive = runs[0].answers.onehot.sum(0).astype(int).tolist()
    return [
        {"label": label, "positive": count, "auroc": _rounded(area)}
        for label, count, area in zip(task.answers, positive, areas, strict=True)
    ]


def each_lead(
    task: Task, runs: Sequence[Judged], leads: Sequence[str], resamples: int
) -> list[dict[str, Any]]:
    """Every metric for each lead that was rebuilt, by itself."""
    drawn, found = Resamples(runs, resamples), []
    for place, lead in enumerate(leads):
        parts = [_columns(run, slice(3 * place, 3 * place + 3)) for run in runs]
        values = {name: _rounded(drawn.interval(parts, metric(name))) for name in task.metrics}
        found.append({"lead": lead, "metrics": values})
    return found


def _columns(run: Judged, chosen: slice) -> Judged:
    """The same of some scores only."""
    answers = replace(run.answers, score=run.answers.score[:, chosen])
    return replace(run, answers=answers, thresholds=run.thresholds[chosen])


def _chance(name: str, runs: Sequence[Judged]) -> float:
    """Identity: one of so many persons, or a coin."""
    return 0.5 if name == "eer" else float(np.mean([1 / len(run.row) for run in runs]))


def _value(name: str, runs: Sequence[Judged]) -> float:
    ones = [metric(name)(run, np.ones((1, len(run.row))))[0] for run in runs]
    return float(np.mean(ones))


def _rounded(interval: Interval) -> dict[str, float | None]:
    return {name: _number(value) for name, value in asdict(interval).items()}


def _number(value: float) -> float | None:
    """JSON knows no NaN."""
    return None if not np.isfinite(value) else round(float(value), 6)
