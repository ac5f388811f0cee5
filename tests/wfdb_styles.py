"""WFDB records as six publishers write them, with real ECG, in folders of their own.

Each function writes one record of some ten seconds and returns its header's path.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nerula import sample
from nerula.readers.names import STANDARD
from tests import reference
from tests.clinical_files import TWELVE, real_ecg

Samples = NDArray[np.int64]


def _real(lead: str, rate: float, gain: float) -> Samples:
    """Ten seconds of a hospital's ECG at another rate, in steps of 1 / gain mV."""
    microvolts = real_ecg()[TWELVE.index(lead)] * 1.25
    at = np.arange(int(10 * rate)) * 1000 / rate
    return np.rint(np.interp(at, np.arange(10_000), microvolts) / 1000 * gain).astype(np.int64)


def _write(path: Path, top: str, lines: list[str], signals: list[Samples], end: str) -> Path:
    """Fill first values and checksums into the lines and write the header."""
    text = [top]
    for line, signal in zip(lines, signals, strict=True):
        total = (int(signal.sum()) + 0x8000) % 0x10000 - 0x8000
        text.append(line.format(first=signal[0], sum=total, unsigned=total % 0x10000))
    path.write_text("\n".join(text) + "\n" + end)
    return path


def _interleave(path: Path, signals: list[Samples], head: bytes = b"") -> None:
    path.write_bytes(head + np.stack(signals, axis=1).astype("<i2").tobytes())


def ptbxl_twelve(folder: Path) -> Path:
    signals = [_real(lead, 100, 1000) for lead in STANDARD]
    _interleave(folder / "00001_lr.dat", signals)
    lines = [
        "00001_lr.dat 16 1000.0(0)/mV 16 0 {first} {unsigned} 0 " + lead.upper()
        for lead in STANDARD
    ]
    return _write(folder / "00001_lr.hea", "00001_lr 12 100 1000", lines, signals, "")


def ptbxl_one(folder: Path) -> Path:
    signal = sample.load().microvolts[7].astype(np.int64)
    _interleave(folder / "00007_lr.dat", [signal])
    line = "00007_lr.dat 16 1000.0(0)/mV 16 0 {first} {unsigned} 0 II"
    return _write(folder / "00007_lr.hea", "00007_lr 1 100 1000", [line], [signal], "")


def challenge2017(folder: Path) -> Path:
    signal = _real("I", 300, 1000)
    head = np.array([30, 1, len(signal), 0, 4], "<i4").tobytes() + b"val\0"
    _interleave(folder / "A00001.mat", [signal], head)
    top = f"A00001 1 300 {len(signal)} 05:05:15 1/05/2000 "
    line = "A00001.mat 16+24 1000/mV 16 0 {first} 0 0 ECG "
    return _write(folder / "A00001.hea", top, [line], [signal], "")


def challenge2020(folder: Path) -> Path:
    signals = [_real(lead, 500, 1000) for lead in STANDARD]
    head = np.array([30, 12, len(signals[0]), 0, 4], "<i4").tobytes() + b"val\0"
    _interleave(folder / "A0001.mat", signals, head)
    top = f"A0001 12 500 {len(signals[0])} 05-Feb-2020 11:39:16"
    lines = ["A0001.mat 16+24 1000/mV 16 0 {first} {sum} 0 " + lead for lead in STANDARD]
    comments = "#Age: 74\n#Sex: Male\n#Dx: 59118001,426783006\n#Rx: Unknown\n#Hx: Unknown\n"
    return _write(folder / "A0001.hea", top, lines, signals, comments + "#Sx: Unknown\n")


