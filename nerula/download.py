"""One file from a server: continued, tried again, verified, and named only when it is whole.

What has arrived waits in `NAME.part`. Whether it can be continued, the server says; whether it is
what was published, its SHA-256 says.
"""

import errno
import hashlib
import os
import random
import re
import shutil
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import Message
from http.client import HTTPException
from pathlib import Path
from typing import IO, BinaryIO
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from nerula import __version__
from nerula.errors import NerulaError

PAUSE = 1.0
"""Seconds before the second try; each further one waits twice as long."""
TRIES, WRONG_CONTENTS = 6, 2
_LONGEST_PAUSE, _TIMEOUT = 60.0, 60.0
_BLOCK = 1 << 18
_AGAIN = {408, 425, 429, 500, 502, 503, 504}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)")


class FileError(NerulaError):
    """One file cannot be had; others may."""


class ServerError(NerulaError):
    """No file can be had now."""


class StoppedError(NerulaError):
    """Another file's fate ended the run."""


class _SameScheme(HTTPRedirectHandler):
    """Follows redirects, but never from https to anything else, nor to files and the like."""

    def redirect_request(  # noqa: PLR0917 - urllib's own signature
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> Request | None:
        before, after = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if after not in (before, "https"):
            raise FileError(f"{req.full_url} redirects to {newurl}, which is refused.")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _opener() -> OpenerDirector:
    """Only what is needed: the usual one would open files and FTP too."""
    opener = OpenerDirector()
    for handler in (
        ProxyHandler(),
        HTTPHandler(),
        HTTPSHandler(),
        _SameScheme(),
        HTTPDefaultErrorHandler(),
        HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


@dataclass(frozen=True)
class Server:
    """Where files come from: `base` and a file's name make its address."""

    base: str
    advance: Callable[[int], None]
    """Is told how many bytes came, and, negative, how many were thrown away."""
    stop: threading.Event = field(default_factory=threading.Event)
    opener: OpenerDirector = field(default_factory=_opener)

    def download(self, name: str, path: Path, sha256: str | None) -> None:
        """Bring `name` to `path`; with no digest known, any whole answer is taken."""
        partial = path.with_name(f"{path.name}.part")
        for _ in range(WRONG_CONTENTS):
            self.advance(_size(partial))
            try:
                digest = self._whole(name, partial)
            except NerulaError:
                if not _size(partial):
                    partial.unlink(missing_ok=True)
                raise
            if sha256 is None or digest == sha256:
                partial.replace(path)
                return
            self.advance(-_size(partial))
            partial.unlink()
        raise FileError(
            f"{self.base}{name} is not what its publisher's list of checksums says "
            f"(SHA-256 {digest[:12]}..., listed {(sha256 or '')[:12]}...); it was deleted.",
            "Try again later, or another --base-url.",
        )

    def _whole(self, name: str, partial: Path) -> str:
        """Bring all of a file to `partial`, in as many tries as it takes; return its SHA-256."""
        most = _size(partial)
        tries = 0
        while True:
            try:
                return self._attempt(name, partial)
            except (OSError, HTTPException) as error:
                tries += 1
                if (have := _size(partial)) > most:
                    most, tries = have, 1
                self._judge(error, name, partial, tries)
                wait = min(PAUSE * 2 ** (tries - 1), _LONGEST_PAUSE)
                self.stop.wait(max(wait * random.uniform(0.5, 1.0), _asked_to_wait(error)))

    def _attempt(self, name: str, partial: Path) -> str:
        """Continue a file, or begin it; return its SHA-256."""
        with partial.open("a+b") as file:
            digest, have = _hashed(file)
            try:
                with self._open(name, have) as answer:
                    if have and not _continues(answer, have):
                        file.truncate(0)
                        self.advance(-have)
                        digest = hashlib.sha256()
                    self._receive(answer, file, digest)
            except HTTPError as error:
                error.close()
                if not (error.code == 416 and have):  # nothing is left to come
                    raise
            file.flush()
            os.fsync(file.fileno())
        return digest.hexdigest()

    def _open(self, name: str, have: int) -> IO[bytes]:
        if self.stop.is_set():
            raise StoppedError("The download was stopped.")
        request = Request(self.base + quote(name, safe="/+"))  # noqa: S310 - see _opener
        request.add_header("User-Agent", f"nerula/{__version__}")
        if have:
            request.add_header("Range", f"bytes={have}-")
        answer: IO[bytes] = self.opener.open(request, timeout=_TIMEOUT)
        return answer

    def _receive(self, answer: IO[bytes], file: BinaryIO, digest: "hashlib._Hash") -> None:
        length = _headers(answer).get("Content-Length", "")
        expected = int(length) if length.isdecimal() else None
        if expected is not None and expected > shutil.disk_usage(Path(file.name).parent).free:
            raise OSError(errno.ENOSPC, "not enough room")
        received = 0
        while block := answer.read(_BLOCK):
            if self.stop.is_set():
                raise StoppedError("The download was stopped.")
            file.write(block)
            digest.update(block)
            received += len(block)
            self.advance(len(block))
        if expected is not None and received != expected:
            raise ConnectionError(f"the connection ended after {received} of {expected} bytes")

    def _judge(self, error: Exception, name: str, partial: Path, tries: int) -> None:
        """Raise where trying again is pointless."""
        if isinstance(error, OSError) and error.errno in _FULL:
            raise ServerError(
                f"The disk of {partial.parent} is full.",
                "Make room and run the same command: it continues.",
            ) from error
        if isinstance(error, HTTPError) and error.code not in _AGAIN:
            raise FileError(
                f"{self.base}{name}: the server says {error.code} {error.reason}.",
                "The publisher may have moved it; see docs/datasets.md, or try --base-url.",
            ) from error
        reason = getattr(error, "reason", error)
        certificate = isinstance(reason, ssl.SSLCertVerificationError)
        if not certificate and isinstance(error, PermissionError | FileNotFoundError):
            raise FileError(f"{partial} cannot be written: {error.strerror}.") from error
        if certificate or tries >= TRIES:
            host = urlsplit(self.base).hostname
            raise ServerError(
                f"{host} cannot be reached or does not answer ({reason}).",
                "Check the network and run the same command: it continues.",
            ) from error


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return _hashed(file)[0].hexdigest()


def _hashed(file: BinaryIO) -> tuple["hashlib._Hash", int]:
    """Read a file from its beginning; return its SHA-256 so far and its size."""
    digest = hashlib.sha256()
    file.seek(0)
    while block := file.read(_BLOCK):
        digest.update(block)
    return digest, file.tell()


def _headers(answer: IO[bytes]) -> Message:
    headers: Message = answer.headers  # type: ignore[attr-defined]
    return headers


def _continues(answer: IO[bytes], have: int) -> bool:
    """Whether an answer is the rest of the file, as asked, and not all of it again."""
    if answer.status != 206:  # type: ignore[attr-defined]
        return False
    match = _CONTENT_RANGE.fullmatch(_headers(answer).get("Content-Range", ""))
    if match is None or int(match[1]) != have:
        raise ConnectionError("the server answers with another range than asked for")
    return True


def _asked_to_wait(error: Exception) -> float:
    """Return the seconds that a server asks to be left alone for."""
    if not isinstance(error, HTTPError) or not error.headers:
        return 0.0
    seconds = error.headers.get("Retry-After", "")
    return min(float(seconds), _LONGEST_PAUSE) if seconds.isdecimal() else 0.0


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0
