"""DICOM waveforms: 12-lead, general and ambulatory ECG, read by pydicom and verified here."""

import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nerula.defects import Finding
from nerula.errors import MissingExtraError, NerulaError, UsageError, refuse
from nerula.readers import facts
from nerula.readers.doubts import doubted
from nerula.readers.files import load
from nerula.readers.identity import age, day, pseudonym
from nerula.readers.names import canonical_lead, millivolts_per, name_leads
from nerula.readers.plausible import check_rate, check_scale, decimal
from nerula.readers.source import NO_HINTS, Hints
from nerula.recording import Recording

_ECG = frozenset(f"1.2.840.10008.5.1.4.1.1.9.1.{n}" for n in (1, 2, 3, 4))
"""Storage of 12-lead, general, ambulatory and general 32-bit ECG (PS3.4, B.5)."""
_SYNTAXES = {  # transfer syntax: (implicit, little-endian); the others are compressed
    "1.2.840.10008.1.2": (True, True),
    "1.2.840.10008.1.2.1": (False, True),
    "1.2.840.10008.1.2.2": (False, False),
}
_DTYPES = {
    (8, "SB"): "i1", (8, "UB"): "u1", (16, "SS"): "i2", (16, "US"): "u2", (32, "SL"): "i4",
    (32, "UL"): "u4",
}  # fmt: skip
_DELIMITERS = (b"\xfe\xff\xdd\xe0\0\0\0\0", b"\xff\xfe\xe0\xdd\0\0\0\0")
_META_LIMIT = 1 << 16  # bytes; the information before the data set has some hundred

_CODE = re.compile(r"(?:5\.6\.3-9-|2:)([0-9]{1,3})")  # SCP-ECG and MDC codes share their numbers
_NUMBERED = {  # PS3.16, CID 3001
    **dict(enumerate(("I", "II", "V1", "V2", "V3", "V4", "V5", "V6", "V7", "V2R", "V3R"), 1)),
    **dict(enumerate(("V4R", "V5R", "V6R", "V7R", "X", "Y", "Z", "CC5", "CM5"), 12)),
    **dict(enumerate(("III", "aVR", "aVL", "aVF"), 61)),
    **dict(enumerate(("V8", "V9", "V8R", "V9R"), 66)),
    **dict(enumerate(("ES", "AS", "AI"), 131)),
}  # fmt: skip
_RHYTHM = 5.0
"""Seconds; a derived group that is as long is no beat, but a rhythm that was processed."""
_AGE = re.compile(r"([0-9]{1,3})([YMWD])")
_PER_YEAR = {"Y": 1, "M": 12, "W": 52.18, "D": 365.25}
_DAYS = ("AcquisitionDateTime", "AcquisitionDate", "StudyDate", "ContentDate")
_IDENTIFYING = (
    "PatientName", "PatientID", "OtherPatientIDs", "PatientBirthDate", "PatientAddress",
    "PatientTelephoneNumbers", "PatientComments", "AdditionalPatientHistory", "EthnicGroup",
    "AccessionNumber", "AdmissionID", "StudyID", "StudyInstanceUID", "SOPInstanceUID", "StudyDate",
    "SeriesDate", "ContentDate", "AcquisitionDate", "AcquisitionDateTime", "InstitutionName",
    "InstitutionAddress", "StationName", "DeviceSerialNumber", "ReferringPhysicianName",
    "RequestingPhysician", "PhysiciansOfRecord", "PerformingPhysicianName", "OperatorsName",
    "NameOfPhysiciansReadingStudy", "StudyDescription", "SeriesDescription", "VisitComments",
    "CurrentPatientLocation", "ReasonForTheRequestedProcedure", "WaveformAnnotationSequence",
)  # fmt: skip


class _Channel(NamedTuple):
    """One channel's definition, as text."""

    code: str
    meaning: str
    label: str
    sensitivity: str
    correction: str
    baseline: str
    units: tuple[str, str]


class _Group(NamedTuple):
    """One multiplex group of channels that were sampled together."""

    original: bool
    rate: str
    samples: int
    bits: int
    interpretation: str
    data: bytes
    padding: bytes
    channels: list[_Channel]
    declared: int

    @property
    def seconds(self) -> float:
        """How long it is, if its rate is a number."""
        try:
            return self.samples / float(self.rate)
        except (ValueError, ZeroDivisionError):
            return 0.0


class _File(NamedTuple):
    """What is read of a file, free of pydicom's types."""

    kind: str
    little_endian: bool
    groups: list[_Group]
    patient: dict[str, str]
    removed: tuple[str, ...]


