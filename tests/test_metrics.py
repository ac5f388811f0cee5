"""Metrics and intervals against scikit-learn, SciPy, or a few lines by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as theirs

from nerula import judgement, metrics
from nerula.bootstrap import Judged, Resamples, metric
from nerula.metrics import METRICS, Answers
from nerula.tasks import find


def some(seed: int, n: int = 200, k: int = 4, *, ties: bool = True) -> Answers:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, k, n)
    score = rng.random((n, k)) + (truth[:, None] == np.arange(k)) * rng.random()
    if ties:
        score = np.round(score, 1) + 0.01
    score /= score.sum(1, keepdims=True)
    return Answers(truth, score, score.argmax(1))


def value(name: str, answers: Answers) -> float:
    return float(METRICS[name](answers, np.ones((1, len(answers.truth))))[0])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("k", [2, 3, 4])
def test_classes_as_scikit_learn(seed: int, k: int) -> None:
    a = some(seed, k=k)
    t, s, p = a.truth, a.score, a.predicted
    assert value("accuracy", a) == pytest.approx(theirs.accuracy_score(t, p))
    assert value("balanced_accuracy", a) == pytest.approx(theirs.balanced_accuracy_score(t, p))
    assert value("macro_f1", a) == pytest.approx(theirs.f1_score(t, p, average="macro"))
    assert value("weighted_f1", a) == pytest.approx(theirs.f1_score(t, p, average="weighted"))
    if k == 2:
        assert value("auroc", a) == pytest.approx(theirs.roc_auc_score(t, s[:, 1]))
        assert value("brier", a) == pytest.approx(theirs.brier_score_loss(t, s[:, 1]))
    else:
        assert value("auroc", a) == pytest.approx(theirs.roc_auc_score(t, s, multi_class="ovr"))
        assert value("brier", a) == pytest.approx(((s - np.eye(k)[t]) ** 2).sum(1).mean())


@pytest.mark.parametrize("seed", range(5))
def test_values_and_labels_as_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.normal(60, 15, 150)
    score = truth[:, None] + rng.normal(0, 10, (150, 1))
    a = Answers(truth, score, score[:, 0])
    assert value("mae", a) == pytest.approx(theirs.mean_absolute_error(truth, score[:, 0]))
    assert value("rmse", a) == pytest.approx(theirs.root_mean_squared_error(truth, score[:, 0]))
    assert value("r2", a) == pytest.approx(theirs.r2_score(truth, score[:, 0]))
    several = rng.integers(0, 2, (150, 5))
    shares = np.round(rng.random((150, 5)) + 0.5 * several, 1) / 2
    b = Answers(several, shares, (shares > 0.4).astype(np.int8))
    assert value("auroc", b) == pytest.approx(theirs.roc_auc_score(several, shares))
    assert value("average_precision", b) == pytest.approx(
        theirs.average_precision_score(several, shares)
    )
    assert value("macro_f1", b) == pytest.approx(
        theirs.f1_score(several, b.predicted, average="macro")
    )


@pytest.mark.parametrize("seed", range(5))
def test_the_threshold_for_f1_is_the_best_of_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    positive = rng.random(80) < 0.2
    score = np.round(rng.random(80) + 0.3 * positive, 1)
    found = metrics.threshold_for_f1(positive, score)
    best = max(theirs.f1_score(positive, score >= limit) for limit in np.unique(score))
    assert theirs.f1_score(positive, score >= found) == pytest.approx(best)
    assert metrics.threshold_for_f1(np.zeros(80, bool), score) == 0.5


def test_statements_are_decided_by_what_is_not_tested() -> None:
    score = np.array([[0.2, 0.7], [0.4, 0.3]])
    held = Answers(np.array([[0, 0], [1, 0], [1, 0]]), np.array([[0.1, 0], [0.3, 0], [0.6, 0]]),
                   np.zeros(3))  # fmt: skip
    assert judgement.decided(find("statements"), score, held).tolist() == [[0, 1], [1, 0]]
    assert judgement.decided(find("statements"), score, None).tolist() == [[0, 1], [0, 0]]


WEIGHED = ("auroc", "macro_f1", "brier", "accuracy", "weighted_f1", "balanced_accuracy")


@given(seed=st.integers(0, 10_000), name=st.sampled_from(WEIGHED))
@settings(max_examples=40, deadline=None)
def test_weights_are_repetitions(seed: int, name: str) -> None:
    """What a bootstrap rests on: a weight of 3 is the recording three times."""
    a = some(seed, n=40, k=3)
    times = np.random.default_rng(seed).integers(0, 4, 40)
    repeated = Answers(*(np.repeat(x, times, axis=0) for x in (a.truth, a.score, a.predicted)))
    weighted = METRICS[name](a, times[None].astype(float))[0]
    assert weighted == pytest.approx(value(name, repeated), nan_ok=True)


def test_labels_that_never_happen_are_left_out_of_the_mean() -> None:
    truth = np.array([[1, 0], [0, 0], [1, 0]])
    score = np.array([[0.9, 0.5], [0.1, 0.5], [0.8, 0.5]])
    assert value("auroc", Answers(truth, score, np.zeros(3))) == 1.0
    nothing = Answers(np.zeros((3, 2), int), score, np.zeros((3, 2), np.int8))
    assert np.isnan(value("macro_f1", nothing))
    assert np.isnan(value("auroc", nothing))


def test_challenge_f1_by_hand() -> None:
    """Rows are the truth N A O ~: Clifford et al. 2017, equations 1-4, F1n = 2 Nn / (SN + Sn)."""
    table = np.array([[50, 1, 9, 2], [2, 20, 5, 1], [10, 4, 30, 3], [3, 0, 2, 6]])
    truth, predicted = (np.repeat(where.ravel(), table.ravel()) for where in np.indices((4, 4)))
    a = Answers(truth, np.eye(4)[predicted], predicted)
    normal, fibrillation, other = 100 / (62 + 65), 40 / (28 + 25), 60 / (47 + 46)
    assert value("challenge_f1", a) == pytest.approx((normal + fibrillation + other) / 3)
    assert value("challenge_f1", a) != pytest.approx(value("macro_f1", a), abs=1e-3)


def brute_eer(score: NDArray[np.float64]) -> float:
    own = np.diag(score)
    others = score[~np.eye(len(score), dtype=bool)]
    limits = np.unique(score)
    missed = np.array([(own < limit).mean() for limit in limits])
    passed = np.array([(others >= limit).mean() for limit in limits])
    closest = np.argmin(np.abs(missed - passed)[::-1])
    return float((missed[::-1][closest] + passed[::-1][closest]) / 2)


@pytest.mark.parametrize("seed", range(5))
def test_eer_and_rank1_by_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    score = rng.normal(size=(30, 30)) + 1.5 * np.eye(30)
    a = Answers(np.arange(30), score, score.argmax(1))
    assert value("eer", a) == pytest.approx(brute_eer(score))
    assert value("rank1", a) == (score.argmax(1) == np.arange(30)).mean()


def test_eer_of_perfect_and_of_useless_scores() -> None:
    perfect = np.eye(20)
    assert value("eer", Answers(np.arange(20), perfect, perfect.argmax(1))) == 0
    same = np.ones((20, 20))
    assert value("eer", Answers(np.arange(20), same, same.argmax(1))) == 0.5


def test_the_threshold_is_the_lowest_with_that_specificity() -> None:
    positive = np.array([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1], bool)
    score = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.85, 0.95, 0.2])
    limit = metrics.threshold_at(positive, score, 0.9)
    assert limit == 0.85
    sensitivity, specificity = metrics.sensitivity_and_specificity(
        positive, score, limit, np.ones((1, 13))
    )
    assert sensitivity[0] == pytest.approx(2 / 3)
    assert specificity[0] == pytest.approx(0.9)
    fpr, tpr, _ = theirs.roc_curve(positive, score)
    assert sensitivity[0] == pytest.approx(tpr[fpr <= 0.1 + 1e-9].max())


def test_no_threshold_suffices_where_the_highest_is_a_negative() -> None:
    positive, score = np.array([True, False]), np.array([0.1, 0.9])
    limit = metrics.threshold_at(positive, score, 0.9)
    assert limit > 0.9


def test_reliability_counts_everything_once() -> None:
    rng = np.random.default_rng(0)
    said = np.append(rng.random(999), 1.0)
    happened = (rng.random(1000) < said).astype(float)
    curve = metrics.reliability(said, happened)
    assert sum(one["n"] for one in curve) == 1000
    assert all(one["low"] <= one["predicted"] <= one["high"] for one in curve)
    assert all(abs(one["predicted"] - one["observed"]) < 0.15 for one in curve)


# --- intervals -------------------------------------------------------------------------------


def judged(answers: Answers, person: NDArray[np.int64] | None = None) -> Judged:
    rows = np.arange(len(answers.truth))
    columns = answers.score.shape[1]
    return Judged(answers, rows, rows if person is None else person, np.full(columns, np.nan))


def test_the_interval_of_a_share_is_that_of_theory() -> None:
    truth = np.zeros(400, int)
    predicted = (np.arange(400) % 5 == 0).astype(int)  # 80 % right
    run = judged(Answers(truth, np.eye(2)[predicted], predicted))
    found = Resamples([run], 4000).interval([run], metric("accuracy"))
    half = 1.96 * np.sqrt(0.8 * 0.2 / 400)
    assert found.value == pytest.approx(0.8)
    assert (found.low, found.high) == pytest.approx((0.8 - half, 0.8 + half), abs=0.004)


def test_subjects_are_drawn_whole() -> None:
    """Ten copies of each recording in ten names of one person must not narrow the interval."""
    small = some(3, n=60, k=3)
    large = Answers(*(np.repeat(x, 10, 0) for x in (small.truth, small.score, small.predicted)))
    people = np.repeat(np.arange(60), 10)
    few = Resamples([judged(small)], 2000).interval([judged(small)], metric("accuracy"))
    many = judged(large, people)
    same = Resamples([many], 2000).interval([many], metric("accuracy"))
    assert (same.low, same.high) == pytest.approx((few.low, few.high))
    naive = Resamples([judged(large)], 2000).interval([judged(large)], metric("accuracy"))
    assert naive.high - naive.low < 0.5 * (few.high - few.low)


def test_resamples_as_a_plain_loop() -> None:
    """The same draws, taken by repeating rows and asking scikit-learn."""
    run = judged(some(3, n=50, k=3), np.arange(50) // 2)
    found = Resamples([run], 200, seed=5).interval([run], metric("macro_f1"))
    rng = np.random.default_rng(5)
    values = []
    for counts in rng.multinomial(25, np.full(25, 1 / 25), 200):
        rows = np.repeat(np.arange(50), counts[np.arange(50) // 2])
        pair = run.answers.truth[rows], run.answers.predicted[rows]
        values.append(theirs.f1_score(*pair, average="macro"))
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(values, (2.5, 97.5))))


def test_a_paired_difference_is_narrower_than_two_intervals() -> None:
    a = some(7, n=300, k=2)
    better = a.predicted.copy()
    better[:15] = a.truth[:15]
    b = Answers(a.truth, a.score, better)
    ours, other = judged(b), judged(a)
    drawn = Resamples([ours])
    found = drawn.difference([ours], [other], metric("accuracy"))
    alone = drawn.interval([ours], metric("accuracy"))
    assert found.value == pytest.approx(
        (better == a.truth).mean() - (a.predicted == a.truth).mean()
    )
    assert found.high - found.low < 0.7 * (alone.high - alone.low)
    nothing = drawn.difference([ours], [ours], metric("accuracy"))
    assert (nothing.value, nothing.low, nothing.high) == (0, 0, 0)
