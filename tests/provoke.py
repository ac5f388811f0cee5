"""One way to provoke each defect: real ECG in a real file, damaged in one place.

Each builder writes into an empty folder and returns what `nerula check` is asked to look at.
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests import clinical_files as files
from tests import layouts

TWELVE = files.TWELVE
RATE, SAMPLES, GAIN = 250, 2500, "800"  # steps of 1.25 µV


@dataclass
class Case:
    """What to check, and with which options."""

    path: Path
    options: dict[str, Any] = field(default_factory=dict)


Builder = Callable[[Path], "Path | Case"]
PROVOKE: dict[str, Builder] = {}

BESIDE = {
    "signal-all-invalid": {"signal-flat"},
    "header-encoding": {"identifier-removed"},
    "lead-off": {"leads-derived", "identifier-removed"},
    "leads-derived": {"identifier-removed"},
    "gain-missing": {"checksum-absent", "lead-unnamed"},
    "subject-leak": {"identifier-removed"},
}
"""What else is true of a file that provokes a defect."""


def provokes(code: str) -> Callable[[Builder], Builder]:
    def register(builder: Builder) -> Builder:
        assert code not in PROVOKE
        PROVOKE[code] = builder
        return builder

    return register


# --- sound files -------------------------------------------------------------------------------


def ecg() -> NDArray[np.int16]:
    """Ten seconds of a person's twelve leads, in steps of 1.25 µV."""
    return files.excerpt(TWELVE, SAMPLES).copy()


def record(
    folder: Path,
    signals: NDArray[np.int16] | None = None,
    leads: Sequence[str] = TWELVE,
    rate: int = RATE,
    **more: Any,
) -> Path:
    """A sound WFDB record."""
    given = ecg() if signals is None else signals
    layouts.write_record(folder / "ecg", given, leads, rate, **{"gain": GAIN, **more})
    return folder / "ecg.hea"


def edited(header: Path, pattern: str, by: str, count: int = 1) -> Path:
    """Change a header where `pattern` matches."""
    text = header.read_text()
    changed, times = re.subn(pattern, by, text, count=count, flags=re.MULTILINE)
    assert times and changed != text
    header.write_text(changed)
    return header


def table(folder: Path, header: str = "time_s,I (mV),II (mV)", **more: Any) -> Path:
    """A sound table of two leads."""
    x = ecg()[:2] * 0.00125
    path = folder / "ecg.csv"
    path.write_text(files.csv(header, np.arange(SAMPLES) / RATE, *x, **more))
    return path


def muse(folder: Path, leads: Sequence[str] = TWELVE, **more: Any) -> Path:
    path = folder / "ecg.xml"
    text = files.muse(leads, files.excerpt(leads, SAMPLES), **more)
    path.write_bytes(text.encode("latin-1"))
    return path


# --- the file ----------------------------------------------------------------------------------


@provokes("file-missing")
def _(folder: Path) -> Path:
    return folder / "ecg.hea"


@provokes("file-empty")
def _(folder: Path) -> Path:
    header = record(folder)
    header.write_bytes(b"")
    return header


@provokes("file-unreadable")
def _(folder: Path) -> Path:
    os.mkfifo(folder / "ecg.hea")
    return folder / "ecg.hea"


@provokes("file-too-large")
def _(folder: Path) -> Path:
    header = record(folder)
    os.truncate(header, 1 << 30)  # sparse: it takes no room
    return header


@provokes("reader-failed")
def _(folder: Path) -> Path:
    return record(folder)  # and `broken_reader` breaks the reader


def broken_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("our own mistake")

    monkeypatch.setattr("nerula.readers.wfdb.read", read)


@provokes("source-empty")
def _(folder: Path) -> Path:
    return folder


@provokes("store-damaged")
def _(folder: Path) -> Path:
    from nerula.prepare import Options, make_store
    from nerula.readers import open_source

    store = folder / "store"
    make_store(open_source(record(folder)), store, Options())
    with (store / "signals.npy").open("r+b") as file:
        file.seek(5000)
        byte = file.read(1)
        file.seek(5000)
        file.write(bytes([byte[0] ^ 1]))
    return store


@provokes("format-unknown")
def _(folder: Path) -> Path:
    path = folder / "ecg.bin"
    path.write_bytes(ecg().tobytes())
    return path


@provokes("format-unsupported")
def _(folder: Path) -> Path:
    layouts.write_matrix(folder / "ecg", ecg(), TWELVE, RATE, gain=GAIN)
    matrix = folder / "ecg.mat"
    matrix.write_bytes(b"MATLAB 5.0 MAT-file".ljust(128) + matrix.read_bytes())
    return folder / "ecg.hea"


