"""EDF, EDF+, BDF and BDF+: the ECG signals of a polygraph, Holter or wearable recording."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nerula.defects import Finding
from nerula.errors import UsageError, refuse
from nerula.readers import edf_header, facts
from nerula.readers.doubts import doubted
from nerula.readers.edf_header import Header, Signal
from nerula.readers.files import load
from nerula.readers.identity import age, day, pseudonym
from nerula.readers.names import STANDARD, canonical_lead, millivolts_per, name_leads
from nerula.readers.plausible import check_rate, check_scale
from nerula.readers.source import NO_HINTS, Hints
from nerula.recording import Recording

_ECG = re.compile(r"\s*(ECG|EKG)", re.IGNORECASE)
_OTHER = re.compile(r"(EEG|EMG|EOG|ERG|EP|MEG|MCG|RESP|POS)", re.IGNORECASE)
_ONSET = re.compile(rb"([+-][0-9]{1,12}(?:\.[0-9]{1,12})?)\x14\x14")
_NOTE = re.compile(rb"\x14[^\x14\x00]")
_MOST_GAPS = 16
"""Gaps may be this many times longer than what was measured, and no more."""


def read(
    path: Path,
    row: int = 0,
    *,
    root: Path | None = None,  # noqa: ARG001 - names no other file
    hints: Hints = NO_HINTS,
) -> Recording:
    """Read the ECG signals of one file; of several rates, those of the commonest."""
    if row:
        raise UsageError(f"{path} holds one recording; there is no row {row}.")
    data = load(path)
    header = edf_header.parse(data, path)
    signals, rate, findings = _choose(header, path)
    findings += [*header.findings, *check_rate(rate, path)]
    leads, odd = name_leads([signal.label for signal in signals], path)
    findings += odd
    records = np.frombuffer(data, np.uint8, offset=header.size).reshape(header.records, -1)
    x, doubts = _scaled(header, records, dict(zip(leads, signals, strict=True)), hints, path)
    findings += doubts
    onsets, annotated = _timekeeping(header, records)
    starts = _starts(onsets, signals[0].samples, rate)
    valid = np.ones(x.shape, np.bool_)
    if header.plus == "D":
        x, valid, gaps = _spread(x, starts, rate, path)
        findings += gaps
    elif header.plus and (not starts or starts[-1] + signals[0].samples != x.shape[1]):
        detail = "the recording is said to be continuous, its times say otherwise"
        findings.append(Finding("header-contradiction", path, detail))
    subject, years, sex, removed, odd = _identity(header, path)
    return doubted(
        Recording(
            name=path.stem,
            x=x,
            rate=rate,
            leads=leads,
            valid=valid,
            subject=subject,
            age=years,
            sex=sex,
            path=path,
            findings=(*findings, *odd),
            removed=(*removed, "annotations") if annotated else removed,
        )
    )


# --- which signals -----------------------------------------------------------------------------


def _is_ecg(signal: Signal) -> bool:
    """Tell by label, transducer and unit. A lead's name with a unit that is none is ECG too:
    that the unit is wrong must be said, not passed over."""
    lead = canonical_lead(signal.label)
    if lead in STANDARD or signal.label.upper() in ("ECG", "EKG"):
        return True
    voltage = millivolts_per(signal.unit) is not None
    named = lead is not None or _ECG.match(signal.label) or _ECG.search(signal.transducer)
    return voltage and bool(named)


def _choose(header: Header, path: Path) -> tuple[list[Signal], float, list[Finding]]:
    """Return the ECG signals of the commonest rate. Others of theirs are named as left out, and
    so are signals that are scaled like them and are not said to be something else; what is no ECG
    is noted."""
    found = [signal for signal in header.signals if _is_ecg(signal)]
    if not found:
        raise refuse("ecg-missing", path)
    if not header.seconds:
        raise refuse("rate-zero", path, "a data record lasts 0 seconds")
    counts = Counter(signal.samples for signal in found)
    samples = max(counts, key=lambda n: (counts[n], n))
    rate = float(samples / header.seconds)
    chosen = [signal for signal in found if signal.samples == samples]
    kinds = {(signal.unit, signal.limits, signal.samples) for signal in chosen}
    others, no_ecg = [], []
    for signal in header.signals:
        alike = (signal.unit, signal.limits, signal.samples) in kinds
        if signal in found or (alike and not _OTHER.match(signal.label)):
            others += [] if signal in chosen else [signal.label]
        elif signal.label != f"{header.kind} Annotations":
            no_ecg.append(signal.label)
    left_out = [Finding("signals-left-out", path, ", ".join(others))] if others else []
    if no_ecg:
        left_out.append(Finding("signals-not-ecg", path, ", ".join(no_ecg)[:200]))
    return chosen, rate, left_out


# --- samples and time --------------------------------------------------------------------------


def _digital(records: NDArray[np.uint8], signal: Signal, width: int) -> NDArray[np.int32]:
    raw = records[:, signal.start : signal.start + signal.samples * width]
    if width == 2:
        return np.ascontiguousarray(raw).view("<i2").reshape(-1).astype(np.int32)
    wide = np.zeros((raw.size // 3, 4), np.uint8)
    wide[:, 1:] = raw.reshape(-1, 3)
    return wide.view("<i4").reshape(-1) >> 8  # the shift keeps the sign


def _scaled(
    header: Header,
    records: NDArray[np.uint8],
    signals: dict[str, Signal],
    hints: Hints,
    path: Path,
) -> tuple[NDArray[np.float32], list[Finding]]:
    """Return the signals in mV and what is odd about their scales."""
    scale, limits = {}, {}
    for lead, signal in signals.items():
        mv = millivolts_per(signal.unit or hints.unit or "")
        if mv is None:
            raise refuse("unit-unknown", path, repr(signal.unit), lead)
        step, zero, limits[lead] = edf_header.scale(signal, header.width, path)
        scale[lead] = step * mv, zero * mv
    findings = list(check_scale(scale, path))
    x = np.empty((len(signals), header.records * next(iter(signals.values())).samples), np.float32)
    for i, (lead, signal) in enumerate(signals.items()):
        digital = _digital(records, signal, header.width)
        least, most = limits[lead]
        if digital.min() < least or digital.max() > most:
            detail = f"samples outside the digital limits {least} to {most}"
            findings.append(Finding("header-contradiction", path, detail, lead))
        step, zero = scale[lead]
        x[i] = digital * step + zero
    return x, findings


def _timekeeping(header: Header, records: NDArray[np.uint8]) -> tuple[list[float], bool]:
    """Return when each data record begins, in seconds, and whether people wrote annotations.

    No times are returned where a record does not say its time.
    """
    label = f"{header.kind} Annotations"
    notes = [signal for signal in header.signals if signal.label == label]
    columns = [records[:, n.start : n.start + n.samples * header.width] for n in notes]
    if not header.plus or not notes:
        return [], bool(notes)
    times = [_ONSET.match(record.tobytes()) for record in columns[0]]
    onsets = [float(time[1]) for time in times if time]
    written = any(_NOTE.search(record.tobytes()) for column in columns for record in column)
    return onsets if len(onsets) == len(times) else [], written


def _starts(onsets: Sequence[float], samples: int, rate: float) -> list[int]:
    """Return the place of each data record's first sample, or none where records overlap."""
    starts, expected = [], 0
    for onset in onsets:
        start = round((onset - onsets[0]) * rate)
        if start < expected - 1:
            return []
        starts.append(expected if start <= expected + 1 else start)  # clocks are rounded
        expected = starts[-1] + samples
    return starts


