"""How a caller that waits hears its answer itself.

```text
otherwise:  worker ── answer ──▶ thread that reads ── wakes ──▶ caller
here:       worker ── answer ──▶ caller
```

Waking a thread costs as much as all the rest of a short call. So a caller that waits for the only
call of a worker listens at the worker's socket, which the thread that reads leaves alone meanwhile.
The caller takes the answer if that is all there is to do: a small value that nobody else waits for.
Whatever else happens, or comes in between, it leaves to the thread that reads.

The caller may be interrupted anywhere. So what it read stays in the worker's inbox until it is
done with, and whatever it did by then can be done once more.
"""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import select
import socket
import time
import weakref
from typing import TYPE_CHECKING, Any

import attrs

from ._ear import MUTE, READ

if TYPE_CHECKING:
    from ._desk import Desk
    from ._ticket import Ticket
    from ._worker import Worker


@attrs.define(eq=False)
class Bell:
    """Calls a caller away that listens at a worker, when its call ended or moved otherwise.

    Its descriptors are closed with the last reference to it, so that a caller that is about to wait
    never waits for others that got their numbers.
    """

    _ends: tuple[int, int] = attrs.field(factory=os.pipe)
    _poll: Any = attrs.field(factory=select.poll)

    def __attrs_post_init__(self) -> None:
        for end in self._ends:
            weakref.finalize(self, os.close, end).atexit = False
            os.set_blocking(end, False)
        self._poll.register(self._ends[0], READ)

    def listen(self, sock: socket.socket) -> None:
        """Wait for *sock* as well from now on."""
        self._poll.register(sock, READ)

    def wait(self, deadline: float | None) -> None:
        """Wait until it is rung, or there is something at the socket, or it is *deadline*."""
        if deadline is None:
            self._poll.poll()
        else:
            self._poll.poll(math.ceil(1000 * max(0.0, deadline - time.monotonic())))

    def release(self) -> None:
        """Ring."""
        with contextlib.suppress(BlockingIOError):  # it rings already
            os.write(self._ends[1], b"\0")

    def calm(self) -> None:
        """Forget that it was rung."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._ends[0], 1 << 12)


def attend(desk: Desk, ticket: Ticket, deadline: float | None) -> None:
    """Hear the answer to the call of *ticket* in this thread, if that can be.

    Returns when the call has ended or it is *deadline*, and also if it cannot be: then the caller
    has to sleep until it is woken.
    """
    worker = ticket.worker
    if worker is None or ticket.segment is not None or ticket.needs or ticket.on_answer is not None:
        return
    if len(worker.seat.calls) != 1 or ticket.on_begin is not None:
        return
    try:
        if not _listen(desk, ticket, worker, deadline):
            _leave(desk, worker)
    except BaseException:  # an interrupt, be it in the line above
        _leave(desk, worker)
        raise


def _listen(desk: Desk, ticket: Ticket, worker: Worker, deadline: float | None) -> bool:
    """Hear what *worker* says; tell whether it is no more to be left."""
    with desk.lock:
        if not _may_attend(desk, ticket, worker):
            return True
        bell = worker.bell
        if bell is None:
            bell = Bell()
            bell.listen(worker.sock)
            worker.bell = bell
        _attended(desk, worker, True)
    taken = False
    if ticket.add_sleeper(bell):
        bell.wait(deadline)
        taken = _take(desk, ticket, worker, bell)
    ticket.remove_sleeper(bell)
    return taken


def _leave(desk: Desk, worker: Worker) -> None:
    """Let the thread that reads hear *worker* again."""
    worker.attended = False
    if desk.reader is not None:
        desk.reader.wake()


def _may_attend(desk: Desk, ticket: Ticket, worker: Worker) -> bool:
    desk.mend()
    return (
        ticket.worker is worker
        and not ticket.ended
        and worker.seat.ready
        and len(worker.seat.calls) == 1
        and not desk.schedule.queue
        and worker.interest == READ
        and worker.seat in desk.workers
        and not worker.retired
    )


def _attended(desk: Desk, worker: Worker, attended: bool) -> None:
    assert desk.reader is not None
    worker.attended = attended
    worker.interest = MUTE if attended else READ
    desk.reader.ear.listen(worker.sock.fileno(), worker.interest, worker)


def _take(desk: Desk, ticket: Ticket, worker: Worker, bell: Bell) -> bool:
    """Take the answer to the call of *ticket*; tell whether it was only this to take."""
    with desk.lock:
        desk.mend()
        if worker.seat not in desk.workers:
            return False
        frame = worker.overhear()
        if frame is None:
            bell.calm()
            return False
        if worker.seat.calls.get(frame.number) is not ticket:
            return False
    try:
        value, _, _ = pickle.loads(frame.payload)
    except Exception:
        return False  # it will raise once more where that is told
    if not ticket.settle_alone(value):
        return False
    with desk.lock:
        desk.mend()
        if worker.seat not in desk.workers or ticket.ended:
            return False
        more = desk.finish(worker, ticket, frame)
        _attended(desk, worker, False)
    if more and desk.reader is not None:
        desk.reader.wake()
    return True
