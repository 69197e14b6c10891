"""The three worlds that callers come from, plain code, asyncio and trio, and how each waits."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from typing import Any, Literal

World = Literal["asyncio", "trio"]


def current_world() -> World | None:
    """Return the async library that runs in this thread, or `None` in plain code.

    A library that was never imported cannot be running, and is not imported to find out.
    """
    if "trio" in sys.modules:
        import trio

        if trio.lowlevel.in_trio_task():
            return "trio"
    if "asyncio" in sys.modules:
        import asyncio

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return None
        return "asyncio"
    return None


def current_loop() -> Any:
    """Return the running asyncio loop or trio token of this thread, or `None`."""
    world = current_world()
    if world == "asyncio":
        import asyncio

        return asyncio.get_running_loop()
    if world == "trio":
        import trio

        return trio.lowlevel.current_trio_token()
    return None


def abandon(future: Future[Any]) -> bool:
    """Stop the call of *future* where its pool can do that, and cancel it where it cannot."""
    stopped: bool = getattr(future, "stop", future.cancel)()
    return stopped


async def result_of(future: Future[Any], drop: Callable[[Future[Any]], object] = abandon) -> Any:
    """Wait for *future* in whichever async library is running, and return its result.

    When the wait is cancelled the call is given to *drop*, which stops or cancels it as far as
    that can be, and the caller does not wait for what cannot.
    """
    if future.done() and not future.cancelled():
        return future.result()
    if current_world() == "trio":
        return await _result_in_trio(future, drop)
    return await _result_in_asyncio(future, drop)


async def _result_in_asyncio(future: Future[Any], drop: Callable[[Future[Any]], object]) -> Any:
    import asyncio

    loop = asyncio.get_running_loop()
    waiter = loop.create_future()

    def wake() -> None:
        if not waiter.done():
            waiter.set_result(None)

    def done(_: Future[Any]) -> None:
        try:
            loop.call_soon_threadsafe(wake)
        except RuntimeError:  # the caller was cancelled and its loop is closed
            return

    future.add_done_callback(done)
    try:
        await waiter
    except asyncio.CancelledError:
        drop(future)
        raise
    if future.cancelled():
        raise asyncio.CancelledError
    return future.result()


async def _result_in_trio(future: Future[Any], drop: Callable[[Future[Any]], object]) -> Any:
    import trio

    task = trio.lowlevel.current_task()
    token = trio.lowlevel.current_trio_token()
    waiting = True

    def wake() -> None:
        nonlocal waiting
        if waiting:
            waiting = False
            trio.lowlevel.reschedule(task)

    def done(_: Future[Any]) -> None:
        try:
            token.run_sync_soon(wake)
        except trio.RunFinishedError:  # the caller was cancelled and its run is over
            return

    def abort(_: Callable[[], None]) -> trio.lowlevel.Abort:
        nonlocal waiting
        waiting = False
        drop(future)
        return trio.lowlevel.Abort.SUCCEEDED

    future.add_done_callback(done)
    await trio.lowlevel.wait_task_rescheduled(abort)
    return future.result()


async def in_thread(function: Callable[[], Any]) -> Any:
    """Run *function* in a helper thread of the running async library."""
    if current_world() == "trio":
        import trio

        return await trio.to_thread.run_sync(function)
    import asyncio

    return await asyncio.to_thread(function)


async def breath() -> None:
    """Give the running event loop a turn."""
    if current_world() == "trio":
        import trio

        await trio.lowlevel.checkpoint()
    else:
        import asyncio

        await asyncio.sleep(0)


async def sleep(seconds: float) -> None:
    """Sleep in whichever async library is running."""
    if current_world() == "trio":
        import trio

        await trio.sleep(seconds)
    else:
        import asyncio

        await asyncio.sleep(seconds)


async def awaited(awaitable: Any) -> Any:
    """Return the coroutine that awaits *awaitable*."""
    return await awaitable


async def gather(coros: Sequence[Awaitable[Any]]) -> list[Any]:
    """Await all of *coros* at the same time; one failure leaves as it is, several as a group."""
    results: list[Any] = [None] * len(coros)
    errors: dict[int, BaseException] = {}
    cancelled = _cancellation()

    async def run(index: int, coro: Awaitable[Any]) -> None:
        try:
            results[index] = await coro
        except cancelled:
            raise
        except BaseException as error:  # SystemExit too: it ends this coroutine and no loop
            errors[index] = error

    if current_world() == "trio":
        import trio

        async with trio.open_nursery() as nursery:
            for index, coro in enumerate(coros):
                nursery.start_soon(run, index, coro)
    else:
        import asyncio

        await asyncio.gather(*itertools.starmap(run, enumerate(coros)))
    failures = [errors[index] for index in sorted(errors)]
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise BaseExceptionGroup(f"{len(failures)} of {len(coros)} coroutines failed", failures)
    return results


def _cancellation() -> type[BaseException]:
    if current_world() == "trio":
        import trio

        return trio.Cancelled
    import asyncio

    return asyncio.CancelledError
