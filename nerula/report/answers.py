"""Answers: the results of one task, made ready for the page. Nothing is computed anew."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from nerula.report import curves, leads, words
from nerula.report.charts import axis, reliability, scatter
from nerula.report.leads import ByLead, Example, Matrix
from nerula.report.training import Figure
from nerula.results import Result

DETAILED = 6
"""Results of a task whose errors, calibration and groups are shown."""
ONE_PROBE = ("logistic", "ridge", "discriminant", "centred", "forest", "svc", "mlp", "ensemble")
"""Of many models the first of these that all have is shown."""
FINETUNED = "finetuned"
POINTS = 600
"""Dots of a scatter at most."""


@dataclass(frozen=True)
class Dot:
    """A value and its interval as places between 0 and 100 on a shared scale."""

    at: float
    low: float
    high: float


@dataclass(frozen=True)
class Answer:
    """One model and probe with all labels and whole recordings."""

    name: str
    metrics: Mapping[str, Mapping[str, Any]]
    dot: Dot | None


@dataclass(frozen=True)
class Detail:
    """What lies behind one figure."""

    name: str
    metrics: Mapping[str, Mapping[str, Any]]
    answers: list[str]
    confusion: list[list[tuple[int, float]]]
    points: list[Mapping[str, Any]]
    calibration: Figure | None
    groups: list[tuple[Mapping[str, Any], Dot | None]]
    scale: "Scale"
    each: list[tuple[Mapping[str, Any], Dot | None]]
    statements: "Scale"
    scattered: Figure | None

    @property
    def absent(self) -> list[str]:
        """Statements that no tested recording has."""
        return [str(one["label"]) for one, _ in self.each if not one["positive"]]


@dataclass(frozen=True)
class Scale:
    """The axis below dots and whiskers, in places between 0 and 100."""

    ticks: list[tuple[float, str]]
    chance: float | None
    place: Callable[[Mapping[str, Any]], Dot | None]


@dataclass
class Asked:
    """A task on one data set, with everything that was answered."""

    anchor: str
    title: str
    data: str
    document: Mapping[str, Any]
    """That of the first result: what all have in common."""
    main: str
    models: int
    probe: str
    """That of the first chart, where it shows many models by one probe."""
    answers: list[Answer]
    """What the first chart shows."""
    all: list[Answer]
    scale: Scale
    details: list[Detail]
    left: int
    """Results whose details are only in their files."""
    labels: Figure | None = None
    labels_key: Markup | str = ""
    sentences: list[str] = field(default_factory=list)
    """What few labels and missing signal do, in words."""
    gaps: list[Figure] = field(default_factory=list)
    gaps_key: Markup | str = ""
    matrices: list[Matrix] = field(default_factory=list)
    by_lead: ByLead | None = None
    examples: list[Example] = field(default_factory=list)
    results: Sequence[Result] = ()

    @property
    def metric(self) -> str:
        """The name of the main metric."""
        return words.metric(self.main)

    @property
    def chance(self) -> float | None:
        """What one gets without looking."""
        held: float | None = self.document["metrics"][self.main]["chance"]
        return held

    @property
    def shared(self) -> int | None:
        """Subjects and signals on two sides, over all fits; None where nothing is fitted."""
        if self.document["task"]["kind"] == "identity":
            return None
        fits = (fit for one in self.results for fit in one.document["fits"])
        return sum(int(fit["shared_subjects"] + fit["shared_signals"]) for fit in fits)

    @property
    def provenance(self) -> list[tuple[str, str]]:
        """Status and detail of every model's pretraining, each once."""
        held = [one.document["provenance"] for one in self.results]
        return list(dict.fromkeys((one["status"], one["detail"]) for one in held))


def grouped(results: Sequence[Result]) -> list[Asked]:
    """The results by task, leads given and who is tested, in the order in which they come."""
    groups: dict[tuple[str, ...], list[Result]] = {}
    for one in results:
        held = one.document
        way = held["way"]
        given = *way.get("leads", ()), ":", *way.get("tested", ())
        key = held["task"]["name"], held["data"]["split"], *given
        groups.setdefault(key, []).append(one)
    return [_asked(f"task-{number}", group) for number, group in enumerate(groups.values(), 1)]


def _names(group: Iterable[Result]) -> dict[tuple[str, str], str]:
    """What models are called: by a comparison, or by their method and more only where needed."""
    found: dict[tuple[str, str], str] = {}
    for one in group:
        model = one.document["model"]
        found[_model(one)] = model.get("title") or model["method"]
    held = list(found.values())
    return {
        mark: name if held.count(name) == 1 else f"{name} {mark[0][:4]}"
        for mark, name in found.items()
    }


def _model(one: Result) -> tuple[str, str]:
    """A model, and what a comparison calls it: two of its rows may begin with one model."""
    model = one.document["model"]
    return model["fingerprint"], model.get("title", "")


