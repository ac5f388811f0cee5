"""Ordinary WFDB records, several at a time: fewer calls, and code that stays in the caches.

What a record is, `wfdb.read` says. Here its steps are done for records of one shape together.
Whatever has to be looked at more closely (links, missing samples, rare formats, anything that
would be refused) is left to it: nothing is decided here that is not decided there.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nerula.defects import Finding
from nerula.errors import DefectError
from nerula.readers import doubts, mat, wfdb, wfdb_doubts, wfdb_habits, wfdb_header, wfdb_signal
from nerula.readers.files import is_bare, load_plain
from nerula.readers.plausible import check_rate
from nerula.readers.source import Entry
from nerula.readers.wfdb_doubts import Layout
from nerula.readers.wfdb_header import Described, Header
from nerula.readers.wfdb_signal import Digital, Samples
from nerula.recording import Recording

_TOGETHER, _SEVERAL, _LONGEST = 96_000, 8, 250_000
"""Samples of one stack, few enough for the processor's nearer caches; records of one where that is
more; samples of a record above which nothing is gained."""


class _Kind(NamedTuple):
    """What records have in common that are read together."""

    layout: Layout
    form: int
    offset: int
    length: int
    rate: float

    @property
    def signals(self) -> int:
        return len(self.layout.gain)


class _Record(NamedTuple):
    """One record whose header is read."""

    place: int
    path: Path
    header: Header
    file: str
    """The path of its samples."""


def read(
    entries: Sequence[Entry],
    leads: tuple[str, ...] | None,
    told: Callable[[Entry, Recording], Recording],
) -> list[Recording | None]:
    """Read those entries that are headers, and add what the source tells of each.

    None where one has to be read alone.
    """
    found: list[Recording | None] = [None] * len(entries)
    for kind, records in _kinds(entries):
        count = max(_TOGETHER // (kind.signals * kind.length), _SEVERAL)
        for start in range(0, len(records), count):
            for record, recording in _recordings(kind, records[start : start + count], leads):
                with suppress(DefectError):  # which is raised again when it is read alone
                    found[record.place] = told(entries[record.place], recording)
    return found


def _kinds(entries: Sequence[Entry]) -> Iterator[tuple[_Kind, list[_Record]]]:
    """Read headers; yield those that go together."""
    kinds: dict[int, tuple[_Kind, list[_Record]]] = {}
    for place, entry in enumerate(entries):
        path = os.fspath(entry.path)
        raw = load_plain(path, wfdb_header.LIMIT) if path.endswith(".hea") else None
        if raw is None or entry.row:
            continue
        with suppress(DefectError):
            header = wfdb_habits.parse(raw, entry.path)
            check_rate(header.rate, entry.path)
            files = header.signals.files
            if header.segments or not _is_one_file(files):
                continue
            if kind := _kind(header.signals.described, header.length, header.rate):
                file = f"{path.rpartition('/')[0]}/{files[0]}"
                of_kind = kinds.setdefault(id(kind), (kind, []))[1]
                of_kind.append(_Record(place, entry.path, header, file))
    yield from kinds.values()


def _is_one_file(files: tuple[str, ...]) -> bool:
    return bool(files) and files.count(files[0]) == len(files) and is_bare(files[0])


@lru_cache(maxsize=1024)
def _kind(described: Described, length: int | None, rate: float) -> _Kind | None:
    """Return what a header describes; None where it is not ordinary."""
    if not 0 < (length or 0) * len(described.encodings) <= _LONGEST:
        return None
    same = wfdb_doubts.same_form(described, 0, len(described.encodings))
    layout = wfdb_doubts.layout(described)
    if same is None or layout.is_rare or layout.unexplained or layout.kept is not None:
        return None
    return _Kind(layout, *same, length or 0, rate)


def _recordings(
    kind: _Kind, records: list[_Record], wanted: tuple[str, ...] | None
) -> list[tuple[_Record, Recording]]:
    """Read the samples of records of one kind; leave out those that have to be read alone."""
    views = [(record, view) for record in records if (view := _samples(kind, record)) is not None]
    if not views:
        return []
    samples = np.empty((len(views), kind.signals, kind.length), views[0][1].dtype)
    np.stack([view for _, view in views], out=samples)
    verified = _verified(kind, samples, [record for record, _ in views])
    leads = kind.layout.leads
    held = Digital(samples, kind.layout.baseline, kind.layout.gain, None)
    if rows := wfdb.chosen(leads, wanted):
        leads = tuple([leads[row] for row in rows])
        held = Digital(samples.take(rows, axis=1), held.baseline[rows], held.gain[rows], None)
    signals = partial(wfdb.Signals, leads=leads, rate=kind.rate)
    read = zip(views, verified, held.physical(), held.valid, strict=True)
    return [
        (record, wfdb.recorded(record.header, record.path, signals(x, valid), findings))
        for (record, _), findings, x, valid in read
        if findings is not None
    ]


def _samples(kind: _Kind, record: _Record) -> Samples | None:
    """Return a record's whole numbers, in its file's order."""
    data = load_plain(record.file)
    if data is None:
        return None
    try:
        if record.file.endswith(".mat"):
            mat.check(data, record.file, kind.form, kind.offset, kind.signals)
        wfdb_signal.length(
            kind.form, len(data) - kind.offset, kind.signals, kind.length, record.file
        )
    except DefectError:
        return None
    return wfdb_signal.viewed(kind.form, data, kind.offset, kind.signals, kind.length)


def _verified(
    kind: _Kind, samples: Samples, records: list[_Record]
) -> Iterator[list[Finding] | None]:
    """Yield what is odd about each record; None where it has to be read alone."""
    rate, layout = kind.rate, kind.layout
    of_rate = check_rate(rate, records[0].path)
    heights: NDArray[np.float64] = doubts.heights(samples, rate) / layout.gain[:, 0]
    numbers = np.arange(len(records))
    undoubted = doubts.undoubted(
        heights, lambda leads: samples[numbers, leads, : doubts.ENOUGH], rate
    )
    lowest = samples.reshape(len(records), -1).min(axis=1)
    complete = (lowest != wfdb_signal.INVALID[kind.form]).tolist()
    sums, first = wfdb_signal.checksums(samples), samples[:, :, 0].tolist()
    every = slice(0, kind.signals)
    for number, record in enumerate(records):
        findings = None
        if complete[number]:
            with suppress(DefectError):
                findings = wfdb.verified(
                    sums[number], first[number], record.header, every, record.path
                )
        if findings is not None:
            findings = [*layout.findings, *findings, *of_rate]
            if not undoubted[number]:
                one = Digital(samples[number], layout.baseline, layout.gain, None)
                findings += doubts.judged(heights[number], one.beginning, rate)
        yield findings
