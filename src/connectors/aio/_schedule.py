"""`schedule`, which starts a task now and gives a future of the finished task."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable
from typing import Any, TypeVar

from connectors import _worlds

from ._run import only_asyncio

T = TypeVar("T")

_scheduled: set[asyncio.Future[Any]] = set()  # loops hold their tasks weakly


def schedule(
    awaitable: Awaitable[T], *, loop: asyncio.AbstractEventLoop | None = None
) -> asyncio.Future[asyncio.Future[T]]:
    """Start *awaitable* as a task now.

    The task is held until it is done. What it raises is raised by the finished task's ``result()``;
    if nobody asks for that, the exception handler of the loop hears of it.

    Args:
        awaitable: A coroutine, task, future or object with ``__await__``.
        loop: The loop; by default the one that is running.

    Returns:
        A future of the finished task, which never raises the task's error. Cancelling it cancels
        the task.

    Raises:
        RuntimeError: No asyncio loop is running, and none is given.
        TypeError: *awaitable* is none.

    Example:
        >>> from connectors import aio
        >>> async def main():
        ...     return (await aio.schedule(aio.in_thread(abs, -1))).result()
        >>> aio.run(main())
        1
    """
    if not inspect.isawaitable(awaitable):
        raise TypeError(
            f"schedule({awaitable!r}): an awaitable is needed, got {type(awaitable).__name__}"
        )
    try:
        loop = _loop(loop)
    except RuntimeError:
        if inspect.iscoroutine(awaitable):
            awaitable.close()
        raise
    task: asyncio.Future[T]
    if asyncio.isfuture(awaitable):
        task = awaitable
    elif inspect.iscoroutine(awaitable):
        task = loop.create_task(awaitable)
    else:
        task = loop.create_task(_worlds.awaited(awaitable))
    finished: asyncio.Future[asyncio.Future[T]] = loop.create_future()

    def ended(task: asyncio.Future[T]) -> None:
        _scheduled.discard(task)
        if not finished.done():
            finished.set_result(task)

    def given_up(finished: asyncio.Future[asyncio.Future[T]]) -> None:
        if finished.cancelled():
            task.cancel()

    _scheduled.add(task)
    task.add_done_callback(ended)
    finished.add_done_callback(given_up)
    return finished


def _loop(loop: asyncio.AbstractEventLoop | None) -> asyncio.AbstractEventLoop:
    only_asyncio("schedule()")
    if loop is not None:
        return loop
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "schedule() needs a running asyncio loop; call it in a coroutine, or give it loop="
        ) from None
