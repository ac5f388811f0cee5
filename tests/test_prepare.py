"""`prepare` and `merge`: the same bytes however it is done, and every bad file accounted for."""

import csv
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from nerula import chunks, sample, signal, workers
from nerula.cli import main
from nerula.conform import conform
from nerula.contract import Contract
from nerula.engines import Local
from nerula.errors import DefectError, NerulaError, UsageError
from nerula.merge import merge
from nerula.prepare import Options, make_store, prepare
from nerula.recording import Recording
from nerula.store import INDEX, Store
from nerula.workplace import QUARANTINE, UNFINISHED, claimed
from tests.ward import TROUBLE, Ward

BAND = Options(leads=("II", "I"), band=(0.5, 40.0))


def content(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(store.iterdir())}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 32 instead of 256, so that a small source has many."""
    monkeypatch.setattr(chunks, "ENTRIES", 32)


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ward with trouble, prepared by one process."""
    store = tmp_path_factory.mktemp("once") / "store"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "ENTRIES", 32)
        make_store(Ward(300, trouble_every=20), store, BAND)
    return store


# --- the same bytes ------------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", [2, 8])
def test_any_number_of_jobs_makes_the_same_store(once: Path, tmp_path: Path, jobs: int) -> None:
    make_store(Ward(300, trouble_every=20), tmp_path / "store", BAND, Local(jobs))
    assert content(tmp_path / "store") == content(once)


@pytest.mark.parametrize("count", [2, 3, 12])  # of twelve, two have nothing to do
def test_merged_shards_are_the_same_store(once: Path, tmp_path: Path, count: int) -> None:
    shards = [tmp_path / f"shard-{number}" for number in range(1, count + 1)]
    for number, shard in enumerate(shards, 1):
        options = replace(BAND, shard=(number, count))
        make_store(Ward(300, trouble_every=20), shard, options, Local(2 if number == 1 else 1))
    assert sum(len(Store.open(shard)) for shard in shards) == len(Store.open(once))
    assert merge(tmp_path / "merged", shards[::-1]) == 0
    assert content(tmp_path / "merged") == content(once)


def test_the_place_of_the_source_does_not_matter(once: Path, tmp_path: Path) -> None:
    elsewhere = Ward(300, trouble_every=20, root=Path("/mnt/other/ward"))
    make_store(elsewhere, tmp_path / "store", BAND)
    assert content(tmp_path / "store") == content(once)


def test_good_rows_do_not_know_of_bad_ones(once: Path, tmp_path: Path) -> None:
    make_store(Ward(300), tmp_path / "store", BAND)
    clean, mixed = content(tmp_path / "store"), content(once)
    for name in ("signals.npy", "validity.npy", "recordings.parquet"):
        assert clean[name] == mixed[name]
    assert Store.open(once).digest == Store.open(tmp_path / "store").digest
    assert clean[QUARANTINE].decode() == "name,path,code,lead,detail,remedy\n"


def test_what_is_stored_is_what_signal_says(once: Path) -> None:
    store, ward = Store.open(once), Ward(300)
    store.check()
    names = store.column("name")
    assert len(store) == 300
    for entry in ward.entries():
        original = ward.good(entry)
        i = int(np.flatnonzero(names == entry.name)[0])
        x, valid = store.read(i)
        for lead, got, known in zip(("II", "I"), x, valid, strict=True):
            if lead not in original.leads:
                assert not known.any()
                continue
            row = original.leads.index(lead)
            wanted, mask = signal.condition(
                original.x[[row]], original.valid[[row]], original.rate, 100, (0.5, 40.0)
            )
            np.testing.assert_allclose(got, wanted[0], atol=0.00051)
            assert np.array_equal(known, mask[0])
        assert set(store.column("leads")[i]) == set(original.leads)
        assert store.column("source_rate")[i] == original.rate


def test_together_is_as_alone(tmp_path: Path) -> None:
    ward = Ward(120)
    contract = Contract(("II", "I"), 100.0, band=(0.5, 40.0))
    done = 0
    for entry, together, rate in chunks.Preparation(ward, contract, tmp_path).results(
        ward.entries()
    ):
        alone = conform(ward.good(entry), contract)
        assert isinstance(together, Recording)
        assert together.x.tobytes() == alone.x.tobytes()
        assert np.array_equal(together.valid, alone.valid)
        assert together.findings == alone.findings
        assert rate == ward.good(entry).rate
        done += 1
    assert done == 120


