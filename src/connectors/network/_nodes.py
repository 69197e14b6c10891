"""What a network remembers: sources, sinks, and what stands between them.

```text
Source ──Cell──▶ Link ──▶ Inlet, Sink ──▶ the sources that observe the sink ──▶ ...
(output)          strong       (input)
```

A source has one cell for what it computes, or one for each key. A cell holds the links to the
sinks that it feeds, and a link the sink and its block, so that downstream lives as long as
upstream. A sink knows each connection by its inlet, which refers to the source weakly, except
while an announcement of it is pending.

All of this is plain state. It is changed under one lock, `lock`, which is never held while a
user's method runs.
"""

from __future__ import annotations

import enum
import itertools
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from connectors._errors import BlockGoneError
from connectors._flags import Laziness, Parallelization

if TYPE_CHECKING:
    from ._tasks import Task

lock: Any = threading.RLock()


#: Counts the forks that led to this process: what was under way before goes on elsewhere.
generation = 0


def _in_child() -> None:
    global generation  # noqa: PLW0603 - a fact about this process
    generation += 1
    lock._at_fork_reinit()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


def release_all() -> Any:
    """Let go of the lock, however often this thread holds it, as `threading.Condition` does."""
    return lock._release_save()


def acquire_again(depth: Any) -> None:
    """Take the lock as often as `release_all` let go of it."""
    lock._acquire_restore(depth)


class _Nothing(enum.Enum):
    NOTHING = 0


NOTHING: Final = _Nothing.NOTHING


class Part(enum.Enum):
    """Which part of a source a connection carries, where it is not one key."""

    PLAIN = 0  # what an output computes
    WHOLE = 1  # the dictionary of a multi-output


PLAIN, WHOLE = Part
_positions = itertools.count()


class Inlet:
    """The sink's end of one connection.

    Attributes:
        source: The source, weakly.
        part: Which part of it: `PLAIN`, `WHOLE` or a key.
        key: The data id that is fixed for this connection, or `NOTHING`.
        data_id: The id under which a multi-input stored its value, or `NOTHING`.
        ids: The ids under which it stored the values of a dictionary, by key.
        position: Its place in the order of connections.
        announcer: The source, while an announcement of it is pending.
        held: The source, while a change is held back by a false announce condition.
        value: What was delivered and is not set yet, or `NOTHING`.
        version: The version of the source's state that was delivered last.
    """

    __slots__ = (
        "announcer",
        "data_id",
        "held",
        "ids",
        "key",
        "part",
        "position",
        "source",
        "value",
        "version",
    )

    def __init__(self, source: Source, part: Any, key: Any) -> None:
        self.source = source._ref
        self.part = part
        self.key = key
        self.data_id: Any = NOTHING
        self.ids: dict[Any, Any] = {}
        self.position = next(_positions)
        self.announcer: Source | None = None
        self.held: Source | None = None
        self.value: Any = NOTHING
        self.version = -1


class Link:
    """The source's end of one connection: what it feeds, and keeps alive."""

    __slots__ = ("block", "inlet", "sink")

    def __init__(self, inlet: Inlet, sink: Sink, block: Any) -> None:
        self.inlet = inlet
        self.sink = sink
        self.block = block


class Cell:
    """One result of a source.

    Attributes:
        key: `PLAIN`, `WHOLE`, or the key for which it is computed.
        links: What it feeds, by the identity of the sink and the fixed data id.
        result: What was computed last and is stored, or `NOTHING`.
        computed: The version of the source's state from which it was computed last.
        task: What computes it now.
    """

    __slots__ = ("computed", "key", "links", "result", "task")

    def __init__(self, key: Any) -> None:
        self.key = key
        self.links: dict[tuple[int, Any], Link] = {}
        self.result: Any = NOTHING
        self.computed = -1
        self.task: Task | None = None


class Node:
    """What sources and sinks have in common: a method of a block.

    Attributes:
        _method: The plain function.
        _name: The name of its attribute.
    """

    _method: Callable[..., Any]
    _name: str

    def __init__(
        self, instance: Any, method: Callable[..., Any], parallelization: Parallelization
    ) -> None:
        self._block = weakref.ref(instance)
        self._owner = type(instance).__qualname__
        self._method = method
        self._ref: weakref.ref[Any] = weakref.ref(self)
        self._parallelization = parallelization
        # Where an executor runs a method: by its identity, the method and the wish. All nodes that
        # come from one decorator share it.
        self._placed: dict[tuple[str, Any, Parallelization], Parallelization] = {}
        self._seconds = 1.0  # how long its last run in a thread took

    def block(self) -> Any:
        """Return the block.

        Raises:
            BlockGoneError: It does not exist any more.
        """
        block = self._block()
        if block is None:
            raise BlockGoneError(self._owner, self._method.__name__)
        return block

    def label(self) -> str:
        """Return the name by which messages speak of it."""
        return f"{self._owner}.{self._method.__name__}"


