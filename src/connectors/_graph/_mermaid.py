"""A graph in the language of Mermaid."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from ._looks import INK, LOOKS, line_of, lines_of
from ._model import Edge, Node, State

_ARROWS: Mapping[State, str] = {
    State.IDLE: "-->",
    State.CACHED: "--o",
    State.PENDING: "-.->",
    State.RUNNING: "==>",
}

# All that Mermaid, Markdown or HTML could take for more than a character; "\u00b0" and "\u00b6"
# belong to Mermaid's own notes in a text.
_SPECIAL = re.compile(r"[^\w ,:/()=\u0080-\U0010ffff]|[\u00b0\u00b6]|(?<=\d)[.)](?= )|^[ ]|  ")


def mermaid(nodes: Sequence[Node], edges: Sequence[Edge], title: str) -> str:
    """Return *nodes* and *edges* as a ``flowchart LR``; a node with ports is a subgraph of them."""
    lines = _front_matter(title) if title else []
    lines.append("flowchart LR")
    bare = {(edge.source, edge.source_port) for edge in edges if edge.source_port is None}
    bare |= {(edge.target, edge.target_port) for edge in edges if edge.target_port is None}
    names: dict[tuple[str, str | None], str] = {}
    for number, node in enumerate(nodes):
        name = f"n{number}"
        names[node.id, None] = f"{name}all" if node.ports else name
        names |= {(node.id, port.id): f"{name}i{i}" for i, port in enumerate(node.inputs)}
        names |= {(node.id, port.id): f"{name}o{i}" for i, port in enumerate(node.outputs)}
        if node.ports:
            lines += _subgraph(name, node, names, whole=(node.id, None) in bare)
        else:
            lines.append(f"  {name}[{_label(node.label, node.state)}]:::{node.state}")
    for edge in edges:
        arrow = _ARROWS[edge.state] + (f"|{_label(edge.label)}|" if edge.label else "")
        source = names[edge.source, edge.source_port]
        lines.append(f"  {source} {arrow} {names[edge.target, edge.target_port]}")
    return "\n".join([*lines, *_classes(nodes), ""])


def _subgraph(
    name: str, node: Node, names: Mapping[tuple[str, str | None], str], *, whole: bool
) -> Iterator[str]:
    yield f"  subgraph {name}[{_label(node.label, node.state)}]"
    for port in node.ports:
        text = _label(port.label, port.state)
        yield f"    {names[node.id, port.id]}([{text}]):::{port.state}"
    if whole:
        # A subgraph that is an end of an edge of its own is more than Mermaid can draw.
        yield f'    {name}all((" ")):::{node.state}'
    inputs = [names[node.id, port.id] for port in node.inputs]
    outputs = [names[node.id, port.id] for port in node.outputs]
    if inputs and outputs:
        # Invisible, and the reason why inputs are on the left.
        yield f"    {' & '.join(inputs)} ~~~ {' & '.join(outputs)}"
    yield "  end"
    yield f"  class {name} {node.state}"


def _classes(nodes: Sequence[Node]) -> Iterator[str]:
    shown = {node.state for node in nodes} | {port.state for node in nodes for port in node.ports}
    for state in State:
        look = LOOKS[state]
        if state in shown:
            dash = f",stroke-dasharray:{look.dash}" if look.dash else ""
            yield (
                f"  classDef {state} fill:{look.fill},stroke:{look.line},color:{INK},"
                f"stroke-width:{look.width}px{dash}"
            )


def _front_matter(title: str) -> list[str]:
    text = _SPECIAL.sub(lambda found: _code(found, "\\u{:04x}"), line_of(title))
    return ["---", f'title: "{text}"', "---"]


def _label(text: str, state: State = State.IDLE) -> str:
    lines = [
        _SPECIAL.sub(lambda found: _code(found, "#{};"), line) or " " for line in lines_of(text)
    ]
    if state is not State.IDLE:
        lines[-1] += f" ({state})"
    return f'"{"<br/>".join(lines)}"'


def _code(found: re.Match[str], form: str) -> str:
    return "".join(form.format(ord(character)) for character in found[0])
