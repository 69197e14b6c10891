"""Tells of simple values whether they changed, without running anybody's code.

Pickling a value runs the `__reduce__` of everything in it. Where it consists of a few built-in
values and instances of plain classes, a look at them tells as well whether it is what it was.
"""

from __future__ import annotations

import types
import weakref
from typing import Any

from connectors._stays import Stays

_BUDGET = 500  # values looked at; more are pickled faster
_LONG = 4096  # text that is kept to compare it
_HEAP_TYPE = 1 << 9
_WORD = object.__basicsize__ // 2

_plain: weakref.WeakKeyDictionary[type, tuple[Any, ...] | None] = weakref.WeakKeyDictionary()


def likeness(value: Any) -> tuple[list[Any], set[int]] | None:
    """Return what equals that of another time if *value* did not change, and the ids of its parts.

    `None` if it consists of too much, or of something into which one cannot look.
    """
    tokens: list[Any] = []
    seen: dict[int, int] = {}
    stack = [value]
    while stack:
        item = stack.pop()
        token = _atom(item)
        if token is not None:
            tokens.append(token)
            continue
        if id(item) in seen:
            tokens.append((None, seen[id(item)]))
            continue
        seen[id(item)] = len(seen)
        parts = _parts(item)
        if parts is None or len(tokens) + len(stack) + len(parts) > _BUDGET:
            return None
        tokens.append((type(item), len(parts)))
        stack += parts
    return tokens, set(seen)


def _atom(item: Any) -> tuple[Any, ...] | None:
    kind = type(item)
    if kind is float:
        return kind, item.hex()  # 0.0 is not -0.0, and nan is nan
    if item is None or kind in (bool, int):
        return kind, item
    if kind in (str, bytes) and len(item) <= _LONG:
        return kind, item
    return (type, item) if isinstance(item, type) else None


def _parts(item: Any) -> list[Any] | None:
    """Return what *item* consists of, or `None` if that is not known."""
    kind = type(item)
    if kind in (list, tuple):
        return list(item)
    if kind is dict:
        return [part for pair in list(item.items()) for part in pair]
    slots = plain_slots(kind)
    if slots is None:
        return None
    attributes = attributes_of(item, slots)
    return [part for pair in attributes for part in pair]


def attributes_of(item: Any, slots: tuple[Any, ...]) -> list[tuple[str, Any]]:
    """Return the attributes of *item*, those in its `__dict__` and those in *slots*."""
    try:
        found = list(object.__getattribute__(item, "__dict__").items())
    except AttributeError:
        found = []
    for slot in slots:
        try:
            found.append((slot.__name__, slot.__get__(item)))
        except AttributeError:
            continue
    return found


def slots_of(kind: type) -> tuple[Any, ...]:
    """Return what describes the slots of the instances of *kind*."""
    return tuple(
        value
        for base in kind.__mro__
        for value in vars(base).values()
        if type(value) is types.MemberDescriptorType
    )


def plain_slots(kind: type) -> tuple[Any, ...] | None:
    """Return the slots of *kind* if its instances consist of attributes only, and `None` else."""
    try:
        return _plain[kind]
    except KeyError:
        slots = slots_of(kind)
        found = _plain[kind] = slots if _is_plain(kind, len(slots)) else None
        return found


def _is_plain(kind: type, slots: int) -> bool:
    if issubclass(kind, Stays) or kind.__basicsize__ > object.__basicsize__ + _WORD * (slots + 2):
        return False  # something is in there that one cannot see
    return all(
        base.__flags__ & _HEAP_TYPE
        and not isinstance(vars(base).get("__new__"), types.BuiltinFunctionType)
        and all(
            name in {"__dict__", "__weakref__"}
            for name, value in vars(base).items()
            if type(value) is types.GetSetDescriptorType
        )
        for base in kind.__mro__[:-1]
    )
