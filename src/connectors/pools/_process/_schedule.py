"""Which call goes to which worker: plain data, no pipe, no process, no clock.

```text
add ──▶ queue ──▶ Send ──▶ seat.calls ──▶ answered
          ▲                    │
          └──── revoked ◀── Revoke (an idle worker wants what waits behind a long call)
```

A seat is a worker as the schedule sees it. It holds the call that runs there and a few that wait
behind it, so that it never idles; as they can be revoked until the moment they begin, waiting
behind a long call costs them nothing.
"""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

import attrs


class Numbered(Protocol):
    """What is scheduled: anything with a number that nothing else has."""

    number: int


T = TypeVar("T", bound=Numbered)

_AHEAD = 0.01  # seconds of work that a worker has at hand: what a busy parent may be away
_MOST_AHEAD = 256
_OVERHEAD = 1e-5  # seconds that the shortest call takes a worker
_FEW = 2  # with so few calls a worker may soon be idle
_BATCH = 16  # so many calls are worth sending together
_SHORTEST_LEISURE, _LONGEST_LEISURE = 3e-5, 2e-3  # seconds
_SMOOTHING = 0.1


@attrs.define(eq=False)
class Seat(Generic[T]):
    """A worker as the schedule sees it.

    Attributes:
        limit: How many calls it runs in its life, at most.
        calls: What was sent there and is not answered, by sequence number, in order.
        answered: How many it answered.
        ready: It answered that it is; before that it runs nothing.
        asked: Revoking brought nothing since its last answer.
    """

    limit: float = math.inf
    calls: dict[int, T] = attrs.field(factory=dict)
    answered: int = 0
    ready: bool = False
    asked: bool = False

    @property
    def remaining(self) -> float:
        """How many more calls it may take."""
        return self.limit - self.answered - len(self.calls)


@attrs.frozen
class Send(Generic[T]):
    """Send *calls*, by sequence number, to the worker of *seat*."""

    seat: Seat[T]
    calls: dict[int, T]


@attrs.frozen
class Start:
    """Start a worker and `hire` it, or `freeze`."""


@attrs.frozen
class Revoke(Generic[T]):
    """Try to take *count* calls back from the worker of *seat*, and tell by `revoked`."""

    seat: Seat[T]
    count: int


@attrs.frozen
class Retire(Generic[T]):
    """Let the worker of *seat* end, and `retire` it."""

    seat: Seat[T]


Step = Send[T] | Start | Revoke[T] | Retire[T]


