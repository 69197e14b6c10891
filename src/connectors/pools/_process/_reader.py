"""The thread that reads: it hears all workers of a pool and does what is to be done then.

```text
wait ──▶ hear ──▶ heed alarms ──▶ take the steps of the schedule ──▶ deliver outcomes ─┐
  ▲                                                                                    │
  └────────────────────────────────────────────────────────────────────────────────────┘
```

Signal handlers run in the main thread, so none interrupts this one.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import attrs

from connectors._errors import CallTimeoutError, ExecutorOpenError, WorkerCrashError

from ._alarms import IDLE, RETIRED
from ._crew import Crew
from ._ear import DEAF, MUTE, READ, WRITE, Ear
from ._schedule import Retire, Revoke, Send, Start
from ._ticket import Ticket
from ._worker import Worker

_DEAF = 1.0  # seconds in which a worker that lives has begun the call that is next


@attrs.define(eq=False)
class Reader:
    """The thread that reads.

    Attributes:
        crew: The workers that it hears.
        thread: The thread.
        ear: What it hears with.
    """

    crew: Crew
    thread: threading.Thread = attrs.field(init=False)
    ear: Ear = attrs.field(init=False)
    _wakers: tuple[socket.socket, socket.socket] | None = None

    def __attrs_post_init__(self) -> None:
        name = f"{self.crew.name}-reader"
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def wake(self) -> None:
        """Let it look around."""
        if self._wakers is not None:  # or else it will look around when it begins
            with contextlib.suppress(OSError):
                self._wakers[1].send(b"\0")

    def close(self) -> None:
        """Give back what it hears with."""
        if self._wakers is not None:
            self.ear.close()
            for waker in self._wakers:
                waker.close()

    def _run(self) -> None:
        crew = self.crew
        with crew.lock:
            if crew.reader is not self:
                return  # starting it was interrupted
            try:
                self._open()
            except OSError as error:
                crew.mend()
                crew.reason = f"nothing can be heard from it ({error})"
                crew.give_up()
                crew.reader = None  # the next call may try again
        if crew.reader is None:
            crew.outcomes.deliver()
            return
        try:
            while self._turn():
                pass
        except BaseException as error:  # nobody would ever hear of the calls
            self._collapse(error)
            raise
        finally:
            self.close()
            crew.release_memory()
            crew.starter.close()

    def _open(self) -> None:
        with contextlib.ExitStack() as undo:
            self.ear = Ear()
            undo.callback(self.ear.close)
            wakers = socket.socketpair()
            for waker in wakers:
                undo.callback(waker.close)
                waker.setblocking(False)
            self.ear.listen(wakers[0].fileno(), READ, self)
            self._wakers = wakers
            wakers[1].send(b"\0")  # it may have been woken before it had these
            undo.pop_all()

    def _turn(self) -> bool:
        """Wait until something happens and see to it; tell whether there is more to come."""
        crew = self.crew
        ready = list(self.ear.wait(crew.alarms.patience()))
        with crew.lock:
            crew.catch_up()
            for source, descriptor, mask in ready:
                self._hear(source, descriptor, mask)
            crew.receive_overheard()
            self._heed_alarms()
            self._advance()
            self._listen_to_all()
            over = crew.closed and not (crew.workers or crew.schedule.queue or crew.requests)
            leisure = crew.schedule.leisure()
        crew.outcomes.deliver()
        if leisure:
            time.sleep(leisure)  # many answers are read in little more time than one
        return not over

    # --- hearing ------------------------------------------------------------------------------

    def _hear(self, source: Worker | Reader, descriptor: int, mask: int) -> None:
        crew = self.crew
        if isinstance(source, Reader):
            assert self._wakers is not None
            with contextlib.suppress(BlockingIOError):
                self._wakers[0].recv(1 << 12)
            crew.sweep()
        elif source.seat not in crew.workers:
            return  # it was buried in this very round
        elif descriptor == source.status:
            if source.hear():
                self._bury(source)
        else:
            if mask & WRITE:
                crew.flush(source)
            if mask & READ and source.interest > MUTE:
                crew.receive(source)

    def _listen(self, worker: Worker, interest: int) -> None:
        """Hear what *worker* says, or that it can be told more, or neither."""
        worker.interest = interest
        self.ear.listen(worker.sock.fileno(), interest, worker)

    # --- steps --------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Do what the schedule says until it says no more."""
        crew = self.crew
        if crew.closed and not crew.schedule.closing:
            crew.schedule.close()
        while (step := crew.schedule.next()) is not None:
            match step:
                case Send(seat, calls):
                    crew.send(crew.workers[seat], calls)
                case Revoke(seat, count):
                    crew.revoke(crew.workers[seat], count)
                case Retire(seat):
                    crew.retire(crew.workers[seat])
                case Start():
                    self._start()
        if crew.schedule.queue and not crew.schedule.seats:
            crew.give_up()

    def _listen_to_all(self) -> None:
        """Hear each worker as it should be heard now."""
        for worker in self.crew.workers.values():
            if worker.interest != (wanted := _interest(worker)):
                self._listen(worker, wanted)

    def _start(self) -> None:
        worker = self.crew.start()
        if worker is not None:
            self.ear.listen(worker.status, READ, worker)

    # --- time ---------------------------------------------------------------------------------

    def _heed_alarms(self) -> None:
        crew = self.crew
        while (alarm := crew.alarms.due()) is not None:
            worker = alarm.worker
            if worker is None:
                crew.thaw()
            elif worker.seat not in crew.workers:
                continue
            elif alarm.sequence == RETIRED:
                worker.kill()
            elif worker.retired:
                continue
            elif alarm.sequence == IDLE:
                crew.retire_idle(worker)
            elif alarm.sequence in worker.seat.calls:
                self._overdue(worker, alarm.sequence)

    def _overdue(self, worker: Worker, sequence: int) -> None:
        """Kill *worker* if it still runs the call *sequence*."""
        crew = self.crew
        head = worker.seat.calls[sequence]
        crew.heed_all(worker)
        ticket = worker.seat.calls.get(sequence)
        if ticket is None:
            if not head.ended:  # it was taken back, as the worker did not begin it
                worker.missed += head.timeout or 0.0
            if worker.missed >= _DEAF:
                crew.kill(worker)
            crew.note_head(worker)
        elif ticket.timeout is not None:
            ticket.verdict = CallTimeoutError(ticket.label, ticket.timeout, "its worker is killed")
            crew.kill(worker)

    # --- ends ---------------------------------------------------------------------------------

    def _bury(self, worker: Worker) -> None:
        """Say what became of the calls of *worker*, which is dead."""
        self._listen(worker, DEAF)
        self.ear.listen(worker.status, DEAF, worker)
        for ticket in self.crew.forget(worker):
            self._crashed(ticket, worker)
        self.crew.note_death(worker)
        worker.close()

    def _crashed(self, ticket: Ticket, worker: Worker) -> None:
        crew = self.crew
        if ticket.ended:
            crew.outcomes.add(crew.outcomes.let_go, ticket)
        elif ticket.verdict is not None:
            crew.outcomes.fail(ticket, ticket.verdict)
        elif ticket.retries > 0:
            ticket.retries -= 1
            crew.schedule.retry(ticket)
        else:
            error = WorkerCrashError(ticket.label, worker.exitcode, worker.last_words)
            crew.outcomes.fail(ticket, error)

    def _collapse(self, error: BaseException) -> None:
        """Fail all calls, because the thread that reads cannot go on."""
        crew = self.crew
        with crew.lock:
            crew.closed, crew.defect = True, error
            for ticket in crew.abandon():
                failure = ExecutorOpenError(crew.name, {"reader": repr(error)})
                crew.outcomes.fail(ticket, failure)
        crew.outcomes.deliver()


def _interest(worker: Worker) -> int:
    if worker.silent:
        return DEAF
    if worker.attended:
        return MUTE
    return READ | WRITE if worker.outbox else READ
