"""What callers touch of a pool: calls go out, and a caller that waits takes its answer.

All of it happens under one lock. A signal handler that raises may interrupt a caller anywhere, so
it stores first and removes then, and whoever takes the lock next mends what was left.

Signal handlers and finalizers may also ask something of the pool, amid what their thread does
under the lock. That becomes a request, which is heeded when the lock is free.
"""

from __future__ import annotations

import _thread
import logging
import pickle
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from connectors import _relay
from connectors._errors import PicklingError

from . import _wire
from ._alarms import IDLE, Alarm, Alarms
from ._memory import Segment, Segments
from ._outcomes import Outcomes
from ._schedule import Schedule, Seat, Send
from ._shelf import Shared, Shelf
from ._starter import Starter
from ._ticket import Ticket
from ._wire import Frame, Outbox
from ._worker import Worker

if TYPE_CHECKING:
    from ._reader import Reader

_logger = logging.getLogger("connectors")


class Lock(_thread.RLock):  # type: ignore[misc]  # it is not final, whatever typeshed says
    """A lock that tells whether this thread holds it. It is never taken twice."""

    def is_mine(self) -> bool:
        """Tell whether this thread holds it: then this is a finalizer or a signal handler."""
        return bool(self._is_owned())  # type: ignore[attr-defined]


