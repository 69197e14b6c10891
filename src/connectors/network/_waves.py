"""What travels downstream: announcements, changes and cancellations.

An announcement says that a value may change. It visits each sink and each source once, and gathers
the sinks that want to be brought up to date at once. Later, either a change or a cancellation
follows from each sink that announced; a change needs to travel no further than to the sources
that observe the sink, because all behind them were announced to.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from connectors._errors import CycleError
from connectors._flags import Laziness

from ._nodes import NOTHING, Inlet, Link, Sink, Source, acquire_again, lock, release_all

# Counts what may close or open a loop: connections and changes of laziness.
_structure = 0
#: Counts the changes that callers made. What began before a change may not have seen it.
epoch = 0


def structure_changed() -> None:
    """Take note that loops may exist that did not, or the reverse."""
    global _structure  # noqa: PLW0603 - a fact about all networks of this process
    _structure += 1


class Wave:
    """One announcement on its way downstream.

    Args:
        situation: The laziness from which on a sink is to be brought up to date.

    Attributes:
        lazy: The sinks that are to be brought up to date.
    """

    def __init__(self, situation: Laziness = Laziness.ON_ANNOUNCE) -> None:
        self.lazy: list[Sink] = []
        self._situation = situation
        self._seen: set[Source | Sink] = set()
        self._starts: list[Source] = []
        self._again = False
        self._failure: BaseException | None = None
        self._conditional = False

    def from_observers(self, observers: Iterable[Source], why: Any) -> None:
        """Announce to *observers*, and on, that they may change because of *why*."""
        with lock:
            further: list[Source] = []
            self._doubt(observers, why, further)
            self._flow(further)

    def from_source(self, source: Source, links: Iterable[Link] | None = None) -> None:
        """Announce to what *source* feeds, or to *links* only.

        Raises:
            CycleError: The source depends on itself.
        """
        with lock:
            self._seen.add(source)
            self._starts.append(source)
            further: list[Source] = []
            self._reach(source, source.links() if links is None else links, further)
            self._flow(further)

    def release(self, sink: Sink, inlet: Inlet) -> None:
        """Let the change go on that was held back at *inlet*."""
        with lock:
            if inlet.held is not None:
                self._seen.add(sink)
                sink.record(inlet, inlet.held)
                further: list[Source] = []
                self._doubt(sink._observers, sink._ref, further)
                self._flow(further)

    def _doubt(self, observers: Iterable[Source], why: Any, further: list[Source]) -> None:
        seen = self._seen
        for observer in observers:
            observer._announcers[why] = None
            observer._current = NOTHING
            if observer in seen:
                self._again = True
            else:
                seen.add(observer)
                further.append(observer)

    def _reach(self, source: Source, links: Iterable[Link], further: list[Source]) -> None:
        seen = self._seen
        for link in links:
            sink = link.sink
            if sink._announce_condition is not None:
                admitted = self._admitted(sink, link.inlet)
                if link.inlet not in sink._inlets:  # it was disconnected meanwhile
                    continue
                if not admitted:
                    sink.hold(link.inlet, source)
                    continue
            sink.record(link.inlet, source)
            if sink in seen:
                self._again = True
                continue
            seen.add(sink)
            if sink._laziness >= self._situation:
                self.lazy.append(sink)
            self._doubt(sink._observers, sink._ref, further)

    def _admitted(self, sink: Sink, inlet: Inlet) -> bool:
        self._conditional = True
        depth = release_all()
        try:
            return sink.admits(inlet)
        except (
            BaseException
        ) as error:  # the change is held back; the others hear of it all the same
            self._failure = self._failure or error
            return False
        finally:
            acquire_again(depth)

    def _flow(self, sources: list[Source]) -> None:
        self._starts += sources
        while sources:
            source = sources.pop()
            links = source.links()
            if links:
                self._reach(source, links, sources)
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        if self._again:
            self._check_loops()

    def _check_loops(self) -> None:
        """Find the loops in what the wave visited; what closes one lawfully announces nothing.

        Raises:
            CycleError: There is a loop that no input with the laziness ON_NOTIFY opens.
        """
        if all(source._loopless == _structure for source in self._starts):
            return
        groups = _loops(self._seen)
        for group in groups:
            _check_group(group)
        if not groups and not self._conditional:
            for source in self._starts:
                source._loopless = _structure


def change_made() -> None:
    """Take note that a caller's change is complete."""
    global epoch  # noqa: PLW0603 - a fact about all networks of this process
    epoch += 1


def check_loop(source: Source, sink: Sink) -> None:
    """Look whether a connection of *source* to *sink* would close a loop.

    Raises:
        CycleError: It would.
    """
    came: dict[Any, Any] = {sink: source}
    queue: list[Any] = [sink]
    for node in queue:
        if isinstance(node, Sink) and node._laziness >= Laziness.ON_NOTIFY:
            continue  # it opens the loop
        for successor in _successors(node):
            if successor is source:
                path = [source]
                while node is not source:
                    path.append(node)
                    node = came[node]  # noqa: PLW2901 - the way back
                labels = [member.label() for member in path[::-1] if isinstance(member, Source)]
                raise CycleError([source.label(), *labels])
            if successor not in came:
                came[successor] = node
                queue.append(successor)


