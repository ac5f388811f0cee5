"""Data sets in their publishers' layouts, and any folder of recordings: recognised and read."""

import os
import pickle
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from time import process_time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nerula.errors import DefectError, NerulaError, UsageError
from nerula.readers import KINDS, open_source, ptbxl_table, wfdb
from nerula.readers.folder import Folder
from nerula.readers.names import STANDARD
from nerula.readers.source import Hints, Selective, Source
from nerula.recording import Recording
from tests import layouts

LAYOUTS = {
    "ptbxl100": layouts.ptbxl,
    "challenge2017": layouts.challenge2017,
    "challenge2020": layouts.challenge2020,
    "ecgid": layouts.ecgid,
    "ucihar": layouts.ucihar,
}


def read_all(source: Source) -> dict[str, Recording]:
    return {entry.name: source.read(entry) for entry in source.entries()}


def refusals(source: Source) -> dict[str, str]:
    """The code for each entry that is refused."""
    codes = {}
    for entry in source.entries():
        try:
            source.read(entry)
        except DefectError as error:
            codes[entry.name] = error.finding.code
    return codes


def codes(recording: Recording) -> set[str]:
    return {finding.code for finding in recording.findings}


# --- every data set ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LAYOUTS)
def test_it_is_recognised_by_its_content(kind: str, tmp_path: Path) -> None:
    root = LAYOUTS[kind](tmp_path / "some folder")
    found = open_source(root)
    assert found.kind == kind
    assert found.root == root
    asked = open_source(root, kind)
    assert type(asked) is type(found)
    assert list(asked.entries()) == list(found.entries())


@pytest.mark.parametrize("kind", LAYOUTS)
def test_it_is_recognised_one_folder_up(kind: str, tmp_path: Path) -> None:
    inner = LAYOUTS[kind](tmp_path / "inner-1.0.3")
    (inner.parent / "LICENSE.txt").write_text("text")
    assert open_source(inner.parent).kind == kind
    found = len(list(open_source(inner.parent).entries()))
    assert found == len(list(open_source(inner).entries()))


@pytest.mark.parametrize(
    ("kind", "inside"),
    [
        ("ptbxl100", "records100"),
        ("challenge2017", "training2017"),
        ("ecgid", "Person_01"),
        ("ucihar", "train"),
        ("challenge2020", "training/georgia"),
    ],
)
def test_it_is_recognised_from_inside(kind: str, inside: str, tmp_path: Path) -> None:
    root = LAYOUTS[kind](tmp_path)
    source = open_source(root / inside)
    assert source.kind == kind
    assert next(iter(read_all(source).values())).x.any()


def test_the_folder_one_is_in_may_be_called_a_dot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(layouts.ptbxl(tmp_path) / "records100")
    assert open_source(".").kind == open_source("..").kind == "ptbxl100"


@pytest.mark.parametrize("kind", LAYOUTS)
def test_entries_are_in_one_order_unique_and_read_under_their_names(
    kind: str, tmp_path: Path
) -> None:
    source = open_source(LAYOUTS[kind](tmp_path / "a"))
    names = [entry.name for entry in source.entries()]
    assert len(set(names)) == len(names) > 2
    copy = tmp_path / "b"
    for path in sorted((tmp_path / "a").rglob("*"), reverse=True):  # made in another order
        if path.is_file():
            target = copy / path.relative_to(tmp_path / "a")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    assert [entry.name for entry in open_source(copy).entries()] == names
    for name, recording in read_all(source).items():
        assert recording.name == name
        assert set(recording.leads) <= set(source.leads or ())


@pytest.mark.parametrize("kind", LAYOUTS)
def test_it_is_small_when_sent_to_another_process(kind: str, tmp_path: Path) -> None:
    source = open_source(LAYOUTS[kind](tmp_path))
    first = next(source.entries())
    source.read(first)
    packed = pickle.dumps(source)
    assert len(packed) < 1000
    assert np.array_equal(pickle.loads(packed).read(first).x, source.read(first).x)


def test_several_data_sets_in_one_folder_are_not_guessed_at(tmp_path: Path) -> None:
    layouts.ptbxl(tmp_path / "one")
    layouts.ecgid(tmp_path / "two")
    with pytest.raises(UsageError, match="ptbxl100 in one, ecgid in two"):
        open_source(tmp_path)
    assert open_source(tmp_path, "ecgid").root == tmp_path / "two"


