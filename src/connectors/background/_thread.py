"""`BgThread`, a function that is called again and again, on one thread."""

from __future__ import annotations

import collections
import contextvars
import functools
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from types import TracebackType
from typing import Any, Self

import attrs

from connectors._calls import Call, label_of
from connectors._executor import Executor
from connectors._flags import Parallelization
from connectors._outcome import Outcome, OutcomeState
from connectors.pools import ThreadPool

from . import _forks
from ._bell import Bell
from ._checks import check_plain, checked_seconds
from ._crew import daemons, submit_apart
from ._outcomes import outcome_of, value_of

_MOST_ACCEPTED = 2  # one that runs and one that waits


class BgFuture(Future[Any]):
    """The future of a call of a `BgThread`, with its `outcome`."""

    abandoned = False

    @property
    def outcome(self) -> Outcome:
        """How the call ended, or that it has not."""
        found = outcome_of(self)
        if self.abandoned:
            return Outcome(OutcomeState.abandoned, error=found.error)
        return found

    def begin(self) -> bool:
        """Tell that the call runs, unless nobody wants it any more."""
        with self._condition:
            if self._state in {"PENDING", "CANCELLED"}:
                return self.set_running_or_notify_cancel()
            return False

    def settle(self, value: Any, error: BaseException | None) -> bool:
        """End with *value* or *error*; tell whether it had not ended before."""
        try:
            if error is None:
                self.set_result(value)
            else:
                self.set_exception(error)
        except InvalidStateError:
            return False
        return True

    def abandon(self, error: TimeoutError) -> None:
        """End with *error*, because nobody waits for the call any more."""
        self.abandoned = True
        self.abandoned = self.settle(None, error)

    def drop(self) -> None:
        """Be cancelled if it has not begun, and let those who wait know."""
        if self.cancel():
            with self._condition:
                if self._state == "CANCELLED":
                    self.set_running_or_notify_cancel()  # tells concurrent.futures.wait

    def give_up(self) -> None:
        """Be cancelled, whether the call has begun or not."""
        with self._condition:
            if self._state == "RUNNING":
                self._state = "PENDING"
        self.drop()


@attrs.define(eq=False)
class _Reader:
    """Somebody who waits for a result, and the call whose result is theirs."""

    call: BgFuture | None = None


@attrs.define(eq=False, weakref_slot=True)
class _Line:
    """The calls of a `BgThread`; its thread knows this and not the `BgThread`, which may go."""

    label: str
    bell: Bell = attrs.field(factory=Bell)
    accepted: list[BgFuture] = attrs.field(factory=list)
    unread: collections.deque[BgFuture] = attrs.field(factory=collections.deque)
    readers: list[_Reader] = attrs.field(factory=list)
    invokers: list[object] = attrs.field(factory=list)
    closed: bool = False
    abandoned: bool = False

    def busy(self) -> list[BgFuture]:
        """Return the calls that have not ended."""
        with self.bell.lock:
            self.accepted = [call for call in self.accepted if not call.done()]
            return self.accepted

    def idle(self) -> bool:
        """Tell whether all calls have ended."""
        return not self.busy()

    def check_open(self) -> None:
        """Raise `RuntimeError` if it is closed."""
        if self.closed:
            raise RuntimeError(
                f"the BgThread of {self.label} is closed; make a new one for further calls"
            )

    def accept(self, call: BgFuture) -> None:
        """Take *call*, and give its result to who waits longest for one."""
        self.accepted = [*self.busy(), call]
        call.add_done_callback(functools.partial(_ring, self.bell))
        self.hand_over(call)

    def hand_over(self, call: BgFuture, *, first: bool = False) -> None:
        """Let the result of *call* be read, before all others if it is the *first*."""
        if self.readers:
            self.readers.pop(0).call = call
            self.bell.ring()
        elif first:
            self.unread.appendleft(call)
        else:
            self.unread.append(call)

    def claim(self, reader: _Reader) -> None:
        """Give *reader* the oldest result, or let it wait for one."""
        with self.bell.lock:
            self.check_open()
            if self.unread:
                reader.call = self.unread.popleft()
            else:
                self.readers.append(reader)

    def renounce(self, reader: _Reader) -> None:
        """Let others have what *reader* was to read."""
        with self.bell.lock:
            if reader in self.readers:
                self.readers.remove(reader)
            elif reader.call is not None and not self.closed:
                self.hand_over(reader.call, first=True)

    def forget(self, call: BgFuture) -> None:
        """Take *call* back, of which nobody knows."""
        with self.bell.lock:
            call.give_up()
            if call in self.unread:
                self.unread.remove(call)

    def close(self, *, cancel: bool) -> None:
        """Take no more calls, and let those who wait for what does not come know."""
        with self.bell.lock:
            self.closed = True
            waiting = [call for call in self.busy() if cancel and not call.running()]
            self.readers.clear()
            self.unread.clear()
            self.bell.ring()
        for call in waiting:
            call.drop()

    def start_anew(self) -> None:
        """In a forked child: calls and those who wait are the parent's."""
        for call in self.accepted:
            _forks.disown(call)
        self.bell = Bell()
        self.accepted, self.readers, self.invokers = [], [], []
        self.unread.clear()


