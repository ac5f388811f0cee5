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

from tests import fuzz_clinical, layouts

SEEDS: dict[str, Callable[[Path], Path]] = {**fuzz_clinical.SEEDS}


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
