"""Workers: the same function over many tasks, in processes that end when their parent does."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, get_all_start_methods, get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar, cast

from nerula.errors import NerulaError

Task = TypeVar("Task")
Result = TypeVar("Result")

_PRELOAD = ["nerula.chunks"]
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # <malloc.h>
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def available() -> int:
    """How many processors this process may use."""
    return (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )


def spread(
    work: Callable[[Task], Result], tasks: Iterable[Task], jobs: int
) -> Generator[tuple[Task, Result], None, None]:
    """Yield every task with its result as it is done, in any order. One job needs no process."""
    if jobs <= 1:
        keep_memory()
        for task in tasks:
            yield task, work(task)
        return
    with _processes(work, jobs) as workers:
        doing: dict[Connection, Task] = {}
        idle = list(workers)
        waiting = iter(tasks)
        while True:
            for task in _take(waiting, len(idle)):
                connection = idle.pop()
                _send(connection, task, workers)
                doing[connection] = task
            if not doing:
                return
            for ready in wait(list(doing)):
                connection = cast(Connection, ready)
                result = _receive(connection, doing[connection], workers)
                idle.append(connection)
                yield doing.pop(connection), result


def _take(tasks: Iterator[Task], count: int) -> Iterator[Task]:
    for _, task in zip(range(count), tasks, strict=False):
        yield task


def _send(connection: Connection, task: Any, workers: dict[Connection, BaseProcess]) -> None:
    try:
        connection.send(task)
    except BrokenPipeError:
        raise _died(workers[connection], task) from None


def _receive(connection: Connection, task: Any, workers: dict[Connection, BaseProcess]) -> Any:
    try:
        result, error = connection.recv()
    except (EOFError, ConnectionResetError):
        raise _died(workers[connection], task) from None
    if error is not None:
        raise error
    return result


def _died(worker: BaseProcess, task: Any) -> NerulaError:
    worker.join(5)
    return NerulaError(
        f"A worker process ended with exit code {worker.exitcode} while it prepared {task}.",
        "The machine may be short of memory: try fewer --jobs. The same command continues.",
    )


@contextmanager
def _processes(work: Callable[[Any], Any], jobs: int) -> Iterator[dict[Connection, BaseProcess]]:
    context: Any = get_context(
        "forkserver" if "forkserver" in get_all_start_methods() else "spawn"
    )
    if context.get_start_method() == "forkserver":
        context.set_forkserver_preload(_PRELOAD)
    workers: dict[Connection, BaseProcess] = {}
    try:
        with _quiet_start():
            for _ in range(jobs):
                ours, theirs = context.Pipe()
                worker = context.Process(target=_serve, args=(theirs, work), daemon=True)
                worker.start()
                theirs.close()
                workers[ours] = worker
        yield workers
    except BaseException:
        for worker in workers.values():
            worker.terminate()
        raise
    finally:
        for connection, worker in workers.items():
            connection.close()
            worker.join()


def warm_up() -> None:
    """Begin to load what the processes need, while the caller still does something else."""
    if _context().get_start_method() == "forkserver":
        with _quiet_start():
            forkserver.ensure_running()


def _context() -> Any:
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context: Any = get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    return context


@contextmanager
def _quiet_start() -> Iterator[None]:
    """Start processes with one thread each, and without running the user's script again.

    The processes are as many as there are processors; the script, or the command line that
    called us, would only be loaded in vain.
    """
    main = sys.modules["__main__"]
    hidden: dict[str, Any] = {
        name: vars(main).pop(name) for name in ("__file__", "__spec__") if name in vars(main)
    }
    main.__spec__ = None
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in hidden.items():
            setattr(main, name, value)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(connection: Connection, work: Callable[[Any], Any]) -> None:
    """Do tasks until the parent closes its end, be it on purpose or because it died."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    keep_memory()
    while True:
        try:
            task = connection.recv()
        except (EOFError, ConnectionResetError):
            return
        try:
            answer: tuple[Any, BaseException | None] = work(task), None
        except Exception as error:
            answer = None, error
        try:
            connection.send(answer)
        except (BrokenPipeError, ConnectionResetError):
            return


def keep_memory() -> None:
    """Let freed memory be used again for the next recording.

    By default glibc returns arrays of 128 KiB and more to the system, which then clears each page
    again: half the time of a 12-lead recording.
    """
    with suppress(OSError, AttributeError):  # other C libraries have no such option
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 64 << 20)
        libc.mallopt(_M_TRIM_THRESHOLD, 256 << 20)