def ecgid(folder: Path) -> Path:
    raw = _real("I", 500, 200)
    smooth = np.rint(np.convolve(raw, np.ones(9) / 9, "same")).astype(np.int64)
    _interleave(folder / "rec_1.dat", [raw, smooth])
    lines = [
        "rec_1.dat 16 200 12 0 {first} {unsigned} 0 ECG I",
        "rec_1.dat 16 200 12 0 {first} {unsigned} 0 ECG I filtered",
    ]
    comments = "\n# Age: 25\n# Sex: male\n# ECG date: 07.12.2004\n"
    return _write(folder / "rec_1.hea", f"rec_1 2 500 {len(raw)}", lines, [raw, smooth], comments)


def mitdb(folder: Path) -> Path:
    signals = [_real("II", 360, 200) + 1024, _real("V5", 360, 200) + 1024]
    (folder / "100.dat").write_bytes(_212(np.stack(signals, axis=1)))
    lines = [
        "100.dat 212 200 11 1024 {first} {sum} 0 MLII",
        "100.dat 212 200 11 1024 {first} {sum} 0 V5",
    ]
    comments = "# 69 M 1085 1629 x1\n# Aldomet, Inderal\n"
    return _write(folder / "100.hea", f"100 2 360 {len(signals[0])}", lines, signals, comments)


def every_format(folder: Path) -> Path:
    """Seven leads in seven files, each in a signal format of its own."""
    lines, signals = [], []
    for form, lead in zip((16, 61, 160, 212, 80, 24, 32), STANDARD, strict=False):
        gain = 25 if form == 80 else 200
        signal = _real(lead, 250, gain)
        lines.append(f"rec.d{form} {form} {gain}/mV 16 0 {{first}} {{sum}} 0 {lead}")
        (folder / f"rec.d{form}").write_bytes(_ENCODERS[form](signal))
        signals.append(signal)
    return _write(folder / "rec.hea", f"rec 7 250 {len(signals[0])}", lines, signals, "")


def _212(signal: Samples) -> bytes:
    first, second = signal.reshape(-1, 2).T & 0xFFF
    triples = [first & 0xFF, first >> 8 | second >> 8 << 4, second & 0xFF]
    return np.stack(triples, axis=1).astype(np.uint8).tobytes()


_ENCODERS: dict[int, Callable[[Samples], bytes]] = {
    16: lambda x: x.astype("<i2").tobytes(),
    61: lambda x: x.astype(">i2").tobytes(),
    160: lambda x: (x + 0x8000).astype("<u2").tobytes(),
    212: _212,
    80: lambda x: (x + 128).astype(np.uint8).tobytes(),
    24: lambda x: b"".join(int(v & 0xFFFFFF).to_bytes(3, "little") for v in x),
    32: lambda x: x.astype("<i4").tobytes(),
}


def segments(folder: Path) -> Path:
    """Two records, a gap between them, and the header that joins them."""
    mitdb(folder)
    ptbxl_one(folder)
    (folder / "00007_lr.hea").write_text(
        (folder / "00007_lr.hea").read_text().replace("_lr 1 100", "_lr 1 360")
    )
    path = folder / "all.hea"
    path.write_text("all/3 2 360 5600\n100 3600\n~ 1000\n00007_lr 1000\n")
    return path


def flac(folder: Path) -> Path:
    """Two leads in signal format 516, which only the `wfdb` package unpacks."""
    path = folder / "rec.hea"
    leads = ["I", "II"]
    digital = np.stack([_real(lead, 250, 1000) for lead in leads], axis=1)
    reference.write(
        path,
        fs=250,
        units=["mV"] * 2,
        sig_name=leads,
        d_signal=digital,
        fmt=["516"] * 2,
        adc_gain=[1000.0] * 2,
        baseline=[0] * 2,
    )
    return path


STYLES: dict[str, Callable[[Path], Path]] = {
    "PTB-XL, 12 leads": ptbxl_twelve,
    "PTB-XL, lead II": ptbxl_one,
    "Challenge 2017": challenge2017,
    "Challenge 2020": challenge2020,
    "ECG-ID": ecgid,
    "MIT-BIH": mitdb,
}
