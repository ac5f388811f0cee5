"""Quality: real ECG stays sound, damage of every kind is found where it is, and only there."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nerula import sample
from nerula.defects import CATALOGUE, Severity
from nerula.einthoven import departure
from nerula.faults import FLAT_SECONDS
from nerula.quality import digest, inspect, mark
from nerula.readers import open_source
from nerula.recording import Recording
from tests import clinical_files as files

LIMB = files.TWELVE[:6]


def recording(
    x: NDArray[np.floating], rate: float = 500, leads: tuple[str, ...] = files.TWELVE
) -> Recording:
    x = np.atleast_2d(x).astype(np.float32)
    return Recording("r", x, rate, leads[: len(x)], np.ones(x.shape, bool))


def twelve() -> NDArray[np.float32]:
    """Ten seconds of twelve real leads at 500 Hz."""
    return (files.excerpt(files.TWELVE, 5000, every=2) * 0.00125).astype(np.float32)


def single(row: int = 0) -> Recording:
    """One of the sample's recordings: lead II at 100 Hz."""
    x = sample.load().x[row]
    return Recording("r", x, 100.0, ("II",), np.ones(x.shape, bool))


def found(one: Recording) -> set[tuple[str, str]]:
    return {(finding.code, finding.lead) for finding in inspect(one)}


# --- what is sound stays sound -----------------------------------------------------------------


def test_real_recordings_are_sound() -> None:
    bundled = sample.load()
    wrong = {}
    for entry in bundled.entries():
        findings = [f for f in inspect(bundled.read(entry)) if f.severity is not Severity.NOTE]
        if findings:
            wrong[entry.name] = findings
    assert len(wrong) <= 2, wrong  # of 1,200


def test_twelve_real_leads_are_sound() -> None:
    one = recording(twelve())
    assert inspect(one) == []
    assert mark(one) is one


