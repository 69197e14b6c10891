"""`BgProcManager`, which runs procedures that are queued and forgotten."""

from __future__ import annotations

import atexit
import collections
import contextlib
import contextvars
import functools
import itertools
import sys
import threading
import time
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import attrs

from connectors._calls import Call, label_of
from connectors._cpus import available_cpus
from connectors._executor import Executor
from connectors._flags import Parallelization
from connectors.pools import ThreadPool

from . import _collector, _forks
from ._bell import Bell
from ._checks import check_plain, checked_logger, checked_seconds
from ._crew import daemons, submit_apart
from ._logs import tell

Proc = Callable[[], object]

_living: weakref.WeakSet[_Queue] = weakref.WeakSet()


@attrs.define(eq=False, weakref_slot=True)
class _Queue:
    """The procedures of a manager. Its threads know this and not the manager, which may go."""

    logger: Any
    exit_timeout: float | None
    bell: Bell = attrs.field(factory=Bell)
    waiting: collections.deque[tuple[Proc, contextvars.Context]] = attrs.field(
        factory=collections.deque
    )
    #: By number, the threads that run procedures; not all are the pool's.
    running: dict[int, int] = attrs.field(factory=dict)
    closed: bool = False
    #: One of the threads was told to look whether there is something that no thread was called for.
    drained: bool = False
    _crew: tuple[Executor, ThreadPool] | None = None
    _numbers: itertools.count[int] = attrs.field(factory=itertools.count)

    def append(self, proc: Proc) -> None:
        """Let *proc* be run, unless this is closed."""
        with self.bell.lock:
            closed = self.closed
            if not closed:
                self.waiting.append((proc, contextvars.copy_context()))
        if closed:
            label = label_of(proc)
            tell(self.logger.warning, "%s is not run: its BgProcManager is closed", label)
        else:
            self._call_thread(label_of(proc), self._run_next)

    def is_empty(self) -> bool:
        """Tell whether every procedure that was accepted has ended."""
        return not self.waiting and not self.running

    def wait(self, timeout: float | None) -> bool:
        """Wait until every procedure has ended; tell whether they have within *timeout*."""
        self._see_to_waiting()
        return self.bell.wait_for(self.is_empty, timeout)

    def is_called_by_own(self) -> bool:
        """Tell whether a procedure that runs here is calling, or a thread between two of them."""
        crew = self._crew
        if crew is not None and threading.current_thread() in crew[1].threads:
            return True
        with self.bell.lock:
            return threading.get_ident() in self.running.values()

    def close(self) -> None:
        """Accept no more, and wait for what was accepted unless that waits for the caller."""
        self.closed = True
        if not self.is_called_by_own():
            self.wait(None)
        self._dismiss()

    def let_go(self) -> None:
        """Close, now that nobody has the manager any more.

        The collector finds it in any thread, also in one that has a lock for which a procedure
        waits, so that waiting there might never end. What was accepted runs all the same.
        """
        if not _collector.struck_here():
            self.close()
            return
        self.closed = True
        self._see_to_waiting()
        if self.is_empty():
            self._dismiss()

    def finish(self, began: float) -> None:
        """Give what was accepted its time, now that the interpreter ends, which *began* then."""
        try:
            limit = self.exit_timeout
            left = None if limit is None else began + limit - time.monotonic()
            self.wait(None if left is None else max(0.0, left))
        finally:
            with self.bell.lock:
                self.closed = True
                unrun, running = len(self.waiting), len(self.running)
                self.waiting.clear()
                self.running.clear()
            if unrun or running:
                tell(
                    self.logger.warning,
                    "%d procedures abandoned at exit after %s s: %d still run, %d did not start",
                    unrun + running,
                    self.exit_timeout,
                    running,
                    unrun,
                )

    def start_anew(self) -> None:
        """In a forked child: the procedures are the parent's, and so are the threads."""
        self.bell = Bell()
        self.waiting.clear()
        self.running.clear()
        self.drained = False
        self._crew = None

    def _see_to_waiting(self) -> None:
        """Have a thread look for procedures: who appended one may have been interrupted then."""
        if not self.waiting or self.drained:
            return
        self.drained = True
        try:
            self._call_thread("BgProcManager", self._drain)
        except BaseException:
            self.drained = False
            raise

    def _call_thread(self, label: str, work: Callable[[], object]) -> None:
        """Let a thread do *work*, which runs what waits longest."""
        try:
            crew = self._threads()
            wish = Parallelization.THREAD
            submit_apart(crew, Call(work, (), {}, None, wish, crew.label or label))
        except RuntimeError:  # there is no thread to be had, at the interpreter's exit for instance
            work()

    def _threads(self) -> Executor:
        with self.bell.lock:
            if self._crew is None:
                _end_with_child_process()
                made = daemons(available_cpus(), "BgProcManager")
                self._crew = self._crew or made  # a finalizer may have needed them meanwhile
            return self._crew[0]

    def _drain(self) -> None:
        while self.waiting:
            self._run_next()
        self.drained = False

    def _run_next(self) -> None:
        with self.bell.lock:
            if not self.waiting:
                return
            number = next(self._numbers)
            self.running[number] = threading.get_ident()
            proc, context = self.waiting.popleft()
        try:
            context.run(proc)
        except BaseException as error:
            label = label_of(proc)
            tell(self.logger.warning, "%s failed: %r", label, error, exc_info=error)
        finally:
            with self.bell.lock:
                self.running.pop(number, None)  # which forgets it in a forked child
                over = self.is_empty()
                if over:
                    self.bell.ring()
            if over and self.closed:
                self._dismiss()

    def _dismiss(self) -> None:
        crew = self._crew
        if crew is not None:
            crew[0].shutdown(wait=False)


