"""Library: a store's recordings by what is known of them. A million of them are searched at once.

Columns stay in Arrow's memory; a search is a mask over them, a page a slice of the rows found.
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nerula.defects import CATALOGUE, Finding
from nerula.errors import UsageError
from nerula.store import TABLE, Store
from nerula.viewer.shelf import Item, Stretch

COLUMNS = ("name", "subject", "age", "sex", "labels", "fold")
ORDERS = ("store", "name", "youngest", "oldest")
Order = Literal["store", "name", "youngest", "oldest"]
PAGE = 200
"""Recordings that one page may ask for."""
_LISTED = 100
"""Labels that are offered, the most frequent."""
_KEPT = 16
"""Searches whose rows are remembered."""


@dataclass(frozen=True)
class Query:
    """What is looked for; everything that is given has to be true."""

    words: str = ""
    """Each a part of the name, the subject or a label, in capitals or not."""
    label: str = ""
    sex: str = ""
    fold: str = ""
    youngest: float | None = None
    oldest: float | None = None
    order: Order = "store"


class Library:
    """The recordings of one store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._found: OrderedDict[Query, NDArray[np.int64]] = OrderedDict()
        self._lock = Lock()
        self._columns = _read(store)
        self._findings = self._columns.pop("findings")

    def page(self, query: Query, start: int, count: int) -> tuple[int, list[dict[str, Any]]]:
        """How many recordings a query finds, and the facts of `count` of them."""
        rows = self._rows(query)
        chosen = rows[max(start, 0) : max(start, 0) + min(count, PAGE)]
        return len(rows), [self.facts(int(row)) for row in chosen]

    def facts(self, row: int) -> dict[str, Any]:
        """What a list says of one recording."""
        held = {name: column[row].as_py() for name, column in self._columns.items()}
        age = held["age"]
        held["age"] = None if age is None or np.isnan(age) else round(float(age), 1)
        held["labels"] = held["labels"] or []
        seconds = float(self.store.lengths[row] / self.store.contract.rate)
        return {"key": str(row), **held, "seconds": round(seconds, 3)}

    def item(self, row: int) -> Item:
        """One recording for the shelf."""
        if not 0 <= row < len(self.store):
            raise UsageError(f"The store has no recording {row}; it holds {len(self.store)}.")
        contract, facts = self.store.contract, self.facts(row)

        def stretch(first: int, count: int) -> Stretch:
            if count < 1:
                return (np.zeros((len(contract.leads), 0), kind) for kind in (np.float32, bool))  # type: ignore[return-value]
            x, valid = self.store.windows([row], first, count)
            return x[0], valid[0]

        return Item(
            key=str(row),
            name=facts["name"],
            leads=contract.leads,
            rate=contract.rate,
            length=int(self.store.lengths[row]),
            unit=contract.unit,
            facts=facts,
            stretch=stretch,
            row=row,
            findings=tuple(map(_finding, self._findings[row].as_py() or ())),
        )

    def groups(self) -> dict[str, Any]:
        """What can be chosen from: labels and sexes and folds with their counts, ages."""
        words, codes, _ = self._labels
        counts = np.bincount(codes, minlength=len(words))
        frequent = np.argsort(-counts, kind="stable")[:_LISTED]
        ages = self._ages[np.isfinite(self._ages)]
        return {
            "labels": [[words[i], int(counts[i])] for i in frequent],
            "sexes": self._counted("sex"),
            "folds": self._counted("fold"),
            "ages": [float(ages.min()), float(ages.max())] if len(ages) else None,
        }

    def _rows(self, query: Query) -> NDArray[np.int64]:
        with self._lock:
            if query in self._found:
                self._found.move_to_end(query)
                return self._found[query]
        rows = self._ordered(np.flatnonzero(self._mask(query)), query.order)
        with self._lock:
            self._found[query] = rows
            while len(self._found) > _KEPT:
                self._found.popitem(last=False)
        return rows

    def _mask(self, query: Query) -> NDArray[np.bool_]:
        mask = np.ones(len(self.store), np.bool_)
        for word in query.words.split():
            mask &= self._holds("name", word) | self._holds("subject", word) | self._says(word)
        if query.label:
            mask &= self._labelled([query.label == word for word in self._labels[0]])
        for name, wanted in (("sex", query.sex), ("fold", query.fold)):
            if wanted:
                mask &= self._is(name, wanted)
        with np.errstate(invalid="ignore"):
            if query.youngest is not None:
                mask &= self._ages >= query.youngest
            if query.oldest is not None:
                mask &= self._ages <= query.oldest
        return mask

    def _ordered(self, rows: NDArray[np.int64], order: Order) -> NDArray[np.int64]:
        if order == "store":
            return rows
        if order == "name":
            names = np.array([str(name) for name in self._columns["name"].to_pylist()], object)
            return rows[np.argsort(names[rows], kind="stable")]
        ages = self._ages[rows]
        return rows[np.argsort(ages if order == "youngest" else -ages, kind="stable")]

    def _holds(self, name: str, word: str) -> NDArray[np.bool_]:
        import pyarrow.compute as pc

        found = pc.match_substring(self._columns[name], word, ignore_case=True)
        return np.asarray(found.fill_null(False).to_numpy(), np.bool_)

    def _is(self, name: str, wanted: str) -> NDArray[np.bool_]:
        import pyarrow.compute as pc

        found = pc.equal(self._columns[name], wanted).fill_null(False)
        return np.asarray(found.to_numpy(), np.bool_)

    def _says(self, word: str) -> NDArray[np.bool_]:
        return self._labelled([word.lower() in label.lower() for label in self._labels[0]])

    def _labelled(self, wanted: list[bool]) -> NDArray[np.bool_]:
        _, codes, parents = self._labels
        mask = np.zeros(len(self.store), np.bool_)
        if wanted:
            mask[parents[np.array(wanted, np.bool_)[codes]]] = True
        return mask

    def _counted(self, name: str) -> list[list[Any]]:
        counts = self._columns[name].value_counts().to_pylist()
        known = [[one["values"], one["counts"]] for one in counts if one["values"] is not None]
        return sorted(known, key=lambda one: (len(one[0]), one[0]))[:_LISTED]

    @cached_property
    def _ages(self) -> NDArray[np.float32]:
        import pyarrow.compute as pc

        ages = pc.fill_null(self._columns["age"], float("nan"))
        return np.asarray(ages.to_numpy(), np.float32)

    @cached_property
    def _labels(self) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
        """Every label once; and of all that are given, which it is and to which recording."""
        import pyarrow.compute as pc

        chunks = self._columns["labels"].chunks
        if not chunks:
            return [], np.empty(0, np.int64), np.empty(0, np.int64)
        held = chunks[0]
        coded = pc.list_flatten(held).dictionary_encode()
        parents = pc.list_parent_indices(held)
        return (
            coded.dictionary.to_pylist(),
            np.asarray(coded.indices.to_numpy(zero_copy_only=False), np.int64),
            np.asarray(parents.to_numpy(zero_copy_only=False), np.int64),
        )


def _read(store: Store) -> dict[str, Any]:
    """The columns that are looked at, each in one piece."""
    from pyarrow import parquet

    with parquet.ParquetFile(store.path / TABLE) as file:
        table = file.read(columns=[*COLUMNS, "findings"]).combine_chunks()
    return {name: table.column(name) for name in table.column_names}


def _finding(words: str) -> Finding:
    """What preparing the store has found: a code, and the lead where it is one lead's."""
    code, _, lead = words.partition(" ")
    return Finding(code if code in CATALOGUE else "reader-failed", None, "", lead)
