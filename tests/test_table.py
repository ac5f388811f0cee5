"""CSV: every way in which people write tables of ECG, and what none of them can mean."""

import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nerula import sample
from nerula.errors import DefectError, UsageError
from nerula.readers import table
from nerula.readers.source import Hints
from tests import clinical_files as files

LEADS = ("II", "aVR", "V5")
RATE = 250
X = files.excerpt(LEADS, 500) * 0.00125  # mV
TIME = np.arange(X.shape[1]) / RATE


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ecg.csv"


def read(text: str | bytes, path: Path, **hints: Any) -> Any:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return table.read(path, hints=Hints(**hints))


def refusal(text: str | bytes, path: Path, **hints: Any) -> str:
    with pytest.raises(DefectError) as caught:
        read(text, path, **hints)
    assert caught.value.finding.path == path
    return caught.value.finding.code


def codes(recording: Any) -> list[str]:
    return [finding.code for finding in recording.findings]


def plain(header: str = "time_s,II (mV),aVR (mV),V5 (mV)", **more: Any) -> str:
    return files.csv(header, TIME, *X, **more)


# --- what is read ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "time_s,Lead II (mV),AVR [mV],ecg_v5_mv",
        "Time (s),II_mV,MDC_ECG_LEAD_AVR (mV),Lead V5 [mV]",
        "seconds,lead ii (mV),aVR_mV,V5 mV",
        '"t","II (mV)","aVR (mV)","V5 (mV)"',
        "time_s,DII (mV),aVR (mV),V5(C5) [mV]",
    ],
)
def test_titles_in_every_dress(path: Path, header: str) -> None:
    recording = read(plain(header), path)
    assert recording.leads == LEADS
    assert recording.rate == RATE
    assert np.abs(recording.x - X).max() < 1e-5
    assert recording.valid.all()
    assert not recording.findings


@pytest.mark.parametrize(
    ("unit", "per_mv"), [("mV", 1), ("uV", 1000), ("\u00b5V", 1000), ("V", 0.001)]
)
@pytest.mark.parametrize(
    ("scale", "title"), [(1, "time"), (1000, "time_ms"), (1e6, "time [us]"), (1000, "ms")]
)
def test_units_of_volts_and_seconds(
    path: Path, unit: str, per_mv: float, scale: float, title: str
) -> None:
    text = files.csv(f"{title},II ({unit})", TIME * scale, X[0] * per_mv, form="%.8f")
    recording = read(text, path)
    assert recording.rate == RATE
    assert np.abs(recording.x[0] - X[0]).max() < 1e-5


@pytest.mark.parametrize("separator", [",", ";", "\t", "  "])
@pytest.mark.parametrize("comma", [False, True])
def test_separators_and_decimal_commas(path: Path, separator: str, comma: bool) -> None:
    text = plain(separator.join(("time", "II", "aVR", "V5")), separator=separator)
    if comma and separator == ",":
        text = "\n".join(
            ",".join(f'"{cell.replace(".", ",")}"' for cell in line.split(","))
            for line in text.splitlines()
        )
    elif comma:
        text = text.replace(".", ",")
    recording = read(text, path, unit="mV")
    assert recording.leads == LEADS
    assert np.abs(recording.x - X).max() < 1e-5


@pytest.mark.parametrize(
    "encode",
    [
        str.encode,
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.replace("\n", "\r").encode(),
        lambda text: text.encode("utf-8-sig"),
        lambda text: text.encode("utf-16"),
        lambda text: (text + "\n\n").encode(),
        lambda text: text.replace("\n", "\n\n").encode(),
    ],
    ids=["unix", "windows", "old mac", "bom", "utf-16", "long end", "double"],
)
def test_encodings_and_line_ends_change_nothing(path: Path, encode: Any) -> None:
    recording = read(encode(plain()), path)
    assert np.abs(recording.x - X).max() < 1e-5
    assert not recording.findings


