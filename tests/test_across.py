"""The tasks between leads: alignment of embeddings, and twelve leads from one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nerula import across, sample
from nerula.contract import Contract
from nerula.errors import UsageError
from nerula.evaluate import evaluate
from nerula.ground import Ways
from nerula.methods import build
from nerula.metrics import METRICS, Answers
from nerula.model import Model
from nerula.probe import probe
from nerula.results import Result
from nerula.store import Store
from nerula.tasks import find
from nerula.tasks.lead_alignment import correlations, scores
from nerula.tasks.leads import COUNTED, Filters, MeanBeat, agreement, peaks, targets
from tests.known_leads import LEADS, knowing, recorded


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return recorded(tmp_path_factory.mktemp("across") / "store")


def results(
    store: Store, task: str, folder: Path, knows: bool = True, **ways: Any
) -> list[Result]:
    model = knowing(knows=knows)
    return list(evaluate(model, find(task), store, folder, Ways(unverified=True, **ways)))


# --- alignment ---------------------------------------------------------------------------------


def test_correlations_are_centred_cosines() -> None:
    z = np.random.default_rng(0).normal(size=(3, 6, 4)).astype(np.float32) + 5
    flat = z.reshape(-1, 4).astype(float)
    c = z - flat.mean(0)
    for shift in (0, 1):
        found = correlations(z, shift=shift)
        for n in range(6):
            for a in range(3):
                for b in range(3):
                    u, v = c[a, n], c[b, n - shift]
                    expected = u @ v / np.linalg.norm(u) / np.linalg.norm(v)
                    assert found[n, a, b] == pytest.approx(expected, abs=1e-6)
    own = z - z.mean(1, keepdims=True)
    u, v = own[0, 2], own[1, 2]
    expected = u @ v / np.linalg.norm(u) / np.linalg.norm(v)
    assert correlations(z, own=True)[2, 0, 1] == pytest.approx(expected, abs=1e-5)


def test_leads_that_say_the_same_are_aligned_and_noise_is_not() -> None:
    rng = np.random.default_rng(1)
    same = np.repeat(rng.normal(size=(1, 300, 16)), 5, axis=0).astype(np.float32)
    noise = rng.normal(size=(5, 300, 16)).astype(np.float32)
    apart = same + 10 * rng.normal(size=(5, 1, 16)).astype(np.float32)
    assert scores(same).mean(0) == pytest.approx([1, 1, 0], abs=0.03)
    assert scores(noise).mean(0) == pytest.approx([0, 0, 0], abs=0.03)
    common, own, _ = scores(apart).mean(0)
    assert own == pytest.approx(1, abs=0.01)
    assert common < 0.5  # an offset of each lead is forgiven only where it says so


def test_the_task_tells_an_aligned_model_from_one_that_is_not(
    store: Store, tmp_path: Path
) -> None:
    (aligned,) = results(store, "lead-alignment", tmp_path / "a")
    (apart,) = results(store, "lead-alignment", tmp_path / "b", knows=False)
    assert aligned.metrics["alignment"]["value"] > 0.95
    assert aligned.metrics["alignment"]["n"] == 20
    assert apart.metrics["alignment"]["value"] < 0.3  # two leads are upside down
    assert abs(aligned.metrics["alignment_shuffled"]["value"]) < 0.3
    matrix = np.array(aligned.document["shown"]["matrix"])
    assert matrix.shape == (5, 5)
    assert np.allclose(np.diag(matrix), 1, atol=1e-3)
    picture = across.heat_map(aligned.document["shown"], tmp_path / "map.png")
    assert picture.stat().st_size > 5000


# --- twelve leads from one ---------------------------------------------------------------------


def test_limb_leads_that_follow_by_arithmetic_and_the_source_never_count() -> None:
    twelve = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
    assert [twelve[row] for row in targets("I", twelve)] == ["II", *COUNTED[2:]]
    assert [twelve[row] for row in targets("II", twelve)] == ["I", *COUNTED[2:]]


def test_agreement_is_of_what_was_measured_less_the_mean() -> None:
    rng = np.random.default_rng(0)
    truth, guess = rng.normal(size=(2, 3, 50)).astype(np.float32)
    valid = np.ones((3, 50), bool)
    valid[0, 20:] = False
    valid[2] = False
    r, error, variance = agreement(guess + 7, truth, valid)[0]
    a, b = guess[0, :20].astype(float), truth[0, :20].astype(float)
    assert r == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-6)
    assert error == pytest.approx(np.mean((a - a.mean() - b + b.mean()) ** 2), rel=1e-5)
    assert variance == pytest.approx(b.var(), rel=1e-5)
    assert np.isnan(agreement(guess, truth, valid)[2]).all()


def test_metrics_are_means_over_leads() -> None:
    rng = np.random.default_rng(0)
    score = np.abs(rng.normal(size=(9, 2, 3)))
    score[3, 1] = np.nan
    answers = Answers(np.zeros(9), score.reshape(9, 6), np.zeros(9))
    mean = np.nanmean(score, axis=0)
    expected = {
        "lead_pearson": mean[:, 0].mean(),
        "lead_rmse": np.sqrt(mean[:, 1]).mean(),
        "lead_r2": (1 - mean[:, 1] / mean[:, 2]).mean(),
    }
    for name, value in expected.items():
        assert METRICS[name](answers, np.ones((1, 9)))[0] == pytest.approx(value)


@pytest.mark.parametrize("reach", [0, 3])
def test_least_squares_finds_the_filter(reach: int) -> None:
    rng = np.random.default_rng(0)
    taps = np.zeros(2 * reach + 1)
    taps[0], taps[-1] = 0.5, taps[-1] - 1.5 if reach else -1.0
    filters = Filters(reach, 2)
    signals = []
    for _ in range(5):
        x = rng.normal(size=300)
        x -= x.mean()
        other = np.correlate(np.pad(x, reach), taps, "valid")
        signals.append(np.stack([x, other]).astype(np.float32))
        filters.add(signals[-1], np.ones((2, 300), bool), 0)
    guess = filters.guess(signals[0][0])
    assert np.abs(guess[1] - signals[0][1]).max() < 0.05
    assert np.abs(guess[0] - signals[0][0]).max() < 0.05


def test_beats_are_found_where_another_detector_finds_them() -> None:
    x = sample.load().x[:60, 0]
    seen = torch.ones(60, 1, 1000, dtype=torch.bool)
    rate = build("heart_rate").embed(torch.from_numpy(x.copy()).unsqueeze(1), seen)[:, 0]
    mine = np.array([6 * len(peaks(one, 100)) for one in x])  # in ten seconds
    assert (np.abs(mine - rate.numpy()) <= 6).mean() > 0.9


def test_the_mean_beat_lies_where_beats_are() -> None:
    x = sample.load().x[:20, 0]
    beat = MeanBeat(100, 2)
    for one in x:
        beat.add(np.stack([one, -2 * one]), np.ones((2, 1000), bool), 0)
    guess = beat.guess(x[3])
    assert guess.shape == (2, 1000)
    assert np.allclose(guess[1], -2 * guess[0], atol=1e-5)
    assert np.corrcoef(guess[0], x[3])[0, 1] > 0.6
    assert not MeanBeat(100, 2).guess(np.zeros(1000, np.float32)).any()


def test_the_task_ranks_what_knows_above_what_does_not(store: Store, tmp_path: Path) -> None:
    found = {one.document["way"]["probe"]: one for one in results(store, "leads", tmp_path)}
    assert set(found) == set(find("leads").probes)
    value = {
        name: [one.metrics[key]["value"] for key in ("lead_pearson", "lead_rmse", "lead_r2")]
        for name, one in found.items()
    }
    assert value["decoded-I"][0] > 0.95
    assert value["decoded-I"][2] > 0.9
    assert value["scaled-I"] == pytest.approx(value["decoded-I"], abs=0.03)  # it can know it too
    assert value["beat-I"][0] < value["scaled-I"][0]
    assert value["beat-I"][1] > value["scaled-I"][1]
    assert found["decoded-II"].document["shown"]["leads"] == ["I", "V1", "V2"]
    assert found["decoded-I"].metrics["lead_pearson"]["chance"] == 0
    assert found["decoded-I"].metrics["lead_r2"]["chance"] == 0
    path = found["decoded-I"].write(tmp_path / "kept")
    again = Result.read(path)
    assert again.metrics == found["decoded-I"].metrics


def test_each_lead_is_judged_by_itself(store: Store, tmp_path: Path) -> None:
    (found,) = results(store, "leads", tmp_path, probes=("decoded-I",))
    shown = found.document["shown"]
    each = shown["each"]
    assert [one["lead"] for one in each] == shown["leads"] == ["II", "V1", "V2"]
    for name, whole in found.metrics.items():
        values = [one["metrics"][name]["value"] for one in each]
        assert np.mean(values) == pytest.approx(whole["value"], abs=1e-5)
        assert all(one["metrics"][name]["low"] <= one["metrics"][name]["high"] for one in each)
    score = found.runs[0].answers.score
    assert each[1]["metrics"]["lead_pearson"]["value"] == pytest.approx(
        np.nanmean(score[:, 3]), abs=1e-5
    )


def test_the_picture_is_on_paper(store: Store, tmp_path: Path) -> None:
    (found,) = results(store, "leads", tmp_path, probes=("decoded-I",))
    example = found.document["shown"]["example"]
    row = int(found.runs[0].row[0])
    x, valid = store.read(row)
    assert example["name"] == store.column("name")[row]
    measured, rebuilt = (np.array(example[key], float) for key in ("measured", "rebuilt"))
    assert measured.shape == rebuilt.shape == (len(LEADS), 400)
    assert np.array_equal(np.isnan(measured), ~valid[:, :400])
    assert measured[valid[:, :400]] == pytest.approx(1000 * x[:, :400][valid[:, :400]], abs=0.51)
    assert np.isfinite(rebuilt).all()
    path = across.paper(example, tmp_path / "leads.png")
    assert path.read_bytes()[:4] == b"\x89PNG"


def test_one_lead_is_no_task_for_leads(store: Store, tmp_path: Path) -> None:
    model = Model(build("random_init"), Contract(("II",), 100.0), 1024)
    with pytest.raises(UsageError, match="several leads, not of II"):
        list(evaluate(model, find("leads"), store, tmp_path, Ways(unverified=True)))
    with pytest.raises(UsageError, match="nothing is trained"):
        results(store, "leads", tmp_path, finetune=True)


@pytest.mark.parametrize("task", ["leads", "lead-alignment"])
def test_leads_cannot_be_chosen_where_the_task_gives_each_alone(task: str) -> None:
    with pytest.raises(UsageError, match="its leads itself"):
        probe("no model at all", task, leads="I")  # before anything is read
