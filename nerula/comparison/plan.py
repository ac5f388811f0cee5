"""Plan: every cell that the tables need, what it depends on, and how far it is.

`comparison.json` is the plan. It is written whole after every cell; a cell is known by its name
and by a digest of everything that goes into it, so what is finished is never computed again, and
what was computed from something else is never taken for it.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from nerula import __version__
from nerula.comparison import rows
from nerula.comparison.rows import Row
from nerula.comparison.tables import FINETUNED, Column, Table
from nerula.errors import NerulaError, UsageError
from nerula.files import load_json, write_whole
from nerula.leads import Given
from nerula.results import FORMAT as RESULT

FORMAT, FILE = "nerula-comparison-1", "comparison.json"
PRETRAIN, PROBE = "pretrain", "probe"
MODELS, RESULTS = "models", "results"
FINISHED, FAILED, WAITING = "finished", "failed", "waiting"


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What is the same for every row."""

    epochs: int
    batch: int
    window: float
    folds: str = "1-8"
    resamples: int = 1000
    draws: int = 5


@dataclass
class Cell:
    """One piece of work: a training, or one probe of one model on one task."""

    name: str
    kind: str
    row: str
    seed: int
    inputs: dict[str, Any]
    """Everything that its outcome depends on."""
    needs: str | None = None
    """The cell that makes its model."""
    status: str = WAITING
    seconds: float = 0.0
    problem: str | None = None
    made: list[str] = field(default_factory=list)
    """Files, relative to the folder of the comparison."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What a training says about itself."""

    @property
    def given(self) -> Given:
        """The leads that the model of a probe is given."""
        return Given(*(tuple(self.inputs.get(key, ())) for key in ("leads", "tested")))

    @property
    def digest(self) -> str:
        """Equal only for equal inputs."""
        return digest(self.inputs)


