"""`Run`: one task under way, as the future that its owner holds and its group drives."""

from __future__ import annotations

import concurrent.futures
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from connectors._errors import WorkerCrashError
from connectors._outcome import is_cancellation

_CANCELLED = concurrent.futures._base.CANCELLED


class Run(Future[Any]):
    """The future of a task that was started.

    Attributes:
        forced: It was ended from outside, so what ended it is no failure.
    """

    forced = False

    def __init__(self) -> None:
        super().__init__()
        self._begin_callback: Callable[[], object] | None = None
        self._begin_lock = threading.Lock()
        self._has_begun = False
        # So that callbacks know whose task they follow.
        self._context = contextvars.copy_context()

    def on_begin(self, callback: Callable[[], object]) -> None:
        """Call *callback* when the body begins, or now if it has."""
        with self._begin_lock:
            self._begin_callback = callback
            begun = self._has_begun
        if begun:
            callback()

    def begin(self, *_: object) -> None:
        """Note that the body begins."""
        with self._begin_lock:
            if self._has_begun:
                return
            self._has_begun = True
            callback = self._begin_callback
        if self._state == concurrent.futures._base.PENDING:
            self.set_running_or_notify_cancel()
        if callback is not None:
            callback()

    def finish(self, value: Any = None, error: BaseException | None = None) -> None:
        """End with *value* or *error*, unless it has ended."""
        if not self.done():
            self._context.copy().run(self._finish, value, error)

    def _finish(self, value: Any, error: BaseException | None) -> None:
        if error is None:
            self.set_result(value)
        elif is_cancellation(error) or (self.forced and isinstance(error, WorkerCrashError)):
            self._end_cancelled()
        else:
            self.set_exception(error)

    def withdraw(self) -> None:
        """Cancel it, if it has not begun."""

    def force(self, kill: bool) -> bool:  # noqa: ARG002 - a process knows two ways
        """End it from outside; tell whether that can be."""
        self.forced = True
        return False

    def _end_cancelled(self) -> None:
        with self._condition:
            self._state = _CANCELLED
            self._condition.notify_all()
        self.set_running_or_notify_cancel()  # tells concurrent.futures.wait
        self._invoke_callbacks()  # type: ignore[attr-defined]


class CallRun(Run):
    """A task that is a call of an executor, in a thread or a process.

    Attributes:
        call: The future of the call.
        killed: Its process was sent SIGKILL.
        crash: How its process ended, if that did not end well.
    """

    def __init__(self) -> None:
        super().__init__()
        self.call: Future[Any] | None = None
        self.killed = False
        self.crash: WorkerCrashError | None = None

    def follow(self, call: Future[Any]) -> None:
        """End as *call* does."""
        self.call = call
        call.add_done_callback(self._ended)

    def cancel(self) -> bool:
        """Cancel it, if it has not begun; tell whether it is cancelled."""
        self.withdraw()
        return self.cancelled()

    def withdraw(self) -> None:
        """Cancel it, if it has not begun."""
        if self.call is not None and not self._has_begun:
            self.call.cancel()

    def force(self, kill: bool) -> bool:
        """End its worker process, or cancel what has not begun; tell whether that can be."""
        self.forced = True
        call = self.call
        # Where somebody observes, the future of the call is around that of the pool.
        call = getattr(call, "run", None) or call
        self.withdraw()
        end_worker = getattr(call, "end_worker", None)
        if end_worker is None:
            stop = getattr(self.call, "stop", None)
            return bool(stop is not None and stop())
        end_worker(kill)
        self.killed = kill
        return True

    def _ended(self, call: Future[Any]) -> None:
        if call.cancelled():
            self.finish(error=concurrent.futures.CancelledError())
            return
        error = call.exception()
        if isinstance(error, WorkerCrashError):
            self.crash = error
        self.finish(None if error is not None else call.result(), error)


class LoopRun(Run):
    """A task that is a coroutine in an event loop."""

    def __init__(self) -> None:
        super().__init__()
        self._cancel: Callable[[], object] | None = None

    def cancelled_by(self, cancel: Callable[[], object]) -> None:
        """Note what cancels it, from any thread."""
        self._cancel = cancel
        if self.forced:
            cancel()

    def cancel(self) -> bool:
        """Cancel the coroutine; tell whether that can be."""
        if self.done():
            return self.cancelled()
        if self._cancel is not None:
            self._cancel()
        else:
            self.forced = True  # as soon as it can be
        return True

    def withdraw(self) -> None:
        """Let it be: it begins at once, and is told then."""

    def force(self, kill: bool) -> bool:  # noqa: ARG002 - there is only one way
        """Cancel the coroutine; tell whether that can be."""
        self.forced = True
        return self.cancel()