@pytest.mark.parametrize("step", [0.001, 0.005, 0.02])
@pytest.mark.parametrize("rate", [100, 125, 250, 500])
def test_coarse_steps_are_no_defect(rate: int, step: float) -> None:
    x = twelve()[:, :: 500 // rate]
    assert inspect(recording(np.round(x / step) * step, rate)) == []


def test_fibrillation_and_flutter_are_no_noise() -> None:
    """Waves without beats: what a heart does when it does not beat at all."""
    time = np.arange(5000) / 500
    random = np.random.default_rng(0)
    for frequency in (3, 5, 8, 12):
        drift = np.cumsum(random.normal(0, 0.05, time.size))
        wave = 0.4 * np.sin(2 * np.pi * frequency * time + drift) + random.normal(0, 0.01, 5000)
        assert found(recording(wave)) == set()


@pytest.mark.parametrize("hum", [50, 60])
def test_ecg_under_mains_hum_is_no_noise(hum: int) -> None:
    """A filter takes the hum away, so the recording is not lost."""
    x = twelve()[1] + 0.5 * np.sin(2 * np.pi * hum * np.arange(5000) / 500)
    assert found(recording(x, leads=("II",))) == set()


def test_signals_of_another_kind_are_not_judged_as_ecg() -> None:
    x = np.zeros((2, 128))
    one = replace(recording(x, 50, ("total_acc_x", "total_acc_y")), unit="mixed")
    assert inspect(one) == []
    assert mark(one) is one


# --- flat --------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [0, 1700, 4400])
@pytest.mark.parametrize("value", [None, 0.0, -4.0])
def test_a_flat_stretch_is_found_and_marked(start: int, value: float | None) -> None:
    x = twelve()
    x[7, start : start + 600] = x[7, start] if value is None else value
    one = recording(x)
    assert ("signal-flat", "V2") in found(one)
    assert {lead for _, lead in found(one)} == {"V2"}
    marked = mark(one)
    assert not marked.valid[7, start : start + 600].any()
    lost = np.count_nonzero(~marked.valid[7])
    assert 600 <= lost <= 640  # and a margin of 20 ms
    assert marked.valid[np.arange(12) != 7].all()
    assert marked.findings[0].code == "signal-flat"
    assert "1.2 s from" in marked.findings[0].detail


@settings(max_examples=60, deadline=None)
@given(
    seconds=st.floats(0.02, 2), at=st.floats(0, 0.9), rate=st.sampled_from((100, 125, 250, 500))
)
def test_flat_is_half_a_second_at_any_rate(seconds: float, at: float, rate: int) -> None:
    x = twelve()[1, :: 500 // rate].copy()
    length = round(seconds * rate)
    start = int(at * len(x))
    x[start : start + length] = 0.1234
    length = min(length, len(x) - start)
    flat = ("signal-flat", "II") in found(recording(x, rate, ("II",)))
    assert flat == (length >= FLAT_SECONDS * rate)


def test_a_lead_that_hardly_moves_is_flat() -> None:
    """Electrodes that are off leave the converter's own noise."""
    x = twelve()
    x[3] = np.random.default_rng(0).choice([0, 0.001, 0.002], 5000)
    assert found(recording(x)) == {("signal-flat", "aVR")}
    assert not mark(recording(x)).valid[3].any()


def test_nothing_is_left_of_a_recording_of_zeros() -> None:
    codes = {code for code, _ in found(recording(0 * twelve()))}
    assert codes == {"signal-flat", "signal-all-invalid"}


# --- clipped -----------------------------------------------------------------------------------


def clipped(x: NDArray[np.float32], share: float) -> tuple[NDArray[np.float32], np.float32]:
    """Cut off what is farther from the middle than a share of the highest beats."""
    middle = np.median(x)
    side = 1 if x.max() - middle > middle - x.min() else -1
    limit = np.float32(middle + side * share * np.percentile(side * (x - middle), 99.7))
    return (np.minimum(x, limit) if side > 0 else np.maximum(x, limit)), limit


@pytest.mark.parametrize("share", [0.4, 0.6, 0.8])
def test_clipped_beats_are_found_and_marked(share: float) -> None:
    seen = 0
    for row in range(200):
        x, limit = clipped(single(row).x[0], share)
        marked = mark(recording(x, 100, ("II",)))
        if "signal-clipped" in {finding.code for finding in marked.findings}:
            seen += 1
            assert not marked.valid[0, x == limit].any()
            assert marked.valid.mean() > 0.5
    assert seen >= 160


def test_an_amplifier_at_its_rails_is_clipped() -> None:
    x = twelve()
    x[6] = np.clip(x[6] + 4 * np.sin(np.arange(5000) / 500), -3, 3)
    details = {finding.code: finding.detail for finding in inspect(recording(x))}
    assert details["signal-clipped"].endswith("samples at 3 mV and -3 mV")
    assert "signal-flat" in details


def test_a_wandering_baseline_has_its_extremes_at_the_ends() -> None:
    x = single(3).x[0] - np.linspace(0, 2, 1000)
    x[-12:] = x[-12]
    assert found(recording(x, 100, ("II",))) == set()


# --- noise, amplitude, what is missing -----------------------------------------------------------


@pytest.mark.parametrize("rate", [100, 250, 500, 1000])
@pytest.mark.parametrize("kind", ["white", "muscle", "hum"])
def test_noise_is_found(rate: int, kind: str) -> None:
    random = np.random.default_rng(1)
    time = np.arange(10 * rate) / rate
    noise = random.normal(0, 0.2, time.size)
    if kind == "muscle":  # 20 Hz and faster
        spectrum = np.fft.rfft(noise)
        spectrum[np.fft.rfftfreq(time.size, 1 / rate) < 20] = 0
        noise = np.fft.irfft(spectrum, time.size)
    if kind == "hum":
        noise = 0.5 * np.sin(2 * np.pi * 49.3 * time) + 0.02 * noise
    assert found(recording(noise, rate, ("II",))) == {("signal-noise", "II")}


def test_a_noisy_recording_with_beats_is_no_noise() -> None:
    random = np.random.default_rng(2)
    flagged = sum(
        bool(found(recording(single(row).x + random.normal(0, 0.05, (1, 1000)), 100, ("II",))))
        for row in range(200)
    )
    assert flagged <= 1


def test_a_lead_that_is_far_too_large() -> None:
    x = twelve()
    x[8] *= 60
    assert found(recording(x)) == {("amplitude-absurd", "V3")}


def test_values_that_are_no_numbers() -> None:
    x = twelve()
    x[2, 100:120] = np.nan
    x[5, 7] = np.inf
    one = recording(x)
    assert found(one) == {("signal-nan", "III"), ("signal-nan", "aVF")}
    marked = mark(one)
    assert np.isfinite(marked.x).all()
    assert np.count_nonzero(~marked.valid) == 21
    assert np.array_equal(marked.x[marked.valid], x[marked.valid])


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    leads=st.integers(1, 12),
    samples=st.integers(1, 900),
    rate=st.sampled_from((1.0, 7.5, 50.0, 100.0, 257.0, 1000.0, 32768.0)),
    size=st.sampled_from((0.0, 1e-30, 1.0, 1e4, 1e30, 3e38)),
)
def test_any_numbers_can_be_looked_at(
    seed: int, leads: int, samples: int, rate: float, size: float
) -> None:
    random = np.random.default_rng(seed)
    x = (random.uniform(-1, 1, (leads, samples)) * size).astype(np.float32)
    x[random.random(x.shape) < 0.02] = random.choice([np.nan, np.inf, -np.inf, 0])
    valid = random.random(x.shape) < random.choice([0.5, 1])
    x[~valid] = 0  # as every recording has it
    one = Recording("r", x, rate, files.TWELVE[:leads], valid)
    marked = mark(one)
    assert np.isfinite(marked.x).all()
    assert not (marked.valid & ~valid).any()
    assert np.array_equal(marked.x[marked.valid], x[marked.valid])
    assert {f.code for f in inspect(one)} == {f.code for f in marked.findings}


def test_what_is_missing_already_is_no_new_defect() -> None:
    one = recording(twelve())
    one.x[4, 1000:2000] = 0
    one.valid[4, 1000:2000] = False
    assert found(one) == {("signal-gap", "")}
    assert np.array_equal(mark(one).valid, one.valid)


def test_defects_beside_a_gap_are_where_they_are() -> None:
    one = recording(twelve())
    one.valid[4, 1000:2000] = False
    one.x[4, 3000:3500] = 0.1
    assert found(one) == {("signal-gap", ""), ("signal-flat", "aVL")}
    lost = np.flatnonzero(~mark(one).valid[4])
    assert set(lost) >= set(range(1000, 2000)) | set(range(3000, 3500))
    assert len(lost) <= 1000 + 520


def test_a_recording_without_samples() -> None:
    assert found(recording(np.zeros((12, 0)))) == {("length-zero", "")}


@pytest.mark.parametrize(("age", "said"), [(-3, True), (250, True), (90, False), (0.2, False)])
def test_ages_that_nobody_has(age: float, said: bool) -> None:
    assert (("age-absurd", "") in found(replace(single(), age=age))) == said


def test_nothing_is_said_twice() -> None:
    one = recording(0 * twelve())
    marked = mark(one)
    assert inspect(replace(marked, valid=one.valid)) == []


# --- Einthoven -----------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", list(itertools.combinations(range(6), 2)))
def test_exchanged_leads_are_named(pair: tuple[int, int]) -> None:
    x = twelve()
    x[list(pair)] = x[list(pair)[::-1]]
    a, b = (LIMB[row] for row in pair)
    finding = inspect(recording(x))[0]
    assert finding.code == "einthoven-broken"
    assert f"{a} and {b} look exchanged" in finding.detail


@pytest.mark.parametrize("row", range(6))
def test_leads_upside_down_are_named(row: int) -> None:
    x = twelve()
    x[row] *= -1
    finding = inspect(recording(x))[0]
    assert finding.code == "einthoven-broken"
    assert f"{LIMB[row]} looks upside down" in finding.detail


def test_the_order_of_the_leads_does_not_matter() -> None:
    order = [7, 3, 0, 11, 5, 2, 1, 4]
    leads = tuple(files.TWELVE[row] for row in order)
    x = twelve()[order]
    assert inspect(Recording("r", x, 500, leads, np.ones(x.shape, bool))) == []
    x[[1, 2]] = x[[2, 1]]
    detail = inspect(Recording("r", x, 500, leads, np.ones(x.shape, bool)))[0].detail
    assert "aVR and I look exchanged" in detail


def test_two_measured_leads_are_free() -> None:
    x = twelve()[[1, 0, 6]]
    assert departure(x, ("II", "I", "V1"), 500) is None


def test_offsets_of_electrodes_do_not_matter() -> None:
    x = twelve() + np.float32(300) * np.arange(12, dtype=np.float32)[:, None]
    assert not {code for code, _ in found(recording(x))} & {"einthoven-broken"}
    x[[0, 1]] = x[[1, 0]]
    assert "einthoven-broken" in {code for code, _ in found(recording(x))}


def test_a_loose_contact_is_no_exchanged_lead() -> None:
    x = twelve()
    x[0, 2000:2300] += np.random.default_rng(0).normal(0, 2, 300).astype(np.float32)
    assert not {code for code, _ in found(recording(x))} & {"einthoven-broken"}


def test_a_copied_lead_is_found() -> None:
    x = twelve()
    x[9] = x[6]
    finding = inspect(recording(x))[0]
    assert (finding.code, finding.lead, finding.detail) == (
        "leads-identical",
        "V4",
        "the same as lead V1",
    )


# --- the same signal -----------------------------------------------------------------------------


def test_the_same_signal_is_known_in_another_dress() -> None:
    x = twelve()
    one = recording(x)
    order = [7, 3, 0, 11, 5, 2, 1, 4]
    leads = tuple(files.TWELVE[row] for row in order)
    dressed = replace(one, name="other", x=x[order], valid=one.valid[order], leads=leads)
    assert digest(dressed) == digest(one)
    counts = np.rint(x / 0.00125)
    for gain in (800, 800.0, 0.8e3):
        again = (counts / gain).astype(np.float32)
        assert digest(replace(one, x=again)) == digest(one)
    microvolts = (counts * 1.25).astype(np.float32) / np.float32(1000)
    assert digest(replace(one, x=microvolts)) == digest(one)
    assert digest(replace(one, x=(counts * np.float32(0.00125)).astype(np.float32))) == digest(one)


def test_other_signals_are_others() -> None:
    bundled = sample.load()
    assert len({digest(bundled.read(entry)) for entry in bundled.entries()}) == len(bundled)
    one = recording(twelve())
    changed = one.x.copy()
    changed[1, 100] += 0.005
    assert digest(replace(one, x=changed)) != digest(one)
    assert digest(recording(0 * twelve())) == ""


# --- whole data sets -----------------------------------------------------------------------------


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "every", "most"),
    [("ptbxl", 20, 0.005), ("cinc2017", 8, 0.003), ("ucihar", 40, 0), ("ecgid", 1, 0.01)],
)
def test_published_recordings_are_hardly_ever_in_doubt(
    name: str, every: int, most: float, shared_data: Callable[[str], Path]
) -> None:
    source = open_source(shared_data(name))
    wrong, count = [], 0
    for entry in itertools.islice(source.entries(), 0, None, every):
        try:
            one = source.read(entry)
        except Exception as error:  # what the reader refuses is tested elsewhere
            assert "checksum-wrong" in str(error)
            continue
        count += 1
        severe = [f for f in inspect(one) if CATALOGUE[f.code].severity is not Severity.NOTE]
        assert not [f for f in severe if f.severity is Severity.ERROR]
        if severe:
            wrong.append((entry.name, severe))
    assert len(wrong) <= most * count, wrong
