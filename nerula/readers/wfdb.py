"""WFDB records: a header (`.hea`) and its signal files, read strictly and verified by checksum.

Signal formats 16, 212, 80, 24 and 32 in one segment are read here, by NumPy. Everything rarer goes
through the `wfdb` package, after the same checks of the header and of the paths in it.
"""

import os
from functools import lru_cache
from itertools import accumulate, groupby, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nerula.defects import Finding
from nerula.errors import DefectError, UsageError, refuse
from nerula.readers import doubts, mat, wfdb_doubts, wfdb_header, wfdb_info, wfdb_rare, wfdb_signal
from nerula.readers.files import beside, load
from nerula.readers.plausible import check_rate
from nerula.readers.wfdb_doubts import Layout
from nerula.readers.wfdb_header import Described, Header
from nerula.readers.wfdb_signal import Digital, Samples
from nerula.recording import Recording


class _Block(NamedTuple):
    """The signals of one file, some of the record's."""

    signals: slice
    form: int
    samples: Samples


class Signals(NamedTuple):
    """What was measured."""

    x: NDArray[np.float32]
    valid: NDArray[np.bool_]
    leads: tuple[str, ...]
    rate: float


def read(
    path: Path,
    row: int = 0,
    *,
    root: Path | None = None,
    leads: tuple[str, ...] | None = None,
) -> Recording:
    """Read one record, named by its header, one of its signal files, or without an ending.

    Files that the header names must lie inside `root`, by default the header's own folder. Leads
    that are not among `leads` may be left out, once they are verified.
    """
    if row:
        raise UsageError(f"{path} holds one recording; there is no row {row}.")
    path = _header_of(path)
    header = wfdb_header.parse(load(path, wfdb_header.LIMIT), path)
    if header.segments:
        from nerula.readers import wfdb_segments

        return wfdb_segments.read(header, path, root)
    return read_segment(header, path, root, leads)


def read_segment(
    header: Header, path: Path, root: Path | None, wanted: tuple[str, ...] | None = None
) -> Recording:
    """Read an ordinary record, the header of which is given."""
    if not header.signals.files:
        raise refuse("length-zero", path, "it has no signals")
    layout = _layout(header.signals.described, path)
    leads, rate = layout.leads, header.rate
    if layout.is_rare:
        x, valid, leads, rate, findings = wfdb_rare.read(header, layout, path, root)
        findings += check_rate(rate, path)
        findings += doubts.of_signals(x, rate)
    else:
        blocks = _blocks(header, path, root)
        findings = [finding for block in blocks for finding in _verify(block, header, path)]
        if layout.unexplained:
            filled = [wfdb_signal.filled(block.samples, block.form) for block in blocks]
            findings += wfdb_doubts.of_range(np.concatenate(filled), layout)
        findings += check_rate(rate, path)
        held = _joined(blocks, layout)
        findings += doubts.judged(held.heights(rate), held.beginning, rate)
        if rows := chosen(leads, wanted):
            held, leads = held.select(rows), tuple([leads[row] for row in rows])
        x, valid = held.physical(), held.valid
    signals = Signals(x, valid, leads, rate)
    return recorded(header, path, signals, [*layout.findings, *findings])


def recorded(header: Header, path: Path, signals: Signals, findings: list[Finding]) -> Recording:
    """Return a record whose signals are read, with what its header says beside them."""
    name = os.path.basename(path)[: -len(".hea")]  # noqa: PTH119 - hot path
    if header.name not in (name, f"{name}.mat"):  # the latter in Georgia's part of Challenge 2020
        findings.append(Finding("header-name", detail=f"{header.name} in {name}.hea"))
    odd = [*header.findings, *findings]
    info = wfdb_info.read(header.comments, path) if header.comments else wfdb_info.NOTHING
    return Recording(
        name=name,
        x=signals.x,
        rate=signals.rate,
        leads=signals.leads,
        valid=signals.valid,
        age=info.age,
        sex=info.sex,
        labels=info.labels,
        path=path,
        findings=tuple([Finding(f.code, path, f.detail, f.lead) for f in odd] + info.findings),
        removed=tuple(dict.fromkeys((*header.removed, *info.removed))),
    )


def chosen(leads: tuple[str, ...], wanted: tuple[str, ...] | None) -> list[int] | None:
    """Return which leads to read, in their order; None or nothing for all of them."""
    return None if wanted is None or wanted == leads else _rows(leads, wanted)


@lru_cache(maxsize=256)
def _rows(leads: tuple[str, ...], wanted: tuple[str, ...]) -> list[int]:
    """Return which of the leads are wanted, in the order in which they are."""
    return [leads.index(lead) for lead in wanted if lead in leads]


