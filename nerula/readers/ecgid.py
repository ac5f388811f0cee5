"""ECG-ID: 310 recordings of 20 s of 90 volunteers, for telling people by their ECG.

Lugovaya 2005, https://doi.org/10.13026/C2J01F. Two signals of each recording: lead I as it was
measured, and filtered. Recordings of one person lie in one folder, and only that says whose they
are.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from nerula.readers import walk, wfdb, wfdb_together
from nerula.readers.source import Entry
from nerula.recording import Recording

KINDS = ("ecgid",)
_PERSON = re.compile(r"Person_\d{2}")


@dataclass(frozen=True, slots=True)
class ECGID:
    """The whole data set, or the recordings of one person."""

    root: Path
    kind: ClassVar[str] = "ecgid"
    leads: ClassVar[tuple[str, ...]] = ("I", "I filtered")

    def entries(self) -> Iterator[Entry]:
        """Yield what is in the folder."""
        return walk.headers(self.root)

    def read(self, entry: Entry) -> Recording:
        """Read one recording; the subject is the folder's name."""
        walk.confine(entry, self.root)
        recording = wfdb.read(entry.path, root=self.root)
        return self._told(entry, recording)

    def read_some(self, entries: Sequence[Entry]) -> list[Recording | None]:
        """Read what can be read together; None for the others."""
        return wfdb_together.read(entries, None, self._told)

    @staticmethod
    def _told(entry: Entry, recording: Recording) -> Recording:
        person = entry.path.parent.name
        subject = person if _PERSON.fullmatch(person) else None
        return recording.but(name=entry.name, subject=subject)


def find(path: Path, kind: str | None = None) -> ECGID | None:  # noqa: ARG001
    """Return ECG-ID where `path` holds folders of persons with recordings, or is one."""
    people = [path] if _PERSON.fullmatch(path.name) else sorted(path.glob("Person_[0-9][0-9]"))
    held = any(next(person.glob("rec_[0-9]*.hea"), None) for person in people)
    return ECGID(path) if held else None
