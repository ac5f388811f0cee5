"""Records read and marked together, against each by itself: nothing may be different."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nerula import conform, quality
from nerula.errors import NerulaError
from nerula.readers import open_source, wfdb_habits, wfdb_header, wfdb_together
from nerula.readers.names import STANDARD
from nerula.readers.source import Entry, Sociable, Source
from nerula.recording import Recording
from tests.layouts import microvolts, write_record
from tests.wfdb_records import write_record as write_one


def assert_same(one: Recording, other: Recording) -> None:
    for field in dataclasses.fields(Recording):
        here, there = (getattr(recording, field.name) for recording in (one, other))
        if isinstance(here, np.ndarray):
            assert here.dtype == there.dtype, field.name
            assert np.array_equal(here, there), field.name
        else:
            assert repr(here) == repr(there), field.name


def alone(source: Source, entry: Entry) -> Recording | None:
    try:
        return source.read(entry)
    except NerulaError:
        return None


def together(source: Source, entries: list[Entry]) -> list[Recording | None]:
    assert isinstance(source, Sociable)
    return source.read_some(entries)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Records of two shapes and rates, leads of their own, and what is no WFDB beside them."""
    rows = microvolts(60)
    for number in range(20):
        write_record(tmp_path / f"{number:02d}a", rows[[number]], ["II"], 100)
        write_record(tmp_path / f"{number:02d}b", rows[number : number + 12], STANDARD, 500)
        write_record(tmp_path / f"{number:02d}c", rows[[number, 9]], ["I", "RESP"], 100)
    (tmp_path / "00d.csv").write_text("I\n1\n2\n")
    return tmp_path


def test_together_as_alone(folder: Path) -> None:
    source = open_source(folder)
    entries = list(source.entries())
    read = together(source, entries)
    assert [recording is None for recording in read] == [
        entry.name[2] in "cd" for entry in entries
    ]
    for entry, recording in zip(entries, read, strict=True):
        if recording is not None:
            assert_same(recording, source.read(entry))


@pytest.mark.parametrize("name", ["ptbxl", "cinc2017", "ecgid"])
def test_real_records_are_read_together(name: str, shared_data: Any) -> None:
    source: Any = open_source(shared_data(name))
    if hasattr(source, "narrowed") and name == "ptbxl":
        source = source.narrowed(("V1", "II"))
    entries = list(source.entries())[:: 300 if name == "ptbxl" else 30]
    read = together(source, entries)
    assert sum(recording is not None for recording in read) > 0.9 * len(entries)
    for entry, recording in zip(entries, read, strict=True):
        if recording is not None:
            assert_same(recording, source.read(entry))


def mutants(content: bytes, count: int) -> Iterator[bytes]:
    """Yield copies in which a byte is another one, missing or twice."""
    rng = np.random.default_rng(7)
    for _ in range(count):
        place, byte = int(rng.integers(len(content))), bytes([int(rng.integers(32, 127))])
        yield content[:place] + byte + content[place + 1 :]
        yield content[:place] + content[place + 1 :]
        yield content[: place + 1] + content[place:]


@pytest.mark.parametrize("ending", ["hea", "dat"])
def test_what_is_damaged_is_not_believed_together_either(folder: Path, ending: str) -> None:
    source = open_source(folder)
    entries = [entry for entry in source.entries() if entry.name[:3] in ("00a", "00b", "01b")]
    path = folder / f"00b.{ending}"
    whole, refused = path.read_bytes(), 0
    for damaged in mutants(whole, 120 if ending == "hea" else 20):
        path.write_bytes(damaged)
        _, read, other = together(source, entries)
        assert other is not None  # the same as ever, whatever lies beside it
        expected = alone(source, entries[1])
        refused += expected is None
        if read is not None:
            assert expected is not None, damaged
            assert_same(read, expected)
    assert refused


def test_links_and_what_is_not_there_are_left_to_be_read_alone(folder: Path) -> None:
    source = open_source(folder)
    entries = [entry for entry in source.entries() if entry.name[2] == "b"][:4]
    (folder / "outside").mkdir()
    for number, ending in enumerate(("hea", "dat")):
        path = folder / f"0{number}b.{ending}"
        path.rename(folder / "outside" / path.name)
        path.symlink_to(folder / "outside" / path.name)
    (folder / "02b.dat").unlink()
    read = together(source, entries)
    assert [recording is None for recording in read] == [True, True, True, False]
    assert alone(source, entries[1]) is not None  # a link inside the folder


