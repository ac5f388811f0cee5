"""A model in use: any rate, unit and length, nothing hidden shows; and loaded strictly."""

import json
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file

import nerula
from nerula import brought, bundle, sample, signal
from nerula.contract import Contract
from nerula.errors import NerulaError, UsageError
from nerula.methods import find
from nerula.model import BATCH, Model
from nerula.run import digest, read_tensors, write_tensors
from tests.tiny import NAME, Tiny

SMALL: dict[str, Any] = {
    "width": 32, "projector": 16, "stem": ((8, 2), (16, 2), (32, 1)), "blocks": ((9, 1), (9, 2)),
    "decoder_width": 32, "decoder_depth": 1, "pooling": "mean",
}  # fmt: skip
TRAINING = {"store": "none", "seconds": 0.0}


def arguments(method: str, **chosen: Any) -> dict[str, Any]:
    import inspect

    own = inspect.signature(find(method)).parameters
    return {name: one.default for name, one in own.items()} | chosen


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small NERULA as it is before training: what holds for it is not owed to training."""
    torch.manual_seed(0)
    chosen = arguments("nerula", **SMALL)
    path = tmp_path_factory.mktemp("model") / "small"
    method = find("nerula")(**chosen)
    bundle.save(
        path, method, name="nerula", arguments=chosen, contract=Contract(("II",), 100.0),
        window=1024, training=TRAINING,
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return nerula.load(folder)


@pytest.fixture(scope="module")
def ecg() -> NDArray[np.float32]:
    """(1200, 1000) mV at 100 Hz."""
    return sample.load().x[:, 0]


def cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    a, b = a.astype(np.float64), b.astype(np.float64)
    products = (a * b).sum(-1)
    found: NDArray[np.float64] = products / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
    return found


# --- rates, units, lengths -------------------------------------------------------------------


@pytest.mark.parametrize("rate", [125.0, 250.0, 360.0, 500.0])
def test_the_rate_does_not_matter(model: Model, ecg: NDArray[np.float32], rate: float) -> None:
    here = model.embed(ecg[:64], 100)
    there = model.embed(signal.resample(ecg[:64], 100.0, rate), rate)
    assert cosine(here, there).min() >= 0.999


@pytest.mark.parametrize(("unit", "per_mv"), [("uV", 1e3), ("µV", 1e3), ("V", 1e-3), ("nV", 1e6)])
def test_the_unit_does_not_matter(
    model: Model, ecg: NDArray[np.float32], unit: str, per_mv: float
) -> None:
    here, there = model.embed(ecg[:16], 100), model.embed(ecg[:16] * per_mv, 100, unit=unit)
    assert cosine(here, there).min() >= 0.99999


def test_a_batch_is_the_same_as_one_at_a_time(model: Model, ecg: NDArray[np.float32]) -> None:
    count = 2 * BATCH + 3
    together = model.embed(ecg[:count], 100)
    alone = np.stack([model.embed(one, 100) for one in ecg[:count]])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-6 * np.abs(alone).max())


def test_neighbours_change_nothing(model: Model, ecg: NDArray[np.float32]) -> None:
    """To the bit: the same places in a batch of the same size, among other recordings."""
    mine = ecg[:5]
    one = model.embed(np.concatenate([mine, ecg[100:110]]), 100)[:5]
    other = model.embed(np.concatenate([mine, 20 * ecg[200:210]]), 100)[:5]
    assert one.tobytes() == other.tobytes()


def test_lists_of_different_lengths(model: Model, ecg: NDArray[np.float32]) -> None:
    long = np.concatenate(list(ecg[:4]))
    z = model.embed([ecg[0], long, ecg[1][:300]], 100)
    assert z.shape == (3, 32)
    np.testing.assert_allclose(z[1], model.embed(long, 100), rtol=1e-4, atol=1e-5)


def test_a_long_recording_is_the_mean_of_its_windows_by_what_is_valid(
    model: Model, ecg: NDArray[np.float32]
) -> None:
    x = np.concatenate(list(ecg[:3]))[:2500]
    x[1100:1800] = np.nan
    z, weight = model.embed_windows(x, 100)
    assert z.shape == (3, 32)
    np.testing.assert_allclose(weight, [1, (1024 - 700) / 1024, (2500 - 2048) / 1024], rtol=1e-6)
    want = (z * weight[:, None]).sum(0) / weight.sum()
    np.testing.assert_allclose(model.embed(x, 100), want, rtol=1e-5, atol=1e-6)


def test_a_window_with_nothing_valid_counts_for_nothing(
    model: Model, ecg: NDArray[np.float32]
) -> None:
    x = np.concatenate([ecg[0], np.full(24, np.nan), np.full(1024, np.nan), ecg[1]])
    z, weight = model.embed_windows(x, 100)
    assert weight[1] == 0
    assert np.isfinite(z).all()
    want = (z[0] + z[2]) / 2
    np.testing.assert_allclose(model.embed(x, 100), want, rtol=1e-4, atol=1e-5)


# --- what is missing -------------------------------------------------------------------------


def test_nan_and_invalid_are_the_same_and_what_lies_there_shows_nowhere(
    model: Model, ecg: NDArray[np.float32]
) -> None:
    gap = np.zeros(1000, bool)
    gap[300:420] = gap[700:] = True
    holes, lies = ecg[7].copy(), ecg[7].copy()
    holes[gap] = np.nan
    lies[gap] = 1e6
    z = model.embed(holes, 100)
    assert z.tobytes() == model.embed(lies, 100, valid=~gap).tobytes()
    lies[gap] = -3
    assert z.tobytes() == model.embed(lies, 100, valid=~gap).tobytes()
    assert cosine(z, model.embed(ecg[7], 100)) < 1 - 1e-6


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_nothing_invalid_shows_at_any_rate(
    model: Model, ecg: NDArray[np.float32], data: st.DataObject
) -> None:
    rate = data.draw(st.sampled_from([100.0, 250.0, 257.0]))
    x = signal.resample(ecg[3:4], 100.0, rate)[0]
    first = data.draw(st.integers(0, len(x) - 2))
    last = data.draw(st.integers(first + 1, len(x)))
    valid = np.ones(len(x), bool)
    valid[first:last] = False
    if not valid.any():
        return
    other = x.copy()
    other[first:last] = data.draw(st.sampled_from([0.0, 1e9, np.nan, np.inf]))
    try:
        z = model.embed(x, rate, valid=valid)
    except NerulaError as error:  # so little is left that no sample survives resampling
        assert valid.sum() < 0.05 * rate
        assert "valid" in str(error)
        return
    assert z.tobytes() == model.embed(other, rate, valid=valid).tobytes()


def test_a_recording_without_any_valid_sample_is_refused(model: Model) -> None:
    with pytest.raises(NerulaError, match="no sample of the recording is valid"):
        model.embed(np.full(1000, np.nan), 100)


# --- leads -----------------------------------------------------------------------------------


def test_a_model_of_one_lead_takes_another_one_alone(
    model: Model, ecg: NDArray[np.float32]
) -> None:
    assert (model.embed(ecg[0], 100, lead="V1") == model.embed(ecg[0], 100)).all()
    assert (model.embed(ecg[:1], 100, leads=["mlii"]) == model.embed(ecg[0], 100)).all()


def test_of_several_leads_its_own_is_taken_by_name(model: Model, ecg: NDArray[np.float32]) -> None:
    both = np.stack([ecg[5], ecg[6]])
    assert (model.embed(both, 100, leads=["I", "lead II"]) == model.embed(ecg[6], 100)).all()
    many = np.stack([both, both[::-1]])
    z = model.embed(many, 100, leads=["II", "I"])
    np.testing.assert_allclose(z, model.embed(ecg[5:7], 100), rtol=1e-4, atol=1e-5)
    with pytest.raises(NerulaError, match="lead-missing"):
        model.embed(both, 100, leads=["I", "V1"])


@pytest.fixture(scope="module")
def two_leads() -> Model:
    torch.manual_seed(1)
    method = find("nerula")(**arguments("nerula", **SMALL, leads=2))
    return Model(method, Contract(("I", "II"), 100.0), 1024)


def test_a_model_of_two_leads_takes_them_in_any_order_or_one_of_them(
    two_leads: Model, ecg: NDArray[np.float32]
) -> None:
    both = np.stack([ecg[5], ecg[6]])
    z = two_leads.embed(both, 100, leads=["I", "II"])
    assert (two_leads.embed(both[::-1], 100, leads=["II", "I"]) == z).all()
    alone = two_leads.embed(ecg[6], 100, lead="II")
    half = np.stack([np.full(1000, np.nan), ecg[6]])
    assert (two_leads.embed(half, 100, leads=["I", "II"]) == alone).all()
    assert not (alone == z).all()


# --- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x: m.embed(x, 0), "rate"),
        (lambda m, x: m.embed(x, float("nan")), "rate"),
        (lambda m, x: m.embed(x, "100"), "rate"),
        (lambda m, x: m.embed(x, 100, unit="furlong"), "V, mV, uV or nV"),
        (lambda m, x: m.embed(x, 100, lead="left"), "no lead 'left'.*chest strap"),
        (lambda m, x: m.embed(x[None], 100, leads=["I", "II"]), "leads"),
        (lambda m, x: m.embed(x, 100, valid=np.ones(3, bool)), "valid must be bool"),
        (lambda m, x: m.embed(x, 100, valid=np.ones(1000)), "valid must be bool"),
        (lambda m, x: m.embed([x, x], 100, valid=[np.ones(1000, bool)]), "2 signals with 1"),
        (lambda m, x: m.embed(x[:0], 100), "no sample"),
        (lambda m, x: m.embed_windows(np.stack([x, x]), 100), "one recording at a time"),
        (lambda m, x: m.impute(np.stack([x, x]), 100), "one recording at a time"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    model: Model, ecg: NDArray[np.float32], call: Callable[[Any, Any], Any], message: str
) -> None:
    with pytest.raises(NerulaError, match=message):
        call(model, ecg[0])


# --- filling ---------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [100.0, 250.0, 500.0])
def test_filling_changes_gaps_only_and_gives_back_shape_and_unit(
    model: Model, ecg: NDArray[np.float32], rate: float
) -> None:
    x = 1000 * signal.resample(ecg[9:10], 100.0, rate)[0]
    valid = np.ones(len(x), bool)
    valid[int(2.0 * rate) : int(2.6 * rate)] = valid[-30:] = False
    filled = model.impute(x, rate, unit="uV", valid=valid)
    assert filled.shape == x.shape
    assert filled.dtype == np.float32
    assert filled[valid].tobytes() == x[valid].tobytes()
    assert np.isfinite(filled).all()
    assert not (filled[~valid] == x[~valid]).any()
    holes = np.where(valid, x, np.nan)
    assert filled.tobytes() == model.impute(holes, rate, unit="uV").tobytes()


def test_a_gap_in_a_long_recording_is_filled_as_in_the_windows_around_it(
    model: Model, ecg: NDArray[np.float32]
) -> None:
    x = np.concatenate(list(ecg[:6]))
    x[3000:3040] = np.nan
    filled = model.impute(x, 100)
    assert np.isfinite(filled).all()
    other = x.copy()
    other[:1000] = 0  # too far away to matter
    assert (model.impute(other, 100)[3000:3040] == filled[3000:3040]).all()


def test_without_gaps_nothing_changes(model: Model, ecg: NDArray[np.float32]) -> None:
    assert (model.impute(ecg[0], 250) == ecg[0]).all()


def test_leads_keep_their_rows_and_unknown_ones_their_gaps(
    two_leads: Model, ecg: NDArray[np.float32]
) -> None:
    x = ecg[:3].copy()
    x[:, 500:520] = np.nan
    filled = two_leads.impute(x, 100, leads=["V1", "II", "I"])
    assert filled.shape == (3, 1000)
    assert np.isnan(filled[0, 500:520]).all()
    assert np.isfinite(filled[1:]).all()


# --- loading ---------------------------------------------------------------------------------


def test_a_loaded_model_is_the_saved_one(folder: Path, model: Model) -> None:
    torch.manual_seed(0)
    chosen = arguments("nerula", **SMALL)
    method = find("nerula")(**chosen)
    fresh = Model(method, Contract(("II",), 100.0), 1024)
    x = sample.load().x[3, 0]
    assert (fresh.embed(x, 100) == model.embed(x, 100)).all()
    names = set(read_tensors(folder / "model.safetensors")[0])
    assert not [name for name in names if name.startswith(("target.", "predictor."))]
    assert model.method.target is None
    assert "for research use; not a medical device" in (folder / "README.md").read_text().lower()
    assert repr(model) == "Model(Nerula: II at 100 Hz, windows of 10.24 s)"


def test_a_run_and_a_bundled_name_are_found_too(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model").symlink_to(folder)
    assert nerula.load(tmp_path / "run").window == 1024
    (tmp_path / "nerula-tiny").symlink_to(folder)
    for module in (bundle, brought):
        monkeypatch.setattr(module, "WEIGHTS", tmp_path)
    assert nerula.load("nerula-tiny").window == 1024
    with pytest.raises(NerulaError, match=r"huge is no model.*nerula-tiny"):
        nerula.load("huge")


Change = Callable[[dict[str, torch.Tensor]], object]
TENSOR = "encoder.stem.0.mix.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(TENSOR), f"{TENSOR} is missing"),
        (lambda t: t.update({"extra.weight": torch.ones(3)}), "extra.weight is unknown"),
        (lambda t: t.update({TENSOR: t[TENSOR][:4]}), rf"{TENSOR} is \(4, "),
        (lambda t: t.update({TENSOR: t[TENSOR].long()}), f"{TENSOR} is torch.int64"),
        (lambda t: t.update({"encoder.Stem": t.pop(TENSOR)}), "encoder.Stem is unknown"),
        (lambda t: t[TENSOR].add_(1e-7), f"digest differs, that of {TENSOR}\\."),
        (lambda t: t[TENSOR].view(-1)[5].neg_(), f"digest differs, that of {TENSOR}\\."),
    ],
)
def test_altered_tensors_are_refused_by_name(
    folder: Path, tmp_path: Path, change: Change, message: str
) -> None:
    tensors, _ = read_tensors(folder / "model.safetensors")
    change(tensors)
    write_tensors(tmp_path / "model.safetensors", tensors, {})
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(NerulaError, match=message):
        nerula.load(tmp_path)


def test_a_file_that_keeps_the_digest_of_another_is_refused_by_name(
    folder: Path, tmp_path: Path
) -> None:
    """As a tool leaves it that rewrites tensors and copies the header's facts."""
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        facts = file.metadata()
    tensors, _ = read_tensors(folder / "model.safetensors")
    tensors["encoder.Stem"] = tensors.pop(TENSOR)
    save_file(tensors, tmp_path / "model.safetensors", facts)
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    message = rf"encoder.Stem \(unknown\), {TENSOR} \(missing\)"
    with pytest.raises(NerulaError, match=message):
        nerula.load(tmp_path)


