"""A look at a network that changes nothing: its blocks, their connections and their state.

```text
blocks_of ─▶ find what hangs together ─▶ note the state ───────▶ name the blocks
             one block at a time         some hundreds at a time
```

The library's lock is held for one step at a time, and never while a user's code runs. What was
noted belongs to the survey: the network goes on meanwhile, and a network of no more connectors
than are noted at a time is noted as it was at one moment.
"""

from __future__ import annotations

import heapq
import time
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import attrs

from ._connectors import Connector, InputEnd, MultiInputItem, MultiOutputItem, OutputEnd
from ._decorators import Decorator
from ._macros import MacroInputConnector, MacroOutputConnector, _Macro
from ._nodes import NOTHING, WHOLE, Cell, Inlet, MultiOutputSource, Node, Sink, Source, lock
from ._proxies import ConnectorProxy, MultiInputAssociateProxy

_AT_ONCE = 500  # connectors that are noted while the lock is held, in a millisecond or two
_KEY_LENGTH = 40


@attrs.define(eq=False)
class Home:
    """A block.

    Attributes:
        ref: What its connectors know it by.
        block: The block, or `None` if it does not exist any more.
        class_name: The name of its class.
        given: The caller asked for this one.
        nodes: Its real connectors, in the order of their definition.
        name: The name that tells it apart: ``Camera``, or ``Camera 2`` where there are several.
    """

    ref: Any
    block: Any
    class_name: str
    given: bool
    nodes: list[Node] = attrs.field(factory=list)
    name: str = ""


@attrs.define(eq=False)
class InletFacts:
    """The state of one connection, as its input has it.

    Attributes:
        inlet: The input's end.
        source: The output, or `None` if it does not exist any more.
        announced: The output announced a change.
        waits: A value was delivered and is not set yet.
        held: A change is held back by a false announce condition.
        lacks: The input was not given the present value of the output.
        stored: A multi-input has stored a value of this connection.
    """

    inlet: Inlet
    source: Source | None
    announced: bool
    waits: bool
    held: bool
    lacks: bool
    stored: bool

    @property
    def pending(self) -> bool:
        """Whether there is something to be done."""
        return self.announced or self.waits or self.held


@attrs.define(eq=False)
class Work:
    """What is being done about a result or an input.

    Attributes:
        busy: A read is at it, be it that it waits for what is upstream.
        started: All upstream is done, and the method runs or is about to.
        runs: The method runs.
    """

    busy: bool = False
    started: bool = False
    runs: bool = False


@attrs.define(eq=False)
class CellFacts:
    """The state of one result of an output.

    Attributes:
        cell: The result.
        links: What it feeds: the inputs and their ends of the connections.
        stored: There is a result.
        computed: It was computed, now or earlier.
        current: The block did not change since then.
        work: What is being done about it.
    """

    cell: Cell
    links: list[tuple[Sink, Inlet]]
    stored: bool
    computed: bool
    current: bool
    work: Work


@attrs.define(eq=False)
class SourceFacts:
    """The state of an output or a multi-output.

    Attributes:
        node: The connector.
        home: Its block.
        cells: Its results.
        announcers: The inputs that announced a change to it.
        calls: How many direct calls change its block at this moment.
        holds: The inputs that hold a change back.
        caching: Its results are kept.
        direct: A read returns its result without looking any further.
    """

    node: Source
    home: Home
    cells: list[CellFacts]
    announcers: list[Sink]
    calls: int
    holds: list[Sink]
    caching: bool
    direct: bool

    def valid(self, cell: CellFacts | None) -> bool:
        """Tell whether *cell* has a result that is valid."""
        return (
            cell is not None
            and cell.stored
            and cell.current
            and not self.announcers
            and not self.calls
        )

    @property
    def runs(self) -> bool:
        """Whether its method runs."""
        return any(cell.work.runs for cell in self.cells)

    @property
    def pending(self) -> bool:
        """Whether its value may change, or is waited for."""
        return bool(self.announcers or self.calls or any(cell.work.busy for cell in self.cells))


