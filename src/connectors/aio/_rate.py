"""`rate_limited`, which limits how often calls of an async function start."""

from __future__ import annotations

import asyncio
import collections
import functools
import inspect
import os
import threading
import time
import types
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, ParamSpec, TypeVar

from connectors import _worlds
from connectors._calls import label_of

P = ParamSpec("P")
T = TypeVar("T")

_AGAIN = 0.001  # seconds; the least that is slept after a sleep that ended too early
_limiters: weakref.WeakSet[Limiter] = weakref.WeakSet()


class Start:
    """One start of a call; the time is corrected when the call has really begun."""

    __slots__ = ("time",)

    def __init__(self, time: float) -> None:
        self.time = time


class Window:
    """The last starts, and when the next one is allowed: no input, no output, no clock.

    Args:
        max_calls: How many starts there may be in a period.
        period: The period, in seconds.
        gap: Seconds between two starts, at least.

    Raises:
        ValueError: A limit has a value that it cannot have.
    """

    def __init__(self, max_calls: int, period: float, gap: float) -> None:
        for name, value, fine, cure in (
            ("max_calls", max_calls, max_calls >= 1, "at least 1"),
            ("max_calls_period", period, period > 0, "more than 0 seconds"),
            ("min_seconds_between_calls", gap, gap >= 0, "at least 0 seconds"),
        ):
            if not fine:
                raise ValueError(f"{name}={value}: it has to be {cure}")
        self._period = period
        self._gap = gap
        self._starts: collections.deque[Start] = collections.deque(maxlen=max_calls)

    def left(self, now: float) -> float:
        """Return the seconds until the next start is allowed; not above 0 if it is *now*."""
        starts = self._starts
        if not starts:
            return 0.0
        left = starts[-1].time + self._gap - now
        if len(starts) == starts.maxlen:
            left = max(left, starts[0].time + self._period - now)
        return left

    def start(self, now: float) -> Start:
        """Take note of a start."""
        start = Start(now)
        self._starts.append(start)
        return start

    def begun(self, start: Start, now: float) -> None:
        """Correct *start*, and with it those after it: none of them was before."""
        start.time = now
        for later in reversed(self._starts):
            if later is start:
                break
            later.time = max(later.time, now)


class _Waiter:
    """A call that is not the first in the queue, and how it is woken, from any thread."""

    def __init__(self) -> None:
        self._first = False
        self._wake: Callable[[], object] | None = None

    async def be_first(self) -> None:
        """Wait until `call` was called."""
        if _worlds.current_world() == "trio":
            import trio

            event = trio.Event()
            token = trio.lowlevel.current_trio_token()
            self._wake = functools.partial(token.run_sync_soon, event.set)
            while not self._first:
                await event.wait()
        else:
            loop = asyncio.get_running_loop()
            future = loop.create_future()
            self._wake = functools.partial(loop.call_soon_threadsafe, _resolve, future)
            while not self._first:
                await future

    def call(self) -> bool:
        """Tell it that it is the first; return whether its loop is still there to hear."""
        self._first = True
        if self._wake is None:
            return True
        try:
            self._wake()
        except RuntimeError:  # the loop is closed, or the run of trio is over
            return False
        return True


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Limiter:
    """Lets calls of any thread and any loop start one after the other, as a `Window` allows.

    Only the first in the queue looks at the clock; it calls the next one when it starts or gives
    up. So a call that gives up takes nothing.

    Args:
        window: The limits.
        clock: Gives the time in seconds.
        sleep: Sleeps for some seconds.
    """

    def __init__(
        self,
        window: Window,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = _worlds.sleep,
    ) -> None:
        self._window = window
        self._clock = clock
        self._sleep = sleep
        self._queue: collections.deque[_Waiter] = collections.deque()
        self._lock = threading.Lock()
        _limiters.add(self)

    async def turn(self) -> Start:
        """Wait until a call may start, and return its start."""
        with self._lock:
            if not self._queue:
                now = self._clock()
                if self._window.left(now) <= 0:
                    return self._window.start(now)
            waiter = _Waiter()
            self._queue.append(waiter)
            first = self._queue[0] is waiter
        try:
            if not first:
                await waiter.be_first()
            return await self._due()
        finally:
            self._leave(waiter)

    def begun(self, start: Start) -> None:
        """Take note that the call of *start* has really begun."""
        with self._lock:
            self._window.begun(start, self._clock())

    async def _due(self) -> Start:
        shortest = 0.0
        while True:
            with self._lock:
                now = self._clock()
                left = self._window.left(now)
                if left <= 0:
                    return self._window.start(now)
            await self._sleep(max(left, shortest))
            shortest = _AGAIN

    def _leave(self, waiter: _Waiter) -> None:
        with self._lock:
            first = bool(self._queue) and self._queue[0] is waiter
            if waiter in self._queue:
                self._queue.remove(waiter)
            while first and self._queue and not self._queue[0].call():
                self._queue.popleft()

    def start_anew(self) -> None:
        """In a forked child: who waits is the parent's, and so may be the lock."""
        self._lock = threading.Lock()
        self._queue.clear()


