"""Put a finished run's model into the package: `python tools/ship.py RUN nerula/weights/NAME`.

Weights are rounded to 16 bits, which halves the file. Says how far the embeddings of the bundled
sample move by that, and refuses where they move too far.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from nerula import bundle, sample

CLOSE, LARGEST = 0.999, 4_000_000


def main() -> int:
    """Read the command line, write the folder, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", type=Path)
    words = parser.parse_args()
    model = bundle.load(words.run)
    config = model.config
    if config is None:
        raise SystemExit(f"{words.run} has no config")
    bundle.save(
        words.folder, model.method, name=config.method, arguments=config.arguments,
        contract=config.contract, window=config.window, training=config.training, half=True,
    )  # fmt: skip
    x = sample.load().x[:, 0]
    exact, rounded = (one.embed(x, 100) for one in (model, bundle.load(words.folder)))
    lengths = np.linalg.norm(exact, axis=1) * np.linalg.norm(rounded, axis=1)
    least = float(((exact * rounded).sum(1) / lengths).min())
    size = sum(path.stat().st_size for path in words.folder.iterdir())
    print(f"{words.folder}: {size:,} bytes; least cosine after rounding {least:.6f}")
    return 0 if least > CLOSE and size < LARGEST else 1


if __name__ == "__main__":
    sys.exit(main())
