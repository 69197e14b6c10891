"""What is to be seen to at a certain time: limits of calls, and workers that idle or linger."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable
from typing import NamedTuple

import attrs

from ._worker import Worker

IDLE, RETIRED, THAW = 0, -1, -2  # instead of the sequence number of a call
_MANY = 256


class Alarm(NamedTuple):
    """At *time*, see to *worker*: to its call *sequence*, or to what else that says."""

    time: float
    number: int
    worker: Worker | None
    sequence: int


@attrs.define(eq=False)
class Alarms:
    """The alarms that are set, and of which some may not matter any more.

    Attributes:
        matters: Tells whether an alarm does.
    """

    matters: Callable[[Alarm], bool]
    _heap: list[Alarm] = attrs.field(factory=list)
    _most: int = _MANY
    _numbers: itertools.count[int] = attrs.field(factory=itertools.count)

    def __len__(self) -> int:
        return len(self._heap)

    def set(self, seconds: float, worker: Worker | None, sequence: int) -> bool:
        """Set one for in so many *seconds*; tell whether it is the next."""
        if len(self._heap) >= self._most:
            heap = list(filter(self.matters, self._heap))
            heapq.heapify(heap)
            self._heap, self._most = heap, max(_MANY, 2 * len(heap))
        alarm = Alarm(time.monotonic() + seconds, next(self._numbers), worker, sequence)
        heapq.heappush(self._heap, alarm)
        return self._heap[0] is alarm

    def due(self) -> Alarm | None:
        """Take one that is due, if there is one."""
        if self._heap and self._heap[0].time <= time.monotonic():
            return heapq.heappop(self._heap)
        return None

    def patience(self) -> float | None:
        """Return the seconds until the next, or `None` if there is none."""
        return max(0.0, self._heap[0].time - time.monotonic()) if self._heap else None

    def clear(self) -> None:
        """Forget all."""
        self._heap = []
