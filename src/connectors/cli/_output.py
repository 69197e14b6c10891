"""Tables and JSON on standard output: boxes for a terminal, bare columns for a pipe."""

from __future__ import annotations

import enum
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

import attrs

GAP = "  "


def is_terminal(stream: TextIO | None) -> bool:
    """Tell whether a person reads *stream*."""
    return stream is not None and stream.isatty()


def print_json(value: Any) -> None:
    """Print *value* as one JSON document."""
    print(json.dumps(value, indent=2, default=plain))


def plain(value: Any) -> Any:
    """Return *value* as JSON can have it."""
    if attrs.has(type(value)):
        return attrs.asdict(value, recurse=False)
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, set | frozenset):
        return sorted(map(plain, value))
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> None:
    """Print *rows* under the names of the *columns*, if they have any; an empty cell is ``-``."""
    cells = [["-" if cell in ("", None) else str(cell) for cell in row] for row in rows]
    if is_terminal(sys.stdout):
        _print_boxed(columns, cells, title)
    else:
        _print_bare(columns, cells, title)


def _print_bare(columns: Sequence[str], cells: list[list[str]], title: str) -> None:
    if title:
        print(title)
    head = [list(columns)] if any(columns) else []
    lines = [*head, *([" ".join(cell.split()) for cell in row] for row in cells)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print(GAP.join(padded).rstrip())


def _print_boxed(columns: Sequence[str], cells: list[list[str]], title: str) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=title or None, title_justify="left", box=box.SIMPLE_HEAD, show_header=any(columns)
    )
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in cells:
        # Text, because rich would take [executors.threading] for a colour.
        table.add_row(*map(Text, row))
    Console(file=sys.stdout).print(table)
