"""Training on a store of ten times the memory that the process may still take.

The limit is RLIMIT_DATA: what a process allocates counts, files that it maps read-only do not. So
a copy of the store, of its validity or of a tenth of either ends in an error, whatever the size
of the machine; mapped pages are the system's, which takes them back when it needs memory. (A limit
on the address space would forbid the map itself; one on resident memory is not enforced by Linux.)
"""

import mmap
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from nerula import sample
from nerula.batches import FromStore
from nerula.contract import Contract
from nerula.recording import Recording
from nerula.store import Store
from nerula.writer import Rows, StoreWriter

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA as Linux counts it")

HEADROOM = 64 << 20
TIMES = 10
HOUR = 360_000


def lengthened(path: Path, times: int) -> Path:
    """A store of `times` hours of real ECG, in recordings of one hour."""
    contract = Contract(("II",), 100.0)
    x = np.resize(sample.load().x[:, 0].reshape(-1), (1, HOUR))
    rows = Rows(contract)
    for number in range(min(8, times)):
        shifted = np.roll(x, 1000 * number, axis=1)
        rows.add(Recording(f"{number}", shifted, 100.0, ("II",), shifted < np.inf, fold="1"))
    batch = rows.batch()
    with StoreWriter(path, contract) as store:
        for _ in range(times // len(batch)):
            store.append(batch)
    return path


@pytest.mark.parametrize(("memory", "advice"), [(1 << 40, []), (1 << 20, [mmap.MADV_RANDOM])])
def test_a_larger_store_is_not_read_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: int, advice: list[int]
) -> None:
    store = Store.open(lengthened(tmp_path / "store", 8))
    given: list[int] = []
    monkeypatch.setattr(Store, "advise", lambda _, what: given.append(what))
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": memory // 4096, "SC_PAGE_SIZE": 4096}.get)
    FromStore(store, torch.device("cpu"))
    assert given == advice


def test_advice_reaches_the_maps_and_changes_nothing(tmp_path: Path) -> None:
    store = Store.open(lengthened(tmp_path / "store", 8))
    before, _ = store.read(3)
    with pytest.raises(OSError):
        store.advise(-1)  # the system's own refusal
    for advice in (mmap.MADV_RANDOM, mmap.MADV_DONTNEED):
        store.advise(advice)
        assert np.array_equal(store.read(3)[0], before)


@pytest.mark.slow
def test_a_tenth_of_the_store_is_memory_enough(tmp_path: Path) -> None:
    small = lengthened(tmp_path / "small", 8)
    hours = TIMES * HEADROOM // (2 * HOUR) // 8 * 8 + 8
    large = lengthened(tmp_path / "large", hours)
    signals, _, _ = Store.open(large).raw
    assert signals.nbytes >= TIMES * HEADROOM
    child = subprocess.run(
        [sys.executable, "-m", "tests.limited", str(small), str(large), str(HEADROOM)],
        check=False,
        cwd=Path(__file__).parent.parent,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert child.returncode == 0, child.stderr[-3000:]
    said = dict(re.findall(r"^(\w+): (.+)$", child.stdout, re.MULTILINE))
    assert said["trained"] == f"{hours // 8} steps"
    assert said["copying"] == "refused", "the limit limits nothing"
    assert int(said["grown"]) < HEADROOM