def test_a_data_set_beside_other_folders_is_not_taken_for_all(tmp_path: Path) -> None:
    layouts.ptbxl(tmp_path / "ptb-xl")
    layouts.write_record(tmp_path / "mine/rec", layouts.microvolts(1), ["II"], 100)
    with pytest.raises(UsageError, match="ptbxl100 in ptb-xl"):
        open_source(tmp_path)
    every = open_source(tmp_path, "folder")
    assert "mine/rec" in {entry.name for entry in every.entries()}


def test_two_data_sets_in_the_same_place_are_not_guessed_at(tmp_path: Path) -> None:
    layouts.ptbxl(tmp_path)
    layouts.challenge2017(tmp_path)
    with pytest.raises(UsageError, match="looks like ptbxl100 and challenge2017"):
        open_source(tmp_path)
    assert open_source(tmp_path, "challenge2017").kind == "challenge2017"


def test_an_unknown_kind_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Did you mean ptbxl"):
        open_source(tmp_path, "ptb-xl")
    with pytest.raises(UsageError, match="Choose from ptbxl"):
        open_source(tmp_path, "zebra")


@pytest.mark.parametrize("kind", ["ptbxl", "ptbxl500", "challenge2017", "ucihar", "challenge2021"])
def test_a_folder_that_is_not_what_it_is_said_to_be(kind: str, tmp_path: Path) -> None:
    layouts.ecgid(tmp_path)
    with pytest.raises(UsageError, match=f"does not look like {kind}"):
        open_source(tmp_path, kind)


def test_a_file_is_no_data_set_and_a_missing_one_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0")
    with pytest.raises(UsageError, match="is no folder"):
        open_source(tmp_path / "file", "ptbxl")
    with pytest.raises(DefectError, match="file-missing"):
        open_source(tmp_path / "nothing")


# --- PTB-XL ------------------------------------------------------------------------------------


def test_ptbxl_says_what_its_table_says(tmp_path: Path) -> None:
    source = open_source(layouts.ptbxl(tmp_path))
    assert source.leads == STANDARD
    recordings = read_all(source)
    assert len(recordings) == 12
    recording = recordings["records100/00000/00002_lr"]
    assert (recording.subject, recording.age, recording.sex) == ("13243", 19.0, "male")
    assert recording.labels["NORM"] == 0.8
    assert np.isnan(recording.labels["SBRAD"])  # a likelihood of 0 is one that is not known
    assert (recording.fold, recording.rate, recording.leads) == ("2", 100.0, ("II",))
    assert np.array_equal(np.rint(recording.x * 1000), layouts.microvolts(1))


@pytest.mark.parametrize("kind", ["ptbxl100", "challenge2020", "folder"])
def test_a_source_can_leave_out_leads(kind: str, tmp_path: Path) -> None:
    root = LAYOUTS.get(kind, layouts.challenge2020)(tmp_path)
    source = open_source(root, kind)
    assert isinstance(source, Selective)
    few = pickle.loads(pickle.dumps(source.narrowed(("II",))))  # as it goes to a worker
    for entry in source.entries():
        every, one = source.read(entry), few.read(entry)
        assert one.leads == ("II",)
        assert np.array_equal(one.x, every.x[[every.leads.index("II")]])
        assert (one.subject, one.labels, one.fold) == (every.subject, every.labels, every.fold)


def edit_row(root: Path, ecg_id: int, before: str, after: str) -> None:
    table = root / "ptbxl_database.csv"
    lines = table.read_text().splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith(f"{ecg_id},"))
    assert before in lines[place]
    lines[place] = lines[place].replace(before, after, 1)
    table.write_bytes("\n".join([*lines, ""]).encode("latin-1"))