def _asked(anchor: str, group: list[Result]) -> Asked:
    group = sorted(group, key=lambda one: one.document["model"]["method"] != "nerula")
    first = group[0].document
    main, names = first["task"]["main"], _names(group)
    whole = [one for one in group if _is_whole(one.document)]

    def name(one: Result) -> str:
        probe = words.probe(one.document["way"]["probe"])
        return probe if len(names) == 1 else f"{names[_model(one)]}, {probe}"

    shown = _shown(whole, main, many=len(names) > 1) or group
    by = {one.document["way"]["probe"] for one in shown} - {FINETUNED}
    alone = len(names) > 1 and len(by) == 1

    def short(one: Result) -> str:
        if not alone:
            return name(one)
        trained = one.document["way"]["probe"] == FINETUNED
        return f"{names[_model(one)]}{', fine-tuned' if trained else ''}"

    scale = _scale([one.metrics[main] for one in shown], shown[0].metrics[main]["chance"])
    detailed = [] if first["task"]["kind"] in ("identity", "leads") else shown[:DETAILED]
    asked = Asked(
        anchor=anchor,
        title=words.asked(first),
        data=words.data(first["data"]["kind"]),
        document=first,
        main=main,
        models=len(names),
        probe=words.probe(by.pop()) if alone else "",
        answers=[
            Answer(
                short(one) if whole else f"{name(one)}: {words.way(one.document['way'])}",
                one.metrics,
                scale.place(one.metrics[main]),
            )
            for one in shown
        ],
        all=[Answer(name(one), one.metrics, None) for one in whole or group],
        scale=scale,
        details=[_detail(short(one), one) for one in detailed],
        left=len(whole) - len(detailed) if detailed else 0,
        matrices=leads.matrices(group, short),
        by_lead=leads.by_lead(group, main, name),
        examples=leads.examples(group, name),
        results=group,
    )
    same = {one.document["way"]["probe"] for one in shown}
    drawn = [one for one in group if one.document["way"]["probe"] in same]
    curves.few_labels(asked, drawn, short)
    curves.missing_signal(asked, drawn, short)
    return asked


def _shown(whole: list[Result], main: str, *, many: bool) -> list[Result]:
    """What the first chart shows: all probes of one model, or one probe of many, best first."""
    if not many:
        return whole
    for probe in ONE_PROBE:
        chosen = [one for one in whole if one.document["way"]["probe"] in (probe, FINETUNED)]
        if {_model(one) for one in chosen} == {_model(one) for one in whole}:
            break
    else:
        chosen = whole
    sign = 1 if whole and whole[0].metrics[main]["better"] == "lower" else -1
    return sorted(chosen, key=lambda one: sign * (one.metrics[main]["value"] or 0))


def _is_whole(document: Mapping[str, Any]) -> bool:
    return bool(document["way"]["labels"] == 1 and not document["way"]["gap"])


def _scale(held: Sequence[Mapping[str, Any]], chance: float | None) -> Scale:
    values = [one[end] for one in held for end in ("value", "low", "high") if one[end] is not None]
    line = axis(values, "", around=[] if chance is None else [chance])

    def percent_of(value: float) -> float:
        return round(100 * min(max(line.place(value), 0), 1), 2)

    def place(one: Mapping[str, Any]) -> Dot | None:
        value = one["value"]
        if value is None:
            return None
        low, high = (value if one[end] is None else one[end] for end in ("low", "high"))
        return Dot(percent_of(value), percent_of(low), percent_of(high))

    ticks = [(percent_of(tick), line.words(tick)) for tick in line.ticks]
    return Scale(ticks, None if chance is None else percent_of(chance), place)


# --- behind a figure -------------------------------------------------------------------------


def _detail(name: str, result: Result) -> Detail:
    held = result.document
    main, task = held["task"]["main"], held["task"]
    judged = [one["metrics"][main] for one in held.get("subgroups") or [] if one["metrics"]]
    scale = _scale([*judged, held["metrics"][main]], held["metrics"][main]["chance"])
    areas = [one["auroc"] for one in held.get("each") or []]
    statements = _scale(areas, 0.5) if areas else scale
    each = sorted(held.get("each") or [], key=lambda one: -(one["auroc"]["value"] or 0))
    return Detail(
        name=name,
        metrics=held["metrics"],
        answers=list(task["answers"]),
        confusion=[_shared(row) for row in held.get("confusion") or []],
        points=held.get("operating_points") or [],
        calibration=_calibrated(name, held),
        groups=[
            (one, scale.place(one["metrics"][main]) if one["metrics"] else None)
            for one in held.get("subgroups") or []
        ],
        scale=scale,
        each=[(one, statements.place(one["auroc"])) for one in each],
        statements=statements,
        scattered=_scattered(name, result) if task["kind"] == "values" else None,
    )


def _shared(row: Sequence[int]) -> list[tuple[int, float]]:
    """Counts with their share of the row."""
    total = sum(row) or 1
    return [(int(count), round(count / total, 3)) for count in row]


def _calibrated(name: str, held: Mapping[str, Any]) -> Figure | None:
    calibration = held.get("calibration")
    if not calibration:
        return None
    brier = held["metrics"].get("brier")
    said = f"Brier score {words.interval(brier)}. " if brier else ""
    return Figure(
        "Calibration",
        reliability(calibration["curve"], f"Calibration of {name}"),
        f"How often what was said with a probability happened: {calibration['of']}. Dots on the "
        f"dashed line are honest, dots below it are too sure; larger dots stand for more "
        f"recordings. {said}Mean distance from the line: {calibration['expected_error']:.3f}.",
    )


def _scattered(name: str, result: Result) -> Figure:
    truth = [float(value) for value in result.runs[0].answers.truth]
    said = [float(value) for value in result.runs[0].answers.predicted]
    step = -(-len(truth) // POINTS)
    points = list(zip(truth[::step], said[::step], strict=True))
    unit = (result.document["task"]["answers"] or ["value"])[0]
    x, y = (axis([*truth, *said], f"{what} {unit}") for what in ("true", "said"))
    some = f" Every {step}th recording is drawn." if step > 1 else ""
    return Figure(
        "Said and true",
        scatter(points, x, y, f"{name}: said against true {unit}"),
        "Dots on the dashed line are right. A cloud flatter than the line means that extremes are "
        f"drawn towards the mean, as they are when little is known.{some}",
    )
