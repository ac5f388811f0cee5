"""The same commands give the same bits: store, weights, embeddings, numbers of a result."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
COMMANDS = """
prepare sample store --leads II --limit 300
pretrain nerula store run --epochs 1 --batch 32 --window 2.56 --seed 5 --threads 1 WIDTHS
embed run/model store embeddings.npy
probe run/model sex store --probes logistic --out results
""".replace("WIDTHS", "--width 16 --heads 2 --decoder-width 16 --projector 16")
CODE = """
import sys
from nerula.cli import main
for line in sys.argv[1].strip().splitlines():
    try:
        main(line.split())
    except SystemExit as end:
        if end.code:
            raise
"""
MEASURED = {"seconds", "recordings_per_second", "command", "made", "when", "path"}
"""What a clock says, and where a folder lies."""


def told(folder: Path, hash_seed: int) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", CODE, COMMANDS]
    done = subprocess.run(
        words,
        check=False,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr


def numbers(value: Any) -> Any:
    """A document without what is measured by a clock."""
    if isinstance(value, dict):
        return {key: numbers(one) for key, one in value.items() if key not in MEASURED}
    return [numbers(one) for one in value] if isinstance(value, list) else value


@pytest.mark.slow
def test_the_same_commands_give_the_same_bits(tmp_path: Path) -> None:
    folders = tmp_path / "one", tmp_path / "two"
    for number, folder in enumerate(folders):
        folder.mkdir()
        told(folder, hash_seed=number)
    names = ["store/signals.npy", "store/recordings.parquet", "run/model/model.safetensors"]
    names += ["embeddings.npy"]
    for name in names:
        first, second = ((folder / name).read_bytes() for folder in folders)
        assert first == second, name
    results = [sorted((folder / "results").rglob("*.json")) for folder in folders]
    assert results[0]
    assert [path.name for path in results[0]] == [path.name for path in results[1]]
    for one, other in zip(*results, strict=True):
        first, second = (numbers(json.loads(path.read_text())) for path in (one, other))
        assert first == second, one.name
    metrics = [
        [
            numbers(json.loads(line))
            for line in (folder / "run/metrics.jsonl").read_text().splitlines()
        ]
        for folder in folders
    ]
    assert metrics[0] == metrics[1]
