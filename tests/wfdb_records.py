"""WFDB records for tests, every line of their headers as the test wants it; real ECG."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from nerula.defects import Severity
from nerula.errors import DefectError
from nerula.readers import wfdb
from nerula.recording import Recording
from tests.clinical_files import TWELVE, real_ecg


def millivolts(leads: Sequence[str], rate: int, seconds: float = 8) -> NDArray[np.float64]:
    """Real ECG; 1,000 Hz thinned out where that is possible, slowed down where it is not."""
    every = max(1, 1000 // rate)
    rows = [TWELVE.index(lead) for lead in leads]
    return real_ecg()[rows, ::every][:, : int(seconds * rate)] * 1.25e-3


def checksum(samples: NDArray[np.int64]) -> int:
    return int(samples.sum()) % 65536


def write_record(
    folder: Path,
    leads: Sequence[str] = ("I", "II"),
    names: Sequence[str] = (),
    rate: int = 250,
    *,
    gains: float | Sequence[float] = 1000.0,
    line: str = "rec.dat 16 {gain}(0)/mV 16 0 {initial} {checksum} 0 {name}",
    zero: int = 0,
    top: str = "rec {leads} {rate} {samples}",
    comments: str = "",
    shape: Callable[[str], str] = str,
) -> Path:
    """Write a record in format 16 as its line templates say; return its header's path."""
    gains = [gains] * len(leads) if isinstance(gains, float) else gains
    x = np.rint(millivolts(leads, rate) * np.array(gains)[:, None]).astype(np.int64) + zero
    x.T.astype("<i2").tofile(folder / "rec.dat")
    lines = [top.format(leads=len(leads), rate=rate, samples=x.shape[1])]
    for row, name, gain in zip(x, names or leads, gains, strict=True):
        lines.append(line.format(gain=gain, initial=row[0], checksum=checksum(row), name=name))
    path = folder / "rec.hea"
    path.write_text(shape("\n".join(lines) + "\n" + comments), newline="")
    return path


def loud(recording: Recording) -> set[str]:
    """Codes of everything that `check --strict` would not let pass."""
    return {f.code for f in recording.findings if f.severity is not Severity.NOTE}


def code_of(path: Path) -> str:
    with pytest.raises(DefectError) as caught:
        wfdb.read(path)
    assert str(path.parent) in str(caught.value)
    return caught.value.finding.code
