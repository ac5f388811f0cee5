"""Page: one HTML file with everything in it. Text from data is escaped by the template engine."""

import base64
import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerula import __version__
from nerula.plane import thousandths
from nerula.report import words
from nerula.report.answers import Asked
from nerula.report.cards import DataCard, ModelCard
from nerula.report.headlines import Headline
from nerula.report.pictures import Filling, Map, Shown
from nerula.report.tables import Compared
from nerula.report.training import Trained

FOLDER = Path(__file__).parent / "page"
MISSING = -128
"""The byte that stands for a sample that was not measured."""


@dataclass
class Content:
    """All that a page can show; a section without content is left out."""

    title: str
    command: str
    headlines: list[Headline] = field(default_factory=list)
    also: list[str] = field(default_factory=list)
    cautions: list[str] = field(default_factory=list)
    comparisons: list[Compared] = field(default_factory=list)
    tasks: list[Asked] = field(default_factory=list)
    runs: list[Trained] = field(default_factory=list)
    recordings: Shown | None = None
    attribution: str = ""
    maps: list[Map] = field(default_factory=list)
    fillings: list[Filling] = field(default_factory=list)
    data_cards: list[DataCard] = field(default_factory=list)
    model_cards: list[ModelCard] = field(default_factory=list)
    commands: list[tuple[str, list[str]]] = field(default_factory=list)
    """A command and what on the page comes from it."""


def render(content: Content) -> str:
    """Write the page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    from nerula.report import charts

    environment = Environment(
        loader=FileSystemLoader(FOLDER, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"fixed": charts.fixed, "percent": charts.percent}
    script = Markup((FOLDER / "page.js").read_text(encoding="utf-8"))  # noqa: S704
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html").render(
        content=content,
        words=words,
        data=_packed(content),
        style=Markup((FOLDER / "page.css").read_text(encoding="utf-8")),  # noqa: S704
        script=script,
        digest=digest,
        today=date.today(),
        version=__version__,
    )


def _packed(content: Content) -> dict[str, Any]:
    """What the page draws by itself, as JSON; signals are packed bytes."""
    packed: dict[str, Any] = {
        "maps": [_map(one) for one in content.maps],
        "fillings": [_filling(one) for one in content.fillings],
        "examples": {one.anchor: [asdict(each) for each in one.examples] for one in content.tasks},
    }
    if content.recordings is not None and content.maps:
        packed["recordings"] = _recordings(content.recordings)
    return packed


def _recordings(held: Shown) -> dict[str, Any]:
    scales = [max(float(np.abs(x).max(initial=0)) / 127, 1e-4) for x in held.x]
    counts = [
        np.where(valid, np.round(x / scale), MISSING).astype(np.int8)
        for x, valid, scale in zip(held.x, held.valid, scales, strict=True)
    ]
    names = sorted({label for labels in held.labels for label in labels})
    place = {name: i for i, name in enumerate(names)}
    return {
        "lead": held.lead,
        "rate": held.rate,
        "lengths": [len(one) for one in counts],
        "scales": [round(scale, 6) for scale in scales],
        "signals": _squeezed(counts),
        "names": held.name,
        "subjects": held.subject,
        "ages": [None if age is None else round(age, 1) for age in held.age],
        "sexes": held.sex,
        "folds": held.fold,
        "labels": [[place[label] for label in labels] for labels in held.labels],
        "labelNames": names,
        "labelWords": [words.STATEMENTS.get(name, "") for name in names],
    }


def _squeezed(counts: Sequence[NDArray[np.int8]]) -> str:
    """Steps from sample to sample take less room than samples; browsers can inflate."""
    flat = np.concatenate([*counts, np.empty(0, np.int8)])
    steps = np.diff(flat, prepend=np.int8(0))  # wraps around, and so does adding them up
    return base64.b64encode(zlib.compress(steps.tobytes(), 9)).decode()


def _map(one: Map) -> dict[str, Any]:
    return {
        "model": one.model,
        "principal": thousandths(one.principal),
        "explained": round(one.explained, 3),
        "neighbours": None if one.neighbours is None else thousandths(one.neighbours),
        "trained": one.trained,
    }


def _filling(one: Filling) -> dict[str, Any]:
    return {
        "model": one.model,
        "rate": one.rate,
        "strips": [
            {
                "name": strip.name,
                "labels": strip.labels,
                "x": _microvolts(strip.x, strip.measured),
                "filled": _microvolts(strip.filled, ~strip.seen),
            }
            for strip in one.strips
        ],
    }


def _microvolts(x: NDArray[np.float32], wanted: NDArray[np.bool_]) -> list[int | None]:
    """Whole microvolts; nothing where they are not wanted."""
    return [
        round(1000 * float(value)) if kept and np.isfinite(value) else None
        for value, kept in zip(x, wanted, strict=True)
    ]
