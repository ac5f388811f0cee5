"""Probes by themselves: what they learn, what they choose by, and that nothing else gets in."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import make_classification, make_regression
from sklearn.svm import SVC, SVR

from nerula import probes
from nerula.errors import UsageError
from nerula.estimators import Radial
from nerula.forms import FORMS, arrays_of
from nerula.metrics import METRICS, Answers
from nerula.probes import GRIDS, MAKERS, Examples, Question, Size, fit

pytestmark = pytest.mark.usefixtures("few_trees")


def examples(n: int = 300, d: int = 8, k: int = 3, seed: int = 0) -> Examples:
    rng = np.random.default_rng(seed)
    z = rng.normal(5, 3, (n, d)).astype(np.float32)
    target = (z[:, :k] + rng.normal(size=(n, k))).argmax(1)
    return Examples(z, target, np.arange(n) // 2)


def question(kind: str = "classes", columns: int = 3, main: str = "macro_f1") -> Question:
    return Question(kind, columns, main)


def score(answers: Answers, name: str) -> float:
    return float(METRICS[name](answers, np.ones((1, len(answers.truth))))[0])


@pytest.mark.parametrize("name", ["svc", "forest", "logistic", "mlp", "ensemble"])
@pytest.mark.parametrize("carved", [True, False])
def test_every_probe_learns_classes(name: str, carved: bool) -> None:
    choose = None if carved else examples(100, seed=1)
    fitted = fit(name, question(), examples(), choose)
    new = examples(200, seed=2)
    answers = fitted.answer(new.z, new.target)
    assert score(answers, "accuracy") > 0.7
    assert score(answers, "auroc") > 0.85
    np.testing.assert_allclose(answers.score.sum(1), 1, atol=1e-6)
    assert fitted.chosen in probes.GRIDS[name, "classes"]
    assert fitted.held is not None


@pytest.mark.parametrize("name", ["svc", "forest", "ridge", "mlp", "ensemble"])
def test_every_probe_learns_values(name: str) -> None:
    def years(seed: int) -> Examples:
        one = examples(400, seed=seed)
        return replace(one, target=60 + 5 * one.z[:, 0].astype(np.float64))

    fitted = fit(name, question("values", 1, "mae"), years(0), None)
    new = years(1)
    assert score(fitted.answer(new.z, new.target), "r2") > 0.7


@pytest.mark.parametrize("name", ["forest", "logistic", "mlp", "ensemble"])
def test_every_probe_learns_labels(name: str) -> None:
    def several(seed: int) -> Examples:
        one = examples(400, seed=seed)
        target = np.stack([one.z[:, 0] > 5, one.z[:, 1] > 7, np.zeros(400)], axis=1)
        return replace(one, target=target.astype(np.int64))

    fitted = fit(name, question("labels", 3, "auroc"), several(0), several(2))
    new = several(1)
    answers = fitted.answer(new.z, new.target)
    assert answers.score.shape == (400, 3)
    assert score(answers, "auroc") > 0.85
    assert answers.score[:, 2].max() < 0.1


@pytest.mark.parametrize("name", ["svc", "logistic", "forest"])
def test_a_test_row_is_judged_alone(name: str) -> None:
    """No scaler sees the test side: neighbours there change nothing."""
    fitted = fit(name, question(), examples(), examples(100, seed=1))
    new = examples(50, seed=2)
    together = fitted.answer(new.z, new.target)
    shifted = np.concatenate([new.z[:5], 1000 + 50 * new.z[5:]])
    np.testing.assert_allclose(
        fitted.answer(shifted, new.target).score[:5], together.score[:5], atol=1e-12
    )
    np.testing.assert_allclose(fitted.centre, examples().z.mean(0), rtol=1e-5)


def test_what_is_held_out_to_choose_shares_no_subject() -> None:
    train = examples()
    rest, held = probes._carved(question(), train, 0)
    assert len(rest) + len(held) == len(train)
    assert not set(rest.person) & set(held.person)
    assert 0.15 < len(held) / len(train) < 0.25


@pytest.mark.parametrize("kind", ["classes", "values"])
def test_one_person_is_too_few_to_choose_by(kind: str) -> None:
    train = examples()
    alone = replace(train, person=np.zeros(len(train), np.int64))
    with pytest.raises(UsageError, match="300 recordings of 1 people are too few to choose by"):
        probes._carved(question(kind), alone, 0)


def test_a_class_that_training_lacks_gets_nothing() -> None:
    train = examples()
    two = train.rows(train.target < 2)
    for name in ("svc", "logistic", "forest", "mlp", "ensemble"):
        answers = fit(name, question(), two, None).answer(train.z, train.target)
        assert answers.score.shape == (300, 3)
        assert not answers.score[:, 2].any()


def test_the_majority_is_what_stands_beside() -> None:
    train = np.array([0, 0, 0, 1, 2])
    blind = probes.constant(question(), train, np.array([0, 1, 1, 2]))
    assert blind.predicted.tolist() == [0, 0, 0, 0]
    assert score(blind, "accuracy") == 0.25
    assert score(blind, "auroc") == 0.5


def test_the_page_on_tasks_has_these_grids() -> None:
    page = (Path(__file__).parents[1] / "docs" / "tasks.md").read_text(encoding="utf-8")
    rows = {line.split(" | ")[0][2:]: line for line in page.splitlines() if "| " in line[:2]}
    for name, kind, row in (
        ("logistic", "classes", "logistic regression"),
        ("ridge", "values", "ridge"),
        ("mlp", "classes", "MLP, 128 hidden"),
        ("ensemble", "classes", "ensemble"),
    ):
        strengths = {one.get("C", one.get("alpha")) for one in probes.GRIDS[name, kind]}
        written = {
            float(one) for one in re.findall(r"\b\d[\d.]*", rows[row].replace(",000", "000"))
        }
        assert strengths | {128.0} == written | {128.0}
    assert probes.QUICK == ("logistic", "ridge", "mlp", "ensemble")
    assert f"all probes of statements on at most {probes.CANDIDATE_ROWS:,}" in page


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("kind", ["classes", "values", "labels"])
def test_an_ensemble_is_the_mean_of_its_networks_and_one_network(kind: str) -> None:
    one = examples(d=30)
    x = (one.z - one.z.mean(0)) / one.z.std(0)
    target = {
        "classes": one.target,
        "values": x[:, 0],
        "labels": np.eye(3, dtype=np.int64)[one.target],
    }[kind]
    size = Size(rows=300, values=30, candidate=False)
    made = [
        probes._network(kind, 64, seed, size, alpha=1.0).fit for seed in range(probes.NETWORKS)
    ]
    ours = MAKERS["ensemble"](kind, {"alpha": 1.0}, 0, size)
    ours._most = 12
    ours.fit(x, target)
    raw = ours._raw(x)
    axes = ours._axes(x)
    assert axes.shape == (30, 12)
    inner = (x @ axes).astype(np.float32)
    assert np.var(inner, axis=0).mean() == pytest.approx(1, rel=0.02)  # large ones first
    assert (np.diff(np.var(inner, axis=0)) < 1e-3).all()
    theirs = [FORMS["network"].apply(arrays_of(fit(inner, target), "")[1], inner) for fit in made]
    assert np.allclose(raw, np.mean(theirs, axis=0), atol=1e-4)
    assert not np.allclose(theirs[0], theirs[1], atol=1e-2)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("balanced", [None, "balanced"])
def test_the_kernel_of_one_product_is_scikit_learns_svc(
    classes: int, balanced: str | None
) -> None:
    x, target = make_classification(
        260, 30, n_informative=8, n_classes=classes, flip_y=0.2, random_state=0
    )
    how = {"C": 10.0, "class_weight": balanced}
    theirs = SVC(gamma=0.03, **how).fit(x[:200], target[:200])
    ours = Radial(SVC(**how), gamma=0.03).fit(x[:200], target[:200])
    assert np.allclose(ours.decision_function(x), theirs.decision_function(x), atol=1e-9)
    assert (ours.predict(x) == theirs.predict(x)).all()
    assert (ours.classes_ == theirs.classes_).all()


def test_the_kernel_of_one_product_is_scikit_learns_svr() -> None:
    x, target = make_regression(260, 30, n_informative=8, random_state=0)
    theirs = SVR(gamma=0.03, C=10.0).fit(x[:200], target[:200])
    ours = Radial(SVR(C=10.0), gamma=0.03).fit(x[:200], target[:200])
    assert np.allclose(ours.predict(x), theirs.predict(x), atol=1e-9)


def test_of_too_many_rows_the_kernel_is_computed_value_by_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    size = Size(rows=200, values=30, candidate=False)
    assert isinstance(MAKERS["svc"]("classes", {"gamma": 1.0}, 0, size), Radial)
    monkeypatch.setattr("nerula.probes.MATRIX_ROWS", 100)
    assert isinstance(MAKERS["svc"]("classes", {"gamma": 1.0}, 0, size), SVC)


def test_the_penalty_of_wide_embeddings_is_chosen_in_finer_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, asked = examples(), question("classes", 3, "auroc")
    narrow = fit("logistic", asked, one, None)
    monkeypatch.setattr("nerula.probes.WIDE", one.z.shape[1] - 1)
    wide = fit("logistic", asked, one, None)
    steps = {chosen["C"] for chosen in wide.grid}
    assert steps > {chosen["C"] for chosen in narrow.grid}
    assert steps >= {0.001, 0.003, 0.01, 0.03}
    assert wide.chosen in wide.grid
    assert fit("forest", asked, one, None).grid == GRIDS["forest", "classes"]


def test_labels_of_wide_embeddings_get_the_same_answer_without_second_derivatives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = examples()
    both = Examples(one.z, np.eye(3, dtype=np.int64)[one.target], one.person)
    asked = question("labels", 3, "auroc")
    theirs = fit("logistic", asked, both, None).answer(both.z, both.target)
    monkeypatch.setattr("nerula.probes.NEWTON_VALUES", 4)
    ours = fit("logistic", asked, both, None).answer(both.z, both.target)
    assert np.allclose(ours.score, theirs.score, atol=2e-3)
