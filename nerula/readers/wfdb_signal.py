"""WFDB signal files: bytes to whole numbers, checked against the header before memory is taken."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nerula.errors import refuse
from nerula.readers import doubts

BITS = {16: 16, 61: 16, 160: 16, 212: 12, 80: 8, 24: 24, 32: 32}
"""Of a sample, for the formats that are read here."""

INVALID = {form: -(1 << (bits - 1)) for form, bits in BITS.items()}
"""The value that says "no sample here"."""

Samples = NDArray[np.signedinteger[Any]]


def length(form: int, size: int, leads: int, declared: int | None, path: str) -> int:
    """Return the samples per lead of a file's content, which must be just what is declared."""
    if size <= 0:
        raise refuse("data-truncated", Path(path), "no byte is left for samples")
    held = size * 8 // BITS[form]
    if declared is None:
        declared = held // leads
    if declared < 1:
        raise refuse("length-zero", Path(path), f"{size} bytes for {leads} leads")
    bits = declared * leads * BITS[form]
    needed = -(-bits // 8)
    padded = -(-bits // 24) * 3 if form == 212 else needed  # pairs of samples fill three bytes
    if size < needed:
        code = "size-absurd" if needed > 1000 * size else "data-truncated"
        raise refuse(
            code, Path(path), f"{declared} samples of {leads} leads declared, {held} values held"
        )
    if size not in (needed, padded):
        raise refuse("data-overlong", Path(path), f"{needed} bytes declared, {size} held")
    return declared


def decode(form: int, data: bytes, offset: int, leads: int, samples: int) -> Samples:
    """Return (leads, samples) whole numbers, contiguous."""
    return np.ascontiguousarray(viewed(form, data, offset, leads, samples))


def viewed(form: int, data: bytes, offset: int, leads: int, samples: int) -> Samples:
    """Return (leads, samples) whole numbers in the file's order."""
    return _DECODERS[form](data, offset, leads * samples).reshape(samples, leads).T


def _16(data: bytes, offset: int, count: int) -> Samples:
    return np.frombuffer(data, "<i2", count, offset)


def _61(data: bytes, offset: int, count: int) -> Samples:
    return np.frombuffer(data, ">i2", count, offset).astype(np.int16)


def _160(data: bytes, offset: int, count: int) -> Samples:
    return (np.frombuffer(data, "<u2", count, offset) ^ 0x8000).view(np.int16)


def _32(data: bytes, offset: int, count: int) -> Samples:
    return np.frombuffer(data, "<i4", count, offset)


def _24(data: bytes, offset: int, count: int) -> Samples:
    low, middle, high = np.frombuffer(data, np.uint8, 3 * count, offset).reshape(-1, 3).T
    return low | middle.astype(np.int32) << 8 | high.view(np.int8).astype(np.int32) << 16


def _80(data: bytes, offset: int, count: int) -> Samples:
    return np.frombuffer(data, np.uint8, count, offset).astype(np.int16) - np.int16(128)


def _212(data: bytes, offset: int, count: int) -> Samples:
    """Three bytes hold two samples; the middle one has the high bits of both."""
    pairs = -(-count // 2)
    raw = np.zeros((pairs, 3), np.uint8)
    held = np.frombuffer(data, np.uint8, -(-count * 3 // 2), offset)
    raw.reshape(-1)[: held.size] = held
    low, middle, high = raw.astype(np.int16).T
    samples = np.empty((pairs, 2), np.int16)
    samples[:, 0] = low | (middle & 0x0F) << 8
    samples[:, 1] = high | (middle & 0xF0) << 4
    samples = (samples << 4) >> 4  # the sign is the twelfth bit
    return samples.reshape(-1)[:count]


_DECODERS = {16: _16, 61: _61, 160: _160, 32: _32, 24: _24, 80: _80, 212: _212}


def checksums(samples: Samples) -> list[Any]:
    """Return the sum of each lead's samples modulo 65536, as headers keep it.

    Of a stack of records (records, leads, time) a list for each.
    """
    low = samples if samples.dtype == np.int16 else samples.astype(np.int16)  # keeps low 16 bits
    sums: list[Any] = np.add.reduce(low.view(np.uint16), axis=-1, dtype=np.uint16).tolist()
    return sums


class Digital(NamedTuple):
    """The whole numbers of leads that go together, and what they come to in mV."""

    samples: Samples
    """(leads, time), contiguous."""
    baseline: NDArray[np.float64]
    gain: NDArray[np.float64]
    """In steps per mV, (leads, 1) as the baseline."""
    missing: NDArray[np.bool_] | None
    """Where there is no sample; None for nowhere."""

    def beginning(self, lead: int) -> NDArray[np.floating]:
        """What is asked about a lead's pace, which is the same in any unit."""
        if self.missing is not None:
            return self.select([lead]).physical()[0, : doubts.ENOUGH]
        x = self.samples[lead, : doubts.ENOUGH]
        return x.astype(np.float32 if x.dtype == np.int16 else np.float64)

    def select(self, rows: list[int]) -> "Digital":
        """Some of the leads."""
        missing = None if self.missing is None else self.missing[rows]
        return Digital(self.samples[rows], self.baseline[rows], self.gain[rows], missing)

    def physical(self) -> NDArray[np.float32]:
        """Return mV, 0 where there is no sample."""
        samples, baseline, gain, missing = self
        x: NDArray[np.float32]
        if samples.dtype == np.int16 and np.abs(baseline).max() < 1 << 23:  # float32 is exact then
            x = samples.astype(np.float32)
            if baseline.any():
                x -= baseline.astype(np.float32)
            x /= gain.astype(np.float32)
        else:
            x = ((samples - baseline) / gain).astype(np.float32)
        if missing is not None:
            x[missing] = 0
        return x

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Where there is a sample."""
        return np.ones(self.samples.shape, np.bool_) if self.missing is None else ~self.missing

    def heights(self, rate: float) -> NDArray[np.float64]:
        """Measure each lead's typical second, in mV; 0 where it is flat."""
        if self.missing is not None:
            return doubts.heights(self.physical(), rate)
        return doubts.heights(self.samples, rate) / self.gain[:, 0]


def missing(samples: Samples, form: int) -> NDArray[np.bool_] | None:
    """Return where a file says that it has no sample; None for nowhere."""
    return samples == INVALID[form] if samples.min() == INVALID[form] else None


def filled(samples: Samples, form: int) -> NDArray[np.float64]:
    """Return how much of the format's range each signal uses, 0 to 1."""
    highest, lowest = samples.max(1).astype(np.float64), samples.min(1).astype(np.float64)
    used: NDArray[np.float64] = (highest - lowest) / (1 << BITS[form])
    return used
