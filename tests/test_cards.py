"""Cards: written by the training, true to it, and what a hub reads; results go on them by name."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nerula import brought, bundle, cards, sample
from nerula.cards import figures
from nerula.census import census
from nerula.cli import main
from nerula.errors import NerulaError, UsageError
from nerula.prepare import Options, make_store
from nerula.pretrain import pretrain
from nerula.schema import Config
from nerula.store import Store
from tests.tiny import NAME


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    place = tmp_path_factory.mktemp("store") / "sample"
    make_store(sample.load(), place, Options(leads=("II",), limit=300), quiet=True)
    return Store.open(place)


@pytest.fixture(scope="module")
def trained(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as its training leaves it, cards and all."""
    run = tmp_path_factory.mktemp("trained") / "run"
    pretrain(NAME, store.path, run, epochs=1, batch=32, folds="1-8", device="cpu")
    return run / "model"


@pytest.fixture
def model(trained: Path, tmp_path: Path) -> Path:
    """The same to write on."""
    for path in trained.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def result(folder: Path, tensors: str, **more: Any) -> Path:
    """A document as `nerula probe --out` writes it, as far as a card reads it."""
    held = {"value": 0.8, "low": 0.7, "high": 0.9, "n": 120, "chance": 0.5, "better": "higher"}
    document = {
        "format": "nerula-result-1",
        "task": {"name": "sex", "title": "Sex", "main": "auroc", "protocol": "By folds."},
        "model": {"tensors": tensors},
        "provenance": {"status": "checked", "detail": "none in common"},
        "data": {"kind": "ptbxl100", "tested": 120},
        "way": {"probe": "logistic", "labels": 1.0, "gap": 0.0, "filling": "masked"},
        "metrics": {"auroc": held, "brier": {**held, "value": None}},
        "subgroups": [
            {"by": "sex", "group": "female", "n": 60, "metrics": {"auroc": held}},
            {"by": "age", "group": "0-39", "n": 5, "metrics": None},
        ],
        "command": "nerula probe /somewhere/private",
    } | more
    path = folder / f"{len(list(folder.glob('r*.json')))}.result.json"
    path.write_text(json.dumps(document))
    return path


def front(card: str) -> dict[str, Any]:
    yaml = pytest.importorskip("yaml")
    found: dict[str, Any] = yaml.safe_load(card.split("---\n")[1])
    return found


# --- whose recordings ------------------------------------------------------------------------


def test_the_census_counts_what_was_trained_on(store: Store) -> None:
    rows = np.flatnonzero(store.column("fold") != "10")
    found = census(store, rows)
    sex, age = store.column("sex")[rows], store.column("age")[rows]
    assert found["sex"]["female"] == (sex == "female").sum()
    assert sum(found["sex"].values()) == sum(found["age"].values()) == len(rows)
    assert found["age"]["60-74"] == ((age >= 60) & (age < 75)).sum()
    assert found["age"]["not known"] == np.isnan(age).sum()
    assert found["left out"] == len(store) - len(rows)
    assert found["hours"] == pytest.approx(len(rows) / 360, abs=0.01)
    assert found["statements"]["NORM"] == sum(
        "NORM" in one for one in store.column("labels")[rows]
    )
    assert found["subjects"] == len(set(store.column("subject")[rows]) - {None})
    json.dumps(found)


def test_the_training_writes_both_cards(trained: Path, store: Store) -> None:
    config = Config.read(trained)
    card, data = ((trained / name).read_text() for name in ("README.md", "DATA.md"))
    assert card == cards.card(config)
    assert data == cards.data_card(config)
    trained_on = config.training["data"]
    assert f"| Recordings | {trained_on['recordings']:,} |" in card
    assert f"| female | {trained_on['sex']['female']:,} |" in data
    for said in (
        "For research use; not a medical device", "Not intended: diagnosis", "Not measured yet",
        "Energy, estimated", "10 W per thread", "| 18a | funding | not reported |",
        "| 20b | their characteristics | DATA.md", "| 23a | performance with intervals | not rep",
        "nerula pretrain tests.tiny:Tiny",
    ):  # fmt: skip
        assert said in card, said
    about = front(card)
    assert about["license"] == "apache-2.0"
    assert about["pipeline_tag"] == "feature-extraction"
    assert about["library_name"] == "nerula"
    assert "model-index" not in about
    assert front(data)["tags"] == ["ecg"]


