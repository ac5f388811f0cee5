"""Dropped: files that a person puts onto the page, kept in a private folder while it is open.

A drop is one request: its files one after the other, their names and sizes in the address. Sizes
are judged before a byte is read, names lose whatever is no name, and the strict readers do the
rest. Only so many drops are kept; older ones are forgotten.
"""

import os
import re
import shutil
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from nerula import quality
from nerula.errors import DefectError, NerulaError, UsageError, explain
from nerula.readers import open_source
from nerula.readers.source import NO_HINTS, Entry, Hints, Source
from nerula.recording import Recording
from nerula.viewer.shelf import Item, Stretch

LARGEST = 64 << 20
"""Bytes of one drop, unless the user allows more."""
FILES, LISTED, KEPT = 64, 500, 8
"""Files of one drop, recordings of it that are listed, and drops that are kept."""
_HELD = 1 << 26
"""Samples of recordings that stay in memory."""
_ODD = re.compile(r"[^\w .()+,=@#-]+")
_LONGEST = 150


class TooLargeError(UsageError):
    """More bytes than a drop may have."""


@dataclass
class Drop:
    """One drop: its folder, and the recordings that its files hold."""

    folder: Path
    source: Source
    entries: list[Entry]
    total: int


@dataclass
class Dropped:
    """All drops of one viewer, below its private folder."""

    folder: Path
    limit: int = LARGEST
    _drops: OrderedDict[str, Drop] = field(default_factory=OrderedDict)
    _recordings: OrderedDict[str, Recording] = field(default_factory=OrderedDict)
    _count: int = 0
    _lock: Lock = field(default_factory=Lock)

    def admit(self, names: Sequence[str], sizes: Sequence[int], length: int) -> list[str]:
        """The names under which files will be written, or a refusal, before anything is read."""
        if not 0 < len(names) == len(sizes) <= FILES:
            raise UsageError(f"{len(names)} files cannot be opened.", f"Drop 1 to {FILES}.")
        if min(sizes) < 0 or sum(sizes) != length:
            raise UsageError("The files are not as large as was said.", "Drop them again.")
        if length > self.limit:
            raise TooLargeError(
                f"{length / 1e6:,.1f} MB is more than the {self.limit / 1e6:,.1f} MB that fit.",
                "Start nerula view with a larger --limit, or prepare a store of it.",
            )
        plain = [plain_name(name) for name in names]
        if len({name.lower() for name in plain}) < len(plain):
            raise UsageError("Two of the files have the same name.", "Drop one of them.")
        return plain

    async def keep(
        self, names: Sequence[str], sizes: Sequence[int], body: AsyncIterator[bytes]
    ) -> Path:
        """Write a body as files into a new private folder, a piece at a time."""
        with self._lock:
            self._count += 1
            folder = self.folder / f"{self._count}"
        folder.mkdir(mode=0o700)
        try:
            await _write(folder, names, sizes, body)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return folder

    def open(self, folder: Path, hints: Hints = NO_HINTS) -> tuple[list[dict[str, str]], int]:
        """Recognise what a folder holds: keys and names of its recordings, and their number.

        Where it holds one alone that cannot be read, nothing is kept.
        """
        try:
            drop = _recognised(folder, hints)
            if drop.total == 1:
                self._read(folder.name, drop, 0)
        except Exception as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise _told(error, folder) from error
        with self._lock:
            self._drops[folder.name] = drop
            spare = len(self._drops) - KEPT
            old = [self._drops.popitem(last=False)[1] for _ in range(spare)]
        for one in old:
            shutil.rmtree(one.folder, ignore_errors=True)
        keys = [f"{folder.name}.{i}" for i in range(len(drop.entries))]
        named = zip(keys, drop.entries, strict=True)
        return [{"key": key, "name": entry.name} for key, entry in named], drop.total

    def item(self, key: str) -> Item:
        """One recording for the shelf, by the key that `open` has given it."""
        name, _, number = key.partition(".")
        with self._lock:
            drop = self._drops.get(name)
        if drop is None or not number.isdecimal() or int(number) >= len(drop.entries):
            raise UsageError("This file is no longer open.", "Drop it again.")
        try:
            recording = self._read(name, drop, int(number))
        except Exception as error:
            raise _told(error, drop.folder) from error

        def stretch(first: int, count: int) -> Stretch:
            chosen = slice(first, first + count)
            return recording.x[:, chosen], recording.valid[:, chosen]

        return Item(
            key=key,
            name=recording.name,
            leads=recording.leads,
            rate=recording.rate,
            length=recording.x.shape[1],
            unit=recording.unit,
            facts=_facts(key, recording),
            stretch=stretch,
            findings=recording.findings,
        )

    def _read(self, name: str, drop: Drop, number: int) -> Recording:
        """Read a recording, or take it from those that were read last."""
        key = f"{name}.{number}"
        with self._lock:
            if (held := self._recordings.get(key)) is not None:
                self._recordings.move_to_end(key)
                return held
        recording = quality.mark(drop.source.read(drop.entries[number]))
        with self._lock:
            self._recordings[key] = recording
            while len(self._recordings) > 1 and self._samples() > _HELD:
                self._recordings.popitem(last=False)
        return recording

    def _samples(self) -> int:
        return sum(one.x.size for one in self._recordings.values())


