"""The coroutine that sees a task of an event loop from its making to its end, in either world."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from ._runs import LoopRun
from ._task import AbstractExecutorTask


class _Carried(Exception):  # noqa: N818 - not an error, but what carries one
    """Carries what asyncio would let out of the loop: `SystemExit` and `KeyboardInterrupt`."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


async def in_asyncio(task: AbstractExecutorTask, run: LoopRun) -> None:
    """Let *task* run in the running loop of asyncio, and *run* end as it does."""
    import asyncio

    loop = asyncio.get_running_loop()
    try:
        with _carrying(loop):
            future = task.create_async_task(loop)
            if inspect.iscoroutine(future):
                future = loop.create_task(future)
        _check_bound(task, future, loop)
    except BaseException as error:
        run.finish(error=error)
        return
    run.cancelled_by(lambda: _soon(loop, future.cancel))
    run.begin()
    try:
        await asyncio.wait([future])
    except asyncio.CancelledError as error:  # the loop is being closed
        future.cancel()
        run.finish(error=error)
        raise
    if future.cancelled():
        run.finish(error=asyncio.CancelledError())
        return
    failure = future.exception()
    run.finish(None if failure else future.result(), _uncarried(failure))


async def in_trio(task: AbstractExecutorTask, run: LoopRun) -> None:
    """Let *task* run in the running trio, and *run* end as it does."""
    import trio

    token = trio.lowlevel.current_trio_token()
    with trio.CancelScope() as scope:
        try:
            awaitable = task.create_async_task(None)
            _check_awaitable(task, awaitable)
        except BaseException as error:
            run.finish(error=error)
            return
        run.cancelled_by(lambda: _soon_in_trio(token, scope.cancel))
        run.begin()
        try:
            value = await awaitable
        except trio.Cancelled as error:
            run.finish(error=error)
            raise
        except BaseException as error:
            run.finish(error=error)
        else:
            run.finish(value)


def _check_bound(task: AbstractExecutorTask, future: Any, loop: Any) -> None:
    import asyncio

    if not isinstance(future, asyncio.Future):
        raise TypeError(
            f"create_async_task() of task {task.id!r} returned {future!r}; it has to return a task "
            "of the loop that it is given: return loop.create_task(coroutine)"
        )
    if future.get_loop() is not loop:
        raise TypeError(
            f"create_async_task() of task {task.id!r} returned a task of another loop; "
            "return loop.create_task(coroutine), with the loop that it is given"
        )


def _check_awaitable(task: AbstractExecutorTask, awaitable: Any) -> None:
    import asyncio

    if isinstance(awaitable, asyncio.Future) or not inspect.isawaitable(awaitable):
        raise TypeError(
            f"create_async_task(None) of task {task.id!r} returned {awaitable!r}, which trio "
            "cannot run; return a coroutine"
        )


@contextlib.contextmanager
def _carrying(loop: Any) -> Iterator[None]:
    """Let tasks that are made in the block keep their errors, whatever these are, to themselves."""
    import asyncio

    before = loop.get_task_factory()
    make: Callable[..., Any] = before or _plain_task

    def factory(loop: Any, coroutine: Any, **kwargs: Any) -> asyncio.Task[Any]:
        made: asyncio.Task[Any] = make(loop, _carried(coroutine), **kwargs)
        return made

    loop.set_task_factory(factory)
    try:
        yield
    finally:
        loop.set_task_factory(before)


def _plain_task(loop: Any, coroutine: Any, **kwargs: Any) -> Any:
    import asyncio

    return asyncio.Task(coroutine, loop=loop, **kwargs)


async def _carried(coroutine: Coroutine[Any, Any, Any]) -> Any:
    try:
        return await coroutine
    except (SystemExit, KeyboardInterrupt) as error:
        raise _Carried(error) from error


def _uncarried(error: BaseException | None) -> BaseException | None:
    return error.error if isinstance(error, _Carried) else error


def _soon(loop: Any, callback: Callable[[], object]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed
        loop.call_soon_threadsafe(callback)


def _soon_in_trio(token: Any, callback: Callable[[], object]) -> None:
    import trio

    with contextlib.suppress(trio.RunFinishedError):
        token.run_sync_soon(callback)
