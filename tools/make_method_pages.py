"""Write docs/methods/NAME.md for every method, from its own docstring and signature.

    python tools/make_method_pages.py

A test compares the pages with what this makes, so that they never tell of another version.
"""

import inspect
import json
import re
import sys
from pathlib import Path
from typing import Any

from nerula.method import Method
from nerula.methods import METHODS, find
from nerula.options import LOOP, described

FOLDER = Path(__file__).parent.parent / "docs" / "methods"


def page(name: str) -> str:
    """The page of a method as Markdown."""
    kind = find(name)
    paper = inspect.cleandoc(sys.modules[kind.__module__].__doc__ or "")
    told, _, _ = inspect.cleandoc(kind.__doc__ or "").partition("Arguments\n---------")
    parts = [
        f"# {name}",
        paper,
        f"```sh\nnerula pretrain {name} STORE RUN\nnerula {name} --help\n```",
        re.sub(r"::\n", ":\n", told.strip() + "\n").strip(),
        *_arguments(kind),
        *_presets(kind),
        "[All methods](../methods.md), with what they cost; [training](../training.md).",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _arguments(kind: type[Method]) -> list[str]:
    meanings = described(kind)
    rows = [
        f"| `--{one.name.replace('_', '-')}` | `{_said(one.default)}` | "
        f"{meanings.get(one.name, '').replace('|', chr(92) + '|')} |"
        for one in inspect.signature(kind).parameters.values()
    ]
    if not rows:
        return []
    head = "| option | default | |\n|---|---|---|\n"
    return ["## Arguments", head + "\n".join(rows)]


def _presets(kind: type[Method]) -> list[str]:
    if not kind.presets:
        return []
    found = ["## Presets"]
    for preset, values in kind.presets.items():
        own = [f"`{key}={_said(value)}`" for key, value in values.items()]
        loop = [
            f"`{key}={_said(value)}`" for key, value in kind.recipes.get(preset, {}).items()
            if key in LOOP
        ]  # fmt: skip
        found.append(f"`--preset {preset}` sets {', '.join(own + loop)}.")
    return found


def _said(value: Any) -> str:
    if isinstance(value, list | tuple):
        return json.dumps(value)[1:-1]
    return str(value)


def main() -> None:
    """Write all pages."""
    FOLDER.mkdir(exist_ok=True)
    for name in METHODS:
        (FOLDER / f"{name}.md").write_text(page(name), encoding="utf-8")


if __name__ == "__main__":
    main()
