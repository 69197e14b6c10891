"""The engine of a process pool: calls in, outcomes out.

```text
submit ──▶ schedule ──▶ worker.send            (in the thread that submits)
              ▲              │
              └── one thread reads all workers ──▶ futures
```

Everything that may be touched by several threads is touched under one lock; futures are resolved
outside of it, because their callbacks may be anybody's code.
"""

from __future__ import annotations

import atexit
import contextlib
import heapq
import itertools
import logging
import os
import pickle
import selectors
import socket
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import attrs

from connectors import _relay, events
from connectors._envelope import Answer
from connectors._errors import (
    CallTimeoutError,
    ExecutorClosedError,
    ExecutorOpenError,
    PicklingError,
    WorkerCrashError,
)
from connectors._flags import Parallelization
from connectors._flight import annotate
from connectors._packed_errors import unpack_error

from . import _launch, _wire
from ._memory import Segment, Segments, unwrap
from ._schedule import Retire, Revoke, Schedule, Seat, Send, Start
from ._ticket import Ticket
from ._wire import Disconnected, Frame
from ._worker import Worker

_STARTS = 3  # so many workers in a row may die before they are ready
_GRACE = 5.0  # seconds that a worker has to end when it is let go
_RETRY = 1.0  # seconds until a worker is started again after the system refused one
_IDLE, _RETIRED, _THAW = 0, -1, -2  # alarms that are about no call
_MANY_ALARMS = 256

_logger = logging.getLogger("connectors")
PROCESS = Parallelization.PROCESS

_living: weakref.WeakSet[Core] = weakref.WeakSet()
_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


@attrs.define(eq=False)
class Shared:
    """A scattered value.

    Attributes:
        payload: The packed value, or the sizes of its parts.
        flags: How to read the payload.
        segment: Where its large parts are.
        users: How many calls that have not ended need it.
        released: It goes when there is none.
    """

    payload: bytes
    flags: int
    segment: Segment | None
    users: int = 0
    released: bool = False


@attrs.frozen(order=True)
class _Alarm:
    """At *time*, see to *worker*: to its call *sequence*, or to what else that says."""

    time: float
    number: int
    worker: Worker | None = attrs.field(order=False)
    sequence: int = attrs.field(order=False)


