"""The grammar of WFDB headers, as header(5) of the WFDB manual states it, read strictly.

https://physionet.org/physiotools/wag/header-5.htm: a record line, one line per signal or segment,
and comments. Numbers must be written as writers write them: no `+1`, `007`, `1_000` or `٣`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from nerula.defects import Finding
from nerula.errors import DefectError, refuse

LIMIT = 1 << 20
"""Bytes of a header; the longest in the wild are the 100 kB of multi-segment records."""

_MOST_SIGNALS = 4096
_PRINTABLE = bytes(range(32, 127)) + b"\t\n"
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,18}")
_DECIMAL = r"-?(?:0|[1-9][0-9]{0,18})(?:\.[0-9]{1,30})?(?:e[+-][0-9]{2,3})?"  # as %g prints it
_NOT_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity)\b.*", re.IGNORECASE)
_RATE = re.compile(rf"({_DECIMAL})(?:/{_DECIMAL}(?:\({_DECIMAL}\))?)?")
_FORMAT = re.compile(r"(0|[1-9]\d{0,3})(?:x([1-9]\d{0,5}))?(?::(0|[1-9]\d{0,8}))?(?:\+(\d{1,9}))?")
_GAIN = re.compile(rf"({_DECIMAL})(?:\((-?(?:0|[1-9][0-9]{{0,18}}))\))?(?:/(\S{{1,40}}))?")
_TIME = re.compile(r"\d{1,3}(?::\d{1,2}){1,2}(?:\.\d{1,6})?")
_DATE = re.compile(r"\d{1,2}/\d{1,2}/\d{4}|\d{1,2}-[A-Z][a-z]{2}-\d{4}")


class Encoding(NamedTuple):
    """What a signal line says beside its file, first value and checksum; shared by most lines."""

    format: int
    samples_per_frame: int
    skew: int
    offset: int
    gain: float | None
    """In steps per unit; None where it is not declared."""
    baseline: int | None
    unit: str | None
    resolution: int | None
    zero: int | None
    description: str


@dataclass(frozen=True, slots=True, eq=False)
class Described:
    """The encodings of all signals. Lines that say the same have the same object of this kind, so
    that what follows from them is looked up by its identity."""

    encodings: tuple[Encoding, ...]


class Signal(NamedTuple):
    """One signal line."""

    file: str
    encoding: Encoding
    initial: int | None
    checksum: int | None


class Signals(NamedTuple):
    """All signal lines, column by column: what differs between records, and what seldom does."""

    files: tuple[str, ...]
    initials: list[int | None]
    checksums: list[int | None]
    described: Described

    @property
    def lines(self) -> list[Signal]:
        """The same, line by line."""
        columns = self.files, self.described.encodings, self.initials, self.checksums
        return [Signal(*line) for line in zip(*columns, strict=True)]


class Header(NamedTuple):
    """One header. `segments` are names and lengths where the record has several."""

    name: str
    rate: float
    length: int | None
    signals: Signals
    segments: list[tuple[str, int]]
    comments: list[str]
    removed: list[str]
    findings: list[Finding]


def parse(raw: bytes, path: Path) -> Header:
    """Read a header's bytes, or refuse them."""
    text, findings = _text(raw, path)
    comments: list[str] = []
    lines: list[str] = []
    for line in text.split("\n"):
        if bare := line.strip(" \t"):
            if bare[0] == "#":
                comments.append(bare[1:])
            else:
                lines.append(bare)
    if not lines:
        raise refuse("header-malformed", path, "it has no record line")
    try:
        name, segments, count, rate, length, removed = _record(lines[0])
        expected = count if segments is None else segments
        if len(lines) - 1 != expected:
            raise ValueError(
                f"{expected} signals or segments declared, {len(lines) - 1} described"
            )
        described = lines[1:]
        signals = _signals(described if segments is None else [])
        parts = [_segment(line) for line in described] if segments is not None else []
    except ValueError as error:
        raise refuse("header-malformed", path, str(error)) from error
    except DefectError as error:
        raise refuse(error.finding.code, path, error.finding.detail) from error
    if text[-1] != "\n" or text[-2:] == "\n\n":  # a blank line is written before comments
        findings.append(Finding("header-cut", path))
    return Header(name, rate, length, signals, parts, comments, removed, findings)


def _text(raw: bytes, path: Path) -> tuple[str, list[Finding]]:
    """Decode; everything but printable ASCII, tabs and line ends is looked at with suspicion."""
    odd = raw.translate(None, _PRINTABLE)
    if not odd:
        return raw.decode("ascii"), []
    findings = []
    if b"\r" in odd:
        if raw.count(b"\r") != raw.count(b"\r\n"):
            raise refuse("header-malformed", path, "a carriage return inside a line")
        raw = raw.replace(b"\r\n", b"\n")
        findings.append(Finding("header-line-ends", path))
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
        findings.append(Finding("header-encoding", path))
    if unprintable := next((c for c in text if not c.isprintable() and c not in "\t\n"), None):
        raise refuse("header-malformed", path, f"the character {unprintable!r}")
    return text, findings


