"""Listing folders: in the same order everywhere, one folder at a time, never out of the root.

A name that ends in "/" stands for a folder that was not entered: a link that leaves the root, or
one that cannot be listed. It is an entry like others, refused when it is read, so that nothing is
left out in silence.
"""

import os
from collections.abc import Container, Iterator
from pathlib import Path

from nerula.errors import DefectError, refuse
from nerula.readers.source import Entry, legible

HEADER = ".hea"


def folders(root: Path, skip: Container[str] = ()) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder below `root` ("" or "a/b/") and the sorted names of its files.

    Hidden files and folders are passed over, and folders named in `skip`. Folders that are linked
    to from inside the root are met once, where they are.
    """
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        files: list[str] = []
        below: list[str] = []
        try:
            with os.scandir(root / folder) as found:
                for item in found:
                    if item.name[0] == "." or item.name in skip:
                        continue
                    if item.is_dir(follow_symlinks=False):
                        below.append(f"{folder}{item.name}/")
                    elif not item.is_symlink() or not is_folder(item):
                        files.append(item.name)
                    elif _leaves(item.path, root):
                        files.append(f"{item.name}/")
        except OSError as error:
            if not folder:
                raise refuse("file-unreadable", root, str(error)) from error
            files, below = ["/"], []
        yield folder, sorted(files)
        waiting.extend(sorted(below, reverse=True))


def is_folder(item: os.DirEntry[str]) -> bool:
    """Whether something in a folder is a folder, or a link to one."""
    try:
        return item.is_dir()
    except OSError:  # a link to itself, which is refused when it is read
        return False


def headers(root: Path, skip: Container[str] = ()) -> Iterator[Entry]:
    """Yield the WFDB records below `root` by their headers, and the folders not entered."""
    for folder, files in folders(root, skip):
        place = root / folder
        for file in files:
            if file.endswith(HEADER):
                yield Entry(legible(f"{folder}{file.removesuffix(HEADER)}"), place / file)
            elif file[-1] == "/":
                yield not_entered(root, folder, file)


def not_entered(root: Path, folder: str, file: str) -> Entry:
    """Return the entry of a folder that `folders` did not enter."""
    name = f"{folder}{file}".rstrip("/")
    return Entry(f"{legible(name)}/", root / name)


def confine(entry: Entry, root: Path) -> None:
    """Refuse a folder that was not entered, and a file that is a link out of the root."""
    if entry.name[-1] == "/":
        raise _why_not_entered(entry.path, root)
    if os.path.islink(entry.path) and _leaves(entry.path, root):  # noqa: PTH114 - in the hot path
        raise refuse("path-outside", entry.path, "a link")


def _why_not_entered(path: Path, root: Path) -> DefectError:
    if _leaves(path, root):
        return refuse("path-outside", path, "a link to a folder")
    return refuse("file-unreadable", path, "a folder that cannot be listed")


def _leaves(path: str | Path, root: Path) -> bool:
    try:
        return not Path(path).resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # a link to itself
        return True
