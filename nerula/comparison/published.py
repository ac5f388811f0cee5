"""Published: the figures of NERULA's paper, from `paper.json`, and the tables they stand in."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("paper.json")
PROTOCOLS = {"arrhythmia-paper": "arrhythmia"}
"""Tasks that ask what another task asks, by another protocol."""
MAIN, APART = ("3", "4", "5", "6"), ("1", "2")
"""The paper's tables that compare methods, and those that take NERULA apart."""


@lru_cache(maxsize=1)
def tables() -> dict[str, dict[str, Any]]:
    """The paper's tables by their number."""
    held: dict[str, dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))["tables"]
    return held


def figure(number: str | None, task: str, row: str, probe: str, metric: str) -> float | None:
    """What the paper has in a cell of a table, or of its tables on the task; None where nothing.

    Its "F1" is taken for the macro F1: an accuracy of 0.56 that is the majority's would have a
    weighted F1 of 0.41, and the 0.30 and less of its baselines are macro means.
    """
    for name in (number,) if number else (*MAIN, *APART):
        table = tables()[name]
        place = [probe, metric]
        if table["task"] == PROTOCOLS.get(task, task) and place in table["columns"]:
            figures = table["rows"].get(row)
            if figures:
                found: float | None = figures[table["columns"].index(place)]
                return found
    return None
