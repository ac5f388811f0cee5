"""`--engine ray` on a cluster of two nodes on this machine: the same bytes, whatever dies."""

import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nerula import chunks
from nerula.check import check
from nerula.cli import main
from nerula.contract import Contract
from nerula.embed import embed
from nerula.engines import Local, in_order
from nerula.engines.cluster import Ray
from nerula.errors import NerulaError, UsageError
from nerula.prepare import Options, make_store, prepare
from nerula.store import Store
from nerula.workplace import QUARANTINE
from tests import layouts
from tests.marked import Marked
from tests.ward import Ward

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.timeout(900)

ROOT = Path(__file__).parent.parent
OPTIONS = Options(leads=("II",), rate=100.0)
MEMORY = 80 << 20
"""The least that Ray takes for the objects of a node."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a cluster of two nodes with one processor each."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))  # the workers must find tests.ward
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # by default they wait for all other processes
        node = {"num_cpus": 1, "object_store_memory": MEMORY, "include_dashboard": False}
        made = Cluster(initialize_head=True, head_node_args=node)
        made.add_node(num_cpus=1, object_store_memory=MEMORY)
        yield made.address
        ray.shutdown()
        made.shutdown()


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 16 instead of 256, so that a small source has many."""
    monkeypatch.setattr(chunks, "ENTRIES", 16)


def content(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.iterdir() if path.is_file()}


def prepared(ward: Ward, store: Path, engine: Local | Ray) -> dict[str, bytes]:
    make_store(ward, store, OPTIONS, engine, quiet=True)
    return content(store)


def test_two_nodes_prepare_the_same_bytes(cluster: str, tmp_path: Path) -> None:
    ward = Ward(80, trouble_every=9)
    expected = prepared(ward, tmp_path / "local", Local())
    assert expected.keys() >= {"signals.npy", QUARANTINE}
    assert prepared(ward, tmp_path / "ray", Ray(cluster)) == expected
    assert len({node["NodeID"] for node in ray.nodes() if node["Alive"]}) == 2


def test_every_worker_brings_the_files_of_its_own_chunks_from_an_address(
    cluster: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = layouts.ptbxl(tmp_path / "ptbxl", 40)
    broken = sorted(folder.rglob("*.dat"))
    broken[20].unlink()
    broken[35].write_bytes(broken[35].read_bytes()[:-8])
    prepare(folder, tmp_path / "local", jobs=1, leads="II")
    words: dict[str, Any] = {"engine": "ray", "ray_address": cluster}
    prepare(f"file://{folder}", tmp_path / "ray", leads="II", **words)
    assert content(tmp_path / "ray") == content(tmp_path / "local")
    capsys.readouterr()
    said = []
    for where, engine in ((folder, {"jobs": 1}), (f"file://{folder}", words)):
        assert check(where, as_json=True, **engine) == 0  # type: ignore[arg-type]
        said.append(capsys.readouterr().out.replace(f"file://{folder}", str(folder)))
    assert json.loads(said[0]) == json.loads(said[1])


def test_a_machine_that_does_not_see_the_folder_sends_its_parts(
    cluster: str, tmp_path: Path
) -> None:
    ward = Ward(40, trouble_every=9)
    contract = Contract(("II",), 100.0, "mV", "int16", 0.001, None)
    here = chunks.Preparation(ward, contract, tmp_path / "here")
    there = chunks.Preparation(ward, contract, tmp_path / "there")
    here.folder.mkdir()
    there.folder.mkdir()
    away = chunks.Afar(there, "no-such-sign")
    for chunk, part in Ray(cluster).spread(away, chunks.chunked(ward)):
        assert isinstance(part, bytes)
        assert not there.path(chunk.number).exists()
        there.keep(chunk, part)
        here(chunk)
        assert there.is_done(chunk)
    assert content(here.folder) == content(there.folder)
    (there.folder / "sign").touch()
    assert chunks.Afar(there, "sign")(next(chunks.chunked(ward))) is None


@pytest.mark.slow
def test_a_killed_worker_costs_only_its_chunk(cluster: str, tmp_path: Path) -> None:
    expected = prepared(Ward(96), tmp_path / "local", Local())
    marks = tmp_path / "marks"
    marks.mkdir()
    killer = threading.Thread(target=kill_in_mid_chunk, args=(marks,))
    killer.start()
    slow = Marked(96, pace=0.05, marks=marks)
    assert prepared(slow, tmp_path / "ray", Ray(cluster)) == expected
    killer.join()
    times = Counter(row for row, process in read_by(marks) if process != os.getpid())
    again = [row for row, count in times.items() if count > 1]
    assert again, "nothing was lost: the worker was killed too late"
    assert len({row // 16 for row in again}) == 1, "more than one chunk was done again"
    assert len(times) == 96


def read_by(marks: Path) -> list[tuple[int, int]]:
    words = (path.name.split("-") for path in marks.iterdir())
    return [(int(row), int(process)) for row, process, _ in words]


def kill_in_mid_chunk(marks: Path) -> None:
    """End the worker that reads the fifth recording of a chunk, the second or a later one."""
    while True:
        for row, process in read_by(marks):
            if row > 16 and row % 16 == 4 and process != os.getpid():
                os.kill(process, signal.SIGKILL)
                return
        time.sleep(0.005)


@pytest.mark.slow
def test_two_nodes_embed_the_same_bytes(cluster: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    make_store(Ward(40), store, OPTIONS, quiet=True)
    embed("nerula-small", store, tmp_path / "local.npy")
    embed("nerula-small", store, tmp_path / "ray.npy", engine="ray", ray_address=cluster)
    for ending in ("npy", "csv"):
        local, there = ((tmp_path / f"{one}.{ending}").read_bytes() for one in ("local", "ray"))
        assert local == there
    assert np.load(tmp_path / "ray.npy").shape == (len(Store.open(store)), 2256)


def test_two_nodes_check_the_same(cluster: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for words in ({}, {"engine": "ray", "ray_address": cluster}):
        assert check(Path("sample"), as_json=True, limit=64, **words) == 0  # type: ignore[arg-type]
        said.append(json.loads(capsys.readouterr().out))
    assert said[0] == said[1]


def test_an_error_of_a_worker_reaches_the_caller(cluster: str) -> None:
    with pytest.raises(NerulaError, match="without an argument") as raised:
        list(Ray(cluster).spread(failing, [1]))
    assert raised.value.remedy == "Give it one."


def failing(task: int) -> None:
    raise NerulaError("It ended without an argument.", "Give it one.")


# --- without a cluster ---------------------------------------------------------------------------


def test_results_come_in_order() -> None:
    tasks = [chunks.Chunk(number, ()) for number in (2, 0, 3, 1)]
    found = list(in_order((task, str(task.number)) for task in tasks))
    assert [result for _, result in found] == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"ray_address": "auto"}, "Add --engine ray"),
        ({"engine": "ray", "jobs": 0}, "not a number above 0"),
    ],
)
def test_what_cannot_be_meant(tmp_path: Path, words: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        prepare(Path("sample"), tmp_path / "store", **words)


def test_a_cluster_embeds_on_processors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Leave out --device"):
        embed("sample", tmp_path / "out.npy", engine="ray", device="cuda")


def test_without_ray_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SystemExit) as ended:
        main(["prepare", "sample", str(tmp_path / "store"), "--engine", "ray"])
    assert ended.value.code == 1
    assert "nerula[ray]" in capsys.readouterr().err
