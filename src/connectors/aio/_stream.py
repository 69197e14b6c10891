"""`resolve` and `as_completed`, streams of results with work going on in the background.

```text
input ─▶ pending ─▶ under way (at most `workers`) ─▶ landed ─▶ collected by the consumer
         └────────── the window: not yet collected ──────┘
```

A conductor, a task of its own, starts items as long as there is room, and ends when nothing is
under way; whoever makes room starts another. So a stream that nobody reads any more holds no task.
"""

from __future__ import annotations

import abc
import asyncio
import collections
import contextvars
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from connectors import _worlds
from connectors._errors import ItemCancelledError
from connectors._outcome import Outcome, OutcomeState

from ._crew import STOPPED, AsyncioCrew, Crew, TrioCrew, Waiters
from ._inside import Mark
from ._source import STRETCH, Source, awaitable, close

T = TypeVar("T")

_conductors: set[asyncio.Task[None]] = set()  # loops hold their tasks weakly


class Item(Awaitable[T]):
    """One item of `resolve`: awaiting it gives its result, as often as it is awaited."""

    __slots__ = (
        "_ended",
        "_error",
        "_raw",
        "_state",
        "_stream",
        "_value",
        "_waiters",
        "collected",
        "index",
    )

    def __init__(self, stream: Stream[T], index: int, raw: object) -> None:
        self.index = index
        self._stream = stream
        self._raw: Any = raw
        self._state = OutcomeState.pending
        self._value: Any = None
        self._error: BaseException | None = None
        self._ended = False
        self.collected = False
        self._waiters: Waiters = []

    @property
    def outcome(self) -> Outcome:
        """How it ended, or that it has not; its id is the index in the input."""
        if self._state is OutcomeState.failed:
            assert self._error is not None
            return Outcome.of_error(self._error, self.index)
        return Outcome(self._state, self.index, self._value, self._error)

    def __await__(self) -> Generator[Any, Any, T]:
        return self._result().__await__()

    def __repr__(self) -> str:
        return f"<item {self.index} of {self._stream.name}, {self._state}>"

    async def _result(self) -> T:
        if not self._ended:
            stream = self._stream
            stream.demand = max(stream.demand, self.index + 1)
            crew = stream.advance()
            while not self._ended:
                await crew.park(self._waiters)
        if self._stream.resting:
            await self._stream.rest()
        return self._take()

    def _take(self) -> T:
        if not self.collected:
            self.collected = True
            self._stream.note_collected(self)
        if self._error is not None:
            raise self._error
        value: T = self._value
        return value

    def _land(self, state: OutcomeState, value: Any, error: BaseException | None) -> None:
        self._state, self._value, self._error = state, value, error
        self._ended = True
        self._raw = None


class Turn(Awaitable[T]):
    """One turn of `as_completed`: awaiting it gives the next result, and then always that."""

    __slots__ = ("_item", "_stream", "_waiters")

    def __init__(self, stream: Completing[T]) -> None:
        self._stream = stream
        self._item: Item[T] | None = None
        self._waiters: Waiters = []

    @property
    def outcome(self) -> Outcome:
        """How its item ended; pending, and without an id, until it has one."""
        return Outcome(OutcomeState.pending) if self._item is None else self._item.outcome

    @property
    def collected(self) -> bool:
        """Whether the consumer has its result."""
        return self._item is not None and self._item.collected

    def __await__(self) -> Generator[Any, Any, T]:
        return self._result().__await__()

    def __repr__(self) -> str:
        return f"<turn of {self._stream.name}: {self._item}>"

    async def _result(self) -> T:
        if self._item is None:
            crew = self._stream.claim(self)
            try:
                while self._item is None:
                    await crew.park(self._waiters)
            finally:
                if self._item is None and not self._waiters:
                    self._stream.disclaim(self)
        if self._stream.resting:
            await self._stream.rest()
        return self._item._take()


