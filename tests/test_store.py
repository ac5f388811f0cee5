"""The store: what was written is read, wherever it lies, and what was damaged is refused."""

import json
import multiprocessing
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pyarrow import parquet

from nerula import columns, sample
from nerula.contract import Contract
from nerula.defects import Finding
from nerula.errors import NerulaError, UsageError
from nerula.recording import Recording
from nerula.store import INDEX, SIGNALS, TABLE, VALIDITY, Store
from nerula.writer import StoreWriter, stored_batch

ONE = Contract(("II",), 100.0)


def written(path: Path, contract: Contract, recordings: Sequence[Recording]) -> Store:
    with StoreWriter(path, contract) as writer:
        for recording in recordings:
            writer.add(recording, source=f"{recording.name}.hea")
    return Store.open(path)


def ecg(count: int) -> Iterator[Recording]:
    bundled = sample.load()
    for _, entry in zip(range(count), bundled.entries(), strict=False):
        yield bundled.read(entry)


def recording(
    x: np.ndarray, valid: np.ndarray, contract: Contract = ONE, name: str = "r"
) -> Recording:
    x = np.where(valid, x, 0).astype(np.float32)
    return Recording(name, x, contract.rate, contract.leads, valid)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return written(tmp_path_factory.mktemp("stores") / "real", ONE, list(ecg(100)))


# --- round trip ----------------------------------------------------------------------------------


def test_real_recordings_come_back_to_the_microvolt(real: Store) -> None:
    assert len(real) == 100
    for i, original in enumerate(ecg(100)):
        x, valid = real.read(i)
        assert np.array_equal(np.rint(x * 1000), np.rint(original.x * 1000))
        assert np.array_equal(valid, original.valid)
        assert x.dtype == np.float32
    real.check()


def test_everything_known_about_a_recording_is_in_its_row(real: Store) -> None:
    for i, original in enumerate(ecg(100)):
        row = real.table.slice(i, 1).to_pylist()[0]
        assert (row["name"], row["subject"], row["sex"]) == (
            original.name, original.subject, original.sex
        )  # fmt: skip
        assert row["age"] == original.age
        assert row["fold"] == original.fold
        assert row["source"] == f"{original.name}.hea"
        assert row["labels"] == sorted(original.labels)
        told = dict(zip(row["labels"], row["likelihoods"], strict=True))
        for label, likelihood in original.labels.items():
            assert np.isclose(told[label], likelihood, equal_nan=True)
        assert (row["length"], row["source_rate"], row["valid"]) == (1000, 100.0, 1.0)
        assert row["leads"] == ["II"]
    assert real.column("name")[3] == list(ecg(4))[3].name


@st.composite
def collections(draw: st.DrawFn) -> tuple[Contract, list[tuple[np.ndarray, np.ndarray]]]:
    leads = draw(st.integers(1, 3))
    contract = Contract(
        ("I", "II", "III")[:leads], draw(st.sampled_from([50.0, 100.0])),
        dtype=draw(st.sampled_from(["int16", "float16"])),
    )  # fmt: skip
    contract = replace(contract, scale=1.0 if contract.dtype == "float16" else 0.001)
    pairs = []
    for length in draw(st.lists(st.integers(1, 40), max_size=6)):
        x = draw(arrays(np.float32, (leads, length), elements=st.floats(-32, 32, width=16)))
        valid = draw(arrays(bool, (leads, length), elements=st.booleans(), fill=st.just(True)))
        pairs.append((np.where(valid, x, 0), valid))
    return contract, pairs


@settings(max_examples=60, deadline=None)
@given(collections(), st.data())
def test_any_collection_round_trips_and_its_windows_are_slices(
    tmp_path_factory: pytest.TempPathFactory,
    collection: tuple[Contract, list[tuple[np.ndarray, np.ndarray]]],
    data: st.DataObject,
) -> None:
    contract, pairs = collection
    recordings = [recording(x, valid, contract, str(i)) for i, (x, valid) in enumerate(pairs)]
    store = written(tmp_path_factory.mktemp("any") / "store", contract, recordings)
    store.check()
    assert len(store) == len(pairs)
    assert store.contract == contract
    assert (store.column("offset") % 8 == 0).all()
    for i, (x, valid) in enumerate(pairs):
        found, known = store.read(i)
        np.testing.assert_allclose(found, x, atol=0.51 * contract.scale, rtol=1e-6)
        assert np.array_equal(known, valid)
    if not pairs:
        return
    size = data.draw(st.integers(1, 8))
    index = data.draw(arrays(np.int64, size, elements=st.integers(0, len(pairs) - 1)))
    start = data.draw(arrays(np.int64, size, elements=st.integers(0, 45)))
    length = data.draw(st.integers(1, 50))
    x, known = store.windows(index, start, length)
    assert x.shape == known.shape == (size, len(contract.leads), length)
    for row, (i, begin) in enumerate(zip(index, start, strict=True)):
        one, valid = store.read(i)
        one, valid = one[:, begin : begin + length], valid[:, begin : begin + length]
        held = one.shape[1]
        assert np.array_equal(x[row, :, :held], one)
        assert np.array_equal(known[row, :, :held], valid)
        assert not x[row, :, held:].any()
        assert not known[row, :, held:].any()


