"""The state of a block in the form in which it goes to worker processes, piece by piece.

```text
block ──__reduce_ex__──▶ frame, with holes ◀── parts: attributes, each packed by itself
                              │                   │ small: along with each call
                              └──── unpacked ◀────┘ large: deposited, sent once
```

Attributes that share an object are one part, so that they share it in the worker too.
"""

from __future__ import annotations

import copyreg
import functools
import inspect
import pickle
import sys
import types
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import attrs

from connectors._envelope import Dump, dump, dump_part
from connectors._errors import PicklingError

from ._likeness import likeness

IN_BAND = 4096  # up to here it is cheaper to send something along than to name it
_FEW, _SHORT = 32, 64  # items, and characters
_RAW = 1 << 16  # bytes of this length are not pickled
_MAKERS = (copyreg.__newobj__, copyreg.__newobj_ex__)  # type: ignore[attr-defined]
_SIMPLE = (bool, int, float, complex, type(None))
_TOLD = (str, bytes)
#: What parts may share without being one: it has no state, or is found by its name.
_HARMLESS = (
    *_SIMPLE,
    type,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.ModuleType,
)
Key = tuple[int, Any]  # where an attribute belongs: in which dictionary, and its name there
Contents = Sequence[bytes | memoryview]


class Deposited(Protocol):
    """What stands for contents that a pool keeps."""

    def holds(self, parts: Contents) -> bool:
        """Tell whether *parts* are what it stands for."""
        ...


Depositor = Callable[[Contents], Deposited | None]


@attrs.frozen(eq=False)
class Part:
    """Some attributes, packed.

    Attributes:
        keys: Where they belong.
        data: The pickle of the tuple of their values, if it is small.
        deposit: What stands for the pickle and its buffers, if not.
        raw: The type of the one value, if that is deposited as it is.
        carried: The pickle and its buffers, if they are large and the pool has no room.
        look: How the values looked, if a look tells whether they changed.
        met: The identities of what was met on the way, if there is a look.
    """

    keys: tuple[Key, ...]
    data: bytes = b""
    deposit: Deposited | None = None
    raw: type | None = None
    carried: Dump | None = None
    look: list[Any] | None = None
    met: frozenset[int] = frozenset()


@attrs.define(eq=False)
class Frame:
    """A block taken apart: what makes it, and its state.

    Attributes:
        maker: Makes the instance in the worker.
        places: Its arguments and the one or two dictionaries of its state, all by key.
        shape: What the state is in the reduced form: nothing, a dictionary, or a pair.
    """

    maker: Callable[..., Any]
    places: tuple[dict[Any, Any], ...]
    shape: int

    @classmethod
    def of(cls, block: Any) -> Frame | None:
        """Return *block* taken apart, or `None` if it is packed as a whole.

        Raises:
            PicklingError: The worker could not make it.
        """
        if type(block) in copyreg.dispatch_table:
            return None
        reduced = block.__reduce_ex__(5)
        if not isinstance(reduced, tuple) or any(item is not None for item in reduced[3:]):
            return None
        maker, args, state = (*reduced, None)[:3]
        check_maker(block, maker, args)
        arguments = dict(enumerate(args))
        if state is None:
            return cls(maker, (arguments,), 0)
        if type(state) is dict:
            return cls(maker, (arguments, state), 1)
        if type(state) is tuple and len(state) == 2 and not hasattr(block, "__setstate__"):
            first, second = state
            if isinstance(first, (dict, type(None))) and isinstance(second, dict):
                return cls(maker, (arguments, first or {}, second), 2)
        return None

    def values(self) -> dict[Key, Any]:
        """Return the values that are packed by themselves."""
        return {
            (place, name): value
            for place, values in enumerate(self.places)
            for name, value in values.items()
            if type(value) not in _SIMPLE
            and not (type(value) in _TOLD and len(value) <= IN_BAND)
            and not isinstance(value, type)
        }

    def without(self, holes: Iterable[Key]) -> tuple[Any, ...]:
        """Return what is left when the values of *holes* are taken out."""
        places = tuple(dict(values) for values in self.places)
        for place, name in holes:
            places[place][name] = None
        return self.maker, places, self.shape


def check_maker(block: Any, maker: Any, args: tuple[Any, ...]) -> None:
    """Raise `PicklingError` if *block* cannot be made again with *args* in a worker."""
    kind = type(block)
    new = kind.__new__
    if maker is not copyreg.__newobj__ or not isinstance(new, types.FunctionType):  # type: ignore[attr-defined]
        return
    try:
        inspect.signature(new).bind(*args)
    except TypeError as error:
        raise PicklingError(
            f"a {kind.__qualname__}",
            "instance",
            f"TypeError: {kind.__qualname__}.__new__: {error}; tell the arguments with "
            "__getnewargs__ or __reduce__",
        ) from None