def test_a_last_line_without_an_end_may_have_been_cut(path: Path) -> None:
    recording = read(plain().removesuffix("\n"), path)
    assert np.abs(recording.x - X).max() < 1e-5
    assert codes(recording) == ["data-cut"]


def test_latin_1_is_read_and_noted(path: Path) -> None:
    text = files.csv("time,II (\u00b5V)", TIME, X[0] * 1000)
    recording = read(text.encode("latin-1"), path)
    assert np.abs(recording.x[0] - X[0]).max() < 1e-5
    assert codes(recording) == ["header-encoding"]


@pytest.mark.parametrize(
    "head",
    [
        "# rate: 250\n# unit: mV\nII,aVR,V5\n",
        "# Sampling Frequency = 250 Hz\nII (mV),aVR (mV),V5 (mV)\n",
        "Sample Rate,250 hertz\nUnit,mV\n\nII,aVR,V5\n",
        "% fs: 250.0\n% units: mV\n% II,aVR,V5\n",
        "# rate: 250\n# leads: II, aVR, V5\n# unit: mV\n",
    ],
)
def test_a_line_above_the_numbers_may_say_rate_unit_and_leads(path: Path, head: str) -> None:
    recording = read(head + files.csv("", *X).lstrip("\n"), path)
    assert recording.leads == LEADS
    assert recording.rate == RATE
    assert np.abs(recording.x - X).max() < 1e-5
    assert not recording.findings


def test_the_export_of_a_watch_is_read_and_its_owner_forgotten(path: Path) -> None:
    head = (
        'Name,"Jane Doe"\nDate of Birth,"2 Jun 1960"\nRecorded Date,2024-06-01 10:00:00 +0200\n'
        'Classification,Sinus Rhythm\nSymptoms,\nSoftware Version,2.0\nDevice,"Watch6,2"\n'
        "Sample Rate,250 hertz\n\n\nLead,Lead I\nUnit,\u00b5V\n\n"
    )
    recording = read(head + files.csv("", X[0] * 1000, form="%.3f"), path)
    assert recording.leads == ("I",)
    assert recording.rate == RATE
    assert np.abs(recording.x[0] - X[0]).max() < 1e-5
    assert {"name", "date of birth", "recorded date"} <= set(recording.removed)
    assert not any(word in repr(recording) for word in ("Doe", "1960"))


def test_the_export_of_physionets_viewer_is_read(path: Path) -> None:
    times = [f"'{int(t // 60)}:{t % 60:06.3f}'" for t in 59 + np.arange(500) / 360]
    rows = "\n".join(f"{t},{x:.3f}" for t, x in zip(times, X[0], strict=True))
    recording = read(f"'Elapsed time','MLII'\n'hh:mm:ss.mmm','mV'\n{rows}\n", path)
    assert recording.leads == ("MLII",)
    assert recording.rate == 360
    assert np.abs(recording.x[0] - X[0]).max() < 0.00051
    assert not recording.findings


@pytest.mark.parametrize(
    ("start", "scale", "form"),
    [(1.7e9, 1, "%.4f"), (1.7e12, 1000, "%.0f"), (1.7e15, 1e6, "%.0f"), (0, 1, "%.4f")],
)
def test_unix_times_tell_their_unit_by_their_size(
    path: Path, start: float, scale: float, form: str
) -> None:
    rows = [f"{form % (start + t * scale)},{x:.5f}" for t, x in zip(TIME, X[0], strict=True)]
    recording = read("timestamp,II\n" + "\n".join(rows), path, unit="mV")
    assert recording.rate == RATE
    assert recording.x.shape == (1, 500)


def test_dates_with_times_are_times(path: Path) -> None:
    rows = [
        f"2024-06-01T23:59:{59 + t:06.3f}Z,{x:.5f}" for t, x in zip(TIME[:200], X[0], strict=False)
    ]
    recording = read("timestamp,II\n" + "\n".join(rows), path, unit="mV")
    assert recording.rate == RATE
    assert "2024" not in repr(recording).replace(str(path), "")