def _layout(described: Described, path: Path) -> Layout:
    """Interpret a header's signal lines, or refuse them."""
    try:
        return wfdb_doubts.layout(described)
    except DefectError as error:
        found = error.finding
        raise refuse(found.code, path, found.detail, found.lead) from error


def _header_of(path: Path) -> Path:
    if os.fspath(path).endswith((".hea", ".HEA")):
        return path
    named = path.with_name(path.name + ".hea")
    return named if named.is_file() else path.with_suffix(".hea")


def _blocks(header: Header, path: Path, root: Path | None) -> list[_Block]:
    """Return the samples of every file of the record."""
    folder, length = os.path.dirname(path), header.length  # noqa: PTH120 - hot path
    described = header.signals.described
    blocks: dict[str, _Block] = {}
    for file, signals in _by_file(header.signals.files):
        same = wfdb_doubts.same_form(described, signals.start, signals.stop)
        if file in blocks or same is None:
            raise refuse("header-malformed", path, f"the signals of {file} do not go together")
        (form, offset), leads = same, signals.stop - signals.start
        source = beside(folder, file, root, path)
        data = load(source, missing="data-missing")
        if file.endswith(".mat"):
            mat.check(data, source, form, offset, leads)
        length = wfdb_signal.length(form, len(data) - offset, leads, length, source)
        samples = wfdb_signal.decode(form, data, offset, leads, length)
        blocks[file] = _Block(signals, form, samples)
    return list(blocks.values())


def _by_file(files: tuple[str, ...]) -> list[tuple[str, slice]]:
    """Return the files and which signals are theirs."""
    if files.count(files[0]) == len(files):
        return [(files[0], slice(0, len(files)))]
    ends = [0, *accumulate(len(list(group)) for _, group in groupby(files))]
    return [(files[begin], slice(begin, end)) for begin, end in pairwise(ends)]


def _verify(block: _Block, header: Header, path: Path) -> list[Finding]:
    """Refuse samples that do not add up to the header's checksums; note first values."""
    sums, first = wfdb_signal.checksums(block.samples), block.samples[:, 0].tolist()
    return verified(sums, first, header, block.signals, path)


def verified(
    sums: list[int], first: list[int], header: Header, part: slice, path: Path
) -> list[Finding]:
    """Refuse signals whose sums are not the header's; note first values that are not."""
    signals = header.signals
    names = signals.described.encodings[part]
    declared, initial = signals.checksums[part], signals.initials[part]
    findings = []
    if header.length is None and any(declared):
        findings.append(Finding("header-contradiction", detail="a checksum of no declared length"))
    if declared != sums:
        if _is_unchecked(header):
            findings.append(Finding("checksum-absent"))
        else:
            for encoding, told, is_sum in zip(names, declared, sums, strict=True):
                if told is not None and told != is_sum:
                    detail = f"{is_sum}, declared {told}"
                    raise refuse("checksum-wrong", path, detail, encoding.description)
    if first != initial:
        for encoding, told, is_first in zip(names, initial, first, strict=True):
            if told not in (is_first, None):
                detail = f"{is_first}, declared {told}"
                lead = encoding.description
                findings.append(Finding("header-initial-value", None, detail, lead))
    return findings


def _is_unchecked(header: Header) -> bool:
    """Whether no checksum was ever written, as opposed to one that was lost.

    All of them are absent, or all are zero: where there are several, where the number of samples
    is left open too (then zero is the manual's placeholder), or in the lines of Challenge 2017.
    """
    checksums = set(header.signals.checksums)
    if checksums == {None}:
        return True
    files, (first, *_) = header.signals.files, header.signals.described.encodings
    challenge = files[0].endswith(".mat") and first.description == "ECG"
    return checksums == {0} and (len(files) > 1 or header.length is None or challenge)


def _joined(blocks: list[_Block], layout: Layout) -> Digital:
    """Return every ECG lead of the record."""
    if len(blocks) == 1:
        _, form, samples = blocks[0]
        missing = wfdb_signal.missing(samples, form)
    else:
        samples = np.concatenate([block.samples for block in blocks])
        each = [wfdb_signal.missing(block.samples, block.form) for block in blocks]
        missing = None
        if any(where is not None for where in each):
            missing = np.concatenate(
                [
                    np.zeros(block.samples.shape, np.bool_) if where is None else where
                    for block, where in zip(blocks, each, strict=True)
                ]
            )
    every = Digital(samples, layout.baseline, layout.gain, missing)
    return every if layout.kept is None else every.select(layout.kept)
