"""No damaged file crashes a reader, hangs it, or makes it take memory: it reads, or it refuses.

`pytest --mutants 100000 tests/test_fuzz.py` is what `make fuzz` runs.
"""

import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from nerula.errors import NerulaError
from nerula.readers.source import Hints
from nerula.recording import Recording
from tests import silence
from tests.fuzz_seeds import SEEDS
from tests.mutants import little_memory, mutants
from tests.wfdb_styles import STYLES

ASK = ("table", "array")
"""Readers of formats in which a file need not say its rate."""


@pytest.fixture
def _little_memory() -> Iterator[None]:
    with little_memory():  # far more than reading a file of some kilobytes needs
        yield


def read_all(seed: str, path: Path, folder: Path) -> list[Recording]:
    """Everything that the seed's reader finds in the file (or, for a source, in the folder)."""
    reader = seed.split("/", maxsplit=1)[0]
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


# --- silence -----------------------------------------------------------------------------------


def test_damaged_wfdb_headers_are_hardly_ever_believed_in_silence(tmp_path: Path) -> None:
    """Of 1,000 mutants each of six publishers' headers; `python -m tests.silence` has the table.

    What remains cannot be seen: an age of 25 that became 26, lead II of one lead that became I,
    twice the rate. The reference implementation believes a third of the mutants.
    """
    ours, theirs = [], []
    for style, write in STYLES.items():
        folder = tmp_path / style
        folder.mkdir()
        path = write(folder)
        ours.append(silence.measure(path, 1000, silence.ours).share)
        theirs.append(silence.measure(path, 60, silence.theirs).share)
    assert np.mean(ours) <= 0.005, dict(zip(STYLES, ours, strict=True))
    assert max(ours) <= 0.01, dict(zip(STYLES, ours, strict=True))
    assert np.mean(theirs) > 0.15


@pytest.mark.parametrize("style", [style for style in STYLES if style != "Challenge 2017"])
def test_damaged_samples_are_never_believed_where_there_is_a_checksum(
    style: str, tmp_path: Path
) -> None:
    header = STYLES[style](tmp_path)
    meaning = silence.ours(header)
    signal = next(path for path in tmp_path.iterdir() if path != header)
    for mutant in mutants(signal.read_bytes(), 500, style):
        signal.write_bytes(mutant)
        assert silence.ours(header) in (None, meaning)