class Stream(abc.ABC, Generic[T]):
    """Awaitables, and an async iterator of their results; an async context manager.

    Args:
        awaitables: The input.
        workers: How many items are under way at a time.
        worker_greediness: How many finished results a worker may hold; 0: no limit.

    Attributes:
        name: The name of the function that made it.
        demand: Items before this index run, whatever the window.
    """

    name: str

    def __init__(self, awaitables: Iterable[Any], *, workers: int, worker_greediness: int) -> None:
        self._source = Source(awaitables, workers)
        if worker_greediness < 0:
            self._source.close(close)
            raise ValueError(
                f"worker_greediness={worker_greediness}: it has to be at least 0, "
                "which means no limit"
            )
        self._workers = self._source.workers
        self._window = self._workers * (worker_greediness + 1) if worker_greediness else math.inf
        self.demand = 0
        self._pulled = 0
        self._started = 0
        self._behind = 0  # how far the consumer has come
        self._pending: collections.deque[Item[T]] = collections.deque()
        self._flying: dict[int, Item[T]] = {}
        self._ahead: collections.deque[Any] = collections.deque()  # pulled, not handed out
        self._exhausted = False
        self._over = False  # nothing is started any more
        self._failure: BaseException | None = None  # of the input
        self._told = False  # of that failure
        self._crew: Crew | None = None
        self._conducted = False
        self._inside = Mark()
        self._leaving: Waiters = []

    # What differs

    @abc.abstractmethod
    def note_collected(self, item: Item[T]) -> None:
        """Take note that the consumer has the result of *item*."""

    @abc.abstractmethod
    def _handed(self, item: Item[T]) -> Any:
        """Return what is handed out when *item* was pulled."""

    @abc.abstractmethod
    def _landed_item(self, item: Item[T]) -> None:
        """Wake who waits for *item*."""

    # As an iterable of awaitables

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if not self._ahead and not self._exhausted:
            self._pull()
        if self._ahead:
            return self._ahead.popleft()
        if self._failure is not None and not self._told:
            self._told = True
            raise self._failure
        raise StopIteration

    # As an async iterator of results

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        try:
            turn = next(self)
        except StopIteration:
            await self.rest()
            raise StopAsyncIteration from None
        try:
            result: T = await turn
        except BaseException as error:
            if not turn.collected:
                self._ahead.appendleft(turn)  # the caller was cancelled: that loses nothing
            elif error is self._failure:
                self._told = True
                self._ahead.clear()
            raise
        return result

    # As an async context manager

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Cancel and await what is under way, and close what was not started.

        An item that closes its own stream is cancelled with the others, and does not wait.
        """
        crew = self._tasks()
        self._stop()
        self._ahead.clear()
        self._told = True
        if crew.size and not self._conducted:
            self._begin_conducting(crew)
        if self._conducted and not self._inside.is_here():
            await crew.outlast(self._leaving, lambda: not self._conducted)

    # What its awaitables ask for

    def advance(self) -> Crew:
        """Let the work go on, or begin; return the tasks."""
        crew = self._tasks()
        if self._conducted:
            crew.wake()
        elif self._room() and (self._pending or not self._exhausted):
            self._begin_conducting(crew)
        return crew

    @property
    def resting(self) -> bool:
        """Whether everything is done and the conductor is about to end."""
        return self._exhausted and self._conducted and not (self._flying or self._pending)

    async def rest(self) -> None:
        """Let the conductor end if everything is done, so that the last result leaves no task."""
        while self.resting:
            assert self._crew is not None
            await self._crew.park(self._leaving)

    # Conducting

    def _tasks(self) -> Crew:
        if self._conducted:
            assert self._crew is not None
            return self._crew
        # Nothing is under way, so it may go on in another loop than before.
        trio = _worlds.current_world() == "trio"
        self._crew = TrioCrew(self._landed) if trio else AsyncioCrew(self._landed)
        return self._crew

    def _begin_conducting(self, crew: Crew) -> None:
        self._conducted = True
        if isinstance(crew, TrioCrew):
            _conduct_in_trio(crew, self._conduct, self._end)
        else:
            task = asyncio.get_running_loop().create_task(self._conduct_in_asyncio())
            _conductors.add(task)
            task.add_done_callback(_conductors.discard)

    def _room(self) -> bool:
        return not self._over and self._started < max(self.demand, self._behind + self._window)

    async def _conduct(self) -> None:
        self._inside.enter()
        crew = self._crew
        assert crew is not None
        while True:
            began = time.monotonic()
            while crew.size < self._workers and self._room():
                if not self._pending:
                    self._pull()
                    if not self._pending:
                        break
                self._begin(crew, self._pending.popleft())
                if time.monotonic() - began > STRETCH:
                    await _worlds.breath()
                    began = time.monotonic()
            if not crew.size:
                return
            await crew.wait()

    async def _conduct_in_asyncio(self) -> None:
        try:
            while True:
                try:
                    return await self._conduct()
                except asyncio.CancelledError:  # the run ends
                    self._stop()
        finally:
            self._end()

    def _end(self) -> None:
        self._conducted = False
        assert self._crew is not None
        self._crew.unpark(self._leaving)

    def _begin(self, crew: Crew, item: Item[T]) -> None:
        self._started += 1
        self._flying[item.index] = item
        item._state = OutcomeState.running
        raw, item._raw = item._raw, None
        try:
            crew.start(item.index, awaitable(raw, item.index, trio=isinstance(crew, TrioCrew)))
        except BaseException as error:  # also of a call that only seemed to be async
            self._landed(item.index, None, error)

    def _pull(self) -> None:
        """Pull one item, if there is one; an error of the input ends everything."""
        try:
            raw = next(self._source.items)
        except StopIteration:
            self._exhausted = True
        except BaseException as error:
            self._failure = error
            self._stop()
        else:
            item = Item(self, self._pulled, raw)
            self._pulled += 1
            self._pending.append(item)
            self._ahead.append(self._handed(item))

    def _stop(self) -> None:
        if self._over:
            return
        self._over = self._exhausted = True
        discard = close if self._crew is None else self._crew.discard
        if self._crew is not None and self._crew.size:
            self._crew.stop()
        self._source.close(discard)
        while self._pending:
            item = self._pending.popleft()
            discard(item._raw)
            self._settle(item, OutcomeState.cancelled, None, self._reason(item.index))

    def _reason(self, index: int) -> BaseException:
        return self._failure or ItemCancelledError(
            index, f"its {self.name} was closed, or its run ended"
        )

    def _landed(self, index: int, value: Any, error: BaseException | None) -> None:
        item = self._flying.pop(index)
        if error is None:
            self._settle(item, OutcomeState.done, value, None)
        elif error is not STOPPED:
            self._settle(item, OutcomeState.failed, None, error)
        elif self._over or (self._crew is not None and not self._crew.cancels_itself):
            self._settle(item, OutcomeState.cancelled, None, self._reason(index))
        else:
            self._settle(item, OutcomeState.cancelled, None, ItemCancelledError(index))

    def _settle(
        self, item: Item[T], state: OutcomeState, value: Any, error: BaseException | None
    ) -> None:
        item._land(state, value, error)
        self._landed_item(item)
        if self._crew is not None and item._waiters:
            self._crew.unpark(item._waiters)


class Resolving(Stream[T]):
    """What `resolve` returns."""

    name = "resolve"

    def note_collected(self, item: Item[T]) -> None:
        self._behind = max(self._behind, item.index + 1)
        if self._window < math.inf and self._crew is not None:
            self.advance()

    def _handed(self, item: Item[T]) -> Item[T]:
        return item

    def _landed_item(self, item: Item[T]) -> None:
        pass


class Completing(Stream[T]):
    """What `as_completed` returns."""

    name = "as_completed"

    def __init__(self, awaitables: Iterable[Any], **limits: int) -> None:
        super().__init__(awaitables, **limits)
        self._finished: collections.deque[Item[T]] = collections.deque()
        self._claims: collections.deque[Turn[T]] = collections.deque()

    def claim(self, turn: Turn[T]) -> Crew:
        """Give *turn* the next item that has ended, or will end."""
        crew = self.advance()
        if self._finished:
            turn._item = self._finished.popleft()
        elif turn not in self._claims:
            self._claims.append(turn)
        return crew

    def disclaim(self, turn: Turn[T]) -> None:
        """Forget that *turn* waits."""
        if turn in self._claims:
            self._claims.remove(turn)

    def note_collected(self, item: Item[T]) -> None:  # noqa: ARG002 - any
        self._behind += 1
        if self._window < math.inf and self._crew is not None:
            self.advance()

    def _handed(self, item: Item[T]) -> Turn[T]:  # noqa: ARG002 - any
        return Turn(self)

    def _landed_item(self, item: Item[T]) -> None:
        if not self._claims:
            self._finished.append(item)
            return
        turn = self._claims.popleft()
        turn._item = item
        assert self._crew is not None
        self._crew.unpark(turn._waiters)


def _conduct_in_trio(
    crew: TrioCrew, conduct: Callable[[], Awaitable[None]], end: Callable[[], None]
) -> None:
    import trio

    async def host() -> None:
        ended = False
        try:
            async with trio.open_nursery() as crew.nursery:
                await conduct()
                # Leaving the nursery takes a turn, in which more work may be asked for.
                ended = True
                end()
        finally:
            if not ended:
                end()

    trio.lowlevel.spawn_system_task(host, context=contextvars.copy_context())


def resolve(
    awaitables: Iterable[Awaitable[T] | Callable[[], Awaitable[T]]],
    *,
    workers: int = 1024,
    worker_greediness: int = 0,
) -> Resolving[T]:
    """Return a stream of *awaitables*, in their order.

    Iterating over it gives one awaitable for each item; iterating with ``async for`` gives their
    results. An item's error is raised at its turn, and the stream can be read on. Work begins when
    the first awaitable is awaited, and then goes on in the background. With a limit, a slow item
    makes those behind it wait; see `as_completed`.

    Args:
        awaitables: Awaitables, or async functions without arguments. They are pulled when there
            is room for them.
        workers: How many are under way at a time.
        worker_greediness: How many finished results a worker may hold that nobody has collected;
            0: no limit. The stream runs ahead of its consumer by at most
            ``workers * (worker_greediness + 1)`` items.

    Raises:
        ValueError: *workers* is less than 1, or *worker_greediness* negative.

    Example:
        >>> from connectors import aio
        >>> async def half(number):
        ...     return 1 / number
        >>> async def main():
        ...     for result in aio.resolve(map(half, [2, 0, 4])):
        ...         try:
        ...             print(await result)
        ...         except ZeroDivisionError as error:
        ...             print(error)
        >>> aio.run(main())
        0.5
        division by zero
        0.25
    """
    return Resolving(awaitables, workers=workers, worker_greediness=worker_greediness)


def as_completed(
    awaitables: Iterable[Awaitable[T] | Callable[[], Awaitable[T]]],
    *,
    workers: int = 1024,
    worker_greediness: int = 0,
) -> Completing[T]:
    """Return a stream of *awaitables*, in the order in which they finish.

    It is read as that of `resolve`; each awaitable gives the next result, whichever item it
    belongs to, so a slow item makes nothing wait.

    Args:
        awaitables: Awaitables, or async functions without arguments. They are pulled when there
            is room for them.
        workers: How many are under way at a time.
        worker_greediness: How many finished results a worker may hold that nobody has collected;
            0: no limit.

    Raises:
        ValueError: *workers* is less than 1, or *worker_greediness* negative.
    """
    return Completing(awaitables, workers=workers, worker_greediness=worker_greediness)
