"""Unpacking archives of known content: only the names that are expected, and none that leaves."""

import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from nerula.errors import NerulaError, refuse
from nerula.files import replacing

_LIMIT = 4 << 30
"""Bytes that one archive may unpack to: a bomb is told from its directory."""
_BLOCK = 1 << 20


def unpack(archive: Path, folder: Path, wanted: str, *, verify: bool = False) -> Iterator[Path]:
    """Write the members whose names match `wanted` below `folder`; yield each one's path.

    What is there already in the right size is left alone; with `verify`, its checksum is
    compared too.
    """
    pattern = re.compile(wanted)
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not member.is_dir()]
            chosen = [member for member in members if pattern.fullmatch(member.filename)]
            _check(archive, chosen)
            for member in chosen:
                path = folder / member.filename
                if not _is_there(path, member, verify):
                    _write(opened, member, path, folder)
                yield path
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise NerulaError(
            f"{archive} is damaged: {error}.", "Delete it and run the same command again."
        ) from error


def _check(archive: Path, members: list[zipfile.ZipInfo]) -> None:
    if not members:
        raise NerulaError(
            f"{archive} holds nothing that was expected.", "Its publisher changed it."
        )
    if sum(member.file_size for member in members) > _LIMIT:
        raise refuse("size-absurd", archive)
    for member in members:
        parts = member.filename.split("/")
        link = stat.S_ISLNK(member.external_attr >> 16)
        if link or "\\" in member.filename or not all(part.strip(". ") for part in parts):
            raise refuse("path-outside", archive, repr(member.filename))


def _is_there(path: Path, member: zipfile.ZipInfo, verify: bool) -> bool:
    if not path.is_file() or path.stat().st_size != member.file_size:
        return False
    return not verify or _checksum(path) == member.CRC


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            checksum = zlib.crc32(block, checksum)
    return checksum


def _write(opened: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, folder: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.parent.resolve().is_relative_to(folder.resolve()):
        raise refuse("path-outside", path, "a link")
    with opened.open(member) as source, replacing(path) as file:
        while block := source.read(_BLOCK):  # ends with an error where the checksum is wrong
            file.write(block)
