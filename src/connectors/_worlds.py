"""The three worlds that callers come from, plain code, asyncio and trio, and how each waits."""

from __future__ import annotations

import sys
from collections.abc import Callable
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


async def result_of(future: Future[Any]) -> Any:
    """Wait for *future* in whichever async library is running, and return its result.

    When the wait is cancelled the future is cancelled too, as far as it can be, and the caller
    does not wait for what cannot.
    """
    if future.done() and not future.cancelled():
        return future.result()
    if current_world() == "trio":
        return await _result_in_trio(future)
    import asyncio

    return await asyncio.wrap_future(future)


async def _result_in_trio(future: Future[Any]) -> Any:
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
        future.cancel()
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
