"""Drawing: ECG paper as a cardiologist expects it, and nothing that needs a display.

The paper is the usual one: 25 mm/s and 10 mm/mV, so a large box is 0.2 s by 0.5 mV.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAPER = "#fffaf5"
FINE = "#f6d9d3"
COARSE = "#e8a79c"
INK = "#16202c"
FILLED = "#0072b2"
MILLIMETRE = 1 / 25.4  # in inches

SECOND_MM, MILLIVOLT_MM = 25.0, 10.0
LEAST, MOST = 2.5, 10.0
"""mV of a strip that is as high as its signal: what is higher than any heart is cut off, or the
picture would have no end."""
_EDGE = 0.1
"""mV between a signal and the edge of its strip."""


def strip(
    seconds: float, leads: int = 1, millivolts: float | Sequence[float] = 3.0
) -> tuple["Figure", list["Axes"]]:
    """Make a figure with one true-to-scale strip of ECG paper per lead, top to bottom.

    All are `millivolts` high, or each as many as are given for it.
    """
    from matplotlib.figure import Figure

    width = seconds * SECOND_MM * MILLIMETRE
    each = millivolts if isinstance(millivolts, Sequence) else [millivolts] * leads
    heights = [one * MILLIVOLT_MM * MILLIMETRE for one in each]
    margin, title = 0.15, 0.35
    total = sum(heights) + title + margin
    figure = Figure(figsize=(width + 2 * margin, total), dpi=150, facecolor="white")
    axes = []
    bottom = total - title
    for height in heights:
        bottom -= height
        box = (margin / (width + 2 * margin), bottom / total,
               width / (width + 2 * margin), height / total)  # fmt: skip
        axes.append(figure.add_axes(box))
    return figure, axes


def ecg_paper(
    axes: "Axes",
    x: NDArray[np.float32],
    rate: float,
    valid: NDArray[np.bool_] | None = None,
    *,
    filled: NDArray[np.float32] | None = None,
    start: float = 0.0,
    millivolts: float = 3.0,
    label: str = "",
) -> None:
    """Draw one lead `x` (time,) in mV on ECG paper.

    Where `valid` is False nothing was measured: the line is interrupted, or, where `filled` is
    given, replaced by it in another colour.
    """
    seconds = start + np.arange(len(x)) / rate
    low, high = _window(_drawn(x, valid, filled), millivolts)
    end = start + len(x) / rate
    _grid(axes, start, end, low, high)
    measured = x if valid is None else np.where(valid, x, np.nan)
    if filled is not None and valid is not None:
        # one sample of overlap on both sides, so that the filled line meets the measured one
        gap = ~valid
        gap[:-1] |= ~valid[1:]
        gap[1:] |= ~valid[:-1]
        axes.plot(seconds, np.where(gap, filled, np.nan), color=FILLED, linewidth=1.1)
    axes.plot(seconds, measured, color=INK, linewidth=0.9, solid_joinstyle="round")
    if label:  # below the lines: it hides none of the signal
        axes.text(start + 0.06, low + 0.12, label, va="bottom", ha="left", fontsize=8, color=INK,
                  zorder=1.5,
                  bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1.2})  # fmt: skip


def tall(
    x: NDArray[np.float32],
    valid: NDArray[np.bool_] | None = None,
    filled: NDArray[np.float32] | None = None,
) -> float:
    """mV of a strip that holds a lead and what it is filled with, in whole boxes."""
    drawn = _drawn(x, valid, filled)
    span = float(np.ptp(drawn)) + 3 * _EDGE if len(drawn) else 0.0
    return min(max(LEAST, float(np.ceil(2 * span)) / 2), MOST)


def headline(figure: "Figure", words: str) -> None:
    """Say above the strips of a figure what they show."""
    figure.text(0.02, 1 - 0.1 / figure.get_figheight(), words, fontsize=9, va="top")


def save(figure: "Figure", path: Path) -> Path:
    """Write the figure beside its final name first, so that a reader never sees half a picture."""
    part = path.with_name(f".{path.name}.tmp")
    figure.savefig(part, format=path.suffix.lstrip(".") or "png")
    part.replace(path)
    return path


def _drawn(
    x: NDArray[np.float32],
    valid: NDArray[np.bool_] | None,
    filled: NDArray[np.float32] | None,
) -> NDArray[np.float32]:
    """What of a lead `ecg_paper` draws: measured values, and those that they are filled with."""
    if valid is None:
        return x
    shown = x[valid] if filled is None else np.where(valid, x, filled)
    return shown[np.isfinite(shown)]


def _window(x: NDArray[np.float32], millivolts: float) -> tuple[float, float]:
    """Place the visible range so that the signal is inside it wherever it fits."""
    if not len(x):
        return -millivolts / 2, millivolts / 2
    bottom, middle, top = float(x.min()), float(np.median(x)), float(x.max())
    low = middle - millivolts / 2
    low += max(0.0, top + _EDGE - (low + millivolts))
    low -= max(0.0, low - bottom + _EDGE)
    low = round(low, 1)
    return low, low + millivolts


def _grid(axes: "Axes", start: float, end: float, low: float, high: float) -> None:
    axes.set_facecolor(PAPER)
    axes.set_xlim(start, end)
    axes.set_ylim(low, high)
    axes.set_xticks(np.arange(np.ceil(start / 0.2) * 0.2, end + 1e-9, 0.2))
    axes.set_xticks(np.arange(np.ceil(start / 0.04) * 0.04, end + 1e-9, 0.04), minor=True)
    axes.set_yticks(np.arange(np.ceil(2 * low - 1e-6) / 2, high + 1e-9, 0.5))
    axes.set_yticks(np.arange(low, high + 1e-9, 0.1), minor=True)
    axes.grid(which="minor", color=FINE, linewidth=0.35)
    axes.grid(which="major", color=COARSE, linewidth=0.6)
    axes.tick_params(which="both", length=0, labelbottom=False, labelleft=False)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_color(COARSE)