class BgProcManager:
    """Runs procedures that are queued and forgotten: first in, first out, several at once.

    As many run at once as this process may use CPUs. Errors are logged as warnings, and nothing
    that a procedure does ends the manager. What is queued when the interpreter exits still runs.
    Closing it, leaving its ``with`` block and deleting it wait for what was accepted. Only where
    the garbage collector deletes it, which strikes any thread amid anything, nothing is waited for.

    Args:
        logger: Where to log; `None`: ``connectors.background``.
        exit_timeout: How many seconds procedures have when the interpreter exits; `None`: no limit.

    Raises:
        TypeError: *logger* is no logger.
        ValueError: *exit_timeout* is no number, or negative.

    Example:
        >>> words = []
        >>> with BgProcManager() as manager:
        ...     manager.append_new_proc(lambda: words.append("done"))
        >>> words
        ['done']
    """

    def __init__(self, logger: Any = None, *, exit_timeout: float | None = 10.0) -> None:
        logger = checked_logger("BgProcManager", logger)
        limit = checked_seconds("BgProcManager", "exit_timeout", exit_timeout)
        self._queue = _Queue(logger, limit)
        _living.add(self._queue)
        _forks.living.add(self._queue)
        weakref.finalize(self, self._queue.let_go).atexit = False

    def append_new_proc(self, proc: Proc) -> None:
        """Queue *proc*, which is called without arguments. When closed, warn and drop it.

        Raises:
            TypeError: *proc* cannot be called, or is an ``async def``.
        """
        check_plain("BgProcManager.append_new_proc", proc)
        self._queue.append(proc)

    def is_deque_empty(self) -> bool:
        """Tell whether no procedure waits."""
        return not self._queue.waiting

    def is_no_running_threads(self) -> bool:
        """Tell whether no procedure runs."""
        return not self._queue.running

    def wait_until_empty(self, timeout: float | None = 86400.0) -> None:
        """Return when every procedure that was accepted has ended.

        Args:
            timeout: How many seconds to wait at most; `None`: no limit.

        Raises:
            TimeoutError: They have not ended by then.
            RuntimeError: A procedure of this manager calls, and would wait for itself.
        """
        place = "BgProcManager.wait_until_empty"
        limit = checked_seconds(place, "timeout", timeout)
        queue = self._queue
        if queue.is_called_by_own():
            raise RuntimeError(f"{place}: a procedure would wait here for its own end")
        if not queue.wait(limit):
            raise TimeoutError(
                f"{place}: after {limit} s {len(queue.running)} procedures run and "
                f"{len(queue.waiting)} wait"
            )

    def close(self) -> None:
        """Accept no more procedures, and wait for those that were accepted. It can be repeated.

        A procedure that closes its own manager does not wait.
        """
        self._queue.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        queue = self._queue
        state = "closed, " if queue.closed else ""
        return f"<BgProcManager, {state}{len(queue.running)} run, {len(queue.waiting)} wait>"


#: The manager of `bg_run_proc`.
bg_proc_manager = BgProcManager()


def bg_run_proc(proc: Callable[..., object], /, *args: Any, **kwargs: Any) -> None:
    """Let ``proc(*args, **kwargs)`` be called in the background, by `bg_proc_manager`.

    Raises:
        TypeError: *proc* cannot be called, or is an ``async def``.

    Example:
        >>> words = []
        >>> bg_run_proc(words.append, "done")
        >>> bg_proc_manager.wait_until_empty()
        >>> words
        ['done']
    """
    check_plain("bg_run_proc", proc)
    bg_proc_manager.append_new_proc(functools.partial(proc, *args, **kwargs))


@atexit.register
def _finish() -> None:
    began = time.monotonic()
    with contextlib.ExitStack() as stack:  # one that is interrupted does not take others along
        for queue in list(_living):
            stack.callback(queue.finish, began)


def _end_with_child_process() -> None:
    """See to `_finish` in a child of multiprocessing, which may end without exit handlers."""
    process, util = (sys.modules.get(f"multiprocessing.{name}") for name in ("process", "util"))
    if process is not None and util is not None and process.parent_process() is not None:
        util.Finalize(None, _finish, exitpriority=0)
