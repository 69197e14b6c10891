"""A graph as a picture, in SVG."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterator, Mapping, Sequence

from ._layers import Anchor, Slot, Wire
from ._layout import lay_out
from ._looks import INK, LOOKS, ends_of, line_of, lines_of
from ._model import Edge, Node, Port, State

_NAMESPACE = "http://www.w3.org/2000/svg"

# The fonts are monospaced because nobody can be asked how wide a text will be. Sizes are in
# pixels, and a character of size 1 is never wider than this.
_FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
_ADVANCE = 0.61
_TITLE, _LABEL, _PORT, _NOTE = 14, 12, 11, 10
_LONGEST = 32  # characters of a label; the tooltip has them all
_HEADER = 28
_ROW = 20
_PITCH = 18  # between edges at a node without ports
_TALLEST = 180  # such a node, however many edges it has
_PAD = 20
_LEGEND = 28

_Ends = dict[tuple[str, str | None], Anchor]


def svg(nodes: Sequence[Node], edges: Sequence[Edge], title: str, summary: str) -> str:
    """Return the picture of *nodes* and *edges*; *summary* is for those who cannot see it."""
    boxes, wires, notes = _measured(nodes, edges)
    width, height = lay_out(list(boxes.values()), wires)
    states = _states(nodes, edges)
    title = line_of(title)
    top = _PAD + (24 if title else 0)
    width = max([width, _width(title, _TITLE), 90 * len(states)]) + 2 * _PAD
    height += top + _PAD + (_LEGEND if states else 0)
    labels = {node.id: line_of(node.label) for node in nodes}
    size = f'width="{width}" height="{height}"'
    style = f'font-family="{_FONTS}" font-size="{_PORT}" fill="{INK}"'
    border = f'width="{width - 1}" height="{height - 1}" rx="8" fill="#ffffff" stroke="#d1d5db"'
    lines = [
        f'<svg xmlns="{_NAMESPACE}" {size} viewBox="0 0 {width} {height}" role="img" {style}>',
        _tooltip([title or "graph"]),
        f"<desc>{_escaped(summary)}</desc>",
        f'<rect x="0.5" y="0.5" {border}/>',
    ]
    if title:
        lines.append(_text(_PAD, 26, title, _TITLE, "bold"))
    lines.append(f'<g transform="translate({_PAD} {top})">')
    order = list(State)
    drawn = sorted(zip(edges, wires, notes, strict=True), key=lambda one: order.index(one[0].state))
    for edge, wire, note in drawn:
        lines += _edge(edge, wire, note, ends_of(edge, labels))
    for node in nodes:
        lines += _node(node, boxes[node.id])
    lines += ["</g>", *_legend(states, height - 22), "</svg>", ""]
    return "\n".join(lines)


def _measured(
    nodes: Sequence[Node], edges: Sequence[Edge]
) -> tuple[dict[str, Slot], list[Wire], list[str]]:
    """Return a box for each node, a wire for each edge, and the text at the end of each wire."""
    degrees: dict[tuple[str, bool], int] = {}
    texts: dict[tuple[str, str | None, int], list[str]] = {}
    ported = {node.id for node in nodes if node.ports}
    for number, edge in enumerate(edges):
        for end in ((edge.source, False), (edge.target, True)):
            degrees[end] = degrees.get(end, 0) + 1
        # Where several edges end at one place, one text stands for all of them.
        place = (edge.target, edge.target_port, -1 if edge.target in ported else number)
        texts.setdefault(place, []).append(line_of(edge.label))
    boxes = {}
    ends: _Ends = {}
    for node in nodes:
        most = max(degrees.get((node.id, False), 0), degrees.get((node.id, True), 0))
        boxes[node.id] = _box(node, most, ends)
    wires, notes = [], []
    for number, edge in enumerate(edges):
        source = _anchor(boxes[edge.source], edge.source, edge.source_port, ends)
        target = _anchor(boxes[edge.target], edge.target, edge.target_port, ends)
        place = (edge.target, edge.target_port, -1 if edge.target in ported else number)
        note = _clipped(", ".join(filter(None, texts.pop(place, []))))
        wires.append(Wire(source, target, _width(note, _NOTE) + 16 if note else 14))
        notes.append(note)
    return boxes, wires, notes


def _box(node: Node, most: int, ends: _Ends) -> Slot:
    """Return a box for *node*, of which *most* edges end at a side, and note its anchors."""
    inputs, outputs = node.inputs, node.outputs
    header = _width(_clipped(node.label), _LABEL) + (42 if node.state is not State.IDLE else 24)
    if not node.ports:
        return Slot(max(header, 48), max(_HEADER + 4, min(_PITCH * most, _TALLEST)))
    lefts, rights = (
        max((_width(_clipped(port.label), _PORT) for port in ports), default=0)
        for ports in (inputs, outputs)
    )
    rows = max(len(inputs), len(outputs))
    box = Slot(max(header, lefts + rights + 40), _HEADER + 8 + _ROW * rows)
    ends[node.id, None] = Anchor(box, _HEADER // 2)
    for ports in (inputs, outputs):
        for row, port in enumerate(ports):
            ends[node.id, port.id] = Anchor(box, _port_offset(row))
    return box


def _port_offset(row: int) -> int:
    return _HEADER + 4 + _ROW * row + _ROW // 2


def _anchor(box: Slot, node: str, port: str | None, ends: _Ends) -> Anchor:
    return ends.get((node, port)) or Anchor(box, box.height / 2, free=True)


def _states(nodes: Sequence[Node], edges: Sequence[Edge]) -> list[State]:
    shown = {node.state for node in nodes} | {edge.state for edge in edges}
    shown |= {port.state for node in nodes for port in node.ports}
    return [state for state in State if state in shown]


def _edge(edge: Edge, wire: Wire, note: str, ends: str) -> Iterator[str]:
    look = LOOKS[edge.state]
    x, y = wire.runs[-1][1:]
    x -= 5 if edge.target_port is not None else 0  # the point of the arrow touches the mark
    dash = f' stroke-dasharray="{look.dash}"' if look.dash else ""
    yield f'<g stroke="{look.line}" fill="{look.line}" stroke-width="{look.width}">'
    yield _tooltip([ends, edge.label, edge.state])
    yield f'<path d="{_path(wire.runs)}" fill="none"{dash}/>'
    yield f'<path d="M{x} {y}l-8 -4v8z" stroke="none"/>'
    if edge.state is State.CACHED:
        yield f'<circle cx="{wire.runs[0][0] + 9}" cy="{wire.runs[0][2]}" r="3" stroke="none"/>'
    yield "</g>"
    if note:
        yield _text(x - 12, y - 4, note, _NOTE, "end")


def _path(runs: Sequence[tuple[int, int, int]]) -> str:
    """Return a line along *runs*, which curves from each to the next."""
    here, _, y = runs[0]
    heading = 1
    pieces = [f"M{here} {y}"]
    for start, end, level in runs:
        onward = 1 if end >= start else -1
        if level == y and onward == heading:
            pieces.append(f"H{end}")
        else:
            bend = abs(start - here) / 2
            if onward != heading:
                bend = max(bend, min(16 + abs(level - y) / 8, 44))
            one, other = round(here + heading * bend), round(start - onward * bend)
            pieces.append(f"C{one} {y} {other} {level} {start} {level}H{end}")
        here, y, heading = end, level, onward
    return "".join(pieces)


def _node(node: Node, box: Slot) -> Iterator[str]:
    look = LOOKS[node.state]
    dash = f' stroke-dasharray="{look.dash}"' if look.dash else ""
    x, y, width, height = box.x, round(box.y), box.width, box.height
    header = _HEADER if node.ports else height
    yield f"<g>{_tooltip([node.label, node.state, node.details])}"
    fill = "#ffffff" if node.ports else look.fill
    yield f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="5" fill="{fill}"/>'
    if node.ports:
        yield (
            f'<path d="M{x} {y + header}v{5 - header}a5 5 0 0 1 5 -5h{width - 10}'
            f'a5 5 0 0 1 5 5v{header - 5}z" fill="{look.fill}"/>'
        )
    yield (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="5" fill="none"'
        f' stroke="{look.line}" stroke-width="{look.width}"{dash}/>'
    )
    left = x + 12
    if node.state is not State.IDLE:
        yield _mark(node.state, x + 15, y + header // 2)
        left = x + 28
    yield _text(left, y + header // 2 + 4, _clipped(node.label), _LABEL, "bold")
    for ports, side in ((node.inputs, "start"), (node.outputs, "end")):
        for row, port in enumerate(ports):
            yield _port(port, x if side == "start" else x + width, y + _port_offset(row), side)
    yield "</g>"


def _port(port: Port, x: int, y: int, side: str) -> str:
    text = _text(x + (11 if side == "start" else -11), y + 4, _clipped(port.label), _PORT, side)
    told = _tooltip([port.label, f"{port.kind}, {port.state}", port.details])
    return f"<g>{told}{text}{_mark(port.state, x, y)}</g>"


def _mark(state: State, x: int, y: int) -> str:
    """Return the sign of *state*, which tells it from the others without colours as well."""
    look = LOOKS[state]
    shape = {
        State.IDLE: f'<circle cx="{x}" cy="{y}" r="4" fill="#ffffff"',
        State.CACHED: f'<path d="M{x - 4} {y - 4}h8v8h-8z" fill="{look.line}"',
        State.PENDING: f'<path d="M{x - 5} {y}l5 -5l5 5l-5 5z" fill="{look.fill}"',
        State.RUNNING: f'<path d="M{x - 4} {y - 5}l9 5l-9 5z" fill="{look.line}"',
    }[state]
    return f'{shape} stroke="{look.line}" stroke-width="1.5"/>'


def _legend(states: Sequence[State], y: int) -> Iterator[str]:
    for number, state in enumerate(states):
        x = _PAD + 5 + 90 * number
        yield _mark(state, x, y) + _text(x + 12, y + 4, state, _NOTE)


def _text(x: int, y: int, text: str, size: int, kind: str = "start") -> str:
    """Return *text* at a place; *kind* is ``bold``, or tells which end of it is there."""
    if not text:
        return ""
    looks: Mapping[str, str] = {"bold": ' font-weight="bold"', "end": ' text-anchor="end"'}
    # Other fonts stand in for characters that a monospaced one does not have.
    length = f' textLength="{_width(text, size)}" lengthAdjust="spacingAndGlyphs"'
    fit = "" if text.isascii() else length
    return (
        f'<text x="{x}" y="{y}" font-size="{size}"{looks.get(kind, "")}{fit}>'
        f"{_escaped(text)}</text>"
    )


def _tooltip(told: Sequence[str]) -> str:
    lines = [line for text in told if text for line in lines_of(text)]
    return f"<title>{_escaped(chr(10).join(lines))}</title>"


def _escaped(text: str) -> str:
    return html.escape(text, quote=False)


def _clipped(text: str) -> str:
    """Return *text* as a line that is not too long."""
    text = line_of(text)
    if len(text) <= _LONGEST and (text.isascii() or _cells(text) <= _LONGEST):
        return text
    text = text[:_LONGEST]
    while _cells(text) >= _LONGEST:
        text = text[:-1]
    return f"{text}\u2026"


def _width(text: str, size: int) -> int:
    return round(_cells(text) * size * _ADVANCE + 0.5)


def _cells(text: str) -> int:
    """Return how many characters of usual width are as wide as *text*."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(one) else 1 + (unicodedata.east_asian_width(one) in "WF")
        for one in text
    )
