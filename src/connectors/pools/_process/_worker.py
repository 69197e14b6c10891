"""One worker as its parent sees it: the socket, the tokens, and how it ends.

```text
parent ── frames ───────▶ worker      a socket: calls there, answers back
       ── tokens ───────▶             a pipe: a call may begin when its token is read
       ◀─ pid ... end ───             a pipe from the template
```

Whoever reads a token owns the call: the worker, which then runs it, or the parent, which then
gives it to another worker. The kernel decides, so that no call runs twice, and when a worker dies
it is certain which call it had begun.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle
import socket
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from connectors._packed_errors import unpack_error

from . import _wire
from ._attend import Bell
from ._ear import DEAF
from ._launch import Template
from ._schedule import Seat
from ._template import BEGIN, END
from ._wire import TOKEN, Disconnected, Frame, Inbox, Outbox

_numbers = itertools.count(1)
_LAST_LINES = 20
_NEWS = 0  # the token that names no call: there is something else to read


@attrs.define(eq=False)
class Worker:
    """One worker process.

    Attributes:
        seat: How the schedule sees it.
        pid: Its process id, or 0 until that is known.
        known: The definitions that it was sent and was not told to forget.
        levels: The levels of loggers that it was told.
        head: The sequence number of the call that it runs, as far as is known.
        interest: What the pool's thread waits for on its socket.
        bell: Calls away a caller that listens instead of the pool's thread.
        attended: A caller that waits for its only call hears it instead.
        silent: It can say nothing any more.
        retired: It was told to end when it has done what it was sent.
        failure: Why it cannot work, packed, if it said so.
        idle_since: When it had nothing left to do.
        watched: It is seen to whether it stays idle.
        missed: For how many seconds it left the call that is next, since its last answer.
    """

    seat: Seat[Any]
    sock: socket.socket
    status: int
    _template: Template
    _number: int
    _tokens: tuple[int, ...]
    outbox: Outbox = attrs.field(factory=Outbox)
    inbox: Inbox = attrs.field(factory=Inbox)
    bell: Bell | None = None
    pid: int = 0
    known: set[int] = attrs.field(factory=set)
    levels: Any = None
    head: int = 0
    interest: int = DEAF
    attended: bool = False
    silent: bool = False
    retired: bool = False
    failure: bytes | None = None
    idle_since: float = 0.0
    watched: bool = False
    missed: float = 0.0
    _told: bytes = b""
    _notified: bool = False
    _owing: bool = False
    _allowed: deque[tuple[int, int]] = attrs.field(factory=lambda: deque([(0, 0)], maxlen=1))

    @classmethod
    def start(cls, template: Template, method: str, seat: Seat[Any]) -> Worker:
        """Start a worker process; it can be sent calls at once.

        Raises:
            OSError: It cannot be started.
        """
        with contextlib.ExitStack() as ends, contextlib.ExitStack() as theirs:
            sock, their_sock = socket.socketpair()
            ends.callback(sock.close)
            theirs.callback(their_sock.close)
            tokens = os.pipe()
            for end in tokens:
                ends.callback(os.close, end)
            status, their_status = os.pipe()
            ends.callback(os.close, status)
            theirs.callback(os.close, their_status)
            number = next(_numbers)
            # The worker shares the tokens' open file, so it does not block there either.
            for blocking in (sock.fileno(), tokens[0], status):
                os.set_blocking(blocking, False)
            template.launch(method, number, [their_sock.fileno(), tokens[0], their_status])
            ends.pop_all()
        return cls(seat, sock, status, template, number, tokens)

    @property
    def descriptors(self) -> tuple[socket.socket, int]:
        """Where it is heard: its answers and its end."""
        return self.sock, self.status

    @property
    def allowed(self) -> int:
        """The highest sequence number of the calls that it may run."""
        return self._allowed[0][0]

    def allow(self, sequences: Sequence[int]) -> None:
        """Let it run the calls that it was sent under *sequences*, which ascend."""
        tokens = b"".join(map(TOKEN.pack, sequences))
        # Done and noted in one call of C code, so that no interrupt comes in between.
        written = map(os.write, (self._tokens[1],), (tokens,))
        self._allowed.extend(zip((sequences[-1],), written, strict=False))

    def notify(self) -> None:
        """Let it read what it was sent although there is no call for it.

        While it is busy one token is enough: many would fill the pipe, which nobody reads then.
        """
        if self._notified and (self.seat.calls or not self.seat.ready):
            self._owing = True
        else:
            self._notified = True
            os.write(self._tokens[1], TOKEN.pack(_NEWS))

    def remind(self) -> None:
        """After an answer, `notify` it of what came since it was notified."""
        self._notified, self.missed = False, 0.0
        if self._owing:
            self._owing = False
            self.notify()

    def flush(self) -> bool:
        """Send what the socket takes now; tell whether something is left.

        Raises:
            OSError: It cannot be sent, although the worker is there.
        """
        try:
            self.outbox.flush(self.sock)
        except (BrokenPipeError, ConnectionResetError):
            return False  # it is gone, which is told on the status pipe
        return bool(self.outbox)

    def overhear(self) -> Frame | None:
        """Read once and keep that; return it if it is an answer, small and alone."""
        return self.inbox.overhear(self.sock)

    def receive(self) -> Iterator[Frame]:
        """Iterate over what it said that was not read yet."""
        with contextlib.suppress(BlockingIOError):
            return self.inbox.receive(self.sock)
        return iter(())

    def receive_all(self) -> Iterator[Frame]:
        """Iterate over all that it said, to the last word."""
        with contextlib.suppress(OSError, Disconnected):
            while True:
                yield from self.inbox.receive(self.sock)

    def revoke(self, count: int = _wire.MOST_TOKENS) -> list[int]:
        """Take back up to *count* calls that it did not begin; return their sequence numbers."""
        try:
            data = os.read(self._tokens[0], count * TOKEN.size)
        except BlockingIOError:
            return []
        revoked = [number for (number,) in TOKEN.iter_unpack(data) if number != _NEWS]
        self.outbox.drop(frozenset(revoked))
        if len(revoked) * TOKEN.size < len(data):
            os.write(self._tokens[1], TOKEN.pack(_NEWS))  # it was taken back with them
        return revoked

    def kill(self) -> None:
        """Kill it. Its end is told on the status pipe."""
        self._template.kill(self._number)

    def terminate(self) -> None:
        """Send it SIGTERM. Its end, if it heeds that, is told on the status pipe."""
        self._template.terminate(self._number)

    def retire(self) -> None:
        """Let it end when it has done what it was sent. Its end is told on the status pipe."""
        self.retired = True
        self._close_tokens()

    def hear(self) -> bool:
        """Read the status pipe; tell whether it has ended."""
        try:
            news = os.read(self.status, 1 << 16)
        except BlockingIOError:
            return False
        self._told += news
        if not self.pid and len(self._told) >= BEGIN.size:
            (self.pid,) = BEGIN.unpack_from(self._told)
        return not news

    @property
    def exitcode(self) -> int | None:
        """How it ended, as `subprocess.Popen.returncode` tells it; `None` if that is unknown."""
        if len(self._told) < BEGIN.size + END.size or not self.pid:
            return None
        return os.waitstatus_to_exitcode(END.unpack_from(self._told, BEGIN.size)[0])

    @property
    def reason(self) -> str:
        """Why it died, in words, after it has ended."""
        if self.failure is not None:
            error = unpack_error(pickle.loads(self.failure))
            return f"its initializer failed: {type(error).__name__}: {error}"
        words = self.last_words
        words = f"; last lines of its standard error:\n{words}" if words else ""
        code = self.exitcode
        if code is None:
            return f"it died{words}"
        how = f"was killed by signal {-code}" if code < 0 else f"exited with code {code}"
        return f"it {how}{words}"

    @property
    def last_words(self) -> str:
        """The last lines of its stderr, after it has ended."""
        tail = self._told[BEGIN.size + END.size :].decode(errors="replace").strip()
        return "\n".join(tail.splitlines()[-_LAST_LINES:])

    def close(self) -> None:
        """Close all that belongs to it in this process."""
        self._close_tokens()
        self.inbox.close()
        if self.bell is not None:
            self.bell.release()
            self.bell = None
        self.sock.close()
        if self.status >= 0:
            os.close(self.status)
            self.status = -1

    def _close_tokens(self) -> None:
        for end in self._tokens:
            os.close(end)
        self._tokens = ()
