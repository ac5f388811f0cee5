"""Your own CSV: a wearable's file with gaps; how good it is, its embedding, who is like it.

    python examples/your_own_csv.py [FILE.csv] [PICTURE]

Without a file, `ecg.csv` beside this script: 250 Hz, one lead, a second of it missing.
"""

import sys
from pathlib import Path

import numpy as np

import nerula
from nerula.plot import ecg_paper, headline, save, strip
from nerula.readers import open_source

given = [Path(word) for word in sys.argv[1:]]
file = next((path for path in given if path.suffix == ".csv"), Path(__file__).parent / "ecg.csv")
picture = next((path for path in given if path.suffix != ".csv"), Path("your_own_csv.png"))

# The strict readers: rate, unit and lead come from the file, or it is refused with a remedy.
source = open_source(file)
recording = source.read(next(iter(source.entries())))
x = np.where(recording.valid, recording.x, np.nan)[0]
print(f"{recording.duration:.1f} s of lead {recording.leads[0]} at {recording.rate:g} Hz")

model = nerula.load("nerula-small")
quality = model.quality(x, recording.rate)
print(f"quality {quality.score:.2f} of 1")
for finding in quality.findings:
    print(f"  {finding}")
z = model.embed(x, recording.rate)
print(f"embedding of {len(z)} values, of which the first are {np.round(z[:4], 2)}")

# The nearest among 1,200: cosine of standardised embeddings.
sample = nerula.sample.load()
others = model.embed(sample.x[:, 0], sample.rate)
centre, spread = others.mean(0), others.std(0)
standard = (others - centre) / spread
own = (z - centre) / spread
cosine = standard @ own / np.linalg.norm(standard, axis=1) / np.linalg.norm(own)
nearest = np.argsort(-cosine)[:3]

figure, panels = strip(seconds=8, leads=4, millivolts=2.5)
shown = slice(0, int(8 * recording.rate))
ecg_paper(panels[0], np.nan_to_num(x[shown]), recording.rate, np.isfinite(x[shown]),
          millivolts=2.5, label=f"{file.name}, quality {quality.score:.2f}")  # fmt: skip
for axes, row in zip(panels[1:], nearest, strict=True):
    said = f"sample {sample.names[row]}, cosine {cosine[row]:.2f}"
    print(said)
    ecg_paper(axes, sample.x[row, 0, :800], sample.rate, millivolts=2.5, label=said)
headline(figure, "A file of one's own, and the recordings of the sample that are most like it")
save(figure, picture)
print(f"Look at {picture}")
