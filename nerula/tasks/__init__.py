"""Tasks: what is asked of embeddings, on which recordings, and how the answer is judged.

Arrays and JSON only. A task is found by its name.
"""

from difflib import get_close_matches

from nerula.errors import UsageError
from nerula.tasks import (
    activity,
    arrhythmia,
    identity,
    infarction,
    lead_alignment,
    leads,
    person,
    statements,
)
from nerula.tasks.task import Facts, Split, Task

__all__ = ["TASKS", "Facts", "Split", "Task", "find"]

TASKS: dict[str, Task] = {
    task.name: task
    for family in (
        arrhythmia, person, infarction, statements, activity, identity, leads, lead_alignment,
    )
    for task in family.TASKS
}  # fmt: skip
"""Every task by its name."""


def find(name: str) -> Task:
    """The task of a name."""
    if name not in TASKS:
        near = get_close_matches(name, TASKS, 1)
        remedy = f"Did you mean {near[0]}?" if near else f"Known are {', '.join(TASKS)}."
        raise UsageError(f"There is no task {name!r}.", remedy)
    return TASKS[name]
