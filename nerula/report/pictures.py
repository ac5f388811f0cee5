"""Pictures: what models make of recordings. The only part of a report that needs a model.

Embeddings are taken from where `nerula probe` left them, or are computed.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nerula import gaps, plane
from nerula.errors import NerulaError, UsageError
from nerula.signal import bridge, resample
from nerula.store import Store

if TYPE_CHECKING:
    from nerula.model import Model

SECONDS = 10.0
"""How much of a recording the page shows."""
RATE = 100.0
"""Samples per second of what it shows: enough for a line on a screen."""
HIDDEN = 0.15
"""Share of a recording that is hidden and filled again."""
JUDGED, STRIPS = 48, 4
"""Recordings whose filling is measured, and shown."""
PREFERRED = ("AFIB", "CLBBB", "NORM", "PVC", "A", "O", "N")
"""Kinds of recordings that are shown first where a store has them."""


@dataclass(frozen=True)
class Shown:
    """The recordings that the page holds: their facts, and the signal of one lead."""

    source: str
    total: int
    lead: str
    rate: float
    row: NDArray[np.int64]
    name: list[str]
    subject: list[str | None]
    age: list[float | None]
    sex: list[str | None]
    fold: list[str | None]
    labels: list[list[str]]
    x: list[NDArray[np.float32]]
    valid: list[NDArray[np.bool_]]


@dataclass(frozen=True)
class Map:
    """Where a model puts the recordings, (N, 2) each, and which it was trained on."""

    model: str
    principal: NDArray[np.float64]
    explained: float
    """Share of the variance along the two axes."""
    neighbours: NDArray[np.float64] | None
    """t-SNE; None where there are too few recordings for it."""
    trained: list[bool | None]


@dataclass(frozen=True)
class Strip:
    """One recording with hidden stretches: `filled` is what the model puts there."""

    name: str
    labels: list[str]
    x: NDArray[np.float32]
    seen: NDArray[np.bool_]
    """Measured and not hidden."""
    measured: NDArray[np.bool_]
    filled: NDArray[np.float32]


@dataclass(frozen=True)
class Filling:
    """How well a model fills gaps, beside straight lines; errors in mV."""

    model: str
    rate: float
    strips: list[Strip]
    error: float
    lines: float
    judged: int
    unseen: bool
    """Whether none of the recordings was trained on."""


def shown(store: Store, count: int) -> Shown:
    """Choose recordings evenly over a store, and bring them to what a page can hold."""
    rows = np.unique(np.linspace(0, len(store) - 1, min(count, len(store))).astype(np.int64))
    held = store.contract
    lead = held.leads.index("II") if "II" in held.leads else 0
    signals = [_excerpt(store, int(row), lead) for row in rows]
    fact = {name: store.column(name)[rows] for name in ("name", "subject", "age", "sex", "fold")}
    labels = store.column("labels")[rows]
    return Shown(
        source=str((store.facts.get("source") or {}).get("kind", "unknown files")),
        total=len(store),
        lead=held.leads[lead],
        rate=min(held.rate, RATE),
        row=rows,
        name=[str(one) for one in fact["name"]],
        subject=list(fact["subject"]),
        age=[None if np.isnan(age) else float(age) for age in fact["age"]],
        sex=list(fact["sex"]),
        fold=list(fact["fold"]),
        labels=[list(one) if one is not None else [] for one in labels],
        x=[x for x, _ in signals],
        valid=[valid for _, valid in signals],
    )


def _excerpt(store: Store, row: int, lead: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The first seconds of one lead, at most `RATE` samples per second."""
    rate = store.contract.rate
    x, valid = store.read(row)
    one, measured = x[lead, : round(SECONDS * rate)], valid[lead, : round(SECONDS * rate)]
    if rate > RATE:
        one = resample(one[None], rate, RATE)[0]
        places = np.minimum((np.arange(len(one)) * rate / RATE).astype(int), len(measured) - 1)
        measured = measured[places]
    return np.ascontiguousarray(one, np.float32), measured


