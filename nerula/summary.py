"""What `prepare` and `merge` say while they work and when they are done."""

import csv
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from nerula.store import Store
from nerula.workplace import QUARANTINE

_BAR = 24


class Advance(Protocol):
    """Tell the progress bar how many entries are done."""

    def __call__(self, entries: int, *, done_before: bool = False) -> None:
        """`done_before`: by an interrupted run, so that the rate does not count them."""


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0:,.0f} recordings/s")


@contextmanager
def progress(total: int, doing: str = "preparing") -> Iterator[Advance]:
    """Show a bar with rate and remaining time on the terminal."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
        _Rate(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    with bar:
        task = bar.add_task(doing, total=total)

        def advance(entries: int, *, done_before: bool = False) -> None:
            if done_before:
                bar.update(task, total=(bar.tasks[0].total or 0) - entries)
            else:
                bar.update(task, advance=entries)

        yield advance


def say_finished(store: Store) -> None:
    """Say that there is nothing to do."""
    Console().print(
        f"{escape(str(store.path))} is finished already: {len(store):,} recordings, "
        f"digest {store.digest}. Nothing was done.",
        highlight=False,
    )


def show(store: Store, found: int, called: str | None = None) -> None:
    """Print what a finished store holds, and the next sensible command.

    `called` is the address that the store is on its way to.
    """
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, value in facts(store, found):
        table.add_row(name, escape(value))
    console = Console()
    console.print(table, highlight=False)
    path = escape(called or str(store.path))
    if store.facts.get("shard"):
        console.print(f"Next: nerula merge STORE {path} and the other shards", highlight=False)
    else:
        console.print(f"Next: nerula pretrain nerula {path} RUN", highlight=False)


def facts(store: Store, found: int) -> list[tuple[str, str]]:
    """Return the lines of the summary: what each is called and what it says."""
    contract = store.contract
    band = f", {contract.band[0]:g}-{contract.band[1]:g} Hz" if contract.band else ""
    refused = _refused(store)
    lines = [("found", f"{found:,} recordings"), ("read", f"{len(store):,}")]
    lines.append(("quarantined", f"{sum(refused.values()):,}{_listed(refused)}"))
    lines.append(("store", f"{' '.join(contract.leads)} at {contract.rate:g} Hz{band}"))
    return lines + (_content(store) if len(store) else [])


def _content(store: Store) -> list[tuple[str, str]]:
    seconds = store.lengths / store.contract.rate
    size = sum(store.facts["files"].values())
    return [
        ("signal", f"{seconds.sum() / 3600:,.1f} hours per lead"),
        ("source rate", _histogram(store.column("source_rate"), "Hz")),
        ("length", _histogram(seconds, "s")),
        ("leads", _leads(store)),
        ("valid", f"{_percent(store.column('valid').mean())} of the samples of these leads"),
        *_people(store),
        *_findings(store),
        ("size", f"{size / 1e6:,.1f} MB in {store.path}"),
        ("digest", store.digest),
    ]


def _people(store: Store) -> list[tuple[str, str]]:
    subjects, ages, sexes = (store.column(name) for name in ("subject", "age", "sex"))
    count = len(store)
    lines = []
    known = subjects[subjects != None]  # noqa: E711 - elementwise
    if len(known):
        lines.append(("subjects", f"{len(set(known)):,} in {len(known):,} recordings"))
    held = ages[~np.isnan(ages)]
    if len(held):
        lines.append(("age", _histogram(held, "years")))
    if any(sexes != None):  # noqa: E711 - elementwise
        lines.append(("sex", _counts(Counter(sex for sex in sexes if sex is not None))))
    labelled = sum(1 for labels in store.column("labels") if len(labels))
    missing = {
        "subject": count - len(known),
        "age": count - len(held),
        "sex": int(sum(sexes == None)),  # noqa: E711 - elementwise
        "labels": count - labelled,
    }
    gone = ", ".join(f"{name} {n:,}" for name, n in missing.items() if n)
    return [*lines, ("missing", gone or "nothing")]


def _findings(store: Store) -> list[tuple[str, str]]:
    digests = Counter(store.column("digest"))
    repeated = [n for n in digests.values() if n > 1]
    lines = []
    duplicates = (
        f"{sum(repeated):,} recordings hold {len(repeated):,} signals" if repeated else "none"
    )
    lines.append(("duplicates", duplicates))
    noted = Counter(code.split()[0] for codes in store.column("findings") for code in set(codes))
    if noted:
        lines.append(("noted", _counts(noted)))
    removed = Counter(name for names in store.column("removed") for name in names)
    lines.append(("identifiers removed", _counts(removed) if removed else "none found"))
    return lines


def _leads(store: Store) -> str:
    held = Counter(len(leads) for leads in store.column("leads"))
    return ", ".join(f"{n:,} with {leads} of them" for leads, n in sorted(held.items()))


def _refused(store: Store) -> Counter[str]:
    path = store.path / QUARANTINE
    if not path.exists():
        return Counter()
    with path.open(encoding="utf-8", newline="") as file:
        return Counter(row["code"] for row in csv.DictReader(file))


def _listed(counts: Counter[str]) -> str:
    return f" ({_counts(counts)}; see {QUARANTINE})" if counts else ""


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.most_common())


def _percent(share: float) -> str:
    """Never "100 %" for less."""
    return "100 %" if share == 1 else f"{min(100 * share, 99.999):.5g} %"


def _histogram(values: NDArray[Any], unit: str) -> str:
    """Single values where there are few, equal bins as bars where there are many."""
    single, counts = np.unique(np.round(values, 3), return_counts=True)
    if len(single) <= 4:
        pairs = zip(single, counts, strict=True)
        return ", ".join(f"{value:g} {unit}: {count:,}" for value, count in pairs)
    counts, edges = np.histogram(values, bins=_BAR)
    bars = " ▁▂▃▄▅▆▇█"
    heights = np.ceil(8 * counts / counts.max()).astype(int)
    drawn = "".join(bars[height] for height in heights)
    return f"{edges[0]:g} {drawn} {edges[-1]:g} {unit}, median {np.median(values):g}"
