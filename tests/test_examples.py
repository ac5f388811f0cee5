"""Every example, as somebody runs it: it ends by itself and in a picture worth looking at."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

FOLDER = Path(__file__).parent.parent / "examples"
GALLERY = FOLDER.parent / "docs" / "gallery.md"
DRAWN = ("first_embedding", "few_labels", "filling_a_gap", "your_own_csv", "comparing_two_methods")


@pytest.mark.parametrize("name", DRAWN)
def test_an_example_runs_and_ends_in_a_picture(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, FOLDER / f"{name}.py"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"{name}.png" in done.stdout
    picture = imread(tmp_path / f"{name}.png")
    assert min(picture.shape[:2]) > 250
    assert len(np.unique(picture[..., :3].reshape(-1, 3), axis=0)) > 50


def test_the_gallery_shows_every_example() -> None:
    shown = GALLERY.read_text(encoding="utf-8")
    for path in FOLDER.glob("*.py"):
        assert f"examples/{path.name}" in shown
        assert '"""' in path.read_text(encoding="utf-8")[:4]
    for name in DRAWN:
        assert (GALLERY.parent / "gallery" / f"{name}.png").stat().st_size < 200_000
    assert (GALLERY.parent / "gallery" / "onnx_on_a_device.svg").stat().st_size < 100_000
