"""From a model and data to a result: nothing of the test side gets in, nothing is made up."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rich.console import Console

from nerula import bundle, gaps, guards, judgement, sample
from nerula.cli import main
from nerula.contract import Contract
from nerula.errors import NerulaError, UsageError
from nerula.evaluate import evaluate
from nerula.features import Features, Gap
from nerula.ground import Ways, prepare_ground
from nerula.likeness import discriminated, similarity
from nerula.metrics import Answers
from nerula.model import Model
from nerula.prepare import Options, make_store
from nerula.pretrain import pretrain
from nerula.probe import _show_checks, opened, probe
from nerula.probes import Examples, Question, fit
from nerula.readers import open_source
from nerula.readers.source import Hints
from nerula.results import Result, paired
from nerula.store import Store
from nerula.tasks import Facts, find
from nerula.tasks.person import TRAIN
from nerula.tasks.task import by_folds
from nerula.tuning import tuned_on
from tests import layouts
from tests.known_leads import THREE, three_leads
from tests.test_probes import score
from tests.tiny import NAME, Tiny

Shared = Callable[[str], Path]
SEEN = {"data": {"kind": "ptbxl100", "folds": {str(fold): 1 for fold in range(1, 9)}}}
pytestmark = pytest.mark.usefixtures("few_trees")
FAST = Ways(probes=("logistic",), resamples=50)


def tiny(folder: Path, leads: tuple[str, ...] = ("II",), seed: int = 0, **training: Any) -> Model:
    """An untrained convolution that says what it was trained on."""
    torch.manual_seed(seed)
    chosen = {"width": 24, "leads": len(leads)}
    bundle.save(
        folder, Tiny(**chosen), name=NAME, arguments=chosen, contract=Contract(leads, 100.0),
        window=1024, training=training or SEEN,
    )  # fmt: skip
    return bundle.load(folder, method=Tiny)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return tiny(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The whole bundled sample."""
    place = tmp_path_factory.mktemp("store") / "sample"
    make_store(sample.load(), place, Options(leads=("II",)))
    return Store.open(place)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def sex(model: Model, store: Store, cache: Path) -> Result:
    return next(evaluate(model, find("sex"), store, cache, FAST))


# --- results ---------------------------------------------------------------------------------


def test_the_document_says_all(sex: Result, model: Model, store: Store) -> None:
    document = sex.document
    json.dumps(document, allow_nan=False)
    assert document["data"]["store"] == store.digest
    assert model.config is not None
    assert document["model"]["tensors"] == model.config.tensors
    (one,) = document["fits"]
    assert (one["train"], one["choose"], one["test"]) == (960, 120, 120)
    assert (one["shared_subjects"], one["shared_signals"]) == (0, 0)
    assert one["chosen"] in document["grid"]
    auroc = document["metrics"]["auroc"]
    assert auroc["low"] <= auroc["value"] <= auroc["high"]
    assert auroc["n"] == 120
    assert auroc["chance"] == 0.5
    truth = sex.runs[0].answers.truth
    assert document["metrics"]["accuracy"]["chance"] == pytest.approx((truth == 0).mean())
    table = np.array(document["confusion"])
    assert table.sum() == 120
    assert table.sum(1).tolist() == np.bincount(truth).tolist()
    assert {(group["by"], group["group"]) for group in document["subgroups"]} >= {
        ("sex", "female"), ("sex", "male"), ("age", "60-74"),
    }  # fmt: skip
    assert sum(g["n"] for g in document["subgroups"] if g["by"] == "sex") == 120
    assert sum(bin_["n"] for bin_ in document["calibration"]["curve"]) == 120
    (point,) = document["operating_points"]
    assert point["class"] == "female"


def test_thresholds_come_from_the_fold_that_chooses(
    sex: Result, model: Model, store: Store, cache: Path
) -> None:
    """On fold 9 the specificity is what was aimed at; on fold 10 it is what it is."""
    ground = prepare_ground(model, find("sex"), store, cache, FAST)
    (split,) = ground.splits
    fitted = fit(
        "logistic", ground.question, ground.examples(split.train), ground.examples(split.choose)
    )
    assert fitted.held is not None
    limit = sex.runs[0].thresholds[1]
    male = fitted.held.truth == 0
    assert (fitted.held.score[male, 1] < limit).mean() == pytest.approx(0.9, abs=0.02)
    assert sex.document["operating_points"][0]["threshold"] == [pytest.approx(limit, abs=1e-6)]


