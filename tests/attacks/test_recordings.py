"""Recordings: code in arrays, names that leave the folder, sizes of terabytes, XML bombs."""

import io
import os
import pickle
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nerula.store import Store
from tests import clinical_files as files
from tests.attacks.conftest import Verb

SAMPLES = (b"\1\0" * 500) + (b"\2\0" * 500)
HEADER = "{name} 1 100 {samples}\n{data} 16 200/mV 16 0 {first} 0 0 II\n"
LEADS = ("I", "II", "V1")


class Strikes:
    """Unpickling it writes the canary."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.canary}",)


def header(folder: Path, name: str, data: str, samples: int = 1000) -> str:
    """Write a WFDB header that points somewhere; return the record's name."""
    path = folder / f"{name}.hea"
    path.write_text(HEADER.format(name=name, data=data, samples=samples, first=0))
    return name


def good(folder: Path) -> None:
    """Write one sound record of real ECG: the attacks around it must not cost it."""
    x = files.real_ecg().reshape(-1)[:1000].astype("<i2")
    (folder / "good.dat").write_bytes(x.tobytes())
    total = int(x.astype(np.int64).sum())
    check = (total + 32768) % 65536 - 32768
    line = f"good 1 100 1000\ngood.dat 16 1000/mV 16 0 {x[0]} {check} 0 II\n"
    (folder / "good.hea").write_text(line)


def refused(verb: Verb, folder: Path, expected: dict[str, set[str]]) -> None:
    """`check` names each file with one of its codes; `prepare` keeps the good record alone."""
    outcome = verb("check", folder, "--json", "--strict", code=2)
    for name, codes in expected.items():
        assert codes & set(outcome.findings.get(name, [])), (name, outcome.findings.get(name))
    assert not [one for one in outcome.findings.get("good.hea", []) if one in {"path-outside"}]
    store = folder.parent / "store"
    verb("prepare", folder, store, code=0)
    assert Store.open(store).column("name").tolist() == ["good"]


def test_code_in_arrays_is_not_run(verb: Verb, canary: Path, tmp_path: Path) -> None:
    folder = tmp_path / "arrays"
    folder.mkdir()
    evil = np.array([Strikes(canary)], dtype=object)
    np.save(folder / "array.npy", evil, allow_pickle=True)
    np.savez(folder / "archive.npz", signal=evil, rate=100)
    (folder / "bare.npy").write_bytes(pickle.dumps(Strikes(canary)))
    (folder / "matrix.mat").write_bytes(pickle.dumps(Strikes(canary)))
    good(folder)
    outcome = verb("check", folder, "--json", "--strict", code=2)
    for name in ("array.npy", "archive.npz", "bare.npy"):
        assert outcome.findings.get(name), name
    verb("prepare", folder, tmp_path / "store", code=0)
    assert Store.open(tmp_path / "store").column("name").tolist() == ["good"]


def test_names_stay_in_their_folder(verb: Verb, canary: Path, tmp_path: Path) -> None:
    folder = tmp_path / "names"
    folder.mkdir()
    good(folder)
    secret = canary.parent / "secret.dat"
    (folder / "link.dat").symlink_to(secret)
    (folder / "way").symlink_to(canary.parent)
    outside = {"path-outside"}
    refused(
        verb,
        folder,
        {
            header(folder, "absolute", str(secret)): outside,
            header(folder, "parents", "../outside/secret.dat"): outside,
            header(folder, "linked", "link.dat"): outside,
            header(folder, "through", "way/secret.dat"): outside,
            header(folder, "backslash", "..\\outside\\secret.dat"): outside | {"data-missing"},
        },
    )


def test_sizes_of_terabytes_take_no_memory(verb: Verb, tmp_path: Path) -> None:
    folder = tmp_path / "sizes"
    folder.mkdir()
    good(folder)
    (folder / "short.dat").write_bytes(SAMPLES)
    header(folder, "samples", "short.dat", 10**15)
    header(folder, "most", "short.dat", 2**63 - 1)
    with (folder / "hole.npy").open("wb") as file:
        file.write(files.npy("<f4", f"(1, {10**13})"))
        file.truncate(1 << 20)
    with (
        zipfile.ZipFile(
            folder / "bomb.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1
        ) as archive,
        archive.open("signal.npy", "w") as member,
    ):
        member.write(files.npy("<f4", f"({1 << 28},)"))
        for _ in range(64):
            member.write(bytes(1 << 24))
    edf = files.edf(files.edf_signals(LEADS, 1000, 1))
    (folder / "many.edf").write_bytes(edf[:236] + b"99999999" + edf[244:])
    outcome = verb("check", folder, "--json", "--strict", code=2)
    for name in ("samples", "most", "hole.npy", "bomb.npz", "many.edf"):
        assert outcome.findings.get(name), name
    verb("prepare", folder, tmp_path / "store", code=0)
    assert "good" in Store.open(tmp_path / "store").column("name").tolist()


