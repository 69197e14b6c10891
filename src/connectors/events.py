"""Frozen records of what happened, and `observe`, by which one hears of them.

Nothing is made and nothing is called while nobody observes: whoever emits asks `observed` first.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

import attrs

from ._flags import Parallelization

_logger = logging.getLogger("connectors")
_lock = threading.RLock()  # the collector may strike in it, and a finalizer may need it
_observers: tuple[Callable[[Event], object], ...] = ()
_numbers = itertools.count(1)


@attrs.frozen(kw_only=True)
class Event:
    """The base of every event.

    Attributes:
        executor: The name of the executor that it happened on.
        time: When it happened, in seconds since the epoch.
    """

    executor: str
    time: float = attrs.field(factory=time.time)


@attrs.frozen(kw_only=True)
class CallEvent(Event):
    """The base of every event in the life of one call.

    Attributes:
        call: The number of the call, the same in all its events.
        label: The name of the call.
        level: Where it runs.
        size: How many items it works on; more than 1 for a chunk of a `map`.
    """

    call: int
    label: str
    level: Parallelization
    size: int = 1


@attrs.frozen(kw_only=True)
class CallSubmitted(CallEvent):
    """An executor accepted a call."""


@attrs.frozen(kw_only=True)
class CallStarted(CallEvent):
    """A call began to run. For a call in another process this is told when it came back.

    Attributes:
        pid: The process in which it runs.
        attempt: 1 for the first run, 2 for the first retry, and so on.
    """

    pid: int
    attempt: int = 1


@attrs.frozen(kw_only=True)
class CallFellBack(CallEvent):
    """A call runs nearer than it was wished for.

    Attributes:
        wish: The level that was wished for; ``level`` is the one it got.
        reason: Why.
    """

    wish: Parallelization
    reason: str


@attrs.frozen(kw_only=True)
class CallFinished(CallEvent):
    """A call returned.

    Attributes:
        duration: How long its last run took, in seconds.
    """

    duration: float


@attrs.frozen(kw_only=True)
class CallFailed(CallEvent):
    """A call ended with an exception, was cancelled, or took longer than its limit.

    Attributes:
        error: The type and the text of the exception.
    """

    error: str


@attrs.frozen(kw_only=True)
class CallRetried(CallEvent):
    """A call failed and is run once more.

    Attributes:
        attempt: The number of the run that begins now; 2 for the first retry.
        error: The type and the text of the exception of the run that failed.
    """

    attempt: int
    error: str


@attrs.frozen(kw_only=True)
class WorkerStarted(Event):
    """A worker process started.

    Attributes:
        pid: Its process id.
    """

    pid: int


@attrs.frozen(kw_only=True)
class WorkerDied(Event):
    """A worker process ended without being asked to.

    Attributes:
        pid: Its process id, or 0 where the engine does not tell.
        reason: How it ended, as far as it is known.
    """

    pid: int
    reason: str


@attrs.frozen(kw_only=True)
class ExecutorOpened(Event):
    """An executor opened its pools."""


@attrs.frozen(kw_only=True)
class ExecutorClosed(Event):
    """An executor closed its pools."""


class Observation(list[Event]):
    """A list of the events that happened since it was made, until it is closed.

    It is a context manager, and closes at the end of its block.
    """

    def __init__(self, callback: Callable[[Event], object] | None = None) -> None:
        super().__init__()
        self._callback: Callable[[Event], object] = callback or self.append
        _add(self._callback)

    def close(self) -> None:
        """Hear of no more events. Closing twice is allowed."""
        _remove(self._callback)

    def of(self, kind: type[Event]) -> Iterator[Event]:
        """Iterate over those events that are of *kind*."""
        return (event for event in self if isinstance(event, kind))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def observe(callback: Callable[[Event], object] | None = None) -> Observation:
    """Hear of every event of every executor of this process, from now on.

    Args:
        callback: Is called with each event, in the thread in which it happened; it must not
            block. An observer that raises is logged and removed, and harms no call. Without a
            callback the events are collected in the list that is returned.

    Returns:
        The list of events, which is also a context manager and has a ``close`` method.

    Example:
        >>> import connectors
        >>> with connectors.observe() as events, connectors.executor("sequential") as executor:
        ...     executor.submit(abs, -1).result()
        1
        >>> names = [type(event).__name__ for event in events]
        >>> [name for name in names if name.startswith("Call")]
        ['CallSubmitted', 'CallStarted', 'CallFinished']
    """
    return Observation(callback)


def observed() -> bool:
    """Tell whether anybody observes."""
    return bool(_observers)


def emit(event: Event) -> None:
    """Hand *event* to every observer."""
    for observer in _observers:
        try:
            observer(event)
        except Exception:
            _remove(observer)
            _logger.exception("the observer %r raised at %r and is removed", observer, event)


def next_number() -> int:
    """Return a number for a call that no other call of this process has."""
    return next(_numbers)


def _add(observer: Callable[[Event], object]) -> None:
    global _observers  # noqa: PLW0603 - replaced as a whole, so that emit needs no lock
    with _lock:
        _observers = (*_observers, observer)


def _remove(observer: Callable[[Event], object]) -> None:
    global _observers  # noqa: PLW0603
    with _lock:
        _observers = tuple(known for known in _observers if known is not observer)
