"""Inputs: bytes as they arrive, to packets of samples in mV.

Whatever the format, `feed` takes any piece of the bytes and gives the packets that are whole; the
rest waits. What cannot be understood is counted, never guessed.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from nerula.errors import NerulaError, UsageError, refuse
from nerula.readers import wfdb_doubts, wfdb_header, wfdb_signal
from nerula.readers.files import beside, load
from nerula.readers.names import millivolts_per
from nerula.readers.wfdb_header import Header

Array = NDArray[np.float32]


class Packet(NamedTuple):
    """Samples that follow each other."""

    at: int | None
    """The number of the first; None where they follow what came before."""
    samples: Array
    """(leads, n) mV, NaN where there is none."""


class Input(Protocol):
    """One format. `rate` and `leads` are known before the first packet."""

    rate: float
    leads: tuple[str, ...]
    malformed: int
    """Lines or bytes that were not understood."""
    ordered: bool
    """Whether packets simply follow each other."""

    def feed(self, data: bytes, *, last: bool = False) -> Iterator[Packet]:
        """Take bytes; with `last` there will be no more."""
        ...


class Int16:
    """Raw samples: whole numbers of 16 bits, little-endian, the leads of each moment together."""

    ordered = True
    missing = -(1 << 15)

    def __init__(self, rate: float, leads: tuple[str, ...], gain: float, unit: str) -> None:
        scale = millivolts_per(unit)
        if scale is None:
            raise refuse("unit-unknown", detail=unit)
        if not (math.isfinite(gain) and gain > 0):
            raise UsageError(f"--gain {gain:g} cannot be meant.", "Give steps per unit.")
        self.rate, self.leads, self.malformed = rate, leads, 0
        self._scale, self._gain = scale, gain
        self._rest = b""

    def feed(self, data: bytes, *, last: bool = False) -> Iterator[Packet]:
        """Whole moments; a cut one at the end is malformed."""
        data = self._rest + data
        each = 2 * len(self.leads)
        whole = len(data) // each * each
        self._rest = data[whole:]
        if whole:
            counts = np.frombuffer(data, "<i2", whole // 2).reshape(-1, len(self.leads)).T
            x = (counts * self._scale / self._gain).astype(np.float32)
            x[counts == self.missing] = np.nan
            yield Packet(None, x)
        if last:
            self.malformed += len(self._rest)


class Wfdb:
    """The one signal file of a WFDB record, whatever length its header declares."""

    ordered = True

    def __init__(self, header: Header, path: Path) -> None:
        described, files = header.signals.described, set(header.signals.files)
        same = wfdb_doubts.same_form(described, 0, len(described.encodings))
        layout = wfdb_doubts.layout(described)
        if header.segments or len(files) != 1 or same is None or layout.is_rare:
            raise NerulaError(
                f"{path} cannot be followed: its signals are not one plain file.",
                "Formats 16, 212, 80, 24 and 32 in one file can.",
            )
        self.rate, self.leads, self.malformed = header.rate, layout.leads, 0
        self._form, self._skip = same
        self._gain, self._baseline = layout.gain, layout.baseline
        self._kept = layout.kept or list(range(len(described.encodings)))
        self._signals = len(described.encodings)
        bits = self._signals * wfdb_signal.BITS[self._form]
        self._moments = math.lcm(bits, 24 if self._form == 212 else 8) // bits
        self._bytes = self._moments * bits // 8
        self._rest = b""

    @classmethod
    def open(cls, path: Path) -> tuple["Wfdb", Path]:
        """By the record's header; and the file to follow."""
        header = wfdb_header.parse(load(path, wfdb_header.LIMIT), path)
        if not header.signals.files:
            raise refuse("length-zero", path, "it has no signals of its own")
        return cls(header, path), Path(
            beside(str(path.parent), header.signals.files[0], None, path)
        )

    def feed(self, data: bytes, *, last: bool = False) -> Iterator[Packet]:
        """Whole moments; formats that pack samples wait for the whole pack."""
        skipped = min(self._skip, len(data))
        self._skip -= skipped
        data = self._rest + data[skipped:]
        packs = len(data) // self._bytes
        self._rest = data[packs * self._bytes :]
        if packs:
            count = packs * self._moments
            raw = wfdb_signal.decode(self._form, data, 0, self._signals, count)[self._kept]
            x = ((raw - self._baseline[self._kept]) / self._gain[self._kept]).astype(np.float32)
            x[raw == wfdb_signal.INVALID[self._form]] = np.nan
            yield Packet(None, x)
        if last:
            self.malformed += len(self._rest)
