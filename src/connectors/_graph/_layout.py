"""A place for each box and a way for each wire: parts side by side, layers from left to right."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

import attrs

from ._layers import Anchor, Slot, Wire, layered


@attrs.frozen
class _Column:
    """A layer in the picture; *lead* is the room on its left that texts on wires need."""

    left: int
    right: int
    lead: int


_BEND = 56  # the room between two layers in which wires change their height
_MARGIN = 40  # the room beside a part for wires that turn
_PARTS = 36  # the room between parts
_ROUNDS = 10
_LANE = 8
_LANES = 12  # wires without passages share so many ways below all boxes


def lay_out(boxes: Sequence[Slot], wires: Sequence[Wire]) -> tuple[int, int]:
    """Give all *boxes* their places and all *wires* their runs; return width and height."""
    sizes = []
    parts = _parts(boxes, wires)
    for own_boxes, own_wires in parts:
        sizes.append(_lay_out_part(own_boxes, own_wires))
    places, whole = _shelves(sizes)
    for (own_boxes, own_wires), (x, y) in zip(parts, places, strict=True):
        for box in own_boxes:
            box.x, box.y = box.x + x, box.y + y
        for wire in own_wires:
            wire.runs = [(one + x, other + x, height + y) for one, other, height in wire.runs]
    return whole


def _parts(boxes: Sequence[Slot], wires: Sequence[Wire]) -> list[tuple[list[Slot], list[Wire]]]:
    """Return what hangs together, each with its boxes and wires."""
    near: dict[Slot, list[Slot]] = {box: [] for box in boxes}
    for wire in wires:
        near[wire.source.slot].append(wire.target.slot)
        near[wire.target.slot].append(wire.source.slot)
    part_of: dict[Slot, int] = {}
    count = 0
    for box in boxes:
        if box in part_of:
            continue
        part_of[box] = count
        reached = [box]
        for one in reached:
            for other in near[one]:
                if other not in part_of:
                    part_of[other] = count
                    reached.append(other)
        count += 1
    parts: list[tuple[list[Slot], list[Wire]]] = [([], []) for _ in range(count)]
    for box in boxes:
        parts[part_of[box]][0].append(box)
    for wire in wires:
        parts[part_of[wire.source.slot]][1].append(wire)
    return parts


def _shelves(sizes: Sequence[tuple[int, int]]) -> tuple[list[tuple[int, int]], tuple[int, int]]:
    """Return a place for each of *sizes*, in rows from the top, and the size of the whole."""
    area = sum((width + _PARTS) * (height + _PARTS) for width, height in sizes)
    limit = max([1.6 * math.sqrt(area), *(width for width, _ in sizes)])
    places = []
    x = y = row = whole = 0
    for width, height in sizes:
        if x and x + width > limit:
            x, y, row = 0, y + row + _PARTS, 0
        places.append((x, y))
        x, row = x + width + _PARTS, max(row, height)
        whole = max(whole, x - _PARTS)
    return places, (whole, y + row)


def _lay_out_part(boxes: Sequence[Slot], wires: Sequence[Wire]) -> tuple[int, int]:
    layers = layered(boxes, wires)
    _spread(wires)
    _align(layers)
    columns = _columns(layers, wires)
    bottom = max(round(box.y) + box.height for box in boxes)
    lane = 0
    for wire in wires:
        _run(wire, columns, bottom + _LANE * (2 + lane % _LANES))
        lane += not _is_threaded(wire)
    lowest = max([bottom, *(run[2] for wire in wires for run in wire.runs)])
    turning = any(wire.backward and wire.source.slot.layer == len(layers) - 1 for wire in wires)
    return columns[-1].right + (_MARGIN if turning else 0), lowest


def _spread(wires: Iterable[Wire]) -> None:
    """Distribute the wires at the sides of boxes in the order of where they lead."""
    leaving: dict[Slot, list[tuple[float, Anchor]]] = {}
    entering: dict[Slot, list[tuple[float, Anchor]]] = {}
    for wire in wires:
        for ends, end, near in (
            (leaving, wire.source, wire.route[1]),
            (entering, wire.target, wire.route[-2]),
        ):
            if end.free:
                ends.setdefault(end.slot, []).append((_direction(end.slot, near), end))
    for ends in (leaving, entering):
        for box, found in ends.items():
            found.sort(key=lambda entry: entry[0])
            for number, (_, end) in enumerate(found):
                end.offset = box.height * (2 * number + 1) / (2 * len(found))


def _direction(box: Slot, near: Anchor) -> float:
    if near.slot.layer == box.layer:
        # What turns back is led around the outside of the others.
        return math.inf if near.slot.rank >= box.rank else -math.inf
    return near.slot.rank


def _align(layers: Sequence[list[Slot]]) -> None:
    """Give each slot a y at which its links are level as far as the others let it."""
    for layer in layers:
        _settle(layer, [(0, 1)] * len(layer))
    for turn in range(_ROUNDS):
        for layer in layers if turn % 2 else reversed(layers):
            _settle(layer, [_wanted(slot, turn) for slot in layer])
    top = min(slot.y for layer in layers for slot in layer)
    for layer in layers:
        for slot in layer:
            slot.y = round(slot.y - top)


def _wanted(slot: Slot, turn: int) -> tuple[float, float]:
    """Return the y that *slot* should have, and how much it matters."""
    if turn >= _ROUNDS - 2:
        links = [*slot.before, *slot.after]
    else:
        links = slot.before if turn % 2 else slot.after
    if slot.beside is not None:
        box = slot.beside
        return box.y + (box.height if slot.rank > box.rank else 0), 0.5
    if not links:
        return slot.y, 0.1
    wanted = sum(other.y - one.offset for one, other in links) / len(links)
    # Long wires are to be level before short ones are.
    return wanted, len(links) * (1 if slot.width else 8)


def _settle(layer: Sequence[Slot], wanted: Sequence[tuple[float, float]]) -> None:
    """Bring the slots of *layer* as near to what they want as their order and gaps permit.

    It is an isotonic regression: those that would overlap form a block, which is moved as one.
    """
    rooms = itertools.starmap(_room, itertools.pairwise(layer))
    depths = list(itertools.accumulate(rooms, initial=0))
    blocks: list[tuple[float, float, int]] = []
    for depth, (y, weight) in zip(depths, wanted, strict=True):
        block = (y - depth, weight, 1)
        while blocks and blocks[-1][0] > block[0]:
            above = blocks.pop()
            total = above[1] + block[1]
            middle = (above[0] * above[1] + block[0] * block[1]) / total
            block = (middle, total, above[2] + block[2])
        blocks.append(block)
    tops = itertools.chain.from_iterable([y] * count for y, _, count in blocks)
    for slot, top, depth in zip(layer, tops, depths, strict=True):
        slot.y = top + depth


def _room(upper: Slot, lower: Slot) -> int:
    """Return how far the top of *lower* is below that of *upper*, at least."""
    return upper.height + sum(12 if slot.width else 5 for slot in (upper, lower))


def _columns(layers: Sequence[list[Slot]], wires: Sequence[Wire]) -> list[_Column]:
    leads = [0] * len(layers)
    for wire in wires:
        entered = wire.target.slot.layer
        leads[entered] = max(leads[entered], wire.lead)
    columns: list[_Column] = []
    turning = any(wire.target.slot.layer == 0 for wire in wires)
    right = (_MARGIN if turning else 0) - _BEND
    for layer, lead in zip(layers, leads, strict=True):
        links = sum(len(slot.before) for slot in layer)
        left = right + _BEND + lead + min(_BEND, 2 * links)
        right = left + max(slot.width for slot in layer)
        columns.append(_Column(left, right, lead))
        for slot in layer:
            slot.x = left
            slot.width = slot.width and right - left
    return columns


def _run(wire: Wire, columns: Sequence[_Column], lane: int) -> None:
    """Give *wire* its runs; one without passages goes along *lane*, below everything."""
    source, target = wire.source, wire.target
    first, last = source.slot.layer, target.slot.layer
    start, end = columns[first], columns[last]
    wire.runs = [(start.right, start.right, round(source.y))]
    passages = [(anchor.slot.layer, anchor.slot.layer, anchor.y) for anchor in wire.route[1:-1]]
    if not _is_threaded(wire):
        passages = [(first, last, lane) if wire.backward else (first + 1, last - 1, lane)]
    for one, other, y in passages:
        if wire.backward:
            wire.runs.append((columns[one].right, columns[other].left, round(y)))
        else:
            wire.runs.append((columns[one].left, columns[other].right, round(y)))
    if wire.backward:
        x, _, height = wire.runs[-1]
        wire.runs[-1] = (x, end.left - end.lead, height)
    wire.runs.append((end.left - end.lead, end.left, round(target.y)))


def _is_threaded(wire: Wire) -> bool:
    """Tell whether *wire* has the passages that it needs."""
    adjacent = wire.target.slot.layer - wire.source.slot.layer == 1
    return len(wire.route) > 2 or adjacent
