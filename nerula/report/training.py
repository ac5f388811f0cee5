"""Training: the curves of a run, and what its records say of it."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from nerula.errors import NerulaError
from nerula.files import parse_json
from nerula.report.charts import Axis, Series, axis, lines, number, smooth
from nerula.run import CONFIG, METRICS, STATE, read_json

POINTS = 240
"""Points that a curve is drawn with, however long the run was."""
MAIN = ("loss", "recon", "align", "embedding_rank", "lr")
"""Curves that are always shown, beside parts that only a method knows."""
MORE = ("embedding_spread", "rank", "spread", "norm", "recordings_per_second")
"""Curves that only matter when something is wrong."""

CAPTIONS = {
    "loss": "Should fall quickly, then slowly. The thin line is every step, the thick one their "
    "mean over a twentieth of the run.",
    "embedding_rank": "How many directions the embeddings of 256 recordings use. It should stay "
    "well above 1: at 1 all recordings look alike, which is called collapse.",
    "embedding_spread": "How far embeddings of different recordings lie apart. It should not sink "
    "to 0.",
    "lr": "What was asked for: a short rise, then half a cosine down to zero.",
    "norm": "The length of the gradient. Single peaks are harmless; a lasting rise is not.",
    "recordings_per_second": "How fast the machine was; other programs on it make dents.",
    "align": "How much two views of one recording disagree; \N{MINUS SIGN}1 is perfect agreement.",
    "rank": "The same within each batch, of what the loss compares.",
    "spread": "The same within each batch, of what the loss compares.",
    "recon": "The error on hidden samples. It should fall: this is what fills gaps.",
}
TITLES = {
    "loss": "Loss",
    "embedding_rank": "Effective rank of embeddings",
    "embedding_spread": "Spread of embeddings",
    "lr": "Learning rate",
    "norm": "Gradient norm",
    "recordings_per_second": "Recordings per second",
    "rank": "Effective rank within a batch",
    "spread": "Spread within a batch",
    "align": "Part of the loss: alignment",
    "recon": "Part of the loss: reconstruction",
}


@dataclass(frozen=True)
class Figure:
    """A chart with its name and what one should see in it."""

    title: str
    drawn: Markup
    caption: str


@dataclass(frozen=True)
class Trained:
    """One run as the page shows it."""

    name: str
    method: str
    collapsed: bool
    summary: str
    command: str
    figures: list[Figure]
    more: list[Figure]
    """Curves that only matter when something is wrong."""
    facts: dict[str, str]


def read(folder: Path) -> Trained | None:
    """Read the records of a run; None where nothing was trained."""
    config = read_json(folder / CONFIG)
    state = read_json(folder / STATE) if (folder / STATE).exists() else {}
    series = _series(folder / METRICS)
    if not series:
        return None
    own = [name for name in series if name not in (*MAIN, *MORE, "epoch")]
    steps, done = int(state.get("steps") or 0), int(series["loss"][-1][0])
    options = config.get("options") or {}
    first = [name for name in (*MAIN[:3], *own, *MAIN[3:]) if name in series]
    rest = [name for name in MORE if name in series]
    return Trained(
        name=f"{folder.parent.name} {folder.name}"
        if folder.name.startswith("seed-")
        else folder.name,
        method=str(config.get("method")),
        collapsed=bool(state.get("collapsed")),
        summary=_summary(state, options, series, done, steps),
        command=str(state.get("command") or ""),
        figures=[_figure(name, series[name]) for name in first],
        more=[_figure(name, series[name]) for name in rest],
        facts=_facts(config, state),
    )


def _figure(name: str, points: list[tuple[float, float]]) -> Figure:
    title = TITLES.get(name, f"Part of the loss: {name.replace('_', ' ')}")
    thin = _thinned(points)
    values = [value for _, value in thin]
    x = axis([0, points[-1][0]], "step")
    x = Axis(0, points[-1][0], [t for t in x.ticks if t <= points[-1][0] * 1.001], "step",
             lambda value: f"{value:,.0f}")  # fmt: skip
    y = axis(_within(values), "", around=[0.0] if min(values) >= 0 else [])
    if name.startswith("embedding") or name == "lr":
        drawn = [Series(title, thin, marked=len(thin) < 30, colour=1)]
    else:
        even = list(zip((step for step, _ in thin), smooth(values), strict=True))
        clipped = [(step, min(max(value, y.low), y.high)) for step, value in thin]
        drawn = [
            Series(title, clipped, marked=False, faint=True, colour=1),
            Series(title, even, marked=False, colour=1),
        ]
    told = CAPTIONS.get(name, "A part of the loss, as the method reports it at every step.")
    return Figure(title, lines(drawn, x, y, f"{title} over the steps of the training"), told)


def _within(values: list[float]) -> list[float]:
    """Most of the values: a first step that is ten times the rest must not flatten the curve."""
    ordered = sorted(values)
    cut = len(ordered) // 50
    return ordered[cut : len(ordered) - cut] if cut else ordered


def _series(path: Path) -> dict[str, list[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = {}
    with path.open(encoding="utf-8") as rows:
        for line in rows:
            if not line.endswith("\n"):
                break  # a run that is being written
            try:
                row = parse_json(line)
                step = float(row["step"])
            except (ValueError, KeyError, TypeError):
                raise NerulaError(f"{path} is damaged: {line[:60]!r}.") from None
            for name, value in row.items():
                if name != "step" and type(value) in (int, float) and math.isfinite(value):
                    found.setdefault(name, []).append((step, float(value)))
    return found


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Means of neighbours, where there are more points than a chart can show."""
    size = -(-len(points) // POINTS)
    groups = [points[first : first + size] for first in range(0, len(points), size)]
    return [
        (sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group))
        for group in groups
    ]


def _summary(
    state: dict[str, Any],
    options: dict[str, Any],
    series: dict[str, list[tuple[float, float]]],
    done: int,
    steps: int,
) -> str:
    """A sentence or two: how long, how far, where it ended."""
    seconds = float(state.get("seconds") or 0)
    time = f"{seconds / 3600:.1f} hours" if seconds >= 5400 else f"{seconds / 60:.0f} minutes"
    time = time if seconds >= 90 else f"{seconds:.0f} seconds"
    status = state.get("status")
    how_far = f"{done:,} steps" if not steps or done >= steps else f"{done:,} of {steps:,} steps"
    said = [f"{how_far} of {options.get('batch', '?')} recordings in {time}."]
    if status != "finished":
        said.append(f"Not finished: {state.get('problem') or status or 'unknown'}.")
    losses = smooth([value for _, value in _thinned(series["loss"])])
    said.append(f"Loss from {number(losses[0])} to {number(losses[-1])}.")
    if ranks := series.get("embedding_rank"):
        said.append(f"Effective rank of the embeddings at the end: {ranks[-1][1]:.1f}.")
    return " ".join(said)


def _facts(config: dict[str, Any], state: dict[str, Any]) -> dict[str, str]:
    machine, store = state.get("machine") or {}, config.get("store") or {}
    options = config.get("options") or {}
    facts = {
        "Method": config.get("method"),
        "Store": f"{store.get('path')}, digest {store.get('digest')}",
        "Recordings trained on": store.get("recordings"),
        "Folds": options.get("folds"),
        "Seed": options.get("seed"),
        "Machine": f"{machine.get('name')}, {machine.get('threads')} threads, "
        f"{machine.get('device')}, {machine.get('precision')}",
        "Torch": machine.get("torch"),
        "Nerula": state.get("nerula"),
    }
    return {name: str(value) for name, value in facts.items() if value not in (None, "")}
