"""What a block's workers have of it: its state is sent again only as far as it changed.

A block remembers what was sent of it in a `Parcel`. As long as no input ran, nothing was bound and
nothing invalidated, that is sent no more. Otherwise it is packed again, and what equals what was
sent stays where it is.
"""

from __future__ import annotations

import weakref
from typing import Any

import attrs

from connectors._calls import Call
from connectors._envelope import unsendable
from connectors._errors import ConnectorsError
from connectors._stays import Stays

from ._likeness import attributes_of, slots_of
from ._packing import Frame, Packing, Part, Shipment, getter, plain_function, without_looks

_NAME = "_connectors_parcel"
#: The setters that run now: something of their own, and the identity of their block.
writing: dict[object, int] = {}
# Whether anything was ever sent: before that nobody minds who changes what.
_in_use = False


def begin_writing(writer: object, block: object) -> None:
    """Take note that *writer* changes *block* from now on."""
    if _in_use:
        writing[writer] = id(block)


def end_writing(writer: object, block: Any) -> None:
    """Take note that *writer* has changed *block*."""
    if _in_use:
        writing.pop(writer, None)
        changed(block)


def changed(block: Any, *, unseen: bool = False) -> None:
    """Take note that *block* is not what it was.

    Args:
        block: The block.
        unseen: It may have changed in a way that only pickling it shows.
    """
    parcel = getattr(block, "__dict__", _NO_ATTRIBUTES).get(_NAME)
    if parcel is not None:
        parcel.change(unseen=unseen)


_NO_ATTRIBUTES: dict[str, Any] = {}


def ship(call: Call, pool: Any, *, name: str, always: bool) -> Call:
    """Return *call* as it travels to *pool*.

    Args:
        call: The call of a getter.
        pool: The pool.
        name: The name of the getter.
        always: The state is packed again, whether it seems to have changed or not.

    Raises:
        PicklingError: The block cannot travel; names the part of it that is at fault.
    """
    block = call.instance
    function = call.function
    if plain_function(type(block), name) is function:
        function = getter(name)
    instance: Any = block
    try:
        if hasattr(pool, "deposit"):
            instance = _parcel_of(block).shipment(block, pool, always)
        else:
            Frame.of(block)
    except ConnectorsError:
        raise
    except Exception as error:
        raise unsendable(call, error) from error
    limits = (call.timeout, call.retries)
    return Call(function, call.args, call.kwargs, instance, call.wish, call.label, *limits)


def _parcel_of(block: Any) -> Parcel:
    global _in_use  # noqa: PLW0603 - a fact about this process
    _in_use = True
    attributes = block.__dict__
    found: Parcel | None = attributes.get(_NAME)
    if found is None or not found.is_of(block):  # that of which the block is a copy
        attributes.pop(_NAME, None)
        found = attributes.setdefault(_NAME, Parcel(block))
    return found


@attrs.frozen(eq=False)
class _Sent:
    """What was sent to the workers of one pool.

    Attributes:
        pool: The pool.
        version: The version of the block's state.
        trust: The version of what only pickling shows.
        bound: The attributes, weakly where that is possible.
        shipment: What stands for it in calls, if it is to be used again.
        parts: What it consists of.
    """

    pool: weakref.ref[Any]
    version: object
    trust: object
    bound: list[tuple[str, Any]]
    shipment: Shipment | None
    parts: list[Part]


class Parcel(Stays):
    """What was sent of a block.

    Args:
        block: The block.
    """

    def __init__(self, block: Any) -> None:
        self._block = weakref.ref(block)
        self._version = self._trust = object()
        self._sent: tuple[_Sent, ...] = ()

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return type(None), ()

    def is_of(self, block: Any) -> bool:
        """Tell whether it belongs to *block*."""
        return self._block() is block

    def change(self, *, unseen: bool) -> None:
        """Take note of a change; see `changed`."""
        self._version = object()
        if unseen:
            self._trust = object()
        for sent in self._sent:
            sent.bound.clear()  # what was bound may go

    def shipment(self, block: Any, pool: Any, always: bool) -> Shipment:
        """Return what stands for *block* in a call.

        Raises:
            Exception: Something cannot be pickled.
        """
        version, trust = self._version, self._trust
        bound = _bound(block)
        sent = next((sent for sent in self._sent if sent.pool() is pool), None)
        if sent is not None and not always and sent.version is version:
            known = sent.shipment
            if known is not None and _same(sent.bound, bound):
                return known
        steady = id(block) not in list(writing.values())
        before = () if sent is None else sent.parts
        looks = sent is not None and not always and sent.trust is trust
        frame, parts = Packing(block, pool.deposit, before, looks).parts()
        shipment = Shipment(frame, parts, pool.deposit, None if sent is None else sent.shipment)
        # What a setter changes meanwhile may be in the looks and not in the pickles.
        if not steady or self._version is not version or id(block) in list(writing.values()):
            parts = [without_looks(part) for part in parts]
        mine = _Sent(
            weakref.ref(pool),
            version,
            trust,
            [(name, _weak(value)) for name, value in bound],
            None if shipment.passing else shipment,
            [part for part in parts if part.carried is None],
        )
        others = [one for one in self._sent if one.pool() not in {None, pool}]
        self._sent = (*others[-3:], mine)
        return shipment


def _bound(block: Any) -> list[tuple[str, Any]]:
    found = attributes_of(block, slots_of(type(block)))
    return [(name, value) for name, value in found if not isinstance(value, Stays)]


def _weak(value: Any) -> Any:
    try:
        return weakref.ref(value)
    except TypeError:
        return value


def _same(before: list[tuple[str, Any]], now: list[tuple[str, Any]]) -> bool:
    return len(before) == len(now) and all(
        name == other and (old is new or (type(old) is weakref.ref and old() is new))
        for (name, old), (other, new) in zip(before, now, strict=False)
    )