def test_one_start_serves_a_whole_batch_and_nonsense_is_refused(real: Store) -> None:
    x, valid = real.windows([5, 5, 99], 400, 700)
    assert np.array_equal(x[0], x[1])
    assert valid.sum(axis=2).tolist() == [[600], [600], [600]]
    assert np.array_equal(x[2, :, :600], real.read(99)[0][:, 400:])
    empty, _ = real.windows([], 0, 10)
    assert empty.shape == (0, 1, 10)
    for start, length in ((-1, 10), (0, 0)):
        with pytest.raises(ValueError, match="window"):
            real.windows([0], start, length)
    for index in (100, -101):
        with pytest.raises(IndexError):
            real.read(index)
        with pytest.raises(IndexError):
            real.windows([index], 0, 10)


def test_what_does_not_fit_its_type_becomes_invalid_not_wrong(tmp_path: Path) -> None:
    x = np.array([[1.0, 32.767, 32.768, -40.0, 0.0004, 2.5]])
    store = written(tmp_path / "s", ONE, [recording(x, np.ones(x.shape, bool))])
    assert list(store.column("findings")[0]) == ["amplitude-absurd II"]
    found, valid = store.read(0)
    assert valid.tolist() == [[True, True, False, False, True, True]]
    np.testing.assert_allclose(found, [[1.0, 32.767, 0, 0, 0, 2.5]], rtol=1e-6)


def test_a_recording_of_another_contract_is_no_recording_of_this_store(tmp_path: Path) -> None:
    x = np.zeros((1, 10))
    other = recording(x, x == 0, replace(ONE, rate=250.0))
    with pytest.raises(ValueError, match="contract"):
        written(tmp_path / "s", ONE, [other])
    assert not (tmp_path / "s" / INDEX).exists()
    assert not list((tmp_path / "s").iterdir())


def test_a_store_travels_to_another_process(real: Store) -> None:
    again = pickle.loads(pickle.dumps(real))
    assert np.array_equal(again.read(7)[0], real.read(7)[0])
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        x, _ = pool.apply(real.read, (7,))
    assert np.array_equal(x, real.read(7)[0])


# --- digest --------------------------------------------------------------------------------------


def test_the_digest_is_of_the_content_alone(tmp_path: Path) -> None:
    some = list(ecg(5))
    one, two = (written(tmp_path / name, ONE, some) for name in ("one", "two"))
    assert one.digest == two.digest
    for name in (SIGNALS, VALIDITY, TABLE, INDEX):
        assert (one.path / name).read_bytes() == (two.path / name).read_bytes()
    shorter = written(tmp_path / "shorter", ONE, some[:4])
    older = written(tmp_path / "older", ONE, [replace(some[0], age=77.5), *some[1:]])
    holed = some[0].valid.copy()
    holed[0, 3] = False
    gap = written(tmp_path / "gap", ONE, [replace(some[0], valid=holed), *some[1:]])
    other = written(tmp_path / "band", replace(ONE, band=(0.5, 40.0)), some)
    assert len({store.digest for store in (one, shorter, older, gap, other)}) == 5
    assert one.column("digest")[0] == older.column("digest")[0] != gap.column("digest")[0]


def test_findings_are_kept_as_codes_and_leads(tmp_path: Path) -> None:
    found = (
        Finding("signal-flat", Path("/secret/place"), "from 3 s", "II"),
        Finding("age-over-89"),
        Finding("signal-flat", None, "from 7 s", "II"),
    )
    store = written(tmp_path / "s", ONE, [replace(next(ecg(1)), findings=found)])
    assert list(store.column("findings")[0]) == ["age-over-89", "signal-flat II"]
    assert b"secret" not in (store.path / TABLE).read_bytes()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=5))
