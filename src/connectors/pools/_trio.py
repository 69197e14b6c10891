"""`TrioThreadPool`, the worker threads of trio."""

from __future__ import annotations

import concurrent.futures
import functools
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from connectors._portal import Portal


class TrioThreadPool(concurrent.futures.Executor):
    """Runs calls through ``trio.to_thread``, with a limiter of its own for each trio run.

    Callers in trio use `run_sync` and share their own run; for all others a run is kept in a
    thread.

    Args:
        threads: How many calls run at a time in each trio run, at most.

    Raises:
        ValueError: *threads* is less than 1.
    """

    def __init__(self, threads: int) -> None:
        if threads < 1:
            raise ValueError(f"threads={threads}: a thread pool needs at least 1")
        self._threads = threads
        self._limiters: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()
        self._portal: Portal | None = None
        self._waiting: set[Future[Any]] = set()
        self._closed = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Schedule ``fn(*args, **kwargs)`` and return its future.

        Raises:
            RuntimeError: The pool is shut down.
        """
        future: Future[Any] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            if self._portal is None:
                self._portal = Portal("trio", "connectors-trio-threads")
            self._waiting.add(future)
        call = functools.partial(fn, *args, **kwargs)
        self._portal.schedule(self.run_sync(self._perform, [future], call))
        return future

    async def run_sync(self, function: Callable[..., Any], /, *args: Any) -> Any:
        """Run *function* in a worker thread of the running trio, and return its result.

        A cancelled caller does not wait for it: it goes on, unobserved.
        """
        import trio

        token = trio.lowlevel.current_trio_token()
        limiter = self._limiters.get(token)
        if limiter is None:
            limiter = self._limiters[token] = trio.CapacityLimiter(self._threads)
        return await trio.to_thread.run_sync(
            function, *args, limiter=limiter, abandon_on_cancel=True
        )

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and stop when the calls are done; see `Executor.shutdown`."""
        with self._lock:
            self._closed = True
            portal, waiting = self._portal, list(self._waiting)
        if cancel_futures:
            for future in waiting:
                future.cancel()
        if portal is not None:
            portal.close(wait=wait)

    def _perform(self, box: list[Future[Any]], call: Callable[[], Any]) -> None:
        # Frames of trio hold what is passed here, and tracebacks hold frames: with the future
        # among them it would be in a cycle.
        future = box.pop()
        self._waiting.discard(future)
        if not future.set_running_or_notify_cancel():
            return
        try:
            result = call()
        except BaseException as error:
            future.set_exception(error)
            del future
        else:
            future.set_result(result)
