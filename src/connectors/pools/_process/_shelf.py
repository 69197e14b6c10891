"""The scattered values of a pool, as its own process holds them for the workers."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import attrs

from connectors._errors import PicklingError

from ._memory import Segment
from ._ticket import Ticket


@attrs.define(eq=False)
class Shared:
    """A scattered value.

    Attributes:
        payload: The packed value, or the sizes of its parts.
        flags: How to read the payload.
        segment: Where its large parts are.
        users: The numbers of the calls that have not ended and need it.
        released: It goes when there is none.
    """

    payload: bytes
    flags: int
    segment: Segment | None
    users: set[int] = attrs.field(factory=set)
    released: bool = False


@attrs.define(eq=False)
class Shelf:
    """The scattered values, by their keys."""

    _values: dict[int, Shared] = attrs.field(factory=dict)
    _released: deque[int] = attrs.field(factory=deque)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: int) -> bool:
        return key in self._values

    def __getitem__(self, key: int) -> Shared:
        return self._values[key]

    @property
    def segments(self) -> int:
        """How many of them are in a segment."""
        return sum(shared.segment is not None for shared in list(self._values.values()))

    def put(self, key: int, shared: Shared) -> None:
        """Let *key* stand for *shared*."""
        self._values[key] = shared

    def use(self, ticket: Ticket) -> None:
        """Keep what the call of *ticket* needs until it has ended.

        Raises:
            PicklingError: A value that it needs is released.
        """
        if not ticket.needs <= self._values.keys() or not ticket.needs.isdisjoint(self._released):
            error = ValueError("the scattered value is released")
            reason = f"{type(error).__name__}: {error}"
            raise PicklingError(f"an argument of {ticket.label}", "it", reason) from error
        for key in ticket.needs:
            self._values[key].users.add(ticket.number)

    def release(self, key: int) -> None:
        """Forget what *key* stands for, at the next `sweep`. Runs in finalizers: no lock."""
        self._released.append(key)

    def sweep(self) -> Iterator[tuple[int, Shared]]:
        """Take out what is released and not used, and iterate over it."""
        keys = []
        while self._released:
            keys.append(self._released.popleft())
        for key in keys:
            if key in self._values:
                self._values[key].released = True
        return self._unused(keys)

    def let_go(self, ticket: Ticket) -> Iterator[tuple[int, Shared]]:
        """Take out what only the call of *ticket* still used, and iterate over it."""
        keys, ticket.needs = ticket.needs, frozenset()
        for key in keys & self._values.keys():
            self._values[key].users.discard(ticket.number)
        return self._unused(keys)

    def _unused(self, keys: Iterable[int]) -> Iterator[tuple[int, Shared]]:
        for key in keys:
            shared = self._values.get(key)
            if shared is not None and shared.released and not shared.users:
                del self._values[key]
                yield key, shared

    def close(self) -> None:
        """Forget all values and give their memory back."""
        for shared in self._values.values():
            if shared.segment is not None:
                shared.segment.close()
        self._values.clear()
