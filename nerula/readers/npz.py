"""`.npz`: a zip of `.npy` files, unpacked only as far as its own index can be believed."""

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerula.errors import refuse
from nerula.readers import npy
from nerula.readers.files import head

SIGNALS = ("x", "signal", "ecg")
"""Names under which the signal is looked for."""
SAID = ("rate", "leads", "unit", "valid", "subject", "age", "sex")
"""Names of what else is understood; further members are left alone."""

_MOST_MEMBERS = 256
_LARGEST = 1 << 30
"""Bytes of an unpacked member; larger arrays belong into `.npy`, which is memory-mapped."""
_DENSEST = 200
"""Times that a member of more than 16 MB may be larger than packed: less than a bomb."""
_BROKEN = (
    zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, NotImplementedError, RuntimeError,
    struct.error, EOFError, OSError, ValueError, KeyError, IndexError, OverflowError,
)  # fmt: skip


def shape(path: Path) -> tuple[int, ...]:
    """Return the shape of the signal without unpacking it."""
    with _opened(path) as archive:
        info = _members(archive, path)["signal"]
        return _declared(archive, info, path).shape


def arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the signal, as `signal`, and what else the file says.

    What was unpacked last is kept: its recordings are read one after the other.
    """
    state = path.stat()
    return _unpacked(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=1)
def _unpacked(path: Path, _modified: int, _size: int) -> dict[str, NDArray[Any]]:
    with _opened(path) as archive:
        members = _members(archive, path)
        return {key: _array(archive, info, path) for key, info in members.items()}


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    head(path, 4)  # missing, empty and irregular files are refused as everywhere
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except _BROKEN as error:
        wrong = "CRC" in str(error)
        code = "checksum-wrong" if wrong else "format-malformed"
        raise refuse(code, path, "" if wrong else "the zip archive is damaged") from error


def _members(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """Return the members that matter, all of whose claims have been checked."""
    size = path.stat().st_size
    found: dict[str, zipfile.ZipInfo] = {}
    infos = archive.infolist()
    if len(infos) > _MOST_MEMBERS:
        raise refuse("size-absurd", path, f"{len(infos)} members")
    for info in infos:
        if not {"/", "\\", ".."}.isdisjoint((*info.filename, info.filename[:2])):
            raise refuse("path-outside", path, repr(info.filename[:40]))
        name = info.filename.removesuffix(".npy")
        key = "signal" if name in SIGNALS else name
        if key != "signal" and name not in SAID:
            continue
        if key in found:
            raise refuse("format-malformed", path, f"{key} is there twice")
        packed, whole = info.compress_size, info.file_size
        if packed > size or (whole > 1 << 24 and whole > _DENSEST * packed):
            raise refuse("size-absurd", path, f"{info.filename}: {packed} bytes hold {whole}")
        if whole > _LARGEST:
            raise refuse("file-too-large", path, f"{whole} bytes; save them as .npy")
        found[key] = info
    if "signal" not in found:
        raise refuse("ecg-missing", path, f"no array named {', '.join(SIGNALS)}")
    return found


def _declared(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> npy.Header:
    with archive.open(info) as file:
        return npy.header(file.read(npy.LONGEST), info.file_size, path)


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> NDArray[Any]:
    """Unpack one member, whose checksum zip verifies."""
    found = _declared(archive, info, path)
    data = archive.read(info)
    flat = np.frombuffer(data, found.dtype, offset=found.offset)
    return flat.reshape(found.shape, order=found.order)