@dataclass
class Plan:
    """All cells of a folder, and the tables that they are for."""

    folder: Path
    budget: dict[str, Any]
    data: dict[str, Any]
    """Name of a data set to kind, digest and number of recordings of its store."""
    rows: list[dict[str, Any]]
    tables: list[Table]
    cells: dict[str, Cell]
    checks: list[dict[str, Any]] = field(default_factory=list)
    """What was counted before anything was fitted, task by task."""

    def save(self) -> None:
        """Write comparison.json."""
        document = {
            "format": FORMAT,
            "nerula": __version__,
            "budget": self.budget,
            "data": self.data,
            "rows": self.rows,
            "tables": [table.as_json() for table in self.tables],
            "checks": self.checks,
            "cells": [{**asdict(cell), "digest": cell.digest} for cell in self.cells.values()],
        }
        write_whole(self.folder / FILE, json.dumps(document, indent=1, allow_nan=False) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read comparison.json."""
        path = folder / FILE
        try:
            held = load_json(path)
            if held["format"] != FORMAT:
                raise NerulaError(f"{path} is no comparison of this version ({FORMAT}).")
            cells = [Cell(**_without(cell, "digest")) for cell in held["cells"]]
            tables = [Table.from_json(table) for table in held["tables"]]
            return cls(
                folder, held["budget"], held["data"], held["rows"], tables,
                {cell.name: cell for cell in cells}, held["checks"],
            )  # fmt: skip
        except FileNotFoundError:
            raise UsageError(
                f"{folder} holds no comparison.", "Give the --out of an earlier nerula compare."
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise NerulaError(f"{path} cannot be read: {error}.") from error

    def joined(self, earlier: "Plan") -> "Plan":
        """This plan with what an earlier one in the folder has done; refused where they differ.

        A row and seed of which neither the training's folder nor results are left is forgotten.
        """
        for what, now, before in (
            ("budget", self.budget, earlier.budget),
            *((f"data {name}", self.data.get(name), held) for name, held in earlier.data.items()),
        ):
            if now is not None and now != before:
                raise _other(self.folder, what, _changes(before, now))
        cells = earlier.left()
        for name, cell in self.cells.items():
            done = cells.get(name)
            if done is not None and done.digest != cell.digest:
                raise _other(self.folder, name, _changes(done.inputs, cell.inputs))
            cells.setdefault(name, cell)
        tables = {table.name: table for table in earlier.tables}
        for table in self.tables:
            held = tables.get(table.name)
            tables[table.name] = held.joined(table) if held else table
        described = {row["name"]: row for row in (*earlier.rows, *self.rows)}
        checks = {  # versions of before did not say which task a check is about
            (check["task"], check["check"]): check
            for check in (*earlier.checks, *self.checks)
            if "task" in check
        }
        return Plan(
            self.folder, self.budget, earlier.data | self.data,
            [described[name] for name in rows.in_order(list(described))],
            list(tables.values()), cells, list(checks.values()),
        )  # fmt: skip

    def left(self) -> dict[str, Cell]:
        """The cells of which the training's folder or results have not been deleted."""
        return {
            name: cell
            for name, cell in self.cells.items()
            if self.run(cell).exists() or self.place(cell).exists()
        }

    def of(self, row: str, column: Column) -> list[Cell]:
        """The cells of a row, one per seed, that a column of a table is made of."""
        wanted = {"task": column.task, "probe": column.probe, "labels": column.labels}
        found: dict[int, Cell] = {}
        for cell in self.cells.values():
            if cell.kind != PROBE or cell.row != row or not wanted.items() <= cell.inputs.items():
                continue
            fits = not column.gap or column.gap in cell.inputs["gaps"]
            fits = fits and cell.given == column.given
            if fits and (cell.seed not in found or cell.status == FINISHED):
                found[cell.seed] = cell
        return [found[seed] for seed in sorted(found)]

    def run(self, cell: Cell) -> Path:
        """The folder of the training that a cell is or needs."""
        return self.folder / MODELS / rows.folder_of(cell.row) / f"seed-{cell.seed}"

    def place(self, cell: Cell) -> Path:
        """The folder of all results of a cell's row and seed."""
        return self.folder / RESULTS / rows.folder_of(cell.row) / f"seed-{cell.seed}"

    def there(self, cell: Cell) -> bool:
        """Whether a cell is finished and what it made still lies there."""
        made = all((self.folder / path).is_file() for path in cell.made)
        return made and cell.status == FINISHED


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What cells are made from, by digest: the store of each task, and of each training."""

    tasks: Mapping[str, str]
    training: Mapping[str, tuple[str, int]]
    """Row to the digest of its store and its epochs."""


def make(
    tables: Sequence[Table],
    compared: Mapping[str, Row],
    seeds: Sequence[int],
    *,
    budget: Budget,
    sources: Sources,
    tuning: Mapping[str, Any],
) -> dict[str, Cell]:
    """The cells of tables, seed by seed and row by row: after each seed everything has a figure.

    `tuning` are the options of training on labels.
    """
    cells: dict[str, Cell] = {}
    for seed in seeds:
        for row in compared.values():
            if not row.seeded and seed != seeds[0]:
                continue
            needed = _needed(tables, row)
            if not needed:
                continue
            trained = _training(row, seed, budget, *sources.training[row.name])
            cells[trained.name] = trained
            for (task, probe, labels, given), gaps in needed.items():
                inputs = {
                    "model": trained.digest,
                    "store": sources.tasks[task],
                    "task": task,
                    "probe": probe,
                    "labels": labels,
                    "gaps": sorted(gaps),
                    "draws": budget.draws,
                    "resamples": budget.resamples,
                    "seed": seed,
                    "format": RESULT,
                }
                if given.fitted:
                    inputs["leads"] = list(given.fitted)
                if given.tested:
                    inputs["tested"] = list(given.tested)
                if probe == FINETUNED:
                    inputs["tuning"] = dict(tuning)
                words = f"probe {row.name} seed {seed}: {task} {probe}"
                words += f" {100 * labels:g} % of labels" if labels < 1 else ""
                words += f" gaps {' '.join(f'{gap:g}' for gap in sorted(gaps))}" if gaps else ""
                words += f" leads {' '.join(given.fitted)}" if given.fitted else ""
                words += f" tested with {' '.join(given.tested)}" if given.tested else ""
                cells[words] = Cell(words, PROBE, row.name, seed, inputs, trained.name)
    return cells


def _training(row: Row, seed: int, budget: Budget, store: str, epochs: int) -> Cell:
    """The cell of a model."""
    from nerula import methods, options

    kind = methods.find(row.method)
    given: dict[str, Any] = {"epochs": epochs, "batch": budget.batch, "window": budget.window}
    given |= {"folds": budget.folds, "seed": seed, **row.arguments}
    preset = given.pop("preset", None)
    loop, arguments = options.split(kind, preset, given)
    where = ("device", "threads", "checkpoint_minutes", "checkpoint_steps")
    inputs = {
        "method": row.method,
        "arguments": arguments,
        "options": {name: value for name, value in asdict(loop).items() if name not in where},
        "store": store,
    }
    if not kind.trains or row.kind == "supervised":
        inputs["options"] = {"seed": seed, "window": loop.window}
    return Cell(f"{PRETRAIN} {row.name} seed {seed}", PRETRAIN, row.name, seed, inputs)


def _needed(tables: Iterable[Table], row: Row) -> dict[tuple[str, str, float, Given], set[float]]:
    """Task, probe, share of labels and leads of a row's cells, with the gaps to measure there."""
    found: dict[tuple[str, str, float, Given], set[float]] = {}
    for table in tables:
        for column in table.columns if row.name in table.rows else ():
            if table.asks(row, column):
                key = (column.task, column.probe_of(row), column.labels, column.given)
                found.setdefault(key, set()).update({column.gap} - {0.0})
    return found


def digest(values: Mapping[str, Any]) -> str:
    """Sixteen hexadecimal digits of JSON values."""
    words = json.dumps(values, sort_keys=True).encode()
    return hashlib.blake2b(words, digest_size=8).hexdigest()


def parse_seeds(text: str) -> list[int]:
    """Read "0,1,2"."""
    if not re.fullmatch(r"\d+(,\d+)*", text.replace(" ", "")):
        raise UsageError(f"--seeds {text} are no seeds.", "Write 0,1,2.")
    return list(dict.fromkeys(int(part) for part in text.split(",")))


def _other(folder: Path, what: str, changes: str) -> UsageError:
    return UsageError(
        f"{folder} was begun with something else for {what}: {changes}.",
        "One folder has one budget, one data and one meaning of each row: name another --out, "
        f"or, to begin a row anew, delete its folders in {folder / MODELS} and in "
        f"{folder / RESULTS}.",
    )


def _changes(before: Any, now: Any) -> str:
    """What differs, in words."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return f"{before} there, {now} now"
    now = json.loads(json.dumps(now))
    return "; ".join(
        f"{name}: {_changes(before.get(name), now.get(name))}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    )


def _without(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != name}
