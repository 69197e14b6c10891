"""The flags of a method: how far away it may run, and how eagerly an input wants its value."""

from __future__ import annotations

import enum
from typing import Self


class Parallelization(enum.Enum):
    """How far away from its caller a method *may* run: a wish, which an executor grants or not.

    The levels are ordered, ``SEQUENTIAL < THREAD < PROCESS``, and the order is the order of
    fallback: what an executor cannot do at the level that was wished for is done at the first
    level of `fallbacks` that it has. ``SEQUENTIAL``, which is the calling thread, is always there.
    """

    SEQUENTIAL = 1
    THREAD = 2
    PROCESS = 3

    fallbacks: tuple[Parallelization, ...]

    # Every call looks its wish up in a dict; Enum's own hash is Python code.
    __hash__ = object.__hash__

    def __lt__(self, other: Self) -> bool:
        if isinstance(other, Parallelization):
            return bool(self.value < other.value)
        return NotImplemented

    def __le__(self, other: Self) -> bool:
        if isinstance(other, Parallelization):
            return bool(self.value <= other.value)
        return NotImplemented

    def __gt__(self, other: Self) -> bool:
        if isinstance(other, Parallelization):
            return bool(self.value > other.value)
        return NotImplemented

    def __ge__(self, other: Self) -> bool:
        if isinstance(other, Parallelization):
            return bool(self.value >= other.value)
        return NotImplemented

    def __str__(self) -> str:
        return self.name

    @staticmethod
    def default_output_parallelization() -> Parallelization:
        """Return the wish of a getter that states none: THREAD."""
        return Parallelization.THREAD

    @staticmethod
    def default_input_parallelization() -> Parallelization:
        """Return the wish of a setter that states none: SEQUENTIAL."""
        return Parallelization.SEQUENTIAL

    @staticmethod
    def default_multiinput_parallelization() -> Parallelization:
        """Return the wish of a multi-input's setter that states none: SEQUENTIAL."""
        return Parallelization.SEQUENTIAL

    @staticmethod
    def default_multioutput_parallelization() -> Parallelization:
        """Return the wish of a multi-output's getter that states none: THREAD."""
        return Parallelization.THREAD


for _level in Parallelization:
    # A plain attribute, because a property would be computed for every call.
    _level.fallbacks = tuple(
        sorted((level for level in Parallelization if level <= _level), reverse=True)
    )


@enum.unique
class Laziness(enum.IntEnum):
    """When an input of a network asks for the value that was announced to it."""

    ON_REQUEST = 1
    ON_NOTIFY = 2
    ON_ANNOUNCE = 3
    ON_CONNECT = 4

    @staticmethod
    def default() -> Laziness:
        """Return the laziness of an input that states none: ON_REQUEST."""
        return Laziness.ON_REQUEST
