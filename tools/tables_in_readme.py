"""Write the README's results from a comparison: `python tools/tables_in_readme.py [OUT]`.

`results/compare/` is the folder of a comparison without its models; `nerula compare ... --out
results/compare` continues it. With OUT, the folder of another comparison, that one takes its place
first. What stands in the README between `<!-- results -->` and `<!-- end of results -->` is then
made from `results/compare/tables/*.json` alone.
"""

import json
import re
import shutil
import sys
from pathlib import Path

from nerula.comparison import markdown
from nerula.comparison.places import without_places
from nerula.comparison.plan import RESULTS, Plan
from nerula.comparison.publish import CHECKS, TABLES

ROOT = Path(__file__).parent.parent
README, FOLDER = ROOT / "README.md", ROOT / "results" / "compare"
BLOCK = re.compile(r"<!-- results -->\n.*?<!-- end of results -->", re.DOTALL)


def main() -> None:
    """Copy what is to be committed, and renew the README."""
    if len(sys.argv) > 1:
        adopt(Path(sys.argv[1]))
    README.write_text(renewed(), encoding="utf-8")


def adopt(out: Path) -> None:
    """Take another comparison, without models and without places of this machine."""
    plan = Plan.read(out)
    if out.resolve() == FOLDER.resolve():
        return
    for name in (RESULTS, TABLES):
        if not (out / name).is_dir():
            sys.exit(f"{out} has no {name}: nothing is finished there.")
    for name in (RESULTS, TABLES):
        shutil.rmtree(FOLDER / name, ignore_errors=True)
        shutil.copytree(out / name, FOLDER / name, ignore=shutil.ignore_patterns("*.partial"))
    for path in sorted((FOLDER / RESULTS).rglob("*.json")):  # earlier versions wrote places
        document = json.loads(path.read_text(encoding="utf-8"))
        document["command"] = without_places(document["command"])
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    for cell in plan.cells.values():
        cell.problem = cell.problem and without_places(cell.problem)
    plan.folder = FOLDER
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
    documents = {path.name: path for path in sorted((FOLDER / TABLES).glob("*.json"))}
    if CHECKS in documents:
        held = json.loads(documents.pop(CHECKS).read_text(encoding="utf-8"))
        tables = [json.loads(path.read_text(encoding="utf-8")) for path in documents.values()]
        lines += ["## Results", "", *(markdown.render(table) for table in tables)]
        lines += ["<details><summary>The protocol, counted</summary>", ""]
        lines += [markdown.render_checks(held["checks"], held["recordings_seen"]), "</details>"]
    return "\n".join([*lines, "<!-- end of results -->"])


if __name__ == "__main__":
    main()
