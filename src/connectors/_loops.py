"""`Loops`, the part of an executor that has to do with event loops."""

from __future__ import annotations

import contextvars
import inspect
import threading
from collections.abc import Coroutine, Iterable
from concurrent.futures import Future
from typing import Any, ClassVar

from . import _worlds
from ._errors import ExecutorClosedError
from ._portal import Portal

_blocked: contextvars.ContextVar[tuple[object, ...]] = contextvars.ContextVar(
    "_blocked", default=()
)


class Loops:
    """Runs coroutines in one loop, which lives in a thread of its own as long as the executor."""

    #: The async library in which ``async def`` methods are awaited.
    world: ClassVar[_worlds.World] = "asyncio"

    name: str
    _lock: threading.RLock
    _closed: bool
    _portal_made: Portal | None = None
    _native_loops: list[Any]

    def _loop_made(self) -> None:
        """Is called when the loop was made."""

    def run_coroutine(self, coro: Coroutine[Any, Any, Any]) -> Any:
        """Run *coro* in the loop of this executor, block until it ends and return its result.

        Works in plain code and where an event loop is running.
        """
        try:
            future = self._schedule(coro)
        except ExecutorClosedError:
            coro.close()
            raise
        try:
            return future.result()
        except BaseException:
            future.cancel()  # Ctrl-C in the wait; a future that is done does not mind
            raise

    def _schedule(self, coro: Coroutine[Any, Any, Any]) -> Future[Any]:
        """Run *coro* in the loop of this executor, or in another one if that is blocked."""
        portal = self._portal()
        if not (portal.here() or portal.blocked or self in _blocked.get()):
            return portal.schedule(coro)
        # What runs in the loop calls us and may wait for the outcome, and all below it too.
        context = contextvars.copy_context()
        context.run(_blocked.set, (*_blocked.get(), self))
        nested = Portal(self.world, f"connectors-{self.name}-nested")
        future = nested.schedule(coro, context)
        future.add_done_callback(lambda _: nested.close(wait=False))
        return future

    def run_until_complete(self, awaitable: Any) -> Any:
        """Block until *awaitable* is done and return its result.

        Args:
            awaitable: A coroutine, another awaitable, or a `concurrent.futures.Future`.

        Raises:
            ValueError: It is a future or a task of another loop than this executor's.
        """
        if isinstance(awaitable, Future):
            return awaitable.result()
        loop = getattr(awaitable, "get_loop", None)
        if loop is not None and loop() is not self._portal().loop:
            raise ValueError(
                f"{awaitable!r} belongs to another event loop than that of '{self.name}'; "
                "await it there, or pass the coroutine itself"
            )
        if inspect.iscoroutine(awaitable):
            return self.run_coroutine(awaitable)
        return self.run_coroutine(_worlds.awaited(awaitable))

    def run_coroutines(self, coros: Iterable[Coroutine[Any, Any, Any]]) -> list[Any]:
        """Run *coros* at the same time in the loop of this executor and wait for all of them.

        Returns:
            Their results, in order.

        Raises:
            ExceptionGroup: Several failed. The failure of a single one is raised as it is.
        """
        awaited = list(coros)
        try:
            return list(self.run_coroutine(_worlds.gather(awaited)))
        except ExecutorClosedError:
            for coro in awaited:
                coro.close()
            raise

    def get_event_loop(self) -> Any:
        """Return the loop in which this executor awaits something now, or `None` when idle.

        For an executor of the trio world it is a trio token.
        """
        here = _worlds.current_loop()
        with self._lock:
            portal = self._portal_made
            if portal is not None and portal.busy:
                return here if here in self._native_loops else portal.loop
            if here in self._native_loops:
                return here
            return self._native_loops[-1] if self._native_loops else None

    def _portal(self) -> Portal:
        with self._lock:
            if self._closed:
                raise ExecutorClosedError(self.name)
            if self._portal_made is not None:
                return self._portal_made
            portal = self._portal_made = Portal(self.world, f"connectors-{self.name}-loop")
        self._loop_made()
        return portal