@pytest.mark.parametrize(
    ("cell", "age", "found"),
    [
        ("300.0", 90.0, {"age-over-89"}),
        ("91", 90.0, {"age-over-89"}),
        ("89.0", 89.0, set()),
        ("", None, set()),
        ("nan", None, set()),
        ("250", None, {"age-absurd"}),
        ("19 years", None, {"age-absurd"}),
        ("-3", None, {"age-absurd"}),
    ],
)
def test_ages(cell: str, age: float | None, found: set[str], tmp_path: Path) -> None:
    edit_row(layouts.ptbxl(tmp_path), 2, ",19.0,", f",{cell},")
    recording = read_all(open_source(tmp_path))["records100/00000/00002_lr"]
    assert recording.age == age
    assert codes(recording) == found


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        (",13243.0,", ",13243,", {"subject": "13243"}),
        (",13243.0,", ",,", {"subject": None}),
        (",13243.0,19.0,0,", ",13243.0,19.0,1,", {"sex": "female"}),
        (",13243.0,19.0,0,", ",13243.0,19.0,,", {"sex": None}),
        ("{'NORM': 80.0, 'SBRAD': 0.0}", "{}", {"labels": {}}),
        ("{'NORM': 80.0, 'SBRAD': 0.0}", "{'LAO/LAE': 15.0}", {"labels": {"LAO/LAE": 0.15}}),
        ("Befund", "Bef\xfcnd", {"subject": "13243"}),
    ],
)
def test_cells(before: str, after: str, what: dict[str, object], tmp_path: Path) -> None:
    edit_row(layouts.ptbxl(tmp_path), 2, before, after)
    recording = read_all(open_source(tmp_path))["records100/00000/00002_lr"]
    for name, value in what.items():
        assert getattr(recording, name) == value


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (",13243.0,", ",x13243,"),
        (",2,records100", ",two,records100"),
        ("'NORM': 80.0", "'NORM': 800.0"),
        ("'NORM': 80.0", "'NORM': __import__('os')"),
        ("'NORM': 80.0", "'NORM': 80.0, 'NORM': 20.0"),
        ("'NORM': 80.0", "'NORM' 80.0"),
    ],
)
def test_a_bad_cell_costs_one_recording(before: str, after: str, tmp_path: Path) -> None:
    edit_row(layouts.ptbxl(tmp_path), 2, before, after)
    assert refusals(open_source(tmp_path)) == {"records100/00000/00002_lr": "table-malformed"}


@given(
    st.dictionaries(
        st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_/()", min_size=1, max_size=8),
        st.integers(0, 1000).map(lambda tenths: tenths / 10),
        max_size=9,
    )
)
def test_statements_are_read_as_python_would_write_them(percents: dict[str, float]) -> None:
    row = ptbxl_table.Row("1", "", "", "", str(percents), "1")
    labels = ptbxl_table.understand(row, Path(), Path()).labels
    assert list(labels) == list(percents)
    for code, percent in percents.items():
        assert labels[code] == percent / 100 if percent else np.isnan(labels[code])


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace("strat_fold", "fold", 1),
        lambda text: text.replace("sex,", "sex,sex,", 1),
        lambda text: text.replace(",2,records100", ",records100", 1),
        lambda text: text + text.splitlines()[1] + "\n",
        lambda text: text.replace('"{', '"{"x', 1),
        lambda text: "",
    ],
)
def test_a_bad_table_ends_the_run_before_it_starts(
    damage: Callable[[str], str], tmp_path: Path
) -> None:
    table = layouts.ptbxl(tmp_path) / "ptbxl_database.csv"
    table.write_text(damage(table.read_text()))
    with pytest.raises(DefectError, match=r"table-malformed|file-empty"):
        open_source(tmp_path)


def test_rows_without_files_and_files_without_rows(tmp_path: Path) -> None:
    root = layouts.ptbxl(tmp_path)
    table = root / "ptbxl_database.csv"
    lines = [line for line in table.read_text().splitlines() if not line.startswith("6,")]
    table.write_text("\n".join(lines) + "\n")
    (root / "records100/00000/00008_lr.hea").unlink()
    (root / "records100/00000/00012_lr.dat").unlink()
    source = open_source(root)
    entries = [entry.name for entry in source.entries()]
    assert len(entries) == 12
    assert entries[-1] == "records100/00000/00008_lr"
    assert refusals(source) == {
        "records100/00000/00008_lr": "table-orphan",
        "records100/00000/00012_lr": "data-missing",
    }
    without = source.read(next(e for e in source.entries() if e.name.endswith("00006_lr")))
    assert (without.subject, without.fold, dict(without.labels)) == (None, None, {})
    assert codes(without) == {"table-row-missing"}


