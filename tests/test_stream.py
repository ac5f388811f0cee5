"""`nerula stream`: each window is what `embed` makes of its samples, whatever the packets."""

import io
import json
import os
import signal as signals
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import nerula
from nerula import quality, sample, signal
from nerula.contract import Contract
from nerula.errors import DefectError, NerulaError, UsageError
from nerula.model import Model
from nerula.readers.source import Hints
from nerula.stream import Emitted, Stream, stream
from nerula.streaming.inputs import Int16, Packet, Wfdb
from nerula.streaming.lines import Lines
from nerula.streaming.live import CHUNK, as_json
from nerula.streaming.ring import Ring
from tests import reference
from tests.test_export import linear
from tests.tiny import Tiny
from tests.wfdb_records import write_record

Array = NDArray[np.float32]
HERE = Path("here.csv")


@pytest.fixture(scope="module")
def bundled() -> Model:
    return nerula.load("nerula-small")


@pytest.fixture(scope="module")
def tiny() -> Model:
    """A model whose embedding costs nothing, of windows of two seconds."""
    torch.manual_seed(0)
    return Model(Tiny().eval(), Contract(("II",), 100.0), 200)


def line(seconds: float, rate: float = 100.0) -> Array:
    """One lead of real ECG, as long as is asked for."""
    x = sample.load().x[: int(seconds / 10) + 2, 0].reshape(1, -1)
    if rate != 100.0:
        x = signal.resample(x, 100.0, rate)
    return x[0, : int(seconds * rate)]


def pushed(live: Stream, x: Array, sizes: Sequence[int]) -> list[Emitted]:
    out, start = [], 0
    for size in sizes:
        out += live.push(x[..., start : start + size])
        start += size
    return out + live.push(x[..., start:]) + live.close()


def apart(ours: Any, theirs: Array) -> float:
    """The largest difference, of the largest value: single precision adds up in another order."""
    return float(np.abs(np.asarray(ours) - theirs).max() / max(1, np.abs(theirs).max()))


def same(ours: Sequence[Emitted], theirs: Sequence[Emitted]) -> None:
    assert [(one.start, one.end) for one in ours] == [(one.start, one.end) for one in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert (one.valid, one.quality) == (other.valid, other.quality)
        if one.embedding is None or other.embedding is None:
            assert one.embedding is other.embedding
        else:
            assert apart(one.embedding, other.embedding) <= 1e-5


# --- windows -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "every", "window"),
    [(100.0, None, None), (100.0, 3.3, None), (250.0, None, None), (360.0, None, 7.0),
     (250.0, 12.5, None), (100.0, 10.0, 25.0)],
)  # fmt: skip
def test_every_window_is_what_embed_makes_of_exactly_these_samples(
    bundled: Model, rate: float, every: float | None, window: float | None
) -> None:
    x = line(95, rate)
    x[int(20 * rate) : int(23.3 * rate)] = np.nan
    x[int(40 * rate) : int(41 * rate)] = x[int(40 * rate)]  # flat: marked, as embed marks it
    live = Stream(bundled, rate, every, window)
    emitted = pushed(live, x, [1, 7, 333, 5000, 2, 4000])
    seconds = window or bundled.seconds
    step, length = every or seconds, int(seconds * rate + 1e-6)
    whole = [k for k in range(60) if round(k * step * rate) + length <= len(x)]
    left = len(x) - round(len(whole) * step * rate)
    uncovered = round(whole[-1] * step * rate) + length < len(x)
    assert len(emitted) == len(whole) + (left >= rate and uncovered)
    for number, one in enumerate(emitted):
        first = round(number * step * rate)
        piece = x[first : first + length]
        assert one.start == first / rate
        assert one.end == (first + len(piece)) / rate
        assert one.embedding is not None
        assert apart(one.embedding, bundled.embed(piece, rate)) <= 1e-5
        if rate == 100.0:
            marked = bundled.quality(piece, rate)
            assert one.quality == pytest.approx(marked.score, abs=1e-9)
            assert one.valid == pytest.approx(marked.valid.mean(), abs=1e-9)
    assert live.counts.samples == len(x)


