"""Far: a source behind an address, read by the reader of its kind from a mirror of its files.

Paths in messages, tables and findings are those below the address, whichever process read what.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from nerula.errors import UsageError
from nerula.readers.mirror import Mirror
from nerula.readers.source import Entry, Selective, Source
from nerula.recording import Recording


@runtime_checkable
class Distant(Protocol):
    """A source whose files come faster when it is known which ones are wanted next."""

    def ahead(self, entries: Iterable[Entry]) -> AbstractContextManager[None]:
        """While the block runs, bring the files of these entries."""
        ...


def ahead(source: Source, entries: Iterable[Entry]) -> AbstractContextManager[None]:
    """While the block runs, a source that lies far away brings the files of these entries."""
    return source.ahead(entries) if isinstance(source, Distant) else nullcontext()


class Far:
    """A source that reads from a mirror. In another process it has a mirror of its own."""

    def __init__(self, mirror: Mirror, near: Source) -> None:
        self._mirror, self._near = mirror, near
        self.kind, self.leads, self.root = near.kind, near.leads, mirror.named(near.root)

    def __reduce__(self) -> tuple[Any, ...]:
        if self._mirror.address.startswith("memory:"):
            raise UsageError(f"Only this process sees {self.root}.", "Use --jobs 1.")
        return _elsewhere, (self._mirror.address, self._near, self._mirror.top)

    def entries(self) -> Iterator[Entry]:
        """Yield every entry; the names are listed already."""
        for entry in self._near.entries():
            yield replace(entry, path=self._mirror.named(entry.path))
            self._mirror.trim()

    def read(self, entry: Entry) -> Recording:
        """Read one entry, whose files come now where they are not here yet."""
        self._mirror.trim()
        with self._mirror.telling():
            recording = self._near.read(self._here(entry))
        path = recording.path and self._mirror.named(recording.path)
        findings = tuple(map(self._mirror.told, recording.findings))
        return replace(recording, path=path, findings=findings)

    def ahead(self, entries: Iterable[Entry]) -> AbstractContextManager[None]:
        """While the block runs, bring the files of these entries."""
        return self._mirror.ahead(map(self._here, entries))

    def narrowed(self, leads: tuple[str, ...]) -> "Far":
        """Return a source that need not yield other leads, where the reader can leave out some."""
        near = self._near
        return Far(self._mirror, near.narrowed(leads)) if isinstance(near, Selective) else self

    def _here(self, entry: Entry) -> Entry:
        return replace(entry, path=self._mirror.here(entry.path))


def open_far(address: str, open_near: Callable[[Path], Source]) -> Far:
    """Return the source at an address, opened by what opens it in a folder."""
    mirror = Mirror(address)
    mirror.list()
    with mirror.telling():
        return Far(mirror, open_near(mirror.path))


def _elsewhere(address: str, near: Any, top: Path) -> Far:
    """The same source in another process, whose mirror is somewhere else."""
    mirror = Mirror(address)
    moved = {
        field.name: mirror.top / value.relative_to(top)
        for field in fields(near)
        if isinstance(value := getattr(near, field.name), Path)
    }
    return Far(mirror, replace(near, **moved))
