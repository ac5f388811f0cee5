"""WFDB records in several segments: ordinary records one after the other, with gaps between."""

from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import numpy as np

from nerula.defects import Finding
from nerula.errors import DefectError, refuse
from nerula.readers import wfdb, wfdb_header
from nerula.readers.files import beside, load
from nerula.readers.plausible import check_rate
from nerula.readers.wfdb_header import Header
from nerula.recording import Recording

_GAP = "~"
_MOST_GAPS = 100
"""Times what is there: no file stands behind a gap, so that its length is not just believed."""


def read(header: Header, path: Path, root: Path | None) -> Recording:
    """Join the segments of a record. A lead that a segment lacks is invalid there."""
    check_rate(header.rate, path)
    parts = []
    for name, length, start in _places(header, path):
        if length and name != _GAP and (part := _segment(name, length, header, path, root)):
            parts.append((start, part))
    if not parts:
        raise refuse("length-zero", path, "none of its segments is there")
    rates = {part.rate for _, part in parts}
    if len(rates) > 1:
        raise refuse("header-contradiction", path, f"segments at {sorted(rates)} Hz")
    leads = tuple(dict.fromkeys(lead for _, part in parts for lead in part.leads))
    frame = round(rates.pop() / header.rate)  # several samples where ECG is faster than the rest
    length = sum(length for _, length in header.segments) * frame
    held = sum(part.x.shape[1] for _, part in parts)
    if length > _MOST_GAPS * held:
        raise refuse("size-absurd", path, f"{length} samples declared, {held} held")
    x = np.zeros((len(leads), length), np.float32)
    valid = np.zeros(x.shape, np.bool_)
    for start, part in parts:
        rows = [leads.index(lead) for lead in part.leads]
        place = slice(start * frame, start * frame + part.x.shape[1])
        x[rows, place] = part.x
        valid[rows, place] = part.valid
    findings = [*header.findings, *(finding for _, part in parts for finding in part.findings)]
    if not valid.all():
        findings.append(Finding("signal-gap"))
    removed = dict.fromkeys(
        [*header.removed, *(name for _, part in parts for name in part.removed)]
    )
    return replace(
        parts[0][1],
        name=path.stem,
        x=x,
        leads=leads,
        valid=valid,
        path=path,
        findings=tuple(Finding(f.code, f.path or path, f.detail, f.lead) for f in findings),
        removed=tuple(removed),
    )


def _places(header: Header, path: Path) -> list[tuple[str, int, int]]:
    """Return name, length and start of every segment."""
    starts = [0, *accumulate(length for _, length in header.segments)]
    if header.length is not None and starts[-1] != header.length:
        raise refuse("header-malformed", path, f"segments of {starts[-1]} samples do not add up")
    return [(*segment, start) for segment, start in zip(header.segments, starts, strict=False)]


def _segment(
    name: str, length: int, header: Header, path: Path, root: Path | None
) -> Recording | None:
    """Read one segment, an ordinary record of the length and rate declared; None without ECG."""
    source = beside(str(path.parent), f"{name}.hea", root, path)
    inner = wfdb_header.parse(load(source, wfdb_header.LIMIT), Path(source))
    if inner.segments:
        raise refuse("header-malformed", path, f"its segment {name} has segments itself")
    try:
        part = wfdb.read_segment(inner, Path(source), root)
    except DefectError as error:
        if error.finding.code == "ecg-missing":
            return None
        raise
    if part.x.shape[1] * header.rate != length * part.rate:
        detail = f"{name}: {part.x.shape[1]} samples at {part.rate:g} Hz, declared {length}"
        raise refuse("header-contradiction", path, detail)
    return part
