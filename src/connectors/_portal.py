"""`Portal`, the event loop of an executor, in a thread of its own, for callers from plain code.

All coroutines of an executor share one loop that lives as long as the executor, so that what is
bound to a loop (connections, locks, sessions) can be used by one call after another.
"""

from __future__ import annotations

import abc
import atexit
import contextvars
import functools
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

    Attributes:
        blocked: How many methods, one inside the other, block the loop now.
    """

    def __init__(self, world: World, name: str) -> None:
        self.blocked = 0
        run = _RUNNERS[world]()
        self._run = run
        self._busy: set[Future[Any]] = set()
        self._closing = False
        self._lock = threading.Lock()
        self._thread = thread = threading.Thread(target=run.run_in_thread, name=name, daemon=True)
        vars(thread)["portal"] = weakref.ref(self)
        thread.start()
        run.started.wait()
        if run.failure is not None:
            raise run.failure
        self.loop: Any = run.loop
        _open.add(self)
        weakref.finalize(self, run.stop).atexit = False

    @property
    def busy(self) -> bool:
        """Whether a coroutine runs in the loop."""
        # Who has the result finds the loop idle; what was cancelled may still be cleaning up.
        with self._lock:
            return any(not future.done() or future.cancelled() for future in self._busy)

    @classmethod
    def of_this_thread(cls) -> Portal | None:
        """Return the portal whose thread is calling, if there is one."""
        found: weakref.ref[Portal] | None = getattr(threading.current_thread(), "portal", None)
        return None if found is None else found()

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

        Raises:
            RuntimeError: The portal is closed.
        """
        future: Future[Any] = Future()
        with self._lock:
            if self._closing:
                coroutine.close()
                raise RuntimeError("cannot schedule a coroutine in a portal that is closed")
            self._busy.add(future)
        self._run.schedule(
            coroutine,
            future,
            context or contextvars.copy_context(),
            functools.partial(self._ended, future),
        )
        return future

    def close(self, wait: bool = True, cancel: bool = False) -> None:
        """Take no more coroutines, and stop the loop when those that run have ended.

        Args:
            wait: Return when the loop has stopped.
            cancel: Cancel the coroutines that run.
        """
        with self._lock:
            self._closing = True
            running = list(self._busy)
        if cancel:
            for future in running:
                future.cancel()
        if not running:
            self._run.stop()
        if wait and not self.here():
            self._thread.join()

    def _ended(self, future: Future[Any]) -> None:
        with self._lock:
            self._busy.discard(future)
            over = self._closing and not self._busy
        if over:
            self._run.stop()


class _Run(abc.ABC):
    """An event loop in the thread that it is run in."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.failure: BaseException | None = None
        self.loop: Any = None

    def run_in_thread(self) -> None:
        try:
            self.run()
        except BaseException as error:
            if self.started.is_set():
                raise
            self.failure = error  # no loop could be made: whoever wanted it is told
            self.started.set()

    @abc.abstractmethod
    def run(self) -> None:
        """Run the loop until `stop` is called."""


class _AsyncioRun(_Run):
    _stop: Any = None

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
        self,
        coroutine: Coroutine[Any, Any, Any],
        future: Future[Any],
        context: contextvars.Context,
        ended: Callable[[], None],
    ) -> None:
        import asyncio

        task: asyncio.Task[None] | None = None

        async def perform() -> None:
            try:
                result = await _unless_cancelled(coroutine, future)
            except asyncio.CancelledError:
                _settle_cancelled(future)
            except BaseException as error:  # whatever it is, it ends this coroutine and no loop
                _settle_error(future, error)
            else:
                _settle(future, result)
            finally:
                ended()

        def begin() -> None:
            nonlocal task
            if future.cancelled():
                coroutine.close()
                _settle_cancelled(future)
                ended()
            else:
                task = self.loop.create_task(perform(), context=context)

        def cancel(done: Future[Any]) -> None:  # a closure over the future would be a cycle
            if done.cancelled():
                self._soon(lambda: task and task.cancel())

        self._soon(begin)
        future.add_done_callback(cancel)

    def _soon(self, callback: Callable[[], Any]) -> None:
        try:
            self.loop.call_soon_threadsafe(callback)
        except RuntimeError:  # the loop is closed: there is nothing left to tell it
            return


async def _unless_cancelled(coroutine: Coroutine[Any, Any, Any], future: Future[Any]) -> Any:
    """Await *coroutine*, or close it if its *future* was cancelled before it could begin."""
    if future.cancelled():
        coroutine.close()
        return None
    return await coroutine


def _settle(future: Future[Any], result: Any) -> None:
    if future.set_running_or_notify_cancel():
        future.set_result(result)


def _settle_error(future: Future[Any], error: BaseException) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(error)


def _settle_cancelled(future: Future[Any]) -> None:
    future.cancel()
    future.set_running_or_notify_cancel()  # tells concurrent.futures.wait


class _TrioRun(_Run):
    _nursery: Any = None

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
        self,
        coroutine: Coroutine[Any, Any, Any],
        future: Future[Any],
        context: contextvars.Context,
        ended: Callable[[], None],
    ) -> None:
        import trio

        scope = trio.CancelScope()

        async def perform() -> None:
            try:
                with scope:
                    result = await _unless_cancelled(coroutine, future)
            except trio.Cancelled:  # the portal is stopped
                _settle_cancelled(future)
                raise
            except BaseException as error:  # whatever it is, it ends this coroutine and no loop
                _settle_error(future, error)
            else:
                if scope.cancelled_caught:
                    _settle_cancelled(future)
                else:
                    _settle(future, result)
            finally:
                ended()

        def begin() -> None:
            if future.cancelled():
                coroutine.close()
                _settle_cancelled(future)
                ended()
            else:
                context.run(self._nursery.start_soon, perform)

        def cancel(done: Future[Any]) -> None:  # a closure over the future would be a cycle
            if done.cancelled():
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
        portal.close(wait=False, cancel=True)