def test_ptbxl_at_both_rates(tmp_path: Path) -> None:
    root = layouts.ptbxl(tmp_path, 3, rates=(100, 500))
    assert open_source(root).kind == open_source(root, "ptbxl").kind == "ptbxl100"
    for rate in (100, 500):
        for source in (open_source(root, f"ptbxl{rate}"), open_source(root / f"records{rate}")):
            assert source.kind == f"ptbxl{rate}"
            assert {recording.rate for recording in read_all(source).values()} == {rate}
    shutil.rmtree(root / "records100")
    assert open_source(root).kind == "ptbxl500"
    with pytest.raises(UsageError, match="no folder records100"):
        open_source(root, "ptbxl100")


# --- the others --------------------------------------------------------------------------------


def test_challenge_2017(tmp_path: Path) -> None:
    root = layouts.challenge2017(tmp_path)
    recordings = read_all(open_source(root))
    assert [r.labels for r in recordings.values()][:4] == [
        {"A": 1.0}, {"O": 1.0}, {"~": 1.0}, {"N": 1.0},
    ]  # fmt: skip
    first = recordings["training2017/A00001"]
    assert (first.leads, first.rate, first.subject) == (("I",), 300.0, None)
    assert not codes(first)


def test_challenge_2017_as_listed_online_and_its_last_revision(tmp_path: Path) -> None:
    root = layouts.challenge2017(tmp_path)
    (root / "training2017").rename(root / "A00")
    (root / "training").mkdir()
    (root / "A00").rename(root / "training/A00")
    shutil.copytree(root / "training/A00", root / "validation")
    old = root / "REFERENCE-v3.csv"
    (root / "training/REFERENCE.csv").write_text(old.read_text().replace(",A", ",N"))
    for path in (root, root / "training"):
        source = open_source(path)
        assert len(list(source.entries())) == 8
        assert next(iter(read_all(source).values())).labels == {"A": 1.0}
    old.unlink()
    assert next(iter(read_all(open_source(root)).values())).labels == {"N": 1.0}


@pytest.mark.parametrize("older", ["-v2", "-v1", "", "-v0", "-original"])
def test_challenge_2017_with_an_earlier_revision_of_its_labels(older: str, tmp_path: Path) -> None:
    root = layouts.challenge2017(tmp_path)
    (root / "REFERENCE-v3.csv").rename(root / f"REFERENCE{older}.csv")
    source = open_source(root)
    assert source.kind == "challenge2017"
    assert read_all(source)["training2017/A00001"].labels == {"A": 1.0}


@pytest.mark.parametrize("line", ["A00001,X", "A00001", "B00001,N", "A00002,N"])
def test_challenge_2017_with_a_bad_table(line: str, tmp_path: Path) -> None:
    table = layouts.challenge2017(tmp_path) / "REFERENCE-v3.csv"
    table.write_text(table.read_text().replace("A00001,A", line))
    with pytest.raises(DefectError, match="table-malformed"):
        open_source(tmp_path)


def test_challenge_2017_rows_without_files_and_files_without_rows(tmp_path: Path) -> None:
    root = layouts.challenge2017(tmp_path)
    table = root / "REFERENCE-v3.csv"
    table.write_text(table.read_text().replace("A00001,A\n", "A08528,N\n"))
    source = open_source(root)
    assert refusals(source) == {"A08528": "table-orphan"}
    assert codes(source.read(next(source.entries()))) == {"table-row-missing"}


def test_challenge_2020(tmp_path: Path) -> None:
    recordings = read_all(open_source(layouts.challenge2020(tmp_path)))
    first, second, third = recordings.values()
    assert list(recordings) == [
        "training/cpsc_2018/g1/A0001",
        "training/georgia/g2/E01001",
        "training/ningbo/g10/JS10001",
    ]
    assert [r.fold for r in recordings.values()] == ["cpsc_2018", "georgia", "ningbo"]
    assert (first.age, first.sex, first.labels) == (74.0, "male", {"59118001": 1.0})
    assert (second.age, second.sex) == (None, "female")
    assert set(second.labels) == {"426177001", "164934002"}
    assert (third.age, third.sex, third.leads[0]) == (90.0, None, "V6")
    assert {r.subject for r in recordings.values()} == {None}


