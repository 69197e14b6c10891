"""`map`: columns of items cut into chunks, whose size is found out from how long they take."""

from __future__ import annotations

import collections
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import attrs

from connectors._envelope import pack_error, unpack_error
from connectors._errors import CallTimeoutError

_SECONDS = 0.02  # a chunk of this length makes the cost of sending it vanish
_LEAST_SECONDS = 0.001  # shorter ones are not made, not even to share the last items fairly
_GROWTH = 64  # how much larger than its predecessor a chunk may be
_LARGEST = 1 << 16

Outcome = tuple[list[Any], Any, float]


def run_chunk(function: Callable[..., Any], columns: Sequence[Sequence[Any]]) -> Outcome:
    """Return the results of *function* up to a failure, that failure packed, and the time."""
    begin = time.perf_counter()
    results: list[Any] = []
    failure = None
    try:
        results.extend(map(function, *columns))
    except Exception as error:
        failure = pack_error(error)
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
    _size: int = 1
    _least: int = 1

    def next(self) -> int:
        """Return the number of items of the next chunk."""
        size = self._size
        if self.fixed is not None:
            size = self.fixed
        elif self.left is not None:
            size = min(size, max(self._least, self.left // self.share))
            self.left -= size
        return size

    def learn(self, items: int, seconds: float) -> None:
        """Take note that a chunk of *items* took *seconds*."""
        if items:
            rate = items / max(seconds, 1e-9)
            self._size = max(1, min(int(_SECONDS * rate), items * _GROWTH, _LARGEST))
            self._least = max(1, min(int(_LEAST_SECONDS * rate), self._size))


class Mapping:
    """One `map`.

    Args:
        submit: Starts a call.
        function: What is applied.
        iterables: Where its arguments come from.
        sizer: The sizes of chunks.
        buffersize: How many chunks are under way at most.
        timeout: Limit of the whole in seconds, or `None`.
    """

    def __init__(
        self,
        submit: Callable[..., Future[Any]],
        function: Callable[..., Any],
        iterables: Sequence[Iterable[Any]],
        sizer: Sizer,
        *,
        buffersize: int,
        timeout: float | None,
    ) -> None:
        self._submit = submit
        self._function = function
        self._iterators = [iter(items) for items in iterables]
        self._sizer = sizer
        self._buffersize = buffersize
        self._timeout = timeout
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._under_way: collections.deque[Future[Any]] = collections.deque()

    def results(self) -> Iterator[Any]:
        """Start, and return an iterator over the results, in order."""
        self._fill()
        return itertools.chain.from_iterable(self._lists())

    def _lists(self) -> Iterator[list[Any]]:
        try:
            while self._under_way:
                results, failure, seconds = self._outcome(self._under_way.popleft())
                self._sizer.learn(len(results), seconds)
                self._fill()
                yield results
                if failure is not None:
                    raise unpack_error(failure)
        finally:
            for future in self._under_way:
                future.cancel()

    def _fill(self) -> None:
        while len(self._under_way) < self._buffersize and (columns := self._cut()):
            self._under_way.append(self._submit(run_chunk, self._function, columns))

    def _cut(self) -> list[list[Any]]:
        """Return the arguments of the next chunk, or nothing at the end of the shortest."""
        size = self._sizer.next()
        columns: list[list[Any]] = []
        for iterator in self._iterators:
            columns.append(list(itertools.islice(iterator, size)))
            size = len(columns[-1])
            if not size:
                return []
        return [column[:size] for column in columns] if len(columns) > 1 else columns

    def _outcome(self, future: Future[Any]) -> Outcome:
        left = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
        try:
            outcome: Outcome = future.result(left)
        except TimeoutError as error:
            if future.done():
                raise
            future.cancel()
            raise CallTimeoutError("map", self._timeout or 0.0) from error
        return outcome
