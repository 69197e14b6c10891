"""The engine of a process pool: what its callers ask of it, and how it begins and ends.

```text
submit ──▶ schedule ──▶ worker.send            (in the thread that submits)
              ▲              │
              └── one thread reads all workers ──▶ futures
```
"""

from __future__ import annotations

import atexit
import concurrent.futures
import itertools
import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import TypeVar

import attrs

from connectors._errors import ExecutorClosedError

from ._crew import Crew
from ._memory import Segments
from ._reader import Reader
from ._shelf import Shared
from ._ticket import Ticket

T = TypeVar("T")

_living: weakref.WeakSet[Core] = weakref.WeakSet()


@attrs.define(eq=False, weakref_slot=True)
class Core:
    """The engine of a process pool. It does not know the pool, which may go before it.

    Attributes:
        crew: The workers and their calls.
        kill_on_cancel: Cancelling stops calls that have begun.
    """

    crew: Crew
    kill_on_cancel: bool
    _forked: bool = False
    _numbers: itertools.count[int] = attrs.field(factory=lambda: itertools.count(1))

    def check_open(self) -> None:
        """Raise `ExecutorClosedError` if no more calls are taken."""
        if self.crew.closed:
            raise self._closed_error()

    def _closed_error(self) -> ExecutorClosedError:
        error = ExecutorClosedError(self.crew.name)
        if self._forked:
            error.add_note("it belongs to the process of which this one is a fork")
        if self.crew.defect is not None:
            error.add_note(f"the thread that reads failed: {self.crew.defect!r}")
        return error

    @property
    def segments(self) -> Segments:
        """Memory for large contents."""
        return self.crew.segments

    @property
    def shares(self) -> bool:
        """Whether there are values that calls may need."""
        return bool(self.crew.shelf)

    @property
    def deposits(self) -> int:
        """How many segments are kept for values that calls may need."""
        return self.crew.shelf.segments

    def submit(self, ticket: Ticket) -> None:
        """Take *ticket*.

        Raises:
            ExecutorClosedError: No more calls are taken.
            PicklingError: A value that it needs is released.
        """
        crew = self.crew
        ticket.number = next(self._numbers)
        if crew.lock.is_mine():
            self.check_open()
            ticket.core = self
            crew.requests.append(lambda: crew.submit_late(ticket))
            self.wake()
            return
        try:
            with crew.lock:
                self.check_open()
                if crew.reader is None:
                    self._open()
                ticket.core = self
                more = crew.submit(ticket)
            if more or crew.requests:
                self.wake()
        except BaseException:  # an interrupt: the thread that reads mends what is to be mended
            self.wake()
            raise

    def _open(self) -> None:
        _living.add(self)
        reader = Reader(self.crew)
        reader.thread.start()
        self.crew.reader = reader  # it takes the lock, which is held here, before it looks

    def share(self, key: int, shared: Shared) -> None:
        """Keep *shared* for the calls that need *key*."""
        with self.crew.lock:
            self.crew.shelf.put(key, shared)
            if self.crew.reader is None:  # which else does it
                self.crew.sweep()

    def release(self, key: int) -> None:
        """Forget what *key* stands for. Runs in finalizers, so it must not wait for the lock."""
        self.crew.shelf.release(key)
        self.wake()

    def cancel(self, ticket: Ticket, kill: bool) -> bool:
        """Cancel the call of *ticket*; tell whether it is cancelled.

        Args:
            ticket: The call.
            kill: Whether to kill a worker that has begun it.
        """
        done: list[bool] = []
        self._request(lambda: done.append(self.crew.cancel(ticket, kill)))
        if done == [True]:
            try:
                ticket.end_cancelled()  # now, although the thread that reads will do it too
            except BaseException:
                self.crew.outcomes.add(ticket.end_cancelled_at_last)
                self.wake()
                raise
        return ticket.cancelled()

    def end_worker(self, ticket: Ticket, kill: bool) -> None:
        """End the worker that runs the call of *ticket*: by SIGTERM, or SIGKILL if *kill*."""
        self._request(lambda: self.crew.end_worker(ticket, kill))

    def shutdown(self, cancel: bool = False, kill: bool = False) -> None:
        """Take no more calls and end when there are none.

        Args:
            cancel: Cancel the calls that have not begun.
            kill: Cancel all of them.
        """
        crew = self.crew
        crew.closed = True

        def end() -> None:
            if cancel or kill:
                crew.cancel_all(kill)
            if crew.reader is None:
                crew.release_memory()

        self._request(end)

    def _request(self, step: Callable[[], object]) -> None:
        """Do *step* under the lock: now, or soon if this thread is amid something else there."""
        crew = self.crew
        try:
            crew.requests.append(step)
            if not crew.lock.is_mine():
                _undisturbed(self._catch_up)
        finally:
            self.wake()

    def _catch_up(self) -> None:
        with self.crew.lock:
            self.crew.catch_up()
        self.wake()  # here too, because who asked for it may be interrupted

    def join(self) -> None:
        """Wait until everything is done and gone, unless that waits for this thread."""
        reader = self.crew.reader
        if reader is None or reader.thread is threading.current_thread():
            return
        if not self.crew.lock.is_mine():
            reader.thread.join()

    def abandon(self) -> None:
        """Close without waiting for the lock: this runs in finalizers."""
        self.crew.closed = True
        self.wake()

    def wake(self) -> None:
        """Let the thread that reads look around."""
        if self.crew.reader is not None:
            self.crew.reader.wake()

    def pids(self) -> list[int]:
        """Return the process ids of the workers, as far as they are known."""
        with self.crew.lock:
            return [worker.pid for worker in self.crew.workers.values() if worker.pid]

    def disown(self) -> None:
        """In a forked child: the workers are the parent's, and so is the thread that reads."""
        self._forked = True
        for ticket in self.crew.disown():
            ticket.disown(self._closed_error())


def _undisturbed(function: Callable[[], T]) -> T:
    """Return what *function* returns, which is called where no signal handler interrupts it."""
    if threading.current_thread() is not threading.main_thread():
        return function()
    box: concurrent.futures.Future[T] = concurrent.futures.Future()

    def run() -> None:
        try:
            box.set_result(function())
        except BaseException as error:
            box.set_exception(error)

    try:
        threading.Thread(target=run, daemon=True).start()
    except RuntimeError:  # the interpreter is ending, or there are too many threads
        return function()
    return box.result()


@atexit.register
def _finish() -> None:
    """Do what is still to be done, as the standard library does, unless the user broke it off."""
    # At a prompt, an earlier Ctrl-C does not tell how the program ends.
    interactive = hasattr(sys, "ps1")
    broken_off = not interactive and getattr(sys, "last_type", None) is KeyboardInterrupt
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
