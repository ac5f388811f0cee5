"""`nerula check`: the gate. Reads every recording, says what is wrong where, and what to do."""

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.markup import escape

from nerula.completion import KindName
from nerula.defects import Finding
from nerula.errors import NerulaError, UsageError, explain

if TYPE_CHECKING:
    from nerula.engines import Engine
    from nerula.survey import Part, Seen
    from nerula.verdict import Verdict

WRONG, NOTHING = 2, 1
"""Exit codes: something is wrong (with `--strict`), nothing could be checked (without)."""


def check(
    *paths: str | Path,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    strict: Annotated[bool, Parameter(negative="")] = False,
    split: str | None = None,
    leads: str | None = None,
    kind: KindName = None,
    jobs: int | None = None,
    engine: Literal["local", "ray"] = "local",
    ray_address: str | None = None,
    limit: int | None = None,
    source_rate: float | None = None,
    source_unit: str | None = None,
    source_leads: str | None = None,
) -> int:
    """Find out what is wrong with recordings, in which lead, and what to do about it.

    Reads every recording of every path and looks at the file, its header, its signals and what
    recordings share: the same signal under two names, or a subject on both sides of a split. A
    prepared store can be checked as well. Nothing is changed.

    Exit code 0, or with --strict 2 where anything is wrong; notes are harmless. 1 where nothing
    could be checked.

    Parameters
    ----------
    paths
        Data sets, folders of recordings, single files, or stores; or addresses of any of them,
        such as s3://bucket/ptb-xl.
    as_json
        Print one JSON document for machines; docs/check.md describes it.
    strict
        Exit with 2 where anything is wrong.
    split
        A CSV table with the columns name and split: which side each recording is on. By default
        the data set's own folds.
    leads
        Leads that matter, such as "II" or "I,II,V5"; findings in others are left out.
    kind
        What the paths hold, such as "ptbxl" or "edf", where their content does not tell.
    jobs
        Processes to use. As many as there are processors, by default.
    engine
        Where the work is done: processes of this machine, or the workers of a Ray cluster.
    ray_address
        Where that cluster is; by default what RAY_ADDRESS says, or a new one on this machine.
    limit
        Stop after this many recordings of each path.
    source_rate
        Samples per second of files that do not say.
    source_unit
        Unit of files that do not say, such as "uV".
    source_leads
        Names of the signals, in their order, of files that do not say.
    """
    from nerula import engines
    from nerula.leakage import Ledger, Split
    from nerula.readers.names import split_leads, split_names
    from nerula.readers.source import Hints
    from nerula.survey import look
    from nerula.verdict import Document, Verdict, show

    if not paths:
        raise UsageError("There is nothing to check.", "Name a folder, a file or a store.")
    if limit is not None and limit < 1:
        raise UsageError(f"--limit {limit} is not a number above 0.")
    chosen = engines.choose(engine, jobs, ray_address)
    hints = Hints(source_rate, source_unit, split_names(source_leads))
    wanted, sides = split_leads(leads), Split(split)
    parts = [look(path, kind, hints, wanted) for path in paths]
    verdict = Verdict(parts, Ledger(), sides)
    document = Document(verdict, sys.stdout) if as_json else None
    for part, seen, findings in _run(parts, verdict, chosen, limit):
        verdict.add(part, seen, findings)
        if document:
            document.add(seen, findings)
    console = Console(highlight=False, stderr=as_json)
    if document:
        document.close()
        console.print(f"Next: {escape(verdict.next)}", soft_wrap=True)
    else:
        show(verdict, console)
    if strict:
        return WRONG if verdict.wrong else 0
    return 0 if verdict.recordings else NOTHING


def _run(
    parts: "list[Part]", verdict: "Verdict", engine: "Engine", limit: int | None
) -> "Iterator[tuple[Part, Seen, list[Finding]]]":
    """Yield all that there is to say, in order. What goes wrong in one part spares the others."""
    from nerula.chunks import ENTRIES
    from nerula.summary import progress
    from nerula.survey import Seen

    counts = [_count(part, limit) for part in parts]
    with progress(sum(counts), "checking") as advance:
        for part, count in zip(parts, counts, strict=True):
            try:
                for some in part.seen(engine.for_tasks(-(-count // ENTRIES)), limit):
                    for seen in some:
                        yield part, seen, [*seen.findings, *_shared(part, seen, verdict)]
                    advance(sum(bool(seen.name) for seen in some))
            except (NerulaError, OSError) as error:
                yield part, Seen("", part.path, ()), [explain(error, part.path)]
    split = verdict.split
    if split.path is not None:
        found = [*split.findings, *(() if limit else split.orphans())]
        yield parts[0], Seen("", split.path, ()), found


def _count(part: "Part", limit: int | None) -> int:
    with suppress(NerulaError, OSError):  # which will be said when it is looked at
        return part.count(limit)
    return 0


def _shared(part: "Part", seen: "Seen", verdict: "Verdict") -> "Iterator[Finding]":
    """Yield what a recording shares with earlier ones."""
    if not seen.name:
        return
    side = verdict.split.side(seen.name, seen.path, seen.fold)
    alone = len(verdict.parts) == 1
    name = seen.name if alone else f"{part.path}: {seen.name}"
    whose = (seen.subject, str(part.path)) if seen.subject else None
    for code, detail in verdict.ledger.meet(name, seen.digest, whose, side):
        yield Finding(code, seen.path, detail)
