"""DICOM ECG: a hospital's file as the oracle, variants of PS3.3 C.10.9, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from nerula.errors import DefectError
from nerula.readers import dicom, wfdb
from tests import clinical_files as files

LEADS = ("V5", "I", "aVR")
STEP = 0.00125  # mV
IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ecg.dcm"


def sound(**more: Any) -> pydicom.Dataset:
    return files.dicom(LEADS, files.excerpt(LEADS, 600), **more)


def read(dataset: pydicom.Dataset, path: Path) -> Any:
    return dicom.read(files.save_dicom(dataset, path))


def refusal(dataset: pydicom.Dataset, path: Path) -> str:
    files.save_dicom(dataset, path)
    with pytest.raises(DefectError) as caught:
        dicom.read(path)
    assert caught.value.finding.path == path
    return caught.value.finding.code


def codes(recording: Any) -> list[str]:
    return [finding.code for finding in recording.findings]


# --- what is read ------------------------------------------------------------------------------


def test_a_hospitals_file_is_read_as_pydicom_reads_it() -> None:
    path = Path(str(get_testdata_file("waveform_ecg.dcm")))
    recording = dicom.read(path)
    dataset = pydicom.dcmread(path)
    assert recording.leads == files.TWELVE
    assert recording.rate == 1000
    assert np.abs(recording.x - dataset.waveform_array(0).T / 1000).max() < 1e-6
    assert np.abs(recording.x[0] + recording.x[2] - recording.x[1]).max() < 0.002  # Einthoven
    assert (recording.age, recording.sex) == (42, "female")
    assert not recording.findings
    assert {"PatientName", "PatientID", "InstitutionName", "WaveformAnnotationSequence"} <= set(
        recording.removed
    )
    text = repr(recording)
    assert not any(word in text for word in ("642341", "Galliera", "1971", "RITMO"))


@pytest.mark.parametrize(
    ("sensitivity", "unit"), [("1.25", "uV"), ("0.00125", "mV"), ("1.25e-6", "V"), ("1250", "nV")]
)
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
def test_channel_sensitivity_units_and_transfer_syntax(
    path: Path, syntax: str, sensitivity: str, unit: str
) -> None:
    samples = files.excerpt(LEADS, 600)
    stored = samples.astype(">i2") if syntax == BIG else samples
    dataset = files.dicom(LEADS, stored, syntax=syntax, sensitivity=sensitivity, unit=unit)
    recording = read(dataset, path)
    assert recording.leads == LEADS
    assert recording.rate == 250
    assert np.abs(recording.x - samples * STEP).max() < 1e-6
    assert recording.valid.all()
    assert not recording.findings


@pytest.mark.parametrize(
    ("interpretation", "dtype"),
    [("SB", "i1"), ("UB", "u1"), ("SS", "i2"), ("US", "u2"), ("SL", "i4"), ("UL", "u4")],
)
def test_waveform_sample_interpretation(path: Path, interpretation: str, dtype: str) -> None:
    samples = files.excerpt(LEADS, 601) // 32  # an odd number of bytes is padded
    middle = 128 if dtype[0] == "u" else 0
    dataset = files.dicom(
        LEADS, (samples + middle).astype(dtype), interpretation=interpretation, sensitivity="40"
    )
    for channel in dataset.WaveformSequence[0].ChannelDefinitionSequence:
        channel.ChannelBaseline = str(-40 * middle)
    recording = read(dataset, path)
    assert np.abs(recording.x - samples * 0.04).max() < 1e-5


@pytest.mark.shared
def test_ptbxl_survives_dicom(path: Path, shared_data: Callable[[str], Path]) -> None:
    real = wfdb.read(next((shared_data("ptbxl") / "records100").rglob("*.hea")))
    samples = np.rint(real.x * 1000).astype(np.int16)
    recording = read(files.dicom(real.leads, samples, rate="100", sensitivity="1"), path)
    assert recording.leads == real.leads
    assert np.abs(recording.x - real.x).max() < 1e-6


def test_waveform_originality_tells_the_rhythm_from_median_beats(path: Path) -> None:
    recording = read(sound(beat=True), path)
    assert recording.x.shape == (3, 600)
    assert not recording.findings


def test_derived_beats_alone_are_no_rhythm_but_a_long_derived_group_is(path: Path) -> None:
    beats = sound()
    beats.WaveformSequence[0].WaveformOriginality = "DERIVED"
    assert refusal(beats, path) == "ecg-missing"
    long = files.dicom(LEADS, files.excerpt(LEADS, 1250))
    long.WaveformSequence[0].WaveformOriginality = "DERIVED"
    assert read(long, path).x.shape == (3, 1250)


def test_the_longest_original_group_is_read_and_the_others_are_reported(path: Path) -> None:
    dataset = sound(beat=True)
    dataset.WaveformSequence[0].WaveformOriginality = "ORIGINAL"
    recording = read(dataset, path)
    assert recording.x.shape == (3, 600)
    assert codes(recording) == ["signals-left-out"]


def test_waveform_padding_value_is_invalid(path: Path) -> None:
    samples = files.excerpt(LEADS, 600).copy()
    samples[1, 100:150] = -32768
    recording = read(files.dicom(LEADS, samples, padding=-32768), path)
    assert np.array_equal(recording.valid, samples != -32768)
    assert not recording.x[1, 100:150].any()
    assert codes(recording) == ["signal-gap"]


def test_sensitivity_correction_factor_and_baseline(path: Path) -> None:
    dataset = sound()
    channel = dataset.WaveformSequence[0].ChannelDefinitionSequence[0]
    channel.ChannelSensitivityCorrectionFactor = "1.02"
    channel.ChannelBaseline = "-300"
    recording = read(dataset, path)
    x = files.excerpt(LEADS, 600) * STEP
    assert np.abs(recording.x[0] - (x[0] * 1.02 - 0.3)).max() < 1e-6
    assert np.abs(recording.x[1] - x[1]).max() < 1e-6
    assert codes(recording) == ["gain-unusual"]


@pytest.mark.parametrize(
    ("code", "meaning", "label", "lead", "found"),
    [
        ("2:62", "aVR, augmented voltage, right", "", "aVR", []),
        ("MDC_ECG_LEAD_V3R", "", "", "V3R", []),
        ("5.6.3-9-66", "Lead V8", "", "V8", []),
        ("LOCAL-1", "Lead I (Einthoven)", "", "I", []),
        ("LOCAL-1", "", "aVL", "aVL", []),
        ("", "", "", "lead 1", ["lead-unnamed"]),
        ("LOCAL-1", "Oesophagus", "", "Oesophagus", ["lead-unknown"]),
        ("5.6.3-9-3", "Lead V2", "", "V1", ["header-contradiction"]),
        ("2:65", "\u2212aVR", "", "\u2212aVR", ["lead-unknown"]),  # upside down
    ],
)
def test_channel_source_names_the_lead(
    path: Path, code: str, meaning: str, label: str, lead: str, found: list[str]
) -> None:
    dataset = files.dicom(("V5", "V6", "V4"), files.excerpt(("V5", "V6", "V4"), 600))
    dataset.SpecificCharacterSet = "ISO_IR 192"
    channel = dataset.WaveformSequence[0].ChannelDefinitionSequence[0]
    source = channel.ChannelSourceSequence[0]
    source.CodeValue, source.CodeMeaning, channel.ChannelLabel = code, meaning, label
    recording = read(dataset, path)
    assert recording.leads == (lead, "V6", "V4")
    assert codes(recording) == found


def test_age_comes_from_birth_date_and_study_date_and_both_are_dropped(path: Path) -> None:
    recording = read(sound(), path)
    assert (recording.age, recording.sex) == (63, "female")
    assert len(recording.subject or "") == 16
    assert "1960" not in repr(recording)
    assert "Doe" not in repr(recording)
    same = sound()
    same.PatientName, same.PatientAge = "Somebody^Else", "018M"
    other = read(same, path)
    assert other.subject == recording.subject
    assert other.age == 1.5
    assert codes(other) == ["header-contradiction"]
    same.PatientAge = ""
    same["PatientBirthDate"] = pydicom.DataElement("PatientBirthDate", "LO", "unknown")
    assert codes(read(same, path)) == ["header-comment"]


# --- what is refused ---------------------------------------------------------------------------


def _group(**fields: Any) -> Callable[[pydicom.Dataset], None]:
    def change(dataset: pydicom.Dataset) -> None:
        for keyword, value in fields.items():
            if value is None:
                delattr(dataset.WaveformSequence[0], keyword)
            else:
                setattr(dataset.WaveformSequence[0], keyword, value)

    return change


def _channel(**fields: Any) -> Callable[[pydicom.Dataset], None]:
    def change(dataset: pydicom.Dataset) -> None:
        channel = dataset.WaveformSequence[0].ChannelDefinitionSequence[1]
        for keyword, value in fields.items():
            if value is None:
                delattr(channel, keyword)
            else:
                channel[keyword] = pydicom.DataElement(keyword, "LO", value)  # unchecked

    return change


def _code(value: str) -> Callable[[pydicom.Dataset], None]:
    def change(dataset: pydicom.Dataset) -> None:
        channel = dataset.WaveformSequence[0].ChannelDefinitionSequence[0]
        channel.ChannelSourceSequence[0].CodeValue = value
        channel.ChannelSourceSequence[0].CodeMeaning = ""

    return change


def _unit(value: str) -> Callable[[pydicom.Dataset], None]:
    def change(dataset: pydicom.Dataset) -> None:
        channel = dataset.WaveformSequence[0].ChannelDefinitionSequence[0]
        channel.ChannelSensitivityUnitsSequence[0].CodeValue = value

    return change


def _kind(dataset: pydicom.Dataset) -> None:
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.9.2.1"  # haemodynamics


def _no_waveform(dataset: pydicom.Dataset) -> None:
    del dataset.WaveformSequence


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (_kind, "ecg-missing"),
        (_no_waveform, "ecg-missing"),
        (_group(NumberOfWaveformSamples=599), "data-overlong"),
        (_group(NumberOfWaveformSamples=601), "data-truncated"),
        (_group(NumberOfWaveformSamples=0), "length-zero"),
        (_group(NumberOfWaveformSamples=0xFFFFFFFF), "data-truncated"),
        (_group(NumberOfWaveformChannels=4), "header-malformed"),
        (_group(NumberOfWaveformChannels=None), "header-malformed"),
        (_group(WaveformData=None), "data-truncated"),
        (_group(WaveformBitsAllocated=8), "format-unsupported"),
        (_group(WaveformSampleInterpretation="MB"), "format-unsupported"),
        (_group(SamplingFrequency="0"), "rate-zero"),
        (_group(SamplingFrequency="-250"), "rate-zero"),
        (_group(SamplingFrequency="1e9"), "rate-absurd"),
        (_group(SamplingFrequency=None), "rate-missing"),
        (_channel(ChannelSensitivity="0"), "gain-zero"),
        (_channel(ChannelSensitivity="1e30"), "gain-absurd"),
        (_channel(ChannelSensitivity=None), "gain-not-finite"),
        (_channel(ChannelBaseline="1e30"), "gain-absurd"),
        (_code("5.6.3-9-1"), "lead-duplicate"),
        (_unit("mm[Hg]"), "unit-unknown"),
        (_unit(""), "unit-unknown"),
    ],
)
def test_what_cannot_be_true_is_refused(
    path: Path, change: Callable[[pydicom.Dataset], None], code: str
) -> None:
    dataset = sound()
    change(dataset)
    assert refusal(dataset, path) == code


@pytest.mark.parametrize("text", [b"nan ", b"1_25", b"0x12", b"\xb2\xb2\xb2\xb2"])
def test_a_sensitivity_that_is_no_number_is_refused(path: Path, text: bytes) -> None:
    data = files.save_dicom(sound(sensitivity="1.25"), path).read_bytes()
    assert data.count(b"1.25") == 3
    path.write_bytes(data.replace(b"1.25", text, 1))
    with pytest.raises(DefectError):
        dicom.read(path)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.50", "1.2.3", ""])
def test_other_transfer_syntaxes_are_refused(path: Path, syntax: str) -> None:
    data = files.save_dicom(sound(), path).read_bytes()
    new = syntax.encode().ljust(len(EXPLICIT) + 1, b"\0")[: len(EXPLICIT) + 1]
    path.write_bytes(data.replace(EXPLICIT.encode() + b"\0", new, 1))
    with pytest.raises(DefectError, match="transfer syntax"):
        dicom.read(path)


def test_a_deflated_bomb_is_not_inflated(path: Path) -> None:
    dataset = sound(syntax=DEFLATED)
    dataset.WaveformSequence[0].WaveformData = bytes(64 << 20)
    assert refusal(dataset, path) in {"format-unsupported", "format-malformed"}


@pytest.mark.parametrize("size", [0, 100, 132, 140, 400, 900, 2000, 4000])
def test_a_truncated_file_is_refused(path: Path, size: int) -> None:
    data = files.save_dicom(sound(), path).read_bytes()
    assert len(data) > 4000
    path.write_bytes(data[:size])
    with pytest.raises(DefectError):
        dicom.read(path)


@pytest.mark.parametrize("at", [-200, -900, 1900])
@pytest.mark.parametrize("change", [b"", b"\0\0"])
def test_bytes_that_were_lost_or_inserted_are_noticed(path: Path, at: int, change: bytes) -> None:
    data = files.save_dicom(sound(), path).read_bytes()
    path.write_bytes(data[:at] + (change * 2 or b"") + data[at + (0 if change else 2) :])
    with pytest.raises(DefectError):
        dicom.read(path)


def test_a_sequence_of_unknown_length_is_read(path: Path) -> None:
    dataset = sound()
    dataset["WaveformSequence"].is_undefined_length = True
    assert read(dataset, path).leads == LEADS
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(DefectError):
        dicom.read(path)


def test_nothing_of_a_damaged_file_is_logged(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = files.save_dicom(sound(), path).read_bytes()
    path.write_bytes(
        data.replace(b"19600602", b"19600602 Doe"[:8]).replace(b"Doe^Jane", b"\0o\x1b^Jane")
    )
    dicom.read(path)
    path.write_bytes(data.replace(EXPLICIT.encode() + b"\0", b"1.2.Doe.Jane.000.1.2", 1))
    with pytest.raises(DefectError):
        dicom.read(path)
    assert not caplog.records


def test_an_image_is_no_ecg() -> None:
    with pytest.raises(DefectError, match="ecg-missing"):
        dicom.read(Path(str(get_testdata_file("CT_small.dcm"))))
