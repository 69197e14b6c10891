"""`ThreadPool`, the threads of an executor.

```text
submit ──▶ queue ──▶ worker thread ──▶ future
```

It differs from `concurrent.futures.ThreadPoolExecutor` in three points: each call sees the context
variables of its submitter; a call that submits to its own pool and waits never starves, because
the pool grows by one thread for each call that does so; and its threads need not hold up the exit
of the interpreter.
"""

from __future__ import annotations

import atexit
import collections
import concurrent.futures
import contextvars
import itertools
import os
import queue
import threading
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

import attrs

_pool_numbers = itertools.count(1)
_frame: contextvars.ContextVar[_Frame | None] = contextvars.ContextVar("_frame", default=None)
_living: weakref.WeakSet[_State] = weakref.WeakSet()


@attrs.define(eq=False)
class _Frame:
    """A call that a pool runs now, as the calls that it submits see it."""

    state: _State | None
    outer: _Frame | None
    submitted: bool = False  # it gave work to its own pool, for which it may be waiting


@attrs.define(eq=False, weakref_slot=True)
class _State:
    """What a pool shares with its threads; they hold this and not the pool."""

    size: int
    prefix: str
    daemon: bool
    items: queue.SimpleQueue[_Item | None] = attrs.field(factory=queue.SimpleQueue)
    # The collector may strike while a thread has it, and finalizers submit calls and drop pools.
    lock: threading.RLock = attrs.field(factory=threading.RLock)
    threads: set[threading.Thread] = attrs.field(factory=set)
    names: itertools.count[int] = attrs.field(factory=itertools.count)
    free: int = 0  # threads that are waiting, less the calls that wait for a thread
    # One entry for each thread that became free and is not counted in `free` yet: a worker that
    # took the lock to count itself would meet there the submitter whom it has just woken.
    freed: collections.deque[None] = attrs.field(factory=collections.deque)
    grown: int = 0  # running calls that submitted to their own pool
    staffing: bool = False  # a thread is amid starting threads
    closed: bool = False


@attrs.define(eq=False)
class _Item:
    future: Future[Any]
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    context: contextvars.Context


class ThreadPool(concurrent.futures.Executor):
    """Runs calls in threads, which are started when they are needed and kept.

    Args:
        threads: How many calls run at a time, at most. A call that itself submits to this pool
            does not count, since it may be waiting for what it submitted.
        daemon: Do not wait for running calls when the interpreter exits.
        thread_name_prefix: What the names of the threads begin with.

    Raises:
        ValueError: *threads* is less than 1.
    """

    def __init__(self, threads: int, *, daemon: bool = False, thread_name_prefix: str = "") -> None:
        if threads < 1:
            raise ValueError(f"threads={threads}: a thread pool needs at least 1")
        prefix = thread_name_prefix or f"connectors-{next(_pool_numbers)}"
        self._state = _State(threads, prefix, daemon)
        _living.add(self._state)
        weakref.finalize(self, _dismiss, self._state).atexit = False

    @property
    def size(self) -> int:
        """How many calls run at a time, at most."""
        return self._state.size

    @property
    def threads(self) -> tuple[threading.Thread, ...]:
        """The threads that there are now."""
        return tuple(self._state.threads.copy())  # others change it, also while it is iterated

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Schedule ``fn(*args, **kwargs)`` and return its future.

        Raises:
            RuntimeError: The pool is shut down.
        """
        state = self._state
        future: Future[Any] = Future()
        item = _Item(future, fn, args, kwargs, contextvars.copy_context())
        with state.lock:
            _mark_submitter(state)
            _count_freed(state)
            if state.closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            state.free -= 1
            state.items.put(item)
            _staff(state)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and let the threads end when the calls are done.

        Args:
            wait: Return when they have ended.
            cancel_futures: Cancel the calls that have not begun.
        """
        state = self._state
        _dismiss(state, cancel=cancel_futures)
        if wait:
            me = threading.current_thread()
            for thread in state.threads.copy():
                if thread is not me:
                    thread.join()


def _mark_submitter(state: _State) -> None:
    frame = _frame.get()
    while frame is not None:
        if frame.state is state and not frame.submitted:
            frame.submitted = True
            state.grown += 1
        frame = frame.outer


