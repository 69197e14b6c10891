"""`Bell`, on which threads wait until something holds."""

from __future__ import annotations

import _thread
import threading
import time
from collections.abc import Callable

# A signal that comes between the last look of the main thread and its sleep does not wake it: it is
# heard when the thread awakes. What is waited for has often begun just now, and may well be what
# sends the signal, so the first sleep is a short one.
_SHORT = 0.01


class Bell:
    """Wakes those who wait for a change.

    A `threading.Condition` is entered in Python code, which Ctrl-C may interrupt when it has its
    lock already: the lock would be held for ever. The lock of a bell is entered by the interpreter.

    Attributes:
        lock: Guards what changes. It may be taken again by a finalizer in the thread that has it.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._sleepers: list[_thread.LockType] = []

    def ring(self) -> None:
        """Let everybody who waits look again."""
        with self.lock:
            sleepers, self._sleepers = self._sleepers, []
            for sleeper in sleepers:
                sleeper.release()

    def wait_for(self, ready: Callable[[], object], timeout: float | None = None) -> bool:
        """Return when *ready* holds, or when the time is over; tell whether it holds.

        Args:
            ready: Is called with the lock, once in the beginning and after each ring.
            timeout: How many seconds to wait at most; `None`: no limit.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        patience = _SHORT
        while True:
            sleeper = _thread.allocate_lock()
            sleeper.acquire()
            with self.lock:
                if ready():
                    return True
                self._sleepers.append(sleeper)
            try:
                if not sleeper.acquire(timeout=min(patience, _left(deadline))):
                    patience = threading.TIMEOUT_MAX
            finally:
                with self.lock:
                    if sleeper in self._sleepers:
                        self._sleepers.remove(sleeper)
            if deadline is not None and time.monotonic() >= deadline:
                with self.lock:
                    return bool(ready())


def _left(deadline: float | None) -> float:
    return threading.TIMEOUT_MAX if deadline is None else max(0.0, deadline - time.monotonic())