class BgThread:
    """Calls one function many times, one call at a time, in order and on one daemon thread.

    While one call runs, one more is taken to wait; who invokes a third is blocked until there is
    room. Leaving a ``with`` block closes it.

    Args:
        func: The function.

    Raises:
        TypeError: *func* cannot be called, or is an ``async def``.

    Example:
        >>> with BgThread(len) as measuring:
        ...     first, second = measuring.invoke("one"), measuring.invoke("three")
        ...     measuring.result, second.result()
        (3, 5)
    """

    def __init__(self, func: Callable[..., Any], /) -> None:
        check_plain("BgThread", func)
        self._func = func
        self._line = _Line(label_of(func))
        self._executor: Executor
        self._pool: ThreadPool
        self._executor, self._pool = daemons(1, f"BgThread-{self._line.label}")
        weakref.finalize(self, self._executor.shutdown, wait=False).atexit = False
        _forks.living.add(self._line)

    def invoke(self, /, *args: Any, **kwargs: Any) -> BgFuture:
        """Let ``func(*args, **kwargs)`` be called, and return the future of this call.

        Raises:
            RuntimeError: It is closed; or the function itself invokes it, and one call waits
                already: the room for another would never come.
        """
        line, me, call = self._line, object(), BgFuture()
        context = contextvars.copy_context()

        def has_room() -> bool:
            line.check_open()
            if len(line.busy()) >= _MOST_ACCEPTED:
                self._refuse_to_wait("invoke", "a call waits already")
                return False
            if line.invokers[0] is not me:
                return False
            line.invokers.remove(me)
            line.accept(call)
            submit_apart(self._executor, self._call(call, context, args, kwargs)).add_done_callback(
                functools.partial(_land, call)
            )
            return True

        try:
            with line.bell.lock:
                line.invokers.append(me)
            line.bell.wait_for(has_room)
        except BaseException:
            line.forget(call)
            raise
        finally:
            with line.bell.lock:
                if me in line.invokers:
                    line.invokers.remove(me)
                line.bell.ring()
        return call

    def is_running(self) -> bool:
        """Tell whether there is a call that was accepted and has not ended."""
        return not self._line.idle()

    @property
    def result(self) -> Any:
        """The oldest result that nobody has taken here; waits for it, and takes it.

        Raises:
            BgException: The call failed.
            RuntimeError: It is closed; or the function itself reads, and what it waits for cannot
                come.
        """
        line = self._line
        while True:
            call = self._oldest()
            line.busy()  # which lets go of those that have ended
            if call.abandoned:
                line.check_open()
            if not call.cancelled():
                return value_of(call.outcome, line.label)

    def close(self, *, cancel: bool = False, timeout: float | None = 30.0) -> None:
        """Let the calls end that were accepted, and then the thread. It can be repeated.

        Args:
            cancel: Cancel the call that waits.
            timeout: How many seconds to wait at most; `None`: no limit.

        Raises:
            TimeoutError: A call has not ended by then. It is abandoned.
        """
        timeout = checked_seconds("BgThread.close", "timeout", timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        line = self._line
        line.close(cancel=cancel)
        self._executor.shutdown(wait=False)
        if self._is_mine() or line.abandoned:
            return  # a call closes its own thread, which ends after it; or nobody waits any more
        if not line.bell.wait_for(line.idle, timeout):
            self._abandon(timeout)
        for thread in self._pool.threads:
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
            return
        try:
            self.close(cancel=True)
        except TimeoutError as late:
            error.add_note(str(late))

    def __repr__(self) -> str:
        state = "closed" if self._line.closed else "running" if self.is_running() else "idle"
        return f"<BgThread of {self._line.label}, {state}>"

    def _call(
        self,
        call: BgFuture,
        context: contextvars.Context,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Call:
        # In a box, because tracebacks lead to arguments: with the future it would be a cycle.
        work = functools.partial(_perform, [call], context, self._func, args, kwargs)
        crew = self._executor
        name = crew.label or self._line.label
        wish = Parallelization.THREAD
        return Call(work, (), {}, None, wish, name, crew.timeout, crew.retries)

    def _oldest(self) -> BgFuture:
        """Return the oldest call that was not read, when it has ended."""
        line, reader = self._line, _Reader()

        def has_come() -> bool:
            if reader.call is not None and reader.call.done():
                return True
            if reader.call is None:
                line.check_open()
            self._refuse_to_wait("result", "the result that it waits for does not come meanwhile")
            return False

        try:
            line.claim(reader)
            line.bell.wait_for(has_come)
        except BaseException:
            line.renounce(reader)
            raise
        assert reader.call is not None
        return reader.call

    def _is_mine(self) -> bool:
        return threading.current_thread() in self._pool.threads

    def _refuse_to_wait(self, member: str, why: str) -> None:
        if self._is_mine():
            raise RuntimeError(
                f"BgThread.{member}: {self._line.label} would wait here for itself, because {why}"
            )

    def _abandon(self, timeout: float | None) -> None:
        line = self._line
        error = TimeoutError(
            f"the BgThread of {line.label} was closed, and a call had not ended after {timeout:g} s"
            "; it is abandoned: a thread cannot be stopped"
        )
        with line.bell.lock:
            late = line.busy()
            line.abandoned = bool(late)
        for call in late:
            call.abandon(TimeoutError(*error.args))
        if late:
            raise error


def _perform(
    box: list[BgFuture],
    context: contextvars.Context,
    func: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    if box and not box.pop().begin():
        return None
    return context.run(func, *args, **kwargs)


def _ring(bell: Bell, _: Future[Any]) -> None:
    bell.ring()


def _land(call: BgFuture, run: Future[Any]) -> None:
    if run.cancelled():
        call.give_up()
        return
    error = run.exception()
    call.settle(None if error is not None else run.result(), error)
