"""Files that are whole or absent: temporary file, fsync, rename; JSON of strangers; and locks."""

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO


@contextmanager
def replacing(path: Path, *, lasting: bool = True) -> Iterator[BinaryIO]:
    """Open a temporary file that takes the name `path` when the block ends without an error.

    Where it need not outlast a power cut, not `lasting` saves waiting for the disk.
    """
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with partial.open("w+b") as file:
            yield file
            file.flush()
            if lasting:
                os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    if lasting:
        _sync_folder(path.parent)


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a small file at once; a reader sees the old content or the new, never a part."""
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def load_json(path: Path) -> Any:
    """Return what a JSON file holds; raise OSError or ValueError, as reading and parsing do."""
    if path.exists() and not path.is_file():  # a pipe would make us wait for ever
        raise OSError("it is not a regular file")
    return parse_json(path.read_text(encoding="utf-8"))


def parse_json(text: str) -> Any:
    """Return what JSON says; raise ValueError where it cannot be read."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the system allows it."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def alone(lock: Path, busy: Exception) -> Iterator[None]:
    """Keep other processes out; the lock ends with this one, however it ends."""
    from filelock import FileLock, Timeout

    claim = FileLock(lock, timeout=0)
    try:
        claim.acquire()
    except Timeout:
        raise busy from None
    try:
        yield
    finally:
        claim.release()
