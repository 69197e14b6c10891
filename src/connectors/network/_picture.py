"""`graph`, the picture of a network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from connectors._executor import Executor
from connectors._graph import Edge, Graph, Port, State
from connectors._graph import Node as Box

from ._decorators import Decorator, MultiInput, MultiOutput
from ._executors import Choice
from ._nodes import MultiOutputSource, MultiSink, Node, Sink, Source
from ._survey import (
    CellFacts,
    Home,
    SinkFacts,
    SourceFacts,
    Survey,
    blocks_of,
    decorators_of,
    ends_shown,
)

_ORDER = (State.RUNNING, State.PENDING, State.CACHED, State.IDLE)


def graph(*blocks: Any) -> Graph:
    """Return the picture of the network to which *blocks* belong, upstream and downstream.

    Each block is a box with the name of its class, and a number where there are several of a
    class; the numbers do not depend on which block the picture was asked of. A box has a port for
    each connector that was connected or configured. A block that is given shows its other
    connectors as well, because one who looks at a block looks for what can be connected.

    An output is *running* while its method runs, *pending* while a change is announced to it or it
    is waited for, and *cached* if it has a valid result. An input is *running* while its method
    runs, and *pending* while a change is announced to it, a value waits to be set, or its announce
    condition holds a change back. A connection is *running* while what it carries is computed, and
    *cached* if the input was given the present value. Pointers tell of wishes, laziness, caching
    and executors.

    The picture shows the network as it was when it was asked for, and nothing in the network is
    changed by it. Only keys are asked for their representation, and macros for what they export.

    Args:
        *blocks: Blocks, macros, of which the blocks inside are shown, or connectors of them.

    Raises:
        TypeError: Something is no block.
        BlockGoneError: The block of a connector does not exist any more.

    Example:
        >>> import connectors
        >>> one, other = connectors.blocks.PassThrough(1), connectors.blocks.PassThrough()
        >>> _ = one.output.connect(other.input)
        >>> print(connectors.network.graph(one))
        2 nodes, 1 edge; 1 pending
        >>> _ = other.output()
        >>> print(connectors.network.graph(one))
        2 nodes, 1 edge
    """
    survey = Survey(blocks_of(blocks))
    names = _Names(survey)
    boxes: Any = [_box(home, survey, names) for home in survey.homes]
    edges: Any = _edges(survey, names)
    return Graph(boxes, edges)


class _Names:
    """The names of ports: those of the attributes, and different where somebody moved them."""

    def __init__(self, survey: Survey) -> None:
        self._ports: dict[int, str] = {}
        for home in survey.homes:
            taken: set[str] = set()
            for node in home.nodes:
                name, number = node._name, 1
                while name in taken:
                    number += 1
                    name = f"{node._name} {number}"
                taken.add(name)
                self._ports[id(node)] = name

    def port(self, node: Node) -> str:
        return self._ports[id(node)]


def _box(home: Home, survey: Survey, names: _Names) -> Box:
    ports = {names.port(node): _port(node, survey, names) for node in home.nodes}
    if home.given:
        cls = type(home.block)
        order = [decorator.name for decorator in decorators_of(cls)]
        for decorator in decorators_of(cls):
            if decorator.name not in ports:
                ports[decorator.name] = _unused_port(decorator)
        ports = {name: ports[name] for name in [*order, *ports] if name in ports}
    shown: Any = ports.values()
    if home.block is None:
        details = "the block does not exist any more; a read that needs it fails"
        return Box(home.name, f"{home.name} (gone)", shown, details=details)
    cls = type(home.block)
    found = {port.state for port in ports.values()}
    state = next((state for state in _ORDER if state in found), State.IDLE)
    return Box(home.name, home.name, shown, state, f"{cls.__module__}.{cls.__qualname__}")


def _port(node: Node, survey: Survey, names: _Names) -> Port:
    label, name = node._method.__name__, names.port(node)
    wish, executor = node._parallelization, executor_shown(node._executor)  # type: ignore[attr-defined]
    if isinstance(node, Source):
        source = survey.sources[id(node)]
        kind = "multi-output" if isinstance(node, MultiOutputSource) else "output"
        caching = "caching" if source.caching else "not caching"
        details = f"{kind}; {wish}; {caching}; {executor}; {_told_of_source(source)}"
        return Port(name, label, "output", _source_state(source), details)
    assert isinstance(node, Sink)
    sink = survey.sinks[id(node)]
    kind = "multi-input" if isinstance(node, MultiSink) else "input"
    told = "; ".join([str(wish), node._laziness.name, executor, *_told_of_sink(sink)])
    return Port(name, label, "input", _sink_state(sink), f"{kind}; {told}")


def _unused_port(decorator: Decorator) -> Port:
    takes = hasattr(decorator, "laziness")
    multi = isinstance(decorator, (MultiInput, MultiOutput))
    kind = f"{'multi-' if multi else ''}{'input' if takes else 'output'}"
    how = decorator.laziness.name if takes else "caching" if decorator.caching else "not caching"  # type: ignore[attr-defined]
    executor = executor_shown(decorator.executor)
    details = f"{kind}; {decorator.parallelization}; {how}; {executor}; not connected"
    return Port(
        decorator.name,
        decorator.function.__name__,
        "input" if takes else "output",
        details=details,
    )


def executor_shown(choice: Choice) -> str:
    """Return in words which executor was chosen; it is not made for that."""
    if choice is None:
        return "the shared executor"
    return f"executor '{choice.name if isinstance(choice, Executor) else choice}'"


def _source_state(source: SourceFacts) -> State:
    if source.runs:
        return State.RUNNING
    if source.pending:
        return State.PENDING
    if any(source.valid(cell) for cell in source.cells):
        return State.CACHED
    return State.IDLE


def _told_of_source(source: SourceFacts) -> str:
    if source.runs:
        return "being computed"
    if source.announcers or source.calls:
        return "a change is announced"
    if source.pending:
        return "waited for"
    if any(source.valid(cell) for cell in source.cells):
        return "valid result"
    return "no result"


def _sink_state(sink: SinkFacts) -> State:
    if sink.work.runs:
        return State.RUNNING
    return State.PENDING if sink.pending else State.IDLE


def _told_of_sink(sink: SinkFacts) -> Iterator[str]:
    inlets = sink.inlets.values()
    if sink.work.runs:
        yield "being set"
    if any(inlet.announced for inlet in inlets):
        yield "a change is announced"
    if any(inlet.waits for inlet in inlets):
        yield "a value waits"
    if any(inlet.held for inlet in inlets):
        yield "a change is held back by the announce condition"
    gone = sum(inlet.source is None for inlet in inlets)
    if gone:
        yield f"{gone} connected outputs do not exist any more"


def _edges(survey: Survey, names: _Names) -> list[Edge]:
    found = []
    for source in survey.sources.values():
        for cell in source.cells:
            for sink, inlet in cell.links:
                target = survey.sinks.get(id(sink))
                if target is None:
                    continue  # it was connected while we looked
                left, right = ends_shown(inlet, source.node)
                edge = Edge(
                    source.home.name,
                    target.home.name,
                    names.port(source.node),
                    names.port(sink),
                    f"{left} → {right}".strip() if right else left,
                    _edge_state(source, cell, target, id(inlet)),
                )
                found.append((inlet.position, edge))
    return [edge for _, edge in sorted(found, key=lambda pair: pair[0])]


def _edge_state(source: SourceFacts, cell: CellFacts, sink: SinkFacts, end: int) -> State:
    inlet = sink.inlets.get(end)
    if cell.work.runs:
        return State.RUNNING
    if inlet is None:
        return State.IDLE
    if inlet.pending:
        return State.PENDING
    given = not inlet.lacks and not source.announcers and not source.calls
    return State.CACHED if given else State.IDLE
