"""`collect`, which awaits a bounded number of awaitables at a time and returns all results."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Literal, TypeVar, overload

from connectors import _worlds
from connectors._errors import ItemCancelledError

from ._crew import STOPPED, AsyncioCrew, Crew, TrioCrew
from ._source import STRETCH, Source, awaitable

T = TypeVar("T")

_logger = logging.getLogger("connectors.aio")


@overload
async def collect(
    awaitables: Iterable[Awaitable[T] | Callable[[], Awaitable[T]]],
    *,
    workers: int = ...,
    return_exceptions: Literal[False] = ...,
) -> tuple[T, ...]: ...


@overload
async def collect(
    awaitables: Iterable[Awaitable[T] | Callable[[], Awaitable[T]]],
    *,
    workers: int = ...,
    return_exceptions: bool,
) -> tuple[T | Exception, ...]: ...


async def collect(
    awaitables: Iterable[Awaitable[Any] | Callable[[], Awaitable[Any]]],
    *,
    workers: int = 1024,
    return_exceptions: bool = False,
) -> tuple[Any, ...]:
    """Await all *awaitables*, some at a time, and return their results in the order of the input.

    When one fails, or the caller is cancelled, nothing more is pulled, what is under way is
    cancelled and awaited, coroutines that were not started are closed; then the error leaves.

    Args:
        awaitables: Awaitables, or async functions without arguments. They are pulled when there
            is room for them.
        workers: How many are under way at a time.
        return_exceptions: Go on after a failure, and put the exception in the place of the result.

    Raises:
        ValueError: *workers* is less than 1.
        TypeError: An item cannot be awaited here.
        ExceptionGroup: Several items had failed. The failure of a single one leaves as it is.
        ItemCancelledError: An item raised `CancelledError` by itself.

    Example:
        >>> from connectors import aio
        >>> async def double(number):
        ...     return 2 * number
        >>> aio.run(aio.collect(map(double, range(4)), workers=2))
        (0, 2, 4, 6)
    """
    collecting = _Collecting(Source(awaitables, workers), keeps=return_exceptions)
    if _worlds.current_world() == "trio":
        await collecting.in_trio()
    else:
        await collecting.in_asyncio()
    return tuple(collecting.results)


class _Collecting:
    """One `collect`.

    Args:
        source: Where the items come from.
        keeps: Exceptions are results.
    """

    crew: Crew

    def __init__(self, source: Source, *, keeps: bool) -> None:
        self.results: list[Any] = []
        self._source = source
        self._keeps = keeps
        self._errors: dict[int, BaseException] = {}
        self._interrupted = False  # a task was cancelled from outside, as in trio by its scope

    async def in_asyncio(self) -> None:
        self.crew = AsyncioCrew(self._landed)
        try:
            await self._conduct(trio=False)
        except BaseException:
            self._source.close(self.crew.discard)
            await self.crew.settle()
            self._tell_lost()
            raise
        self._source.close(self.crew.discard)
        try:
            await self.crew.settle()
        except BaseException:
            self._tell_lost()
            raise
        self._raise()

    async def in_trio(self) -> None:
        import trio

        self.crew = crew = TrioCrew(self._landed)
        failure: BaseException | None = None
        try:
            async with trio.open_nursery() as crew.nursery:
                try:
                    await self._conduct(trio=True)
                except trio.Cancelled:
                    raise
                except BaseException as error:  # of the input: not to be wrapped in a group
                    failure = error
                finally:
                    self._source.close(self.crew.discard)
                    crew.stop()
            if self._interrupted:
                await trio.lowlevel.checkpoint_if_cancelled()
        except (trio.Cancelled, BaseExceptionGroup) as error:
            self._tell_lost()
            raise _first(error, trio.Cancelled) from None
        if failure is not None:
            self._tell_lost()
            raise failure
        self._raise()

    async def _conduct(self, *, trio: bool) -> None:
        crew, results, errors = self.crew, self.results, self._errors
        start, workers, items = crew.start, self._source.workers, self._source.items
        while True:
            began = time.monotonic()
            while crew.size < workers and not errors:
                try:
                    item = next(items)
                except StopIteration:
                    workers = 0
                    break
                index = len(results)
                results.append(None)
                try:
                    start(index, awaitable(item, index, trio=trio))
                except BaseException as error:  # also of a call that only seemed to be async
                    self._landed(index, None, error)
                if time.monotonic() - began > STRETCH:
                    await _worlds.breath()
                    began = time.monotonic()
            if errors or not crew.size:
                return
            await crew.wait()

    def _landed(self, index: int, value: Any, error: BaseException | None) -> None:
        if error is None:
            self.results[index] = value
            return
        if error is STOPPED:
            if self.crew.stopping:
                return
            if not self.crew.cancels_itself:
                self._interrupted = True
                return
            error = ItemCancelledError(index)
        if self._keeps and isinstance(error, Exception):
            self.results[index] = error
        else:
            self._errors[index] = error

    def _raise(self) -> None:
        """Raise what the items raised."""
        errors = [self._errors[index] for index in sorted(self._errors)]
        self._errors.clear()  # tracebacks lead here
        if len(errors) == 1:
            try:
                raise errors[0]
            finally:
                errors.clear()
        if errors:
            raise BaseExceptionGroup(f"{len(errors)} of {len(self.results)} items failed", errors)

    def _tell_lost(self) -> None:
        """Log failures that nobody will see, because something else leaves."""
        for index, error in sorted(self._errors.items()):
            _logger.warning("item %d failed while collect was given up", index, exc_info=error)
        self._errors.clear()


def _first(error: BaseException, cancelled: type[BaseException]) -> BaseException:
    """Return the first exception in *error*, if that is a group, and rather none *cancelled*."""
    if isinstance(error, BaseExceptionGroup):
        error = error.split(cancelled)[1] or error
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