def _spread(
    x: NDArray[np.float32], starts: list[int], rate: float, path: Path
) -> tuple[NDArray[np.float32], NDArray[np.bool_], list[Finding]]:
    """Put each data record where its time says; what lies between is invalid."""
    if not starts:
        raise refuse("format-malformed", path, "data records overlap, or do not say their time")
    samples = x.shape[1] // len(starts)
    missing = starts[-1] + samples - x.shape[1]
    if missing > _MOST_GAPS * x.shape[1]:
        raise refuse("size-absurd", path, f"gaps of {missing / rate:.0f} s")
    spread = np.zeros((x.shape[0], x.shape[1] + missing), np.float32)
    valid = np.zeros(spread.shape, np.bool_)
    for number, start in enumerate(starts):
        spread[:, start : start + samples] = x[:, number * samples : (number + 1) * samples]
        valid[:, start : start + samples] = True
    findings = [Finding("signal-gap", path, f"{missing / rate:g} s")] if missing else []
    return spread, valid, findings


# --- the subject -------------------------------------------------------------------------------


def _identity(
    header: Header, path: Path
) -> tuple[str | None, float | None, str | None, tuple[str, ...], tuple[Finding, ...]]:
    """Return subject, age and sex, and the names of what was left out."""
    words = header.patient.split()
    removed = [] if header.day is None else ["start date"]
    if set(header.recording.split()) - {"Startdate", "X"}:
        removed.append("recording identification")
    if not header.plus or len(words) < 4:
        known = pseudonym(header.patient) if set(words) - {"X"} else None
        removed += ["patient identification"] if known else []
        return known, None, None, tuple(removed), ()
    said = dict(zip(("code", "sex", "birthdate", "name"), words, strict=False))
    if len(words) > 4:
        said["additional"] = words[4]
    removed += [f"patient {key}" for key, word in said.items() if word != "X" and key != "sex"]
    born = "" if said["birthdate"] == "X" else said["birthdate"]
    birth, unread = day(born, edf_header.long_date, path)
    years, odd_age = age("", birth, header.day, path)
    sex, odd_sex = facts.sex("" if said["sex"] == "X" else said["sex"], path)
    subject = pseudonym(said["code"]) if said["code"] != "X" else None
    return subject, years, sex, tuple(removed), (*unread, *odd_age, *odd_sex)
