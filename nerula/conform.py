"""Bring a recording of any rate, lead order and length under a preprocessing contract."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerula import quality, signal
from nerula.contract import Contract
from nerula.defects import Finding
from nerula.errors import refuse
from nerula.recording import Recording

OLDEST, OLDER = 89, 90.0


def conform(recording: Recording, contract: Contract) -> Recording:
    """Choose the contract's leads, mark what is no ECG, resample and filter.

    Refuse what then holds no valid sample. A lead that the recording lacks is there afterwards,
    invalid throughout.
    """
    return shape(choose(recording, contract), contract)


def choose(recording: Recording, contract: Contract) -> Recording:
    """First half: the contract's leads, as far as they are there, with what is no ECG invalid."""
    return quality.mark(_of_contract(recording, contract))


def shape(chosen: Recording, contract: Contract) -> Recording:
    """Second half: at the contract's rate, in its band, with all of its leads."""
    x, valid = signal.condition(chosen.x, chosen.valid, chosen.rate, contract.rate, contract.band)
    if not valid.any():
        raise refuse("signal-all-invalid", chosen.path)
    if chosen.leads != contract.leads:
        x, valid = (_spread(rows, chosen.leads, contract.leads) for rows in (x, valid))
    age, findings = _age(chosen)
    return replace(
        chosen,
        x=x,
        valid=valid,
        rate=contract.rate,
        leads=contract.leads,
        age=age,
        findings=findings,
    )


def _of_contract(recording: Recording, contract: Contract) -> Recording:
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
    return replace(recording, x=recording.x[rows], valid=recording.valid[rows], leads=leads)


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
