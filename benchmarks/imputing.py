"""Filling gaps in held-out PTB-XL: NERULA against interpolation, prediction and copied beats.

    python -m benchmarks.imputing MODEL STORE [--fold 9] [--out results/imputing.json]

One gap of each length per recording, at a random place at least a second away from its ends. All
methods are given the same recordings with the same gaps and nothing else. Errors are over the
hidden samples, in mV; intervals are 95 % bootstrap intervals over subjects.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.interpolate import CubicSpline
from scipy.linalg import solve_toeplitz, solveh_banded

import nerula
from nerula.batches import chosen_folds, subject_numbers
from nerula.files import write_whole
from nerula.model import Model
from nerula.store import Store

Array = NDArray[np.float64]
Fill = Callable[[Array, int, int], Array]
"""(time,) in mV, first and last sample of the gap, to the samples in it."""

GAPS = (0.2, 0.4, 0.8, 1.2, 2.0)
NAMES = ("rmse", "mae", "correlation")
DRAWS = 2000
MARGIN = 1.0
ORDER = 150
"""Of the autoregressive model: the best on fold 8 of 10, 20, 40, 60, 100, 150 and 250."""
CONTEXT = 0.4
"""Seconds on each side of a gap by which a similar place is sought."""


def linear(x: Array, a: int, b: int) -> Array:
    """A straight line between the samples at both ends."""
    return np.interp(np.arange(a, b), [a - 1, b], [x[a - 1], x[b]])


def spline(x: Array, a: int, b: int) -> Array:
    """A cubic spline through everything that was measured."""
    known = np.r_[0:a, b : len(x)]
    return np.asarray(CubicSpline(known, x[known])(np.arange(a, b)))


def autoregressive(x: Array, a: int, b: int) -> Array:
    """Janssen's interpolation: the samples that an autoregressive model finds least surprising.

    The model comes from what was measured (autocorrelation method), the samples from one linear
    system that looks forward and backward at once; both are repeated three times.
    """
    middle = x[np.r_[0:a, b : len(x)]].mean()
    y = x - middle
    y[a:b] = linear(y, a, b)
    for _ in range(3):
        taps = np.r_[1.0, -_yule_walker(y, ORDER)]
        spread = np.correlate(taps, taps, "full")[len(taps) - 1 :]
        gap = np.arange(a, b)
        banded = np.zeros((min(len(spread), b - a), b - a))
        for lag in range(len(banded)):
            banded[lag, : b - a - lag] = spread[lag]
        around = y.copy()
        around[a:b] = 0
        both = np.r_[spread[:0:-1], spread]
        pull = np.convolve(around, both, "same")[gap]
        y[a:b] = solveh_banded(banded, -pull, lower=True)
    return y[a:b] + middle


def template(x: Array, a: int, b: int) -> Array:
    """Copy from where the recording looks most alike around it, and make the ends meet."""
    side = int(CONTEXT * 100)
    width = b - a + 2 * side
    before, after = x[a - side : a], x[b : b + side]
    want = np.r_[before, after]
    want = want - want.mean()
    views = np.lib.stride_tricks.sliding_window_view(x, width)
    start = np.arange(len(views))
    free = (start + width <= a) | (start >= b)
    sides = np.concatenate([views[free][:, :side], views[free][:, -side:]], axis=1)
    if not len(sides):
        return linear(x, a, b)
    distance = ((sides - sides.mean(1, keepdims=True) - want) ** 2).sum(1)
    found = views[free][distance.argmin()]
    offsets = [x[a - 1] - found[side - 1], x[b] - found[width - side]]
    return found[side:-side] + np.interp(np.arange(a, b), [a - 1, b], offsets)


def _yule_walker(y: Array, order: int) -> Array:
    lags = np.array([y[: len(y) - lag] @ y[lag:] for lag in range(order + 1)])
    lags[0] *= 1 + 1e-6
    return np.asarray(solve_toeplitz(lags[:-1], lags[1:]))


@dataclass(frozen=True, slots=True)
class Case:
    """One recording with one gap."""

    x: Array
    subject: int
    a: int
    b: int


def cases(store: Store, fold: str, seconds: float, limit: int | None) -> Iterator[Case]:
    """Recordings of the fold that are long enough and wholly valid, each with its gap."""
    rate = store.contract.rate
    length, margin = round(seconds * rate), round(MARGIN * rate)
    inside = np.flatnonzero(chosen_folds(store.column("fold"), fold))
    subjects = subject_numbers(store.column("subject"))
    for i in inside[:limit]:
        x, valid = store.read(int(i))
        if not valid.all() or x.shape[1] < length + 2 * margin:
            continue
        chance = np.random.default_rng((int(i), length))
        a = int(chance.integers(margin, x.shape[1] - length - margin + 1))
        yield Case(x[0].astype(np.float64), int(subjects[i]), a, a + length)


def measured(fill: Fill, found: list[Case], name: str) -> NDArray[np.float64]:
    """(cases, 3): mean squared error, mean absolute error and correlation of every gap."""
    rows = []
    shown = Console(stderr=True)
    for case in track(found, name, console=shown, transient=True, disable=not shown.is_terminal):
        hidden = case.x.copy()
        hidden[case.a : case.b] = np.nan
        truth, guess = case.x[case.a : case.b], fill(hidden, case.a, case.b)
        error = guess - truth
        flat = guess.std() < 1e-9 or truth.std() < 1e-9
        r = 0.0 if flat else np.corrcoef(guess, truth)[0, 1]
        rows.append([np.mean(error**2), np.mean(np.abs(error)), r])
    return np.array(rows)


def nerula_fill(model: Model, rate: float) -> Fill:
    """The model's own way, as `nerula impute` goes it."""

    def fill(x: Array, a: int, b: int) -> Array:
        filled = model.impute(x.astype(np.float32), rate, lead=model.contract.leads[0])
        return filled[a:b].astype(np.float64)

    return fill


