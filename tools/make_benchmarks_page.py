"""Write docs/benchmarks.md, every figure that was measured, from the JSON in results/."""

import ast
import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"

HEAD = """# Benchmarks

What was measured, as it came out. `python -m benchmarks [NAME ...] [--data FOLDER] [--out FILE]`
measures again; what is compared is measured in one run, on the same files.
`python -m tools.make_benchmarks_page` makes this page from the files in `results/`. What the
figures mean, and what did not work, is in [the log](log.md); what they come to with millions of
recordings, in [scale](scale.md).

| script | what it measures |
|---|---|
"""


def page() -> str:
    """Return the page as Markdown."""
    scripts = list(_scripts())
    runs = [part for path in sorted((ROOT / "results").glob("bench*.json")) for part in _run(path)]
    return HEAD + "\n".join([*scripts, *runs]) + "\n"


def _scripts() -> Iterator[str]:
    """Every script that measures something, in the first sentence of its own words."""
    for path in sorted((ROOT / "benchmarks").glob("[a-z]*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.FunctionDef) and node.name == "measure" for node in tree.body):
            words = (ast.get_docstring(tree) or "").partition("\n\n")[0]
            yield f"| `{path.stem}` | {_cell(' '.join(words.split()))} |"


def _run(path: Path) -> Iterator[str]:
    """One run: where it comes from, then a table for each group."""
    run = json.loads(path.read_text(encoding="utf-8"))
    came = run["provenance"]
    yield f"\n## [{path.name}](../results/{path.name})\n"
    yield f"`{came['command']}`\n"
    versions = ", ".join(f"{name} {came[name]}" for name in ("python", "numpy", "torch", "wfdb"))
    commit = f"commit {came['commit'][:12]}" + (" with changes" if came["modified"] else "")
    load = came["load"][0]
    machine = f"{came['processor']}, {came['cores']} cores, load {load:g} at the end"
    yield f"{came['date']}, {machine}, {came['data']}; {versions}; {commit}."
    for group, figures in groupby(run["figures"], key=lambda one: one["group"]):
        yield f"\n| {_cell(group)} | | | |\n|---|---:|---|---|"
        yield from map(_row, figures)


def _row(figure: dict[str, Any]) -> str:
    cells = (figure["name"], _number(figure["value"]), figure["unit"], figure["note"])
    return "| " + " | ".join(_cell(str(cell)) for cell in cells) + " |"


def _number(value: float) -> str:
    """Four digits at most behind the first, none that mean nothing."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