def make_room() -> None:
    """Let the pool whose call is running here have one thread more until that call ends.

    For calls that mostly wait for their consumers: the threads are there for those who work.
    """
    frame = _frame.get()
    state = None if frame is None else frame.state
    if frame is None or state is None:
        return
    with state.lock:
        if frame.submitted:
            return
        frame.submitted = True
        state.grown += 1
        _count_freed(state)
        _staff(state)


def _count_freed(state: _State) -> None:
    while state.freed:
        state.freed.pop()
        state.free += 1


def _staff(state: _State) -> None:
    """Start the threads that are missing, unless this is a finalizer amid just that."""
    if state.staffing:
        return
    state.staffing = True
    try:
        while state.free < 0 and len(state.threads) < state.size + state.grown:
            if not _start_thread(state):
                return
            if state.closed:
                state.items.put(None)  # who closed it did not tell this thread to end
    finally:
        state.staffing = False


def _start_thread(state: _State) -> bool:
    """Start a thread; tell whether that could be, if there are others that do its work."""
    thread = threading.Thread(
        target=_work,
        args=(state,),
        name=f"{state.prefix}-{next(state.names)}",
        # Threads that are no daemons are joined before atexit could tell them to end.
        daemon=True,
    )
    state.threads.add(thread)
    state.free += 1
    try:
        thread.start()
    except BaseException as error:
        # After Ctrl-C nobody knows whether it starts; if it does, it finds that it is not wanted.
        state.threads.discard(thread)
        state.free -= 1
        if not isinstance(error, RuntimeError) or not state.threads:
            raise
        return False
    return True


def _work(state: _State) -> None:
    me = threading.current_thread()
    with state.lock:
        if me not in state.threads:
            return
    while True:
        item = state.items.get()
        if item is None:
            break
        frame = _Frame(state, item.context.get(_frame))
        _run(item, frame)
        del item  # an idle thread holds no values
        frame.state = None  # what outlives the call is no nested work any more
        state.freed.append(None)
        if (frame.submitted or len(state.threads) > state.size) and _is_surplus(state, frame):
            return
        del frame
    with state.lock:
        state.threads.discard(me)


def _is_surplus(state: _State, frame: _Frame) -> bool:
    """Count the end of the call of *frame*; tell whether its thread has to end too."""
    with state.lock:
        if frame.submitted:
            state.grown -= 1
        if len(state.threads) <= state.size + state.grown:
            return False
        _count_freed(state)
        state.free -= 1
        state.threads.discard(threading.current_thread())
        return True


def _run(item: _Item, frame: _Frame) -> None:
    if not item.future.set_running_or_notify_cancel():
        return
    try:
        result = item.context.run(_run_in_frame, frame, item.function, item.args, item.kwargs)
    except BaseException as error:
        item.future.set_exception(error)
        del item  # the error's traceback holds this frame: the future would be in a cycle
    else:
        item.future.set_result(result)


def _run_in_frame(
    frame: _Frame,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Any:
    _frame.set(frame)
    return function(*args, **kwargs)


def _dismiss(state: _State, *, cancel: bool = False) -> None:
    with state.lock:
        state.closed = True
        waiting = _take_waiting(state) if cancel else []
        for _ in range(len(state.threads)):
            state.items.put(None)
    for item in waiting:
        item.future.cancel()
        item.future.set_running_or_notify_cancel()  # tells concurrent.futures.wait


def _take_waiting(state: _State) -> list[_Item]:
    waiting: list[_Item] = []
    while True:
        try:
            item = state.items.get_nowait()
        except queue.Empty:
            return waiting
        if item is not None:
            state.free += 1
            waiting.append(item)


@atexit.register
def _finish() -> None:
    """Wait for what non-daemon pools still have to do, as `ThreadPoolExecutor` does."""
    for state in list(_living):
        _dismiss(state)
    for state in list(_living):
        if not state.daemon:
            for thread in state.threads.copy():
                thread.join()


def _forget_threads() -> None:
    """In a forked child the threads of the parent do not exist: every pool starts anew."""
    for state in list(_living):
        state.lock = threading.RLock()
        state.items = queue.SimpleQueue()
        state.threads = set()
        state.free = state.grown = 0
        state.staffing = False
        state.freed.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)