def test_what_breaks_one_leaves_those_beside_it_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def breaks(chosen: Sequence[Recording], contract: Contract) -> list[Recording]:
        if len(chosen) > 1:
            raise ZeroDivisionError("of one of them")
        return [conform(chosen[0], contract)]

    ward, contract = Ward(40), Contract(("II", "I"), 100.0)
    preparation = chunks.Preparation(ward, contract, tmp_path)
    before = [result for _, result, _ in preparation.results(ward.entries())]
    monkeypatch.setattr(chunks, "conform_alike", breaks)
    after = [result for _, result, _ in preparation.results(ward.entries())]
    for one, other in zip(before, after, strict=True):
        assert isinstance(one, Recording)
        assert isinstance(other, Recording)
        assert one.x.tobytes() == other.x.tobytes()


# --- bad files -----------------------------------------------------------------------------------


def test_every_bad_file_is_in_quarantine_with_its_reason(once: Path) -> None:
    with (once / QUARANTINE).open(newline="") as file:
        rows = list(csv.DictReader(file))
    bad = [entry for entry in Ward(300, trouble_every=20).entries() if "-" in entry.name]
    assert [row["name"] for row in rows] == [entry.name for entry in bad]
    codes = {entry.split("-", 1)[1]: row["code"] for entry, row in
             ((row["name"], row) for row in rows)}  # fmt: skip
    assert codes == dict(
        zip(
            TROUBLE,
            ("data-truncated", "lead-missing", "reader-failed", "file-unreadable",
             "signal-all-invalid", "unit-unknown", "length-zero"),
            strict=True,
        )
    )  # fmt: skip
    first = rows[0]
    assert (first["path"], first["lead"]) == ("bed/truncated.hea", "II")
    assert first["detail"] == "see bed/truncated.hea"  # not where the source lies
    assert all(row["remedy"] for row in rows)


def test_a_source_without_a_usable_recording_leaves_no_store(tmp_path: Path) -> None:
    with pytest.raises(NerulaError, match="lead-missing"):
        make_store(Ward(40), tmp_path / "store", Options(leads=("V5", "I"), limit=1))
    assert not list((tmp_path / "store").iterdir())
    with pytest.raises(UsageError, match="holds no recording"):
        make_store(Ward(0), tmp_path / "store", Options())


def test_a_process_that_dies_says_where_and_the_run_can_continue(tmp_path: Path) -> None:
    with pytest.raises(NerulaError, match=r"exit code 3 while it prepared bed/0096 to bed/0127"):
        make_store(Deadly(200), tmp_path / "store", Options(), Local(2))
    make_store(Ward(200), tmp_path / "store", Options())
    make_store(Ward(200), tmp_path / "fresh", Options())
    assert content(tmp_path / "store") == content(tmp_path / "fresh")


class Deadly(Ward):
    """A file that takes its process with it."""

    def read(self, entry: object) -> Recording:
        if getattr(entry, "row", 0) == 100:
            os._exit(3)
        return super().read(entry)  # type: ignore[arg-type]


# --- continuing, and what must not be overwritten ------------------------------------------------


def test_a_finished_store_is_left_alone(
    once: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in once.iterdir()}
    make_store(Ward(300, trouble_every=20), once, BAND)
    assert "Nothing was done" in " ".join(capsys.readouterr().out.split())
    assert before == {path: path.stat().st_mtime_ns for path in once.iterdir()}
    for other, source in (
        (replace(BAND, band=None), Ward(300, trouble_every=20)),
        (replace(BAND, rate=50.0, band=None), Ward(300, trouble_every=20)),
        (replace(BAND, shard=(1, 2)), Ward(300, trouble_every=20)),
        (BAND, Ward(299, trouble_every=20)),
    ):
        with pytest.raises(UsageError, match="another preparation"):
            make_store(source, once, other)


def test_an_unfinished_store_continues_only_with_the_same_options(tmp_path: Path) -> None:
    ward = Interrupted(300)
    with pytest.raises(KeyboardInterrupt):
        make_store(ward, tmp_path / "store", BAND)
    parts = sorted((tmp_path / "store" / UNFINISHED).glob("*.arrow"))
    assert len(parts) == 4
    times = [part.stat().st_mtime_ns for part in parts]
    with pytest.raises(UsageError, match=r"band was \[0.5, 40.0\] and is now None"):
        make_store(Ward(300), tmp_path / "store", replace(BAND, band=None))
    with pytest.raises(KeyboardInterrupt):
        make_store(Interrupted(300, row=250), tmp_path / "store", BAND)
    assert times == [part.stat().st_mtime_ns for part in parts]  # kept, not made again
    make_store(Ward(300), tmp_path / "store", BAND)
    make_store(Ward(300), tmp_path / "fresh", BAND)
    assert content(tmp_path / "store") == content(tmp_path / "fresh")


