"""Sources: what the paths of `nerula report` hold, recognised by what lies in them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nerula import bundle
from nerula.errors import NerulaError, UsageError
from nerula.files import load_json
from nerula.report import tables
from nerula.report.tables import COMPARISON, OTHER_SEED, Compared
from nerula.results import FORMAT, Result
from nerula.run import CONFIG, METRICS, MODEL
from nerula.schema import TENSORS
from nerula.store import INDEX

DEPTH = 6
"""How many folders deep things are looked for."""
_LARGEST = 1 << 24
_NEEDED = {"task", "model", "provenance", "data", "way", "windows", "fits", "metrics", "command"}


@dataclass
class Sources:
    """Folders by what they are, results as they are read, and what could not be shown."""

    runs: list[Path] = field(default_factory=list)
    models: list[Path] = field(default_factory=list)
    """Folders of models, those of runs among them."""
    stores: list[Path] = field(default_factory=list)
    caches: list[Path] = field(default_factory=list)
    """Where `nerula probe` keeps embeddings."""
    results: list[Result] = field(default_factory=list)
    tables: list[Compared] = field(default_factory=list)
    """Of `nerula compare`, a folder's at a time."""
    left_out: list[str] = field(default_factory=list)
    """What was found and not shown, with the reason."""


def find(paths: Iterable[Path]) -> Sources:
    """Look at every path; one that holds nothing of ours is an error that names it."""
    found = Sources()
    for given in paths:
        path = given if given.exists() else bundle.locate(str(given))  # or the name of a model
        if path is None:
            raise UsageError(f"{given} does not exist.")
        before = _size(found)
        _look(path, found)
        if _size(found) == before:
            why = f" {' '.join(found.left_out)}" if found.left_out else ""
            raise UsageError(
                f"There is nothing in {path} that a report could show.{why}",
                "Give a run, a model, a store, or what nerula probe wrote with --out.",
            )
    return found


def _size(found: Sources) -> int:
    kinds = (found.runs, found.models, found.stores, found.results, found.tables)
    return sum(len(one) for one in kinds)


def _look(path: Path, found: Sources) -> None:
    """Recognise a path, or what lies in it."""
    if path.is_file():
        _add_result(path, found, {})
        return
    titles: dict[Path, str] = {}
    for folder in _walk(path, DEPTH):
        if (folder / COMPARISON).is_file():
            compared = tables.read(folder)
            found.tables.append(compared)
            titles |= compared.titles
        if (folder / INDEX).is_file():
            _add(found.stores, folder)
        elif _is_model(folder):
            _add(found.models, folder)
        elif (folder / CONFIG).is_file() and (folder / METRICS).is_file():
            _add(found.runs, folder)
            if _is_model(folder / MODEL):
                _add(found.models, folder / MODEL)
        elif folder.name == "cache":
            _add(found.caches, folder)
        for document in sorted(folder.glob("*.json")):
            if document.with_suffix(".npz").is_file():
                _add_result(document, found, titles)


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    """The folder and those below it, in order; what we recognise is not looked into."""
    yield folder
    if depth and not any((folder / name).exists() for name in (INDEX, CONFIG)):
        for inner in sorted(folder.iterdir()):
            if inner.is_dir() and not inner.is_symlink() and not inner.name.startswith("."):
                yield from _walk(inner, depth - 1)


def _is_model(folder: Path) -> bool:
    return (folder / CONFIG).is_file() and (folder / TENSORS).is_file()


def _add(folders: list[Path], folder: Path) -> None:
    if folder not in folders:
        folders.append(folder)


def _add_result(path: Path, found: Sources, titles: Mapping[Path, str]) -> None:
    """Read a result; one that is damaged is left out by name, and the rest is shown.

    Of several seeds of a comparison the first stands for all; its tables have their mean.
    """
    title = titles.get(path)
    if title == OTHER_SEED or not _says_result(path):
        return
    try:
        result = Result.read(path)
        if lacking := _NEEDED - set(result.document):
            raise NerulaError(f"{path} lacks {', '.join(sorted(lacking))}.")
    except NerulaError as error:
        found.left_out.append(str(error))
        return
    if result.document["task"]["kind"] != "values":
        result = replace(result, runs=())  # predictions are drawn of values only: keep memory free
    if title:
        result.document["model"]["title"] = title
    if all(result.document != other.document for other in found.results):
        found.results.append(result)


def _says_result(path: Path) -> bool:
    try:
        if path.stat().st_size > _LARGEST:
            return False
        document: Any = load_json(path)
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and document.get("format") == FORMAT
