"""WFDB signals in rare formats, skewed or at several rates, unpacked by the `wfdb` package.

Header, paths, sizes, checksums and units remain ours; the package only turns bytes into numbers.
"""

import warnings
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nerula.defects import Finding
from nerula.errors import MissingExtraError, refuse
from nerula.readers import mat
from nerula.readers.files import beside, load
from nerula.readers.wfdb_doubts import Layout
from nerula.readers.wfdb_header import Header, Signal
from nerula.readers.wfdb_signal import BITS

_BITS = BITS | {8: 8, 310: 32 / 3, 311: 32 / 3}
_FLAC = {508: 8, 516: 16, 524: 24}
_FLAC_PACKED = 2048
"""Samples per byte of a flat signal; ECG comes to one or two."""
_NO_SENTINEL = 8
_SENTINEL_BITS = BITS | _FLAC | {310: 10, 311: 10}


def read(
    header: Header, layout: Layout, path: Path, root: Path | None
) -> tuple[NDArray[np.float32], NDArray[np.bool_], tuple[str, ...], float, list[Finding]]:
    """Return mV, validity, leads, rate and findings of the ECG signals of the highest rate."""
    samples = _unpack(header, path, root)
    findings = _verify(header, samples, path)
    numbers = range(len(samples)) if layout.kept is None else layout.kept
    ecg = list(zip(numbers, layout.leads, strict=True))
    frames = {number: header.signals.lines[number].encoding.samples_per_frame for number, _ in ecg}
    fastest = max(frames.values())
    left_out = [lead for number, lead in ecg if frames[number] < fastest]
    if left_out:
        findings.append(Finding("signals-left-out", detail=f"slower: {', '.join(left_out)}"))
    ecg = [(number, lead) for number, lead in ecg if frames[number] == fastest]
    chosen = [number for number, _ in ecg]
    digital = np.stack([samples[number] for number in chosen])
    x = ((digital - layout.baseline[chosen]) / layout.gain[chosen]).astype(np.float32)
    valid = digital != np.array([[_sentinel(header.signals.lines[number])] for number in chosen])
    x[~valid] = 0
    return x, valid, tuple(lead for _, lead in ecg), header.rate * fastest, findings


def _sentinel(signal: Signal) -> int:
    form = signal.encoding.format
    return -(1 << (_SENTINEL_BITS[form] - 1)) if form != _NO_SENTINEL else -(1 << 62)


def _verify(header: Header, samples: list[NDArray[np.int64]], path: Path) -> list[Finding]:
    """Refuse wrong checksums; the package cuts what precedes a skewed signal, which they cover."""
    if any(signal.encoding.skew for signal in header.signals.lines):
        return [Finding("checksum-absent", detail="a skewed signal cannot be verified")]
    for signal, values in zip(header.signals.lines, samples, strict=True):
        found = int(values.sum()) & 0xFFFF
        if signal.checksum is not None and signal.checksum != found:
            detail = f"{found}, declared {signal.checksum}"
            raise refuse("checksum-wrong", path, detail, signal.encoding.description)
    return []


def _unpack(header: Header, path: Path, root: Path | None) -> list[NDArray[np.int64]]:
    """Return every signal's samples as whole numbers, at its own rate."""
    for file, group in groupby(header.signals.lines, lambda signal: signal.file):
        _check_size(list(group), beside(str(path.parent), file, root, path), header, path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the package and pandas say to their developers
        try:
            import wfdb
        except ImportError as error:
            raise MissingExtraError(f"{path}: this rare variant of WFDB", "wfdb") from error
        try:
            record = wfdb.rdrecord(
                str(path.with_suffix("")), physical=False, smooth_frames=False, return_res=64
            )
            samples = [np.asarray(signal, np.int64) for signal in record.e_d_signal]
        except Exception as error:  # the package raises whatever it stumbles over
            said = f"{type(error).__name__}: {error}"[:200]
            raise refuse("format-malformed", path, said) from error
    frames = [signal.encoding.samples_per_frame for signal in header.signals.lines]
    lengths = {len(s) / f for s, f in zip(samples, frames, strict=False)}
    if len(samples) != len(frames) or len(lengths) != 1 or lengths == {0}:
        raise refuse("format-malformed", path, "its signals differ in length")
    return samples


def _check_size(signals: list[Signal], source: str, header: Header, path: Path) -> None:
    """Refuse a file that cannot hold what its header declares."""
    form, offset = signals[0].encoding.format, signals[0].encoding.offset
    if form not in _BITS and form not in _FLAC:
        raise refuse("format-unsupported", path, f"signal format {form}")
    if any(s.encoding.format != form or s.encoding.offset != offset for s in signals):
        raise refuse("header-malformed", path, f"signals of {source} do not go together")
    data = load(source, missing="data-missing")
    if source.endswith(".mat"):
        mat.check(data, source, form, offset, len(signals))
    held = len(data) - offset
    values = (header.length or 1) * sum(s.encoding.samples_per_frame for s in signals)
    if values > held * (8 / _BITS[form] if form in _BITS else _FLAC_PACKED):
        raise refuse("data-truncated", Path(source), f"{values} values declared")
