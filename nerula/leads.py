"""Leads: which of a store's go where in a model's input, and which a model does without."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nerula.errors import UsageError, unknown
from nerula.readers.names import STANDARD, canonical_lead
from nerula.store import Store

EACH = "each"
"""Stands for all twelve leads; a model of one lead takes them one after the other."""


@dataclass(frozen=True)
class Plan:
    """The leads of a store that a model is given; where it has others, they are not valid."""

    names: tuple[str, ...]
    """Leads that go in."""
    rows: tuple[int, ...]
    """Where the store has them."""
    places: tuple[int, ...] | None
    """Where the model has them; None where it has just these."""
    count: int
    """Leads of the model."""

    def of(self, x: Any, axis: int = 0) -> Any:
        """Take the leads out of an array (NumPy's or torch's), and zeros or False for the rest."""
        before: tuple[Any, ...] = (slice(None),) * axis
        taken = x[(*before, list(self.rows))]
        if self.places is None:
            return taken
        shape = (*taken.shape[:axis], self.count, *taken.shape[axis + 1 :])
        out: Any = np.zeros(shape, x.dtype) if isinstance(x, np.ndarray) else x.new_zeros(shape)
        out[(*before, list(self.places))] = taken
        return out


class Given(NamedTuple):
    """Leads that a model is given."""

    fitted: tuple[str, ...] = ()
    """While something is fitted to its embeddings; all that it can have where empty."""
    tested: tuple[str, ...] = ()
    """In the test; the same where empty."""


def given(words: str | None) -> Given:
    """Leads as they are written: "I,II,V2", "all", or "all:I" where the test has only lead I."""
    fitted, apart, tested = (words or "all").partition(":")
    if apart and not tested.strip():
        raise UsageError(f'"{words}" names no lead after the colon.', 'Write "all:I".')
    return Given(*(() if one.strip() == "all" else named(one) for one in (fitted, tested)))


def spoken(leads: Sequence[str]) -> str:
    """Such as "lead I" or "leads I II"."""
    return f"{'lead' if len(leads) == 1 else 'leads'} {' '.join(leads)}"


def named(words: str | Sequence[str] | None) -> tuple[str, ...]:
    """The leads of "I,II,v2", by their proper names; "each" stands for all twelve."""
    if isinstance(words, str) and words.strip().lower() == EACH:
        return STANDARD
    given = words.replace(",", " ").split() if isinstance(words, str) else list(words or ())
    known = {lead: canonical_lead(lead) for lead in given}
    for lead, name in known.items():
        if name is None:
            raise unknown("lead", lead, STANDARD)
    return tuple(dict.fromkeys(name for name in known.values() if name))


def planned(
    store: Store, own: tuple[str, ...], wanted: Sequence[str] = (), *, any_leads: bool = False
) -> Plan:
    """How a store's leads go into a model of the leads `own`; only those `wanted`, if any are.

    A model of several leads gets those that are wanted at their places. What the store lacks is
    refused, but for a model that takes `any_leads`. A model of one lead takes any, one at a time.
    """
    held = store.contract.leads
    if len(own) == 1:
        chosen = tuple(wanted) or (held if len(held) == 1 else own)
    else:
        if unknown := [lead for lead in wanted if lead not in own]:
            raise UsageError(
                f"The model has no lead {', '.join(unknown)}.", f"It has {', '.join(own)}."
            )
        chosen = tuple(lead for lead in own if lead in (wanted or own))
        there = tuple(lead for lead in chosen if lead in held)
        if any_leads and not wanted and there:
            chosen = there
    if lacking := [lead for lead in chosen if lead not in held]:
        raise UsageError(
            f"{store.path} has no lead {', '.join(lacking)}; it has {', '.join(held)}.",
            f"Prepare it with --leads {','.join(chosen)}.",
        )
    rows = tuple(held.index(lead) for lead in chosen)
    same = len(own) == 1 or chosen == own
    places = None if same else tuple(own.index(lead) for lead in chosen)
    return Plan(chosen, rows, places, len(chosen) if same else len(own))


def has_leads(store: Store, leads: Sequence[str]) -> NDArray[np.bool_]:
    """Which recordings have all of these leads, at least in part."""
    if len(store.contract.leads) == 1:
        return np.ones(len(store), bool)
    return np.array([set(leads) <= set(held) for held in store.column("leads")], bool)


def held_leads(store: Store) -> NDArray[np.bool_]:
    """Which of the store's leads each recording has, at least in part: (recordings, leads)."""
    if len(store.contract.leads) == 1:
        return np.ones((len(store), 1), bool)
    own = store.contract.leads
    return np.array([[lead in held for lead in own] for held in store.column("leads")], bool)


def lacking(leads: Sequence[str], valid: NDArray[np.bool_]) -> tuple[str, ...]:
    """The leads of several that hold nothing valid (leads, time)."""
    if len(leads) == 1:
        return ()
    return tuple(lead for lead, seen in zip(leads, valid, strict=True) if not seen.any())
