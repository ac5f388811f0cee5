"""Figures of a training: its curves, a map of embeddings, gaps filled on ECG paper."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerula import plot

# Okabe and Ito's colours: they stay apart for colour-blind readers and in grey.
COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
REST = "#c9ced6"


def curves(metrics: Path, out: Path) -> Path:
    """Draw every part of the loss, and the rank of the embeddings, over the steps of a run."""
    from matplotlib.figure import Figure

    series = _series(metrics)
    shown = [name for name in ("loss", "recon", "align", "rank") if name in series]
    figure = Figure(figsize=(3.0 * len(shown), 2.6), dpi=150, layout="constrained")
    for column, name in enumerate(shown):
        axes = figure.add_subplot(1, len(shown), column + 1)
        steps, values = series[name]
        axes.plot(steps, values, color=COLOURS[1], linewidth=0.5, alpha=0.35)
        axes.plot(steps, _smooth(values), color=COLOURS[1], linewidth=1.6)
        axes.set_title(name, fontsize=9, loc="left")
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.01)
    return plot.save(figure, out)


def embedding_map(
    z: NDArray[np.float32], groups: Mapping[str, NDArray[np.bool_]], out: Path, title: str = ""
) -> Path:
    """Draw the two largest principal components, each group in its colour over the rest."""
    from matplotlib.figure import Figure

    place = principal(z)
    figure = Figure(figsize=(5.2, 4.2), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    named = np.any([*groups.values(), np.zeros(len(z), np.bool_)], axis=0)
    x, y = place.T
    axes.scatter(x[~named], y[~named], s=7, color=REST, linewidths=0, label="other")
    for colour, (name, inside) in zip(COLOURS, groups.items(), strict=False):
        axes.scatter(x[inside], y[inside], s=11, color=colour, linewidths=0, alpha=0.8, label=name)
    axes.legend(fontsize=8, frameon=False, loc="best", markerscale=1.6)
    axes.set_title(title, fontsize=9, loc="left")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("first principal component", fontsize=8)
    axes.set_ylabel("second", fontsize=8)
    return plot.save(figure, out)


def filled(
    rows: Sequence[tuple[str, NDArray[np.float32], NDArray[np.bool_], NDArray[np.float32]]],
    rate: float,
    out: Path,
    title: str = "",
) -> Path:
    """Draw recordings (label, x, valid, filled) one below the other on ECG paper.

    Each strip is as high as its signal and what it is filled with.
    """
    seconds = max(len(x) for _, x, _, _ in rows) / rate
    heights = [plot.tall(x, valid, guess) for _, x, valid, guess in rows]
    figure, axes = plot.strip(seconds, len(rows), heights)
    for one, (label, x, valid, guess), height in zip(axes, rows, heights, strict=True):
        plot.ecg_paper(one, x, rate, valid, filled=guess, millivolts=height, label=label)
    plot.headline(figure, title)
    return plot.save(figure, out)


def principal(z: NDArray[np.float32], count: int = 2) -> NDArray[np.float64]:
    """Coordinates along the largest principal components of standardised embeddings."""
    scaled = (z - z.mean(0)) / (z.std(0) + 1e-6)
    _, _, axes = np.linalg.svd(scaled.astype(np.float64), full_matrices=False)
    # the sign of a component is arbitrary: fix it, so that a map looks the same again
    axes = axes[:count] * np.sign(axes[:count].sum(1, keepdims=True))
    return np.asarray(scaled @ axes.T, np.float64)


def _series(metrics: Path) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    found: dict[str, list[tuple[float, float]]] = {}
    for line in metrics.read_text(encoding="utf-8").splitlines():
        row: dict[str, Any] = json.loads(line)
        for name, value in row.items():
            if isinstance(value, int | float):
                found.setdefault(name, []).append((row["step"], value))
    return {name: (np.array(pairs)[:, 0], np.array(pairs)[:, 1]) for name, pairs in found.items()}


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Moving average over a twentieth of the run, shorter at the ends."""
    width = max(1, len(values) // 20)
    total = np.concatenate([[0.0], np.cumsum(values)])
    last = np.minimum(np.arange(len(values)) + width // 2 + 1, len(values))
    first = np.maximum(np.arange(len(values)) - width // 2, 0)
    return np.asarray((total[last] - total[first]) / (last - first))
