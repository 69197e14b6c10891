"""`AbstractMultipleRunner`: makes tasks and runs them in a mode that is chosen by name."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from connectors._errors import did_you_mean, listing

from ._checks import checked_tasks
from ._executors import AbstractMultipleExecutor
from ._policies import ExecutorExceptionPolicies, checked_policy
from ._task import AbstractExecutorTask


class AbstractMultipleRunner(abc.ABC):
    """Makes tasks and runs them at once, in the foreground or in the background.

    A subclass sets its own fields before it calls this constructor, which makes the tasks.

    Args:
        mode: One of `SUPPORTED_MODES`.
        fail_policy: What becomes of the others when a task fails: a policy or its name.

    Raises:
        ValueError: There is no such mode or policy, or a task does not fit the mode.
    """

    #: The multiple executor of each mode.
    SUPPORTED_MODES: ClassVar[Mapping[str, type[AbstractMultipleExecutor]]] = {}

    def __init__(
        self,
        mode: str,
        fail_policy: ExecutorExceptionPolicies | str = ExecutorExceptionPolicies.propagate,
    ) -> None:
        if not isinstance(mode, str) or mode not in self.SUPPORTED_MODES:
            raise ValueError(
                f"{type(self).__name__} has no mode {mode!r}; "
                f"allowed: {listing(self.SUPPORTED_MODES)}."
                + (did_you_mean(mode, self.SUPPORTED_MODES) if isinstance(mode, str) else "")
            )
        self._mode = mode
        policy = checked_policy(fail_policy)
        made = f"{type(self).__name__}._make_tasks() returned"
        self._tasks = checked_tasks(self._make_tasks(), made)
        self._executor = self.SUPPORTED_MODES[mode](self._tasks, task_fail_policy=policy)
        self._threaded = False

    @property
    def is_running(self) -> bool:
        """Whether all tasks were started and not all have ended."""
        return self._executor.is_running

    @property
    def num_failed(self) -> int:
        """How many tasks failed."""
        return self._executor.num_failed

    @property
    def failed(self) -> list[Any]:
        """The ids of the tasks that failed."""
        return [task.id for task in self._executor.failed_tasks]

    @property
    def not_failed(self) -> list[Any]:
        """The ids of the other tasks, of which some may be running."""
        return [task.id for task in self._executor.not_failed_tasks]

    @property
    def abandoned(self) -> list[Any]:
        """The ids of the tasks that did not stop in time and still run."""
        return self._executor._supervision.abandoned()

    def start(self, threaded: bool = False) -> None:
        """Start the tasks, in order.

        Args:
            threaded: Return when each has begun or failed to, and supervise them from a daemon
                thread; else wait until all have ended.

        Raises:
            RuntimeError: It was started before.
            BaseException: What a task raised, if the policy is to propagate and *threaded* is not.
        """
        if not threaded:
            self._executor.start()
            return
        self._executor._begin()
        self._threaded = True

    def stop(self, timeout: float | None = None) -> None:
        """Tell every task to stop and wait until all have ended, however often it is called.

        Args:
            timeout: The limit of the whole in seconds; see `AbstractMultipleExecutor.stop`.

        Raises:
            BaseException: What the `stop` of a task raised, or an error that is kept.
        """
        self._executor.stop(timeout)

    def try_join_thread(self) -> None:
        """Wait until all tasks have ended; Ctrl-C stops them.

        Raises:
            ValueError: It was not started with ``threaded=True``.
            BaseException: The error that is kept, the first time.
        """
        if not self._threaded:
            raise ValueError(
                "there is no thread to join: it was not started with start(threaded=True)"
            )
        self._executor._supervision.join()

    @abc.abstractmethod
    def _make_tasks(self) -> Sequence[AbstractExecutorTask]:
        """Return the tasks. Is called once, by the constructor."""
