"""Boxes brought into layers: wires run from layer to layer, and few of them cross."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterator, Sequence

import attrs

_SWEEPS = 12
_PASSAGES = 4  # for each box and wire, on average; more would be neither fast nor readable
_LEAST_PASSAGES = 4_000


@attrs.define(eq=False)
class Slot:
    """A place in a layer: a box, or without a width the place where wires pass the layer.

    Attributes:
        width: Its width.
        height: Its height.
        x: Its left, once it is laid out.
        y: Its top, once it is laid out.
        layer: The number of its layer, from the left.
        rank: Its number in its layer, from the top.
        beside: For a passage at the end of a wire that runs back: the box at that end.
        before: Its links to the layer before: where each ends here, and where there.
        after: Its links to the layer after.
    """

    width: int = 0
    height: int = 0
    x: int = 0
    y: float = 0
    layer: int = 0
    rank: float = 0
    beside: Slot | None = None
    before: list[tuple[Anchor, Anchor]] = attrs.field(factory=list, repr=False)
    after: list[tuple[Anchor, Anchor]] = attrs.field(factory=list, repr=False)


@attrs.define(eq=False)
class Anchor:
    """Where wires end at a slot.

    Attributes:
        slot: The slot.
        offset: How far below its top.
        free: It is the end of one wire only, and can be moved.
    """

    slot: Slot
    offset: float = 0
    free: bool = False

    @property
    def rank(self) -> float:
        """The rank of its slot, and a little more the lower it is."""
        return self.slot.rank + self.offset / (self.slot.height + 1)

    @property
    def y(self) -> float:
        """Its height in the picture."""
        return self.slot.y + self.offset


@attrs.define(eq=False)
class Wire:
    """A connection to be laid out.

    Attributes:
        source: Where it leaves a box, on its right.
        target: Where it enters a box, on its left.
        lead: The width of the text that stands on its last piece.
        backward: It runs against the layers, as one wire of each cycle has to.
        route: The anchors that it passes, from source to target.
        runs: What `_layout` makes of it: level pieces, each from one x to another at a y.
    """

    source: Anchor
    target: Anchor
    lead: int = 0
    backward: bool = False
    route: list[Anchor] = attrs.field(factory=list, repr=False)
    runs: list[tuple[int, int, int]] = attrs.field(factory=list)


Leaving = dict[Slot, list[Wire]]


def layered(boxes: Sequence[Slot], wires: Sequence[Wire]) -> list[list[Slot]]:
    """Return *boxes* in layers, in each of them from the top, and passages among them.

    The time grows with the number of boxes and wires. A wire that spans very many layers may
    therefore be left without passages; its `Wire.route` has only its two ends.
    """
    leaving: Leaving = {box: [] for box in boxes}
    for wire in wires:
        leaving[wire.source.slot].append(wire)
    entered = {wire.target.slot for wire in wires if wire.source.slot is not wire.target.slot}
    found = _found([*(box for box in boxes if box not in entered), *boxes], leaving)
    _assign(boxes, leaving)
    layers: list[list[Slot]] = [[] for _ in range(1 + max(box.layer for box in found))]
    for box in found:
        layers[box.layer].append(box)
    _thread(wires, layers, _PASSAGES * (len(boxes) + len(wires)) + _LEAST_PASSAGES)
    _order(layers)
    return layers


def _found(roots: Sequence[Slot], leaving: Leaving) -> list[Slot]:
    """Return the boxes in the order of a search into the depth, and mark the backward wires."""
    found: dict[Slot, None] = {}
    left: set[Slot] = set()
    for root in roots:
        if root in found:
            continue
        found[root] = None
        path = [(root, iter(leaving[root]))]
        while path:
            box, rest = path[-1]
            into = _next_new(rest, found, left)
            if into is None:
                left.add(box)
                path.pop()
            else:
                found[into] = None
                path.append((into, iter(leaving[into])))
    return list(found)


def _next_new(wires: Iterator[Wire], found: dict[Slot, None], left: set[Slot]) -> Slot | None:
    for wire in wires:
        box = wire.target.slot
        if box not in found:
            return box
        wire.backward = box not in left
    return None


def _assign(boxes: Sequence[Slot], leaving: Leaving) -> None:
    """Give each box the first layer that is after those of all that lead to it."""
    forward = {
        box: [wire.target.slot for wire in wires if not wire.backward]
        for box, wires in leaving.items()
    }
    missing = dict.fromkeys(boxes, 0)
    for box in itertools.chain.from_iterable(forward.values()):
        missing[box] += 1
    sources = [box for box in boxes if not missing[box]]
    ready = list(sources)
    for box in ready:
        for target in forward[box]:
            target.layer = max(target.layer, box.layer + 1)
            missing[target] -= 1
            if not missing[target]:
                ready.append(target)
    for box in sources:
        # Nothing leads to it, so it can stand next to what it leads to.
        box.layer = min((target.layer for target in forward[box]), default=1) - 1


def _thread(wires: Sequence[Wire], layers: list[list[Slot]], budget: int) -> None:
    """Lead *wires* through the layers that they pass; those from one anchor share their way."""
    passages: dict[tuple[Anchor, int, bool], Anchor] = {}
    for wire in sorted(wires, key=_span):
        source, target = wire.source, wire.target
        wire.route = [source, target]
        first, last = source.slot.layer, target.slot.layer
        passed = range(first, last - 1, -1) if wire.backward else range(first + 1, last)
        if len(passed) > budget:
            continue
        here = source
        for layer in passed:
            key = (source, layer, wire.backward)
            if key not in passages:
                passages[key] = Anchor(Slot(layer=layer))
                layers[layer].append(passages[key].slot)
                budget -= 1
                _link(here, passages[key])
            here = passages[key]
            wire.route.insert(-1, here)
        _link(here, target)


def _span(wire: Wire) -> int:
    return abs(wire.target.slot.layer - wire.source.slot.layer)


def _link(one: Anchor, other: Anchor) -> None:
    if one.slot.layer == other.slot.layer:
        passage, box = sorted((one.slot, other.slot), key=lambda slot: slot.width)
        passage.beside = passage.beside or box
        return
    if one.slot.layer > other.slot.layer:
        one, other = other, one
    one.slot.after.append((one, other))
    other.slot.before.append((other, one))


def _order(layers: list[list[Slot]]) -> None:
    """Sort each layer by where its links lead, to and fro, and keep the best of all orders."""
    for layer in layers:
        _number(layer)
    best, order = math.inf, layers
    for sweep in range(_SWEEPS):
        crossings = sum(map(_crossings, layers))
        if crossings < best:
            best, order = crossings, [list(layer) for layer in layers]
        if not best:
            break
        for layer in layers if sweep % 2 else reversed(layers):
            keys = {slot: _middle(slot, slot.before if sweep % 2 else slot.after) for slot in layer}
            for slot in layer:
                if slot.beside is not None:
                    keys[slot] = keys[slot.beside]
            layer.sort(key=keys.__getitem__)
            _number(layer)
    layers[:] = order
    for layer in layers:
        _number(layer)


def _number(layer: list[Slot]) -> None:
    for rank, slot in enumerate(layer):
        slot.rank = rank


def _middle(slot: Slot, links: Sequence[tuple[Anchor, Anchor]]) -> float:
    if not links:
        return slot.rank
    return sum(other.rank for _, other in links) / len(links)


def _crossings(layer: list[Slot]) -> int:
    """Return how many links from *layer* to the next one cross."""
    links = sorted((one.rank, other.rank) for slot in layer for one, other in slot.after)
    above: list[float] = []
    crossings = 0
    for _, rank in links:
        place = bisect.bisect_right(above, rank)
        crossings += len(above) - place
        above.insert(place, rank)
    return crossings
