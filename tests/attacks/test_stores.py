"""Stores: tables and indexes that say what their writer never wrote."""

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from nerula import sample
from nerula.errors import NerulaError
from nerula.prepare import Options, make_store
from nerula.store import INDEX, TABLE, Store


@pytest.fixture
def store(tmp_path: Path) -> Path:
    make_store(sample.load(), tmp_path / "store", Options(leads=("II",), limit=20))
    return tmp_path / "store"


def refused(store: Path) -> str:
    with pytest.raises(NerulaError) as caught:
        Store.open(store)
    return str(caught.value)


def index(store: Path, **values: Any) -> None:
    facts = json.loads((store / INDEX).read_text())
    (store / INDEX).write_text(json.dumps({**facts, **values}))


def written(store: Path, table: pa.Table, **values: Any) -> None:
    """Write another table, with an index that knows its size."""
    parquet.write_table(table, store / TABLE)
    files = json.loads((store / INDEX).read_text())["files"]
    index(store, files={**files, TABLE: (store / TABLE).stat().st_size}, **values)


@pytest.mark.parametrize("name", ["offset", "length"])
@pytest.mark.parametrize("value", [None, -8, 1 << 62])
def test_places_that_are_none_of_the_signals(store: Path, name: str, value: int | None) -> None:
    table = parquet.read_table(store / TABLE)
    other = pa.array([value] * len(table), pa.int64())
    written(store, table.set_column(table.schema.get_field_index(name), name, other))
    assert TABLE in refused(store)


@pytest.mark.parametrize("name", ["name", "offset", "age"])
def test_columns_of_another_kind(store: Path, name: str) -> None:
    table = parquet.read_table(store / TABLE)
    other = pa.array([{"a": 1}] * len(table))
    written(store, table.set_column(table.schema.get_field_index(name), name, other))
    assert name in refused(store)
    written(store, table.drop([name]))
    assert name in refused(store)
    written(store, table.append_column(name, table[name]))
    assert name in refused(store)


def test_a_billion_rows_of_one_value_are_not_unpacked(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = parquet.read_table(store / TABLE)
    rows = 1_000_000  # some kilobytes of the file; a billion would take no more than megabytes
    many = pa.table([pa.nulls(rows, one.type) for one in table.schema], schema=table.schema)
    written(store, many, recordings=rows)
    monkeypatch.setattr(parquet.ParquetFile, "read", None)
    assert "contradicts" in refused(store)


@pytest.mark.parametrize("files", [None, [], "x", {}, {"../../secret": 1}])
def test_an_index_of_other_files(store: Path, files: Any) -> None:
    index(store, files=files)
    assert INDEX in refused(store)


def test_an_index_may_be_any_text(store: Path) -> None:
    (store / INDEX).write_text("[" * 100_000)
    assert INDEX in refused(store)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.parametrize("name", [INDEX, TABLE, "signals.npy", "validity.npy"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(store: Path, name: str) -> None:
    (store / name).unlink()
    os.mkfifo(store / name)
    assert name in refused(store)
