"""One model, any set of leads: embedding, fine-tuning, evaluation, and what is said about it."""

import csv
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nerula import sample
from nerula.batches import Batches
from nerula.contract import Contract
from nerula.embed import embed
from nerula.errors import UsageError
from nerula.evaluate import evaluate
from nerula.features import Features, Whole
from nerula.finetune import finetune
from nerula.ground import Ways
from nerula.leads import has_leads, named, planned
from nerula.likeness import similarity
from nerula.method import Batch, Needs
from nerula.methods import build
from nerula.methods.recogniser import Recogniser
from nerula.methods.w2v_cmsc_rlm import W2vCmscRlm
from nerula.model import Model
from nerula.options import Options
from nerula.recording import Recording
from nerula.store import Store
from nerula.tasks import Split, find
from nerula.tasks.task import View
from nerula.writer import StoreWriter

LEADS = ("I", "II", "V1", "V2")
W2V: dict[str, Any] = {
    "channels": (8, 8, 16), "width": 16, "depth": 1, "heads": 2, "kernel": 5, "kernel_groups": 2,
    "entries": 4, "codes": 8, "leads": 4,
}  # fmt: skip
MODAL: dict[str, Any] = {
    "width": 16, "depth": 1, "heads": 2, "decoder_width": 8, "decoder_depth": 1,
    "decoder_heads": 2, "leads": 4,
}  # fmt: skip


def made(name: str, **arguments: Any) -> Model:
    torch.manual_seed(0)
    method = build(name, **(W2V if name == "w2v_cmsc_rlm" else MODAL), **arguments)
    return Model(method, Contract(LEADS, 100.0), 512)


