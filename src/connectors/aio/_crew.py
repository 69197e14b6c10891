"""`Crew`, the tasks of the items that are under way, in either world."""

from __future__ import annotations

import abc
import asyncio
import functools
from collections.abc import Awaitable, Callable
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final

from connectors import _worlds
from connectors._errors import ItemCancelledError
from connectors._outcome import is_cancellation

from ._source import close

if TYPE_CHECKING:
    import trio

#: Is given the index of an item that ended, and its value or its error.
Landed = Callable[[int, Any, BaseException | None], object]
#: Who waits for something: each has a way to be woken of its world.
Waiters = list[Any]
#: Says that a task was cancelled, instead of an error, which only the world itself may make.
STOPPED: Final = BaseException("the task was cancelled")


class Crew(abc.ABC):
    """The tasks of the items that are under way; each item has one of its own.

    Args:
        landed: Is told of each item that ended, in the thread of the loop. A task that was
            cancelled ends with `STOPPED`.

    Attributes:
        size: How many items are under way.
        stopping: All of them were cancelled by us.
    """

    #: Whether a task can end as cancelled although nobody cancelled it.
    cancels_itself: bool

    def __init__(self, landed: Landed) -> None:
        self.size = 0
        self.stopping = False
        self._landed = landed
        self._idle: Waiters = []

    @abc.abstractmethod
    def start(self, index: int, item: Awaitable[Any]) -> None:
        """Await *item* in a task of its own."""

    @abc.abstractmethod
    def stop(self) -> None:
        """Cancel all items that are under way."""

    @abc.abstractmethod
    def discard(self, item: object) -> None:
        """Give *item* up, which was not started."""

    @abc.abstractmethod
    async def park(self, waiters: Waiters) -> None:
        """Wait among *waiters* to be woken."""

    @abc.abstractmethod
    def unpark(self, waiters: Waiters) -> None:
        """Wake all *waiters*."""

    @abc.abstractmethod
    async def outlast(self, waiters: Waiters, over: Callable[[], bool]) -> None:
        """Wait among *waiters* until it is *over*, whoever cancels; then be cancelled."""

    async def wait(self) -> None:
        """Wait until an item has ended or somebody wakes the conductor."""
        await self.park(self._idle)

    def wake(self) -> None:
        """Wake the conductor."""
        if self._idle:
            self.unpark(self._idle)

    async def settle(self) -> None:
        """Cancel what is under way and wait for it, whoever cancels; then be cancelled."""
        if self.size:
            self.stop()
            await self.outlast(self._idle, lambda: not self.size)


class AsyncioCrew(Crew):
    """Tasks of asyncio."""

    cancels_itself = True

    def __init__(self, landed: Landed) -> None:
        super().__init__(landed)
        self._loop = asyncio.get_running_loop()
        self._flying: dict[asyncio.Task[Any], int] = {}

    def start(self, index: int, item: Awaitable[Any]) -> None:
        coroutine = item if type(item) is CoroutineType else _worlds.awaited(item)
        task = self._loop.create_task(coroutine)
        self._flying[task] = index
        self.size += 1
        if coroutine is not item and asyncio.isfuture(item):
            task.add_done_callback(functools.partial(self._left, item))
        task.add_done_callback(self._done)

    def stop(self) -> None:
        self.stopping = True
        for task in list(self._flying):
            task.cancel()

    def discard(self, item: object) -> None:
        if asyncio.isfuture(item):  # it is under way by itself
            self.size += 1
            item.cancel()
            item.add_done_callback(self._discarded)
        else:
            close(item)

    async def park(self, waiters: Waiters) -> None:
        waiter = self._loop.create_future()
        waiters.append(waiter)
        try:
            await waiter
        except BaseException:
            if waiter in waiters:
                waiters.remove(waiter)
            raise

    def unpark(self, waiters: Waiters) -> None:
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        waiters.clear()

    async def outlast(self, waiters: Waiters, over: Callable[[], bool]) -> None:
        interrupted: asyncio.CancelledError | None = None
        while not over():
            try:
                await self.park(waiters)
            except asyncio.CancelledError as error:
                interrupted = error
        if interrupted is not None:
            raise interrupted

    def _done(self, task: asyncio.Task[Any]) -> None:
        index = self._flying.pop(task)
        self.size -= 1
        error = STOPPED if task.cancelled() else task.exception()
        # The conductor first: its task has ended before the consumer has the last result.
        self.wake()
        self._landed(index, task.result() if error is None else None, _named(index, error))

    def _left(self, item: asyncio.Future[Any], _: asyncio.Task[Any]) -> None:
        if self.stopping:  # a task that is cancelled before its first step cancels no other
            self.discard(item)

    def _discarded(self, future: asyncio.Future[Any]) -> None:
        self.size -= 1
        if not future.cancelled():
            future.exception()  # retrieved, so that it is not complained about
        self.wake()


class TrioCrew(Crew):
    """Tasks of trio, in the nursery that it is given before the first of them starts."""

    cancels_itself = False
    nursery: trio.Nursery

    def start(self, index: int, item: Awaitable[Any]) -> None:
        self.size += 1
        self.nursery.start_soon(self._run, index, item)

    def stop(self) -> None:
        self.stopping = True
        self.nursery.cancel_scope.cancel()

    def discard(self, item: object) -> None:
        close(item)

    async def park(self, waiters: Waiters) -> None:
        import trio

        waiter = trio.Event()
        waiters.append(waiter)
        try:
            await waiter.wait()
        except BaseException:
            if waiter in waiters:
                waiters.remove(waiter)
            raise

    def unpark(self, waiters: Waiters) -> None:
        for waiter in waiters:
            waiter.set()
        waiters.clear()

    async def outlast(self, waiters: Waiters, over: Callable[[], bool]) -> None:
        import trio

        with trio.CancelScope(shield=True):
            while not over():
                await self.park(waiters)
        await trio.lowlevel.checkpoint_if_cancelled()

    async def _run(self, index: int, item: Awaitable[Any]) -> None:
        import trio

        value: Any = None
        error: BaseException | None = STOPPED
        try:
            if self.stopping:
                close(item)
            else:
                value = await item
                error = None
        except trio.Cancelled:
            raise
        except BaseExceptionGroup as group:
            cancelled, rest = group.split(trio.Cancelled)
            if rest is None:
                raise
            error = group if cancelled is None else rest
        except BaseException as failure:
            error = failure
        finally:
            self.size -= 1
            self.wake()
            self._landed(index, value, _named(index, error))
            del error


def _named(index: int, error: BaseException | None) -> BaseException | None:
    """Return *error*, or one that names the item if it says that something was cancelled."""
    if error is None or isinstance(error, ItemCancelledError) or not is_cancellation(error):
        return error
    named = ItemCancelledError(index)
    named.__cause__ = error
    return named
