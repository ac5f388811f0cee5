"""Few labels: find atrial fibrillation with 10, 20, 50 ... labelled recordings.

    python examples/few_labels.py [PICTURE]

The same logistic regression learns from the embedding and from two plain features of the rhythm.
Whom it is tested on it has never seen: PTB-XL's folds keep every subject on one side.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy.signal import find_peaks
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import nerula
from nerula.sklearn import ECGEmbedder

picture = Path(sys.argv[1] if len(sys.argv) > 1 else "few_labels.png")
sample = nerula.sample.load()
signals, fibrillates = sample.x[:, 0], sample.has("AFIB")
learns, tests = sample.folds <= 8, sample.folds >= 9

# Embedding is the first step of any scikit-learn pipeline; here once, for all fits.
z = ECGEmbedder("nerula-small", rate=100).fit_transform(signals)


def rhythm(x):
    """Heart rate and how irregular it is, from the steepest places."""
    slope = np.abs(np.gradient(x))
    peaks, _ = find_peaks(slope, height=0.4 * slope.max(), distance=25)
    beats = np.diff(peaks) / 100
    return (0.0, 0.0) if len(beats) < 2 else (60 / beats.mean(), beats.std() / beats.mean())


plain = np.array([rhythm(x) for x in signals])
counts, repeats = (10, 20, 50, 100, 200, 500, int(learns.sum())), 20
curves = {"nerula-small, frozen": z, "heart rate and its irregularity": plain}
rng = np.random.default_rng(0)
yes, no = np.flatnonzero(learns & fibrillates), np.flatnonzero(learns & ~fibrillates)

figure = Figure(figsize=(7, 4.5), dpi=110, layout="constrained")
axes = figure.subplots()
for (name, features), colour in zip(curves.items(), ("#0072b2", "#d55e00"), strict=True):
    middle, low, high = [], [], []
    for count in counts:
        found = []
        for _ in range(repeats if count < learns.sum() else 1):
            # At least three of each kind: whoever labels ten ECGs looks for examples of both.
            some = max(3, round(count * len(yes) / (len(yes) + len(no))))
            rows = np.r_[rng.permutation(yes)[:some], rng.permutation(no)[: count - some]]
            probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
            probe.fit(features[rows], fibrillates[rows])
            found.append(
                roc_auc_score(fibrillates[tests], probe.decision_function(features[tests]))
            )
        middle.append(np.median(found))
        low.append(np.percentile(found, 10))
        high.append(np.percentile(found, 90))
    print(name, {count: round(float(one), 3) for count, one in zip(counts, middle, strict=True)})
    axes.plot(counts, middle, "o-", color=colour, label=name)
    axes.fill_between(counts, low, high, color=colour, alpha=0.15, linewidth=0)
axes.set(xscale="log", xlabel="labelled recordings", ylabel="AUROC on unseen subjects")
axes.set_xticks(counts, [str(count) for count in counts])
axes.minorticks_off()
axes.grid(alpha=0.3)
axes.legend(frameon=False, loc="lower right")
axes.set_title("Atrial fibrillation; median and 80 % of 20 draws of labels", fontsize=10)
figure.savefig(picture)
print(f"Look at {picture}")
