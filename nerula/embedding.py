"""Embedding: what a model makes of every recording of a source, in this process or in others."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nerula.defects import Finding, warned
from nerula.errors import NerulaError, UsageError, refuse
from nerula.vectors import OWN_FACTS, Result
from nerula.windowed import joined

if TYPE_CHECKING:
    from nerula.chunks import Chunk
    from nerula.contract import Contract
    from nerula.engines import Engine
    from nerula.model import Model
    from nerula.readers.source import Entry, Hints, Source
    from nerula.recording import Recording
    from nerula.store import Store
    from nerula.windowed import Prepared


def embedded(
    model: "Model",
    source: str | Path,
    *,
    lead: str | None,
    kind: str | None,
    hints: "Hints",
    engine: "Engine",
) -> Result:
    """Embed all of a store, or of what else there is; nothing at all is an error."""
    from nerula.readers import open_source
    from nerula.store import Store
    from nerula.transfer import local_store

    contract = model.contract
    if folder := local_store(source):
        store = Store.open(folder)
        opened: Source = _Stored(source, store)
        contract = _remaining(store, contract)
    else:
        opened = open_source(source, kind, hints)
    asked = _asked(model, lead)
    suited = _Suited(opened, model, asked)
    if len(asked) > 1 and len(contract.leads) == 1:
        contract = replace(contract, leads=asked)
    result = embed_source(Embedding(model, suited, contract), engine)
    if not result.z:
        raise _nothing(source, result, several=len(contract.leads) > 1)
    return result


def _nothing(source: str | Path, result: Result, *, several: bool) -> NerulaError:
    """Why there is no embedding at all: of one recording in full, of many by the codes."""
    why = Counter(row[2] for row in result.refused).most_common()
    reasons = ", ".join(f"{count} {code}" for code, count in why) or "it is empty"
    remedy = result.refused[0][5] if len(why) == 1 else ""
    if len(result.refused) == 1:
        _, _, code, lead, detail, _ = result.refused[0]
        reasons = str(Finding(code, None, detail, lead))
    if "lead-missing" in dict(why):
        remedy = "Say with --lead which of its leads to take."
        if several:
            remedy += (
                " Signals without names that are known get them with --source-leads, such as I."
            )
    return NerulaError(f"No recording of {source} can be embedded: {reasons}.", remedy)


def _asked(model: "Model", lead: str | None) -> tuple[str, ...]:
    """The leads that were asked for: some of the model's, or, of a model of one lead, any one."""
    from nerula.leads import EACH, named
    from nerula.readers.names import canonical_lead, split_leads

    own = model.contract.leads
    if lead is None:
        return ()
    if len(own) == 1 and lead.strip().lower() != EACH:  # of any name, such as CH1
        return (known,) if (known := canonical_lead(lead)) else split_leads(lead) or ()
    asked = named(lead)
    if len(own) == 1:
        return asked
    if unknown := [lead for lead in asked if lead not in own]:
        raise UsageError(
            f"The model has no lead {', '.join(unknown)}.", f"It has {', '.join(own)}."
        )
    return asked


@dataclass(frozen=True)
class Embedding:
    """Reads, brings under the contract and embeds chunks of one source."""

    model: "Model"
    source: "Source"
    contract: "Contract"

    def __call__(self, chunk: "Chunk") -> Result:
        """Embed one chunk, windows of many recordings at a time."""
        from nerula.readers.far import ahead

        result = self.nothing_yet()
        with ahead(self.source, chunk.entries):
            each = self.model.embed_prepared(self._prepared(chunk, result))
            for embedded in joined(each, len(self.contract.leads)) if self.apart else each:
                result.add(embedded)
        return result

    @property
    def apart(self) -> bool:
        """Whether each lead is embedded by itself, and all are joined."""
        return len(self.model.contract.leads) == 1 < len(self.contract.leads)

    def nothing_yet(self) -> Result:
        """A result of no recordings."""
        return Result(several=len(self.model.contract.leads) > 1)

    def _prepared(self, chunk: "Chunk", result: Result) -> "Iterator[Prepared]":
        from nerula.chunks import read_entry, refusal

        for entry in chunk.entries:
            found = read_entry(self.source, entry, self.contract)
            if isinstance(found, Finding):
                result.refused.append(refusal(self.source, entry, found))
                continue
            recording, _ = found
            if self.apart and (lacking := self._lacking(recording)):
                result.refused.append(refusal(self.source, entry, lacking))
                continue
            result.rows.append({name: getattr(recording, name) for name in OWN_FACTS})
            result.doubts.update(warned(recording.findings))
            rows = [[row] for row in range(len(recording.x))] if self.apart else [slice(None)]
            yield from ((recording.x[row], recording.valid[row]) for row in rows)

    @staticmethod
    def _lacking(recording: "Recording") -> Finding | None:
        """What is wrong with a recording whose leads are joined, where it lacks one."""
        lacking = [
            lead
            for lead, seen in zip(recording.leads, recording.valid, strict=True)
            if not seen.any()
        ]
        if not lacking:
            return None
        return Finding("lead-missing", None, "joined embeddings need them all", " ".join(lacking))


