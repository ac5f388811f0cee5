"""Put a finished run's model into the package: `python tools/ship.py RUN NAME --commit COMMIT`.

Weights are rounded to 16 bits, which halves the file. Says how far the embeddings of the bundled
sample move by that, and refuses where they move too far. What is known about the training goes
into `results/NAME.json`; COMMIT is that of the code which trained.
"""

import argparse
import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nerula import bundle, cards, sample
from nerula.files import write_whole
from nerula.schema import Config

CLOSE, LARGEST = 0.999, 4_000_000


ROOT = Path(__file__).parents[1]


def main() -> int:
    """Read the command line, write the folder, compare, write down where it comes from."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("--commit", required=True)
    parser.add_argument("--note", default="", help="what the run itself does not say")
    words = parser.parse_args()
    model = bundle.load(words.run)
    if model.config is None:
        raise SystemExit(f"{words.run} has no config")
    training = _without_places(model.config.training)
    config = replace(model.config, training=training)
    folder = ROOT / "nerula" / "weights" / words.name
    bundle.save(
        folder, model.method, name=config.method, arguments=config.arguments,
        contract=config.contract, window=config.window, training=training, half=True,
    )  # fmt: skip
    cards.write(folder, Config.read(folder), words.name)
    x = sample.load().x[:, 0]
    exact, rounded = (one.embed(x, 100) for one in (model, bundle.load(folder)))
    lengths = np.linalg.norm(exact, axis=1) * np.linalg.norm(rounded, axis=1)
    least = float(((exact * rounded).sum(1) / lengths).min())
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{folder}: {size:,} bytes; least cosine after rounding {least:.6f}")
    made = {
        "model": words.name,
        "commit": words.commit,
        "note": words.note,
        "method": config.method,
        "arguments": config.arguments,
        "training": training,
        "bytes": size,
        "tensors": bundle.load(folder).config.tensors,  # type: ignore[union-attr]
        "least cosine after rounding": least,
    }
    write_whole(ROOT / "results" / f"{words.name}.json", json.dumps(made, indent=1) + "\n")
    return 0 if least > CLOSE and size < LARGEST else 1


def _without_places(training: dict[str, Any]) -> dict[str, Any]:
    """The command with STORE and RUN for the folders of this machine."""
    command = shlex.split(training["command"])
    command[3:5] = ["STORE", "RUN"]
    return {**training, "command": shlex.join(command)}


if __name__ == "__main__":
    sys.exit(main())
