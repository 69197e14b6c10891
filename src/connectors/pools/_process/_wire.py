"""Frames on a stream socket, in both directions and on both ends.

```text
frame := kind, flags, number of descriptors, length, sequence number, seconds │ payload
```

A frame may carry one file descriptor, by which large contents travel beside the socket.
"""

from __future__ import annotations

import array
import operator
import os
import socket
import struct
from collections import deque
from collections.abc import Container, Iterator
from typing import Any, NamedTuple

import attrs

HEADER = struct.Struct("<BBHIQd")
TOKEN = struct.Struct("<Q")

# From the parent:
SETUP, LEVELS, CALL, DEFINE, FORGET, FILE = range(6)
# From the worker:
READY, REFUSED, VALUE, ERROR, UNRETURNABLE, BEGUN = range(10, 16)

# Flags:
LARGE = 1  # the payload tells the sizes of what is in the segment
WRITABLE = 2  # the segment may be used for the result
NEWS = 4  # the answer has log records or warnings
KEPT = 8  # the definition is that of contents, which stay in their segment
TELLS = 16  # the call may tell that it begins

LOST = -1  # instead of a descriptor for which this process had no room
MOST_TOKENS = 1 << 12  # more than a worker is ever sent ahead
_CHUNK = 1 << 16
_SMALL = 1 << 12
_ROOM_FOR_DESCRIPTORS = socket.CMSG_SPACE(4 * array.array("i").itemsize)
_CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class Frame(NamedTuple):
    """One message.

    Attributes:
        kind: What it is about.
        flags: How to read it.
        number: The call, or the definition, that it belongs to.
        seconds: How long the call took, in an answer.
        payload: Its contents, or the sizes of its contents if they are large.
        descriptor: A file that came with it, which its receiver has to close, `LOST` or `None`.
    """

    kind: int
    flags: int
    number: int
    seconds: float
    payload: bytes
    descriptor: int | None


class Disconnected(Exception):  # noqa: N818 - an end, not an error
    """The other end is closed."""


@attrs.define(eq=False)
class Inbox:
    """What has been received and was no complete frame yet."""

    _rest: bytes = b""
    _descriptors: deque[int] = attrs.field(factory=deque)
    _overheard: deque[Any] = attrs.field(factory=deque)

    def overhear(self, sock: socket.socket) -> Frame | None:
        """Read once from *sock* and keep that; return it if it is an answer, small and alone.

        An interrupt loses nothing: what is read is kept in the same call of C code.
        """
        read = map(sock.recvmsg, (_SMALL,), (_ROOM_FOR_DESCRIPTORS,), (_CLOSE_ON_EXEC,))
        try:
            self._overheard.extend(read)
        except OSError:
            return None  # there is nothing, or the end comes next
        if len(self._overheard) != 1 or self._rest:
            return None
        data = self._overheard[0][0]
        if len(data) < HEADER.size:
            return None
        kind, flags, files, length, number, seconds = HEADER.unpack_from(data)
        if kind != VALUE or flags or files or len(data) != HEADER.size + length:
            return None
        return Frame(kind, flags, number, seconds, data[HEADER.size :], None)

    def has_overheard(self) -> bool:
        """Tell whether something is kept that was not received."""
        return bool(self._overheard)

    def forget_overheard(self) -> None:
        """Forget it, because it was done with."""
        self._overheard.clear()

    def receive(self, sock: socket.socket) -> Iterator[Frame]:
        """Read once, what is kept or else from *sock*, and iterate over what is complete now.

        Raises:
            Disconnected: The other end is closed.
            BlockingIOError: The socket does not block and there is nothing to read.
        """
        if self._overheard:
            data, messages, flags, _ = self._overheard.popleft()
        else:
            data, messages, flags, _ = sock.recvmsg(_CHUNK, _ROOM_FOR_DESCRIPTORS, _CLOSE_ON_EXEC)
        if not data:
            raise Disconnected
        for _, _, packed in messages:
            self._descriptors.extend(array.array("i", packed))
        if flags & socket.MSG_CTRUNC:
            self._descriptors.append(LOST)
        return self._frames(self._rest + data if self._rest else data)

    def close(self) -> None:
        """Close the files that came with frames that never were complete."""
        while self._descriptors:
            if (descriptor := self._descriptors.popleft()) != LOST:
                os.close(descriptor)

    def _frames(self, data: bytes) -> Iterator[Frame]:
        begin, end = 0, len(data)
        self._rest = b""
        found = []
        while begin + HEADER.size <= end:
            kind, flags, files, length, number, seconds = HEADER.unpack_from(data, begin)
            body = begin + HEADER.size
            if body + length > end:
                break
            descriptor = self._descriptors.popleft() if files else None
            begin = body + length
            found.append(Frame(kind, flags, number, seconds, data[body:begin], descriptor))
        self._rest = data[begin:]
        return iter(found)


