"""One person's ECG in every clinical format, in one folder: found, told apart and read alike."""

from pathlib import Path

import numpy as np
import pytest

from nerula.errors import DefectError, NerulaError
from nerula.readers import Hints, open_source
from tests import clinical_files as files

LEADS = ("II", "aVR", "V5")
STEPS = files.excerpt(LEADS, 1000)
X = STEPS * 0.00125  # mV
SCP = b"\x3c\x11" + b"\x56\x44\0\0" + b"\0\0\0\0\x88\0\0\0\x0d\x0dSCPECG" + bytes(100)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ward's folder, its files named as people name them."""
    folder = tmp_path_factory.mktemp("ward")
    (folder / "a.EDF").write_bytes(files.edf(files.edf_signals(LEADS, 1000, 250)))
    (folder / "b").write_bytes(files.edf(files.edf_signals(LEADS, 1000, 250), width=3))
    files.save_dicom(files.dicom(LEADS, STEPS), folder / "IM000001")
    (folder / "d.xml").write_bytes(files.muse(LEADS, STEPS).encode("latin-1"))
    (folder / "e.XML").write_text(files.aecg(LEADS, STEPS))
    title = "time,II (mV),aVR (mV),V5 (mV)"
    (folder / "f.csv").write_text(files.csv(title, np.arange(1000) / 250, *X))
    np.savez(folder / "g.npz", x=X, rate=250, leads=LEADS, unit="mV")
    return folder


def test_every_format_is_recognised_and_says_the_same(folder: Path) -> None:
    source = open_source(folder)
    names = set()
    for entry in source.entries():
        recording = source.read(entry)
        names.add(recording.name)
        assert recording.leads == LEADS, entry
        assert recording.rate == 250, entry
        assert np.abs(recording.x - X).max() < 1e-5, entry
        assert recording.valid.all(), entry
        assert recording.unit == "mV"
    assert names == {"a", "b", "IM000001", "d", "e", "f", "g"}


def test_what_arrays_cannot_say_comes_from_the_user(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.stack([X, -X]) * 1000)
    source = open_source(tmp_path, hints=Hints(rate=250, unit="uV", leads=LEADS))
    first, second = (source.read(entry) for entry in source.entries())
    assert np.abs(first.x - X).max() < 1e-6
    assert np.abs(second.x + X).max() < 1e-6
    bare = open_source(tmp_path)
    with pytest.raises(NerulaError, match="--source-rate"):
        bare.read(next(iter(bare.entries())))


@pytest.mark.parametrize("name", ["a.scp", "a.SCP", "a.dcm", "a"])
def test_scp_is_refused_by_name_whatever_its_ending(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(SCP)
    source = open_source(tmp_path / name)
    with pytest.raises(DefectError, match="format-scp"):
        source.read(next(iter(source.entries())))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.edf", b"hello"), ("a.bdf", b"\xff"), ("a.dcm", b"hello"), ("a.xml", b"hello"),
        ("a.csv", b"\x89PNG"), ("a.npy", b"hello"), ("a.npz", b"hello"), ("a.edf", b""),
        ("a.dcm", b""), ("a.xml", b""), ("a.csv", b""), ("a.npy", b""), ("a.npz", b""),
    ],
)  # fmt: skip
def test_a_file_that_is_not_what_its_ending_says_is_refused(
    tmp_path: Path, name: str, data: bytes
) -> None:
    (tmp_path / name).write_bytes(data)
    source = open_source(tmp_path / name)
    with pytest.raises(DefectError):
        source.read(next(iter(source.entries())))
