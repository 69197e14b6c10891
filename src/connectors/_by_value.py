"""The pickler of what travels by value: cloudpickle, with what it leaves out.

A class that comes back to the process that defined it is the class that went, as it is there: what
became of its copy elsewhere is not written over it.
"""

from __future__ import annotations

import enum
import functools
import io
import operator
import sys
import types
import uuid
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import cloudpickle

_LruCache = type(functools.lru_cache(len))
_PARTS_OF_A_CLASS = 6  # of what cloudpickle says of a class that travels by value

# The classes that travelled, by names that hold in each process; and those not defined in this one.
_classes: weakref.WeakValueDictionary[str, type] = weakref.WeakValueDictionary()
_names: weakref.WeakKeyDictionary[type, str] = weakref.WeakKeyDictionary()
_copies: weakref.WeakSet[type] = weakref.WeakSet()


def dumps(value: Any, buffer_callback: Callable[[Any], Any] | None = None) -> bytes:
    """Return *value* as bytes for `pickle.loads`."""
    file = io.BytesIO()
    Pickler(file, protocol=5, buffer_callback=buffer_callback).dump(value)
    return file.getvalue()


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle is untyped
    """Pickles by reference what can be imported, and by value all else.

    Attributes:
        by_value: Classes, functions or modules went by value so far.
    """

    by_value = False

    def reducer_override(self, obj: Any) -> Any:
        """Return of what *obj* is made anew, as `pickle.Pickler.reducer_override` does."""
        if type(obj) is functools.cached_property:
            return _cached_property, (obj.func, obj.attrname)
        if isinstance(obj, _LruCache) and not _is_importable(obj):
            return _lru_cache, (obj.__wrapped__, obj.cache_parameters())
        reduced = super().reducer_override(obj)
        if isinstance(obj, type) and isinstance(reduced, tuple):
            if len(reduced) != _PARTS_OF_A_CLASS:
                return reduced
            reduced = _reduced_class(obj, reduced)
        if isinstance(obj, types.ModuleType):
            self.by_value |= sys.modules.get(obj.__name__) is not obj or _is_by_value(obj.__name__)
        else:
            self.by_value |= reduced is not NotImplemented
        return reduced


def _reduced_class(kind: type, reduced: tuple[Any, ...]) -> tuple[Any, ...]:
    make, args, state, _, _, fill = reduced
    if "__slots__" in vars(kind) and not issubclass(kind, (enum.Enum, tuple)):
        args, state = _with_slots(args, state)
    name = _names.get(kind) or _names.setdefault(kind, uuid.uuid4().hex)
    _classes[name] = kind
    return _class, (name, make, args), (fill, state), None, None, _fill


def _with_slots(args: tuple[Any, ...], state: tuple[Any, Any]) -> tuple[Any, Any]:
    """Let a class be made with its slots: later is too late for them."""
    constructor, name, bases, namespace, *rest = args
    attributes, other = dict(state[0]), state[1]
    namespace = {**namespace, "__slots__": attributes.pop("__slots__")}
    for key, value in list(attributes.items()):
        if isinstance(value, types.MemberDescriptorType):  # of a slot with a private name
            del attributes[key]
    return (constructor, name, bases, namespace, *rest), (attributes, other)


def _class(name: str, make: Callable[..., type], args: tuple[Any, ...]) -> type:
    kind = _classes.get(name)
    if kind is None:
        kind = make(*args)
        _copies.add(kind)
        _names[kind] = name
        _classes[name] = kind
    return kind


def _fill(kind: type, how: tuple[Callable[[type, Any], object], Any]) -> None:
    fill, state = how
    if kind in _copies:
        fill(kind, state)


def _cached_property(function: Callable[[Any], Any], name: str | None) -> Any:
    made = functools.cached_property(function)
    if name is not None:
        made.__set_name__(object, name)
    return made


def _lru_cache(function: Callable[..., Any], parameters: Mapping[str, Any]) -> Any:
    return functools.lru_cache(**parameters)(function)


def _is_importable(function: Any) -> bool:
    module = getattr(function, "__module__", None)
    if module is None or _is_by_value(module):
        return False
    try:
        found = operator.attrgetter(function.__qualname__)(sys.modules[module])
    except (KeyError, AttributeError):
        return False
    return found is function


def _is_by_value(module: str) -> bool:
    registered = cloudpickle.list_registry_pickle_by_value()
    return module == "__main__" or any(f"{module}.".startswith(f"{name}.") for name in registered)
