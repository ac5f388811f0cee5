"""Fixtures that several test files share. Add yours below, under its own heading."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

# Before anything imports torch: threads of tests side by side would wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

PACKED = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--mutants", type=int, default=2000, metavar="N", help="mutants per seed in the fuzz tests"
    )


# --- real data ---------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Return a function from a data set's name (`ptbxl`, `cinc2017`, `ucihar`, `ecgid`) to its
    folder in the publisher's layout, read-only; the test is skipped where the data is absent.

    `NERULA_DATA` may name a folder that holds them; otherwise the pack beside the checkout is
    unpacked once into the temporary folder and kept there for the next run.
    """

    def folder(name: str) -> Path:
        if own := os.environ.get("NERULA_DATA"):
            found = Path(own) / name
            if not found.is_dir():
                pytest.skip(f"NERULA_DATA={own} has no folder {name}")
            return found
        if not (PACKED / "unpack.py").is_file():
            pytest.skip(f"the real data sets are not at {PACKED}")
        return _unpacked(name)

    return folder


def _unpacked(name: str) -> Path:
    digest = hashlib.blake2b((PACKED / "unpack.py").read_bytes(), digest_size=4).hexdigest()
    cache = Path(tempfile.gettempdir()) / f"nerula-data-{os.getuid()}-{digest}"
    cache.mkdir(mode=0o700, exist_ok=True)
    with FileLock(cache / f"{name}.lock"):  # several pytest-xdist workers may ask at once
        if not (cache / name).is_dir():
            with tempfile.TemporaryDirectory(dir=cache, prefix="unpacking-") as partial:
                command = [sys.executable, "-B", str(PACKED / "unpack.py"), partial, name]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=PACKED)
                (Path(partial) / name).rename(cache / name)
    return cache / name


# --- reports -----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, a run, results of probes and their report.html."""
    from nerula.report import report
    from tests.reported import TITLE, make

    folder = tmp_path_factory.mktemp("reported")
    make(folder)
    assert report(folder, out=folder / "report.html", title=TITLE) == 0
    return folder


# --- a browser --------------------------------------------------------------------------------

QUIET = [
    "--disable-background-networking", "--disable-component-update", "--disable-gpu",
    "--disable-sync", "--no-first-run",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("no Chromium on this machine: install one (apt install chromium)")
    with api.sync_playwright() as playwright:
        root = ["--no-sandbox"] if os.name == "posix" and os.geteuid() == 0 else []
        started = playwright.chromium.launch(executable_path=path, args=[*QUIET, *root])
        yield started
        started.close()


@pytest.fixture
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quick probes: what is tested here does not depend on how many there are."""
    from nerula import probes

    monkeypatch.setattr(probes, "TREES", 30)
    monkeypatch.setattr(probes, "CANDIDATE_TREES", 10)
    monkeypatch.setattr(probes, "STEPS", 300)
    monkeypatch.setattr(probes, "NETWORKS", 2)
    monkeypatch.setattr(probes, "CANDIDATE_NETWORKS", 1)


# --- models ------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def hand_made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model of hand-made features, which needs no training and is quick."""
    from nerula import bundle
    from nerula.contract import Contract
    from nerula.methods import build

    folder = tmp_path_factory.mktemp("hand_made") / "rate"
    bundle.save(
        folder, build("heart_rate"), name="heart_rate", arguments={"rate": 100.0},
        contract=Contract(("II",), 100.0), window=512, training={"steps": 0},
    )  # fmt: skip
    return folder