def test_statements_have_thresholds_of_their_own(
    model: Model, store: Store, cache: Path, tmp_path: Path
) -> None:
    """Those that enough tested recordings have and lack; from fold 9, and kept for others."""
    task = find("statements")
    (result,) = evaluate(model, task, store, cache, FAST)
    (run,) = result.runs
    having = run.answers.onehot.sum(0)
    enough = (having >= 20) & (having <= len(run.row) - 20)
    points = result.document["operating_points"]
    assert points
    assert [one["class"] for one in points] == [
        name for name, told in zip(task.answers, enough, strict=True) if told
    ]
    ground = prepare_ground(model, task, store, cache, FAST)
    (split,) = ground.splits
    held = fit(
        "logistic", ground.question, ground.examples(split.train), ground.examples(split.choose)
    ).held
    assert held is not None
    for one in points:
        column = task.answers.index(one["class"])
        lacking = held.truth[:, column] == 0
        (limit,) = one["threshold"]
        assert (held.score[lacking, column] < limit).mean() == pytest.approx(0.9, abs=0.045)
        tested = run.answers.truth[:, column] == 1
        found = (run.answers.score[tested, column] >= limit).mean()
        assert one["sensitivity"]["value"] == pytest.approx(found, abs=0.02)
    assert np.array_equal(
        Result.read(result.write(tmp_path)).runs[0].thresholds, run.thresholds, equal_nan=True
    )


def test_few_recordings_set_no_threshold_of_a_statement() -> None:
    truth = np.zeros((40, 2), np.int64)
    truth[:21, 1] = 1  # 19 without it
    score = np.linspace(0, 1, 80).reshape(40, 2)
    limits = judgement.thresholds(Answers(truth, score, np.zeros(40, np.int64)), 2)
    assert (score[:, 0] < limits[0]).mean() == 0.9
    assert np.isnan(limits[1])


def test_a_limit_meets_the_score_that_it_came_from(
    model: Model, store: Store, cache: Path
) -> None:
    """A forest's scores are few: as they are stored, the limit is still one of them."""
    ground = prepare_ground(model, find("sex"), store, cache, FAST)
    rows = ground.splits[0].test[:10]
    second = np.array([0.1] * 9 + [0.35])
    answers = Answers(np.array([0] * 9 + [1]), np.stack([1 - second, second], 1), np.zeros(10))
    judged = ground.judged(answers, rows, answers)
    assert (judged.answers.score[:, 1] >= judged.thresholds[1]).sum() == 1


