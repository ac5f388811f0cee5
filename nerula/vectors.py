"""Vectors: embeddings as they come, and in a file with whose each row is."""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nerula.files import replacing, write_whole

if TYPE_CHECKING:
    from nerula.chunks import Refusal
    from nerula.windowed import Embedded

OWN_FACTS = ("name", "subject", "fold", "age", "sex")
FACTS = (*OWN_FACTS, "windows", "valid")
"""The columns of an index; `windows` and `valid` say how much of each recording there was."""
ABSENT = "absent"
"""One more column where the model has several leads: those that were hidden from it."""


@dataclass
class Result:
    """What has been embedded so far, and what could not be."""

    z: list[NDArray[np.float32]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    refused: list["Refusal"] = field(default_factory=list)
    absent: Counter[tuple[str, ...]] = field(default_factory=Counter)
    """Leads that recordings lacked, and how many recordings lacked just these."""
    doubts: Counter[str] = field(default_factory=Counter)
    """Warnings, and how many recordings they are about."""
    several: bool = False
    """Whether the model has several leads, of which a recording may lack some."""

    def add(self, embedded: "Embedded") -> None:
        """Add the windows of the recording whose turn it is."""
        row = self.rows[len(self.z)]
        row |= {"windows": len(embedded.z), "valid": round(float(embedded.weight.mean()), 4)}
        if self.several:
            row[ABSENT] = " ".join(embedded.absent)
        self.z.append(embedded.mean())
        self.absent[embedded.absent] += 1

    def join(self, following: "Result") -> None:
        """Add what comes next in the order of the source."""
        self.z += following.z
        self.rows += following.rows
        self.refused += following.refused
        self.absent += following.absent
        self.doubts += following.doubts

    @property
    def columns(self) -> dict[str, list[Any]]:
        """The index, column by column."""
        names = (*FACTS, ABSENT) if self.several else FACTS
        return {name: [row[name] for row in self.rows] for name in names}


def _write_npy(out: Path, result: Result) -> None:
    with replacing(out) as file:
        np.save(file, np.stack(result.z), allow_pickle=False)
    _write_csv_rows(out.with_suffix(".csv"), result.columns)


def _write_npz(out: Path, result: Result) -> None:
    columns = {name: _array(values) for name, values in result.columns.items()}
    with replacing(out) as file:
        np.savez(file, allow_pickle=False, embeddings=np.stack(result.z), **columns)


def _write_parquet(out: Path, result: Result) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    z = np.stack(result.z)
    table = pa.table(result.columns).append_column(
        "embedding", pa.FixedSizeListArray.from_arrays(pa.array(z.reshape(-1)), z.shape[1])
    )
    with replacing(out) as file:
        parquet.write_table(table, file, compression="zstd")


def _write_csv(out: Path, result: Result) -> None:
    z = np.stack(result.z)
    _write_csv_rows(out, result.columns | {f"z{i}": z[:, i].tolist() for i in range(z.shape[1])})


def write_table(out: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Write columns as what the ending says: .parquet or .csv."""
    if out.suffix != ".parquet":
        _write_csv_rows(out, columns)
        return
    import pyarrow as pa
    from pyarrow import parquet

    with replacing(out) as file:
        parquet.write_table(pa.table(dict(columns)), file, compression="zstd")


WRITERS = {".npy": _write_npy, ".npz": _write_npz, ".parquet": _write_parquet, ".csv": _write_csv}
"""What the ending of OUT chooses."""


def _write_csv_rows(out: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    table.writerows(zip(*columns.values(), strict=True))
    write_whole(out, text.getvalue())


def _array(values: Sequence[Any]) -> NDArray[Any]:
    """Numbers as they are; text with nothing as an empty word: no array of objects, ever."""
    if any(isinstance(value, str) for value in values):
        return np.array([value or "" for value in values], np.str_)
    return np.array([np.nan if value is None else value for value in values], np.float64)


def write_refused(out: Path, result: Result) -> Path | None:
    """Write why files were left out; a list from an earlier call does not stay behind."""
    from nerula.workplace import REFUSAL

    path = out.with_name(f"{out.name}.quarantine.csv")
    if not result.refused:
        path.unlink(missing_ok=True)
        return None
    columns = zip(*result.refused, strict=True)
    _write_csv_rows(path, dict(zip(REFUSAL, columns, strict=True)))
    return path
