"""Writing stores: recordings to rows and counts, rows and counts to the four files."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from nerula import columns
from nerula.contract import Contract
from nerula.defects import Finding
from nerula.files import replacing, write_whole
from nerula.recording import Recording
from nerula.store import (
    FORMAT,
    INDEX,
    SIGNALS,
    TABLE,
    VALIDITY,
    VERSION,
    Store,
    canonical,
    row_digest,
    signal_digest,
)

_TEXTS = pa.list_(pa.string())
SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("subject", pa.string()),
        ("age", pa.float32()),
        ("sex", pa.string()),
        ("labels", _TEXTS),
        ("likelihoods", pa.list_(pa.float32())),
        ("fold", pa.string()),
        ("source", pa.string()),
        ("source_rate", pa.float64()),
        ("leads", _TEXTS),
        ("length", pa.int64()),
        ("valid", pa.float32()),
        ("digest", pa.string()),
        ("findings", _TEXTS),
        ("removed", _TEXTS),
    ]
)
"""The columns of recordings.parquet, which has `offset` besides."""

PART_SCHEMA = pa.schema(
    [
        *SCHEMA,
        ("row", pa.string()),
        ("signals", pa.large_binary()),
        ("validity", pa.large_binary()),
    ]
)
"""Rows with their digest and their samples, as they travel before their offset is known."""

_STORED_SCHEMA = SCHEMA.append(pa.field("offset", pa.int64()))
_ROWS_PER_GROUP = 65_536
_HEADER = 128  # bytes of the .npy header of a flat array


def quantise(
    x: NDArray[np.float32], valid: NDArray[np.bool_], contract: Contract
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Turn x into counts; what is invalid becomes 0, what does not fit becomes invalid."""
    counts = x * np.float32(1 / contract.scale)
    limit = 65_504 if contract.dtype == "float16" else 32_767
    if contract.dtype == "int16":
        np.rint(counts, out=counts)
    if counts.size and not (counts.min() >= -limit and counts.max() <= limit):
        valid = valid & (np.abs(counts) <= limit)
    if not valid.all():
        counts[~valid] = 0
    return counts.astype(contract.dtype), valid


class Rows:
    """Collects recordings that already obey the contract, and yields them as record batches."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._rows: list[dict[str, Any]] = []
        self.size = 0
        """Bytes of samples that wait for `batch`."""

    def add(
        self, recording: Recording, *, source: str = "", source_rate: float | None = None
    ) -> None:
        """Add one recording; its leads and rate are the contract's."""
        contract = self._contract
        if recording.leads != contract.leads or recording.rate != contract.rate:
            raise ValueError(f"{recording.name} does not obey the contract of the store")
        counts, valid = quantise(recording.x, recording.valid, contract)
        findings = recording.findings
        if valid is not recording.valid:
            findings += tuple(_overflows(recording, valid))
        counts = counts.reshape(-1)
        bits = np.packbits(valid.reshape(-1), bitorder="little")
        present, share = _measured(valid, contract.leads)
        labels = sorted(recording.labels.items())
        row = {
            "name": recording.name,
            "subject": recording.subject,
            "age": _as_stored(recording.age),
            "sex": recording.sex,
            "labels": [label for label, _ in labels],
            "likelihoods": [_as_stored(likelihood) for _, likelihood in labels],
            "fold": recording.fold,
            "source": source,
            "source_rate": recording.rate if source_rate is None else source_rate,
            "leads": present,
            "length": recording.x.shape[1],
            "valid": _as_stored(share),
            "digest": signal_digest(counts, bits),
            "findings": _distinct(findings),
            "removed": list(recording.removed),
        }
        row["row"] = row_digest(row)
        row["signals"] = counts.tobytes() + bytes(-counts.nbytes % (8 * counts.itemsize))
        row["validity"] = bits.tobytes()
        self._rows.append(row)
        self.size += counts.nbytes

    def batch(self) -> pa.RecordBatch:
        """Return what was added since the last call."""
        batch = columns.batch(self._rows, PART_SCHEMA)
        self._rows, self.size = [], 0
        return batch


def _measured(valid: NDArray[np.bool_], leads: tuple[str, ...]) -> tuple[list[str], float]:
    """Which leads have a valid sample, and which share of the samples of these is valid."""
    if valid.all():
        return list(leads), 1.0
    shares = valid.mean(axis=1)
    present = [lead for lead, share in zip(leads, shares, strict=True) if share]
    return present, float(shares.sum() / max(len(present), 1))


def _overflows(recording: Recording, fitting: NDArray[np.bool_]) -> Iterator[Finding]:
    """Say which leads have samples that the store's type cannot hold."""
    for lead, before, after in zip(recording.leads, recording.valid, fitting, strict=True):
        if count := int(before.sum() - after.sum()):
            yield Finding("amplitude-absurd", recording.path, f"{count} samples", lead)


