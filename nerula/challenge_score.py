"""The Challenge 2020's score: 24 diagnoses, and what it costs to take one for another.

Perez Alday et al. 2020, https://doi.org/10.1088/1361-6579/abc960. The Challenge publishes its
weights as a table of 27 x 27 codes, three pairs of which count as one. They follow from one number
for each diagnosis: 1 for the right answer, else half a point less the distance of the two.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Diagnosis(NamedTuple):
    """A diagnosis that is scored."""

    codes: tuple[str, ...]
    """SNOMED CT; all of them count as the same."""
    place: float
    """Its place on the line along which diagnoses differ in what follows from them."""


DIAGNOSES = {
    "IAVB": Diagnosis(("270492004",), 0.3),
    "AF": Diagnosis(("164889003",), 0.1),
    "AFL": Diagnosis(("164890007",), 0.1),
    "Brady": Diagnosis(("426627000",), 0.3),
    "RBBB": Diagnosis(("713427006", "59118001"), 0.2),
    "IRBBB": Diagnosis(("713426002",), 0.3),
    "LAnFB": Diagnosis(("445118002",), 0.25),
    "LAD": Diagnosis(("39732003",), 0.25),
    "LBBB": Diagnosis(("164909002",), 0.125),
    "LQRSV": Diagnosis(("251146004",), 0.175),
    "NSIVCB": Diagnosis(("698252002",), 0.25),
    "PR": Diagnosis(("10370003",), 0.225),
    "PAC": Diagnosis(("284470004", "63593006"), 0.2625),
    "PVC": Diagnosis(("427172004", "17338001"), 0.225),
    "LPR": Diagnosis(("164947007",), 0.3),
    "LQT": Diagnosis(("111975006",), 0.15),
    "QAb": Diagnosis(("164917005",), 0.0),
    "RAD": Diagnosis(("47665007",), 0.25),
    "SA": Diagnosis(("427393009",), 0.3),
    "SB": Diagnosis(("426177001",), 0.3),
    "NSR": Diagnosis(("426783006",), 0.35),
    "STach": Diagnosis(("427084000",), 0.225),
    "TAb": Diagnosis(("164934002",), 0.1),
    "TInv": Diagnosis(("59931005",), 0.1),
}
NORMAL = tuple(DIAGNOSES).index("NSR")
NEVER = 2.0
"""A threshold that no probability reaches."""
STEPS, ROUNDS = 16, 2
"""Thresholds of a diagnosis that are tried, and how often all diagnoses are gone through."""


def weights() -> Floats:
    """(24, 24): what an answer is worth (column) where a diagnosis is true (row)."""
    place = np.array([one.place for one in DIAGNOSES.values()])
    apart = 0.5 - np.abs(place[:, None] - place)
    return np.asarray(np.where(np.eye(len(place), dtype=bool), 1.0, apart))


def points(truth: Floats, said: Floats) -> Floats:
    """(N, 3) of each recording: what was said, the truth and a lone sinus rhythm are worth."""
    normal = np.zeros_like(truth)
    normal[:, NORMAL] = 1
    return np.stack([_worth(truth, one) for one in (said, truth, normal)], axis=1)


def limits(truth: Floats, score: Floats) -> Floats:
    """(24,) thresholds at which the score is largest: one for all, then diagnosis by diagnosis."""
    never = np.full((1, score.shape[1]), NEVER)
    tried = np.concatenate([np.quantile(score, np.linspace(0, 1, STEPS), axis=0), never])

    def gained(chosen: Floats) -> float:
        return float(_worth(truth, (score >= chosen).astype(np.float64)).sum())

    common = np.unique(np.append(np.quantile(score, np.linspace(0, 1, STEPS * STEPS)), NEVER))
    best = max((np.full(score.shape[1], one) for one in common), key=gained)
    for _ in range(ROUNDS):
        for place in range(score.shape[1]):
            ways = [best, *(_with(best, place, one) for one in tried[:, place])]
            best = max(ways, key=gained)
    return best


def _with(chosen: Floats, place: int, value: float) -> Floats:
    """The same but for one."""
    other = chosen.copy()
    other[place] = value
    return other


def _worth(truth: Floats, said: Floats) -> Floats:
    """(N,): the sum over pairs of true and said, by how many diagnoses are true or said."""
    either = np.maximum(truth, said).sum(1)
    return np.asarray(((truth @ weights()) * said).sum(1) / np.maximum(either, 1))
