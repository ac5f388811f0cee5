"""A training that goes on from a model: its weights, its arguments, and all that it has seen."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nerula import bundle, guards, sample
from nerula.batches import ANY, Batches
from nerula.contract import Contract
from nerula.errors import UsageError
from nerula.method import Needs
from nerula.methods import build
from nerula.options import Options
from nerula.prepare import Options as Preparing
from nerula.prepare import make_store
from nerula.pretrain import pretrain
from nerula.recording import Recording
from nerula.store import Store
from nerula.tasks import Facts
from nerula.writer import StoreWriter
from tests.tiny import NAME, Tiny

QUICK: dict[str, Any] = {"epochs": 1, "batch": 16, "device": "cpu", "threads": 1, "lr": 0.01}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("store") / "sample"
    make_store(sample.load(), place, Preparing(leads=("II",), limit=200), quiet=True)
    return place


@pytest.fixture(scope="module")
def wide(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with an argument that is not the default, trained on fold 9."""
    run = tmp_path_factory.mktemp("wide") / "run"
    pretrain(NAME, store, run, **QUICK | {"folds": "9"}, width=12)
    return run


def loaded(folder: Path) -> Any:
    return bundle.load(folder, method=Tiny)


def test_it_goes_on_from_the_weights_and_arguments_of_the_model(
    store: Path, wide: Path, tmp_path: Path
) -> None:
    pretrain(NAME, store, tmp_path / "none", **QUICK | {"epochs": 0}, start=wide)
    pretrain(NAME, store, tmp_path / "some", **QUICK | {"folds": "1-8"}, start=wide)
    before, same, after = (loaded(one) for one in (wide, tmp_path / "none", tmp_path / "some"))
    assert same.config.tensors == before.config.tensors != after.config.tensors
    assert after.config.arguments["width"] == 12
    assert "--start" in after.config.training["command"]


def test_what_the_model_has_seen_counts_as_seen(store: Path, wide: Path, tmp_path: Path) -> None:
    pretrain(NAME, store, tmp_path / "run", **QUICK | {"folds": "1-8"}, start=wide)
    training = loaded(tmp_path / "run").config.training
    facts = Facts.of(Store.open(store))
    kind, digest = "ptbxl100", Store.open(store).digest
    for fold, leaks in (("9", True), ("10", False), ("3", True)):
        rows = np.flatnonzero(facts.fold == fold)
        if leaks:
            with pytest.raises(guards.LeakError, match=f"folds {fold}"):
                guards.unseen(training, facts, kind, digest, rows)
        else:
            said = guards.unseen(training, facts, kind, digest, rows).detail
            assert said.count("none in common") == 2
            assert "before that" in said


def test_the_cards_tell_of_both_trainings(store: Path, wide: Path, tmp_path: Path) -> None:
    pretrain(NAME, store, tmp_path / "run", **QUICK | {"folds": "1-8"}, start=wide)
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert card.count("nerula pretrain tests.tiny:Tiny") == 2
    assert card.index("--folds 1-8") < card.index("It began with") < card.index("--folds 9")
    assert "what it began with" in card
    data = (tmp_path / "run" / "model" / "DATA.md").read_text()
    assert data.index("Before that, from:") < data.index("| sex |")
    assert data.count("| sex |") == 2
    assert data.index("| sex |") < data.index("Before that:") < data.rindex("| sex |")


def test_another_beginning_is_another_run(store: Path, wide: Path, tmp_path: Path) -> None:
    pretrain(NAME, store, tmp_path / "run", **QUICK, width=12)
    with pytest.raises(UsageError, match="was started with something else: start"):
        pretrain(NAME, store, tmp_path / "run", **QUICK, start=wide)


def test_what_does_not_fit_is_refused(store: Path, wide: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="another network"):
        pretrain(NAME, store, tmp_path / "a", **QUICK, start=wide, width=24)
    with pytest.raises(UsageError, match="its own arguments"):
        pretrain(NAME, store, tmp_path / "b", **QUICK, start=wide, preset="wide")
    with pytest.raises(UsageError, match="of the method nerula, not"):
        pretrain(NAME, store, tmp_path / "c", **QUICK, start="nerula-small")
    fast = tmp_path / "fast"
    make_store(sample.load(), fast, Preparing(leads=("II",), rate=125.0, limit=40), quiet=True)
    with pytest.raises(UsageError, match="--rate 100"):
        pretrain(NAME, fast, tmp_path / "d", **QUICK, start=wide)


def test_the_leads_are_the_models_in_its_order(leads: Store, tmp_path: Path) -> None:
    """Of several leads a network knows the places alone: other leads there would mean others."""
    quick = QUICK | {"epochs": 0}
    pretrain(NAME, leads.path, tmp_path / "two", **quick, leads="v1,i")
    pretrain(NAME, leads.path, tmp_path / "more", **quick, start=tmp_path / "two")
    assert loaded(tmp_path / "more").contract.leads == ("V1", "I")
    for other in ("I,V1", "II,V1", "any"):
        with pytest.raises(UsageError, match="has the leads V1, I, in this order"):
            pretrain(
                NAME, leads.path, tmp_path / "no", **quick, start=tmp_path / "two", leads=other
            )