@attrs.define(eq=False, weakref_slot=True)
class Core:
    """The engine of a process pool. It does not know the pool, which may go before it.

    Attributes:
        name: The name by which messages and events speak of the pool.
        method: How workers are started.
        setup: Returns what a new worker is told first.
        kill_on_cancel: Cancelling stops calls that have begun.
        idle_timeout: Seconds after which an idle worker ends, or `None`.
        schedule: Which call goes where.
        segments: Memory for large contents.
        closed: No more calls are taken.
    """

    name: str
    method: str
    setup: Callable[[], bytes]
    kill_on_cancel: bool
    idle_timeout: float | None
    schedule: Schedule[Ticket]
    segments: Segments = attrs.field(factory=Segments)
    closed: bool = False
    _forked: bool = False
    _lock: threading.Lock = attrs.field(factory=threading.Lock)
    _workers: dict[Seat[Ticket], Worker] = attrs.field(factory=dict)
    _shared: dict[int, Shared] = attrs.field(factory=dict)
    _released: deque[int] = attrs.field(factory=deque)
    _outcomes: deque[tuple[Any, ...]] = attrs.field(factory=deque)
    _alarms: list[_Alarm] = attrs.field(factory=list)
    _most_alarms: int = _MANY_ALARMS
    _delivering: threading.local = attrs.field(factory=threading.local)
    _thawing: bool = False
    _defect: BaseException | None = None
    _numbers: itertools.count[int] = attrs.field(factory=lambda: itertools.count(1))
    _selector: selectors.BaseSelector | None = None
    _wakers: tuple[socket.socket, socket.socket] | None = None
    _thread: threading.Thread | None = None
    _template: _launch.Template | None = None
    _failures: int = 0
    _reason: str = ""
    _large_results: bool = False

    # --- what callers ask for ---------------------------------------------------------------

    def submit(self, ticket: Ticket) -> None:
        """Take *ticket*.

        Raises:
            ExecutorClosedError: No more calls are taken.
            PicklingError: A value that it needs is released.
        """
        with self._lock:
            self.check_open()
            if self._thread is None:
                self._open()
            if ticket.needs:
                self._use(ticket)
            if self._released:
                self._forget_released()
            ticket.number = next(self._numbers)
            ticket.core = self
            self.schedule.add(ticket)
            self._advance()
        if self._outcomes:
            self._deliver()

    def _use(self, ticket: Ticket) -> None:
        if not ticket.needs <= self._shared.keys():
            error = ValueError("the scattered value is released")
            reason = f"{type(error).__name__}: {error}"
            raise PicklingError(f"an argument of {ticket.label}", "it", reason) from error
        for key in ticket.needs:
            self._shared[key].users += 1

    def check_open(self) -> None:
        """Raise `ExecutorClosedError` if no more calls are taken."""
        if self.closed:
            error = ExecutorClosedError(self.name)
            if self._forked:
                error.add_note("it belongs to the process of which this one is a fork")
            if self._defect is not None:
                error.add_note(f"the thread that reads failed: {self._defect!r}")
            raise error

    @property
    def shares(self) -> bool:
        """Whether there are values that calls may need."""
        return bool(self._shared)

    def share(self, key: int, shared: Shared) -> None:
        """Keep *shared* for the calls that need *key*."""
        with self._lock:
            self._shared[key] = shared
            self._forget_released()

    def release(self, key: int) -> None:
        """Forget what *key* stands for. Runs in finalizers, so it must not wait for the lock."""
        self._released.append(key)
        self.wake()

    def cancel(self, ticket: Ticket, kill: bool) -> bool:
        """Cancel the call of *ticket*; tell whether it is cancelled.

        Args:
            ticket: The call.
            kill: Whether to kill a worker that has begun it.
        """
        with self._lock:
            cancelled = self._cancel(ticket, kill)
            self._advance()
        if cancelled:
            self.wake()
        self._deliver()
        if cancelled:
            ticket.end_cancelled()  # if that is left to another thread, or to a caller of this
        return ticket.cancelled()

    def shutdown(self, cancel: bool = False, kill: bool = False) -> None:
        """Take no more calls and end when there are none.

        Args:
            cancel: Cancel the calls that have not begun.
            kill: Cancel all of them.
        """
        with self._lock:
            self.closed = True
            self.schedule.close()
            if cancel or kill:
                for worker in list(self._workers.values()):
                    self._revoke(worker)
                running = [t for seat in self.schedule.seats for t in seat.calls.values()]
                for ticket in [*self.schedule.queue.values(), *(running if kill else ())]:
                    self._cancel(ticket, kill)
            if kill:
                for worker in self._workers.values():
                    self.schedule.condemn(worker.seat)
                    worker.kill()
            if self._thread is not None:
                self._advance()
            else:
                self._release_memory()
        self.wake()
        self._deliver()

    def join(self) -> None:
        """Wait until everything is done and gone."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def abandon(self) -> None:
        """Close without waiting for the lock: this runs in finalizers."""
        self._released.append(0)
        self.wake()

    def wake(self) -> None:
        """Let the thread that reads look around."""
        if self._wakers is not None:
            with contextlib.suppress(OSError):
                self._wakers[1].send(b"\0")

    def pids(self) -> list[int]:
        """Return the process ids of the workers, as far as they are known."""
        with self._lock:
            return [worker.pid for worker in self._workers.values() if worker.pid]

    # --- the thread that reads ----------------------------------------------------------------

    def _open(self) -> None:
        with contextlib.ExitStack() as undo:
            self._wakers = wakers = socket.socketpair()
            undo.callback(setattr, self, "_wakers", None)
            for waker in wakers:
                undo.callback(waker.close)
                waker.setblocking(False)
            self._selector = selector = selectors.DefaultSelector()
            undo.callback(setattr, self, "_selector", None)
            undo.callback(selector.close)
            selector.register(wakers[0], _READ)
            name = f"{self.name}-reader"
            thread = threading.Thread(target=self._read, name=name, daemon=True)
            _living.add(self)
            undo.callback(_living.discard, self)
            thread.start()
            self._thread = thread  # it takes the lock, which is held here, before it looks
            undo.pop_all()

    def _read(self) -> None:
        with self._lock:
            if self._thread is not threading.current_thread():
                return  # starting it was interrupted, and undone
        try:
            self._read_on()
        except BaseException as error:  # nobody would ever hear of the calls
            self._collapse(error)
            raise
        finally:
            self._end()

    def _read_on(self) -> None:
        assert self._selector is not None
        over = False
        while not over:
            ready = self._selector.select(self._patience())
            with self._lock:
                for key, mask in ready:
                    if key.data is not None:
                        self._hear(key.data, key.fd, mask)
                    else:
                        self._look_around()
                self._heed_alarms()
                self._advance()
                over = self.closed and not self._workers and not self.schedule.queue
                leisure = self.schedule.leisure()
            self._deliver()
            if leisure:
                time.sleep(leisure)  # many answers are read in little more time than one

    def _patience(self) -> float | None:
        return max(0.0, self._alarms[0].time - time.monotonic()) if self._alarms else None

    def _look_around(self) -> None:
        assert self._wakers is not None
        with contextlib.suppress(BlockingIOError):
            self._wakers[0].recv(1 << 12)
        self._forget_released()

    def _forget_released(self) -> None:
        while self._released:
            key = self._released.popleft()
            if not key:
                self.closed = True
                self.schedule.close()
            elif key in self._shared:
                self._shared[key].released = True
                self._forget_unused([key])

    def _hear(self, worker: Worker, descriptor: int, mask: int) -> None:
        if worker.seat not in self._workers:
            return  # it was buried in this very round
        if descriptor == worker.status:
            if worker.hear():
                self._bury(worker)
            return
        if mask & _WRITE:
            self._flush(worker)
        if mask & _READ and worker.listening:
            self._receive(worker)

    def _receive(self, worker: Worker) -> None:
        try:
            for frame in worker.receive():
                self._heed(worker, frame)
        except (Disconnected, OSError):
            self._listen(worker, False)
            worker.kill()  # it is dying, or it closed what leads to us
        self._note_head(worker)

    def _listen(self, worker: Worker, listening: bool) -> None:
        """Let the thread that reads hear *worker*, or not."""
        assert self._selector is not None
        if worker.listening:
            self._selector.unregister(worker.sock)
        worker.listening = listening
        if listening:
            mask = _READ | _WRITE if worker.jammed else _READ
            self._selector.register(worker.sock, mask, worker)

    def _heed(self, worker: Worker, frame: Frame) -> None:
        if frame.kind == _wire.READY:
            worker.pid = frame.number
            self._failures = 0
            self.schedule.ready(worker.seat)
            self.schedule.freeze(False)  # one more can be started, as far as is known
            self._tell(events.WorkerStarted, pid=worker.pid)
        elif frame.kind == _wire.REFUSED:
            worker.failure = frame.payload
        else:
            ticket = self.schedule.answered(worker.seat, frame.number, frame.seconds)
            ticket.worker = None
            worker.remind()
            wanted, ticket.ended = not ticket.ended, True
            self._outcomes.append((self._resolve, ticket, frame, worker.pid, wanted))

    def _heed_all(self, worker: Worker) -> None:
        """Take back what *worker* did not begin and heed all that it said until now.

        What it still has afterwards is the call that it runs.
        """
        self._revoke(worker)
        for frame in worker.receive_all():
            self._heed(worker, frame)

    def _collapse(self, error: BaseException) -> None:
        """Fail all calls, because the thread that reads cannot go on."""
        with self._lock:
            self.closed, self._defect = True, error
            sent = [ticket for seat in self._workers for ticket in seat.calls.values()]
            for worker in self._workers.values():
                with contextlib.suppress(OSError):
                    worker.kill()
                    worker.close()
            self._workers.clear()
            self._alarms.clear()
            for ticket in [*self.schedule.queue.values(), *sent]:
                ticket.worker = None
                self._fail(ticket, ExecutorOpenError(self.name, {"reader": repr(error)}))
            self.schedule.abandon()
        self._deliver()

    def _end(self) -> None:
        """Give everything back."""
        assert self._selector is not None
        assert self._wakers is not None
        self._selector.close()
        for waker in self._wakers:
            waker.close()
        self._release_memory()
        if self._template is not None:
            _launch.release(self._template)

    def _release_memory(self) -> None:
        self.segments.close()
        for shared in self._shared.values():
            if shared.segment is not None:
                shared.segment.close()
        self._shared.clear()

    # --- steps --------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Do what the schedule says until it says no more."""
        try:
            while (step := self.schedule.next()) is not None:
                match step:
                    case Send(seat, calls):
                        self._send(self._workers[seat], calls)
                    case Revoke(seat, count):
                        self._revoke(self._workers[seat], count)
                    case Retire(seat):
                        self._retire(self._workers[seat])
                    case Start():
                        self._start()
        except BaseException:
            self._break_off()
            raise
        if self.schedule.queue and not self.schedule.seats:
            self._give_up()

    def _break_off(self) -> None:
        """After an interrupt amid a step: end the workers of which it is not known what they have.

        Their calls fail or run elsewhere, instead of waiting for ever.
        """
        for seat in list(self.schedule.seats):
            worker = self._workers.get(seat)
            if worker is None:
                for ticket in self.schedule.gone(seat, ()):
                    self.schedule.retry(ticket)
            elif any(ticket.worker is not worker for ticket in seat.calls.values()):
                self.schedule.condemn(seat)
                worker.kill()
        self.wake()

    def _send(self, worker: Worker, calls: dict[int, Ticket]) -> None:
        out = worker.outbox
        levels = _relay.levels()
        if levels != worker.levels:
            worker.levels = levels
            out.add(_wire.LEVELS, 0, pickle.dumps(levels))
        for sequence, ticket in calls.items():
            for key in ticket.needs and ticket.needs - worker.known:
                shared = self._shared[key]
                worker.known.add(key)
                out.add(_wire.DEFINE, key, shared.payload, shared.flags, _file(shared.segment))
            flags = ticket.flags
            if ticket.segment is None and self._large_results:
                ticket.segment = self.segments.spare()
            if ticket.segment is not None and not ticket.retries:
                flags |= _wire.WRITABLE
            out.add(_wire.CALL, sequence, ticket.payload, flags, _file(ticket.segment))
        worker.allow(calls)  # first, because the worker wakes up while the calls are sent
        self._flush(worker)
        for ticket in calls.values():  # last, because it tells that they were sent
            ticket.worker = worker
        self._note_head(worker)

    def _flush(self, worker: Worker) -> None:
        try:
            pending = worker.flush()
        except OSError:
            # Its calls would wait for ever for what cannot be sent.
            _logger.exception("worker %d is killed: it cannot be sent its calls", worker.pid)
            pending = False
            self.schedule.condemn(worker.seat)
            worker.kill()
        if pending is not worker.jammed:
            worker.jammed = pending
            if worker.listening:
                self._listen(worker, True)

    def _revoke(self, worker: Worker, count: int = _wire.MOST_TOKENS) -> None:
        sequences = [] if worker.retired else worker.revoke(count)
        for sequence in sequences:
            worker.seat.calls[sequence].worker = None
        self.schedule.revoked(worker.seat, sequences)

    def _retire(self, worker: Worker) -> None:
        worker.retire()
        self._alarm(_GRACE, worker, _RETIRED)

    def _start(self) -> None:
        assert self._selector is not None
        seat = self.schedule.hire()
        try:
            worker = self._launch(seat)
        except OSError as error:
            self.schedule.gone(seat, ())
            self._reason = f"no process can be started ({error})"
            self.schedule.freeze(True)
            if self.schedule.seats and not self._thawing:
                self._thawing = True
                self._alarm(_RETRY, None, _THAW)
            return
        try:
            self._workers[seat] = worker
            worker.outbox.add(_wire.SETUP, 0, self.setup())
            self._selector.register(worker.status, _READ, worker)
            self._listen(worker, True)
            self._flush(worker)
        except BaseException:  # an interrupt; `_break_off` sees to the seat
            self._workers.pop(seat, None)
            for source in worker.descriptors:
                with contextlib.suppress(KeyError, ValueError):
                    self._selector.unregister(source)
            worker.kill()
            worker.close()
            raise

    def _launch(self, seat: Seat[Ticket]) -> Worker:
        if self._template is None:
            self._template = _launch.acquire()
        try:
            return Worker.start(self._template, self.method, seat)
        except (BrokenPipeError, ConnectionResetError):
            # Somebody killed the template: its workers are dying, and there is a new one.
            _launch.release(self._template, broken=True)
            self._template = None
            self._template = _launch.acquire()
            return Worker.start(self._template, self.method, seat)

    def _note_head(self, worker: Worker) -> None:
        """See which call *worker* runs now."""
        seat = worker.seat
        if not seat.ready:
            return
        if not seat.calls:
            worker.head = 0
            if self.idle_timeout is not None:
                worker.idle_since = time.monotonic()
                if not worker.watched:
                    worker.watched = True
                    self._alarm(self.idle_timeout, worker, _IDLE)
            return
        sequence = next(iter(seat.calls))
        if sequence == worker.head:
            return
        worker.head = sequence
        ticket = seat.calls[sequence]
        if ticket.ended:
            return  # it was cancelled, and the worker is being killed
        if not ticket.begun:
            ticket.begin()
        if ticket.timeout is not None:
            self._alarm(ticket.timeout, worker, sequence)

    # --- time ---------------------------------------------------------------------------------

    def _alarm(self, seconds: float, worker: Worker | None, sequence: int) -> None:
        if len(self._alarms) >= self._most_alarms:
            self._alarms = [alarm for alarm in self._alarms if self._matters(alarm)]
            heapq.heapify(self._alarms)
            self._most_alarms = max(_MANY_ALARMS, 2 * len(self._alarms))
        alarm = _Alarm(time.monotonic() + seconds, next(self._numbers), worker, sequence)
        heapq.heappush(self._alarms, alarm)
        if self._alarms[0] is alarm and threading.current_thread() is not self._thread:
            self.wake()

    def _heed_alarms(self) -> None:
        while self._alarms and self._alarms[0].time <= time.monotonic():
            alarm = heapq.heappop(self._alarms)
            worker = alarm.worker
            if worker is None:
                self._thawing = False
                self.schedule.freeze(False)
            elif worker.seat not in self._workers:
                continue
            elif alarm.sequence == _RETIRED:
                worker.kill()
            elif worker.retired:
                continue
            elif alarm.sequence == _IDLE:
                self._see_whether_idle(worker)
            else:
                self._overdue(worker, alarm.sequence)

    def _matters(self, alarm: _Alarm) -> bool:
        if alarm.worker is None:
            return True
        seat = alarm.worker.seat
        return seat in self._workers and (alarm.sequence <= 0 or alarm.sequence in seat.calls)

    def _overdue(self, worker: Worker, sequence: int) -> None:
        """Kill *worker* if it still runs the call *sequence*."""
        if sequence not in worker.seat.calls:
            return
        self._heed_all(worker)
        ticket = worker.seat.calls.get(sequence)
        if ticket is None:
            self._note_head(worker)
        elif ticket.timeout is not None:
            ticket.verdict = CallTimeoutError(ticket.label, ticket.timeout, "its worker is killed")
            self.schedule.condemn(worker.seat)
            worker.kill()

    def _see_whether_idle(self, worker: Worker) -> None:
        assert self.idle_timeout is not None
        worker.watched = False
        if worker.seat.calls:
            return
        left = worker.idle_since + self.idle_timeout - time.monotonic()
        if left > 0:
            worker.watched = True
            self._alarm(left, worker, _IDLE)
        else:
            self.schedule.retire(worker.seat)
            self._retire(worker)

    # --- ends ---------------------------------------------------------------------------------

    def _bury(self, worker: Worker) -> None:
        """Say what became of the calls of *worker*, which is dead."""
        assert self._selector is not None
        for frame in worker.receive_all():
            self._heed(worker, frame)
        self._listen(worker, False)
        self._selector.unregister(worker.status)
        self._revoke(worker)
        del self._workers[worker.seat]
        for ticket in self.schedule.gone(worker.seat, ()):
            ticket.worker = None
            self._crashed(ticket, worker)
        if not worker.retired:
            reason = _reason(worker)
            self._tell(events.WorkerDied, pid=worker.pid, reason=reason)
            if not worker.seat.ready:
                self._note_failure(reason, final=worker.failure is not None)
        worker.close()

    def _crashed(self, ticket: Ticket, worker: Worker) -> None:
        if ticket.ended:
            self._outcomes.append((self._let_go, ticket))
        elif ticket.verdict is not None:
            self._fail(ticket, ticket.verdict)
        elif ticket.retries > 0:
            ticket.retries -= 1
            self.schedule.retry(ticket)
        else:
            self._fail(ticket, WorkerCrashError(ticket.label, worker.exitcode, worker.last_words))

    def _note_failure(self, reason: str, final: bool) -> None:
        self._failures += 1
        self._reason = reason
        if final or self._failures >= _STARTS:
            self.schedule.freeze(True)

    def _give_up(self) -> None:
        """Fail what waits, because no worker can be started; the next call may try again."""
        for ticket in list(self.schedule.queue.values()):
            self.schedule.drop(ticket)
            self._fail(ticket, ExecutorOpenError(self.name, {"worker": self._reason}))
        self._failures = 0
        self.schedule.freeze(False)

    def _cancel(self, ticket: Ticket, kill: bool) -> bool:
        if ticket.ended:
            return False
        worker = ticket.worker
        if worker is not None:
            self._revoke(worker)
        if self.schedule.drop(ticket):
            self._outcomes.append((self._let_go, ticket))
        elif worker is not None and kill:
            self._heed_all(worker)
            if ticket.worker is None:
                self._note_head(worker)
                return False  # it was answered
            self.schedule.condemn(worker.seat)
            worker.kill()
        else:
            return False
        ticket.ended = True
        self._outcomes.append((ticket.end_cancelled,))
        return True

    def _fail(self, ticket: Ticket, error: BaseException) -> None:
        ticket.ended = True
        self._outcomes.append((self._resolve_with, ticket, error))

    # --- outcomes, outside of the lock --------------------------------------------------------

    def _deliver(self) -> None:
        if getattr(self._delivering, "now", False):
            return  # a callback of an outcome came here; the loop that called it goes on
        exits: BaseException | None = None
        self._delivering.now = True
        try:
            while self._outcomes:
                try:
                    outcome = self._outcomes.popleft()
                except IndexError:  # another thread was faster
                    break
                exits = self._deliver_one(*outcome) or exits
        finally:
            self._delivering.now = False
        if exits is not None and threading.current_thread() is not self._thread:
            raise exits  # Ctrl-C, for instance

    def _deliver_one(self, function: Callable[..., object], *args: Any) -> BaseException | None:
        """Call *function*; return what it raised if that is to end more than an outcome."""
        try:
            function(*args)
        except BaseException as error:
            _logger.exception("delivering an outcome of %s failed", self.name)
            for ticket in args:
                if isinstance(ticket, Ticket):
                    with contextlib.suppress(BaseException):
                        ticket.settle(error=error)
            return None if isinstance(error, Exception) else error
        return None

    def _resolve(self, ticket: Ticket, frame: Frame, pid: int, wanted: bool) -> None:
        value, error, started = self._unpack(ticket, frame)
        self._let_go(ticket)
        if not wanted:
            return
        if ticket.on_answer is not None:
            try:
                ticket.on_answer(Answer(value, error, pid, started, frame.seconds))
            except BaseException:
                _logger.exception("on_answer of %s raised", ticket.label)
        if error is None:
            ticket.settle(value)
        else:
            ticket.settle(error=annotate(error, ticket.label, self.name, PROCESS))

    def _resolve_with(self, ticket: Ticket, error: BaseException) -> None:
        self._let_go(ticket)
        ticket.settle(error=annotate(error, ticket.label, self.name, PROCESS))

    def _unpack(self, ticket: Ticket, frame: Frame) -> tuple[Any, BaseException | None, float]:
        """Return the value or the error in *frame* and when the call began; relay its news."""
        new = None
        self._large_results = bool(frame.flags & _wire.LARGE)
        started = 0.0
        try:
            if frame.descriptor is not None:
                new = Segment.received(frame.descriptor)
            data, buffers = unwrap(frame.payload, frame.flags, new or ticket.segment)
            value, started, news = pickle.loads(data, buffers=buffers)
            if news:
                _relay.deliver(news, ticket.label, self.name)
            if frame.kind == _wire.VALUE:
                return value, None, started
            if frame.kind == _wire.ERROR:
                return None, unpack_error(value), started
            return None, PicklingError(f"the result of {ticket.label}", *value), started
        except BaseException as failure:  # whatever it is, it is the failure of this call only
            return None, failure, started
        finally:
            if new is not None:
                self.segments.give(new)

    def _let_go(self, ticket: Ticket) -> None:
        """Take back what *ticket* had."""
        ticket.core = None
        ticket.payload = b""
        if ticket.segment is not None:
            self.segments.give(ticket.segment)
            ticket.segment = None
        if ticket.needs:
            with self._lock:
                for key in ticket.needs & self._shared.keys():
                    self._shared[key].users -= 1
                self._forget_unused(ticket.needs & self._shared.keys())
                ticket.needs = frozenset()

    def _forget_unused(self, keys: Iterable[int]) -> None:
        for key in keys:
            shared = self._shared[key]
            if shared.released and not shared.users:
                del self._shared[key]
                for worker in self._workers.values():
                    if key in worker.known and not worker.retired:
                        worker.known.discard(key)
                        if shared.segment is not None:  # whose descriptor is not ours any more
                            worker.outbox.drop((key,), _wire.DEFINE)
                        worker.outbox.add(_wire.FORGET, key, b"")
                        self._flush(worker)
                        worker.notify()
                if shared.segment is not None:
                    self.segments.give(shared.segment)

    def _tell(self, kind: type[events.Event], **details: Any) -> None:
        if events.observed():
            event = kind(executor=self.name, **details)
            self._outcomes.append((events.emit, event))

    # --- forks of this process ----------------------------------------------------------------

    def disown(self) -> None:
        """In a forked child: the workers are the parent's, and so is the thread that reads."""
        self._lock = threading.Lock()
        self.closed = self._forked = True
        self._thread = self._template = None
        seats = list(self._workers)
        waiting = [*self.schedule.queue.values()]
        waiting += [ticket for seat in seats for ticket in seat.calls.values()]
        self.schedule.queue.clear()
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()
        if self._selector is not None:
            self._selector.close()
        for waker in self._wakers or ():
            waker.close()
        error = _error_of(self.check_open)
        for ticket in waiting:
            ticket._condition = threading.Condition()  # a thread of the parent may hold it
            ticket.core = None
            ticket.settle(error=error)


def _file(segment: Segment | None) -> int | None:
    return None if segment is None else segment.descriptor


def _reason(worker: Worker) -> str:
    if worker.failure is not None:
        error = unpack_error(pickle.loads(worker.failure))
        return f"its initializer failed: {type(error).__name__}: {error}"
    code = worker.exitcode
    words = f"; last lines of its standard error:\n{worker.last_words}" if worker.last_words else ""
    if code is None:
        return f"it died{words}"
    how = f"was killed by signal {-code}" if code < 0 else f"exited with code {code}"
    return f"it {how}{words}"


def _error_of(function: Callable[[], object]) -> BaseException:
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError


@atexit.register
def _finish() -> None:
    """Do what is still to be done, as the standard library does, unless the user broke it off."""
    broken_off = getattr(sys, "last_type", None) is KeyboardInterrupt
    for core in list(_living):
        core.shutdown(kill=broken_off)
    for core in list(_living):
        try:
            core.join()
        except BaseException:
            core.shutdown(kill=True)
            core.join()
            raise


def _disown_all() -> None:
    for core in list(_living):
        core.disown()


os.register_at_fork(after_in_child=_disown_all)
