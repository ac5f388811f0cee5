"""Bring a recording of any rate, lead order and length under a preprocessing contract."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerula import quality, signal
from nerula.contract import Contract
from nerula.defects import Finding
from nerula.errors import refuse
from nerula.recording import Recording
from nerula.signal import Signal, Validity

OLDEST, OLDER = 89, 90.0
_TOGETHER, _SEVERAL, _MOST = 96_000, 8, 500_000
"""Samples that go through each step together: few enough for the processor's nearer caches, but so
many recordings, if they have no more samples than this, that calls do not cost more than work."""


def conform(recording: Recording, contract: Contract) -> Recording:
    """Choose the contract's leads, mark what is no ECG, resample and filter.

    Refuse what then holds no valid sample. A lead that the recording lacks is there afterwards,
    invalid throughout.
    """
    marked = quality.mark(choose(recording, contract))
    return _shaped([marked], marked.x, contract)[0]


def conform_alike(chosen: Sequence[Recording], contract: Contract) -> list[Recording]:
    """`conform` for recordings of which `alike` says that they go together, leads chosen."""
    x = quality.stacked([recording.x for recording in chosen])
    marked = quality.mark_alike(chosen, x)
    if any(after.x is not before.x for after, before in zip(marked, chosen, strict=True)):
        x = quality.stacked([recording.x for recording in marked])
    return _shaped(marked, x, contract)


def alike(recordings: Sequence[Recording]) -> Iterator[list[int]]:
    """Yield the places of recordings that go together: of one kind, and complete.

    As many as the processor's caches hold; of those with gaps, each alone.
    """
    kinds: dict[Any, list[int]] = {}
    for place, recording in enumerate(recordings):
        if not recording.valid.all():
            yield [place]
            continue
        kind = recording.x.shape, recording.rate, recording.unit, recording.leads
        kinds.setdefault(kind, []).append(place)
    for (shape, *_), places in kinds.items():
        size = math.prod(shape)
        count = max(_TOGETHER // size, min(_SEVERAL, _MOST // size), 1)
        yield from (places[start : start + count] for start in range(0, len(places), count))


def choose(recording: Recording, contract: Contract) -> Recording:
    """Keep the contract's leads, in its order, as far as the recording has them."""
    if recording.leads == contract.leads:
        leads = contract.leads
    elif not (leads := tuple(lead for lead in contract.leads if lead in recording.leads)):
        held = ", ".join(recording.leads)
        raise refuse("lead-missing", recording.path, f"it has {held}", " ".join(contract.leads))
    if recording.unit != contract.unit:
        detail = f"{recording.unit}, while the store holds {contract.unit}"
        raise refuse("unit-unknown", recording.path, detail)
    if not recording.x.shape[1]:
        raise refuse("length-zero", recording.path)
    if leads == recording.leads:
        return recording
    rows = [recording.leads.index(lead) for lead in leads]
    return recording.but(x=recording.x[rows], valid=recording.valid[rows], leads=leads)


def _shaped(marked: Sequence[Recording], x: Signal, contract: Contract) -> list[Recording]:
    """Bring recordings of one shape to the contract's rate, in its band, with all of its leads.

    `x` are the rows of all of them.
    """
    first, shape = marked[0], (len(marked), len(marked[0].leads), -1)
    x, valid = signal.condition(
        x,
        quality.stacked([recording.valid for recording in marked]),
        first.rate,
        contract.rate,
        contract.band,
    )
    each = zip(marked, x.reshape(shape), valid.reshape(shape), strict=True)
    return [_finished(*one, contract) for one in each]


def _finished(recording: Recording, x: Signal, valid: Validity, contract: Contract) -> Recording:
    if not valid.any():
        raise refuse("signal-all-invalid", recording.path)
    if recording.leads != contract.leads:
        x, valid = (_spread(rows, recording.leads, contract.leads) for rows in (x, valid))
    age, findings = _age(recording)
    return recording.but(
        x=x,
        valid=valid,
        rate=contract.rate,
        leads=contract.leads,
        age=age,
        findings=findings,
    )


def _spread(rows: NDArray[Any], held: tuple[str, ...], leads: tuple[str, ...]) -> NDArray[Any]:
    """Put the rows of the leads `held` among `leads`; the others hold zeros."""
    spread = np.zeros((len(leads), rows.shape[1]), rows.dtype)
    spread[[leads.index(lead) for lead in held]] = rows
    return spread


def _age(recording: Recording) -> tuple[float | None, tuple[Finding, ...]]:
    """Ages over 89 identify people and become 90; ages that nobody reaches are dropped."""
    age, findings = recording.age, recording.findings
    if age is None or 0 <= age <= OLDEST or age == OLDER:
        return age, findings
    if not 0 <= age <= quality.OLDEST:
        return None, findings  # `mark` has said so
    return OLDER, (*findings, Finding("age-over-89", recording.path))
