"""GE MUSE: `RestingECG` XML, base64 of little-endian 16-bit samples, lead by lead."""

import binascii
import re
import zlib
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nerula.defects import Finding
from nerula.errors import refuse
from nerula.readers import facts
from nerula.readers.doubts import doubted
from nerula.readers.identity import age, day, pseudonym
from nerula.readers.names import STANDARD, millivolts_per, name_leads
from nerula.readers.plausible import check_rate, check_scale, decimal
from nerula.recording import Recording

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_WHOLE = re.compile(r"-?[0-9]{1,9}")
_DERIVED = {"III": (-1.0, 1.0), "aVR": (-0.5, -0.5), "aVL": (1.0, -0.5), "aVF": (-0.5, 1.0)}
"""Leads as sums of I and II: Einthoven's and Goldberger's equations."""
_PER_YEAR = {"YEARS": 1, "MONTHS": 12, "WEEKS": 52.18, "DAYS": 365.25, "HOURS": 8766}
_HARMLESS = {"PatientAge", "AgeUnits", "Gender", "DataType", "Status", "EditListStatus"}
_PERSONAL = ("PatientDemographics", "TestDemographics")
_FREE_TEXT = ("Order", "Diagnosis", "OriginalDiagnosis", "ExtraQuestions", "Notes")


def recording(tree: "Element", path: Path) -> Recording:
    """Read the rhythm waveform of a `RestingECG` tree; median beats are no rhythm."""
    waves = [wave for wave in tree.findall("Waveform") if _text(wave, "WaveformType") == "Rhythm"]
    if len(waves) != 1:
        detail = f"{len(waves)} rhythm waveforms"
        raise refuse("format-unsupported" if waves else "ecg-missing", path, detail)
    rate = _rate(waves[0], path)
    stored = waves[0].findall("LeadData")
    leads, findings = name_leads([_text(lead, "LeadID") for lead in stored], path)
    number = _whole(waves[0], "NumberofLeads", path)
    if number not in (len(leads), None):
        detail = f"{number} leads declared, {len(leads)} stored"
        raise refuse("header-malformed", path, detail)
    x, doubts = _signals(stored, leads, path)
    off = [_text(lead, "LeadOff").upper() == "TRUE" for lead in stored]
    doubts += [Finding("lead-off", path, lead=leads[i]) for i in np.flatnonzero(off)]
    valid = np.repeat(~np.array(off)[:, None], x.shape[1], axis=1)
    x[~valid] = 0
    x, valid, all_leads = _with_derived(x, valid, leads)
    if len(all_leads) > len(leads):
        detail = ", ".join(all_leads[len(leads) :])
        doubts.append(Finding("leads-derived", path, detail))
    years, odd_age = _age(tree, path)
    sex, odd_sex = facts.sex(_text(tree, "PatientDemographics/Gender"), path)
    return doubted(
        Recording(
            name=path.stem,
            x=x,
            rate=rate,
            leads=all_leads,
            valid=valid,
            subject=pseudonym(_text(tree, "PatientDemographics/PatientID")),
            age=years,
            sex=sex,
            path=path,
            findings=(*check_rate(rate, path), *findings, *doubts, *odd_age, *odd_sex),
            removed=tuple(_removed(tree)),
        )
    )


def _rate(wave: "Element", path: Path) -> float:
    base = decimal(_text(wave, "SampleBase"), "SampleBase", path, "rate-missing")
    exponent = _whole(wave, "SampleExponent", path) or 0
    return base * 10.0 ** max(-9, min(exponent, 9))


# --- samples -----------------------------------------------------------------------------------


def _signals(
    stored: Sequence["Element"], leads: Sequence[str], path: Path
) -> tuple[NDArray[np.float32], list[Finding]]:
    """Return the stored leads in mV, and what is odd about their scales."""
    scale = {}
    for lead, element in zip(leads, stored, strict=True):
        unit = _text(element, "LeadAmplitudeUnits")
        mv = millivolts_per(unit)
        if mv is None:
            raise refuse("unit-unknown", path, repr(unit[:20]), lead)
        text = _text(element, "LeadAmplitudeUnitsPerBit")
        step = decimal(text, "LeadAmplitudeUnitsPerBit", path, "gain-not-finite", lead)
        scale[lead] = step * mv, 0.0
    findings = list(check_scale(scale, path))
    signals = []
    for lead, element in zip(leads, stored, strict=True):
        signals.append(_samples(element, lead, path) * np.float32(scale[lead][0]))
        if len(signals[-1]) != len(signals[0]):
            raise refuse("format-malformed", path, "the leads differ in length", lead)
    if not signals or not len(signals[0]):
        raise refuse("length-zero", path)
    return np.stack(signals), findings


