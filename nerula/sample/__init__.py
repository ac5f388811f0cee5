"""The bundled sample: real ECG, so that demo, tests and tutorials need no download.

1,200 recordings of PTB-XL 1.0.3 (Wagner et al. 2020, https://doi.org/10.13026/kfzx-aw45, CC BY
4.0): lead II, 100 Hz, 10 s, every sample as published, with subject, age, sex, fold and
diagnostic statements. `tools/make_sample.py` chose and packed them.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nerula.errors import UsageError, refuse
from nerula.readers import ptbxl_table
from nerula.readers.files import load as read_bytes
from nerula.readers.ptbxl_table import Facts
from nerula.readers.source import Entry
from nerula.recording import Recording
from nerula.sample.codec import unpack

FOLDER = Path(__file__).parent
ABOUT, SIGNALS, TABLE = "about.json", "signals.xz", "recordings.csv"


@dataclass(frozen=True, eq=False, repr=False)
class Sample:
    """The whole sample in memory, as arrays and as a source of recordings."""

    kind: ClassVar[str] = "sample"
    root: ClassVar[Path] = FOLDER
    leads: ClassVar[tuple[str, ...]] = ("II",)
    rate: ClassVar[float] = 100.0

    microvolts: NDArray[np.int16]
    """(recordings, time), as published."""
    names: tuple[str, ...]
    """PTB-XL's `ecg_id` with leading zeros, as its file names have it."""
    facts: tuple[Facts, ...]
    """Subject, age, sex, labels and fold of each recording."""

    def __len__(self) -> int:
        return len(self.names)

    def __reduce__(self) -> "tuple[object, tuple[()]]":
        return load, ()  # another process loads its own

    @property
    def x(self) -> NDArray[np.float32]:
        """(recordings, 1, time) in mV, a new array each time."""
        return _millivolts(self.microvolts[:, None])

    @property
    def folds(self) -> NDArray[np.int64]:
        """PTB-XL's fold of each recording, 1 to 10; no subject is in two folds."""
        return np.array([int(facts.fold) for facts in self.facts])

    def has(self, statement: str) -> NDArray[np.bool_]:
        """Whether each recording's report makes a statement, such as "AFIB" or "NORM"."""
        return np.array([statement in facts.labels for facts in self.facts])

    def entries(self) -> Iterator[Entry]:
        """Yield one entry per recording."""
        path = FOLDER / SIGNALS
        for row, name in enumerate(self.names):
            yield Entry(name, path, row)

    def read(self, entry: Entry) -> Recording:
        """Return one recording."""
        if not 0 <= entry.row < len(self):
            raise UsageError(f"The sample has {len(self)} recordings; there is no {entry.row}.")
        x = _millivolts(self.microvolts[entry.row][None])
        facts = self.facts[entry.row]
        return Recording(
            entry.name,
            x,
            self.rate,
            self.leads,
            np.ones(x.shape, np.bool_),
            subject=facts.subject,
            age=facts.age,
            sex=facts.sex,
            labels=facts.labels,
            fold=facts.fold,
            path=entry.path,
            findings=facts.findings,
        )


def ecg(row: int = 0) -> tuple[NDArray[np.float32], float]:
    """One real recording to try things on: (1000,) mV of lead II, and its rate, 100 Hz.

    >>> import nerula
    >>> x, rate = nerula.ecg(5)
    >>> x.shape, x.dtype, rate
    ((1000,), dtype('float32'), 100.0)
    """
    every = load()
    if not -len(every) <= row < len(every):
        raise UsageError(f"The sample has {len(every)} recordings; there is no {row}.")
    return _millivolts(every.microvolts[row]), every.rate


def _millivolts(microvolts: NDArray[np.int16]) -> NDArray[np.float32]:
    return microvolts.astype(np.float32) / np.float32(1000)


@lru_cache(maxsize=1)
def load() -> Sample:
    """Return the sample, verified; the first call takes some 100 ms, later ones nothing."""
    about = json.loads(read_bytes(FOLDER / ABOUT))
    content = {name: read_bytes(FOLDER / name) for name in (SIGNALS, TABLE)}
    for name, data in content.items():
        if hashlib.sha256(data).hexdigest() != about["sha256"][name]:
            raise refuse("checksum-wrong", FOLDER / name, "the installed package is damaged")
    microvolts = unpack(content[SIGNALS], about["recordings"], about["samples"])
    microvolts.flags.writeable = False
    table = FOLDER / TABLE
    rows = ptbxl_table.rows(table)
    names = tuple(f"{int(ecg_id):05d}" for ecg_id in rows)
    facts = tuple(ptbxl_table.understand(row, table, FOLDER / SIGNALS) for row in rows.values())
    return Sample(microvolts, names, facts)
