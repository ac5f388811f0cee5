"""`nerula check`: exit codes, the table, the document, and what recordings must not share."""

import io
import json
import math
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from nerula import chunks
from nerula.check import check
from nerula.cli import main
from nerula.defects import CATALOGUE
from nerula.engines import Local
from nerula.errors import UsageError
from nerula.leakage import Ledger, Split, shared_subjects
from nerula.prepare import Options, make_store
from nerula.readers import open_source
from nerula.readers.source import NO_HINTS
from nerula.store import Store
from nerula.survey import look
from nerula.verdict import Verdict, show
from tests import clinical_files as files
from tests import layouts, provoke

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def ward(tmp_path: Path) -> Path:
    """A folder as people have it: some files are sound, each of the others is not."""
    root = tmp_path / "ward"
    codes = (
        "signal-flat",
        "header-line-ends",
        "checksum-wrong",
        "einthoven-broken",
        "time-gap",
        "data-truncated",
        "length-short",
        "age-over-89",
        "gain-unusual",
        "leads-identical",
    )
    for number, code in enumerate(codes):
        folder = root / f"bed {number:02d}"
        folder.mkdir(parents=True)
        provoke.PROVOKE[code](folder)
    for number in range(20):
        layouts.write_record(
            root / f"sound/{number:02d}", [layouts.microvolts(20)[number]], ["II"], 100
        )
    return root


def document(capsys: Capture, *paths: Path, **options: Any) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = check(*paths, as_json=True, **{"jobs": 1, **options})
    found: dict[str, Any] = json.loads(capsys.readouterr().out, parse_constant=_no_constant)
    return code, found


def _no_constant(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


def of(found: dict[str, Any], code: str) -> list[dict[str, str]]:
    return [finding for finding in found["findings"] if finding["code"] == code]


def said(capsys: Capture, *paths: Path, **options: Any) -> tuple[int, str]:
    capsys.readouterr()
    code = check(*paths, **{"jobs": 1, **options})
    return code, capsys.readouterr().out


# --- exit codes --------------------------------------------------------------------------------


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in ("check", *words)])
    assert isinstance(end.value.code, int)
    return end.value.code


@pytest.mark.parametrize("code", ["signal-flat", "checksum-wrong", "lead-unknown"])
def test_strict_fails_where_anything_is_wrong(code: str, tmp_path: Path) -> None:
    path = provoke.PROVOKE[code](tmp_path)
    assert run(path) == 0
    assert run(path, "--strict") == 2
    assert run(path, "--strict", "--json") == 2


@pytest.mark.parametrize("code", ["header-line-ends", "age-over-89", "einthoven-inexact"])
def test_notes_are_harmless(code: str, tmp_path: Path) -> None:
    assert run(provoke.PROVOKE[code](tmp_path), "--strict") == 0


def test_sound_recordings_pass(tmp_path: Path) -> None:
    assert run(provoke.record(tmp_path), "--strict") == 0
    assert run(tmp_path, "--strict", "--json") == 0


def test_nothing_to_check(tmp_path: Path, capsys: Capture) -> None:
    assert run() == 1
    assert "nothing to check" in capsys.readouterr().err
    assert run(tmp_path / "nowhere") == 1
    assert run(tmp_path / "nowhere", "--strict") == 2
    assert run(tmp_path) == 1
    assert "Nothing was checked." in capsys.readouterr().out


