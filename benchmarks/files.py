"""Files to measure on: the bundled sample, written as a device would have written it."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nerula import sample, signal
from nerula.readers.names import STANDARD


def write_sample(folder: Path, count: int = 1200, rate: int = 500) -> None:
    """Write the bundled recordings as WFDB, at a device's rate, in format 16 with checksums."""
    folder.mkdir(exist_ok=True)
    bundled = sample.load()
    for entry in list(bundled.entries())[:count]:
        recording = bundled.read(entry)
        x = signal.resample(recording.x, recording.rate, rate)
        counts = np.rint(x * 1000).astype("<i2")
        write_wfdb(folder, recording.name, counts, rate, recording.leads)


def write_twelve(folder: Path, count: int, rate: int) -> None:
    """Write records of twelve leads, whose eight measured ones are lead II of eight recordings.

    The other four follow from I and II, as they do in every device; as ECG it makes no sense.
    """
    folder.mkdir(exist_ok=True)
    recorded = sample.load().x[:, 0]
    for number in range(count):
        rows = (8 * number + np.arange(8)) % len(recorded)
        x = signal.resample(recorded[rows], 100, rate)
        one, two = x[:2]
        limb = np.stack([one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2])
        counts = np.rint(np.concatenate([limb, x[2:]]) * 1000).astype("<i2")
        write_wfdb(folder, f"twelve-{number:04d}", counts, rate, STANDARD)


def write_wfdb(
    folder: Path, name: str, counts: NDArray[np.int16], rate: int, leads: tuple[str, ...]
) -> None:
    """Write one record of µV counts (leads, time)."""
    lines = [f"{name} {len(leads)} {rate} {counts.shape[1]}"]
    for lead, row in zip(leads, counts, strict=True):
        checksum = int(row.sum(dtype=np.int64)) & 0xFFFF
        lines.append(f"{name}.dat 16 1000(0)/mV 16 0 {row[0]} {checksum} 0 {lead}")
    (folder / f"{name}.hea").write_text("\n".join(lines) + "\n", encoding="ascii")
    (folder / f"{name}.dat").write_bytes(counts.T.astype("<i2").tobytes())
