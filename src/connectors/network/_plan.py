"""What a read would run, found out from a survey: the engine's way through the network, on paper.

A `Plan` follows `_tasks`: a result that is valid is taken as it is; for any other the inputs that
announced a change come first, and what feeds them before, then the method itself. Nothing is
called, so where a condition decides, the plan says that it does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import attrs

from connectors._flags import Laziness

from ._nodes import NOTHING, PLAIN, WHOLE, MultiSink, Node, Sink
from ._survey import CellFacts, InletFacts, SinkFacts, SourceFacts, Survey, Work, ends_shown, shown

_NO_WORK = Work()


@attrs.frozen(eq=False)
class Planned:
    """A method that would run.

    Attributes:
        node: Whose method it is.
        method: The plain function.
        label: The name by which it is spoken of.
        reason: Why.
        certain: It runs for sure; otherwise a condition decides, or what comes of the steps before.
        work: What others do about it already.
        args: Its arguments, as far as they are known.
        writes: It changes its block.
    """

    node: Node
    method: Callable[..., Any]
    label: str
    reason: str
    certain: bool
    work: Work = _NO_WORK
    args: tuple[Any, ...] = ()
    writes: bool = False


@attrs.frozen(eq=False)
class _Compute:
    source: SourceFacts
    cell: CellFacts | None
    key: Any

    @property
    def identity(self) -> tuple[int, int]:
        return id(self.source), id(self.cell)


@attrs.frozen(eq=False)
class _Update:
    sink: SinkFacts

    @property
    def identity(self) -> tuple[int, int]:
        return id(self.sink), 0


_Goal = _Compute | _Update


class Plan:
    """Steps, in the order in which a run takes them, and what it meets on its way.

    Args:
        survey: The network.

    Attributes:
        steps: What is asked for.
        also: What a run brings up to date by the way: inputs that take each value they are given.
        held: The inputs that hold back a change, and would be asked whether they still do.
        waiting: The values that wait to be set.
        gone: What is needed and does not exist any more.
    """

    def __init__(self, survey: Survey) -> None:
        self.survey = survey
        self.steps: list[Planned] = []
        self.also: list[Planned] = []
        self.held: dict[int, SinkFacts] = {}
        self.waiting: list[str] = []
        self.gone: list[str] = []
        self._into = self.steps
        self._read: tuple[int, int] | None = None
        self._certain: dict[tuple[int, int], bool] = {}
        self._delivered: list[_Compute] = []
        self._entered: set[tuple[int, int]] = set()
        self._asking: set[int] = set()
        self._sure: set[tuple[int, int]] = set()

    def read(self, source: SourceFacts, cell: CellFacts | None, key: Any) -> None:
        """Plan a read of one result of *source*."""
        goal = _Compute(source, cell, key)
        self._read = goal.identity
        self._walk([goal])
        self._extras()

    def update(self, sinks: Iterable[SinkFacts]) -> None:
        """Plan that *sinks* are brought up to date."""
        self._walk([_Update(sink) for sink in sinks])
        self._extras()

    def label(self, node: Node, name: str | None = None, end: str = "") -> str:
        """Return the name by which a method of the block of *node* is spoken of."""
        facts = self.survey.sources.get(id(node)) or self.survey.sinks.get(id(node))
        home = node._owner if facts is None else facts.home.name
        return f"{home}.{name or node._method.__name__}{end}"

    def _extras(self) -> None:
        self._into = self.also
        for compute in self._delivered:  # grows
            for sink, inlet in [] if compute.cell is None else compute.cell.links:
                facts = self.survey.sinks.get(id(sink))
                if facts is None or facts.work.busy:
                    continue
                known = facts.inlets.get(id(inlet))
                if sink._laziness >= Laziness.ON_NOTIFY and known is not None and known.announced:
                    sure = known.lacks and compute.identity in self._sure
                    if not (sure or self._certain[compute.identity]):
                        self._asking.add(id(facts))
                    self._walk([_Update(facts)])
        self._into = self.steps

    def _walk(self, goals: list[_Goal]) -> None:
        """Visit what *goals* need and then themselves; without recursion."""
        todo: list[tuple[_Goal, bool]] = [(goal, False) for goal in reversed(goals)]
        while todo:
            goal, entered = todo.pop()
            if entered:
                self._certain[goal.identity] = self._leave(goal)
            elif goal.identity not in self._entered:
                self._entered.add(goal.identity)
                todo.append((goal, True))
                todo += [(need, False) for need in reversed(list(self._needs(goal)))]

    def _needs(self, goal: _Goal) -> Iterator[_Goal]:
        if isinstance(goal, _Compute):
            return self._needs_of_source(goal)
        return self._needs_of_sink(goal)

    def _leave(self, goal: _Goal) -> bool:
        """Plan the methods of *goal* itself; tell whether it is sure to give something."""
        if isinstance(goal, _Compute):
            return self._leave_source(goal)
        return self._leave_sink(goal)

    # Outputs

    def _needs_of_source(self, goal: _Compute) -> Iterator[_Goal]:
        source, cell = goal.source, goal.cell
        if cell is not None and cell.work.started:
            return
        for sink in source.holds:
            if id(sink) in self.survey.sinks:
                self.held[id(sink)] = self.survey.sinks[id(sink)]
        for sink in source.announcers:
            facts = self.survey.sinks.get(id(sink))
            if facts is not None and (facts.active or facts.work.busy):
                yield _Update(facts)
        if goal.key is WHOLE:
            busy = [each for each in source.cells if each.work.busy and each is not cell]
            yield from (_Compute(source, each, each.cell.key) for each in busy)

    def _leave_source(self, goal: _Compute) -> bool:
        source, cell = goal.source, goal.cell
        node, key = source.node, goal.key
        end = "" if key is PLAIN else f"[{'...' if key is WHOLE else shown(key)}]"
        label = self.label(node, end=end)
        work = _NO_WORK if cell is None else cell.work
        if work.busy:
            why = _under_way(work)
            self._step(Planned(node, node._method, label, why, certain=True, work=work))
            return True
        self._delivered.append(goal)
        if source.valid(cell):
            self._sure.add(goal.identity)
            return True
        if source.home.block is None:
            self.gone.append(label)
        doubtful = bool(source.announcers or source.calls)
        changes = cell is None or not cell.current or not doubtful
        changes = changes or any(
            self._certain.get(_Update(self.survey.sinks[id(sink)]).identity, False)
            and sink._notify_condition is None
            for sink in source.announcers
            if id(sink) in self.survey.sinks
        )
        args = () if key is PLAIN or key is WHOLE else (key,)
        reason = self._reason(source, cell)
        if key is WHOLE:
            reason = f"for each key that the block serves; {reason}"
        wanted = self._wanted(goal)
        if wanted:
            self._sure.add(goal.identity)
        certain = changes or (wanted and cell is not None and not cell.stored)
        self._step(Planned(node, node._method, label, reason, certain, args=args))
        return changes

    def _wanted(self, goal: _Compute) -> bool:
        """Tell whether a result is wanted even if no change comes from upstream."""
        cell = goal.cell
        if goal.identity == self._read:
            return True
        for sink, inlet in [] if cell is None else cell.links:
            facts = self.survey.sinks.get(id(sink))
            if facts is None or id(facts) in self._asking:
                continue
            if _Update(facts).identity in self._entered:
                known = facts.inlets.get(id(inlet))
                if known is not None and known.announced and known.lacks:
                    return True
        return False

    def _reason(self, source: SourceFacts, cell: CellFacts | None) -> str:
        if source.announcers:
            return f"{_listed([self.label(sink) for sink in source.announcers])} announced a change"
        if source.calls:
            return "a setter of its block is being called"
        if cell is None or not cell.computed:
            return "it was not computed yet"
        if not cell.current:
            return "its block changed since it was computed"
        return "its result was dropped" if source.caching else "its result is not kept"

    # Inputs

    def _needs_of_sink(self, goal: _Update) -> Iterator[_Goal]:
        if goal.sink.work.started:
            return
        for inlet in goal.sink.active:
            feeding = self._feeding(inlet)
            if inlet.announced and feeding is not None:
                yield feeding

    def _feeding(self, inlet: InletFacts) -> _Compute | None:
        source = self.survey.sources.get(id(inlet.source))
        if source is None:  # it was connected while we looked
            return None
        return _Compute(source, self.survey.fed.get(id(inlet.inlet)), inlet.inlet.part)

    def _leave_sink(self, goal: _Update) -> bool:
        facts = goal.sink
        node = facts.node
        if facts.work.busy:
            label, why = self.label(node), _under_way(facts.work)
            self._step(Planned(node, node._method, label, why, certain=True, work=facts.work))
            return True
        changes = False
        for inlet in sorted(facts.active, key=lambda inlet: inlet.inlet.position):
            certain = id(facts) not in self._asking and self._comes(inlet)
            changes = changes or certain
            source = self.source_label(inlet)
            reason = f"a value of {source} waits" if inlet.waits else f"{source} announced a change"
            if inlet.waits:
                self.waiting.append(f"{self.label(node)}: {reason.removesuffix(' waits')}")
            for method in _methods(node, inlet):
                label = self.label(node, method.__name__)
                self._step(Planned(node, method, label, reason, certain, writes=True))
        if facts.active and facts.home.block is None:
            self.gone.append(self.label(node))
        return changes

    def source_label(self, inlet: InletFacts) -> str:
        """Return the name of what feeds a connection."""
        if inlet.source is None:
            return "an output that does not exist any more"
        return self.label(inlet.source, end=ends_shown(inlet.inlet, inlet.source)[0])

    def _comes(self, inlet: InletFacts) -> bool:
        """Tell whether a value is sure to be set."""
        if inlet.waits or inlet.lacks:
            return True
        feeding = self._feeding(inlet)
        return feeding is not None and self._certain.get(feeding.identity, False)

    def _step(self, planned: Planned) -> None:
        self._into.append(planned)

    # A set, which has not happened

    def announce(
        self, observers: Iterable[SourceFacts], *, certain: bool
    ) -> tuple[list[Node], list[SinkFacts], list[SinkFacts]]:
        """Note in the survey what a change of *observers* would announce.

        Args:
            observers: The outputs whose block changes.
            certain: It does; otherwise the notify condition decides.

        Returns:
            The connectors that would hear of it; the inputs that would be brought up to date at
            once; and those whose announce conditions would be asked.
        """
        heard: dict[int, Node] = {}
        lazy: list[SinkFacts] = []
        asked: list[SinkFacts] = []
        todo = list(observers)
        for source in todo:
            heard[id(source.node)] = source.node
            for cell in source.cells:
                cell.current = cell.current and not certain
            source.calls += not certain
        while todo:
            source = todo.pop()  # as a wave does, because the last announcement counts
            for sink, inlet in [link for cell in source.cells for link in cell.links]:
                facts = self.survey.sinks.get(id(sink))
                known = None if facts is None else facts.inlets.get(id(inlet))
                if facts is None or known is None:
                    continue
                self._record(facts, known, changed=certain and source in observers)
                if sink._announce_condition is not None:
                    asked.append(facts)
                    self._asking.add(id(facts))
                if id(sink) in heard:
                    continue
                heard[id(sink)] = sink
                if sink._laziness >= Laziness.ON_ANNOUNCE:
                    lazy.append(facts)
                todo += self._doubted(sink, heard)
        return list(heard.values()), lazy, asked

    def _record(self, facts: SinkFacts, inlet: InletFacts, *, changed: bool) -> None:
        if not isinstance(facts.node, MultiSink):
            for other in facts.active:
                other.announced = other.waits = False
            facts.active.clear()
        if not (inlet.announced or inlet.waits):
            facts.active.append(inlet)
        inlet.announced, inlet.waits = True, False
        inlet.lacks = inlet.lacks or changed

    def _doubted(self, sink: Sink, heard: dict[int, Node]) -> Iterator[SourceFacts]:
        for observer in sink._observers:
            facts = self.survey.sources.get(id(observer))
            if facts is not None:
                if sink not in facts.announcers:
                    facts.announcers.append(sink)
                if id(observer) not in heard:
                    heard[id(observer)] = observer
                    yield facts


def _methods(sink: Sink, inlet: InletFacts) -> list[Callable[..., Any]]:
    """Return the methods that set a value of a connection."""
    if not isinstance(sink, MultiSink):
        return [sink._method]
    keyed = inlet.inlet.key is not NOTHING or inlet.inlet.part is WHOLE
    if sink._replace is not None and (inlet.stored or keyed):
        return [sink._replace]
    if inlet.stored and sink._remove is not None:
        return [sink._remove, sink._method]
    return [sink._method]


def _under_way(work: Work) -> str:
    if work.runs:
        return "it runs already"
    if work.started:
        return "it is about to run already"
    return "another read waits for it already"


def _listed(labels: list[str], most: int = 3) -> str:
    """Return *labels* as they stand in a sentence, as many as can be read."""
    more = len(labels) - most
    return ", ".join(labels[:most]) + (f" and {more} more" if more > 0 else "")
