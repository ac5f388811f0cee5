"""Surface: a picture of every trial over every argument."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nerula.plot import FILLED, INK
from nerula.searching.space import Between, OneOf, Space, said
from nerula.searching.trials import NOISE, Conclusion, Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DEFAULT, PRUNED = "#d55e00", "#b9c0c7"


def draw(path: Path, space: Space, trials: Sequence[Trial], conclusion: Conclusion) -> None:
    """One panel per argument, and one for the first two numbers together."""
    from matplotlib.figure import Figure

    space = {name: values for name, values in space.items() if not _is_fixed(values)}
    numbers = [name for name, values in space.items() if isinstance(values, Between)]
    panels = len(space) + (len(numbers) > 1)
    columns = min(3, panels)
    rows = -(-panels // columns)
    figure = Figure(figsize=(4.2 * columns, 3.4 * rows), dpi=150, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for place, name in zip(axes, space, strict=False):
        _over(place, name, space, trials, conclusion)
    if len(numbers) > 1:
        _together(axes[len(space)], numbers[:2], space, trials)
    for empty in axes[panels:]:
        empty.set_axis_off()
    figure.suptitle(
        "Score on fold 9 (mean of sex AUROC and age R2). Orange: the defaults, one point for "
        "each seed; band: what seeds alone may do; grey: pruned",
        fontsize=9,
    )
    figure.savefig(path)


def _over(
    axes: "Axes", name: str, space: Space, trials: Sequence[Trial], conclusion: Conclusion
) -> None:
    """Scores over one argument."""
    values = space[name]
    for kind, colour in (("pruned", PRUNED), ("complete", FILLED)):
        shown = [one for one in trials if one.state == kind and one.epochs and not one.default]
        axes.plot(
            [_place(values, one.values[name]) for one in shown],
            [one.score for one in shown],
            "o", color=colour, markersize=5, alpha=0.85,
        )  # fmt: skip
    own = [one for one in trials if one.default and one.epochs]
    axes.plot(
        [_place(values, one.values[name]) for one in own],
        [one.score for one in own],
        "D", color=DEFAULT, markersize=6,
    )  # fmt: skip
    top = conclusion.best.score
    axes.axhspan(top - NOISE * conclusion.noise, top, color=FILLED, alpha=0.12, linewidth=0)
    _scaled(axes.xaxis, axes.set_xscale, axes.set_xlim, values)
    axes.set_xlabel(name.replace("_", " "))
    axes.set_ylabel("score")
    axes.grid(alpha=0.25)
    axes.tick_params(colors=INK)


def _together(axes: "Axes", names: list[str], space: Space, trials: Sequence[Trial]) -> None:
    """Scores over two arguments, as colour."""
    shown = [one for one in trials if one.state == "complete" and one.epochs]
    across, up = (space[name] for name in names)
    dots = axes.scatter(
        [one.values[names[0]] for one in shown],
        [one.values[names[1]] for one in shown],
        c=[one.score for one in shown],
        cmap="viridis", s=45, edgecolors=INK, linewidths=0.5,
    )  # fmt: skip
    _scaled(axes.xaxis, axes.set_xscale, axes.set_xlim, across)
    _scaled(axes.yaxis, axes.set_yscale, axes.set_ylim, up)
    axes.set_xlabel(names[0].replace("_", " "))
    axes.set_ylabel(names[1].replace("_", " "))
    axes.figure.colorbar(dots, ax=axes, label="score")


def _is_fixed(values: Any) -> bool:
    return isinstance(values, OneOf) and len(values.choices) == 1


def _place(values: Any, value: Any) -> float:
    """Where a value stands on its axis."""
    return float(values.choices.index(value)) if isinstance(values, OneOf) else float(value)


def _scaled(axis: Any, scale: Any, limit: Any, values: Any) -> None:
    """An axis from one end of a range to the other."""
    if isinstance(values, OneOf):
        axis.set_ticks(np.arange(len(values.choices)), [said(one) for one in values.choices])
        limit(-0.5, len(values.choices) - 0.5)
        return
    if values.log:
        scale("log")
        limit(values.low / 1.15, values.high * 1.15)
        return
    margin = 0.04 * (values.high - values.low)
    limit(values.low - margin, values.high + margin)