@attrs.define(eq=False)
class Desk:
    """The workers of a pool, and the calls that they have or wait for.

    Attributes:
        name: The name by which messages and events speak of the pool.
        starter: Starts workers.
        idle_timeout: Seconds after which an idle worker ends, or `None`.
        schedule: Which call goes where.
        lock: Is held by who touches any of this.
        requests: What is to be done under the lock by who takes it next and is undisturbed.
        workers: The worker of each seat.
        shelf: Scattered values.
        segments: Memory for large contents.
        alarms: What is to be seen to at a certain time.
        outcomes: What is to be delivered.
        reader: The thread that reads, when there is one.
        closed: No more calls are taken.
        defect: Why the thread that reads could not go on.
    """

    name: str
    starter: Starter
    idle_timeout: float | None
    schedule: Schedule[Ticket]
    lock: Lock = attrs.field(factory=Lock)
    requests: deque[Callable[[], object]] = attrs.field(factory=deque)
    workers: dict[Seat[Ticket], Worker] = attrs.field(factory=dict)
    shelf: Shelf = attrs.field(factory=Shelf)
    segments: Segments = attrs.field(factory=Segments)
    alarms: Alarms = attrs.field(init=False)
    outcomes: Outcomes = attrs.field(init=False)
    reader: Reader | None = None
    closed: bool = False
    defect: BaseException | None = None
    _amid: Ticket | None = None

    def __attrs_post_init__(self) -> None:
        self.alarms = Alarms(self._matters)
        self.outcomes = Outcomes(self.name, self.segments, self._unused)

    def submit(self, ticket: Ticket) -> bool:
        """Queue *ticket* and send what can be sent; tell whether there is more to do than that."""
        self.mend()
        self._amid = ticket
        self.outcomes.open.add(ticket)
        if ticket.needs:
            self.shelf.use(ticket)
        more = self._send_at_once(ticket)
        if more is None:
            self.schedule.add(ticket)
            more = self._hand_out()
        self._amid = None
        return more

    def submit_late(self, ticket: Ticket) -> None:
        """Do as `submit`, long after the caller went on."""
        try:
            self.submit(ticket)
        except PicklingError as error:
            self.outcomes.fail(ticket, error)

    def catch_up(self) -> None:
        """Mend, and do what is requested."""
        self.mend()
        while self.requests:
            self.requests.popleft()()

    def _send_at_once(self, ticket: Ticket) -> bool | None:
        """Send *ticket*, if that is simple, and tell as `submit` does."""
        if ticket.needs or ticket.segment is not None or self.outcomes.large_results:
            return None
        if ticket.files is not None or ticket.on_begin is not None:
            return None
        seat = self.schedule.vacant()
        worker = None if seat is None else self.workers[seat]
        if seat is None or worker is None or worker.outbox or worker.levels is not _relay.levels():
            return None
        sequence = self.schedule.occupy(seat, ticket)
        worker.outbox.add(_wire.CALL, sequence, ticket.payload, ticket.flags)
        worker.allow((sequence,))  # first, because the worker wakes up while the call is sent
        jammed = self.flush(worker)
        ticket.worker = worker
        return self.note_head(worker) or jammed

    def finish(self, worker: Worker, ticket: Ticket, frame: Frame) -> bool:
        """Note that a caller took the answer of *worker*; tell as `submit` does."""
        self._amid = ticket
        ticket.ended = True
        self.outcomes.open.discard(ticket)
        self.schedule.answered(worker.seat, frame.number, frame.seconds)
        worker.inbox.forget_overheard()
        ticket.worker = ticket.core = None
        ticket.payload = b""
        worker.remind()
        more = self.note_head(worker) | self._hand_out()
        self._amid = None
        return more

    def _hand_out(self) -> bool:
        """Send what can be sent; tell whether there is more to do than that."""
        more = False
        while (step := self.schedule.next()) is not None:
            if not isinstance(step, Send):
                return True
            more = self.send(self.workers[step.seat], step.calls) or more
        return more

    def mend(self) -> None:
        """Make everything right if a caller was interrupted amid something."""
        ticket = self._amid
        if ticket is None:
            return
        for worker in self.workers.values():
            unsent = [number for number in worker.seat.calls if number > worker.allowed]
            worker.outbox.drop(unsent)
            self.schedule.put_back(worker.seat, unsent)
            for sent in worker.seat.calls.values():
                sent.worker = worker
            if not worker.retired:
                self.flush(worker)
                self.note_head(worker)
        self.schedule.look_again()
        if ticket.worker is None and ticket.number not in self.schedule.queue and not ticket.ended:
            self.outcomes.add(self.outcomes.drop, ticket)
        self._amid = None

    def send(self, worker: Worker, calls: dict[int, Ticket]) -> bool:
        """Send *calls* to *worker*; tell whether the thread that reads has to know."""
        out = worker.outbox
        levels = _relay.levels()
        if levels is not worker.levels:
            out.add(_wire.LEVELS, 0, pickle.dumps(levels))
            worker.levels = levels
        for sequence, ticket in calls.items():
            for key in ticket.needs and ticket.needs - worker.known:
                shared = self.shelf[key]
                out.add(_wire.DEFINE, key, shared.payload, shared.flags, _file(shared.segment))
                worker.known.add(key)
            flags = ticket.flags
            if ticket.segment is None and self.outcomes.large_results:
                ticket.segment = self.segments.spare()
            if ticket.segment is not None and not ticket.retries:
                flags |= _wire.WRITABLE
            if ticket.on_begin is not None:
                flags |= _wire.TELLS
            for descriptor in ticket.files.descriptors if ticket.files else ():
                out.add(_wire.FILE, sequence, b"", 0, descriptor)
            out.add(_wire.CALL, sequence, ticket.payload, flags, _file(ticket.segment))
        worker.allow(list(calls))
        jammed = self.flush(worker)
        for ticket in calls.values():
            ticket.worker = worker
        return self.note_head(worker) or jammed

    def flush(self, worker: Worker) -> bool:
        """Send *worker* what its socket takes now; tell whether something is left."""
        try:
            return worker.flush()
        except OSError:
            # Its calls would wait for ever for what cannot be sent.
            _logger.exception("worker %d is killed: it cannot be sent its calls", worker.pid)
            worker.outbox = Outbox()
            self.kill(worker)
            return False

    def note_head(self, worker: Worker) -> bool:
        """See which call *worker* runs now; tell whether that set the next alarm."""
        seat = worker.seat
        if not seat.ready:
            return False
        if not seat.calls:
            worker.head = 0
            if self.idle_timeout is None:
                return False
            worker.idle_since = time.monotonic()
            return self._watch(worker, self.idle_timeout)
        sequence = next(iter(seat.calls))
        if sequence == worker.head:
            return False
        ticket, soon = seat.calls[sequence], False
        if not ticket.ended:  # or else it was cancelled, and the worker is being killed
            if ticket.timeout is not None:
                soon = self.alarms.set(ticket.timeout, worker, sequence)
            if not ticket.begun:
                ticket.begin()
        worker.head = sequence
        return soon

    def _watch(self, worker: Worker, seconds: float) -> bool:
        if worker.watched:
            return False
        soon = self.alarms.set(seconds, worker, IDLE)
        worker.watched = True
        return soon

    def kill(self, worker: Worker) -> None:
        """Kill *worker* and send it no more calls."""
        self.schedule.condemn(worker.seat)
        worker.kill()

    def _matters(self, alarm: Alarm) -> bool:
        if alarm.worker is None:
            return True
        seat = alarm.worker.seat
        return seat in self.workers and (alarm.sequence <= 0 or alarm.sequence in seat.calls)

    # --- scattered values ---------------------------------------------------------------------

    def sweep(self) -> None:
        """Let the workers forget what is released and not used."""
        for key, shared in self.shelf.sweep():
            self._forget_value(key, shared)

    def _unused(self, ticket: Ticket) -> None:
        with self.lock:
            self.mend()
            for key, shared in self.shelf.let_go(ticket):
                self._forget_value(key, shared)

    def _forget_value(self, key: int, shared: Shared) -> None:
        segment = shared.segment
        for worker in self.workers.values():
            if key in worker.known and not worker.retired:
                worker.known.discard(key)
                if segment is not None:  # whose descriptor is not ours any more
                    worker.outbox.drop((key,), _wire.DEFINE)
                worker.outbox.add(_wire.FORGET, key, b"")
                self.flush(worker)
                worker.notify()
        if segment is not None and shared.flags & _wire.KEPT:
            segment.close()  # calls may still have it mapped
        elif segment is not None:
            self.segments.give(segment)


def _file(segment: Segment | None) -> int | None:
    return None if segment is None else segment.descriptor
