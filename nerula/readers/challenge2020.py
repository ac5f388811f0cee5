"""PhysioNet/CinC Challenges 2020 and 2021: 43,101 and 88,253 12-lead ECGs from all over.

https://doi.org/10.13026/dvyd-kd57 and https://doi.org/10.13026/34va-7q14. Each recording's header
tells age, sex and diagnoses (SNOMED CT codes, kept as they are). Nothing tells which recordings
are of one subject. PTB-XL is a part of both.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from nerula.readers import walk, wfdb, wfdb_together
from nerula.readers.files import arrive
from nerula.readers.names import STANDARD
from nerula.readers.source import Entry
from nerula.recording import Recording

KINDS = ("challenge2020", "challenge2021")
_GROUP = re.compile(r"g\d{1,3}")
_DIAGNOSES = re.compile(rb"^#\s?Dx:", re.MULTILINE)
_SIGNAL = re.compile(rb"^\S+\.mat 16\+24 ", re.MULTILINE)
_PROBES = 3


@dataclass(frozen=True, slots=True)
class Challenge2020:
    """Any part of either Challenge. The fold is the part: a split by it is one by hospital."""

    root: Path
    kind: str = "challenge2020"
    wanted: tuple[str, ...] | None = None
    """Leads to read; None for all."""

    def narrowed(self, leads: tuple[str, ...]) -> "Challenge2020":
        """Return the same with fewer leads."""
        return replace(self, wanted=leads)

    @property
    def leads(self) -> tuple[str, ...]:
        """All have the twelve standard leads."""
        return STANDARD

    def entries(self) -> Iterator[Entry]:
        """Yield what is in the folder."""
        return walk.headers(self.root)

    def read(self, entry: Entry) -> Recording:
        """Read one recording; its header has the labels."""
        walk.confine(entry, self.root)
        recording = wfdb.read(entry.path, root=self.root, leads=self.wanted)
        return self._told(entry, recording)

    def read_some(self, entries: Sequence[Entry]) -> list[Recording | None]:
        """Read what can be read together; None for the others."""
        return wfdb_together.read(entries, self.wanted, self._told)

    @staticmethod
    def _told(entry: Entry, recording: Recording) -> Recording:
        return recording.but(name=entry.name, fold=_part(entry.path))


def _part(path: Path) -> str:
    """Return `georgia` for `.../training/georgia/g1/E00001.hea`."""
    folder = path.parent
    return folder.parent.name if _GROUP.fullmatch(folder.name) else folder.name


def find(path: Path, kind: str | None = None) -> Challenge2020 | None:
    """Return the Challenge where the first headers below `path` are like its own."""
    first = list(islice(walk.headers(path), _PROBES))
    if not first or not all(map(_is_ours, first)):
        return None
    return Challenge2020(path, kind or "challenge2020")


def _is_ours(entry: Entry) -> bool:
    arrive(entry.path)
    try:
        with entry.path.open("rb") as file:
            head = file.read(8192)
    except OSError:
        return False
    return len(_SIGNAL.findall(head)) == len(STANDARD) and bool(_DIAGNOSES.search(head))