@pytest.mark.parametrize("device", ["tpu", "meta", "cuda:99"])
def test_a_device_that_is_not_here_is_refused(folder: Path, device: str) -> None:
    with pytest.raises(UsageError, match=f"no device '{device}' here"):
        nerula.load(folder, device=device)


def test_a_flipped_bit_is_found_and_its_tensor_named(folder: Path, tmp_path: Path) -> None:
    content = bytearray((folder / "model.safetensors").read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    place = json.loads(content[8:start])[TENSOR]["data_offsets"][0]
    content[start + place] ^= 1
    (tmp_path / "model.safetensors").write_bytes(content)
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(NerulaError, match=f"damaged: {TENSOR} are not what was written"):
        nerula.load(tmp_path)
    del config["each"]  # as models of before have it
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(NerulaError, match="damaged: its tensors are not"):
        nerula.load(tmp_path)


def test_models_of_before_still_load(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    assert set(config.pop("each")) == set(read_tensors(folder / "model.safetensors")[0])
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").symlink_to(folder / "model.safetensors")
    assert nerula.load(tmp_path).window == 1024


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("each", {"a": 3}, "each cannot be meant"),
        ("extra", 1, "has unknown extra"),
        ("window", None, "lacks window"),
        ("window", -3, "window cannot be meant"),
        ("window", True, "window cannot be meant"),
        ("format", "nerula-model-9", "format"),
        ("method", "os:system", "not one of ours"),
        ("method", 3, "method cannot be meant"),
        ("fingerprint", [0.0] * 32, "another embedding for the probe"),
        ("fingerprint", [1.0], "fingerprint cannot be meant"),
        ("contract", {"leads": ["II"]}, "contract"),
        ("arguments", {"widht": 32}, "no arguments widht"),
        ("arguments", {"width": 32}, "is not what its config describes"),
    ],
)
def test_altered_configs_are_refused_by_name(
    folder: Path, tmp_path: Path, key: str, value: Any, message: str
) -> None:
    config = json.loads((folder / "config.json").read_text())
    config[key] = value
    if value is None:
        del config[key]
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").symlink_to(folder / "model.safetensors")
    with pytest.raises(NerulaError, match=message):
        nerula.load(tmp_path)


