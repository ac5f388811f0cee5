"""Standings: where each row stands in a column, with its resamples, so that all can be paired.

Over several seeds the figure is their mean. A resample draws people, the same ones for every row
and every seed, so an interval covers who is tested, not how the training of another seed ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nerula.bootstrap import Interval, Judged, Resamples, metric, middle
from nerula.comparison.plan import FINISHED, Plan
from nerula.comparison.rows import Row
from nerula.comparison.tables import Column
from nerula.errors import NerulaError
from nerula.leads import Given
from nerula.metrics import Floats
from nerula.results import Result

_Asked = tuple[str, bool, Given]
"""A task, whether gaps are made, and the leads: what is tested on the same recordings."""


@dataclass(frozen=True, eq=False)
class Standing:
    """A row in a column."""

    value: float
    resampled: Floats
    """(B,) in each resample of people; the same resamples for every row."""
    n: int
    subjects: int
    seeds: tuple[int, ...]
    fitted: int
    """Labelled recordings that it was fitted on, the mean over splits."""
    leads: tuple[str, ...]
    """What of the tested recordings it was given."""

    @property
    def interval(self) -> Interval:
        """The value with its 95 % interval."""
        return middle(self.value, self.resampled)

    def ahead_of(self, other: "Standing", *, lower: bool) -> Interval:
        """By how much this is better; the interval is of the paired difference."""
        sign = -1 if lower else 1
        return middle(sign * (self.value - other.value), sign * (self.resampled - other.resampled))


class Standings:
    """Reads results, and remembers who was tested and how they were drawn."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._results: dict[Path, Result] = {}
        self._tested: dict[_Asked, NDArray[np.str_]] = {}
        self._drawn: dict[tuple[_Asked, int], tuple[list[NDArray[np.int64]], Resamples]] = {}

    def of(self, row: Row, column: Column) -> Standing | None:
        """Where a row stands; None where nothing is finished, or cannot be judged."""
        asked = Column(**{**vars(column), "probe": column.probe_of(row)})
        cells = [cell for cell in self.plan.of(row.name, asked) if cell.status == FINISHED]
        runs: list[Judged] = []
        names: list[NDArray[np.str_]] = []
        fitted: list[int] = []
        leads: tuple[str, ...] = ()
        for cell in cells:
            result = self._result(cell.made, asked)
            runs += result.runs
            names += [result.names(run) for run in result.runs]
            fitted += [fit["train"] for fit in result.document["fits"]]
            leads = tuple(result.document["windows"]["leads"])
        if not runs:
            return None
        tested = np.unique(np.concatenate(names))
        drawn = self._draws(column, tested, runs, row.name)
        value, resampled = drawn.values(runs, metric(column.metric))
        if not np.isfinite(value):
            return None
        people, seeds = len(drawn.people), tuple(cell.seed for cell in cells)
        return Standing(
            value, resampled, len(tested), people, seeds, round(float(np.mean(fitted))), leads
        )

    def _result(self, made: Sequence[str], column: Column) -> Result:
        """The result of a cell that belongs to a column."""
        for name in made:
            path = self.plan.folder / name
            if path.suffix != ".json":
                continue
            if path not in self._results:
                self._results[path] = Result.read(path)
            way = self._results[path].document["way"]
            if way["gap"] == column.gap and (not column.gap or way["filling"] == column.filling):
                return self._results[path]
        raise NerulaError(f"None of {', '.join(made)} is the result of {column.heading}.")

    def _draws(
        self, column: Column, tested: NDArray[np.str_], runs: Sequence[Judged], row: str
    ) -> Resamples:
        """Resamples of the runs, which have to be about the same people for every row."""
        asked = column.task, bool(column.gap), column.given
        known = self._tested.setdefault(asked, tested)
        key = asked, len(runs)
        if key not in self._drawn:
            drawn = Resamples(runs, self.plan.budget["resamples"])
            self._drawn[key] = [run.person for run in runs], drawn
        people, drawn = self._drawn[key]
        same = all(np.array_equal(a, b.person) for a, b in zip(people, runs, strict=True))
        if not (same and np.array_equal(known, tested)):
            raise NerulaError(
                f"{row} was judged on other recordings of {column.task} than the other rows."
            )
        return drawn