def test_entities_are_not_expanded_and_files_not_read(
    verb: Verb, canary: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "xml"
    folder.mkdir()
    good(folder)
    nested = "".join(f'<!ENTITY b{level} "{f"&b{level - 1};" * 10}">' for level in range(1, 12))
    bomb = f'<!DOCTYPE r [<!ENTITY b0 "boom">{nested}]>'
    steal = f'<!DOCTYPE r [<!ENTITY s SYSTEM "file://{canary.parent}/secret.dat">]>'
    remote = '<!DOCTYPE r SYSTEM "http://127.0.0.1:9/evil.dtd">'
    plain = files.muse(LEADS, files.excerpt(LEADS, 500))
    head, _, body = plain.partition("?>")
    for name, lie in (("bomb", bomb), ("steal", steal), ("remote", remote)):
        (folder / f"{name}.xml").write_text(f"{head}?>{lie}{body}", encoding="latin-1")
    outcome = verb("check", folder, "--json", "--strict", code=2)
    for name in ("bomb.xml", "steal.xml", "remote.xml"):
        assert outcome.findings.get(name), name
    assert "boomboom" not in outcome.out


def test_links_to_everywhere_are_not_followed(verb: Verb, tmp_path: Path) -> None:
    folder = tmp_path / "loops"
    folder.mkdir()
    good(folder)
    (folder / "again").symlink_to(folder)
    (folder / "root").symlink_to("/")
    outcome = verb("check", folder, "--json")
    assert {name.strip("/") for name in outcome.findings} <= {"good", "good.hea", "again", "root"}
    verb("prepare", folder, tmp_path / "store", code=0)
    assert Store.open(tmp_path / "store").column("name").tolist() == ["good"]


def test_a_link_to_itself_costs_nothing_else(verb: Verb, tmp_path: Path) -> None:
    folder = tmp_path / "itself"
    folder.mkdir()
    good(folder)
    (folder / "itself.npy").symlink_to("itself.npy")
    refused(verb, folder, {"itself.npy": {"path-outside"}})


def test_names_that_are_no_text_are_written_as_text(verb: Verb, tmp_path: Path) -> None:
    """Names of files are bytes; a store, its quarantine and its tables hold UTF-8."""
    folder = tmp_path / "bytes"
    folder.mkdir()
    good(folder)
    try:
        (folder / os.fsdecode(b"M\xfcller.npy")).write_bytes(b"no array")
    except OSError:
        pytest.skip("this file system has no such names")
    refused(verb, folder, {"M\\xfcller": {"format-malformed"}})
    assert "M\\xfcller.npy," in (tmp_path / "store" / "quarantine.csv").read_text("utf-8")
    (folder / "good.hea").rename(folder / os.fsdecode(b"g\xf6d.hea"))
    verb("embed", "nerula-small", folder, tmp_path / "out.npy", code=0)
    assert "g\\xf6d" in (tmp_path / "out.csv").read_text("utf-8")


def test_names_steer_neither_a_terminal_nor_a_spreadsheet(verb: Verb, tmp_path: Path) -> None:
    folder = tmp_path / "steering"
    folder.mkdir()
    good(folder)
    for name in ("=HYPERLINK('x').edf", "@SUM(1).edf", "red\x1b[31m\n\u202egpj.edf"):
        (folder / name).write_bytes(b"0       no EDF")
    verb("prepare", folder, tmp_path / "store", code=0)
    text = (tmp_path / "store" / "quarantine.csv").read_text("utf-8")
    starts = [line[:16] for line in text.splitlines()[1:]]
    assert starts == ["'=HYPERLINK('x')", "'@SUM(1),'@SUM(1", "red\\x1b[31m\\n\\u2"]


def test_more_axes_than_an_array_can_have(verb: Verb, tmp_path: Path) -> None:
    folder = tmp_path / "axes"
    folder.mkdir()
    good(folder)
    shape = f"({'1, ' * 64}1000)"
    says = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    length = len(says).to_bytes(2, "little")
    (folder / "axes.npy").write_bytes(b"\x93NUMPY\1\0" + length + says + bytes(4000))
    refused(verb, folder, {"axes": {"format-unsupported"}})


def test_megabytes_of_digits_do_not_take_gigabytes(verb: Verb, tmp_path: Path) -> None:
    text = files.aecg(LEADS, files.excerpt(LEADS, 500))
    many = text.replace("<digits>", f"<digits>{'1 ' * 20_000_000}1x ", 1)
    (tmp_path / "digits.xml").write_text(many)
    outcome = verb("check", tmp_path / "digits.xml", "--json", "--strict", code=2)
    assert outcome.findings["digits"] == ["format-malformed"]


def test_archives_are_data_not_folders(verb: Verb, canary: Path, tmp_path: Path) -> None:
    folder = tmp_path / "archives"
    folder.mkdir()
    good(folder)
    with tarfile.open(folder / "records.tar", "w") as archive:
        member = tarfile.TarInfo("../outside/canary")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"evil"))
    with zipfile.ZipFile(folder / "arrays.npz", "w") as archive:
        array = io.BytesIO()
        np.save(array, np.zeros(1000, np.float32))
        archive.writestr("../../outside/canary", array.getvalue())
    verb("check", folder, "--json")
    verb("prepare", folder, tmp_path / "store", code=0)
    assert "good" in Store.open(tmp_path / "store").column("name").tolist()


def test_a_table_of_labels_with_markup_is_text(verb: Verb, tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    folder.mkdir()
    good(folder)
    text = (folder / "good.hea").read_text()
    (folder / "good.hea").write_text(text + "# Dx: <script>alert(1)</script>\n# Age: 44\n")
    verb("prepare", folder, tmp_path / "store", code=0)
    assert b"<script" not in (tmp_path / "store" / "store.json").read_bytes()


def test_a_record_that_names_itself_ends(verb: Verb, tmp_path: Path) -> None:
    """A multi-segment header whose segment is itself, and two that are each other's."""
    folder = tmp_path / "segments"
    folder.mkdir()
    good(folder)
    for name, other in (("self", "self"), ("one", "two"), ("two", "one")):
        (folder / f"{name}.hea").write_text(f"{name}/2 1 100 2000\n{other} 1000\n{other} 1000\n")
    outcome = verb("check", folder, "--json", "--strict", code=2)
    for name in ("self", "one", "two"):
        assert outcome.findings.get(name), name
