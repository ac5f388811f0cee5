"""EDF, EDF+, BDF and BDF+: read back what edfio and we write, and refuse what cannot be true.

Names of tests say the field or clause of https://www.edfplus.info/specs they are about.
"""

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import edfio
import numpy as np
import pytest

from nerula.errors import DefectError
from nerula.readers import edf, wfdb
from nerula.readers.source import Hints
from tests import clinical_files as files

LEADS = ("II", "aVR", "V5")
STEP = 0.00125  # mV


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "night.edf"


def written(path: Path, signals: list[dict[str, Any]] | None = None, **more: Any) -> Path:
    path.write_bytes(files.edf(signals or files.edf_signals(LEADS, 1000, 250), **more))
    return path


def changed(path: Path, at: int, new: bytes) -> Path:
    """Overwrite bytes of a sound file."""
    data = bytearray(written(path).read_bytes())
    data[at : at + len(new)] = new
    path.write_bytes(bytes(data))
    return path


def refusal(path: Path, **more: Any) -> str:
    with pytest.raises(DefectError) as caught:
        edf.read(path, **more)
    assert caught.value.finding.path == path
    return caught.value.finding.code


def codes(recording: Any) -> list[str]:
    return [finding.code for finding in recording.findings]


# --- what is read ------------------------------------------------------------------------------


@pytest.mark.parametrize(("unit", "per_mv"), [("mV", 1.0), ("uV", 1000.0), ("V", 0.001)])
def test_what_edfio_writes_is_read_within_half_a_step(
    path: Path, unit: str, per_mv: float
) -> None:
    leads = files.TWELVE[::-1]
    x = files.excerpt(leads, 2500) * STEP
    signals = [
        edfio.EdfSignal(
            row * per_mv,
            250,
            label=f"ECG {lead}",
            physical_dimension=unit,
            physical_range=(-8 * per_mv, 8 * per_mv),
        )
        for lead, row in zip(leads, x, strict=True)
    ]
    edfio.Edf(signals).write(path)
    recording = edf.read(path)
    assert recording.leads == leads
    assert recording.rate == 250
    assert recording.valid.all()
    assert np.abs(recording.x - x).max() <= 16 / 65535 / 2 * 1.001
    oracle = [signal.data / per_mv for signal in edfio.read_edf(path).signals]
    assert np.abs(recording.x - oracle).max() < 1e-6
    assert not recording.findings


@pytest.mark.shared
def test_ptbxl_survives_edf(path: Path, shared_data: Callable[[str], Path]) -> None:
    header = next((shared_data("ptbxl") / "records100").rglob("*.hea"))
    real = wfdb.read(header)
    edfio.Edf([
        edfio.EdfSignal(row.astype(float), 100, label=lead, physical_dimension="mV",
                        physical_range=(-32.768, 32.767))
        for lead, row in zip(real.leads, real.x, strict=True)
    ]).write(path)  # fmt: skip
    recording = edf.read(path)
    assert recording.leads == real.leads
    assert np.abs(recording.x - real.x).max() < 1e-5  # edfio writes 32.767 as 32.76701


def test_24_bit_bdf_is_read_as_edfio_reads_it(path: Path) -> None:
    x = files.excerpt(LEADS, 1000) * 1.25
    signals = [
        edfio.BdfSignal(row, 250, label=lead, physical_dimension="uV", physical_range=(-5e5, 5e5))
        for lead, row in zip(LEADS, x, strict=True)
    ]
    edfio.Bdf(signals).write(path.with_suffix(".bdf"))
    recording = edf.read(path.with_suffix(".bdf"))
    assert recording.leads == LEADS
    assert np.abs(recording.x * 1000 - x).max() < 0.06


def test_digital_values_are_exact(path: Path) -> None:
    recording = edf.read(written(path))
    exact = files.excerpt(LEADS, 1000) * STEP
    assert np.abs(recording.x - exact).max() < 1e-6


