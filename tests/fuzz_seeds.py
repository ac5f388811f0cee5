"""What the fuzz tests start from: one small valid file per format and variant.

A key is `<reader>/<variant>`. The function writes its file, and whatever that needs beside it,
into an empty folder and returns the path of the one file that will be mutated. `test_fuzz.py`
then reads that path with `nerula.readers.<reader>.read`; the reader named `source` stands for
`open_source(folder)`, of which every entry is read (for the tables of a data set).

Add a format by adding its functions to `SEEDS`.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests import fuzz_clinical, layouts, wfdb_styles

SEEDS: dict[str, Callable[[Path], Path]] = {**fuzz_clinical.SEEDS}


# --- WFDB --------------------------------------------------------------------------------------


def _signal(style: Callable[[Path], Path]) -> Callable[[Path], Path]:
    """The file with the signal in place of the header."""
    return lambda folder: next(
        path for path in style(folder).parent.iterdir() if path.suffix != ".hea"
    )


for _style, _write in wfdb_styles.STYLES.items():
    _slug = _style.lower().replace(",", "").replace(" ", "-")
    SEEDS |= {f"wfdb/header-{_slug}": _write, f"wfdb/signal-{_slug}": _signal(_write)}
SEEDS |= {
    "wfdb/formats": wfdb_styles.every_format,
    "wfdb/segments": wfdb_styles.segments,
    "wfdb/rare-header": wfdb_styles.flac,
    "wfdb/rare-signal": _signal(wfdb_styles.flac),
    "mat/challenge2017": _signal(wfdb_styles.challenge2017),
    "mat/challenge2020": _signal(wfdb_styles.challenge2020),
}


# --- tables of data sets -----------------------------------------------------------------------


def _table(layout: Callable[[Path], Path], name: str) -> Callable[[Path], Path]:
    return lambda folder: layout(folder) / name


_MOTION = "train/Inertial Signals/body_acc_x_train.txt"
SEEDS |= {
    "source/ptbxl": _table(partial(layouts.ptbxl, count=3), "ptbxl_database.csv"),
    "source/challenge2017": _table(partial(layouts.challenge2017, count=3), "REFERENCE-v3.csv"),
    "source/ucihar-signal": _table(partial(layouts.ucihar, train=2, test=1), _MOTION),
    "source/ucihar-subjects": _table(layouts.ucihar, "train/subject_train.txt"),
    "source/ucihar-labels": _table(layouts.ucihar, "activity_labels.txt"),
}
