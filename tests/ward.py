"""A source for tests of `prepare`: real ECG under other rates and leads, with trouble mixed in.

It lives in a module of its own because the processes of `prepare` must find it too.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nerula import sample
from nerula.errors import refuse
from nerula.readers.source import Entry
from nerula.recording import Recording

RATES = (100, 128, 257, 500)
TROUBLE = ("truncated", "no-lead", "crash", "io", "nothing-valid", "gram", "empty")


@dataclass(frozen=True)
class Ward:
    """The first `count` recordings of the sample; after every `trouble_every`-th, a bad one."""

    count: int = 300
    trouble_every: int = 0
    root: Path = Path("/ward")
    kind: str = "ward"
    leads: tuple[str, ...] | None = ("I", "II")
    pace: float = 0.0
    """Seconds that reading takes besides."""

    def entries(self) -> Iterator[Entry]:
        for row in range(self.count):
            yield Entry(f"bed/{row:04d}", self.root / "bed" / f"{row:04d}.hea", row)
            if self.trouble_every and row % self.trouble_every == 0:
                kind = TROUBLE[row // self.trouble_every % len(TROUBLE)]
                yield Entry(f"bed/{row:04d}-{kind}", self.root / "bed" / f"{kind}.hea", row)

    def read(self, entry: Entry) -> Recording:
        if self.pace:
            time.sleep(self.pace)
        good = self.good(entry)
        match entry.path.stem:
            case "truncated":
                raise refuse("data-truncated", entry.path, f"see {entry.path}", lead="II")
            case "no-lead":
                return replace(good, leads=tuple(f"V{n + 1}" for n in range(len(good.leads))))
            case "crash":
                raise ZeroDivisionError("a reader's own mistake")
            case "io":
                raise OSError(5, "Input/output error")
            case "nothing-valid":
                return replace(good, x=good.x * 0, valid=np.zeros_like(good.valid))
            case "gram":
                return replace(good, unit="g")
            case "empty":
                return replace(good, x=good.x[:, :0], valid=good.valid[:, :0])
            case "die":
                os._exit(3)
        return good

    def good(self, entry: Entry) -> Recording:
        """One sample recording: sometimes another rate, a gap, two leads, lead I alone."""
        bundled = sample.load()
        row = entry.row % len(bundled)
        one = bundled.read(Entry(entry.name, entry.path, row))
        x, leads = one.x, ("II",)
        if row % 3 == 1:
            x, leads = np.concatenate([x, -2 * x]), ("II", "I")
        elif row % 11 == 10:
            leads = ("I",)
        valid = np.ones(x.shape, bool)
        if row % 5 == 0:
            valid[:, 300 : 320 + row % 50] = False
            x = np.where(valid, x, np.float32(0))
        return replace(one, x=x, leads=leads, valid=valid, rate=float(RATES[row % len(RATES)]))