def test_models_of_before_get_a_card_that_says_what_is_not_known(trained: Path) -> None:
    from dataclasses import replace

    config = Config.read(trained)
    old = replace(config, training={"data": {"store": "x", "recordings": 7}})
    assert "Not written down when this was trained" in cards.data_card(old)
    assert "| 20b | their characteristics | not reported |" in cards.card(old)
    bare = replace(config, training={})
    assert "Not known." in cards.card(bare)
    assert "The publisher is not known" in cards.data_card(bare)


# --- results ---------------------------------------------------------------------------------


def test_a_model_that_came_along_keeps_its_name(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, name in ((None, Config.read(model).method), (model.parent, model.name)):
        monkeypatch.setattr(brought, "WEIGHTS", folder)
        with pytest.raises(SystemExit):
            main(["card", str(model)])
        assert f"# {name}: ECG embeddings" in (model / "README.md").read_text()


def test_results_go_on_the_card_and_into_what_a_hub_reads(model: Path) -> None:
    tensors = Config.read(model).tensors
    found = result(model, tensors)
    with pytest.raises(SystemExit) as ended:
        main(["card", str(model), str(found)])
    assert ended.value.code == 0
    card = (model / "README.md").read_text()
    assert "| Sex, PTB-XL | logistic | auroc | 0.800, 0.700 to 0.900 | 0.500 | 120 |" in card
    assert "| female | 60 | 0.800, 0.700 to 0.900 |" in card
    assert "| 0-39 | 5 | too few to judge |" in card
    assert "| 23a | performance with intervals | Results, also by sex and age |" in card
    assert "private" not in card + (model / "results.json").read_text()
    (listed,) = front(card)["model-index"]
    (entry,) = listed["results"]
    assert entry["metrics"] == [
        {"type": "auroc", "name": "auroc (0.800, 0.700 to 0.900)", "value": 0.8}
    ]
    library = pytest.importorskip("huggingface_hub")
    data = library.ModelCard(card).data
    assert data.eval_results[0].metric_value == 0.8
    assert bundle.load  # the figures beside it do not keep it from loading
    assert cards.written(Config.read(model), model) == card


def test_a_newer_result_of_the_same_question_takes_the_place(model: Path) -> None:
    config = Config.read(model)
    held = {"value": 0.6, "low": 0.5, "high": 0.7, "n": 120, "chance": 0.5, "better": "higher"}
    other = {"probe": "forest", "labels": 0.1, "gap": 0.3, "filling": "masked"}
    figures.add(model, config, [result(model, config.tensors)])
    figures.add(model, config, [result(model, config.tensors, metrics={"auroc": held})])
    assert [one["metrics"]["auroc"]["value"] for one in figures.read(model)] == [0.6]
    cards.add_results(model, [result(model, config.tensors, way=other)], "mine")
    assert len(figures.read(model)) == 2
    card = (model / "README.md").read_text()
    assert "forest, 10 % of labels, 30 % missing, masked" in card
    assert 'nerula.load("mine")' in card


def test_results_of_another_model_or_of_something_else_are_refused(model: Path) -> None:
    config = Config.read(model)
    with pytest.raises(UsageError, match="about another model"):
        figures.add(model, config, [result(model, "f00d")])
    with pytest.raises(NerulaError, match="no result of nerula probe"):
        figures.add(model, config, [result(model, config.tensors, format="other")])
    with pytest.raises(NerulaError, match="cannot be read"):
        figures.add(model, config, [model / "absent.json"])
    assert not (model / "results.json").exists()
    (model / "results.json").write_text("[]")
    with pytest.raises(NerulaError, match="does not hold an object"):
        figures.read(model)


def test_the_verb_finds_results_in_folders(
    model: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    empty = tmp_path_factory.mktemp("empty")
    for folder, code in ((empty, 1), (model, 0)):
        if not code:
            folder = tmp_path_factory.mktemp("probed")  # noqa: PLW2901
            result(folder, Config.read(model).tensors)
        with pytest.raises(SystemExit) as ended:
            main(["card", str(model), str(folder)])
        assert ended.value.code == code
    assert len(figures.read(model)) == 1


def test_the_sample_is_credited_to_its_publisher(trained: Path) -> None:
    for name in ("README.md", "DATA.md"):
        text = (trained / name).read_text(encoding="utf-8")
        assert "the sample that comes with Nerula, a part of PTB-XL" in text
        assert "CC BY 4.0" in text
