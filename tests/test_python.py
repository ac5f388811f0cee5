"""What a person does with a model in Python: the examples run, and do what they promise."""

import doctest
import importlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import nerula
from nerula import quality, sample, signal
from nerula.contract import Contract
from nerula.errors import NerulaError, UsageError
from nerula.model import Model
from nerula.prepare import Options, make_store
from nerula.recording import Recording
from nerula.store import Store
from nerula.writer import StoreWriter
from tests.tiny import Tiny

COUNT = 150
"""Recordings of the store that is searched."""
Shared = Callable[[str], Path]
EXAMPLES = ("bundle", "model", "portable", "quality", "sample", "sklearn")


@pytest.fixture(scope="module")
def model() -> Model:
    return nerula.load("nerula-small")


@pytest.fixture(scope="module")
def ecg() -> NDArray[np.float32]:
    """(1200, 1000) mV at 100 Hz."""
    return sample.load().x[:, 0]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    place = tmp_path_factory.mktemp("store") / "sample"
    make_store(sample.load(), place, Options(leads=("II",), limit=COUNT), quiet=True)
    return Store.open(place)


# --- examples --------------------------------------------------------------------------------


@pytest.mark.parametrize("module", EXAMPLES)
def test_every_example_runs(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(importlib.import_module(f"nerula.{module}"))
    assert found.attempted > 0, f"{module} shows no example"
    assert not found.failed


@pytest.mark.parametrize(
    "name", ["embed", "embed_windows", "impute", "reconstruct", "quality", "similar"]
)
def test_what_a_person_calls_shows_how(name: str) -> None:
    assert ">>> " in (getattr(Model, name).__doc__ or "")


def test_public_names_are_there_without_an_import_of_their_own() -> None:
    for name in nerula.__all__:
        assert getattr(nerula, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Modle'"):
        nerula.Modle  # noqa: B018


# --- what is handed over ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signal", "more", "message"),
    [
        ("a.csv", {}, "cannot be read as numbers.*nerula embed"),
        (3.0, {}, "One number is no signal"),
        ((one for one in [[0.1]]), {}, "cannot be read as numbers"),
        ([[0.1, 0.2], "x"], {}, "cannot be read as numbers"),
        (np.ones(900, complex), {}, "they are complex"),
        (np.ones(900), {"rate": 0}, "rate=0 is no sampling rate. Give samples per second"),
        (np.ones(900), {"rate": "300"}, "rate='300' is no sampling rate"),
        (np.ones(900), {"unit": None}, "unit is not a voltage, or not known .None."),
        (np.ones(900), {"lead": None}, "no lead None"),
        (np.ones(900), {"lead": ["I"]}, "no lead .'I'"),
        (np.ones((2, 900)), {"leads": ["I", "i"]}, "Two leads have the name I"),
        (np.ones((900, 2)), {"leads": ["I", "II"]}, "It seems to be .time, leads.: give signal.T"),
        (np.ones((900, 12)), {}, "900 recordings of 12 samples.*give signal.T"),
        (np.ones((900, 1)), {}, "900 recordings of 1 samples"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    model: Model, signal: Any, more: dict[str, Any], message: str
) -> None:
    with pytest.raises(NerulaError, match=message):
        model.embed(signal, **{"rate": 300, **more})


def test_counts_taken_for_millivolts_are_refused_but_can_be_asked_about(
    model: Model, ecg: NDArray[np.float32]
) -> None:
    counts = (1000 * ecg[:2]).astype(np.int16)
    for call in (model.impute, model.reconstruct, model.embed_windows):
        with pytest.raises(UsageError, match=r"A typical second spans .* in mV.*unit=\"uV\""):
            call(counts[0], 100)
    both = [ecg[0], counts[1]]
    with pytest.raises(UsageError, match=r"second of signal\[1\] spans"):
        model.embed(both, 100)
    assert [one.code for one in model.quality(counts[0], 100).findings] == ["amplitude-absurd"]
    np.testing.assert_allclose(
        model.embed(counts, 100, unit="uV"), model.embed(ecg[:2], 100), atol=0.05
    )
    offset = np.where(
        np.arange(1000) % 100 < 3, np.nan, ecg[0] + 300
    )  # of an electrode, with gaps
    assert np.isfinite(model.embed(offset, 100)).all()


def test_which_of_many_cannot_be_embedded_is_said(model: Model, ecg: NDArray[np.float32]) -> None:
    with pytest.raises(NerulaError, match=r"^signal\[1\]: no sample of the recording is valid"):
        model.embed([ecg[0], np.zeros(1000)], 100)


def test_what_a_masked_array_hides_is_missing(model: Model, ecg: NDArray[np.float32]) -> None:
    hidden = np.ma.masked_array(ecg[0] + np.where(np.arange(1000) < 300, 9, 0), mask=False)
    hidden[:300] = np.ma.masked
    nan = np.where(np.arange(1000) < 300, np.nan, ecg[0])
    assert (model.embed(hidden, 100) == model.embed(nan, 100)).all()
    assert (model.impute(hidden, 100) == model.impute(nan, 100)).all()
    assert (model.embed([hidden], 100)[0] == model.embed(nan, 100)).all()


def test_one_row_is_one_recording(model: Model, ecg: NDArray[np.float32]) -> None:
    x = np.where(np.arange(1000) // 40 == 7, np.nan, ecg[:1])
    filled = model.impute(x, 100)
    assert filled.shape == (1, 1000)
    assert (filled[0] == model.impute(x[0], 100)).all()
    assert model.quality(x, 100).valid.shape == (1, 1000)
    with pytest.raises(UsageError, match="one recording at a time, not 2"):
        model.impute(ecg[:2], 100)


# --- reconstruct -----------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [100.0, 360.0])
def test_the_decoder_rebuilds_everything_and_fills_gaps_alike(
    model: Model, ecg: NDArray[np.float32], rate: float
) -> None:
    x = 1000 * signal.resample(np.concatenate(ecg[:3])[None], 100.0, rate)[0]
    x[round(11 * rate) : round(11.3 * rate)] = np.nan
    rebuilt = model.reconstruct(x, rate, unit="uV")
    assert rebuilt.shape == x.shape
    measured = np.isfinite(x)
    assert np.isfinite(rebuilt).all()
    assert not (rebuilt[measured] == x[measured]).any()
    assert np.corrcoef(rebuilt[measured], x[measured])[0, 1] > 0.9
    filled = model.impute(x, rate, unit="uV")
    if rate == 100:
        near = np.flatnonzero(~measured)
        assert np.corrcoef(filled[near], rebuilt[near])[0, 1] > 0.9


def test_without_a_decoder_there_is_no_reconstruction(
    ecg: NDArray[np.float32], tmp_path: Path
) -> None:
    from nerula.methods import find

    contract = Contract(("II",), 100.0)
    x = ecg[0].copy()
    x[200:230] = np.nan
    blind = Model(find("byol")(), contract, 1024)
    for call in (blind.impute, blind.reconstruct):
        with pytest.raises(UsageError, match=r"no reconstruction path.*nerula-small"):
            call(x, 100)
    fills = Model(Tiny(), contract, 1024)  # a method of one's own that only fills
    assert np.isfinite(fills.impute(x, 100)).all()
    with pytest.raises(UsageError, match="no reconstruction path"):
        fills.reconstruct(x, 100)


# --- quality ---------------------------------------------------------------------------------


def test_the_index_falls_with_noise_and_with_what_is_missing(
    model: Model, ecg: NDArray[np.float32]
) -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(100, 1000)).astype(np.float32) * ecg[:100].std(1, keepdims=True)
    middle = []
    for level in (0, 0.1, 0.3, 1, 3):
        scores = [quality.index(x, np.isfinite(x), 100) for x in ecg[:100] + level * noise]
        assert 0 <= min(scores) <= max(scores) <= 1
        middle.append(np.median(scores))
    assert middle[0] > 0.98
    assert middle == sorted(middle, reverse=True)
    assert middle[-1] < 0.1
    clean = ecg[middle.index(middle[0])]
    half = np.arange(1000) < 500
    assert quality.index(clean, half, 100) == pytest.approx(0.5, abs=0.08)
    assert model.quality(np.where(half, clean, np.nan), 100).score < 0.6


def test_the_index_is_nearly_the_same_at_any_rate_and_for_any_unit_it_is_given_in(
    model: Model, ecg: NDArray[np.float32]
) -> None:
    for rate in (250, 500, 1000):
        pairs = [
            (quality.index(x, np.isfinite(x), 100), quality.index(up, np.isfinite(up), rate))
            for x, up in zip(ecg[:60], signal.resample(ecg[:60], 100, rate), strict=True)
        ]
        assert np.abs(np.subtract(*np.transpose(pairs))).mean() < 0.03
    assert model.quality(1000 * ecg[3], 100, unit="uV").score == pytest.approx(
        model.quality(ecg[3], 100).score, abs=1e-4
    )


def test_the_index_of_leads_is_their_mean_and_of_nothing_zero(ecg: NDArray[np.float32]) -> None:
    both = np.stack([ecg[0], np.zeros(1000, np.float32)])
    valid = np.ones(both.shape, bool)
    alone = quality.index(ecg[0], valid[0], 100)
    assert quality.index(both, valid, 100) == pytest.approx(alone / 2)
    assert quality.index(both, ~valid, 100) == 0
    assert quality.index(both[:, :1], valid[:, :1], 100) == 0
    assert quality.index(ecg[0, :0], valid[0, :0], 100) == 0
    assert quality.index(ecg[0, :40], valid[0, :40], 100) <= 1
    absurd = np.where(np.arange(1000) % 7, ecg[0], np.float32(np.inf))
    assert 0 <= quality.index(absurd, valid[0], 100) <= 1


@pytest.mark.shared
def test_recordings_that_experts_called_noise_score_lower(shared_data: Shared) -> None:
    """Of the Challenge 2017, those numbered oddly: the thresholds were chosen on the others."""
    from nerula.readers import open_source

    source = open_source(shared_data("cinc2017"))
    noisy, sound = list[float](), list[float]()
    for number, entry in enumerate(source.entries()):
        if int(entry.name[-1]) % 2:
            one = source.read(entry)
            if "~" in one.labels or number % 7 == 0:
                score = quality.index(one.x, one.valid, one.rate)
                (noisy if "~" in one.labels else sound).append(score)
    assert len(noisy) > 100
    above = np.mean([np.mean(np.array(sound) > score) for score in noisy])
    print(f"a sound recording scores higher than a noisy one in {above:.3f} of the pairs")
    assert above > 0.85


def test_findings_go_by_their_names(model: Model, ecg: NDArray[np.float32]) -> None:
    x = ecg[0].copy()
    x[100:300] = x[100]
    x[700:720] = np.nan
    score, findings, valid = model.quality(x, 100, lead="V2")
    assert {one.code for one in findings} == {"signal-flat", "signal-gap"}
    assert "signal-flat, signal-gap; 7" in repr(model.quality(x, 100))
    assert {one.lead for one in findings if one.code == "signal-flat"} == {"V2"}
    assert all(one.defect.remedy for one in findings)
    assert valid.shape == x.shape
    assert not valid[100:300].any() and not valid[700:720].any()
    assert score < 0.85
    with pytest.raises(UsageError, match="quality takes one recording"):
        model.quality(ecg[:2], 100)


# --- similar ---------------------------------------------------------------------------------


def test_neighbours_are_exactly_those_of_a_plain_search(
    model: Model, store: Store, ecg: NDArray[np.float32]
) -> None:
    names, rows, distances = model.similar(ecg[[4, 77]], 100, store, k=7)
    assert names.shape == rows.shape == distances.shape == (2, 7)
    z = model.embed(ecg[:COUNT], 100).astype(np.float64)
    z = (z - z.mean(0)) / z.std(0)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    for query, row in enumerate((4, 77)):
        apart = 1 - z @ z[row]
        order = np.argsort(apart, kind="stable")[:7]
        assert rows[query].tolist() == order.tolist()
        np.testing.assert_allclose(distances[query], apart[order], atol=1e-4)
        assert names[query].tolist() == store.column("name")[order].tolist()
    assert rows[:, 0].tolist() == [4, 77]
    assert (np.diff(distances, axis=1) >= 0).all()


def test_embeddings_of_a_store_are_kept_beside_it(
    model: Model, store: Store, ecg: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = model.similar(ecg[9], 100, store.path)
    (kept,) = store.path.with_name("sample.embeddings").glob("*.npy")
    assert np.load(kept).shape == (COUNT, 2256)
    assert Store.open(store.path).digest == store.digest
    other = nerula.load("nerula-small")
    z = other.embed(ecg[9], 100)
    monkeypatch.setattr(Model, "embed_prepared", None)
    monkeypatch.setattr(Model, "embed", lambda *given, **named: z)
    again = other.similar(ecg[9], 100, str(store.path))
    assert again.names.tolist() == first.names.tolist()
    given = other.similar(ecg[9], 100, store, embeddings=np.load(kept))
    assert given.rows.tolist() == first.rows.tolist()


def test_another_store_in_the_same_place_is_another_store(
    model: Model, ecg: NDArray[np.float32], tmp_path: Path
) -> None:
    x, valid = ecg[:, None], np.ones((1, 1000), bool)
    for first in (0, 30):
        with StoreWriter(tmp_path / f"from{first}", Contract(("II",), 100.0)) as writer:
            for i in range(first, first + 5):
                writer.add(Recording(str(i), x[i], 100.0, ("II",), valid))
    place = tmp_path / "store"
    (tmp_path / "from0").rename(place)
    assert model.similar(ecg[3], 100, place, k=1).names.tolist() == ["3"]
    shutil.rmtree(place)
    (tmp_path / "from30").rename(place)
    assert model.similar(ecg[33], 100, place, k=1).names.tolist() == ["33"]


def test_what_was_not_embedded_is_not_found(
    model: Model, store: Store, ecg: NDArray[np.float32]
) -> None:
    z = model.embed(ecg[:COUNT], 100)
    z[9] = np.nan
    names, rows, distances = model.similar(ecg[9], 100, store, k=2000, embeddings=z)
    assert len(rows) == len(names) == len(distances) == COUNT - 1
    assert 9 not in rows
    assert model.similar(ecg[9], 100, store, k=1).rows.tolist() != [9], "what was given stays"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"k": 0}, "no 0 nearest"),
        ({"k": 2.5}, "no 2.5 nearest"),
        ({"embeddings": np.ones((3, 2256))}, "Embeddings of 150 recordings"),
        ({"embeddings": np.ones((COUNT, 5))}, "Embeddings of 5 values"),
        ({"embeddings": np.full((COUNT, 2256), np.nan)}, "no recording that could be embedded"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    model: Model, store: Store, ecg: NDArray[np.float32], more: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        model.similar(ecg[0], 100, store, **more)