def test_a_model_of_one_lead_takes_its_own_or_one_that_is_named(
    wide: Path, leads: Store, tmp_path: Path
) -> None:
    quick = QUICK | {"epochs": 0}
    pretrain(NAME, leads.path, tmp_path / "own", **quick, start=wide)
    pretrain(NAME, leads.path, tmp_path / "named", **quick, start=wide, leads="V1")
    pretrain(NAME, leads.path, tmp_path / "any", **quick, start=wide, leads="Any")
    found = [loaded(tmp_path / one).contract.leads for one in ("own", "named", "any")]
    assert found == [("II",), ("V1",), ("II",)]
    with StoreWriter(tmp_path / "chest", Contract(("V1", "V2"), 100.0)) as writer:
        x = np.ones((2, 1024), np.float32)
        for i in range(16):
            writer.add(Recording(str(i), x, 100.0, ("V1", "V2"), x > 0))
    with pytest.raises(UsageError, match=r"takes one lead, and the store has V1, V2.*--leads any"):
        pretrain(NAME, tmp_path / "chest", tmp_path / "no", **quick, start=wide)


def test_a_moving_average_begins_where_the_network_does() -> None:
    small = {"width": 16, "heads": 2, "projector": 16, "decoder_width": 16}
    for name, arguments in (
        ("nerula", small | {"ema": 0.9}),
        ("byol", {"widths": (4, 4, 4, 4), "hidden": 8, "projector": 8}),
    ):
        method = build(name, **arguments)
        with torch.no_grad():
            for weight in method.encoder.parameters():
                weight.add_(1.0)
        method.after_start()
        pairs = zip(method.target.encoder.parameters(), method.encoder.parameters(), strict=True)
        assert all(torch.equal(theirs, own) for theirs, own in pairs)
        assert not any(weight.requires_grad for weight in method.target.parameters())


# --- any lead --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def leads(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Three leads whose samples tell which they are; every third recording has lead II alone."""
    place = tmp_path_factory.mktemp("leads") / "store"
    with StoreWriter(place, Contract(("I", "II", "V1"), 100.0)) as writer:
        for i in range(96):
            x = np.repeat(np.array([[1.0], [2.0], [3.0]], np.float32), 1024, axis=1)
            valid = np.ones(x.shape, bool)
            valid[::2] = i % 3 > 0
            writer.add(Recording(str(i), x, 100.0, ("I", "II", "V1"), valid))
    return Store.open(place)


def test_any_lead_is_one_that_the_recording_has(leads: Store) -> None:
    batches = Batches(leads, Needs(), Options(batch=32, epochs=20), CPU, leads=ANY)
    assert batches.leads == ("II",)
    assert len(batches.index) == 96
    seen = [batches.at(step) for step in range(batches.steps)]
    assert all(one.x.shape == (32, 1, 1, 1024) and one.valid.all() for one in seen)
    lead = torch.cat([one.x[:, 0, 0, 0] for one in seen]).round().long()
    count = torch.bincount(lead, minlength=4).tolist()
    # Of 1,920 windows a third are of recordings with II alone, the others of three leads alike.
    assert count[0] == 0
    assert all(
        abs(have - want) < 100 for have, want in zip(count[1:], (427, 1067, 427), strict=True)
    )
    again = Batches(leads, Needs(), Options(batch=32, epochs=20), CPU, leads=ANY)
    assert torch.equal(again.at(7).x, seen[7].x)
    assert not torch.equal(seen[6].x, seen[7].x)


def test_any_lead_is_shared_by_the_ranks_and_watched_by_its_own(leads: Store) -> None:
    whole = Batches(leads, Needs(), Options(batch=32), CPU, leads=ANY)
    halves = [
        Batches(leads, Needs(), Options(batch=32), CPU, leads=ANY, share=(rank, 2))
        for rank in (0, 1)
    ]
    assert torch.equal(torch.cat([half.at(2).x for half in halves]), whole.at(2).x)
    watched = whole.windows(whole.index[:9], np.zeros(9, np.int64))
    assert (watched.x - 2).abs().max() < 1e-3


def test_any_lead_is_for_methods_of_one(leads: Store) -> None:
    with pytest.raises(UsageError, match="wants 3 leads"):
        Batches(leads, Needs(leads=3), Options(batch=8), CPU, leads=ANY)


def test_a_model_of_any_lead_says_so_and_embeds_each(leads: Store, tmp_path: Path) -> None:
    pretrain(NAME, leads.path, tmp_path / "run", **QUICK, leads="any")
    model = loaded(tmp_path / "run")
    assert model.contract.leads == ("II",)
    assert model.config.training["options"]["leads"] == "any"
    for name in ("README.md", "DATA.md"):
        assert "any one of I, II, V1" in (tmp_path / "run" / "model" / name).read_text()
    x = np.random.default_rng(0).normal(0, 1, 1000).astype(np.float32)
    assert model.embed(x, rate=100, lead="V1").shape == (8,)