def test_units_leads_and_a_probe(bundled: Model) -> None:
    x = line(21)
    probe = linear(bundled, "classes", ("no", "yes"), 1, [0, 1])
    live = Stream(bundled, 100, leads=("V1", "MLII"), lead="MLII", unit="uV", probe=probe)
    emitted = live.push(np.stack([0 * x, 1000 * x]))
    assert len(emitted) == 2
    for one in emitted:
        piece = x[round(100 * one.start) : round(100 * one.end)]
        z = bundled.embed(piece, 100)
        assert one.embedding is not None and one.probabilities is not None
        assert apart(one.embedding, z) <= 1e-5
        expected = dict(zip(probe.classes, probe.probabilities(z), strict=True))
        assert one.probabilities == pytest.approx(expected, abs=1e-5)
    with pytest.raises(UsageError, match="--lead"):
        Stream(bundled, 100, leads=("V1", "V2"))
    with pytest.raises(UsageError, match="2 leads were announced"):
        live.push(x)


def test_a_window_of_nothing_says_so_and_the_next_one_goes_on(tiny: Model) -> None:
    x = line(12)
    x[400:800] = np.nan
    emitted = Stream(tiny, 100).push(x)
    assert [one.embedding is None for one in emitted] == [False, False, True, True, False, False]
    assert [one.valid for one in emitted[2:4]] == [0.0, 0.0]
    said = [json.loads(as_json(one, probed=True)) for one in emitted]
    assert said[2]["embedding"] is None
    assert said[2]["probabilities"] is None
    assert len(said[0]["embedding"]) == 8


def test_lines_keep_the_embedding_to_seven_digits(bundled: Model) -> None:
    one = Stream(bundled, 100).push(line(11))[0]
    read = json.loads(as_json(one))
    assert apart(read["embedding"], one.embedding) <= 1e-5
    assert set(json.loads(as_json(one, embedding=False))) == {"start", "end", "valid", "quality"}


def test_a_unit_that_no_heart_can_have_is_refused(tiny: Model) -> None:
    with pytest.raises(DefectError, match="typical second spans"):
        Stream(tiny, 100).push(line(60) * np.float32(1000))
    assert all(one.valid == 0 for one in Stream(tiny, 100).push(line(60) / np.float32(1000)))
    unplugged = np.concatenate([line(4) * 1000, line(60)])  # before the electrodes were on
    assert Stream(tiny, 100).push(unplugged)[-1].valid == 1


def test_what_cannot_be_meant_is_refused(tiny: Model, bundled: Model) -> None:
    for options in ({"every": 0.0}, {"window": 1e6}, {"patience": -1.0}, {"unit": "mmHg"}):
        with pytest.raises(NerulaError):
            Stream(tiny, 100, **options)  # type: ignore[arg-type]
    with pytest.raises(NerulaError, match="rate"):
        Stream(tiny, 0)
    with pytest.raises(UsageError, match="another model"):
        Stream(tiny, 100, probe=linear(bundled, "classes", ("a", "b"), 1, [0, 1]))


# --- packets -----------------------------------------------------------------------------------


@st.composite
def packets(draw: st.DrawFn) -> tuple[list[tuple[int, int]], list[int], list[int]]:
    """Packets of a stream (start, end), the order in which they come, and those that are lost."""
    sizes = draw(st.lists(st.integers(1, 90), min_size=5, max_size=40))
    edges = np.cumsum([0, *sizes])
    cut = [(int(a), int(b)) for a, b in pairwise(edges)]
    lateness = [draw(st.integers(0, 150)) for _ in cut]  # samples; patience is 300
    order = sorted(range(len(cut)), key=lambda i: (cut[i][1] + lateness[i], i))
    lost = draw(st.lists(st.integers(0, len(cut) - 1), max_size=4, unique=True))
    twice = draw(st.lists(st.sampled_from(order), max_size=4))
    for number in twice:
        order.insert(order.index(number) + 1, number)
    return cut, order, lost


