"""`Stream`, the engine of ``connectors run``: a bounded number of items under way.

```text
reader thread ── items ──▶ inbox ──▶ main thread ── submit ──▶ executor
                             ▲            │                        │
                             └── done ────┼────────────────────────┘
                                          └──▶ report, in order or as they come
```

An item takes a place before it is read and gives it back when its outcome is told, so that an
endless input needs no more memory than a short one, and a slow input holds up no result.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from typing import Any, Protocol

import attrs

from connectors import ExecutorClosedError, ExecutorOpenError, SettingsError

from ._interrupts import Interrupts
from ._items import Item

#: What concerns all items alike, so that none of them is to blame.
_GENERAL = (ExecutorOpenError, ExecutorClosedError, SettingsError)


class Report(Protocol):
    """Is told what becomes of each item."""

    def result(self, item: Item, value: Any) -> bool:
        """Take the result of *item*, and tell whether it could be used."""

    def failure(self, item: Item, error: BaseException) -> None:
        """Take the failure of *item*."""

    def problem(self, item: Item) -> None:
        """Take an item that cannot be given to any function."""

    def flush(self) -> None:
        """Let everybody see what was told."""


_GLANCE = 0.1  # seconds; Ctrl-C is hardly ever as late as that


@attrs.frozen(eq=False)
class _Flight:
    item: Item
    future: Future[Any]


@attrs.frozen
class _End:
    """The last word of the reader thread: there are no more items, or why there are not."""

    error: Exception | None = None


class Stream:
    """One run over a stream of items.

    Args:
        submit: Starts the call for an item's value.
        report: Is told the outcomes.
        interrupts: What may come between.
        limit: How many items are under way at most.
        ordered: Tell the outcomes in the order of the items.
        stop: Begin no more items after a failure.
    """

    def __init__(
        self,
        submit: Callable[[Any], Future[Any]],
        report: Report,
        interrupts: Interrupts,
        *,
        limit: int,
        ordered: bool,
        stop: bool,
    ) -> None:
        self.stopped = False
        self._submit = submit
        self._report = report
        self._interrupts = interrupts
        self._ordered = ordered
        self._stop = stop
        self._inbox: queue.SimpleQueue[Item | _Flight | _End] = queue.SimpleQueue()
        self._places = threading.Semaphore(limit)
        self._flights: dict[int, _Flight] = {}
        self._reading = True

    def run(self, items: Iterator[Item]) -> None:
        """Run until every item that was begun is done.

        Raises:
            ConnectorsError: The executor takes no calls.
            OSError: The items cannot be read, or the outcomes not be written.
        """
        # A daemon, because it may be waiting for a line that never comes.
        threading.Thread(target=self._read, args=(items,), daemon=True).start()
        while self._reading or self._flights:
            # Not for ever: a signal that another thread caught would be heard by nobody.
            with contextlib.suppress(queue.Empty):
                self._take(self._inbox.get(timeout=_GLANCE))

    def rescue(self) -> None:
        """Tell the results that are there already; begin nothing and wait for nothing."""
        for flight in list(self._flights.values()):
            good = flight.future.done() and not flight.future.cancelled()
            if good and flight.future.exception() is None:
                self._tell(flight)
            elif self._ordered:
                return

    def _read(self, items: Iterator[Item]) -> None:
        try:
            self._places.acquire()
            for item in items:
                self._inbox.put(item)
                self._places.acquire()
        except Exception as error:
            self._inbox.put(_End(error))
        else:
            self._inbox.put(_End())

    def _take(self, news: Item | _Flight | _End) -> None:
        if isinstance(news, _Flight):
            self._land(news)
        elif isinstance(news, Item):
            if self._reading:
                self._begin(news)
        else:
            self._reading = False
            if news.error is not None and not self.stopped:
                raise news.error

    def _begin(self, item: Item) -> None:
        if item.problem:
            self._reading = not self._stop  # though it is told only when its turn comes
            future: Future[Any] = Future()
            future.set_result(None)
        else:
            future = self._submitted(item)
        flight = self._flights[item.number] = _Flight(item, future)
        if future.done():
            # Told before the next item begins: a call that ran in this thread may have been long.
            self._land(flight)
        else:
            future.add_done_callback(lambda _: self._inbox.put(flight))

    def _submitted(self, item: Item) -> Future[Any]:
        try:
            return self._submit(item.value)
        except _GENERAL:
            raise
        except Exception as error:  # its arguments cannot travel, or its executor is strict
            future: Future[Any] = Future()
            future.set_exception(error)
            return future

    def _land(self, flight: _Flight) -> None:
        if not self._ordered:
            self._tell(flight)
        else:
            while self._flights and (first := next(iter(self._flights.values()))).future.done():
                self._tell(first)
        self._report.flush()

    def _tell(self, flight: _Flight) -> None:
        with self._interrupts.held():
            # Gone if it was cancelled when the run stopped.
            if self._flights.pop(flight.item.number, None) is None:
                return
            fine = self._told(flight.item, flight.future)
        self._places.release()
        if not fine and self._stop and not self.stopped:
            self._end_early()

    def _told(self, item: Item, future: Future[Any]) -> bool:
        if item.problem:
            self._report.problem(item)
            return False
        error = CancelledError("it was cancelled") if future.cancelled() else future.exception()
        if error is None:
            return self._report.result(item, future.result())
        self._report.failure(item, error)
        return False

    def _end_early(self) -> None:
        """Begin nothing more; what has begun is done to its end, like everywhere."""
        self.stopped = True
        self._reading = False
        for flight in list(self._flights.values()):
            if not flight.future.done() and flight.future.cancel():
                del self._flights[flight.item.number]
