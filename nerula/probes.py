"""Probes: plain models on standardised embeddings, chosen and scaled on training rows only.

What is fitted here never sees a test row: scaler, hyper-parameters, the probabilities of the SVC
and the thresholds all come from the training side. Where a split has no rows to choose by, a
fifth of the training subjects takes their place, and the last fit is on all of them again.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nerula.errors import UsageError, nearest
from nerula.estimators import EachLabel, Ensemble, Radial, Softmax, label_scores
from nerula.forms import arrays_of, linear_of
from nerula.metrics import LOWER, METRICS, Answers, Floats
from nerula.portable import Probe

CANDIDATE_ROWS = 4000
"""Rows at most on which the hyper-parameters of slow probes are compared; the last fit takes all.
Quick ones are compared on all: fewer rows ask for more shrinking than the last fit wants."""
MATRIX_ROWS = 20_000
"""Rows at most whose kernel matrix is computed at once, 3.2 GB; the SVC of more takes longer."""
NEWTON_VALUES = 2000
"""Values at most for which a step of Newton's, with all second derivatives, pays."""
WIDE = 1000
"""With more values than this the penalty decides more, and is chosen in finer steps."""
QUICK = ("logistic", "ridge", "mlp", "ensemble")
TREES, CANDIDATE_TREES = 200, 100
STEPS, LEAST_EPOCHS, MOST_EPOCHS, _BATCH = 1500, 20, 300, 200
"""Steps of a network: more epochs where there are fewer rows."""
NETWORKS, CANDIDATE_NETWORKS, PRINCIPAL = 8, 4, 512
"""Networks of an ensemble, and how many principal values they are given at most."""
HELD_OUT = 5
"""One subject in this many is held out where the split has none to choose by."""
_WEIGHTS = (None, "balanced")


@dataclass(frozen=True, eq=False)
class Examples:
    """Embeddings with their targets, and whose they are."""

    z: NDArray[np.float32]
    target: NDArray[Any]
    person: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.z)

    def rows(self, chosen: NDArray[Any]) -> "Examples":
        """Some of them."""
        return Examples(self.z[chosen], self.target[chosen], self.person[chosen])

    @classmethod
    def joined(cls, *parts: "Examples") -> "Examples":
        """All of several."""
        return cls(
            np.concatenate([part.z for part in parts]),
            np.concatenate([part.target for part in parts]),
            np.concatenate([part.person for part in parts]),
        )


@dataclass(frozen=True)
class Question:
    """What the probe has to know of a task."""

    kind: str
    """classes, values or labels."""
    columns: int
    """Classes, statements, or 1."""
    main: str


@dataclass(eq=False)
class Fitted:
    """A probe that is ready: standardise, apply, and for the SVC turn margins into shares."""

    question: Question
    estimator: Any
    centre: Floats
    spread: Floats
    offset: float = 0.0
    unit: float = 1.0
    """Values are fitted with mean 0 and deviation 1."""
    margins: Any = None
    """Turns an SVC's margins into probabilities."""
    chosen: Mapping[str, Any] = field(default_factory=dict)
    grid: Sequence[Mapping[str, Any]] = ()
    """What was chosen from."""
    held: Answers | None = None
    """Answers for rows of the training side that the probe was not fitted on."""

    def answer(self, z: NDArray[np.float32], target: NDArray[Any]) -> Answers:
        """Score embeddings; the targets only go along."""
        x = self._standardised(z)
        match self.question.kind:
            case "values":
                score = self.estimator.predict(x).reshape(-1, 1) * self.unit + self.offset
                return Answers(target, score.astype(np.float64), score[:, 0])
            case "labels":
                score = label_scores(self.estimator, x)
                return Answers(target, score, np.zeros(len(z), np.int64))
        if self.margins is None:
            score = self._columns(self.estimator.predict_proba(x))
            return Answers(target, score, score.argmax(1))
        raw = self.raw(z)
        score = self._columns(self.margins.predict_proba(raw))
        return Answers(target, score, self.estimator.predict(x))

    def raw(self, z: NDArray[np.float32]) -> Floats:
        """An SVC's margins."""
        margins: Floats = self.estimator.decision_function(self._standardised(z))
        return margins.reshape(len(z), -1)

    def portable(
        self, answers: tuple[str, ...], embedding: Mapping[str, Any], about: Mapping[str, Any]
    ) -> Probe:
        """The same as arrays, to be saved and used without what fitted it."""
        kind = self.question.kind
        form, arrays = arrays_of(self.estimator, kind)
        columns = np.arange(self.question.columns)
        if kind == "classes":
            columns = np.asarray(self.estimator.classes_)
        arrays |= {"centre": self.centre, "spread": self.spread}
        arrays["columns"] = columns.astype(np.int64)
        if kind == "values":
            arrays |= {"offset": np.asarray(self.offset), "unit": np.asarray(self.unit)}
        if hasattr(self.margins, "coef_"):
            calibration = linear_of(self.margins)
            arrays |= {f"calibration.{name}": one for name, one in calibration.items()}
        return Probe(kind, answers, form, arrays, dict(embedding), dict(about))

    def _standardised(self, z: NDArray[np.float32]) -> Floats:
        return (z - self.centre) / self.spread

    def _columns(self, score: Floats) -> Floats:
        """Probabilities for every class of the task, also for one that training did not have."""
        full = np.zeros((len(score), self.question.columns))
        full[:, self.estimator.classes_.astype(np.int64)] = score
        return full


