"""UCI HAR: 10,299 windows of 2.56 s of a waist-worn phone's motion; 30 people, six activities.

Reyes-Ortiz et al. 2013, https://doi.org/10.24432/C54S4K. No ECG: it shows what a method makes of
another body signal. One line of nine text files is one window; the three signals that are called
`body_acc` are `total_acc` without gravity. Lines are found once and read one at a time.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from io import FileIO
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nerula.errors import UsageError, refuse
from nerula.readers.files import arrive, load
from nerula.readers.source import Entry
from nerula.recording import Recording

KINDS = ("ucihar",)
_PARTS = ("train", "test")
_SIGNALS = tuple(
    f"{kind}_{axis}" for kind in ("body_acc", "body_gyro", "total_acc") for axis in "xyz"
)
_SAMPLES = 128
_NUMBERS = re.compile(rb"[-+0-9.e ]+\r?\n?")
_WHOLE = re.compile(r"[1-9]\d{0,2}")
_ACTIVITY = re.compile(r"([1-9]) ([A-Z_]{1,40})")
_LIMIT = 256 << 20
_BLOCK = 1 << 20


@dataclass(frozen=True)
class UCIHAR:
    """Both parts; the fold is `train` or `test`, and no subject is in both."""

    root: Path
    kind: ClassVar[str] = "ucihar"
    leads: ClassVar[tuple[str, ...]] = _SIGNALS
    rate: ClassVar[float] = 50.0

    def __reduce__(self) -> tuple[type["UCIHAR"], tuple[Path]]:
        return type(self), (self.root,)  # without what it found out

    @cached_property
    def facts(self) -> dict[str, list[tuple[str, str]]]:
        """Subject and activity of each window of each part."""
        lines = _lines(self.root / "activity_labels.txt", _ACTIVITY)
        activities = {match[1]: match[2] for match in lines}
        return {part: self._facts_of(part, activities) for part in _PARTS}

    def _facts_of(self, part: str, activities: dict[str, str]) -> list[tuple[str, str]]:
        folder = self.root / part
        subjects = [match[0] for match in _lines(folder / f"subject_{part}.txt", _WHOLE)]
        path = folder / f"y_{part}.txt"
        labels = [match[0] for match in _lines(path, _WHOLE)]
        if len(labels) != len(subjects):
            detail = f"{len(labels)} activities for {len(subjects)} subjects"
            raise refuse("table-malformed", path, detail)
        if unknown := set(labels) - set(activities):
            raise refuse("table-malformed", path, f"no activity {', '.join(sorted(unknown))}")
        return list(zip(subjects, (activities[label] for label in labels), strict=True))

    @cached_property
    def starts(self) -> dict[Path, NDArray[np.int64]]:
        """Where each line of the signal files begins, and where the last one ends."""
        return {}

    def entries(self) -> Iterator[Entry]:
        """Yield every window, named by its part and line."""
        for part in _PARTS:
            path = self._file(part, _SIGNALS[0])
            for row in range(len(self.facts[part])):
                yield Entry(f"{part}/{row + 1:04d}", path, row)

    def read(self, entry: Entry) -> Recording:
        """Read one line of each of the nine files."""
        part = entry.name.partition("/")[0]
        if part not in _PARTS or not 0 <= entry.row < len(self.facts[part]):
            raise UsageError(f"{self.root} has no window {entry.name}.")
        x = np.stack(
            [self._line(self._file(part, signal), part, entry.row) for signal in _SIGNALS]
        )
        subject, activity = self.facts[part][entry.row]
        return Recording(
            entry.name,
            x,
            self.rate,
            self.leads,
            np.ones(x.shape, np.bool_),
            unit="mixed",
            subject=subject,
            labels={activity: 1.0},
            fold=part,
            path=entry.path,
        )

    def _file(self, part: str, signal: str) -> Path:
        return self.root / part / "Inertial Signals" / f"{signal}_{part}.txt"

    def _line(self, path: Path, part: str, row: int) -> NDArray[np.float32]:
        arrive(path)
        try:
            with path.open("rb", buffering=0) as file:
                if path not in self.starts:
                    self.starts[path] = _starts(file)
                starts = self.starts[path]
                if len(starts) - 1 != len(self.facts[part]):
                    detail = f"{len(starts) - 1} lines for {len(self.facts[part])} windows"
                    raise refuse("table-malformed", path, detail)
                file.seek(starts[row])
                line = file.read(starts[row + 1] - starts[row])
        except FileNotFoundError as error:
            raise refuse("data-missing", path) from error
        return _parse(line, path, row)


def _starts(file: FileIO) -> NDArray[np.int64]:
    found = [np.zeros(1, np.int64)]
    size = 0
    while block := file.read(_BLOCK):
        found.append(np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")) + size + 1)
        size += len(block)
    starts = np.concatenate(found)
    return starts if starts[-1] == size else np.append(starts, size)


def _parse(line: bytes, path: Path, row: int) -> NDArray[np.float32]:
    try:
        if _NUMBERS.fullmatch(line):
            with np.errstate(over="raise"):
                numbers = np.array(line.split(), np.float32)
            if numbers.size == _SAMPLES and np.isfinite(numbers).all():
                return numbers
    except (ValueError, FloatingPointError):
        pass
    raise refuse("format-malformed", path, f"line {row + 1} is not {_SAMPLES} numbers")


def _lines(path: Path, form: re.Pattern[str]) -> Iterator[re.Match[str]]:
    """Yield what `form` matched of each line; refuse a line that it does not match."""
    for number, line in enumerate(load(path, _LIMIT).decode("latin-1").splitlines(), 1):
        match = form.fullmatch(line.strip(" "))
        if match is None:
            raise refuse("table-malformed", path, f"line {number}: {line[:40]!r}")
        yield match


def find(path: Path, kind: str | None = None) -> UCIHAR | None:  # noqa: ARG001
    """Return UCI HAR where `path` is the folder with `train` and `test`, or one of these."""
    root = path.parent if path.name in _PARTS and _is_ours(path.parent) else path
    if not _is_ours(root):
        return None
    source = UCIHAR(root)
    source.facts  # noqa: B018 - a table that cannot be read is said before the run starts
    return source


def _is_ours(folder: Path) -> bool:
    return (folder / "activity_labels.txt").is_file() and all(
        (folder / part / "Inertial Signals").is_dir() for part in _PARTS
    )
