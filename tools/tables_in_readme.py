"""Write the README's results from committed tables: `python tools/tables_in_readme.py [OUT]`.

With OUT, the folder of a comparison, its tables are copied to `results/compare/` first. What
stands in the README between `<!-- results -->` and `<!-- end of results -->` is then made from
`results/compare/*.json` alone.
"""

import json
import re
import shutil
import sys
from pathlib import Path

from nerula.comparison import markdown
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
    """Take the tables of a comparison."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("*.json"):
        old.unlink()
    for path in sorted((out / TABLES).glob("*.json")):
        shutil.copyfile(path, FOLDER / path.name)


def renewed() -> str:
    """The README with the results as they are committed."""
    text = README.read_text(encoding="utf-8")
    if not BLOCK.search(text):
        sys.exit(f"{README.name} has no <!-- results --> ... <!-- end of results -->.")
    return BLOCK.sub(lambda _: section(), text)


def section() -> str:
    """The block between the markers, both included."""
    lines = ["<!-- results -->"]
    if CHECKS in {path.name for path in FOLDER.glob("*.json")}:
        held = json.loads((FOLDER / CHECKS).read_text(encoding="utf-8"))
        tables = [
            json.loads(path.read_text(encoding="utf-8"))
            for path in sorted(FOLDER.glob("*.json"))
            if path.name != CHECKS
        ]
        lines += ["## Results", "", *(markdown.render(table) for table in tables)]
        lines += ["<details><summary>The protocol, counted</summary>", ""]
        lines += [markdown.render_checks(held["checks"], held["recordings_seen"]), "</details>"]
    return "\n".join([*lines, "<!-- end of results -->"])


if __name__ == "__main__":
    main()