def read(
    path: Path,
    row: int = 0,
    *,
    root: Path | None = None,  # noqa: ARG001 - names no other file
    hints: Hints = NO_HINTS,  # noqa: ARG001 - DICOM says everything itself
) -> Recording:
    """Read the longest group of original ECG channels of one file."""
    if row:
        raise UsageError(f"{path} holds one recording; there is no row {row}.")
    file = _extract(load(path), path)
    if file.kind not in _ECG:
        raise refuse("ecg-missing", path, "it stores another kind of object than ECG waveforms")
    group, findings = _longest(file.groups, path)
    rate = decimal(group.rate, "the sampling frequency", path, "rate-missing")
    findings += check_rate(rate, path)
    written, odd = _written(group.channels, path)
    leads, unknown = name_leads(written, path)
    raw = _samples(group, file.little_endian, path)
    scale, doubts = _scale(group.channels, leads, path)
    findings += [*odd, *unknown, *doubts, *check_scale(scale, path)]
    x = np.empty(raw.shape, np.float32)
    for i, (step, zero) in enumerate(scale.values()):
        x[i] = raw[i] * step + zero
    valid = np.ones(x.shape, np.bool_)
    if group.padding:
        valid = raw != np.frombuffer(group.padding, raw.dtype)[0]
        x[~valid] = 0
        if not valid.all():
            findings.append(Finding("signal-gap", path, f"{(~valid).sum()} padded samples"))
    years, odd_age = _age(file.patient, path)
    sex, odd_sex = facts.sex(file.patient["PatientSex"], path)
    return doubted(
        Recording(
            name=path.stem,
            x=x,
            rate=rate,
            leads=leads,
            valid=valid,
            subject=pseudonym(file.patient["PatientID"]),
            age=years,
            sex=sex,
            path=path,
            findings=(*findings, *odd_age, *odd_sex),
            removed=file.removed,
        )
    )


# --- what pydicom does -------------------------------------------------------------------------


def _extract(data: bytes, path: Path) -> _File:
    """Let pydicom parse; whatever goes wrong in there is the file's fault."""
    try:
        from pydicom.filereader import read_dataset, read_partial
    except ImportError as error:
        raise MissingExtraError(f"Reading DICOM ({path})", "dicom") from error
    if data[128:132] != b"DICM":
        raise refuse("format-malformed", path, "it does not begin like DICOM")
    try:
        with _silence():
            start = BytesIO(data[:_META_LIMIT])  # so that nothing large is inflated
            meta = read_partial(start, stop_when=lambda *_: True).file_meta
            syntax = str(meta.get("TransferSyntaxUID", ""))
            if syntax not in _SYNTAXES:
                raise refuse("format-unsupported", path, f"transfer syntax {syntax[:64]!r}")
            whole = BytesIO(data)
            whole.seek(start.tell())
            dataset = read_dataset(whole, *_SYNTAXES[syntax])
            _whole(dataset, data, path)
            return _file(dataset, _SYNTAXES[syntax][1])
    except NerulaError:
        raise
    except Exception as error:
        raise refuse("format-malformed", path, type(error).__name__) from error


@contextmanager
def _silence() -> Iterator[None]:
    """Keep pydicom's warnings and log from repeating what the file says of a person."""
    log = logging.getLogger("pydicom")
    disabled = log.disabled
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        log.disabled = True
        try:
            yield
        finally:
            log.disabled = disabled


def _whole(dataset: Any, data: bytes, path: Path) -> None:
    """Refuse a file whose last element does not end where the file ends: bytes were lost or
    inserted before it, which pydicom passes over."""
    ends = [_end(dataset.get_item(tag), data) for tag in dataset.keys()]  # noqa: SIM118
    if max(ends, default=0) != len(data):
        code = "data-truncated" if max(ends, default=0) > len(data) else "data-overlong"
        raise refuse(code, path, "its elements do not end where the file ends")


def _end(element: Any, data: bytes) -> int:
    """Return where an element ends; of unknown length it ends with a delimiter."""
    if hasattr(element, "value_tell"):
        return int(element.value_tell + element.length)
    return len(data) if data.endswith(_DELIMITERS) else 0


def _file(dataset: Any, little_endian: bool) -> _File:
    patient = ("PatientID", "PatientSex", "PatientAge", "PatientBirthDate")
    return _File(
        _text(dataset, "SOPClassUID"),
        little_endian,
        [_group(item) for item in dataset.get("WaveformSequence") or ()],
        {keyword: _text(dataset, keyword) for keyword in patient + _DAYS},
        tuple(keyword for keyword in _IDENTIFYING if dataset.get(keyword)),
    )


def _group(item: Any) -> _Group:
    channels = item.get("ChannelDefinitionSequence") or ()
    return _Group(
        _text(item, "WaveformOriginality") != "DERIVED",
        _text(item, "SamplingFrequency"),
        int(item.get("NumberOfWaveformSamples") or 0),
        int(item.get("WaveformBitsAllocated") or 0),
        _text(item, "WaveformSampleInterpretation"),
        bytes(item.get("WaveformData") or b""),
        bytes(item.get("WaveformPaddingValue") or b""),
        [_channel(channel) for channel in channels],
        int(item.get("NumberOfWaveformChannels") or 0),
    )


