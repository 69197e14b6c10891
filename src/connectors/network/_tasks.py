"""Reads as plain state: the tasks of a run, which are told what finished and say what is next.

A task waits for what announced to it, gives out a job, and is told how the job ended. Nothing here
calls a user's method, starts a thread or waits.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from connectors._flags import Parallelization

from ._nodes import Cell, Node, Sink

if TYPE_CHECKING:
    from ._run import Run

_NO_KEYWORDS: Mapping[str, Any] = {}
_NO_WAITS: dict[Any, int] = {}
#: The job that the present code is a part of.
current_job: contextvars.ContextVar[Job | None] = contextvars.ContextVar(
    "current_job", default=None
)


class Job:
    """A user's method that has to be run.

    Attributes:
        task: Whose job it is, if it is not the task itself.
        node: Whose method it is.
        function: The method.
        args: Its arguments, without the instance.
        kwargs: Its keyword arguments.
        block: The instance.
        wish: How far away it may run.
        writes: It changes the block.
        check: The notify condition and its arguments, which is asked after the method.
        verdict: Whether the change is to be passed on.
        nested: The runs that the method itself began and waits for.
        future: What stands for it while it runs elsewhere.
        call: What its driver gives to the executor instead of running the method itself.
    """

    task: Any = None
    node: Node
    function: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = _NO_KEYWORDS
    block: Any = None
    wish: Parallelization
    writes = False
    check: tuple[Callable[..., Any], tuple[Any, ...]] | None = None
    verdict = True
    nested: list[Run] | tuple[()] = ()
    future: Any = None
    call: Any = None

    def conclude(self) -> None:
        """Ask the notify condition, when the method has run; called without the lock."""
        if self.check is not None:
            condition, args = self.check
            self.verdict = bool(condition(self.block, *args))


class Task(Job):
    """Something that a run does. Tasks that wait for it are told when it is done.

    A task that needs one method to be run is a job itself, so that it costs one object.

    Attributes:
        run: Whose task it is.
        waiters: The tasks that wait for it.
        waits: The tasks for which it waits, and for how many parts of each.
        missing: How many of them are not done.
        error: Why it has to fail.
        given: How many jobs it has given out and not been told the end of.
    """

    # Most tasks need few of these, and most runs are short.
    waiters: list[Task] | tuple[()] = ()
    waits: dict[Task, int] = _NO_WAITS
    missing = 0
    error: BaseException | None = None
    given = 0
    state = 0
    done = False

    def __init__(self, run: Run) -> None:
        self.run = run
        run.tasks.append(self)
        run.stack.append(self)

    def step(self) -> None:
        """Go on, as far as that is possible now."""
        raise NotImplementedError

    def completed(self, job: Job, value: Any) -> None:
        """Take what *job* returned."""
        raise NotImplementedError

    def failed(self) -> None:
        """Take note that a job raised."""

    def release(self) -> None:
        """Let another task take this one's place, and hold nothing any more."""

    def jobs(self) -> list[Job]:
        """Return what it has given out."""
        return [self] if self.given else []

    def join(self, waiter: Task, what: Cell | Sink | None) -> None:  # noqa: ARG002 - it does one
        """Tell *waiter* when *what* is done."""
        if self.waiters:
            self.waiters.append(waiter)
        else:
            self.waiters = [waiter]

    def wait_for(self, other: Task, what: Cell | Sink | None = None) -> None:
        """Go on when *other* is done, or *what* if that is only a part of it."""
        other.join(self, what)
        if self.waits:
            self.waits[other] = self.waits.get(other, 0) + 1
        else:
            self.waits = {other: 1}
        self.missing += 1
        if other.run is not self.run:
            self.run.outside += 1

    def end(self, value: Any = None, error: BaseException | None = None) -> None:
        """Be done, with *value* or *error*."""
        waiters, self.waiters, self.waits = self.waiters, (), _NO_WAITS
        self.done = True
        self.release()
        for waiter in waiters:
            waiter.told(self, value, error)

    def told(self, other: Task, value: Any, error: BaseException | None) -> None:  # noqa: ARG002
        """Take note that *other* is done."""
        run = self.run
        self._heard_of(other)
        if other.run is not run:
            run.outside -= 1
            run.ring()
        if self.done:
            return
        if run.epoch > other.run.epoch:
            # What it began before our caller's last change may not have seen that change.
            self.state = 0
            run.stack.append(self)
        elif error is not None:
            if self.error is None:
                self.error = error
                run.stack.append(self)
        elif not self.missing:
            run.stack.append(self)

    def _heard_of(self, other: Task) -> None:
        self.missing -= 1
        if self.waits.get(other, 0) > 1:
            self.waits[other] -= 1
        elif self.waits:
            self.waits.pop(other, None)

    def abort(self) -> None:
        """Give up; tasks of other runs that wait for this one begin anew."""
        waiters, self.waiters, self.waits = self.waiters, (), _NO_WAITS
        self.done = True
        self.release()
        for waiter in waiters:
            self.send_away(waiter)

    def send_away(self, waiter: Task) -> None:
        """Have *waiter* do itself what it waits for."""
        waiter._heard_of(self)
        run = waiter.run
        if run is not self.run:
            run.outside -= 1
            if not waiter.done:
                waiter.state = 0
                run.stack.append(waiter)
                run.ring()

    def labels(self) -> list[str]:
        """Return the outputs that are still to be computed, the nearest to its end first."""
        return []


class Part(Job):
    """One of several jobs of a task.

    Args:
        task: The task.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
