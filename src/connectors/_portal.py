"""`Portal`, the event loop of an executor, in a thread of its own, for callers from plain code.

All coroutines of an executor share one loop that lives as long as the executor, so that what is
bound to a loop (connections, locks, sessions) can be used by one call after another.
"""

from __future__ import annotations

import atexit
import contextvars
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

from ._worlds import World

_open: weakref.WeakSet[Portal] = weakref.WeakSet()


class Portal:
    """An event loop in a thread of its own.

    Args:
        world: The async library that runs in it.
        name: The name of the thread.
    """

    def __init__(self, world: World, name: str) -> None:
        self.loop: Any = None
        self._running = _RUNNERS[world]()
        self._busy: set[Future[Any]] = set()
        self._idle = threading.Condition()
        self._thread = threading.Thread(target=self._running.run, name=name, daemon=True)
        self._thread.start()
        self._running.started.wait()
        self.loop = self._running.loop
        _open.add(self)

    @property
    def busy(self) -> bool:
        """Whether a coroutine runs in the loop."""
        return bool(self._busy)

    def here(self) -> bool:
        """Tell whether the calling thread is the portal's."""
        return threading.current_thread() is self._thread

    def schedule(
        self, coroutine: Coroutine[Any, Any, Any], context: contextvars.Context | None = None
    ) -> Future[Any]:
        """Run *coroutine* in the loop and return its future; cancelling that cancels it.

        Args:
            coroutine: The coroutine.
            context: The context that it runs in; by default a copy of the caller's.
        """
        future: Future[Any] = Future()
        with self._idle:
            self._busy.add(future)
        future.add_done_callback(self._forget)
        self._running.schedule(coroutine, future, context or contextvars.copy_context())
        return future

    def close(self, wait: bool = True, cancel: bool = False) -> None:
        """Stop the loop.

        Args:
            wait: Let the coroutines that run end first; otherwise they are cancelled.
            cancel: Cancel them even so.
        """
        with self._idle:
            running = list(self._busy)
        if cancel or not wait:
            for future in running:
                future.cancel()
        if wait and not self.here():
            with self._idle:
                self._idle.wait_for(lambda: not self._busy)
        self._running.stop()
        if wait and not self.here():
            self._thread.join()
        _open.discard(self)

    def _forget(self, future: Future[Any]) -> None:
        with self._idle:
            self._busy.discard(future)
            self._idle.notify_all()


class _AsyncioRun:
    def __init__(self) -> None:
        self.started = threading.Event()
        self.loop: Any = None
        self._stop: Any = None

    def run(self) -> None:
        import asyncio

        asyncio.run(self._main())

    async def _main(self) -> None:
        import asyncio

        self.loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self.started.set()
        await self._stop.wait()

    def stop(self) -> None:
        self._soon(self._stop.set)

    def schedule(
        self, coroutine: Coroutine[Any, Any, Any], future: Future[Any], context: contextvars.Context
    ) -> None:
        import asyncio

        task: asyncio.Task[None] | None = None

        async def perform() -> None:
            try:
                result = await coroutine
            except asyncio.CancelledError:
                _settle_cancelled(future)
            except (Exception, SystemExit, KeyboardInterrupt) as error:
                _settle_error(future, error)
            else:
                _settle(future, result)

        def begin() -> None:
            nonlocal task
            if future.cancelled():
                coroutine.close()
                _settle_cancelled(future)
            else:
                task = self.loop.create_task(perform(), context=context)

        def cancel(_: Future[Any]) -> None:
            if future.cancelled():
                self._soon(lambda: task and task.cancel())

        self._soon(begin)
        future.add_done_callback(cancel)

    def _soon(self, callback: Callable[[], Any]) -> None:
        try:
            self.loop.call_soon_threadsafe(callback)
        except RuntimeError:  # the loop is closed: there is nothing left to tell it
            return


def _settle(future: Future[Any], result: Any) -> None:
    if future.set_running_or_notify_cancel():
        future.set_result(result)


def _settle_error(future: Future[Any], error: BaseException) -> None:
    # SystemExit and KeyboardInterrupt end the call that raised them and not the loop.
    if future.set_running_or_notify_cancel():
        future.set_exception(error)


def _settle_cancelled(future: Future[Any]) -> None:
    future.cancel()
    future.set_running_or_notify_cancel()  # tells concurrent.futures.wait


class _TrioRun:
    def __init__(self) -> None:
        self.started = threading.Event()
        self.loop: Any = None
        self._nursery: Any = None

    def run(self) -> None:
        import trio

        trio.run(self._main)

    async def _main(self) -> None:
        import trio

        self.loop = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as self._nursery:
            self.started.set()
            await trio.sleep_forever()

    def stop(self) -> None:
        self._soon(self._nursery.cancel_scope.cancel)

    def schedule(
        self, coroutine: Coroutine[Any, Any, Any], future: Future[Any], context: contextvars.Context
    ) -> None:
        import trio

        scope = trio.CancelScope()

        async def perform() -> None:
            try:
                with scope:
                    result = await coroutine
            except (Exception, SystemExit, KeyboardInterrupt) as error:
                _settle_error(future, error)
            else:
                if scope.cancelled_caught:
                    _settle_cancelled(future)
                else:
                    _settle(future, result)

        def begin() -> None:
            if future.cancelled():
                coroutine.close()
                _settle_cancelled(future)
            else:
                context.run(self._nursery.start_soon, perform)

        def cancel(_: Future[Any]) -> None:
            if future.cancelled():
                self._soon(scope.cancel)

        self._soon(begin)
        future.add_done_callback(cancel)

    def _soon(self, callback: Callable[[], Any]) -> None:
        import trio

        try:
            self.loop.run_sync_soon(callback)
        except trio.RunFinishedError:
            return


_RUNNERS: dict[World, type[_AsyncioRun | _TrioRun]] = {"asyncio": _AsyncioRun, "trio": _TrioRun}


@atexit.register
def _close_all() -> None:
    for portal in list(_open):
        portal.close(wait=False)
