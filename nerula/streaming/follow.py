"""Follow: bytes from a pipe or from a file that grows, until they end or somebody says so."""

import os
import select
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from nerula.errors import UsageError, refuse

PIECE = 1 << 20
"""Bytes that are taken at a time where more have come than were taken."""
NAP = 0.2
"""Seconds between two looks at a file that has not grown."""


class Bytes:
    """Pieces of what a pipe or a file holds.

    SIGINT and SIGTERM end it as its end does: between two pieces, nothing is lost.
    """

    def __init__(self, path: Path | None, *, follow: bool = False) -> None:
        self.path, self.follow, self.stopped = path, follow, False
        self._handle = 0
        if path is not None:
            try:
                self._handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            except OSError as error:
                code = (
                    "file-missing" if isinstance(error, FileNotFoundError) else "file-unreadable"
                )
                raise refuse(code, path) from error
        mode = os.fstat(self._handle).st_mode
        if stat.S_ISDIR(mode):
            os.close(self._handle)
            raise UsageError(f"{path} is a folder.", "Name a file, or the header of a record.")
        self._is_file = stat.S_ISREG(mode)
        self._woken, self._wake = os.pipe()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        os.set_blocking(self._wake, False)
        self._wakeup = signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._stop)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._woken)
        os.close(self._wake)
        if self.path is not None:
            os.close(self._handle)

    def _stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.stopped = True

    def __iter__(self) -> Iterator[bytes]:
        """Everything that has come so far, in pieces, as soon as it comes."""
        while not self.stopped:
            ready, _, _ = select.select([self._handle, self._woken], [], [])
            if self._woken in ready or self.stopped:
                return
            data = self._taken()
            if data:
                yield data
            elif not (self._is_file and self.follow):
                return
            elif self._has_shrunk():
                raise refuse("data-cut", self.path, "it became shorter while it was followed")
            else:
                select.select([self._woken], [], [], NAP)

    def _taken(self) -> bytes:
        """As much as there is, so that one who is behind takes many windows together."""
        parts = [os.read(self._handle, PIECE)]
        size = len(parts[0])
        while parts[-1] and size < PIECE and not self._is_file:
            if not select.select([self._handle], [], [], 0)[0]:
                break
            parts.append(os.read(self._handle, PIECE - size))
            size += len(parts[-1])
        return b"".join(parts)

    def _has_shrunk(self) -> bool:
        place = os.lseek(self._handle, 0, os.SEEK_CUR)
        return os.fstat(self._handle).st_size < place
