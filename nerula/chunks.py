"""Chunks: what one process prepares at a time. A fixed count of entries in, one part file out.

The parts, joined in order, are the store; which process made which does not show. A part appears
under its name only when it is whole, so an interrupted run goes on where it stopped.
"""

import hashlib
import io
import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, repeat
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa

from nerula.conform import alike, choose, conform, conform_alike
from nerula.contract import Contract
from nerula.defects import CATALOGUE, Finding
from nerula.errors import NerulaError, explain
from nerula.files import replacing
from nerula.readers.far import ahead
from nerula.readers.source import Entry, Selective, Sociable, Source, legible
from nerula.recording import Recording
from nerula.store import canonical
from nerula.writer import PART_SCHEMA, Rows

ENTRIES = 256
_SEAL = 16
_FEW, _FEW_BYTES = 32, 2 << 20
_BYTES = 32 << 20  # samples that may wait in memory before they are written

Refusal = tuple[str, str, str, str, str, str]
"""One row of quarantine.csv: name, path, code, lead, detail, remedy."""

Result = Recording | Finding
"""A recording, or why it is refused."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive entries of a source."""

    number: int
    entries: tuple[Entry, ...]

    def __str__(self) -> str:
        return f"{self.entries[0].name} to {self.entries[-1].name}"

    @property
    def digest(self) -> str:
        """Tells these entries from all others."""
        names = [(entry.name, entry.row) for entry in self.entries]
        return hashlib.blake2b(canonical(names), digest_size=16).hexdigest()


def chunked(source: Source, limit: int | None = None) -> Iterator[Chunk]:
    """Cut the entries of a source into chunks."""
    entries = islice(source.entries(), limit)
    number = 0
    while held := tuple(islice(entries, ENTRIES)):
        yield Chunk(number, held)
        number += 1


@dataclass(frozen=True, slots=True)
class Preparation:
    """Prepares chunks of one source under one contract; sent once to every process."""

    source: Source
    contract: Contract
    folder: Path
    """Where the parts go."""

    def path(self, number: int) -> Path:
        """Where the part of chunk `number` lies."""
        return self.folder / f"{number:08d}.arrow"

    def is_done(self, chunk: Chunk) -> bool:
        """Whether an earlier run left the part of exactly these entries."""
        path = self.path(chunk.number)
        if not path.exists() or not _is_whole(path):
            return False
        with pa.ipc.open_stream(path) as part:
            return bool(part.schema.metadata[b"entries"].decode() == chunk.digest)

    def __call__(self, chunk: Chunk) -> tuple[int, int]:
        """Prepare one chunk; return how many of its entries were kept and refused."""
        with replacing(self.path(chunk.number), lasting=False) as file:
            return self._write(chunk, file)

    def made(self, chunk: Chunk) -> bytes:
        """Prepare one chunk; return its part instead of leaving it in the folder."""
        part = io.BytesIO()
        self._write(chunk, part)
        return part.getvalue()

    def keep(self, chunk: Chunk, part: bytes) -> None:
        """Put down a part that was made elsewhere."""
        with replacing(self.path(chunk.number), lasting=False) as file:
            file.write(part)

    def _write(self, chunk: Chunk, file: BinaryIO) -> tuple[int, int]:
        rows, kept = Rows(self.contract), 0
        refused: list[Refusal] = []
        with ahead(self.source, chunk.entries), self._sealing(chunk, file) as part:
            for entry, result, rate in self.results(chunk.entries):
                if isinstance(result, Finding):
                    refused.append(refusal(self.source, entry, result))
                    continue
                rows.add(result, source=_below(self.source, entry.path), source_rate=rate)
                kept += 1
                if rows.size > _BYTES:
                    part.write_batch(rows.batch())
            part.write_batch(rows.batch(), custom_metadata={"refused": json.dumps(refused)})
        return kept, len(refused)

    def results(self, entries: Iterable[Entry]) -> Iterator[tuple[Entry, Result, float]]:
        """Yield each entry with its recording, or why it is refused, and its own rate.

        Those of one shape go through each step together: shared calls, code and tables that are
        still in the processor's caches. The results are the same as one by one.
        """
        source, contract = self.source, self.contract
        if isinstance(source, Selective):
            source = source.narrowed(contract.leads)
        for few in _few(source, entries):
            done = [_next(entry, choose, result, contract) for entry, result in few]
            places = [place for place, one in enumerate(done) if isinstance(one, Recording)]
            for group in alike([cast(Recording, done[place]) for place in places]):
                self._conform(few, done, [places[number] for number in group])
            for (entry, read), result in zip(few, done, strict=True):
                yield entry, result, read.rate if isinstance(read, Recording) else 0.0

    def _conform(
        self, few: list[tuple[Entry, Result]], done: list[Result], places: list[int]
    ) -> None:
        """Replace what is `done` so far at some places by what it comes to."""
        chosen = [cast(Recording, done[place]) for place in places]
        try:
            shaped: list[Result] = [*conform_alike(chosen, self.contract)]
        except Exception:  # of one of them: the others are none the worse for it
            shaped = [
                _next(few[place][0], conform, result, self.contract)
                for place, result in zip(places, chosen, strict=True)
            ]
        for place, result in zip(places, shaped, strict=True):
            done[place] = result

    @contextmanager
    def _sealing(self, chunk: Chunk, file: BinaryIO) -> Iterator[pa.RecordBatchStreamWriter]:
        schema = PART_SCHEMA.with_metadata({"entries": chunk.digest})
        sealed = _Sealed(file)
        with pa.ipc.new_stream(sealed, schema) as part:
            yield part
        file.write(sealed.seal)


