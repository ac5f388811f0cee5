"""Curves: what few labels and missing signal do to a task's results."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from nerula.report import words
from nerula.report.charts import Axis, Series, axis, key, lines, percent, shares
from nerula.report.training import Figure
from nerula.results import Result

if TYPE_CHECKING:
    from nerula.report.answers import Asked

DRAWN = 6
"""Lines that a chart can tell apart."""
GAPS_DRAWN = 3
"""Charts of missing signal."""


def few_labels(asked: "Asked", group: list[Result], name: Callable[[Result], str]) -> None:
    """Draw the main metric over shares of labels, a line for each model and probe."""
    chosen = _by_name([one for one in group if not one.document["way"]["gap"]], name, "labels")
    chosen = {who: held for who, held in chosen.items() if len(held) > 1}
    if not chosen:
        return
    shown = dict(list(chosen.items())[:DRAWN])
    x = shares([share for held in shown.values() for share, _ in held], "share of the labels")
    fits = max(len(one.document["fits"]) for one in group)
    asked.labels = Figure(
        "Few labels",
        _curves(asked, shown, x, f"{asked.title}: {asked.metric} by share of labels"),
        f"{asked.metric} of a probe that got only a share of the training labels"
        f"{f' (means of up to {fits} fits)' if fits > 1 else ''}. A flat curve means that few "
        "labels do; whiskers are 95 % intervals.",
    )
    asked.labels_key = key(list(shown)) if len(shown) > 1 else ""


def missing_signal(asked: "Asked", group: list[Result], name: Callable[[Result], str]) -> None:
    """Draw the main metric over missing signal, a chart for each model and probe."""
    full = [one for one in group if one.document["way"]["labels"] == 1]
    broken: dict[str, list[Result]] = {}
    for one in full:
        broken.setdefault(name(one), []).append(one)
    for who, measured in broken.items():
        held = _comparable(measured)
        if len(held) < 2 or len(asked.gaps) == GAPS_DRAWN:
            continue
        whole = [one for one in held if not one.document["way"]["gap"]]
        ways: dict[str, list[tuple[float, Mapping[str, Any]]]] = {}
        for filling, said in words.FILLINGS.items():
            mine = [one for one in held if one.document["way"]["gap"]
                    and one.document["way"]["filling"] == filling]  # fmt: skip
            if mine:
                points = [(one.document["way"]["gap"], one.metrics[asked.main])
                          for one in whole + mine]  # fmt: skip
                ways[said] = sorted(points, key=lambda pair: pair[0])
        if not ways:
            continue
        fits = max(len(one.document["fits"]) for one in held)
        means = f" (means of {fits} fits)" if fits > 1 else ""
        x = axis([gap for line in ways.values() for gap, _ in line], "share of the signal missing")
        x = Axis(x.low, x.high, x.ticks, x.label, percent)
        asked.gaps.append(
            Figure(
                f"Missing signal: {who}",
                _curves(asked, ways, x, f"{asked.title}, {who}: {asked.metric} by missing signal"),
                f"{asked.metric} on the same recordings with bursts of 0.5 s taken out{means}. "
                "The flatter the curve, the less missing signal matters; the line of what is "
                "hidden from the encoder should lie above believing zeros or straight lines"
                f"{' (here: below, less is better)' if _lower(asked) else ''}.",
            )
        )
        asked.gaps_key = key(list(ways))


def _comparable(held: Sequence[Result]) -> list[Result]:
    """The most that are about the same splits: gaps were once measured on the first only."""
    found: dict[frozenset[int], list[Result]] = {}
    for one in held:
        found.setdefault(splits(one.document), []).append(one)
    return max(found.values(), key=len)


def splits(document: Mapping[str, Any]) -> frozenset[int]:
    """Which of a task's splits a result is about: with them, which recordings were tested."""
    return frozenset(fit["split"] for fit in document["fits"])


def _by_name(
    group: list[Result], name: Callable[[Result], str], varied: str
) -> dict[str, list[tuple[float, Mapping[str, Any]]]]:
    found: dict[str, list[tuple[float, Mapping[str, Any]]]] = {}
    for one in group:
        held = one.document
        found.setdefault(name(one), []).append(
            (held["way"][varied], one.metrics[held["task"]["main"]])
        )
    return {who: sorted(held, key=lambda pair: pair[0]) for who, held in found.items()}


def _curves(
    asked: "Asked",
    ways: Mapping[str, Sequence[tuple[float, Mapping[str, Any]]]],
    x: Axis,
    title: str,
) -> Markup:
    series = []
    values: list[float] = []
    for who, held in ways.items():
        known = [(at, one) for at, one in held if one["value"] is not None]
        whiskers = [
            (one["low"] if one["low"] is not None else one["value"],
             one["high"] if one["high"] is not None else one["value"])
            for _, one in known
        ]  # fmt: skip
        values += [end for pair in whiskers for end in pair]
        series.append(Series(who, [(at, one["value"]) for at, one in known], whiskers))
    chance = asked.chance
    y = axis(values, "", around=[] if chance is None else [chance])
    return lines(series, x, y, title, level=None if chance is None else (chance, "guessing"))


def _lower(asked: "Asked") -> bool:
    return bool(asked.document["metrics"][asked.main]["better"] == "lower")
