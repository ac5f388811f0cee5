"""A process with little memory and a canary in which every attack is opened."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

MEMORY = 3 << 30
"""Bytes that may be allocated; libraries, of which CUDA has gigabytes, are mapped besides."""
SECONDS = 120


class Outcome(NamedTuple):
    """How a verb ended."""

    code: int
    out: str
    err: str

    @property
    def findings(self) -> dict[str, list[str]]:
        """Of `check --json`: a file's name, or a recording's, to the codes of what is wrong."""
        found: dict[str, list[str]] = {}
        for one in json.loads(self.out)["findings"]:
            for name in {Path(one["path"]).name, one["recording"]}:
                found.setdefault(name, []).append(one["code"])
        return found

    @property
    def said(self) -> str:
        """What it said, without the breaks that a terminal's width makes."""
        return "".join((self.out + self.err).split())


Verb = Callable[..., Outcome]


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """What an attack that worked would leave behind."""
    return tmp_path / "outside" / "canary"


@pytest.fixture
def verb(tmp_path: Path, canary: Path) -> Verb:
    """Runs `nerula WORDS` in an empty folder; no attack may work, or end in a traceback."""
    here = tmp_path / "here"
    here.mkdir()
    canary.parent.mkdir()
    (canary.parent / "secret.dat").write_bytes(b"\1\0" * 1000)

    def run(*words: Any, code: int | None = None) -> Outcome:
        done = subprocess.run(
            [sys.executable, "-m", "nerula.cli", *map(str, words)],
            cwd=here,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY)),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert not canary.exists(), "the attack worked"
        assert "Traceback" not in done.stdout + done.stderr, done.stderr
        if code is not None:
            assert done.returncode == code, done.stdout + done.stderr
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run