@dataclass(frozen=True, slots=True)
class Afar:
    """Prepares chunks on machines that may not see the folder where the parts go."""

    preparation: Preparation
    sign: str
    """Name of a file in that folder which no other folder has."""

    def __call__(self, chunk: Chunk) -> bytes | None:
        """Leave a chunk's part in the folder where it can be seen from here, or return it."""
        if (self.preparation.folder / self.sign).exists():
            self.preparation(chunk)
            return None
        return self.preparation.made(chunk)


class _Sealed(io.RawIOBase):
    """Passes on what is written and sums it up, for `_is_whole` to compare.

    So nobody has to wait for the disk after each part: one that a power cut damaged is made again.
    Against accidents a CRC will do, at a quarter of a digest's time.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._sum = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._sum = zlib.crc32(data, self._sum)
        return self._file.write(data)

    @property
    def seal(self) -> bytes:
        """The sum of what was written so far."""
        return _seal(self._sum)


def _seal(crc: int) -> bytes:
    return f"{crc:0{_SEAL}x}".encode()


def _is_whole(path: Path) -> bool:
    """Whether a part ends with the sum of what comes before."""
    crc, left = 0, path.stat().st_size - _SEAL
    with path.open("rb") as file:
        while left > 0 and (piece := file.read(min(left, 1 << 20))):
            crc = zlib.crc32(piece, crc)
            left -= len(piece)
        return file.read() == _seal(crc)


def read_part(path: Path) -> Iterator[tuple[pa.RecordBatch, list[Refusal]]]:
    """Yield the batches of a part, each with the entries refused up to there."""
    with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as part:
        try:
            while True:
                batch, metadata = part.read_next_batch_with_custom_metadata()
                refused = json.loads(metadata[b"refused"]) if metadata else []
                yield batch, refused
        except StopIteration:
            return


def _few(source: Source, entries: Iterable[Entry]) -> Iterator[list[tuple[Entry, Result]]]:
    """Read a few entries at a time: as many as fit into a processor's cache.

    How many that are is not known before some are read.
    """
    waiting, count = iter(entries), 1
    held: list[tuple[Entry, Result]] = []
    while asked := list(islice(waiting, count)):
        size = largest = 0
        for entry, result in _read(source, asked):
            held.append((entry, result))
            if isinstance(result, Recording):
                size, largest = size + result.x.nbytes, max(largest, result.x.nbytes)
            if size > 2 * _FEW_BYTES:  # much longer ones than before
                yield held
                held, size = [], 0
        yield held
        held = []
        count = min(max(_FEW_BYTES // largest, 1), _FEW) if largest else 1


def _read(source: Source, entries: Sequence[Entry]) -> Iterator[tuple[Entry, Result]]:
    """Read together what can be, and everything else by itself."""
    together: Iterable[Recording | None] = repeat(None)
    if isinstance(source, Sociable):
        together = source.read_some(entries)
    for entry, recording in zip(entries, together, strict=False):
        try:
            yield entry, recording or source.read(entry)
        except Exception as error:
            yield entry, explain(error, entry.path)


def _next(
    entry: Entry,
    step: Callable[[Recording, Contract], Recording],
    result: Result,
    contract: Contract,
) -> Result:
    """Take the next step with a recording; what was refused stays so."""
    if isinstance(result, Finding):
        return result
    try:
        return step(result, contract)
    except Exception as error:  # one bad file never ends a run, not even through our own mistake
        return explain(error, entry.path)


def read_entry(
    source: Source, entry: Entry, contract: Contract
) -> tuple[Recording, float] | Finding:
    """Read and conform one entry: the recording and its own rate, or why it is refused."""
    try:
        recording = source.read(entry)
        return conform(recording, contract), recording.rate
    except Exception as error:  # one bad file never ends a run, not even through our own mistake
        return explain(error, entry.path)


def refusal(source: Source, entry: Entry, found: Finding) -> Refusal:
    """Make the row of quarantine.csv for an entry that was refused."""
    detail = legible(found.detail.replace(f"{source.root}/", ""))
    path = _below(source, found.path or entry.path)
    name, path, lead, detail = map(_no_formula, (entry.name, path, found.lead, detail))
    return name, path, found.code, lead, detail, CATALOGUE[found.code].remedy


def _no_formula(cell: str) -> str:
    """What a file says, such as `=cmd|...`, must stay text where a spreadsheet opens it."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@")) else cell


def _below(source: Source, path: Path) -> str:
    """The path as seen from the source: the same wherever the source lies."""
    inside = str(path).removeprefix(f"{source.root}{os.sep}")
    return legible(path.name if inside == str(path) else inside.replace(os.sep, "/"))


def first_readable(source: Source) -> Recording:
    """Return the first recording that can be read, or raise what was wrong with the first."""
    first: NerulaError | OSError | None = None
    for entry in source.entries():
        try:
            return source.read(entry)
        except (NerulaError, OSError) as error:
            explain(error, entry.path)
            first = first or error
    raise NerulaError(f"No recording of {source.root} can be read. The first: {first}")


def leads_of(source: Source, chunk: Chunk) -> set[str]:
    """Collect which leads the readable entries of a chunk have."""
    leads: set[str] = set()
    with ahead(source, chunk.entries):
        for entry in chunk.entries:
            try:
                leads.update(source.read(entry).leads)
            except Exception as error:
                explain(error, entry.path)  # refused, with its reason, when it is prepared
    return leads
