"""The `.npy` header, read by its grammar before NumPy sees the file: no objects, no surprises.

https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

import re
from math import prod
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nerula.errors import refuse
from nerula.readers.files import head

LONGEST = 12 + 65536
"""Bytes within which a header ends."""
_MOST_AXES = 32  # NumPy 1 has room for no more
_HEADER = re.compile(
    r"\{'descr': (?P<descr>'[^']{1,16}'|\[.*\]), 'fortran_order': (?P<fortran>True|False),"
    r" 'shape': \((?P<shape>|[0-9]{1,19},|[0-9]{1,19}(?:, [0-9]{1,19})+)\),? \}\s*",
    re.DOTALL,
)
_TYPE = re.compile(r"'([<>|=]?(?:[iu][1248]|f[248]|b1|U[0-9]{1,6}|S[0-9]{1,6}))'")


class Header(NamedTuple):
    """What a header declares, compared with the bytes that follow it."""

    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    order: Literal["C", "F"]
    offset: int


def parse(path: Path) -> Header:
    """Read the header of a file."""
    return header(*head(path, LONGEST), path)


def mapped(path: Path) -> NDArray[Any]:
    """Return a file's array, memory-mapped."""
    found = parse(path)
    if not prod(found.shape):
        raise refuse("length-zero", path)
    array = np.memmap(path, found.dtype, "r", found.offset, found.shape, found.order)
    return np.asarray(array)


def header(start: bytes, size: int, path: Path) -> Header:
    """Read the header at the start of `size` bytes, which must be what it declares."""
    if start[:6] != b"\x93NUMPY" or len(start) < 10:
        raise refuse("format-malformed", path, "it does not begin like a NumPy array")
    if start[6] not in (1, 2, 3):
        raise refuse("format-unsupported", path, f"version {start[6]} of the format")
    begin = 10 if start[6] == 1 else 12
    offset = begin + int.from_bytes(start[8:begin], "little")
    if offset > len(start):
        code = "data-truncated" if offset > size else "format-malformed"
        raise refuse(code, path, f"a header of {offset} bytes")
    match = _HEADER.fullmatch(start[begin:offset].decode("latin-1"))
    if match is None:
        raise refuse("format-malformed", path, "the header breaks the grammar")
    dtype = _dtype(match["descr"], path)
    shape = tuple(int(part) for part in match["shape"].split(",") if part.strip())
    if len(shape) > _MOST_AXES:
        raise refuse("format-unsupported", path, f"an array with {len(shape)} axes")
    needed = offset + prod(shape) * dtype.itemsize
    if needed != size:
        code = "data-truncated" if needed > size else "data-overlong"
        code = "size-absurd" if needed > 1000 * size else code
        raise refuse(code, path, f"{shape} of {dtype} needs {needed} bytes, {size} held")
    return Header(dtype, shape, "F" if match["fortran"] == "True" else "C", offset)


def _dtype(descr: str, path: Path) -> np.dtype[np.generic]:
    match = _TYPE.fullmatch(descr)
    if match:
        return np.dtype(match[1])
    if re.search(r"'[<>|=]?O[0-9]?'", descr):
        raise refuse("code-in-data", path, "an array of Python objects")
    raise refuse("format-unsupported", path, f"numbers of the type {descr[:40]}")
