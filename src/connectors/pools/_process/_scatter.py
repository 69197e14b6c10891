"""Values that are sent to each worker at most once, and the handles that stand for them.

A handle pickles as its key. While a call is packed, the keys that it needs are collected; a worker
that does not know one of them is sent its definition in front of the call.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import attrs

_keys = itertools.count(1)
_packing = threading.local()
_table: dict[int, Definition] = {}  # in a worker: what it was sent


@attrs.define(eq=False)
class Definition:
    """A value in a worker, which is unpacked when it is first needed."""

    unpack: Callable[[], Any]
    unpacked: bool = False
    value: Any = None


class Handle:
    """Stands for a value that workers hold; a call gets the value where it was given the handle.

    The value is what it was when it was scattered. The *owner* is the identity of its pool's core,
    which lives as long as the handle.
    """

    def __init__(self, release: Callable[[int], object], owner: int = 0) -> None:
        self._owner = owner
        self.key = next(_keys)
        self._finalizer = weakref.finalize(self, release, self.key)
        self._finalizer.atexit = False

    def release(self) -> None:
        """Let the workers forget the value, when the calls that were given it have ended."""
        self._finalizer()

    def __reduce__(self) -> tuple[Callable[[int], Any], tuple[int]]:
        if not self._finalizer.alive:
            raise ValueError("the scattered value is released")
        needs = getattr(_packing, "needs", None)
        if needs is None or self._owner != _packing.owner:
            raise TypeError("a scattered value travels to workers of its own pool only")
        needs.add(self.key)
        return resolve, (self.key,)


@contextlib.contextmanager
def needing(owner: int = 0) -> Iterator[set[int]]:
    """Collect the keys of the handles of *owner* that are pickled in this block, in this thread."""
    needs: set[int] = set()
    _packing.needs, _packing.owner = needs, owner
    try:
        yield needs
    finally:
        _packing.needs = _packing.owner = None


def define(key: int, unpack: Callable[[], Any]) -> None:
    """Let *key* stand for what *unpack* returns, in this worker."""
    _table[key] = Definition(unpack)


def forget(key: int) -> None:
    """Let *key* stand for nothing, in this worker."""
    _table.pop(key, None)


def resolve(key: int) -> Any:
    """Return what *key* stands for, in this worker."""
    definition = _table[key]
    if not definition.unpacked:
        definition.value = definition.unpack()
        definition.unpacked = True
        definition.unpack = _done
    return definition.value


def _done() -> None:
    """Stand in for an `unpack` that has been called, and is gone with what it held."""
