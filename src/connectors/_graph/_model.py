"""What a graph consists of: nodes with ports, edges, and the state in which each is shown."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Literal

import attrs

Kind = Literal["input", "output"]


@enum.unique
class State(enum.StrEnum):
    """How a part of a graph is shown."""

    IDLE = "idle"
    CACHED = "cached"
    PENDING = "pending"
    RUNNING = "running"


@attrs.frozen
class Port:
    """A place of a node at which edges end: an input on its left, an output on its right.

    Attributes:
        id: Its name among the ports of its node.
        label: What is shown.
        kind: ``input`` or ``output``.
        state: How it is shown.
        details: What a pointer that rests on it is told.
    """

    id: str
    label: str
    kind: Kind
    state: State = State.IDLE
    details: str = ""

    def __attrs_post_init__(self) -> None:
        if self.kind not in {"input", "output"}:
            raise ValueError(f"port '{self.id}' is of kind '{self.kind}'; allowed: input, output")


@attrs.frozen
class Node:
    """A box of a graph.

    Attributes:
        id: Its name among the nodes of its graph.
        label: What is shown.
        ports: Where edges end; inputs and outputs stand in this order from the top.
        state: How it is shown.
        details: What a pointer that rests on it is told.

    Raises:
        ValueError: Two ports have the same id.
    """

    id: str
    label: str
    ports: tuple[Port, ...] = attrs.field(default=(), converter=tuple)
    state: State = State.IDLE
    details: str = ""

    def __attrs_post_init__(self) -> None:
        twice = first_repeated(port.id for port in self.ports)
        if twice is not None:
            raise ValueError(f"node '{self.id}' has two ports '{twice}'; ids have to differ")

    @property
    def inputs(self) -> tuple[Port, ...]:
        """The ports on the left."""
        return tuple(port for port in self.ports if port.kind == "input")

    @property
    def outputs(self) -> tuple[Port, ...]:
        """The ports on the right."""
        return tuple(port for port in self.ports if port.kind == "output")


@attrs.frozen
class Edge:
    """An arrow between two nodes, or between a port of each.

    Attributes:
        source: The id of the node at which it begins.
        target: The id of the node at which it ends.
        source_port: The id of an output of *source*, or `None` for the node as a whole.
        target_port: The id of an input of *target*, or `None` for the node as a whole.
        label: What is shown beside it.
        state: How it is shown.
    """

    source: str
    target: str
    source_port: str | None = None
    target_port: str | None = None
    label: str = ""
    state: State = State.IDLE


def first_repeated(ids: Iterable[str]) -> str | None:
    """Return the first of *ids* that was there before, or `None`."""
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            return name
        seen.add(name)
    return None
