"""The template: a small process without threads that forks workers and buries them.

```text
parent ── control socket ──▶ template ── fork ──▶ worker
   ▲                          │    ▲                │
   └── status pipe (pid; end) ┘    └─ its stderr ───┘ (passed on; the last lines are kept)
```

It has imported what a worker needs, so that a worker starts in some milliseconds, and nothing of
the user's, so that forking it is safe. When its parent is gone, however that ended, it kills all
workers and ends. Only the template waits for workers, so a pid that it kills is never another's.
"""

from __future__ import annotations

import array
import contextlib
import gc
import os
import select
import signal
import socket
import struct
import sys
from typing import NoReturn

import attrs

COMMAND = struct.Struct("<BI")
FORK, SPAWN, KILL, TERMINATE = range(4)
_SIGNALS = {KILL: signal.SIGKILL, TERMINATE: signal.SIGTERM}

BEGIN = struct.Struct("<i")  # on the status pipe: the pid, and at the end
END = struct.Struct("<i")  # the wait status and the last of the worker's stderr

_TAIL = 2000
_DESCRIPTORS = 3


def bootstrap(module: str, *arguments: int) -> list[str]:
    """Return the command that runs ``main(*arguments)`` of *module* in a new interpreter."""
    from subprocess import _args_from_interpreter_flags  # type: ignore[attr-defined]

    path = [entry for entry in sys.path if isinstance(entry, str)]
    code = f"import sys; sys.path[:] = {path!r}; from {module} import main; main(*{arguments!r})"
    return [sys.executable, *_args_from_interpreter_flags(), "-c", code]


def main(control: int) -> None:
    """Serve the parent at the other end of the socket *control*, until it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # the parent may have blocked SIGCHLD
    _occupy_standard_descriptors()
    import ctypes  # noqa: F401 - for the workers, as what follows

    from . import _child  # noqa: F401

    gc.freeze()
    with socket.socket(fileno=control) as sock:
        _Template(sock).serve()


def _occupy_standard_descriptors() -> None:
    """Open what of 0, 1, 2 is closed, or else the pipes of workers would get these numbers.

    Workers have a stderr in any case, for their last words.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    if sys.stderr is None:
        sys.stderr = open(2, "w", 1, errors="backslashreplace", closefd=False)  # noqa: SIM115


@attrs.define(eq=False)
class _Worker:
    pid: int
    status: int
    errors: int  # the end at which its stderr is read, or -1
    tail: bytes = b""


@attrs.define(eq=False)
class _Template:
    control: socket.socket
    wakeup: tuple[int, int] = attrs.field(factory=os.pipe)
    pid: int = attrs.field(factory=os.getpid)
    workers: dict[int, _Worker] = attrs.field(factory=dict)
    jammed: bool = False  # our own stderr takes nothing at the moment

    def serve(self) -> None:
        for descriptor in self.wakeup:
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(self.wakeup[1], warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        with contextlib.suppress(EOFError, OSError):
            while True:
                self.turn()
        for worker in self.workers.values():
            os.kill(worker.pid, signal.SIGKILL)
        os._exit(0)

    def turn(self) -> None:
        """Wait for what happens next and see to it."""
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        poll.register(self.wakeup[0], select.POLLIN)
        speakers = {worker.errors: worker for worker in self.workers.values() if worker.errors >= 0}
        if self.jammed:
            poll.register(2, select.POLLOUT)
        else:
            for errors in speakers:
                poll.register(errors, select.POLLIN)
        events = dict(poll.poll())
        if 2 in events:
            self.jammed = False
        for errors in events.keys() & speakers.keys():
            self.listen(speakers[errors])
        if self.wakeup[0] in events:
            self.bury()
        if self.control.fileno() in events:
            self.obey()

    def obey(self) -> None:
        """Read one command and do it."""
        itemsize = array.array("i").itemsize
        data, messages, _, _ = self.control.recvmsg(
            COMMAND.size, socket.CMSG_SPACE(_DESCRIPTORS * itemsize)
        )
        files = array.array("i")
        for _, _, packed in messages:
            files.frombytes(packed)
        while data and len(data) < COMMAND.size:
            data += self.control.recv(COMMAND.size - len(data))
        if not data:
            raise EOFError
        command, number = COMMAND.unpack(data)
        if command not in _SIGNALS:
            self.start(command, number, *files)
        elif number in self.workers:
            os.kill(self.workers[number].pid, _SIGNALS[command])

    def start(self, command: int, number: int, sock: int, tokens: int, status: int) -> None:
        """Fork a worker, which reads calls from *sock* and may run those named by *tokens*."""
        errors, errors_end = os.pipe()
        try:
            pid = os.fork()
        except OSError as error:
            os.write(status, BEGIN.pack(0) + END.pack(0) + f"cannot fork: {error}".encode())
            for descriptor in (sock, tokens, status, errors, errors_end):
                os.close(descriptor)
            return
        if not pid:
            os.close(errors)
            os.close(status)
            self.become_worker(command, sock, tokens, errors_end)
        for descriptor in (sock, tokens, errors_end):
            os.close(descriptor)
        os.set_blocking(errors, False)
        self.workers[number] = _Worker(pid, status, errors)
        with contextlib.suppress(OSError):
            os.write(status, BEGIN.pack(pid))

    def become_worker(self, command: int, sock: int, tokens: int, errors: int) -> NoReturn:
        """Be a worker from now on."""
        try:
            self.leave()
            os.dup2(errors, 2)
            os.close(errors)
            _die_with_parent(self.pid)
            if command == SPAWN:
                os.set_inheritable(sock, True)
                os.set_inheritable(tokens, True)
                words = bootstrap(f"{__package__}._child", sock, tokens)
                os.execv(words[0], words)  # noqa: S606 - this interpreter
            from ._child import main

            main(sock, tokens)
        finally:
            os._exit(1)

    def leave(self) -> None:
        """Close, in a worker, what belongs to the template."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self.control.close()
        for descriptor in self.wakeup:
            os.close(descriptor)
        for worker in self.workers.values():
            os.close(worker.status)
            if worker.errors >= 0:
                os.close(worker.errors)

    def listen(self, worker: _Worker) -> bool:
        """Pass on some of what *worker* wrote to its stderr; tell whether there was something."""
        # Up to PIPE_BUF bytes do not block where poll tells that something may be written.
        self.jammed = self.jammed or not _is_writable(2)
        if self.jammed:
            return False
        try:
            data = os.read(worker.errors, select.PIPE_BUF)
        except BlockingIOError:
            return False
        if not data:
            os.close(worker.errors)
            worker.errors = -1
            return False
        worker.tail = (worker.tail + data)[-_TAIL:]
        with contextlib.suppress(OSError):
            os.write(2, data)
        return True

    def bury(self) -> None:
        """Tell the parent of every worker that has ended how it did."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.wakeup[0], 1 << 12)
        for number, worker in list(self.workers.items()):
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if pid:
                del self.workers[number]
                while worker.errors >= 0 and self.listen(worker):
                    pass
                with contextlib.suppress(OSError):
                    os.write(worker.status, END.pack(status) + worker.tail)
                os.close(worker.status)
                if worker.errors >= 0:
                    os.close(worker.errors)


def _is_writable(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(0))


def _die_with_parent(template: int) -> None:
    """Let the kernel kill this worker when the *template* ends, whatever the worker is doing."""
    if sys.platform == "linux":
        import ctypes

        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
        if os.getppid() != template:  # it ended before
            os._exit(1)
