"""Do embeddings of one lead say what those of another say? Correlations between leads, centred.

Nothing is trained. Each recording of the test fold is embedded from every lead alone. The mean
vector is taken out first: embeddings share a large part, which a plain cosine is full of. Beside
it stand the same correlations between leads of different recordings; what leads have in common by
chance shows in a model whose leads were not aligned.
"""

import numpy as np
from numpy.typing import NDArray

from nerula.tasks.person import CHOOSE, TEST, TRAIN
from nerula.tasks.task import Facts, Task, by_folds

Floats = NDArray[np.float64]
METRICS = ("alignment", "alignment_own", "alignment_shuffled")


def correlations(z: NDArray[np.float32], *, own: bool = False, shift: int = 0) -> Floats:
    """Cosines (N, L, L) of embeddings (L, N, D) less their mean; between rows `shift` apart.

    The mean is that of all leads together, or of each lead by its `own`, which forgives leads
    that lie apart as wholes.
    """
    centre = z.mean(axis=1 if own else (0, 1), keepdims=True, dtype=np.float64)
    unit = z - centre
    unit /= np.maximum(np.linalg.norm(unit, axis=-1, keepdims=True), 1e-12)
    found: Floats = np.einsum("and,bnd->nab", unit, np.roll(unit, shift, axis=1))
    return found


def scores(z: NDArray[np.float32]) -> Floats:
    """For each recording (N, 3) the mean over pairs of leads, in the order of `METRICS`."""
    apart = ~np.eye(len(z), dtype=bool)
    kinds = (correlations(z), correlations(z, own=True), correlations(z, shift=1))
    return np.stack([one[:, apart].mean(axis=1) for one in kinds], axis=1)


def _target(facts: Facts) -> NDArray[np.int64]:
    return np.zeros(len(facts), np.int64)


TASKS = (
    Task(
        name="lead-alignment",
        title="Alignment of leads",
        family="ptbxl",
        kind="leads",
        answers=METRICS,
        metrics=METRICS,
        main="alignment",
        probes=("cosine",),
        protocol="PTB-XL's fold 10, each recording embedded from every lead alone: mean cosine "
        "between two leads of a recording, less the mean vector.",
        target=_target,
        splits=by_folds(TRAIN, CHOOSE, TEST),
        fetch="ptbxl100",
    ),
)
