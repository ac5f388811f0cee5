"""Leads: what tasks between leads have to show, lead by lead and on ECG paper."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nerula.report import words
from nerula.results import Result

MATRICES, EXAMPLES = 4, 2
"""Models whose matrices and rebuilt recordings are drawn."""


@dataclass(frozen=True)
class Matrix:
    """How much the embeddings of two leads agree."""

    name: str
    leads: list[str]
    rows: list[list[float]]


@dataclass(frozen=True)
class ByLead:
    """The main metric of every answer for each lead that was rebuilt; None: not asked for."""

    leads: list[str]
    rows: list[tuple[str, list[Mapping[str, Any] | None]]]


@dataclass(frozen=True)
class Example:
    """A recording whose leads were rebuilt from one of them; signals in microvolts."""

    name: str
    recording: str
    source: str
    leads: list[str]
    rate: float
    measured: list[list[int | None]]
    rebuilt: list[list[int | None]]

    @property
    def others(self) -> list[int]:
        """The places of the leads that were not given."""
        return [place for place, lead in enumerate(self.leads) if lead != self.source]


def matrices(group: Sequence[Result], name: Callable[[Result], str]) -> list[Matrix]:
    """Of every model that was asked for alignment."""
    held = [(one, one.document.get("shown", {})) for one in group]
    found = [
        Matrix(name(one), list(shown["leads"]), list(shown["matrix"]))
        for one, shown in held
        if "matrix" in shown
    ]
    return found[:MATRICES]


def by_lead(group: Sequence[Result], main: str, name: Callable[[Result], str]) -> ByLead | None:
    """The main metric of every answer, lead by lead; what knows no model stands there once."""
    held: dict[str, dict[str, Mapping[str, Any]]] = {}
    for one in group:
        if "each" not in (shown := one.document.get("shown", {})):
            continue
        probe = one.document["way"]["probe"]
        who = name(one) if probe.startswith("decoded") else words.probe(probe)
        held.setdefault(who, {each["lead"]: each["metrics"][main] for each in shown["each"]})
    leads = list(dict.fromkeys(lead for each in held.values() for lead in each))
    if not leads:
        return None
    leads.sort(key=_usual)
    return ByLead(leads, [(who, [each.get(lead) for lead in leads]) for who, each in held.items()])


def examples(group: Sequence[Result], name: Callable[[Result], str]) -> list[Example]:
    """Recordings rebuilt from one lead."""
    found = [
        Example(
            name(one),
            *(held[key] for key in ("name", "source", "leads", "rate", "measured", "rebuilt")),
        )
        for one in group
        if (held := one.document.get("shown", {}).get("example"))
    ]
    return found[:EXAMPLES]


def _usual(lead: str) -> tuple[bool, str]:
    """Limb leads first: I, II, III, then V1 to V6."""
    return lead.startswith("V"), lead