def test_ecgid(tmp_path: Path) -> None:
    recordings = read_all(open_source(layouts.ecgid(tmp_path)))
    assert [(n, r.subject) for n, r in recordings.items()] == [
        ("Person_01/rec_1", "Person_01"),
        ("Person_01/rec_2", "Person_01"),
        ("Person_90/rec_1", "Person_90"),
    ]
    first = recordings["Person_01/rec_1"]
    assert (first.age, first.sex, first.leads) == (25.0, "male", ("I", "I filtered"))
    assert "date" in first.removed
    assert not codes(first)


def test_ucihar(tmp_path: Path) -> None:
    root = layouts.ucihar(tmp_path)
    recordings = read_all(open_source(root))
    assert list(recordings)[:2] == ["train/0001", "train/0002"]
    assert Counter(r.fold for r in recordings.values()) == {"train": 5, "test": 3}
    last = recordings["test/0003"]
    assert last.x.shape == (9, 128)
    assert (last.unit, last.rate, last.subject) == ("mixed", 50.0, "21")
    assert last.labels == {"SITTING": 1.0}
    text = (root / "test/Inertial Signals/body_gyro_y_test.txt").read_text().splitlines()[2]
    row = last.leads.index("body_gyro_y")
    assert np.array_equal(last.x[row], np.array(text.split(), np.float32))


@pytest.mark.parametrize(
    ("damage", "refused"),
    [
        (lambda text: text.replace(" ", " x", 1), {"train/0001"}),
        (lambda text: text.replace("e-", "e+9", 1), {"train/0001"}),
        (lambda text: text[text.index("\n") - 14 :], {"train/0001"}),
        (lambda text: text + text.splitlines()[0] + "\n", {f"train/000{n}" for n in range(1, 6)}),
        (lambda text: text.rstrip("\n"), set()),
        (lambda text: text.replace("\n", "\r\n"), set()),
    ],
)
def test_ucihar_with_a_bad_line(
    damage: Callable[[str], str], refused: set[str], tmp_path: Path
) -> None:
    path = layouts.ucihar(tmp_path) / "train/Inertial Signals/total_acc_z_train.txt"
    path.write_bytes(damage(path.read_text()).encode())
    assert set(refusals(open_source(tmp_path))) == refused


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("train/y_train.txt", "1\n2\n3\n1\n"),
        ("train/y_train.txt", "1\n2\n9\n1\n2\n"),
        ("test/subject_test.txt", "1\nx\n2\n"),
        ("activity_labels.txt", "1 WALKING\nthe second\n"),
    ],
)
def test_ucihar_with_a_bad_table(file: str, text: str, tmp_path: Path) -> None:
    (layouts.ucihar(tmp_path) / file).write_text(text)
    with pytest.raises(DefectError, match="table-malformed"):
        open_source(tmp_path)


# --- any folder --------------------------------------------------------------------------------


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """WFDB, MATLAB, NumPy and CSV, in folders, with files that are no recordings."""
    signals = layouts.microvolts(4)
    layouts.write_record(tmp_path / "a/same", signals[:1], ["II"], 100)
    layouts.write_matrix(tmp_path / "b/matrix", signals[1:2], ["V1"], 500)
    np.save(tmp_path / "a/same.npy", signals[2:3] / 1000)
    for name in ("README.md", "RECORDS", "notes.txt", ".hidden.npy", "a/same.atr"):
        (tmp_path / name).write_text("text")
    return tmp_path


HINTS = Hints(rate=100.0, unit="mV", leads=("II",))


def test_any_folder_is_read_file_by_file(mixed: Path) -> None:
    source = open_source(mixed, hints=HINTS)
    assert source.kind == "folder"
    assert source.leads is None
    recordings = read_all(source)
    assert list(recordings) == ["a/same.hea", "a/same.npy", "b/matrix"]
    assert {r.leads for r in recordings.values()} == {("II",), ("V1",)}


def test_one_format_of_a_folder(mixed: Path) -> None:
    assert [e.name for e in open_source(mixed, "wfdb").entries()] == ["a/same", "b/matrix"]
    assert [e.name for e in open_source(mixed, "edf").entries() if "same" in e.name] == []


@pytest.mark.parametrize("name", ["a/same.hea", "a/same.dat", "a/same.npy", "b/matrix.mat"])
def test_one_file(name: str, mixed: Path) -> None:
    source = open_source(mixed / name, "wfdb" if name.endswith(".dat") else None, HINTS)
    (entry,) = source.entries()
    assert entry.name == Path(name).stem
    assert source.read(entry).name == entry.name


