"""The engine of `Executor.map`: items in chunks, a bounded number of chunks under way.

How many items a chunk has is found out: the first have one item, and the next ones as many as
run for some milliseconds, judging by how long the items took so far.
"""

from __future__ import annotations

import collections
import itertools
import queue
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import attrs

from ._calls import Call
from ._envelope import pack_error, unpack_error
from ._errors import CallTimeoutError

_CHUNK_SECONDS = 0.005  # long beside what a call costs, short beside what a person notices
_GROWTH = 8  # how much larger than its predecessor a chunk may be
_LARGEST = 16_384

Begin = Callable[[Call], Future[Any]]


@attrs.define
class Chunk:
    """What came of a chunk: the results up to the first failure, and that failure."""

    results: list[Any]
    failure: Failure | None
    seconds: float


@attrs.frozen
class Failure:
    """An exception that travels as the envelope lets exceptions travel."""

    error: BaseException

    def __reduce__(self) -> tuple[Callable[..., Failure], tuple[Any, ...]]:
        return _failure, (pack_error(self.error),)


def _failure(packed: Any) -> Failure:
    return Failure(unpack_error(packed))


def run_chunk(function: Callable[..., Any], items: list[tuple[Any, ...]]) -> Chunk:
    """Call *function* for each of *items*, which are tuples of arguments, up to a failure."""
    begin = time.perf_counter()
    results: list[Any] = []
    failure = None
    try:
        results.extend(itertools.starmap(function, items))
    except Exception as error:
        failure = Failure(error)
    return Chunk(results, failure, time.perf_counter() - begin)


@attrs.define
class Sizer:
    """Says how many items the next chunk has.

    Attributes:
        size: The number that was asked for, or `None` to find it out.
        total: How many items there are, or `None` if that is not known.
        share: Into how many chunks the rest is cut at least, so that all workers have some.
    """

    size: int | None
    total: int | None
    share: int
    _next: int = attrs.field(default=1, init=False)
    _sent: int = attrs.field(default=0, init=False)

    def next(self) -> int:
        """Return the number of items of the next chunk."""
        if self.size is not None:
            return self.size
        size = self._next
        if self.total is not None:
            size = min(size, max(1, (self.total - self._sent) // self.share))
        self._sent += size
        return size

    def learn(self, items: int, seconds: float) -> None:
        """Take note that a chunk of *items* took *seconds*."""
        if items:
            wanted = int(_CHUNK_SECONDS * items / max(seconds, 1e-9))
            self._next = max(1, min(wanted, items * _GROWTH, _LARGEST))


class Mapping:
    """One `map`: an iterator over the results.

    Args:
        begin: Starts a call.
        template: The call of which the chunks are variations; its function is applied to items.
        items: Tuples of arguments.
        sizer: The sizes of chunks.
        buffersize: How many chunks are under way at most.
        timeout: How long to wait for all results, in seconds, or `None`.
        note: Is given each exception that an item of a chunk raised.
        alone: Each item is a call of its own, and its limits hold for it.
    """

    def __init__(
        self,
        begin: Begin,
        template: Call,
        items: Iterator[tuple[Any, ...]],
        sizer: Sizer,
        *,
        buffersize: int,
        timeout: float | None,
        note: Callable[[BaseException], object],
        alone: bool = False,
    ) -> None:
        self._begin = begin
        self._template = template
        self._items = items
        self._sizer = sizer
        self._buffersize = buffersize
        self._timeout = timeout
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._note = note
        self._alone = alone
        self._under_way: collections.deque[Future[Any]] = collections.deque()

    def ordered(self) -> Iterator[Any]:
        """Start, and return an iterator over the results in the order of the items."""
        self._fill(lambda _: None)
        return self._in_order()

    def unordered(self) -> Iterator[Any]:
        """Start, and return an iterator over the results as they come."""
        done: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
        self._fill(lambda future: future.add_done_callback(done.put))
        return self._as_they_come(done)

    def _in_order(self) -> Iterator[Any]:
        try:
            while self._under_way:
                chunk = self._result(self._under_way[0])
                self._under_way.popleft()
                self._fill(lambda _: None)
                yield from self._unpack(chunk)
        finally:
            self._abandon()

    def _as_they_come(self, done: queue.SimpleQueue[Future[Any]]) -> Iterator[Any]:
        try:
            while self._under_way:
                try:
                    future = done.get(timeout=self._left())
                except queue.Empty:
                    raise self._overdue() from None
                self._under_way.remove(future)
                chunk = self._result(future)
                self._fill(lambda future: future.add_done_callback(done.put))
                yield from self._unpack(chunk)
        finally:
            self._abandon()

    def _fill(self, started: Callable[[Future[Any]], object]) -> None:
        while len(self._under_way) < self._buffersize:
            chunk = list(itertools.islice(self._items, self._sizer.next()))
            if not chunk:
                return
            if self._alone:
                call = attrs.evolve(self._template, args=chunk[0])
            else:
                args = (self._template.function, chunk)
                call = attrs.evolve(self._template, function=run_chunk, args=args, size=len(chunk))
            future = self._begin(call)
            self._under_way.append(future)
            started(future)

    def _result(self, future: Future[Any]) -> Chunk:
        try:
            result = future.result(self._left())
        except TimeoutError:
            if future.done():
                raise
            raise self._overdue() from None
        if self._alone:
            return Chunk([result], None, 0.0)
        chunk: Chunk = result
        self._sizer.learn(len(chunk.results), chunk.seconds)
        return chunk

    def _unpack(self, chunk: Chunk) -> Iterator[Any]:
        # A result is forgotten here as soon as it is given away, as in the standard library.
        results = chunk.results
        results.reverse()
        while results:
            yield results.pop()
        if chunk.failure is not None:
            error = chunk.failure.error
            self._note(error)
            try:
                raise error
            finally:
                del error, chunk

    def _left(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def _overdue(self) -> CallTimeoutError:
        return CallTimeoutError(f"map of {self._template.label}", self._timeout or 0.0)

    def _abandon(self) -> None:
        for future in self._under_way:
            future.cancel()
