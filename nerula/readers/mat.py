"""MATLAB version 4 matrices, as the PhysioNet challenges publish signals: `16+24` in the header.

Version 4 is 20 bytes of five little-endian integers (type, rows, columns, imaginary, length of the
name), the name with its final zero, then the numbers, column by column. Later versions hold
objects and compression; they are refused, never guessed at.
"""

import struct
from pathlib import Path

from nerula.errors import refuse
from nerula.recording import Recording

_HEADER = struct.Struct("<5i")
_INT32, _INT16, _UINT8 = 20, 30, 50  # tens: the number's type; 0 in the other places: plain, full
FORMATS = {_INT32: 32, _INT16: 16, _UINT8: 80}
"""Matrix types and the WFDB signal formats that store the same bytes."""


def read(
    path: Path,
    row: int = 0,
    *,
    root: Path | None = None,
    leads: tuple[str, ...] | None = None,
) -> Recording:
    """Read the record that a `.mat` file and the `.hea` file beside it make up."""
    from nerula.readers import wfdb

    return wfdb.read(path, row, root=root, leads=leads)


def check(data: bytes, path: str, form: int, offset: int, signals: int) -> None:
    """Refuse a matrix that is not what its header says: signal format, offset, rows."""
    held, start, rows, _ = matrix(data, path)
    if (held, start, rows) != (form, offset, signals):
        declared = f"format {form} from byte {offset} with {signals} signals declared"
        detail = f"{declared}, format {held} from byte {start} with {rows} held"
        raise refuse("header-contradiction", Path(path), detail)


def matrix(data: bytes, path: str) -> tuple[int, int, int, int]:
    """Return signal format, first byte of the numbers, rows and columns of a sound matrix."""
    if data[:6] == b"MATLAB" or data[:4] == b"\x89HDF":
        version = "7.3" if b"MATLAB 7.3" in data[:16] or data[:4] == b"\x89HDF" else "5"
        raise refuse(
            "format-unsupported", Path(path), f"MATLAB version {version}; save it with -v4"
        )
    if len(data) < _HEADER.size:
        raise refuse("data-truncated", Path(path), f"{len(data)} bytes are no matrix")
    kind, rows, columns, imaginary, name = _HEADER.unpack_from(data)
    if kind not in FORMATS:
        raise refuse("format-unsupported", Path(path), f"matrix type {kind}; want whole numbers")
    if imaginary or not 2 <= name <= 64 or rows < 1 or columns < 1:
        raise refuse(
            "format-malformed", Path(path), "this is no header of a MATLAB version 4 matrix"
        )
    start = _HEADER.size + name
    if not _is_name(data[_HEADER.size : start]):
        raise refuse("format-malformed", Path(path), "the matrix has no name")
    form = FORMATS[kind]
    needed = start + rows * columns * {32: 4, 16: 2, 80: 1}[form]
    if needed != len(data):
        code = "data-truncated" if needed > len(data) else "data-overlong"
        raise refuse(
            code, Path(path), f"{rows} x {columns} needs {needed} bytes, {len(data)} held"
        )
    return form, start, rows, columns


def _is_name(raw: bytes) -> bool:
    """A MATLAB variable's name and one final zero."""
    return raw[-1:] == b"\0" and raw[:-1].isascii() and raw[:-1].decode().isidentifier()
