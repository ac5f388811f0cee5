"""Draw the fixed splits of the Challenge 2017: `python tools/make_splits.py CHALLENGE LIST`.

CHALLENGE is the data set's folder, LIST a text file with the names of the published validation
set. Five stratified folds by recording; recordings with the same signal are in the same fold.
Both are written by name into the package, so that they never change with a library.
"""

import lzma
import sys
from pathlib import Path

import numpy as np

from nerula.readers import open_source
from nerula.tasks.arrhythmia import COUNT, FOLDER, FOLDS, VALIDATION

SEED = 2017


def folds(challenge: Path) -> dict[str, int]:
    """Deal the recordings of each class out to the folds, in random order."""
    source = open_source(challenge, "challenge2017")
    first: dict[bytes, str] = {}
    groups: dict[str, list[str]] = {}
    letters: dict[str, list[str]] = {}
    for entry in source.entries():
        recording = source.read(entry)
        name = entry.path.stem
        twin = first.setdefault(recording.x.tobytes(), name)
        groups.setdefault(twin, []).append(name)
        if twin == name:
            letters.setdefault(next(iter(recording.labels)), []).append(name)
    rng = np.random.default_rng(SEED)
    found: dict[str, int] = {}
    dealt = 0
    for letter in sorted(letters):
        for name in rng.permutation(sorted(letters[letter])):
            found |= dict.fromkeys(groups[str(name)], dealt % COUNT)
            dealt += 1
    return dict(sorted(found.items()))


def write(name: str, split: dict[str, int]) -> None:
    """Write one split."""
    text = "".join(f"{record},{fold}\n" for record, fold in split.items())
    packed = lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME)
    (FOLDER / name).write_bytes(packed)
    print(f"{name}: {len(split)} recordings, {len(packed):,} bytes")


def main() -> None:
    """Write both."""
    FOLDER.mkdir(exist_ok=True)
    write(FOLDS, folds(Path(sys.argv[1])))
    listed = Path(sys.argv[2]).read_text(encoding="utf-8").split()
    write(VALIDATION, dict.fromkeys(sorted(listed), 0))


if __name__ == "__main__":
    main()
