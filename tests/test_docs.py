"""Documents made from the code are those that it makes now; links lead somewhere."""

import json
import re
from pathlib import Path

import pytest

from nerula.methods import METHODS
from tools import make_benchmarks_page
from tools.make_method_pages import FOLDER, page

ROOT = Path(__file__).parent.parent
WRITTEN = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("name", METHODS)
def test_the_page_of_a_method_is_the_one_its_code_makes(name: str) -> None:
    assert (FOLDER / f"{name}.md").read_text(encoding="utf-8") == page(name)
    for row in re.findall(r"^\| `--.*$", page(name), re.MULTILINE):
        assert not row.endswith("|  |"), f"{row} says nothing"


def test_the_page_of_benchmarks_has_the_figures_that_were_kept() -> None:
    kept = make_benchmarks_page.PAGE.read_text(encoding="utf-8")
    assert kept == make_benchmarks_page.page(), "run python -m tools.make_benchmarks_page"


def test_every_benchmark_stands_on_the_page() -> None:
    for path in (ROOT / "benchmarks").glob("*.py"):
        if "def measure(" in path.read_text(encoding="utf-8"):
            assert f"`{path.stem}`" in make_benchmarks_page.HEAD, path.name


def test_the_page_of_searches_says_what_was_found() -> None:
    found = json.loads((ROOT / "results" / "search" / "search.json").read_text(encoding="utf-8"))
    said = " ".join((ROOT / "docs" / "search.md").read_text(encoding="utf-8").split())
    for sentence in found["conclusion"]:
        assert sentence in said


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name)
def test_every_link_leads_to_a_file(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8")):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (path.parent / target).exists(), target


def test_no_table_of_contents_forgets_a_page() -> None:
    reachable, waiting = set(), [ROOT / "README.md"]
    while waiting:
        path = waiting.pop()
        if path in reachable:
            continue
        reachable.add(path)
        targets = re.findall(r"\]\(([^)#\s]+\.md)", path.read_text(encoding="utf-8"))
        waiting += [(path.parent / one).resolve() for one in targets if not one.startswith("http")]
    forgotten = {path for path in WRITTEN if path.resolve() not in reachable}
    assert not forgotten, sorted(path.name for path in forgotten)