@settings(max_examples=60, deadline=None)
@given(packets(), st.sampled_from([None, 0.7, 3.1]), st.integers(-500, 10**9))
def test_packets_out_of_order_twice_or_lost_are_gaps_at_most(
    tiny: Model, drawn: Any, every: float | None, origin: int
) -> None:
    cut, order, lost = drawn
    x = line(40)[: cut[-1][1]].copy()
    coming = [i for i in order if i not in lost]
    if not coming:
        return
    begin, end = min(cut[i][0] for i in coming), max(cut[i][1] for i in coming)
    expected = x.copy()
    for i in lost:
        expected[slice(*cut[i])] = np.nan
    plain = Stream(tiny, 100, every)
    shuffled = Stream(tiny, 100, every, patience=3)
    wanted = plain.push(expected[begin:end], at=origin + begin) + plain.close()
    found = []
    for i in coming:
        found += shuffled.push(x[slice(*cut[i])], at=origin + cut[i][0])
    same(found + shuffled.close(), wanted)
    counts = shuffled.counts
    received = sum(cut[i][1] - cut[i][0] for i in coming)
    once = sum(cut[i][1] - cut[i][0] for i in set(coming))
    assert (counts.samples, counts.repeated, counts.late) == (received, received - once, 0)
    assert counts.missing == end - begin - once
    assert counts.restarts == 0


def test_what_comes_after_its_window_still_fills_the_windows_after_it(tiny: Model) -> None:
    x = line(6)
    live = Stream(tiny, 100, every=1)
    emitted = live.push(x[:220], at=0) + live.push(x[240:300], at=240)
    assert [one.valid for one in emitted] == [1.0, 0.9]  # 20 samples were not there in time
    assert live.counts.missing == 20
    emitted = live.push(x[215:245], at=215) + live.push(x[300:400], at=300)
    counts = live.counts
    assert (counts.late, counts.repeated, counts.missing) == (0, 10, 0)
    same(emitted, Stream(tiny, 100, every=1).push(x[:400])[2:])


def test_too_late_is_counted_and_changes_nothing(tiny: Model) -> None:
    x = line(10)
    live = Stream(tiny, 100)
    first = live.push(x[:450], at=0)
    assert live.push(x[:50] + 1, at=0) == []
    assert live.counts.late == 50
    later = live.push(x[450:800], at=450) + live.close()
    straight = Stream(tiny, 100)
    same(first + later, straight.push(x[:800]) + straight.close())


def test_a_device_that_starts_again_is_followed(tiny: Model) -> None:
    x = line(30)
    live = Stream(tiny, 100)
    emitted = live.push(x[:1000], at=500_000)
    for start in range(1000, 2000, 50):  # its count begins at 0
        emitted += live.push(x[start : start + 50], at=start - 1000)
    emitted += live.push(x[2000:3000], at=10**9)  # somebody set its clock
    emitted += live.close()
    assert live.counts.restarts == 2
    assert [one.start for one in emitted[:5]] == [5000 + 2 * i for i in range(5)]
    assert emitted[-1].end == 10**7 + 10
    assert all(one.valid > 0.9 for one in emitted)
    assert 0 < live.counts.late <= 250