def test_a_source_that_changed_meanwhile_is_prepared_as_it_is_now(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        make_store(Interrupted(300), tmp_path / "store", BAND)
    make_store(Ward(250, trouble_every=7), tmp_path / "store", BAND)
    make_store(Ward(250, trouble_every=7), tmp_path / "fresh", BAND)
    assert content(tmp_path / "store") == content(tmp_path / "fresh")


@dataclass(frozen=True)
class Interrupted(Ward):
    """Somebody presses Ctrl-C while a certain row is read."""

    row: int = 150

    def read(self, entry: object) -> Recording:
        if getattr(entry, "row", 0) == self.row:
            raise KeyboardInterrupt
        return super().read(entry)  # type: ignore[arg-type]


def test_a_foreign_folder_is_not_touched(tmp_path: Path) -> None:
    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "chapter.txt").write_text("years of work")
    with pytest.raises(UsageError, match="holds other files"):
        make_store(Ward(10), foreign, Options())
    assert [path.name for path in foreign.iterdir()] == ["chapter.txt"]
    with pytest.raises(UsageError, match="is a file"):
        make_store(Ward(10), foreign / "chapter.txt", Options())


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    with (
        claimed(tmp_path / "store"),
        pytest.raises(UsageError, match="Another process"),
    ):
        make_store(Ward(10), tmp_path / "store", Options())


# --- merging what does not belong together -------------------------------------------------------


def test_merge_wants_every_shard_of_one_preparation_once(tmp_path: Path, once: Path) -> None:
    def shard(name: str, number: int, of: int, options: Options = BAND, count: int = 100) -> Path:
        make_store(Ward(count), tmp_path / name, replace(options, shard=(number, of)))
        return tmp_path / name

    one, two, three = (shard(f"s{number}", number, 3) for number in (1, 2, 3))
    other = shard("other", 2, 3, replace(BAND, band=None))
    longer = shard("longer", 2, 3, count=120)
    target = tmp_path / "merged"
    for given, said in (
        ([one, two], "every shard"), ([one, two, two, three], "every shard"), ([], "every shard"),
        ([one, other, three], "not of one preparation"),
        ([one, longer, three], "not of one preparation"),
        ([once], "not a shard"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=said):
            merge(target, given)
    assert not target.exists()
    with pytest.raises(UsageError, match="holds other files"):
        merge(tmp_path, [one, two, three])
    assert merge(target, [one, two, three]) == 0
    with pytest.raises(UsageError, match="finished store already"):
        merge(target, [one, two, three])
    assert Store.open(target).facts["shard"] is None


# --- options -------------------------------------------------------------------------------------


def test_without_leads_the_store_has_all_that_the_source_has(tmp_path: Path) -> None:
    make_store(Ward(60), tmp_path / "told", Options())
    make_store(Ward(60, leads=None), tmp_path / "asked", Options(), Local(2))
    told, asked = Store.open(tmp_path / "told"), Store.open(tmp_path / "asked")
    assert told.contract.leads == asked.contract.leads == ("I", "II")
    assert told.digest == asked.digest


def test_a_lead_that_the_source_cannot_have_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="It has I, II"):
        make_store(Ward(60), tmp_path / "store", Options(leads=("V6",)))


