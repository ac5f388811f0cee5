"""Tables: which rows and columns they want. What is to be computed follows from them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from nerula.comparison import published, rows
from nerula.comparison.rows import Row
from nerula.errors import UsageError, unknown
from nerula.leads import Given, spoken
from nerula.metrics import LOWER
from nerula.probes import GRIDS
from nerula.readers.names import STANDARD
from nerula.tasks import Task, find
from nerula.tasks.own import is_table

FINETUNED = "finetuned"
PROBES = {
    "svc": "SVC", "forest": "forest", "logistic": "logistic", "ridge": "ridge", "mlp": "MLP",
    "ensemble": "ensemble", "discriminant": "discriminant", "centred": "centred",
    "cosine": "cosine",
    FINETUNED: "fine-tuned", "decoded-I": "decoders, from I", "decoded-II": "decoders, from II",
    "scaled-I": "one factor, from I", "scaled-II": "one factor, from II",
    "filtered-I": "least squares, from I", "filtered-II": "least squares, from II",
    "beat-I": "mean beat, from I", "beat-II": "mean beat, from II",
}  # fmt: skip
METRICS = {
    "accuracy": "accuracy", "macro_f1": "F1", "auroc": "AUROC", "mae": "MAE", "r2": "R²",
    "rmse": "RMSE", "rank1": "rank-1", "eer": "EER", "lead_r2": "R²",
    "lead_pearson": "Pearson's r", "alignment": "centred correlation",
    "challenge_score": "Challenge score",
}  # fmt: skip
MORE = {"4": [("logistic", "auroc")]}
"""Columns that our tables have beside the paper's."""
BESIDE = {
    "rank1": ("eer",), "lead_pearson": ("lead_r2",),
    "statements": ("macro_f1",), "diagnoses": ("challenge_score", "macro_f1"),
}  # fmt: skip
"""Metrics that stand beside a main one, or beside that of a task: whether a person is told from
others at a threshold too, how much of a signal is right in size, not in shape alone, and what is
made of probabilities when one has to decide."""
BETWEEN = {"2": ["nerula-alignment"]}
"""Rows that our tables have beside the paper's: by default NERULA is without BYOL's moving average
and has other patches, which is a step of its own before the reconstruction."""
CONTROLS = (
    "random_init", "random_init-resnet", "random_convolutions", "heart_rate", "majority",
)  # fmt: skip
TASKS = {"arrhythmia": ("arrhythmia", "arrhythmia-paper")}
"""Protocols under which a task of the paper is asked, where there are several."""
LIST = " (the paper's test list)"


@dataclass(frozen=True)
class Column:
    """A metric of a probe on a task."""

    task: str
    probe: str
    metric: str
    labels: float = 1.0
    gap: float = 0.0
    filling: str = "masked"
    leads: tuple[str, ...] = ()
    """Which leads the models are given; all that they have where empty."""
    tested: tuple[str, ...] = ()
    """Which of them test recordings have, where not the same."""

    @property
    def given(self) -> Given:
        """The leads in training and test."""
        return Given(self.leads, self.tested)

    @property
    def heading(self) -> str:
        """Such as "SVC F1" or "forest MAE, 10 % of labels"."""
        probe, metric = PROBES.get(self.probe, self.probe), METRICS.get(self.metric)
        words = f"{probe} {metric or self.metric.replace('_', ' ')}"
        if self.labels < 1:
            words += f", {100 * self.labels:g} % of labels"
        if self.gap:
            words += f", {100 * self.gap:g} % missing, {self.filling}"
        if self.leads:
            words += f", {spoken(self.leads)}"
        if self.tested:
            words += f", tested with {spoken(self.tested)} alone"
        return words[0].upper() + words[1:]

    @property
    def lower(self) -> bool:
        """Whether less is better."""
        return self.metric in LOWER

    @property
    def without_probe(self) -> Self:
        """Equal for columns that differ in nothing but the probe."""
        return replace(self, probe="")

    def probe_of(self, row: Row) -> str:
        """What fills this column for a row: of a supervised one, its own output."""
        return FINETUNED if row.kind == "supervised" else self.probe


