"""Sex and age on PTB-XL: folds 1-8 train, fold 9 chooses, fold 10 is reported.

Wagner et al. 2020, https://doi.org/10.13026/kfzx-aw45; no subject is in two folds. Ages over 89
are 90 in this data.
"""

import numpy as np
from numpy.typing import NDArray

from nerula.tasks.task import Facts, Task, by_folds

TRAIN, CHOOSE, TEST = {str(fold) for fold in range(1, 9)}, {"9"}, {"10"}
PROTOCOL = "PTB-XL's folds by subject: 1-8 train, 9 chooses, 10 is tested."
TWO_CLASSES = ("auroc", "accuracy", "balanced_accuracy", "macro_f1", "weighted_f1", "brier")
SEXES = ("male", "female")


def _sex(facts: Facts) -> NDArray[np.int64]:
    return np.array([SEXES.index(sex) if sex in SEXES else -1 for sex in facts.sex], np.int64)


def _age(facts: Facts) -> NDArray[np.float64]:
    return facts.age.astype(np.float64)


TASKS = (
    Task(
        name="sex",
        title="Sex",
        family="ptbxl",
        kind="classes",
        answers=SEXES,
        metrics=TWO_CLASSES,
        main="auroc",
        probes=("svc", "forest", "logistic", "mlp", "ensemble"),
        protocol=PROTOCOL,
        target=_sex,
        splits=by_folds(TRAIN, CHOOSE, TEST),
        fetch="ptbxl100",
        on_sample=True,
    ),
    Task(
        name="age",
        title="Age in years",
        family="ptbxl",
        kind="values",
        answers=("years",),
        metrics=("mae", "rmse", "r2"),
        main="mae",
        probes=("svc", "forest", "ridge", "mlp", "ensemble"),
        protocol=PROTOCOL,
        target=_age,
        splits=by_folds(TRAIN, CHOOSE, TEST),
        fetch="ptbxl100",
        on_sample=True,
    ),
)