def load(path: Path | str) -> Probe:
    """Load a probe that `nerula probe --save`, or `Probe.save`, has written."""
    return Probe.load(path)


def fit(
    probe: str, question: Question, train: Examples, choose: Examples | None, seed: int = 0
) -> Fitted:
    """Choose hyper-parameters and fit a probe, all on the training side."""
    if (probe, question.kind) not in GRIDS:
        known = [name for name, kind in GRIDS if kind == question.kind]
        raise UsageError(f"There is no probe {probe!r} for this task.", nearest(probe, known))
    rest, held, carved = train, choose, False
    if held is None or not len(held):
        rest, held = _carved(question, train, seed)
        carved = True
    grid = GRIDS[probe, question.kind]
    if train.z.shape[1] > WIDE:
        grid += FINER.get((probe, question.kind), ())
    few = rest
    quick = probe in QUICK and question.kind != "labels"
    if len(rest) > CANDIDATE_ROWS and not quick:
        few = rest.rows(np.random.default_rng(seed).permutation(len(rest))[:CANDIDATE_ROWS])
    best = grid[0]
    if len(grid) > 1:
        judged = [
            _judge(_fitted(probe, question, few, one, seed, candidate=True), held) for one in grid
        ]
        best = grid[int(np.argmax(judged))]
    fitted = _fitted(probe, question, rest, best, seed)
    if probe == "svc" and question.kind == "classes":
        fitted.margins = _margins(fitted, held)
    answers = fitted.answer(held.z, held.target)
    if carved:
        margins = fitted.margins
        fitted = _fitted(probe, question, train, best, seed)
        fitted.margins = margins
    fitted.chosen, fitted.grid, fitted.held = best, grid, answers
    return fitted


def constant(question: Question, train: NDArray[Any], target: NDArray[Any]) -> Answers:
    """What one says without looking: the majority, the shares, the mean of the training side."""
    count = len(target)
    if question.kind == "values":
        score = np.full((count, 1), train.mean())
        return Answers(target, score, score[:, 0])
    if question.kind == "labels":
        share = train.mean(0)
        return Answers(target, np.tile(share, (count, 1)), np.zeros(count, np.int64))
    share = np.bincount(train, minlength=question.columns) / len(train)
    return Answers(target, np.tile(share, (count, 1)), np.full(count, share.argmax()))


def _judge(fitted: Fitted, held: Examples) -> float:
    """The main metric of a candidate, so that more is better; of an SVC by its margins."""
    main = fitted.question.main
    if fitted.question.kind == "classes" and hasattr(fitted.estimator, "decision_function"):
        margins, classes = fitted.raw(held.z), fitted.estimator.classes_.astype(np.int64)
        if len(classes) == 2:
            margins = np.hstack((-margins, margins))
        score = np.full((len(held), fitted.question.columns), margins.min() - 1)
        score[:, classes] = margins
        predicted = fitted.estimator.predict(fitted._standardised(held.z))
        answers = Answers(held.target, score, predicted)
    else:
        answers = fitted.answer(held.z, held.target)
    value = float(METRICS[main](answers, np.ones((1, len(held))))[0])
    if np.isnan(value):
        return -np.inf
    return -value if main in LOWER else value