def test_a_gap_longer_than_the_buffer_is_windows_of_nothing(tiny: Model) -> None:
    live = Stream(tiny, 100)
    far = 3 * CHUNK
    emitted = live.push(line(2), at=0) + live.push(line(2), at=far) + live.close()
    assert live.counts.missing == far - 200
    assert sum(one.embedding is not None for one in emitted) >= 2
    assert len(emitted) == pytest.approx((far + 200) / 200, abs=1)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_ring_holds_what_a_long_array_would(data: st.DataObject) -> None:
    length = 50
    ring, full = Ring(1, length), np.full((1, 4000), np.nan, np.float32)
    counter = 0
    for _ in range(data.draw(st.integers(1, 60))):
        kind = data.draw(st.sampled_from(["write", "forget", "skip"]))
        if kind == "forget":
            ring.forget(data.draw(st.integers(ring.base, ring.head)))
        elif kind == "skip":
            ring.skip(data.draw(st.integers(ring.head, ring.base + length)))
        else:
            at = data.draw(st.integers(ring.base, min(ring.head + 5, ring.base + length)))
            size = data.draw(st.integers(0, ring.base + length - at))
            x = np.arange(counter, counter + size, dtype=np.float32)[None]
            counter += size
            free = np.isnan(full[:, at : at + size])
            assert ring.write(at, x) == (int(free.sum()), int((~free).sum()))
            full[:, at : at + size][free] = x[free]
        assert ring.head - ring.base <= length
        held = ring.read(ring.base, ring.head)
        assert np.array_equal(held, full[:, ring.base : ring.head], equal_nan=True)


def test_hours_take_no_more_memory_than_minutes(tiny: Model) -> None:
    live = Stream(tiny, 500.0, window=20)
    x = line(60, 500.0)
    live.push(x)
    tracemalloc.start()
    try:
        for _ in range(10):
            live.push(x)
        _, few = tracemalloc.get_traced_memory()
        for _ in range(90):  # 3 million samples: an hour and forty minutes
            live.push(x)
        _, many = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert live.counts.samples == 101 * len(x)
    assert many - few < 200_000, (few, many)


# --- inputs ------------------------------------------------------------------------------------


def fed(reader: Any, data: bytes, sizes: Sequence[int] = ()) -> list[Packet]:
    packets, start = [], 0
    for size in sizes:
        packets += list(reader.feed(data[start : start + size]))
        start += size
    return packets + list(reader.feed(data[start:])) + list(reader.feed(b"", last=True))


def joined(packets: Sequence[Packet]) -> dict[int, list[float]]:
    """Every sample by its number."""
    held: dict[int, list[float]] = {}
    following = 0
    for packet in packets:
        following = packet.at if packet.at is not None else following
        for column in packet.samples.T:
            held[following] = [round(float(value), 5) for value in column]
            following += 1
    return held


TABLES = {
    "a rate above": b"# rate: 100\nII (mV)\n1.5\n2\n-3e-1\n",
    "times": b"time_s,II (mV)\n0.00,1.5\n0.01,2\n0.02,-0.3\n",
    "milliseconds and a decimal comma": b"time_ms;II (mV)\n0;1,5\n10;2,0\n20;-0,3\n",
    "sequence numbers and another column": b"seq,what,II (uV)\n0,a,1500\n1,b,2000\n2,c,-300\n",
    "white space": b"time   II\n0.00   1.5\n0.01  2.0\n  0.02 -0.3",
    "clock times": b"time,II (mV)\n00:00:00.00,1.5\n00:00:00.01,2\n00:00:00.02,-0.3\n",
    "line ends of another system": b"time_s,II (mV)\r\n0.00,1.5\r\n0.01,2\r\n0.02,-0.3\r\n",
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_understood_as_files_are_however_they_are_cut(name: str) -> None:
    data = TABLES[name]
    for cut in range(len(data)):
        reader = Lines(Hints(rate=100.0), HERE)
        held = joined(fed(reader, data, [cut]))
        assert held == {0: [1.5], 1: [2.0], 2: [-0.3]}, cut
        assert (reader.rate, reader.leads, reader.malformed) == (100.0, ("II",), 0)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 400), max_size=12), st.sets(st.integers(0, 199), max_size=30))