class _Piece(NamedTuple):
    kind: int
    number: int
    data: bytes
    descriptor: int | None
    end: int  # its end in the stream of all that was ever sent


@attrs.define(eq=False)
class Outbox:
    """What is to be sent, in order, as far as the socket did not take it yet.

    An interrupt at any moment leaves it as it should be: how far the socket came is noted in the
    same call of C code in which it takes something.
    """

    _pieces: deque[_Piece] = attrs.field(factory=deque)
    _position: deque[int] = attrs.field(factory=lambda: deque([0], maxlen=1))

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def add(
        self, kind: int, number: int, payload: bytes, flags: int = 0, descriptor: int | None = None
    ) -> None:
        """Append a frame. Its *descriptor* must stay open until the frame is sent or dropped."""
        header = HEADER.pack(kind, flags, descriptor is not None, len(payload), number, 0.0)
        data = header + payload
        begin = self._pieces[-1].end if self._pieces else self._position[0]
        self._pieces.append(_Piece(kind, number, data, descriptor, begin + len(data)))

    def drop(self, numbers: Container[int], kind: int = CALL) -> None:
        """Forget the frames of *kind* with *numbers*, as far as nothing of them is sent.

        The files of a call are forgotten with it.
        """
        kinds = (CALL, FILE) if kind == CALL else (kind,)
        kept: deque[_Piece] = deque()
        end = position = self._position[0]
        for piece in self._pieces:
            begun = piece.end - len(piece.data) < position
            if begun or piece.kind not in kinds or piece.number not in numbers:
                end += min(len(piece.data), piece.end - position) if begun else len(piece.data)
                kept.append(piece._replace(end=end))
        self._pieces = kept

    def flush(self, sock: socket.socket) -> None:
        """Send what *sock* takes without waiting.

        Raises:
            OSError: The other end is closed.
        """
        pieces = self._pieces
        while True:
            position = self._position[0]
            while pieces and pieces[0].end <= position:
                pieces.popleft()
            if not pieces:
                return
            batch, descriptor = self._batch(position)
            try:
                if descriptor is None:
                    sent = map(sock.send, (batch,))
                else:
                    sent = map(sock.sendmsg, ([batch],), (_rights(descriptor),))
                self._position.extend(map(operator.add, (position,), sent))
            except BlockingIOError:
                return

    def _batch(self, position: int) -> tuple[bytes | memoryview, int | None]:
        """Return the beginning of what is to be sent, with at most one descriptor in front."""
        first = self._pieces[0]
        begin = first.end - len(first.data)
        if begin < position:  # its descriptor went with its first byte
            return memoryview(first.data)[position - begin :], None
        if len(self._pieces) == 1 or first.descriptor is not None:
            return first.data, first.descriptor
        joined, size = [], 0
        for piece in self._pieces:
            if piece.descriptor is not None or size > _CHUNK:
                break
            joined.append(piece.data)
            size += len(piece.data)
        return b"".join(joined), None


def send(sock: socket.socket, data: bytes | memoryview, descriptor: int | None) -> int:
    """Send *data*, with *descriptor* at its first byte; return how much of it was sent."""
    return sock.send(data) if descriptor is None else sock.sendmsg([data], _rights(descriptor))


def _rights(descriptor: int) -> list[tuple[int, int, array.array[int]]]:
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
