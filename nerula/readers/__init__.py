"""Readers: every format and data set, one module each. `open_source` finds the right one."""

import os
from functools import partial
from importlib import import_module
from pathlib import Path

from nerula.addresses import is_address
from nerula.errors import UsageError, refuse, unknown
from nerula.readers.formats import FORMATS
from nerula.readers.source import NO_HINTS, Entry, Hints, Source
from nerula.readers.walk import is_folder

__all__ = ["KINDS", "Entry", "Hints", "Source", "open_source"]

_DATASETS = ("ptbxl", "challenge2017", "ucihar", "ecgid")
_BY_HEADERS = ("challenge2020",)
"""Modules with `KINDS` and `find(path, kind)`. The latter one looks into the first headers that
are met, however deep, so it is asked last."""
_MANY = 100
"""A folder of more folders than this is no place where data sets were unpacked."""

KINDS = (
    "ptbxl", "ptbxl100", "ptbxl500", "challenge2017", "challenge2020", "challenge2021",
    "ucihar", "ecgid", "sample", "folder", *FORMATS,
)  # fmt: skip
"""What `--as` takes: data sets, `folder` for files of any format, and each format."""


def open_source(path: Path | str, kind: str | None = None, hints: Hints = NO_HINTS) -> Source:
    """Return the data set or the recordings at `path`, recognised by what lies there.

    `kind` (one of `KINDS`) says what it is where that does not tell. `path` may be the folder of
    a data set as its publisher laid it out, the folder around it or the signals' folder in it; a
    folder of recordings in any format; one file; the word `sample`; or the address of any of
    these, such as s3://bucket/ptb-xl.
    """
    if is_address(path):
        from nerula.readers.far import open_far

        return open_far(str(path), partial(open_source, kind=kind, hints=hints))
    path = Path(path)
    if path.name in ("", ".."):  # a folder's own name helps to tell what it is a part of
        path = path.resolve()
    if kind is not None and kind not in KINDS:
        raise unknown("kind", kind, KINDS)
    if kind == "sample" or (kind is None and str(path) == "sample" and not path.exists()):
        from nerula import sample

        return sample.load()
    if not path.is_dir():
        return _file(path, kind, hints)
    if kind in ("folder", *FORMATS):
        return _folder(path, kind, hints)
    return _dataset(path, kind) or _folder(path, "folder", hints)


def _file(path: Path, kind: str | None, hints: Hints) -> Source:
    """Return a source of one file; a WFDB record may be named without an ending."""
    if kind not in (None, "folder", *FORMATS):
        raise UsageError(f"{path} is no folder; {kind} is a data set in a folder.")
    from nerula.readers.folder import Folder

    header = path.with_name(f"{path.name}.hea")
    if not path.exists() and header.is_file():
        path = header
    if not path.exists():
        raise refuse("file-missing", path)
    return Folder(path.parent, kind or "folder", hints, path.name)


def _folder(path: Path, kind: str | None, hints: Hints) -> Source:
    from nerula.readers.folder import Folder

    return Folder(path, kind or "folder", hints)


def _dataset(path: Path, kind: str | None) -> Source | None:
    """Return the data set in a folder, or in the only folder below it."""
    if here := _find(path, kind, _DATASETS):
        return here
    below = _folders_of(path)
    found = {item.name: source for item in below if (source := _find(item, kind, _DATASETS))}
    if len(found) == 1 and (len(below) == 1 or kind):
        return next(iter(found.values()))
    if found:
        held = ", ".join(f"{source.kind} in {name}" for name, source in found.items())
        raise UsageError(
            f"{path} holds several things: {held}" + (" ..." if len(below) > len(found) else "."),
            "Name one of its folders, or read all files of any format with --as folder.",
        )
    if any_header := _find(path, kind, _BY_HEADERS):
        return any_header
    if kind:
        raise UsageError(f"{path} does not look like {kind}.", "docs/datasets.md shows layouts.")
    return None


def _folders_of(path: Path) -> list[Path]:
    with os.scandir(path) as items:
        names = [item.name for item in items if item.name[0] not in "._" and is_folder(item)]
    return [path / name for name in sorted(names)] if len(names) <= _MANY else []


def _find(path: Path, kind: str | None, names: tuple[str, ...]) -> Source | None:
    """Return what the modules of data sets take `path` for."""
    modules = [import_module(f"nerula.readers.{name}") for name in names]
    asked = [module for module in modules if kind is None or kind in module.KINDS]
    found: list[Source] = [s for module in asked if (s := module.find(path, kind)) is not None]
    if len(found) > 1:
        kinds = " and ".join(source.kind for source in found)
        raise UsageError(f"{path} looks like {kinds}.", "Say which with --as.")
    return found[0] if found else None
