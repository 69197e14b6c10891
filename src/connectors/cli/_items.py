"""The items of ``connectors run``, each read when there is room for it.

Standard input is read without Python's buffer: a thread that waits there would hold the buffer's
lock, and with it the exit of the process.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import attrs

from ._usage import UsageError

_BLOCK = 1 << 16


@attrs.frozen
class Item:
    """One item.

    Attributes:
        number: Its number, from 1.
        value: What the function gets.
        place: Where it stands: ``argument 1``, ``items.txt, line 3``.
        problem: What is wrong with it, or nothing.
    """

    number: int
    value: Any
    place: str
    problem: str = ""


@attrs.frozen
class Items:
    """The items of one run.

    Attributes:
        begin: Starts reading them.
        count: Returns how many there are, or `None` where that is not known before the end.
    """

    begin: Callable[[], Iterator[Item]]
    count: Callable[[], int | None]


def items_of(words: Sequence[str], path: str | None, *, as_json: bool) -> Items:
    """Return the items on the command line, in the file *path*, or on standard input.

    Raises:
        UsageError: There are two sources, or there is none that can be read.
    """
    if words and path is not None:
        raise UsageError(f"--input {path}: items are given as arguments too; leave one of them out")
    parse = _parse_json if as_json else _keep
    if words:
        return Items(lambda: _numbered(iter(words), "argument {}", parse), lambda: len(words))
    if path is None or path == "-":
        descriptor, name = _standard_input(), "standard input"
    else:
        descriptor, name = _opened(path), path
    texts = map(_decoded, _lines(descriptor))
    return Items(
        lambda: _numbered(texts, f"{name}, line {{}}", parse), lambda: _count_lines(descriptor)
    )


def _standard_input() -> int:
    try:
        descriptor = sys.stdin.fileno()
        if sys.stdin.isatty():
            print("reading items from the terminal, one per line; Ctrl-D ends", file=sys.stderr)
    except (AttributeError, OSError, ValueError):
        raise UsageError(
            "there are no items: standard input is closed; give them as arguments or with --input"
        ) from None
    return descriptor


def _opened(path: str) -> int:
    try:
        descriptor = os.open(path, os.O_RDONLY)
        os.read(descriptor, 0)  # a directory can be opened, and not be read
    except OSError as error:
        raise UsageError(f"--input {path}: cannot be read: {error.strerror}") from None
    return descriptor


def _numbered(
    texts: Iterator[str], place: str, parse: Callable[[int, str, str], Item | None]
) -> Iterator[Item]:
    number = 1
    for line, text in enumerate(texts, 1):
        item = parse(number, text, place.format(line))
        if item is not None:
            yield item
            number += 1


def _keep(number: int, text: str, place: str) -> Item:
    return Item(number, text, place)


def _parse_json(number: int, text: str, place: str) -> Item | None:
    if not text.strip():
        return None
    try:
        return Item(number, json.loads(text), place)
    except (ValueError, RecursionError) as error:
        shown = text if len(text) <= 60 else f"{text[:57]}..."
        problem = (
            f"{place}: no JSON: {shown!r} ({error}); give one JSON value per line, "
            "or leave out --json-lines to pass lines as text"
        )
        return Item(number, text, place, problem)


def _decoded(line: bytes) -> str:
    return line.removesuffix(b"\r").decode("utf-8", "surrogateescape")


def _lines(descriptor: int) -> Iterator[bytes]:
    """Yield each line as soon as it is there, without its end."""
    begun: list[bytes] = []
    while block := os.read(descriptor, _BLOCK):
        first, *others = block.split(b"\n")
        begun.append(first)
        for other in others:
            yield b"".join(begun)
            begun = [other]
    last = b"".join(begun)
    if last:
        yield last


def _count_lines(descriptor: int) -> int | None:
    """Count the lines of a file; what is no file is read once, and not for counting."""
    try:
        size = os.fstat(descriptor).st_size
        begin = os.lseek(descriptor, 0, os.SEEK_CUR)
    except OSError:
        return None
    if not size or os.isatty(descriptor):
        return None
    count, offset, last = 0, begin, b"\n"
    while block := os.pread(descriptor, 1 << 20, offset):
        count, offset, last = count + block.count(b"\n"), offset + len(block), block[-1:]
    return count + (last != b"\n")
