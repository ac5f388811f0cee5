"""Census: which recordings a training sees, and whose, for its provenance and the cards."""

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerula.judgement import AGES, age_name
from nerula.store import Store

STATEMENTS = 15
"""How many of the most frequent statements are listed."""
UNKNOWN = "not known"


def seen(store: Store, rows: NDArray[np.int64]) -> dict[str, Any]:
    """What a training says of its data: which set, how many of each of its folds, and who."""
    folds = Counter(str(fold or "none") for fold in store.column("fold")[rows])
    source = store.facts.get("source") or {}
    parts = {"parts": source["parts"]} if "parts" in source else {}  # data sets that were joined
    return {
        "store": store.digest,
        "recordings": len(rows),
        "kind": source.get("kind"),
        "folds": dict(sorted(folds.items())),
        **parts,
        **census(store, rows),
    }


def census(store: Store, rows: NDArray[np.int64]) -> dict[str, Any]:
    """Counts of some recordings of a store; no fact about a single one."""
    subject, sex, age = (store.column(name)[rows] for name in ("subject", "sex", "age"))
    seconds = store.lengths[rows] / store.contract.rate
    valid = store.column("valid")[rows]
    ages = {age_name(low, high): int(((age >= low) & (age < high)).sum()) for low, high in AGES}
    said = Counter(label for held in store.column("labels")[rows] for label in held or ())
    return {
        "subjects": len({one for one in subject if one is not None}),
        "without subject": sum(one is None for one in subject),
        "hours": round(float(seconds.sum()) / 3600, 2),
        "measured": round(float((valid * seconds).sum() / max(seconds.sum(), 1e-9)), 6),
        "left out": len(store) - len(rows),
        "sex": dict(Counter(one or UNKNOWN for one in sex).most_common()),
        "age": ages | {UNKNOWN: int(np.isnan(age).sum())},
        "statements": dict(said.most_common(STATEMENTS)),
    }