def test_the_command_itself(ward: Path) -> None:
    command = [sys.executable, "-m", "nerula.cli", "check", str(ward), "--strict", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert json.loads(done.stdout)["summary"]["recordings"] == 30
    assert "Next: nerula prepare" in done.stderr


def test_one_bad_path_spares_the_others(tmp_path: Path, capsys: Capture) -> None:
    provoke.record(tmp_path / "a")
    code, found = document(capsys, tmp_path / "nowhere", tmp_path / "a")
    assert code == 0
    assert found["summary"]["recordings"] == found["summary"]["sound"] == 1
    assert of(found, "file-missing")[0]["path"] == str(tmp_path / "nowhere")


def test_our_own_mistakes_end_no_run(
    ward: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    provoke.broken_reader(monkeypatch)
    code, found = document(capsys, ward)
    assert code == 0
    assert len(of(found, "reader-failed")) == 29
    assert of(found, "reader-failed")[0]["detail"] == "ZeroDivisionError: our own mistake"
    assert of(found, "time-gap")  # which is no WFDB


def test_options_that_cannot_be_meant(tmp_path: Path) -> None:
    provoke.record(tmp_path)
    with pytest.raises(UsageError, match="no kind"):
        check(tmp_path, kind="ptbxxl")
    with pytest.raises(UsageError, match="neither a table nor"):
        check(tmp_path, split="nowhere.csv")


# --- the document ------------------------------------------------------------------------------


def test_the_document(ward: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ward.parent)
    code, found = document(capsys, Path("ward"))
    assert code == 0
    assert (found["format"], found["version"], found["paths"]) == ("nerula-check", 1, ["ward"])
    fields = {"severity", "code", "path", "recording", "lead", "detail", "meaning", "remedy"}
    for finding in found["findings"]:
        assert set(finding) == fields
        assert finding["path"].startswith("ward/bed ")
        defect = CATALOGUE[finding["code"]]
        assert (finding["severity"], finding["remedy"]) == (defect.severity, defect.remedy)
    summary = found["summary"]
    severe = {f["recording"] for f in found["findings"] if f["severity"] != "note"}
    assert (summary["recordings"], summary["sound"]) == (30, 30 - len(severe))
    assert (summary["errors"], summary["warnings"], summary["notes"]) == (2, 11, 2)
    assert summary["duplicates"] == len(of(found, "recording-duplicate")) == 5
    assert summary["codes"] == {
        code: len(of(found, code)) for code in sorted({f["code"] for f in found["findings"]})
    }
    assert summary["split"] is None
    flat = of(found, "signal-flat")[0]
    assert (flat["recording"], flat["lead"]) == ("bed 00/ecg", "V3")


@pytest.mark.parametrize("as_json", [True, False])
def test_any_number_of_jobs_says_the_same(
    ward: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, as_json: bool
) -> None:
    monkeypatch.setattr(chunks, "ENTRIES", 4)
    outputs = set()
    for jobs in (1, 2, 3):
        check(ward, as_json=as_json, jobs=jobs)
        outputs.add(capsys.readouterr().out)
    assert len(outputs) == 1


def test_names_that_are_no_text(tmp_path: Path, capsys: Capture) -> None:
    """Latin-1 and control characters in file names: told, but not obeyed by the terminal."""
    header = provoke.PROVOKE["checksum-wrong"](tmp_path)
    header = header.rename(tmp_path / os.fsdecode(b"caf\xe9\x1b[31m.hea"))
    _, found = document(capsys, tmp_path)
    assert found["findings"][0]["path"] == str(header)
    _, text = said(capsys, tmp_path)
    assert "\x1b" not in text
    assert "caf\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}[31m.hea" in text


def test_leads_that_matter(ward: Path, capsys: Capture) -> None:
    _, found = document(capsys, ward, leads="I, II")
    assert not of(found, "signal-flat")
    assert of(found, "einthoven-broken")
    assert {finding["lead"] for finding in of(found, "lead-missing")} == {"I"}
    _, found = document(capsys, ward, leads="V3")
    assert of(found, "signal-flat")


def test_limit(ward: Path, capsys: Capture) -> None:
    assert document(capsys, ward, limit=7)[1]["summary"]["recordings"] == 7


def test_files_that_do_not_say_everything(tmp_path: Path, capsys: Capture) -> None:
    np.save(tmp_path / "ecg.npy", provoke.ecg()[:2] * np.float32(1.25))
    _, found = document(capsys, tmp_path)
    assert {finding["severity"] for finding in found["findings"]} == {"error"}
    hints = {"source_rate": 250.0, "source_unit": "uV", "source_leads": "I,II"}
    _, found = document(capsys, tmp_path, **hints)
    assert found["findings"] == []


# --- the table ---------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_table_fits_the_terminal(ward: Path, width: int) -> None:
    verdict = judged(ward)
    printed = io.StringIO()
    show(verdict, Console(width=width, file=printed))
    text = printed.getvalue()
    assert all(len(line) <= width for line in text.splitlines()[:-1])
    assert not any(line.endswith(" ") for line in text.splitlines())
    places = [text.index(word) for word in ("ERROR", "WARNING", "NOTE", "checked", "Next:")]
    assert places == sorted(places)
    assert text.rindex("ERROR") < text.index("WARNING")
    assert "30 recordings, folder in" in " ".join(text.split())
    assert f"Next: nerula prepare {ward} STORE" in text


def judged(path: Path) -> Verdict:
    part = look(path, None, NO_HINTS, None)
    verdict = Verdict([part], Ledger(), Split(None))
    for some in part.seen(Local(), None):
        for seen in some:
            verdict.add(part, seen, seen.findings)
    return verdict


def test_many_findings_are_counted(tmp_path: Path, capsys: Capture) -> None:
    for number in range(30):
        folder = tmp_path / f"{number:02d}"
        folder.mkdir()
        provoke.PROVOKE["checksum-wrong"](folder)
    _, text = said(capsys, tmp_path)
    assert "ERROR checksum-wrong  30 recordings" in text
    assert "and 25 more" in text
    assert len(text.splitlines()) < 25


def test_it_ends_with_the_next_command(tmp_path: Path, capsys: Capture) -> None:
    provoke.record(tmp_path)
    _, text = said(capsys, tmp_path)
    assert text.splitlines()[-1] == f"Next: nerula prepare {tmp_path} STORE"
    assert "All is sound." in text


def test_where_nothing_is_sound_there_is_nothing_to_prepare(
    tmp_path: Path, capsys: Capture
) -> None:
    provoke.PROVOKE["checksum-wrong"](tmp_path)
    _, text = said(capsys, tmp_path)
    assert text.splitlines()[-1] == f"Next: mend what is wrong, then nerula check {tmp_path}"


# --- what recordings share ---------------------------------------------------------------------


def write_split(path: Path, sides: dict[str, str], encoding: str = "utf-8") -> str:
    lines = ["name,split", *(f"{name},{side}" for name, side in sides.items()), ""]
    path.write_text("\n".join(lines), encoding=encoding, newline="")
    return str(path)


def ward_of_people(root: Path, people: int = 12) -> dict[str, str]:
    """Two recordings each of some people, in ECG-ID's layout; names and whose they are."""
    whose = {}
    for person in range(1, people + 1):
        for record in (1, 2):
            name = f"Person_{person:02d}/rec_{record}"
            x = layouts.microvolts(4 * people)[4 * person - 2 * record :][:2] // 5
            layouts.write_record(root / name, x, ["ECG I", "ECG I filtered"], 100, gain="200")
            whose[name] = f"Person_{person:02d}"
    return whose


def test_a_random_split_leaks_subjects(tmp_path: Path, capsys: Capture) -> None:
    """Splitting recordings at random puts people on both sides: refused, with their number."""
    whose = ward_of_people(tmp_path / "data")
    names = list(whose)
    random.Random(0).shuffle(names)
    sides = {name: "train" if rank < 12 else "test" for rank, name in enumerate(names)}
    both = {
        person
        for person in whose.values()
        if {sides[name] for name in names if whose[name] == person} == {"train", "test"}
    }
    split = write_split(tmp_path / "split.csv", sides)
    code, found = document(capsys, tmp_path / "data", split=split, strict=True)
    assert code == 2
    assert found["summary"]["split"]["shared_subjects"] == len(both) > 3
    assert len(of(found, "subject-leak")) == len(both)
    subjects, on = list(whose.values()), [sides[name] for name in whose]
    assert set(shared_subjects(subjects, on)) == both
    _, text = said(capsys, tmp_path / "data", split=split)
    assert f"shared subjects: {len(both)}" in text
    assert "mend the split" in text.splitlines()[-1]


def test_a_split_by_subject_does_not(tmp_path: Path, capsys: Capture) -> None:
    whose = ward_of_people(tmp_path / "data")
    sides = {name: "test" if person > "Person_08" else "train" for name, person in whose.items()}
    split = write_split(tmp_path / "split.csv", sides)
    _, found = document(capsys, tmp_path / "data", split=split)
    assert found["summary"]["split"] == {
        "by": split,
        "sides": {"test": 8, "train": 16},
        "without_side": 0,
        "subjects": 12,
        "shared_subjects": 0,
    }
    assert "shared subjects: 0" in said(capsys, tmp_path / "data", split=split)[1]


def test_the_folds_of_a_data_set_are_a_split(tmp_path: Path, capsys: Capture) -> None:
    layouts.ptbxl(tmp_path, count=40)
    code, text = said(capsys, tmp_path, strict=True)
    assert code == 0
    assert "split       by fold: 1 (" in text
    assert "shared subjects: 0" in text
    table = tmp_path / "ptbxl_database.csv"
    rows = table.read_text().splitlines(keepends=True)
    cells = rows[2].split(",")
    other = next(row for row in rows[3:] if row.split(",")[-3] != cells[-3]).split(",")
    rows[2] = ",".join([cells[0], other[1], *cells[2:]])
    table.write_text("".join(rows))
    code, found = document(capsys, tmp_path, strict=True)
    assert code == 2
    assert [
        finding["code"] for finding in found["findings"] if finding["severity"] == "error"
    ] == ["subject-leak"]


def test_a_duplicate_across_the_split_is_worse_than_one(tmp_path: Path, capsys: Capture) -> None:
    provoke.pair(tmp_path / "data")
    _, found = document(capsys, tmp_path / "data")
    assert [f["detail"] for f in of(found, "recording-duplicate")] == ["the same as one"]
    assert found["summary"]["duplicates"] == 1
    for sides, code in (
        ({"one": "a", "two": "b"}, "duplicate-leak"),
        ({"one": "a", "two": "a"}, "recording-duplicate"),
        ({"one": "a"}, "recording-duplicate"),
    ):
        split = write_split(tmp_path / "split.csv", sides)
        _, found = document(capsys, tmp_path / "data", split=split)
        assert {finding["code"] for finding in found["findings"]} == {code}


def test_the_same_signal_is_recognised_in_every_format(tmp_path: Path, capsys: Capture) -> None:
    x = files.excerpt(files.TWELVE, 2500)
    (tmp_path / "a.edf").write_bytes(files.edf(files.edf_signals(files.TWELVE, 2500, 250)))
    (tmp_path / "b.xml").write_text(files.aecg(files.TWELVE, x))
    files.save_dicom(files.dicom(files.TWELVE, x), tmp_path / "c.dcm")
    provoke.muse(tmp_path)
    provoke.table(tmp_path)
    provoke.record(tmp_path / "d")
    _, found = document(capsys, tmp_path)
    assert {f["code"] for f in found["findings"]} == {"recording-duplicate", "identifier-removed"}
    assert [f["detail"] for f in of(found, "recording-duplicate")] == ["the same as a"] * 5


def test_people_of_different_sources_are_different(tmp_path: Path, capsys: Capture) -> None:
    for number, side in enumerate(("train", "test")):
        layouts.write_record(
            tmp_path / side / "Person_01/rec_1",
            layouts.microvolts(4)[2 * number :][:2] // 5,
            ["ECG I", "ECG I filtered"],
            100,
            gain="200",
        )
    split = write_split(tmp_path / "split.csv", {"Person_01/rec_1": "train"})
    _, found = document(capsys, tmp_path / "train", tmp_path / "test", split=split)
    assert found["summary"]["split"]["shared_subjects"] == 0


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_tables_as_people_save_them(
    tmp_path: Path, encoding: str, line_end: str, capsys: Capture
) -> None:
    provoke.record(tmp_path / "data")
    table = tmp_path / "split.csv"
    table.write_bytes(line_end.join(["Name,café,Split", "ecg,x,träin", ""]).encode(encoding))
    _, found = document(capsys, tmp_path / "data", split=str(table))
    assert found["summary"]["split"]["sides"] == {"träin": 1}
    assert found["findings"] == []


@pytest.mark.parametrize(
    "content",
    ["", "name,side\necg,a\n", "name,split\necg\n", "name,split\n,a\n", 'name,split\n"ecg,a\n'],
)
def test_tables_that_cannot_be_read(tmp_path: Path, content: str) -> None:
    provoke.record(tmp_path / "data")
    (tmp_path / "split.csv").write_text(content)
    assert run(tmp_path / "data", "--split", tmp_path / "split.csv") == 1


def test_rows_of_nothing(tmp_path: Path, capsys: Capture) -> None:
    provoke.record(tmp_path / "data")
    split = write_split(tmp_path / "split.csv", {"ecg.hea": "a", "lost": "b", "ecg2": "b"})
    _, found = document(capsys, tmp_path / "data", split=split)
    assert [finding["detail"] for finding in of(found, "table-orphan")] == ["lost", "ecg2"]
    assert found["summary"]["sound"] == 1


def test_subjects_whose_side_nobody_knows_are_no_leak() -> None:
    subjects = ["a", "a", None, None, "b", "b", "c", "c"]
    sides = ["1", None, "1", "2", "1", "2", "3", "3"]
    assert shared_subjects(subjects, sides) == {"b": ("1", "2")}


# --- stores ------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Path:
    source = layouts.ptbxl(tmp_path / "ptbxl", count=20)
    make_store(open_source(source), tmp_path / "store", Options(leads=("II",)))
    return tmp_path / "store"


def test_a_store_is_checked_as_well(store: Path, capsys: Capture) -> None:
    code, text = said(capsys, store, strict=True)
    assert code == 0
    assert "20 recordings, store in" in text
    assert "shared subjects: 0" in text
    assert text.splitlines()[-1] == f"Next: nerula pretrain nerula {store} RUN"


@pytest.mark.parametrize("name", ["signals.npy", "validity.npy", "recordings.parquet"])
def test_a_changed_byte_of_a_store_is_noticed(store: Path, name: str, capsys: Capture) -> None:
    data = bytearray((store / name).read_bytes())
    data[len(data) // 2] ^= 1
    (store / name).write_bytes(data)
    code, found = document(capsys, store, strict=True)
    assert code == 2
    assert [
        finding["code"] for finding in found["findings"] if finding["severity"] == "error"
    ] == ["store-damaged"]


def test_a_split_of_a_store(store: Path, tmp_path: Path, capsys: Capture) -> None:
    opened = Store.open(store)
    names = [str(name) for name in opened.column("name")]
    subject = opened.column("subject")
    sides = {name: "ab"[row % 2] for row, name in enumerate(names)}
    split = write_split(tmp_path / "split.csv", sides)
    _, found = document(capsys, store, split=split)
    assert found["summary"]["split"]["sides"] == {"a": 10, "b": 10}
    shared = shared_subjects(subject, [sides[name] for name in names])
    assert found["summary"]["split"]["shared_subjects"] == len(shared)


# --- the real data sets ------------------------------------------------------------------------


@pytest.mark.shared
@pytest.mark.slow
def test_challenge_2017_has_two_pairs(shared_data: Callable[[str], Path], capsys: Capture) -> None:
    _, found = document(capsys, shared_data("cinc2017"), jobs=2)
    pairs = {
        (Path(f["recording"]).name, f["detail"][-6:]) for f in of(found, "recording-duplicate")
    }
    assert pairs == {("A01176", "A00227"), ("A03123", "A02656")}
    assert found["summary"]["recordings"] == 8528
    assert found["summary"]["warnings"] <= 12
    assert found["summary"]["errors"] == 0


@pytest.mark.shared
@pytest.mark.slow
def test_ptbxl_shares_no_subject(shared_data: Callable[[str], Path], capsys: Capture) -> None:
    _, found = document(capsys, shared_data("ptbxl"), limit=6000, jobs=2)
    summary = found["summary"]
    assert summary["errors"] == 0
    assert summary["warnings"] <= 0.004 * summary["recordings"]
    assert summary["split"]["shared_subjects"] == 0
    assert math.isclose(sum(summary["split"]["sides"].values()), summary["recordings"])


@pytest.mark.shared
def test_a_random_split_of_real_people_leaks(
    shared_data: Callable[[str], Path], tmp_path: Path, capsys: Capture
) -> None:
    root = shared_data("ecgid")
    names = sorted(
        path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.hea")
    )
    draw = random.Random(1)
    split = write_split(tmp_path / "s.csv", {n: draw.choice(("train", "test")) for n in names})
    code, found = document(capsys, root, split=split, strict=True)
    assert code == 2
    assert found["summary"]["split"]["subjects"] >= 85
    assert found["summary"]["split"]["shared_subjects"] >= 50


@pytest.mark.shared
@pytest.mark.slow
def test_uci_har_is_split_by_people(shared_data: Callable[[str], Path], capsys: Capture) -> None:
    code, found = document(capsys, shared_data("ucihar"), limit=8000, jobs=2, strict=True)
    assert code == 0
    assert found["summary"]["split"]["shared_subjects"] == 0
    assert found["summary"]["duplicates"] == 0
