"""Engines: where the same function is applied to many tasks, here or on a cluster."""

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from nerula import workers
from nerula.errors import UsageError

Task = TypeVar("Task")
Result = TypeVar("Result")
Name = Literal["local", "ray"]


class Engine(Protocol):
    """Applies a function to tasks. The function, tasks and results are sent between processes."""

    @property
    def remote(self) -> bool:
        """Whether the work may be done on machines that do not see this one's files."""
        ...

    def warm_up(self) -> None:
        """Begin to start what the work needs, while the caller still does something else."""
        ...

    def for_tasks(self, count: int) -> "Engine":
        """The same, without processes that so many tasks would leave idle."""
        ...

    def spread(
        self, work: Callable[[Task], Result], tasks: Iterable[Task]
    ) -> Generator[tuple[Task, Result], None, None]:
        """Yield every task with its result as it is done, in any order."""
        ...


@dataclass(frozen=True, slots=True)
class Local:
    """Processes of this machine; one job is done in the caller's own."""

    jobs: int = 1
    remote: bool = False

    def warm_up(self) -> None:
        """Load what the processes need, where there will be any."""
        if self.jobs > 1:
            workers.warm_up()

    def for_tasks(self, count: int) -> "Local":
        """The same, without processes that so many tasks would leave idle."""
        return Local(min(self.jobs, count))

    def spread(
        self, work: Callable[[Task], Result], tasks: Iterable[Task]
    ) -> Generator[tuple[Task, Result], None, None]:
        """Yield every task with its result as it is done, in any order."""
        return workers.spread(work, tasks, self.jobs)


def choose(name: Name, jobs: int | None, ray_address: str | None = None) -> Engine:
    """Return the engine of that name; without `jobs` it takes all processors there are."""
    if jobs is not None and jobs < 1:
        raise UsageError(f"--jobs {jobs} is not a number above 0.")
    if name == "ray":
        from nerula.engines.cluster import Ray

        return Ray(ray_address, jobs)
    if ray_address:
        raise UsageError("--ray-address says where a Ray cluster is.", "Add --engine ray.")
    return Local(workers.available() if jobs is None else jobs)


class Numbered(Protocol):
    """A task that knows its place."""

    @property
    def number(self) -> int:
        """From 0 on."""
        ...


Placed = TypeVar("Placed", bound=Numbered)


def in_order(results: Iterable[tuple[Placed, Result]]) -> Iterator[tuple[Placed, Result]]:
    """Yield tasks and results by number, each as soon as none before it is missing."""
    early: dict[int, tuple[Placed, Result]] = {}
    following = 0
    for task, result in results:
        early[task.number] = task, result
        while following in early:
            yield early.pop(following)
            following += 1