def test_broken_lines_are_counted_and_are_gaps(sizes: list[int], broken: set[int]) -> None:
    rows = [f"{i / 100:.2f},{i * 0.01:.2f}" for i in range(200)]
    bad = ["what is this", "1,2,3", "0.5,a", ",", "12", "\x00\xff"]
    texts = [bad[i % len(bad)] if i in broken and i else row for i, row in enumerate(rows)]
    broken = broken - {0}
    data = ("time_s,II (mV)\n" + "\n".join(texts) + "\n").encode("latin-1")
    reader = Lines(Hints(), HERE)
    held = joined(fed(reader, data, sizes))
    assert held == {i: [round(i * 0.01, 2)] for i in range(200) if i not in broken}
    empty = sum(
        i % len(bad) == 3 for i in broken
    )  # no time and no value: nothing is wrong with it
    assert len(broken) - empty <= reader.malformed <= len(broken)
    assert reader.rate == 100.0


def test_without_times_a_broken_line_is_a_missing_sample() -> None:
    reader = Lines(Hints(rate=100.0), HERE)
    held = joined(fed(reader, b"II (mV)\n1.5\nwhat\n\n2.5\nnan\n"))
    assert list(held) == [0, 1, 2, 3, 4]
    assert (held[0], held[3]) == ([1.5], [2.5])
    assert np.isnan([held[1], held[2], held[4]]).all()
    assert reader.malformed == 1


def test_losses_and_disorder_of_rows_keep_their_places() -> None:
    numbers = [0, 1, 2, 10, 11, 3, 4, 4, 12, 500, 501]
    for title, scale in (("seq", 1.0), ("time_ms", 4.0)):
        rows = "".join(f"{i * scale:g},{i / 1000}\n" for i in numbers)
        reader = Lines(Hints(rate=250.0), HERE)
        held = joined(fed(reader, f"{title},II (mV)\n{rows}".encode()))
        assert held == {i: [i / 1000] for i in numbers}


@pytest.mark.parametrize(
    ("data", "hints", "code"),
    [
        (b"II\n100\n200\n", Hints(rate=100.0), "unit-unknown"),
        (b"II (mmHg)\n1.5\n2.5\n", Hints(rate=100.0), "unit-unknown"),
        (b"II (mV)\n1.5\n2.5\n", Hints(), "rate-missing"),
        (b"time_s,II (mV)\n5,1.5\n5,2.5\n", Hints(), "rate-missing"),
        (b"name,place\nx,y\n", Hints(rate=100.0), "length-zero"),
        (b"time_s,temperature\n" + b"0.1,2.5\n" * 3, Hints(rate=100.0), ""),
        (b"", Hints(rate=100.0), "header-malformed"),
        (b"x" * (3 << 20), Hints(rate=100.0), "header-malformed"),
    ],
)
def test_tables_that_cannot_be_understood_are_refused(
    data: bytes, hints: Hints, code: str
) -> None:
    reader = Lines(hints, HERE)
    if not code:  # a name that nobody knows is kept, as in files
        assert joined(fed(reader, data))
        return
    with pytest.raises(DefectError) as refused:
        fed(reader, data)
    assert refused.value.finding.code == code


def test_the_rate_comes_from_the_times_where_nothing_says_it() -> None:
    rows = "".join(f"{1000 * i / 360:.0f},{i}.5\n" for i in range(100))
    reader = Lines(Hints(), HERE)
    fed(reader, f"time_ms,II (mV)\n{rows}".encode())
    assert reader.rate == 360.0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 300), max_size=10), st.integers(1, 3))
def test_raw_samples_may_be_cut_anywhere(sizes: list[int], leads: int) -> None:
    rng = np.random.default_rng(leads)
    counts = rng.integers(-32768, 32768, (200, leads)).astype("<i2")
    counts[7] = -32768
    reader = Int16(100.0, ("I", "II", "III")[:leads], 400.0, "uV")
    x = np.concatenate([one.samples for one in fed(reader, counts.tobytes() + b"\1", sizes)], 1)
    expected = np.where(counts == -32768, np.nan, counts / 400_000).T
    assert np.allclose(x, expected, rtol=1e-6, equal_nan=True)
    assert reader.malformed == 1


