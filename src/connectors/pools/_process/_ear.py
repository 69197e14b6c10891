"""What the thread that reads hears with."""

from __future__ import annotations

import math
import select
from collections.abc import Iterator
from typing import Any

import attrs

READ, WRITE = select.POLLIN, select.POLLOUT
MUTE, DEAF = 0, -1  # hear nothing for a while; hear nothing any more, not even the end


_EPOLL = hasattr(select, "epoll")


def _poll() -> Any:
    return select.epoll() if _EPOLL else select.poll()


@attrs.define(eq=False)
class Ear:
    """Waits until something can be heard at one of several files.

    Where there is epoll, other threads may change meanwhile what is waited for, with effect at
    once; elsewhere it has effect the next time.
    """

    _poll: Any = attrs.field(factory=_poll)
    _sources: dict[int, Any] = attrs.field(factory=dict)

    def listen(self, descriptor: int, interest: int, source: Any) -> None:
        """Hear, as coming from *source*, what there is of *interest* at *descriptor*."""
        if interest == DEAF:
            if self._sources.pop(descriptor, None) is not None:
                self._poll.unregister(descriptor)
        elif descriptor in self._sources:
            self._poll.modify(descriptor, interest)
        else:
            self._sources[descriptor] = source
            self._poll.register(descriptor, interest)

    def wait(self, seconds: float | None) -> Iterator[tuple[Any, int, int]]:
        """Wait; iterate over sources, descriptors and what can be done there."""
        unit = 1 if _EPOLL else 1000
        found = self._poll.poll(
            None if seconds is None else math.ceil(seconds * 1000) / 1000 * unit
        )
        for descriptor, mask in found:
            if descriptor in self._sources:
                # What is neither is an end or an error, of which a reader is told.
                yield self._sources[descriptor], descriptor, mask if mask & WRITE else mask | READ

    def close(self) -> None:
        """Give it back."""
        self._sources.clear()
        if _EPOLL:
            self._poll.close()