def test_a_wfdb_record_named_without_an_ending(mixed: Path) -> None:
    (entry,) = open_source(mixed / "a/same").entries()
    assert entry.path == mixed / "a/same.hea"


def test_a_lying_or_missing_ending(mixed: Path) -> None:
    shutil.copy(mixed / "a/same.npy", mixed / "b/array")
    shutil.copy(mixed / "a/same.npy", mixed / "b/array.edf")
    recordings = read_all(open_source(mixed / "b", hints=HINTS))
    assert np.array_equal(recordings["array"].x, recordings["array.edf"].x)


def test_one_array_with_many_recordings(tmp_path: Path) -> None:
    np.save(tmp_path / "many.npy", layouts.microvolts(5)[:, None] / 1000)
    source = open_source(tmp_path, hints=HINTS)
    assert [entry.name for entry in source.entries()] == [f"many#{row}" for row in range(5)]
    assert np.allclose(read_all(source)["many#3"].x * 1000, layouts.microvolts(5)[3:4], atol=1e-3)


def test_a_format_that_is_only_recognised_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "ecg.scp").write_bytes(b"\0" * 16 + b"SCPECG" + b"\0" * 100)
    shutil.copy(tmp_path / "ecg.scp", tmp_path / "other")
    (tmp_path / "noise.csv").write_bytes(b"")
    assert refusals(open_source(tmp_path)) == {
        "ecg": "format-scp", "other": "format-scp", "noise": "file-empty",
    }  # fmt: skip


def test_segments_of_a_record_are_no_records_of_their_own(tmp_path: Path) -> None:
    signal = layouts.microvolts(2)
    for number in (1, 2):
        layouts.write_record(
            tmp_path / f"long_000{number}", signal[number - 1 : number], ["II"], 100
        )
    (tmp_path / "long.hea").write_text("long/2 1 100 2000\nlong_0001 1000\nlong_0002 1000\n")
    (recording,) = read_all(open_source(tmp_path)).values()
    assert recording.x.shape == (1, 2000)
    (tmp_path / "long.hea").unlink()
    assert len(list(open_source(tmp_path).entries())) == 2


