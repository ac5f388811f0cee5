"""Gaps: missing signal in bursts, and what can be done about it before an encoder sees it."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from nerula.signal import bridge

FILLINGS = ("masked", "zeros", "lines")
"""Hidden from the encoder; taken for zeros; or joined by straight lines and believed."""
SECONDS = 0.5
"""Mean length of a burst."""


def bursts(samples: int, share: float, rate: float, name: str) -> NDArray[np.bool_]:
    """Which samples of a recording are missing: this share of them, the same ones every time.

    Bursts of random lengths at random places, from a seed that is the recording's name.
    """
    missing = round(samples * share)
    count = max(1, min(round(missing / (SECONDS * rate)), missing))
    hidden = np.zeros(samples, bool)
    if not missing:
        return hidden
    digest = hashlib.blake2b(f"{share:g} {name}".encode(), digest_size=8).digest()
    rng = np.random.default_rng(int.from_bytes(digest, "little"))
    lengths, pauses = _parts(missing, count, 1, rng), _parts(samples - missing, count + 1, 0, rng)
    start = 0
    for length, pause in zip(lengths, pauses[:-1], strict=True):
        hidden[start + pause : start + pause + length] = True
        start += pause + length
    return hidden


def apply(
    x: NDArray[np.float32], valid: NDArray[np.bool_], hidden: NDArray[np.bool_], filling: str
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Take samples out of (leads, time), and treat them in one of three ways."""
    left = valid & ~hidden
    if filling == "masked":
        return np.where(left, x, np.float32(0)), left
    if filling == "zeros":
        return np.where(left, x, np.float32(0)), valid
    return np.where(left, x, bridge(x, left)), valid


def _parts(total: int, count: int, least: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Whole numbers of at least `least` that sum up to `total`."""
    free = total - least * count
    cuts = np.sort(rng.integers(0, free + 1, count - 1))
    return np.diff(cuts, prepend=0, append=free) + least