def test_one_column_without_a_header(path: Path) -> None:
    text = files.csv("", X[0]).lstrip("\n")
    recording = read(text, path, rate=RATE, unit="mV", leads=("II",))
    assert recording.leads == ("II",)
    assert np.abs(recording.x[0] - X[0]).max() < 1e-5
    assert not recording.findings
    unnamed = read(text, path, rate=RATE, unit="mV")
    assert unnamed.leads == ("lead 1",)
    assert codes(unnamed) == ["lead-unnamed"]


def test_columns_without_a_header_are_named_by_the_user(path: Path) -> None:
    text = files.csv("", TIME, *X).lstrip("\n")
    recording = read(text, path, unit="mV", leads=LEADS)
    assert recording.leads == LEADS
    assert recording.rate == RATE
    assert refusal(text, path, unit="mV") == "header-malformed"
    assert refusal(text, path, unit="mV", leads=("II",)) == "header-malformed"


def test_other_columns_are_left_out_and_reported(path: Path) -> None:
    rows = [f"{i},{t:.3f},{x:.5f},N" for i, (t, x) in enumerate(zip(TIME, X[0], strict=True))]
    recording = read("sample,time,II,beat\n" + "\n".join(rows) + "\n", path, unit="mV")
    assert recording.leads == ("II",)
    assert codes(recording) == ["signals-left-out"]


def test_names_that_nobody_knows_are_kept_with_a_warning(path: Path) -> None:
    recording = read(plain("time,left,middle,right"), path, unit="mV")
    assert recording.leads == ("left", "middle", "right")
    assert codes(recording) == ["lead-unknown"] * 3


def test_names_that_say_nothing_are_replaced_by_those_of_the_user(path: Path) -> None:
    recording = read(plain("time,ch1,ch2,ch3"), path, unit="mV", leads=LEADS)
    assert recording.leads == LEADS
    assert not recording.findings
    assert read(plain("time,II,V1,V2"), path, leads=LEADS).leads == ("II", "V1", "V2")
    assert refusal(plain("time,ch1,ch2,ch3"), path, leads=("II",)) == "header-malformed"


def test_a_missing_unit_is_taken_for_mv_with_a_warning(path: Path) -> None:
    recording = read(plain("time,II,aVR,V5"), path)
    assert codes(recording) == ["unit-missing"] * 3
    assert np.abs(recording.x - X).max() < 1e-5


@pytest.mark.parametrize("per_mv", [1000.5, 0.001])
def test_a_missing_unit_is_not_taken_for_mv_where_that_cannot_be(
    path: Path, per_mv: float
) -> None:
    text = files.csv("time_s,II,aVR,V5", TIME, *(X * per_mv), form="%.9g")
    with pytest.raises(DefectError, match="if they were mV; give --source-unit") as caught:
        read(text, path)
    assert caught.value.finding.code == "unit-unknown"
    assert read(text, path, unit="uV" if per_mv > 1 else "V").leads == LEADS


def test_subject_age_and_sex_may_be_said(path: Path) -> None:
    recording = read("# subject: 17\n# age: 91\n# sex: F\n" + plain(), path)
    assert (recording.age, recording.sex) == (90, "female")
    assert recording.subject not in (None, "17")
    assert codes(recording) == ["age-over-89"]


def test_the_sample_survives_a_table(path: Path) -> None:
    source = sample.load()
    real = source.read(next(iter(source.entries())))
    text = files.csv("II (uV)", real.x[0] * 1000, form="%.0f")
    recording = read(f"# rate: {real.rate}\n{text}", path)
    assert recording.rate == real.rate
    assert np.abs(recording.x - real.x).max() < 1e-6


# --- missing values and times ------------------------------------------------------------------