def rate_limited(
    *, max_calls: int, max_calls_period: float, min_seconds_between_calls: float = 0
) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, Coroutine[Any, Any, T]]]:
    """Return a decorator that limits how often calls of an async function start.

    Callers wait in the order in which they came; those that are cancelled take nothing. The limits
    hold for all callers together, also those in other threads and in other event loops.

    Args:
        max_calls: How many calls may start in a period.
        max_calls_period: The period: any window of so many seconds.
        min_seconds_between_calls: Seconds between two starts, at least.

    Raises:
        ValueError: A limit has a value that it cannot have.
        TypeError: What is decorated gives no awaitable.

    Example:
        >>> from connectors import aio
        >>> @aio.rate_limited(max_calls=5, max_calls_period=1)
        ... async def get(url):
        ...     return f"the page {url}"
        >>> aio.run(get("/"))
        'the page /'
    """
    Window(max_calls, max_calls_period, min_seconds_between_calls)

    def decorator(function: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        name = label_of(function)
        if inspect.isasyncgenfunction(function):
            raise TypeError(
                f"rate_limited: {name} is an async generator function, whose call starts nothing; "
                "decorate the async function that it awaits for each item"
            )
        limiter = Limiter(Window(max_calls, max_calls_period, min_seconds_between_calls))

        @functools.wraps(function)
        async def limited(*args: P.args, **kwargs: P.kwargs) -> T:
            start = await limiter.turn()
            awaitable: Awaitable[T] = function(*args, **kwargs)
            if not inspect.isawaitable(awaitable):
                raise TypeError(
                    f"rate_limited: {name} returned a {type(awaitable).__name__}, which cannot be "
                    "awaited; decorate an async function"
                )
            result: T = await _begin(awaitable, functools.partial(limiter.begun, start))
            return result

        return limited

    return decorator


@types.coroutine
def _begin(awaitable: Awaitable[T], begun: Callable[[], object]) -> Generator[Any, Any, T]:
    """Await *awaitable*, and call *begun* when it has come to its first wait.

    The thread may lose the processor between the moment a call is allowed and its first line. With
    the later time, the window is never shorter than asked as the call itself sees it.
    """
    steps: Any = awaitable if inspect.iscoroutine(awaitable) else _worlds.awaited(awaitable)
    try:
        try:
            step = steps.send(None)
        finally:
            begun()
        while True:
            try:
                sent = yield step
            except GeneratorExit:
                steps.close()
                raise
            except BaseException as error:
                step = steps.throw(error)
            else:
                step = steps.send(sent)
    except StopIteration as stop:
        result: T = stop.value
        return result


def _start_anew() -> None:
    for limiter in list(_limiters):
        limiter.start_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