def summary(scores: Array, subjects: NDArray[np.int64], seed: int = 0) -> dict[str, list[float]]:
    """RMSE, MAE and mean correlation over all gaps: [value, low, high] each."""
    _, subjects = np.unique(subjects, return_inverse=True)
    totals = np.zeros((subjects.max() + 1, 4))
    np.add.at(totals, subjects, np.c_[scores, np.ones(len(scores))])
    drawn = np.random.default_rng(seed).multinomial(
        len(totals), np.full(len(totals), 1 / len(totals)), DRAWS
    )
    sums = np.vstack([np.ones(len(totals)), drawn]) @ totals
    means = sums[:, :3] / sums[:, 3:]
    means[:, 0] = np.sqrt(means[:, 0])
    low, high = np.percentile(means[1:], [2.5, 97.5], axis=0)
    columns = zip(NAMES, means[0], low, high, strict=True)
    return {name: [float(value) for value in values] for name, *values in columns}


def main() -> None:
    """Read the command line, measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.imputing", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("store", type=Path)
    parser.add_argument("--fold", default="9", help="10 is for the final report only")
    parser.add_argument("--limit", type=int, help="only the first recordings of the fold")
    parser.add_argument("--out", type=Path, default=Path("results/imputing.json"))
    words = parser.parse_args()
    store, model = Store.open(words.store), nerula.load(words.model)
    methods: dict[str, Fill] = {
        "linear": linear,
        "cubic spline": spline,
        "autoregressive": autoregressive,
        "nearest template": template,
        "NERULA": nerula_fill(model, store.contract.rate),
    }
    results = []
    for seconds in GAPS:
        found = list(cases(store, words.fold, seconds, words.limit))
        subjects = np.array([case.subject for case in found])
        for name, fill in methods.items():
            begin = time.perf_counter()
            scores = measured(fill, found, f"{seconds} s, {name}")
            each = (time.perf_counter() - begin) / len(found)
            row = {"gap": seconds, "method": name, "recordings": len(found), "seconds": each}
            results.append(row | summary(scores, subjects))
        show(results[-len(methods) :])
    written = {
        "store": store.digest,
        "fold": words.fold,
        "model": model.config.tensors if model.config else None,
        "order": ORDER,
        "machine": platform.processor() or platform.machine(),
        "results": results,
    }
    words.out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(words.out, json.dumps(written, indent=2) + "\n")
    Console().print(f"Written to {words.out}")


def show(rows: list[dict[str, Any]]) -> None:
    """Print the rows of one length of gap."""
    title = f"gaps of {rows[0]['gap']} s, {rows[0]['recordings']} recordings"
    table = Table("", "RMSE, mV", "MAE, mV", "correlation", title=title, title_justify="left")
    best = {name: sorted(rows, key=lambda row: row[name][0])[0] for name in NAMES[:2]}
    best["correlation"] = max(rows, key=lambda row: row["correlation"][0])
    for row in rows:
        cells = []
        for name in NAMES:
            value, low, high = row[name]
            text = f"{value:.3f} ({low:.3f}-{high:.3f})"
            cells.append(f"[bold]{text}[/]" if best[name] is row else text)
        table.add_row(row["method"], *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
