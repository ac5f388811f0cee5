"""Transfer: finished stores and other results to an address and back, every byte compared.

A store that is needed here is kept in the cache of the user, by the digest of its store.json.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, BinaryIO

from nerula.addresses import Place, bare, is_address, patiently, shown
from nerula.errors import NerulaError, UsageError

if TYPE_CHECKING:
    from rich.progress import Progress

_PIECE = 8 << 20
_INDEX_LIMIT = 64 << 20


def send(store: Path, to: str) -> str:
    """Copy a finished store to an address, store.json last; return its digest."""
    from nerula.store import Store

    opened = Store.open(store)
    opened.check()
    place = vacant(to)
    place.make()
    _send(store, list(_names(lambda name: (store / name).exists())), place)
    return opened.digest


def vacant(to: str) -> Place:
    """The place of an address that holds no store."""
    from nerula.store import INDEX

    place = Place(to)
    if place.has(INDEX):
        raise UsageError(f"{shown(to)} holds a store already.", "Name another place.")
    return place


def bring(store: str, to: Path) -> str:
    """Copy a store from an address to a folder, which appears when all of it is verified."""
    from nerula.store import Store

    place = Place(store)
    to.parent.mkdir(parents=True, exist_ok=True)
    sizes = _sizes(place)
    needed, free = sum(sizes.values()), shutil.disk_usage(to.parent).free
    if needed > free:
        raise NerulaError(
            f"{shown(store)} has {needed:,} bytes, and there is room for {free:,} at {to}."
        )
    partial = to.with_name(f".{to.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        with _progress(f"from {shown(store)}") as bar:
            for name, size in sizes.items():
                patiently(lambda: _received(place, name, partial / name, bar, size), store, name)  # noqa: B023
        opened = Store.open(partial)
        opened.check()
        partial.rename(to)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return opened.digest


def local_store(where: str | Path) -> Path | None:
    """The folder of the store at a path or an address, or None where there is no store.

    The store of an address is brought into the cache, once.
    """
    from nerula.store import INDEX

    if not is_address(where):
        return Path(where) if (Path(where) / INDEX).is_file() else None
    address = str(where)
    place = Place(address)
    return _cached(address, place) if place.has(INDEX) else None


def needed_store(where: str | Path) -> Path:
    """The folder of the store at a path or an address; opening says what is wrong with a path."""
    found = local_store(where)
    if found is None and is_address(where):
        raise NerulaError(f"{shown(where)} is not a finished store.", "Run nerula prepare first.")
    return found or Path(where)


def _cached(address: str, place: Place) -> Path:
    from filelock import FileLock

    from nerula.store import INDEX

    def read() -> bytes:
        with place.reading(INDEX) as file:
            return file.read(_INDEX_LIMIT)

    index = patiently(read, address, INDEX)
    folder = cache() / "stores" / hashlib.blake2b(index, digest_size=16).hexdigest()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):  # ranks of one training all ask
        there = folder.is_dir()
        if not there:
            bring(address, folder)
    _say(f"{shown(address)} {'is in the cache already' if there else 'was brought'}: {folder}")
    return folder


def cache() -> Path:
    """Where this user's programs keep what they can get again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nerula"


@contextmanager
def store_to(where: str | Path) -> Iterator[Path]:
    """Yield the folder to make a store in; one for an address is sent there in the end.

    Until it is there it stays in the cache, so that the same command continues.
    """
    if not is_address(where):
        yield Path(where)
        return
    address = str(where)
    vacant(address)
    key = hashlib.blake2b(address.encode(), digest_size=16).hexdigest()
    folder = cache() / "unfinished" / key
    folder.parent.mkdir(parents=True, exist_ok=True)
    yield folder
    digest = send(folder, address)
    shutil.rmtree(folder)
    _say(f"{shown(address)} holds the store {digest}.")


@contextmanager
def file_to(where: str | Path) -> Iterator[Path]:
    """Yield the path to write a file at; one for an address is sent there, and what is beside."""
    if not is_address(where):
        yield Path(where)
        return
    around, _, name = str(where).partition("?")[0].rpartition("/")
    query = str(where).partition("?")[2]
    with TemporaryDirectory(prefix="nerula-") as folder:
        yield Path(folder) / name
        names = sorted(path.name for path in Path(folder).iterdir())
        place = Place(f"{around}?{query}" if query else around)
        place.make()
        _send(Path(folder), names, place)
    _say(f"{', '.join(names)}: sent to {bare(around)}")


def _send(folder: Path, names: list[str], place: Place) -> None:
    """Write files to a place, and read each back."""
    with _progress(f"to {shown(place.address)}") as bar:
        for name in names:
            patiently(lambda: _sent(folder / name, place, bar), place.address, name)  # noqa: B023


def _sent(path: Path, place: Place, bar: "Progress") -> None:
    size, name = path.stat().st_size, path.name
    with path.open("rb") as here, place.writing(name) as there:
        digest = _poured(here, there, bar, name, size)
    with place.reading(name) as back:
        if _poured(back, None, bar, f"{name}, read back", size) != digest:
            raise _altered(f"{bare(place.address)}/{name}")


def _received(place: Place, name: str, path: Path, bar: "Progress", size: int) -> None:
    with place.reading(name) as there, path.open("wb") as here:
        _poured(there, here, bar, name, size)
    if (got := path.stat().st_size) != size:
        raise ConnectionError(f"the connection ended after {got:,} of {size:,} bytes")


def _names(exists: Any) -> Iterator[str]:
    """The files of a store, the one that makes it a store last; no other file is ever copied."""
    from nerula.store import INDEX, SIGNALS, TABLE, VALIDITY
    from nerula.workplace import QUARANTINE

    yield from (SIGNALS, VALIDITY, TABLE)
    if exists(QUARANTINE):
        yield QUARANTINE
    yield INDEX


def _sizes(place: Place) -> dict[str, int]:
    sizes = {name: place.size(name) for name in _names(place.has)}
    for name, size in sizes.items():
        if size is None:
            raise NerulaError(f"{shown(place.address)} is not a finished store: it has no {name}.")
    return {name: size for name, size in sizes.items() if size is not None}


def _poured(begin: BinaryIO, end: BinaryIO | None, bar: "Progress", name: str, size: int) -> str:
    """Copy all bytes, or only read them where there is no end; return their digest."""
    digest, task = hashlib.blake2b(digest_size=16), bar.add_task(name, total=size)
    while piece := begin.read(_PIECE):
        digest.update(piece)
        if end is not None:
            end.write(piece)
        bar.advance(task, len(piece))
    return digest.hexdigest()


@contextmanager
def _progress(title: str) -> "Iterator[Progress]":
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    console.print(title, markup=False, highlight=False)
    with Progress(*columns, console=console) as bar:
        yield bar


def _say(line: str) -> None:
    from rich.console import Console

    Console(stderr=True, highlight=False).print(line, markup=False, soft_wrap=True)


def _altered(where: str) -> NerulaError:
    return NerulaError(f"{where} is not what was written.", "Delete it and copy again.")
