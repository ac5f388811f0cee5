"""The verb `embed`: embeddings of a store, or of files as they are."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from cyclopts import Parameter

from nerula.completion import KindName, ModelName
from nerula.defects import Finding, warned
from nerula.errors import NerulaError, UsageError, refuse
from nerula.vectors import OWN_FACTS, WRITERS, Result, write_refused

if TYPE_CHECKING:
    from nerula.chunks import Chunk
    from nerula.contract import Contract
    from nerula.engines import Engine
    from nerula.model import Model
    from nerula.readers.source import Entry, Hints, Source
    from nerula.recording import Recording
    from nerula.store import Store
    from nerula.windowed import Prepared


def embed(
    model: ModelName,
    source: str | Path | None = None,
    out: str | Path | None = None,
    *,
    lead: Annotated[str | None, Parameter(name=["--lead", "--leads"])] = None,
    kind: KindName = None,
    device: str = "cpu",
    precision: Literal["fp32", "bf16"] = "fp32",
    engine: Literal["local", "ray"] = "local",
    ray_address: str | None = None,
    source_rate: float | None = None,
    source_unit: str | None = None,
    source_leads: str | None = None,
) -> int:
    """Embed every recording of a store, a data set, a folder or a file.

    Any rate, unit, length and order of leads: the model brings them to what it was trained on. A
    recording longer than the model's window is embedded in windows, whose mean it gets. A file
    that cannot be trusted goes to OUT.quarantine.csv with its reason, and the work goes on.

    `nerula embed FILE` is enough: MODEL is then the one that Nerula brings along.

    Parameters
    ----------
    model
        Folder of a model or of a finished run, or the name of a model that Nerula brings along.
        May be left out.
    source
        A store, a data set's folder, a folder of recordings, or one file; or the address of one,
        such as s3://bucket/ptb-xl.
    out
        OUT.npy (with OUT.csv beside it that says whose each row is), OUT.npz, OUT.parquet or
        OUT.csv. By default SOURCE.embeddings.npy in the folder where you are. An address, too.
        Of a model of several leads the column `absent` says which were hidden from it: those that
        the recording lacked, that held nothing valid, or that were not asked for.
    lead
        Which leads to give the model, such as "I,II,V2", where not all that it can have: a model
        of several takes fewer, one of a single lead takes any one, whatever its name.
    kind
        What the source is, such as "ptbxl" or "edf", where its content does not tell.
    device
        cpu, or cuda.
    precision
        bf16 is about twice as fast where the processor has instructions for it, and agrees with
        fp32 to two or three digits.
    engine
        Where the work is done: in this process, or by the workers of a Ray cluster, on CPUs.
    ray_address
        Where that cluster is; by default what RAY_ADDRESS says, or a new one on this machine.
    source_rate
        Samples per second of files that do not say.
    source_unit
        Unit of files that do not say, such as "uV".
    source_leads
        Names of the signals, in their order, of files that do not say.
    """
    from nerula import bundle, engines
    from nerula.readers.names import split_names
    from nerula.readers.source import Hints
    from nerula.transfer import file_to

    chosen = engines.choose(engine, None if engine == "ray" else 1, ray_address)
    if chosen.remote and device != "cpu":
        raise UsageError(f"--engine ray embeds on CPUs, not on {device}.", "Leave out --device.")
    model, source, out = _places(model, source, out)
    ending = PurePath(str(out).partition("?")[0]).suffix
    if ending not in WRITERS:
        raise UsageError(f"{out} could be anything.", f"Give it an ending: {', '.join(WRITERS)}.")
    loaded = bundle.load(model, device=device, precision=precision)
    hints = Hints(source_rate, source_unit, split_names(source_leads))
    result = embedded(loaded, source, lead=lead, kind=kind, hints=hints, engine=chosen)
    with file_to(out) as path:
        path.parent.mkdir(parents=True, exist_ok=True)
        WRITERS[ending](path, result)
        refused = write_refused(path, result)
        _say(_next(model, loaded), source, result, path, refused)
    say_absent(result, any_leads=loaded.method.any_leads)
    return 0


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
    suited = _Suited(opened, model, _asked(model, lead))
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
    from nerula.leads import named
    from nerula.readers.names import canonical_lead, split_leads

    own = model.contract.leads
    if lead is None:
        return ()
    if len(own) == 1:  # of any name, such as CH1
        chosen = (known,) if (known := canonical_lead(lead)) else split_leads(lead) or ()
        if len(chosen) != 1:
            raise UsageError(f"The model takes one lead, not {len(chosen)}.")
        return chosen
    asked = named(lead)
    if unknown := [lead for lead in asked if lead not in own]:
        raise UsageError(
            f"The model has no lead {', '.join(unknown)}.", f"It has {', '.join(own)}."
        )
    return asked


def _places(
    first: str, second: str | Path | None, third: str | Path | None
) -> tuple[str, str | Path, str | Path]:
    """Read MODEL SOURCE OUT, where MODEL and OUT may be left out."""
    from nerula import bundle
    from nerula.addresses import bare, is_address

    is_model = bundle.locate(first) is not None
    if second is not None and (third is not None or is_model):
        model, source, out = first, second, third
    elif is_model:
        raise UsageError(
            f"{first} is a model; what to embed with it is missing.",
            "Write: nerula embed MODEL SOURCE OUT.npy, or nerula embed SOURCE.",
        )
    else:
        model, source, out = bundle.DEFAULT, first, second
    name = PurePath(bare(str(source))).name if is_address(source) else Path(source).resolve().name
    return model, source, out or Path(f"{PurePath(name).stem}.embeddings.npy")


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
            for embedded in self.model.embed_prepared(self._prepared(chunk, result)):
                result.add(embedded)
        return result

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
            result.rows.append({name: getattr(recording, name) for name in OWN_FACTS})
            result.doubts.update(warned(recording.findings))
            yield recording.x, recording.valid


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
        if len(self.model.contract.leads) == 1:
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


def say_absent(result: Result, *, any_leads: bool) -> None:
    """Which leads were not there, where any were not."""
    from rich.console import Console

    console, missed = Console(highlight=False), result.absent
    for leads, count in missed.most_common(3):
        if leads:
            many = "" if count == 1 else "s"
            words = f"{count} recording{many} without {' '.join(leads)}: hidden from the model."
            console.print(words, markup=False, soft_wrap=True)
    if not any_leads and sum(missed.values()) > missed[()]:
        console.print(
            "[yellow]This model was trained with all of its leads, and never to do without.[/]",
            soft_wrap=True,
        )


def _next(name: str, model: "Model") -> str:
    """What else the model can do."""
    if model.method.rebuilds():
        return f"nerula impute {name} FILE filled.csv --picture filled.png"
    return f"nerula probe {name} sex"


def _say(then: str, source: str | Path, result: Result, out: Path, refused: Path | None) -> None:
    from rich.console import Console

    one = len(result.z) == 1
    lines = [
        f"{len(result.z)} recording{'' if one else 's'}, {len(result.z[0])} values each: {out}"
    ]
    if out.suffix == ".npy":
        lines.append(f"whose each row is: {out.with_suffix('.csv')}")
    if refused is not None:
        lines.append(f"{len(result.refused)} refused, with reasons: {refused}")
    if result.doubts:
        codes = ", ".join(f"{code} {count:,}" for code, count in result.doubts.most_common())
        lines.append(f"doubtful: {codes}; nerula check {source} says more")
    lines.append(f"Next: {then}")
    Console().print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
