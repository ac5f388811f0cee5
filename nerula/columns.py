"""Python values to Arrow columns, straight from their buffers.

`pyarrow.array` would do, but it imports pandas wherever that happens to be installed: 0.4 s for
every process that prepares recordings.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_NUMBERS: dict[pa.DataType, Any] = {
    pa.float32(): np.float32,
    pa.float64(): np.float64,
    pa.int64(): np.int64,
}
_OFFSETS: dict[pa.DataType, Any] = {pa.string(): np.int32, pa.large_binary(): np.int64}


def batch(rows: Sequence[dict[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
    """Turn rows into a record batch; every row has every column."""
    columns = [column([row[field.name] for row in rows], field.type) for field in schema]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Turn values of one kind (numbers, text, bytes, lists of these), or None, into a column."""
    if pa.types.is_list(kind):
        inner = column([value for row in values for value in row], kind.value_type)
        buffers = [None, _ends(values, np.int32)]
        return pa.Array.from_buffers(kind, len(values), buffers, children=[inner])
    if kind in _NUMBERS:
        numbers = np.array([0 if value is None else value for value in values], _NUMBERS[kind])
        return pa.Array.from_buffers(kind, len(values), [_known(values), pa.py_buffer(numbers)])
    if kind == pa.string():
        content = [b"" if value is None else value.encode() for value in values]
    else:
        content = list(values)
    buffers = [_known(values), _ends(content, _OFFSETS[kind]), pa.py_buffer(b"".join(content))]
    return pa.Array.from_buffers(kind, len(values), buffers)


def pieces(flat: NDArray[Any], sizes: NDArray[np.int64]) -> pa.Array:
    """Consecutive pieces of an array, of `sizes` bytes, as one column, without copying."""
    ends = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(np.ascontiguousarray(flat))]
    return pa.Array.from_buffers(pa.large_binary(), len(sizes), buffers)


def content(blobs: pa.Array) -> pa.Buffer:
    """All bytes of a column of bytes, one after the other: what `pieces` was given."""
    _, ends, data = blobs.buffers()
    places = np.frombuffer(ends, np.int64)[blobs.offset : blobs.offset + len(blobs) + 1]
    return data.slice(places[0], places[-1] - places[0])


def values(chunks: pa.ChunkedArray) -> NDArray[Any]:
    """Turn a column into an array; where nothing is known numbers are NaN, all else None."""
    found = chunks.to_pylist()
    if chunks.type == pa.int64():
        return np.array(found, np.int64)
    if chunks.type in _NUMBERS:
        return np.array([np.nan if v is None else v for v in found], _NUMBERS[chunks.type])
    return np.fromiter(found, object, len(found))


def _ends(values: Sequence[Any], dtype: Any) -> pa.Buffer:
    sizes = np.fromiter(map(len, values), dtype, len(values))
    return pa.py_buffer(np.concatenate((np.zeros(1, dtype), np.cumsum(sizes, dtype=dtype))))


def _known(values: Sequence[Any]) -> pa.Buffer | None:
    """One bit per value that is not None; nothing where all are known."""
    if None not in values:
        return None
    return pa.py_buffer(np.packbits([value is not None for value in values], bitorder="little"))
