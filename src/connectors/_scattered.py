"""`Scattered`, which stands for a large value in the calls of an executor."""

from __future__ import annotations

from typing import Any, Protocol

import attrs

from ._calls import Call


class _Handle(Protocol):
    def release(self) -> None: ...

    def __reduce__(self) -> str | tuple[Any, ...]: ...


class Scattered:
    """Stands for a value that is sent to each worker process at most once.

    It is given to calls as an argument or as the instance of a method, and they get the value. In
    a worker that is the value as it was when it was scattered. In calls that leave the process it
    may also be a part of an argument.

    Attributes:
        value: What it stands for.
    """

    def __init__(self, value: Any, handle: _Handle | None = None) -> None:
        self.value = value
        self._handle = handle

    def release(self) -> None:
        """Let the workers forget the value when the calls that were given it have ended."""
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.release()

    def __repr__(self) -> str:
        return f"<scattered {type(self.value).__name__}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        if self._handle is not None:
            return self._handle.__reduce__()
        return _itself, (self.value,)  # released, or sent by a pool that knows no scattering


def _itself(value: Any) -> Any:
    return value


def _value(item: Any) -> Any:
    return item.value if isinstance(item, Scattered) else item


def brought_home(call: Call) -> Call:
    """Return *call* with values in the place of what stands for them, to be run in this process."""
    return attrs.evolve(
        call,
        args=tuple(map(_value, call.args)),
        kwargs={name: _value(item) for name, item in call.kwargs.items()},
        instance=_value(call.instance),
    )