def _as_stored(number: float | None) -> float | None:
    """A number as it will be read: the digest is of what is stored."""
    return None if number is None else float(np.float32(number))


def _distinct(findings: Iterable[Finding]) -> list[str]:
    return sorted({f"{found.code} {found.lead}".strip() for found in findings})


def stored_batch(store: Store, first: int, count: int) -> pa.RecordBatch:
    """Return rows of a store with their samples, as `StoreWriter.append` takes them."""
    signals, validity, offset = store.raw
    sizes = -(-store.lengths[first : first + count] * len(store.contract.leads) // 8) * 8
    begin = int(offset[first]) if count else 0
    end = begin + int(sizes.sum())
    table = store.table.slice(first, count).select(SCHEMA.names)
    digests = [row_digest(row) for row in table.to_pylist()]
    held = [table.column(name).combine_chunks() for name in SCHEMA.names]
    more = [
        columns.column(digests, pa.string()),
        columns.pieces(signals[begin:end], sizes * signals.itemsize),
        columns.pieces(validity[begin // 8 : end // 8], sizes // 8),
    ]
    return pa.RecordBatch.from_arrays([*held, *more], schema=PART_SCHEMA)


class StoreWriter:
    """Writes one store in order. Nothing has its final name before the block ends well."""

    def __init__(
        self, path: Path | str, contract: Contract, facts: Mapping[str, Any] | None = None
    ) -> None:
        self.path = Path(path)
        self.contract = contract
        self._facts = dict(facts or {})
        self._pending = Rows(contract)
        self._files = ExitStack()
        self._waiting: list[pa.RecordBatch] = []
        self._digest = hashlib.blake2b(canonical(contract.as_json()), digest_size=16)
        self._samples = self._recordings = 0

    def __enter__(self) -> Self:
        self.path.mkdir(parents=True, exist_ok=True)
        with ExitStack() as files:
            self._signals: BinaryIO = files.enter_context(replacing(self.path / SIGNALS))
            self._validity: BinaryIO = files.enter_context(replacing(self.path / VALIDITY))
            table = files.enter_context(replacing(self.path / TABLE))
            self._table = files.enter_context(
                parquet.ParquetWriter(table, _STORED_SCHEMA, compression="zstd")
            )
            self._signals.write(bytes(_HEADER))
            self._validity.write(bytes(_HEADER))
            self._files = files.pop_all()
        return self

    def add(self, recording: Recording, *, source: str = "") -> None:
        """Append one recording that already obeys the contract."""
        self._pending.add(recording, source=source)
        self.append(self._pending.batch())

    def append(self, part: pa.RecordBatch) -> None:
        """Append rows of `PART_SCHEMA`."""
        lengths = columns.values(pa.chunked_array([part.column("length")]))
        padded = -(-lengths * len(self.contract.leads) // 8) * 8
        offsets = self._samples + np.cumsum(padded) - padded
        self._signals.write(columns.content(part.column("signals")))
        self._validity.write(columns.content(part.column("validity")))
        for digest in part.column("row").to_pylist():
            self._digest.update(digest.encode())
        rows = part.select(SCHEMA.names)
        rows = rows.append_column("offset", columns.column(offsets, pa.int64()))
        self._samples += int(padded.sum())
        self._recordings += len(rows)
        self._waiting.append(rows)
        self._write_groups(_ROWS_PER_GROUP)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._files.__exit__(kind, error, trace)
            return
        with self._files:
            self._write_groups(1)
            self._table.close()
            _write_header(self._signals, np.dtype(self.contract.dtype), self._samples)
            _write_header(self._validity, np.dtype(np.uint8), self._samples // 8)
        files = {name: (self.path / name).stat().st_size for name in (SIGNALS, VALIDITY, TABLE)}
        facts = {
            "format": FORMAT,
            "version": VERSION,
            "contract": self.contract.as_json(),
            "recordings": self._recordings,
            "samples": self._samples,
            "digest": self._digest.hexdigest(),
            "files": files,
        }
        write_whole(self.path / INDEX, json.dumps(facts | self._facts, indent=2) + "\n")

    def _write_groups(self, least: int) -> None:
        """Write full row groups, so that the file does not depend on how its rows arrived."""
        while (rows := sum(len(batch) for batch in self._waiting)) >= least:
            table = pa.Table.from_batches(self._waiting).combine_chunks()
            self._table.write_table(table.slice(0, _ROWS_PER_GROUP), _ROWS_PER_GROUP)
            self._waiting = (
                table.slice(_ROWS_PER_GROUP).to_batches() if rows > _ROWS_PER_GROUP else []
            )


def _write_header(file: BinaryIO, dtype: np.dtype[Any], count: int) -> None:
    """Write the .npy header into the space that was kept for it."""
    file.seek(0)
    np.lib.format.write_array_header_1_0(
        file,
        {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (count,)},
    )
    if file.tell() != _HEADER:
        raise RuntimeError(f"the .npy header has {file.tell()} bytes instead of {_HEADER}")
