"""Across: what a model of several leads says of each lead alone, and of the others from one."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nerula.errors import UsageError
from nerula.store import Store
from nerula.tasks import lead_alignment, leads

if TYPE_CHECKING:
    from nerula.model import Model
    from nerula.windowed import Prepared

Array = NDArray[np.float32]
Rows = NDArray[np.int64]
FITTED = 2000
"""Recordings of the training side that the simple answers are fitted to."""
SHOWN = 4.0
"""Seconds of a recording that are kept to be shown."""


class Answered(NamedTuple):
    """The scores (N, K) of one way to answer."""

    probe: str
    score: NDArray[np.float64]
    chance: NDArray[np.float64]
    """Those of an answer that knows nothing."""
    shown: dict[str, Any]
    """What else there is to show."""


def answered(
    task: str, model: "Model", store: Store, sides: tuple[Rows, Rows], wanted: tuple[str, ...]
) -> Iterator[Answered]:
    """Answer a task of several leads for the rows of the test, `sides` being training and test."""
    own = model.contract.leads
    if len(own) < 2:
        raise UsageError(f"The task {task} wants a model of several leads, not of {own[0]}.")
    if model.contract.rate != store.contract.rate:
        raise UsageError(
            f"The model expects {model.contract.rate:g} Hz, {store.path} has "
            f"{store.contract.rate:g}.",
            f"Prepare the store with --rate {model.contract.rate:g}.",
        )
    if missing := [lead for lead in own if lead not in store.contract.leads]:
        raise UsageError(
            f"{store.path} has no lead {', '.join(missing)}.",
            f"Prepare it with --leads {','.join(own)}.",
        )
    if task == "lead-alignment":
        yield _aligned(model, store, sides[1])
        return
    for source in leads.SOURCES:
        mine = tuple(one for one in wanted if one.endswith(f"-{source}"))
        if mine and source not in own:
            raise UsageError(f"The model has no lead {source}.")
        yield from _rebuilt(model, store, sides, source, mine)


def _aligned(model: "Model", store: Store, rows: Rows) -> Answered:
    """Each lead alone: how much their embeddings of one recording agree."""
    z = np.stack(
        [_embedded(model, store, rows, lead) for lead in range(len(model.contract.leads))]
    )
    matrix = lead_alignment.correlations(z).mean(axis=0)
    shown = {"leads": list(model.contract.leads), "matrix": np.round(matrix, 4).tolist()}
    scores = lead_alignment.scores(z)
    return Answered("cosine", scores, np.repeat(scores[:, 2:], 3, axis=1), shown)


def _embedded(model: "Model", store: Store, rows: Rows, lead: int) -> Array:
    pairs = (_only(x, valid, lead) for x, valid in _read(model, store, rows))
    return np.stack([_mean(one) for one in model.embed_prepared(pairs)])


def _mean(windows: Any) -> Array:
    """A recording's embedding; that of nothing where the lead holds nothing valid."""
    mean: Array = windows.mean() if windows.weight.any() else windows.z.mean(axis=0)
    return mean


