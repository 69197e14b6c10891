"""Models of a network: `Network` recomputes every value and `Gated` follows the rules one by one.

`Network` has no caches, no pending values and no executors. A value is what the formula of its
block says about the values that stand at its inputs, at this moment. Beside the values it keeps
what a real network may do at most: how often each method may have run, and who may be blamed for
an error.

`Gated` is for announce and notify conditions, which make values depend on what was read before.
It is the specification's state of one output and one single input, written as plain recursion.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

PRIME = 2**61 - 1
WHOLE = "*"  # the key of a connection that transports every key of a multi-output
ON_REQUEST, ON_NOTIFY, ON_ANNOUNCE, ON_CONNECT = 1, 2, 3, 4

type_of_source = tuple[str, str, "str | None"]  # block, output, key


@dataclass(frozen=True)
class Kind:
    """What the blocks of one class have: inputs and the outputs that each of them influences."""

    inputs: dict[str, tuple[str, ...]]
    outputs: tuple[str, ...]
    multi: bool = False  # has the multi-input `items`, which influences `out`
    ordered: bool = False  # its `out` depends on the order of the items
    keyed: bool = False  # its items are connected and set under keys

    def observers(self, name: str) -> tuple[str, ...]:
        return ("out",) if name == "items" else self.inputs[name]

    def influences(self, output: str) -> list[str]:
        names = [*self.inputs, "items"] if self.multi else list(self.inputs)
        return [name for name in names if output in self.observers(name)]


KINDS = {
    "One": Kind({"a": ("out",)}, ("out",)),
    "Two": Kind({"a": ("out",), "b": ("out",)}, ("out",)),
    "Split": Kind({"a": ("out", "other")}, ("out", "other")),
    "Half": Kind({"a": ("out",), "b": ("out", "other")}, ("out", "other")),
    "Ordered": Kind({"a": ("out",)}, ("out",), multi=True, ordered=True),
    "Loose": Kind({"a": ("out",)}, ("out",), multi=True),
    "Keyed": Kind({"a": ("out",)}, ("out",), multi=True, keyed=True),
    "Many": Kind({"a": ("out", "part"), "n": ("part",)}, ("out", "part")),
    "Sink": Kind({"a": ()}, ()),
}


def mix(tag: str, *values: int | None) -> int:
    """Return a number that tells every tag and every sequence of values apart."""
    total = zlib.crc32(tag.encode())
    for value in values:
        total = (total * 1_000_003 + (0 if value is None else value + 1)) % PRIME
    return total


def keys_of(name: str, n: int | None) -> list[str]:
    """Return the keys that the multi-output of a `Many` serves."""
    return [f"{name}:{i}" for i in range(2 if n is None else n % 4)]


def formula(kind: str, output: str, state: dict, key: str | None = None) -> int:
    """Return what a getter of a kind of block computes from the state of the block alone.

    ``state`` has the value of each single input by its name, and the pairs of id and value of the
    multi-input under `items`.
    """
    singles = [state[name] for name in KINDS[kind].influences(output) if name != "items"]
    if output == "part":
        return mix(f"part {key}", state["a"])
    tag = f"{kind}.{output}"
    if not KINDS[kind].multi:
        return mix(tag, *singles)
    if KINDS[kind].ordered:
        return mix(tag, *singles, *(value for _, value in state["items"]))
    if KINDS[kind].keyed:
        return mix(tag, *singles, *sorted(mix(str(key), value) for key, value in state["items"]))
    return mix(tag, *singles, *sorted(value for _, value in state["items"]))


@dataclass
class Single:
    """A single input: its own value, or the source that announced last, which supplies it."""

    value: int | None = None
    source: type_of_source | None = None
    connected: list[type_of_source] = field(default_factory=list)
    gone: bool = False  # its source was dropped, perhaps before its last value was delivered


@dataclass
class Entry:
    """One value of a multi-input, or one connection to it."""

    value: int | None = None
    source: type_of_source | None = None
    key: object = None  # the data id, where it is known: of values set by hand, and keys


@dataclass
class Block:
    kind: str
    name: str
    singles: dict[str, Single]
    entries: list[Entry] = field(default_factory=list)
    failing: set[str] = field(default_factory=set)
    laziness: Counter = field(default_factory=Counter)
    uncached: set[str] = field(default_factory=set)
    real: set[str] = field(default_factory=set)  # outputs that surely are no proxies any more


class Network:
    """Blocks and connections; every question is answered by looking at all of them."""

    def __init__(self) -> None:
        self.blocks: dict[str, Block] = {}
        self.allowed: Counter = Counter()  # how often (block, method) may have run

    def add(self, kind: str, name: str) -> Block:
        block = Block(kind, name, {name: Single() for name in KINDS[kind].inputs})
        self.blocks[name] = block
        for output in KINDS[kind].outputs:
            self.allowed[name, output] = 1
        return block

    # values

    def value(self, name: str, output: str, key: str | None = None) -> int:
        """Return what a read gives now."""
        return self._value(name, output, key, {})

    def _value(self, name: str, output: str, key: str | None, known: dict) -> int:
        if (name, output, key) not in known:
            block = self.blocks[name]
            state = {
                at: self._at(single, known)
                for at, single in block.singles.items()
                if output in KINDS[block.kind].observers(at)
            }
            state["items"] = self._items(block, known) if output == "out" else []
            known[name, output, key] = formula(block.kind, output, state, key)
        return known[name, output, key]

    def _at(self, single: Single, known: dict) -> int | None:
        return self._value(*single.source, known) if single.source else single.value

    def _items(self, block: Block, known: dict) -> list[tuple[object, int | None]]:
        items = []
        for entry in block.entries:
            if entry.source is None:
                items.append((entry.key, entry.value))
            elif entry.source[2] == WHOLE:
                name, output, _ = entry.source
                items += [
                    (key, self._value(name, output, key, known))
                    for key in keys_of(name, self._at(self.blocks[name].singles["n"], known))
                ]
            else:
                items.append((entry.key, self._value(*entry.source, known)))
        return items

    def at(self, name: str, at: str) -> int | None:
        """Return the value that belongs into a single input now."""
        return self._at(self.blocks[name].singles[at], {})

    def items(self, name: str) -> list[tuple[object, int | None]]:
        """Return the ids (None where unknown) and values that belong into a multi-input now."""
        return self._items(self.blocks[name], {})

    # the graph

    def sources(self, name: str, at: str) -> list[type_of_source]:
        """Return what is connected to an input."""
        block = self.blocks[name]
        if at == "items":
            return [entry.source for entry in block.entries if entry.source]
        return block.singles[at].connected

    def inputs(self) -> Iterator[tuple[str, str]]:
        for block in self.blocks.values():
            for at in block.singles:
                yield block.name, at
            if KINDS[block.kind].multi:
                yield block.name, "items"

    def outputs(self) -> Iterator[tuple[str, str]]:
        for block in self.blocks.values():
            for output in KINDS[block.kind].outputs:
                yield block.name, output

    def observers(self, name: str, at: str) -> list[tuple[str, str]]:
        kind = KINDS[self.blocks[name].kind]
        return [(name, output) for output in kind.observers(at)]

    def downstream(self, outputs: Iterable[tuple[str, str]]) -> tuple[set, set]:
        """Return the outputs and the inputs that a change of some outputs can reach."""
        found, reached, ahead = set(), set(), list(outputs)
        while ahead:
            output = ahead.pop()
            if output in found:
                continue
            found.add(output)
            for at in self.inputs():
                if any(source[:2] == output for source in self.sources(*at)):
                    reached.add(at)
                    ahead += self.observers(*at)
        return found, reached

    def ancestors(self, name: str) -> set[str]:
        """Return the block and all blocks that it can depend on."""
        found, ahead = set(), [name]
        while ahead:
            name = ahead.pop()
            if name not in found:
                found.add(name)
                ahead += [
                    source[0]
                    for at in self.inputs()
                    if at[0] == name
                    for source in self.sources(*at)
                ]
        return found

    def ambiguous(self) -> bool:
        """Return whether a change can reach two sources of a single input, in no promised order."""
        for block in self.blocks.values():
            for single in block.singles.values():
                seen: set[str] = set()
                for source in single.connected:
                    ancestors = self.ancestors(source[0])
                    if seen & ancestors:
                        return True
                    seen |= ancestors
        return False

    # changes

    def wave(self, outputs: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
        """Announce a change of some outputs: who announced last supplies; all may run once."""
        outputs, reached = self.downstream(outputs)
        self._allow(outputs, reached)
        for name, at in reached:
            if at != "items":
                single = self.blocks[name].singles[at]
                for source in single.connected:
                    if source[:2] in outputs:
                        single.source, single.gone = source, False
        return reached

    def loosen(self, name: str, output: str) -> None:
        """Allow one more run of an output that keeps no result, and of all that follows."""
        self._allow(*self.downstream([(name, output)]))

    def _allow(self, outputs: Iterable[tuple[str, str]], inputs: Iterable[tuple[str, str]]) -> None:
        self.allowed.update(outputs)
        self.allowed.update(inputs)

    def set(self, name: str, at: str, value: int | None) -> set:
        single = self.blocks[name].singles[at]
        single.value, single.source, single.gone = value, None, False
        self.allowed[name, at] += 1
        return self.wave(self.observers(name, at))

    def connect(self, source: type_of_source, name: str, at: str, key: str | None = None) -> set:
        """Connect, and announce to this input alone."""
        block = self.blocks[name]
        if at == "items":
            entry = Entry(source=source, key=key)
            same = [e for e in block.entries if e.source == source and e.key == key]
            if not same:
                block.entries.append(entry)
        else:
            single = block.singles[at]
            if source not in single.connected:
                single.connected.append(source)
            single.source, single.gone = source, False
        self._real(source[0], source[1])
        for output in self.observers(name, at):
            self._real(*output)
        if source[1] in self.blocks[source[0]].uncached:
            self.loosen(*source[:2])
        self._allow([], [(name, at)])
        return {(name, at)} | self.wave(self.observers(name, at))

    def _real(self, name: str, output: str) -> None:
        self.blocks[name].real.add(output)

    def make_real(self, name: str, method: str) -> None:
        """A connector was configured."""
        if method in KINDS[self.blocks[name].kind].outputs:
            self._real(name, method)
        else:
            for output in self.observers(name, method):
                self._real(*output)

    def disconnect_single(self, source: type_of_source, name: str, at: str) -> None:
        """Take what the source supplies now, and nothing later."""
        single = self.blocks[name].singles[at]
        single.connected.remove(source)
        if single.source == source:
            single.value, single.source = self.value(*source), None

    def disconnect_multi(self, source: type_of_source, name: str, key: object = None) -> set:
        block = self.blocks[name]
        block.entries = [
            entry
            for entry in block.entries
            if entry.source != source or (key is not None and entry.key != key)
        ]
        return self.wave(self.observers(name, "items"))

    def overruled(self, name: str) -> bool:
        """Return whether a value set by hand stands where one could come from a multi-input."""
        _, reached = self.downstream(self.observers(name, "items"))
        singles = [self.blocks[other].singles[at] for other, at in reached if at != "items"]
        return any(single.connected and single.source is None for single in singles)

    def drop(self, dead: set[str]) -> None:
        """Blocks are gone; what they supplied stays."""
        known: dict = {}
        for block in self.blocks.values():
            if block.name in dead:
                continue
            for single in block.singles.values():
                if single.source and single.source[0] in dead:
                    single.value, single.gone = self._at(single, known), True
            for entry in list(block.entries):
                if entry.source and entry.source[0] in dead and entry.source[2] == WHOLE:
                    name, output, _ = entry.source
                    at = block.entries.index(entry)
                    block.entries[at : at + 1] = [
                        Entry(
                            self._value(name, output, key, known),
                            None,
                            key if KINDS[block.kind].keyed else None,
                        )
                        for key in keys_of(name, self._at(self.blocks[name].singles["n"], known))
                    ]
                elif entry.source and entry.source[0] in dead:
                    entry.value = self._value(*entry.source, known)
        for block in self.blocks.values():
            for single in block.singles.values():
                single.connected = [s for s in single.connected if s[0] not in dead]
                if single.source and single.source[0] in dead:
                    single.source = None
            for entry in block.entries:
                if entry.source and entry.source[0] in dead:
                    entry.source = None
        for name in dead:
            del self.blocks[name]

    def dying(self, held: set[str]) -> set[str]:
        """Return the blocks that nobody holds: neither the user nor a living block upstream."""
        alive, ahead = set(), list(held)
        while ahead:
            name = ahead.pop()
            if name not in alive:
                alive.add(name)
                ahead += [
                    at[0]
                    for at in self.inputs()
                    if any(source[0] == name for source in self.sources(*at))
                ]
        return set(self.blocks) - alive

    # what a call may raise

    def blame(self, name: str, output: str) -> tuple[set[tuple[str, str]], bool]:
        """Return the failing methods that a read depends on, and whether it may miss a block."""
        failing, gone, seen, ahead = set(), False, set(), [(name, output)]
        while ahead:
            name, output = ahead.pop()
            if (name, output) in seen:
                continue
            seen.add((name, output))
            block = self.blocks[name]
            if output in block.failing:
                failing.add((name, output))
            for at in KINDS[block.kind].influences(output):
                more, missing, sources = self._blame_input(name, at)
                failing |= more
                gone |= missing
                ahead += sources
        return failing, gone

    def blame_input(self, name: str, at: str) -> tuple[set[tuple[str, str]], bool]:
        """Return the same for the delivery to one input."""
        failing, gone, sources = self._blame_input(name, at)
        for source in sources:
            more, missing = self.blame(*source)
            failing |= more
            gone |= missing
        return failing, gone

    def _blame_input(self, name: str, at: str) -> tuple[set, bool, list[tuple[str, str]]]:
        block = self.blocks[name]
        failing = {(name, at)} & {(name, method) for method in block.failing}
        if at == "items":
            return failing, False, [source[:2] for source in self.sources(name, at)]
        single = block.singles[at]
        return failing, single.gone, [single.source[:2]] if single.source else []

    def lazy(self, inputs: Iterable[tuple[str, str]], situation: int) -> set[tuple[str, str]]:
        """Return the inputs that bring themselves up to date in a situation."""
        return {(name, at) for name, at in inputs if self.blocks[name].laziness[at] >= situation}

    def quiet(self) -> bool:
        """Return whether nothing can fail."""
        return not any(
            block.failing or any(single.gone for single in block.singles.values())
            for block in self.blocks.values()
        )


# conditions


@dataclass
class GatedInput:
    """A single input with conditions: the block's value, and what the specification remembers."""

    value: int | None = None
    source: GatedBlock | None = None
    announced: bool = False
    held: bool = False
    pending: bool = False
    arrived: int | None = None
    announce: bool = True  # what the announce condition says
    notify: bool = True  # what the notify condition says


