"""`Graph`, the value that is shown."""

from __future__ import annotations

import collections
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs

from connectors._errors import did_you_mean, listing

from ._dot import dot
from ._mermaid import mermaid
from ._model import Edge, Node, State, first_repeated
from ._svg import svg


@attrs.frozen(repr=False)
class Graph:
    """Nodes and the edges between them; a picture in a notebook, and text for files.

    ```pycon
    >>> from connectors._graph import Edge, Graph, Node, Port, State
    >>> camera = Node("c", "Camera", (Port("frame", "frame", "output"),))
    >>> screen = Node("s", "Screen", (Port("image", "image", "input"),), State.RUNNING)
    >>> graph = Graph((camera, screen), (Edge("c", "s", "frame", "image"),), "preview")
    >>> print(graph)
    preview: 2 nodes, 1 edge; 1 running
    >>> graph.to_svg()[:4]
    '<svg'

    ```

    The same graph gives the same text, in each process. All texts are shown as they are: nothing
    in a label is taken for a command of the format.

    Attributes:
        nodes: The boxes.
        edges: The arrows between them; cycles, self-loops and parallel edges are fine.
        title: What stands above.

    Raises:
        ValueError: Two nodes have the same id, or an edge ends where nothing is.
    """

    nodes: tuple[Node, ...] = attrs.field(default=(), converter=tuple)
    edges: tuple[Edge, ...] = attrs.field(default=(), converter=tuple)
    title: str = ""

    def __attrs_post_init__(self) -> None:
        twice = first_repeated(node.id for node in self.nodes)
        if twice is not None:
            raise ValueError(f"two nodes have the id '{twice}'; ids have to differ")
        outputs = {node.id: [port.id for port in node.outputs] for node in self.nodes}
        inputs = {node.id: [port.id for port in node.inputs] for node in self.nodes}
        for edge in self.edges:
            _check_end(edge, edge.source, edge.source_port, outputs, "output")
            _check_end(edge, edge.target, edge.target_port, inputs, "input")

    def to_dot(self) -> str:
        """Return the graph in the language of Graphviz, for ``dot``."""
        return dot(self.nodes, self.edges, self.title)

    def to_mermaid(self) -> str:
        """Return the graph as a flowchart in the language of Mermaid, for Markdown pages.

        Mermaid itself refuses more than 500 edges unless its site is configured for more.
        """
        return mermaid(self.nodes, self.edges, self.title)

    def to_svg(self) -> str:
        """Return the graph as a picture, which needs no other program to be laid out."""
        return svg(self.nodes, self.edges, self.title, self._summary())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the graph to a file, in the format that the suffix of *path* names.

        Raises:
            ValueError: The suffix names none: it is not .svg, .dot, .gv or .mmd.
        """
        path = Path(path)
        render = _FORMATS.get(path.suffix.lower())
        if render is None:
            raise ValueError(
                f"'{path}' names no format for a graph; allowed suffixes: {listing(_FORMATS)}"
            )
        path.write_text(render(self), encoding="utf-8")

    def _repr_svg_(self) -> str:
        return self.to_svg()

    def __str__(self) -> str:
        return f"{self.title}: {self._summary()}" if self.title else self._summary()

    def __repr__(self) -> str:
        # Notebooks store it beside the picture; thousands of nodes would be a page of text.
        return f"<Graph {self}>"

    def _summary(self) -> str:
        counts = [_counted(len(self.nodes), "node"), _counted(len(self.edges), "edge")]
        states = collections.Counter(node.state for node in self.nodes)
        del states[State.IDLE]
        active = [f"{states[state]} {state}" for state in State if states[state]]
        return ", ".join(counts) + (f"; {', '.join(active)}" if active else "")


_FORMATS: Mapping[str, Callable[[Graph], str]] = {
    ".svg": Graph.to_svg,
    ".dot": Graph.to_dot,
    ".gv": Graph.to_dot,
    ".mmd": Graph.to_mermaid,
}


def _check_end(
    edge: Edge, node: str, port: str | None, ports: Mapping[str, list[str]], kind: str
) -> None:
    """Complain if *edge* ends at a *node* or *port* that is not there."""
    which = f"the edge from '{edge.source}' to '{edge.target}'"
    if node not in ports:
        raise ValueError(f"{which} ends at '{node}', which is no node.{did_you_mean(node, ports)}")
    if port is not None and port not in ports[node]:
        raise ValueError(
            f"{which} ends at '{port}', which is no {kind} of node '{node}';"
            f" there: {listing(ports[node])}.{did_you_mean(port, ports[node])}"
        )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