def test_links_out_of_the_folder_are_refused_and_inside_it_followed(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    layouts.write_record(outside / "deep/rec", layouts.microvolts(1), ["II"], 100)
    layouts.write_record(root / "real/rec", layouts.microvolts(1), ["II"], 100)
    (root / "folder").symlink_to(outside)
    (root / "file.hea").symlink_to(outside / "deep/rec.hea")
    (root / "again").symlink_to(root / "real")  # not entered: its files are met in `real`
    (root / "loop").symlink_to(root)
    (root / "real/link.hea").symlink_to(root / "real/rec.hea")
    source = open_source(root)
    assert [entry.name for entry in source.entries()] == [
        "file", "folder/", "real/link", "real/rec",
    ]  # fmt: skip
    assert refusals(source) == {"file": "path-outside", "folder/": "path-outside"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_cannot_be_listed_is_said(tmp_path: Path) -> None:
    layouts.write_record(tmp_path / "real/rec", layouts.microvolts(1), ["II"], 100)
    (tmp_path / "closed").mkdir(mode=0)
    assert refusals(open_source(tmp_path)) == {"closed/": "file-unreadable"}


def test_entries_come_as_the_folders_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        layouts.write_record(tmp_path / f"{number:02d}/rec", layouts.microvolts(1), ["II"], 100)
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(path) or scandir(path))
    entries = Folder(tmp_path).entries()
    assert next(entries).name == "00/rec"
    assert len(listed) == 2  # the root and the first folder


# --- the real ones -----------------------------------------------------------------------------


@pytest.mark.shared
def test_real_ptbxl(shared_data: Callable[[str], Path]) -> None:
    source = open_source(shared_data("ptbxl"))
    entries = list(source.entries())
    assert len(entries) == 21_799
    assert [entry.name for entry in entries] == sorted(entry.name for entry in entries)
    first = source.read(entries[0])
    assert (first.subject, first.age, first.sex, first.fold) == ("15709", 56.0, "female", "3")
    assert list(first.labels) == ["NORM", "LVOLT", "SR"]
    assert first.labels["NORM"] == 1.0
    assert first.leads == STANDARD
    read = [source.read(entry) for entry in entries[::37]]
    assert not any(codes(recording) - {"age-over-89"} for recording in read)
    assert {r.leads for r in read if r.fold in ("6", "7", "8")} == {("II",)}


@pytest.mark.shared
def test_real_ptbxl_facts(shared_data: Callable[[str], Path]) -> None:
    table = shared_data("ptbxl") / "ptbxl_database.csv"
    facts = [ptbxl_table.understand(row, table, table) for row in ptbxl_table.rows(table).values()]
    assert Counter(int(f.fold) for f in facts) == {
        1: 2175, 2: 2181, 3: 2192, 4: 2174, 5: 2174, 6: 2173, 7: 2176, 8: 2173, 9: 2183, 10: 2198,
    }  # fmt: skip
    assert sum("NORM" in f.labels for f in facts) == 9514
    assert sum("AFIB" in f.labels for f in facts) == 1514
    assert sum(f.subject is not None for f in facts) == 3507
    assert sum(f.age == 90 for f in facts) == 201 + sum(
        f.age == 90 and not f.findings for f in facts
    )


@pytest.mark.shared
def test_real_challenge_2017(shared_data: Callable[[str], Path]) -> None:
    source = open_source(shared_data("cinc2017"))
    entries = list(source.entries())
    assert len(entries) == 8528
    labels = Counter(label for label in source.labels.values())  # type: ignore[attr-defined]
    assert labels == {"N": 5076, "O": 2415, "A": 758, "~": 279}
    read = [source.read(entry) for entry in entries[::29]]
    assert {r.leads for r in read} == {("I",)}
    assert {r.rate for r in read} == {300.0}
    assert any("header-initial-value" in codes(r) for r in read)
    by_name = {entry.name: entry for entry in entries}
    same = [source.read(by_name[f"training2017/{n}"]).x for n in ("A00227", "A01176")]
    assert np.array_equal(*same)


@pytest.mark.shared
def test_real_ucihar(shared_data: Callable[[str], Path]) -> None:
    source = open_source(shared_data("ucihar"))
    entries = list(source.entries())
    assert len(entries) == 7352 + 2947
    start = process_time()
    read = [source.read(entry) for entry in entries[::50]]
    assert (process_time() - start) / len(read) < 0.01
    assert Counter(r.fold for r in read) == {"train": 148, "test": 58}
    subjects = {fold: {r.subject for r in read if r.fold == fold} for fold in ("train", "test")}
    assert not subjects["train"] & subjects["test"]
    gravity = [np.hypot.reduce(r.x[6:].mean(axis=1)) for r in read]
    assert 0.9 < np.median(gravity) < 1.1  # g


@pytest.mark.shared
def test_real_ecgid(shared_data: Callable[[str], Path]) -> None:
    source = open_source(shared_data("ecgid"))
    entries = list(source.entries())
    assert len(entries) == 310
    assert len({entry.path.parent for entry in entries}) == 90
    read = [source.read(entry) for entry in entries if "Person_0" in entry.name]
    assert {r.leads for r in read} == {("I", "I filtered")}
    assert all(r.age and r.sex and r.x.shape == (2, 10_000) for r in read)


@pytest.mark.shared
def test_the_first_blocks_of_eleven_real_files_are_lost_and_it_is_noticed(
    shared_data: Callable[[str], Path],
) -> None:
    source = open_source(shared_data("ecgid"))
    refused = refusals(source)
    assert Counter(refused.values()) == {"checksum-wrong": 11}
    for name in refused:
        start = np.fromfile(source.root / f"{name}.dat", "<i2", 2048)
        assert (start == -1).all()


@pytest.mark.shared
def test_a_data_set_costs_little_beside_its_files(
    shared_data: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_source(shared_data("ptbxl"))
    entries = [entry for entry, _ in zip(source.entries(), range(2000), strict=False)]
    recording = source.read(entries[0])
    monkeypatch.setattr(wfdb, "read", lambda path, root, leads: recording)
    start = process_time()
    for entry in entries:
        source.read(entry)
    assert (process_time() - start) / len(entries) < 100e-6  # 17 µs on a free core


def test_every_kind_can_be_asked_for(tmp_path: Path) -> None:
    for kind in KINDS:
        try:
            source = open_source(tmp_path, kind)
        except NerulaError:
            continue
        assert source.kind in (kind, "sample")