@pytest.mark.parametrize("width", [64, 60_000, 10**12])
def test_a_config_that_asks_for_other_sizes_takes_no_memory(
    folder: Path, tmp_path: Path, width: int
) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["arguments"]["width"] = width
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").symlink_to(folder / "model.safetensors")
    tracemalloc.start()
    with pytest.raises(NerulaError, match=r"instead of|cannot be"):
        nerula.load(tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


def test_a_method_of_ones_own_is_loaded_only_with_its_class(tmp_path: Path) -> None:
    chosen = arguments(NAME)
    bundle.save(
        tmp_path / "own", Tiny(**chosen), name=NAME, arguments=chosen,
        contract=Contract(("II",), 100.0), window=500, training=TRAINING,
    )  # fmt: skip
    with pytest.raises(UsageError, match="method=TheClass"):
        nerula.load(tmp_path / "own")
    own = nerula.load(tmp_path / "own", method=Tiny)
    assert own.embed(sample.load().x[0, 0], 100).shape == (8,)


def test_half_precision_halves_the_file_and_hardly_changes_the_embedding(
    folder: Path, model: Model, ecg: NDArray[np.float32], tmp_path: Path
) -> None:
    config = model.config
    assert config is not None
    bundle.save(
        tmp_path / "half", model.method, name=config.method, arguments=config.arguments,
        contract=model.contract, window=model.window, training=TRAINING, half=True,
    )  # fmt: skip
    sizes = [(where / "model.safetensors").stat().st_size for where in (folder, tmp_path / "half")]
    assert sizes[1] < 0.55 * sizes[0]
    half = nerula.load(tmp_path / "half")
    assert next(half.method.parameters()).dtype == torch.float32
    assert cosine(half.embed(ecg[:16], 100), model.embed(ecg[:16], 100)).min() > 0.9999


def test_bf16_gives_nearly_the_same(folder: Path, model: Model, ecg: NDArray[np.float32]) -> None:
    fast = nerula.load(folder, precision="bf16")
    z, exact = fast.embed(ecg[:16], 100), model.embed(ecg[:16], 100)
    assert cosine(z, exact).min() > 0.9995
    assert not (z == exact).all()
    with pytest.raises(UsageError, match="fp32 or bf16"):
        nerula.load(folder, precision="fp8")


def test_digest_sees_names_shapes_and_types() -> None:
    a = torch.arange(6.0)
    seen = {
        digest({"a": a}), digest({"b": a}), digest({"a": a.reshape(2, 3)}),
        digest({"a": a.long()}), digest({"a": a + 1e-6}), digest({"a": a.half()}),
    }  # fmt: skip
    assert len(seen) == 6
    assert digest({"a": a, "b": a}) == digest({"b": a, "a": a.clone()})


# --- speed -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_day_is_embedded_in_bounded_memory(model: Model) -> None:
    hours = 24
    x = np.tile(sample.load().x[:100, 0].reshape(-1), 90)[: hours * 3600 * 100]
    started = time.monotonic()
    tracemalloc.start()
    z, weight = model.embed_windows(x, 100)
    assert tracemalloc.get_traced_memory()[1] < 20 * x.nbytes
    tracemalloc.stop()
    assert len(z) == len(weight) == -(-len(x) // 1024)
    assert np.isfinite(z).all()
    assert time.monotonic() - started < 120
