"""The grammar of EDF, EDF+, BDF and BDF+ headers, read strictly.

https://www.edfplus.info/specs/edf.html and edfplus.html: 256 bytes for the file and 256 for each
signal, in fields of fixed width that hold ASCII; numbers are decimal, with a point.
"""

import re
from collections.abc import Iterator
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from nerula.defects import Finding
from nerula.errors import refuse
from nerula.readers.plausible import decimal

_FILE = (8, 80, 80, 8, 8, 8, 44, 8, 8, 4)
_SIGNAL = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)
_BLOCK = 256  # bytes: the width of either
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")

_INTEGER = re.compile(r"-?[0-9]{1,8}")
_START = re.compile(r"([0-3][0-9])\.([01][0-9])\.([0-9][0-9])")
_LONG_DATE = re.compile(r"([0-3]?[0-9])-([A-Z]{3})-([0-9]{4})", re.IGNORECASE)


class Signal(NamedTuple):
    """One signal as the header describes it. `start` counts bytes from its record's first."""

    label: str
    transducer: str
    unit: str
    limits: tuple[str, str, str, str]
    """Physical minimum and maximum, digital minimum and maximum, as they are written."""
    samples: int
    start: int


class Header(NamedTuple):
    """One header. `kind` is EDF or BDF, `plus` is "", "C" (continuous) or "D" (with gaps)."""

    kind: str
    plus: str
    patient: str
    recording: str
    day: date | None
    records: int
    seconds: Fraction
    signals: list[Signal]
    findings: list[Finding]

    @property
    def width(self) -> int:
        """Bytes of a sample."""
        return 3 if self.kind == "BDF" else 2

    @property
    def size(self) -> int:
        """Bytes of the header."""
        return _BLOCK * (1 + len(self.signals))

    @property
    def record_size(self) -> int:
        """Bytes of a data record."""
        return self.width * sum(signal.samples for signal in self.signals)


def parse(data: bytes, path: Path) -> Header:
    """Read the header of a whole file, whose size must be what the header says, or refuse it."""
    kind = {b"0       ": "EDF", b"\xffBIOSEMI": "BDF"}.get(data[:8])
    if kind is None:
        raise refuse("format-malformed", path, "it does not begin like EDF or BDF")
    if len(data) < _BLOCK:
        raise refuse("data-truncated", path, f"{len(data)} bytes are no header")
    try:
        header = _parse(data, kind, path)
    except ValueError as error:
        raise refuse("header-malformed", path, str(error)) from error
    return _sized(header, len(data), path)


def _parse(data: bytes, kind: str, path: Path) -> Header:
    _, patient, recording, day, clock, size, reserved, records, seconds, count = _cut(data, _FILE)
    findings: list[Finding] = []
    signals = _integer(_text(count), 1, 9999)
    if _integer(_text(size)) != _BLOCK * (signals + 1):
        raise ValueError(f"{signals} signals do not make a header of {_text(size)} bytes")
    if len(data) < _BLOCK * (signals + 1):
        raise refuse("data-truncated", path, f"{len(data)} bytes do not hold the header")
    words = [_free(field, path, findings) for field in (patient, recording)]
    _text(clock)
    width = 2 if kind == "EDF" else 3
    described = list(_signals(data[_BLOCK : _BLOCK * (signals + 1)], signals, width))
    plus = _plus(_text(reserved), kind)
    if not plus and any(signal.label == f"{kind} Annotations" for signal in described):
        detail = f"annotations in a file that does not say it is {kind}+"
        findings.append(Finding("header-contradiction", path, detail))
    return Header(
        kind,
        plus,
        words[0],
        words[1],
        _start(_text(day), words[1], path, findings),
        _integer(_text(records), -1),
        _seconds(_text(seconds), path),
        described,
        findings,
    )


def _signals(block: bytes, count: int, width: int) -> Iterator[Signal]:
    columns = _cut(block, tuple(count * part for part in _SIGNAL))
    fields = (
        map(_text, _cut(column, (part,) * count))
        for column, part in zip(columns, _SIGNAL, strict=True)
    )
    start = 0
    for label, transducer, unit, *limits, _, samples, _ in zip(*fields, strict=True):
        if not label.isascii():
            raise ValueError(f"a label is {label!r}")
        low, high, least, most = limits
        number = _integer(samples, 1)
        yield Signal(label, transducer, unit, (low, high, least, most), number, start)
        start += number * width


