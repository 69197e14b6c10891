"""`Ticket`, a call in a worker process as its caller and its pool hold it."""

from __future__ import annotations

import _thread
import concurrent.futures
import contextlib
import logging
import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, Protocol

from connectors._envelope import Answer

from ._attend import attend
from ._files import Files
from ._memory import Segment
from ._worker import Worker

if TYPE_CHECKING:
    from ._core import Core

_logger = logging.getLogger("connectors")
_PENDING, _RUNNING = concurrent.futures._base.PENDING, concurrent.futures._base.RUNNING
_CANCELLED = concurrent.futures._base.CANCELLED
_NOTIFIED = concurrent.futures._base.CANCELLED_AND_NOTIFIED
_FINISHED = concurrent.futures._base.FINISHED
_DEADLOCK = (
    "waiting for {} here would never end: this is a finalizer or a signal handler, and the thread "
    "in which it runs is in the midst of something that has to go on first"
)


class Sleeper(Protocol):
    """Who waits for the end of a call."""

    def release(self) -> None:
        """Wake it."""


class _Gate(_thread.RLock):  # type: ignore[misc]  # it is not final, whatever typeshed says
    """What a future has as its condition, as far as it is needed.

    A `threading.Condition` is entered in Python code, which may be interrupted when it has its lock
    already: the lock would be held for ever. And it costs several objects for each future.
    """

    def __init__(self) -> None:
        self.sleepers: list[Sleeper] = []

    def notify_all(self) -> None:
        """Wake who sleeps."""
        for sleeper in self.sleepers.copy():
            with contextlib.suppress(RuntimeError):  # it was woken already
                sleeper.release()