def _record(line: str) -> tuple[str, int | None, int, float, int | None, list[str]]:
    """Read `name[/segments] signals rate[/counter[(base)]] [length [time] [date]]`."""
    fields = line.split()
    if len(fields) < 2:
        raise ValueError("the record line does not say how many signals there are")
    name, slash, segments = fields[0].partition("/")
    count = _integer(fields[1], 0, _MOST_SIGNALS)
    if len(fields) == 2:
        raise refuse("rate-missing")
    length = _integer(fields[3], 0) if len(fields) > 3 else 0
    removed: list[str] = []
    for field in fields[4:]:
        kind = "time" if _TIME.fullmatch(field) else "date" if _DATE.fullmatch(field) else ""
        if not kind or kind in removed:
            raise ValueError(f"the record line has {field[:40]!r} where a time or date may stand")
        removed.append(kind)
    parts = _integer(segments, 1) if slash else None
    return name, parts, count, _rate(fields[2]), length or None, removed


def _segment(line: str) -> tuple[str, int]:
    name, length = line.split()
    return name, _integer(length, 0)


def _signals(lines: list[str]) -> Signals:
    """Read `file format [gain [resolution [zero [initial [checksum [block [description]]]]]]]`."""
    if not lines:
        return Signals((), [], [], Described(()))
    rows = [line.split(None, 8) for line in lines]
    for row in rows:
        if len(row) < 2:
            raise ValueError("a signal line has no format")
        row.extend([""] * (9 - len(row)))
    file, form, gain, resolution, zero, initial, checksum, block, description = zip(
        *rows, strict=True
    )
    described = _described(form, gain, resolution, zero, block, description)
    return Signals(file, _numbers(initial), _checksums(checksum), described)


@lru_cache(maxsize=1024)
def _described(*columns: tuple[str, ...]) -> Described:
    return Described(tuple([_encoding(*fields) for fields in zip(*columns, strict=True)]))


@lru_cache(maxsize=4096)
def _encoding(*fields: str) -> Encoding:
    form, gain, resolution, zero, block, description = fields
    match = _FORMAT.fullmatch(form)
    if match is None:
        raise ValueError(f"{form[:40]!r} is not a signal format")
    kind, samples, skew, offset = (int(part) if part else 0 for part in match.groups())
    steps, baseline, unit = _gain(gain) if gain else (None, None, None)
    if block:
        _integer(block)
    return Encoding(
        kind,
        samples or 1,
        skew,
        offset,
        steps,
        baseline,
        unit,
        _integer(resolution, 0, 64) if resolution else None,
        _integer(zero) if zero else None,
        description,
    )


def _gain(token: str) -> tuple[float, int | None, str | None]:
    match = _GAIN.fullmatch(token)
    if match is None:
        code = "gain-not-finite" if _NOT_FINITE.fullmatch(token) else "header-malformed"
        raise refuse(code, detail=repr(token[:40]))
    return float(match[1]), int(match[2]) if match[2] else None, match[3]


@lru_cache(maxsize=256)
def _rate(token: str) -> float:
    match = _RATE.fullmatch(token)
    if match is None:
        code = "rate-absurd" if _NOT_FINITE.fullmatch(token) else "header-malformed"
        raise refuse(code, detail=repr(token[:40]))
    return float(match[1])


def _numbers(tokens: Sequence[str]) -> list[int | None]:
    """Whole numbers in the one way that writers write them; None where nothing stands."""
    numbers = [int(token) if token else None for token in tokens]
    for token, number in zip(tokens, numbers, strict=True):
        if token and str(number) != token:
            raise ValueError(f"{token[:40]!r} is not written as a number is")
    return numbers


def _checksums(tokens: Sequence[str]) -> list[int | None]:
    numbers = _numbers(tokens)
    for token, number in zip(tokens, numbers, strict=True):
        if number is not None and not -0x8000 <= number <= 0xFFFF:
            raise ValueError(f"the checksum {token[:40]} does not fit 16 bits")
    return [None if number is None else number & 0xFFFF for number in numbers]


def _integer(token: str, least: int = -(1 << 62), most: int = 1 << 62) -> int:
    if not _INTEGER.fullmatch(token):
        raise ValueError(f"{token[:40]!r} is not an integer")
    number = int(token)
    if not least <= number <= most:
        raise ValueError(f"{token} is out of range")
    return number
