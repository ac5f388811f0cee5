"""Write the README's results from comparisons: `python tools/tables_in_readme.py [OUT [NAME]]`.

`results/compare/` and `results/compare-leads/` are folders of comparisons without their models;
`nerula compare ... --out results/compare` continues one. With OUT, the folder of another
comparison, that one takes the place of `results/NAME` first (`compare`, if nothing is said). What
stands in the README between `<!-- results -->` and `<!-- end of results -->` is then made from
their `tables/*.json` alone.
"""

import json
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nerula.comparison import markdown
from nerula.comparison.places import without_places
from nerula.comparison.plan import RESULTS, Plan
from nerula.comparison.publish import CHECKS, TABLES

ROOT = Path(__file__).parent.parent
README, FOLDER = ROOT / "README.md", ROOT / "results"
COMPARISONS = {"compare": "Results", "compare-leads": "Results of several leads"}
"""Folders and their headings."""
BLOCK = re.compile(r"<!-- results -->\n.*?<!-- end of results -->", re.DOTALL)


def main() -> None:
    """Copy what is to be committed, and renew the README."""
    if len(sys.argv) > 1:
        adopt(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "compare")
    README.write_text(renewed(), encoding="utf-8")


def adopt(out: Path, kept: str) -> None:
    """Take another comparison, without models and without places of this machine."""
    if kept not in COMPARISONS:
        sys.exit(f"{kept} is none of {', '.join(COMPARISONS)}.")
    plan, folder = Plan.read(out), FOLDER / kept
    if out.resolve() == folder.resolve():
        return
    for name in (RESULTS, TABLES):
        if not (out / name).is_dir():
            sys.exit(f"{out} has no {name}: nothing is finished there.")
    for name in (RESULTS, TABLES):
        shutil.rmtree(folder / name, ignore_errors=True)
        shutil.copytree(out / name, folder / name, ignore=shutil.ignore_patterns("*.partial"))
    for path in sorted((folder / RESULTS).rglob("*.json")):  # earlier versions wrote places
        document = json.loads(path.read_text(encoding="utf-8"))
        document["command"] = without_places(document["command"])
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    for cell in plan.cells.values():
        cell.problem = cell.problem and without_places(cell.problem)
    plan.folder = folder
    plan.save()


def renewed() -> str:
    """The README with the results as they are committed."""
    text = README.read_text(encoding="utf-8")
    if not BLOCK.search(text):
        sys.exit(f"{README.name} has no <!-- results --> ... <!-- end of results -->.")
    return BLOCK.sub(lambda _: section(), text)


def section() -> str:
    """The block between the markers, both included."""
    lines = ["<!-- results -->"]
    for name, heading in COMPARISONS.items():
        documents = {path.name: path for path in sorted((FOLDER / name / TABLES).glob("*.json"))}
        if CHECKS not in documents:
            continue
        held = json.loads(documents.pop(CHECKS).read_text(encoding="utf-8"))
        tables = [json.loads(path.read_text(encoding="utf-8")) for path in documents.values()]
        lines += [f"## {heading}", "", *map(markdown.render, _chosen(tables))]
        lines += ["<details><summary>The protocol, counted</summary>", ""]
        lines += [markdown.render_checks(held["checks"], held["recordings_seen"]), "</details>"]
    return "\n".join([*lines, "<!-- end of results -->"])


def _chosen(tables: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The paper's tables, where there are any, and what they do not ask."""
    asked = {column["task"] for table in tables if table["number"] for column in table["columns"]}
    return [
        table
        for table in tables
        if table["number"] or not {column["task"] for column in table["columns"]} <= asked
    ]


if __name__ == "__main__":
    main()
