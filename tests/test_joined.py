"""A model of one lead and several leads: each is embedded by itself, and all are joined."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nerula import bundle, sample
from nerula.cli import main
from nerula.contract import Contract
from nerula.embed import embed
from nerula.errors import UsageError
from nerula.evaluate import evaluate
from nerula.features import Features, Whole
from nerula.ground import Ways
from nerula.leads import given, named
from nerula.model import Model
from nerula.probe import probe
from nerula.readers.names import STANDARD
from nerula.recording import Recording
from nerula.store import Store
from nerula.tasks import find
from nerula.writer import StoreWriter

LEADS = ("I", "II", "V2")
COUNT = 30


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """30 recordings of the sample as three leads each; the last one has no V2."""
    path, x = tmp_path_factory.mktemp("joined") / "store", sample.load().x[:, 0]
    with StoreWriter(path, Contract(LEADS, 100.0)) as writer:
        for number in range(COUNT):
            rows = x[3 * number : 3 * number + 3]
            valid = np.ones(rows.shape, bool)
            valid[2] = number < COUNT - 1
            valid[0, 200:300] = False
            one = Recording(f"{number:02d}", rows, 100.0, LEADS, valid, subject=f"s{number // 2}")
            writer.add(one)
    return Store.open(path)


@pytest.fixture(scope="module")
def model(hand_made: Path) -> Model:
    return bundle.load(hand_made)


def alone(model: Model, store: Store, row: int, lead: int) -> np.ndarray:
    x, valid = store.read(row)
    return next(model.embed_prepared([(x[[lead]], valid[[lead]])])).mean()


def test_several_leads_are_embedded_one_by_one_and_joined(
    model: Model, store: Store, tmp_path: Path
) -> None:
    rows = np.arange(4)
    found = Features(model, store, Whole(), tmp_path, ("V2", "I")).of(rows)
    expected = [np.hstack([alone(model, store, row, lead) for lead in (2, 0)]) for row in rows]
    assert np.allclose(found, expected, atol=1e-5)
    one = Features(model, store, Whole(), tmp_path, ("I",)).of(rows)
    assert np.allclose(one, found[:, found.shape[1] // 2 :], atol=1e-5)


def test_embed_joins_what_was_named_and_refuses_who_lacks_a_lead(
    model: Model, hand_made: Path, store: Store, tmp_path: Path
) -> None:
    assert embed(str(hand_made), store.path, tmp_path / "z.npy", lead="V2,I") == 0
    z = np.load(tmp_path / "z.npy")
    assert z.shape == (COUNT - 1, 2 * model.dimensions)
    expected = np.hstack([alone(model, store, 7, lead) for lead in (2, 0)])
    assert np.allclose(z[7], expected, atol=1e-5)
    with (tmp_path / "z.npy.quarantine.csv").open(encoding="utf-8") as file:
        (refused,) = csv.DictReader(file)
    assert (refused["name"], refused["code"], refused["lead"]) == ("29", "lead-missing", "V2")
    with (tmp_path / "z.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["windows"] for row in rows} == {"2"}  # of 5.12 s
    assert float(rows[0]["valid"]) == pytest.approx((0.9 + 1) / 2 * 1000 / 1024, abs=1e-3)


def test_each_is_all_twelve() -> None:
    assert named("each") == named(" Each ") == STANDARD
    assert given("each").fitted == STANDARD
    assert given("each:I,II") == (STANDARD, ("I", "II"))


def test_a_probe_of_joined_leads_is_fitted_kept_and_asked(
    hand_made: Path, store: Store, tmp_path: Path
) -> None:
    path = tmp_path / "own.csv"
    lines = ["name,odd", *(f"{number:02d},{number % 2}" for number in range(COUNT))]
    path.write_text("\n".join(lines), encoding="utf-8")
    (result,) = probe(
        str(hand_made),
        str(path),
        store.path,
        probes="logistic",
        leads="I,V2",
        save=tmp_path / "kept",
    )
    assert result.document["windows"]["leads"] == ["I", "V2"]
    assert result.document["data"]["lacking"] == 1
    head = next((tmp_path / "kept").iterdir())
    words = ["predict", str(head), str(store.path), "--model", str(hand_made)]
    with pytest.raises(SystemExit) as ended:
        main([*words[:3], str(tmp_path / "said.csv"), *words[3:]])
    assert ended.value.code == 0
    with (tmp_path / "said.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == COUNT - 1
    with pytest.raises(SystemExit) as ended:
        main([*words[:3], str(tmp_path / "said.csv"), *words[3:], "--leads", "I"])
    assert ended.value.code == 1


@pytest.mark.parametrize(
    ("ways", "words"),
    [
        (Ways(leads=("I", "II"), tested=("I",)), "2 leads in training and of 1"),
        (Ways(leads=("I", "II"), probes=("finetuned",)), "fine-tuned with one lead"),
    ],
)
def test_what_joined_leads_cannot_do_is_refused(
    model: Model, store: Store, tmp_path: Path, ways: Ways, words: str
) -> None:
    path = tmp_path / "own.csv"
    lines = ["name,odd", *(f"{number:02d},{number % 2}" for number in range(COUNT))]
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(UsageError, match=words):
        list(evaluate(model, find(str(path)), store, tmp_path, ways))


def test_people_are_recognised_by_joined_leads_but_for_halves_of_one(
    model: Model, store: Store, tmp_path: Path
) -> None:
    """Two recordings of 15 people, and all they have in common is that they are of one person."""
    ways = Ways(
        probes=("discriminant", "cosine"), leads=("I", "II"), unverified=True, resamples=20
    )
    found = list(evaluate(model, replace(find("identity"), family=""), store, tmp_path, ways))
    assert [one.document["windows"]["leads"] for one in found] == [["I", "II"]] * 2
    assert found[0].metrics["rank1"]["n"] == COUNT // 2
    halves = replace(find("identity-halves"), family="")
    with pytest.raises(UsageError, match="gives a model of one lead one, not 2"):
        list(evaluate(model, halves, store, tmp_path, ways))
