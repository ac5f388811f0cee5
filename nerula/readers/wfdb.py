"""WFDB records: a header (`.hea`) and its signal files, read strictly and verified by checksum.

Signal formats 16, 212, 80, 24 and 32 in one segment are read here, by NumPy. Everything rarer goes
through the `wfdb` package, after the same checks of the header and of the paths in it.
"""

import os
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nerula.defects import Finding
from nerula.errors import DefectError, UsageError, refuse
from nerula.readers import mat, wfdb_doubts, wfdb_header, wfdb_info, wfdb_rare, wfdb_signal
from nerula.readers.files import beside, load
from nerula.readers.plausible import check_rate
from nerula.readers.wfdb_doubts import Layout
from nerula.readers.wfdb_header import Header, Signal
from nerula.readers.wfdb_signal import Samples
from nerula.recording import Recording


class _Block(NamedTuple):
    """The signals of one file."""

    signals: list[Signal]
    form: int
    samples: Samples


def read(path: Path, row: int = 0, *, root: Path | None = None) -> Recording:
    """Read one record, named by its header, one of its signal files, or without an ending.

    Files that the header names must lie inside `root`, by default the header's own folder.
    """
    if row:
        raise UsageError(f"{path} holds one recording; there is no row {row}.")
    path = _header_of(path)
    header = wfdb_header.parse(load(path, wfdb_header.LIMIT), path)
    if header.segments:
        from nerula.readers import wfdb_segments

        return wfdb_segments.read(header, path, root)
    return read_segment(header, path, root)


def read_segment(header: Header, path: Path, root: Path | None) -> Recording:
    """Read an ordinary record, the header of which is given."""
    if not header.signals:
        raise refuse("length-zero", path, "it has no signals")
    layout = _layout(header.signals, path)
    leads, rate = layout.leads, header.rate
    if wfdb_rare.is_rare(header.signals):
        x, valid, leads, rate, findings = wfdb_rare.read(header, layout, path, root)
    else:
        blocks = _blocks(header, path, root)
        findings = [finding for block in blocks for finding in _verify(block, header, path)]
        if layout.unexplained:
            filled = [wfdb_signal.filled(samples, form) for _, form, samples in blocks]
            findings += wfdb_doubts.of_range(np.concatenate(filled), layout)
        x, valid = _physical(blocks, layout)
    findings += check_rate(rate, path)
    name = os.path.basename(path)[: -len(".hea")]  # noqa: PTH119 - hot path
    if header.name not in (name, f"{name}.mat"):  # the latter in Georgia's part of Challenge 2020
        findings.append(Finding("header-name", detail=f"{header.name} in {name}.hea"))
    findings += wfdb_doubts.of_signals(x, rate)
    odd = [*header.findings, *layout.findings, *findings]
    info = wfdb_info.read(header.comments, path) if header.comments else wfdb_info.NOTHING
    return Recording(
        name=name,
        x=x,
        rate=rate,
        leads=leads,
        valid=valid,
        age=info.age,
        sex=info.sex,
        labels=info.labels,
        path=path,
        findings=tuple([Finding(f.code, path, f.detail, f.lead) for f in odd] + info.findings),
        removed=tuple(dict.fromkeys((*header.removed, *info.removed))),
    )


def _layout(signals: list[Signal], path: Path) -> Layout:
    """Interpret a header's signal lines, or refuse them."""
    try:
        return wfdb_doubts.layout(tuple([signal.encoding for signal in signals]))
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
    blocks: dict[str, _Block] = {}
    for file, group in groupby(header.signals, lambda signal: signal.file):
        signals = list(group)
        form, offset = signals[0].encoding.format, signals[0].encoding.offset
        same = all(s.encoding.format == form and s.encoding.offset == offset for s in signals)
        if file in blocks or not same:
            raise refuse("header-malformed", path, f"the signals of {file} do not go together")
        source = beside(folder, file, root, path)
        data = load(source, missing="data-missing")
        if file.endswith(".mat"):
            mat.check(data, source, form, offset, len(signals))
        length = wfdb_signal.length(form, len(data) - offset, len(signals), length, source)
        samples = wfdb_signal.decode(form, data, offset, len(signals), length)
        blocks[file] = _Block(signals, form, samples)
    return list(blocks.values())


def _verify(block: _Block, header: Header, path: Path) -> list[Finding]:
    """Refuse samples that do not add up to the header's checksums; note first values."""
    declared = [signal.checksum for signal in block.signals]
    findings = []
    if header.length is None and any(declared):
        findings.append(Finding("header-contradiction", detail="a checksum of no declared length"))
    if declared != (sums := wfdb_signal.checksums(block.samples)):
        if _is_unchecked(header):
            findings.append(Finding("checksum-absent"))
        else:
            for signal, told, is_sum in zip(block.signals, declared, sums, strict=True):
                if told is not None and told != is_sum:
                    detail = f"{is_sum}, declared {told}"
                    raise refuse("checksum-wrong", path, detail, signal.encoding.description)
    first: list[int] = block.samples[:, 0].tolist()
    if first != [signal.initial for signal in block.signals]:
        for signal, is_first in zip(block.signals, first, strict=True):
            if signal.initial not in (is_first, None):
                detail = f"{is_first}, declared {signal.initial}"
                lead = signal.encoding.description
                findings.append(Finding("header-initial-value", None, detail, lead))
    return findings


def _is_unchecked(header: Header) -> bool:
    """Whether no checksum was ever written, as opposed to one that was lost.

    All of them are absent, or all are zero: where there are several, where the number of samples
    is left open too (then zero is the manual's placeholder), or in the lines of Challenge 2017.
    """
    checksums = {signal.checksum for signal in header.signals}
    if checksums == {None}:
        return True
    signal = header.signals[0]
    challenge = signal.file.endswith(".mat") and signal.encoding.description == "ECG"
    return checksums == {0} and (len(header.signals) > 1 or header.length is None or challenge)


def _physical(
    blocks: list[_Block], layout: Layout
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return mV and validity of every ECG lead."""
    parts, row = [], 0
    for signals, form, samples in blocks:
        end = row + len(signals)
        baseline, gain = layout.baseline[row:end], layout.gain[row:end]
        parts.append(wfdb_signal.physical(samples, form, baseline, gain))
        row = end
    x, valid = parts[0] if len(parts) == 1 else map(np.concatenate, zip(*parts, strict=True))
    return (x, valid) if layout.kept is None else (x[layout.kept], valid[layout.kept])
