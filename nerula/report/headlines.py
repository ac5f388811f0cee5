"""Headlines: what the results say, in plain sentences, and what should make one careful."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nerula.report import words
from nerula.report.answers import Answer, Asked
from nerula.report.charts import fixed, percent
from nerula.report.curves import splits
from nerula.report.pictures import Filling
from nerula.report.training import Trained

LEADING = 3
"""Of many models those that are named first."""
MANY = 3
"""Trainings beyond which they are only counted at the top."""
FEW = 300
"""Tested recordings below which intervals are wide."""


@dataclass(frozen=True)
class Headline:
    """A task in one figure and one sentence."""

    anchor: str
    title: str
    figure: str
    metric: str
    sentence: str
    verdict: str
    sound: bool
    """Whether every interval lies on the better side of guessing."""


def headline(asked: Asked) -> Headline:
    """What a task's results come to."""
    better, chance = asked.document["metrics"][asked.main]["better"], asked.chance
    found = [one for one in asked.answers if one.metrics[asked.main]["value"] is not None]
    ordered = sorted(
        found, key=lambda one: one.metrics[asked.main]["value"], reverse=better == "higher"
    )
    above = [one for one in ordered if _beats(one.metrics[asked.main], chance, better)]
    many = asked.models > 1
    return Headline(
        anchor=asked.anchor,
        title=asked.title,
        figure=_figure([one.metrics[asked.main]["value"] for one in ordered], many=many),
        metric=f"{asked.metric}{f' of {ordered[0].name}' if many and ordered else ''}",
        sentence=_sentence(asked, ordered, chance),
        verdict=_verdict(ordered, above, chance, many=many),
        sound=bool(above) if many else len(above) == len(ordered) > 0,
    )


def _figure(values: Sequence[float], *, many: bool) -> str:
    """The best of many models; of one model's probes the range, for the best may be luck."""
    if not values:
        return "–"
    if many or fixed(values[0]) == fixed(values[-1]):
        return fixed(values[0])
    low, high = sorted((values[0], values[-1]))
    return f"{_short(low)}\N{EN DASH}{_short(high)}"


def _sentence(asked: Asked, ordered: Sequence[Answer], chance: float | None) -> str:
    held = asked.document["metrics"][asked.main]
    people = f" of {held['subjects']:,} people" if held["subjects"] != held["n"] else ""
    guessing = f"; guessing gives {fixed(chance)}" if chance is not None else ""
    tested = f"on {held['n']:,} recordings{people}{guessing}."
    if asked.models == 1:
        said = [f"{words.interval(one.metrics[asked.main])} by {_plain(one.name)}"
                for one in ordered]  # fmt: skip
        return f"{words.listed(said)}, {tested}"
    said = [f"{one.name} {words.interval(one.metrics[asked.main])}" for one in ordered[:LEADING]]
    rest = f"; last of {len(ordered)}: {ordered[-1].name}" if len(ordered) > LEADING else ""
    by = f"By {_plain(asked.probe)}, " if asked.probe else ""
    return f"{'; '.join(said)}{rest}. {by}{tested if by else tested[0].upper() + tested[1:]}"


def _verdict(
    ordered: Sequence[Answer], above: Sequence[Answer], chance: float | None, *, many: bool
) -> str:
    if chance is None or not ordered:
        return ""
    if not above:
        return "No better than guessing, as far as these recordings can tell."
    if many:
        return f"{len(above)} of {len(ordered)} are better than guessing: their intervals say so."
    if len(above) == len(ordered) > 1:
        return "All better than guessing: every interval excludes it."
    if len(above) == len(ordered):
        return "Better than guessing: the interval excludes it."
    return f"Better than guessing: {words.listed([_plain(one.name) for one in above])} only."


def _beats(held: Mapping[str, Any], chance: float | None, better: str) -> bool:
    edge = held["low"] if better == "higher" else held["high"]
    if edge is None or chance is None:
        return False
    return bool(edge > chance if better == "higher" else edge < chance)


def few_labels(asked: Asked) -> str:
    """What the smallest share of labels does, or nothing."""
    few = [one for one in asked.results if one.document["way"]["labels"] < 1]
    known = [one for one in few if one.metrics[asked.main]["value"] is not None]
    if not known:
        return ""
    least = min(one.document["way"]["labels"] for one in known)
    probes = [one for one in known if one.document["way"]["labels"] == least]
    best = probes[0]
    before = fixed(best.metrics[asked.main]["value"])
    full = _counterpart(asked, best.document)
    return (
        f"With {percent(least)} of the labels: {asked.metric} {before}"
        + (f", instead of {full} with all" if full else "")
        + f" ({_plain(words.probe(best.document['way']['probe']))})."
    )


