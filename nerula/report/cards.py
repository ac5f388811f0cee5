"""Cards: what data and models are, from what their files say of them."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nerula.cards import INTENDED, NOT_INTENDED
from nerula.publishers import PUBLICATIONS
from nerula.report import words
from nerula.report.charts import number
from nerula.schema import Config
from nerula.store import Store

_PUBLISHED = {"sample": "ptbxl100"}
"""Whose data a source is, where it is called otherwise."""


@dataclass(frozen=True)
class Bar:
    """A share of a whole, with its name."""

    name: str
    count: int
    share: float
    """Of the longest bar, between 0 and 100."""


@dataclass(frozen=True)
class DataCard:
    """A store."""

    name: str
    facts: dict[str, str]
    source: str
    ages: list[Bar]
    labels: list[Bar]


@dataclass(frozen=True)
class ModelCard:
    """A model."""

    name: str
    facts: dict[str, str]
    training: dict[str, str]
    arguments: dict[str, str]
    intended: str = INTENDED
    not_intended: str = NOT_INTENDED


def data_card(store: Store) -> DataCard:
    """What a store holds."""
    held, kind = store.contract, str((store.facts.get("source") or {}).get("kind"))
    age, sex = store.column("age"), Counter(store.column("sex"))
    subjects = {one for one in store.column("subject") if one is not None}
    known = age[~np.isnan(age)]
    seconds = store.lengths / held.rate
    valid = store.column("valid")
    facts = {
        "Recordings": f"{len(store):,}",
        "Subjects": f"{len(subjects):,}" if subjects else "not known",
        "Signal": f"{', '.join(held.leads)} at {held.rate:g} Hz in {held.unit}"
        + (f", {held.band[0]:g} to {held.band[1]:g} Hz" if held.band else ", unfiltered"),
        "Length": _spread(seconds, "s"),
        "Measured": f"{100 * float(valid.mean()):.1f} % of all samples; the rest is missing",
        "Sex": ", ".join(f"{name or 'not known'} {n:,}" for name, n in sex.most_common()),
        "Age": f"{_spread(known, 'years')}, median {np.median(known):.0f}, "
        f"not known of {len(age) - len(known):,}" if len(known) else "not known",
        "Digest": store.digest,
    }  # fmt: skip
    counted = Counter(label for held in store.column("labels") for label in held or ())
    return DataCard(
        name=words.data(kind),
        facts=facts,
        source=attribution(store),
        ages=_bars(_decades(known)),
        labels=_bars(counted.most_common(12)),
    )


def attribution(store: Store) -> str:
    """Whose recordings these are, and under which licence, as far as we know."""
    source = store.facts.get("source") or {}
    kinds = [part.get("kind") for part in source.get("parts") or [source]]
    found = []
    for kind in kinds:
        if (publication := PUBLICATIONS.get(_PUBLISHED.get(kind, kind))) is not None:
            title, *_ = publication.title.partition(":")
            found.append(f"{title}, {publication.cite}. Licence: {publication.licence}.")
    return " ".join(dict.fromkeys(found))


def model_card(name: str, folder: Path) -> ModelCard:
    """What a model is and where it comes from."""
    config = Config.read(folder)
    contract, training = config.contract, config.training
    data, machine = training.get("data") or {}, training.get("machine") or {}
    folds = data.get("folds")
    facts = {
        "Method": config.method,
        "Signal": f"{', '.join(contract.leads)} at {contract.rate:g} Hz; other rates and units "
        "are converted",
        "Window": f"{config.window / contract.rate:g} s",
        "Embedding": f"{config.dimensions} values",
        "Tensors": f"sha256 {config.tensors}",
        "Written by": f"Nerula {config.nerula}",
    }
    trained = {
        "Data": words.data(str(data["kind"])) if data.get("kind") else None,
        "Recordings": number(data.get("recordings"), 9),
        "Folds": ", ".join(map(str, folds)) if isinstance(folds, dict) else None,
        "Steps": number(training.get("steps"), 9),
        "Time": f"{training['seconds'] / 60:.0f} minutes" if training.get("seconds") else None,
        "Machine": machine.get("name"),
        "Collapsed": {"True": "yes", "False": "no"}.get(str(training.get("collapsed"))),
        "Command": training.get("command"),
    }
    return ModelCard(
        name=name,
        facts=facts,
        training={key: str(value) for key, value in trained.items() if value and value != "–"},
        arguments={key: _written(value) for key, value in config.arguments.items()},
    )


def _spread(values: Any, unit: str) -> str:
    low, high = float(values.min()), float(values.max())
    return f"{low:g} {unit}" if low == high else f"{low:.3g} to {high:.3g} {unit}"


def _decades(ages: Any) -> list[tuple[str, int]]:
    if not len(ages):
        return []
    counts = np.bincount((ages // 10).astype(int).clip(0, 9))
    return [(f"{10 * i}\N{EN DASH}{10 * i + 9}", int(n)) for i, n in enumerate(counts) if n]


def _bars(counted: list[tuple[str, int]]) -> list[Bar]:
    most = max((count for _, count in counted), default=1)
    return [Bar(name, count, round(100 * count / most, 1)) for name, count in counted]


def _written(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