def scale(signal: Signal, width: int, path: Path) -> tuple[float, float, tuple[int, int]]:
    """Return the physical size of a step, the physical value of 0, and the digital limits."""
    low, high = (
        decimal(text, "a physical limit", path, "gain-not-finite", signal.label)
        for text in signal.limits[:2]
    )
    limit = 1 << (8 * width - 1)
    try:
        least, most = (_integer(text, -limit, limit - 1) for text in signal.limits[2:])
    except ValueError as error:
        raise refuse("header-malformed", path, str(error), signal.label) from error
    if least > most:
        raise refuse("header-malformed", path, f"digital {least} to {most}", signal.label)
    if least == most:
        raise refuse("gain-zero", path, f"digital {least} to {most}", signal.label)
    step = (high - low) / (most - least)
    return step, low - least * step, (least, most)


def _sized(header: Header, size: int, path: Path) -> Header:
    """Compare what the header declares with the file's size, before anything is taken."""
    held, each = size - header.size, header.record_size
    if header.records == -1:  # the writer was interrupted before it could say
        records, rest = divmod(held, each)
        if rest:
            raise refuse("data-truncated", path, "the last data record is not whole")
        header = header._replace(records=records)
        header.findings.append(Finding("header-contradiction", path, "-1 data records"))
    needed = header.records * each
    if held != needed:
        code = "data-truncated" if held < needed else "data-overlong"
        raise refuse(code, path, f"{needed} bytes of data declared, {held} held")
    if not needed:
        raise refuse("length-zero", path)
    return header


def _cut(data: bytes, widths: tuple[int, ...]) -> list[bytes]:
    fields, at = [], 0
    for width in widths:
        fields.append(data[at : at + width])
        at += width
    return fields


def _text(field: bytes) -> str:
    text = field.rstrip(b" \0").decode("latin-1").lstrip(" ")
    if not text.isprintable():
        raise ValueError(f"a field holds {text!r}")
    return text


def _free(field: bytes, path: Path, findings: list[Finding]) -> str:
    """Decode a field in which people write names, some with accents."""
    text = _text(field)
    if not text.isascii() and not findings:
        findings.append(Finding("header-encoding", path))
    return text


def _plus(reserved: str, kind: str) -> str:
    for letter in "CD":
        if reserved.startswith(f"{kind}+{letter}"):
            return letter
    if reserved.startswith(f"{kind}+"):
        raise ValueError(f"{reserved!r} is neither continuous nor discontinuous")
    return ""


def _start(short: str, recording: str, path: Path, findings: list[Finding]) -> date | None:
    """Return the day of the start: `Startdate 02-MAR-2002` in EDF+, or dd.mm.yy.

    Where it was left out, EDF+ says `Startdate X` and 01.01.85.
    """
    words = recording.split()
    days = [_short_date(short)] if short != "01.01.85" else []
    if len(words) > 1 and words[0] == "Startdate":
        days.insert(0, long_date(words[1]))
        if len(set(days)) > 1:
            detail = "the header gives two dates of the start"
            findings.append(Finding("header-contradiction", path, detail))
    return days[0] if days else None


def _short_date(text: str) -> date | None:
    """Return the day that dd.mm.yy is, or None where it is none."""
    match = _START.fullmatch(text)
    if match is None:
        return None
    day, month, year = (int(part) for part in match.groups())
    try:
        return date(year + (1900 if year >= 85 else 2000), month, day)
    except ValueError:
        return None


def long_date(text: str) -> date | None:
    """Return the day that `02-MAR-2002` is, or None where it is none."""
    match = _LONG_DATE.fullmatch(text)
    if match is None or match[2].upper() not in _MONTHS:
        return None
    try:
        return date(int(match[3]), _MONTHS.index(match[2].upper()) + 1, int(match[1]))
    except ValueError:
        return None


def _seconds(text: str, path: Path) -> Fraction:
    """Return how long a data record is; exactly, for 0.1 s has no exact float."""
    rough = decimal(text, "the length of a data record", path, "rate-absurd")
    if rough and not 1e-6 <= rough <= 1e6:
        code = "rate-zero" if rough < 0 else "rate-absurd"
        raise refuse(code, path, f"a data record lasts {text} seconds")
    return Fraction(text) if rough else Fraction(0)


def _integer(text: str, least: int = 0, most: int = 99_999_999) -> int:
    if not _INTEGER.fullmatch(text):
        raise ValueError(f"{text!r} is not a whole number")
    if not least <= int(text) <= most:
        raise ValueError(f"{text} is out of range")
    return int(text)
