"""Charts: small SVG drawings whose colours are the page's, so that they turn dark with it.

All are as wide as a phone, and stand side by side where there is room.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 360, 220
LEFT, RIGHT, TOP, BOTTOM = 46, 20, 12, 38
MARKS = ("circle", "triangle", "square", "diamond", "cross", "circle")


@dataclass(frozen=True)
class Series:
    """A line of points (x, y), perhaps with an interval (low, high) for each."""

    name: str
    points: Sequence[tuple[float, float]]
    intervals: Sequence[tuple[float, float]] = ()
    marked: bool = True
    faint: bool = False
    """Drawn thin behind the others, such as what a smooth line smooths."""
    colour: int = 0
    """1 to 6; 0: by its place."""


@dataclass(frozen=True)
class Axis:
    """Where values lie, which of them get a number, and what they are."""

    low: float
    high: float
    ticks: Sequence[float]
    label: str
    words: Callable[[float], str] = lambda value: number(value)  # noqa: PLW0108 - defined below
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """0 at the low end, 1 at the high end."""
        low, high = self.low, self.high
        if self.logarithmic:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return (value - low) / (high - low)


def number(value: float | None, digits: int = 3) -> str:
    """A figure as people write it; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    size = abs(value)
    if size >= 1000:
        text = f"{value:,.0f}"
    elif 0 < size < 0.001:
        text = f"{value:.2g}"
    else:
        text = f"{value:.{digits}g}"
    return text.replace("-", "\N{MINUS SIGN}", 1) if value < 0 else text


