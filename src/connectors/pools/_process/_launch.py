"""Starts workers by way of the template process, which all pools of a process share."""

from __future__ import annotations

import array
import contextlib
import os
import signal
import socket
import subprocess
import threading

import attrs

from ._template import COMMAND, FORK, KILL, SPAWN, TERMINATE, bootstrap

START_METHODS = {"forkserver": FORK, "spawn": SPAWN}

_lock = threading.Lock()
_shared: Template | None = None


@attrs.define(eq=False)
class Template:
    """The template process as its parent sees it.

    A command is so small that it is sent in one piece, so threads need no lock to send theirs.

    Attributes:
        users: How many pools start their workers with it.
    """

    _process: subprocess.Popen[bytes]
    _control: socket.socket
    users: int = 0

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
                process = subprocess.Popen(  # noqa: S603 - this interpreter
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
        self._control.sendmsg([command], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])

    def kill(self, number: int) -> None:
        """Kill worker *number*, if it lives."""
        self._signal(KILL, number)

    def terminate(self, number: int) -> None:
        """Send SIGTERM to worker *number*, if it lives."""
        self._signal(TERMINATE, number)

    def _signal(self, command: int, number: int) -> None:
        # If the template is gone, it has taken its workers along.
        with contextlib.suppress(OSError):
            self._control.send(COMMAND.pack(command, number))

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
    global _shared  # noqa: PLW0603
    with _lock:
        if _shared is None:
            _shared = Template.start()
        _shared.users += 1
        return _shared


def release(template: Template, broken: bool = False) -> None:
    """Give the template back; it ends with its last user.

    Args:
        template: What `acquire` returned.
        broken: Let the next user have a new one.
    """
    global _shared  # noqa: PLW0603
    with _lock:
        template.users -= 1
        if _shared is template and (broken or not template.users):
            _shared = None
    if not template.users:
        template.close()


def _forget() -> None:
    """In a forked child there is no template; its pools start one of their own."""
    global _lock, _shared  # noqa: PLW0603
    _lock = threading.Lock()
    if _shared is not None:
        _shared.forget()
        _shared = None


os.register_at_fork(after_in_child=_forget)