@provokes("format-malformed")
def _(folder: Path) -> Path:
    path = folder / "ecg.edf"
    path.write_bytes(b"1" + files.edf(files.edf_signals(TWELVE, SAMPLES, RATE))[1:])
    return path


@provokes("format-scp")
def _(folder: Path) -> Path:
    path = folder / "ecg.scp"
    path.write_bytes(bytes(16) + b"SCPECG" + ecg().tobytes())
    return path


@provokes("path-outside")
def _(folder: Path) -> Path:
    return edited(record(folder), r"^ecg\.dat", "../ecg.dat", count=12)


@provokes("code-in-data")
def _(folder: Path) -> Path:
    path = folder / "ecg.npy"
    path.write_bytes(files.npy("'|O'", "(12, 2500)", b"\x80\x04N." * 40))
    return path


@provokes("xml-entity")
def _(folder: Path) -> Path:
    head = '<?xml version="1.0"?>\n<!DOCTYPE RestingECG [<!ENTITY a "aaaa">]>\n'
    return muse(folder, head=head)


# --- the header --------------------------------------------------------------------------------


@provokes("header-malformed")
def _(folder: Path) -> Path:
    return edited(record(folder), r"^ecg 12", "ecg twelve")


@provokes("header-name")
def _(folder: Path) -> Path:
    return edited(record(folder), r"^ecg 12", "other 12")


@provokes("header-encoding")
def _(folder: Path) -> Path:
    header = record(folder)
    header.write_bytes(header.read_bytes() + b"# seen by D\xf6rte\n")
    return header


@provokes("header-line-ends")
def _(folder: Path) -> Path:
    header = record(folder)
    header.write_bytes(header.read_bytes().replace(b"\n", b"\r\n"))
    return header


@provokes("header-initial-value")
def _(folder: Path) -> Path:
    return edited(record(folder), r"16 0 -?\d+ (\d+) 0 V3$", r"16 0 12 \1 0 V3")


@provokes("header-contradiction")
def _(folder: Path) -> Path:
    leads = (*TWELVE[:6], "V2", "V1", *TWELVE[8:])
    return record(folder, ecg()[[TWELVE.index(lead) for lead in leads]], leads)


@provokes("header-cut")
def _(folder: Path) -> Path:
    header = record(folder)
    header.write_bytes(header.read_bytes()[:-1])
    return header


@provokes("header-comment")
def _(folder: Path) -> Path:
    return record(folder, comments="# Dx: 426783007\n")  # a digit of SNOMED's check is wrong


@provokes("checksum-absent")
def _(folder: Path) -> Path:
    return edited(record(folder), r"\d+ 0 (\S+)$", r"0 0 \1", count=12)


@provokes("checksum-wrong")
def _(folder: Path) -> Path:
    header = record(folder)
    data = bytearray((folder / "ecg.dat").read_bytes())
    data[2000] ^= 4
    (folder / "ecg.dat").write_bytes(data)
    return header


# --- size --------------------------------------------------------------------------------------


@provokes("data-missing")
def _(folder: Path) -> Path:
    header = record(folder)
    (folder / "ecg.dat").unlink()
    return header


@provokes("data-truncated")
def _(folder: Path) -> Path:
    header = record(folder)
    os.truncate(folder / "ecg.dat", SAMPLES * 12)
    return header


@provokes("data-overlong")
def _(folder: Path) -> Path:
    header = record(folder)
    with (folder / "ecg.dat").open("ab") as file:
        file.write(ecg()[:, :100].T.tobytes())
    return header


@provokes("data-cut")
def _(folder: Path) -> Path:
    path = table(folder)
    path.write_bytes(path.read_bytes()[:-3])
    return path


@provokes("size-absurd")
def _(folder: Path) -> Path:
    return edited(record(folder), rf"250 {SAMPLES}$", "250 99999999999")


@provokes("length-zero")
def _(folder: Path) -> Case:
    path = folder / "ecg.npy"
    np.save(path, np.zeros((0, 2), np.float32))
    return Case(path, {"source_rate": 250.0, "source_leads": "I,II", "source_unit": "mV"})


@provokes("length-short")
def _(folder: Path) -> Path:
    return record(folder, ecg()[:, :200])


# --- scale and time ----------------------------------------------------------------------------


def _gain(folder: Path, gain: str) -> Path:
    return edited(record(folder), r" 16 800 ", f" 16 {gain} ", count=12)


