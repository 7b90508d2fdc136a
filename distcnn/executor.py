"""Executor: the seam between stages that have work and clusters that have workers.

A stage cuts its work into tasks (regions, files, members), and hands one function and the
tasks to an executor. The executor runs them wherever it likes, a few in flight per worker, and
hands back a result per task as they finish, in any order. Results are small values;
everything large goes to a store. Tasks must be safe to run again.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from threading import Event
from typing import Generic, Protocol, TypeVar, cast, runtime_checkable

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class TaskResult(Generic[Task, Result]):
    """What became of one task: a value, or the error of its last attempt."""

    task: Task
    value: Result | None
    error: BaseException | None = None
    attempts: int = 1

    def unwrap(self) -> Result:
        """The value; raises the error of the last attempt instead if there is one."""
        if self.error is not None:
            raise self.error
        return cast(Result, self.value)


@dataclass(frozen=True)
class WorkerContext:
    """Where a function runs: the host [address], the worker's name, whether it was cancelled.

    ``threads``: how many its arithmetic may use (``model.devices.worker_threads`` obeys).
    ``secede``: called by a function whose rest needs no core, such as storing what it has
    computed; the next task begins on this worker meanwhile.
    """

    host: str = "127.0.0.1"
    worker: str = "here"
    threads: int = 1
    cancelled: Callable[[], bool] = field(default=lambda: False, repr=False)
    secede: Callable[[], None] = field(default=lambda: None, repr=False)

    @classmethod
    def current(cls) -> "WorkerContext":
        """The context of the function that asks; a long one stops once it is cancelled."""
        return _CONTEXT.get()


_CONTEXT: ContextVar[WorkerContext] = ContextVar(
    "worker_context",
    default=WorkerContext(),  # noqa: B039 - frozen
)


@contextmanager
def worker_context(context: WorkerContext) -> Iterator[None]:
    """What runs inside the block finds ``context``."""
    token = _CONTEXT.set(context)
    try:
        yield
    finally:
        _CONTEXT.reset(token)


@dataclass(frozen=True)
class ExpectedWorkers:
    """What a plan may count on before a cluster is opened.

    ``memory`` is what each worker gets [bytes]; None = there is no telling. ``threads``: how
    many the arithmetic of each may use. ``gpus``: how many each may use; None = there is no
    telling.
    """

    count: int = 1
    memory: int | None = None
    threads: int = 1
    gpus: int | None = None


RESULT_OBSERVERS: list[Callable[[object], None]] = []
"""In a worker process: called with the value of every task that has ended in it."""


def task_text(task: object) -> str:
    """A task for people: the region it is about, or the task itself, not too long."""
    region = getattr(getattr(task, "region", None), "name", None)
    return f"region {region}" if region else str(task)[:200]


def observe_result(value: object) -> None:
    """Tell whoever watches this process; one who fails is left out, and the work goes on."""
    for observer in tuple(RESULT_OBSERVERS):
        try:
            observer(value)
        except Exception:
            RESULT_OBSERVERS.remove(observer)


class Executor(Protocol):
    """Runs one picklable function over many tasks and yields results as they finish."""

    @property
    def workers(self) -> int:
        """How many tasks run at the same time."""
        ...

    def __call__(
        self, function: Callable[[Task], Result], tasks: Iterable[Task]
    ) -> Iterator[TaskResult[Task, Result]]: ...


@runtime_checkable
class Gang(Protocol):
    """Gang scheduling: tasks that need each other run at the same time, a worker each, or none."""

    def alive_workers(self) -> int:
        """How many workers could take a task now."""
        ...

    def max_group_size(self) -> int:
        """The most tasks of one call."""
        ...

    def together(
        self, function: Callable[[Task], Result], tasks: Sequence[Task]
    ) -> list[TaskResult[Task, Result]]:
        """Results in the order of the tasks, which go to workers ordered by host and name.

        When one fails the others are cancelled (``WorkerContext.cancelled``) and their results
        are errors too. Two calls on one cluster take turns, whoever makes them.

        Raises
        ------
        ClusterError : fewer workers are alive than there are tasks, or the cluster is gone.
        """
        ...


class Cancelled(Exception):
    """A task was stopped because another one of its call had failed."""


class SerialExecutor:
    """Runs every task here, one after the other. For tests and for comparison with clusters.

    ``threads``: how many the arithmetic of a task may use.
    """

    workers = 1

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads

    def alive_workers(self) -> int:
        """Threads are no workers; still, they take as many tasks as are asked for."""
        return 1

    def max_group_size(self) -> int:
        """Threads are cheap."""
        return 64

    def together(
        self, function: Callable[[Task], Result], tasks: Sequence[Task]
    ) -> list[TaskResult[Task, Result]]:
        """Every task in a thread of its own."""
        over = Event()
        contexts = [
            WorkerContext(worker=f"thread-{n}", threads=self.threads, cancelled=over.is_set)
            for n in range(len(tasks))
        ]
        with ThreadPoolExecutor(len(tasks)) as pool:
            pairs = zip(tasks, contexts, strict=True)
            futures = [pool.submit(_in_context, context, function, task) for task, context in pairs]
            try:
                _until_one_fails(futures)
            finally:
                over.set()
        return [TaskResult(t, *_ended(future)) for t, future in zip(tasks, futures, strict=True)]

    def __call__(
        self, function: Callable[[Task], Result], tasks: Iterable[Task]
    ) -> Iterator[TaskResult[Task, Result]]:
        context = replace(WorkerContext.current(), threads=self.threads)
        for task in tasks:
            try:
                result = TaskResult(task, _in_context(context, function, task))
            except Exception as error:  # a result carries any failure of its task
                result = TaskResult(task, None, error)
            yield result


def _in_context(context: WorkerContext, function: Callable[[Task], Result], task: Task) -> Result:
    with worker_context(context):
        return function(task)


def _until_one_fails(futures: Sequence[Future[Result]]) -> None:
    waiting = set(futures)
    while waiting:
        done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        if any(future.exception() for future in done):
            return


def _ended(future: Future[Result]) -> tuple[Result | None, BaseException | None]:
    error = future.exception()
    return (None, error) if error is not None else (future.result(), None)