def test_labels_choose_ecg_among_other_signals(path: Path) -> None:
    ecg = files.edf_signals(("II",), 1000, 250)[0]
    others = [
        {**ecg, "label": "EEG Fpz-Cz"}, {**ecg, "label": "Resp", "unit": ""},
        {**ecg, "label": "SpO2", "unit": "%", "limits": ("", "x", "0", "0")},
        {**ecg, "label": "Position", "transducer": "accelerometer", "unit": "g"},
    ]  # fmt: skip
    by_transducer = {**ecg, "label": "Channel 7", "transducer": "ECG electrodes"}
    recording = edf.read(written(path, [*others, ecg, by_transducer]))
    assert recording.leads == ("II", "Channel 7")
    assert sorted(codes(recording)) == ["lead-unknown", "signals-not-ecg"]
    (said,) = [found.detail for found in recording.findings if found.code == "signals-not-ecg"]
    assert said == "EEG Fpz-Cz, Resp, SpO2, Position"


@pytest.mark.parametrize(
    ("label", "lead"),
    [
        ("ECG LA-RA", "I"),
        ("EKG aVF", "aVF"),
        ("ECG V1-ref", None),
        ("MLII", "MLII"),
        ("ECG", "ECG"),
    ],
)
def test_label_of_a_signal(path: Path, label: str, lead: str | None) -> None:
    signal = {**files.edf_signals(("II",), 1000, 250)[0], "label": label}
    recording = edf.read(written(path, [signal]))
    assert recording.leads == ((lead or label),)
    assert codes(recording) == ([] if lead else ["lead-unknown"])


def test_a_signal_scaled_like_an_ecg_is_not_passed_over_in_silence(path: Path) -> None:
    ecg = files.edf_signals(("II", "V1"), 1000, 250)
    recording = edf.read(written(path, [*ecg, {**ecg[0], "label": "ExG V2"}]))
    assert recording.leads == ("II", "V1")
    assert codes(recording) == ["signals-left-out"]


def test_number_of_samples_of_the_commonest_rate_is_taken(path: Path) -> None:
    fast = files.edf_signals(("I", "II"), 1000, 250)
    slow = {**files.edf_signals(("V1",), 500, 125)[0]}
    recording = edf.read(written(path, [slow, *fast]))
    assert recording.leads == ("I", "II")
    assert recording.rate == 250
    assert codes(recording) == ["signals-left-out"]
    assert "V1" in recording.findings[0].detail


@pytest.mark.parametrize(("seconds", "rate"), [("0.1", 1000), ("2", 50), ("0.4", 250)])
def test_duration_of_a_data_record_gives_the_exact_rate(
    path: Path, seconds: str, rate: float
) -> None:
    signals = files.edf_signals(("II",), 1000, 100)
    assert edf.read(written(path, signals, seconds=seconds)).rate == rate


def test_physical_minimum_above_the_maximum_turns_the_signal_over(path: Path) -> None:
    signal = files.edf_signals(("II",), 1000, 250)[0]
    signal["limits"] = ("40960", "-40960", "-32767", "32767")
    recording = edf.read(written(path, [signal]))
    assert np.corrcoef(recording.x[0], signal["x"])[0, 1] < -0.999
    assert codes(recording) == ["gain-unusual"]


def test_number_of_data_records_may_be_unknown(path: Path) -> None:
    recording = edf.read(changed(path, 236, b"-1      "))
    assert recording.x.shape == (3, 1000)
    assert codes(recording) == ["header-contradiction"]


def test_samples_outside_the_digital_limits_are_reported(path: Path) -> None:
    signal = files.edf_signals(("II",), 1000, 250)[0]
    signal["limits"] = ("-0.125", "0.125", "-100", "100")
    recording = edf.read(written(path, [signal]))
    assert ("header-contradiction", "II") in [(f.code, f.lead) for f in recording.findings]


# --- EDF+: time and people ---------------------------------------------------------------------


def test_gaps_of_a_discontinuous_recording_are_invalid(path: Path) -> None:
    signals = files.edf_signals(("II",), 1000, 250)
    recording = edf.read(written(path, signals, plus="D", onsets=["+5", "+6", "+7.5", "+10"]))
    assert recording.x.shape == (1, 1500)
    measured = np.r_[0:500, 625:875, 1250:1500]
    assert np.array_equal(np.flatnonzero(recording.valid[0]), measured)
    assert np.abs(recording.x[0, measured] - signals[0]["x"] * STEP).max() < 1e-6
    assert not recording.x[~recording.valid].any()
    assert codes(recording) == ["signal-gap"]


