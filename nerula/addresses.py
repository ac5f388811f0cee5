"""Addresses: folders behind `s3://`, `gs://`, `file://`, `memory://` and what else there is.

pyarrow opens them, or else an installed package of fsspec. An address may hold credentials: no
message, file or table has them.
"""

import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypeVar
from urllib.parse import unquote

from nerula.errors import NerulaError, OutageError, UsageError

TRIES = 5
PAUSE = 0.5
"""Seconds before the second try; each further one waits twice as long."""

_PARTS = re.compile(
    r"(?P<scheme>[A-Za-z][\w+.-]*)://(?:(?P<user>[^/?]*)@)?(?P<rest>[^?]*)(?P<query>.*)"
)
_OPEN = frozenset(("endpoint_override", "region", "scheme"))
"""Parts of a query that are no secrets."""
_CONTAINER = frozenset(("abfs", "abfss"))
"""Schemes where a container's name stands in place of the user's."""

Result = TypeVar("Result")


def is_address(where: object) -> bool:
    """Whether this is an address rather than the path of a file or folder."""
    return isinstance(where, str) and _PARTS.fullmatch(where) is not None


def shown(address: object) -> str:
    """The address without the credentials that may be in it; anything else as it is."""
    found = _PARTS.fullmatch(str(address))
    if found is None:
        return str(address)
    user = f"{'***' if _user(found) else found['user']}@" if found["user"] else ""
    pairs = [
        f"{name}={value if name in _OPEN else '***'}" if mark else "***"
        for name, mark, value in _pairs(found)
    ]
    query = f"?{'&'.join(pairs)}" if pairs else ""
    return f"{found['scheme']}://{user}{found['rest']}{query}"


def bare(address: str) -> str:
    """The address without credentials and query: what stands for it in messages and paths."""
    found = _PARTS.fullmatch(address)
    if found is None:
        return address
    user = f"{found['user']}@" if found["user"] and not _user(found) else ""
    return f"{found['scheme']}://{user}{found['rest'].rstrip('/')}"


def _told(error: Exception, address: str) -> str:
    """What an error says, without the credentials of the address."""
    text, pieces = str(error) or type(error).__name__, set[str]()
    if found := _PARTS.fullmatch(address):
        user = _user(found)
        pieces = {user, *user.split(":", 1)}
        pieces |= {value or name for name, _, value in _pairs(found) if name not in _OPEN}
        pieces |= {unquote(piece) for piece in pieces}
    for secret in sorted(filter(None, pieces), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def _user(found: "re.Match[str]") -> str:
    """Who has access, and by which password, where the address says so."""
    return (found["user"] or "") if found["scheme"] not in _CONTAINER else ""


def _pairs(found: "re.Match[str]") -> list[tuple[str, str, str]]:
    return [pair.partition("=") for pair in found["query"].lstrip("?").split("&") if pair]


class Below(PurePosixPath):
    """A path below an address: it is named in messages, and cannot be opened."""

    def __str__(self) -> str:
        text = super().__str__()
        slashes = ":///" if text.startswith("file:/") else "://"
        return re.sub(r"^([A-Za-z][\w+.-]*):/", rf"\1{slashes}", text)


class Place:
    """A folder or file behind an address. What a network may interrupt is tried again."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._files, root = patiently(lambda: _opened(address), address)
        self._root = root.rstrip("/")

    def has(self, name: str) -> bool:
        """Whether there is a file of that name."""
        return bool(self._info(name).is_file)

    def size(self, name: str) -> int | None:
        """Bytes of a file, or None where there is none."""
        info = self._info(name)
        return int(info.size) if info.is_file else None

    def is_folder(self) -> bool:
        """Whether the address is one of a folder."""
        info = self._info("")
        return not info.is_file and info.type.name != "NotFound"

    def make(self) -> None:
        """Make the folder, where that means anything."""
        patiently(lambda: self._files.create_dir(self._root, recursive=True), self.address)

    def listed(self, *, deep: bool = True) -> Iterator[str]:
        """Yield the names of the files in the folder, those of folders in it as "a/b"."""
        from pyarrow import fs

        chosen = fs.FileSelector(self._root, recursive=deep)
        for info in patiently(lambda: self._files.get_file_info(chosen), self.address):
            if info.is_file:
                yield info.path.removeprefix(f"{self._root}/")

    def reading(self, name: str) -> BinaryIO:
        """Open a file to be read from its begin to its end."""
        opened: BinaryIO = self._files.open_input_stream(self._path(name))
        return opened

    def sized(self, name: str) -> tuple[BinaryIO, int]:
        """Open a file to be read, and say how many bytes it has."""
        opened: Any = self._files.open_input_file(self._path(name))
        return opened, int(opened.size())

    def writing(self, name: str) -> BinaryIO:
        """Open a file to be written."""
        opened: BinaryIO = self._files.open_output_stream(self._path(name))
        return opened

    def _info(self, name: str) -> Any:
        return patiently(lambda: self._files.get_file_info(self._path(name)), self.address)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root


def _opened(address: str) -> tuple[Any, str]:
    from pyarrow import ArrowInvalid, fs

    try:
        opened: tuple[Any, str] = fs.FileSystem.from_uri(address)
    except ArrowInvalid:
        return _by_fsspec(address)
    return opened


def _by_fsspec(address: str) -> tuple[Any, str]:
    import fsspec
    from pyarrow import fs

    try:
        files, root = fsspec.url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise UsageError(
            f"{shown(address)} cannot be reached: {_told(error, address)}"
        ) from None  # whose text may hold a secret
    return fs.PyFileSystem(fs.FSSpecHandler(files)), root


def patiently(do: Callable[[], Result], where: str, name: str = "") -> Result:
    """Do what a network may interrupt, again after longer and longer pauses; in the end give up.

    A file that is not there stays so: that is raised at once.
    """
    for tries in range(1, TRIES + 1):
        try:
            return do()
        except (FileNotFoundError, NerulaError):
            raise
        except Exception as error:  # every package of fsspec has its own
            if tries == TRIES or "ACCESS_DENIED" in str(error):
                what = f"{bare(where)}/{name}" if name else bare(where)
                raise OutageError(
                    f"{what} cannot be had, after {tries} tries: {_told(error, where)}",
                    "Check the address, the credentials and the network; "
                    "the same command continues.",
                ) from None  # whose text may hold a secret
            time.sleep(PAUSE * 2 ** (tries - 1) * random.uniform(0.5, 1.0))
    raise AssertionError("unreachable")


def at(address: str) -> Path:
    """The address as the root of paths that messages name; nothing can be opened there."""
    root: Any = Below(bare(address))
    return root  # type: ignore[no-any-return]
