"""Small copies of published data sets, in their layouts, made of the bundled sample."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nerula import sample
from nerula.readers.names import STANDARD

AXES = "xyz"
MOTIONS = ("body_acc", "body_gyro", "total_acc")
ACTIVITIES = ("WALKING", "WALKING_UPSTAIRS", "SITTING")


def microvolts(count: int) -> NDArray[np.int16]:
    return sample.load().microvolts[:count]


def checksum(signal: NDArray[np.int16]) -> int:
    return int(signal.astype(np.int64).sum()) % 65536


def write_record(
    stem: Path,
    signals: Iterable[NDArray[np.int16]],
    leads: Iterable[str],
    rate: int,
    *,
    gain: str = "1000.0(0)/mV",
    comments: str = "",
) -> None:
    """Write a WFDB record in format 16."""
    rows = list(signals)
    stem.parent.mkdir(parents=True, exist_ok=True)
    np.stack(rows, axis=1).astype("<i2").tofile(stem.with_name(f"{stem.name}.dat"))
    lines = [f"{stem.name} {len(rows)} {rate} {rows[0].size}"]
    for signal, lead in zip(rows, leads, strict=True):
        lines.append(f"{stem.name}.dat 16 {gain} 16 0 {signal[0]} {checksum(signal)} 0 {lead}")
    stem.with_name(f"{stem.name}.hea").write_text("\n".join(lines) + "\n" + comments)


def write_matrix(
    stem: Path,
    signals: NDArray[np.int16],
    leads: Iterable[str],
    rate: int,
    *,
    gain: str = "1000/mV",
    comments: str = "",
) -> None:
    """Write a WFDB record as the Challenges do: MATLAB version 4, `16+24` in the header."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    count, length = signals.shape
    head = np.array([30, count, length, 0, 4], "<i4").tobytes() + b"val\0"
    stem.with_name(f"{stem.name}.mat").write_bytes(head + signals.T.astype("<i2").tobytes())
    lines = [f"{stem.name} {count} {rate} {length} 12-May-2020 12:33:59"]
    for signal, lead in zip(signals, leads, strict=True):
        lines.append(f"{stem.name}.mat 16+24 {gain} 16 0 {signal[0]} {checksum(signal)} 0 {lead}")
    stem.with_name(f"{stem.name}.hea").write_text("\n".join(lines) + "\n" + comments)


def ptbxl(root: Path, count: int = 12, rates: tuple[int, ...] = (100,)) -> Path:
    """PTB-XL with lead II alone; at 500 Hz every sample is there five times."""
    source = sample.load()
    lines = [
        "ecg_id,patient_id,age,sex,report,scp_codes,strat_fold,filename_lr,filename_hr",
    ]
    for row, name in enumerate(source.names[:count]):
        facts = source.facts[row]
        folder = f"{int(name) // 1000 * 1000:05d}"
        for rate in rates:
            signal = source.microvolts[row].repeat(rate // 100)
            stem = root / f"records{rate}/{folder}/{name}_{'lr' if rate == 100 else 'hr'}"
            write_record(stem, [signal], ["II"], rate)
        codes = ", ".join(
            f"'{code}': {0.0 if np.isnan(part) else round(100 * part, 1)}"
            for code, part in facts.labels.items()
        )
        age = "" if facts.age is None else 300.0 if facts.age == 90 else facts.age
        sex = {"male": 0, "female": 1}.get(facts.sex or "", "")
        low, high = (f"records{r}/{folder}/{name}_{end}" for r, end in ((100, "lr"), (500, "hr")))
        lines.append(
            f'{int(name)},{facts.subject}.0,{age},{sex},"sinusrhythmus, ein ""Befund""",'
            f'"{{{codes}}}",{facts.fold},{low},{high}'
        )
    (root / "ptbxl_database.csv").write_text("\n".join(lines) + "\n")
    return root


def challenge2017(root: Path, count: int = 8) -> Path:
    lines = []
    for number, signal in enumerate(microvolts(count), 1):
        name = f"A{number:05d}"
        write_matrix(root / "training2017" / name, signal[None], ["ECG"], 300)
        lines.append(f"{name},{'NAO~'[number % 4]}")
    (root / "REFERENCE-v3.csv").write_text("\n".join(lines) + "\n")
    return root


def challenge2020(root: Path) -> Path:
    """Three parts, with the header variants of both years; leads in another order in one."""
    signals = microvolts(36).reshape(3, 12, -1)
    # PTB-XL's and Georgia's headers have a blank after #, CPSC's none
    parts = {
        "training/cpsc_2018/g1/A0001": ("#Age: 74\n#Sex: Male\n#Dx: 59118001\n", STANDARD),
        "training/georgia/g2/E01001": (
            "# Age: NaN\n# Sex: Female\n# Dx: 426177001,164934002\n",
            STANDARD,
        ),
        "training/ningbo/g10/JS10001": (
            "#Age: 96\n#Sex: Unknown\n#Dx: 426783006\n#Rx: Unknown\n#Hx: Unknown\n#Sx: Unknown\n",
            tuple(reversed(STANDARD)),
        ),
    }
    for (name, (comments, leads)), matrix in zip(parts.items(), signals, strict=True):
        write_matrix(root / name, matrix, leads, 500, comments=comments)
    return root


def ecgid(root: Path) -> Path:
    signals = microvolts(6)
    for number, (person, record) in enumerate([(1, 1), (1, 2), (90, 1)]):
        pair = signals[2 * number : 2 * number + 2] // 5
        comments = "\n# Age: 25\n# Sex: male\n# ECG date: 07.12.2004\n"
        stem = root / f"Person_{person:02d}" / f"rec_{record}"
        write_record(stem, pair, ["ECG I", "ECG I filtered"], 500, gain="200", comments=comments)
    return root


def ucihar(root: Path, train: int = 5, test: int = 3) -> Path:
    root = root / "UCI HAR Dataset"
    motion = np.random.default_rng(0)
    for part, count in (("train", train), ("test", test)):
        folder = root / part / "Inertial Signals"
        folder.mkdir(parents=True)
        for name in (f"{kind}_{axis}" for kind in MOTIONS for axis in AXES):
            windows = motion.normal(size=(count, 128))
            text = "".join("".join(f" {x: .7e}" for x in window) + "\n" for window in windows)
            (folder / f"{name}_{part}.txt").write_text(text)
        first = 1 if part == "train" else 21
        subjects = "".join(f"{first + row % 2}\n" for row in range(count))
        (root / part / f"subject_{part}.txt").write_text(subjects)
        activities = "".join(f"{row % 3 + 1}\n" for row in range(count))
        (root / part / f"y_{part}.txt").write_text(activities)
    names = "".join(f"{number} {name}\n" for number, name in enumerate(ACTIVITIES, 1))
    (root / "activity_labels.txt").write_text(names)
    return root
