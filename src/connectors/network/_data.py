"""`MultiInputData`, in which a block keeps the values of a multi-input."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any, Self


class MultiInputData(OrderedDict[Any, Any]):
    """An ordered dictionary that gives each added value an id.

    Args:
        datas: Values, each of which is added.

    Example:
        >>> import connectors
        >>> data = connectors.MultiInputData(["a", "b"])
        >>> data.add("c")
        2
        >>> dict(data)
        {0: 'a', 1: 'b', 2: 'c'}
    """

    def __init__(self, datas: Iterable[Any] = ()) -> None:
        super().__init__()
        self._next = 0
        for data in datas:
            self.add(data)

    def add(self, data: Any) -> int:
        """Store *data* under the next free number, and return that."""
        while self._next in self:
            self._next += 1
        self[self._next] = data
        return self._next

    def copy(self) -> Self:
        """Return another one with the same keys and values."""
        other = type(self)()
        other.update(self)
        other._next = self._next
        return other

    __copy__ = copy

    def __or__(self, other: Any) -> Any:
        if not isinstance(other, Mapping):
            return NotImplemented
        joined = self.copy()
        joined.update(other)
        return joined

    def __ror__(self, other: Any) -> Any:
        if not isinstance(other, Mapping):
            return NotImplemented
        joined = type(self)()
        joined.update(other)
        joined.update(self)
        joined._next = self._next
        return joined

    def __reduce__(self) -> Any:
        return type(self), (), {"_next": self._next}, None, iter(list(self.items()))
