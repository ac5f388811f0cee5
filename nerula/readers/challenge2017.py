"""PhysioNet/CinC Challenge 2017: 8,528 recordings of 9 to 61 s with a hand-held AliveCor device.

Clifford et al. 2017, https://doi.org/10.22489/CinC.2017.065-469. One lead between the hands: lead
I by its place, but the paper says that many are upside down, as nothing kept users from holding
the device the other way round. The labels are N (normal), A (atrial fibrillation), O (another
rhythm) and ~ (too noisy); `REFERENCE-v3.csv` is their last revision.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from nerula.defects import Finding
from nerula.errors import DefectError, refuse
from nerula.readers import walk, wfdb, wfdb_together
from nerula.readers.files import load
from nerula.readers.source import Entry
from nerula.recording import Recording

KINDS = ("challenge2017",)
_REFERENCES = tuple(
    f"REFERENCE{revision}.csv" for revision in ("-v3", "-v2", "-v1", "", "-v0", "-original")
)
_PARTS = ("training2017", "training")
_COPIES = ("validation", "sample2017")
"""300 recordings of the training set once more."""
_LINE = re.compile(r"(A\d{5}),([NAO~])")
_LIMIT = 16 << 20


@dataclass(frozen=True)
class Challenge2017:
    """The public training set."""

    root: Path
    reference: Path
    kind: ClassVar[str] = "challenge2017"
    leads: ClassVar[tuple[str, ...]] = ("I",)

    def __reduce__(self) -> tuple[type["Challenge2017"], tuple[Path, Path]]:
        return type(self), (self.root, self.reference)  # without the labels

    @cached_property
    def labels(self) -> dict[str, str]:
        """N, A, O or ~ by the recording's number."""
        found: dict[str, str] = {}
        text = load(self.reference, _LIMIT).decode("latin-1")
        for number, line in enumerate(text.splitlines(), 1):
            match = _LINE.fullmatch(line.strip())
            if match is None or match[1] in found:
                raise refuse("table-malformed", self.reference, f"line {number}: {line[:40]!r}")
            found[match[1]] = match[2]
        return found

    def entries(self) -> Iterator[Entry]:
        """Yield what is in the folder, then what only the table of labels knows."""
        orphans = dict.fromkeys(self.labels)
        for entry in walk.headers(self.root, skip=_COPIES):
            orphans.pop(entry.path.stem, None)
            yield entry
        for name in sorted(orphans):
            yield Entry(name, self.root / f"{name}{walk.HEADER}")

    def read(self, entry: Entry) -> Recording:
        """Read one recording and its label."""
        walk.confine(entry, self.root)
        try:
            recording = wfdb.read(entry.path, root=self.root)
        except DefectError as error:
            lost = error.finding == Finding("file-missing", entry.path)
            if lost and entry.path.stem in self.labels:
                raise refuse("table-orphan", self.reference, entry.name) from error
            raise
        return self._told(entry, recording)

    def read_some(self, entries: Sequence[Entry]) -> list[Recording | None]:
        """Read what can be read together; None for the others."""
        return wfdb_together.read(entries, None, self._told)

    def _told(self, entry: Entry, recording: Recording) -> Recording:
        """Add a recording's label."""
        label = self.labels.get(entry.path.stem)
        findings = recording.findings
        if label is None:
            findings = (*findings, Finding("table-row-missing", entry.path, self.reference.name))
        return recording.but(
            name=entry.name,
            leads=self.leads,
            labels={label: 1.0} if label else {},
            findings=findings,
        )


def find(path: Path, kind: str | None = None) -> Challenge2017 | None:  # noqa: ARG001
    """Return the Challenge where `path` is its folder or the folder of signals in it."""
    inside = path.name in _PARTS
    places = [path, *(path / part for part in _PARTS), *([path.parent] if inside else [])]
    if not any(_has_records(place) for place in places[:3]):
        return None
    named = (place / name for name in _REFERENCES for place in places)
    reference = next((file for file in named if file.is_file()), None)
    if reference is None:
        return None
    source = Challenge2017(path, reference)
    source.labels  # noqa: B018 - a table that cannot be read is said before the run starts
    return source


def _has_records(folder: Path) -> bool:
    return any(next(place.glob("A[0-9]*.hea"), None) for place in (folder, folder / "A00"))
