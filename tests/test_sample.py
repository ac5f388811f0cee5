"""The bundled sample: what is in it, that it is intact, and that its codec loses nothing."""

import csv
import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nerula import sample
from nerula.errors import DefectError, UsageError
from nerula.readers import open_source
from nerula.readers.source import Entry
from nerula.sample.codec import pack, unpack


def test_it_is_small_and_fills_every_fold() -> None:
    files = [sample.ABOUT, sample.SIGNALS, sample.TABLE]
    assert sum((sample.FOLDER / name).stat().st_size for name in files) < 1_500_000
    source = sample.load()
    assert source.microvolts.shape == (1200, 1000)
    assert len(set(source.names)) == 1200
    assert Counter(source.folds.tolist()) == dict.fromkeys(range(1, 11), 120)


def test_no_subject_is_in_two_folds_and_all_are_known() -> None:
    folds: dict[str | None, set[str]] = {}
    for facts in sample.load().facts:
        folds.setdefault(facts.subject, set()).add(facts.fold)
    assert None not in folds
    assert all(len(seen) == 1 for seen in folds.values())


def test_both_sexes_many_ages_and_all_diagnostic_classes_in_each_fold() -> None:
    source = sample.load()
    ages = [facts.age for facts in source.facts if facts.age is not None]
    assert min(ages) < 20
    assert max(ages) == 90
    sexes = Counter(facts.sex for facts in source.facts)
    assert min(sexes["female"], sexes["male"]) > 500
    for fold in range(1, 11):
        here = source.folds == fold
        for statement, least in {"NORM": 36, "AFIB": 18, "SR": 60}.items():
            assert (source.has(statement) & here).sum() >= least, (fold, statement)


def test_values_are_those_of_an_ecg() -> None:
    x = sample.load().x
    assert x.shape == (1200, 1, 1000)
    assert x.dtype == np.float32
    assert np.abs(x).max() < 4
    assert 0.05 < np.median(x.std(axis=2)) < 0.3


def test_it_is_a_source() -> None:
    source = open_source("sample")
    assert source is sample.load()
    entries = list(source.entries())
    assert [entry.name for entry in entries[:3]] == ["00002", "00006", "00008"]
    recording = source.read(entries[1])
    assert recording.name == "00006"
    assert recording.leads == source.leads == ("II",)
    assert (recording.rate, recording.unit, recording.subject) == (100.0, "mV", "19005")
    assert (recording.age, recording.sex, recording.fold) == (18.0, "female", "4")
    assert recording.labels["NORM"] == 1.0
    assert np.isnan(recording.labels["SR"])
    assert recording.valid.all()
    assert np.array_equal(np.rint(recording.x * 1000), source.microvolts[1:2])  # type: ignore[attr-defined]
    with pytest.raises(UsageError):
        source.read(Entry("?", Path(), 1200))


def test_what_it_hands_out_is_not_its_own() -> None:
    source = sample.load()
    entry = next(source.entries())
    source.read(entry).x[:] = 0
    source.x[:] = 0
    assert source.read(entry).x.any()
    with pytest.raises(ValueError, match="read-only"):
        source.microvolts[0] = 0


def test_another_process_loads_its_own() -> None:
    assert len(pickle.dumps(sample.load())) < 100
    assert pickle.loads(pickle.dumps(sample.load())) is sample.load()


@pytest.mark.parametrize("name", [sample.SIGNALS, sample.TABLE])
def test_damage_is_noticed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in (sample.ABOUT, sample.SIGNALS, sample.TABLE):
        (tmp_path / file).write_bytes((sample.FOLDER / file).read_bytes())
    damaged = bytearray((tmp_path / name).read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / name).write_bytes(damaged)
    monkeypatch.setattr(sample, "FOLDER", tmp_path)
    with pytest.raises(DefectError, match="checksum-wrong"):
        sample.load.__wrapped__()


@settings(max_examples=25, deadline=None)  # the compressor takes its time whatever the size
@given(hnp.arrays(np.int16, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_the_codec_loses_nothing(signals: np.ndarray) -> None:
    assert np.array_equal(unpack(pack(signals), *signals.shape), signals)


@settings(max_examples=6, deadline=None)
@given(st.integers(-3, 3).filter(bool))
def test_the_codec_refuses_another_length(more: int) -> None:
    packed = pack(np.arange(40, dtype=np.int16).reshape(4, 10))
    with pytest.raises(ValueError, match="bytes where"):
        unpack(packed, 4, 10 + more)


@pytest.mark.shared
def test_every_sample_is_the_published_one(shared_data: Callable[[str], Path]) -> None:
    folder = shared_data("ptbxl")
    source = open_source(folder)
    with (folder / "ptbxl_database.csv").open(newline="") as file:
        rows = {int(row["ecg_id"]): row for row in csv.DictReader(file)}
    packed = sample.load()
    for row in range(0, 1200, 7):
        name = rows[int(packed.names[row])]["filename_lr"]
        published = source.read(Entry(name, folder / f"{name}.hea"))
        lead = published.x[published.leads.index("II")]
        assert np.array_equal(np.rint(lead * 1000), packed.microvolts[row])
        facts = packed.facts[row]
        assert (published.subject, published.age) == (facts.subject, facts.age)
        assert (published.sex, published.fold) == (facts.sex, facts.fold)
        assert str(dict(published.labels)) == str(facts.labels)


@pytest.mark.shared
@pytest.mark.slow
def test_the_tool_makes_the_same_files(
    shared_data: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tools import make_sample

    folder = shared_data("ptbxl")
    before = {name: (sample.FOLDER / name).read_bytes() for name in (sample.SIGNALS, sample.TABLE)}
    monkeypatch.setattr(sample, "FOLDER", tmp_path)
    monkeypatch.setattr("sys.argv", ["make_sample.py", str(folder)])
    make_sample.main()
    assert (tmp_path / sample.TABLE).read_bytes() == before[sample.TABLE]
    made = (tmp_path / sample.SIGNALS).read_bytes()  # another compressor may pack otherwise
    assert np.array_equal(unpack(made, 1200, 1000), unpack(before[sample.SIGNALS], 1200, 1000))
