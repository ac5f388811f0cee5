"""Worth: what an encoder is worth for choosing, on fold 9 alone; fold 10 is never read."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nerula import guards
from nerula.batches import chosen_folds
from nerula.errors import UsageError
from nerula.model import Model
from nerula.tasks import Facts, find
from nerula.windowed import Prepared

if TYPE_CHECKING:
    from nerula.method import Method
    from nerula.store import Store

Rows = NDArray[np.int64]
FITTED = 4000
"""Training recordings at most that the probes are fitted on."""
PENALTIES = tuple(10.0**power for power in range(-1, 5))


class Worth(NamedTuple):
    """How well a frozen encoder answers on fold 9."""

    sex: float
    """AUROC."""
    age: float
    """R2."""

    @property
    def score(self) -> float:
        """What a search makes large: the mean of both."""
        return (self.sex + self.age) / 2


class _Question(NamedTuple):
    """One task: who fits, who judges, and what is right."""

    fits: Rows
    judges: Rows
    target: NDArray[np.float64]
    apart: Rows
    """Who judges here, and who tests later."""


class Judge:
    """Fits ridge probes on embeddings of folds 1-8, and asks them about fold 9."""

    def __init__(self, store: "Store") -> None:
        self._store = store
        self._sex, self._age = (_question(store, name) for name in ("sex", "age"))
        self._apart = np.unique(np.concatenate([self._sex.apart, self._age.apart]))
        self._rows = np.unique(np.concatenate([*self._sex[:2], *self._age[:2]]))

    def refuse(self, folds: str) -> None:
        """Refuse to train on folds that choose here or test later: scores would mean nothing."""
        fold = self._store.column("fold")
        apart = {name for name in fold[self._apart] if name is not None}
        both = sorted(apart & set(fold[chosen_folds(fold, folds)]), key=int)
        if both:
            raise UsageError(
                f"--folds {folds} would train on fold {' and '.join(both)}, by which trials are "
                "judged or later tested.",
                "Train on folds 1-8, or on fewer of them.",
            )

    def __call__(self, method: "Method", window: int, *, bf16: bool = False) -> Worth:
        """The worth of a method as it is now; it is in training mode again afterwards."""
        from sklearn.metrics import r2_score, roc_auc_score

        model = Model(method, self._store.contract, window, bf16=bf16)
        try:
            z = np.stack([one.mean() for one in model.embed_prepared(self._prepared())])
        finally:
            method.train()
        sex, age = self._answers(z, self._sex), self._answers(z, self._age)
        return Worth(
            float(roc_auc_score(self._sex.target[self._sex.judges], sex)),
            float(r2_score(self._age.target[self._age.judges], age)),
        )

    def _prepared(self) -> Iterator[Prepared]:
        for row in self._rows.tolist():
            yield self._store.read(row)

    def _answers(self, z: NDArray[np.float32], question: _Question) -> NDArray[np.float64]:
        """Standardise and fit on one side, its penalty chosen there too; answer on the other."""
        from sklearn.linear_model import RidgeCV
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        fits, judges = (np.searchsorted(self._rows, rows) for rows in question[:2])
        probe = make_pipeline(StandardScaler(), RidgeCV(PENALTIES))
        probe.fit(z[fits], question.target[question.fits])
        answers: NDArray[np.float64] = probe.predict(z[judges])
        return answers


def _question(store: "Store", name: str) -> _Question:
    """A task's training side and its fold 9, each apart from all other sides."""
    task, facts = find(name), Facts.of(store)
    target = task.target(facts)
    [split] = task.splits(facts, task.counts(facts, target))
    guards.sides_apart(facts, split)
    guards.answerable(task, facts, target, split)
    if not len(split.choose) or not len(split.train):
        raise UsageError(
            f"{store.path} has no folds 1-8 to fit on, or no fold 9 to choose by.",
            "A search needs PTB-XL, or the bundled sample.",
        )
    chosen = np.random.default_rng(0).permutation(split.train)[:FITTED]
    apart = np.concatenate((split.choose, split.test))
    return _Question(np.sort(chosen), split.choose, target.astype(np.float64), apart)
