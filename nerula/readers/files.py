"""Opening files that nobody has checked yet: regular, bounded, inside their folder."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

from nerula.errors import refuse

LIMIT = 4 << 30
"""No recording is larger: 24 hours of 12 leads at 1,000 Hz and 24 bits are 3.1 GB."""

_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a pipe in place of a file must not hang us
)

_NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # where there is no such thing, links are looked for

_PATH_LIKE = frozenset("/\\:\0")

ARRIVALS: dict[str, Callable[[str], object]] = {}
"""Folders ("/a/b/") whose files come from elsewhere when they are opened, and what brings them."""


def arrive(path: str | Path) -> None:
    """Have a file here that is about to be opened; almost all are here anyway."""
    for folder, bring in ARRIVALS.copy().items():  # others may come and go while a file comes
        if (name := os.fspath(path)).startswith(folder):
            bring(name.removeprefix(folder))


def load(path: str | Path, limit: int = LIMIT, missing: str = "file-missing") -> bytes:
    """Return the whole content of a regular file of at most `limit` bytes."""
    handle, size = _open(path, limit, missing)
    try:
        return _all(handle, size)
    except OSError as error:
        raise refuse("file-unreadable", Path(path), str(error)) from error
    finally:
        os.close(handle)


def load_plain(path: str, limit: int = LIMIT) -> bytes | None:
    """Return what `load` would of a file that is no link; None where anything has to be looked at.

    Half the system calls of asking first whether it is a link.
    """
    if ARRIVALS or not _NO_LINK:
        return None
    try:
        handle = os.open(path, _FLAGS | _NO_LINK)
    except (OSError, ValueError):
        return None
    try:
        state = os.fstat(handle)
        if not stat.S_ISREG(state.st_mode) or not 0 < state.st_size <= limit:
            return None
        data = os.read(handle, state.st_size)
        return data if len(data) == state.st_size else None
    except OSError:
        return None
    finally:
        os.close(handle)


def head(path: str | Path, length: int, limit: int = 1 << 62) -> tuple[bytes, int]:
    """Return the first bytes of a regular file, and how many it has."""
    handle, size = _open(path, limit, "file-missing")
    try:
        return _all(handle, min(length, size)), size
    except OSError as error:
        raise refuse("file-unreadable", Path(path), str(error)) from error
    finally:
        os.close(handle)


def _open(path: str | Path, limit: int, missing: str) -> tuple[int, int]:
    """Open a regular file that is neither empty nor too large; return its handle and size."""
    if ARRIVALS:
        arrive(path)
    try:
        handle = os.open(path, _FLAGS)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise refuse(missing, Path(path)) from error
    except (OSError, ValueError) as error:
        raise refuse("file-unreadable", Path(path), str(error)) from error
    state = os.fstat(handle)
    if stat.S_ISREG(state.st_mode) and 0 < state.st_size <= limit:
        return handle, state.st_size
    os.close(handle)
    if not stat.S_ISREG(state.st_mode):
        raise refuse("file-unreadable", Path(path), "not a regular file")
    if state.st_size == 0:
        raise refuse("file-empty", Path(path))
    raise refuse("file-too-large", Path(path), f"{state.st_size} bytes, limit {limit}")


def _all(handle: int, size: int) -> bytes:
    data = os.read(handle, size)
    if len(data) == size:
        return data
    parts = [data]  # one read returns at most 2 GiB
    while size > (got := sum(map(len, parts))) and (part := os.read(handle, size - got)):
        parts.append(part)
    return b"".join(parts)


def is_bare(name: str) -> bool:
    """Whether a name is nothing but a file's: no path, no drive."""
    return name not in ("", ".", "..") and not _PATH_LIKE.intersection(name)


def beside(folder: str, name: str, root: Path | None, source: Path) -> str:
    """Return the path of `name`, which `source` mentions, below `folder` and inside `root`."""
    bare = is_bare(name)
    path = f"{folder}/{name}" if folder else name
    if bare and not os.path.islink(path):  # noqa: PTH114 - one system call in the hot path
        return path
    odd = _PATH_LIKE.intersection(name) - {"/"}
    if odd or not name or name.startswith("/") or not {".", ".."}.isdisjoint(name.split("/")):
        raise refuse("path-outside", source, repr(name))
    inside = Path(root if root is not None else folder or ".").resolve()
    if not Path(path).resolve().is_relative_to(inside):
        raise refuse("path-outside", source, repr(name))
    return path
