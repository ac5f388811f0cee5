"""Fewer labels: nested, stratified shares of a training side, by subject."""

import numpy as np
from numpy.typing import NDArray

MANY = 10
"""Recordings per person from which a share cannot be had by choosing people."""
LEAST = 2
"""Subjects that every class keeps, where it has them."""


def subset(
    rows: NDArray[np.int64],
    person: NDArray[np.int64],
    target: NDArray[np.generic],
    share: float,
    draw: int,
) -> NDArray[np.int64]:
    """Some of the rows: this share of the subjects of each class, with all their recordings.

    `person` and `target` belong to `rows`. Of one draw, a smaller share is a part of every larger
    one. Several labels at once, and values, are not stratified. Where a few people have many
    recordings each, shares are of the recordings.
    """
    if share >= 1 or not len(rows):
        return rows
    if len(rows) > MANY * len(np.unique(person)):
        person = np.arange(len(rows))
    people, first = np.unique(person, return_index=True)
    whole = target.ndim > 1 or not np.issubdtype(target.dtype, np.integer)
    strata = np.zeros(len(people), np.int64) if whole else target[first]
    rng = np.random.default_rng((draw, 7))
    kept: list[NDArray[np.int64]] = []
    for stratum in np.unique(strata):
        mine = rng.permutation(people[strata == stratum])
        kept.append(mine[: max(LEAST, round(share * len(mine)))])
    return rows[np.isin(person, np.concatenate(kept))]