def test_clocks_of_data_records_may_be_rounded(path: Path) -> None:
    onsets = ["+0", "+1.003", "+1.999", "+3.004"]
    recording = edf.read(written(path, plus="D", onsets=onsets))
    assert recording.valid.all()
    assert not recording.findings


@pytest.mark.parametrize(
    ("onsets", "code"),
    [
        (["+0", "+1", "+1.5", "+3"], "format-malformed"),  # overlap
        (["+0", "+1", "now", "+3"], "format-malformed"),
        (["+0", "+1", "+2", "+9999999"], "size-absurd"),
    ],
)
def test_times_that_cannot_be_are_refused(path: Path, onsets: list[str], code: str) -> None:
    assert refusal(written(path, plus="D", onsets=onsets)) == code


def test_a_continuous_recording_with_gaps_contradicts_itself(path: Path) -> None:
    recording = edf.read(written(path, plus="C", onsets=["+0", "+1", "+7", "+8"]))
    assert codes(recording) == ["header-contradiction"]
    assert recording.x.shape == (3, 1000)


def test_annotations_are_named_as_removed_and_never_returned(path: Path) -> None:
    recording = edf.read(written(path, plus="C", onsets=["+0", "+1", "+2", "+3"], notes="Mrs Doe"))
    assert "annotations" in recording.removed
    assert "Doe" not in repr(recording)
    quiet = edf.read(written(path, plus="C", onsets=["+0", "+1", "+2", "+3"]))
    assert "annotations" not in quiet.removed


def test_local_patient_identification_becomes_a_pseudonym_sex_and_age(path: Path) -> None:
    x = files.excerpt(("II",), 1000)[0] * 1.25
    edfio.Edf(
        [edfio.EdfSignal(x, 250, label="ECG II", physical_dimension="uV")],
        patient=edfio.Patient(
            code="MRN-4711", sex="F", birthdate=datetime.date(1960, 6, 2), name="Jane_Doe"
        ),
        recording=edfio.Recording(
            startdate=datetime.date(2024, 6, 1), hospital_administration_code="H1"
        ),
        annotations=[],
    ).write(path)
    recording = edf.read(path)
    assert (recording.age, recording.sex) == (63, "female")
    assert recording.subject is not None
    assert len(recording.subject) == 16
    assert set(recording.removed) == {
        "start date", "recording identification", "patient code", "patient birthdate",
        "patient name",
    }  # fmt: skip
    assert not any(word in repr(recording) for word in ("4711", "Doe", "1960"))
    again = edf.read(
        written(path, patient="MRN-4711 M 03-JUL-1990 X", plus="C", onsets=["+0"] * 4)
    )
    assert again.subject == recording.subject


def test_an_anonymised_patient_is_no_subject(path: Path) -> None:
    recording = edf.read(written(path, plus="C", onsets=["+0", "+1", "+2", "+3"]))
    assert recording.subject is recording.age is recording.sex is None
    assert recording.removed == ()


def test_a_birthdate_after_the_start_is_dropped(path: Path) -> None:
    words = {"patient": "A F 02-JUN-2060 X", "recording": "Startdate 01-JUN-2024 X X X"}
    words["start"] = "01.06.24"
    recording = edf.read(written(path, plus="C", onsets=["+0", "+1", "+2", "+3"], **words))
    assert recording.age is None
    assert "age-absurd" in codes(recording)


def test_a_birthdate_that_cannot_be_read_is_reported(path: Path) -> None:
    words = {"patient": "A F 02-JNU-1960 X", "recording": "Startdate 01-JUN-2024 X X X"}
    words["start"] = "01.06.24"
    recording = edf.read(written(path, plus="C", onsets=["+0", "+1", "+2", "+3"], **words))
    assert recording.age is None
    assert codes(recording) == ["header-comment"]


def test_two_dates_of_the_start_are_a_contradiction(path: Path) -> None:
    words = {"recording": "Startdate 01-JUN-2024 X X X", "start": "01.06.14"}
    recording = edf.read(written(path, plus="C", onsets=["+0", "+1", "+2", "+3"], **words))
    assert codes(recording) == ["header-contradiction"]


