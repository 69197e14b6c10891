"""Large contents, which travel in a file in memory instead of on the socket.

```text
sender:   mapped segment ◀── copy ── buffers      (pages are reused, so nothing faults)
socket:   sizes, and the segment's descriptor
receiver: fresh memory  ◀── read ── segment       (huge pages, where there are)
```

The receiver gets a copy of its own, as with pickling: writable, independent, and the segment is
free for the next call at once. A segment has no name, so the kernel takes it back with its last
descriptor, however the processes end.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import pickle
import tempfile
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from ._wire import LARGE, LOST

LARGE_SIZE = 1 << 18  # from here on a segment is faster than the socket
_HUGE_SIZE = 1 << 21
_KEPT_SIZE = 1 << 29  # free segments are kept up to this size, together
_MOST_READ = 1 << 30  # a read is cut by the kernel at 2 GiB, and a list of buffers at 1024
_MOST_BUFFERS = 512


@attrs.define(eq=False)
class Segment:
    """A file in memory, which is closed with the last reference to it.

    Attributes:
        descriptor: By which it travels.
        capacity: Its size.
    """

    descriptor: int
    capacity: int
    _map: mmap.mmap | None = None
    _close: Callable[[], object] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        finalizer = weakref.finalize(self, os.close, self.descriptor)
        finalizer.atexit = False  # calls that are pending when the interpreter ends need it
        self._close = finalizer

    @classmethod
    def make(cls, size: int) -> Segment:
        """Return a new segment for *size* bytes."""
        descriptor = _file_in_memory()
        capacity = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        os.ftruncate(descriptor, capacity)
        return cls(descriptor, capacity)

    @classmethod
    def received(cls, descriptor: int) -> Segment:
        """Return the segment that came as *descriptor*.

        Raises:
            OSError: It was lost.
        """
        if descriptor == LOST:
            raise OSError(errno.EMFILE, "large contents are lost: too many open files")
        return cls(descriptor, os.fstat(descriptor).st_size)

    def write(self, parts: Sequence[bytes | memoryview], begin: int = 0) -> None:
        """Put *parts* into the segment, one behind the other, from *begin* on."""
        if self._map is None:
            self._map = mmap.mmap(self.descriptor, self.capacity)
        for part in parts:
            end = begin + len(part)
            self._map[begin:end] = part
            begin = end

    def equals(self, part: bytes | memoryview, begin: int, step: int) -> bool:
        """Tell whether *part* is what was written at *begin*, looking at *step* bytes at a time.

        Raises:
            ValueError: The segment is closed.
        """
        held = self._map  # another thread may close it
        if held is None:
            raise ValueError("the segment is closed")
        view, size = memoryview(part), len(part)
        return all(
            held[begin + at : begin + min(at + step, size)] == bytes(view[at : at + step])
            for at in range(0, size, step)
        )

    def read(self, sizes: Sequence[int]) -> list[Any]:
        """Return copies of the parts that are in the segment, as writable buffers."""
        buffers = [_fresh(size) for size in sizes]
        begin = 0
        for first in range(0, len(buffers), _MOST_BUFFERS):
            batch = buffers[first : first + _MOST_BUFFERS]
            begin = _read_into(self.descriptor, batch, begin)
        return buffers

    def close(self) -> None:
        """Give it back to the system as soon as no other process holds it."""
        if self._map is not None:
            self._map.close()
            self._map = None
        self._close()


@attrs.define(eq=False)
class Segments:
    """The free segments of a pool. Those that are in use belong to a call."""

    _free: list[Segment] = attrs.field(factory=list)

    def __len__(self) -> int:
        return len(self._free)

    def take(self, size: int) -> Segment:
        """Return a segment for *size* bytes: the smallest free one that fits, or a new one."""
        fitting = [segment for segment in list(self._free) if segment.capacity >= size]
        for segment in sorted(fitting, key=lambda fit: fit.capacity):
            with contextlib.suppress(ValueError):  # another thread was faster
                self._free.remove(segment)
                return segment
        return Segment.make(size)

    def spare(self) -> Segment | None:
        """Return the largest free segment, if there is one."""
        with contextlib.suppress(ValueError):
            segment = max(self._free, key=lambda free: free.capacity)
            self._free.remove(segment)
            return segment
        return None

    def give(self, segment: Segment) -> None:
        """Take *segment* back."""
        if segment.capacity + sum(free.capacity for free in list(self._free)) > _KEPT_SIZE:
            segment.close()
        else:
            self._free.append(segment)

    def close(self) -> None:
        """Close the free segments."""
        while self._free:
            self._free.pop().close()


def _file_in_memory() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("connectors")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _fresh(size: int) -> Any:
    if size < _HUGE_SIZE:
        return bytearray(size)
    # An anonymous map needs no descriptor, and huge pages make its first use four times as fast.
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


def _read_into(descriptor: int, buffers: Sequence[Any], begin: int) -> int:
    views = [memoryview(buffer) for buffer in buffers if len(buffer)]
    while views:
        if len(views[0]) > _MOST_READ:
            count = os.preadv(descriptor, [views[0][:_MOST_READ]], begin)
        else:
            count = os.preadv(descriptor, views, begin)
        if not count:
            raise EOFError("a segment is shorter than its contents")
        begin += count
        while views and count >= len(views[0]):
            count -= len(views.pop(0))
        if count:
            views[0] = views[0][count:]
    return begin


def wrap(
    data: bytes, buffers: Sequence[pickle.PickleBuffer], take: Callable[[int], Segment]
) -> tuple[bytes, int, Segment | None]:
    """Return payload and flags of a frame for *data* and *buffers*, and the segment, if any.

    Args:
        data: A pickle.
        buffers: What it has out of band.
        take: Gives a segment of a size.
    """
    if not buffers and len(data) < LARGE_SIZE:
        return data, 0, None
    parts = [memoryview(data), *(buffer.raw() for buffer in buffers)]
    sizes = [len(part) for part in parts]
    segment = take(sum(sizes))
    segment.write(parts)
    return pickle.dumps(sizes), LARGE, segment


def unwrap(payload: bytes, flags: int, segment: Segment | None) -> tuple[bytes, list[Any]]:
    """Return what was given to `wrap`, as copies."""
    if not flags & LARGE or segment is None:
        return payload, []
    data, *buffers = segment.read(pickle.loads(payload))
    return data, buffers