def plain_name(name: str) -> str:
    """The last part of a name, without what could mean a path, a hidden file or a command."""
    last = re.split(r"[/\\]", name)[-1]
    plain = _ODD.sub("_", last).strip(" .")
    stem, dot, ending = plain.rpartition(".")
    plain = f"{stem[:_LONGEST]}{dot}{ending[:20]}" if stem else plain[:_LONGEST]
    if not plain.strip("_"):
        raise UsageError(f"{name!r} is no name of a file.", "Rename it.")
    return plain


async def _write(
    folder: Path, names: Sequence[str], sizes: Sequence[int], body: AsyncIterator[bytes]
) -> None:
    """Cut a body into files; refuse one that is shorter or longer than was said."""
    pieces = aiter(body)
    rest = memoryview(b"")
    for name, size in zip(names, sizes, strict=True):
        left = size
        with (folder / name).open("xb") as file:
            while left:
                while not rest:
                    if (piece := await anext(pieces, None)) is None:
                        raise UsageError("The files ended too early.", "Drop them again.")
                    rest = memoryview(piece)
                written = file.write(rest[:left])
                rest, left = rest[written:], left - written
    if rest:
        raise UsageError("More came than was said.", "Drop the files again.")


def _recognised(folder: Path, hints: Hints) -> Drop:
    """The recordings of a folder, with the readers that `nerula check` uses."""
    files = sorted(folder.iterdir())
    place = files[0] if len(files) == 1 else folder
    source = open_source(place, "table" if place.suffix.lower() == ".txt" else None, hints)
    entries = list(source.entries())
    if not entries:
        held = ", ".join(file.name for file in files[:5])
        raise UsageError(
            f"No recording was recognised in {held}.",
            "A WFDB record needs its .hea and its .dat, dropped together.",
        )
    return Drop(folder, source, entries[:LISTED], len(entries))


def _facts(key: str, recording: Recording) -> dict[str, Any]:
    """What the page says of it, like what a store says of its own."""
    return {
        "key": key,
        "name": recording.name,
        "subject": recording.subject,
        "age": recording.age,
        "sex": recording.sex,
        "labels": list(recording.labels),
        "fold": recording.fold,
        "seconds": round(recording.duration, 3),
    }


def _told(error: Exception, folder: Path) -> NerulaError:
    """The error as a sentence of the page: no folder of ours, and no option of a command line."""
    if not isinstance(error, NerulaError):
        error = DefectError(explain(error, folder))
    message, remedy = (
        text.replace(f"{folder}{os.sep}", "").replace(str(folder), "the dropped files")
        for text in (error.message, error.remedy)
    )
    if isinstance(error, DefectError) and error.finding.code in ("rate-missing", "unit-unknown"):
        message = re.sub(r"; give --source-\w+", "", message)
        remedy = "Say it in 'If the file does not say', and drop the file again."
    return NerulaError(message, remedy)
