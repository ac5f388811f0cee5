"""Filling a gap: hide 0.6 s of a real ECG, have it filled, and compare with what was there.

python examples/filling_a_gap.py [PICTURE]
"""

import sys
from pathlib import Path

import numpy as np

import nerula
from nerula.plot import ecg_paper, headline, save, strip

picture = Path(sys.argv[1] if len(sys.argv) > 1 else "filling_a_gap.png")
model = nerula.load("nerula-small")

# Fold 10 was kept out of the model's training.
sample = nerula.sample.load()
rows = np.flatnonzero((sample.folds == 10) & sample.has("NORM"))[:3]
figure, panels = strip(seconds=5, leads=len(rows), millivolts=2.5)
for axes, row in zip(panels, rows, strict=True):
    truth, rate = nerula.ecg(int(row))
    gap = slice(260, 320)
    measured = truth.copy()
    measured[gap] = np.nan  # NaN is missing: never zero, never filled before the encoder

    filled = model.impute(measured, rate, lead="II")
    straight = np.linspace(measured[259], measured[320], 62)[1:-1]

    ours, line = (np.sqrt(np.mean((guess - truth[gap]) ** 2)) for guess in (filled[gap], straight))
    print(f"recording {row}: {ours:.3f} mV from the truth, a straight line {line:.3f} mV")
    shown = slice(100, 600)
    ecg_paper(
        axes, truth[shown], rate, np.isfinite(measured[shown]), filled=filled[shown],
        millivolts=2.5, label=f"filled: {1000 * ours:.0f} µV from the truth",
    )  # fmt: skip
    time = np.arange(500) / rate
    axes.plot(time[160:220], truth[gap], color="#d55e00", linewidth=0.8, linestyle=":")
headline(figure, "0.6 s were hidden: measured (black), filled (blue), the truth (dotted)")
save(figure, picture)
print(f"Look at {picture}: black measured, blue filled, dotted what was hidden")
