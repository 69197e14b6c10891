"""Files that travel with a call, ends of pipes for instance, and how it tells that it begins."""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from . import _wire

_received: list[int] = []
_tell: Callable[[], object] | None = None


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


@attrs.frozen
class Passed:
    """Stands for file *number*, as what `multiprocessing.reduction.DupFd` returns does."""

    number: int

    def detach(self) -> int:
        """Return the descriptor, which belongs to the caller then."""
        return take(self.number)


def take(number: int) -> int:
    """Return, in a worker, the file *number* of the call that runs; who takes it closes it.

    Raises:
        OSError: It was lost, or taken before.
    """
    descriptor, _received[number] = _received[number], _wire.LOST
    if descriptor == _wire.LOST:
        raise OSError(errno.EMFILE, "a file that came with a call is lost: too many open files")
    return descriptor


def begin() -> None:
    """Tell, in a worker, that the work of the call that runs begins, if somebody wants to know."""
    if _tell is not None:
        _tell()


def perform(packed: bytes) -> Any:
    """Unpickle a function and its arguments, tell that the work begins, and do it."""
    function, args = pickle.loads(packed)
    begin()
    return function(*args)


def receive(descriptors: list[int], tell: Callable[[], object] | None = None) -> None:
    """Let `take` give *descriptors*, and `begin` call *tell*; close what nobody took before."""
    global _tell  # noqa: PLW0603 - a worker runs one call at a time
    _close(_received)
    _received[:] = descriptors
    _tell = tell


def _close(descriptors: list[int]) -> None:
    while descriptors:
        if (descriptor := descriptors.pop()) != _wire.LOST:
            with contextlib.suppress(OSError):
                os.close(descriptor)
