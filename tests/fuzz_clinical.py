"""Seeds of clinical formats, tables and arrays for the fuzz tests: real ECG, a few kilobytes."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests import clinical_files as files

LEADS = ("II", "aVR", "V5")
STORED = ("I", "II", "V1")
SAMPLES = 200
X = files.excerpt(LEADS, SAMPLES) * 0.00125  # mV
TIME = np.arange(SAMPLES) / 250


def _of(name: str, data: bytes | str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    return write


def _edf(plus: str = "", onsets: tuple[str, ...] | None = None, width: int = 2) -> bytes:
    signals = files.edf_signals(LEADS, SAMPLES, 50, transducer="AgAgCl")
    other = {**signals[0], "label": "Resp", "unit": "V", "n": 25, "x": signals[0]["x"][::2]}
    return files.edf(
        [*signals, other],
        seconds="0.2",
        plus=plus,
        onsets=onsets,
        width=width,
        patient="MRN-4711 F 02-JUN-1960 Jane_Doe",
        recording="Startdate 01-JUN-2024 X X X",
        start="01.06.24",
    )


def _dicom(syntax: str, kind: str, dtype: str) -> Callable[[Path], Path]:
    samples = files.excerpt(LEADS, SAMPLES) // (32 if dtype == "i1" else 1)
    dataset = files.dicom(
        LEADS, samples.astype(dtype), syntax=syntax, interpretation=kind, padding=-128, beat=True
    )
    return lambda folder: files.save_dicom(dataset, folder / "ecg.dcm")


def _npz(folder: Path) -> Path:
    path = folder / "ecg.npz"
    np.savez_compressed(
        path, x=np.stack([X, -X]), rate=250, leads=LEADS, unit="mV", age=[63, 64], sex=["F", "M"]
    )
    return path


def _npy(folder: Path) -> Path:
    np.save(folder / "ecg.npy", X.astype(np.float32))
    return folder / "ecg.npy"


_WHOLE = files.csv("time,II (mV),V5 (mV)", TIME, X[0], X[2])
_BLANKS = re.sub("(?m)^0.(04|08|4)000,[^,]*,", r"0.\g<1>000,,", _WHOLE)
SEEDS = {
    "edf/plain": _of("ecg.edf", _edf()),
    "edf/continuous": _of("ecg.edf", _edf("C", ("+0", "+0.2", "+0.4", "+0.6"))),
    "edf/gaps": _of("ecg.edf", _edf("D", ("+0", "+0.2", "+0.7", "+0.9"))),
    "edf/bdf": _of("ecg.bdf", _edf(width=3)),
    "dicom/explicit": _dicom("1.2.840.10008.1.2.1", "SS", "i2"),
    "dicom/implicit": _dicom("1.2.840.10008.1.2", "SB", "i1"),
    "xml/muse": _of("m.xml", files.muse(STORED, files.excerpt(STORED, 60)).encode("latin-1")),
    "xml/aecg": _of("a.xml", files.aecg(LEADS, files.excerpt(LEADS, 60))),
    "table/comma": _of("ecg.csv", files.csv("time_s,II (mV),aVR (mV),V5 (mV)", TIME, *X)),
    "table/decimal-comma": _of(
        "ecg.csv",
        files.csv("time_ms;ecg_ii", TIME * 1000, X[0], separator=";").replace(".", ","),
    ),
    "table/blanks": _of("ecg.csv", _BLANKS),
    "table/rate": _of(
        "ecg.csv",
        "# rate: 250\n# unit: uV\n# age: 63\n"
        + files.csv("II\tV5", X[0] * 1000, X[2] * 1000, separator="\t", form="%.1f"),
    ),
    "array/npy": _npy,
    "array/npz": _npz,
}
