"""The catalogue: every defect is raised by a real file, and the page about it is current."""

import json
from pathlib import Path

import pytest

from nerula.check import check
from nerula.defects import CATALOGUE, Severity
from tests import provoke
from tests.provoke import BESIDE, PROVOKE, Case
from tools import make_defects_page


def codes(
    case: Case | Path, capsys: pytest.CaptureFixture[str]
) -> tuple[set[str], list[dict[str, str]]]:
    """What `nerula check --json` finds."""
    case = case if isinstance(case, Case) else Case(case)
    capsys.readouterr()
    check(case.path, as_json=True, jobs=1, **case.options)
    findings = json.loads(capsys.readouterr().out)["findings"]
    return {finding["code"] for finding in findings}, findings


@pytest.mark.parametrize("code", CATALOGUE)
def test_a_damaged_file_shows_exactly_its_defect(
    code: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = PROVOKE[code](tmp_path)
    if code == "reader-failed":
        provoke.broken_reader(monkeypatch)
    found, findings = codes(case, capsys)
    assert found == {code} | BESIDE.get(code, set()), [f["detail"] for f in findings]
    named = next(finding for finding in findings if finding["code"] == code)
    assert named["meaning"] and named["remedy"] and Path(named["path"]).name


def test_every_defect_can_be_provoked() -> None:
    assert set(PROVOKE) == set(CATALOGUE)


@pytest.mark.parametrize("make", [provoke.record, provoke.table], ids=lambda make: make.__name__)
def test_the_undamaged_files_are_sound(
    make: provoke.Builder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert codes(make(tmp_path), capsys)[0] == set()


def test_the_catalogue_tells_what_is_wrong_and_what_to_do() -> None:
    assert len(CATALOGUE) >= 40
    for code, defect in CATALOGUE.items():
        assert code == defect.code
        assert defect.meaning and not defect.meaning.endswith(".")
        assert defect.remedy.endswith(".") and defect.remedy[0].isupper()
    assert {defect.severity for defect in CATALOGUE.values()} == set(Severity)


def test_the_page_is_current() -> None:
    page = Path(__file__).parent.parent / "docs" / "defects.md"
    hint = "run python tools/make_defects_page.py"
    assert page.read_text(encoding="utf-8") == make_defects_page.page(), hint
