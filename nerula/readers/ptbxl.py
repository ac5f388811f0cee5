"""PTB-XL: 21,799 clinical 12-lead ECGs of 10 s, at 100 and 500 Hz, with ten folds by subject.

Wagner et al. 2020, https://doi.org/10.13026/kfzx-aw45. `ptbxl_database.csv` beside `records100/`
and `records500/`; `ptbxl_table` says how it is read.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from nerula.defects import Finding
from nerula.errors import DefectError, UsageError, refuse
from nerula.readers import ptbxl_table, walk, wfdb, wfdb_together
from nerula.readers.names import STANDARD
from nerula.readers.ptbxl_table import Row
from nerula.readers.source import Entry
from nerula.recording import Recording

KINDS = ("ptbxl", "ptbxl100", "ptbxl500")
TABLE = "ptbxl_database.csv"
_FOLDERS = {100: "records100", 500: "records500"}
_COLUMNS = {100: "filename_lr", 500: "filename_hr"}


@dataclass(frozen=True)
class PTBXL:
    """One sampling rate of PTB-XL. The names are those of the table's file name columns."""

    root: Path
    rate: int = 100
    wanted: tuple[str, ...] | None = None
    """Leads to read; None for all."""
    leads: ClassVar[tuple[str, ...]] = STANDARD

    def __reduce__(self) -> tuple[type["PTBXL"], tuple[Any, ...]]:
        return type(self), (self.root, self.rate, self.wanted)  # without the table

    def narrowed(self, leads: tuple[str, ...]) -> "PTBXL":
        """Return the same with fewer leads."""
        fewer = replace(self, wanted=leads)
        vars(fewer)["table"] = self.table
        return fewer

    @property
    def kind(self) -> str:
        """`ptbxl100` or `ptbxl500`."""
        return f"ptbxl{self.rate}"

    @cached_property
    def table(self) -> dict[str, Row]:
        """The rows by the name of their recording."""
        return ptbxl_table.rows(self._table_path, _COLUMNS[self.rate])

    @cached_property
    def _table_path(self) -> Path:
        return self.root / TABLE

    def entries(self) -> Iterator[Entry]:
        """Yield what is in the folder, then what only the table knows."""
        orphans = dict.fromkeys(self.table)
        folder = _FOLDERS[self.rate]
        for entry in walk.headers(self.root / folder):
            name = f"{folder}/{entry.name}"
            orphans.pop(name, None)
            yield Entry(name, entry.path)
        for name in sorted(orphans):
            yield Entry(name, self.root / f"{name}{walk.HEADER}")

    def read(self, entry: Entry) -> Recording:
        """Read one recording and what the table says of it."""
        walk.confine(entry, self.root)
        try:
            recording = wfdb.read(entry.path, root=self.root, leads=self.wanted)
        except DefectError as error:
            if entry.name in self.table and error.finding == Finding("file-missing", entry.path):
                raise refuse("table-orphan", self._table_path, entry.name) from error
            raise
        return self._told(entry, recording)

    def read_some(self, entries: Sequence[Entry]) -> list[Recording | None]:
        """Read what can be read together; None for the others."""
        return wfdb_together.read(entries, self.wanted, self._told)

    def _told(self, entry: Entry, recording: Recording) -> Recording:
        """Add what the table says of a recording."""
        row = self.table.get(entry.name)
        if row is None:
            unknown = Finding("table-row-missing", entry.path, TABLE)
            return recording.but(name=entry.name, findings=(*recording.findings, unknown))
        facts = ptbxl_table.understand(row, self._table_path, entry.path)
        return recording.but(
            name=entry.name,
            subject=facts.subject,
            age=facts.age,
            sex=facts.sex,
            labels=facts.labels,
            fold=facts.fold,
            findings=(*recording.findings, *facts.findings),
        )


def find(path: Path, kind: str | None = None) -> PTBXL | None:
    """Return PTB-XL where `path` is its folder or one of the two folders of signals in it."""
    rates = {f"ptbxl{rate}": rate for rate in _FOLDERS}
    inside = {folder: rate for rate, folder in _FOLDERS.items()}.get(path.name)
    root = path.parent if inside and (path.parent / TABLE).is_file() else path
    if not (root / TABLE).is_file():
        return None
    held = [rate for rate, folder in _FOLDERS.items() if (root / folder).is_dir()]
    asked = rates.get(kind or "") or inside
    if not held or (asked and asked not in held):
        missing = _FOLDERS[asked] if asked else "records100 and no records500"
        raise UsageError(f"{root} is PTB-XL, but has no folder {missing}.", "Download it first.")
    source = PTBXL(root, asked or held[0])
    source.table  # noqa: B018 - a table that cannot be read is said before the run starts
    return source