def _samples(element: "Element", lead: str, path: Path) -> NDArray[np.int16]:
    """Decode one lead; its sizes and its CRC-32 must be what the file says."""
    if _whole(element, "LeadSampleSize", path) not in (2, None):
        raise refuse("format-unsupported", path, "samples are not of 2 bytes", lead)
    try:
        text = "".join(_text(element, "WaveFormData").split())
        data = binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except ValueError as error:
        raise refuse("format-malformed", path, "the samples are not base64", lead) from error
    samples = _whole(element, "LeadSampleCountTotal", path)
    for declared in (_whole(element, "LeadByteCountTotal", path), samples and 2 * samples):
        if declared not in (len(data), None):
            code = "data-truncated" if declared > len(data) else "data-overlong"
            raise refuse(code, path, f"{declared} bytes declared, {len(data)} held", lead)
    if len(data) % 2:
        raise refuse("data-truncated", path, "half a sample at the end", lead)
    checksum = _text(element, "LeadDataCRC32")
    if checksum and checksum != str(zlib.crc32(data)):
        raise refuse("checksum-wrong", path, lead=lead)
    return np.frombuffer(data, "<i2")


def _with_derived(
    x: NDArray[np.float32], valid: NDArray[np.bool_], leads: tuple[str, ...]
) -> tuple[NDArray[np.float32], NDArray[np.bool_], tuple[str, ...]]:
    """Add the limb leads that a device leaves out because leads I and II determine them."""
    missing = [lead for lead in _DERIVED if lead not in leads]
    if not {"I", "II"} <= set(leads) or not set(leads) <= set(STANDARD):
        return x, valid, leads
    pair = [leads.index("I"), leads.index("II")]
    weights = np.array([_DERIVED[lead] for lead in missing], np.float32).reshape(-1, 2)
    derived = weights @ x[pair]
    known = np.broadcast_to(valid[pair].all(axis=0), derived.shape)
    derived[~known] = 0
    return np.vstack([x, derived]), np.vstack([valid, known]), (*leads, *missing)


# --- the subject -------------------------------------------------------------------------------


def _age(tree: "Element", path: Path) -> tuple[float | None, tuple[Finding, ...]]:
    stated = _text(tree, "PatientDemographics/PatientAge")
    unit = _text(tree, "PatientDemographics/AgeUnits").upper()
    if _WHOLE.fullmatch(stated) and unit in _PER_YEAR:
        stated = f"{int(stated) / _PER_YEAR[unit]:g}"
    birth, unread = day(_text(tree, "PatientDemographics/DateofBirth"), _day, path)
    recorded, odd = day(_text(tree, "TestDemographics/AcquisitionDate"), _day, path)
    years, doubts = age(stated, birth, recorded, path)
    return years, (*odd, *unread, *doubts)


def _day(text: str) -> date | None:
    """Read `MM-DD-YYYY`."""
    try:
        month, number, year = (int(part) for part in text.split("-"))
        return date(year, month, number)
    except ValueError:
        return None


def _removed(tree: "Element") -> list[str]:
    """Name what was left out because it may identify someone."""
    personal = (child for section in _PERSONAL for child in tree.findall(f"{section}/*"))
    names = [child.tag for child in personal if child.tag not in _HARMLESS and _says(child)]
    return names + [section for section in _FREE_TEXT if any(map(_says, tree.findall(section)))]


def _says(element: "Element") -> bool:
    return any(text.strip() for text in element.itertext())


# --- elements ----------------------------------------------------------------------------------


def _text(element: "Element", name: str) -> str:
    return (element.findtext(name) or "").strip()


def _whole(element: "Element", name: str, path: Path) -> int | None:
    text = _text(element, name)
    if text and not _WHOLE.fullmatch(text):
        raise refuse("header-malformed", path, f"{name} is {text[:40]!r}")
    return int(text) if text else None
