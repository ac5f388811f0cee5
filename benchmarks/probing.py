"""Probing: an SVC on embeddings of the bundled sample, beside scikit-learn's with its own kernel.

Embeddings of `nerula-small`, whole and of each half, so that there are enough rows; who is
female. Both are fitted and asked on one thread, and their margins compared.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

import nerula
from benchmarks import Figure, Setting
from benchmarks.timing import best
from nerula import sample
from nerula.estimators import Radial

HOW = {"C": 10.0, "class_weight": "balanced", "cache_size": 1000}


def measure(setting: Setting) -> Iterator[Figure]:
    """Fit on the first rows, ask about all."""
    z, female = _examples()
    gamma = 1 / z.shape[1]
    for count in (600,) if setting.quick else (1200, 3600):
        group = f"an SVC of {count:,} rows of {z.shape[1]} values, one thread"
        x, target = z[:count], female[:count]
        makers = partial(SVC, gamma=gamma, **HOW), lambda: Radial(SVC(**HOW), gamma=1 / z.shape[1])
        with threadpool_limits(1, "blas"):
            fits = [best(partial(_fitted, make, x, target), repeat=3) for make in makers]
            theirs, ours = (_fitted(make, x, target) for make in makers)
            asks = [best(partial(one.decision_function, z), repeat=3) for one in (theirs, ours)]
        for what, (slow, quick) in (("fitting", fits), ("asking", asks)):
            yield Figure(group, f"{what}, scikit-learn's kernel", slow, "s")
            yield Figure(group, f"{what}, one product", quick, "s")
            yield Figure(group, f"{what}, times as fast", slow / quick, "")
        apart = np.abs(theirs.decision_function(z) - ours.decision_function(z)).max()
        yield Figure(group, "largest difference of a margin", float(apart), "")


def _fitted(make: Callable[[], Any], x: np.ndarray, target: np.ndarray) -> Any:
    return make().fit(x, target)


def _examples() -> tuple[np.ndarray, np.ndarray]:
    """Standardised embeddings, in an order without meaning, and who is female."""
    ecg = sample.load()
    x = ecg.x[:, 0]
    model = nerula.load("nerula-small")
    z = np.concatenate([model.embed(part, ecg.rate) for part in (x, x[:, :500], x[:, 500:])])
    female = np.tile([entry.sex == "female" for entry in ecg.facts], 3)
    order = np.random.default_rng(0).permutation(len(z))
    standard = (z - z.mean(0)) / z.std(0)
    return standard[order].astype(np.float64), female[order]