class Ticket(concurrent.futures.Future[Any]):
    """A call in a worker process: the future that its caller holds, and what the pool needs.

    One object for both, because every object of every call is a burden for the garbage collector.

    Attributes:
        number: It is never another's.
        label: The name of the call.
        payload: The packed call, or the sizes of its parts.
        flags: How to read the payload.
        segment: Where its large parts are.
        needs: The definitions that it needs.
        timeout: Limit of one run in seconds, or `None`.
        retries: How many more times it is run if its worker dies.
        on_answer: Is given what came back.
        files: What travels with it.
        on_begin: Is given the process id of its worker when it tells there that it begins.
        core: The pool's engine, until the call has ended.
        worker: Where it was sent.
        begun: The future was told that it runs.
        ended: Its outcome is decided.
        verdict: Why its worker was killed.
    """

    number: int = 0
    flags: int = 0
    segment: Segment | None = None
    needs: AbstractSet[int] = frozenset()
    timeout: float | None = None
    retries: int = 0
    on_answer: Callable[[Answer], object] | None = None
    files: Files | None = None
    on_begin: Callable[[int], object] | None = None
    core: Core | None = None
    worker: Worker | None = None
    begun: bool = False
    ended: bool = False
    verdict: BaseException | None = None

    def __init__(self, label: str, payload: bytes) -> None:
        # All that the base class makes, but for the condition, which is its costly part.
        self._condition: Any = _Gate()
        self._state = _PENDING
        self._result: Any = None
        self._exception: BaseException | None = None
        self._waiters: list[Any] = []
        self._done_callbacks: list[Callable[[Any], object]] = []
        self.label = label
        self.payload = payload

    def result(self, timeout: float | None = None) -> Any:
        """Return what the call returned, or raise what it raised, when it has ended.

        Raises:
            TimeoutError: It has not ended within *timeout* seconds.
            CancelledError: It was cancelled.
        """
        self._wait(timeout)
        if self._state == _FINISHED and self._exception is None:
            return self._result
        return super().result(0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the call raised, or `None`, when it has ended.

        Raises:
            TimeoutError: It has not ended within *timeout* seconds.
            CancelledError: It was cancelled.
        """
        self._wait(timeout)
        return super().exception(0)

    def _wait(self, timeout: float | None) -> None:
        if self._state in _ENDED:
            return
        deadline = None if timeout is None else time.monotonic() + timeout
        core = self.core
        if core is not None:
            if core.crew.lock.is_mine():
                raise RuntimeError(_DEADLOCK.format(self.label))
            attend(core.crew, self, deadline)
            if self._state in _ENDED:
                return
        sleeper = _thread.allocate_lock()
        sleeper.acquire()
        try:
            if self.add_sleeper(sleeper):
                left = -1 if deadline is None else max(0.0, deadline - time.monotonic())
                sleeper.acquire(timeout=left)
        finally:
            self.remove_sleeper(sleeper)
        if self._state not in _ENDED:
            raise TimeoutError

    def add_sleeper(self, sleeper: Sleeper) -> bool:
        """Let *sleeper* be released when the call ends; tell whether it has not ended yet."""
        self._condition.sleepers.append(sleeper)
        return self._state not in _ENDED  # which is changed before the sleepers are released

    def remove_sleeper(self, sleeper: Sleeper) -> None:
        """Release *sleeper* no more."""
        if sleeper in self._condition.sleepers:
            self._condition.sleepers.remove(sleeper)

    def settle_alone(self, value: Any) -> bool:
        """End with *value* if only one sleeper waits for that; tell whether it did."""
        with self._condition:
            others = self._waiters or self._done_callbacks or len(self._condition.sleepers) != 1
            if others or self._state not in {_PENDING, _RUNNING}:
                return False
            self._result = value
            self._state = _FINISHED
        return True

    def cancel(self) -> bool:
        """Cancel the call if it has not begun, or even then if its pool has *kill_on_cancel*."""
        core = self.core
        return self.cancelled() if core is None else core.cancel(self, core.kill_on_cancel)

    def stop(self) -> bool:
        """Cancel the call also if it runs, by killing its worker; tell whether it is cancelled."""
        core = self.core
        return self.cancelled() if core is None else core.cancel(self, kill=True)

    def end_worker(self, kill: bool = False) -> None:
        """Let the worker that runs the call end, by SIGTERM, or by SIGKILL if *kill*.

        The call then fails with the `WorkerCrashError` that tells how the worker ended.
        """
        core = self.core
        if core is not None:
            core.end_worker(self, kill)

    def begin(self) -> None:
        """Tell that the call runs, unless it has ended."""
        self.begun = True
        with self._condition:
            if self._state == _PENDING:
                self._state = _RUNNING

    def settle(self, value: Any = None, error: BaseException | None = None) -> bool:
        """End with *value*, or with *error*; tell whether it had not ended before."""
        try:
            if error is None:
                self.set_result(value)
            else:
                self.set_exception(error)
        except concurrent.futures.InvalidStateError:
            return False
        return True

    def end_cancelled(self) -> None:
        """Be cancelled, whether the call has begun or not, unless it has ended."""
        with self._condition:
            if self._state in {_PENDING, _RUNNING}:
                self._state = _CANCELLED
            if self._state != _CANCELLED:
                return
            for waiter in self._waiters:
                waiter.add_cancelled(self)
            self._condition.notify_all()
            self._state = _NOTIFIED
        self._invoke_callbacks()

    def end_cancelled_at_last(self) -> None:
        """Complete `end_cancelled` after it was interrupted."""
        self.end_cancelled()
        self._invoke_callbacks()

    def disown(self, error: BaseException) -> None:
        """End with *error*, in a forked child, where this is nobody's call.

        Nobody is told: those who wait are threads of the parent, and callbacks run there. Whoever
        makes the child may hold locks that they want.
        """
        self._condition = _Gate()  # a thread of the parent may hold it
        self.core = self.worker = None
        self._waiters, self._done_callbacks = [], []
        if self._state in {_PENDING, _RUNNING}:
            self._exception = error
            self._state = _FINISHED

    def _invoke_callbacks(self) -> None:
        # As in the base class, but a callback that exits does not take the others along, and what
        # is left after an interrupt is called when this is called again.
        exits: BaseException | None = None
        while self._done_callbacks:
            try:
                self._done_callbacks[0](self)
            except Exception:
                _logger.exception("a callback of %s raised", self.label)
            except BaseException as error:
                exits = exits or error
            self._done_callbacks.pop(0)
        if exits is not None:
            raise exits


_ENDED = frozenset({_CANCELLED, _NOTIFIED, _FINISHED})