def _fitted(
    probe: str,
    question: Question,
    examples: Examples,
    chosen: Mapping[str, Any],
    seed: int,
    *,
    candidate: bool = False,
) -> Fitted:
    from threadpoolctl import threadpool_limits

    centre = examples.z.mean(0, dtype=np.float64)
    spread = examples.z.std(0, dtype=np.float64)
    spread = np.where(spread > 1e-9 * (np.abs(centre) + 1), spread, 1.0)
    target, offset, unit = examples.target, 0.0, 1.0
    if question.kind == "values":
        offset, unit = float(target.mean()), float(target.std()) or 1.0
        target = (target - offset) / unit
    size = Size(len(examples), examples.z.shape[1], candidate)
    estimator = MAKERS[probe](question.kind, dict(chosen), seed, size)
    # Products are small: threads wait for each other ten times as long as they work.
    with threadpool_limits(1, "blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an MLP that stops after its epochs is meant to
        estimator.fit((examples.z - centre) / spread, target)
    return Fitted(question, estimator, centre, spread, offset, unit)


def _margins(fitted: Fitted, held: Examples) -> Any:
    """Platt's sigmoid, on rows that the SVC was not fitted on."""
    from sklearn.linear_model import LogisticRegression

    known = np.isin(held.target, fitted.estimator.classes_)
    seen = np.unique(held.target[known])
    if len(seen) < len(fitted.estimator.classes_):  # too few rows to learn shares from
        return Softmax()
    return LogisticRegression(C=1.0).fit(fitted.raw(held.z)[known], held.target[known])


def _carved(question: Question, train: Examples, seed: int) -> tuple[Examples, Examples]:
    """Hold out a fifth of the people of the training side, of each class where that can be."""
    people, first = np.unique(train.person, return_index=True)
    rng = np.random.default_rng((seed, 1))
    strata = train.target[first] if question.kind == "classes" else np.zeros(len(people))
    if len(people) < 10 * HELD_OUT:
        strata = np.zeros(len(people))
    out: list[int] = []
    for stratum in np.unique(strata):
        mine = rng.permutation(people[strata == stratum])
        out += mine[: max(1, round(len(mine) / HELD_OUT))].tolist() if len(mine) > 1 else []
    held = np.isin(train.person, out)
    lost = question.kind == "classes" and np.setdiff1d(train.target, train.target[~held]).size
    if lost or not out:
        raise UsageError(
            f"{len(train)} recordings of {len(people)} people are too few to choose by.",
            "Take more labels.",
        )
    return train.rows(~held), train.rows(held)


# --- the models ------------------------------------------------------------------------------


class Size(NamedTuple):
    """What a model will be fitted on."""

    rows: int
    values: int
    candidate: bool
    """Whether it is only there to compare hyper-parameters."""


def _svc(kind: str, chosen: dict[str, Any], seed: int, size: Size) -> Any:  # noqa: ARG001
    from sklearn.svm import SVC, SVR

    gamma, kind_of = chosen.pop("gamma") / size.values, SVR if kind == "values" else SVC
    if size.rows > MATRIX_ROWS:
        return kind_of(gamma=gamma, cache_size=1000, **chosen)
    return Radial(kind_of(cache_size=1000, **chosen), gamma=gamma)


def _forest(kind: str, chosen: dict[str, Any], seed: int, size: Size) -> Any:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    made = RandomForestRegressor if kind == "values" else RandomForestClassifier
    trees = CANDIDATE_TREES if size.candidate else TREES
    return made(n_estimators=trees, max_features="sqrt", random_state=seed, **chosen)


def _logistic(kind: str, chosen: dict[str, Any], seed: int, size: Size) -> Any:  # noqa: ARG001
    from sklearn.linear_model import LogisticRegression

    newton = kind == "labels" and size.values <= NEWTON_VALUES
    how: dict[str, Any] = {"solver": "newton-cholesky"} if newton else {"max_iter": 300}
    make = partial(LogisticRegression, **how, **chosen)
    return EachLabel(make) if kind == "labels" else make()


def _ridge(kind: str, chosen: dict[str, Any], seed: int, size: Size) -> Any:  # noqa: ARG001
    from sklearn.linear_model import Ridge

    return Ridge(**chosen)


def _mlp(kind: str, chosen: dict[str, Any], seed: int, size: Size) -> Any:
    return _network(kind, 128, seed, size, **chosen)


def _ensemble(kind: str, chosen: dict[str, Any], seed: int, size: Size) -> Any:
    count = CANDIDATE_NETWORKS if size.candidate else NETWORKS
    seeds = range(count * seed, count * seed + count)
    makers = [partial(_network, kind, 64, one, size, **chosen) for one in seeds]
    return Ensemble(makers, most=PRINCIPAL, seed=seed)


def _network(kind: str, hidden: int, seed: int, size: Size, **chosen: Any) -> Any:
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    made = MLPRegressor if kind == "values" else MLPClassifier
    epochs = max(LEAST_EPOCHS, min(MOST_EPOCHS, STEPS // -(-size.rows // _BATCH)))
    return made(
        hidden_layer_sizes=(hidden,),
        max_iter=epochs,
        batch_size=min(_BATCH, size.rows),
        random_state=seed,
        **chosen,
    )


MAKERS: dict[str, Callable[[str, dict[str, Any], int, Size], Any]] = {
    "svc": _svc,
    "forest": _forest,
    "logistic": _logistic,
    "ridge": _ridge,
    "mlp": _mlp,
    "ensemble": _ensemble,
}
"""Every probe by its name."""


def _grid(**values: tuple[Any, ...]) -> tuple[Mapping[str, Any], ...]:
    """All combinations, the first value of each first."""
    rows: list[dict[str, Any]] = [{}]
    for name, options in values.items():
        rows = [row | {name: option} for row in rows for option in options]
    return tuple(rows)


_C = (0.003, 0.03, 0.3)
GRIDS: dict[tuple[str, str], tuple[Mapping[str, Any], ...]] = {
    ("svc", "classes"): _grid(gamma=(1.0,), C=(1.0, 10.0), class_weight=_WEIGHTS)
    + _grid(gamma=(0.3,), C=(10.0,), class_weight=_WEIGHTS),
    ("svc", "values"): _grid(gamma=(1.0, 0.3), C=(1.0, 10.0)),
    ("forest", "classes"): _grid(
        min_samples_leaf=(1, 5), class_weight=(None, "balanced_subsample")
    ),
    ("forest", "values"): _grid(min_samples_leaf=(2, 8)),
    ("forest", "labels"): _grid(min_samples_leaf=(2, 8)),
    ("logistic", "classes"): _grid(C=(*_C, 3.0, 30.0), class_weight=_WEIGHTS),
    ("logistic", "labels"): _grid(C=_C),
    ("ridge", "values"): _grid(alpha=(0.1, 1.0, 10.0, 100.0, 1000.0, 10000.0)),
    ("mlp", "classes"): _grid(alpha=(0.01, 1.0, 10.0)),
    ("mlp", "values"): _grid(alpha=(0.01, 1.0, 10.0)),
    ("mlp", "labels"): _grid(alpha=(0.01, 1.0, 10.0)),
    ("ensemble", "classes"): _grid(alpha=(1.0, 0.3, 3.0, 10.0)),
    ("ensemble", "values"): _grid(alpha=(1.0, 0.3, 3.0, 10.0)),
    ("ensemble", "labels"): _grid(alpha=(1.0, 0.3, 3.0, 10.0)),
}
"""What hyper-parameters are chosen from, by probe and kind of question. An SVC's gamma is divided
by the number of values in an embedding."""
FINER: dict[tuple[str, str], tuple[Mapping[str, Any], ...]] = {
    ("logistic", "classes"): _grid(C=(0.01, 0.001), class_weight=_WEIGHTS),
    ("logistic", "labels"): _grid(C=(0.01, 0.001)),
    ("ridge", "values"): _grid(alpha=(300.0, 3000.0)),
}
"""What is tried beside these of a `WIDE` embedding."""