@attrs.define(eq=False)
class SinkFacts:
    """The state of an input or a multi-input.

    Attributes:
        node: The connector.
        home: Its block.
        inlets: Its connections, by the identity of its ends of them.
        active: Those with something pending, in order.
        work: What is being done to bring it up to date.
    """

    node: Sink
    home: Home
    inlets: dict[int, InletFacts]
    active: list[InletFacts]
    work: Work

    @property
    def pending(self) -> bool:
        """Whether there is something to be done."""
        return self.work.busy or any(inlet.pending for inlet in self.inlets.values())


class Survey:
    """What was found of a network.

    Args:
        blocks: Blocks; all that hangs together with them is looked at.

    Attributes:
        homes: The blocks, upstream before downstream as far as that is possible.
        sources: The outputs, by identity.
        sinks: The inputs, by identity.
        fed: The result that each connection carries, by the identity of the input's end.
    """

    def __init__(self, blocks: Iterable[Any]) -> None:
        self.sources: dict[int, SourceFacts] = {}
        self.sinks: dict[int, SinkFacts] = {}
        self.fed: dict[int, CellFacts] = {}
        self._homes: dict[int, Home] = {}
        self._found: dict[int, tuple[Node, Home]] = {}
        self._todo: deque[Node] = deque()
        self._declared: dict[int, list[str]] = {}
        for block in blocks:
            self._home(_ref_of(block), block, "", given=True)
        self._discover()
        self._note()
        self.homes = self._ordered()
        _name(self.homes)

    def home_of(self, block: Any) -> Home:
        """Return what was found of *block*, which was given."""
        return self._homes[id(_ref_of(block))]

    # What hangs together

    def _home(self, ref: Any, block: Any, owner: str, *, given: bool = False) -> Home:
        home = self._homes.get(id(ref))
        if home is None:
            name = owner.rpartition(".")[2] if block is None else type(block).__name__
            home = self._homes[id(ref)] = Home(ref, block, name, given)
            for node in self._connectors(block):
                self._add(node, home)
        return home

    def _add(self, node: Node, home: Home) -> None:
        if id(node) not in self._found:
            home.nodes.append(node)
            self._found[id(node)] = node, home
            self._todo.append(node)

    def _connectors(self, block: Any) -> list[Any]:
        cls = type(block)
        names = self._declared.get(id(cls))
        if names is None:
            names = self._declared[id(cls)] = [part.name for part in decorators_of(cls)]
        attributes = getattr(block, "__dict__", None) or {}
        found = [attributes.get(name) for name in names]
        return [each for each in found if isinstance(each, Connector) and each._block() is block]

    def _discover(self) -> None:
        while self._todo:
            for node, block in _neighbours(self._todo.popleft()):
                if id(node) not in self._found:
                    self._add(node, self._home(node._block, block, node._owner))

    # Its state

    def _note(self) -> None:
        found = list(self._found.values())
        for start in range(0, len(found), _AT_ONCE):
            with lock:
                queued: dict[int, set[Any]] = {}
                for node, home in found[start : start + _AT_ONCE]:
                    if isinstance(node, Source):
                        self.sources[id(node)] = _source_facts(node, home, queued)
                    elif isinstance(node, Sink):
                        self.sinks[id(node)] = _sink_facts(node, home, queued)
            time.sleep(0)  # who waits for the lock gets it
        for source in self.sources.values():
            for cell in source.cells:
                self.fed.update((id(inlet), cell) for _, inlet in cell.links)

    # Their names

    def _ordered(self) -> list[Home]:
        """Return the blocks in an order that does not depend on where the search began."""
        homes = list(self._homes.values())
        number = {id(home): index for index, home in enumerate(homes)}
        age: list[tuple[float, int]] = [(float("inf"), index) for index in range(len(homes))]
        targets: list[list[int]] = [[] for _ in homes]
        missing = [0] * len(homes)
        for one, other, position in self._connections():
            source, target = number[id(one)], number[id(other)]
            age[source] = min(age[source], (position, 0))
            age[target] = min(age[target], (position, 1))
            if source != target:
                targets[source].append(target)
                missing[target] += 1
        return [homes[index] for index in _sorted(age, targets, missing)]

    def _connections(self) -> Iterator[tuple[Home, Home, int]]:
        for source in self.sources.values():
            for cell in source.cells:
                for sink, inlet in cell.links:
                    target = self.sinks.get(id(sink))
                    if target is not None:  # else it was made while we looked
                        yield source.home, target.home, inlet.position


