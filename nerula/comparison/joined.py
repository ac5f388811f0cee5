"""Joined: a store of everything that one row may be pretrained on, from two data sets.

The first contributes the folds that train; the other everything but what a task judges by, and
but recordings with the same signal as one of these. What was left out is written down as a
digest of names, by which the guard of that task recognises it.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nerula import guards
from nerula.errors import UsageError
from nerula.store import INDEX, Store
from nerula.tasks import Facts, Task

if TYPE_CHECKING:
    import pyarrow as pa

PART = 2048
"""Rows that are copied at once."""


def join(first: Store, rows: NDArray[np.int64], other: Store, task: Task, place: Path) -> Store:
    """Join rows of the first store with all of the other that `task` does not judge by."""
    from nerula.writer import StoreWriter

    held, further = first.contract, other.contract
    if replace(further, leads=held.leads) != held or len(held.leads) != len(further.leads):
        raise UsageError(
            f"{first.path} and {other.path} were not prepared alike.",
            f"Prepare both with the same --rate, --filter and number of leads ({held}).",
        )
    free, without = _left(other, task)
    source = {
        "kind": "joined",
        "parts": [_part(first, rows), {**_part(other, free), "without": without}],
        "entries": len(rows) + len(free),
    }
    asked = {"joined": [first.digest, other.digest], "without": task.name}
    if (place / INDEX).exists():
        made = Store.open(place)
        if made.facts.get("asked") == asked and made.facts.get("source") == source:
            return made
    with StoreWriter(place, held, {"asked": asked, "source": source, "shard": None}) as writer:
        for store, chosen in ((first, rows), (other, free)):
            for batch in _batches(store, chosen):
                writer.append(batch)
    return Store.open(place)


def _left(store: Store, task: Task) -> tuple[NDArray[np.int64], str]:
    """Rows that a task judges nothing by, and a digest of the names of the others."""
    facts = Facts.of(store)
    splits = task.splits(facts, task.counts(facts, task.target(facts)))
    judged = np.unique(np.concatenate([r for one in splits for r in (one.choose, one.test)]))
    same = np.isin(facts.digest.astype(str), facts.digest[judged].astype(str))
    return np.flatnonzero(~same), guards.named(facts, judged)


def _part(store: Store, rows: NDArray[np.int64]) -> dict[str, Any]:
    """Which data set, and how many recordings of each of its folds."""
    folds = Counter(str(fold or guards.UNKNOWN) for fold in store.column("fold")[rows])
    kind = (store.facts.get("source") or {}).get("kind")
    return {"kind": kind, "folds": dict(sorted(folds.items()))}


def _batches(store: Store, rows: NDArray[np.int64]) -> Iterator["pa.RecordBatch"]:
    """The chosen rows with their samples, in order."""
    import pyarrow as pa

    from nerula.writer import stored_batch

    for first in range(0, len(store), PART):
        count = min(PART, len(store) - first)
        mine = rows[(rows >= first) & (rows < first + count)] - first
        if len(mine):
            yield stored_batch(store, first, count).take(pa.array(mine))
