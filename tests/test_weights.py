"""The models that come with the package: whole, small, attributed, and at hand at once."""

import json
from pathlib import Path

import numpy as np
import pytest

import nerula
from nerula import bundle, sample
from nerula.brought import WEIGHTS
from nerula.cli import main
from tests.wfdb_records import write_record

NAMES = sorted(folder.name for folder in WEIGHTS.iterdir() if folder.is_dir())
RESULTS = Path(__file__).parents[1] / "results"


def test_the_default_is_there() -> None:
    assert bundle.DEFAULT in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_small_attributed_and_from_folds_that_are_not_judged(name: str) -> None:
    folder = WEIGHTS / name
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 4_000_000
    config = bundle.load(name).config  # strict, and compares the fingerprint
    assert config is not None
    assert config.training["data"]["kind"] == "ptbxl100"
    assert set(config.training["data"]["folds"]) <= set("12345678")
    card = (folder / "README.md").read_text()
    assert "CC BY 4.0" in card
    assert "10.13026/kfzx-aw45" in card


@pytest.mark.parametrize("name", NAMES)
def test_results_say_how_they_were_made(name: str) -> None:
    config = bundle.load(name).config
    assert config is not None
    made = json.loads((RESULTS / f"{name}.json").read_text())
    assert made["tensors"] == config.tensors
    assert made["arguments"] == json.loads(json.dumps(config.arguments))
    assert made["training"] == json.loads(json.dumps(config.training))
    assert len(made["commit"]) >= 7
    for said in (made["training"]["command"], *map(str, made["training"]["machine"].values())):
        assert "/" not in said


def test_leads_small_takes_any_set_of_leads() -> None:
    model, some = nerula.load("leads-small"), ("I", "II", "V2")
    x = sample.load().x[:3, 0].astype(np.float32)
    twelve = np.full((12, x.shape[1]), np.nan, np.float32)
    twelve[[model.contract.leads.index(lead) for lead in some]] = x
    z = model.embed(x, 100, leads=some)
    np.testing.assert_allclose(z, model.embed(twelve, 100, leads=model.contract.leads), atol=1e-5)
    assert np.abs(z - model.embed(x[1], 100, lead="II")).max() > 0.01


def test_a_file_is_embedded_right_after_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_record(tmp_path, leads=("I", "II"))
    with pytest.raises(SystemExit) as ended:
        main(["embed", "rec.hea"])
    assert ended.value.code == 0
    z = np.load("rec.embeddings.npy")
    second = np.fromfile("rec.dat", "<i2").reshape(-1, 2)[:, 1] / 1000
    direct = nerula.load(bundle.DEFAULT).embed(second, rate=250, lead="II", unit="mV")
    assert z.shape == (1, direct.size)
    assert np.allclose(z.ravel(), direct.ravel(), atol=1e-4 * np.abs(direct).max())