def _sorted(
    age: Sequence[tuple[float, int]], targets: Sequence[Sequence[int]], missing: list[int]
) -> list[int]:
    """Return all indices, sources before targets; where a loop forbids it, the oldest first.

    Source: A. Kahn, Topological sorting of large networks, 1962.
    """
    ready = [(age[index], index) for index, count in enumerate(missing) if not count]
    heapq.heapify(ready)
    by_age = iter(sorted(range(len(age)), key=lambda index: age[index]))
    order: dict[int, None] = {}
    while len(order) < len(age):
        if ready:
            _, index = heapq.heappop(ready)
        else:
            index = next(index for index in by_age if index not in order)
        if index in order:
            continue
        order[index] = None
        for target in targets[index]:
            missing[target] -= 1
            if not missing[target]:
                heapq.heappush(ready, (age[target], target))
    return list(order)


def _name(homes: Iterable[Home]) -> None:
    of_class: dict[str, list[Home]] = {}
    for home in homes:
        of_class.setdefault(home.class_name, []).append(home)
    taken = {name for name, members in of_class.items() if len(members) == 1}
    for name, members in of_class.items():
        number = 0
        for home in members:
            home.name = name
            while len(members) > 1 and (home.name == name or home.name in taken):
                number += 1
                home.name = f"{name} {number}"
            taken.add(home.name)


def _ref_of(block: Any) -> Any:
    try:
        return weakref.ref(block)
    except TypeError:
        return block  # it has no room for connectors either


def _neighbours(node: Node) -> list[tuple[Node, Any]]:
    """Return what *node* is connected to, with the blocks of that."""
    with lock:
        if isinstance(node, Source):
            return [(link.sink, link.block) for link in node.links()]
        assert isinstance(node, Sink)
        sources = [inlet.source() for inlet in node._inlets]
        return [(source, source._block()) for source in sources if source is not None]


def _source_facts(source: Source, home: Home, queued: dict[int, set[Any]]) -> SourceFacts:
    whys = list(source._announcers)
    refs = [why for why in whys if isinstance(why, weakref.ref)]
    return SourceFacts(
        source,
        home,
        [
            CellFacts(
                cell,
                [(link.sink, link.inlet) for link in cell.links.values()],
                stored=cell.result is not NOTHING,
                computed=cell.computed >= 0,
                current=cell.computed == source._changes,
                work=_work(cell.task, source, queued),
            )
            for cell in source.cells()
        ],
        [sink for sink in (ref() for ref in refs) if sink is not None],
        len(whys) - len(refs),
        [sink for sink in (ref() for ref in source._holds) if sink is not None],
        source._caching,
        source._current is not NOTHING,
    )


def _sink_facts(sink: Sink, home: Home, queued: dict[int, set[Any]]) -> SinkFacts:
    inlets = {id(inlet): _inlet_facts(inlet) for inlet in sink._inlets}
    active = [inlets.get(id(inlet)) for inlet in sink._active]
    known = [facts for facts in active if facts is not None]
    return SinkFacts(sink, home, inlets, known, _work(sink._task, sink, queued))


def _inlet_facts(inlet: Inlet) -> InletFacts:
    source = inlet.source()
    return InletFacts(
        inlet,
        source,
        announced=inlet.announcer is not None,
        waits=inlet.value is not NOTHING,
        held=inlet.held is not None,
        lacks=source is None or inlet.version != source._changes,
        stored=inlet.data_id is not NOTHING,
    )


