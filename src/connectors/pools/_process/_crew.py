"""What becomes of workers and their calls: answers come back, calls are taken back, workers end.

Only the thread that reads does this, or who is as undisturbed; see `_desk` for what others do.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import attrs

from connectors import events
from connectors._errors import ExecutorOpenError

from . import _wire
from ._alarms import RETIRED, THAW
from ._desk import Desk, Lock
from ._ticket import Ticket
from ._wire import Disconnected, Frame
from ._worker import Worker

_STARTS = 3  # so many workers in a row may die before they are ready
_GRACE = 5.0  # seconds that a worker has to end when it is let go
_RETRY = 1.0  # seconds until a worker is started again after the system refused one


@attrs.define(eq=False)
class Crew(Desk):
    """The workers of a pool, and the calls that they have or wait for.

    Attributes:
        failures: How many workers in a row died before they were ready.
        reason: Why the last of them did.
    """

    failures: int = 0
    reason: str = ""
    _thawing: bool = False

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
        elif frame.kind == _wire.BEGUN:
            self._note_begin(worker, frame.number)
        elif frame.number in worker.seat.calls:  # or else it was heeded, but that was interrupted
            ticket = self.schedule.answered(worker.seat, frame.number, frame.seconds)
            ticket.worker = None
            worker.remind()
            self.outcomes.answer(ticket, frame, worker.pid)

    def _note_begin(self, worker: Worker, sequence: int) -> None:
        ticket = worker.seat.calls.get(sequence)
        if ticket is None or ticket.ended or ticket.on_begin is None:
            return
        if ticket.files is not None and not ticket.retries:
            ticket.files.close()  # the worker has its own
        self.outcomes.add(ticket.on_begin, worker.pid)

    def receive(self, worker: Worker) -> None:
        """Heed what *worker* said."""
        try:
            for frame in worker.receive():
                self.heed(worker, frame)
        except (Disconnected, OSError):
            worker.silent = True
            worker.kill()  # it is dying, or it closed what leads to us
        self.note_head(worker)

    def receive_overheard(self) -> None:
        """Heed what callers read that listened at workers, and left."""
        for worker in self.workers.values():
            if worker.inbox.has_overheard() and not worker.attended:
                self.receive(worker)

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

    def end_worker(self, ticket: Ticket, kill: bool) -> None:
        """Let the worker that runs the call of *ticket* end by SIGTERM, or SIGKILL if *kill*."""
        worker = ticket.worker
        if worker is None or ticket.ended:
            return
        if kill:
            self.kill(worker)
        else:
            worker.terminate()

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
        self.lock = Lock()
        self.closed, self._amid = True, None
        self.requests.clear()
        for worker in self.workers.values():
            worker.close()
        self.workers.clear()
        self.schedule.abandon()
        self.starter.disown()
        if self.reader is not None:
            self.reader.close()
            self.reader = None
        return self.outcomes.disown()

    def release_memory(self) -> None:
        """Give back what is kept for calls."""
        self.segments.close()
        self.shelf.close()