@pytest.mark.parametrize("blank", ["", "nan", "NaN", "NA", "n/a", "null", "None", "-", "inf", " "])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_cells_that_hold_nothing_are_invalid(path: Path, blank: str, separator: str) -> None:
    lines = plain(separator.join(("time", "II (mV)", "aVR (mV)", "V5 (mV)")), separator=separator)
    rows = [line.split(separator) for line in lines.splitlines()]
    for row, column in ((1, 1), (50, 2), (51, 2), (51, 3), (500, 3)):
        rows[row][column] = blank
    recording = read("\n".join(separator.join(row) for row in [*rows, []]), path)
    expected = np.ones(X.shape, bool)
    expected[[0, 1, 1, 2, 2], [0, 49, 50, 50, 499]] = False
    assert np.array_equal(recording.valid, expected)
    assert np.isfinite(recording.x).all()
    assert codes(recording) == ["signal-nan"] * 3


def test_a_gap_in_the_times_is_invalid(path: Path) -> None:
    keep = np.r_[0:100, 150:400, 401:500]
    recording = read(files.csv("time,II (mV)", TIME[keep], X[0, keep]), path)
    assert recording.rate == RATE
    assert recording.x.shape == (1, 500)
    assert np.array_equal(np.flatnonzero(recording.valid[0]), keep)
    assert np.abs(recording.x[0, keep] - X[0, keep]).max() < 1e-5
    assert codes(recording) == ["time-gap"]


@pytest.mark.parametrize("every", [1, 4])
def test_a_gap_in_the_numbers_is_invalid(path: Path, every: int) -> None:
    keep = np.r_[0:100, 150:400, 401:500]
    text = files.csv("seq,II (mV)", 7 + every * keep, X[0, keep])
    recording = read(f"# rate: {RATE}\n{text}", path)
    assert recording.x.shape == (1, 500)
    assert np.array_equal(np.flatnonzero(recording.valid[0]), keep)
    assert codes(recording) == ["time-gap"]


@pytest.mark.parametrize(
    "numbers",
    [
        np.arange(500) // 10,  # packets of ten
        np.arange(500) % 250,  # two files put together
        np.arange(500)[::-1],
        np.r_[0:100, 99:499],  # a packet that came twice
        np.arange(500) + 0.5,
    ],
)
def test_numbers_that_do_not_count_rows_move_none(path: Path, numbers: Any) -> None:
    recording = read(f"# rate: {RATE}\n" + files.csv("seq,II (mV)", numbers, X[0]), path)
    assert recording.x.shape == (1, 500)
    assert recording.valid.all()
    assert not codes(recording)


def test_a_number_far_away_is_refused(path: Path) -> None:
    text = files.csv("seq,II (mV)", np.r_[np.arange(499), 1e9], X[0])
    assert refusal(f"# rate: {RATE}\n{text}", path) == "size-absurd"


@given(rate=st.sampled_from([50, 62.5, 100, 128, 250, 256, 257, 360, 500, 1000]),
       digits=st.integers(4, 7), start=st.floats(0, 1e4), jitter=st.floats(0, 0.2),
       seed=st.integers(0, 2**32 - 1))  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_times_that_are_rounded_and_jitter_give_the_rate(
    tmp_path_factory: pytest.TempPathFactory, rate: float, digits: int, start: float,
    jitter: float, seed: int,
) -> None:  # fmt: skip
    random = np.random.default_rng(seed)
    times = start + (np.arange(500) + random.uniform(-jitter, jitter, 500)) / rate
    path = tmp_path_factory.getbasetemp() / "jitter.csv"
    rows = [f"{t:.{digits}f},{x:.5f}" for t, x in zip(times, X[0], strict=True)]
    recording = read("time,II (mV)\n" + "\n".join(rows), path)
    assert recording.x.shape == (1, 500)
    assert abs(recording.rate / rate - 1) < 2 * (jitter + 0.05) / 500


