"""Myocardial infarction on PTB-XL: its diagnostic superclass MI, against the rest or the normal.

As in the data set's own benchmark (Strodthoff et al. 2021, https://doi.org/10.1109/
JBHI.2020.3022989), a statement counts whenever a report makes it, whatever its likelihood.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nerula.tasks.person import CHOOSE, PROTOCOL, TEST, TRAIN, TWO_CLASSES
from nerula.tasks.task import Facts, Task, by_folds

INFARCTION = frozenset({
    "AMI", "IMI", "LMI", "PMI", "ASMI", "ALMI", "ILMI", "IPLMI", "IPMI",
    "INJAS", "INJAL", "INJIN", "INJLA", "INJIL",
})  # fmt: skip
"""The statements of superclass MI in `scp_statements.csv`."""


def _against_rest(facts: Facts) -> NDArray[np.int64]:
    return np.where(facts.labelled, facts.any_of(INFARCTION), -1)


def _against_normal(facts: Facts) -> NDArray[np.int64]:
    """Infarction is 1, a normal ECG without it 0; all others do not count."""
    infarction, normal = facts.any_of(INFARCTION), facts.any_of({"NORM"})
    return np.where(infarction, 1, np.where(normal, 0, -1))


def _task(name: str, other: str, against_normal: bool) -> Task:
    return Task(
        name=name,
        title=f"Myocardial infarction against {'normal ECGs' if against_normal else 'the rest'}",
        family="ptbxl",
        kind="classes",
        answers=(other, "infarction"),
        metrics=TWO_CLASSES,
        main="auroc",
        probes=("svc", "forest", "logistic", "mlp", "ensemble"),
        protocol=PROTOCOL,
        target=_against_normal if against_normal else _against_rest,
        splits=by_folds(TRAIN, CHOOSE, TEST),
        fetch="ptbxl100",
        on_sample=True,
    )


_AGAINST_REST_TASK = _task("infarction", "no infarction", against_normal=False)
TASKS = (
    _AGAINST_REST_TASK,
    _task("infarction-norm", "normal", against_normal=True),
    replace(
        _AGAINST_REST_TASK,
        name="infarction-windows",
        title="Myocardial infarction by windows of 5 s that vote",
        protocol=f"{PROTOCOL} Each half of a recording is an example; their answers are averaged.",
        probes=("forest", "logistic", "mlp", "ensemble"),
        view="votes",
    ),
)