def _rebuilt(
    model: "Model",
    store: Store,
    sides: tuple[Rows, Rows],
    source: str,
    wanted: tuple[str, ...],
) -> Iterator[Answered]:
    """All leads from one, by the model's decoders and by the simple answers that are wanted."""
    own, rate = model.contract.leads, model.contract.rate
    place, counted = own.index(source), leads.targets(source, own)
    train = sides[0][:: max(1, len(sides[0]) // FITTED)]
    kinds = {one.partition("-")[0]: one for one in wanted}
    simple = {}
    if set(kinds) - {"decoded"}:
        simple = leads.fitted(_read(model, store, train), place, rate, len(own))
    for kind, probe in kinds.items():
        if kind == "decoded":
            guesses = _decoded(model, store, sides[1], place)
        else:
            guesses = _simply(simple[kind].guess, model, store, sides[1], place)
        truths = _read(model, store, sides[1])
        each = [
            leads.agreement(guess, x, valid)[counted]
            for guess, (x, valid) in zip(guesses, truths, strict=True)
        ]
        score = np.stack(each)
        nothing = np.where(np.isnan(score), score, 0.0)
        nothing[..., 1:] = score[..., 2:]  # a flat line: all of the variance is error
        told, untold = (one.reshape(len(each), -1) for one in (score, nothing))
        shown: dict[str, Any] = {"leads": [own[row] for row in counted]}
        if kind == "decoded":
            shown["example"] = _example(model, store, int(sides[1][0]), source)
        yield Answered(probe, told, untold, shown)


def _example(model: "Model", store: Store, row: int, source: str) -> dict[str, Any]:
    """The beginning of a recording in whole microvolts, and what the decoders make of `source`."""
    own, rate = model.contract.leads, model.contract.rate
    ((x, valid),) = _read(model, store, np.array([row]))
    (guess,) = _decoded(model, store, np.array([row]), own.index(source))
    part = slice(round(SHOWN * rate))
    level = x.mean(axis=1, keepdims=True) - guess.mean(axis=1, keepdims=True)
    return {
        "name": str(store.column("name")[row]),
        "source": source,
        "leads": list(own),
        "rate": rate,
        "measured": [_microvolts(*pair) for pair in zip(x[:, part], valid[:, part], strict=True)],
        "rebuilt": [_microvolts(one) for one in (guess + level)[:, part]],
    }


def _microvolts(x: Array, valid: NDArray[np.bool_] | None = None) -> list[int | None]:
    """Nothing where nothing was measured."""
    kept = np.isfinite(x) if valid is None else valid
    pairs = zip(x, kept, strict=True)
    return [round(1000 * float(one)) if there else None for one, there in pairs]


def _decoded(model: "Model", store: Store, rows: Rows, place: int) -> Iterator[Array]:
    """What the decoders make of one lead."""
    for x, valid in _read(model, store, rows):
        yield model.decode_prepared(*_only(x, valid, place))


def _simply(
    guess: Callable[[Array], Array], model: "Model", store: Store, rows: Rows, place: int
) -> Iterator[Array]:
    for x, _ in _read(model, store, rows):
        yield guess(x[place])


def _read(model: "Model", store: Store, rows: Rows) -> "Iterator[Prepared]":
    """Recordings with the model's leads in its order."""
    place = [store.contract.leads.index(lead) for lead in model.contract.leads]
    for row in rows:
        x, valid = store.read(int(row))
        yield x[place], valid[place]


def _only(x: Array, valid: NDArray[np.bool_], lead: int) -> "Prepared":
    alone = np.zeros_like(valid)
    alone[lead] = valid[lead]
    return x, alone


# --- pictures --------------------------------------------------------------------------------


def heat_map(shown: dict[str, Any], path: Path) -> Path:
    """Draw the correlations between leads."""
    from matplotlib.figure import Figure

    from nerula.plot import save

    names, matrix = shown["leads"], np.array(shown["matrix"])
    figure = Figure(figsize=(5.2, 4.6), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(matrix, vmin=-1, vmax=1, cmap="RdBu_r")
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.set_title("Centred correlation of embeddings", fontsize=10)
    figure.colorbar(image, ax=axes, shrink=0.85)
    return save(figure, path)


def paper(example: dict[str, Any], path: Path) -> Path:
    """Draw all leads on ECG paper: measured, and over it rebuilt from one of them alone."""
    from nerula.plot import FILLED, ecg_paper, headline, save, strip, tall

    source, rate = example["source"], example["rate"]
    measured, rebuilt = (
        np.array(example[name], np.float32) / 1000 for name in ("measured", "rebuilt")
    )
    valid = ~np.isnan(measured)
    seconds = np.arange(measured.shape[1]) / rate
    heights = [tall(*pair) for pair in zip(measured, valid, strict=True)]
    figure, axes = strip(len(seconds) / rate, len(measured), heights)
    for place, (lead, one) in enumerate(zip(example["leads"], axes, strict=True)):
        label = f"{lead} (given)" if lead == source else lead
        shown, height = (measured[place], rate, valid[place]), heights[place]
        ecg_paper(one, *shown, millivolts=height, label=label)
        if lead != source:
            one.plot(seconds, rebuilt[place], color=FILLED, linewidth=0.9)
    headline(figure, f"measured, and rebuilt from lead {source} alone (blue)")
    return save(figure, path)