@dataclass(frozen=True)
class Table:
    """A table that is wanted."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[str, ...]
    number: str | None = None
    """The paper's table beside which it stands."""
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """For comparison.json."""
        return asdict(self)

    @classmethod
    def from_json(cls, held: dict[str, Any]) -> Self:
        """The other way."""
        columns = tuple(
            Column(**column | {key: tuple(column.get(key, ())) for key in ("leads", "tested")})
            for column in held["columns"]
        )
        return cls(**held | {"columns": columns, "rows": tuple(held["rows"])})

    def sensible(self) -> "Table":
        """Without rows in which no cell makes sense."""
        kept = [
            name
            for name in self.rows
            if any(self.asks(rows.find(name), column) for column in self.columns)
        ]
        return replace(self, rows=tuple(kept))

    def joined(self, other: "Table") -> "Table":
        """This and another of the same name, in one."""
        columns = tuple(dict.fromkeys(self.columns + other.columns))
        columns = columns if self.number else _in_order(columns)
        names = tuple(rows.in_order(self.rows + other.rows))
        return Table(self.name, other.title, columns, names, other.number, other.note)

    def asks(self, row: Row, column: Column) -> bool:
        """Whether a cell makes sense."""
        task = find(column.task)
        if row.kind == "supervised":  # it has one answer for all probes, as in the paper
            same = [one for one in self.columns if one.without_probe == column.without_probe]
            fits = task.view == "whole" and task.trained and not column.gap
            return fits and same[0] == column
        if not row.many and (task.kind == "leads" or max(map(len, column.given)) > 1):
            return False
        if task.name == "leads" and not rows.decodes(row):
            return False
        if row.without and find(row.without).family == task.family:
            return row.without == column.task
        return True

    def published(self, row: str, column: Column) -> float | None:
        """The paper's figure for a cell."""
        if column.labels < 1 or column.gap or any(column.given):
            return None
        return published.figure(self.number, column.task, row, column.probe, column.metric)


def of_paper() -> list[Table]:
    """The paper's tables 1 to 6, with controls, and the third by two protocols."""
    made = []
    for number, held in published.tables().items():
        for task in TASKS.get(held["task"], (held["task"],)):
            pairs = [tuple(pair) for pair in held["columns"]] + MORE.get(number, [])
            compared = list(held["rows"]) + BETWEEN.get(number, [])
            if number in published.MAIN:
                compared += ["supervised", *CONTROLS, "nerula-challenge2017"]
            listed = task in published.PROTOCOLS
            columns = tuple(Column(task, probe, metric) for probe, metric in pairs)
            name = f"table-{number}{'-list' if listed else ''}"
            title = f"Table {number}. {held['title']}{LIST if listed else ''}"
            table = Table(name, title, columns, tuple(rows.in_order(compared)), number)
            made.append(table.sensible())
    return made


def of_tasks(
    compared: Sequence[str],
    tasks: Sequence[str],
    *,
    probes: Sequence[str] = (),
    labels: Sequence[float] = (1.0,),
    gaps: Sequence[float] = (),
    leads: Sequence[Given] = (Given(),),
    finetune: bool = False,
    note: str = "",
) -> list[Table]:
    """One table for each task: the main metric of each probe, and whatever the paper has."""
    if not compared or not tasks:
        raise UsageError("Say METHODS and TASKS.", "Such as: nerula compare nerula,byol sex,age")
    for own in filter(is_table, tasks):
        raise UsageError(
            f"A comparison has to be readable without {own}, so it asks tasks that have a name.",
            f"Ask each model by itself: nerula probe MODEL {own} STORE",
        )
    known = {probe for probe, _ in GRIDS} | {one for name in tasks for one in find(name).probes}
    for probe in probes:
        if probe not in known:
            raise unknown("probe", probe, sorted(known))
    made = []
    for name in tasks:
        task = find(name)
        trained = task.trained
        wanted = [probe for probe in probes if probe in task.probes] or list(task.probes)
        tuned = trained or task.learners is not None
        wanted += [FINETUNED] if finetune and tuned and task.view == "whole" else []
        columns = [
            Column(name, probe, metric, share, leads=given.fitted, tested=given.tested)
            for given in _given(task, leads)
            for probe in wanted
            for metric in _metrics(name, probe, task.main)
            for share in (labels if trained else (1.0,))
        ]
        columns += [
            Column(name, probe, task.main, 1.0, gap, filling)
            for probe in wanted
            if probe != FINETUNED and task.kind != "leads"
            for gap in gaps
            for filling in ("masked", "zeros", "lines")
        ]
        table = Table(name, task.title, tuple(columns), tuple(rows.in_order(compared)), None, note)
        made.append(table.sensible())
    return made


def _in_order(columns: tuple[Column, ...]) -> tuple[Column, ...]:
    """Probe by probe and metric by metric, as they came first; all leads before few of them."""
    probes, metrics = (
        list(dict.fromkeys(getattr(one, name) for one in columns)) for name in ("probe", "metric")
    )

    def place(one: Column) -> tuple[Any, ...]:
        many = -len(one.leads or STANDARD), bool(one.tested), -len(one.tested)
        return probes.index(one.probe), bool(one.gap), metrics.index(one.metric), one.labels, *many

    return tuple(sorted(columns, key=place))


def _given(task: Task, leads: Sequence[Given]) -> Sequence[Given]:
    """The leads with which a task can be asked."""
    if task.kind == "leads":
        return (Given(),)
    return leads if task.trained else [one for one in leads if not one.tested] or (Given(),)


def _metrics(task: str, probe: str, main: str) -> list[str]:
    """The main metric, those beside it, and those that the paper has of this probe."""
    asked = published.PROTOCOLS.get(task, task)
    also = [
        metric
        for number in published.MAIN
        if published.tables()[number]["task"] == asked
        for held, metric in published.tables()[number]["columns"]
        if held == probe
    ]
    return list(dict.fromkeys([main, *BESIDE.get(main, ()), *BESIDE.get(task, ()), *also]))
