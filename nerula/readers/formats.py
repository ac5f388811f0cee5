"""Which reader understands a file: by what it holds where that is telling, else by its ending."""

import re
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from nerula.errors import refuse
from nerula.readers.files import arrive
from nerula.recording import Recording

SUFFIXES = {
    ".hea": "wfdb",
    ".mat": "mat",
    ".edf": "edf", ".bdf": "edf",
    ".dcm": "dicom", ".dicom": "dicom",
    ".xml": "xml", ".aecg": "xml",
    ".csv": "table", ".tsv": "table",
    ".npy": "array", ".npz": "array",
    ".scp": "scp",
}  # fmt: skip
FORMATS = ("wfdb", "mat", "edf", "dicom", "xml", "table", "array")
"""Kinds of files that are read; `scp` is known in order to be refused by name."""

_BESIDE = """
.dat .atr .qrs .ecg .md .rst .pdf .html .shtml .htm .json .yaml .yml .toml .py .ipynb .m .c .sh
.log .zip .gz .tar .tgz .bz2 .xz .7z .rar .png .jpg .jpeg .gif .svg .doc .docx .xls .xlsx .tex
.bib .part .parquet .safetensors .pt .pth .h5 .hdf5
"""
_NEVER = frozenset(_BESIDE.split())
"""Endings of what lies beside recordings; not opened when a folder is listed."""

_BY_SUFFIX_ALONE = frozenset(("wfdb", "mat"))
_HEAD = 4096
_XML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml|!--|[A-Za-z])|\xff\xfe<\0|\xfe\xff\0<")
_ECG_XML = re.compile(rb"AnnotatedECG|RestingECG|StressECG|MuseInfo|PatientDemographics")


_TELLS: tuple[tuple[str, Callable[[bytes], object]], ...] = (
    ("array", lambda head: head.startswith(b"\x93NUMPY")),
    ("edf", lambda head: head.startswith((b"0       ", b"\xffBIOSEMI"))),
    ("dicom", lambda head: head[128:132] == b"DICM"),
    ("scp", lambda head: head[16:22] == b"SCPECG"),
    ("xml", lambda head: _XML.match(head) and _ECG_XML.search(head.replace(b"\0", b""))),
)


class Reader(Protocol):
    """A module that reads a format. Some also have `rows(path)` and `read(..., hints=...)`."""

    def read(self, path: Path, row: int = 0, *, root: Path | None = None) -> Recording:
        """Read one recording."""
        ...


def by_suffix(file: str) -> str | None:
    """Return the format that a file's ending stands for."""
    dot = file.rfind(".")
    return SUFFIXES.get(file[dot:].lower()) if dot >= 0 else None


def unnamed(path: Path) -> str | None:
    """Return the format of a file whose ending says nothing, or None where it is no recording."""
    return None if path.suffix.lower() in _NEVER else sniff(path)


def detect(path: Path) -> str:
    """Return the format of a file that is meant to be read, or refuse it."""
    form = by_suffix(path.name)
    if form not in _BY_SUFFIX_ALONE:
        form = sniff(path) or form
    if form is None:
        raise refuse("format-unknown", path)
    if form == "scp":
        raise refuse("format-scp", path)
    return form


def sniff(path: Path) -> str | None:
    """Return the format that the first bytes of a file give away."""
    arrive(path)
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return None
    return next((form for form, tells in _TELLS if tells(head)), None)


@cache
def reader(form: str) -> Reader:
    """Import the module that reads a format."""
    return cast(Reader, import_module(f"nerula.readers.{form}"))
