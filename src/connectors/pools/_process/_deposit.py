"""Contents that stay with a pool, so that calls get them afresh without their being sent again.

```text
parent: one copy in a segment ──▶ compared with what a caller has now
worker: the same segment, mapped copy-on-write for each call that asks for it
```

What a call writes there is its own: the next one finds the contents as they were deposited.
"""

from __future__ import annotations

import contextlib
import mmap
import pickle
from collections.abc import Callable, Sequence
from typing import Any

from ._memory import LARGE_SIZE, Segment
from ._scatter import Handle
from ._shelf import Shared
from ._wire import KEPT, LARGE

MOST_SEGMENTS = 256  # each takes a descriptor, here and in each worker
_ALIGNMENT = 64  # of buffers in a segment
_STEP = 1 << 17  # is compared while it is in the cache


class Deposit(Handle):
    """Stands for contents that workers hold; a call gets copies of its own.

    Args:
        release: Lets the pool forget them.
        owner: The identity of the pool's core.
        shared: What the pool holds.
        parts: The contents, which are in there.
    """

    def __init__(
        self,
        release: Callable[[int], object],
        owner: int,
        shared: Shared,
        parts: Sequence[bytes | memoryview],
    ) -> None:
        super().__init__(release, owner)
        self._sizes = [len(part) for part in parts]
        self._shared = shared

    def holds(self, parts: Sequence[bytes | memoryview]) -> bool:
        """Tell whether the contents equal *parts*; not if the pool is closed."""
        if [len(part) for part in parts] != self._sizes:
            return False
        shared = self._shared
        if shared.segment is None:
            return bool(shared.payload == _in_frame(parts))
        with contextlib.suppress(ValueError):  # it was closed just now
            return all(
                shared.segment.equals(part, begin, _STEP)
                for part, begin in zip(parts, offsets(self._sizes), strict=True)
            )
        return False


def offsets(sizes: Sequence[int]) -> list[int]:
    """Return where in a segment parts of *sizes* begin."""
    begins, end = [], 0
    for size in sizes:
        begins.append(end)
        end += -(-size // _ALIGNMENT) * _ALIGNMENT
    return begins


def shared_by(parts: Sequence[bytes | memoryview]) -> Shared:
    """Return *parts* as a pool holds them.

    Raises:
        OSError: There is no room for a segment.
    """
    sizes = [len(part) for part in parts]
    if sum(sizes) < LARGE_SIZE:
        return Shared(_in_frame(parts), KEPT, None)
    begins = offsets(sizes)
    # Not one that was used before: its map may be larger, and what is released is not used again,
    # since calls may still have it mapped.
    segment = Segment.make(begins[-1] + sizes[-1])
    for part, begin in zip(parts, begins, strict=True):
        segment.write([part], begin)
    return Shared(pickle.dumps(sizes), KEPT | LARGE, segment)


def _in_frame(parts: Sequence[bytes | memoryview]) -> bytes:
    return pickle.dumps([bytes(part) for part in parts], protocol=5)


class Contents:
    """What was deposited, in a worker.

    Args:
        payload: The parts, or their sizes if they are in a segment.
        segment: Where they are.

    Attributes:
        constant: What a caller made of them that calls cannot change.
    """

    constant: Any = None

    def __init__(self, payload: bytes, segment: Segment | None) -> None:
        self._told: list[Any] = pickle.loads(payload)
        self._segment = segment

    def parts(self) -> list[Any]:
        """Return the parts, as buffers that are the caller's own."""
        if self._segment is None:
            return [bytearray(part) for part in self._told]
        length = offsets(self._told)[-1] + self._told[-1]
        memory = memoryview(
            mmap.mmap(
                self._segment.descriptor,
                length,
                flags=mmap.MAP_PRIVATE,
                prot=mmap.PROT_READ | mmap.PROT_WRITE,
            )
        )
        return [
            memory[begin : begin + size]
            for begin, size in zip(offsets(self._told), self._told, strict=True)
        ]
