"""Leakage: what must not be on both sides of a split, noticed while recordings go by.

A subject, or the same signal under two names, on both sides makes a model look better than it is.
Windows that overlap, such as those of UCI HAR, are not the same signal: what they share is their
subject, and that is what keeps them on one side.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from nerula.defects import Finding
from nerula.errors import UsageError, refuse

FOLD = "fold"
_LIMIT = 1 << 30  # bytes of a table of sides: ten million rows


def shared_subjects(
    subjects: Iterable[str | None], sides: Iterable[str | None]
) -> dict[str, tuple[str, ...]]:
    """Return every subject that is on more than one side, with its sides.

    `subjects` and `sides` go together, one of each per recording; None where it is not known.
    """
    seen: dict[str, set[str]] = {}
    for subject, side in zip(subjects, sides, strict=True):
        if subject is not None and side is not None:
            seen.setdefault(subject, set()).add(side)
    return {subject: tuple(sorted(on)) for subject, on in seen.items() if len(on) > 1}


class Ledger:
    """Remembers every signal and subject, in some 300 bytes each, and says what comes again."""

    def __init__(self) -> None:
        self._signals: dict[bytes, tuple[str, str | None]] = {}
        self._subjects: dict[tuple[str, str], dict[str, str]] = {}
        self.sides: Counter[str] = Counter()
        self.duplicates = 0

    def meet(
        self, name: str, digest: str, subject: tuple[str, str] | None, side: str | None
    ) -> Iterator[tuple[str, str]]:
        """Yield the codes and details of what this recording shares with earlier ones.

        `subject` is a pair: whose it is, and the source that calls them so.
        """
        if side is not None:
            self.sides[side] += 1
        if digest:
            yield from self._meet_signal(name, bytes.fromhex(digest), side)
        if subject is not None and side is not None:
            on = self._subjects.setdefault(subject, {})
            if side not in on and on:
                first, other = next(iter(on.items()))
                yield "subject-leak", f"subject {subject[0]}: {side} here, {first} in {other}"
            on.setdefault(side, name)

    def _meet_signal(
        self, name: str, signal: bytes, side: str | None
    ) -> Iterator[tuple[str, str]]:
        first, first_side = self._signals.setdefault(signal, (name, side))
        if first is name:
            return
        self.duplicates += 1
        if side is None or first_side is None or side == first_side:
            yield "recording-duplicate", f"the same as {first}"
        else:
            yield "duplicate-leak", f"{side} here, {first_side} in {first}"

    @property
    def subjects(self) -> int:
        """How many subjects are on any side."""
        return len(self._subjects)

    @property
    def shared(self) -> int:
        """How many of them are on more than one."""
        return sum(len(on) > 1 for on in self._subjects.values())


class Split:
    """Which side each recording is on: by the data set's own folds, or by a table."""

    def __init__(self, written: str | None) -> None:
        self.findings: list[Finding] = []
        self._table: dict[str, str] | None = None
        self._met: set[str] = set()
        self.path: Path | None = None
        if written not in (None, FOLD):
            self.path = Path(str(written))
            if not self.path.is_file():
                raise UsageError(
                    f"--split {written} is neither a table nor {FOLD!r}.",
                    "Give a CSV file with the columns name and split.",
                )
            self._table = self._read(self.path)

    @property
    def name(self) -> str:
        """What splits, in words."""
        return FOLD if self.path is None else str(self.path)

    def side(self, name: str, path: Path, fold: str | None) -> str | None:
        """Return the side of a recording; a table may name it fully, or just its file."""
        if self._table is None:
            return fold
        for known in (name, PurePosixPath(name).name, path.name):
            if known in self._table:
                self._met.add(known)
                return self._table[known]
        return None

    def orphans(self) -> list[Finding]:
        """Return a finding for every row of the table that was no recording."""
        names = (name for name in self._table or () if name not in self._met)
        return [Finding("table-orphan", self.path, name) for name in names]

    def _read(self, path: Path) -> dict[str, str]:
        reader = csv.DictReader(io.StringIO(_text(path), newline=""), strict=True)
        sides: dict[str, str] = {}
        try:
            columns = [(column or "").strip().lower() for column in reader.fieldnames or ()]
            reader.fieldnames = columns
            if columns.count("name") != 1 or columns.count("split") != 1:
                raise refuse("table-malformed", path, "it needs the columns name and split")
            for row in reader:
                name, side = (row["name"] or "").strip(), (row["split"] or "").strip()
                if not name or not side:
                    raise refuse("table-malformed", path, f"line {reader.line_num} is incomplete")
                if name in sides:
                    detail = f"{name} is {sides[name]} and {side}"
                    self.findings.append(Finding("name-duplicate", path, detail))
                sides.setdefault(name, side)
        except csv.Error as error:
            raise refuse("table-malformed", path, f"line {reader.line_num}: {error}") from error
        return sides


def _text(path: Path) -> str:
    if path.stat().st_size > _LIMIT:
        raise refuse("file-too-large", path)
    raw = path.read_bytes()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
