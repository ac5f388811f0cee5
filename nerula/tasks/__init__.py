"""Tasks: what is asked of embeddings, on which recordings, and how the answer is judged.

Arrays and JSON only. A task is found by its name.
"""

from nerula.errors import unknown
from nerula.tasks import (
    activity,
    arrhythmia,
    challenge2020,
    identity,
    infarction,
    lead_alignment,
    leads,
    own,
    person,
    statements,
)
from nerula.tasks.task import Facts, Split, Task

__all__ = ["TASKS", "Facts", "Split", "Task", "find"]

TASKS: dict[str, Task] = {
    task.name: task
    for family in (
        arrhythmia, person, infarction, statements, challenge2020, activity, identity, leads,
        lead_alignment,
    )
    for task in family.TASKS
}  # fmt: skip
"""Every task by its name."""


def find(name: str) -> Task:
    """The task of a name, or of a table of labels."""
    if own.is_table(name):
        return own.asked(name)
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    return TASKS[name]
