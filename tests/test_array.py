"""NumPy arrays: what is read, and that nothing in them is ever executed, inflated or believed."""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nerula import sample
from nerula.errors import DefectError, UsageError
from nerula.readers import array
from nerula.readers.source import Hints
from tests import clinical_files as files

LEADS = ("II", "aVR", "V5")
X = (files.excerpt(LEADS, 500) * 0.00125).astype(np.float32)  # mV
KNOWN = Hints(rate=250, unit="mV", leads=LEADS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ecg.npy"


def saved(path: Path, x: Any) -> Path:
    np.save(path, x)
    return path


def zipped(path: Path, **members: Any) -> Path:
    path = path.with_suffix(".npz")
    np.savez_compressed(path, **members)
    return path


def refusal(path: Path, hints: Hints = KNOWN) -> str:
    with pytest.raises(DefectError) as caught:
        array.read(path, hints=hints)
    assert caught.value.finding.path == path
    return caught.value.finding.code


def codes(recording: Any) -> list[str]:
    return [finding.code for finding in recording.findings]


# --- .npy --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["<f4", "<f8", ">f4", "<f2"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("turned", [False, True])
def test_leads_and_time_in_either_order_and_layout(
    path: Path, dtype: str, order: str, turned: bool
) -> None:
    x = np.asarray(X.T if turned else X, dtype, order)
    recording = array.read(saved(path, x), hints=KNOWN)
    assert recording.leads == LEADS
    assert recording.rate == 250
    assert np.abs(recording.x - X).max() <= (0.001 if dtype == "<f2" else 0)
    assert recording.valid.all()
    assert not recording.findings
    assert array.rows(path) == 1


@pytest.mark.parametrize(("unit", "per_mv"), [("uV", 1000), ("mV", 1), ("V", 0.001)])
def test_units(path: Path, unit: str, per_mv: float) -> None:
    saved(path, X.astype(np.float64) * per_mv)
    recording = array.read(path, hints=Hints(250, unit, LEADS))
    assert np.abs(recording.x - X).max() < 1e-6


def test_whole_numbers_need_a_unit(path: Path) -> None:
    saved(path, np.rint(X * 1000).astype(np.int16))
    assert np.abs(array.read(path, hints=Hints(250, "uV", LEADS)).x - X).max() < 0.00051
    assert refusal(path, Hints(250, None, LEADS)) == "unit-unknown"


def test_time_alone(path: Path) -> None:
    recording = array.read(saved(path, X[0]), hints=Hints(250, "mV", ("II",)))
    assert np.array_equal(recording.x, X[:1])


def test_recordings_leads_and_time(path: Path) -> None:
    many = np.stack([X, X[:, ::-1], -X])
    for stored in (many, many.transpose(0, 2, 1)):
        saved(path, stored)
        assert array.rows(path) == 3
        for row in range(3):
            recording = array.read(path, row, hints=KNOWN)
            assert np.array_equal(recording.x, many[row])
            assert recording.name == f"ecg#{row}"
    with pytest.raises(UsageError, match="row 3"):
        array.read(path, 3, hints=KNOWN)


def test_the_sample_survives_as_recordings_and_time(path: Path) -> None:
    real = sample.load().x[:100, 0]
    saved(path, real)
    assert array.rows(path) == 100
    recording = array.read(path, 42, hints=Hints(100, "mV", ("II",)))
    assert np.array_equal(recording.x[0], real[42])


def test_names_decide_which_axis_holds_the_leads(path: Path) -> None:
    short = X[:, :2]  # three leads of two samples
    recording = array.read(saved(path, short), hints=KNOWN)
    assert np.array_equal(recording.x, short)
    assert array.read(saved(path, short.T), hints=KNOWN).leads == LEADS


def test_nan_is_invalid(path: Path) -> None:
    x = X.copy()
    x[0, 3], x[1, 4], x[2, 5] = np.nan, np.inf, -np.inf
    recording = array.read(saved(path, x), hints=KNOWN)
    assert np.array_equal(recording.valid, np.isfinite(x))
    assert not recording.x[~recording.valid].any()
    assert codes(recording) == ["signal-nan"]


def test_what_the_file_cannot_say_is_asked_for(path: Path) -> None:
    saved(path, X)
    with pytest.raises(DefectError, match="--source-rate"):
        array.read(path)
    recording = array.read(path, hints=Hints(rate=250))
    assert recording.leads == ("lead 1", "lead 2", "lead 3")
    assert codes(recording) == ["lead-unnamed"] * 3 + ["unit-missing"]


class Shouts:
    """What an attacker pickles: unpickling it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_objects_are_refused_and_never_unpickled(tmp_path: Path, suffix: str) -> None:
    mark = tmp_path / "executed"
    path = tmp_path / f"evil{suffix}"
    evil = np.array([Shouts(mark)], dtype=object)
    if suffix == ".npy":
        np.save(path, evil, allow_pickle=True)
    else:
        np.savez(path, x=evil, rate=np.float64(250))
    assert refusal(path) == "code-in-data"
    path.write_bytes(pickle.dumps(Shouts(mark)))
    assert refusal(path) == "format-malformed"
    assert not mark.exists()


BODY = X.tobytes()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "file-empty"),
        (b"\x93NUMPY", "format-malformed"),
        (b"\x93NUMPY\x01\x00\xff\xff", "data-truncated"),
        (b"\x93NUMPY\x09\x00\x02\x00{}", "format-unsupported"),
        (files.npy("'<f4'", "(3, 500)", BODY)[:-1], "data-truncated"),
        (files.npy("'<f4'", "(3, 500)", BODY + b"\0"), "data-overlong"),
        (files.npy("'<f4'", "(4000000, 1000000)", BODY), "size-absurd"),
        (files.npy("'<f4'", "(9999999999999999999, 9999999999999999999)"), "size-absurd"),
        (files.npy("'<f4'", "(0, 9999999999999999999)"), "length-zero"),
        (files.npy("'<f4'", "(3, -500)", BODY), "format-malformed"),
        (files.npy("'<f4'", "(1500)", BODY), "format-malformed"),
        (files.npy("'<f4'", "()", BODY[:4]), "format-unsupported"),
        (files.npy("'<f4'", "(1, 1, 3, 500)", BODY), "format-unsupported"),
        (files.npy("'<c8'", "(3, 250)", BODY), "format-unsupported"),
        (files.npy("'<U1'", "(3, 500)", BODY), "format-unsupported"),
        (files.npy("'|b1'", "(3, 500)", BODY[:1500]), "unit-unknown"),
        (files.npy("[('a', '<f4')]", "(3, 500)", BODY), "format-unsupported"),
        (files.npy("[('a', '|O')]", "(3, 500)", BODY), "code-in-data"),
        (files.npy("'|O'", "(1,)", b"cos\nsystem\n(S'true'\ntR."), "code-in-data"),
        (files.npy("'<f4'", "(3, 500)", BODY, "__import__('os')"), "format-malformed"),
        (files.npy("'<f4'", "(100, 15)", BODY), "header-malformed"),
    ],
)
def test_a_header_that_cannot_be_true_is_refused(path: Path, data: bytes, code: str) -> None:
    path.write_bytes(data)
    assert refusal(path) == code


@given(hnp.arrays(st.sampled_from(["<f4", ">f8", "<i2", "|u1"]), hnp.array_shapes(max_dims=3)))
@settings(max_examples=50, deadline=None)
def test_whatever_numpy_saves_is_read_as_numpy_reads_it(
    tmp_path_factory: pytest.TempPathFactory, x: Any
) -> None:
    path = saved(tmp_path_factory.getbasetemp() / "any.npy", x)
    count = array.rows(path)
    parts = [array.read(path, row, hints=Hints(250, "mV")) for row in range(count)]
    loaded = np.load(path).astype(np.float64).reshape(count, -1)
    for part, expected in zip(parts, loaded, strict=True):
        with np.errstate(over="ignore"):
            kept = expected.astype(np.float32)
        kept = kept[np.isfinite(kept)]
        assert np.array_equal(np.sort(part.x[part.valid]), np.sort(kept))


# --- .npz --------------------------------------------------------------------------------------


def test_an_archive_says_everything_itself(path: Path) -> None:
    many = np.stack([X, -X])
    zipped(
        path, signal=many * 1000, rate=250, leads=["II", "AVR", "v5"], unit="uV",
        subject=["a", "b"], age=[63, 91], sex=["F", "M"], anything=np.arange(3),
    )  # fmt: skip
    path = path.with_suffix(".npz")
    assert array.rows(path) == 2
    first, second = (array.read(path, row) for row in range(2))
    assert first.leads == LEADS
    assert first.rate == 250
    assert np.abs(second.x + X).max() < 1e-6
    assert (first.age, first.sex, second.age, second.sex) == (63, "female", 90, "male")
    assert len({first.subject, second.subject, "a", "b", None}) == 5
    assert codes(first) == []


@pytest.mark.parametrize("name", ["x", "signal", "ecg"])
def test_names_of_the_signal(path: Path, name: str) -> None:
    assert np.array_equal(array.read(zipped(path, **{name: X}), hints=KNOWN).x, X)


def test_validity_is_kept(path: Path) -> None:
    valid = np.ones(X.shape, bool)
    valid[1, 20:30] = False
    recording = array.read(zipped(path, x=X, valid=valid), hints=KNOWN)
    assert np.array_equal(recording.valid, valid)
    turned = array.read(zipped(path, x=X.T, valid=valid.T), hints=KNOWN)
    assert np.array_equal(turned.valid, valid)


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"y": X}, "ecg-missing"),
        ({"x": X, "ecg": X}, "format-malformed"),
        ({"x": X, "valid": X}, "format-malformed"),
        ({"x": X, "valid": np.ones(3, bool)}, "format-malformed"),
        ({"x": X, "rate": "fast"}, "header-malformed"),
        ({"x": X, "rate": np.nan}, "rate-absurd"),
        ({"x": X, "rate": 0}, "rate-zero"),
        ({"x": X, "rate": [250, 250]}, "format-malformed"),
        ({"x": X, "rate": np.zeros(10_000)}, "format-malformed"),
        ({"x": X, "unit": "stone"}, "unit-unknown"),
        ({"x": X, "leads": ["II", "II", "V1"]}, "lead-duplicate"),
        ({"x": X, "leads": ["II"]}, "header-malformed"),
    ],
)
def test_an_archive_that_contradicts_itself_is_refused(
    path: Path, members: dict[str, Any], code: str
) -> None:
    assert refusal(zipped(path, **members)) == code


def _member(name: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _sound() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, X)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "name", ["../x.npy", "/etc/x.npy", "a/../../x.npy", "..\\x.npy", "a/x.npy"]
)
def test_a_member_outside_the_archive_is_refused(path: Path, name: str) -> None:
    path.write_bytes(_member(name, _sound()))
    assert refusal(path) == "path-outside"


def test_a_bomb_is_refused_before_it_is_unpacked(path: Path) -> None:
    path.write_bytes(_member("x.npy", files.npy("'<f4'", "(3, 25000000)", bytes(300_000_000))))
    assert path.stat().st_size < 400_000
    assert refusal(path) == "size-absurd"


def test_a_changed_byte_breaks_the_checksum(path: Path) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, x=X)
    data = bytearray(buffer.getvalue())
    data[3000] ^= 1
    path.write_bytes(bytes(data))
    assert refusal(path) == "checksum-wrong"


@pytest.mark.parametrize("size", [4, 30, 200, 2000, -1, -30])
def test_a_truncated_archive_is_refused(path: Path, size: int) -> None:
    path.write_bytes(_member("x.npy", _sound())[:size])
    assert refusal(path) == "format-malformed"


def test_an_encrypted_member_is_refused(path: Path) -> None:
    data = bytearray(_member("x.npy", _sound()))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset] |= 1
    path.write_bytes(bytes(data))
    assert refusal(path) == "format-malformed"
