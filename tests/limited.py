"""Trains on a small store, then under a limit of memory on a large one: `-m tests.limited`."""

import re
import resource
import sys
import tempfile
from pathlib import Path

import numpy as np

from nerula.pretrain import pretrain
from nerula.store import Store
from tests.tiny import NAME

QUICK = {"epochs": 1, "batch": 8, "threads": 1, "precision": "fp32", "checkpoint_steps": 1000}


def held(what: str) -> int:
    """Bytes of this process: VmData counts against the limit, RssAnon is in memory."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    found = re.search(rf"^{what}:\s+(\d+) kB", status, re.MULTILINE)
    assert found
    return 1024 * int(found[1])


def main(small: str, large: str, headroom: str) -> None:
    """Do it in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        # Everything is imported and every pool is there before the limit is set.
        assert pretrain(NAME, Path(small), Path(folder) / "first", **QUICK) == 0
        before = held("RssAnon")
        limit = held("VmData") + int(headroom)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        run = Path(folder) / "second"
        assert pretrain(NAME, Path(large), run, **QUICK) == 0
        steps = len((run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
        print(f"\ntrained: {steps} steps")
        print(f"grown: {held('RssAnon') - before}")
        try:
            np.array(Store.open(large).raw[0])
        except MemoryError:
            print("copying: refused")


if __name__ == "__main__":
    main(*sys.argv[1:])