def signals(count: int) -> np.ndarray:
    """(count, 4, 1000): every row another recording of the sample."""
    x = sample.load().x[:, 0]
    return np.stack([[x[4 * i + lead] for lead in range(4)] for i in range(count)])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Of four leads; every fifth recording has lead II alone."""
    path = tmp_path_factory.mktemp("leads") / "store"
    with StoreWriter(path, Contract(LEADS, 100.0)) as writer:
        for i, x in enumerate(signals(40)):
            valid = np.ones(x.shape, bool)
            valid[[0, 2, 3]] = i % 5 > 0
            writer.add(Recording(str(i), x, 100.0, LEADS, valid, subject=str(i)))
    return Store.open(path)


@pytest.fixture(params=["w2v_cmsc_rlm", "modal"])
def model(request: pytest.FixtureRequest) -> Model:
    return made(request.param)


# --- embedding ---------------------------------------------------------------------------------


@given(subset=st.lists(st.sampled_from(LEADS), min_size=1, unique=True))
@settings(deadline=None, max_examples=10)
def test_any_subset_by_name_in_any_order(subset: list[str]) -> None:
    x = signals(1)[0]
    for name in ("w2v_cmsc_rlm", "modal"):
        model = made(name)
        z = model.embed(x[[LEADS.index(lead) for lead in subset]], 100, leads=subset)
        hidden = np.array([[lead in subset] * 1000 for lead in LEADS])
        same = model.embed(x, 100, leads=LEADS, valid=hidden)
        assert np.allclose(z, same, atol=1e-5)


def test_what_is_absent_is_said(model: Model) -> None:
    x = signals(1)[0]
    valid = np.ones(x.shape, bool)
    valid[2] = False
    recordings = [
        Recording("a", x[:2], 100.0, ("II", "V2"), valid[:2]),
        Recording("b", x, 100.0, LEADS, valid),
        Recording("c", x, 100.0, LEADS, np.ones(x.shape, bool)),
    ]
    absent = [one.absent for one in model.embed_recordings(recordings)]
    assert absent == [("I", "V1"), ("V1",), ()]


def test_the_command_takes_leads_and_says_what_was_hidden(
    model: Model, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("nerula.bundle.load", lambda *_, **__: model)
    monkeypatch.setattr("nerula.bundle.locate", lambda _: tmp_path)
    embed("model", store.path, tmp_path / "some.npy", lead="v2,I")
    out = capsys.readouterr().out
    assert "32 recordings without II V1: hidden from the model" in out
    assert f"Next: nerula {'impute' if model.method.rebuilds() else 'probe'} model" in out
    assert "never to do without" not in out
    x, valid = store.read(1)
    valid[[1, 2]] = False
    expected = model.embed(x, 100, leads=LEADS, valid=valid)
    assert np.allclose(np.load(tmp_path / "some.npy")[0], expected, atol=1e-4)
    embed("model", store.path, tmp_path / "all.npy")
    absent = {}
    for name in ("some", "all"):
        with (tmp_path / f"{name}.csv").open(newline="") as file:
            absent[name] = {row["name"]: row["absent"] for row in csv.DictReader(file)}
    assert absent["some"] == {str(i): "II V1" for i in range(40) if i % 5}
    assert absent["all"] == {str(i): "" if i % 5 else "I V1 V2" for i in range(40)}
    with pytest.raises(UsageError, match=r"no lead V6.*I, II, V1, V2"):
        embed("model", store.path, tmp_path / "some.npy", lead="V6")


def test_a_model_that_never_did_without_says_so(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("nerula.bundle.load", lambda *_, **__: made("w2v_cmsc_rlm", rlm=False))
    monkeypatch.setattr("nerula.bundle.locate", lambda _: tmp_path)
    embed("model", store.path, tmp_path / "some.npy")
    out = " ".join(capsys.readouterr().out.split())
    assert "8 recordings without I V1 V2" in out
    assert "never to do without" in out


# --- stores ------------------------------------------------------------------------------------


def test_a_method_of_all_leads_skips_recordings_that_lack_some(store: Store) -> None:
    batches = Batches(store, Needs(leads=4), Options(batch=8, window=5.12), torch.device("cpu"))
    assert len(batches.index) == 32
    assert batches.lacking == 8
    assert not {row % 5 for row in batches.index} & {0}


def test_leads_in_another_order_go_in_in_that_order(store: Store) -> None:
    options, device = Options(batch=8, window=5.12), torch.device("cpu")
    plain = Batches(store, Needs(leads=4), options, device)
    turned = Batches(store, Needs(leads=4), options, device, leads=LEADS[::-1])
    assert torch.equal(plain.at(3).x.flip(2), turned.at(3).x)


def test_a_plan_puts_leads_at_the_models_places(store: Store) -> None:
    own = ("V2", "V1", "aVF", "I")
    plan = planned(store, own, ("I", "V2"))
    assert plan.names == ("V2", "I")
    x, _ = store.read(3)
    assert np.array_equal(plan.of(x), np.stack([x[3], 0 * x[0], 0 * x[0], x[0]]))
    assert torch.equal(plan.of(torch.tensor(x)[None], 1)[0], torch.tensor(plan.of(x)))
    assert planned(store, own, any_leads=True).names == ("V2", "V1", "I")
    with pytest.raises(UsageError, match="has no lead aVF"):
        planned(store, own)
    with pytest.raises(UsageError, match="model has no lead II"):
        planned(store, own, ("II",))
    assert planned(store, ("II",), ("V1",)).names == ("V1",)


def test_names_are_understood_as_readers_understand_them() -> None:
    assert named("i,V2 avr") == ("I", "V2", "aVR")
    assert named(None) == ()
    with pytest.raises(UsageError, match="no lead 'elbow'"):
        named("elbow")


def test_frozen_features_see_only_the_leads_that_were_asked_for(
    model: Model, store: Store, tmp_path: Path
) -> None:
    rows = np.array([1, 2, 3])
    some = Features(model, store, Whole(), tmp_path, ("I",)).of(rows)
    whole = Features(model, store, Whole(), tmp_path).of(rows)
    assert not np.allclose(some, whole)
    for z, row in zip(some, rows, strict=True):
        x, valid = store.read(int(row))
        valid[1:] = False
        assert np.allclose(z, model.embed(x, 100, leads=LEADS, valid=valid), atol=1e-4)


@pytest.mark.parametrize("rlm", [True, False])
@pytest.mark.parametrize("view", ["whole", "halves", "windows"])
def test_a_task_of_one_lead_hides_the_others(
    rlm: bool, view: View, store: Store, tmp_path: Path
) -> None:
    """As --leads does; what a model was never trained to do without is said."""
    model, rows = made("w2v_cmsc_rlm", rlm=rlm), np.array([1, 2])
    asked = Features(model, store, Whole(leads=("I",), view=view), tmp_path)
    chosen = Features(model, store, Whole(view=view), tmp_path, ("I",))
    assert asked.plan == chosen.plan
    assert np.array_equal(asked.of(rows), chosen.of(rows))
    assert ("never trained to do without" in asked.doubt) is not rlm
    assert Features(model, store, Whole(), tmp_path).doubt == ""
    with pytest.raises(UsageError, match="has no lead V6"):
        _ = Features(model, store, Whole(leads=("V6",)), tmp_path).plan


# --- identity ----------------------------------------------------------------------------------


@given(seed=st.integers(0, 100))
@settings(deadline=None, max_examples=10)
def test_arcface_is_its_formula(seed: int) -> None:
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    learner = Recogniser(made("modal").method, 16, outputs=3, scale=20.0, margin=0.6).eval()
    x = torch.tensor(signals(5)).unsqueeze(1)
    y = rng.integers(0, 3, 5)
    valid = torch.ones_like(x, dtype=torch.bool)
    loss = learner(Batch(x, valid, torch.arange(5), torch.Generator(), torch.tensor(y)), 0.0)
    with torch.no_grad():
        z = learner.embed(x[:, 0], valid[:, 0]).double().numpy()
        w = learner.head.weight.double().numpy()
    angle = np.arccos((z @ w.T) / np.linalg.norm(z, axis=1)[:, None] / np.linalg.norm(w, axis=1))
    each = []
    for row, own in enumerate(y):
        turned = math.cos(angle[row, own] + 0.6)
        if angle[row, own] > math.pi - 0.6:
            turned = math.cos(angle[row, own]) - 0.6 * math.sin(0.6)
        score = np.cos(angle[row])
        score[own] = turned
        each.append(np.log(np.exp(20 * score).sum()) - 20 * turned)
    assert loss["loss"].item() == pytest.approx(np.mean(each), rel=1e-3)


def test_the_harder_cosine_always_falls() -> None:
    learner = Recogniser(made("modal").method, 16, outputs=2)
    cosine = torch.linspace(1, -1, 400)
    assert (learner._harder(cosine).diff() < 1e-6).all()
    assert (learner._harder(cosine) <= cosine + 1e-6).all()


@pytest.mark.slow
def test_people_are_learned_and_the_embedding_is_what_remains(store: Store) -> None:
    """Each recording's two halves of a person: after training they are nearest to each other."""
    model, rows = made("w2v_cmsc_rlm"), np.array([1, 2, 3, 4, 6, 7, 8, 9])
    people = np.arange(8)
    tuned = finetune(
        model, store, rows, people, "identity", epochs=60, batch=8, threads=1, precision="fp32",
        lr=3e-3,
    )  # fmt: skip
    assert not len(tuned.validated)
    assert tuned.checks == ()
    predicted = tuned.predict(store, rows)
    assert predicted.shape == (8, 8)
    assert (predicted.argmax(1) == people).mean() > 0.8
    before, after = (_rank1(one, store, rows) for one in (model, tuned.model))
    assert after > before