def missing(asked: Asked) -> str:
    """What the middle gap does to each way of treating it, or nothing."""
    gaps = sorted({one.document["way"]["gap"] for one in asked.results} - {0})
    if not gaps:
        return ""
    gap = gaps[len(gaps) // 2]
    first = next(one for one in asked.results if one.document["way"]["gap"] == gap)
    probe = first.document["way"]["probe"], first.document["model"]["fingerprint"]
    same = {
        one.document["way"]["filling"]: fixed(one.metrics[asked.main]["value"])
        for one in asked.results
        if one.document["way"]["gap"] == gap
        and (one.document["way"]["probe"], one.document["model"]["fingerprint"]) == probe
    }
    said = [f"{same[filling]} {how}" for filling, how in words.FILLINGS.items() if filling in same]
    full = _counterpart(asked, first.document)
    whole = f", instead of {full}" if full else ""
    return (
        f"With {percent(gap)} of the signal missing: {asked.metric} {words.listed(said)}{whole} "
        f"({_plain(words.probe(probe[0]))})."
    )


def _counterpart(asked: Asked, document: Mapping[str, Any]) -> str:
    """The same model and probe on the same splits, with all labels and whole recordings."""
    for one in asked.results:
        way = one.document["way"]
        if way["labels"] == 1 and not way["gap"] and _who(one.document) == _who(document):
            return fixed(one.metrics[asked.main]["value"])
    return ""


def _who(document: Mapping[str, Any]) -> tuple[Any, ...]:
    """A model under its name, its probe, and what it was tested on."""
    model = document["model"]
    return model["fingerprint"], model.get("title"), document["way"]["probe"], splits(document)


def also(runs: Sequence[Trained], fillings: Sequence[Filling]) -> list[str]:
    """Sentences beside the tasks'."""
    said = [f"Training of {run.name}: {run.summary}" for run in runs]
    if len(runs) > MANY:
        collapsed = sum(run.collapsed for run in runs)
        said = [f"{len(runs)} trainings; {collapsed or 'none'} collapsed."]
    said += [
        f"{one.model} fills hidden stretches of {one.judged} recordings"
        f"{' that it was not trained on' if one.unseen else ''} with a mean error of "
        f"{1000 * one.error:.0f} µV; straight lines make {1000 * one.lines:.0f} µV."
        for one in fillings
    ]
    return said


def cautions(
    asked: Sequence[Asked], runs: Sequence[Trained], left_out: Sequence[str]
) -> list[str]:
    """What a reader must know before believing anything."""
    said = [
        f"The training {run.name} collapsed: its embeddings of different recordings are nearly "
        "the same, and nothing below about it means much."
        for run in runs
        if run.collapsed
    ]
    results = [one for task in asked for one in task.results]
    names: dict[str, set[str]] = {}
    for one in results:
        held = one.document
        names.setdefault(held["provenance"]["status"], set()).add(held["model"]["method"])
    own_files = names.pop("unknown", set())
    unverified = set().union(*(names[status] for status in names if status != "checked"))
    if unverified:
        said.append(
            f"Nobody knows what {words.listed(sorted(unverified))} was trained on: it may have "
            "seen the recordings that it is judged by."
        )
    if own_files:
        said.append(
            f"What {words.listed(sorted(own_files))} was trained on cannot be compared by name "
            "with what it is judged by: some of those files may be the same recordings."
        )
    counts = [task.document["data"]["tested"] for task in asked]
    few = sorted({count for count in counts if count < FEW})
    if few:
        tested = f"{few[0]:,} to {few[-1]:,}" if len(few) > 1 else f"{few[0]:,}"
        which = "" if len(few) == len(set(counts)) else " in some tasks"
        said.append(
            f"Only {tested} recordings were tested{which}: intervals are wide, and differences "
            "between probes or subgroups mean little."
        )
    if any(one.document["data"]["kind"] == "sample" for one in results):
        said.append("The bundled sample is a first look, not a benchmark.")
    return [*said, *(f"Left out: {one}" for one in left_out)]


def _short(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def _plain(name: str) -> str:
    """A probe's name inside a sentence."""
    short = {"SVC", "MLP"}
    return " ".join(word if word.rstrip(",") in short else word.lower() for word in name.split())