class Packing:
    """Packs a block for one pool.

    Args:
        block: The block.
        deposit: Deposits contents with the pool.
        before: The parts that were packed last time, and may still hold.
        looks: Whether a look tells that a part did not change.
    """

    def __init__(self, block: Any, deposit: Depositor, before: Iterable[Part], looks: bool) -> None:
        self._block = block
        self._deposit = deposit
        self._before = {part.keys: part for part in before}
        self._of_key = {key: part for part in self._before.values() for key in part.keys}
        self._looks = looks
        self._dumps: dict[tuple[Key, ...], Dump] = {}

    def parts(self) -> tuple[bytes, list[Part]]:
        """Return the frame and the parts.

        Raises:
            Exception: Something cannot be pickled.
        """
        frame = Frame.of(self._block)
        if frame is not None:
            values = frame.values()
            inlaid = [key for key, value in values.items() if _light(value)]
            if len(inlaid) == len(values):
                return dump((frame.maker, frame.places, frame.shape)), []
            met = {
                key: self._met((key,), value) for key, value in values.items() if key not in inlaid
            }
            inlaid += [key for key in met if self._by_value(key)]
            if not any(id(self._block) in ids for ids in met.values()):
                return self._joined(frame, values, met, inlaid)
        return pickle.dumps(None), [self._part(((-1, None),), [self._block])]

    def _joined(
        self, frame: Frame, values: dict[Key, Any], met: dict[Key, set[int]], inlaid: list[Key]
    ) -> tuple[bytes, list[Part]]:
        while True:
            holes = [key for key in values if key not in inlaid]
            rest = dump_part(frame.without(holes), in_band=True)
            known = _shareable(rest) if inlaid else set()
            more = [key for key in holes if not known.isdisjoint(met[key])]
            if not more:
                break
            inlaid += more
        groups = _groups({key: met[key] for key in holes})
        return rest.data, [self._part(keys, [values[key] for key in keys]) for keys in groups]

    def _by_value(self, key: Key) -> bool:
        found = self._dumps.get((key,))
        return found is not None and found.by_value

    def _met(self, keys: tuple[Key, ...], value: Any) -> set[int]:
        """Return the identities of what *value* consists of; pickles it unless it is known."""
        if type(value) in (bytes, bytearray) and len(value) >= _RAW:
            return {id(value)}
        look = likeness(value)
        known = self._of_key.get(keys[0])
        if self._looks and look is not None and known is not None and known.look is not None:
            whole = known if known.keys == keys else None
            if whole is not None and whole.look == look[0]:
                return look[1] | whole.met
        found = self._dumps[keys] = dump_part(value)
        return _shareable(found) | (look[1] if look is not None else set())

    def _part(self, keys: tuple[Key, ...], values: Sequence[Any]) -> Part:
        before = self._before.get(keys)
        value = values[0] if len(keys) == 1 else tuple(values)
        if type(value) in (bytes, bytearray) and len(value) >= _RAW:
            return self._raw_part(keys, value, before)
        found = self._dumps.get(keys)
        if found is None:
            look = likeness(value) if self._looks and before is not None else None
            if before is not None and look is not None and before.look == look[0]:
                return before
            found = self._dumps[keys] = dump_part(value)
        contents: list[bytes | memoryview] = [
            found.data,
            *(buffer.raw() for buffer in found.buffers),
        ]
        look = likeness(value)
        seen = (None, frozenset[int]()) if look is None else (look[0], frozenset(_shareable(found)))
        if not found.buffers and len(found.data) <= IN_BAND:
            return Part(keys, found.data, look=seen[0], met=seen[1])
        deposit = self._deposited(contents, before)
        if deposit is None:
            return Part(keys, carried=found)
        return Part(keys, deposit=deposit, look=seen[0], met=seen[1])

    def _raw_part(self, keys: tuple[Key, ...], value: Any, before: Part | None) -> Part:
        deposit = self._deposited([memoryview(value)], before)
        if deposit is None:
            return Part(keys, carried=dump_part(value))
        return Part(keys, deposit=deposit, raw=type(value))

    def _deposited(self, contents: Contents, before: Part | None) -> Deposited | None:
        if before is not None and before.deposit is not None and before.deposit.holds(contents):
            return before.deposit
        return self._deposit(contents)


def _light(value: Any) -> bool:
    """Tell whether *value* is so simple that it goes along with each frame."""
    kind = type(value)
    if kind is dict:
        items: list[Any] = [part for pair in list(value.items()) for part in pair]
    elif kind in (list, tuple):
        items = list(value)
    else:
        return False
    return len(items) <= _FEW and all(
        type(item) in _SIMPLE or (type(item) in _TOLD and len(item) <= _SHORT) for item in items
    )


def without_looks(part: Part) -> Part:
    """Return *part* so that it is packed again before it is taken to be unchanged."""
    return attrs.evolve(part, look=None, met=frozenset())