def test_without_a_choosing_side_what_chose_the_epoch_sets_thresholds(
    model: Model, store: Store, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stub:
        epoch = 3
        training: dict[str, Any] = {"seconds": 0.0}  # noqa: RUF012
        validated = np.arange(0, 900, 7)
        asked: list[NDArray[np.int64]] = []  # noqa: RUF012

        def predict(
            self, store: Store, rows: NDArray[np.int64], leads: Sequence[str] = ()
        ) -> NDArray[np.float32]:
            self.asked.append(rows)
            second = np.random.default_rng(0).random(len(store))[rows].astype(np.float32)
            return np.stack([1 - second, second], axis=1)

        def save(self, *_: Any) -> None:
            """Nothing that could be loaded."""

    monkeypatch.setattr("nerula.finetune.finetune", lambda *_, **__: Stub())
    task = replace(find("sex"), splits=by_folds(TRAIN, set(), {"10"}))
    ways = replace(FAST, probes=("finetuned",))
    (result,) = evaluate(model, task, store, cache, ways)
    (point,) = result.document["operating_points"]
    truth = task.target(Facts.of(store))[Stub.validated]
    score = np.random.default_rng(0).random(len(store))[Stub.validated]
    (limit,) = point["threshold"]
    assert (score[truth == 0] < limit).mean() == pytest.approx(0.9, abs=0.02)
    assert {len(rows) for rows in Stub.asked} == {120, len(Stub.validated)}
    monkeypatch.setattr(Stub, "validated", np.empty(0, np.int64))
    (result,) = evaluate(model, task, store, cache, ways)
    assert result.document["operating_points"] == []


def test_the_choosing_side_chooses_the_epoch_and_the_whole_training_side_is_fitted(
    model: Model, store: Store, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground = prepare_ground(model, find("sex"), store, cache, FAST)
    (split,) = ground.splits
    asked: list[tuple[Any, ...]] = []

    def finetuned(*given: Any, choose: Any, **_: Any) -> Any:
        asked.append((*given[2:4], choose))
        raise KeyboardInterrupt

    monkeypatch.setattr("nerula.finetune.finetune", finetuned)
    for few in (split, replace(split, choose=split.choose[:3])):
        with pytest.raises(KeyboardInterrupt):
            tuned_on(ground, few, 0)
    (rows, target, (chooses, answers)), (_, _, nothing) = asked
    assert rows.tolist() == split.train.tolist()
    assert target.tolist() == ground.target[split.train].tolist()
    assert chooses.tolist() == split.choose.tolist()
    assert answers.tolist() == ground.target[split.choose].tolist()
    assert nothing is None  # three recordings choose nothing: a part of the others does


def test_a_blend_is_the_mean_of_the_network_and_the_regression(
    model: Model, store: Store, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = np.random.default_rng(0).random(len(store)).astype(np.float32)

    class Stub:
        epoch = 3
        training: dict[str, Any] = {"seconds": 0.0}  # noqa: RUF012
        validated = np.arange(9)

        def predict(
            self, _: Store, rows: NDArray[np.int64], __: Sequence[str] = ()
        ) -> NDArray[np.float32]:
            return np.stack([1 - chance[rows], chance[rows]], axis=1)

        def save(self, *_: Any) -> None:
            """Nothing that could be loaded."""

    monkeypatch.setattr("nerula.finetune.finetune", lambda *_, **__: Stub())
    ways = replace(FAST, probes=("logistic", "finetuned", "blended"))
    plain, network, both = evaluate(model, find("sex"), store, cache, ways)
    scores = [one.runs[0].answers.score for one in (plain, network, both)]
    odds = [np.log(score[:, 1] / score[:, 0]) for score in scores]
    assert np.allclose(odds[2], (odds[0] + odds[1]) / 2, atol=1e-4)
    (fit,) = both.document["fits"]
    assert fit["chosen"] == plain.document["fits"][0]["chosen"] | {"epoch": 3}
    assert both.tuned is None
    limits = [one.runs[0].thresholds[1] for one in (plain, network, both)]
    assert np.isfinite(limits).all()
    assert len({round(float(one), 4) for one in limits}) == 3  # of what it says itself


def test_a_task_without_anything_to_average_has_no_blend() -> None:
    with pytest.raises(UsageError, match="has no probe blended"):
        Ways(probes=("blended",)).asked(find("identity"))


def test_a_blend_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="two things"):
        probe("nerula-small", "sex", probes="blended", save=tmp_path / "saved")
    assert not list(tmp_path.iterdir())


def test_a_result_comes_back_as_it_was(sex: Result, tmp_path: Path) -> None:
    path = sex.write(tmp_path)
    back = Result.read(path)
    assert back.document == sex.document | {"predictions": path.with_suffix(".npz").name}
    for ours, theirs in zip(sex.runs, back.runs, strict=True):
        assert sex.names(ours).tolist() == back.names(theirs).tolist()
        assert ours.answers.score.tolist() == theirs.answers.score.tolist()
        assert ours.person.tolist() == theirs.person.tolist()
        for name, held in sex.metrics.items():
            assert score(theirs.answers, name) == pytest.approx(held["value"], abs=1e-6)
    assert path.with_suffix(".npz").stat().st_size < 20_000
    path.write_text(path.read_text().replace("nerula-result-1", "nerula-result-0"))
    with pytest.raises(NerulaError, match="no result of this version"):
        Result.read(path)


def test_pairs(sex: Result, store: Store, cache: Path, tmp_path: Path) -> None:
    other = next(evaluate(tiny(tmp_path / "b", seed=3), find("sex"), store, cache, FAST))
    read = Result.read(other.write(tmp_path))
    found = paired(sex, read)
    for name, one in found.items():
        assert one.low <= one.high
        apart = sex.metrics[name]["value"] - other.metrics[name]["value"]
        assert one.value == pytest.approx(apart, abs=2e-6)
    nothing = paired(sex, sex)["auroc"]
    assert (nothing.value, nothing.low, nothing.high) == (0, 0, 0)


def test_results_about_other_things_are_not_paired(
    sex: Result, model: Model, store: Store, cache: Path
) -> None:
    infarction = next(evaluate(model, find("infarction"), store, cache, FAST))
    with pytest.raises(NerulaError, match="cannot be paired"):
        paired(sex, infarction)
    ways = replace(FAST, labels=(0.1,), draws=2)
    few = next(evaluate(model, find("sex"), store, cache, ways))
    with pytest.raises(NerulaError, match="1 runs cannot be paired with 2"):
        paired(sex, few)


def test_shuffled_labels_are_at_chance(model: Model, store: Store, cache: Path) -> None:
    """The whole path, but with the labels of others: an advantage would be a leak."""
    task = find("sex")
    areas, right = [], []
    for seed in range(6):

        def shuffled(facts: Any, seed: int = seed) -> NDArray[Any]:
            return np.random.default_rng(seed).permutation(task.target(facts))

        result = next(evaluate(model, replace(task, target=shuffled), store, cache, FAST))
        areas.append(result.metrics["auroc"]["value"])
        right.append(result.metrics["accuracy"]["value"])
    assert np.mean(areas) == pytest.approx(0.5, abs=0.06)  # 6 x 120: deviation 0.022
    assert np.mean(right) == pytest.approx(0.53, abs=0.07)


def test_true_labels_are_not(sex: Result) -> None:
    assert sex.metrics["auroc"]["value"] > 0.56


def test_fewer_labels_and_gaps(model: Model, store: Store, cache: Path) -> None:
    ways = replace(FAST, labels=(0.1, 1.0), draws=2, gaps=(0.5,))
    results = list(evaluate(model, find("sex"), store, cache, ways))
    way = [(r.document["way"]["labels"], r.document["way"]["filling"],
            r.document["way"]["gap"]) for r in results]  # fmt: skip
    assert way == [
        (0.1, "masked", 0.0), (1.0, "masked", 0.0),
        *[(1.0, filling, 0.5) for filling in gaps.FILLINGS],
    ]  # fmt: skip
    few = results[0]
    assert [fit["draw"] for fit in few.document["fits"]] == [0, 1]
    assert all(90 <= fit["train"] <= 102 for fit in few.document["fits"])
    assert all(fit["choose"] <= 14 for fit in few.document["fits"])
    assert len({result.key for result in results}) == len(results)
    scores = [result.runs[0].answers.score[:, 1] for result in results[1:]]
    assert all(np.abs(scores[0] - other).max() > 1e-3 for other in scores[1:])


def test_gaps_are_measured_on_every_split_and_embedded_once(
    model: Model, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A curve from 0 % on is of the same recordings at every point."""
    nine, ten = (by_folds(TRAIN, {one}, {other}) for one, other in (("10", "9"), ("9", "10")))
    task = replace(find("sex"), splits=lambda facts, counts: [
        *nine(facts, counts), *ten(facts, counts)])  # fmt: skip
    embedded: list[tuple[Gap | None, int]] = []
    fresh = Features.fresh

    def counted(self: Features, rows: Any, gap: Any, advance: Any) -> Any:
        embedded.extend((gap, int(row)) for row in rows)
        return fresh(self, rows, gap, advance)

    monkeypatch.setattr(Features, "fresh", counted)
    ways = replace(FAST, gaps=(0.3,), probes=("logistic", "forest"))
    results = list(evaluate(model, task, store, tmp_path, ways))
    assert len(results) == 2 * (1 + len(gaps.FILLINGS))
    whole = results[0]
    assert whole.document["data"]["tested"] == 240
    for result in results:
        assert [fit["split"] for fit in result.document["fits"]] == [0, 1]
        for one, other in zip(whole.runs, result.runs, strict=True):
            assert whole.names(one).tolist() == result.names(other).tolist()
        for name, held in result.metrics.items():
            assert held["n"] == 240
            assert held["chance"] == whole.metrics[name]["chance"]
    assert len(embedded) == len(set(embedded)) == 1200 + 240 * len(gaps.FILLINGS)


@pytest.mark.parametrize("name", ["age", "statements", "infarction-norm"])
def test_other_tasks_on_the_sample(name: str, model: Model, store: Store, cache: Path) -> None:
    task = find(name)
    wanted = "ridge" if name == "age" else "logistic"
    (result,) = evaluate(model, task, store, cache, replace(FAST, probes=(wanted,)))
    json.dumps(result.document, allow_nan=False)
    assert set(result.metrics) == set(task.metrics)
    if name == "statements":
        each = {one["label"]: one for one in result.document["each"]}
        assert each["SR"]["auroc"]["value"] > 0.5
        absent = [one for one in each.values() if not one["positive"]]
        assert all(one["auroc"]["value"] is None for one in absent)
    if name == "age":
        assert result.metrics["mae"]["value"] < result.metrics["mae"]["chance"]


def test_halves_vote(model: Model, store: Store, cache: Path) -> None:
    task, facts = find("infarction-windows"), Facts.of(store)
    target = task.target(facts)
    (split,) = task.splits(facts, task.counts(facts, target))
    (result,) = evaluate(model, task, store, cache, FAST)
    assert result.metrics["auroc"]["n"] == len(split.test)

    def examples_of(rows: NDArray[np.int64]) -> Examples:
        halves = sample.load().x[rows, 0].reshape(2 * len(rows), -1)
        each = np.repeat(rows, 2)
        return Examples(model.embed(halves, 100), target[each], facts.people[each])

    train, choose, test = (examples_of(rows) for rows in split.all)
    fitted = fit("logistic", Question("classes", 2, "auroc"), train, choose)
    votes = fitted.answer(test.z, test.target).score.reshape(-1, 2, 2)
    assert np.abs(votes[:, 0] - votes[:, 1]).max() > 0.1
    np.testing.assert_allclose(result.runs[0].answers.score, votes.mean(1), atol=1e-3)


def test_a_half_that_holds_nothing_has_no_vote(model: Model, tmp_path: Path) -> None:
    signal = sample.load().x[7, :1].astype(np.float32)
    signal[:, 500:] = np.nan
    np.save(tmp_path / "half.npy", signal)
    hints = Hints(rate=100, unit="mV", leads=("II",))
    make_store(open_source(tmp_path / "half.npy", hints=hints), tmp_path / "store", Options())
    held = Store.open(tmp_path / "store")
    features = Features(model, held, find("infarction-windows"), tmp_path)
    first, second = features.of(np.array([0])).reshape(2, -1)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, model.embed(signal[:, :500], 100)[0], atol=1e-5)


# --- refusals --------------------------------------------------------------------------------


def test_a_model_that_saw_the_test_fold_is_refused(
    store: Store, cache: Path, tmp_path: Path
) -> None:
    seen = {"data": {"kind": "sample", "folds": {"1": 96, "10": 1}}}
    with pytest.raises(guards.LeakError, match="folds 10"):
        next(evaluate(tiny(tmp_path / "m", **seen), find("sex"), store, cache, FAST))


def test_a_model_that_says_nothing_is_believed_only_on_demand(
    store: Store, cache: Path, tmp_path: Path
) -> None:
    silent = tiny(tmp_path / "m", store="none")
    with pytest.raises(guards.UnverifiedError):
        next(evaluate(silent, find("sex"), store, cache, FAST))
    result = next(evaluate(silent, find("sex"), store, cache, replace(FAST, unverified=True)))
    assert result.document["provenance"]["status"] == "unverified"


def test_a_model_of_files_of_ones_own_is_judged_but_not_called_checked(
    store: Store, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tiny(tmp_path / "m", data={"kind": "folder", "folds": {"none": 50}})
    result = next(evaluate(own, find("sex"), store, cache, FAST))
    assert result.document["provenance"]["status"] == "unknown"
    _show_checks(Console(force_terminal=True, color_system="standard"), result.document)
    assert "\x1b[33mPretraining unknown:" in capsys.readouterr().out


@pytest.mark.parametrize(("folds", "refused"), [("1-8", False), ("1-9", True), ("all", True)])
def test_a_training_writes_down_what_the_guard_needs(
    folds: str, refused: bool, store: Store, cache: Path, tmp_path: Path
) -> None:
    pretrain(NAME, store.path, tmp_path / "run", epochs=1, batch=64, folds=folds, device="cpu")
    trained = bundle.load(tmp_path / "run", method=Tiny)
    assert trained.config is not None
    data = trained.config.training["data"]
    assert data["kind"] == "sample"
    assert data["folds"]["1"] == 120
    if refused:
        with pytest.raises(guards.LeakError, match="was pretrained on sample with folds 9"):
            next(evaluate(trained, find("sex"), store, cache, FAST))
    else:
        result = next(evaluate(trained, find("sex"), store, cache, FAST))
        assert "none in common" in result.document["provenance"]["detail"]


@pytest.mark.slow
def test_the_whole_network_is_trained_on_demand_and_once(
    store: Store, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tiny(tmp_path / "m")
    assert Ways(finetune=True).asked(find("age")) == (*find("age").probes, "finetuned")
    ways = replace(FAST, probes=("finetuned",), labels=(0.1,), draws=1)
    stop = replace(ways, told=lambda epoch, *_: epoch and os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(KeyboardInterrupt):
        next(evaluate(mine, find("infarction-norm"), store, cache, stop))
    assert [*cache.glob("tuned-infarction-norm-*.run/checkpoints/step-*")]
    (result,) = evaluate(mine, find("infarction-norm"), store, cache, ways)
    assert not [*cache.glob("*.run")]
    with monkeypatch.context() as patch:
        patch.setattr("nerula.finetune.finetune", None)  # what is kept is not trained again
        (again,) = evaluate(mine, find("infarction-norm"), store, cache, ways)
    assert again.document["fits"] == result.document["fits"]
    assert np.allclose(again.runs[0].answers.score, result.runs[0].answers.score, atol=1e-5)
    assert np.allclose(
        again.runs[0].thresholds, result.runs[0].thresholds, atol=1e-5, equal_nan=True
    )
    assert result.document["way"]["probe"] == "finetuned"
    assert "finetuned" in result.key
    assert result.metrics["auroc"]["n"] == len(result.runs[0].row)
    assert np.isfinite(result.runs[0].thresholds[1])
    json.dumps(result.document, allow_nan=False)


def test_a_subject_on_both_sides_of_a_task_is_refused(
    model: Model, store: Store, cache: Path
) -> None:
    task = find("sex")

    def leaky(facts: Any, counts: Any) -> Any:
        (split,) = task.splits(facts, counts)
        return [replace(split, train=np.append(split.train, split.test[:1]))]

    with pytest.raises(guards.LeakError, match="two sides"):
        next(evaluate(model, replace(task, splits=leaky), store, cache, FAST))


def test_one_answer_alone_is_refused_before_anything_is_fitted(
    model: Model, store: Store, cache: Path
) -> None:
    task = find("sex")
    same = replace(task, target=lambda facts: np.ones(len(facts), np.int64))
    with pytest.raises(NerulaError, match=r"960 recordings of sex that train .* female"):
        next(evaluate(model, same, store, cache, FAST))


def test_other_data_is_refused(model: Model, store: Store, cache: Path) -> None:
    with pytest.raises(UsageError, match="nerula fetch challenge2017"):
        next(evaluate(model, find("arrhythmia"), store, cache, FAST))
    with pytest.raises(UsageError, match="nerula fetch ptbxl100"):
        next(evaluate(model, find("identity-ptbxl"), store, cache, FAST))
    with pytest.raises(UsageError, match="nerula fetch ucihar"):
        opened(None, find("activity"), model.contract, cache)
    with pytest.raises(UsageError, match="has no probe ridge"):
        next(evaluate(model, find("sex"), store, cache, replace(FAST, probes=("ridge",))))


# --- features --------------------------------------------------------------------------------


def test_embeddings_are_those_of_the_model_and_kept(
    model: Model, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = Features(model, store, find("sex"), tmp_path)
    rows = np.array([7, 3, 11])
    z = features.of(rows)
    x = sample.load().x[rows, 0]
    np.testing.assert_allclose(z, model.embed(x, 100), rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(Model, "embed_prepared", None)
    assert features.of(rows[:2]).tobytes() == z[:2].tobytes()
    monkeypatch.undo()
    assert features.of(np.array([3, 5]))[0].tobytes() == z[1].tobytes()
    (path,) = tmp_path.glob("*.npy")
    path.write_bytes(b"damaged")
    assert features.of(rows).tobytes() == z.tobytes()


def test_bursts_are_as_many_as_asked_and_the_same_again() -> None:
    for share in (0.1, 0.3, 0.6):
        hidden = gaps.bursts(1000, share, 100.0, "00007")
        assert hidden.sum() == 1000 * share
        assert (hidden == gaps.bursts(1000, share, 100.0, "00007")).all()
        assert (hidden != gaps.bursts(1000, share, 100.0, "00008")).any()
        assert 1 <= np.diff(hidden.astype(int), prepend=0).clip(0).sum() <= 20 * share
    assert not gaps.bursts(3, 0.1, 100.0, "00007").any()


def test_fillings() -> None:
    x = np.arange(10, dtype=np.float32)[None] ** 2
    valid, hidden = np.ones((1, 10), bool), np.zeros(10, bool)
    valid[0, 0], hidden[4:6] = False, True
    masked, left = gaps.apply(x, valid, hidden, "masked")
    assert left[0].tolist() == [False, True, True, True, False, False, True, True, True, True]
    assert not masked[~left].any()
    zeros, all_but_one = gaps.apply(x, valid, hidden, "zeros")
    assert (all_but_one == valid).all()
    assert (zeros == masked).all()
    lines, _ = gaps.apply(x, valid, hidden, "lines")
    assert lines[0, 4:6].tolist() == [18, 27]


def test_what_is_hidden_does_not_show(model: Model, store: Store, tmp_path: Path) -> None:
    """The masked embedding is that of a recording with NaN there, and of no other signal."""
    features = Features(model, store, find("sex"), tmp_path)
    z = features.of(np.array([5]), Gap(0.3, "masked"))
    x = sample.load().x[5, 0].copy()
    x[gaps.bursts(1000, 0.3, 100.0, sample.load().names[5])] = np.nan
    np.testing.assert_allclose(z[0], model.embed(x, 100), rtol=1e-4, atol=1e-5)


def test_centred_similarity_forgets_what_all_share() -> None:
    rng = np.random.default_rng(0)
    own = rng.normal(size=(20, 8)).astype(np.float32)
    gallery, query = own + 50, own + 50 + 0.2 * rng.normal(size=own.shape).astype(np.float32)
    assert similarity(gallery, query, centred=False).min() > 0.99
    centred = similarity(gallery, query, centred=True)
    assert (centred.argmax(1) == np.arange(20)).all()
    assert centred.min() < 0


def test_a_discriminant_looks_where_people_differ_and_pieces_do_not() -> None:
    """Against scikit-learn's own, and on queries whose loudest values say nothing."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    rng = np.random.default_rng(0)
    loud = np.array([10.0] * 6 + [1.0] * 6)

    def drawn(own: np.ndarray) -> np.ndarray:
        noise = rng.normal(size=own.shape) * loud * ([1.0] * 6 + [0.1] * 6)
        return (own + noise).astype(np.float32)

    own = rng.normal(size=(40, 12)) * ([0.0] * 6 + [1.0] * 6)
    whose = np.repeat(np.arange(40), 4)
    pieces, gallery, query = drawn(own[whose]), drawn(own), drawn(own)
    right = np.arange(40)
    centred = (similarity(gallery, query, centred=True).argmax(1) == right).mean()
    found = discriminated(gallery, query, pieces, whose)
    assert (found.argmax(1) == right).mean() > centred + 0.2
    scaled = (pieces - pieces.mean(0)) / pieces.std(0)
    level = [(one - pieces.mean(0)) / pieces.std(0) for one in (gallery, query)]
    theirs = LinearDiscriminantAnalysis(solver="eigen", shrinkage=1e-9).fit(scaled, whose)
    a, b = (theirs.transform(one) for one in level)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("nerula.likeness.SHRINKAGE", 0.0)
        ours = discriminated(gallery, query, pieces, whose)
    assert (ours.argmax(1) == right).mean() > 0.95
    np.testing.assert_allclose(ours, similarity(a - a.mean(0), b - a.mean(0)), atol=1e-4)


def test_a_discriminant_of_what_never_varies_knows_nobody() -> None:
    same, whose = np.ones((5, 8), np.float32), np.repeat(np.arange(5), 2)
    assert not discriminated(same, same, same[whose], whose).any()
    own = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    found = discriminated(own, own, own[whose], whose)
    assert found.argmax(1).tolist() == [0, 1, 2, 3, 4]


# --- the verb, and real data sets ------------------------------------------------------------


@pytest.fixture
def loads_tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    load = bundle.load
    monkeypatch.setattr(bundle, "load", lambda name, **how: load(name, method=Tiny))


@pytest.mark.usefixtures("loads_tiny")
def test_the_verb(model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny(tmp_path / "m")
    out = tmp_path / "out"
    words = ["probe", str(tmp_path / "m"), "sex", "--probes", "logistic", "--out", str(out)]
    for _ in range(2):
        with pytest.raises(SystemExit) as end:
            main(words)
        assert end.value.code == 0
    said = capsys.readouterr().out
    assert "120 recordings tested" in said
    assert "Subjects and signals on two sides, counted: 0" in said
    assert "Pretraining checked" in said
    assert "Next: nerula probe" in said
    assert said.count("sens. at spec.") == 2  # one each time
    (document,) = out.glob("results/sex/*.json")
    assert Result.read(document).metrics["auroc"]["n"] == 120


@pytest.mark.usefixtures("loads_tiny")
def test_the_table_of_statements_stays_short(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny(tmp_path / "m")
    (result,) = probe(str(tmp_path / "m"), "statements", probes="logistic")
    assert result.document["operating_points"]
    assert "sens. at spec." not in capsys.readouterr().out


@pytest.mark.usefixtures("loads_tiny")
def test_the_verb_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny(tmp_path / "m")
    for words, say in (
        (["arrhythmia"], "nerula fetch challenge2017"),
        (["arhythmia"], "Did you mean arrhythmia"),
        (["sex", "--labels", "2"], "above 0 and up to 1"),
        (["sex", "--gaps", "some"], "Write"),
        (["infarction-windows", "--save", str(tmp_path)], "leaves no probe"),
    ):
        with pytest.raises(SystemExit) as end:
            main(["probe", str(tmp_path / "m"), *words])
        assert end.value.code == 1
        assert say in " ".join(capsys.readouterr().err.split())


def test_a_probe_of_all_leads_is_tested_with_one(tmp_path: Path) -> None:
    """The scores are those of the same probe on embeddings of recordings that have lost leads."""
    three_leads(tmp_path / "store", 200)
    three, held = tiny(tmp_path / "model", THREE), Store.open(tmp_path / "store")

    def asked(fitted: tuple[str, ...], tested: tuple[str, ...]) -> Result:
        ways = replace(FAST, leads=fitted, tested=tested)
        return next(evaluate(three, find("sex"), held, tmp_path / "cache", ways))

    lost, whole = asked((), ("I",)), asked((), ())
    assert lost.document["way"]["tested"] == lost.document["windows"]["leads"] == ["I"]
    assert "leads" not in lost.document["way"]
    task = find("sex")
    all_leads, one_lead = (
        Features(three, held, task, tmp_path / "other", only) for only in ((), ("I",))
    )
    facts = Facts.of(held)
    target = task.target(facts)
    (split,) = task.splits(facts, task.counts(facts, target))
    train, choose = (
        Examples(all_leads.of(rows), target[rows], facts.people[rows])
        for rows in (split.train, split.choose)
    )
    fitted = fit("logistic", Question("classes", 2, "auroc"), train, choose, 0)
    expected = fitted.answer(one_lead.of(split.test), target[split.test]).score
    assert lost.runs[0].answers.score == pytest.approx(expected, abs=1e-6)
    assert not np.allclose(lost.runs[0].answers.score, whole.runs[0].answers.score, atol=1e-3)
    assert lost.key != whole.key
    assert asked(("II",), ("I",)).document["way"]["leads"] == ["II"]


@pytest.mark.parametrize(
    ("task", "leads", "said"),
    [
        ("identity", "all:I", "nothing is fitted"),
        ("activity", "I", "leads of its own"),
        ("activity", "all:I", "leads of its own"),
        ("sex", "I:", "names no lead after the colon"),
        ("sex", "all:X9", "X9"),
    ],
)
def test_leads_that_mean_nothing_for_a_task_are_refused(
    task: str, leads: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=said):
        probe("nerula-small", task, tmp_path, leads=leads)


@pytest.mark.usefixtures("loads_tiny")
def test_a_publishers_folder_is_prepared_with_the_lead_that_is_asked_for(tmp_path: Path) -> None:
    tiny(tmp_path / "m")
    folder = layouts.ptbxl(tmp_path / "ptbxl", count=120)
    for header in folder.rglob("*.hea"):
        signal = np.fromfile(header.with_suffix(".dat"), "<i2")
        layouts.write_record(header.with_suffix(""), [signal, signal // 2], ("II", "V2"), 100)
    given: dict[str, Any] = {"data": folder, "probes": "logistic", "out": tmp_path / "out"}
    used = [
        probe(str(tmp_path / "m"), "sex", leads=leads, **given)[0].document["windows"]["leads"]
        for leads in ("v2", None, "II:V2", "all:V2")
    ]
    assert used == [["V2"], ["II"], ["V2"], ["V2"]]  # the last two fitted with II


@pytest.mark.shared
def test_arrhythmia_from_the_publishers_folder(
    shared_data: Shared, model: Model, tmp_path: Path
) -> None:
    """300 recordings of the real data set, which is prepared on the fly."""
    source = shared_data("cinc2017")
    part = tmp_path / "challenge" / "training2017"
    part.mkdir(parents=True)
    shutil.copy(source / "REFERENCE-v3.csv", part.parent)
    lines = (source / "REFERENCE-v3.csv").read_text().splitlines()
    for name in (line.partition(",")[0] for line in lines[:1200:4]):
        for ending in (".hea", ".mat"):
            shutil.copy(source / "training2017" / f"{name}{ending}", part)
    (part.parent / "REFERENCE-v3.csv").write_text("\n".join(lines[:1200:4]) + "\n")
    store = opened(part.parent, find("arrhythmia"), model.contract, tmp_path / "cache")
    (result,) = evaluate(model, find("arrhythmia"), store, tmp_path / "cache", FAST)
    assert len(result.runs) == 5
    counted = sum(line.split(",")[1] != "~" for line in lines[:1200:4])
    assert result.metrics["macro_f1"]["n"] == counted
    assert result.document["windows"]["overlap"] == 0.5
    assert 0.4 < result.metrics["accuracy"]["chance"] < 0.8


def test_long_recordings_are_cut_with_half_overlap_and_end_at_the_end(model: Model) -> None:
    x = np.random.default_rng(0).normal(size=(1, 2000)).astype(np.float32)
    valid = np.ones_like(x, bool)
    (cut,) = model.embed_prepared([(x, valid)], 0.5)
    assert len(cut.z) == 3
    for row, start in enumerate((0, 512, 2000 - 1024)):
        alone = model.embed(x[0, start : start + 1024], 100)
        np.testing.assert_allclose(cut.z[row], alone, rtol=1e-4, atol=1e-5)
    (short,) = model.embed_prepared([(x[:, :900], valid[:, :900])], 0.5)
    assert len(short.z) == 1
    assert short.weight[0] == pytest.approx(900 / 1024)


@pytest.mark.shared
def test_identity_from_the_publishers_folder(
    shared_data: Shared, tmp_path: Path, loads_tiny: None
) -> None:
    """ECG-ID whole: within one recording it is easier than across recordings."""
    tiny(tmp_path / "m", ("I",))
    results = {
        name: probe(str(tmp_path / "m"), name, shared_data("ecgid"), out=tmp_path / "out")[0]
        for name in ("identity", "identity-halves", "identity-windows")
    }
    across, within, windows = (one.metrics for one in results.values())
    assert across["rank1"]["n"] == 85  # 89 have two recordings, 4 of them one sound one
    assert within["rank1"]["n"] == 90
    assert across["eer"]["high"] < 0.5
    assert within["eer"]["value"] < across["eer"]["value"]
    assert "easy" in results["identity-halves"].document["task"]["title"]
    assert windows["rank1"]["n"] == 90
    assert windows["rank1"]["value"] > within["rank1"]["value"]  # samples of theirs are there
    assert [one["draw"] for one in results["identity-windows"].document["fits"]] == list(range(10))


@pytest.mark.slow
@pytest.mark.shared
def test_activity_joins_the_axes(shared_data: Shared, tmp_path: Path) -> None:
    """Every fortieth window of UCI HAR: six embeddings of one lead each, joined."""
    source, part = shared_data("ucihar") / "UCI HAR Dataset", tmp_path / "UCI HAR Dataset"
    for path in [*source.rglob("*.txt")]:
        place = part / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text().splitlines(keepends=True)
        if path.parent.name in ("train", "test", "Inertial Signals"):
            lines = lines[::40]
        place.write_text("".join(lines))
    mine = tiny(tmp_path / "m")
    task = find("activity")
    store = opened(part, task, mine.contract, tmp_path / "cache")
    ways = replace(FAST, probes=("forest",))
    (result,) = evaluate(mine, task, store, tmp_path / "cache", ways)
    assert result.document["fits"][0]["subjects"] == {"train": 21, "choose": 0, "test": 9}
    features = Features(mine, store, task, tmp_path / "cache").of(np.arange(2))
    assert features.shape == (2, 6 * 24)
    x, _ = store.read(1)
    third = mine.embed(x[store.contract.leads.index("total_acc_z")], 100)
    np.testing.assert_allclose(features[1, 48:72], third, rtol=1e-4, atol=1e-5)
    assert result.metrics["accuracy"]["value"] > 0.5 > result.metrics["accuracy"]["chance"]
    assert open_source(part).kind == "ucihar"