def _successors(node: Source | Sink) -> list[Any]:
    if isinstance(node, Sink):
        return list(node._observers)
    return [link.sink for link in node.links()]


def _loops(  # noqa: C901, PLR0912 - an algorithm of the books, in one piece
    nodes: set[Source | Sink],
) -> list[list[Source | Sink]]:
    """Return the strongly connected groups among *nodes* that contain a loop.

    Source: R. Tarjan, Depth-first search and linear graph algorithms, 1972; without recursion.
    """
    index: dict[Any, int] = {}
    low: dict[Any, int] = {}
    path: list[Any] = []
    on_path: set[Any] = set()
    groups = []
    for root in nodes:
        if root in index:
            continue
        work = [(root, iter(_successors(root)))]
        index[root] = low[root] = len(index)
        path.append(root)
        on_path.add(root)
        while work:
            node, successors = work[-1]
            for successor in successors:
                if successor not in nodes:
                    continue
                if successor not in index:
                    index[successor] = low[successor] = len(index)
                    path.append(successor)
                    on_path.add(successor)
                    work.append((successor, iter(_successors(successor))))
                    break
                if successor in on_path:
                    low[node] = min(low[node], index[successor])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    group = []
                    while True:
                        member = path.pop()
                        on_path.discard(member)
                        group.append(member)
                        if member is node:
                            break
                    if len(group) > 1:
                        groups.append(group[::-1])
    return groups


def _check_group(group: list[Source | Sink]) -> None:
    members = set(group)
    openers = {
        node for node in group if isinstance(node, Sink) and node._laziness >= Laziness.ON_NOTIFY
    }
    closed = _loops(members - openers)
    if closed:
        raise CycleError(loop_path(closed[0]))
    for sink in openers:
        assert isinstance(sink, Sink)
        for observer in sink._observers:
            if observer in members:
                observer._announcers.pop(sink._ref, None)


def loop_path(group: list[Source | Sink]) -> list[str]:
    """Return the labels along a shortest loop through the first source of *group*."""
    members = set(group)
    start = next(node for node in group if isinstance(node, Source))
    came: dict[Any, Any] = {}
    queue: list[Any] = [start]
    for node in queue:
        for successor in _successors(node):
            if successor is start:
                path = [start, node]
                while path[-1] is not start:
                    path.append(came[path[-1]])
                return [member.label() for member in reversed(path)]
            if successor in members and successor not in came:
                came[successor] = node
                queue.append(successor)
    return [node.label() for node in group]


def conclude(
    observers: Iterable[Source], why: Any, *, changed: bool, pending: bool = False
) -> None:
    """Tell *observers* the outcome of what was announced to them because of *why*.

    Args:
        observers: The sources.
        why: What they were told when it was announced.
        changed: It did happen; otherwise it will not.
        pending: More is announced by the same.
    """
    calm: list[Source] = []
    for observer in observers:
        known = why in observer._announcers
        if known and not pending:
            del observer._announcers[why]
        if changed:
            observer.change()
        elif known and not pending:
            calm.append(observer)
    _cancel(calm)


def tell_changed(sink: Sink) -> None:
    """Tell the observers of *sink* that it was set."""
    why = sink._ref
    for observer in sink._observers:
        observer.change()
        if why not in observer._announcers:
            # Nobody downstream knows: the sink lies in a loop, which it opens.
            Wave().from_source(observer)
        elif not sink._active:
            del observer._announcers[why]


def _cancel(sources: list[Source]) -> None:
    """Pass on that nothing will happen to *sources*, as far as that is so."""
    while sources:
        source = sources.pop()
        if source._announcers:
            continue
        source.reassure()
        for cell in source.cells():
            if cell.computed != source._changes:
                continue
            for link in cell.links.values():
                inlet, sink = link.inlet, link.sink
                # What does not hold the present value has to come and get it.
                if inlet.announcer is source and inlet.version == source._changes:
                    inlet.announcer = None
                    if inlet.value is not NOTHING:
                        continue
                    sink._active.pop(inlet, None)
                    sources += _calmed(sink)


def _calmed(sink: Sink) -> list[Source]:
    """Return the observers of *sink* to which it announces nothing any more."""
    if sink._active:
        return []
    calm = []
    for observer in sink._observers:
        if sink._ref in observer._announcers:
            del observer._announcers[sink._ref]
            calm.append(observer)
    return calm


def forget(sink: Sink, inlet: Inlet) -> None:
    """Forget what is pending at *inlet*, and tell the observers if that was all."""
    sink.drop(inlet)
    _cancel(_calmed(sink))
