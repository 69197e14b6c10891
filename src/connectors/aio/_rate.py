"""`rate_limited`, which limits how often calls of an async function start."""

from __future__ import annotations

import abc
import asyncio
import collections
import contextlib
import functools
import inspect
import itertools
import math
import os
import threading
import time
import types
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from connectors import _worlds
from connectors._calls import label_of

from ._run import check_callable

if TYPE_CHECKING:
    import trio

P = ParamSpec("P")
T = TypeVar("T")

_AGAIN = 0.001  # seconds; the least that is slept after a sleep that ended too early
_LOOK = 0.1  # seconds; the least between two looks whether the loops of others run
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


class _Waiter(abc.ABC):
    """A call in the queue, and how it is woken, from any thread.

    Args:
        ticket: Its number in the order of arrival.

    Attributes:
        home: The loop or the run that it waits in.
    """

    home: Any

    def __init__(self, ticket: int) -> None:
        self.ticket = ticket

    @property
    @abc.abstractmethod
    def runs(self) -> bool:
        """Whether its loop runs, so that it can hear."""

    @property
    @abc.abstractmethod
    def lost(self) -> bool:
        """Whether its loop will never run again."""

    @abc.abstractmethod
    def prepare(self) -> None:
        """Be ready to hear the next `call`."""

    @abc.abstractmethod
    def call(self) -> None:
        """Wake it if it waits; its loop is not lost."""

    @abc.abstractmethod
    async def called(self, patience: float | None) -> None:
        """Wait to be called, for so many seconds at most."""


class _AsyncioWaiter(_Waiter):
    home: asyncio.AbstractEventLoop
    _bell: asyncio.Future[None] | None = None

    def __init__(self, ticket: int) -> None:
        super().__init__(ticket)
        self.home = asyncio.get_running_loop()

    @property
    def runs(self) -> bool:
        return self.home.is_running()

    @property
    def lost(self) -> bool:
        return self.home.is_closed()

    def prepare(self) -> None:
        self._bell = self.home.create_future()

    def call(self) -> None:
        if self._bell is not None:
            with contextlib.suppress(RuntimeError):  # it is being closed
                self.home.call_soon_threadsafe(_ring, self._bell)

    async def called(self, patience: float | None) -> None:
        assert self._bell is not None
        if patience is None:
            await self._bell
        else:
            await asyncio.wait([self._bell], timeout=patience)


class _TrioWaiter(_Waiter):
    home: trio.lowlevel.TrioToken
    _bell: trio.Event | None = None
    runs = True  # a run of trio cannot stand still
    lost = False  # nor end before its tasks

    def __init__(self, ticket: int) -> None:
        import trio

        super().__init__(ticket)
        self.home = trio.lowlevel.current_trio_token()

    def prepare(self) -> None:
        import trio

        self._bell = trio.Event()

    def call(self) -> None:
        if self._bell is not None:
            with contextlib.suppress(RuntimeError):  # the run has broken down
                self.home.run_sync_soon(self._bell.set)

    async def called(self, patience: float | None) -> None:
        import trio

        assert self._bell is not None
        with trio.move_on_after(math.inf if patience is None else patience):
            await self._bell.wait()


def _ring(bell: asyncio.Future[None]) -> None:
    if not bell.done():
        bell.set_result(None)


class Limiter:
    """Lets calls of any thread and any loop start one after the other, as a `Window` allows.

    Each loop has a line. Of the firsts of the lines, that who came first looks at the clock; it
    calls the next one when it starts or gives up. So a call that gives up takes nothing. The other
    firsts look now and then whether the loop of those before them still runs, which tells nobody
    that it is stopped: they do not wait for who stands still.

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
        self._lines: dict[Any, collections.deque[_Waiter]] = {}
        self._tickets = itertools.count()
        self._lock = threading.RLock()  # a lost call may leave when garbage is collected
        _limiters.add(self)

    async def turn(self) -> Start:
        """Wait until a call may start, and return its start."""
        with self._lock:
            if not self._lines or self._front() is None:
                now = self._clock()
                if self._window.left(now) <= 0:
                    return self._window.start(now)
            waiter = self._line_up()
        try:
            while True:
                with self._lock:
                    if self._front() is waiter:
                        break
                    patience = self._patience(waiter)
                    waiter.prepare()
                await waiter.called(patience)
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

    def _line_up(self) -> _Waiter:
        kind = _TrioWaiter if _worlds.current_world() == "trio" else _AsyncioWaiter
        waiter = kind(next(self._tickets))
        self._lines.setdefault(waiter.home, collections.deque()).append(waiter)
        return waiter

    def _front(self) -> _Waiter | None:
        """Return who came first of all whose loop runs."""
        firsts = []
        for home, line in list(self._lines.items()):
            if line[0].lost:
                del self._lines[home]
            elif line[0].runs:
                firsts.append(line[0])
        return min(firsts, key=lambda waiter: waiter.ticket, default=None)

    def _patience(self, waiter: _Waiter) -> float | None:
        """Return how long to wait before the loop of the front is looked at again."""
        if self._lines[waiter.home][0] is not waiter:
            return None  # the first of the line does it
        return max(self._window.left(self._clock()), _LOOK)

    def _leave(self, waiter: _Waiter) -> None:
        with self._lock:
            line = self._lines.get(waiter.home)
            if line is None or waiter not in line:
                return
            first = line[0] is waiter
            line.remove(waiter)
            if not line:
                del self._lines[waiter.home]
            elif first:
                line[0].call()
            front = self._front()
            if first and front is not None:
                front.call()

    def start_anew(self) -> None:
        """In a forked child: who waits is the parent's, and so may be the lock."""
        self._lock = threading.RLock()
        self._lines.clear()


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
        check_callable("rate_limited(...)", function)
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
