"""Files that travel with a call, ends of pipes for instance."""

from __future__ import annotations

import contextlib
import errno
import os
import weakref
from collections.abc import Sequence

from . import _wire

_received: list[int] = []


class Files:
    """Copies of descriptors, which are closed when they are sent, or with this.

    Args:
        descriptors: What is copied.

    Attributes:
        descriptors: The copies.
    """

    def __init__(self, descriptors: Sequence[int] = ()) -> None:
        self.descriptors: list[int] = []
        self.close = weakref.finalize(self, _close, self.descriptors)
        for descriptor in descriptors:
            self.add(descriptor)

    def add(self, descriptor: int) -> int:
        """Copy *descriptor*; return the number under which `take` gives it."""
        self.descriptors.append(os.dup(descriptor))
        return len(self.descriptors) - 1


def take(number: int) -> int:
    """Return, in a worker, the file *number* of the call that runs; who takes it closes it.

    Raises:
        OSError: It was lost, or taken before.
    """
    descriptor, _received[number] = _received[number], _wire.LOST
    if descriptor == _wire.LOST:
        raise OSError(errno.EMFILE, "a file that came with a call is lost: too many open files")
    return descriptor


def receive(descriptors: list[int]) -> None:
    """Let `take` give *descriptors*, and close what nobody took before."""
    _close(_received)
    _received[:] = descriptors


def _close(descriptors: list[int]) -> None:
    while descriptors:
        if (descriptor := descriptors.pop()) != _wire.LOST:
            with contextlib.suppress(OSError):
                os.close(descriptor)
