"""The strict rules for values: what fits a type, what a text means for it, and its name in words.

Nothing becomes what it is not: ``True`` is no number, ``"8"`` is no number, and 0.5 is no ``int``.
"""

from __future__ import annotations

import collections.abc
import enum
import functools
import operator
import os
import types
import typing
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cattrs

_TRUTHS = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}
_SCALARS = (bool, int, float, str, types.NoneType)
_SEQUENCES = (list, tuple, collections.abc.Sequence)
_WORDS: dict[Any, str] = {
    types.NoneType: "None",
    Any: "anything",
    list: "list",
    tuple: "list",
    collections.abc.Sequence: "list",
    dict: "table",
    collections.abc.Callable: "function",
}


def structure(value: Any, type_: Any) -> Any:
    """Return *value* as the type has it, or raise whatever says that it does not fit.

    >>> structure(3, float), structure(["a"], tuple[str, ...])
    (3.0, ('a',))
    """
    # The exact type needs no converter, and without one cattrs need not be imported.
    if type(value) in _SCALARS and type(value) in members(type_):
        return value
    return _converter().structure(value, type_)


def members(type_: Any) -> tuple[Any, ...]:
    """Return the types of a union, or the type alone."""
    return typing.get_args(type_) if _is_union(type_) else (type_,)


def _is_union(type_: Any) -> bool:
    return typing.get_origin(type_) in (typing.Union, types.UnionType)


def in_words(type_: Any) -> str:
    """Return the type as messages and tables name it.

    >>> in_words(int | None), in_words(list[str])
    ('int or None', 'list of str')
    """
    origin, args = typing.get_origin(type_), typing.get_args(type_)
    if _is_union(type_):
        return " or ".join(in_words(member) for member in args)
    if origin is typing.Literal:
        return " or ".join(repr(arg) for arg in args)
    if origin in _SEQUENCES:
        return f"list of {in_words(args[0])}"
    if _is_enum(type_):
        return " or ".join(member.name for member in type_)
    return _WORDS.get(origin or type_) or str(getattr(type_, "__name__", type_))


def readings(text: str, type_: Any) -> Iterator[Any]:
    """Yield what *text* may mean for the type, the most particular first."""
    kinds = members(type_)
    if types.NoneType in kinds and text.lower() == "none":
        yield None
    for number in (int, float):
        if number in kinds:
            try:
                yield number(text)
            except ValueError:
                continue
    if bool in kinds and text.lower() in _TRUTHS:
        yield _TRUTHS[text.lower()]
    for member in kinds:
        if typing.get_origin(member) in _SEQUENCES and ("," in text or str not in kinds):
            parts = [part.strip() for part in text.split(",") if part.strip()]
            element = typing.get_args(member)[0]
            yield [next(readings(part, element), part) for part in parts]
    yield text


@functools.cache
def _converter() -> cattrs.Converter:
    """Return the converter that knows the strict rules: nothing becomes what it is not."""
    import cattrs

    converter = cattrs.Converter(
        detailed_validation=False, structure_fallback_factory=lambda _: _instance
    )
    strict: dict[Any, Callable[[Any, Any], Any]] = {
        bool: _instance,
        str: _instance,
        types.NoneType: _instance,
        int: _integer,
        float: _number,
    }
    for type_, hook in strict.items():
        converter.register_structure_hook(type_, hook)
    kinds: tuple[tuple[Callable[[Any], bool], Callable[[Any, Any], Any]], ...] = (
        (_is_union, functools.partial(_any_member, converter)),
        (_is_sequence, functools.partial(_sequence, converter)),
        (_is_enum, _enum_member),
        (_is_callable, _callable),
        (_is_path, lambda value, type_: type_(os.fspath(value))),
    )
    for predicate, hook in kinds:
        converter.register_structure_hook_func(predicate, hook)
    return converter


def _is_sequence(type_: Any) -> bool:
    return type_ in _SEQUENCES or typing.get_origin(type_) in _SEQUENCES


def _is_enum(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, enum.Enum)


def _is_callable(type_: Any) -> bool:
    return collections.abc.Callable in (type_, typing.get_origin(type_))


def _is_path(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, os.PathLike)


def _instance(value: Any, type_: Any) -> Any:
    if not isinstance(value, typing.get_origin(type_) or type_):
        raise TypeError(value)
    return value


def _integer(value: Any, _: Any) -> int:
    # Integers of NumPy are integers; True is not, although Python says so.
    if isinstance(value, bool):
        raise TypeError(value)
    return int(operator.index(value))


def _number(value: Any, _: Any) -> float:
    return value if isinstance(value, float) else float(_integer(value, int))


def _any_member(converter: cattrs.Converter, value: Any, type_: Any) -> Any:
    # The member whose type the value already has comes first: 1 stays 1 for float | int.
    for member in sorted(typing.get_args(type_), key=lambda member: member is not type(value)):
        try:
            return converter.structure(value, member)
        except Exception:  # noqa: S112 - another member may take it
            continue
    raise TypeError(value)


def _sequence(converter: cattrs.Converter, value: Any, type_: Any) -> Any:
    # A text is a sequence of texts to Python, and never to the one who typed it.
    if not isinstance(value, list | tuple):
        raise TypeError(value)
    element = (*typing.get_args(type_), Any)[0]
    items = [converter.structure(item, element) for item in value]
    return tuple(items) if tuple in (type_, typing.get_origin(type_)) else items


def _enum_member(value: Any, type_: type[enum.Enum]) -> enum.Enum:
    return value if isinstance(value, type_) else type_[value.upper()]


def _callable(value: Any, _: Any) -> Any:
    if not callable(value):
        raise TypeError(value)
    return value