@pytest.mark.parametrize(
    ("times", "code"),
    [
        (np.r_[TIME[:250], TIME[:250]], "format-malformed"),
        (TIME[::-1], "format-malformed"),
        (np.zeros(500), "format-malformed"),
        (np.r_[TIME[:-1], 1e7], "size-absurd"),
        (TIME * 1e9, "rate-absurd"),
        (TIME * 1e-4, "rate-absurd"),
        (np.r_[np.nan, TIME[1:]], "rate-missing"),
        (np.r_[-1e308, TIME[1:-1], 1e308], "rate-missing"),
    ],
)
def test_times_that_cannot_be_are_refused(path: Path, times: Any, code: str) -> None:
    assert refusal(files.csv("time,II (mV)", times, X[0], form="%.9f"), path) == code


def test_times_and_a_stated_rate_that_disagree_are_reported(path: Path) -> None:
    assert codes(read("# rate: 500\n" + plain(), path)) == ["header-contradiction"]


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "file-empty"),
        ("II\n", "length-zero"),
        ("hello world\n", "length-zero"),
        ("\0\0\0", "format-malformed"),
        ("II,aVR\n0.1,0.2\n0.3\n", "format-malformed"),
        ("II,aVR\n0.1,0.2\n0.3,0.4,0.5\n", "format-malformed"),
        ("II,aVR\n0.1,0.2\n0.3,x\n", "format-malformed"),
        ("II,aVR\n0.1,0.2\n0.3,0x10\n", "format-malformed"),
        ("II,aVR\n0.1,0.2\n0.3,1_0\n", "format-malformed"),
        ("II,aVR\n0.1,0.2\n0.3,\u0663\n", "format-malformed"),
        ("II,aVR,V1\n0.1,0.2\n", "header-malformed"),
        ("II,ii\n0.1,0.2\n0.3,0.4\n", "lead-duplicate"),
        ("II (furlongs)\n0.1\n", "unit-unknown"),
        ("II\nmmHg\n0.1\n0.2\n", "unit-unknown"),
        ("II\n512\n513\n", "unit-unknown"),
        ("# rate: fast\nII (mV)\n0.1\n0.2\n", "header-malformed"),
        ("# rate: 0\nII (mV)\n0.1\n0.2\n", "rate-zero"),
        ("# rate: 1e9\nII (mV)\n0.1\n0.2\n", "rate-absurd"),
        ("time,sample\n0.1,2\n0.2,3\n", "ecg-missing"),
        ("time (fortnights),II\n0.1,0.1\n0.2,0.2\n", "rate-missing"),
        ("title\n" * 300 + "0.1\n", "header-malformed"),
        ("a\nb\nc\n0.1\n", "header-malformed"),
        ("II,V1\n0.\u00c00,0.2\n0.3,0.4\n", "header-malformed"),
    ],
)
def test_a_table_that_says_nothing_sure_is_refused(path: Path, text: str, code: str) -> None:
    assert (
        refusal(text, path, **({} if "rate" in code or "time" in text else {"rate": 250})) == code
    )


def test_samples_that_are_counted_do_not_pass_for_seconds(path: Path) -> None:
    text = files.csv("time,II (mV),aVR (mV),V5 (mV)", np.arange(X.shape[1]), *X)
    with pytest.raises(DefectError, match="1 Hz if the times are seconds") as caught:
        read(text, path)
    assert caught.value.finding.code == "rate-missing"
    recording = read(text.replace("time,", "time_ms,"), path)
    assert recording.rate == 1000


def test_a_missing_rate_names_the_option(path: Path) -> None:
    with pytest.raises(DefectError, match="--source-rate") as caught:
        read("II (mV)\n0.1\n0.2\n", path)
    assert caught.value.finding.code == "rate-missing"


def test_a_table_holds_one_recording(path: Path) -> None:
    path.write_text(plain())
    with pytest.raises(UsageError, match="row 1"):
        table.read(path, 1)


def test_numbers_that_no_float_holds_are_invalid(path: Path) -> None:
    recording = read("II (mV)\n0.1\n1e308\n-1e39\n0.2\n", path, rate=250)
    assert recording.valid.tolist() == [[True, False, False, True]]


def test_one_endless_line_takes_no_memory(path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refusal("a," * 2_000_000, path) == "length-zero"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000