class Source(Node):
    """An output or a multi-output.

    Attributes:
        _announcers: Why its value may change: weak references to the sinks that it observes and
            that have something pending, and the tickets of direct calls that are going on.
        _changes: The version of the block's state, as far as this source depends on it.
        _holds: Weak references to the sinks that hold a change back.
    """

    def __init__(
        self,
        instance: Any,
        method: Callable[..., Any],
        parallelization: Parallelization,
        caching: bool,
    ) -> None:
        super().__init__(instance, method, parallelization)
        self._caching = caching
        self._announcers: dict[Any, None] = {}
        self._changes = 0
        self._holds: dict[weakref.ref[Any], None] = {}
        self._loopless = -1  # the structure in which no loop leads through what it feeds
        # The valid result of an output, which a read returns without asking any further.
        self._current: Any = NOTHING

    def asked(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[Any, tuple[Any, ...], Mapping[str, Any]]:
        """Return what a call with these arguments asks for: a key, or arguments of its own."""
        raise NotImplementedError

    def cells(self) -> Iterator[Cell]:
        """Iterate over the cells."""
        raise NotImplementedError

    def cell(self, key: Any) -> Cell:
        """Return the cell for *key*."""
        raise NotImplementedError

    def forget_cell(self, cell: Cell) -> None:
        """Forget *cell*, which nothing needs, if there may be any number of such."""

    def links(self) -> list[Link]:
        """Return all that this source feeds."""
        return [link for cell in self.cells() for link in cell.links.values()]

    def clean(self, cell: Cell) -> bool:
        """Tell whether nothing changed since *cell* was computed."""
        return cell.computed == self._changes and not self._announcers

    def fresh(self, cell: Cell) -> bool:
        """Tell whether *cell* has a result that is valid."""
        return (
            cell.result is not NOTHING and cell.computed == self._changes and not self._announcers
        )

    def change(self) -> None:
        """Take note that the state did change: what was computed is out of date."""
        self._changes += 1
        self._current = NOTHING
        for cell in self.cells():
            cell.result = NOTHING

    def drop_results(self) -> None:
        """Forget what was computed, although it may still hold."""
        self._current = NOTHING
        for cell in self.cells():
            cell.result = NOTHING

    def keep(self, cell: Cell, value: Any) -> None:
        """Store *value*, which is the present result of *cell*."""
        cell.result = value

    def reassure(self) -> None:
        """Let the result be read without asking, if it is valid."""


class OutputSource(Source):
    """An output: a source with one cell."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._cell = Cell(PLAIN)

    def cells(self) -> Iterator[Cell]:
        """Iterate over the one cell."""
        yield self._cell

    def cell(self, key: Any) -> Cell:  # noqa: ARG002 - there is only one
        """Return the one cell."""
        return self._cell

    def links(self) -> list[Link]:
        """Return all that this source feeds."""
        return list(self._cell.links.values())

    def change(self) -> None:
        """Take note that the state did change: what was computed is out of date."""
        self._changes += 1
        self._current = self._cell.result = NOTHING

    def keep(self, cell: Cell, value: Any) -> None:
        """Store *value*, which is the present result of *cell*."""
        cell.result = value
        if not self._announcers and not self._holds:
            self._current = value

    def reassure(self) -> None:
        """Let the result be read without asking, if it is valid."""
        if self.fresh(self._cell) and not self._holds:
            self._current = self._cell.result


class MultiOutputSource(Source):
    """A multi-output: a source with a cell for each key and one for the whole dictionary.

    Attributes:
        _keys: Tells which keys the dictionary has.
    """

    _keys: Callable[[Any], Any]

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._whole = Cell(WHOLE)
        self._keyed: dict[Any, Cell] = {}

    def cells(self) -> Iterator[Cell]:
        """Iterate over the cells."""
        yield self._whole
        yield from list(self._keyed.values())

    def cell(self, key: Any) -> Cell:
        """Return the cell for *key*, which is made if there is none."""
        if key is WHOLE:
            return self._whole
        cell = self._keyed.get(key)
        if cell is None:
            cell = self._keyed.setdefault(key, Cell(key))
        return cell

    def forget_cell(self, cell: Cell) -> None:
        """Forget *cell*, which nothing needs."""
        if self._keyed.get(cell.key) is cell:
            del self._keyed[cell.key]

    def change(self) -> None:
        """Take note that the state did change: what was computed is out of date."""
        super().change()
        self._keyed = {
            key: cell for key, cell in self._keyed.items() if cell.links or cell.task is not None
        }


class Sink(Node):
    """An input or a multi-input.

    Attributes:
        _observers: The sources whose value the method influences.
        _inlets: Its connections.
        _active: Those of them with something pending: an announcement, or a value to be set.
        _holds: Those with a change that a false announce condition holds back.
        _task: What brings it up to date now.
    """

    def __init__(
        self,
        instance: Any,
        method: Callable[..., Any],
        parallelization: Parallelization,
        observers: tuple[Source, ...],
        laziness: Laziness,
    ) -> None:
        super().__init__(instance, method, parallelization)
        self._observers = observers
        self._laziness = laziness
        self._announce_condition: Callable[..., Any] | None = None
        self._notify_condition: Callable[..., Any] | None = None
        self._inlets: dict[Inlet, None] = {}
        self._active: dict[Inlet, None] = {}
        self._holds: dict[Inlet, None] = {}
        self._task: Task | None = None

    def record(self, inlet: Inlet, source: Source) -> None:
        """Take note that *source* announced a change at *inlet*."""
        raise NotImplementedError

    def hold(self, inlet: Inlet, source: Source) -> None:
        """Hold back the change that *source* announced at *inlet*."""
        inlet.held = source
        self._holds[inlet] = None
        for observer in self._observers:
            observer._holds[self._ref] = None
            observer._current = NOTHING

    def unhold(self, inlet: Inlet) -> None:
        """Hold nothing back at *inlet* any more."""
        inlet.held = None
        if self._holds.pop(inlet, NOTHING) is None and not self._holds:
            for observer in self._observers:
                observer._holds.pop(self._ref, None)
                observer.reassure()

    def drop(self, inlet: Inlet) -> None:
        """Forget what is pending at *inlet*."""
        inlet.announcer = None
        inlet.value = NOTHING
        self._active.pop(inlet, None)
        self.unhold(inlet)

    def done(self, inlet: Inlet, value: Any) -> None:
        """Take note that *value* of *inlet* was set."""
        if inlet.value is value:
            inlet.value = NOTHING
            if inlet.announcer is None:
                self._active.pop(inlet, None)

    def admits(self, inlet: Inlet) -> bool:
        """Ask the announce condition about a change at *inlet*; called without the lock."""
        raise NotImplementedError


class SingleSink(Sink):
    """A single input. If it has several connections, the one that announced last counts.

    Attributes:
        _under_way: The connection whose value a task is about to set.
    """

    _under_way: Inlet | None = None

    def record(self, inlet: Inlet, source: Source) -> None:
        """Take note that *source* announced a change at *inlet*, and forget older ones."""
        if self._active:
            under_way = self._under_way
            for other in self._active:
                if other is inlet:
                    continue
                other.announcer = None
                # What a read is just about to set is set: it must not see an older state.
                if other is not under_way and other.value is not NOTHING:
                    other.value = NOTHING
                    other.version = -1
            self._active.clear()
        if inlet.held is not None:
            self.unhold(inlet)
        inlet.announcer = source
        self._active[inlet] = None

    def admits(self, inlet: Inlet) -> bool:  # noqa: ARG002 - the value is not told
        """Ask the announce condition; called without the lock."""
        assert self._announce_condition is not None
        return bool(self._announce_condition(self.block()))


class MultiSink(Sink):
    """A multi-input."""

    _remove: Callable[..., Any] | None
    _replace: Callable[..., Any] | None

    def _remove_method(self) -> Callable[..., Any]:
        if self._remove is None:
            raise TypeError(
                f"{self.label()} has no remove method, which is needed to replace or disconnect a "
                f"value: define one with @{self._method.__name__}.remove"
            )
        return self._remove

    def record(self, inlet: Inlet, source: Source) -> None:
        """Take note that *source* announced a change at *inlet*."""
        if inlet.held is not None:
            self.unhold(inlet)
        inlet.announcer = source
        self._active[inlet] = None

    def admits(self, inlet: Inlet) -> bool:
        """Ask the announce condition about a change at *inlet*; called without the lock."""
        assert self._announce_condition is not None
        if inlet.data_id is not NOTHING:
            data_id = inlet.data_id
        else:
            data_id = None if inlet.key is NOTHING else inlet.key
        return bool(self._announce_condition(self.block(), data_id))
