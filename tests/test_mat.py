"""MATLAB version 4 matrices: SciPy and the reference implementation as oracles, and lies."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from nerula.errors import DefectError
from nerula.readers import mat, wfdb
from tests import reference
from tests.clinical_files import excerpt

LEADS = ("I", "II", "V2")
SAMPLES = 1000
FORMATS = {"int16": "16", "int32": "32", "uint8": "80"}


def matrix(dtype: str = "int16") -> np.ndarray:
    """Real ECG, (leads, samples), in steps of 1.25 µV or, in 8 bits, of 40 µV."""
    x = excerpt(LEADS, SAMPLES, every=2)
    return x.astype(dtype) if dtype != "uint8" else (x // 32 + 128).astype("uint8")


def write(folder: Path, dtype: str = "int16") -> Path:
    """A record as MATLAB itself writes it (by way of SciPy), with the header of a challenge."""
    path = folder / "A0001.mat"
    x = matrix(dtype)
    scipy.io.savemat(path, {"val": x}, format="4")
    gain = "25" if dtype == "uint8" else "800"
    values = x.astype(int) - (128 if dtype == "uint8" else 0)
    lines = [f"A0001 {len(LEADS)} 500 {SAMPLES}"]
    for lead, row in zip(LEADS, values, strict=True):
        total = int(row.sum()) % 65536
        lines.append(f"A0001.mat {FORMATS[dtype]}+24 {gain}/mV 16 0 {row[0]} {total} 0 {lead}")
    path.with_suffix(".hea").write_text("\n".join(lines) + "\n")
    return path


def code_of(path: Path) -> str:
    with pytest.raises(DefectError) as caught:
        mat.read(path)
    return caught.value.finding.code


@pytest.mark.parametrize("dtype", FORMATS)
def test_what_matlab_writes_is_read_as_the_reference_reads_it(dtype: str, tmp_path: Path) -> None:
    path = write(tmp_path, dtype)
    recording = mat.read(path)
    theirs = reference.read(path)
    assert recording.leads == LEADS == tuple(theirs.sig_name)
    assert np.allclose(recording.x, theirs.p_signal.T, rtol=2e-7, atol=1e-7)
    assert recording.valid.all()
    assert not recording.findings
    by_header = wfdb.read(path.with_suffix(".hea"))
    assert np.array_equal(by_header.x, recording.x)


@pytest.mark.parametrize("dtype", FORMATS)
def test_a_matrix_is_what_scipy_says(dtype: str, tmp_path: Path) -> None:
    path = write(tmp_path, dtype)
    form, start, rows, columns = mat.matrix(path.read_bytes(), str(path))
    assert (str(form), start, rows, columns) == (FORMATS[dtype], 24, *matrix(dtype).shape)
    assert np.array_equal(scipy.io.loadmat(path)["val"], matrix(dtype))


@pytest.mark.shared
def test_challenge_2017_is_as_scipy_reads_it(shared_data: Callable[[str], Path]) -> None:
    for path in sorted((shared_data("cinc2017") / "training2017").glob("*.mat"))[::700]:
        recording = mat.read(path)
        assert np.array_equal(np.rint(recording.x * 1000), scipy.io.loadmat(path)["val"])


def damaged(path: Path, change: Callable[[bytes], bytes]) -> str:
    path.write_bytes(change(path.read_bytes()))
    return code_of(path)


def header(data: bytes, **fields: int) -> bytes:
    names = ("kind", "rows", "columns", "imaginary", "name")
    values = dict(zip(names, struct.unpack("<5i", data[:20]), strict=True)) | fields
    return struct.pack("<5i", *values.values()) + data[20:]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"kind": 0}, "format-unsupported"),  # double precision
        ({"kind": 1030}, "format-unsupported"),  # big-endian
        ({"kind": 31}, "format-unsupported"),  # text
        ({"kind": 32}, "format-unsupported"),  # sparse
        ({"kind": -1}, "format-unsupported"),
        ({"imaginary": 1}, "format-malformed"),
        ({"name": 0}, "format-malformed"),
        ({"name": 3}, "format-malformed"),
        ({"name": 2**31 - 1}, "format-malformed"),
        ({"name": -4}, "format-malformed"),
        ({"rows": 0}, "format-malformed"),
        ({"rows": -3}, "format-malformed"),
        ({"rows": 4}, "data-truncated"),
        ({"rows": 2}, "data-overlong"),
        ({"columns": 2**31 - 1, "rows": 2**31 - 1}, "data-truncated"),
        ({"rows": 1, "columns": 3000}, "header-contradiction"),
        ({"kind": 20, "columns": 500}, "header-contradiction"),
    ],
)
def test_headers_that_lie_are_refused(fields: dict[str, int], code: str, tmp_path: Path) -> None:
    assert damaged(write(tmp_path), lambda data: header(data, **fields)) == code


def test_files_that_are_cut_or_go_on_are_refused(tmp_path: Path) -> None:
    assert damaged(write(tmp_path), lambda data: data[:-1]) == "data-truncated"
    assert damaged(write(tmp_path), lambda data: data[:19]) == "data-truncated"
    assert damaged(write(tmp_path), lambda data: data + b"\0\0") == "data-overlong"
    assert damaged(write(tmp_path), lambda data: b"") == "file-empty"


def test_later_versions_are_refused_by_name(tmp_path: Path) -> None:
    path = write(tmp_path)
    scipy.io.savemat(path, {"val": matrix()}, format="5")
    with pytest.raises(DefectError, match="MATLAB version 5") as caught:
        mat.read(path)
    assert caught.value.finding.code == "format-unsupported"
    path.write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512) + b"\x89HDF\r\n\x1a\n")
    with pytest.raises(DefectError, match=r"MATLAB version 7\.3"):
        mat.read(path)


def test_names_that_are_none_are_refused(tmp_path: Path) -> None:
    for name in (b"val\1", b"v\0l\0", b"4al\0", b"v l\0", b"v\xe4l\0"):
        assert (
            damaged(write(tmp_path), lambda d, n=name: d[:20] + n + d[24:]) == "format-malformed"
        )


def test_a_matrix_needs_its_header_beside_it(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.with_suffix(".hea").unlink()
    with pytest.raises(DefectError, match=r"A0001\.hea") as caught:
        mat.read(path)
    assert caught.value.finding.code == "file-missing"


def test_samples_start_where_the_matrix_does(tmp_path: Path) -> None:
    path = write(tmp_path)
    text = path.with_suffix(".hea").read_text()
    for offset in ("", "+20", "+26"):
        path.with_suffix(".hea").write_text(text.replace("+24", offset))
        assert code_of(path) == "header-contradiction"
