"""Source: where recordings come from, one entry at a time and in a fixed order."""

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

from nerula.errors import UsageError, unknown
from nerula.readers.names import millivolts_per
from nerula.recording import Recording

UNITS = ("V", "mV", "uV", "nV")
"""As one writes them; files have more ways."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One recording of a source that has not been read yet. Cheap to make and to send."""

    name: str
    """Unique in the source and stable: the path below its root, without the ending."""
    path: Path
    row: int = 0
    """Which recording of the file, where one file holds many."""

    def __reduce__(self) -> tuple[type["Entry"], tuple[str, Path, int]]:
        return type(self), (self.name, self.path, self.row)  # twice as fast as the default


def legible(name: str) -> str:
    """Return a name of the file system as text that every file and terminal can hold.

    Names are bytes: what is no UTF-8 is written as `\\xfc`, as are line breaks and whatever else
    steers a terminal or turns the direction of writing.
    """
    if name.isprintable():
        return name
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )


@dataclass(frozen=True, slots=True)
class Hints:
    """What the user knows and a file cannot say; a file's own statement always wins."""

    rate: float | None = None
    """Hz (`--source-rate`)."""
    unit: str | None = None
    """mV, uV, ... (`--source-unit`)."""
    leads: tuple[str, ...] | None = None
    """Names of the signals, in the file's order (`--source-leads`)."""

    def __post_init__(self) -> None:
        """Refuse what no file can be read with, before any is opened."""
        if self.rate is not None and not 0 < self.rate < math.inf:
            raise UsageError(f"A rate of {self.rate:g} Hz cannot be meant.", "Give more than 0.")
        if self.unit is not None and millivolts_per(self.unit) is None:
            raise unknown("unit", self.unit, UNITS)


NO_HINTS = Hints()


class Source(Protocol):
    """A folder or file with recordings. Instances are small and can be sent to other processes."""

    @property
    def kind(self) -> str:
        """What it was recognised as."""
        ...

    @property
    def root(self) -> Path:
        """The folder that no file of the source lies outside of."""
        ...

    @property
    def leads(self) -> tuple[str, ...] | None:
        """The leads that the source is known to have, or None where only its files can tell."""
        ...

    def entries(self) -> Iterator[Entry]:
        """Yield every entry in an order that depends on nothing but the folder's content."""
        ...

    def read(self, entry: Entry) -> Recording:
        """Read one entry, or raise `NerulaError`."""
        ...


@runtime_checkable
class Sociable(Protocol):
    """A source that reads several entries in less time than one by one."""

    def read_some(self, entries: Sequence[Entry]) -> list[Recording | None]:
        """Read what can be read together; None for what is to be read alone, or refused."""
        ...


@runtime_checkable
class Selective(Protocol):
    """A source that can leave out leads which nobody wants, once it has verified them."""

    def narrowed(self, leads: tuple[str, ...]) -> Self:
        """Return a source that need not yield other leads."""
        ...
