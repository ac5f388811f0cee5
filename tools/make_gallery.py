"""Run the examples and keep their pictures for docs/gallery.md: python tools/make_gallery.py"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
NAMES = ("first_embedding", "few_labels", "filling_a_gap", "your_own_csv", "comparing_two_methods")


def main() -> None:
    """Write docs/gallery/NAME.png for every example that draws with matplotlib."""
    folder = ROOT / "docs" / "gallery"
    folder.mkdir(exist_ok=True)
    for name in NAMES:
        picture = folder / f"{name}.png"
        subprocess.run([sys.executable, ROOT / "examples" / f"{name}.py", picture], check=True)


if __name__ == "__main__":
    main()