def embedding_map(
    name: str, model: "Model", store: Store, recordings: Shown, cache: Path
) -> Map | None:
    """Embed the recordings and lay them out in a plane, twice; None where all are the same."""
    from nerula.features import Features
    from nerula.tasks import find

    # a map asks nothing; sex stands for all tasks that embed whole recordings
    z = Features(model, store, find("sex"), cache).of(recordings.row)
    found = plane.components(z)
    if found is None:
        return None
    return Map(
        model=name,
        principal=found.places[:, :2],
        explained=found.explained,
        neighbours=plane.neighbours(found.places),
        trained=_trained(model, recordings),
    )


def _trained(model: "Model", recordings: Shown) -> list[bool | None]:
    """Which recordings the model was trained on, as far as folds tell."""
    training = model.config.training if model.config else {}
    folds = (training.get("data") or {}).get("folds")
    if not isinstance(folds, Mapping):
        return [None] * len(recordings.name)
    return [None if fold is None else fold in folds for fold in recordings.fold]


def filling(name: str, model: "Model", recordings: Shown) -> Filling | None:
    """Hide bursts of recordings and fill them; None where the model cannot."""
    own = model.contract.leads
    if len(own) > 1:
        return None
    trained = _trained(model, recordings)
    chosen = [i for i, seen in enumerate(trained) if seen is False]
    unseen = bool(chosen)
    chosen = _varied(chosen or list(range(len(trained))), recordings)[:JUDGED]
    try:
        strips = [_strip(model, recordings, i, own[0]) for i in chosen]
    except UsageError:  # it has no reconstruction path, or was trained without it
        return None
    strips = [one for one in strips if (one.measured & ~one.seen).any()]
    if not strips:
        return None
    error, straight = (np.concatenate(one) for one in zip(*map(_errors, strips), strict=True))
    return Filling(
        model=name,
        rate=recordings.rate,
        strips=strips[:STRIPS],
        error=float(error.mean()),
        lines=float(straight.mean()),
        judged=len(strips),
        unseen=unseen,
    )


def _varied(chosen: Sequence[int], recordings: Shown) -> list[int]:
    """One recording of each preferred kind first, then the others."""
    first: list[int] = []
    for kind in PREFERRED:
        first += [i for i in chosen if kind in recordings.labels[i] and i not in first][:1]
    return first + [i for i in chosen if i not in first]


def _strip(model: "Model", recordings: Shown, i: int, lead: str) -> Strip:
    x, measured = recordings.x[i], recordings.valid[i]
    hidden = gaps.bursts(len(x), HIDDEN, recordings.rate, recordings.name[i])
    seen = measured & ~hidden
    given = np.where(seen, x, np.float32(0))
    filled = model.impute(given, recordings.rate, lead=lead, valid=seen)
    return Strip(recordings.name[i], recordings.labels[i], x, seen, measured, filled)


def _errors(one: Strip) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Of the model, and of straight lines, where something was measured and then hidden."""
    judged = one.measured & ~one.seen
    straight = bridge(np.where(one.seen, one.x, np.float32(0))[None], one.seen[None])[0]
    return np.abs(one.filled - one.x)[judged], np.abs(straight - one.x)[judged]


@contextmanager
def opened(stores: Sequence[Path], caches: Sequence[Path]) -> Iterator[tuple[Store, Path]]:
    """The store to show, and a folder for embeddings; without a store the bundled sample."""
    with TemporaryDirectory(prefix="nerula-report-") as temporary:
        cache = caches[0] if caches else Path(temporary)
        if stores:
            held = sorted(map(Store.open, stores), key=_is_joined)
            yield held[0], cache
        else:
            from nerula import sample
            from nerula.prepare import Options, make_store

            make_store(
                sample.load(), Path(temporary) / "sample", Options(leads=("II",)), quiet=True
            )
            yield Store.open(Path(temporary) / "sample"), cache


def _is_joined(store: Store) -> bool:
    """Whether it was made for a training, and so comes after data sets as they are."""
    return bool((store.facts.get("source") or {}).get("parts"))


def load(folder: Path) -> "Model":
    """A model; what it needs is imported here and not before."""
    from nerula import bundle

    try:
        return bundle.load(folder)
    except (TypeError, ValueError, ImportError) as error:
        raise NerulaError(f"{folder} cannot be loaded: {error}") from error
