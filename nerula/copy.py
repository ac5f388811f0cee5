"""`nerula copy`: a finished store to an object store, or from there to a local disk, verified."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from nerula.errors import NerulaError, UsageError

if TYPE_CHECKING:
    from rich.progress import Progress

_PIECE = 8 << 20


def copy(store: str, to: str) -> int:
    """Copy a finished store to or from an object store, and compare every byte.

    Training maps a store into memory, so it has to lie on a disk: copy it to the machine's own.
    A copy has its name, or its store.json, only once everything else is there.

    Parameters
    ----------
    store
        The store: a folder, or an address such as s3://bucket/store or gs://bucket/store.
    to
        Where to: an address, or a folder that is not there yet.
    """
    from rich.console import Console

    digest = _up(store, to) if "://" in to else _down(store, Path(to))
    console = Console(highlight=False)
    console.print(f"{to} holds the store {digest}.", markup=False, soft_wrap=True)
    following = f"nerula copy {to} STORE" if "://" in to else f"nerula pretrain nerula {to} RUN"
    console.print(f"Next: {following}", markup=False, soft_wrap=True)
    return 0


def _up(store: str, to: str) -> str:
    """Copy a local store to an address."""
    from nerula.store import INDEX, Store

    if "://" in store:
        raise UsageError(f"{store} and {to} are both addresses.", "Copy to a folder in between.")
    opened = Store.open(store)
    opened.check()
    place = _Place(to)
    if place.has(INDEX):
        raise UsageError(f"{to} holds a store already.", "Name another place.")
    place.make()
    with _progress(f"to {to}") as bar:
        for name in _names(lambda name: (opened.path / name).exists()):
            size = (opened.path / name).stat().st_size
            with (opened.path / name).open("rb") as here, place.writing(name) as there:
                sent = _poured(here, there, bar, name, size)
            with place.reading(name) as back:
                if _poured(back, None, bar, f"{name}, read back", size) != sent:
                    raise _altered(f"{to}/{name}")
    return opened.digest


def _down(store: str, to: Path) -> str:
    """Copy a store from an address to a folder, which appears when all of it is verified."""
    from nerula.store import Store

    if to.exists():
        raise UsageError(f"{to} is there already.", "Name a new folder.")
    place = _Place(store)
    to.parent.mkdir(parents=True, exist_ok=True)
    names = list(_names(place.has))
    needed, free = sum(map(place.size, names)), shutil.disk_usage(to.parent).free
    if needed > free:
        raise NerulaError(f"{store} has {needed:,} bytes, and there is room for {free:,} at {to}.")
    partial = to.with_name(f".{to.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        with _progress(f"from {store}") as bar:
            for name in names:
                with place.reading(name) as there, (partial / name).open("wb") as here:
                    _poured(there, here, bar, name, place.size(name))
        opened = Store.open(partial)
        opened.check()
        partial.rename(to)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return opened.digest


def _names(exists: Any) -> Iterator[str]:
    """The files of a store, the one that makes it a store last; no other file is ever copied."""
    from nerula.store import INDEX, SIGNALS, TABLE, VALIDITY
    from nerula.workplace import QUARANTINE

    yield from (SIGNALS, VALIDITY, TABLE)
    if exists(QUARANTINE):
        yield QUARANTINE
    yield INDEX


class _Place:
    """A folder behind an address, by pyarrow's own file systems or else those of fsspec."""

    def __init__(self, address: str) -> None:
        from pyarrow import ArrowInvalid, fs

        self.address = address
        try:
            where = address if "://" in address else str(Path(address).absolute())
            self._files, self._root = fs.FileSystem.from_uri(where)
        except ArrowInvalid:
            self._files, self._root = _by_fsspec(address)

    def has(self, name: str) -> bool:
        """Whether there is a file of that name."""
        return bool(self._info(name).is_file)

    def size(self, name: str) -> int:
        """Bytes of a file."""
        info = self._info(name)
        if not info.is_file:
            raise NerulaError(f"{self.address} is not a finished store: it has no {name}.")
        return int(info.size)

    def make(self) -> None:
        """Make the folder, where that means anything."""
        self._files.create_dir(self._root, recursive=True)

    def reading(self, name: str) -> BinaryIO:
        """Open a file to be read from its begin to its end."""
        opened: BinaryIO = self._files.open_input_stream(f"{self._root}/{name}")
        return opened

    def writing(self, name: str) -> BinaryIO:
        """Open a file to be written."""
        opened: BinaryIO = self._files.open_output_stream(f"{self._root}/{name}")
        return opened

    def _info(self, name: str) -> Any:
        return self._files.get_file_info(f"{self._root}/{name}")


def _by_fsspec(address: str) -> tuple[Any, str]:
    import fsspec
    from pyarrow import fs

    try:
        files, root = fsspec.url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise UsageError(f"{address} cannot be reached: {error}") from error
    return fs.PyFileSystem(fs.FSSpecHandler(files)), root


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


def _altered(where: str) -> NerulaError:
    return NerulaError(f"{where} is not what was written.", "Delete it and copy again.")
