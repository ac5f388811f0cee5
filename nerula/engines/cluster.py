"""Ray: tasks on the machines of a cluster, or on a cluster of this machine alone.

Ray starts again what a lost worker or machine was doing, and nothing else. Everything that it
sends between processes is trusted as the code itself is: a cluster belongs in a network of its
own.
"""

import os
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from types import ModuleType
from typing import Any, TypeVar
from uuid import uuid4

from nerula import workers
from nerula.errors import MissingExtraError, NerulaError, UsageError

Task = TypeVar("Task")
Result = TypeVar("Result")

RETRIES = 5
"""How often a task may lose its worker before the run gives up."""
AHEAD = 2
"""Tasks per processor that are handed out at once: the next is there when one is done."""


@dataclass(frozen=True, slots=True)
class Ray:
    """A Ray cluster: the one at `address`, or else the one that RAY_ADDRESS names, or a new one.

    A new one has this machine's processors and ends with the process. `jobs` limits how many
    tasks are handed out at once.
    """

    address: str | None = None
    jobs: int | None = None
    remote: bool = True

    def warm_up(self) -> None:
        """Find the cluster when there is something to do."""

    def for_tasks(self, count: int) -> "Ray":  # noqa: ARG002
        """The same: a cluster's workers are there already."""
        return self

    def spread(
        self, work: Callable[[Task], Result], tasks: Iterable[Task]
    ) -> Generator[tuple[Task, Result], None, None]:
        """Yield every task with its result as it is done, in any order."""
        ray = self._connected()
        run = ray.remote(num_cpus=1, max_retries=RETRIES)(_run)
        key, sent = uuid4().hex, [ray.put(work)]
        doing: dict[Any, Task] = {}
        waiting = iter(tasks)
        try:
            while True:
                for task in islice(waiting, max(0, self._room(ray) - len(doing))):
                    doing[run.remote(key, sent, task)] = task
                if not doing:
                    return
                for reference in ray.wait(list(doing), num_returns=1)[0]:
                    task = doing.pop(reference)
                    yield task, _result(ray, reference, task)
        finally:
            for reference in doing:
                ray.cancel(reference, force=True)

    def _room(self, ray: ModuleType) -> int:
        """How many tasks may be out; machines can join a cluster while it works."""
        processors = int(ray.cluster_resources().get("CPU", 1))
        return self.jobs or max(AHEAD, AHEAD * processors)

    def _connected(self) -> ModuleType:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
        try:
            import ray
        except ImportError as error:
            raise MissingExtraError("--engine ray", "ray") from error
        if not ray.is_initialized():
            address = self.address or os.environ.get("RAY_ADDRESS")
            own = {} if address else {"num_cpus": self.jobs or workers.available()}
            try:
                ray.init(
                    address=address or "local",
                    include_dashboard=None if address else False,
                    log_to_driver=False,
                    logging_level="error",
                    **own,
                )
            except (ConnectionError, ValueError) as error:
                raise UsageError(
                    f"There is no Ray cluster at {address}: {error}",
                    "Start one with: ray start --head",
                ) from error
        module: ModuleType = ray
        return module


def _run(key: str, sent: list[Any], task: Any) -> tuple[Any, Exception | None]:
    """Do one task in a worker."""
    workers.keep_memory()
    try:
        return _received(key, *sent)(task), None
    except Exception as error:
        return None, error


@lru_cache(maxsize=1)
def _received(key: str, reference: Any) -> Callable[[Any], Any]:  # noqa: ARG001
    """The function of a run, unpacked once in each worker rather than for every task."""
    import ray

    work: Callable[[Any], Any] = ray.get(reference)
    return work


def _result(ray: ModuleType, reference: Any, task: Any) -> Any:
    try:
        result, error = ray.get(reference)
    except ray.exceptions.RayTaskError:
        raise  # a mistake of ours, not a lost worker
    except ray.exceptions.RayError as lost:
        raise NerulaError(
            f"Workers of the cluster ended {RETRIES + 1} times at {task}: "
            f"{str(lost).splitlines()[0]}",
            "The machines may be short of memory. The same command continues.",
        ) from lost
    if error is not None:
        raise error
    return result
