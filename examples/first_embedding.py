"""First embedding: 1,200 real ECGs as points, those that look alike close together.

python examples/first_embedding.py [PICTURE]
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.manifold import TSNE
from sklearn.preprocessing import StandardScaler

import nerula

picture = Path(sys.argv[1] if len(sys.argv) > 1 else "first_embedding.png")

# The bundled sample: 10 s of lead II at 100 Hz, in mV. Yours may have any rate, unit and length.
sample = nerula.sample.load()
signals = sample.x[:, 0]

# One line from signals to vectors, without a label.
model = nerula.load("nerula-small")
z = model.embed(signals, rate=100, lead="II")
print(f"{len(signals)} recordings of {signals.shape[1]} samples became {z.shape}")

# Standardise, then lay them on a plane to look at.
plane = TSNE(init="pca", perplexity=30, random_state=0).fit_transform(
    StandardScaler().fit_transform(z)
)

figure = Figure(figsize=(7, 6), dpi=110, layout="constrained")
axes = figure.subplots()
axes.scatter(*plane.T, s=6, color="#c9d1d9", label="everyone else")
for statement, words, colour in (
    ("NORM", "normal", "#009e73"),
    ("AFIB", "atrial fibrillation", "#d55e00"),
    ("CLBBB", "left bundle branch block", "#0072b2"),
    ("PVC", "premature ventricular beats", "#cc79a7"),
):
    rows = np.flatnonzero(sample.has(statement))
    axes.scatter(*plane[rows].T, s=11, color=colour, label=f"{words} ({len(rows)})")
axes.set(xticks=[], yticks=[], title="No label was used to place these points")
figure.legend(loc="outside lower center", frameon=False, fontsize=8, ncols=3)
figure.savefig(picture)
print(f"Look at {picture}")
