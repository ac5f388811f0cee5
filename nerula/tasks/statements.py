"""Rhythm and form statements on PTB-XL: several may hold at once.

The 12 rhythm and 19 form statements of `scp_statements.csv`; as in the data set's own benchmark
(Strodthoff et al. 2021, https://doi.org/10.1109/JBHI.2020.3022989) one counts whenever a report
makes it, and the macro AUROC is the mean over statements that the test fold has.
"""

import numpy as np
from numpy.typing import NDArray

from nerula.tasks.person import CHOOSE, PROTOCOL, TEST, TRAIN
from nerula.tasks.task import Facts, Task, by_folds

RHYTHM = (
    "SR", "AFIB", "STACH", "SARRH", "SBRAD", "PACE", "SVARR", "BIGU", "AFLT", "SVTAC", "PSVT",
    "TRIGU",
)  # fmt: skip
FORM = (
    "NDT", "NST_", "DIG", "LNGQT", "ABQRS", "PVC", "STD_", "VCLVH", "QWAVE", "LOWT", "NT_", "PAC",
    "LPR", "INVT", "LVOLT", "HVOLT", "TAB_", "STE_", "PRC(S)",
)  # fmt: skip


def _target(facts: Facts) -> NDArray[np.int64]:
    found = [[statement in held for statement in (*RHYTHM, *FORM)] for held in facts.labels]
    target = np.array(found, np.int64)
    target[~facts.labelled] = -1
    return target


TASKS = (
    Task(
        name="statements",
        title="Rhythm and form statements",
        family="ptbxl",
        kind="labels",
        answers=(*RHYTHM, *FORM),
        metrics=("auroc", "average_precision", "macro_f1", "brier"),
        main="auroc",
        probes=("logistic", "forest", "mlp", "ensemble"),
        protocol=f"{PROTOCOL} Macro means over statements that the test side has.",
        target=_target,
        splits=by_folds(TRAIN, CHOOSE, TEST),
        fetch="ptbxl100",
        on_sample=True,
    ),
)