def test_rows_taken_from_a_store_make_the_same_store_again(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("again")
    first = written(folder / "first", ONE, list(ecg(sum(pieces))))
    with StoreWriter(folder / "second", ONE) as writer:
        begin = 0
        for count in pieces:
            writer.append(stored_batch(first, begin, count))
            begin += count
    for name in (SIGNALS, VALIDITY, TABLE, INDEX):
        assert (folder / "first" / name).read_bytes() == (folder / "second" / name).read_bytes()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "text": st.none() | st.text(max_size=5),
                "texts": st.lists(st.none() | st.text(max_size=5), max_size=3),
                "number": st.none() | st.floats(width=32, allow_nan=True),
                "count": st.integers(-(2**63), 2**63 - 1),
                "bytes": st.binary(max_size=9),
                "numbers": st.lists(st.floats(width=32), max_size=3),
            }
        ),
        max_size=20,
    )
)
def test_columns_are_what_arrow_itself_would_make(rows: list[dict]) -> None:
    kinds = {
        "text": pa.string(), "texts": pa.list_(pa.string()), "number": pa.float32(),
        "count": pa.int64(), "bytes": pa.large_binary(), "numbers": pa.list_(pa.float32()),
    }  # fmt: skip
    schema = pa.schema(kinds)
    made = columns.batch(rows, schema)
    made.validate(full=True)
    assert repr(made.to_pylist()) == repr(pa.RecordBatch.from_pylist(rows, schema).to_pylist())
    held = pa.chunked_array([made.column("texts")])
    assert columns.values(held).tolist() == [row["texts"] for row in rows]
    for begin in range(0, len(rows), 3):
        part = made.slice(begin, 2).column("bytes")
        joined = b"".join(row["bytes"] for row in rows[begin : begin + 2])
        assert columns.content(part).to_pybytes() == joined


# --- damage --------------------------------------------------------------------------------------


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    return written(tmp_path / "victim", ONE, list(ecg(20))).path


@pytest.mark.parametrize("name", [SIGNALS, VALIDITY, TABLE])
def test_a_file_that_is_missing_or_of_another_size_is_refused(victim: Path, name: str) -> None:
    content = (victim / name).read_bytes()
    for damaged in (content[:-1], content + b"\0", b""):
        (victim / name).write_bytes(damaged)
        with pytest.raises(NerulaError, match="damaged") as raised:
            Store.open(victim)
        assert name in str(raised.value)
    (victim / name).unlink()
    with pytest.raises(NerulaError, match="missing"):
        Store.open(victim)


@pytest.mark.parametrize("name", [SIGNALS, VALIDITY])
def test_check_finds_a_single_changed_bit(victim: Path, name: str) -> None:
    content = bytearray((victim / name).read_bytes())
    content[-100] ^= 1
    (victim / name).write_bytes(content)
    store = Store.open(victim)
    with pytest.raises(NerulaError, match="is not what was written"):
        store.check()


def test_check_finds_a_changed_row(victim: Path) -> None:
    table = parquet.read_table(victim / TABLE)
    ages = table.column("age").to_pylist()
    ages[4] = 30.0 if ages[4] != 30.0 else 31.0
    place = table.schema.get_field_index("age")
    field = table.schema.field(place)
    changed = table.set_column(place, field, pa.array(ages, field.type))
    parquet.write_table(changed, victim / TABLE, compression="zstd")
    facts = json.loads((victim / INDEX).read_text())
    facts["files"][TABLE] = (victim / TABLE).stat().st_size
    (victim / INDEX).write_text(json.dumps(facts))
    with pytest.raises(NerulaError, match="rows are not what was written"):
        Store.open(victim).check()


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other"}, {"version": 2}, {"digest": None}, {"contract": {}},
        {"recordings": 21}, {"contract": ONE.as_json() | {"dtype": "float16"}},
        {"contract": ONE.as_json() | {"leads": ["I", "II"]}},
        {"contract": ONE.as_json() | {"rate": "fast"}},
        {"contract": ONE.as_json() | {"surprise": 1}},
    ],
)  # fmt: skip
def test_an_index_that_contradicts_the_files_is_refused(victim: Path, change: dict) -> None:
    facts = json.loads((victim / INDEX).read_text()) | change
    (victim / INDEX).write_text(json.dumps({k: v for k, v in facts.items() if v is not None}))
    with pytest.raises(NerulaError):
        Store.open(victim)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"format": "nerula-store"}'])
def test_an_index_that_is_none_is_refused(victim: Path, content: bytes) -> None:
    (victim / INDEX).write_bytes(content)
    with pytest.raises(NerulaError):
        Store.open(victim)


def test_a_folder_that_is_no_store_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NerulaError, match="nerula prepare"):
        Store.open(tmp_path)


def test_pickled_objects_in_place_of_signals_are_refused(victim: Path) -> None:
    size = (victim / SIGNALS).stat().st_size
    np.save(victim / SIGNALS, np.array([{}], dtype=object), allow_pickle=True)
    content = (victim / SIGNALS).read_bytes()
    (victim / SIGNALS).write_bytes(content.ljust(size, b"\0"))
    with pytest.raises(NerulaError, match="damaged"):
        Store.open(victim)


@pytest.mark.parametrize(
    "change",
    [
        {"leads": ()}, {"leads": ("II", "II")}, {"rate": 0.0}, {"rate": float("nan")},
        {"dtype": "float64"}, {"scale": 0.0}, {"band": (40.0, 0.5)}, {"band": (0.5, 51.0)},
        {"band": (0.0, 40.0)},
    ],
)  # fmt: skip
def test_a_contract_that_cannot_be_meant_is_refused(change: dict) -> None:
    with pytest.raises(UsageError):
        replace(ONE, **change)
