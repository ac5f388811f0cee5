"""Request: what a comparison is asked for, as tables, rows and a budget."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from nerula.comparison import rows
from nerula.comparison.plan import FILE, Budget, Plan
from nerula.comparison.rows import Row
from nerula.comparison.tables import Column, Table
from nerula.errors import UsageError
from nerula.tasks import Task, find

MINIATURE = 400
"""Recordings of the sample that `--quick` takes: 320 or so of them train."""
NOTE = (
    "In miniature: tiny networks, one epoch over a third of the bundled sample. It shows that "
    "everything works; the figures mean nothing."
)
_TINY = {"widths": (8, 8, 8, 8)}
_LOCAL = {
    "width": 32, "heads": 2, "stem": ((8, 2), (16, 2), (32, 2)), "blocks": ((9, 1), (9, 1)),
    "decoder_width": 32,
}  # fmt: skip
SMALL: Mapping[str, Mapping[str, Any]] = {
    "nerula": _LOCAL,
    "byol": _TINY,
    "simclr": _TINY,
    "cmsc": _TINY,
    "timae": {"width": 16, "depth": 1, "heads": 2, "decoder_width": 16, "decoder_depth": 1},
    "random_convolutions": {"kernels": 100},
    "random_init-resnet": _TINY,
    "supervised": _TINY,
}
"""Arguments of methods and rows for `--quick`."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is wanted."""

    tables: Sequence[Table]
    rows: Mapping[str, Row]
    budget: Budget
    tuning: Mapping[str, Any] = field(default_factory=dict)
    """Options of training on labels."""
    limit: int | None = None
    """How many recordings of the sample."""

    @property
    def tasks(self) -> list[Task]:
        """Every task of the tables."""
        names = [column.task for table in self.tables for column in table.columns]
        return [find(name) for name in dict.fromkeys(names)]

    def asked(self, row: Row) -> list[str]:
        """The tasks that are asked of a row."""
        names = [
            column.task
            for table in self.tables
            for column in table.columns
            if row.name in table.rows and table.asks(row, column)
        ]
        return list(dict.fromkeys(names))

    def several(self, out: Path) -> bool:
        """Whether any row takes several leads, of now or of what the folder `out` holds.

        Its rows have all leads of one store, whichever of them are asked for again.
        """
        held = Plan.read(out).rows if (out / FILE).exists() else []
        known = [row["many"] for row in held if "many" in row]
        return any(known) or any(row.many for row in self.rows.values())

    def on(self, leads: Mapping[str, Sequence[str]]) -> Self:
        """With rows as they are trained on stores of these leads."""
        made = {name: rows.of_one_lead(row, leads[name]) for name, row in self.rows.items()}
        return replace(self, rows=made)

    def configured(self, settings: Sequence[str], *, large: bool) -> Self:
        """With what was set for methods and rows."""
        read = rows.read_settings(settings)
        rows.check_settings(read, list(self.rows.values()))
        if self.limit is not None:  # in miniature, unless something else was said
            small = [(name, key, value) for name in SMALL for key, value in SMALL[name].items()]
            read, large = [*small, *read], False
        made = {name: rows.configured(row, read, large=large) for name, row in self.rows.items()}
        return replace(self, rows=made)


def of_tables(
    wanted: Sequence[Table], budget: Budget, label_epochs: int, label_pace: float | None = None
) -> Request:
    """What these tables need."""
    tuning: dict[str, Any] = {"epochs": label_epochs}
    if label_pace is not None:
        tuning["pace"] = label_pace
    return Request(tables=wanted, rows=_rows(wanted), budget=budget, tuning=tuning)


def of_sample() -> Request:
    """Every row in miniature on a part of the sample, with few columns."""
    names = [name for name, row in rows.ROWS.items() if not row.without and not row.many]
    columns = {
        "sex": (("svc", "accuracy"), ("logistic", "auroc")),
        "age": (("ridge", "mae"), ("ridge", "r2")),
        "infarction": (("logistic", "auroc"),),
    }
    wanted = [
        Table(
            task,
            find(task).title,
            tuple(Column(task, *pair) for pair in pairs),
            tuple(name for name in names if task == "sex" or name != "supervised"),
            None,
            NOTE,
        )
        for task, pairs in columns.items()
    ]
    return Request(
        tables=wanted,
        rows=_rows(wanted),
        budget=Budget(epochs=1, batch=16, window=10.24, resamples=100),
        tuning={"epochs": 1, "batch": 4},
        limit=MINIATURE,
    )


def _rows(wanted: Sequence[Table]) -> dict[str, Row]:
    names = rows.in_order([name for table in wanted for name in table.rows])
    return {name: rows.find(name) for name in names}


def named(data: Sequence[str]) -> dict[str, Path]:
    """Read "ptbxl=stores/ptbxl"."""
    found = {}
    for one in data:
        name, is_named, folder = one.partition("=")
        if not (is_named and name and folder):
            raise UsageError(f"--data {one} is not understood.", "Write --data ptbxl=FOLDER.")
        if not Path(folder).is_dir():
            raise UsageError(f"--data {one}: there is no folder {folder}.")
        found[name] = Path(folder)
    return found


def listed(text: str) -> tuple[str, ...]:
    """Read "sex,age"."""
    return tuple(dict.fromkeys(text.replace(",", " ").split()))


def numbers(text: str) -> tuple[float, ...]:
    """Read "0.01,0.1,1"."""
    try:
        return tuple(float(part) for part in listed(text))
    except ValueError:
        raise UsageError(f"{text} are no shares.", 'Write "0.01,0.1,1".') from None
