"""`Gate`, at which checks hold calls, wherever these run, and see how they end.

```text
check                            call, in any thread or process
  Gate() ── address ──▶ submit ──▶ knock(address)
  visitor() ◀────── hello ──────── connects
  let_in()  ────── order ────────▶ goes on, fails or dies
  left()    ◀── goodbye, or the end of its process
```

A connection ends when its process does, which is how a check sees without waiting for a while
that a worker is gone.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

from ._jobs import DIE, FAIL, GO, GOODBYE

Answer = Callable[["Visitor"], object]


class Visitor:
    """A call that waits at the gate.

    Attributes:
        pid: The process in which it runs.
        thread: The thread in which it runs.
        tag: What it was given to be known by.
    """

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        hello = json.loads(self._read_line())
        self.pid: int = hello["pid"]
        self.thread: int = hello["thread"]
        self.tag: Any = hello["tag"]

    def let_in(self) -> None:
        """Let the call return."""
        self._order(GO)

    def fail(self) -> None:
        """Make the call raise."""
        self._order(FAIL)

    def die(self) -> None:
        """Make the call end its process."""
        self._order(DIE)

    def left(self) -> bool:
        """Wait until the call is gone, and tell whether it went by itself."""
        try:
            return self._line.recv(1) == GOODBYE
        except ConnectionError:
            return False

    def close(self) -> None:
        """Send the call away."""
        with contextlib.suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)
        self._line.close()

    def _order(self, order: bytes) -> None:
        with contextlib.suppress(ConnectionError):  # its process was stopped meanwhile
            self._line.sendall(order)

    def _read_line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            piece = self._line.recv(1)
            if not piece:
                raise AssertionError("a call was stopped while it reported at the gate")
            line += piece
        return line


def in_turn(*answers: Answer) -> Answer:
    """Return what gives the first visitor the first of *answers*, and so on."""
    rest = iter(answers)

    def answer(visitor: Visitor) -> None:
        next(rest)(visitor)

    return answer


class Gate:
    """Where calls that run `knock` wait for orders. At its end they are all sent away."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._visitors: list[Visitor] = []

    @property
    def address(self) -> tuple[str, int]:
        """The address to give to `knock`."""
        host, port = self._listener.getsockname()[:2]
        return str(host), int(port)

    def visitor(self) -> Visitor:
        """Wait for the next call to arrive, and return it."""
        line, _ = self._listener.accept()
        visitor = Visitor(line)
        self._visitors.append(visitor)
        return visitor

    def arrived(self) -> list[Visitor]:
        """Return the calls that have arrived since somebody asked."""
        found = []
        while select.select([self._listener], [], [], 0)[0]:
            found.append(self.visitor())
        return found

    @contextlib.contextmanager
    def answering(self, answer: Answer) -> Iterator[list[Any]]:
        """Give each call that arrives during the block to *answer*, in a thread.

        Yields:
            The tags of the calls that arrived so far.
        """
        tags: list[Any] = []
        wake, sleeper = socket.socketpair()

        def serve() -> None:
            while True:
                ready = select.select([self._listener, sleeper], [], [])[0]
                if self._listener in ready:
                    visitor = self.visitor()
                    tags.append(visitor.tag)
                    answer(visitor)
                elif sleeper in ready:
                    return

        thread = threading.Thread(target=serve, name="gate", daemon=True)
        thread.start()
        try:
            yield tags
        finally:
            wake.close()
            thread.join()
            sleeper.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # A call that still waits to be heard must not wait for ever.
        with contextlib.suppress(OSError, AssertionError):
            self.arrived()
        self._listener.close()
        for visitor in self._visitors:
            visitor.close()
