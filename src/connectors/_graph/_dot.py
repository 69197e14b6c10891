"""A graph in the language of Graphviz."""

from __future__ import annotations

import html
import itertools
from collections.abc import Iterator, Mapping, Sequence

from ._looks import INK, LOOKS, ends_of, lines_of, told_of
from ._model import Edge, Node, Port, State

_ARROWS: Mapping[State, str] = {
    State.IDLE: "style=solid",
    State.CACHED: "style=solid, dir=both, arrowtail=dot",
    State.PENDING: "style=dashed",
    State.RUNNING: "style=bold",
}
_HEAD = (
    "  rankdir=LR; nodesep=0.3; ranksep=0.8;",
    f'  fontname="Helvetica,Arial,sans-serif"; fontcolor="{INK}";',
    f'  node [shape=plain, fontname="Helvetica,Arial,sans-serif", fontsize=11, fontcolor="{INK}"];',
    f'  edge [fontname="Helvetica,Arial,sans-serif", fontsize=9, fontcolor="{INK}"];',
)


def dot(nodes: Sequence[Node], edges: Sequence[Edge], title: str) -> str:
    """Return *nodes* and *edges* as a ``digraph`` that runs from left to right."""
    lines = ["digraph {", *_HEAD]
    if title:
        lines.append(f'  label={_quoted(lines_of(title))}; labelloc="t"; labeljust="l";')
    # Names of our own: what is an identifier is never also somebody's text.
    names: dict[tuple[str, str | None], str] = {}
    for number, node in enumerate(nodes):
        names[node.id, None] = f"n{number}"
        names |= {(node.id, port.id): f"n{number}:i{i}:w" for i, port in enumerate(node.inputs)}
        names |= {(node.id, port.id): f"n{number}:o{i}:e" for i, port in enumerate(node.outputs)}
        lines.append(f"  n{number} [tooltip={_quoted(told_of(node) or lines_of(node.label))},")
        lines.append(f"    label=<{_table(node)}>];")
    labels = {node.id: node.label for node in nodes}
    for edge in edges:
        ends = f"{names[edge.source, edge.source_port]} -> {names[edge.target, edge.target_port]}"
        look = LOOKS[edge.state]
        looks = f'color="{look.line}", penwidth={look.width}, {_ARROWS[edge.state]}'
        tooltip = _quoted([*lines_of(ends_of(edge, labels)), edge.state])
        label = f"label={_quoted(lines_of(edge.label))}, " if edge.label else ""
        lines.append(f"  {ends} [{label}tooltip={tooltip}, {looks}];")
    return "\n".join([*lines, "}", ""])


def _table(node: Node) -> str:
    spaces = 'CELLSPACING="0" CELLPADDING="4" CELLBORDER="0"'
    return f"<TABLE {spaces} {_frame(node.state)}>{''.join(_rows(node))}</TABLE>"


def _rows(node: Node) -> Iterator[str]:
    span = ' COLSPAN="2"' if node.ports else ""
    yield f"<TR><TD{span}><B>{_cell_text(node.label)}</B>{_state_text(node.state)}</TD></TR>"
    pairs = itertools.zip_longest(node.inputs, node.outputs)
    for number, (left, right) in enumerate(pairs):
        cells = _cell(left, f"i{number}", "LEFT") + _cell(right, f"o{number}", "RIGHT")
        yield f"<TR>{cells}</TR>"


def _cell(port: Port | None, name: str, side: str) -> str:
    if port is None:
        return "<TD></TD>"
    text = _cell_text(port.label) + _state_text(port.state)
    return f'<TD PORT="{name}" ALIGN="{side}" {_frame(port.state)}>{text}</TD>'


def _frame(state: State) -> str:
    look = LOOKS[state]
    style = ' STYLE="DASHED"' if look.dash else ""
    border = 2 if state is State.RUNNING else 1
    return f'BORDER="{border}" COLOR="{look.line}" BGCOLOR="{look.fill}"{style}'


def _state_text(state: State) -> str:
    return "" if state is State.IDLE else f' <FONT POINT-SIZE="8">({state})</FONT>'


def _cell_text(text: str) -> str:
    # Graphviz accepts no empty text inside of a tag.
    return "<BR/>".join(html.escape(line, quote=False) or " " for line in lines_of(text))


def _quoted(lines: Sequence[str]) -> str:
    """Return *lines* as a string of Graphviz, which knows escapes and entities of HTML."""
    text = "\\n".join(
        line.replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"') for line in lines
    )
    return f'"{text}"'
