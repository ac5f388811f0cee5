"""`nerula prepare`: any supported source to a store, the same bytes however it is done."""

import errno
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from nerula.completion import KindName
from nerula.errors import NerulaError, UsageError, unknown

if TYPE_CHECKING:
    from nerula.chunks import Chunk, Preparation
    from nerula.contract import Contract
    from nerula.engines import Engine
    from nerula.readers.source import Source
    from nerula.workplace import Workplace

_COUNTS_PER_MILLIVOLT, _COUNTS_PER_OTHER_UNIT = 1000, 4096
_KEPT = 400
"""Chunks whose entries may stay in memory; larger sources are listed twice."""
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True, slots=True)
class Options:
    """What the user asked for; a run continues only under the same options."""

    leads: tuple[str, ...] | None = None
    rate: float = 100.0
    band: tuple[float, float] | None = None
    dtype: str = "int16"
    limit: int | None = None
    shard: tuple[int, int] = (1, 1)
    hints: tuple[float | None, str | None, tuple[str, ...] | None] = (None, None, None)


def prepare(
    source: str | Path,
    store: str | Path,
    *,
    leads: str | None = None,
    rate: float = 100.0,
    band: Annotated[str | None, Parameter(name="--filter")] = None,
    kind: KindName = None,
    jobs: int | None = None,
    engine: Literal["local", "ray"] = "local",
    ray_address: str | None = None,
    shard: str | None = None,
    dtype: Literal["int16", "float16"] = "int16",
    limit: int | None = None,
    source_rate: float | None = None,
    source_unit: str | None = None,
    source_leads: str | None = None,
) -> int:
    """Turn any supported source into a store: read, choose leads, resample, filter, write.

    The result is the same, byte for byte, for any number of jobs and shards. A run that was
    interrupted continues when it is started again. A file that cannot be trusted goes to
    STORE/quarantine.csv with its reason, and the run goes on.

    Parameters
    ----------
    source
        A data set's folder, a folder of recordings, or one file; or the address of one, such as
        s3://bucket/ptb-xl, whose files are brought while they are read.
    store
        The folder to make; or an address, where it is sent when it is finished.
    leads
        Leads to keep, such as "II" or "I,II,V5". All that the source has, by default.
    rate
        Samples per second in the store.
    band
        Pass band in Hz, such as "0.5-40". Nothing is filtered by default.
    kind
        What the source is, such as "ptbxl" or "edf", where its content does not tell.
    jobs
        Processes to use. As many as there are processors, by default.
    engine
        Where the work is done: processes of this machine, or the workers of a Ray cluster.
    ray_address
        Where that cluster is; by default what RAY_ADDRESS says, or a new one on this machine.
    shard
        "2/8" prepares the second of eight shares, for `nerula merge`.
    dtype
        How samples are stored: int16 counts of 1 µV, or float16.
    limit
        Stop after this many recordings of the source.
    source_rate
        Samples per second of files that do not say.
    source_unit
        Unit of files that do not say, such as "uV".
    source_leads
        Names of the signals, in their order, of files that do not say.
    """
    from nerula import engines
    from nerula.addresses import is_address, shown
    from nerula.readers import open_source
    from nerula.readers.names import split_leads, split_names
    from nerula.readers.source import Hints
    from nerula.transfer import store_to

    if limit is not None and limit < 1:
        raise UsageError(f"--limit {limit} is not a number above 0.")
    chosen = engines.choose(engine, jobs, ray_address)
    named = split_names(source_leads)
    options = Options(
        leads=split_leads(leads),
        rate=float(rate),
        band=_parse_band(band),
        dtype=dtype,
        limit=limit,
        shard=_parse_shard(shard),
        hints=(source_rate, source_unit, named),
    )
    opened = open_source(source, kind, Hints(source_rate, source_unit, named))
    called = shown(store) if is_address(store) else None
    with store_to(store) as folder:
        make_store(opened, folder, options, chosen, called=called)
    return 0