def _work(task: Any, node: Node, queued: dict[int, set[Any]]) -> Work:
    if task is None:
        return Work()
    # A task may have several nodes to see to; what it has given out belongs to one of them.
    jobs = [job for job in task.jobs() if job.node is node] if task.given else []
    run = task.run
    waiting = queued.get(id(run))
    if waiting is None:
        waiting = queued[id(run)] = {*run.inline, *run.threaded, *run.away}
    return Work(busy=True, started=bool(jobs), runs=any(job not in waiting for job in jobs))


# What the caller may give


def decorators_of(cls: type, kind: type[Any] = Decorator) -> list[Any]:
    """Return the decorators in *cls* and its bases, in the order of their definition."""
    names = dict.fromkeys(name for base in reversed(cls.__mro__) for name in list(vars(base)))
    found = [next(vars(base)[name] for base in cls.__mro__ if name in vars(base)) for name in names]
    return [value for value in found if isinstance(value, kind)]


def blocks_of(things: Iterable[Any]) -> list[Any]:
    """Return the blocks of *things*: blocks, macros, and connectors of them in any form.

    Raises:
        TypeError: One is no such thing.
        BlockGoneError: The block of a connector does not exist any more.
    """
    blocks: list[Any] = []
    for connector in ends_of(things, blocks):
        if isinstance(connector, Connector):
            blocks.append(connector.block())
        else:
            blocks.append(connector._instance)
    return blocks


def ends_of(things: Iterable[Any], blocks: list[Any]) -> Iterator[Any]:
    """Yield the connectors and proxies that *things* stand for; blocks are put into *blocks*.

    What a macro exports is asked of its functions, as in each operation of a macro.

    Raises:
        TypeError: One is neither a connector nor a block.
    """
    todo = deque(things)
    asked: dict[tuple[int, int], Any] = {}
    while todo:
        thing = todo.popleft()
        if isinstance(thing, (MultiInputItem, MultiOutputItem)):
            todo.appendleft(thing._multi)
        elif isinstance(thing, (MacroInputConnector, MacroOutputConnector)):
            name = id(thing._home()), id(vars(thing)["__wrapped__"])
            if name not in asked:
                asked[name] = thing
                todo.extendleft(reversed(exports_of(thing)))
        elif isinstance(thing, MultiInputAssociateProxy):
            yield thing._multi.__get__(thing._MultiInputAssociateProxy__instance)  # type: ignore[union-attr, attr-defined]
        elif isinstance(thing, (Connector, ConnectorProxy)):
            yield thing
        else:
            cls = type(thing)
            macros = decorators_of(cls, _Macro)
            if decorators_of(cls):
                blocks.append(thing)
            elif not macros:
                raise TypeError(
                    f"an instance of {cls.__qualname__} is no block: its class has no connectors"
                )
            todo.extendleft(reversed([macro.__get__(thing) for macro in macros]))


def exports_of(macro: MacroInputConnector | MacroOutputConnector) -> list[Any]:
    """Return the connectors that *macro* exports."""
    exported = macro._exported()
    if isinstance(macro, MacroOutputConnector):
        exported = [exported]
    return [each for each in exported if isinstance(each, (InputEnd, OutputEnd))]


# How things are called


def shown(key: Any) -> str:
    """Return a key as it is shown: its representation, which is code of its class."""
    try:
        text = repr(key)
    except Exception:
        text = f"<{type(key).__name__}>"
    return text if len(text) <= _KEY_LENGTH else f"{text[: _KEY_LENGTH - 3]}..."


def ends_shown(inlet: Inlet, source: Source) -> tuple[str, str]:
    """Return the keys at both ends of a connection, ``[1]`` for instance, or nothing."""
    keyed = isinstance(source, MultiOutputSource) and inlet.part is not WHOLE
    return (
        f"[{shown(inlet.part)}]" if keyed else "",
        "" if inlet.key is NOTHING else f"[{shown(inlet.key)}]",
    )
