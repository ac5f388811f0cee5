"""HL7 aECG: `AnnotatedECG` XML, samples as decimal digits with an origin and a scale."""

import re
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nerula.defects import Finding
from nerula.errors import refuse
from nerula.readers import facts
from nerula.readers.doubts import doubted
from nerula.readers.identity import age, day, pseudonym
from nerula.readers.names import millivolts_per, name_leads
from nerula.readers.plausible import check_rate, check_scale, decimal, whole_rate
from nerula.recording import Recording

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_TIME = ("TIME_ABSOLUTE", "TIME_RELATIVE")
_SECONDS = {"s": Fraction(1), "ms": Fraction(1, 1000), "us": Fraction(1, 1_000_000)}
_DIGITS = re.compile(  # possessive: what could be tried again would take 100 bytes a character
    r"\s*+[-+]?[0-9]{1,10}+(?:\s++[-+]?[0-9]{1,10}+)*+\s*+", re.ASCII
)
_DERIVED = "REPRESENTATIVE_BEAT"  # one averaged beat, stored beside the rhythm
_REMOVED = (
    "trialSubject/id", "subjectDemographicPerson/name", "birthTime", "effectiveTime/*",
    "clinicalTrial/*", "trialSite/*", "author/*", "annotationSet", "text",
)  # fmt: skip


def recording(tree: "Element", path: Path) -> Recording:
    """Read the longest rhythm of an `AnnotatedECG` tree."""
    sets = [
        found
        for series in tree.findall("component/series")
        if _attribute(series, "code", "code") != _DERIVED
        for found in series.findall("component/sequenceSet")
    ]
    if not sets:
        raise refuse("ecg-missing", path, "no series of a rhythm")
    chosen = max(sets, key=lambda found: max(map(len, found.itertext()), default=0))
    sequences = chosen.findall("component/sequence")
    sound = all(len(item.findall(part)) == 1 for item in sequences for part in ("code", "value"))
    if not sound or len(sequences) != len(chosen.findall("component")):
        raise refuse("format-malformed", path, "a component without one sequence, code and value")
    x, leads, findings = _signals(sequences, path)
    if len(sets) > 1:
        findings.append(Finding("signals-left-out", path, f"{len(sets) - 1} shorter rhythms"))
    rate = _rate(sequences, path)
    years, odd_age = _age(tree, path)
    gender = _attribute(tree, ".//subjectDemographicPerson/administrativeGenderCode", "code")
    sex, odd_sex = facts.sex("" if gender == "UN" else gender, path)
    subject = ".//trialSubject/id"
    return doubted(
        Recording(
            name=path.stem,
            x=x,
            rate=rate,
            leads=leads,
            valid=np.ones(x.shape, np.bool_),
            subject=pseudonym(
                _attribute(tree, subject, "extension") or _attribute(tree, subject, "root")
            ),
            age=years,
            sex=sex,
            path=path,
            findings=(*check_rate(rate, path), *findings, *odd_age, *odd_sex),
            removed=tuple(n for n in _REMOVED if any(map(_says, tree.findall(f".//{n}")))),
        )
    )


def _rate(sequences: Sequence["Element"], path: Path) -> float:
    """Return the rate that the increment of the time sequence gives."""
    times = [item for item in sequences if _attribute(item, "code", "code") in _TIME]
    if not times:
        raise refuse("rate-missing", path, "no time sequence")
    text = _attribute(times[0], "value/increment", "value")
    unit = _attribute(times[0], "value/increment", "unit")
    rough = decimal(text, "the increment", path, "rate-missing")
    if not 1e-9 < rough < 1e9:  # neither 0 nor beyond what a float can invert
        code = "rate-zero" if rough <= 0 else "rate-absurd"
        raise refuse(code, path, f"an increment of {text}")
    step = Fraction(text)
    if unit not in _SECONDS:
        raise refuse("rate-missing", path, f"an increment in {unit[:20]!r}")
    last_digit = Fraction(10) ** int(Decimal(text).as_tuple().exponent)
    return whole_rate(float(1 / (step * _SECONDS[unit])), float(last_digit / step / 2))


def _signals(
    sequences: Sequence["Element"], path: Path
) -> tuple[NDArray[np.float32], tuple[str, ...], list[Finding]]:
    """Return the sequences of voltages in mV, their leads, and what is odd."""
    found, scale = [], []
    for item in sequences:
        code = _attribute(item, "code", "code")
        units = [_attribute(item, f"value/{part}", "unit") for part in ("origin", "scale")]
        if code in _TIME:
            continue
        if None in (factors := [millivolts_per(unit) for unit in units]):
            raise refuse("unit-unknown", path, f"{units[0][:16]!r}, {units[1][:16]!r}", code[:40])
        if _attribute(item, "value", "type").rpartition(":")[2] not in ("SLIST_PQ", ""):
            raise refuse("format-unsupported", path, "samples that are no SLIST_PQ", code[:40])
        zero, step = (
            decimal(_attribute(item, f"value/{part}", "value"), part, path, "gain-not-finite")
            for part in ("origin", "scale")
        )
        found.append((code, item.findtext("value/digits") or ""))
        scale.append((step * (factors[1] or 0), zero * (factors[0] or 0)))
    leads, odd = name_leads([code for code, _ in found], path)
    findings = [*odd, *check_scale(dict(zip(leads, scale, strict=True)), path)]
    signals = []
    for lead, (_, digits), (step, zero) in zip(leads, found, scale, strict=True):
        signals.append((_numbers(digits, lead, path) * step + zero).astype(np.float32))
        if len(signals[-1]) != len(signals[0]):
            raise refuse("format-malformed", path, "the leads differ in length", lead)
    if not signals:
        raise refuse("ecg-missing", path, "a rhythm without leads")
    return np.stack(signals), leads, findings


def _numbers(digits: str, lead: str, path: Path) -> NDArray[np.float64]:
    if not digits.strip():
        raise refuse("length-zero", path, lead=lead)
    if not _DIGITS.fullmatch(digits):
        raise refuse("format-malformed", path, "the digits are not whole numbers", lead)
    return np.array(digits.split(), np.float64)


def _age(tree: "Element", path: Path) -> tuple[float | None, tuple[Finding, ...]]:
    born = _attribute(tree, ".//subjectDemographicPerson/birthTime", "value")
    start = (_attribute(tree, f"effectiveTime/{when}", "value") for when in ("low", "center"))
    birth, unread = day(born, _day, path)
    recorded, odd = day(next(filter(None, start), ""), _day, path)
    years, doubts = age("", birth, recorded, path)
    return years, (*odd, *unread, *doubts)


def _day(text: str) -> date | None:
    """Read `YYYYMMDD...`."""
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8]))
    except ValueError:
        return None


def _says(element: "Element") -> bool:
    return any(
        (part.text or "").strip() or part.get("value") or part.get("extension")
        for part in element.iter()
    )


def _attribute(element: "Element", name: str, key: str) -> str:
    found = element.find(name)
    return "" if found is None else found.get(key, "").strip()
