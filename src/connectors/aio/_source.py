"""`Source`, the awaitables of a stream as they are pulled one by one."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from types import CoroutineType
from typing import Any

from connectors._calls import is_async

#: How long awaitables are pulled at a stretch, in seconds, before what was started gets its turn.
STRETCH = 0.001

Item = Awaitable[Any] | Callable[[], Awaitable[Any]]


class Source:
    """The input of a stream.

    Args:
        awaitables: The awaitables, or async functions without arguments.
        workers: How many may be under way at a time.

    Attributes:
        workers: Likewise, and no more than there are items if that is known.
        items: What is left.

    Raises:
        ValueError: *workers* is less than 1.
    """

    def __init__(self, awaitables: Iterable[Item], workers: int) -> None:
        listed = isinstance(awaitables, Collection)
        if workers < 1:
            if listed:
                for item in awaitables:
                    close(item)
            raise ValueError(f"workers={workers}: it has to be at least 1")
        self.workers = min(workers, max(1, len(awaitables))) if listed else workers  # type: ignore[arg-type]
        self._listed = listed
        self.items: Iterator[Item] = iter(awaitables)

    def close(self, discard: Callable[[object], object]) -> None:
        """Pull nothing more; give *discard* the items that are listed and will not be started."""
        items, self.items = self.items, iter(())
        if self._listed:
            for item in items:
                discard(item)


def close(item: object) -> None:
    """Close *item* if it is a coroutine that was not started."""
    if inspect.iscoroutine(item) and inspect.getcoroutinestate(item) == inspect.CORO_CREATED:
        item.close()


def awaitable(item: object, index: int, *, trio: bool) -> Awaitable[Any]:
    """Return what is to be awaited for *item*.

    Args:
        item: An item of the input.
        index: Its index.
        trio: It is to be awaited under trio.

    Raises:
        TypeError: It cannot be awaited there.
    """
    if type(item) is CoroutineType:
        return item
    if trio and asyncio.isfuture(item):
        raise TypeError(
            f"item {index} is of the type {type(item).__name__}, which only asyncio can await, "
            "and trio is running here"
        )
    if inspect.isawaitable(item):
        return item
    if callable(item) and is_async(item):
        return _called(item, index)
    raise TypeError(
        f"item {index} is of the type {type(item).__name__}, which cannot be awaited; give "
        "coroutines, other awaitables, or async functions without arguments"
    )


def _called(function: Callable[[], Awaitable[Any]], index: int) -> Awaitable[Any]:
    try:
        return function()
    except TypeError as error:
        raise TypeError(
            f"item {index} is of the type {type(function).__name__}, and calling it without "
            f"arguments failed: {error}; give what it returns, or a functools.partial"
        ) from error
