"""Tasks: each knows how to start and how to stop one thing that runs for long."""

from __future__ import annotations

import abc
import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeAlias

from connectors._outcome import Outcome, OutcomeState, is_cancellation

TaskAwaitable: TypeAlias = asyncio.Task[Any] | Future[Any]


class AbstractExecutorTask(abc.ABC):
    """A task for threads, or for an event loop.

    In a thread, `start` is the body. In an event loop `create_async_task` gives it. In a process
    `start` runs in the parent and returns a callable and its arguments.
    """

    _future: TaskAwaitable | None = None
    _outcome: Outcome | None = None

    def __init__(self) -> None:
        self._future = None
        self._outcome = None

    def __getstate__(self) -> dict[str, Any]:
        # A body may be a method of its task: how that goes is known in the parent.
        return {**vars(self), "_future": None, "_outcome": None}

    @property
    def future(self) -> TaskAwaitable | None:
        """What gives the task's return value; `None` until it is started."""
        return self._future

    @future.setter
    def future(self, future: TaskAwaitable | None) -> None:
        self._future = future

    @abc.abstractmethod
    def start(self) -> Any:
        """Do the work, in a thread; or return a callable and its arguments for a process."""

    @abc.abstractmethod
    def stop(self) -> None:
        """Ask the work to end. Is called in the parent, from another thread than the body's."""

    @abc.abstractmethod
    def create_async_task(self, loop: Any) -> Any:
        """Return a task of *loop* that does the work; under trio (*loop* is `None`) an awaitable.

        Args:
            loop: The asyncio loop.
        """

    @property
    def id(self) -> Any:
        """What lists and messages call it: the object's identity, unless overridden."""
        return id(self)

    @property
    def failed(self) -> bool:
        """Whether it has ended with an error that is neither Ctrl-C nor a cancellation."""
        future = self.future
        if future is None or not future.done() or future.cancelled():
            return False
        error = future.exception()
        return not (error is None or isinstance(error, KeyboardInterrupt) or is_cancellation(error))

    @property
    def outcome(self) -> Outcome:
        """How it ended, or that it has not."""
        if self._outcome is not None:
            return self._outcome
        return outcome_of(self.future, self.id)


class AbstractMultiprocessExecutorTask(AbstractExecutorTask):
    """A task for a process of its own."""

    @abc.abstractmethod
    def start(self) -> tuple[Callable[..., Any], Any]:
        """Return the callable that is the body, and its positional arguments."""

    def create_async_task(self, loop: Any) -> Any:  # noqa: ARG002 - the base class has it
        """Raise, because a process is no coroutine.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            f"task {self.id!r} is a process task and cannot run in an event loop; "
            'run it with executor="multiprocessing"'
        )


def outcome_of(future: TaskAwaitable | None, name: Any) -> Outcome:
    """Return the outcome that *future* tells, of what is called *name*."""
    if future is None:
        return Outcome(OutcomeState.pending, name)
    if not future.done():
        return Outcome(OutcomeState.running, name)
    if future.cancelled():
        return Outcome(OutcomeState.cancelled, name)
    error = future.exception()
    if error is None:
        return Outcome(OutcomeState.done, name, future.result())
    return Outcome.of_error(error, name)
