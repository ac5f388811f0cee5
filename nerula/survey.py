"""What `nerula check` looks at: every recording of a source or a store, one chunk at a time.

Processes read and inspect chunks; only findings, a digest and a few facts come back, in the order
of the source, whichever process was faster.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from nerula import quality
from nerula.addresses import at, is_address
from nerula.chunks import Chunk, chunked
from nerula.defects import CATALOGUE, Finding
from nerula.engines import Engine, in_order
from nerula.errors import NerulaError, UsageError, explain
from nerula.readers import open_source
from nerula.readers.far import ahead
from nerula.readers.source import Entry, Hints, Source
from nerula.recording import Recording
from nerula.store import Store
from nerula.transfer import local_store

_ROWS = 4096


class Seen(NamedTuple):
    """What is known of one recording after it was looked at."""

    name: str
    path: Path
    findings: tuple[Finding, ...]
    digest: str = ""
    subject: str | None = None
    fold: str | None = None


class Part(Protocol):
    """What one path of the command line holds."""

    @property
    def path(self) -> Path:
        """The path as it was given."""
        ...

    @property
    def kind(self) -> str:
        """What it was recognised as."""
        ...

    def count(self, limit: int | None) -> int:
        """How many recordings there are."""
        ...

    def seen(self, engine: Engine, limit: int | None) -> Iterator[list[Seen]]:
        """Look at every recording; some at a time."""
        ...


def look(where: str | Path, kind: str | None, hints: Hints, leads: tuple[str, ...] | None) -> Part:
    """Return what lies at a path or an address; what cannot be opened is one finding."""
    if kind is None and (store := local_store(where)):
        return StorePart(store)
    path = at(str(where)) if is_address(where) else Path(where)
    try:
        return SourcePart(path, Inspection(open_source(where, kind, hints), leads))
    except UsageError:
        raise
    except (NerulaError, OSError) as error:
        return BrokenPart(path, explain(error, path))


@dataclass(frozen=True, slots=True)
class BrokenPart:
    """A path that cannot be opened."""

    path: Path
    finding: Finding
    kind: str = "unknown"

    def count(self, limit: int | None) -> int:  # noqa: ARG002
        """No recording."""
        return 0

    def seen(self, engine: Engine, limit: int | None) -> Iterator[list[Seen]]:  # noqa: ARG002
        """The reason."""
        yield [Seen("", self.path, (self.finding,))]


# --- sources -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Inspection:
    """Reads and inspects chunks of one source; sent once to every process."""

    source: Source
    leads: tuple[str, ...] | None

    def __call__(self, chunk: Chunk) -> list[Seen]:
        """Look at one chunk."""
        with ahead(self.source, chunk.entries):
            return [self.inspect(entry) for entry in chunk.entries]

    def inspect(self, entry: Entry) -> Seen:
        """Look at one entry."""
        try:
            recording = self.source.read(entry)
            findings = self._of_leads(recording, tuple(_findings(recording)))
            digest = quality.digest(recording)
        except Exception as error:  # one bad file never ends a run, not even our own mistake
            return Seen(entry.name, entry.path, (explain(error, entry.path),))
        return Seen(entry.name, entry.path, findings, digest, recording.subject, recording.fold)

    def _of_leads(
        self, recording: Recording, findings: tuple[Finding, ...]
    ) -> tuple[Finding, ...]:
        """Keep what concerns the leads that matter, and say which of them are not there."""
        if self.leads is None:
            return findings
        kept = [found for found in findings if not found.lead or found.lead in self.leads]
        missing = [lead for lead in self.leads if lead not in recording.leads]
        held = f"it has {', '.join(recording.leads)}"
        lacks = [Finding("lead-missing", recording.path, held, lead) for lead in missing]
        return (*kept, *lacks)


def _findings(recording: Recording) -> Iterator[Finding]:
    yield from recording.findings
    yield from quality.inspect(recording)
    if recording.removed:
        yield Finding("identifier-removed", recording.path, ", ".join(recording.removed))


@dataclass(frozen=True, slots=True)
class SourcePart:
    """Recordings as they were published or recorded."""

    path: Path
    inspection: Inspection

    @property
    def kind(self) -> str:
        """The data set or format."""
        return self.inspection.source.kind

    def count(self, limit: int | None) -> int:
        """Count the entries, which reads no file."""
        return sum(1 for _ in islice(self.inspection.source.entries(), limit))

    def seen(self, engine: Engine, limit: int | None) -> Iterator[list[Seen]]:
        """Look at every recording, in the order of the source."""
        chunks = chunked(self.inspection.source, limit)
        empty = True
        for _, seen in in_order(engine.spread(self.inspection, chunks)):
            empty = False
            yield seen
        if empty:
            yield [nothing("source-empty", self.path, f"looked for {self.kind}")]


# --- stores --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StorePart:
    """A prepared store: its bytes, and what its table says of every recording."""

    path: Path
    kind: str = "store"

    def count(self, limit: int | None) -> int:
        """Count the rows."""
        try:
            count = len(Store.open(self.path))
        except NerulaError:
            return 0
        return count if limit is None else min(count, limit)

    def seen(self, engine: Engine, limit: int | None) -> Iterator[list[Seen]]:  # noqa: ARG002
        """Compare every byte with the digests, then go through the rows."""
        try:
            store = Store.open(self.path)
            count = self.count(limit)
            for start in range(0, count, _ROWS):
                yield self._rows(store, start, min(_ROWS, count - start))
            store.check()
        except (NerulaError, OSError) as error:
            yield [nothing("store-damaged", self.path, str(error))]

    def _rows(self, store: Store, start: int, count: int) -> list[Seen]:
        columns = ("name", "subject", "fold", "digest", "valid", "findings", "removed")
        rows = store.table.select(columns).slice(start, count).to_pylist()
        return [
            Seen(
                row["name"],
                self.path,
                tuple(_told(row, self.path)),
                row["digest"] if row["valid"] else "",
                row["subject"],
                row["fold"],
            )
            for row in rows
        ]


def _told(row: dict[str, Any], path: Path) -> Iterator[Finding]:
    """Yield what was found when the recording was prepared: codes, some with a lead."""
    for text in row["findings"]:
        code, _, lead = text.partition(" ")
        if code in CATALOGUE:
            yield Finding(code, path, "when it was prepared", lead)
    if not row["valid"]:
        yield Finding("signal-all-invalid", path)
    if row["removed"]:
        yield Finding("identifier-removed", path, ", ".join(row["removed"]))


def nothing(code: str, path: Path, detail: str) -> Seen:
    """Return what there is to say of a path itself."""
    return Seen("", path, (Finding(code, path, detail),))