@pytest.mark.parametrize("form", ["16", "212", "80"])
@pytest.mark.parametrize("leads", [("II",), ("I", "II"), ("I", "II", "V1")])
def test_a_wfdb_record_may_be_cut_anywhere(
    form: str, leads: tuple[str, ...], tmp_path: Path
) -> None:
    from nerula.readers import wfdb as reader_of_files

    x = np.stack([line(4) * (1 + row) for row in range(len(leads))]).T
    limit = 100 if form == "80" else 1000
    reference.write(
        tmp_path / "rec.hea", fs=100, units=["mV"] * len(leads), sig_name=list(leads),
        p_signal=np.clip(x, -1, 1).astype(np.float64), fmt=[form] * len(leads),
        adc_gain=[float(limit)] * len(leads), baseline=[0] * len(leads),
    )  # fmt: skip
    expected = reader_of_files.read(tmp_path / "rec.hea")
    for sizes in ([], [1, 1, 1, 500, 2, 7], [100] * 9):
        reader, path = Wfdb.open(tmp_path / "rec.hea")
        found = np.concatenate([one.samples for one in fed(reader, path.read_bytes(), sizes)], 1)
        assert reader.leads == expected.leads
        assert np.allclose(found[:, :400], expected.x, atol=1e-6)


# --- the verb ----------------------------------------------------------------------------------


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(one) for one in text.splitlines()]


def test_a_file_of_each_format_gives_the_same_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bundled: Model
) -> None:
    write_record(tmp_path, leads=("II",))
    counts = np.fromfile(tmp_path / "rec.dat", "<i2")
    (tmp_path / "rec.raw").write_bytes(counts.tobytes())
    rows = "".join(f"{i / 250:.3f},{count}\n" for i, count in enumerate(counts))
    (tmp_path / "rec.csv").write_text(f"time_s,II (uV)\n{rows}")
    for words in (
        {"source": tmp_path / "rec.hea"},
        {"source": tmp_path / "rec.raw", "rate": 250.0, "gain": 1000.0},
        {"source": tmp_path / "rec.csv"},
    ):
        assert stream("nerula-small", every=2, window=4, **words) == 0  # type: ignore[arg-type]
        shown = capsys.readouterr()
        found = lines_of(shown.out)
        assert [one["start"] for one in found] == [0, 2, 4]
        for one in found:
            piece = counts[int(250 * one["start"]) : int(250 * one["end"])] / 1000
            z = bundled.embed(piece, 250)
            assert apart(one["embedding"], z) <= 1e-5
        assert "8.0 s of samples at 250 Hz in 3 windows" in shown.err
        assert "none missing, late or repeated" in shown.err


def test_what_the_verb_needs_is_said(tmp_path: Path) -> None:
    (tmp_path / "x.raw").write_bytes(b"\0" * 100)
    with pytest.raises(UsageError, match="--rate 250 --gain"):
        stream("nerula-small", tmp_path / "x.raw")
    with pytest.raises(DefectError) as refused:
        stream("nerula-small", tmp_path / "nowhere.csv")
    assert refused.value.finding.code == "file-missing"
    with pytest.raises(UsageError, match="is a folder"):
        stream("nerula-small", tmp_path)
    with pytest.raises(UsageError, match="named by its header"):
        stream("nerula-small", format_="wfdb")


NERULA = [sys.executable, "-m", "nerula.cli", "stream", "nerula-small"]


def test_a_pipe_gives_lines_while_it_is_open_and_ends_cleanly_on_a_signal(bundled: Model) -> None:
    x = line(40)
    text = "".join(f"{i},{value:.4f}\n" for i, value in enumerate(x) if not 1500 <= i < 1600)
    rows = text.splitlines(keepends=True)
    words = [*NERULA, "--rate", "100", "--patience", "0.5"]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        assert running.stdin and running.stdout and running.stderr
        running.stdin.write(("seq,II (mV)\n" + "".join(rows[:1100])).encode())
        running.stdin.flush()
        first = json.loads(running.stdout.readline())  # while the pipe is open
        running.stdin.write("".join(rows[1100:]).encode() + b"garbage\n")
        running.stdin.flush()
        second = json.loads(running.stdout.readline())
        third = json.loads(running.stdout.readline())
        running.send_signal(signals.SIGTERM)
        rest, said = running.stdout.read(), running.stderr.read().decode()
    assert running.returncode == 0, said
    assert "Traceback" not in said
    assert "100 missing, 1 malformed lines" in said
    x[1500:1600] = np.nan
    last = lines_of(rest.decode())
    for number, one in enumerate([first, second, third, *last]):
        piece = np.round(x[1024 * number : 1024 * (number + 1)], 4)
        z = bundled.embed(piece, 100)
        assert apart(one["embedding"], z) <= 1e-5
    assert len(last) == 1  # what was left when the signal came: 9.28 s


