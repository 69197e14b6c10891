"""Finds the part of a value that cannot be pickled, so that an error can name it."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_BUDGET = 300  # values looked at: enough for an object of some dozens of attributes


def culprit(parts: Mapping[str, Any], dump: Callable[[Any], bytes]) -> tuple[str, str] | None:
    """Return the path to the innermost part that cannot be pickled, and why.

    Args:
        parts: The values to search, by the names that paths begin with.
        dump: Pickles a value, or raises.

    Returns:
        For instance ``("instance.camera.lock", "TypeError: cannot pickle '_thread.lock' object")``,
        or `None` if every part can be pickled.
    """
    seen: set[int] = set()
    found: tuple[str, str] | None = None
    level = list(parts.items())
    while level:
        for path, value in level:
            reason = _reason(value, dump)
            if reason is not None:
                found = (path, reason)
                break
        else:
            return found
        if id(value) in seen or len(seen) > _BUDGET:
            return found
        seen.add(id(value))
        level = list(_parts_of(path, value))
    return found


def _reason(value: Any, dump: Callable[[Any], bytes]) -> str | None:
    try:
        dump(value)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def _parts_of(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from ((f"a key of {path}", key) for key in value)
        yield from ((f"{path}[{key!r}]", part) for key, part in value.items())
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from ((f"{path}[{index}]", part) for index, part in enumerate(value))
    else:
        yield from _attributes(path, value)


def _attributes(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    closure = getattr(value, "__closure__", None)
    if closure:
        names = value.__code__.co_freevars
        cells = zip(names, closure, strict=True)
        yield from ((f"{name} in the closure of {path}", c.cell_contents) for name, c in cells)
    if isinstance(value, types.FunctionType):
        names = value.__code__.co_names
        known = value.__globals__
        yield from (
            (f"{name} in the globals of {path}", known[name]) for name in names if name in known
        )
    if isinstance(value, type):
        yield from ((f"{path}.{name}", part) for name, part in vars(value).items())
    owner = getattr(value, "__self__", None)
    if owner is not None and not isinstance(owner, type(__builtins__)):
        yield f"{path}.__self__", owner
    if hasattr(value, "__reduce_ex__") and not isinstance(value, type):
        yield from (
            (f"{path}.{name}", part) for name, part in getattr(value, "__dict__", {}).items()
        )
        for kind in type(value).__mro__:
            for name in _slots(kind):
                if hasattr(value, name):
                    yield f"{path}.{name}", getattr(value, name)
        yield f"the class of {path}", type(value)


def _slots(kind: type) -> tuple[str, ...]:
    slots = kind.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)
