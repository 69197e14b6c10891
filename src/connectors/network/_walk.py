"""The tasks that compute outputs and set single inputs, one for each line of blocks.

```text
a line is one walk:     source ─▶ sink, source ─▶ sink, source
                        last           ◀── path ──        first
where lines meet, the walk below waits for those above
```
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from connectors._errors import CycleError
from connectors._flags import Parallelization

from ._nodes import (
    NOTHING,
    PLAIN,
    WHOLE,
    Cell,
    Inlet,
    MultiOutputSource,
    SingleSink,
    Sink,
    Source,
)
from ._tasks import Job, Task
from ._waves import Wave, conclude, tell_changed

if TYPE_CHECKING:
    from ._run import Run

SEQUENTIAL = Parallelization.SEQUENTIAL


class Walk(Task):
    """Computes a source or sets a single input, and before that what lies in a line upstream.

    Args:
        run: Whose task it is.
        node: The source or the single input.
        part: The cell that is to be computed, or `None`.

    Attributes:
        path: What is left to do: sources with their cells, and single inputs with the inlets of
            their values. The last one comes next.
        joined: The tasks that wait for a part of the path, by cell or sink.
    """

    version = -1
    value: Any = None
    asking: list[tuple[Sink, Inlet]] | tuple[()] = ()
    joined: dict[Cell | Sink, list[Task]] | None = None

    def __init__(self, run: Run, node: Source | SingleSink, part: Cell | None) -> None:
        self.run = run
        self.path: list[tuple[Any, Any]] = [(node, part)]
        run.tasks.append(self)
        run.stack.append(self)

    def join(self, waiter: Task, what: Cell | Sink | None) -> None:
        """Tell *waiter* when *what*, which lies on the path, is done."""
        node, part = self.path[0]
        if what is None or what is part or what is node:
            super().join(waiter, what)
        else:
            if self.joined is None:
                self.joined = {}
            self.joined.setdefault(what, []).append(waiter)

    def release(self) -> None:
        """Let other tasks do what is left."""
        for node, part in self.path:
            _leave(node, part)
        self.path = []

    def end(self, value: Any = None, error: BaseException | None = None) -> None:
        """Be done, with *value* or *error*."""
        joined, self.joined = self.joined, None
        super().end(value, error)
        for waiters in (joined or {}).values():
            for waiter in waiters:
                waiter.told(self, None, error)

    def abort(self) -> None:
        """Give up; tasks of other runs that wait for this one begin anew."""
        joined, self.joined = self.joined, None
        super().abort()
        for waiters in (joined or {}).values():
            for waiter in waiters:
                self.send_away(waiter)

    def labels(self) -> list[str]:
        """Return the outputs that are still to be computed, the nearest to its end first."""
        labels = [node.label() for node, part in self.path if part.__class__ is Cell]
        return labels[-1:] if self.given else labels

    def step(self) -> None:
        """Go on, as far as that is possible now."""
        if self.done:
            return
        if self.error is not None:
            self.end(error=self.error)
            return
        if self.state == 0:
            self.state = 1
            self._climb()
        if not self.missing and self.state == 1:
            self._go_on()

    def _climb(self) -> None:  # noqa: C901 - one loop for both kinds of nodes, for speed
        """Extend the path upstream, up to where lines meet, or where nothing is to be done."""
        path, run = self.path, self.run
        node, part = path[-1]
        while True:
            if part.__class__ is Cell:
                if node._holds and self._ask_holds(node):
                    return
                sink = _only_announcer(node)
                if sink is None or sink._task is not None:
                    if sink is not None and sink._task is self:
                        raise self._loop(sink)
                    self._ask_inputs(node)
                    return
                node, part = sink, None
                sink._task = self
                path.append((sink, None))
            if part is None:
                for part in node._active:  # noqa: B007 - the only one
                    break
                path[-1] = (node, part)
                node._under_way = part
            if part is None or part.announcer is None:
                return
            source, key = part.announcer, part.part
            cell = source.cell(key)
            if cell.task is not None or key is WHOLE or (source.fresh(cell) and not source._holds):
                if cell.task is self:
                    raise self._loop(cell)
                run.request_cell(source, key, self)
                return
            node, part = source, cell
            cell.task = self
            path.append((source, cell))

    def _loop(self, where: Cell | Sink) -> CycleError:
        members = list(self.path)
        while members and where not in members[0]:
            members.pop(0)
        labels = [node.label() for node, part in reversed(members) if part.__class__ is Cell]
        return CycleError([*labels, labels[0]])

    def _ask_inputs(self, source: Source) -> None:
        announcers, run = source._announcers, self.run
        for why in tuple(announcers):
            if why.__class__ is weakref.ReferenceType:
                sink = why()
                if sink is None:
                    announcers.pop(why, None)
                else:
                    run.request_sink(sink, self)

    def _ask_holds(self, source: Source) -> bool:
        """Have the announce conditions asked that hold changes back."""
        asked = [
            (sink, inlet)
            for sink in [ref() for ref in source._holds]
            if sink is not None
            for inlet in list(sink._holds)
        ]
        if not asked:
            source._holds.clear()
            return False

        def admitted(*_: Any) -> list[tuple[Sink, Inlet]]:
            return [(sink, inlet) for sink, inlet in asked if sink.admits(inlet)]

        self.asking = asked
        self.state = 2
        self.run.start(self, source, admitted, SEQUENTIAL)
        return True

    def _go_on(self) -> None:
        """Do what comes next on the path, up to the next method."""
        path = self.path
        while path:
            node, part = path[-1]
            if part.__class__ is Cell:
                if part.result is not NOTHING and node.fresh(part):
                    value = part.result
                    self.run.deliver(node, part, value, node._changes)
                    self._passed(value)
                    continue
                self.state = 2
                self.version = node._changes
                self.compute(node, part)
                return
            if part is not None and part.value is not NOTHING:
                self.state = 2
                self.value = value = part.value
                self.args = (value,)
                self.writes = True
                condition = node._notify_condition
                self.check = None if condition is None else (condition, (value,))
                self.verdict = True
                self.run.start(self, node, node._method)
                return
            conclude(node._observers, node._ref, changed=False, pending=bool(node._active))
            self._passed(None)

    def _passed(self, value: Any) -> None:
        """Take note that the last node of the path is done."""
        path = self.path
        node, part = path[-1]
        what = _leave(node, part)
        path.pop()
        if part.__class__ is Cell and not part.links and part.result is NOTHING:
            node.forget_cell(part)
        if self.joined is not None:
            for waiter in self.joined.pop(what, ()):
                waiter.told(self, value, None)
        if not path:
            self.end(value)

    def compute(self, source: Source, cell: Cell) -> None:
        """Have the result of *cell* computed."""
        key = cell.key
        self.args = () if key is PLAIN else (key,)
        self.writes = False
        self.check = None
        self.run.start(self, source, source._method)

    def completed(self, job: Job, value: Any) -> None:  # noqa: ARG002 - it is itself
        """Store what a getter gave, or take note that a setter ran; and go on."""
        self.state = 1
        if self.asking:
            self._admitted(value)
            return
        node, part = self.path[-1]
        if part.__class__ is Cell:
            self.store(node, part, value)
        else:
            node.done(part, self.value)
            self.value = None
            if self.verdict:
                tell_changed(node)
            else:
                conclude(node._observers, node._ref, changed=False, pending=bool(node._active))
            self._passed(None)
        if self.path and not self.run.closed and self.state == 1:
            self._go_on()

    def store(self, source: Source, cell: Cell, value: Any) -> None:
        """Keep *value*, which was computed for *cell*, and deliver it."""
        version = self.version
        cell.computed = version
        if source._caching and version == source._changes:
            source.keep(cell, value)
        if cell.links:
            self.run.deliver(source, cell, value, version)
        self._passed(value)

    def _admitted(self, admitted: list[tuple[Sink, Inlet]]) -> None:
        self.asking = ()
        for sink, inlet in admitted:
            wave = Wave()
            wave.release(sink, inlet)
            for lazy in wave.lazy:
                self.run.request_extra(lazy)
        self._ask_inputs(self.path[-1][0])
        if not self.missing:
            self.run.stack.append(self)


def _only_announcer(source: Source) -> SingleSink | None:
    """Return the single input that alone announced to *source*, if it is one."""
    announcers = source._announcers
    if len(announcers) == 1:
        for why in announcers:
            sink = why() if why.__class__ is weakref.ReferenceType else None
            if isinstance(sink, SingleSink) and sink._active:
                return sink
    return None


def _leave(node: Any, part: Any) -> Cell | Sink:
    """Let other tasks see to *node*; return that by which others wait for it."""
    if part.__class__ is Cell:
        part.task = None
        cell: Cell = part
        return cell
    node._task = node._under_way = None
    sink: Sink = node
    return sink


class LooseTask(Walk):
    """Runs a getter with arguments of its own, which leaves the results as they are."""

    def __init__(
        self, run: Run, source: Source, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        self.own = Cell(NOTHING)
        super().__init__(run, source, self.own)
        self.given_args, self.given_kwargs = args, kwargs

    def compute(self, source: Source, cell: Cell) -> None:
        """Have the result computed."""
        if cell is not self.own:
            super().compute(source, cell)
            return
        self.args, self.kwargs = self.given_args, self.given_kwargs
        self.writes = False
        self.check = None
        self.run.start(self, source, source._method)

    def store(self, source: Source, cell: Cell, value: Any) -> None:
        """Give the result."""
        if cell is self.own:
            self._passed(value)
        else:
            super().store(source, cell, value)


class WholeTask(Walk):
    """Computes the dictionary of a multi-output: the keys first, then what belongs to each."""

    parts: dict[Any, Any] | None = None

    def __init__(self, run: Run, source: Source, cell: Cell) -> None:
        super().__init__(run, source, cell)
        self.values: dict[Task, Any] = {}

    def compute(self, source: Source, cell: Cell) -> None:
        """Have the keys told."""
        if cell.key is not WHOLE:
            super().compute(source, cell)
            return
        assert isinstance(source, MultiOutputSource)
        keys = source._keys
        self.args = ()
        self.run.start(self, source, lambda block: list(keys(block)), SEQUENTIAL)

    def store(self, source: Source, cell: Cell, value: Any) -> None:
        """Request what belongs to the keys."""
        if cell.key is not WHOLE:
            super().store(source, cell, value)
            return
        self.state = 3
        self.parts = {}
        self.parts = {key: self.run.request_cell(source, key, self) for key in value}
        if not self.missing:
            self.run.stack.append(self)

    def told(self, other: Task, value: Any, error: BaseException | None) -> None:
        """Take note that *other* is done."""
        if self.state == 3:
            self.values[other] = value
        super().told(other, value, error)

    def step(self) -> None:
        """Go on, as far as that is possible now."""
        if self.state != 3 or self.done or self.error is not None:
            super().step()
        elif not self.missing:
            parts, values = self.parts or {}, self.values
            self.parts, self.values = {}, {}
            source, cell = self.path[-1]
            value = {
                key: values.get(part) if isinstance(part, Task) else part
                for key, part in parts.items()
            }
            super().store(source, cell, value)
