"""Watches the process of one check: waits for it, ends it when it is late, judges what it left."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import attrs

from ._child import OUTPUT, RESULT, Order

_PAUSE = 0.002
_LAST_WORDS = 2.0  # for the traceback that a late process writes before it ends by itself
_FAREWELL = 10.0  # for the processes that a check started, after its own process has ended
_LINES = 60


@attrs.frozen
class Verdict:
    """What is known when the process of a check is gone.

    Attributes:
        outcome: ``passed`` or ``failed``.
        value: What it left, or why it failed.
        seconds: How long it took.
    """

    outcome: str
    value: Any
    seconds: float


class Process(Protocol):
    """The process of a check."""

    def poll(self) -> int | None:
        """Return its exit code, or `None` while it runs."""

    def kill(self) -> None:
        """End it, and all processes that it started."""

    def deserted(self) -> bool:
        """Tell whether all processes that it started are gone, after it ended."""


class Fork:
    """A process that was forked, and leads a group of its own."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def poll(self) -> int | None:
        """Return its exit code, or `None` while it runs."""
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None

    def kill(self) -> None:
        """End its group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)

    def deserted(self) -> bool:
        """Tell whether no process is left; orphans were handed to this one."""
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return True
        return False


class Spawned:
    """A process that was started as a program of its own, where there is no fork."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def poll(self) -> int | None:
        """Return its exit code, or `None` while it runs."""
        return self._process.poll()

    def kill(self) -> None:
        """End it, and what it started as far as that is known."""
        if os.name == "nt":
            number = str(self._process.pid)
            command = ["taskkill", "/F", "/T", "/PID", number]
            subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - a number
        else:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()

    def deserted(self) -> bool:
        """Tell nothing: orphans are not seen here."""
        return True


def watch(process: Process, order: Order, abandoned: Callable[[], bool]) -> Verdict:
    """Wait for *process* and return the verdict; afterwards nothing of it runs any more.

    Args:
        process: The process, which has just begun.
        order: What it does.
        abandoned: Tells whether nobody wants to know any more.
    """
    begin = time.monotonic()
    code = _until(process.poll, begin + order.deadline + _LAST_WORDS, abandoned)
    seconds = time.monotonic() - begin
    done = _left_by(order)
    alone = None
    if code is not None and done is not None and done[0] == "passed":
        alone = _until(lambda: process.deserted() or None, time.monotonic() + _FAREWELL, abandoned)
    if alone is None:
        process.kill()
        _until(lambda: process.deserted() or None, time.monotonic() + _LAST_WORDS, abandoned)
    late = code is None or seconds >= order.deadline
    outcome, value = _judge(order, done, code, late=late, alone=alone is not None)
    return Verdict(outcome, value, seconds)


def _until(ask: Callable[[], Any], end: float, abandoned: Callable[[], bool]) -> Any:
    """Return the first answer of *ask* that is not `None`, or `None` at the time *end*."""
    while True:
        answer = ask()
        if answer is not None or time.monotonic() > end or abandoned():
            return answer
        time.sleep(_PAUSE)


def _left_by(order: Order) -> tuple[str, Any] | None:
    """Return the outcome that the check left, if it came so far."""
    path = Path(order.folder, RESULT)
    return pickle.loads(path.read_bytes()) if path.exists() else None


def _judge(
    order: Order, done: tuple[str, Any] | None, code: int | None, *, late: bool, alone: bool
) -> tuple[str, Any]:
    """Return the outcome and, if it is a failure, its reason."""
    if done is not None and done[0] == "failed":
        return "failed", _with_output(order, done[1]) if isinstance(done[1], str) else done[1]
    if late:
        what = "still ran" if done is None else "was done, but its process still ran"
        return "failed", _with_output(order, f"it {what} after {order.deadline:g} seconds")
    if done is None:
        return "failed", _with_output(order, f"its process ended with exit code {code}")
    if code:
        return "failed", _with_output(order, f"it was done, but its process ended with code {code}")
    if not alone:
        return "failed", _with_output(order, "it left processes behind, which do not end")
    return done


def _with_output(order: Order, sentence: str) -> str:
    path = Path(order.folder, OUTPUT)
    text = path.read_text(errors="replace").rstrip() if path.exists() else ""
    if not text:
        return sentence
    return "\n".join([sentence, "its output:", *text.splitlines()[-_LINES:]])
