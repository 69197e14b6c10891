"""Ctrl-C: it ends the program at once, takes the workers along, and tears no line in two.

A terminal sends it to every process of ours. Workers are started deaf to it, and when they run
their first item they begin to hear it, and then end without a word: what is to be said, the
program says.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn, Self

from connectors import Executor, Parallelization

_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
_HAS_MASKS = hasattr(signal, "pthread_sigmask")
_PATIENCE = 0.2  # seconds; hardly noticed, and long for what does not wait for a call


class Interrupted(KeyboardInterrupt):
    """The program was asked to end.

    Attributes:
        code: The exit code that says by which signal.
    """

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__()
        self.code = 128 + number


def code_of(interruption: KeyboardInterrupt) -> int:
    """Return the exit code that tells of *interruption*."""
    known = interruption if isinstance(interruption, Interrupted) else Interrupted()
    return known.code


class Interrupts:
    """Raises `Interrupted` for the signals that end a program, but not while it is `held`.

    Where it may not, as in a thread or when the program is called as a function, it does nothing
    and leaves the signals to whoever handles them.
    """

    def __init__(self, *, active: bool) -> None:
        self._active = active and threading.current_thread() is threading.main_thread()
        self._before: dict[int, Any] = {}
        self._held = False
        self._late: int | None = None

    def __enter__(self) -> Self:
        # What is ignored, under nohup for instance, stays so.
        numbers = [n for n in _SIGNALS if self._active and signal.getsignal(n) != signal.SIG_IGN]
        for number in numbers:
            self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hear(self, number: int, _: FrameType | None) -> None:
        # The second one ends what the first could not, a write that is stuck for instance.
        if self._held and self._late is None:
            self._late = number
        else:
            raise Interrupted(number)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Put off what comes meanwhile to the end of the block."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._late is not None:
            raise Interrupted(self._late)


def prepare(executor: Executor) -> bool:
    """Tell whether *executor* may start processes that are to be `deaf`, and make that last."""
    capabilities = type(executor).capabilities
    if not _HAS_MASKS or capabilities.remote or Parallelization.PROCESS not in capabilities.levels:
        return False
    from multiprocessing import resource_tracker

    # The pools of the standard library start it, and it unblocks the signal when it starts.
    resource_tracker.ensure_running()
    return True


@contextlib.contextmanager
def deaf() -> Iterator[None]:
    """Let processes that are started in the block not hear Ctrl-C."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def hearing(function: Callable[..., Any], item: Any) -> Any:
    """Return ``function(item)``; meanwhile, the programs that it starts hear Ctrl-C."""
    if _HAS_MASKS:
        if _is_worker() and signal.getsignal(signal.SIGINT) == signal.default_int_handler:
            signal.signal(signal.SIGINT, _end_worker)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    return function(item)


def _is_worker() -> bool:
    process = sys.modules.get("multiprocessing.process")
    return (
        process is not None
        and process.parent_process() is not None
        and threading.current_thread() is threading.main_thread()
    )


def _end_worker(number: int, _: FrameType | None) -> NoReturn:
    os._exit(128 + number)


def abandon(executor: Executor, code: int, *, program: bool) -> int:
    """Begin the end of *executor*, wait for nobody, and leave.

    Args:
        executor: What still runs calls.
        code: The exit code.
        program: End the process, with its workers; else only return *code*.
    """
    if not program:
        executor.shutdown(wait=False, cancel_futures=True)
        return code
    for number in _SIGNALS:
        signal.signal(number, lambda *_: os._exit(code))
    stop = functools.partial(executor.shutdown, wait=True, cancel_futures=True)
    stopper = _started(stop)
    stopper.join(_PATIENCE)
    _kill_children()
    stopper.join(_PATIENCE)
    if util := sys.modules.get("multiprocessing.util"):
        # What Python does at its exit: named semaphores, for instance, would outlive us.
        _started(util._exit_function).join(_PATIENCE)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    # The regular way would wait for threads, and nothing can stop a thread.
    os._exit(code)


def _started(function: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread


def _kill_children() -> None:
    multiprocessing = sys.modules.get("multiprocessing")
    children = multiprocessing.active_children() if multiprocessing else []
    for child in children:
        child.kill()
    for child in children:
        child.join(_PATIENCE)
