"""What all pictures share: the colours of a state, and what is left of a text that is shown."""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs

from ._model import Edge, Node, State

INK = "#111827"

# What XML 1.0 forbids, which no other format needs; lone surrogates cannot be written at all.
_NOT_TEXT = re.compile("[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@attrs.frozen
class Look:
    """The looks of a state; colour is never the only difference.

    Attributes:
        fill: A light colour, on which `INK` is readable.
        line: A dark colour, readable on white.
        width: The width of a line.
        dash: The dashes of a line; empty for a solid one.
    """

    fill: str
    line: str
    width: float
    dash: str = ""


LOOKS: Mapping[State, Look] = {
    State.IDLE: Look("#f3f4f6", "#6b7280", 1.2),
    State.CACHED: Look("#d1fae5", "#047857", 1.5),
    State.PENDING: Look("#fef3c7", "#b45309", 1.5, "5 3"),
    State.RUNNING: Look("#dbeafe", "#1d4ed8", 2.5),
}


def lines_of(text: str) -> list[str]:
    """Return the lines of *text*, at least one, without characters that cannot be written."""
    return [_NOT_TEXT.sub("\ufffd", line) for line in text.splitlines()] or [""]


def line_of(text: str) -> str:
    """Return *text* as a single line."""
    return " ".join(_NOT_TEXT.sub("\ufffd", " ".join(text.split())).split())


def ends_of(edge: Edge, labels: Mapping[str, str]) -> str:
    """Return the two ends of *edge* as a reader knows them, ``camera.frame → detector.image``."""
    source, target = (
        labels[node] + (f".{port}" if port is not None else "")
        for node, port in ((edge.source, edge.source_port), (edge.target, edge.target_port))
    )
    return f"{source} \u2192 {target}"


def told_of(node: Node) -> list[str]:
    """Return what a pointer on *node* is told: its details, and those of its ports."""
    told = lines_of(node.details) if node.details else []
    for port in node.ports:
        if port.details:
            told.append(f"{line_of(port.label)}: {line_of(port.details)}")
    return told
