"""Comparing two methods: your idea against ours, on one budget, with intervals.

    python examples/comparing_two_methods.py [PICTURE]

The idea here: nothing but the power in ten bands of frequency. A method is a
class with `embed`; `nerula compare` trains what is to be trained, asks all the same questions
and computes paired differences. From a terminal:

    nerula compare nerula,random_init,comparing_two_methods:Bands sex,age
"""

import json
import sys
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from matplotlib.figure import Figure

from nerula.compare import compare
from nerula.method import Control, Needs


class Bands(Control):
    """The logarithm of the power in ten bands of equal ratio, up to 40 Hz."""

    def __init__(self, *, bands: int = 10, leads: int = 1) -> None:
        super().__init__()
        self.needs, self.bands = Needs(leads=leads), bands

    def embed(self, x, valid):
        """(B, L, T) in mV to (B, bands)."""
        seen = torch.where(valid, x, 0.0)
        power = torch.fft.rfft(seen).abs().square().mean(1)
        edges = np.unique(np.geomspace(2, 0.4 * x.shape[-1], self.bands + 1).astype(int))
        parts = [power[:, a:b].mean(1) for a, b in pairwise(edges)]
        return torch.stack(parts, 1).clamp(min=1e-6).log()


def main() -> None:
    """Compare on the bundled sample, where a minute of training cannot show what a method is."""
    picture = Path(sys.argv[1] if len(sys.argv) > 1 else "comparing_two_methods.png").resolve()
    sys.path.insert(0, str(Path(__file__).parent))  # so that the comparison finds the class
    own = "comparing_two_methods:Bands"
    with TemporaryDirectory() as folder:
        out = Path(folder) / "compared"
        compare(
            f"nerula,random_init,{own},majority", "sex,age", out=out, probes="logistic,ridge",
            epochs=2, batch=32,
        )  # fmt: skip
        results = [json.loads(path.read_text()) for path in sorted(out.rglob("results/**/*.json"))]
    figure = Figure(figsize=(8, 3.4), dpi=110, layout="constrained")
    for axes, (task, metric) in zip(
        figure.subplots(1, 2), (("sex", "auroc"), ("age", "r2")), strict=True
    ):
        rows = [one for one in results if one["task"]["name"] == task]
        for place, one in enumerate(rows):
            found = one["metrics"][metric]
            axes.plot([found["low"], found["high"]], [place, place], color="#7a8793")
            axes.plot(found["value"], place, "o", color="#0072b2")
        axes.set_yticks(range(len(rows)), [one["model"]["method"].split(":")[-1] for one in rows])
        axes.set(title=f"{task}, {metric.upper()}", ylim=(-0.6, len(rows) - 0.4))
        axes.grid(alpha=0.3)
    figure.suptitle("Two epochs on 960 recordings: a way to compare, not a result", fontsize=9)
    figure.savefig(picture)
    print(f"Look at {picture}")


if __name__ == "__main__":
    main()
