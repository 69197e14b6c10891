"""Multiple executors: each runs its tasks at once, and blocks until all have ended."""

from __future__ import annotations

import abc
from collections.abc import Iterable
from typing import ClassVar

from connectors import _worlds

from ._checks import checked_tasks
from ._launch import Launcher
from ._policies import ExecutorExceptionPolicies, checked_policy
from ._runs import Run
from ._supervision import Hooks, Supervision
from ._task import AbstractExecutorTask, TaskAwaitable


class AbstractMultipleExecutor(abc.ABC):
    """Runs several tasks at once and applies a failure policy. It can be started once.

    Args:
        tasks: The tasks, which are read now.
        task_fail_policy: What becomes of the others when one fails: a policy or its name.

    Raises:
        TypeError: One of *tasks* is no task.
        ValueError: There is no such policy.
    """

    def __init__(
        self,
        tasks: Iterable[AbstractExecutorTask],
        task_fail_policy: ExecutorExceptionPolicies | str = ExecutorExceptionPolicies.propagate,
    ) -> None:
        self._tasks = checked_tasks(tasks)
        self._task_fail_policy = checked_policy(task_fail_policy)
        hooks = Hooks(self._set_executor_pool, self._start_task, self._stop_task, self._close_pool)
        self._supervision = Supervision(self._tasks, self._task_fail_policy, hooks)

    @property
    def is_running(self) -> bool:
        """Whether all tasks were started and not all have ended."""
        return self._supervision.is_running

    @property
    def num_failed(self) -> int:
        """How many tasks failed."""
        return len(self.failed_tasks)

    @property
    def failed_tasks(self) -> list[AbstractExecutorTask]:
        """The tasks that failed, in their order."""
        return [task for task in self._tasks if task.failed]

    @property
    def not_failed_tasks(self) -> list[AbstractExecutorTask]:
        """The other tasks, in their order; some may be running."""
        return [task for task in self._tasks if not task.failed]

    def start(self) -> None:
        """Start the tasks in order and wait until all have ended.

        Raises:
            RuntimeError: It was started before.
            BaseException: What a task raised, if the policy is to propagate.
        """
        self._supervision.begin()
        try:
            self._supervision.drive_in_thread()
            self._supervision.join()
        except BaseException as error:
            self._supervision.survive(error)
            raise

    def stop(self, timeout: float | None = None) -> None:
        """Tell every task to stop and wait until all have ended, however often it is called.

        Args:
            timeout: After so many seconds, processes are ended from outside and coroutines are
                cancelled. What still runs is abandoned.

        Raises:
            BaseException: What the `stop` of a task raised, or an error that is kept.
        """
        self._supervision.stop(timeout)

    def _begin(self) -> None:
        """Start the tasks, and return when each has begun or failed to."""
        self._supervision.launch()

    @abc.abstractmethod
    def _set_executor_pool(self) -> None:
        """Open the executor."""

    @abc.abstractmethod
    def _start_task(self, task: AbstractExecutorTask) -> TaskAwaitable:
        """Start *task* and return its future."""

    @staticmethod
    def _stop_task(task: AbstractExecutorTask) -> None:
        """Ask *task* to end."""
        task.stop()

    def _close_pool(self, *, wait: bool, kill: bool) -> None:  # noqa: B027 - there may be none
        """Close the executor, when all tasks have ended."""


class _RegistryExecutor(AbstractMultipleExecutor):
    """Runs its tasks on an executor of the registry."""

    _executor_name: ClassVar[str]

    def __init__(
        self,
        tasks: Iterable[AbstractExecutorTask],
        task_fail_policy: ExecutorExceptionPolicies | str = ExecutorExceptionPolicies.propagate,
    ) -> None:
        super().__init__(tasks, task_fail_policy)
        self._launcher = Launcher(self._tasks, self._executor_name, {})

    def _set_executor_pool(self) -> None:
        self._launcher.executor.open()

    def _start_task(self, task: AbstractExecutorTask) -> Run:
        return self._launcher.start(task)

    def _close_pool(self, *, wait: bool, kill: bool) -> None:
        self._launcher.close(wait=wait, kill=kill)


class ThreadExecutor(_RegistryExecutor):
    """Runs each task in a thread."""

    _executor_name = "threading"


class ProcessExecutor(_RegistryExecutor):
    """Runs each task in a process of its own."""

    _executor_name = "multiprocessing"


class AsyncExecutor(_RegistryExecutor):
    """Runs the tasks in an event loop, which lives in a thread of its own."""

    _executor_name = "async"

    def start(self) -> None:
        """Start the tasks in order and wait until all have ended.

        Raises:
            RuntimeError: An event loop runs in this thread, or it was started before.
            BaseException: What a task raised, if the policy is to propagate.
        """
        refuse_to_block(self._launcher)
        super().start()


def refuse_to_block(launcher: Launcher) -> None:
    """Raise `RuntimeError` if tasks of event loops would have to block one to be waited for."""
    world = _worlds.current_world()
    if launcher.in_loop and world is not None:
        raise RuntimeError(
            f"an event loop of {world} runs in this thread, and would be blocked until all tasks "
            "have ended; use: async with connectors.tasks.TaskGroup(tasks, ...)"
        )
