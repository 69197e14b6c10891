"""What a worker process does all its life: read a call, run it, answer.

```text
token ──▶ the call of that number among the frames ──▶ run ──▶ answer
```

A frame whose token never comes belongs to another worker by now, and is thrown away.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import functools
import os
import pickle
import select
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import attrs

from connectors import _relay
from connectors._culprit import culprit
from connectors._envelope import dump, run, settle_in_worker
from connectors._packed_errors import pack_error

from . import _files, _scatter, _wire
from ._deposit import Contents
from ._memory import LARGE_SIZE, Segment, unwrap, wrap
from ._wire import HEADER, TOKEN, Disconnected, Frame, Inbox, send


@attrs.frozen
class Setup:
    """What a worker is told of the world that it works for.

    Attributes:
        path: Where it imports from.
        directory: Where it works, or `None`.
        arguments: ``sys.argv``.
        environment: ``os.environ``.
        memory_limit: How many bytes of data it may have, or `None`.
        initializer: What it calls first: its address, or it itself packed, or `None`.
    """

    path: list[str]
    directory: str | None
    arguments: list[str]
    environment: Mapping[str, str]
    memory_limit: int | None
    initializer: str | bytes | None

    def apply(self) -> None:
        """Make this process what it is to be."""
        sys.path[:] = self.path
        sys.argv[:] = self.arguments
        if self.directory is not None:
            with contextlib.suppress(OSError):
                os.chdir(self.directory)
        for name in os.environ.keys() - self.environment.keys():
            del os.environ[name]
        os.environ.update(self.environment)
        if self.memory_limit is not None:
            import resource

            # Data, not address space: libraries reserve far more addresses than they use.
            resource.setrlimit(resource.RLIMIT_DATA, (self.memory_limit, self.memory_limit))
        if self.initializer is not None:
            _initializer(self.initializer)()


def _initializer(described: str | bytes) -> Callable[[], object]:
    if isinstance(described, bytes):
        function: Callable[[], object] = pickle.loads(described)
        return function
    import importlib

    module, _, name = described.partition(":")
    found: Callable[[], object] = getattr(importlib.import_module(module), name)
    return found


def main(sock: int, tokens: int) -> NoReturn:
    """Work for the parent at the other end of *sock*, until it closes *tokens*."""
    # The parent decides what Ctrl-C ends. Not SIG_IGN: programs that calls start would inherit it.
    signal.signal(signal.SIGINT, lambda *_: None)
    os.set_inheritable(sock, False)
    os.set_inheritable(tokens, False)
    faulthandler.enable(2)  # which the template reads, whatever the parent has
    child = _Child(socket.socket(fileno=sock), tokens)
    os.register_at_fork(after_in_child=child.detach)
    try:
        if child.prepare():
            child.work()
            atexit._run_exitfuncs()
    except (Disconnected, OSError):
        os._exit(1)  # the parent is gone, or a call closed what leads to it
    _flush()
    os._exit(0)


@attrs.define(eq=False)
class _Child:
    sock: socket.socket
    tokens: int
    pid: int = attrs.field(factory=os.getpid)
    inbox: Inbox = attrs.field(factory=Inbox)
    frames: deque[Frame] = attrs.field(factory=deque)
    files: dict[int, list[int]] = attrs.field(factory=dict)
    poll: Any = attrs.field(factory=select.poll)

    def prepare(self) -> bool:
        """Do what the setup says; tell whether that went well."""
        try:
            setup: Setup = pickle.loads(self.frame().payload)
            setup.apply()
        except BaseException as error:
            self.send(_wire.REFUSED, 0, pickle.dumps(pack_error(error)))
            return False
        self.poll.register(self.tokens, select.POLLIN)
        self.send(_wire.READY, self.pid, b"")
        return True

    def work(self) -> None:
        """Run one call after the other."""
        while token := self.token():
            (number,) = TOKEN.unpack(token)
            if frame := self.find(number):
                self.run(frame)

    def token(self) -> bytes:
        """Wait until a call may begin; return its token, or nothing if there will be none."""
        while True:
            try:
                return os.read(self.tokens, TOKEN.size)
            except BlockingIOError:
                self.poll.poll()

    def find(self, number: int) -> Frame | None:
        """Return the call that was sent under *number*, and heed what came before it."""
        if not number:
            self.heed_news()
            return None
        while True:
            frame = self.frame()
            if frame.kind != _wire.CALL:
                self.heed(frame)
            elif frame.number == number:
                return frame
            elif frame.descriptor is not None:
                os.close(frame.descriptor)

    def heed_news(self) -> None:
        """Heed what was sent up to the next call, which is left where it is."""
        while True:
            if self.frames:
                if self.frames[0].kind == _wire.CALL:
                    return
                self.heed(self.frames.popleft())
            elif select.select([self.sock], [], [], 0)[0]:
                self.frames.extend(self.inbox.receive(self.sock))
            else:
                return

    def frame(self) -> Frame:
        while not self.frames:
            self.frames.extend(self.inbox.receive(self.sock))
        return self.frames.popleft()

    def heed(self, frame: Frame) -> None:
        """Do what a frame says that is no call."""
        if frame.kind == _wire.FILE:
            assert frame.descriptor is not None
            self.files.setdefault(frame.number, []).append(frame.descriptor)
            return
        if frame.kind == _wire.LEVELS:
            settle_in_worker(pickle.loads(frame.payload))
        elif frame.kind == _wire.FORGET:
            _scatter.forget(frame.number)
        elif frame.flags & _wire.KEPT:
            _scatter.define(frame.number, functools.partial(_contents, frame, _lent(frame)))
        else:
            segment = _segment_of(frame)
            content = unwrap(frame.payload, frame.flags, segment)
            if segment is not None:
                segment.close()
            _scatter.define(frame.number, lambda: _load(*content))

    def run(self, frame: Frame) -> None:
        """Run the call in *frame* and answer."""
        for number in [number for number in self.files if number < frame.number]:
            _files.receive(self.files.pop(number))  # they belong to what is run elsewhere
        tell = functools.partial(self.send, _wire.BEGUN, frame.number, b"")
        tells = bool(frame.flags & _wire.TELLS)
        _files.receive(self.files.pop(frame.number, []), tell if tells else None)
        lent = _segment_of(frame)
        kind, seconds, data, buffers, news = _outcome(frame, lent)
        if os.getpid() != self.pid:
            os._exit(0)  # a call forked, and this is the fork: the answer is not its business
        _files.receive([])
        _flush()
        flags = _wire.NEWS if news else 0
        if lent is None and not buffers and len(data) < LARGE_SIZE:
            self.send(kind, frame.number, data, flags, seconds=seconds)
            return
        usable = lent if frame.flags & _wire.WRITABLE else None
        payload, size, segment = wrap(data, buffers, functools.partial(_take, usable))
        new = None if segment is lent else segment
        descriptor = None if new is None else new.descriptor
        self.send(kind, frame.number, payload, flags | size, seconds=seconds, descriptor=descriptor)
        for used in (lent, new):
            if used is not None:
                used.close()

    def send(
        self,
        kind: int,
        number: int,
        payload: bytes,
        flags: int = 0,
        *,
        seconds: float = 0.0,
        descriptor: int | None = None,
    ) -> None:
        """Send a frame to the parent."""
        header = HEADER.pack(kind, flags, descriptor is not None, len(payload), number, seconds)
        data = header + payload
        sent = send(self.sock, data, descriptor)
        if sent < len(data):
            self.sock.sendall(data[sent:])

    def detach(self) -> None:
        """Close, in a process that a call forked, what leads to the parent."""
        self.sock.close()
        with contextlib.suppress(OSError):
            os.close(self.tokens)


def _take(lent: Segment | None, size: int) -> Segment:
    return lent if lent is not None and size <= lent.capacity else Segment.make(size)


def _segment_of(frame: Frame) -> Segment | None:
    return None if frame.descriptor is None else Segment.received(frame.descriptor)


def _lent(frame: Frame) -> Segment | None:
    return None if frame.descriptor in {None, _wire.LOST} else _segment_of(frame)


def _contents(frame: Frame, segment: Segment | None) -> Contents:
    if segment is None and frame.descriptor is not None:
        Segment.received(frame.descriptor)  # it was lost
    return Contents(frame.payload, segment)


def _load(data: bytes, buffers: list[Any]) -> Any:
    return pickle.loads(data, buffers=buffers)


def _outcome(
    frame: Frame, lent: Segment | None
) -> tuple[int, float, bytes, list[pickle.PickleBuffer], bool]:
    """Run the call in *frame*; return what came of it, packed, and whether there was news."""
    buffers: list[pickle.PickleBuffer] = []
    failure: Any = None
    with _relay.collecting(away=True) as news:
        started, begin = time.time(), time.perf_counter()
        try:
            value = run(*unwrap(frame.payload, frame.flags, lent))
        except BaseException as error:
            failure = pack_error(error)
        duration = time.perf_counter() - begin
    record, heard = (started, news.packed()), bool(news.items)
    if failure is not None:
        return _wire.ERROR, duration, pickle.dumps((failure, *record)), buffers, heard
    try:
        return _wire.VALUE, duration, dump((value, *record), buffers.append), buffers, heard
    except Exception as error:
        why = culprit({"result": value}, dump) or ("it", f"{type(error).__name__}: {error}")
        return _wire.UNRETURNABLE, duration, pickle.dumps((why, *record)), [], heard


def _flush() -> None:
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except Exception:
        return  # a call closed them, or put there what it liked
