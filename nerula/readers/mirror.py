"""Mirror: a local folder in which the files of an address appear when a reader opens them.

Names are listed once, as empty files, so that a data set is recognised as on any disk. Content
comes file by file, verified by its size, and leaves again when others need the room.
"""

import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property
from multiprocessing.util import Finalize
from pathlib import Path, PurePosixPath
from secrets import token_hex
from threading import Lock
from typing import Any
from weakref import WeakMethod, finalize

from nerula.addresses import Place, at, bare, patiently
from nerula.defects import Finding
from nerula.errors import DefectError, NerulaError, OutageError, UsageError, refuse
from nerula.readers import wfdb_header
from nerula.readers.files import ARRIVALS
from nerula.readers.source import Entry
from nerula.readers.walk import HEADER

KEPT = 512 << 20
"""Bytes of content that may stay; twice as much for a moment."""
THREADS = 24
"""Files that are on their way at once: most of the time they wait for an answer."""
_PIECE = 4 << 20
_PREFIX, _LOCK, _YOUNG = "nerula-address-", "lock", 60.0


class Mirror:
    """The files of an address, in a folder of this process that goes with it.

    The folder around the address is a part of it, as names only: the folder of a data set's
    signals is recognised by the table beside it.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._outer, self.name = _split(address)
        self._folder = Path(tempfile.gettempdir()).resolve() / f"{_PREFIX}{token_hex(8)}"
        self.top = self._folder / "top"
        self.path = self.top / self.name
        self._far = at(address).parent
        self._files: dict[str, Future[int]] = {}
        self._bytes = 0
        self._lock = Lock()
        self._listed = False
        bring, key = WeakMethod(self.bring), f"{self.top}/"
        ARRIVALS[key] = lambda name: (held := bring()) and held(name)
        finalize(self, ARRIVALS.pop, key, None)

    @cached_property
    def _inside(self) -> Place:
        return Place(self.address)

    @cached_property
    def _around(self) -> Place | None:
        return Place(self._outer) if self._outer else None

    def list(self) -> None:
        """Make every name that is there; content comes later."""
        self._claim()
        self._listed = True
        if self._inside.is_folder():
            self._make_names(self._inside.listed(), (self.name,))
            if self._around:
                with suppress(NerulaError, FileNotFoundError):  # it may be closed to us
                    self._make_names(self._around.listed(deep=False), ())
        elif self._around:
            beside = (self.name, f"{self.name}.hea")  # a WFDB record may go by its bare name
            self._make_names(filter(self._around.has, beside), ())

    def _make_names(self, names: Iterable[str], below: tuple[str, ...]) -> None:
        made: set[Path] = set()
        for name in names:
            if _leaves(name):
                raise refuse("path-outside", None, f"{bare(self.address)} lists {name!r}")
            path = self.top.joinpath(*below, name)
            try:
                if path.parent not in made:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    made.add(path.parent)
                path.touch(exist_ok=False)
            except OSError as error:  # a file and a folder of one name, or a name that is too long
                raise NerulaError(
                    f"{bare(self.address)} lists {name!r}, which cannot be on this disk: "
                    f"{error.strerror}."
                ) from error

    def bring(self, name: str) -> int:
        """Have the content of a file here; return its size. Without one, no file stays."""
        self._claim()
        with self._lock:
            ours = name not in self._files
            coming = self._files.setdefault(name, Future())
        if ours:
            try:
                size = self._brought(name)
                with self._lock:
                    self._bytes += size
                coming.set_result(size)
            except BaseException as error:
                with self._lock:
                    del self._files[name]
                coming.set_exception(error)
        return coming.result()

    def _brought(self, name: str) -> int:
        path, below = self.top / name, name.removeprefix(f"{self.name}/")
        place = self._inside if below != name else self._around
        try:
            if place is None or _leaves(name):
                raise FileNotFoundError
            return patiently(lambda: self._copied(place, below, path), place.address, below)
        except FileNotFoundError:
            path.unlink(missing_ok=True)  # the reader says that it is missing
            return 0

    def _copied(self, place: Place, name: str, path: Path) -> int:
        """Bring a file in one go; it has its name when it is whole."""
        opened, size = place.sized(name)
        with opened:
            free = shutil.disk_usage(self.top).free
            if size > free:
                raise OutageError(
                    f"{bare(place.address)}/{name} has {size:,} bytes, and there is room for "
                    f"{free:,} in {self.top.parents[1]}.",
                    "Make room, or name another folder by TMPDIR; the same command continues.",
                )
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = self._folder / f"{token_hex(8)}.partial"
            try:
                with partial.open("wb") as file:
                    while piece := opened.read(_PIECE):
                        file.write(piece)
                    got = file.tell()
                if got != size:
                    raise ConnectionError(f"the connection ended after {got:,} of {size:,} bytes")
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
        return size

    def trim(self) -> None:
        """Remove the content of those files that came first, until the rest is within bounds."""
        if self._bytes <= KEPT:
            return
        with self._lock:
            for name in [name for name, coming in self._files.items() if coming.done()]:
                self._bytes -= self._files.pop(name).result()
                (self.top / name).unlink(missing_ok=True)
                if self._listed:
                    (self.top / name).touch()
                if self._bytes <= KEPT:
                    return

    def _claim(self) -> None:
        """Make the folder when it is first needed, which is in the process that needs it."""
        from filelock import FileLock

        with self._lock:
            if self.top.exists():
                return
            _sweep()
            self._folder.mkdir(mode=0o700)
            claim = FileLock(self._folder / _LOCK)
            claim.acquire()
            Finalize(self, _leave, (self._folder, claim), exitpriority=0)  # in workers as well
            self.top.mkdir()

    @contextmanager
    def ahead(self, entries: Iterable[Entry]) -> Iterator[None]:
        """While the block runs, the files of these entries come, in their order."""
        pool = ThreadPoolExecutor(THREADS, thread_name_prefix="nerula-address")
        try:
            for path in dict.fromkeys(entry.path for entry in entries):
                pool.submit(self._with_signals, path.relative_to(self.top).as_posix())
            yield
        finally:
            pool.shutdown(cancel_futures=True)

    def _with_signals(self, name: str) -> None:
        """Bring a file and, of a WFDB header, the files that it names; what fails is met again."""
        if self._bytes > KEPT:
            return
        self.bring(name)
        if name.endswith(HEADER):
            path = self.top / name
            header = wfdb_header.parse(path.read_bytes(), path)
            for file in dict.fromkeys(header.signals.files):
                if "/" not in file and file not in ("..", "~", "-"):
                    self.bring(str(PurePosixPath(name).with_name(file)))

    # --- in words ----------------------------------------------------------------------------

    def named(self, path: Path) -> Path:
        """The path below the address of a path below the folder."""
        return self._far / path.relative_to(self.top)

    def here(self, path: Path) -> Path:
        """The path below the folder of one below the address."""
        return self.top / path.relative_to(self._far)

    def told(self, found: Finding) -> Finding:
        """A finding that names the address in place of the folder."""
        path = found.path and self.named(found.path)
        return replace(found, path=path, detail=self._said(found.detail))

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Let errors name the address in place of the folder."""
        try:
            yield
        except DefectError as error:
            raise DefectError(self.told(error.finding)) from error
        except NerulaError as error:
            error.message = self._said(error.message)
            raise

    def _said(self, text: str) -> str:
        return text.replace(str(self.top), str(self._far))


def _split(address: str) -> tuple[str | None, str]:
    """The address around this one, where this is not a whole bucket, and its last name."""
    front, mark, query = address.partition("?")
    scheme, _, rest = front.partition("://")
    around, _, name = rest.rstrip("/").rpartition("/")
    if not name or name in (".", ".."):
        raise UsageError(f"{bare(address)} names no folder.")
    if not around:  # a bucket, perhaps behind who has access to it
        return None, name.rpartition("@")[2]
    return f"{scheme}://{around}{mark}{query}", name


def _leaves(name: str) -> bool:
    """Whether a name may lead out of the folder, or is no plain one."""
    odd = {"", ".", ".."}.intersection(name.split("/"))
    return bool(odd or {"\\", "\0"}.intersection(name))


def _sweep() -> None:
    """Remove the folders of processes that were killed."""
    from filelock import FileLock, Timeout

    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError, Timeout):
            if time.time() - left.stat().st_mtime > _YOUNG:
                with FileLock(left / _LOCK, timeout=0):
                    shutil.rmtree(left)


def _leave(folder: Path, claim: Any) -> None:
    claim.release()
    shutil.rmtree(folder, ignore_errors=True)
