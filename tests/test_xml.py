"""GE MUSE and HL7 aECG: read back real ECG; refuse attacks, lies and damage."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nerula.errors import DefectError, MissingExtraError
from nerula.readers import wfdb, xml
from tests import clinical_files as files

STORED = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
LEADS = ("V5", "I", "aVR")
STEP = 0.00125  # mV


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ecg.xml"


def read(text: str | bytes, path: Path) -> Any:
    path.write_bytes(text.encode("latin-1") if isinstance(text, str) else text)
    return xml.read(path)


def refusal(text: str | bytes, path: Path) -> str:
    with pytest.raises(DefectError) as caught:
        read(text, path)
    assert caught.value.finding.path == path
    return caught.value.finding.code


def codes(recording: Any) -> list[str]:
    return [finding.code for finding in recording.findings]


def muse(**more: Any) -> str:
    return files.muse(LEADS, files.excerpt(LEADS, 500), **more)


def aecg(**more: Any) -> str:
    return files.aecg(LEADS, files.excerpt(LEADS, 500), **more)


# --- MUSE --------------------------------------------------------------------------------------


def test_muse_rhythm_is_read_and_median_beats_are_not(path: Path) -> None:
    recording = read(muse(), path)
    assert recording.leads == LEADS
    assert recording.rate == 250
    assert np.abs(recording.x - files.excerpt(LEADS, 500) * STEP).max() < 1e-6
    assert recording.valid.all()
    assert not recording.findings


def test_muse_leads_that_devices_leave_out_equal_those_that_another_stored(path: Path) -> None:
    recording = read(files.muse(STORED, files.excerpt(STORED, 2500)), path)
    assert set(recording.leads) == set(files.TWELVE)
    stored = files.excerpt(recording.leads, 2500) * STEP
    assert np.abs(recording.x - stored).max() < 0.002  # each lead was rounded to 1.25 µV
    assert codes(recording) == ["leads-derived"]
    i, ii, iii, avr, avl, avf = (recording.x[recording.leads.index(n)] for n in files.TWELVE[:6])
    assert np.abs(i + iii - ii).max() < 1e-6
    assert np.abs(avr + avl + avf).max() < 1e-6


def test_muse_lead_off_is_invalid_and_so_is_what_follows_from_it(path: Path) -> None:
    recording = read(files.muse(STORED, files.excerpt(STORED, 500), off=("II", "V3")), path)
    off = {
        lead
        for lead, valid in zip(recording.leads, recording.valid, strict=True)
        if not valid.any()
    }
    assert off == {"II", "V3", "III", "aVR", "aVL", "aVF"}
    assert not recording.x[~recording.valid].any()
    assert codes(recording) == ["lead-off", "lead-off", "leads-derived"]


@pytest.mark.parametrize(
    ("step", "units"), [("1.25", "MICROVOLTS"), ("0.00125", "MILLIVOLTS"), ("1.25", "uV")]
)
def test_muse_amplitude_units(path: Path, step: str, units: str) -> None:
    recording = read(muse(step=step, units=units), path)
    assert np.abs(recording.x - files.excerpt(LEADS, 500) * STEP).max() < 1e-6


@pytest.mark.shared
def test_ptbxl_survives_muse_and_aecg(path: Path, shared_data: Callable[[str], Path]) -> None:
    real = wfdb.read(next((shared_data("ptbxl") / "records100").rglob("*.hea")))
    samples = np.rint(real.x * 1000).astype(np.int16)
    from_muse = read(files.muse(real.leads, samples, rate=100, step="1"), path)
    from_aecg = read(files.aecg(real.leads, samples, increment="0.01", scale=("1", "uV")), path)
    for recording in (from_muse, from_aecg):
        assert recording.leads == real.leads
        assert recording.rate == 100
        assert np.abs(recording.x - real.x).max() < 1e-6


def test_muse_patient_becomes_a_pseudonym_age_and_sex(path: Path) -> None:
    recording = read(muse(), path)
    assert (recording.age, recording.sex) == (63, "female")
    assert len(recording.subject or "") == 16
    assert set(recording.removed) == {
        "PatientID", "DateofBirth", "PatientLastName", "AcquisitionDate", "Diagnosis"
    }  # fmt: skip
    assert not any(word in repr(recording) for word in ("4711", "D\u00f6e", "1960"))
    born = muse().replace("<PatientAge>63</PatientAge>", "").replace("1960", "1930")
    assert read(born, path).age == 90
    older = read(muse().replace("<PatientAge>63", "<PatientAge>36"), path)
    assert codes(older) == ["header-contradiction"]


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("<WaveformType>Rhythm", "<WaveformType>Median", "ecg-missing"),
        ("<WaveformType>Median", "<WaveformType>Rhythm", "format-unsupported"),
        ("<SampleBase>250", "<SampleBase>0", "rate-zero"),
        ("<SampleBase>250", "<SampleBase>", "rate-missing"),
        ("<SampleBase>250", "<SampleBase>2_50", "header-malformed"),
        ("<SampleBase>250", "<SampleBase>\u0662", "header-malformed"),
        ("<SampleExponent>0", "<SampleExponent>9", "rate-absurd"),
        ("<NumberofLeads>3", "<NumberofLeads>4", "header-malformed"),
        ("<LeadID>aVR", "<LeadID>I", "lead-duplicate"),
        ("MICROVOLTS", "mmHg", "unit-unknown"),
        ("PerBit>1.25", "PerBit>0", "gain-zero"),
        ("PerBit>1.25", "PerBit>NaN", "gain-not-finite"),
        ("PerBit>1.25", "PerBit>1e9", "gain-absurd"),
        ("PerBit>1.25", "PerBit>0x1", "header-malformed"),
        ("CountTotal>1000", "CountTotal>1002", "data-truncated"),
        ("CountTotal>1000", "CountTotal>998", "data-overlong"),
        ("SampleCountTotal>500", "SampleCountTotal>501", "data-truncated"),
        ("SampleCountTotal>500", "SampleCountTotal>5e2", "header-malformed"),
        ("SampleSize>2", "SampleSize>4", "format-unsupported"),
        ("<LeadDataCRC32>", "<LeadDataCRC32>1", "checksum-wrong"),
        ("<WaveFormData>", "<WaveFormData>!", "format-malformed"),
        ("<WaveFormData>", "<WaveFormData>\u00e9", "format-malformed"),
        ("</RestingECG>", "", "format-malformed"),
    ],
)
def test_a_muse_file_that_cannot_be_true_is_refused(
    path: Path, old: str, new: str, code: str
) -> None:
    head, rhythm = muse().split("<Waveform><WaveformType>Rhythm", 1)
    text = head.replace(old, new) + ("<Waveform><WaveformType>Rhythm" + rhythm).replace(old, new)
    utf8 = text.replace("ISO-8859-1", "UTF-8").encode()
    assert refusal(utf8, path) == code


def test_one_changed_sample_breaks_the_checksum(path: Path) -> None:
    text = muse()
    at = text.rindex("<WaveFormData>") + 40
    other = "A" if text[at] != "A" else "B"
    assert refusal(text[:at] + other + text[at + 1 :], path) == "checksum-wrong"


# --- aECG --------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [("1.25", "uV"), ("0.00125", "mV"), ("0.00000125", "V")])
def test_aecg_rhythm_is_read_and_representative_beats_are_not(
    path: Path, scale: tuple[str, str]
) -> None:
    recording = read(aecg(scale=scale), path)
    assert recording.leads == LEADS
    assert recording.rate == 250
    assert np.abs(recording.x - files.excerpt(LEADS, 500) * STEP).max() < 1e-6
    assert not recording.findings


def test_aecg_origin_may_have_a_unit_of_its_own(path: Path) -> None:
    recording = read(aecg(origin=("-0.5", "mV")), path)
    assert np.abs(recording.x - (files.excerpt(LEADS, 500) * STEP - 0.5)).max() < 1e-6


@pytest.mark.parametrize(
    ("increment", "unit", "rate"),
    [
        ("0.002", "s", 500), ("2", "ms", 500), ("1000", "us", 1000), ("0.016", "s", 62.5),
        ("0.00278", "s", 360), ("0.003333", "s", 300), ("0.00390625", "s", 256),
    ],
)  # fmt: skip
def test_aecg_increment_gives_the_rate_that_was_meant(
    path: Path, increment: str, unit: str, rate: float
) -> None:
    assert read(aecg(increment=increment, unit=unit), path).rate == rate


def test_aecg_a_series_of_representative_beats_alone_is_no_rhythm(path: Path) -> None:
    assert refusal(aecg().replace('"RHYTHM"', '"REPRESENTATIVE_BEAT"'), path) == "ecg-missing"


def test_aecg_of_several_rhythms_the_longest_is_read(path: Path) -> None:
    text = aecg()
    short = files.aecg(("II",), files.excerpt(("II",), 100))
    series = re.search(r"<component><series>.*</series></component>", short, re.DOTALL)
    assert series
    both = text.replace("<component><series>", series[0] + "<component><series>", 1)
    recording = read(both, path)
    assert recording.leads == LEADS
    assert codes(recording) == ["signals-left-out"]


def test_aecg_subject_becomes_a_pseudonym_age_and_sex(path: Path) -> None:
    recording = read(aecg(), path)
    assert (recording.age, recording.sex) == (63, "female")
    assert recording.subject == read(muse(), path).subject  # the same person's other file
    assert "subjectDemographicPerson/name" in recording.removed
    unread = read(aecg().replace('birthTime value="19600602"', 'birthTime value="1960"'), path)
    assert (unread.age, codes(unread)) == (None, ["header-comment"])
    assert not any(word in repr(recording) for word in ("4711", "Doe", "1960"))


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("TIME_ABSOLUTE", "TIME_OTHER", "unit-unknown"),
        ('increment value="0.004"', 'increment value="0"', "rate-zero"),
        ('increment value="0.004"', 'increment value="-0.004"', "rate-zero"),
        ('increment value="0.004"', 'increment value="nan"', "rate-missing"),
        ('increment value="0.004"', 'increment value="1e-9"', "rate-absurd"),
        ('increment value="0.004"', 'increment value="1e-400"', "rate-zero"),
        ('increment value="0.004"', 'increment value="1e-300"', "rate-absurd"),
        ('increment value="0.004"', 'increment value="1e999"', "rate-absurd"),
        ('unit="s"', 'unit="h"', "rate-missing"),
        ('unit="uV"', 'unit="mmol"', "unit-unknown"),
        ('scale value="1.25"', 'scale value="0"', "gain-zero"),
        ('scale value="1.25"', 'scale value="inf"', "gain-not-finite"),
        ('scale value="1.25"', 'scale value="1_2"', "header-malformed"),
        ('origin value="0"', 'origin value="1e30"', "gain-absurd"),
        ("MDC_ECG_LEAD_AVR", "MDC_ECG_LEAD_I", "lead-duplicate"),
        ("SLIST_PQ", "GLIST_PQ", "format-unsupported"),
        ("</sequence></component>\n<component><sequence>", "", "format-malformed"),
        ("<sequence><code code=\"MDC_ECG_LEAD_AVR\"/>", "<x/><sequence>", "format-malformed"),
        ("<digits>", "<digits>0x1 ", "format-malformed"),
        ("<digits>", "<digits>1.5 ", "format-malformed"),
        ("<digits>", "<digits>1_0 ", "format-malformed"),
        ("urn:hl7-org:v3", "urn:hl7-org:v3\" x=\"&unknown;", "format-malformed"),
    ],
)  # fmt: skip
def test_an_aecg_file_that_cannot_be_true_is_refused(
    path: Path, old: str, new: str, code: str
) -> None:
    text = aecg()
    assert old in text
    assert refusal(text.replace(old, new), path) == code


def test_leads_of_different_length_are_refused(path: Path) -> None:
    assert refusal(aecg().replace("<digits>", "<digits>1 ", 1), path) == "format-malformed"


def test_empty_digits_are_refused(path: Path) -> None:
    text = re.sub("<digits>[^<]*</digits>", "<digits> </digits>", aecg())
    assert refusal(text, path) == "length-zero"


# --- XML ---------------------------------------------------------------------------------------

LAUGHS = "".join(
    f'<!ENTITY l{i} "{f"&l{i - 1};" * 10 if i else "ha" * 10}">' for i in range(10)
)  # fmt: skip


@pytest.mark.parametrize(
    "subset",
    [
        LAUGHS,
        '<!ENTITY x SYSTEM "file:///etc/passwd">',
        '<!ENTITY % x SYSTEM "http://localhost:9/x.dtd"> %x;',
        '<!ENTITY x "one">',
        "<!ELEMENT RestingECG ANY>",
        '<!ATTLIST LeadData unit CDATA "mV">',
        '<!NOTATION gif SYSTEM "viewer.exe"><!ENTITY pic SYSTEM "x.gif" NDATA gif>',
    ],
)
def test_a_file_that_declares_entities_or_grammar_is_refused(path: Path, subset: str) -> None:
    text = muse(head=f"<!DOCTYPE RestingECG [{subset}]>")
    assert refusal(text, path) == "xml-entity"
    assert refusal(text.replace(">MRN 4711<", ">&x;&l9;<"), path) == "xml-entity"


def test_a_document_type_alone_is_let_pass_and_not_opened(path: Path) -> None:
    for place in ('SYSTEM "restecg.dtd"', 'SYSTEM "restecg.dtd" []', 'SYSTEM "/etc/passwd"'):
        text = muse(head=f"<!DOCTYPE RestingECG {place}>")
        assert read(text.encode(), path).leads == LEADS


def test_entities_that_only_the_document_type_could_declare_are_refused(path: Path) -> None:
    assert refusal(muse().replace(">MRN 4711<", ">&x;<"), path) == "format-malformed"


@pytest.mark.parametrize(
    "text",
    ["<a>" * 1000 + "</a>" * 1000, "<RestingECG>" + "<a/>" * 300_000 + "</RestingECG>"],
    ids=["deep", "wide"],
)
def test_a_tree_larger_than_an_ecg_needs_is_refused(path: Path, text: str) -> None:
    assert refusal(text, path) == "file-too-large"


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_encodings_that_the_file_declares(path: Path, encoding: str) -> None:
    names = {"latin-1": "ISO-8859-1", "cp1252": "windows-1252", "utf-8-sig": "UTF-8"}
    text = muse().replace("ISO-8859-1", names.get(encoding, encoding.upper()))
    assert read(text.encode(encoding), path).leads == LEADS


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "file-empty"),
        (b"\0\0\0\0", "format-malformed"),
        (b"hello", "format-malformed"),
        (b"<a>", "format-malformed"),
        (b"<svg/>", "format-unknown"),
        (b'<?xml version="1.0" encoding="klingon"?><RestingECG/>', "format-malformed"),
        (b"<RestingECG/>", "ecg-missing"),
        (b"<AnnotatedECG/>", "ecg-missing"),
    ],
)
def test_what_is_no_ecg_is_refused(path: Path, data: bytes, code: str) -> None:
    assert refusal(data, path) == code


def test_carriage_returns_change_nothing(path: Path) -> None:
    plain = read(muse(), path)
    windows = read(muse().replace("\n", "\r\n"), path)
    assert np.array_equal(plain.x, windows.x)


def test_without_defusedxml_the_remedy_is_named(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "defusedxml.ElementTree", None)
    with pytest.raises(MissingExtraError, match=r"nerula\[xml\]"):
        read(muse(), path)
