"""Any folder of recordings, or one file: every format, recognised file by file."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nerula.errors import NerulaError, OutageError
from nerula.readers import formats, walk, wfdb_together
from nerula.readers.files import arrive
from nerula.readers.source import NO_HINTS, Entry, Hints, legible
from nerula.recording import Recording

_SEGMENT = re.compile(r"(.+)_(?:\d{4,}|layout)\.hea")
_RECORD_LINE = re.compile(rb"(?:\s*#.*\n|\s*\n)*\s*[^\s/]+/\d")


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder with recordings in any format, and any number of folders in it."""

    root: Path
    kind: str = "folder"
    """One format's name reads nothing but that format."""
    hints: Hints = NO_HINTS
    only: str | None = None
    """The one file of the folder that is meant."""
    wanted: tuple[str, ...] | None = None
    """Leads to read, where a format can leave out some; None for all."""

    def narrowed(self, leads: tuple[str, ...]) -> "Folder":
        """Return the same with fewer leads."""
        return replace(self, wanted=leads)

    @property
    def leads(self) -> None:
        """Only the files can tell."""

    def entries(self) -> Iterator[Entry]:
        """Yield every recording of every file."""
        if self.only:
            path = self.root / self.only
            yield from self._rows(path.stem, path)
            return
        for folder, files in walk.folders(self.root):
            yield from self._of_folder(folder, files)

    def _of_folder(self, folder: str, files: list[str]) -> Iterator[Entry]:
        names = set(files)
        found = [file for file in files if self._is_recording(folder, file, names)]
        stems = Counter(map(_stem, found))
        for file in found:
            if file[-1] == "/":
                yield walk.not_entered(self.root, folder, file)
            else:  # x.edf and x.csv are two recordings
                name = file if stems[_stem(file)] > 1 else _stem(file)
                yield from self._rows(f"{folder}{name}", self.root / folder / file)

    def _is_recording(self, folder: str, file: str, names: set[str]) -> bool:
        if file[-1] == "/":
            return True
        form = formats.by_suffix(file) or formats.unnamed(self.root / folder / file)
        if self.kind == "table" and form is None:
            return file.endswith(".txt")  # which may be anything, unless the user says so
        if form is None or self.kind not in ("folder", form):
            return False
        if form == "mat":
            return f"{file[:-4]}.hea" not in names  # else it is read through its header
        segment = _SEGMENT.fullmatch(file)
        if segment and f"{segment[1]}.hea" in names:
            return not _has_segments(self.root / folder / f"{segment[1]}.hea")
        return True

    def _rows(self, name: str, path: Path) -> Iterator[Entry]:
        """Yield a file's recordings. What cannot be counted is one, refused when it is read."""
        name, count = legible(name), 1
        try:
            reader = formats.reader(self._format(path))
            count = reader.rows(path) if hasattr(reader, "rows") else 1
        except OutageError:
            raise
        except (NerulaError, OSError):
            pass
        for row in range(count):
            yield Entry(f"{name}#{row}" if count > 1 else name, path, row)

    def _format(self, path: Path) -> str:
        return formats.detect(path) if self.kind == "folder" else self.kind

    def read(self, entry: Entry) -> Recording:
        """Read one recording with the reader of its file's format."""
        walk.confine(entry, self.root)
        form = self._format(entry.path)
        said: dict[str, Any] = {"root": self.root}
        if form in ("wfdb", "mat"):  # their headers say everything
            said["leads"] = self.wanted
        else:
            said["hints"] = self.hints
        recording = formats.reader(form).read(entry.path, entry.row, **said)
        return _named(entry, recording)

    def read_some(self, entries: Sequence[Entry]) -> list[Recording | None]:
        """Read WFDB records together; None for all else."""
        if self.kind not in ("folder", "wfdb", "mat"):
            return [None] * len(entries)
        return wfdb_together.read(entries, self.wanted, _named)


def _named(entry: Entry, recording: Recording) -> Recording:
    return recording.but(name=entry.name)


def _stem(file: str) -> str:
    return file.rpartition(".")[0] or file


def _has_segments(header: Path) -> bool:
    """Whether a WFDB header is one of a record in segments, which have headers of their own."""
    arrive(header)
    try:
        with header.open("rb") as file:
            return _RECORD_LINE.match(file.read(4096)) is not None
    except OSError:
        return False