@dataclass(frozen=True)
class Request:
    """What is to be prepared, and how."""

    source: "Source"
    options: Options

    @cached_property
    def asked(self) -> dict[str, Any]:
        """The source's kind and the options as plain JSON values, the shard left out."""
        values = asdict(self.options) | {"kind": self.source.kind}
        del values["shard"]
        plain: dict[str, Any] = json.loads(json.dumps(values))
        return plain

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Count and names of what the source holds, the same wherever it lies."""
        entries, digest = 0, hashlib.blake2b(digest_size=16)
        for chunk in self.chunks():
            entries += len(chunk.entries)
            digest.update(chunk.digest.encode())
        if not entries:
            raise UsageError(
                f"{self.source.root} holds no recording that {self.source.kind} could read."
            )
        return {"kind": self.source.kind, "entries": entries, "digest": digest.hexdigest()}

    @property
    def shard(self) -> dict[str, int] | None:
        """Which shard this is, where it is one."""
        number, of = self.options.shard
        return {"number": number, "of": of} if of > 1 else None

    @property
    def entries(self) -> int:
        """How many of the source's entries the shard has."""
        from nerula.chunks import ENTRIES

        total = self.identity["entries"]
        return sum(min(ENTRIES, total - ENTRIES * chunk) for chunk in self.chunk_numbers)

    @property
    def chunk_numbers(self) -> range:
        """The chunks of the shard: every n-th of the source."""
        from nerula.chunks import ENTRIES

        number, of = self.options.shard
        return range(number - 1, -(-self.identity["entries"] // ENTRIES), of)

    @cached_property
    def _few(self) -> "list[Chunk] | None":
        """All chunks, where they are few enough to be kept."""
        from nerula.chunks import chunked

        first = list(islice(chunked(self.source, self.options.limit), _KEPT + 1))
        return first if len(first) <= _KEPT else None

    def chunks(self) -> "Iterable[Chunk]":
        """Every chunk of the source, of all shards."""
        from nerula.chunks import chunked

        return chunked(self.source, self.options.limit) if self._few is None else self._few


def make_store(
    source: "Source",
    store: Path,
    options: Options,
    engine: "Engine | None" = None,
    *,
    quiet: bool = False,
    called: str | None = None,
) -> None:
    """Prepare an opened source, or continue to; print what came out, unless it should be quiet.

    `called` is the address that the store goes to afterwards.
    By default this process does all the work itself.
    """
    from nerula import summary, workplace
    from nerula.engines import Local
    from nerula.store import Store

    engine = engine or Local()
    engine.warm_up()
    request = Request(source, options)
    if facts := workplace.finished(store):
        _refuse_other(store, request, facts)
        summary.say_finished(Store.open(store))
        return
    found = request.entries
    with workplace.claimed(store) as place, _full_disk_explained(store):
        contract = _contract(request, place, engine)
        _publish(_prepare_parts(request, contract, place, engine), request, place)
    if not quiet:
        summary.show(Store.open(store), found, called)


def _refuse_other(store: Path, request: Request, facts: dict[str, Any]) -> None:
    """A finished store is left alone; one made otherwise must not be taken for this one."""
    shard = facts.get("shard")
    held = facts.get("asked", {}) | {"source": facts.get("source")}
    held["shard"] = shard and {name: shard[name] for name in ("number", "of")}
    wanted = request.asked | {"source": request.identity, "shard": request.shard}
    if other := _differing(wanted, held):
        raise UsageError(
            f"{store} is a finished store of another preparation: {other}.",
            "Name a new folder, or delete it first.",
        )


def _differing(wanted: dict[str, Any], held: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} was {held.get(name)} and is now {wanted.get(name)}"
        for name in sorted(set(wanted) | set(held))
        if wanted.get(name) != held.get(name)
    )


def _contract(request: Request, place: "Workplace", engine: "Engine") -> "Contract":
    """Take the contract from the interrupted run, or make it from the options and the source."""
    from nerula.contract import Contract

    asked, options = request.asked | {"shard": request.shard}, request.options
    if plan := place.plan():
        if other := _differing(asked, plan["asked"]):
            raise UsageError(
                f"{place.store} is unfinished and was started with other options: {other}.",
                "Use the same options to continue, or delete it.",
            )
        return Contract.from_json(plan["contract"])
    leads, unit = _leads_and_unit(request, engine)
    counts = _COUNTS_PER_MILLIVOLT if unit == "mV" else _COUNTS_PER_OTHER_UNIT
    scale = 1 / counts if options.dtype == "int16" else 1.0
    contract = Contract(leads, options.rate, unit, options.dtype, scale, options.band)
    place.keep_plan({"asked": asked, "contract": contract.as_json()})
    return contract


def _leads_and_unit(request: Request, engine: "Engine") -> tuple[tuple[str, ...], str]:
    """Ask the source, then its first readable file, and only then all of its files."""
    from nerula.chunks import first_readable, leads_of
    from nerula.readers.names import STANDARD, canonical_lead

    source, asked = request.source, request.options.leads
    if asked and source.leads and not set(asked) & set(source.leads):
        raise UsageError(
            f"{source.root} has none of the leads {', '.join(asked)}.",
            f"It has {', '.join(source.leads)}.",
        )
    for lead in asked or ():
        if source.leads and lead not in source.leads and canonical_lead(lead) is None:
            raise unknown("lead", lead, source.leads)
    unit = first_readable(source).unit
    if leads := asked or source.leads:
        return leads, unit
    found: set[str] = set()
    for _, seen in engine.spread(partial(leads_of, source), request.chunks()):
        found |= seen
    known = [lead for lead in STANDARD if lead in found]
    return (*known, *sorted(found - set(known))), unit


def _prepare_parts(
    request: Request, contract: "Contract", place: "Workplace", engine: "Engine"
) -> "Preparation":
    """Make the parts that are not there yet."""
    from nerula.chunks import Afar, Preparation
    from nerula.summary import progress

    preparation = Preparation(request.source, contract, place.folder)
    work = Afar(preparation, place.sign()) if engine.remote else preparation
    with progress(request.entries) as advance:

        def to_do() -> "Iterator[Chunk]":
            for chunk in request.chunks():
                if chunk.number not in request.chunk_numbers:
                    continue
                if preparation.is_done(chunk):
                    advance(len(chunk.entries), done_before=True)
                else:
                    yield chunk

        with closing(engine.spread(work, to_do())) as results:
            for chunk, part in results:
                if isinstance(part, bytes):
                    preparation.keep(chunk, part)
                advance(len(chunk.entries))
    return preparation


def _publish(preparation: "Preparation", request: Request, place: "Workplace") -> None:
    """Join the parts into the store."""
    from nerula.chunks import read_part

    sizes: list[tuple[int, int]] = []
    reasons: Counter[str] = Counter()

    def parts() -> Iterator[Any]:
        for number in request.chunk_numbers:
            kept = refused = 0
            for batch, refusals in read_part(preparation.path(number)):
                kept, refused = kept + len(batch), refused + len(refusals)
                reasons.update(row[2] for row in refusals)
                yield batch, refusals
            sizes.append((kept, refused))
        if not request.shard and not any(kept for kept, _ in sizes):
            place.clear()  # starting again must look at the files again
            why = ", ".join(f"{count} {code}" for code, count in reasons.most_common())
            raise NerulaError(f"No recording of {request.source.root} can be used: {why}.")

    shard = request.shard
    facts = {
        "asked": request.asked,
        "source": request.identity,
        "shard": shard and shard | {"chunks": sizes},
    }
    place.publish(preparation.contract, facts, parts())


@contextmanager
def _full_disk_explained(store: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise NerulaError(
            f"The disk of {store} is full; what is prepared so far is kept.",
            "Make room and run the same command again: it continues.",
        ) from error


def _parse_band(written: str | None) -> tuple[float, float] | None:
    if written is None:
        return None
    try:
        low, high = (float(edge) for edge in written.split("-"))
    except ValueError:
        raise UsageError(f"--filter {written} is no pass band.", 'Write "0.5-40".') from None
    return low, high


def _parse_shard(written: str | None) -> tuple[int, int]:
    if written is None:
        return 1, 1
    try:
        number, of = (int(part) for part in written.split("/"))
    except ValueError:
        number, of = 0, 0
    if not 1 <= number <= of:
        raise UsageError(f"--shard {written} is no share.", 'Write "2/8" for the second of 8.')
    return number, of
