"""The workers of a pool and their calls: what is sent, what comes back, what is taken back.

All of it happens under one lock. Callers only `submit` and, while they do, `send`: they may be
interrupted anywhere, by a signal handler that raises, and then whoever takes the lock next mends
what they left. All else is done by the thread that reads, or like it undisturbed.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import attrs

from connectors import _relay, events
from connectors._errors import ExecutorOpenError

from . import _wire
from ._alarms import IDLE, RETIRED, THAW, Alarm, Alarms
from ._memory import Segment, Segments
from ._outcomes import Outcomes
from ._schedule import Schedule, Seat, Send
from ._shelf import Shelf
from ._starter import Starter
from ._ticket import Ticket
from ._wire import Disconnected, Frame, Outbox
from ._worker import Worker

if TYPE_CHECKING:
    from ._reader import Reader

_STARTS = 3  # so many workers in a row may die before they are ready
_GRACE = 5.0  # seconds that a worker has to end when it is let go
_RETRY = 1.0  # seconds until a worker is started again after the system refused one

_logger = logging.getLogger("connectors")


@attrs.define(eq=False)
class Crew:
    """The workers of a pool, and the calls that they have or wait for.

    Attributes:
        name: The name by which messages and events speak of the pool.
        starter: Starts workers.
        idle_timeout: Seconds after which an idle worker ends, or `None`.
        schedule: Which call goes where.
        lock: Is held by who touches any of this.
        workers: The worker of each seat.
        shelf: Scattered values.
        segments: Memory for large contents.
        alarms: What is to be seen to at a certain time.
        outcomes: What is to be delivered.
        reader: The thread that reads, when there is one.
        closed: No more calls are taken.
        defect: Why the thread that reads could not go on.
        failures: How many workers in a row died before they were ready.
        reason: Why the last of them did.
    """

    name: str
    starter: Starter
    idle_timeout: float | None
    schedule: Schedule[Ticket]
    lock: threading.Lock = attrs.field(factory=threading.Lock)
    workers: dict[Seat[Ticket], Worker] = attrs.field(factory=dict)
    shelf: Shelf = attrs.field(factory=Shelf)
    segments: Segments = attrs.field(factory=Segments)
    alarms: Alarms = attrs.field(init=False)
    outcomes: Outcomes = attrs.field(init=False)
    reader: Reader | None = None
    closed: bool = False
    defect: BaseException | None = None
    failures: int = 0
    reason: str = ""
    _thawing: bool = False
    _amid: Ticket | None = None

    def __attrs_post_init__(self) -> None:
        self.alarms = Alarms(self._matters)
        self.outcomes = Outcomes(self.name, self.segments, self._unused)

    # --- what callers do ----------------------------------------------------------------------

    def submit(self, ticket: Ticket) -> bool:
        """Queue *ticket* and send what can be sent; tell whether there is more to do than that."""
        self.mend()
        self._amid = ticket
        if ticket.needs:
            self.shelf.use(ticket)
        more = self._send_at_once(ticket)
        if more is None:
            self.schedule.add(ticket)
            more = self._hand_out()
        self._amid = None
        return more

    def _send_at_once(self, ticket: Ticket) -> bool | None:
        """Send *ticket*, if that is simple, and tell as `submit` does."""
        if ticket.needs or ticket.segment is not None or self.outcomes.large_results:
            return None
        seat = self.schedule.vacant()
        worker = None if seat is None else self.workers[seat]
        if seat is None or worker is None or worker.outbox or worker.levels is not _relay.levels():
            return None
        sequence = self.schedule.occupy(seat, ticket)
        worker.outbox.add(_wire.CALL, sequence, ticket.payload, ticket.flags)
        jammed = self.flush(worker)
        worker.allow((sequence,))
        ticket.worker = worker
        return self.note_head(worker) or jammed

    def finish(self, worker: Worker, ticket: Ticket, frame: Frame) -> bool:
        """Note that a caller took the answer of *worker*; tell as `submit` does."""
        self._amid = ticket
        ticket.ended = True
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
            self.outcomes.add(self.outcomes.let_go, ticket)
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
            out.add(_wire.CALL, sequence, ticket.payload, flags, _file(ticket.segment))
        worker.allow(list(calls))  # first, because the worker wakes up while the calls are sent
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
        worker.watched = True
        return self.alarms.set(seconds, worker, IDLE)

    # --- what comes back ----------------------------------------------------------------------

    def heed(self, worker: Worker, frame: Frame) -> None:
        """Do what *frame* of *worker* says."""
        if frame.kind == _wire.READY:
            worker.pid = frame.number
            self.failures = 0
            self.schedule.ready(worker.seat)
            self.schedule.freeze(False)  # one more can be started, as far as is known
            self.outcomes.tell(events.WorkerStarted, pid=worker.pid)
        elif frame.kind == _wire.REFUSED:
            worker.failure = frame.payload
        elif frame.number in worker.seat.calls:  # or else it was heeded, but that was interrupted
            ticket = self.schedule.answered(worker.seat, frame.number, frame.seconds)
            ticket.worker = None
            worker.remind()
            self.outcomes.answer(ticket, frame, worker.pid)

    def receive(self, worker: Worker) -> None:
        """Heed what *worker* said."""
        try:
            for frame in worker.receive():
                self.heed(worker, frame)
        except (Disconnected, OSError):
            worker.silent = True
            worker.kill()  # it is dying, or it closed what leads to us
        self.note_head(worker)

    def heed_all(self, worker: Worker) -> None:
        """Take back what *worker* did not begin and heed all that it said until now.

        What it still has afterwards is the call that it runs.
        """
        self.revoke(worker)
        for frame in worker.receive_all():
            self.heed(worker, frame)

    # --- what is taken back -------------------------------------------------------------------

    def revoke(self, worker: Worker, count: int = _wire.MOST_TOKENS) -> None:
        """Take up to *count* calls back that *worker* did not begin."""
        sequences = [] if worker.retired else worker.revoke(count)
        for sequence in sequences:
            worker.seat.calls[sequence].worker = None
        if sequences and worker.bell is not None and worker.attended:
            worker.bell.release()
        self.schedule.revoked(worker.seat, sequences)

    def cancel(self, ticket: Ticket, kill: bool) -> bool:
        """Cancel the call of *ticket*, also if it runs and *kill*; tell whether that was done."""
        if ticket.ended:
            return False
        worker = ticket.worker
        if worker is not None:
            self.revoke(worker)
        if self.schedule.drop(ticket):
            self.outcomes.cancel(ticket, over=True)
            return True
        if worker is None or not kill:
            return False
        self.heed_all(worker)
        if ticket.worker is None:
            self.note_head(worker)
            return False  # it was answered
        self.kill(worker)
        self.outcomes.cancel(ticket, over=False)  # its worker may still read what it has
        return True

    def cancel_all(self, kill: bool) -> list[Ticket]:
        """Cancel all calls that have not begun, and with *kill* those that have; return them."""
        for worker in list(self.workers.values()):
            self.revoke(worker)
        running = [ticket for seat in self.schedule.seats for ticket in seat.calls.values()]
        tickets = [*self.schedule.queue.values(), *(running if kill else ())]
        cancelled = [ticket for ticket in tickets if self.cancel(ticket, kill)]
        if kill:
            for worker in self.workers.values():
                self.kill(worker)
        return cancelled

    def kill(self, worker: Worker) -> None:
        """Kill *worker* and send it no more calls."""
        self.schedule.condemn(worker.seat)
        worker.kill()

    # --- workers come and go ------------------------------------------------------------------

    def start(self) -> Worker | None:
        """Start a worker and return it, unless the system refuses."""
        seat = self.schedule.hire()
        try:
            worker = self.starter.start(seat)
        except Exception as error:
            self.schedule.gone(seat, ())
            self.reason = f"no process can be started ({error})"
            self.schedule.freeze(True)
            if self.schedule.seats and not self._thawing:
                self._thawing = True
                self.alarms.set(_RETRY, None, THAW)
            return None
        self.workers[seat] = worker
        self.flush(worker)
        return worker

    def thaw(self) -> None:
        """Start workers again."""
        self._thawing = False
        self.schedule.freeze(False)

    def retire(self, worker: Worker) -> None:
        """Let *worker*, which has no calls, end."""
        self.schedule.retire(worker.seat)
        worker.retire()
        self.alarms.set(_GRACE, worker, RETIRED)

    def retire_idle(self, worker: Worker) -> None:
        """Let *worker* end if it was idle for long enough."""
        assert self.idle_timeout is not None
        worker.watched = False
        if worker.seat.calls:
            return
        left = worker.idle_since + self.idle_timeout - time.monotonic()
        if left > 0:
            self._watch(worker, left)
        else:
            self.retire(worker)

    def forget(self, worker: Worker) -> Iterator[Ticket]:
        """Forget *worker*, which is dead, and iterate over the calls that it had begun."""
        for frame in worker.receive_all():
            self.heed(worker, frame)
        self.revoke(worker)
        del self.workers[worker.seat]
        for ticket in self.schedule.gone(worker.seat, ()):
            ticket.worker = None
            yield ticket

    def _matters(self, alarm: Alarm) -> bool:
        if alarm.worker is None:
            return True
        seat = alarm.worker.seat
        return seat in self.workers and (alarm.sequence <= 0 or alarm.sequence in seat.calls)

    # --- scattered values ---------------------------------------------------------------------

    def sweep(self) -> None:
        """Let the workers forget what is released and not used."""
        for key, shared in self.shelf.sweep():
            self._forget_value(key, shared.segment)

    def _unused(self, ticket: Ticket) -> None:
        with self.lock:
            self.mend()
            for key, shared in self.shelf.let_go(ticket):
                self._forget_value(key, shared.segment)

    def _forget_value(self, key: int, segment: Segment | None) -> None:
        for worker in self.workers.values():
            if key in worker.known and not worker.retired:
                worker.known.discard(key)
                if segment is not None:  # whose descriptor is not ours any more
                    worker.outbox.drop((key,), _wire.DEFINE)
                worker.outbox.add(_wire.FORGET, key, b"")
                self.flush(worker)
                worker.notify()
        if segment is not None:
            self.segments.give(segment)

    # --- ends ---------------------------------------------------------------------------------

    def note_death(self, worker: Worker) -> None:
        """Note that *worker* died, unless it was let go."""
        if worker.retired:
            return
        reason = worker.reason
        self.outcomes.tell(events.WorkerDied, pid=worker.pid, reason=reason)
        if not worker.seat.ready:
            self.failures += 1
            self.reason = reason
            if worker.failure is not None or self.failures >= _STARTS:
                self.schedule.freeze(True)

    def give_up(self) -> None:
        """Fail what waits, because no worker can be started; the next call may try again."""
        for ticket in list(self.schedule.queue.values()):
            self.schedule.drop(ticket)
            self.outcomes.fail(ticket, ExecutorOpenError(self.name, {"worker": self.reason}))
        self.failures = 0
        self.schedule.freeze(False)

    def abandon(self) -> list[Ticket]:
        """Kill and forget all workers, and return the calls that there were."""
        sent = [ticket for seat in self.workers for ticket in seat.calls.values()]
        waiting = list(self.schedule.queue.values())
        for worker in self.workers.values():
            with contextlib.suppress(OSError):
                worker.kill()
                worker.close()
        self.workers.clear()
        self.alarms.clear()
        self.schedule.abandon()
        for ticket in sent:
            ticket.worker = None
        return [*waiting, *sent]

    def disown(self) -> list[Ticket]:
        """Forget, in a forked child, what is the parent's; return the calls that there were."""
        self.lock = threading.Lock()
        self.closed, self._amid = True, None
        tickets = [ticket for seat in self.workers for ticket in seat.calls.values()]
        tickets += self.schedule.queue.values()
        for worker in self.workers.values():
            worker.close()
        self.workers.clear()
        self.schedule.abandon()
        self.starter.disown()
        if self.reader is not None:
            self.reader.close()
            self.reader = None
        return tickets

    def release_memory(self) -> None:
        """Give back what is kept for calls."""
        self.segments.close()
        self.shelf.close()


def _file(segment: Segment | None) -> int | None:
    return None if segment is None else segment.descriptor
