"""Choose and pack the bundled sample: `python tools/make_sample.py PTBXL_FOLDER`.

From every fold of PTB-XL 120 recordings whose subject is known, so that a split by subject means
something: 24 with atrial fibrillation or flutter, 36 normal ones, and 15 of each other diagnostic
class. Within a class, a hash of the recording's number decides.
"""

import csv
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nerula import sample
from nerula.readers import ptbxl_table
from nerula.readers.ptbxl_table import Row
from nerula.sample.codec import pack, unpack

QUOTA = {"AFIB": 24, "NORM": 36, "MI": 15, "HYP": 15, "CD": 15, "STTC": 15}
FOLDS = range(1, 11)
SAMPLES = 1000


def choose(folder: Path) -> dict[str, tuple[Row, NDArray[np.int16]]]:
    """Return the chosen recordings by their number."""
    classes = diagnostic_classes(folder / "scp_statements.csv")
    table = folder / "ptbxl_database.csv"
    files = ptbxl_table.rows(table, key="filename_lr")
    left = {(fold, group): number for fold in FOLDS for group, number in QUOTA.items()}
    chosen = {}
    for file, row in sorted(files.items(), key=lambda item: shuffled(item[1].ecg_id)):
        labels = ptbxl_table.understand(row, table, folder / file).labels
        place = int(row.fold), group_of({classes.get(code, "") for code in labels}, set(labels))
        if row.subject and left.get(place, 0):
            signal = lead_two(folder / file)
            if sound(signal):
                left[place] -= 1
                chosen[row.ecg_id] = row, signal
    if lacking := {place: number for place, number in left.items() if number}:
        sys.exit(f"too few recordings: {lacking}")
    return dict(sorted(chosen.items(), key=lambda item: int(item[0])))


def diagnostic_classes(path: Path) -> dict[str, str]:
    """Return the diagnostic class (NORM, MI, STTC, CD, HYP) of each statement that has one."""
    with path.open(encoding="utf-8", newline="") as file:
        return {row[""]: row["diagnostic_class"] for row in csv.DictReader(file)}


def shuffled(ecg_id: str) -> bytes:
    """A key for sorting that has nothing to do with the order of recording."""
    return hashlib.blake2b(ecg_id.encode(), digest_size=8).digest()


def group_of(classes: set[str], statements: set[str]) -> str:
    """Return the group whose quota a recording takes: rhythm first, then the rarer class."""
    if statements & {"AFIB", "AFLT"}:
        return "AFIB"
    return next((group for group in ("HYP", "STTC", "CD", "MI", "NORM") if group in classes), "")


def lead_two(record: Path) -> NDArray[np.int16]:
    """Return lead II in µV; the header must say 1,000 steps per mV in format 16."""
    lines = record.with_suffix(".hea").read_text().splitlines()
    signals = [line.split() for line in lines[1:] if line]
    names = [fields[8] for fields in signals]
    place = names.index("II")
    if signals[place][1:3] != ["16", "1000.0(0)/mV"]:
        sys.exit(f"{record}: an unexpected format or gain")
    data = np.fromfile(record.with_suffix(".dat"), "<i2").reshape(SAMPLES, len(names))
    return data[:, place].copy()


def sound(signal: NDArray[np.int16]) -> bool:
    """No electrode was off, no amplifier at its limit, and the baseline stays on the paper."""
    changes = np.flatnonzero(np.diff(signal))
    flat = np.diff(changes, prepend=0, append=SAMPLES).max()
    drift = np.ptp(np.median(signal.reshape(10, -1), axis=1))
    level = signal.astype(np.int32)
    return bool(np.abs(level).max() < 4000 and np.ptp(level) > 300 and flat < 30 and drift < 1000)


def main() -> None:
    """Write the three files of the sample."""
    chosen = choose(Path(sys.argv[1]))
    signals = np.stack([signal for _, signal in chosen.values()])
    packed = pack(signals)
    assert np.array_equal(unpack(packed, *signals.shape), signals)
    lines = [",".join(ptbxl_table.COLUMNS)]
    for row, _ in chosen.values():
        age = "90" if row.age and float(row.age) > 89 else row.age.removesuffix(".0")
        cells = row.ecg_id, row.subject, age, row.sex, f'"{row.statements}"', row.fold
        lines.append(",".join(cells))
    table = ("\n".join(lines) + "\n").encode()
    files = {sample.SIGNALS: packed, sample.TABLE: table}
    about = {
        "source": "PTB-XL 1.0.3, https://doi.org/10.13026/kfzx-aw45",
        "licence": "CC BY 4.0, https://creativecommons.org/licenses/by/4.0/",
        "changes": "1,200 recordings chosen, lead II only, repacked; ages over 89 are 90",
        "signals": "lead II, 100 Hz, whole microvolts; see codec.py",
        "recordings": len(chosen),
        "samples": SAMPLES,
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    }
    for name, data in files.items():
        (sample.FOLDER / name).write_bytes(data)
        print(f"{name}: {len(data):,} bytes")
    (sample.FOLDER / sample.ABOUT).write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