def _rank1(model: Model, store: Store, rows: np.ndarray) -> float:
    """Share of second halves that are nearest to the first of the same recording."""
    pairs = [store.read(int(row)) for row in rows]
    halves = [
        np.stack([
            one.mean()
            for one in model.embed_prepared((x[:, part], v[:, part]) for x, v in pairs)
        ])
        for part in (slice(0, 500), slice(500, 1000))
    ]  # fmt: skip
    score = similarity(*halves, centred=False)
    return float((score.argmax(1) == np.arange(len(rows))).mean())


# --- fine-tuning -------------------------------------------------------------------------------


def test_one_pretrained_model_is_tuned_with_any_leads(store: Store) -> None:
    model = made("w2v_cmsc_rlm")
    rows = np.flatnonzero(np.arange(40) % 5 > 0)
    target = (store.column("offset")[rows] // 4000) % 2
    tuned = finetune(
        model, store, rows, target, "classes", leads=("I", "V2"), epochs=1, batch=16, threads=1,
        precision="fp32",
    )  # fmt: skip
    assert tuned.leads == ("I", "V2")
    assert tuned.model.method.any_leads
    predicted = tuned.predict(store, rows[:4])
    for probability, row in zip(predicted, rows[:4], strict=True):
        x, valid = store.read(int(row))
        valid[[1, 2]] = False
        x = np.where(valid, x, np.float32(7))
        windows = tuned.model.per_window(tuned.model.method.predict, [(x, valid)], overlap=0.5)  # type: ignore[attr-defined]
        assert np.allclose(next(windows).mean(), probability, atol=1e-5)


@pytest.mark.parametrize(
    ("chance", "seen"), [(None, (4 * 0.5 + 0.5**4) / 4), (0.0, 1.0), (1.0, 1 / 4)]
)
def test_leads_are_hidden_while_a_model_of_any_leads_is_tuned(
    store: Store, monkeypatch: pytest.MonkeyPatch, chance: float | None, seen: float
) -> None:
    """Of four leads each stays by a half, one of them always; or one alone; or all of them."""
    shares: list[float] = []
    embed = W2vCmscRlm.embed

    def spied(self: W2vCmscRlm, x: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        if self.training:
            shares.append(float(valid.any(-1).float().mean()))
        return embed(self, x, valid)

    monkeypatch.setattr(W2vCmscRlm, "embed", spied)
    monkeypatch.setattr("nerula.finetune.LEAST_STEPS", 30)
    rows = np.flatnonzero(has_leads(store, LEADS))
    tuned = finetune(
        made("w2v_cmsc_rlm"), store, rows, np.arange(len(rows)) % 2, "classes", epochs=1, batch=16,
        threads=1, precision="fp32", lead_chance=chance,
    )  # fmt: skip
    assert tuned.learner.lead_chance == (0.5 if chance is None else chance)
    assert np.mean(shares) == pytest.approx(seen, abs=0.05)
    plain = finetune(
        made("w2v_cmsc_rlm", rlm=False), store, rows, np.arange(len(rows)) % 2, "classes",
        epochs=1, batch=16, threads=1, precision="fp32",
    )  # fmt: skip
    assert plain.learner.lead_chance == 0


def test_identity_is_tuned_on_other_people_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve people with two recordings each; those of fold 10 are nobody's teacher."""
    facts = {"source": {"kind": "ptbxl100"}}
    with StoreWriter(tmp_path / "store", Contract(LEADS, 100.0), facts) as writer:
        for i, x in enumerate(signals(24)):
            who = {"subject": str(i // 2), "fold": "10" if i < 12 else "3"}
            writer.add(Recording(str(i), x, 100.0, LEADS, np.ones(x.shape, bool), **who))
    data, asked = Store.open(tmp_path / "store"), find("identity-ptbxl")
    met: list[int] = []

    def spied(model: Model, store: Store, rows: Any, people: Any, *kind: str, **how: Any) -> Any:
        met.extend(rows)
        assert people.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
        return finetune(model, store, rows, people, *kind, **how)

    monkeypatch.setattr("nerula.finetune.finetune", spied)
    monkeypatch.setattr("nerula.finetune.LEAST_STEPS", 2)
    tuning = {"epochs": 1, "batch": 4, "threads": 1, "precision": "fp32"}
    ways = Ways(probes=("cosine",), finetune=True, unverified=True, tuning=tuning)
    plain, tuned = evaluate(made("modal"), asked, data, tmp_path / "cache", ways)
    assert sorted(met) == list(range(12, 24))
    assert [one.document["way"]["probe"] for one in (plain, tuned)] == ["cosine", "finetuned"]
    assert plain.metrics["rank1"]["n"] == tuned.metrics["rank1"]["n"] == 6
    assert not np.allclose(plain.runs[0].answers.score, tuned.runs[0].answers.score)


def test_identity_of_one_lead_is_answered_by_a_model_that_never_did_without(
    store: Store, tmp_path: Path
) -> None:
    asked = replace(find("identity-windows"), family="unknown files")
    ways = Ways(probes=("cosine",), unverified=True, resamples=20)
    (result,) = evaluate(made("w2v_cmsc_rlm", rlm=False), asked, store, tmp_path, ways)
    assert result.metrics["rank1"]["n"] == 32  # the others have no lead I
    assert result.document["windows"]["leads"] == ["I"]
    assert "is given I" in result.document["windows"]["doubt"]


def test_where_there_is_nobody_else_nothing_is_tuned(store: Store, tmp_path: Path) -> None:
    asked = replace(find("identity"), family="unknown files")
    with pytest.raises(UsageError, match="nothing is trained"):
        next(evaluate(made("modal"), asked, store, tmp_path, Ways(finetune=True)))


def test_a_result_says_its_leads_and_how_many_lacked_one(store: Store, tmp_path: Path) -> None:
    asked = replace(
        find("sex"), family="unknown files", splits=lambda _, counts: [_thirds(counts)],
        target=lambda facts: np.arange(len(facts)) // 5 % 2,
    )  # fmt: skip
    keys = []
    for leads in ((), ("II", "V1"), ("II",)):
        ways = Ways(probes=("logistic",), leads=leads, unverified=True)
        (result,) = evaluate(made("modal"), asked, store, tmp_path, ways)
        assert result.document["data"]["lacking"] == (0 if leads == ("II",) else 8)
        assert result.document["windows"]["leads"] == list(leads or LEADS)
        keys.append(result.key)
    assert len(set(keys)) == 3
    assert keys[1].endswith("leads-II-V1")


def _thirds(counts: np.ndarray) -> Split:
    rows = np.flatnonzero(counts)
    return Split(rows[::3], rows[1::3], rows[2::3], rows[:0])
