"""What happens to one call between its submission and its outcome: limits, retries and events.

`Story` is the part without input or output: it is told what happened, tells observers, and
decides whether a failed call is run again. Two drivers turn it: `Flight` for calls that run in
pools, and `conduct` for calls that are awaited.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any

from . import _clock, events
from ._calls import Call
from ._envelope import Answer
from ._errors import CallTimeoutError
from ._flags import Parallelization
from ._worlds import abandon, current_world


class Story:
    """The life of one call, as observers hear of it.

    Args:
        call: The call.
        executor: The name of the executor that runs it.
        level: Where it runs.
    """

    def __init__(self, call: Call, executor: str, level: Parallelization) -> None:
        self.call = call
        self.executor = executor
        self.level = level
        self.attempt = 1
        self._number = events.next_number()

    def submitted(self) -> None:
        """Tell that the call was accepted."""
        self._tell(events.CallSubmitted)

    def fell_back(self, reason: str) -> None:
        """Tell that the call runs nearer than it was wished for."""
        self._tell(events.CallFellBack, wish=self.call.wish, reason=reason)

    def started(self, pid: int, at: float | None = None) -> None:
        """Tell that a run began, *at* a time in seconds since the epoch or now."""
        when = {} if at is None else {"time": at}
        self._tell(events.CallStarted, pid=pid, attempt=self.attempt, **when)

    def finished(self, duration: float) -> None:
        """Tell that the call returned after *duration* seconds."""
        self._tell(events.CallFinished, duration=duration)

    def failed(self, error: BaseException) -> None:
        """Tell that the call ended with *error*."""
        self._tell(events.CallFailed, error=_brief(error))

    def runs_again(self, error: BaseException) -> bool:
        """Decide whether the call is run again after *error*, and tell that it is.

        A call over its time limit is not: its first run may still be going on.
        """
        again = (
            self.attempt <= self.call.retries
            and isinstance(error, Exception)
            and not isinstance(error, CallTimeoutError)
        )
        if again:
            self.attempt += 1
            self._tell(events.CallRetried, attempt=self.attempt, error=_brief(error))
        return again

    def noted(self, error: BaseException) -> BaseException:
        """Return *error* with a note of what ran when it was raised."""
        return annotate(error, self.call.label, self.executor, self.level)

    def _tell(self, kind: Callable[..., events.CallEvent], **details: Any) -> None:
        if events.observed():
            events.emit(
                kind(
                    executor=self.executor,
                    call=self._number,
                    label=self.call.label,
                    level=self.level,
                    size=self.call.size,
                    **details,
                )
            )


def annotate(
    error: BaseException, label: str, executor: str, level: Parallelization
) -> BaseException:
    """Return *error* with a note of what ran where when it was raised, unless it has one."""
    note = f"while running {label} on '{executor}' ({level})"
    if isinstance(error, Exception):
        with contextlib.suppress(Exception):  # one that is frozen takes no notes
            if note not in getattr(error, "__notes__", ()):
                error.add_note(note)
    return error


def _brief(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


class CallFuture(Future[Any]):
    """The future of a call that runs elsewhere: what it is asked it asks the run."""

    def __init__(self) -> None:
        super().__init__()
        self.run: Future[Any] | None = None

    def cancel(self) -> bool:
        """Cancel the call if its run can be cancelled; see `Future.cancel`."""
        if self.done():
            return self.cancelled()
        run = self.run
        if run is None or not run.cancel():
            return False
        return self.give_up()

    def stop(self) -> bool:
        """Cancel the call also while it runs, where its pool can stop it."""
        if self.done():
            return self.cancelled()
        run = self.run
        if run is None or not abandon(run):
            return False
        return self.give_up()

    def give_up(self) -> bool:
        """Be cancelled, and let those who wait know."""
        if super().cancel() and not self._told():
            self.set_running_or_notify_cancel()
        return self.cancelled()

    def running(self) -> bool:
        """Tell whether the call runs now."""
        return not self.done() and self.run is not None and self.run.running()

    def _told(self) -> bool:
        with self._condition:
            return self._state == "CANCELLED_AND_NOTIFIED"


class Flight:
    """Drives a call that runs in a pool, and owns the future that its submitter holds.

    Args:
        story: The call.
        runner: Starts one run of it and returns its future, which gives an `Answer` or what the
            call returned.
        here: It runs in this process, so that its beginning is seen.
        limited: The pool itself sees to its time limit.
    """

    def __init__(
        self,
        story: Story,
        runner: Callable[[Flight], Future[Any]],
        *,
        here: bool,
        limited: bool = False,
    ) -> None:
        self.story = story
        # None once it is settled: tracebacks lead here, and on to the future that holds the error.
        self._future: CallFuture | None = CallFuture()
        self._runner = runner
        self._here = here
        self._limited = limited
        self._answer: Answer | None = None
        self._lock = threading.Lock()
        self._timer: _clock.Timer | None = None
        self._began = 0.0

    def take_off(self) -> Future[Any]:
        """Start the first run and return the future of the call."""
        future = self._future
        assert future is not None
        self._run(future)
        try:
            return future
        finally:
            del future  # see _run

    def perform(self) -> Any:
        """Run the call in this thread; called by the pool."""
        self.story.started(os.getpid())
        self._began = time.perf_counter()
        self._limit()
        return self.story.call.run()

    def answered(self, answer: Answer) -> None:
        """Take note of what came back of the present run; called before its future has it."""
        self._answer = answer

    def _run(self, future: CallFuture) -> None:
        if not (self._here or self._limited):
            self._limit()
        run = self._runner(self)
        future.run = run
        run.add_done_callback(self._landed)
        # A call that failed in this very thread has a traceback from which this frame is reached:
        # with the future in it, it would be in a cycle.
        del future

    def _limit(self) -> None:
        timeout = self.story.call.timeout
        if timeout is not None:
            self._timer = _clock.after(timeout, self._too_late)

    def _landed(self, run: Future[Any]) -> None:
        if run.cancelled():
            self._end(None, None)
            return
        error = run.exception()
        value = run.result() if error is None else None
        duration = time.perf_counter() - self._began
        answer, self._answer = self._answer, None
        if answer is not None:
            self.story.started(answer.pid, answer.started)
            duration = answer.duration
        if error is None and self._late(duration):
            error = self._overdue()
        if error is None:
            self._end(value, None, duration)
        elif not self._runs_again(error):
            self._end(None, error)

    def _runs_again(self, error: BaseException) -> bool:
        if self._timer is not None:
            self._timer.cancel()
        future = self._future
        if future is None or future.cancelled() or not self.story.runs_again(error):
            return False
        try:
            self._run(future)
        except Exception:  # the pool was closed meanwhile: the call's own error says more
            return False
        finally:
            del future  # see _run
        return True

    def _late(self, duration: float) -> bool:
        # Nothing can interrupt a call that runs in the thread of its submitter; that it was too
        # late is told all the same, so that every executor gives the same outcome.
        timeout = self.story.call.timeout
        return (
            timeout is not None
            and self.story.level is Parallelization.SEQUENTIAL
            and duration > timeout
        )

    def _too_late(self) -> None:
        run = self._future and self._future.run
        self._end(None, self._overdue())
        if run is not None:
            run.cancel()

    def _overdue(self) -> CallTimeoutError:
        story = self.story
        aftermath = {
            Parallelization.SEQUENTIAL: "it ran in the calling thread, which nothing can interrupt",
            Parallelization.THREAD: "a thread cannot be stopped: it goes on, unobserved",
            Parallelization.PROCESS: "",
        }[story.level]
        return CallTimeoutError(story.call.label, story.call.timeout or 0.0, aftermath)

    def _end(self, value: Any, error: BaseException | None, duration: float | None = None) -> None:
        with self._lock:
            future, self._future = self._future, None
        if self._timer is not None:
            self._timer.cancel()
        if future is None:
            return
        future.run = None
        if duration is not None:
            self.story.finished(duration)
            _set(future, value, None)
        elif error is not None:
            self.story.failed(error)
            _set(future, None, self.story.noted(error))
        else:
            self.story.failed(_Cancelled("the call was cancelled before it ended"))
            future.give_up()


class _Cancelled(Exception):  # noqa: N818 - only its name and text are told
    pass


def _set(future: Future[Any], value: Any, error: BaseException | None) -> None:
    if not future.set_running_or_notify_cancel():
        return
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)


async def conduct(story: Story, once: Callable[[], Awaitable[Any]]) -> Any:
    """Await the call of *story*, with its limits.

    Args:
        story: The call.
        once: Gives an awaitable that runs it once.
    """
    while True:
        story.started(os.getpid())
        begin = time.perf_counter()
        try:
            result = await _within(story.call, once())
        except Exception as error:
            if not story.runs_again(error):
                story.failed(error)
                story.noted(error)
                raise
        except BaseException as error:
            story.failed(error)
            raise
        else:
            story.finished(time.perf_counter() - begin)
            return result


async def _within(call: Call, awaitable: Awaitable[Any]) -> Any:
    if call.timeout is None:
        return await awaitable
    if current_world() == "trio":
        import trio

        with trio.move_on_after(call.timeout) as scope:
            return await awaitable
        if scope.cancelled_caught:
            raise CallTimeoutError(call.label, call.timeout)
    import asyncio

    try:
        async with asyncio.timeout(call.timeout) as limit:
            return await awaitable
    except TimeoutError as error:
        if limit.expired():
            raise CallTimeoutError(call.label, call.timeout) from error
        raise
