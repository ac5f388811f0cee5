"""How often a damaged clinical file is read with a changed meaning and not a word.

A changed sample cannot be seen where a format has no checksum. What may not pass in silence is a
changed rate, lead, scale, length, gap, age or sex: whatever changes the whole recording.
"""

from pathlib import Path

import numpy as np
import pytest

from nerula.defects import Severity
from nerula.errors import NerulaError
from nerula.recording import Recording
from tests.fuzz_clinical import SEEDS
from tests.mutants import mutants
from tests.test_fuzz import read_all

MUTANTS = 600
MOST = {"table/rate": 0.14}
"""Share of silent mutants where it is not below 0.5 %: a lost row shows by its time alone."""
LOCAL = 128
"""Samples that damage to two places changes, at most: 64 bytes each."""


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_a_changed_meaning_is_hardly_ever_silent(seed: str, tmp_path: Path) -> None:
    path = SEEDS[seed](tmp_path)
    data = path.read_bytes()
    sound = read_all(seed, path, tmp_path)
    silent = 0
    for mutant in mutants(data, MUTANTS, f"silence {seed}"):
        path.write_bytes(mutant)
        try:
            found = read_all(seed, path, tmp_path)
        except NerulaError:
            continue
        silent += _loud(found) <= _loud(sound) and not _same(found, sound)
    assert silent / MUTANTS <= MOST.get(seed, 0.005)


def _loud(recordings: list[Recording]) -> set[str]:
    """Warnings, and the note that a sex cannot be read, which is all there is to say of it."""
    every = {finding for recording in recordings for finding in recording.findings}
    loud = {finding for finding in every if finding.severity is not Severity.NOTE}
    return {f.code for f in loud} | ({f.code for f in every} & {"sex-unknown"})


def _same(found: list[Recording], sound: list[Recording]) -> bool:
    return len(found) == len(sound) and all(map(_alike, found, sound))


def _alike(one: Recording, other: Recording) -> bool:
    said = (one.leads, one.rate, one.x.shape, one.age, one.sex)
    if said != (other.leads, other.rate, other.x.shape, other.age, other.sex):
        return False
    changed = (np.abs(one.x - other.x) > 1e-9) | (one.valid != other.valid)
    return np.count_nonzero(changed) <= LOCAL
