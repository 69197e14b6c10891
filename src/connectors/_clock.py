"""One thread that calls back when a time limit is over; it exists once a limit was set."""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable

import attrs

_logger = logging.getLogger("connectors")


@attrs.define(eq=False)
class Timer:
    """A callback that is due at a time, unless it is cancelled."""

    callback: Callable[[], object] | None

    def cancel(self) -> None:
        """Do not call back any more, and hold nothing."""
        self.callback = None


class _Clock:
    def __init__(self) -> None:
        self._due: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def after(self, seconds: float, callback: Callable[[], object]) -> Timer:
        timer = Timer(callback)
        with self._changed:
            heapq.heappush(self._due, (time.monotonic() + seconds, next(self._numbers), timer))
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="connectors-clock", daemon=True
                )
                self._thread.start()
            elif self._due[0][2] is timer:
                self._changed.notify()
        return timer

    def _run(self) -> None:
        while True:
            callback = self._next().callback
            if callback is not None:
                try:
                    callback()
                except Exception:  # the limits of others still hold
                    _logger.exception("%r raised", callback)
                del callback

    def _next(self) -> Timer:
        with self._changed:
            while True:
                while self._due and self._due[0][2].callback is None:
                    heapq.heappop(self._due)
                if not self._due:
                    self._changed.wait()
                    continue
                left = self._due[0][0] - time.monotonic()
                if left <= 0:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(min(left, threading.TIMEOUT_MAX))


_clock = _Clock()


def after(seconds: float, callback: Callable[[], object]) -> Timer:
    """Call *callback* in *seconds* from now, in a thread of its own, unless cancelled before."""
    return _clock.after(seconds, callback)


def _start_anew() -> None:
    global _clock  # noqa: PLW0603 - the thread of the parent does not exist in a forked child
    _clock = _Clock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