def test_names_with_accents_are_read_as_latin_1(path: Path) -> None:
    recording = edf.read(written(path, patient="Zo\u00eb D\u00f6e"))
    assert codes(recording) == ["header-encoding"]
    assert recording.subject


# --- what is refused ---------------------------------------------------------------------------

LABEL, UNIT, LOW, HIGH, LEAST, MOST, SAMPLES = (
    256 + 3 * w for w in (0, 96, 104, 112, 120, 128, 216)
)


@pytest.mark.parametrize(
    ("at", "new", "code"),
    [
        (0, b"1", "format-malformed"),
        (184, b"1025    ", "header-malformed"),  # bytes in header
        (184, b"\xb2", "header-malformed"),
        (236, b"5       ", "data-truncated"),
        (236, b"3       ", "data-overlong"),
        (236, b"0       ", "data-overlong"),
        (236, b"99999999", "data-truncated"),
        (236, b"1_0     ", "header-malformed"),
        (236, b"+4      ", "header-malformed"),
        (236, b"-2      ", "header-malformed"),
        (244, b"0       ", "rate-zero"),
        (244, b"-1      ", "rate-zero"),
        (244, b"nan     ", "rate-absurd"),
        (244, b"1e9     ", "rate-absurd"),
        (244, b"1e-9    ", "rate-absurd"),
        (244, b"1e-300  ", "rate-absurd"),
        (244, b"1e-400  ", "rate-zero"),
        (244, b"1e400   ", "rate-absurd"),
        (244, b"1,0     ", "header-malformed"),
        (252, b"0   ", "header-malformed"),
        (252, b"9999", "header-malformed"),
        (SAMPLES, b"0       ", "header-malformed"),
        (SAMPLES, b"99999999", "data-truncated"),
        (UNIT, b"uX      ", "unit-unknown"),
        (UNIT, b"        ", "unit-unknown"),
        (LOW, b"nan     ", "gain-not-finite"),
        (LOW, b"        ", "gain-not-finite"),
        (LOW, b"40958.75", "gain-zero"),
        (LOW, b"-4e90   ", "gain-absurd"),
        (HIGH, b"-40959.9", "gain-absurd"),
        (LEAST, b"32767   ", "gain-zero"),
        (MOST, b"-32769  ", "header-malformed"),
        (MOST, b"-32768  ", "gain-zero"),
        (LEAST, b"-1.5    ", "header-malformed"),
        (LABEL, b"ECG aVR         ", "lead-duplicate"),
        (LABEL, b"ECG \x07", "header-malformed"),
    ],
)
def test_a_field_that_cannot_be_true_is_refused(
    path: Path, at: int, new: bytes, code: str
) -> None:
    assert refusal(changed(path, at, new)) == code


@pytest.mark.parametrize("size", [0, 7, 200, 600, 1024, 1025, 5000])
def test_a_truncated_file_is_refused(path: Path, size: int) -> None:
    path.write_bytes(written(path).read_bytes()[:size])
    assert refusal(path) in {"file-empty", "format-malformed", "data-truncated"}


def test_annotations_in_a_file_that_does_not_say_edf_plus_are_a_contradiction(path: Path) -> None:
    written(path, plus="D", onsets=["+0", "+1", "+7", "+8"])
    path.write_bytes(path.read_bytes().replace(b"EDF+D", b"EDG+D"))
    assert codes(edf.read(path)) == ["header-contradiction"]
    path.write_bytes(path.read_bytes().replace(b"EDG+D", b"EDF+E"))
    assert refusal(path) == "header-malformed"


def test_an_overlong_file_is_refused(path: Path) -> None:
    path.write_bytes(written(path).read_bytes() + b"\0\0")
    assert refusal(path) == "data-overlong"


def test_no_ecg_signal_is_refused(path: Path) -> None:
    signal = {**files.edf_signals(("II",), 1000, 250)[0], "label": "EEG C3-A2"}
    assert refusal(written(path, [signal])) == "ecg-missing"


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "absent.edf") == "file-missing"


def test_a_unit_that_the_file_leaves_out_can_be_given(path: Path) -> None:
    signal = {**files.edf_signals(("II",), 1000, 250)[0], "unit": ""}
    recording = edf.read(written(path, [signal]), hints=Hints(unit="uV"))
    assert np.abs(recording.x[0] - signal["x"] * STEP).max() < 1e-6
