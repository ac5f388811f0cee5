"""Controls: heart rates on real ECG against an independent count, random kernels, and no steps."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.signal import butter, find_peaks, sosfiltfilt
from torch import Tensor

import nerula
from nerula import sample
from nerula.cli import main
from nerula.errors import UsageError
from nerula.methods import build
from nerula.methods.heart_rate import NAMES, HeartRate, bridged
from nerula.methods.random_convolutions import LENGTHS, SOFTNESS, RandomConvolutions
from nerula.prepare import Options as Preparation
from nerula.prepare import make_store
from nerula.pretrain import pretrain


def everything(x: Tensor) -> Tensor:
    return torch.ones_like(x, dtype=torch.bool)


# --- heart rate --------------------------------------------------------------------------------


def ticking(intervals: list[float], rate: float = 100.0, height: float = 1.0) -> Tensor:
    """QRS complexes of 40 ms at the given distances, on a slow wave: (1, 1, T) mV."""
    beats = 0.5 + np.cumsum([0.0, *intervals])
    moment = np.arange(round((beats[-1] + 0.5) * rate)) / rate
    x = sum(height * np.exp(-(((moment - beat) / 0.017) ** 2)) for beat in beats)
    return torch.tensor(x + 0.2 * np.sin(2 * moment), dtype=torch.float32).view(1, 1, -1)


def statistics(x: Tensor, valid: Tensor | None = None, rate: float = 100.0) -> dict[str, float]:
    z = HeartRate(rate=rate).embed(x, everything(x) if valid is None else valid)
    return dict(zip(NAMES, z[0].tolist(), strict=True))


@pytest.mark.parametrize("rate", [100.0, 250.0, 500.0])
def test_rr_statistics_are_those_of_the_task_force(rate: float) -> None:
    intervals = np.array([0.80, 0.90, 0.78, 0.84, 1.00, 0.70, 0.82, 0.83, 0.90])
    found = statistics(ticking(intervals.tolist(), rate), rate=rate)
    change = np.diff(intervals)
    assert found["heart rate"] == pytest.approx(60 / np.median(intervals), rel=0.01)
    assert found["mean RR"] == pytest.approx(intervals.mean(), rel=0.005)
    assert found["SDNN"] == pytest.approx(intervals.std(), rel=0.05)
    assert found["RMSSD"] == pytest.approx(np.sqrt((change**2).mean()), rel=0.05)
    assert found["pNN50"] == pytest.approx((abs(change) > 0.05).mean(), abs=1e-5)
    assert found["shortest RR"] == pytest.approx(0.70, abs=0.006)
    assert found["longest RR"] == pytest.approx(1.00, abs=0.006)
    assert found["beats per minute"] == pytest.approx(60 * 10 / (intervals.sum() + 1), rel=0.01)
    assert found["irregular RR"] == pytest.approx(2 / 9, abs=1e-5)  # 1.00 and 0.70


def test_height_and_width_are_told() -> None:
    plain, tall = (statistics(ticking([0.8] * 9, height=height)) for height in (1.0, 2.0))
    assert tall["R"] == pytest.approx(2 * plain["R"], rel=0.1)
    assert tall["QRS width"] == pytest.approx(plain["QRS width"], rel=0.1)
    x = ticking([0.8] * 9)
    wide = torch.nn.functional.avg_pool1d(x, 9, 1, 4)
    assert statistics(wide)["QRS width"] > 1.1 * plain["QRS width"]
    noisy = x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    between = "fast deviation between beats"
    assert statistics(noisy)[between] > 2 * plain[between]


def test_intervals_over_a_gap_do_not_count() -> None:
    x = ticking([0.8] * 12)
    valid = everything(x)
    valid[..., 400:700] = False
    found = statistics(torch.where(valid, x, torch.nan), valid)
    assert found["heart rate"] == pytest.approx(75, abs=0.5)
    assert found["SDNN"] < 0.01
    assert found["longest RR"] < 0.85


def counted(x: np.ndarray) -> float:
    """Beats per minute from another filter and another peak finder."""
    band = butter(3, [8, 20], "bandpass", fs=100, output="sos")
    size = np.abs(sosfiltfilt(band, x))
    beats, _ = find_peaks(size, distance=30, height=0.4 * np.percentile(size, 98))
    return float(6000 / np.median(np.diff(beats)))


def test_real_recordings_have_the_rate_that_another_detector_counts() -> None:
    ecg = sample.load()
    sinus = np.flatnonzero(ecg.has("NORM"))[:200]
    x = torch.from_numpy(ecg.x[sinus])
    found = HeartRate().embed(x, everything(x))
    expected = np.array([counted(one[0]) for one in ecg.x[sinus]])
    near = np.abs(found[:, 1].numpy() - expected) < 4
    assert near.mean() > 0.9  # two detectors, ten seconds, and all kinds of noise
    assert np.median(np.abs(found[:, 1].numpy() - expected)) < 1


def test_atrial_fibrillation_is_irregular() -> None:
    ecg = sample.load()
    irregular = {}
    for name in ("AFIB", "NORM"):
        x = torch.from_numpy(ecg.x[np.flatnonzero(ecg.has(name))[:80]])
        z = HeartRate().embed(x, everything(x))
        irregular[name] = z[:, NAMES.index("RMSSD / mean RR")].median().item()
    assert irregular["AFIB"] > 3 * irregular["NORM"]


@pytest.mark.parametrize("time", [1, 2, 5, 30, 200])
@pytest.mark.parametrize("value", [0.0, 3.0, float("nan"), float("inf")])
def test_nothing_to_count_gives_finite_numbers(time: int, value: float) -> None:
    x = torch.full((2, 1, time), value)
    z = HeartRate().embed(x, everything(x))
    assert torch.isfinite(z).all()
    assert (z[:, :11] == 0).all()


def test_bridges_are_straight() -> None:
    x = torch.tensor([[[9.0, 1, 9, 9, 4, 5, 9]]])
    valid = torch.tensor([[[False, True, False, False, True, True, False]]])
    expected = torch.tensor([[[1.0, 1, 2, 3, 4, 5, 5]]])
    assert torch.allclose(bridged(torch.where(valid, x, torch.nan), valid), expected)
    assert (bridged(x, ~everything(x)) == 0).all()


# --- random convolutions -----------------------------------------------------------------------


def rocket(seed: int = 0, **arguments: Any) -> RandomConvolutions:
    torch.manual_seed(seed)
    return RandomConvolutions(**arguments)


def test_random_convolutions_are_the_two_statistics_of_each_kernel() -> None:
    method = rocket(kernels=40)
    x = sample.load().x[:3]
    valid = np.ones(x.shape, bool)
    valid[0, :, 200:300] = False
    z = method.embed(torch.from_numpy(x), torch.from_numpy(valid)).numpy()
    for row in range(3):
        there = valid[row, 0]
        signal = np.where(there, (x[row, 0] - x[row, 0][there].mean()) / 0.2, 0).astype(float)
        for dilation, kernels in method.dilated:
            for kernel in range(kernels.start, kernels.stop):
                weights = method.weights[kernel, 0].double().numpy()
                padded = np.pad(signal, 5 * dilation)
                y = float(method.bias[kernel]) + sum(
                    weight * padded[tap * dilation : tap * dilation + 1000]
                    for tap, weight in enumerate(weights)
                )
                share = np.clip(y[there] / SOFTNESS + 0.5, 0, 1).mean()
                assert z[row, kernel] == pytest.approx(share, abs=1e-4)
                assert abs(share - (y[there] > 0).mean()) < 0.02
                assert z[row, 40 + kernel] == pytest.approx(y[there].max(), abs=1e-3)


def test_kernels_are_those_of_rocket() -> None:
    method = rocket()
    assert len(method.weights) == 1000
    lengths = (method.weights != 0).sum(-1).flatten()
    assert set(lengths.tolist()) == set(LENGTHS)
    assert method.weights.sum(-1).abs().max() < 1e-4
    assert method.bias.abs().max() <= 1
    dilations = [dilation for dilation, _ in method.dilated]
    assert dilations == [1, 2, 4, 8, 16, 32, 64]
    assert sum(rows.stop - rows.start for _, rows in method.dilated) == 1000


def test_the_same_seed_gives_the_same_features() -> None:
    x = torch.from_numpy(sample.load().x[:4])
    first, again, other = (rocket(seed).embed(x, everything(x)) for seed in (0, 0, 1))
    assert first.shape == (4, 2000)
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


@pytest.mark.parametrize("name", ["heart_rate", "random_convolutions", "random_init", "majority"])
def test_invalid_samples_influence_nothing(name: str) -> None:
    torch.manual_seed(0)
    method = build(name)
    x = torch.from_numpy(sample.load().x[:4])
    valid = everything(x)
    valid[..., 300:420] = False
    with torch.no_grad():
        z = method.embed(x, valid)
        assert torch.equal(z, method.embed(torch.where(valid, x, torch.nan), valid))
        assert name == "majority" or not torch.equal(z, method.embed(x, everything(x)))


# --- without a step ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sample") / "store"
    make_store(sample.load(), path, Preparation(leads=("II",), limit=60))
    return path


QUICK: dict[str, Any] = {"threads": 1, "precision": "fp32", "batch": 16}


@pytest.mark.parametrize("name", ["heart_rate", "random_convolutions", "random_init", "majority"])
def test_a_control_is_written_at_once_and_loads(name: str, store: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert pretrain(name, store, run, **QUICK) == 0
    assert pretrain(name, store, run, **QUICK) == 0  # finished already
    config = json.loads((run / "model" / "config.json").read_text())
    assert config["training"]["steps"] == 0
    model = nerula.load(run)
    z = model.embed(sample.load().x[:3, 0], rate=100)
    assert z.shape == (3, config["dimensions"])
    assert np.isfinite(z).all()
    assert (name == "majority") == (z.std(0) == 0).all()


def test_hand_made_statistics_know_the_rate_of_the_store(tmp_path: Path) -> None:
    make_store(sample.load(), tmp_path / "store", Preparation(leads=("II",), limit=20, rate=250.0))
    assert pretrain("heart_rate", tmp_path / "store", tmp_path / "run", **QUICK) == 0
    assert json.loads((tmp_path / "run/model/config.json").read_text())["arguments"]["rate"] == 250


def test_any_method_without_epochs_is_its_own_control(store: Path, tmp_path: Path) -> None:
    assert pretrain("nerula", store, tmp_path / "run", epochs=0, **QUICK) == 0
    assert nerula.load(tmp_path / "run").embed(sample.load().x[0, 0], 100).shape == (2256,)


def test_cmsc_trains_on_recordings_of_ten_seconds(store: Path, tmp_path: Path) -> None:
    options = ["--epochs", "1", "--batch", "8", "--threads", "1", "--widths", "4,4,4,4"]
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", "cmsc", str(store), str(tmp_path / "run"), *options])
    assert ended.value.code == 0
    assert nerula.load(tmp_path / "run").window == 512


def test_labels_are_not_in_a_store(store: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="learns from labels"):
        pretrain("supervised", store, tmp_path / "run", **QUICK)
    assert not (tmp_path / "run").exists()
