"""Starts workers by way of the template process, which all pools of a process share."""

from __future__ import annotations

import array
import os
import signal
import socket
import subprocess
import threading

import attrs

from ._template import COMMAND, FORK, KILL, SPAWN, bootstrap

START_METHODS = {"forkserver": FORK, "spawn": SPAWN}

_lock = threading.Lock()
_shared: Template | None = None
_users = 0


@attrs.define(eq=False)
class Template:
    """The template process as its parent sees it."""

    _process: subprocess.Popen[bytes]
    _control: socket.socket
    _lock: threading.Lock = attrs.field(factory=threading.Lock)

    @classmethod
    def start(cls) -> Template:
        """Start a template process.

        Raises:
            OSError: It cannot be started.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            # Ctrl-C must not meet it before it ignores the signal.
            old = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
            try:
                process = subprocess.Popen(
                    bootstrap(f"{__package__}._template", theirs.fileno()),
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                )
            except BaseException:
                ours.close()
                raise
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, old)
        return cls(process, ours)

    def launch(self, method: str, number: int, descriptors: list[int]) -> None:
        """Start worker *number*, which gets the three *descriptors*.

        Raises:
            OSError: The template is gone.
        """
        files = array.array("i", descriptors)
        command = COMMAND.pack(START_METHODS[method], number)
        with self._lock:
            self._control.sendmsg([command], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])

    def kill(self, number: int) -> None:
        """Kill worker *number*, if it lives."""
        with self._lock:
            try:
                self._control.sendall(COMMAND.pack(KILL, number))
            except OSError:
                pass  # it is gone, and has taken its workers along

    def close(self) -> None:
        """End it, and its workers with it, and wait until it has ended."""
        self._control.close()
        self._process.wait()

    def forget(self) -> None:
        """Close, in a forked child, what belongs to the parent."""
        self._control.close()
        self._process.returncode = 0  # it is not ours to wait for


def acquire() -> Template:
    """Return the template for one more user.

    Raises:
        OSError: It cannot be started.
    """
    global _shared, _users  # noqa: PLW0603
    with _lock:
        if _shared is None:
            _shared = Template.start()
        _users += 1
        return _shared