@provokes("gain-zero")
def _(folder: Path) -> Path:
    return _gain(folder, "0")


@provokes("gain-negative")
def _(folder: Path) -> Path:
    return _gain(folder, "-800")


@provokes("gain-not-finite")
def _(folder: Path) -> Path:
    return _gain(folder, "nan")


@provokes("gain-absurd")
def _(folder: Path) -> Path:
    return _gain(folder, "80000000")


@provokes("gain-unusual")
def _(folder: Path) -> Path:
    return edited(record(folder), r" 16 800 (.* V3)$", r" 16 801 \1")


@provokes("gain-missing")
def _(folder: Path) -> Path:
    rows = ecg()[:1] // 4  # in steps of 5 µV, the default
    rows.T.astype("<i2").tofile(folder / "ecg.dat")
    header = folder / "ecg.hea"
    header.write_text(f"ecg 1 {RATE} {SAMPLES}\necg.dat 16\n")
    return header


@provokes("unit-unknown")
def _(folder: Path) -> Path:
    return _gain(folder, "800/furlong")


@provokes("unit-missing")
def _(folder: Path) -> Path:
    return table(folder, "time_s,I,II")


@provokes("rate-missing")
def _(folder: Path) -> Path:
    return edited(record(folder), rf" 250 {SAMPLES}$", "")


@provokes("rate-zero")
def _(folder: Path) -> Path:
    return edited(record(folder), r"^ecg 12 250", "ecg 12 0")


@provokes("rate-absurd")
def _(folder: Path) -> Path:
    return edited(record(folder), r"^ecg 12 250", "ecg 12 250000")


@provokes("rate-unusual")
def _(folder: Path) -> Path:
    return record(folder, rate=251)


@provokes("rate-implausible")
def _(folder: Path) -> Path:
    return record(folder, files.real_ecg(), rate=10_000)


@provokes("amplitude-absurd")
def _(folder: Path) -> Path:
    x = ecg()[:2] * 1.25  # microvolts, said to be millivolts
    path = folder / "ecg.csv"
    path.write_text(files.csv("time_s,I (mV),II (mV)", np.arange(SAMPLES) / RATE, *x))
    return path


@provokes("time-gap")
def _(folder: Path) -> Path:
    path = table(folder)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:800] + lines[1000:]))
    return path


# --- leads -------------------------------------------------------------------------------------


@provokes("lead-missing")
def _(folder: Path) -> Case:
    return Case(record(folder), {"leads": "II,V9"})


@provokes("lead-unknown")
def _(folder: Path) -> Path:
    return record(folder, ecg()[:2], ("II", "left knee"))


@provokes("lead-duplicate")
def _(folder: Path) -> Path:
    return edited(record(folder), r" V3$", " V2")


@provokes("lead-unnamed")
def _(folder: Path) -> Path:
    return edited(record(folder, ecg()[:2], ("II", "V1")), r" V1$", "")


@provokes("ecg-missing")
def _(folder: Path) -> Path:
    return record(folder, ecg()[:2], ("ABP", "RESP"))


@provokes("leads-derived")
def _(folder: Path) -> Path:
    return muse(folder, TWELVE[:2] + TWELVE[6:])


@provokes("lead-off")
def _(folder: Path) -> Path:
    return muse(folder, TWELVE[:2] + TWELVE[6:], off=("V3",))


@provokes("signals-not-ecg")
def _(folder: Path) -> Path:
    return record(folder, ecg()[:3], ("I", "II", "ABP"))


@provokes("signals-left-out")
def _(folder: Path) -> Path:
    x = ecg()[:2] * 0.00125
    path = folder / "ecg.csv"
    times = np.arange(SAMPLES) / RATE
    path.write_text(files.csv("time_s,I (mV),II (mV),steps", times, *x, times))
    return path


@provokes("einthoven-broken")
def _(folder: Path) -> Path:
    order = [TWELVE.index(lead) for lead in ("I", "II", "aVF", "aVR", "aVL", "III")]
    x = ecg()
    x[:6] = x[order]
    return record(folder, x)


@provokes("einthoven-inexact")
def _(folder: Path) -> Path:
    x = ecg()
    x[3] = np.rint(1.2 * x[3])  # an amplifier of its own, out of adjustment
    return record(folder, x)


@provokes("leads-identical")
def _(folder: Path) -> Path:
    x = ecg()
    x[7] = x[6]
    return record(folder, x)


# --- the signal --------------------------------------------------------------------------------