def test_a_file_that_grows_is_followed_until_ctrl_c(tmp_path: Path, bundled: Model) -> None:
    path, x = tmp_path / "live.raw", np.round(line(32) * 1000).astype("<i2")
    path.write_bytes(x[:500].tobytes())
    words = [*NERULA, str(path), "--follow", "--rate", "100", "--gain", "1000"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout and running.stderr
        with path.open("ab", buffering=0) as growing:
            for start in range(500, len(x), 300):
                growing.write(x[start : start + 300].tobytes()[:-1])
                time.sleep(0.005)
                growing.write(x[start : start + 300].tobytes()[-1:])
        found = [json.loads(running.stdout.readline()) for _ in range(3)]
        running.send_signal(signals.SIGINT)
        said = running.stderr.read().decode()
    assert running.returncode == 0, said
    assert "32.0 s of samples at 100 Hz in 4 windows" in said  # the last: what was left
    assert "Traceback" not in said
    for number, one in enumerate(found):
        z = bundled.embed(x[1024 * number : 1024 * (number + 1)] / 1000, 100)
        assert apart(one["embedding"], z) <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("words", [("-", "--no-embedding"), ("--no-embedding", "-")])
def test_a_hyphen_is_standard_input(words: tuple[str, ...]) -> None:
    rows = "# rate: 100\nII (mV)\n" + "".join(f"{v:.4f}\n" for v in line(11.0))
    done = subprocess.run(
        [*NERULA, *words], input=rows, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(lines_of(done.stdout)) == 1
    assert "in 1 window;" in done.stderr


def test_whoever_stops_reading_ends_it_without_a_traceback(tmp_path: Path) -> None:
    np.round(line(150) * 1000).astype("<i2").tofile(tmp_path / "x.raw")
    words = [*NERULA, str(tmp_path / "x.raw"), "--rate", "100", "--gain", "1000"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout and running.stderr
        running.stdout.read(10)
        running.stdout.close()
        said = running.stderr.read().decode()
    assert running.returncode == 0, said
    assert "Traceback" not in said
    assert "windows" in said


def test_the_quality_is_that_of_the_signal_and_not_of_the_embedding(tiny: Model) -> None:
    noise = np.random.default_rng(0).normal(0, 0.3, 200).astype(np.float32)
    good, bad = Stream(tiny, 100).push(np.concatenate([line(2), noise]))
    assert good.quality > 0.8 > 0.3 > bad.quality
    assert bad.quality == pytest.approx(quality.index(noise[None], noise[None] < 99, 100.0))


def test_a_file_that_becomes_shorter_is_refused(tmp_path: Path) -> None:
    from nerula.streaming.follow import Bytes

    path = tmp_path / "x.raw"
    path.write_bytes(b"12345678")
    with Bytes(path, follow=True) as pieces:
        coming = iter(pieces)
        assert next(coming) == b"12345678"
        os.truncate(path, 2)
        with pytest.raises(DefectError, match="shorter"):
            next(coming)


def test_nothing_at_all_is_said_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "x.raw").write_bytes(b"")
    with pytest.raises(UsageError, match="No sample has come"):
        stream("nerula-small", tmp_path / "x.raw", rate=100.0, gain=1000.0)
    assert isinstance(sys.stdout, io.TextIOBase)
