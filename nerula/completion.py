"""What the tab key offers where a name from a list is expected, as types of a verb's arguments.

`nerula --install-completion` bakes verbs and options into the shell's script; for these arguments
the script asks at the moment that the key is pressed, so nothing here may import torch.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from nerula import brought
from nerula.methods import METHODS


def _models(context: Any) -> Iterator[str]:
    yield from brought.names()
    yield from _paths(context.incomplete)


def _methods(_: Any) -> Iterable[str]:
    return list(METHODS)


def _method_and_places(context: Any) -> Iterable[str]:
    """For words of which the first is a method and the others are folders."""
    return list(METHODS) if context.index == 0 else _paths(context.incomplete)


def _tasks(_: Any) -> dict[str, str]:
    from nerula.tasks import TASKS

    return {name: task.title for name, task in TASKS.items()}


def _rows(_: Any) -> dict[str, str]:
    from nerula.comparison.rows import ROWS

    return {name: row.title for name, row in ROWS.items()}


def _kinds(_: Any) -> Iterable[str]:
    from nerula.readers import KINDS

    return KINDS


def _several(names: Callable[[Any], Iterable[str]]) -> Callable[[Any], Iterable[str]]:
    """For a list with commas: what stands before the last comma stays."""

    def offered(context: Any) -> list[str]:
        said = context.incomplete.rpartition(",")
        return [f"{said[0]}{said[1]}{name}" for name in names(context)]

    return offered


def _paths(begun: str) -> Iterator[str]:
    """Files and folders that begin like this; a folder with its slash."""
    folder, _, name = begun.rpartition("/")
    place = Path(f"{folder}/" if folder or begun.startswith("/") else ".").expanduser()
    before = begun[: len(begun) - len(name)]
    try:
        found = sorted(place.iterdir())
    except OSError:
        return
    for path in found:
        if path.name.startswith(name) and (name.startswith(".") or not path.name.startswith(".")):
            yield f"{before}{path.name}/" if path.is_dir() else f"{before}{path.name}"


ModelName = Annotated[str, Parameter(completer=_models)]
MethodName = Annotated[str, Parameter(completer=_methods)]
TaskName = Annotated[str, Parameter(completer=_tasks)]
RowNames = Annotated[str, Parameter(completer=_several(_rows))]
TaskNames = Annotated[str, Parameter(completer=_several(_tasks))]
KindName = Annotated[str | None, Parameter(name="--as", completer=_kinds)]
MethodAndPlaces = Annotated[
    str, Parameter(allow_leading_hyphen=True, completer=_method_and_places)
]
