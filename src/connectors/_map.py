"""The engine of every `map`: columns of items cut into chunks, a bounded number under way.

How many items a chunk has is found out: the first have one item, and the next ones as many as
run for some milliseconds, judging by how long the items took so far.
"""

from __future__ import annotations

import collections
import itertools
import queue
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import attrs

from ._calls import Call
from ._errors import CallTimeoutError
from ._packed_errors import pack_error, unpack_error

_SECONDS = 0.02  # beside a chunk of this length the cost of sending it vanishes
_LEAST_SECONDS = 0.001  # shorter ones are not made, not even to share the last items fairly
_GROWTH = 64  # how much larger than its predecessor a chunk may be
_LARGEST = 1 << 16

#: The results up to a failure, that failure, and how long they took in seconds.
Outcome = tuple[list[Any], "Failure | None", float]


class Failure:
    """An exception that travels as the envelope lets exceptions travel."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> tuple[Callable[[Any], Failure], tuple[Any]]:
        return _failure, (pack_error(self.error),)


def _failure(packed: Any) -> Failure:
    return Failure(unpack_error(packed))


def run_chunk(function: Callable[..., Any], columns: Sequence[Sequence[Any]]) -> Outcome:
    """Call *function* for each row of *columns*, up to a failure."""
    begin = time.perf_counter()
    results: list[Any] = []
    failure = None
    try:
        results.extend(map(function, *columns))
    except Exception as error:
        failure = Failure(error)
    if failure is None and len(results) < len(columns[0]):  # extend took it for the end
        name = getattr(function, "__qualname__", None) or repr(function)
        failure = Failure(RuntimeError(f"{name} raised StopIteration"))
    return results, failure, time.perf_counter() - begin


@attrs.define
class Sizer:
    """Says how many items the next chunk has.

    Attributes:
        fixed: The number that was asked for, or `None` to find it out.
        left: How many items there are still, or `None` if that is not known.
        share: Into how many chunks the rest is cut at least, so that all workers have some.
    """

    fixed: int | None
    left: int | None
    share: int
    _size: int = attrs.field(default=1, init=False)
    _least: int = attrs.field(default=1, init=False)

    def next(self) -> int:
        """Return the number of items of the next chunk."""
        if self.fixed is not None:
            return self.fixed
        size = self._size
        if self.left is not None:
            size = min(size, max(self._least, self.left // self.share))
            self.left -= size
        return size

    def learn(self, items: int, seconds: float) -> None:
        """Take note that a chunk of *items* took *seconds*."""
        if items:
            rate = items / max(seconds, 1e-9)
            self._size = max(1, min(int(_SECONDS * rate), items * _GROWTH, _LARGEST))
            self._least = max(1, min(int(_LEAST_SECONDS * rate), self._size))


class Results(Iterator[Any]):
    """An iterator over the results of a map; closing or forgetting it cancels what is left."""

    def __init__(self, lists: Generator[list[Any]]) -> None:
        self._lists = lists
        # What `__iter__` returns: a loop over it takes a result without running any code of ours.
        self._items = itertools.chain.from_iterable(lists)

    def __iter__(self) -> Iterator[Any]:  # noqa: PYI034 - see there
        return self._items

    def __next__(self) -> Any:
        return next(self._items)

    def close(self) -> None:
        """Take no more results: cancel the calls that have not begun."""
        self._lists.close()


class Mapping:
    """One `map`.

    Args:
        begin: Starts a call.
        template: The call of which the chunks are variations; its function is applied to items.
        iterables: Where its arguments come from; the shortest ends the map.
        sizer: The sizes of chunks.
        buffersize: How many chunks are under way at most.
        timeout: How long to wait for all results, in seconds, or `None`.
        note: Is given each exception that an item of a chunk raised.
        alone: Each item is a call of its own, and its limits hold for it.
    """

    def __init__(
        self,
        begin: Callable[[Call], Future[Any]],
        template: Call,
        iterables: Sequence[Iterable[Any]],
        sizer: Sizer,
        *,
        buffersize: int,
        timeout: float | None,
        note: Callable[[BaseException], object],
        alone: bool = False,
    ) -> None:
        self._begin = begin
        self._template = attrs.evolve(template, name=template.label)
        self._iterators = [iter(items) for items in iterables]
        self._sizer = sizer
        self._buffersize = buffersize
        self._timeout = timeout
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._note = note
        self._alone = alone
        self._under_way: collections.deque[Future[Any]] = collections.deque()
        self._done: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()

    def results(self, *, unordered: bool = False) -> Results:
        """Start, and return an iterator over the results.

        Args:
            unordered: Give them as they come.
        """
        self._fill(unordered)
        return Results(self._lists(unordered))

    def _lists(self, unordered: bool) -> Generator[list[Any]]:
        try:
            while self._under_way:
                future = self._next_done() if unordered else self._under_way[0]
                results, failure, seconds = self._outcome(future)
                self._under_way.remove(future)
                self._sizer.learn(len(results), seconds)
                self._fill(unordered)
                yield results
                if failure is not None:
                    self._note(failure.error)
                    raise failure.error
        finally:
            for future in self._under_way:
                future.cancel()
            future = failure = None  # type: ignore[assignment]  # tracebacks lead to this frame

    def _fill(self, unordered: bool) -> None:
        while len(self._under_way) < self._buffersize and (columns := self._cut()):
            if self._alone:
                call = attrs.evolve(self._template, args=tuple(column[0] for column in columns))
            else:
                args = (self._template.function, columns)
                size = len(columns[0])
                call = attrs.evolve(self._template, function=run_chunk, args=args, size=size)
            future = self._begin(call)
            self._under_way.append(future)
            if unordered:
                future.add_done_callback(self._done.put)

    def _cut(self) -> list[list[Any]]:
        """Return the arguments of the next chunk, or nothing at the end of the shortest."""
        size = self._sizer.next()
        columns: list[list[Any]] = []
        for iterator in self._iterators:
            columns.append(list(itertools.islice(iterator, size)))
            size = len(columns[-1])
            if not size:
                return []
        return [column[:size] for column in columns]

    def _next_done(self) -> Future[Any]:
        try:
            return self._done.get(timeout=self._left())
        except queue.Empty:
            raise self._overdue() from None

    def _outcome(self, future: Future[Any]) -> Outcome:
        try:
            result = future.result(self._left())
        except TimeoutError:
            if future.done():
                raise
            raise self._overdue() from None
        outcome: Outcome = ([result], None, 0.0) if self._alone else result
        return outcome

    def _left(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def _overdue(self) -> CallTimeoutError:
        return CallTimeoutError(f"map of {self._template.label}", self._timeout or 0.0)


def length_of(iterables: Sequence[Any]) -> int | None:
    """Return how many items a map over *iterables* has, if all of them tell, or `None`."""
    lengths = [len(items) for items in iterables if hasattr(items, "__len__")]
    return min(lengths) if lengths and len(lengths) == len(iterables) else None
