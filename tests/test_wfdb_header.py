"""WFDB headers by the clauses of header(5): fields, sizes, paths and encodings."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from nerula.errors import DefectError, UsageError
from nerula.readers import wfdb, wfdb_header
from tests.wfdb_records import code_of, loud, millivolts, write_record

HERE = Path("rec.hea")
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    return partial(write_record, tmp_path)


# --- record line ---------------------------------------------------------------------------------


def parsed(top: str, *signals: str, end: str = "\n") -> wfdb_header.Header:
    return wfdb_header.parse(("\n".join([top, *signals]) + end).encode(), HERE)


SIGNAL = "rec.dat 16 200/mV 12 0 5 -3 0 II"


@pytest.mark.parametrize(
    ("top", "rate", "length"),
    [
        ("rec 1 360 650000", 360.0, 650000),
        ("rec 1 360", 360.0, None),
        ("rec 1 360.0 0", 360.0, None),
        ("rec 1 62.4725/999.56 14400", 62.4725, 14400),
        ("rec 1 250/24000 825000 15:08:24", 250.0, 825000),
        ("rec 1 360/360(100.5) 10", 360.0, 10),
        ("rec 1 300 9000 05:05:15 1/05/2000 ", 300.0, 9000),
        ("rec\t1 500 7500 05-Feb-2020 11:39:16", 500.0, 7500),
        ("rec 1 125 6750    31:51.982", 125.0, 6750),
    ],
)
def test_record_lines_of_the_wild(top: str, rate: float, length: int | None) -> None:
    header = parsed(top, SIGNAL)
    assert (header.name, header.rate, header.length) == ("rec", rate, length)


def test_dates_and_times_are_left_out_and_said(write: Write) -> None:
    path = write(top="rec {leads} {rate} {samples} 11:39:16 05/02/2020")
    assert wfdb.read(path).removed == ("time", "date")


@pytest.mark.parametrize(
    ("top", "code"),
    [
        ("rec", "header-malformed"),
        ("rec 1", "rate-missing"),
        ("rec 2 360 10", "header-malformed"),
        ("rec -1 360 10", "header-malformed"),
        ("rec 01 360 10", "header-malformed"),
        ("rec +1 360 10", "header-malformed"),
        ("rec 1 0360 10", "header-malformed"),
        ("rec 1 +360 10", "header-malformed"),
        ("rec 1 36e1 10", "header-malformed"),
        ("rec 1 3_60 10", "header-malformed"),
        ("rec 1 \u0663\u0666\u0660 10", "header-malformed"),
        ("rec 1 360 1_0", "header-malformed"),
        ("rec 1 360 10 20", "header-malformed"),
        ("rec 1 360 10 1:2:3 1:2:3", "header-malformed"),
        ("rec 1 360, 10", "header-malformed"),
        ("rec 1 nan 10", "rate-absurd"),
        ("rec 1 inf 10", "rate-absurd"),
        ("rec/x 1 360 10", "header-malformed"),
        ("rec 99999999999999999999 360 10", "header-malformed"),
    ],
)
def test_record_lines_that_are_refused(top: str, code: str) -> None:
    with pytest.raises(DefectError) as caught:
        parsed(top, SIGNAL)
    assert caught.value.finding.code == code


@pytest.mark.parametrize(
    ("rate", "code"), [("0", "rate-zero"), ("-360", "rate-zero"), ("1000000", "rate-absurd")]
)
def test_rates_that_cannot_be(rate: str, code: str, write: Write) -> None:
    assert code_of(write(top=f"rec {{leads}} {rate} {{samples}}")) == code


# --- signal lines --------------------------------------------------------------------------------


def test_every_field_of_a_signal_line() -> None:
    [signal] = parsed(
        "rec 1 250", "a.dat 16x2:3+512 245.5(-55)/uV 12 1024 -8 -8177 0 ECG lead II"
    ).signals.lines
    assert signal.file == "a.dat"
    assert signal.encoding == (16, 2, 3, 512, 245.5, -55, "uV", 12, 1024, "ECG lead II")
    assert (signal.initial, signal.checksum) == (-8, 65536 - 8177)


@pytest.mark.parametrize("fields", range(2, 9))
def test_signal_lines_may_end_early(fields: int) -> None:
    line = " ".join(["a.dat", "212", "200", "11", "1024", "995", "-22131", "0"][:fields])
    [signal] = parsed("rec 1 360 10", line).signals.lines
    assert signal.encoding.gain == (200.0 if fields > 2 else None)
    assert signal.encoding.zero == (1024 if fields > 4 else None)
    assert signal.initial == (995 if fields > 5 else None)
    assert signal.checksum == (65536 - 22131 if fields > 6 else None)
    assert signal.encoding.description == ""


@pytest.mark.parametrize(
    "line",
    [
        "a.dat",
        "a.dat 16b 200/mV 12 0 0 0 0 II",
        "a.dat 016 200/mV 12 0 0 0 0 II",
        "a.dat 16x0 200/mV 12 0 0 0 0 II",
        "a.dat 16 2_00/mV 12 0 0 0 0 II",
        "a.dat 16 0200/mV 12 0 0 0 0 II",
        "a.dat 16 +200/mV 12 0 0 0 0 II",
        "a.dat 16 2e2/mV 12 0 0 0 0 II",
        "a.dat 16 200. 12 0 0 0 0 II",
        "a.dat 16 200()/mV 12 0 0 0 0 II",
        "a.dat 16 200(0/mV 12 0 0 0 0 II",
        "a.dat 16 200(0.5)/mV 12 0 0 0 0 II",
        "a.dat 16 200/ 12 0 0 0 0 II",
        "a.dat 16 200/mV -1 0 0 0 0 II",
        "a.dat 16 200/mV 12 0 00 0 0 II",
        "a.dat 16 200/mV 12 0 +5 0 0 II",
        "a.dat 16 200/mV 12 0 -0 0 0 II",
        "a.dat 16 200/mV 12 0 0 65536 0 II",
        "a.dat 16 200/mV 12 0 0 -32769 0 II",
        "a.dat 16 200/mV 12 0 0 0 II",
        "a.dat 16 200/mV 12 0 0 0 0 I\x07I",
        "a.dat 16 200/mV 12 0 0 0 0 I\rI",
    ],
)
def test_signal_lines_that_are_refused(line: str) -> None:
    with pytest.raises(DefectError) as caught:
        parsed("rec 1 360 10", line)
    assert caught.value.finding.code == "header-malformed"


def test_gains_as_printf_writes_them() -> None:
    [signal] = parsed("rec 1 250", "a.mat 16+24 1.052e+04/mV 16 0 9127 -301 0 V").signals.lines
    assert signal.encoding.gain == 10520.0


@pytest.mark.parametrize(
    ("gain", "code"),
    [
        ("0(0)/mV", "gain-zero"),
        ("-200(0)/mV", "gain-negative"),
        ("nan(0)/mV", "gain-not-finite"),
        ("inf/mV", "gain-not-finite"),
        ("0.001(0)/mV", "gain-absurd"),
        ("1000(0)/uV", "gain-absurd"),
        ("1000(0)/banana", "unit-unknown"),
        ("20(0)/mmHg", "ecg-missing"),
    ],
)
def test_gains_and_units_that_are_refused(gain: str, code: str, write: Write) -> None:
    line = f"rec.dat 16 {gain} 16 0 {{initial}} {{checksum}} 0 {{name}}"
    assert code_of(write(line=line)) == code


@pytest.mark.parametrize(
    ("gain", "scale"), [("1(0)/uV", 1.0), ("1(0)/µV", 1.0), ("1000(0)", 1.0), ("200", 5.0)]
)
def test_units_and_their_absence(gain: str, scale: float, write: Write) -> None:
    line = f"rec.dat 16 {gain} 16 0 {{initial}} {{checksum}} 0 {{name}}"
    recording = wfdb.read(write(line=line))
    expected = np.rint(millivolts(["I", "II"], 250) * 1000) / 1000 * scale
    assert np.allclose(recording.x, expected, atol=1e-6)
    assert not loud(recording)


def test_a_missing_gain_is_the_manual_s_and_is_said(write: Write) -> None:
    recording = wfdb.read(write(gains=200.0, line="rec.dat 16"))
    assert np.allclose(recording.x, np.rint(millivolts(["I", "II"], 250) * 200) / 200, atol=1e-6)
    assert loud(recording) == {"gain-missing", "lead-unnamed"}


def test_the_baseline_is_the_adc_zero_unless_said(write: Write) -> None:
    line = "rec.dat 16 200 12 2048 {initial} {checksum} 0 {name}"
    recording = wfdb.read(write(gains=200.0, zero=2048, line=line))
    assert np.allclose(recording.x, np.rint(millivolts(["I", "II"], 250) * 200) / 200, atol=1e-6)
    assert not loud(recording)


def test_signals_that_are_no_ecg_are_left_out(write: Write) -> None:
    path = write(("I", "II", "V1"))
    text = path.read_text().replace(" 0 V1", " 0 RESP")
    path.write_text(text)
    recording = wfdb.read(path)
    assert recording.leads == ("I", "II")
    assert "signals-not-ecg" in {finding.code for finding in recording.findings}
    path.write_text(text.replace("/mV 16 0 {", "").replace(" 0 I\n", " 0 V2\n"))
    assert wfdb.read(path).leads == ("V2", "II")
    assert not loud(recording)


def test_leads_in_counts_want_a_gain_rather_than_another_name(write: Write) -> None:
    path = write()
    path.write_text(path.read_text().replace("/mV", "/adu"))
    assert code_of(path) == "unit-unknown"
    path.write_text(path.read_text().replace(" I\n", " RESP\n").replace(" II\n", " PLETH\n"))
    assert code_of(path) == "ecg-missing"


def test_leads_by_name(write: Write) -> None:
    assert wfdb.read(write(("aVR", "V6"), ("AVR", "v6"))).leads == ("aVR", "V6")
    assert wfdb.read(write(names=("ECG", "ECG"))).leads == ("ECG 1", "ECG 2")
    assert wfdb.read(write(names=("DII", "V1(C1)"))).leads == ("II", "V1")
    assert loud(wfdb.read(write(names=("I", "V1(C2)")))) == {"lead-unknown"}
    assert loud(wfdb.read(write(names=("I", "W7")))) == {"lead-unknown"}
    assert code_of(write(names=("II", "II"))) == "lead-duplicate"


# --- sizes, paths, encodings ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("samples", "code"),
    [
        (1999, "data-overlong"),
        (2001, "data-truncated"),
        (10**12, "size-absurd"),
        (10**18, "size-absurd"),
    ],
)
def test_the_file_s_size_is_believed_not_the_header(samples: int, code: str, write: Write) -> None:
    path = write(top=f"rec {{leads}} {{rate}} {samples}")
    assert code_of(path) == code


def test_files_that_are_not_there_or_empty(write: Write) -> None:
    path = write()
    path.with_suffix(".dat").write_bytes(b"")
    assert code_of(path) == "file-empty"
    path.with_suffix(".dat").unlink()
    assert code_of(path) == "data-missing"
    path.with_suffix(".dat").mkdir()
    assert code_of(path) == "file-unreadable"
    path.unlink()
    assert code_of(path) == "file-missing"
    path.write_bytes(b"")
    assert code_of(path) == "file-empty"
    path.write_bytes(b"# only this\n")
    assert code_of(path) == "header-malformed"
    path.write_bytes(b"rec 0 250 1000\n")
    assert code_of(path) == "length-zero"


def test_a_pipe_in_place_of_the_data_does_not_hang(write: Write) -> None:
    path = write()
    path.with_suffix(".dat").unlink()
    os.mkfifo(path.with_suffix(".dat"))
    assert code_of(path) == "file-unreadable"


@pytest.mark.parametrize("name", ["../rec.dat", "/etc/hostname", "a/../../rec.dat", "..\\rec.dat"])
def test_paths_stay_inside(name: str, write: Write, tmp_path: Path) -> None:
    path = write(line=f"{name} 16 {{gain}}/mV 16 0 {{initial}} {{checksum}} 0 {{name}}")
    inner = tmp_path / "inner"
    inner.mkdir()
    path = path.rename(inner / "rec.hea")
    with pytest.raises(DefectError) as caught:
        wfdb.read(path)
    assert caught.value.finding.code == "path-outside"


def test_links_may_point_inside_the_root_only(write: Write, tmp_path: Path) -> None:
    path = write()
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "rec.hea").write_bytes(path.read_bytes())
    (inner / "rec.dat").symlink_to(tmp_path / "rec.dat")
    assert code_of(inner / "rec.hea") == "path-outside"
    assert np.array_equal(wfdb.read(inner / "rec.hea", root=tmp_path).x, wfdb.read(path).x)
    deep = path.read_text().replace("rec.dat", "inner/rec.dat")
    path.write_text(deep)
    assert wfdb.read(path).leads == ("I", "II")


def test_rare_formats_stay_inside_too(write: Write, tmp_path: Path) -> None:
    line = "../rec.dat 16:1 {gain}(0)/mV 16 0 {initial} {checksum} 0 {name}"
    assert code_of(write(line=line)) == "path-outside"


def test_windows_line_ends_and_old_encodings_are_noted(write: Write) -> None:
    plain = wfdb.read(write(comments="#Age: 56\n"))
    windows = wfdb.read(
        write(comments="#Age: 56\n", shape=lambda text: text.replace("\n", "\r\n"))
    )
    assert np.array_equal(plain.x, windows.x)
    assert plain.age == windows.age == 56
    assert [f.code for f in windows.findings] == ["header-line-ends"]
    path = write()
    path.write_bytes(path.read_bytes() + "# Müller, Zürich\n".encode("latin-1"))
    recording = wfdb.read(path)
    assert [f.code for f in recording.findings] == ["header-encoding"]
    assert recording.removed == ("free text",)


def test_names_of_a_record(write: Write, tmp_path: Path) -> None:
    path = write()
    for name in ("rec.hea", "rec.dat", "rec"):
        assert wfdb.read(tmp_path / name).name == "rec"
    with pytest.raises(UsageError, match="no row 1"):
        wfdb.read(path, 1)
    assert loud(wfdb.read(write(top="other {leads} {rate} {samples}"))) == {"header-name"}
    assert not loud(wfdb.read(write(top="rec.mat {leads} {rate} {samples}")))


def test_a_header_that_was_cut_off_is_doubted(write: Write) -> None:
    recording = wfdb.read(write(comments="# Age: 2"))
    assert recording.age == 2
    assert loud(recording) == {"header-cut"}
    assert loud(wfdb.read(write(comments="\n"))) == {"header-cut"}
