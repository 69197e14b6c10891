"""`TaskGroup`: tasks that run as long as a block, in plain code, asyncio and trio."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self

from connectors import _worlds
from connectors._executor import Executor
from connectors._outcome import Outcome

from ._body import Body, body_of
from ._checks import Logger, checked_limit, checked_logger, checked_tasks
from ._executors import refuse_to_block
from ._launch import Launcher
from ._policies import ExecutorExceptionPolicies, checked_policy
from ._supervision import Hooks, Supervision
from ._task import AbstractExecutorTask


class TaskGroup:
    """Runs tasks at once for as long as a block, each where the executor has room for it.

    Entering it, with ``with`` or with ``async with`` under asyncio or trio, starts all tasks and
    returns when each has begun or failed to. Leaving it waits for all of them; leaving it by an
    exception or a cancellation stops them first. It can be entered once.

    Args:
        tasks: The tasks, which are read now.
        executor: Where they run: a name, a list of names, an executor, or `None` for the
            configured one. By name it is made with room for all tasks, and closed with the group.
        on_failure: What becomes of the others when a task fails: a policy or its name.
        stop_timeout: The limit, in seconds, of stops because of a failure or because the block is
            left by an exception.
        logger: Where failures are logged; by default the logger ``connectors.tasks``.
        **options: Options of the executor.

    Raises:
        TypeError: One of *tasks* is no task, or *logger* no logger.
        ValueError: There is no such policy, the executor cannot run all tasks at once, or
            *stop_timeout* is no limit.
        ConnectorsError: There is no such executor, or it has no such option.
    """

    def __init__(
        self,
        tasks: Iterable[AbstractExecutorTask],
        executor: str | Sequence[str] | Executor | None = None,
        on_failure: ExecutorExceptionPolicies | str = ExecutorExceptionPolicies.propagate,
        *,
        stop_timeout: float | None = None,
        logger: Logger | None = None,
        **options: Any,
    ) -> None:
        self._tasks = checked_tasks(tasks)
        policy = checked_policy(on_failure)
        limit = checked_limit("TaskGroup", "stop_timeout", stop_timeout, minimum=0)
        logger = checked_logger(logger)
        self._launcher = launcher = Launcher(self._tasks, executor, options)
        hooks = Hooks(launcher.executor.open, launcher.start, _stop, launcher.close)
        self._supervision = Supervision(self._tasks, policy, hooks, limit, logger)
        self._body: Body | None = None

    @property
    def is_running(self) -> bool:
        """Whether all tasks were started and not all have ended."""
        return self._supervision.is_running

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """How each task ended, or that it has not, in the order of the tasks."""
        return tuple(task.outcome for task in self._tasks)

    @property
    def num_failed(self) -> int:
        """How many tasks failed."""
        return len(self.failed)

    @property
    def failed(self) -> list[Any]:
        """The ids of the tasks that failed."""
        return [task.id for task in self._tasks if task.failed]

    @property
    def not_failed(self) -> list[Any]:
        """The ids of the other tasks, of which some may be running."""
        return [task.id for task in self._tasks if not task.failed]

    @property
    def abandoned(self) -> list[Any]:
        """The ids of the tasks that did not stop in time and still run."""
        return self._supervision.abandoned()

    def stop(self, timeout: float | None = None) -> None:
        """Tell every task to stop, in this thread, and wait until all have ended.

        In the event loop that the group runs in, and in a task of the group, it only tells.

        Args:
            timeout: After so many seconds, processes are ended from outside and coroutines are
                cancelled. What still runs is abandoned.

        Raises:
            BaseException: What the `stop` of a task raised, or an error that is kept.
        """
        self._supervision.stop(timeout)

    async def astop(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as in `stop`
        """Do as `stop`, without blocking the running loop."""
        await self._supervision.astop(timeout)

    def join(self, timeout: float | None = None) -> None:
        """Wait until all tasks have ended; Ctrl-C stops them.

        Args:
            timeout: How many seconds to wait.

        Raises:
            TimeoutError: They have not ended by then. That stops nothing.
            RuntimeError: It is called by a task of the group, or in the loop that this runs in.
            BaseException: The error that is kept, the first time.
        """
        self._supervision.join(timeout)

    async def ajoin(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as in `join`
        """Do as `join`, without blocking the running loop."""
        await self._supervision.ajoin(timeout)

    def __enter__(self) -> Self:
        refuse_to_block(self._launcher)
        self._supervision.launch()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        supervision = self._supervision
        try:
            if error is not None:
                supervision.break_off()
            supervision.wait(supervision.is_finished)
            supervision.let_go()
        except BaseException as other:
            supervision.survive(other)
            raise
        if error is None:
            supervision.leave()
        else:
            supervision.leave_with(error)

    async def __aenter__(self) -> Self:
        world = _worlds.current_world()
        supervision, body = self._supervision, body_of(world)
        supervision.begin()
        if self._launcher.belongs_to(world):
            self._launcher.schedule = body.spawn
        body.spawn(supervision.adrive(self._cancel_body))
        cancelled = await body.wait(supervision, lambda: supervision.ready or supervision.finished)
        if cancelled is not None:
            raise cancelled
        self._body = body
        body.enter()
        self._cancel_body()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        supervision, body = self._supervision, self._body
        assert body is not None
        left_by = body.leave(error)
        if error is not None:
            supervision.break_off()
        left_by = await body.wait(supervision, supervision.is_finished) or left_by
        if left_by is None:
            supervision.leave()
            return True
        supervision.leave_with(left_by)
        if left_by is not error:
            raise left_by
        return False

    def _cancel_body(self) -> None:
        if self._supervision.broke_off and self._body is not None:
            self._body.cancel()


def _stop(task: AbstractExecutorTask) -> None:
    task.stop()
