"""asyncio's semaphores, with many permits at a time."""

from __future__ import annotations

import asyncio
import collections
import contextlib
from types import TracebackType
from typing import Any, Literal

from ._run import only_asyncio


class Semaphore(asyncio.Semaphore):
    """asyncio's semaphore, whose permits can also be taken many at a time.

    Who waits is served in the order of asking, and gets all its permits or none.

    Args:
        value: How many permits there are.

    Raises:
        ValueError: *value* is negative.
    """

    _value: int
    _waiters: collections.deque[asyncio.Future[None]] | None

    def __init__(self, value: int = 1) -> None:
        super().__init__(value)
        self._waiters = collections.deque()
        self._wants: dict[asyncio.Future[None], int] = {}
        self._capacity = value

    async def acquire(self) -> Literal[True]:
        """Take one permit.

        Raises:
            RuntimeError: asyncio is not running here.
        """
        await self._take(1)
        return True

    def release(self) -> None:
        """Give one permit back."""
        self._give(1)

    def acquire_many(self, times: int) -> Permits:
        """Return a block that takes *times* permits on entry, all or none, and gives them back.

        Args:
            times: How many.

        Raises:
            ValueError: On entry: *times* is less than 1, or more than there ever are.
            RuntimeError: On entry: asyncio is not running here.
        """
        return Permits(self, times)

    def locked(self) -> bool:
        """Tell whether `acquire` would have to wait."""
        return self._value == 0 or any(not waiter.cancelled() for waiter in self._waiters or ())

    async def _take(self, times: int) -> None:
        only_asyncio("a semaphore")
        assert self._waiters is not None
        if self._value >= times and not self.locked():
            self._value -= times
            return
        waiter: asyncio.Future[None] = _loop_of(self).create_future()
        self._waiters.append(waiter)
        self._wants[waiter] = times
        try:
            await waiter
        except BaseException:
            if waiter.done() and not waiter.cancelled():
                self._value += times  # it was served already
            else:
                self._waiters.remove(waiter)
                del self._wants[waiter]
            self._serve()
            raise

    def _give(self, times: int) -> None:
        self._value += times
        self._capacity = max(self._capacity, self._value)
        self._serve()

    def _serve(self) -> None:
        """Serve who has waited longest, as long as there are enough permits."""
        waiters = self._waiters
        while waiters:
            if waiters[0].done():  # cancelled, and about to leave by itself
                break
            if self._wants[waiters[0]] > self._value:
                break
            waiter = waiters.popleft()
            self._value -= self._wants.pop(waiter)
            waiter.set_result(None)


class Permits(contextlib.AbstractAsyncContextManager[None]):
    """What `Semaphore.acquire_many` returns."""

    __slots__ = ("_semaphore", "_times")

    def __init__(self, semaphore: Semaphore, times: int) -> None:
        self._semaphore = semaphore
        self._times = times

    async def __aenter__(self) -> None:
        times, semaphore = self._times, self._semaphore
        if times <= 0:
            raise ValueError(f"acquire_many({times}): it has to be at least 1")
        if times > semaphore._capacity:
            raise ValueError(
                f"acquire_many({times}): there are only {semaphore._capacity} permits, so that "
                f"would wait for ever; make it {type(semaphore).__name__}({times})"
            )
        await semaphore._take(times)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._semaphore._give(self._times)


class BoundedSemaphore(Semaphore, asyncio.BoundedSemaphore):
    """A `Semaphore` that refuses to be given back more than was taken.

    Args:
        value: How many permits there are.
    """

    _bound_value: int

    def _give(self, times: int) -> None:
        if self._value + times > self._bound_value:
            raise ValueError("BoundedSemaphore released too many times")
        super()._give(times)


def _loop_of(semaphore: Any) -> asyncio.AbstractEventLoop:
    loop: asyncio.AbstractEventLoop = semaphore._get_loop()  # refuses the loop of another run
    return loop
