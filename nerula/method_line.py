"""The command line of `pretrain`: the options depend on the method, so it is read first.

Apart from the training itself, so that the tab key has its answer without torch.
"""

import inspect
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import App
from rich.console import Console

from nerula.completion import MethodAndPlaces
from nerula.methods import METHODS, find

if TYPE_CHECKING:
    from nerula.method import Method

app = App(name="pretrain", help_flags=[], version_flags=[])
"""What `nerula.cli` calls."""


@app.default
def _pretrain(
    *words: MethodAndPlaces,
) -> int:
    """Read the method, then the rest with the options of that method."""
    if not words or words[0].startswith("-"):
        known = ", ".join(sorted(METHODS))
        Console().print(
            "Usage: nerula pretrain METHOD STORE RUN [OPTIONS]\n\n"
            f"Methods: {known}, or package.module:Class for one of your own.\n"
            "Options of a method: nerula pretrain METHOD --help",
            markup=False, highlight=False,
        )  # fmt: skip
        return 0
    return command(words[0])(list(words[1:]), result_action="return_value") or 0


def command(method: str) -> App:
    """The command `nerula pretrain METHOD` with all options of the loop and of the method."""
    from nerula.options import command_line
    from nerula.pretrain import pretrain

    kind = find(method)

    def run(store: str | Path, run: Path, **options: Any) -> int:
        return pretrain(method, store, run, **options)

    places = list(inspect.signature(run).parameters.values())[:2]
    named = command_line(kind, method)
    setattr(run, "__signature__", inspect.Signature([*places, *named]))  # noqa: B010
    made = App(
        name=f"nerula pretrain {method}", version_flags=[], help=_story(kind),
        help_format="plaintext",
    )  # fmt: skip
    made.default(run)
    return made


def _story(kind: "type[Method]") -> str:
    """A method's paper and equations, without the arguments that the options repeat."""
    paper = inspect.cleandoc(sys.modules[kind.__module__].__doc__ or "")
    told, _, _ = inspect.cleandoc(kind.__doc__ or "").partition("Arguments\n---------")
    return "\n\n".join(_flowing(part) for part in (*paper.split("\n\n"), *told.split("\n\n")))


def _flowing(paragraph: str) -> str:
    """A paragraph or a list for any width; what is indented stays as it is."""
    paragraph = paragraph.rstrip()
    if paragraph.startswith(" "):
        return paragraph
    if paragraph.startswith("- "):
        return re.sub(r"\n +", " ", paragraph)
    return re.sub(r"::$", ":", paragraph.replace("\n", " "))