def test_a_missing_sample_is_left_to_be_read_alone(tmp_path: Path) -> None:
    rows = microvolts(2).copy()
    rows[1, 50] = -32768
    write_record(tmp_path / "gap", rows, ["I", "II"], 100)
    source = open_source(tmp_path)
    entries = list(source.entries())
    assert together(source, entries) == [None]
    assert not source.read(entries[0]).valid.all()


@pytest.mark.parametrize(
    "change",
    [
        {"line": "rec.dat 16 40000(0)/mV 16 0 {initial} {checksum} 0 {name}"},
        {"rate": 100, "top": "rec {leads} 2500 {samples}"},
        {"rate": 100, "comments": "#Age: 93\n#Sex: M\n"},
        {"rate": 100, "line": "rec.dat 16 {gain}(0)/mV 16 0 5 {checksum} 0 {name}"},
    ],
)
def test_doubts_are_the_same(tmp_path: Path, change: dict[str, Any]) -> None:
    write_one(tmp_path, ("I", "II"), **change)
    source = open_source(tmp_path)
    entries = list(source.entries())
    read, expected = together(source, entries)[0], source.read(entries[0])
    assert read is not None
    assert expected.findings
    assert_same(read, expected)


def test_headers_alike_are_what_their_lines_say(tmp_path: Path) -> None:
    """A second pass finds the pattern of the first one, whatever differs."""
    path = write_one(tmp_path, STANDARD[:3])
    for _ in range(2):
        wfdb_habits.parse(path.read_bytes(), path)
    read = 0
    for raw in mutants(path.read_bytes(), 400):
        try:
            expected = wfdb_header.parse(raw, path)
        except NerulaError as error:
            with pytest.raises(type(error)):
                wfdb_habits.parse(raw, path)
            continue
        found = wfdb_habits.parse(raw, path)
        assert found._replace(signals=found.signals.lines) == expected._replace(
            signals=expected.signals.lines
        )
        read += 1
    assert read > 100


def test_marked_together_as_alone() -> None:
    """Flat, clipped, copied, contradicting and noisy leads among sound ones."""
    rng = np.random.default_rng(3)
    base = microvolts(40).astype(np.float32) / 1000
    one, two, rest = base[:10], base[10:20], base[20:30]
    leads = ("I", "II", "III", "V1", "V2")
    recordings = []
    for number in range(10):
        first, second, chest = one[number], two[number], rest[number]
        x = np.stack([first, second, second - first, chest, chest[::-1]])
        match number:
            case 1:
                x[2] = -x[2]
            case 2:
                x[4] = x[3]
            case 3:
                x[3, 200:400] = 0.5
            case 4:
                x[1] = np.clip(x[1], -0.1, 0.1)
            case 5:
                x[4] = rng.normal(size=x.shape[1])
            case 6:
                x[0] *= 30
            case 7:
                x[:, -130:] = np.clip(x[:, -130:], -0.05, 0.05)
        valid = np.ones(x.shape, np.bool_)
        recordings.append(Recording(f"{number}", x, 100.0, leads, valid))
    marked = quality.mark_alike(recordings, quality.stacked([one.x for one in recordings]))
    assert sum(bool(recording.findings) for recording in marked) >= 6
    for together, recording in zip(marked, recordings, strict=True):
        assert_same(together, quality.mark(recording))


def test_short_recordings_go_together_and_long_ones_do_not() -> None:
    def groups(count: int, time: int) -> list[int]:
        x = np.zeros((1, time), np.float32)
        one = Recording("one", x, 100.0, ("I",), np.ones(x.shape, np.bool_))
        return [len(group) for group in conform.alike([one] * count)]

    assert groups(40, 6000) == [16, 16, 8]
    assert groups(10, 60_000) == [8, 2]
    assert groups(3, 400_000) == [1, 1, 1]


def test_long_records_are_read_alone(tmp_path: Path) -> None:
    write_record(tmp_path / "long", [np.tile(microvolts(1)[0], 300)], ["II"], 100)
    source = open_source(tmp_path)
    assert together(source, list(source.entries())) == [None]
    assert wfdb_together.read([], None, lambda _, recording: recording) == []


def test_but_knows_its_fields() -> None:
    x = np.zeros((1, 100), np.float32)
    one = Recording("one", x, 100.0, ("I",), np.ones(x.shape, np.bool_))
    assert_same(one.but(name="two", age=5.0), dataclasses.replace(one, name="two", age=5.0))
    with pytest.raises(TypeError, match="nmae"):
        one.but(nmae="two")
    with pytest.raises(ValueError, match="want"):
        one.but(x=x[:, :50])
