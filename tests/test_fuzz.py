"""No damaged file crashes a reader, hangs it, or makes it take memory: it reads, or it refuses.

`pytest --mutants 100000 tests/test_fuzz.py` is what `make fuzz` runs.
"""

import resource
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from nerula.errors import NerulaError
from nerula.readers.source import Hints
from nerula.recording import Recording
from tests.fuzz_seeds import SEEDS
from tests.mutants import mutants

ASK = ("table", "array")
"""Readers of formats in which a file need not say its rate."""
MEMORY = 1 << 30  # bytes that reading a file of some kilobytes may never need


@pytest.fixture
def _little_memory() -> Iterator[None]:
    """Turn an allocation that only a lie in the file asks for into a MemoryError."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def read_all(seed: str, path: Path, folder: Path) -> list[Recording]:
    """Everything that the seed's reader finds in the file (or, for a source, in the folder)."""
    reader = seed.split("/")[0]
    if reader == "source":
        from nerula.readers import open_source

        source = open_source(folder)
        return [source.read(entry) for entry in source.entries()]
    module = import_module(f"nerula.readers.{reader}")
    rows = module.rows(path) if hasattr(module, "rows") else 1
    said = {"hints": Hints(rate=250.0)} if reader in ASK else {}
    return [module.read(path, row, **said) for row in range(min(rows, 8))]


@pytest.mark.timeout(3600)  # the limit that matters is the second each mutant has
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.usefixtures("_little_memory")
def test_a_mutant_is_read_or_refused(
    seed: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    path = SEEDS[seed](tmp_path)
    original = path.read_bytes()
    assert all(recording.x.size for recording in read_all(seed, path, tmp_path))
    for number, mutant in enumerate(mutants(original, request.config.getoption("mutants"), seed)):
        path.write_bytes(mutant)
        start = time.process_time()
        try:
            recordings = read_all(seed, path, tmp_path)
        except NerulaError as error:
            assert str(error)
            recordings = []
        except Exception as error:
            pytest.fail(f"{seed} mutant {number} raised {error!r}: {_kept(path, seed, number)}")
        seconds = time.process_time() - start
        assert seconds < 1, f"{seed} mutant {number}, {seconds:.1f} s: {_kept(path, seed, number)}"
        for recording in recordings:
            assert np.isfinite(recording.x).all(), f"{seed} mutant {number}"
            assert recording.rate > 0


def _kept(path: Path, seed: str, number: int) -> str:
    """Keep the mutant's bytes, named, for whoever looks into the failure."""
    kept = path.with_name(f"mutant-{seed.replace('/', '-')}-{number}{path.suffix}")
    kept.write_bytes(path.read_bytes())
    return str(kept)
