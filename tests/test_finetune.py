"""Fine-tuning: labels are learned, subjects are apart, mistakes are refused in words."""

import io
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from sklearn.metrics import roc_auc_score

import nerula
from nerula import bundle, probes, sample
from nerula.contract import Contract
from nerula.display import Passes
from nerula.errors import NerulaError, UsageError
from nerula.finetune import Finetuned, _shares, finetune, split_by_subject, subjects_of
from nerula.method import Method
from nerula.methods import build
from nerula.methods.supervised import Predictor
from nerula.model import Model
from nerula.prepare import Options as Preparation
from nerula.prepare import make_store
from nerula.recording import Recording
from nerula.schema import HEAD
from nerula.store import Store
from nerula.tuned import load
from nerula.writer import StoreWriter
from tests.tiny import NAME, Tiny

QUICK: dict[str, Any] = {"epochs": 4, "batch": 16, "lr": 0.02, "device": "cpu"} | {
    "precision": "fp32"
}


def untrained() -> Method:
    """A method that trains in milliseconds."""
    torch.manual_seed(0)
    return Tiny(width=16)


@pytest.fixture(scope="module", autouse=True)
def _few_steps() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nerula.finetune.LEAST_STEPS", 60)
        yield


@pytest.fixture(scope="module")
def beats(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """96 recordings of 24 subjects, of different lengths: the odd ones beat twice as fast."""
    folder = tmp_path_factory.mktemp("beats") / "store"
    random = np.random.default_rng(0)
    with StoreWriter(folder, Contract(leads=("II",), rate=100.0)) as writer:
        for row in range(96):
            moment = np.arange(random.integers(180, 900)) / 100
            pace = (1.0 + row % 2) * random.uniform(0.9, 1.1)
            x = np.exp(-(((moment * pace + random.random()) % 1 - 0.5) ** 2) / 0.004)
            x = (x + 0.05 * random.normal(size=len(moment))).astype(np.float32)[None]
            valid = np.ones(x.shape, bool)
            writer.add(Recording(f"{row:03d}", x, 100.0, ("II",), valid, subject=f"s{row // 4}"))
    return Store.open(folder)


FAST = np.arange(96) % 2
TRAIN, TEST = np.arange(72), np.arange(72, 96)
"""No subject is in both."""


def tuned(store: Store, targets: Any = None, kind: str = "classes", **options: Any) -> Finetuned:
    targets = FAST[TRAIN] if targets is None else targets
    given = QUICK | {"window": 2.56} | options
    return finetune(given.pop("model", untrained()), store, TRAIN, targets, kind, **given)


@pytest.fixture(scope="module")
def classes(beats: Store) -> Finetuned:
    return tuned(beats)


def test_classes_are_learned_from_scratch(beats: Store, classes: Finetuned) -> None:
    predicted = classes.predict(beats, TEST)
    assert predicted.shape == (24, 2)
    assert predicted.dtype == np.float32
    assert np.allclose(predicted.sum(1), 1, atol=1e-5)
    assert (predicted.argmax(1) == FAST[TEST]).mean() > 0.9


def test_several_labels_are_learned(beats: Store) -> None:
    targets = np.stack([FAST, 1 - FAST, np.ones(96)], 1)
    predicted = tuned(beats, targets[TRAIN], "multilabel").predict(beats, TEST)
    assert predicted.shape == (24, 3)
    assert ((predicted > 0.5) == targets[TEST]).mean() > 0.9


def test_values_are_learned_in_their_own_units(beats: Store) -> None:
    targets = 60.0 + 1000 * FAST
    predicted = tuned(beats, targets[TRAIN], "regression").predict(beats, TEST)
    assert predicted.shape == (24, 1)
    error = np.abs(predicted[:, 0] - targets[TEST]).mean()
    assert error < 0.5 * np.abs(targets[TEST] - targets[TRAIN].mean()).mean()


def test_the_same_call_gives_the_same_predictions(beats: Store, classes: Finetuned) -> None:
    again = tuned(beats)
    assert np.array_equal(again.predict(beats, TEST), classes.predict(beats, TEST))
    assert again.checks == classes.checks


def test_the_epoch_of_the_least_validation_error_is_kept(classes: Finetuned) -> None:
    errors = [check.error for check in classes.checks]
    assert len(errors) > 3
    assert classes.epoch == classes.checks[int(np.argmin(errors))].epoch


def test_the_validation_part_shares_no_subject(beats: Store, classes: Finetuned) -> None:
    subject = beats.column("subject")
    assert set(classes.trained) | set(classes.validated) == set(TRAIN)
    assert len(classes.validated) >= 8
    assert not set(subject[classes.trained]) & set(subject[classes.validated])
    rows = np.arange(96)
    for seed in range(20):
        fitted, held = split_by_subject(subjects_of(beats, rows), 0.3, seed)
        assert not set(subject[fitted]) & set(subject[held])
        assert len(fitted) + len(held) == 96
    assert not len(split_by_subject(subjects_of(beats, rows), 0.0, 0)[1])
    assert not len(
        split_by_subject(subjects_of(beats, rows[:20]), 0.15, 0)[1]
    )  # too few to choose


def test_without_a_validation_part_the_last_epoch_is_kept(beats: Store) -> None:
    made = tuned(beats, validation=0.0)
    assert made.checks == ()
    assert len(made.trained) == 72


def test_rows_that_are_given_to_choose_the_epoch_leave_all_others_to_be_fitted(
    beats: Store,
) -> None:
    chooses = np.arange(72, 84)
    made = tuned(beats, choose=(chooses, FAST[chooses]))
    assert np.array_equal(made.trained, TRAIN)
    assert np.array_equal(made.validated, chooses)
    counts = [made.training[name]["recordings"] for name in ("data", "chosen by")]
    assert counts == [72, 12]
    errors = [check.error for check in made.checks]
    assert made.epoch == made.checks[int(np.argmin(errors))].epoch
    other = tuned(beats, choose=(chooses, 1 - FAST[chooses]))
    assert [one.epoch for one in other.checks] == [one.epoch for one in made.checks]
    assert other.epoch != made.epoch  # what is asked of them decides, not what is fitted


def test_whoever_asks_hears_of_every_epoch(beats: Store) -> None:
    heard: list[tuple[int, int, float | None]] = []
    made = tuned(beats, epochs=30, told=lambda *one: heard.append(one))
    assert [(epoch, of) for epoch, of, _ in heard] == [(one, 30) for one in range(31)]
    looked = [(epoch, error) for epoch, _, error in heard if error is not None]
    assert looked == [tuple(check) for check in made.checks]
    assert len(looked) == 15  # every second


def test_a_log_file_hears_of_a_training_on_labels_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moments = iter([0.0, 10.0, 30.0, 75.0, 100.0, 110.0])
    monkeypatch.setattr("nerula.display.time.monotonic", lambda: next(moments))
    told = io.StringIO()
    passes = Passes(Console(file=told, width=80))
    for epoch, error in ((0, None), (1, None), (2, 0.25), (3, None), (4, None)):
        passes.tell(epoch, 200, error)
    assert told.getvalue().splitlines() == [
        "trained on labels: epoch 2 of 200  error 0.2500  1:47:15 left"
    ]


def test_a_training_that_fails_leaves_no_line_and_no_hidden_cursor_behind() -> None:
    told = io.StringIO()
    console = Console(file=told, width=80, force_terminal=True)
    with pytest.raises(KeyboardInterrupt), Passes(console) as passes:
        passes.tell(0, 9, None)
        passes.tell(1, 9, 0.5)
        raise KeyboardInterrupt
    shown, hidden = "\x1b[?25h", "\x1b[?25l"
    assert told.getvalue().rfind(shown) > told.getvalue().rfind(hidden) >= 0


def test_rows_that_choose_must_be_other_peoples_and_of_the_same_form(beats: Store) -> None:
    with pytest.raises(UsageError, match="1 subjects"):
        tuned(beats, choose=(np.arange(71, 84), FAST[71:84]))
    both = np.stack([FAST, 1 - FAST], 1)
    with pytest.raises(UsageError, match="other targets"):
        tuned(beats, both[TRAIN], "multilabel", choose=(TEST, both[TEST, :1]))
    with pytest.raises(UsageError, match="numbered"):
        tuned(beats, choose=(TEST, FAST[TEST] + 1))
    with pytest.raises(UsageError, match="no others"):
        tuned(beats, TRAIN // 4, "identity", choose=(TEST, TEST // 4))


def test_a_long_recording_gets_the_mean_of_its_windows(beats: Store, classes: Finetuned) -> None:
    row = int(TEST[np.argmax(beats.lengths[TEST])])
    x, _ = beats.read(row)
    time = x.shape[1]
    starts = [*range(0, time - 256, 128), time - 256]
    windows = torch.from_numpy(np.stack([x[:, start : start + 256] for start in starts]))
    learner = classes.model.method
    assert isinstance(learner, Predictor)
    with torch.no_grad():
        each = learner.predict(windows, torch.ones_like(windows, dtype=torch.bool))
    assert len(each) > 3
    assert np.allclose(classes.predict(beats, [row])[0], each.mean(0).numpy(), atol=1e-5)


def test_a_frozen_encoder_stays_as_it_is_and_the_given_one_always(beats: Store) -> None:
    given = untrained()
    before = {name: value.clone() for name, value in given.state_dict().items()}
    for frozen in (True, False):
        made = tuned(beats, model=given, frozen=frozen, epochs=1)
        assert isinstance(made.model.method, Predictor)
        after = made.model.method.body.state_dict()
        same = [torch.equal(after[name], value) for name, value in before.items()]
        assert all(same) is frozen
    assert all(torch.equal(given.state_dict()[name], value) for name, value in before.items())
    assert [one.requires_grad for one in given.parameters()] == [
        one.requires_grad for one in untrained().parameters()
    ]


def test_a_trained_encoder_learns_slower_than_its_head(beats: Store) -> None:
    model = Model(untrained(), Contract(leads=("V5",), rate=100.0), 256)
    fine = tuned(beats, model=model, epochs=1)
    still = tuned(beats, model=model, epochs=1, pace=0.0, weight_decay=0.0)
    assert isinstance(fine.model.method, Predictor)
    assert isinstance(still.model.method, Predictor)
    assert fine.model.method.paces == {"body": 0.3}
    pairs = zip(still.model.method.body.parameters(), model.method.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    pairs = zip(fine.model.method.body.parameters(), model.method.parameters(), strict=True)
    assert not all(torch.equal(one, other) for one, other in pairs)


def test_a_finetuned_model_embeds(classes: Finetuned) -> None:
    z = classes.model.embed(np.sin(np.arange(1000) / 8), rate=100)
    assert z.shape == (16,)
    assert np.isfinite(z).all()


def test_a_finetuned_model_can_be_tuned_again(beats: Store, classes: Finetuned) -> None:
    again = tuned(beats, 1.0 * FAST[TRAIN], "regression", model=classes.model, epochs=1)
    assert isinstance(again.model.method, Predictor)
    assert isinstance(again.model.method.body, Tiny)
    assert again.predict(beats, TEST).shape == (24, 1)


@pytest.mark.parametrize(
    ("kind", "targets", "answers"),
    [
        ("classes", FAST[TRAIN], ("slow", "fast")),
        ("multilabel", np.stack([FAST, 1 - FAST, np.arange(96) % 3 == 0], 1)[TRAIN], tuple("abc")),
        ("regression", 40.0 + 30 * FAST[TRAIN], ("years",)),
    ],
)
def test_a_finetuned_network_is_kept_as_a_model_and_a_probe_of_it(
    beats: Store, tmp_path: Path, kind: str, targets: Any, answers: tuple[str, ...]
) -> None:
    made = tuned(beats, targets, kind, model=_on_disk(tmp_path / "start", beats))
    folder = made.save(tmp_path / "made", answers, {"said": "here"})
    back = load(folder, method=Tiny)
    assert np.allclose(back.predict(beats, TEST), made.predict(beats, TEST), atol=1e-5)
    assert (back.kind, back.epoch, back.checks) == (kind, made.epoch, made.checks)
    assert back.about["said"] == "here"

    model, head = nerula.load(folder, method=Tiny), probes.load(folder / HEAD)
    head.require(model)
    assert head.answers == answers
    x = beats.read(75)[0][0][:256]  # one window: a longer one is averaged before the head
    ask = head.values if kind == "regression" else head.probabilities
    found = back.model.per_window(back.learner.predict, [(x[None], np.ones((1, 256), bool))])
    assert np.allclose(ask(model.embed(x, 100)), next(found).mean(), atol=1e-4)

    assert model.config is not None
    training = model.config.training
    assert training["data"]["recordings"] == len(TRAIN)
    assert training["start"]["training"] == {"steps": 0}
    assert training["labels"] == {"kind": kind, "epoch": made.epoch} | {
        "leads": [],
        "lead_chance": 0.0,
    }


@pytest.mark.parametrize("frozen", [False, True])
def test_earlier_layers_are_read_out_of_what_stays_as_it_is(
    beats: Store, tmp_path: Path, frozen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head that learns with the encoder gets what losses get, on disk too."""
    monkeypatch.setattr("nerula.finetune.LEAST_STEPS", 2)
    start = nerula.load("nerula-small")
    assert start.config is not None
    model = tuned(beats, model=start, frozen=frozen, epochs=1)
    size = start.config.dimensions
    values = size if frozen else 3 * 128
    assert model.learner.head.in_features == values < size + frozen
    kept = bundle.load(model.save(tmp_path / "kept"))
    assert kept.config is not None
    assert kept.config.arguments["pooling"] == ("steps" if frozen else "stats")
    again = load(tmp_path / "kept").predict(beats, TEST)
    assert np.allclose(again, model.predict(beats, TEST), atol=1e-5)
    assert start.method.pooling == "steps"


def test_what_cannot_be_saved_is_refused_in_words(
    beats: Store, classes: Finetuned, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="did not begin as a model"):
        classes.save(tmp_path / "made")
    start = _on_disk(tmp_path / "start", beats)
    several = tuned(
        beats, np.ones((72, 2)) * FAST[TRAIN, None], "regression", model=start, epochs=1
    )
    with pytest.raises(UsageError, match="no head that a probe could be"):
        several.save(tmp_path / "made")
    assert not (tmp_path / "made").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("years of work")
    one = tuned(beats, model=start, epochs=1)
    with pytest.raises(UsageError, match="is no model: it would be replaced"):
        one.save(tmp_path / "mine")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "years of work"


def test_a_probe_beside_a_model_is_not_taken_for_its_head(beats: Store, tmp_path: Path) -> None:
    folder = tuned(beats, model=_on_disk(tmp_path / "start", beats), epochs=1).save(tmp_path / "a")
    head = probes.load(folder / HEAD)
    replace(head, about={"finetuned": {"leads": []}}).save(folder / HEAD)
    with pytest.raises(NerulaError, match="not the head of a network that was tuned"):
        load(folder, method=Tiny)


def _on_disk(folder: Path, store: Store) -> Model:
    """An untrained model with a configuration, as `nerula.load` gives it."""
    training, window = {"steps": 0}, 256
    bundle.save(
        folder, untrained(), name=NAME, arguments={"width": 16}, contract=store.contract,
        window=window, training=training,
    )  # fmt: skip
    return nerula.load(folder, method=Tiny)


def test_hand_made_features_get_a_linear_model(beats: Store) -> None:
    predicted = tuned(beats, model=build("heart_rate"), lr=0.03).predict(beats, TEST)
    assert (predicted.argmax(1) == FAST[TEST]).mean() > 0.9


def test_rare_classes_can_weigh_more_and_absent_ones_are_possible(beats: Store) -> None:
    targets = np.zeros(72, int)
    targets[1:17:2] = 1
    made = tuned(beats, targets, balanced=True, outputs=3, epochs=1, validation=0.0)
    assert isinstance(made.model.method, Predictor)
    assert np.allclose(made.model.method.weights, [72 / 2 / 64, 72 / 2 / 8, 36])
    assert made.predict(beats, TEST).shape == (24, 3)


def test_a_recording_without_a_valid_sample_is_predicted(tmp_path: Path, beats: Store) -> None:
    with StoreWriter(tmp_path / "store", Contract(leads=("II",), rate=100.0)) as writer:
        nothing = np.zeros((1, 700), np.float32)
        writer.add(Recording("0", nothing, 100.0, ("II",), nothing > 1))
    predicted = tuned(beats, epochs=1).predict(Store.open(tmp_path / "store"), [0])
    assert np.isfinite(predicted).all()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"kind": "poetry"}, "Choose from classes"),
        ({"targets": FAST[:71]}, r"\(71,\) targets"),
        ({"targets": FAST[TRAIN] + 0.5}, "whole number"),
        ({"targets": FAST[TRAIN] - 1}, "numbered from 0"),
        ({"outputs": 1}, "numbered from 0 to 0"),
        ({"kind": "multilabel"}, "zeros and ones"),
        ({"kind": "regression", "targets": np.full(72, np.nan)}, "must be numbers"),
        ({"validation": 1.5}, "validation share"),
        ({"lead_chance": 1.5}, "chance from 0 to 1"),
        ({"people": [1, 2]}, "2 people for 72 rows"),
        ({"model": build("majority", leads=2)}, "2 leads"),
        ({"model": Model(build("majority"), Contract(leads=("II",), rate=250.0), 256)}, "250 Hz"),
    ],
)
def test_mistakes_are_refused_in_words(beats: Store, wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        tuned(beats, **wrong)


@pytest.mark.parametrize("rows", [[0, 0, 1], [0, 96], [-1, 3], [0.5, 1.0]])
def test_rows_that_the_store_lacks_are_refused(beats: Store, rows: list[float]) -> None:
    with pytest.raises(UsageError, match=r"Rows must be|named twice"):
        finetune(untrained(), beats, rows, [0] * len(rows), "classes", **QUICK)


@pytest.mark.slow
def test_atrial_fibrillation_is_told_from_real_ecg(tmp_path: Path) -> None:
    """A linear model on hand-made statistics: subjects of fold 9, whom it has not seen."""
    ecg = sample.load()
    make_store(ecg, tmp_path / "store", Preparation(leads=("II",)))
    fibrillating = ecg.has("AFIB")
    known = fibrillating | ecg.has("NORM")
    train, test = np.flatnonzero(known & (ecg.folds < 9)), np.flatnonzero(known & (ecg.folds == 9))
    store = Store.open(tmp_path / "store")
    assert store.column("name").tolist() == list(ecg.names)
    body, target = build("heart_rate"), fibrillating.astype(int)
    made = finetune(body, store, train, target[train], "classes", epochs=20, lr=0.03, device="cpu")
    assert roc_auc_score(target[test], made.predict(store, test)[:, 1]) > 0.9


@pytest.mark.parametrize("kind", ["classes", "multilabel"])
def test_the_head_begins_with_the_shares_of_what_it_learns(kind: str) -> None:
    """Before the first step it answers as the majority does, however rare something is."""
    labels = np.eye(3, dtype=np.int64)[[0] * 90 + [1] * 9 + [2]]
    given = labels.argmax(1) if kind == "classes" else labels
    learner = Predictor(Tiny(width=6), 6, kind=kind, outputs=3)
    torch.nn.init.zeros_(learner.head.weight)
    learner.start_from(_shares(given, kind, 3))
    said = learner.eval().predict(torch.randn(2, 1, 64), torch.ones(2, 1, 64, dtype=torch.bool))
    assert said[0].tolist() == pytest.approx([0.9, 0.09, 0.01], abs=0.01)


@pytest.mark.parametrize("stopped", [1, 3])
def test_a_tuning_that_was_interrupted_goes_on_where_it_was(
    beats: Store, tmp_path: Path, stopped: int
) -> None:
    def stop(epoch: int, _: int, error: float | None) -> None:
        assert error is not None or not epoch
        if epoch == stopped:
            os.kill(os.getpid(), signal.SIGTERM)

    whole = tuned(beats)
    assert whole.epoch > 1
    with pytest.raises(KeyboardInterrupt):
        tuned(beats, told=stop, run=tmp_path / "run")
    heard: list[int] = []
    again = tuned(beats, told=lambda epoch, *_: heard.append(epoch), run=tmp_path / "run")
    assert heard == [0, *range(stopped + 1, len(whole.checks) + 1)]
    assert again.checks == whole.checks
    assert again.epoch == whole.epoch
    for one, other in zip(
        whole.learner.state_dict().values(), again.learner.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other)
    finished = tuned(beats, run=tmp_path / "run")  # nothing is left to do
    assert np.array_equal(finished.predict(beats, TEST), whole.predict(beats, TEST))
    with pytest.raises(UsageError, match=r"fitted: .* in the run"):
        tuned(beats, 1 - FAST[TRAIN], run=tmp_path / "run")