def fixed(value: float | None) -> str:
    """A metric with the digits that tables show."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.3f}".replace("-", "\N{MINUS SIGN}") if abs(value) < 2 else f"{value:.2f}"


def axis(values: Sequence[float], label: str, *, around: Sequence[float] = ()) -> Axis:
    """A linear axis that holds all values, with ends and ticks at round numbers."""
    known = [value for value in (*values, *around) if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(known), max(known)
    step = _round_step((high - low) / 4 or abs(high) / 4 or 1.0)
    first, last = math.floor(low / step + 1e-6), math.ceil(high / step - 1e-6)
    last = max(last, first + 1)
    ticks = [round(i * step, 10) for i in range(first, last + 1)]
    return Axis(ticks[0], ticks[-1], ticks, label)


def shares(values: Sequence[float], label: str) -> Axis:
    """A logarithmic axis of shares such as 1 %, 10 % and 100 %."""
    ticks = sorted(set(values))
    low, high = ticks[0], ticks[-1]
    low = low / 1.3 if low < high else low / 2
    return Axis(low, high * 1.2, ticks, label, percent, logarithmic=True)


def percent(value: float) -> str:
    """0.1 as 10 %."""
    return f"{100 * value:g} %"


def lines(
    series: Sequence[Series],
    x: Axis,
    y: Axis,
    title: str,
    *,
    level: tuple[float, str] | None = None,
) -> Markup:
    """Lines over an axis; `level` is a dashed horizontal line, such as guessing."""
    parts = [_frame(x, y)]
    if level is not None and y.low <= level[0] <= y.high:
        at = _up(y, level[0])
        parts.append(_tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=at, y2=at, class_="level"))
        # above the line where there is room, else below
        parts.append(
            _text(WIDTH - RIGHT - 3, at - 5 if at > TOP + 16 else at + 13, level[1], "end")
        )
    for place, one in enumerate(series):
        parts.append(_line(one, one.colour or place % 6 + 1, x, y))
    return _svg(parts, title, _told(series, x))


def scatter(points: Sequence[tuple[float, float]], x: Axis, y: Axis, title: str) -> Markup:
    """Points, and the diagonal on which they would lie if all were right."""
    low, high = max(x.low, y.low), min(x.high, y.high)
    parts = [
        _frame(x, y),
        _tag("line", x1=_across(x, low), y1=_up(y, low), x2=_across(x, high), y2=_up(y, high),
             class_="level"),
    ]  # fmt: skip
    parts += [
        _tag("circle", cx=_across(x, a), cy=_up(y, b), r=2.4, class_="dot c1") for a, b in points
    ]
    return _svg(parts, title, f"{len(points)} points")


def reliability(curve: Sequence[dict[str, float]], title: str) -> Markup:
    """Said against happened; the size of a dot is how many recordings it stands for."""
    x = Axis(0, 1, (0, 0.25, 0.5, 0.75, 1), "said")
    y = Axis(0, 1, (0, 0.25, 0.5, 0.75, 1), "happened")
    points = [(one["predicted"], one["observed"], one["n"]) for one in curve if one["n"]]
    most = max((count for *_, count in points), default=1)
    path = " ".join(f"{_across(x, a):.1f},{_up(y, b):.1f}" for a, b, _ in points)
    parts = [
        _frame(x, y),
        _tag("line", x1=_across(x, 0), y1=_up(y, 0), x2=_across(x, 1), y2=_up(y, 1),
             class_="level"),
        _tag("polyline", points=path, class_="line c1"),
    ]  # fmt: skip
    for said, happened, count in points:
        radius = 2.5 + 5.5 * math.sqrt(count / most)
        told = f"said {said:.2f}, happened {happened:.2f}, n {count:,}"
        inner = Markup("<title>{}</title>").format(told)
        parts.append(_tag("circle", inner, cx=_across(x, said), cy=_up(y, happened), r=radius,
                          class_="dot c1"))  # fmt: skip
    told = "; ".join(f"{a:.2f} said, {b:.2f} happened" for a, b, _ in points)
    return _svg(parts, title, told)


def smooth(values: Sequence[float]) -> list[float]:
    """Moving average over a twentieth, shorter at the ends."""
    half = max(0, len(values) // 40)
    total = [0.0]
    for value in values:
        total.append(total[-1] + value)
    found = []
    for i in range(len(values)):
        first, last = max(0, i - half), min(len(values), i + half + 1)
        found.append((total[last] - total[first]) / (last - first))
    return found


# --- parts of a drawing ----------------------------------------------------------------------


def _line(one: Series, colour: int, x: Axis, y: Axis) -> Markup:
    known = [(a, b) for a, b in one.points if math.isfinite(b)]
    path = " ".join(f"{_across(x, a):.1f},{_up(y, b):.1f}" for a, b in known)
    thin = " faint" if one.faint else ""
    parts = []
    for (a, _), (low, high) in zip(one.points, one.intervals, strict=False):
        if math.isfinite(low) and math.isfinite(high):
            at = _across(x, a) + 3 * (colour - 1.5 if len(one.intervals) > 1 else 0)
            parts.append(_tag("line", x1=at, x2=at, y1=_up(y, low), y2=_up(y, high),
                              class_=f"whisker c{colour}"))  # fmt: skip
    if len(known) > 1:
        parts.append(_tag("polyline", points=path, class_=f"line c{colour}{thin} d{colour}"))
    if one.marked:
        shift = 3 * (colour - 1.5) if len(one.intervals) > 1 else 0.0
        for a, b in known:
            told = Markup("<title>{}</title>").format(f"{one.name}, {x.words(a)}: {number(b)}")
            parts.append(_mark(colour, _across(x, a) + shift, _up(y, b), told))
    return Markup("").join(parts)


def _mark(colour: int, x: float, y: float, inner: Markup) -> Markup:
    """A colour has its own shape, for whom colours look alike."""
    r = 4.0
    corners: tuple[tuple[float, float], ...]
    match MARKS[(colour - 1) % len(MARKS)]:
        case "circle":
            return _tag("circle", inner, cx=x, cy=y, r=r, class_=f"mark c{colour}")
        case "square":
            return _tag("rect", inner, x=x - r, y=y - r, width=2 * r, height=2 * r,
                        class_=f"mark c{colour}")  # fmt: skip
        case "triangle":
            corners = ((0, -1.2), (1.1, 0.8), (-1.1, 0.8))
        case "diamond":
            corners = ((0, -1.35), (1.35, 0), (0, 1.35), (-1.35, 0))
        case _:
            t = 0.4  # half as thick as an arm
            corners = ((-1, -t), (-t, -t), (-t, -1), (t, -1), (t, -t), (1, -t),
                       (1, t), (t, t), (t, 1), (-t, 1), (-t, t), (-1, t))  # fmt: skip
    path = " ".join(f"{x + r * a:.1f},{y + r * b:.1f}" for a, b in corners)
    return _tag("polygon", inner, points=path, class_=f"mark c{colour}")


def key(names: Sequence[str]) -> Markup:
    """A legend: each name with its colour, shape and stroke, as HTML that wraps."""
    items = []
    for place, name in enumerate(names):
        colour = place % 6 + 1
        stroke = _tag("line", x1=1, x2=27, y1=7, y2=7, class_=f"line c{colour} d{colour}")
        mark = _mark(colour, 14, 7, Markup(""))
        drawn = Markup(
            '<svg viewBox="0 0 28 14" width="28" height="14" aria-hidden="true">{}{}</svg>'
        )
        items.append(Markup("<li>{}{}</li>").format(drawn.format(stroke, mark), name))
    return Markup('<ul class="key">{}</ul>').format(Markup("").join(items))


def _frame(x: Axis, y: Axis) -> Markup:
    """Grid lines, numbers and names of both axes."""
    parts = []
    for tick in y.ticks:
        at = _up(y, tick)
        parts.append(_tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=at, y2=at, class_="grid"))
        parts.append(_text(LEFT - 6, at + 3.5, y.words(tick), "end"))
    base = HEIGHT - BOTTOM
    for tick in x.ticks:
        at = _across(x, tick)
        parts.append(_tag("line", x1=at, x2=at, y1=base, y2=base + 4, class_="axis"))
        parts.append(_text(at, base + 16, x.words(tick), "middle"))
    parts.append(_tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=base, y2=base, class_="axis"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 5, x.label, "middle", "name"))
    if y.label:
        parts.append(_text(2, 9, y.label, "start", "name"))
    return Markup("").join(parts)


def _across(axis: Axis, value: float) -> float:
    return LEFT + axis.place(value) * (WIDTH - LEFT - RIGHT)


def _up(axis: Axis, value: float) -> float:
    top = TOP + (10 if axis.label else 0)
    return HEIGHT - BOTTOM - axis.place(value) * (HEIGHT - BOTTOM - top)


def _svg(parts: Sequence[Markup], title: str, told: str) -> Markup:
    # title and desc are what a screen reader says of it
    words = Markup("<title>{}</title><desc>{}</desc>").format(title, told)
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img">{}{}</svg>').format(
        WIDTH, HEIGHT, words, Markup("").join(parts)
    )


def _tag(name: str, inner: Markup | None = None, **attributes: float | str) -> Markup:
    written = Markup(" ").join(
        Markup('{}="{}"').format(
            key.rstrip("_"),
            f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else value,
        )
        for key, value in attributes.items()
    )
    if inner is None:
        return Markup("<{} {}/>").format(name, written)
    return Markup("<{0} {1}>{2}</{0}>").format(name, written, inner)


def _text(x: float, y: float, words: str, anchor: str, kind: str = "tick") -> Markup:
    inner = escape(words)
    return _tag("text", inner, x=x, y=y, text_anchor=anchor, class_=kind).replace(
        "text_anchor", "text-anchor"
    )


def _told(series: Sequence[Series], x: Axis) -> str:
    """What the lines say, in words, where they have few points."""
    found = []
    for one in series:
        if one.faint:
            continue
        points = one.points if len(one.points) <= 8 else (one.points[0], one.points[-1])
        values = ", ".join(f"{x.words(a)}: {number(b)}" for a, b in points)
        found.append(f"{one.name}: {values}")
    return ". ".join(found)


def _round_step(rough: float) -> float:
    """About as much: 1, 2 or 5 times a power of ten."""
    size = 10.0 ** math.floor(math.log10(rough))
    return next(step * size for step in (1, 2, 5, 10) if step * size >= rough * 0.8)