@provokes("signal-nan")
def _(folder: Path) -> Case:
    x = (ecg() * 0.00125).astype(np.float32)
    x[4, 700:720] = np.nan
    np.save(folder / "ecg.npy", x)
    options = {"source_rate": 250.0, "source_leads": ",".join(TWELVE), "source_unit": "mV"}
    return Case(folder / "ecg.npy", options)


@provokes("signal-gap")
def _(folder: Path) -> Path:
    x = ecg()
    x[:, 1000:1200] = -(1 << 15)  # WFDB's way to say so
    return record(folder, x)


@provokes("signal-flat")
def _(folder: Path) -> Path:
    x = ecg()
    x[8, 1000:1300] = x[8, 1000]
    return record(folder, x)


@provokes("signal-clipped")
def _(folder: Path) -> Path:
    x = ecg()
    x[9] = np.minimum(x[9], x[9].max() // 2)
    return record(folder, x)


@provokes("signal-noise")
def _(folder: Path) -> Path:
    x = ecg()
    x[10] = np.random.default_rng(0).normal(0, 200, SAMPLES)
    return record(folder, x)


@provokes("signal-all-invalid")
def _(folder: Path) -> Path:
    return record(folder, ecg() * 0)


# --- the subject and the data set --------------------------------------------------------------


@provokes("age-over-89")
def _(folder: Path) -> Path:
    return record(folder, comments="# Age: 93\n# Sex: M\n")


@provokes("age-absurd")
def _(folder: Path) -> Path:
    return record(folder, comments="# Age: 250\n# Sex: M\n")


@provokes("sex-unknown")
def _(folder: Path) -> Path:
    path = table(folder)
    path.write_text("# sex: X9\n" + path.read_text())
    return path


@provokes("identifier-removed")
def _(folder: Path) -> Path:
    return record(folder, comments="# seen by Dr. Who\n")


@provokes("table-malformed")
def _(folder: Path) -> Path:
    root = layouts.ptbxl(folder, count=3)
    text = (root / "ptbxl_database.csv").read_text()
    (root / "ptbxl_database.csv").write_text(text.replace("strat_fold", "fold"))
    return root


@provokes("table-orphan")
def _(folder: Path) -> Path:
    root = layouts.ptbxl(folder, count=3)
    header = next(root.rglob("*.hea"))
    header.with_suffix(".dat").unlink()
    header.unlink()
    return root


@provokes("table-row-missing")
def _(folder: Path) -> Path:
    root = layouts.ptbxl(folder, count=3)
    table_ = root / "ptbxl_database.csv"
    table_.write_text("".join(table_.read_text().splitlines(keepends=True)[:-1]))
    return root


# --- what recordings share ---------------------------------------------------------------------


def pair(folder: Path) -> Path:
    """The same signal twice, the second time in other steps and another order."""
    x = ecg()
    layouts.write_record(folder / "one", x, TWELVE, RATE, gain=GAIN)
    order = [*range(4), 5, 4, *range(6, 12)]
    leads = [TWELVE[row] for row in order]
    layouts.write_record(folder / "two", 2 * x[order], leads, RATE, gain="1600")
    return folder


def people(folder: Path) -> Path:
    """Two recordings of one person, and one of another."""
    x = ecg()[0].reshape(5, -1) // 4
    comments = "# Age: 25\n# Sex: male\n# ECG date: 07.12.2004\n"
    for row, name in enumerate(("Person_01/rec_1", "Person_01/rec_2", "Person_90/rec_1")):
        leads, more = ("ECG I", "ECG I filtered"), {"gain": "200", "comments": comments}
        layouts.write_record(folder / name, x[[row, row + 2]], leads, RATE, **more)
    return folder


def sides(folder: Path, *rows: str) -> str:
    path = folder / "split.csv"
    path.write_text("\n".join(["name,split", *rows, ""]))
    return str(path)


@provokes("recording-duplicate")
def _(folder: Path) -> Path:
    return pair(folder)


@provokes("duplicate-leak")
def _(folder: Path) -> Case:
    split = sides(folder, "one,train", "two,test")
    return Case(pair(folder / "data"), {"split": split})


@provokes("name-duplicate")
def _(folder: Path) -> Case:
    split = sides(folder, "ecg,train", "ecg,test")
    return Case(record(folder), {"split": split})


@provokes("subject-leak")
def _(folder: Path) -> Case:
    rows = ("Person_01/rec_1,train", "Person_01/rec_2,test", "Person_90/rec_1,test")
    return Case(people(folder / "ecgid"), {"split": sides(folder, *rows)})
