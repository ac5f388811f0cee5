"""Resampling, filtering, gaps, normalisation and windows, against scipy and against arithmetic."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import signal as scipy_signal

from nerula import sample, signal

RATES = st.one_of(
    st.sampled_from([50, 100, 125, 128, 250, 257, 300, 360, 500, 977, 1000]), st.integers(50, 1000)
)
QUICK = settings(max_examples=40, deadline=None)


@pytest.fixture(scope="module")
def ecg() -> np.ndarray:
    """Real ECG in mV, (recordings, 1, 1000), at 100 Hz."""
    return sample.load().x


def whole(x: np.ndarray) -> np.ndarray:
    return np.ones(x.shape, bool)


def reference(x: np.ndarray, rate: float, target: float, band: signal.Band | None) -> np.ndarray:
    """The same filters by scipy, in the time domain, on the same reflected signal."""
    up, down = signal.ratio(rate, target)
    seconds = 12 + (10 / band[0] if band else 0)
    margin = -(-int(seconds * rate) // down) * down
    y = np.pad(x.astype(np.float64), ((0, 0), (margin, margin)), mode="symmetric")
    if band is not None:
        kind, edges = ("bandpass", band) if band[1] < rate / 2 else ("highpass", band[0])
        y = scipy_signal.sosfiltfilt(
            scipy_signal.butter(2, edges, kind, fs=rate, output="sos"), y, axis=1
        )
    if up != down:
        nyquist, fine = min(rate, target) / 2, rate * up
        time = np.arange(-(half := int(0.06 * fine * 50 / nyquist * 25)), half + 1) / fine
        cutoff, spread = 0.9 * nyquist, 0.02 * nyquist
        kernel = np.sinc(2 * cutoff * time) * np.exp(-((2 * np.pi * spread * time) ** 2) / 2)
        kernel *= 2 * cutoff / fine
        y = scipy_signal.resample_poly(y, up, down, axis=1, window=kernel)
    begin = margin * up // down
    return y[:, begin : begin - (-x.shape[1] * up // down)]


@pytest.mark.parametrize("band", [None, (0.5, 40.0), (0.67, 30.0)])
@pytest.mark.parametrize(
    ("rate", "target"),
    [
        (500, 100),
        (257, 100),
        (360, 100),
        (300, 100),
        (100, 250),
        (50, 100),
        (128, 100),
        (100, 100),
    ],
)
def test_equals_the_reference_of_scipy(
    ecg: np.ndarray, rate: float, target: float, band: signal.Band | None
) -> None:
    x = ecg[7]
    if band and band[0] >= rate / 2:
        pytest.skip("no pass band below the Nyquist frequency")
    y, valid = signal.condition(x, whole(x), rate, target, band)
    assert valid.all()
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, reference(x, rate, target, band), rtol=0, atol=1e-5)


def test_equals_the_reference_at_977_hz(ecg: np.ndarray) -> None:
    x = ecg[3]
    y = signal.resample(x, 977, 100)
    np.testing.assert_allclose(y, reference(x, 977, 100, None), rtol=0, atol=1e-5)


def test_a_filter_at_the_same_rate_is_the_forward_backward_butterworth(ecg: np.ndarray) -> None:
    y = signal.bandpass(ecg[5], 100, 0.5, 40)
    np.testing.assert_allclose(y, reference(ecg[5], 100, 100, (0.5, 40)), rtol=0, atol=1e-5)


@QUICK
@given(RATES, st.sampled_from([100.0, 250.0]), st.integers(200, 3000), st.floats(-5, 5))
def test_a_constant_stays_constant(rate: int, target: float, time: int, value: float) -> None:
    x = np.full((1, time), value, np.float32)
    y = signal.resample(x, rate, target)
    assert y.shape == (1, int(np.ceil(time * target / rate - 1e-9)))
    np.testing.assert_allclose(y, value, atol=2e-6)


@QUICK
@given(RATES, st.integers(0, 1199), st.integers(0, 1199), st.floats(-3, 3))
def test_is_linear(ecg: np.ndarray, rate: int, one: int, other: int, factor: float) -> None:
    a, b = ecg[one].astype(np.float64), ecg[other].astype(np.float64)
    both = signal.resample((a + factor * b).astype(np.float32), rate, 100)
    apart = signal.resample(a, rate, 100) + factor * signal.resample(b, rate, 100)
    np.testing.assert_allclose(both, apart, atol=2e-5)


@QUICK
@given(RATES, st.floats(1, 18), st.floats(0, 2 * np.pi))
def test_the_pass_band_keeps_its_amplitude_and_has_no_delay(
    rate: int, frequency: float, phase: float
) -> None:
    time = np.arange(8 * rate) / rate
    y = signal.resample(np.cos(2 * np.pi * frequency * time + phase)[None], rate, 100)[0]
    wanted = np.cos(2 * np.pi * frequency * np.arange(len(y)) / 100 + phase)
    middle = slice(200, len(y) - 200)  # reflection bends a wave that does not end at a crest
    np.testing.assert_allclose(y[middle], wanted[middle], atol=2e-5)


@QUICK
@given(st.integers(205, 1000), st.floats(50.5, 100))
def test_what_would_alias_is_removed(rate: int, frequency: float) -> None:
    time = np.arange(10 * rate) / rate
    y = signal.resample(np.cos(2 * np.pi * frequency * time)[None], rate, 100)[0]
    assert np.abs(y[300:-300]).max() < 1e-5


@QUICK
@given(st.sampled_from([200, 250, 360, 500, 1000]), st.integers(0, 1199))
def test_up_and_down_again_is_the_signal_below_its_cutoff(
    ecg: np.ndarray, rate: int, one: int
) -> None:
    smooth = signal.bandpass(ecg[one], 100, 0.5, 20)
    smooth = signal.resample(signal.resample(smooth, 100, 80), 80, 100)  # nothing above 40 Hz
    back = signal.resample(signal.resample(smooth, 100, rate), rate, 100)
    inner = slice(200, 800)
    np.testing.assert_allclose(back[0, inner], smooth[0, inner], atol=1e-4)


def test_the_filter_keeps_the_heart_and_drops_drift_and_hum() -> None:
    time = np.arange(10_000) / 500
    keep = np.cos(2 * np.pi * 8 * time)
    drift, hum = 3 * np.cos(2 * np.pi * 0.05 * time), 0.5 * np.cos(2 * np.pi * 120 * time)
    x = (keep + drift + hum + 30)[None].astype(np.float32)
    y, _ = signal.condition(x, whole(x), 500, 100, (0.5, 40))
    inner = slice(200, 1800)
    np.testing.assert_allclose(y[0, inner], keep[::5][inner], atol=0.01)


@settings(max_examples=60, deadline=None)
@given(
    RATES,
    st.integers(0, 1199),
    arrays(bool, (1, 1000), elements=st.booleans(), fill=st.just(True)),
    st.sampled_from([None, (0.5, 20.0)]),
)
def test_what_was_missing_changes_nothing_and_stays_missing(
    ecg: np.ndarray, rate: int, one: int, valid: np.ndarray, band: signal.Band | None
) -> None:
    clean = np.where(valid, ecg[one], np.float32(0))
    dirty = np.where(valid, ecg[one], np.float32(np.nan))
    absurd = np.where(valid, ecg[one], np.float32(1e30))
    y, carried = signal.condition(clean, valid, rate, 100, band)
    assert np.isfinite(y).all()
    assert not y[~carried].any()
    for x, known in ((dirty, whole(valid)), (absurd, valid), (dirty, valid)):
        again, same = signal.condition(x, known, rate, 100, band)
        assert np.array_equal(again, y)
        assert np.array_equal(same, carried)


@settings(max_examples=60, deadline=None)
@given(RATES, st.sampled_from([50.0, 100.0, 250.0]), st.data())
def test_validity_asks_every_sample_within_one_period(
    rate: int, target: float, data: st.DataObject
) -> None:
    valid = data.draw(arrays(bool, (1, 300), elements=st.booleans(), fill=st.just(True)))
    x = np.zeros(valid.shape, np.float32)
    _, carried = signal.condition(x, valid, rate, target)
    apart = np.abs(np.arange(300)[:, None] * int(target) - np.arange(carried.shape[1]) * rate)
    near = apart < max(rate, int(target))
    assert near.any(axis=0).all()
    assert np.array_equal(carried[0], ~(near & ~valid[0][:, None]).any(axis=0))


def test_a_gap_is_bridged_by_a_line_and_ends_are_held() -> None:
    x = np.array([[9, 1, 2, 9, 9, 5, 9]], np.float32)
    valid = np.array([[0, 1, 1, 0, 0, 1, 0]], bool)
    assert signal.bridge(x, valid).tolist() == [[1, 1, 2, 3, 4, 5, 5]]
    assert not signal.bridge(x, np.zeros_like(valid)).any()
    assert x[0, 0] == 9


def test_leads_and_recordings_do_not_influence_each_other(ecg: np.ndarray) -> None:
    many = ecg[:12, 0]
    together, _ = signal.condition(many, whole(many), 360, 100, (0.5, 40))
    for lead, alone in zip(together, many, strict=True):
        single, _ = signal.condition(alone[None], whole(alone[None]), 360, 100, (0.5, 40))
        assert np.array_equal(lead, single[0])


def test_a_long_recording_passes_in_sections_with_the_same_result(
    ecg: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = ecg[:400].reshape(1, -1)
    one, _ = signal.condition(day, whole(day), 250, 100, (0.5, 40))
    monkeypatch.setattr(signal, "_SECTION", 1 << 12)
    sections, _ = signal.condition(day, whole(day), 250, 100, (0.5, 40))
    assert one.shape == sections.shape == (1, 160_000)
    np.testing.assert_allclose(sections, one, rtol=0, atol=2e-6)


@pytest.mark.parametrize("time", [1, 2, 3, 17, 128])
def test_short_recordings_have_the_right_length(time: int) -> None:
    x = np.ones((2, time), np.float32)
    for rate in (50, 257, 500, 1000):
        y, valid = signal.condition(x, whole(x), rate, 100, (0.5, 20))
        assert y.shape == valid.shape == (2, -(-time * 100 // rate))
        assert np.isfinite(y).all()
    empty, _ = signal.condition(x[:, :0], whole(x)[:, :0], 500, 100)
    assert empty.shape == (2, 0)


@QUICK
@given(st.floats(1, 100_000), st.floats(1, 1000))
def test_the_ratio_is_in_lowest_terms_and_drifts_by_less_than_a_second_a_day(
    rate: float, target: float
) -> None:
    up, down = signal.ratio(rate, target)
    assert np.gcd(up, down) == 1
    assert abs(up / down * rate / target - 1) < 1.1e-5
    assert signal.ratio(977, 100) == (100, 977)
    assert signal.ratio(257.0, 100.0) == (100, 257)


# --- normalisation and windows -----------------------------------------------------------------


@QUICK
@given(
    st.integers(0, 1199),
    st.sampled_from(["zscore", "robust"]),
    st.floats(0.1, 50),
    st.floats(-9, 9),
)
def test_normalising_forgets_scale_and_offset_and_ignores_what_is_invalid(
    ecg: np.ndarray, one: int, how: str, factor: float, offset: float
) -> None:
    x = ecg[one]
    valid = whole(x)
    valid[:, 100:200] = False
    y = signal.normalise(x, valid, how)
    moved = np.where(valid, (factor * x + offset).astype(np.float32), np.float32(1e6))
    np.testing.assert_allclose(signal.normalise(moved, valid, how), y, atol=2e-2)
    assert not y[~valid].any()
    if how == "zscore":
        assert abs(y[valid].mean()) < 1e-4
        assert abs(y[valid].std() - 1) < 1e-4
    else:
        assert abs(np.median(y[valid])) < 1e-4


def test_a_flat_or_missing_lead_becomes_zero_and_an_unknown_way_is_refused() -> None:
    x = np.stack([np.full(50, 3, np.float32), np.arange(50, dtype=np.float32)])
    valid = np.stack([np.ones(50, bool), np.zeros(50, bool)])
    assert not signal.normalise(x, valid).any()
    assert np.array_equal(signal.normalise(x, valid, "none"), np.where(valid, x, 0))
    with pytest.raises(ValueError, match="unknown normalisation"):
        signal.normalise(x, valid, "minmax")


@QUICK
@given(st.integers(0, 500), st.integers(1, 120), st.data())
def test_windows_hold_every_sample_once_per_window(
    time: int, length: int, data: st.DataObject
) -> None:
    step = data.draw(st.integers(1, length))
    x = np.arange(1, time + 1, dtype=np.float32)[None].repeat(2, axis=0)
    cut, valid, starts = signal.windows(x, whole(x), length, step)
    assert cut.shape == valid.shape == (len(starts), 2, length)
    assert starts[0] == 0
    assert (np.diff(starts) == step).all()
    assert time <= starts[-1] + length
    assert len(starts) == 1 or starts[-2] + length < time
    for window, known, start in zip(cut, valid, starts, strict=True):
        held = x[:, start : start + length]
        assert np.array_equal(window[:, : held.shape[1]], held)
        assert np.array_equal(known.sum(axis=1), [held.shape[1]] * 2)
        assert not window[~known].any()
    with pytest.raises(ValueError, match="cannot advance"):
        signal.windows(x, whole(x), length, length + 1)
