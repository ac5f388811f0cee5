"""`nerula copy`: to an address and back, the same bytes; what is damaged on the way is refused."""

from pathlib import Path
from uuid import uuid4

import fsspec
import pytest

from nerula import sample
from nerula.cli import main
from nerula.copy import copy
from nerula.errors import NerulaError, UsageError
from nerula.prepare import Options, make_store
from nerula.store import INDEX, SIGNALS


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("copy") / "store"
    make_store(sample.load(), path, Options(limit=20), quiet=True)
    return path


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(params=["memory", "file"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "file":
        return f"file://{tmp_path}/far/store"
    return f"memory://{uuid4().hex}/store"


def test_there_and_back_are_the_same_bytes(store: Path, address: str, tmp_path: Path) -> None:
    main_ends(["copy", str(store), address])
    main_ends(["copy", address, str(tmp_path / "back")])
    assert content(tmp_path / "back") == content(store)
    assert not list(tmp_path.glob(".*"))


def main_ends(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0


def test_a_byte_that_changed_is_noticed(store: Path, address: str, tmp_path: Path) -> None:
    copy(str(store), address)
    with fsspec.open(f"{address}/{SIGNALS}", "rb") as file:
        held = bytearray(file.read())
    held[-1000] ^= 1
    with fsspec.open(f"{address}/{SIGNALS}", "wb") as file:
        file.write(bytes(held))
    with pytest.raises(NerulaError, match="not what was written"):
        copy(address, str(tmp_path / "back"))
    assert not list(tmp_path.glob("*back*"))


def test_what_is_there_is_left_alone(store: Path, address: str) -> None:
    copy(str(store), address)
    with pytest.raises(UsageError, match="holds a store already"):
        copy(str(store), address)
    with pytest.raises(UsageError, match="is there already"):
        copy(address, str(store))
    with pytest.raises(UsageError, match="both addresses"):
        copy(address, address)


def test_a_store_without_its_index_is_none(store: Path, address: str, tmp_path: Path) -> None:
    copy(str(store), address)
    files, root = fsspec.url_to_fs(address)
    files.rm(f"{root}/{INDEX}")
    with pytest.raises(NerulaError, match=f"has no {INDEX}"):
        copy(address, str(tmp_path / "back"))


def test_an_unknown_address_is_said(store: Path) -> None:
    with pytest.raises(UsageError, match="cannot be reached"):
        copy(str(store), "nowhere://bucket/store")