@dataclass
class GatedBlock:
    """A block with single inputs and one cached output."""

    name: str
    inputs: list[GatedInput]
    announcers: list[int] = field(default_factory=list)
    stored: bool = False
    result: int | None = None
    valid: bool = False
    dirty: bool = True
    consumers: list[tuple[GatedBlock, int]] = field(default_factory=list)
    holders: list[tuple[str, int]] = field(default_factory=list)
    runs: int = 0


class Gated:
    """Announce, request, notify and cancel on single inputs with ON_REQUEST, as written."""

    def __init__(self) -> None:
        self.blocks: dict[str, GatedBlock] = {}

    def add(self, name: str, inputs: int) -> GatedBlock:
        self.blocks[name] = GatedBlock(name, [GatedInput() for _ in range(inputs)])
        return self.blocks[name]

    def connect(self, source: GatedBlock, block: GatedBlock, at: int) -> None:
        block.inputs[at].source = source
        source.consumers.append((block, at))
        self._announce_input(block, at)

    def set(self, block: GatedBlock, at: int, value: int) -> None:
        """Call an unconnected input: its announce condition is not asked."""
        self._announce(block, at)
        block.inputs[at].value = value
        self._tell(block, at)

    def read(self, block: GatedBlock) -> int:
        """Read an output; what is held back at its own inputs is looked at again first."""
        for at, gate in enumerate(block.inputs):
            if gate.held and gate.announce:
                self._announce_input(block, at)
        if not block.valid:
            while block.announcers:
                self._request_input(block, block.announcers[0])
            if not block.stored or block.dirty:
                values = [gate.value for gate in block.inputs]
                block.result, block.stored, block.dirty = mix(block.name, *values), True, False
                block.holders.clear()
                block.runs += 1
            block.valid = True
        for consumer, at in block.consumers:
            gate = consumer.inputs[at]
            if gate.announced:
                gate.announced, gate.pending, gate.arrived = False, True, block.result
                block.holders.append((consumer.name, at))
        return block.result

    def _announce_input(self, block: GatedBlock, at: int) -> None:
        gate = block.inputs[at]
        if gate.pending:
            gate.pending, gate.arrived = False, None
            gate.source.holders.remove((block.name, at))
        gate.held = not gate.announce
        if gate.announce:
            gate.announced = True
            self._announce(block, at)

    def _announce(self, block: GatedBlock, at: int) -> None:
        if at not in block.announcers:
            block.announcers.append(at)
        block.valid = False
        for consumer, target in block.consumers:
            self._announce_input(consumer, target)

    def _request_input(self, block: GatedBlock, at: int) -> None:
        gate = block.inputs[at]
        if gate.announced:
            self.read(gate.source)
        if gate.pending:
            gate.value, gate.pending, gate.arrived = gate.arrived, False, None
            self._tell(block, at)

    def _tell(self, block: GatedBlock, at: int) -> None:
        if block.inputs[at].notify:
            block.stored, block.result, block.dirty = False, None, True
            block.announcers.remove(at)
        else:
            self._cancel(block, at)

    def _cancel(self, block: GatedBlock, at: int) -> None:
        block.announcers.remove(at)
        if block.announcers or block.dirty or not block.stored:
            return
        block.valid = True
        for consumer, target in block.consumers:
            gate = consumer.inputs[target]
            if gate.announced and (consumer.name, target) in block.holders:
                gate.announced = False
                self._cancel(consumer, target)
