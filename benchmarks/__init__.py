"""Benchmarks: `python -m benchmarks` runs them all and writes results/bench.json.

A benchmark is a module here with `measure(setting)`, which yields `Figure`s. All comparisons are
made in one run on one machine and on the same files.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Setting:
    """What to measure on."""

    scratch: Path
    """An empty folder for what a benchmark writes; removed afterwards."""
    data: Path | None = None
    """A folder with real data sets in their publishers' layouts, or None for the sample."""
    quick: bool = False
    """Whether a rough figure will do."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number."""

    group: str
    name: str
    value: float
    unit: str
    note: str = ""