def embed_source(embedding: Embedding, engine: "Engine") -> Result:
    """Embed every entry of a source, in its order whichever worker is faster."""
    from nerula.chunks import chunked
    from nerula.engines import in_order
    from nerula.summary import progress

    source, whole = embedding.source, embedding.nothing_yet()
    with progress(sum(1 for _ in source.entries()), "embedding") as advance:
        for chunk, result in in_order(engine.spread(embedding, chunked(source))):
            advance(len(chunk.entries))
            whole.join(result)
    return whole


@dataclass(frozen=True)
class _Suited:
    """A source whose one lead goes by the name of the model's."""

    source: "Source"
    model: "Model"
    only: tuple[str, ...]

    @property
    def kind(self) -> str:
        return self.source.kind

    @property
    def root(self) -> Path:
        return self.source.root

    @property
    def leads(self) -> tuple[str, ...] | None:
        return self.source.leads

    def entries(self) -> "Iterator[Entry]":
        return self.source.entries()

    def ahead(self, entries: "Iterable[Entry]") -> AbstractContextManager[None]:
        from nerula.readers import far

        return far.ahead(self.source, entries)

    def read(self, entry: "Entry") -> "Recording":
        recording = self.source.read(entry)
        if len(self.model.contract.leads) == 1 and len(self.only) < 2:
            return self.model.suited(recording, next(iter(self.only), None))
        if not self.only:
            return recording
        rows = [row for row, lead in enumerate(recording.leads) if lead in self.only]
        if not rows:
            said = f"it has {', '.join(recording.leads)}"
            raise refuse("lead-missing", recording.path, said, " ".join(self.only))
        held = tuple(recording.leads[row] for row in rows)
        return replace(recording, x=recording.x[rows], valid=recording.valid[rows], leads=held)


class _Stored:
    """A store as a source: its recordings go the way of all others."""

    kind = "store"

    def __init__(self, where: str | Path, store: "Store") -> None:
        self.where, self.store, self.root, self.leads = (
            where,
            store,
            store.path,
            store.contract.leads,
        )
        self._facts = {name: store.column(name) for name in OWN_FACTS}

    def __reduce__(self) -> tuple[Any, ...]:
        return _stored, (self.where,)  # a worker elsewhere brings the store of an address itself

    def entries(self) -> "Iterator[Entry]":
        from nerula.readers.source import Entry

        for row, name in enumerate(self._facts["name"]):
            yield Entry(name, self.root, row)

    def read(self, entry: "Entry") -> "Recording":
        from nerula.recording import Recording

        x, valid = self.store.read(entry.row)
        own = {name: self._facts[name][entry.row] for name in OWN_FACTS}
        age = None if np.isnan(own["age"]) else float(own["age"])
        held = self.store.contract
        return Recording(
            x=x,
            rate=held.rate,
            leads=held.leads,
            valid=valid,
            unit=held.unit,
            **own | {"age": age},
        )


def _stored(where: str | Path) -> _Stored:
    from nerula.store import Store
    from nerula.transfer import needed_store

    return _Stored(where, Store.open(needed_store(where)))


def _remaining(store: "Store", wanted: "Contract") -> "Contract":
    """What is left to do for a store's recordings: nothing, where its contract is the model's."""
    held = store.contract
    if held.band not in (None, wanted.band):
        raise UsageError(
            f"{store.path} was filtered to {held.band} Hz, which the model does not expect "
            f"({wanted.band or 'unfiltered'}).",
            "Embed the files themselves, or prepare them again.",
        )
    return wanted if held.band is None else replace(wanted, band=None)