def _channel(item: Any) -> _Channel:
    source: Any = next(iter(item.get("ChannelSourceSequence") or ()), {})
    unit: Any = next(iter(item.get("ChannelSensitivityUnitsSequence") or ()), {})
    return _Channel(
        _text(source, "CodeValue"),
        _text(source, "CodeMeaning"),
        _text(item, "ChannelLabel"),
        _text(item, "ChannelSensitivity"),
        _text(item, "ChannelSensitivityCorrectionFactor") or "1",
        _text(item, "ChannelBaseline") or "0",
        (_text(unit, "CodeValue"), _text(unit, "CodeMeaning")),
    )


def _text(item: Any, keyword: str) -> str:
    value = item.get(keyword)
    return "" if value is None else str(value).strip(" \0")


# --- what we make of it ------------------------------------------------------------------------


def _longest(groups: Sequence[_Group], path: Path) -> tuple[_Group, list[Finding]]:
    """Choose the rhythm: not the median beats, which devices store as a second, derived group."""
    candidates = [group for group in groups if group.original or group.seconds >= _RHYTHM]
    if not candidates:
        raise refuse("ecg-missing", path, "no waveform but derived beats" if groups else "")
    group = max(candidates, key=lambda group: group.seconds)
    if len(candidates) == 1:
        return group, []
    detail = f"{len(candidates) - 1} shorter groups of channels"
    return group, [Finding("signals-left-out", path, detail)]


def _samples(group: _Group, little_endian: bool, path: Path) -> NDArray[Any]:
    """Return the samples (leads, time) after comparing every size with the data."""
    kind = _DTYPES.get((group.bits, group.interpretation))
    if kind is None:
        detail = f"{group.bits} bits, interpretation {group.interpretation[:16]!r}"
        raise refuse("format-unsupported", path, detail)
    channels = len(group.channels)
    if group.declared != channels:
        detail = f"{group.declared} channels declared, {channels} defined"
        raise refuse("header-malformed", path, detail)
    dtype = np.dtype(kind).newbyteorder("<" if little_endian else ">")
    needed = group.samples * channels * dtype.itemsize
    if not needed:
        raise refuse("length-zero", path)
    held = len(group.data)
    if held not in (needed, needed + needed % 2):
        code = "data-truncated" if held < needed else "data-overlong"
        raise refuse(code, path, f"{needed} bytes of waveform declared, {held} held")
    if group.padding and len(group.padding) < dtype.itemsize:
        raise refuse("header-malformed", path, "the padding value is shorter than a sample")
    return np.frombuffer(group.data, dtype, group.samples * channels).reshape(-1, channels).T


def _scale(
    channels: Sequence[_Channel], leads: Sequence[str], path: Path
) -> tuple[dict[str, tuple[float, float]], list[Finding]]:
    """Return mV per step and mV at 0 by lead, and what is odd about the units."""
    scale, findings = {}, []
    for lead, channel in zip(leads, channels, strict=True):
        mv = millivolts_per(channel.units[0]) or millivolts_per(channel.units[1])
        if mv is None:
            raise refuse("unit-unknown", path, repr(channel.units[0][:16]), lead)
        if millivolts_per(channel.units[1]) not in (mv, None):
            findings.append(Finding("header-contradiction", path, " ".join(channel.units), lead))
        sensitivity, correction = (
            decimal(text, "the sensitivity", path, "gain-not-finite", lead)
            for text in (channel.sensitivity, channel.correction)
        )
        baseline = decimal(channel.baseline, "the baseline", path, lead=lead)
        scale[lead] = sensitivity * correction * mv, baseline * mv
    return scale, findings


def _written(channels: Sequence[_Channel], path: Path) -> tuple[list[str], list[Finding]]:
    """Return each channel's name by its code, else by its meaning or label."""
    names, findings = [], []
    for channel in channels:
        match = _CODE.fullmatch(channel.code)
        coded = _NUMBERED.get(int(match[1])) if match else canonical_lead(channel.code)
        meaning = channel.meaning.partition(",")[0]  # "aVR, augmented voltage, right"
        meant = canonical_lead(meaning)
        if coded and meant and coded != meant:
            detail = f"code {channel.code} says {coded}, its meaning says {meant}"
            findings.append(Finding("header-contradiction", path, detail, coded))
        names.append(coded or meant or channel.label or meaning)
    return names, findings


def _age(patient: dict[str, str], path: Path) -> tuple[float | None, tuple[Finding, ...]]:
    """Return the age in years: as it is stated, or from the dates of birth and recording."""
    match = _AGE.fullmatch(patient["PatientAge"])
    stated = f"{int(match[1]) / _PER_YEAR[match[2]]:g}" if match else patient["PatientAge"]
    recorded, odd = day(next((patient[key] for key in _DAYS if patient[key]), ""), _day, path)
    birth, unread = day(patient["PatientBirthDate"], _day, path)
    years, doubts = age(stated, birth, recorded, path)
    return years, (*odd, *unread, *doubts)


def _day(text: str) -> date | None:
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8]))
    except ValueError:
        return None
