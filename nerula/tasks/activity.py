"""Activity on UCI HAR: the publisher's split by subject, each axis embedded on its own.

Reyes-Ortiz et al. 2013, https://doi.org/10.24432/C54S4K. As in NERULA's paper: the three axes of
the accelerometer and the three of the gyroscope, one embedding each, joined.
"""

import numpy as np
from numpy.typing import NDArray

from nerula.tasks.task import Facts, Task, by_folds

ACTIVITIES = (
    "WALKING",
    "WALKING_UPSTAIRS",
    "WALKING_DOWNSTAIRS",
    "SITTING",
    "STANDING",
    "LAYING",
)


def _target(facts: Facts) -> NDArray[np.int64]:
    number = {activity: place for place, activity in enumerate(ACTIVITIES)}
    return np.array([number.get(held[0], -1) if held else -1 for held in facts.labels])


TASKS = (
    Task(
        name="activity",
        title="Activity from motion",
        family="ucihar",
        kind="classes",
        answers=tuple(name.replace("_", " ").lower() for name in ACTIVITIES),
        metrics=("accuracy", "macro_f1", "weighted_f1", "auroc", "brier"),
        main="accuracy",
        probes=("forest", "svc", "logistic", "mlp", "ensemble"),
        protocol="The publisher's split: 21 people train, 9 others are tested; hyper-parameters "
        "on people of the training side.",
        target=_target,
        splits=by_folds({"train"}, set(), {"test"}),
        fetch="ucihar",
        leads=tuple(f"{sensor}_{axis}" for sensor in ("total_acc", "body_gyro") for axis in "xyz"),
        view="leads",
    ),
)
