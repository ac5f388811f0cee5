"""Run the examples and keep their pictures for docs/gallery.md: python tools/make_gallery.py"""

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parent.parent
NAMES = ("first_embedding", "few_labels", "filling_a_gap", "your_own_csv", "comparing_two_methods")


def main() -> None:
    """Write docs/gallery/NAME.png for every example that draws with matplotlib, and the SVG."""
    folder = ROOT / "docs" / "gallery"
    folder.mkdir(exist_ok=True)
    for name in NAMES:
        picture = folder / f"{name}.png"
        subprocess.run([sys.executable, ROOT / "examples" / f"{name}.py", picture], check=True)
    on_a_device(folder / "onnx_on_a_device.svg")


def on_a_device(picture: Path) -> None:
    """Export the model, and let the example draw beside a copy of its recording."""
    examples = ROOT / "examples"
    with TemporaryDirectory() as made:
        model, ecg = Path(made) / "model.onnx", Path(made) / "ecg.csv"
        shutil.copy(examples / "ecg.csv", ecg)
        words = [sys.executable, "-m", "nerula", "export", "nerula-small", model]
        subprocess.run(words, check=True)
        subprocess.run([sys.executable, examples / "onnx_on_a_device.py", model, ecg], check=True)
        shutil.copy(ecg.with_suffix(".embedding.svg"), picture)


if __name__ == "__main__":
    main()
