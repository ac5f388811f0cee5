"""What WFDB headers say of people, and what they say that cannot be so."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from nerula.defects import Severity
from nerula.readers import wfdb, wfdb_info
from nerula.readers.names import STANDARD
from tests import reference
from tests.wfdb_records import loud, millivolts, write_record

HERE = Path("rec.hea")
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    return partial(write_record, tmp_path)


# --- comments ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("comments", "age", "sex", "labels"),
    [
        (
            ["Age: 74", "Sex: Male", "Dx: 426783006,164867002"],
            74,
            "male",
            {"426783006", "164867002"},
        ),
        ([" Age: 25", " Sex: female", " ECG date: 07.12.2004"], 25, "female", set()),
        ([" Age: 64 Sex: F"], 64, "female", set()),
        (["<age>: 49 <sex>: M <diagnoses>: (none)"], 49, "male", set()),
        (["Age: NaN", "Sex: Unknown", "Dx: Unknown", "Rx: Unknown"], None, None, set()),
        (["Dx: AF, NORM,1AVB"], None, None, {"AF", "NORM", "1AVB"}),
        (["Age: 93"], 90, None, set()),
        (["Produced by xform from record 100, beginning at 0:0"], None, None, set()),
    ],
)
def test_comments_of_the_wild(
    comments: list[str], age: float | None, sex: str | None, labels: set[str]
) -> None:
    info = wfdb_info.read(comments, HERE)
    assert (info.age, info.sex, set(info.labels)) == (age, sex, labels)
    assert all(likelihood == 1.0 for likelihood in info.labels.values())
    assert all(finding.severity is Severity.NOTE for finding in info.findings)


@pytest.mark.parametrize(
    "comments",
    [
        ["Age: 7f"],
        ["Age: 025"],
        ["Age: 400"],
        ["Age: 25", "Age: 26"],
        ["Sex: mal"],
        ["Sex: 1"],
        ["Age: 25", "Sfx: male"],
        ["Age: Sex: male"],
        ["Sex: male", "ECG date: 07.12.2004"],
        ["Age: 25", "Sex: Male", "Rx: Unknown"],
        ["Dx: 426783007"],  # the check digit of sinus rhythm is 6
        ["Dx: 426738006"],
        ["Dx: 42678300"],
        ["Dx: sinus rhythm, as Dr. Who said"],
    ],
)
def test_comments_that_are_doubted(comments: list[str]) -> None:
    findings = wfdb_info.read(comments, HERE).findings
    assert any(finding.severity is Severity.WARNING for finding in findings)


def test_free_text_is_left_out_and_never_quoted() -> None:
    info = wfdb_info.read(["Jane Doe, Dr. Who's patient: 5 Main St", "ECG date: 1.1.2000"], HERE)
    assert info.removed == ("date", "free text")
    assert "Jane" not in repr(info)


# --- doubts: what sound devices write, and what they do not --------------------------------------

ICU = "rec.dat 16 {gain}/mV 8 0 {initial} {checksum} 0 {name}"


@pytest.mark.parametrize(
    "record",
    [
        {"rate": 250, "gains": 200.0, "line": "rec.dat 16 200 12 0 {initial} {checksum} 0 {name}"},
        {"rate": 1000, "gains": 2000.0, "leads": STANDARD, "names": [n.lower() for n in STANDARD]},
        {"rate": 500, "gains": 4880.0, "leads": STANDARD},
        {"rate": 250, "gains": 306.0, "leads": STANDARD},  # St Petersburg: any, but all the same
        {"rate": 125, "gains": (83.0, 55.0), "names": ("II", "V"), "line": ICU},  # MIMIC
        {"rate": 125, "gains": (29.0, 24.0), "names": ("MCL1", "V"), "line": ICU},
        {"rate": 250, "gains": (1053.0, 2456.0), "line": ICU.replace("8", "12")},
        {"rate": 500, "leads": ("I", "II", "III", "aVR", "aVF", "aVL", "V1")},
        {"rate": 250, "names": ("ECG1", "ECG2")},
    ],
)
def test_what_published_devices_write_is_believed(record: dict[str, object], write: Write) -> None:
    assert not loud(wfdb.read(write(**record)))


def test_gains_that_a_program_chose_to_fill_the_range_are_believed(tmp_path: Path) -> None:
    x = millivolts(["I", "II"], 200)
    path = tmp_path / "rec.hea"  # as CPSC 2021 was written, from the signal's limits
    reference.write(
        path, fs=200, units=["mV"] * 2, sig_name=["I", "II"], p_signal=x.T, fmt=["16"] * 2
    )
    gains = [line.split()[2] for line in path.read_text().splitlines()[1:]]
    assert len(set(gains)) == 2
    recording = wfdb.read(path)
    assert not loud(recording)
    assert np.allclose(recording.x, x, atol=1e-3)


@pytest.mark.parametrize(
    ("leads", "old", "new", "code"),
    [
        (1, "1000.0", "100.0", "amplitude-absurd"),
        (1, "1000.0", "10000.0", "gain-unusual"),
        (1, "1000.0", "1001.0", "gain-unusual"),
        (1, "1000.0", "3000.0", "gain-unusual"),
        (1, "1000.0", "2246.0", "gain-unusual"),
        (1, "(0)", "(1)", "header-contradiction"),
        (1, "1000.0(0)/mV 16 0", "1000.0/mV 16 7", "header-contradiction"),
        (1, "/mV", "/V", "amplitude-absurd"),
        (1, "rec 1 500 4000", "rec 1 50 4000", "rate-implausible"),
        (1, "rec 1 500 4000", "rec 1 5000 4000", "rate-implausible"),
        (1, "rec 1 500 4000", "rec 1 501 4000", "rate-unusual"),
        (1, "rec 1 500 4000", "rec 1 4000", "header-contradiction"),
        (2, "1000.0", "2000.0", "gain-unusual"),
        (2, "1000.0(0)/mV", "1(0)/uV", ""),
        (2, "1000.0(0)/mV", "1000.0(3)/mV", "header-contradiction"),
        (12, " 0 V3\n", " 0 V7\n", "header-contradiction"),
        (12, " 0 V3\n", " 0 V2R\n", "header-contradiction"),
    ],
)
def test_slips_of_the_pen_are_doubted(
    leads: int, old: str, new: str, code: str, write: Write
) -> None:
    path = write(("II",) if leads == 1 else STANDARD[:leads], rate=500)
    assert not loud(wfdb.read(path))
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    assert code in (loud(wfdb.read(path)) or {""})


def test_leads_whose_names_were_exchanged_are_doubted(write: Write) -> None:
    names = list(STANDARD)
    names[7], names[8] = names[8], names[7]
    assert loud(wfdb.read(write(STANDARD, names, 500))) == {"header-contradiction"}
    pair = write(names=("ECG II", "ECG I filtered"))
    assert loud(wfdb.read(pair)) == {"header-contradiction"}
