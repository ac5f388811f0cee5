"""Store: prepared recordings in a folder, memory-mapped and gathered in batches.

    signals.npy          flat int16 or float16; each recording one (leads, time) block
    validity.npy         one bit per sample of signals.npy, 1 where it was measured
    recordings.parquet   one row per recording: who, what, where its block is
    store.json           the preprocessing contract, sizes and the digest; written last

Every block starts at a multiple of 8 samples, so its validity starts at a whole byte.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from mmap import mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nerula.contract import Contract
from nerula.errors import NerulaError
from nerula.files import load_json

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT, VERSION = "nerula-store", 1
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
_KINDS = {
    "name": "string", "subject": "string", "age": "float", "sex": "string", "fold": "string",
    "source": "string", "source_rate": "double", "offset": "int64", "length": "int64",
    "valid": "float", "digest": "string",
}  # fmt: skip
"""Columns of recordings.parquet that hold one value, and what kind of value."""
SIGNALS, VALIDITY, TABLE, INDEX = "signals.npy", "validity.npy", "recordings.parquet", "store.json"


class Store:
    """Prepared recordings. Opening checks sizes and costs nothing; `check` reads every byte."""

    def __init__(
        self,
        path: Path,
        facts: Mapping[str, Any],
        signals: NDArray[Any],
        validity: NDArray[np.uint8],
    ) -> None:
        self.path = path
        self.facts = facts
        """The whole of store.json."""
        self.contract = Contract.from_json(facts["contract"])
        self.digest = str(facts["digest"])
        self._signals, self._validity = signals, validity
        self._check_table()
        self._offset = self.column("offset")
        self._length = self.column("length")
        self._check_blocks()

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Open the store in folder `path`; refuse it where a file is missing or mis-sized."""
        path = Path(path)
        facts = read_facts(path)
        for name, size in facts["files"].items():
            found = (path / name).stat().st_size if (path / name).is_file() else None
            if found != size:
                held = "is missing" if found is None else f"has {found} bytes instead of {size}"
                raise _damaged(path / name, held)
        return cls(path, facts, _mapped(path / SIGNALS), _mapped(path / VALIDITY))

    def __len__(self) -> int:
        return len(self._length)

    def __repr__(self) -> str:
        leads = " ".join(self.contract.leads)
        return f"Store({str(self.path)!r}: {len(self)} x {leads} at {self.contract.rate:g} Hz)"

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return type(self).open, (self.path,)  # another process maps the same files

    @cached_property
    def table(self) -> "pa.Table":
        """Every row of recordings.parquet."""
        from pyarrow import parquet

        with parquet.ParquetFile(self.path / TABLE) as file:
            return file.read()

    def column(self, name: str) -> NDArray[Any]:
        """One column as an array: numbers with NaN, text with None where nothing is known."""
        from pyarrow import ArrowException, parquet

        from nerula import columns

        try:
            with parquet.ParquetFile(self.path / TABLE) as file:
                return columns.values(file.read(columns=[name]).column(name))
        except (KeyError, TypeError, ArrowException, OSError) as error:
            raise NerulaError(f"{self.path / TABLE}: column {name!r} cannot be read.") from error

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Samples per lead of every recording."""
        return self._length

    @property
    def raw(self) -> tuple[NDArray[Any], NDArray[np.uint8], NDArray[np.int64]]:
        """The mapped counts and validity bits, and the sample at which each block begins."""
        return self._signals, self._validity, self._offset

    def advise(self, advice: int) -> None:
        """Tell the system how the maps will be read, by one of the constants of `mmap`."""
        for array in (self._signals, self._validity):
            held: Any = array
            while isinstance(held, np.ndarray):
                held = held.base
            if isinstance(held, mmap):
                held.madvise(advice)

    def read(self, i: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Recording `i`: x (leads, time) in the contract's unit, and its validity."""
        if not -len(self) <= i < len(self):
            raise IndexError(f"recording {i} of a store of {len(self)}")
        shape = (len(self.contract.leads), int(self._length[i]))
        first, count = int(self._offset[i]), shape[0] * shape[1]
        x = np.multiply(self._signals[first : first + count], self._scale, dtype=np.float32)
        bits = self._validity[first // 8 : (first + count + 7) // 8]
        valid = np.unpackbits(bits, count=count, bitorder="little").view(np.bool_)
        return x.reshape(shape), valid.reshape(shape)

    def windows(
        self, index: ArrayLike, start: ArrayLike, length: int
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Gather one window per entry of `index`, all leads: x and valid (batch, leads, length).

        `start` is one sample number for all, or one each. Past the end of a recording x is 0 and
        valid False.
        """
        index = np.asarray(index, np.int64).reshape(-1)
        start = np.broadcast_to(np.asarray(start, np.int64), index.shape)
        if length < 1 or (start < 0).any():
            raise ValueError("a window starts at 0 or later and holds at least one sample")
        leads, lengths = len(self.contract.leads), self._length[index]
        first = (self._offset[index] + start)[:, None] + np.arange(leads) * lengths[:, None]
        shape = (len(index), leads, length)
        counts = _gather(self._signals, first.reshape(-1), length)
        x = np.multiply(counts, self._scale, dtype=np.float32).reshape(shape)
        valid = _gather_bits(self._validity, first.reshape(-1), length).reshape(shape)
        inside = lengths - start
        for row in np.flatnonzero(inside < length):
            x[row, :, max(inside[row], 0) :] = 0
            valid[row, :, max(inside[row], 0) :] = False
        return x, valid

    def check(self) -> None:
        """Read every byte and compare it with the digests; raise at the first difference."""
        found = hashlib.blake2b(canonical(self.facts["contract"]), digest_size=16)
        leads = len(self.contract.leads)
        for row in self._rows():
            first, count = row["offset"], leads * row["length"]
            block = self._signals[first : first + count]
            bits = self._validity[first // 8 : (first + count + 7) // 8]
            if signal_digest(block, bits) != row["digest"]:
                raise _damaged(self.path, f"recording {row['name']} is not what was written")
            del row["offset"]  # it follows from the lengths, and opening compared it with them
            found.update(row_digest(row).encode())
        if found.hexdigest() != self.digest:
            raise _damaged(self.path / TABLE, "its rows are not what was written")

    def _rows(self) -> Iterator[dict[str, Any]]:
        from pyarrow import parquet

        with parquet.ParquetFile(self.path / TABLE) as table:
            for batch in table.iter_batches(4096):
                yield from batch.to_pylist()

    @property
    def _scale(self) -> np.float32:
        return np.float32(self.contract.scale)

    def _check_table(self) -> None:
        """Compare what the table says of itself before any of it is unpacked."""
        from pyarrow import ArrowException, parquet

        try:
            with parquet.ParquetFile(self.path / TABLE) as file:
                rows, schema = file.metadata.num_rows, file.schema_arrow
                kinds = {
                    name: [str(one.type) for one in schema if one.name == name] for name in _KINDS
                }
        except (ArrowException, OSError) as error:
            raise _damaged(self.path / TABLE, f"it cannot be read ({error})") from error
        wrong = [name for name, kind in _KINDS.items() if kinds[name] != [kind]]
        if wrong:
            raise _damaged(
                self.path / TABLE, f"column {', '.join(wrong)} is not what it has to be"
            )
        if rows != self.facts["recordings"] or 8 * rows > len(self._signals):  # 8 counts at least
            raise _damaged(self.path / INDEX, "it contradicts the other files")

    def _check_blocks(self) -> None:
        sizes = -(-self._length * len(self.contract.leads) // 8) * 8
        ends = np.cumsum(sizes)
        total = int(ends[-1]) if len(ends) else 0
        sound = (self._length >= 0).all() and (self._offset == ends - sizes).all()
        if not sound or total != len(self._signals) or total != 8 * len(self._validity):
            raise _damaged(self.path / TABLE, "it points outside the signals")
        if self._signals.dtype != self.contract.dtype:
            raise _damaged(self.path / INDEX, "it contradicts the other files")


def read_facts(path: Path) -> dict[str, Any]:
    """Read store.json of the store in folder `path`, and check that it is one of ours."""
    try:
        facts = load_json(path / INDEX)
    except FileNotFoundError:
        raise NerulaError(
            f"{path} is not a finished store: it has no {INDEX}.", "Run nerula prepare first."
        ) from None
    except (ValueError, OSError) as error:
        raise _damaged(path / INDEX, f"it cannot be read ({error})") from error
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise NerulaError(f"{path / INDEX} does not describe a Nerula store.")
    if facts.get("version") != VERSION:
        raise NerulaError(f"{path} is a store of version {facts.get('version')}, not {VERSION}.")
    files = facts.get("files")
    if not isinstance(files, dict) or {SIGNALS, VALIDITY, TABLE} != set(files):
        raise _damaged(path / INDEX, "it does not say which files the store has")
    if {"contract", "digest", "files", "recordings"} - set(facts):
        raise _damaged(path / INDEX, "it is incomplete")
    return facts


def canonical(value: Any) -> bytes:
    """One value as the bytes that digests are made of."""
    return _CANONICAL.encode(value).encode()


def signal_digest(block: NDArray[Any], bits: NDArray[np.uint8]) -> str:
    """Digest of one recording's stored samples and validity: equal only for equal signals."""
    digest = hashlib.blake2b(block.data, digest_size=16)
    digest.update(bits.data)
    return digest.hexdigest()


def row_digest(row: Mapping[str, Any]) -> str:
    """Digest of everything that a row says, but for where its samples lie."""
    return hashlib.blake2b(canonical(row), digest_size=16).hexdigest()


def _damaged(path: Path, what: str) -> NerulaError:
    return NerulaError(f"{path} is damaged: {what}.", "Prepare the store again.")


def _mapped(path: Path) -> NDArray[Any]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise _damaged(path, str(error)) from error
    if array.ndim != 1:
        raise _damaged(path, "it is not one flat array")
    return np.asarray(array)


def _gather(flat: NDArray[Any], first: NDArray[np.int64], length: int) -> NDArray[Any]:
    """Rows `flat[first : first + length]`; what lies past the end of `flat` is 0."""
    if length > len(flat):
        flat = np.pad(flat, (0, length - len(flat)))
    last = len(flat) - length
    rows = np.lib.stride_tricks.sliding_window_view(flat, length)[np.minimum(first, last)]
    for row in np.flatnonzero(first > last):
        piece = flat[first[row] :]
        rows[row, : len(piece)], rows[row, len(piece) :] = piece, 0
    return rows


def _gather_bits(
    bits: NDArray[np.uint8], first: NDArray[np.int64], length: int
) -> NDArray[np.bool_]:
    """Rows of single bits, from bit numbers `first` that need not lie at whole bytes."""
    byte, shift = first >> 3, first & 7
    if not shift.any():
        rows = _gather(bits, byte, -(-length // 8))
        return np.unpackbits(rows, axis=1, count=length, bitorder="little").view(np.bool_)
    rows = np.unpackbits(_gather(bits, byte, (length + 14) // 8), axis=1, bitorder="little")
    begin = np.arange(len(rows)) * rows.shape[1] + shift
    return _gather(rows.reshape(-1), begin, length).view(np.bool_)