def test_limit_float16_and_another_rate(tmp_path: Path) -> None:
    make_store(Ward(60), tmp_path / "s", Options(rate=250.0, dtype="float16", limit=7))
    store = Store.open(tmp_path / "s")
    assert (len(store), store.contract.scale) == (7, 1.0)
    x, _ = store.read(0)
    original = Ward().good(next(Ward().entries()))
    wanted, _ = signal.condition(original.x, original.valid, original.rate, 250)
    np.testing.assert_allclose(x[1], wanted[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"band": "40"}, "no pass band"), ({"band": "a-b"}, "no pass band"),
        ({"shard": "3/2"}, "no share"), ({"shard": "0/2"}, "no share"), ({"shard": "x"}, "share"),
        ({"limit": 0}, "limit"), ({"jobs": 0}, "jobs"), ({"rate": 0.0}, "rate"),
        ({"band": "0.5-60"}, "does not fit"),
    ],
)  # fmt: skip
def test_options_that_cannot_be_meant_are_refused(
    tmp_path: Path, wfdb_folder: Path, option: dict, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        prepare(wfdb_folder, tmp_path / "store", **option)
    assert not (tmp_path / "store" / INDEX).exists()


@pytest.fixture(scope="module")
def wfdb_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from benchmarks.files import write_sample

    folder = tmp_path_factory.mktemp("wfdb")
    write_sample(folder, count=40, rate=500)
    return folder


def test_from_the_command_line(
    wfdb_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    words = ["prepare", str(wfdb_folder), str(store), "--leads", "ii", "--filter", "0.5-40"]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--jobs", "2"])
    assert ended.value.code == 0
    opened = Store.open(store)
    assert len(opened) == 40
    assert opened.contract == Contract(("II",), 100.0, band=(0.5, 40.0))
    said = capsys.readouterr().out
    for words in ("found", "40 recordings", "quarantined", "500 Hz: 40", opened.digest, "Next:"):
        assert words in said


# --- the summary ---------------------------------------------------------------------------------


def test_the_summary_counts_what_is_there(once: Path) -> None:
    from nerula.summary import facts

    store = Store.open(once)
    said = dict(facts(store, found=315))
    assert said["found"] == "315 recordings"
    assert said["read"] == "300"
    assert said["quarantined"].startswith("15 (")
    assert "data-truncated 3" in said["quarantined"]
    rates = Counter(Ward().good(entry).rate for entry in Ward(300).entries())
    assert f"100 Hz: {rates[100.0]}" in said["source rate"]
    assert said["digest"] == store.digest
    subjects = store.column("subject")
    assert said["subjects"].startswith(f"{len(set(subjects) - {None}):,} in")
    assert said["duplicates"] == "none"
    assert said["identifiers removed"] == "none found"


# --- conforming ----------------------------------------------------------------------------------


def one(**changes: object) -> Recording:
    x = signal.resample(sample.load().x[4:6, 0], 100, 500)
    made = Recording("r", x, 500.0, ("V1", "II"), np.ones(x.shape, bool))
    return replace(made, **changes)  # type: ignore[arg-type]


def test_leads_go_by_name_and_absent_ones_are_invalid() -> None:
    contract = Contract(("II", "V2", "V1"), 100.0)
    conformed = conform(one(), contract)
    assert conformed.leads == contract.leads
    ecg = signal.resample(one().x, 500, 100)
    np.testing.assert_array_equal(conformed.x, [ecg[1], 0 * ecg[0], ecg[0]])
    assert conformed.valid.all(axis=1).tolist() == [True, False, True]
    assert not conformed.valid[1].any()


@pytest.mark.parametrize(
    ("age", "kept", "code"),
    [(89.0, 89.0, None), (90.0, 90.0, None), (89.5, 90.0, "age-over-89"),
     (101.0, 90.0, "age-over-89"), (300.0, None, "age-absurd"), (-1.0, None, "age-absurd"),
     (float("nan"), None, "age-absurd"), (None, None, None)],
)  # fmt: skip
def test_ages_over_89_identify_people(age: float, kept: float, code: str) -> None:
    conformed = conform(one(age=age), Contract(("II",), 100.0))
    assert conformed.age == kept
    assert [found.code for found in conformed.findings] == ([code] if code else [])


def test_a_flat_stretch_is_no_ecg() -> None:
    x = one().x
    x[:, 1000:2000] = 0.7
    valid = conform(one(x=x), Contract(("II",), 100.0)).valid[0]
    assert not valid[200:400].any()
    assert valid[:190].all()
    assert valid[410:].all()


def test_another_unit_is_never_taken_for_millivolts() -> None:
    with pytest.raises(DefectError, match="unit"):
        conform(one(unit="g"), Contract(("II",), 100.0))


# --- workers -------------------------------------------------------------------------------------


def test_an_error_in_a_worker_arrives_whole() -> None:
    with pytest.raises(DefectError, match="gain is zero") as raised:
        list(workers.spread(raising, range(5), jobs=2))
    assert raised.value.remedy


def raising(number: int) -> int:
    from nerula.errors import refuse

    if number == 3:
        raise refuse("gain-zero", Path("x.hea"))
    return number


def test_workers_do_every_task_once() -> None:
    done = dict(workers.spread(doubled, range(50), jobs=3))
    assert done == {number: 2 * number for number in range(50)}


def doubled(number: int) -> int:
    return 2 * number