def _shareable(found: Dump) -> set[int]:
    """Return the identities of what was met that has an identity that matters."""
    numpy = sys.modules.get("numpy")
    harmless: tuple[Any, ...] = _HARMLESS if numpy is None else (*_HARMLESS, numpy.dtype)
    if found.by_value:
        harmless = _SIMPLE
    return {
        identity
        for identity, (_, item) in found.met.items()
        if not isinstance(item, harmless) and not (type(item) in _TOLD and len(item) < _RAW)
    }


def _groups(met: dict[Key, set[int]]) -> list[tuple[Key, ...]]:
    """Return the keys, those together that have something in common."""
    groups: list[tuple[list[Key], set[int]]] = []
    for key, ids in met.items():
        keys, known = [key], set(ids)
        apart = []
        for group in groups:
            if group[1].isdisjoint(known):
                apart.append(group)
            else:
                keys, known = group[0] + keys, group[1] | known
        groups = [*apart, (keys, known)]
    return [tuple(keys) for keys, _ in groups]


class Shipment:
    """What stands for a block in a call: the worker rebuilds it from this for each call.

    Args:
        frame: The frame.
        parts: The parts.
        deposit: Deposits the small parts too, if they are many.
        before: What stood for it last time.
    """

    def __init__(
        self, frame: bytes, parts: Sequence[Part], deposit: Depositor, before: Shipment | None
    ) -> None:
        small = [(part.keys, part.data) for part in parts if part.data]
        large = [part for part in parts if not part.data]
        told = [(part.keys, part.raw) for part in large]
        self._bundle: Any = pickle.dumps((frame, small, told), protocol=5)
        self._large: list[Any] = [
            part.deposit if part.carried is None else _Carried(part.carried) for part in large
        ]
        #: It holds what it was packed from, and is not to be kept.
        self.passing = any(part.carried is not None for part in large)
        if len(self._bundle) > IN_BAND:
            contents = [self._bundle]
            known = None if before is None else before._bundle
            if known is not None and not isinstance(known, bytes) and known.holds(contents):
                self._bundle = known
            else:
                self._bundle = deposit(contents) or self._bundle

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return unpacked, (self._bundle, *self._large)


class _Carried:
    def __init__(self, dump: Dump) -> None:
        self._dump = dump

    def parts(self) -> list[Any]:
        raise AssertionError("it becomes a list on its way")

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _carried, (self._dump.data, *self._dump.buffers)


@attrs.frozen(eq=False)
class _Arrived:
    contents: list[Any]
    constant: Any = None

    def parts(self) -> list[Any]:
        return self.contents


def _carried(*contents: Any) -> _Arrived:
    return _Arrived(list(contents))


def unpacked(bundle: Any, *large: Any) -> Any:
    """Return the block in a worker, made anew."""
    data = bundle if isinstance(bundle, bytes) else bundle.parts()[0]
    frame, small, told = pickle.loads(data)
    found = [(keys, pickle.loads(part)) for keys, part in small]
    found += [
        (keys, _large(contents, raw)) for (keys, raw), contents in zip(told, large, strict=True)
    ]
    taken_apart = pickle.loads(frame)
    if taken_apart is None:
        ((_, block),) = found
        return block
    maker, places, shape = taken_apart
    for keys, value in found:
        for (place, name), one in zip(keys, value if len(keys) > 1 else (value,), strict=True):
            places[place][name] = one
    return _rebuilt(maker, *places, shape=shape)


def _large(contents: Any, raw: type | None) -> Any:
    if raw is bytes:
        if contents.constant is None:
            contents.constant = bytes(contents.parts()[0])
        return contents.constant
    data, *buffers = contents.parts()
    return pickle.loads(data, buffers=buffers) if raw is None else raw(data)


def _rebuilt(
    maker: Callable[..., Any], args: dict[int, Any], *states: dict[str, Any], shape: int
) -> Any:
    """Return what pickle would make of the reduced form."""
    block = maker(*args.values())
    if not shape:
        return block
    if shape == 1 and hasattr(block, "__setstate__"):
        block.__setstate__(states[0])
        return block
    own, *slots = states
    if own:
        block.__dict__.update(own)
    for name, value in slots[0].items() if slots else ():
        setattr(block, name, value)
    return block


def plain_function(kind: type, name: str) -> Any:
    """Return the plain function of the getter *name* of *kind*, or `None`."""
    for base in kind.__mro__:
        if name in vars(base):
            return getattr(vars(base)[name], "function", None)
    return None


class Getter:
    """The plain function of a getter as it travels: found by its name in the class of the block.

    Args:
        name: The name.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, block: Any, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return plain_function(type(block), self._name)(block, *args, **kwargs)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return getter, (self._name,)


@functools.lru_cache(maxsize=1000)
def getter(name: str) -> Getter:
    """Return the `Getter` of *name*."""
    return Getter(name)