@attrs.define(eq=False)
class Schedule(Generic[T]):
    """Calls that wait, workers that run them, and what to do next.

    Attributes:
        size: How many workers there are, at most.
        limit: How many calls a worker runs in its life, at most.
        queue: The calls that are at no worker, by number, in order.
        seats: The workers.
        closing: Workers are let go when nothing is left for them.
    """

    size: int
    limit: float = math.inf
    queue: OrderedDict[int, T] = attrs.field(factory=OrderedDict)
    seats: list[Seat[T]] = attrs.field(factory=list)
    closing: bool = False
    _sequence: int = 1
    _depth: int = 2
    _mean: float | None = None
    _frozen: bool = False
    _settled: bool = False

    def add(self, call: T) -> None:
        """Put *call* at the end of the queue."""
        # Behind others that wait it changes nothing, unless they are enough to be sent together.
        before = len(self.queue)
        self._settled = self._settled and before > 0 and (before + 1) % _BATCH != 0
        self.queue[call.number] = call

    def vacant(self) -> Seat[T] | None:
        """Return the seat of an idle worker, if nothing waits and there is nothing else to do."""
        if self._settled and not self.queue:
            for seat in self.seats:
                if not seat.calls and seat.ready and seat.remaining > 0:
                    return seat
        return None

    def occupy(self, seat: Seat[T], call: T) -> int:
        """Give *call* to *seat*, which is `vacant`; return its sequence number there."""
        sequence, self._sequence = self._sequence, self._sequence + 1
        seat.calls[sequence] = call
        return sequence

    def drop(self, call: T) -> bool:
        """Take *call* out of the queue; tell whether it was there."""
        return self.queue.pop(call.number, None) is not None

    def hire(self) -> Seat[T]:
        """Return the seat of a worker that was started."""
        seat: Seat[T] = Seat(self.limit)
        self.seats.append(seat)
        return seat

    def freeze(self, frozen: bool) -> None:
        """Start no more workers, or start them again."""
        self._frozen, self._settled = frozen, False

    def close(self) -> None:
        """Let workers go when nothing is left for them."""
        self.closing, self._settled = True, False

    def abandon(self) -> None:
        """Forget all calls and workers, and be closed."""
        self.queue.clear()
        self.seats.clear()
        self.close()

    def ready(self, seat: Seat[T]) -> None:
        """Note that the worker of *seat* runs what it was sent."""
        seat.ready, self._settled = True, False

    def answered(self, seat: Seat[T], sequence: int, duration: float) -> T:
        """Return the call that *seat* answered under *sequence*, after *duration* seconds."""
        call = seat.calls.pop(sequence)
        seat.answered += 1
        seat.asked = self._settled = False
        mean = duration if self._mean is None else self._mean
        self._mean = mean + _SMOOTHING * (duration - mean)
        self._depth = 2 + min(_MOST_AHEAD, int(_AHEAD / (self._mean + _OVERHEAD)))
        return call

    def revoked(self, seat: Seat[T], sequences: Sequence[int]) -> None:
        """Put the calls that *seat* gave back in front of the queue."""
        seat.asked = not sequences
        self.put_back(seat, sequences)

    def put_back(self, seat: Seat[T], sequences: Sequence[int]) -> None:
        """Put calls of *seat* that it did not begin in front of the queue."""
        self._put_back([seat.calls[sequence] for sequence in sequences])
        for sequence in sequences:
            del seat.calls[sequence]

    def gone(self, seat: Seat[T], unclaimed: Sequence[int]) -> list[T]:
        """Forget *seat*, whose worker is dead.

        Args:
            seat: The seat.
            unclaimed: What the worker certainly did not begin; others will run it.

        Returns:
            The calls that it had begun.
        """
        self.revoked(seat, unclaimed)
        if seat in self.seats:
            self.seats.remove(seat)
        return list(seat.calls.values())

    def condemn(self, seat: Seat[T]) -> None:
        """Give no more calls to *seat*, whose worker is killed or ends."""
        seat.limit = -math.inf

    def retry(self, call: T) -> None:
        """Put *call*, which was begun, in front of the queue."""
        self._put_back([call])

    def next(self) -> Step[T] | None:
        """Return what to do now, or `None` until something happens."""
        if self._settled:
            return None
        step = self._retire() or (self._fill() if self.queue else self._steal())
        self._settled = step is None
        return step

    def look_again(self) -> None:
        """Let `next` look even if nothing seems to have happened."""
        self._settled = False

    def leisure(self) -> float:
        """Return for how many seconds nobody needs to look, because every worker is busy."""
        least = min((len(seat.calls) for seat in self.seats), default=0)
        busy = (least - _FEW) * ((self._mean or 0.0) + _OVERHEAD) / 2
        return min(_LONGEST_LEISURE, busy) if busy > _SHORTEST_LEISURE else 0.0

    def _put_back(self, calls: Sequence[T]) -> None:
        for call in reversed(calls):
            self.queue[call.number] = call
            self.queue.move_to_end(call.number, last=False)
        self._settled = False

    def _retire(self) -> Step[T] | None:
        for seat in self.seats:
            if not seat.calls and (seat.remaining <= 0 or (self.closing and not self.queue)):
                return Retire(seat)
        return None

    def retire(self, seat: Seat[T]) -> None:
        """Forget *seat*, which has no calls."""
        self.seats.remove(seat)
        self._settled = False

    def _fill(self) -> Step[T] | None:
        open_seats = [seat for seat in self.seats if seat.remaining > 0]
        idle = [seat for seat in open_seats if not seat.calls]
        if idle:
            return self._send(next((seat for seat in idle if seat.ready), idle[0]))
        if len(self.seats) < self.size and not self._frozen:
            return Start()
        if open_seats:
            seat = min(open_seats, key=lambda seat: len(seat.calls))
            # Sending costs the same for one call and for many: unless the worker would idle soon,
            # wait until there are many.
            enough = 1 if len(seat.calls) <= _FEW else min(_BATCH, self._depth // 2)
            if len(seat.calls) <= self._depth // 2 and len(self.queue) >= enough:
                return self._send(seat)
        return None

    def _send(self, seat: Seat[T]) -> Send[T]:
        fair = -(-len(self.queue) // self.size)
        count = min(self._depth - len(seat.calls), fair, seat.remaining)
        chosen = list(itertools.islice(self.queue.values(), int(count)))
        first, self._sequence = self._sequence, self._sequence + len(chosen)
        calls = dict(zip(itertools.count(first), chosen, strict=False))
        seat.calls.update(calls)  # there first, lest an interrupt loses them
        for _ in chosen:
            self.queue.popitem(last=False)
        return Send(seat, calls)

    def _steal(self) -> Step[T] | None:
        idle, victim, most = False, None, 0
        for seat in self.seats:
            waiting = len(seat.calls) - seat.ready
            if waiting > most and not seat.asked:
                victim, most = seat, waiting
            elif not seat.calls and seat.ready and seat.remaining > 0:
                idle = True
        return Revoke(victim, -(-most // 2)) if idle and victim is not None else None
