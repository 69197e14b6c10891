"""Reads as plain state: the tasks of a run, which are told what finished and say what is next.

There is one task for each source that is computed and for each sink that is set. A task waits for
the tasks of what announced to it, gives out a job, and is told how the job ended. Nothing here
calls a user's method, starts a thread or waits.
"""

from __future__ import annotations

import contextvars
import weakref
from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any

from connectors._flags import Parallelization

from ._nodes import (
    NOTHING,
    WHOLE,
    Cell,
    Inlet,
    MultiOutputSource,
    MultiSink,
    Node,
    SingleSink,
    Sink,
    Source,
)
from ._waves import Wave, conclude, tell_changed

if TYPE_CHECKING:
    from ._run import Run

SEQUENTIAL = Parallelization.SEQUENTIAL
_NO_KEYWORDS: Mapping[str, Any] = {}
#: The job that the present code is a part of.
current_job: contextvars.ContextVar[Job | None] = contextvars.ContextVar(
    "current_job", default=None
)


class Job:
    """A user's method that has to be run.

    Attributes:
        task: Whose job it is, if it is not the task itself.
        node: Whose method it is.
        function: The method.
        args: Its arguments, without the instance.
        kwargs: Its keyword arguments.
        block: The instance.
        wish: How far away it may run.
        writes: It changes the block.
        check: The notify condition and its arguments, which is asked after the method.
        verdict: Whether the change is to be passed on.
        nested: The runs that the method itself began and waits for.
        future: What stands for it while it runs elsewhere.
        call: What its driver gives to the executor instead of running the method itself.
    """

    task: Task | None = None
    node: Node
    function: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = _NO_KEYWORDS
    block: Any = None
    wish: Parallelization
    writes = False
    check: tuple[Callable[..., Any], tuple[Any, ...]] | None = None
    verdict = True
    nested: list[Run] | tuple[()] = ()
    future: Any = None
    call: Any = None

    def conclude(self) -> None:
        """Ask the notify condition, when the method has run; called without the lock."""
        if self.check is not None:
            condition, args = self.check
            self.verdict = bool(condition(self.block, *args))


class Task(Job):
    """Something that a run does. Tasks that wait for it are told when it is done.

    A task that needs one method to be run is a job itself, so that it costs one object.

    Attributes:
        run: Whose task it is.
        waiters: The tasks that wait for it.
        waits: The tasks for which it waits, or has waited.
        missing: How many of them are not done.
        error: Why it fails.
        given: How many jobs it has given out and not been told the end of.
    """

    # Most tasks need few of these, and most runs are short.
    waiters: list[Task] | tuple[()] = ()
    waits: list[Task] | tuple[()] = ()
    missing = 0
    error: BaseException | None = None
    given = 0
    state = 0
    done = False

    def __init__(self, run: Run) -> None:
        self.run = run
        run.tasks.append(self)
        run.stack.append(self)

    def step(self) -> None:
        """Go on, as far as that is possible now."""
        raise NotImplementedError

    def completed(self, job: Job, value: Any) -> None:
        """Take what *job* returned."""
        raise NotImplementedError

    def failed(self) -> None:
        """Take note that a job raised."""

    def release(self) -> None:
        """Let another task take this one's place, and hold nothing any more."""

    def jobs(self) -> list[Job]:
        """Return what it has given out."""
        return [self] if self.given else []

    def wait_for(self, other: Task) -> None:
        """Go on when *other* is done."""
        if other.waiters:
            other.waiters.append(self)
        else:
            other.waiters = [self]
        if self.waits:
            self.waits.append(other)
        else:
            self.waits = [other]
        self.missing += 1
        if other.run is not self.run:
            self.run.outside += 1

    def end(self, value: Any = None, error: BaseException | None = None) -> None:
        """Be done, with *value* or *error*."""
        self.error = error
        waiters, self.waiters, self.waits = self.waiters, (), ()
        self.done = True
        self.release()
        for waiter in waiters:
            waiter.told(self, value, error)

    def told(self, other: Task, value: Any, error: BaseException | None) -> None:  # noqa: ARG002
        """Take note that *other* is done."""
        run = self.run
        self.missing -= 1
        if other.run is not run:
            run.outside -= 1
            run.ring()
        if self.done:
            return
        if error is not None:
            if self.error is None:
                self.error = error
                run.stack.append(self)
        elif not self.missing:
            run.stack.append(self)

    def abort(self) -> None:
        """Give up; tasks of other runs that wait for this one begin anew."""
        waiters, self.waiters, self.waits = self.waiters, (), ()
        self.done = True
        self.release()
        for waiter in waiters:
            waiter.missing -= 1
            run = waiter.run
            if run is not self.run:
                run.outside -= 1
                if not waiter.done:
                    waiter.state = 0
                    run.stack.append(waiter)
                    run.ring()

    def label(self) -> str:
        """Return the name by which messages speak of what it does."""
        return "a read"


class Part(Job):
    """One of several jobs of a task.

    Args:
        task: The task.
    """

    def __init__(self, task: Task) -> None:
        self.task = task


class SourceTask(Task):
    """Computes a cell: the inputs first, then the getter, then what it feeds."""

    version = -1

    def __init__(self, run: Run, source: Source, cell: Cell, args: tuple[Any, ...] = ()) -> None:
        self.run = run
        self.source = source
        self.cell = cell
        self.args = args
        cell.task = self
        run.tasks.append(self)
        run.stack.append(self)

    def release(self) -> None:
        """Let another task compute the cell, and hold nothing any more."""
        if self.cell.task is self:
            self.cell.task = None

    def step(self) -> None:
        """Go on, as far as that is possible now."""
        if self.done:
            return
        if self.error is not None:
            self.end(error=self.error)
            return
        source, cell = self.source, self.cell
        if self.state == 0:
            self.state = 1
            if source._holds and self._ask_holds():
                return
            if source._announcers:
                self._ask_inputs()
        if self.missing or self.state != 1:
            return
        if cell.result is not NOTHING and source.fresh(cell):
            value = cell.result
            self.run.deliver(source, cell, value, source._changes)
            self.end(value)
            return
        self.state = 2
        self.version = source._changes
        self.compute()

    def compute(self) -> None:
        """Have the result computed."""
        self.run.start(self, self.source, self.source._method)

    def completed(self, job: Job, value: Any) -> None:  # noqa: ARG002 - there is one
        """Store the result, and deliver it."""
        if self.state == 2:
            self._store(value)
        else:
            self._go_on_with(value)

    def _store(self, value: Any) -> None:
        source, cell, version = self.source, self.cell, self.version
        cell.computed = version
        if source._caching and version == source._changes:
            source.keep(cell, value)
        if cell.links:
            self.run.deliver(source, cell, value, version)
        self.end(value)

    def _ask_inputs(self) -> None:
        announcers, run = self.source._announcers, self.run
        for why in tuple(announcers):
            if why.__class__ is weakref.ReferenceType:
                sink = why()
                if sink is None:
                    announcers.pop(why, None)
                else:
                    run.request_sink(sink, self)

    def _ask_holds(self) -> bool:
        asked = [
            (sink, inlet)
            for sink in [ref() for ref in self.source._holds]
            if sink is not None
            for inlet in list(sink._holds)
        ]
        if not asked:
            self.source._holds.clear()
            return False

        def admitted(*_: Any) -> list[tuple[Sink, Inlet]]:
            return [(sink, inlet) for sink, inlet in asked if sink.admits(inlet)]

        self.run.start(self, self.source, admitted, SEQUENTIAL)
        return True

    def _go_on_with(self, admitted: list[tuple[Sink, Inlet]]) -> None:
        key = self.cell.key
        self.args = () if isinstance(key, type(WHOLE)) else (key,)
        for sink, inlet in admitted:
            wave = Wave()
            wave.release(sink, inlet)
            for lazy in wave.lazy:
                self.run.request_extra(lazy)
        self._ask_inputs()
        if not self.missing:
            self.run.stack.append(self)

    def label(self) -> str:
        """Return the name by which messages speak of what it does."""
        return self.source.label()


class LooseTask(SourceTask):
    """Runs a getter with arguments of its own, which leaves the results as they are."""

    def __init__(
        self, run: Run, source: Source, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        super().__init__(run, source, Cell(NOTHING), args)
        self.own = args
        self.kwargs = kwargs

    def compute(self) -> None:
        """Have the result computed."""
        self.args = self.own
        super().compute()

    def _store(self, value: Any) -> None:
        self.end(value)


class WholeTask(SourceTask):
    """Computes the dictionary of a multi-output: the keys first, then what belongs to each."""

    source: MultiOutputSource
    keys: list[Any] | tuple[()] = ()

    def __init__(self, run: Run, source: Source, cell: Cell) -> None:
        super().__init__(run, source, cell)
        self.values: dict[Task, Any] = {}

    def compute(self) -> None:
        """Have the keys told."""
        keys = self.source._keys
        self.run.start(self, self.source, lambda block: list(keys(block)), SEQUENTIAL)

    def completed(self, job: Job, value: Any) -> None:
        """Request what belongs to the keys."""
        if self.state == 1:
            super().completed(job, value)
            return
        self.state = 3
        self.parts = {key: self.run.request_cell(self.source, key, self) for key in value}
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
            parts, values = self.parts, self.values
            self.parts, self.values = {}, {}
            self._store(
                {
                    key: values.get(part) if isinstance(part, Task) else part
                    for key, part in parts.items()
                }
            )


class SinkTask(Task):
    """Brings a sink up to date: what announced to it first, then the setter."""

    sink: Sink
    inlet: Inlet | None = None

    def release(self) -> None:
        """Let another task bring the sink up to date, and hold nothing any more."""
        if self.sink._task is self:
            self.sink._task = None

    def label(self) -> str:
        """Return the name by which messages speak of what it does."""
        return self.sink.label()

    def tell(self, *, changed: bool) -> None:
        """Tell the observers what came of it."""
        sink = self.sink
        if changed:
            tell_changed(sink)
        else:
            conclude(sink._observers, sink._ref, changed=False, pending=bool(sink._active))


class SingleTask(SinkTask):
    """Brings a single input up to date."""

    def __init__(self, run: Run, sink: SingleSink) -> None:
        self.run = run
        self.sink = sink
        sink._task = self
        run.tasks.append(self)
        run.stack.append(self)

    def step(self) -> None:
        """Go on, as far as that is possible now."""
        if self.done:
            return
        if self.error is not None:
            self.end(error=self.error)
            return
        sink, inlet = self.sink, self.inlet
        if self.state == 0:
            self.state = 1
            for inlet in sink._active:
                self.inlet = inlet
                break
            if inlet is not None and inlet.announcer is not None:
                self.run.request_cell(inlet.announcer, inlet.part, self)
        if self.missing or self.state != 1:
            return
        if inlet is None or inlet.value is NOTHING:
            self.tell(changed=False)
            self.end()
            return
        self.state = 2
        self.args = (inlet.value,)
        self.writes = True
        if sink._notify_condition is not None:
            self.check = (sink._notify_condition, self.args)
        self.value = inlet.value
        self.run.start(self, sink, sink._method)

    def completed(self, job: Job, value: Any) -> None:  # noqa: ARG002 - a setter's own
        """Forget the value, which is set now, and tell the observers."""
        assert self.inlet is not None
        self.sink.done(self.inlet, self.value)
        self.value = None
        if not self.verdict:
            self.tell(changed=False)
        else:
            tell_changed(self.sink)
        self.end()


_Step = list[tuple[Callable[..., Any], tuple[Any, ...]]]


class MultiTask(SinkTask):
    """Brings a multi-input up to date: its values are set one after another.

    Args:
        pull: A direct call does it, which tells the observers itself.

    Attributes:
        changes: The ids that were changed, and their values.
    """

    sink: MultiSink

    def __init__(self, run: Run, sink: MultiSink, *, pull: bool = False) -> None:
        super().__init__(run)
        self.sink = sink
        sink._task = self
        self.pull = pull
        self.out: list[Job] = []
        self.changes: list[tuple[Any, Any]] = []
        self.steps: Generator[_Step, list[Any], None] | None = None
        self.results: list[Any] = []
        self.undone = 0

    def step(self) -> None:
        """Go on, as far as that is possible now."""
        if self.done:
            return
        if self.error is not None:
            self.stop(self.error)
            return
        if self.state == 0:
            self.state = 1
            for inlet in list(self.sink._active):
                if inlet.announcer is not None:
                    self.run.request_cell(inlet.announcer, inlet.part, self)
        if self.missing or self.state != 1:
            return
        self.state = 2
        self.steps = self._set_all()
        self._advance(None)

    def jobs(self) -> list[Job]:
        """Return what it has given out."""
        return self.out

    def completed(self, job: Job, value: Any) -> None:
        """Take the result of one step."""
        self.out = [other for other in self.out if other is not job]
        if self.state == 3:
            self._finish(changed=value)
            return
        self.results.append(value)
        self.undone -= 1
        if not self.undone:
            results, self.results = self.results, []
            self._advance(results)

    def failed(self) -> None:
        """Take note that what was done before was done."""
        if self.changes:
            for observer in self.sink._observers:
                observer.change()

    def stop(self, error: BaseException) -> None:
        """Fail with *error*."""
        self.steps = None
        self.end(error=error)

    def _advance(self, results: list[Any] | None) -> None:
        assert self.steps is not None
        try:
            step = next(self.steps) if results is None else self.steps.send(results)
        except StopIteration:
            self.steps = None
            self._ask_condition()
            return
        self.undone = len(step)
        for function, args in step:
            part = Part(self)
            part.args = args
            part.writes = True
            self.out.append(part)
            self.run.start(part, self.sink, function)

    def _ask_condition(self) -> None:
        condition, changes = self.sink._notify_condition, self.changes
        if condition is None or not changes or self.pull:
            self._finish(changed=bool(changes))
            return
        self.state = 3

        def changed(block: Any) -> bool:
            return any(condition(block, data_id, value) for data_id, value in changes)

        part = Part(self)
        self.out.append(part)
        self.run.start(part, self.sink, changed, SEQUENTIAL)

    def _finish(self, *, changed: bool) -> None:
        if not self.pull:
            self.tell(changed=changed)
        self.end(self.changes)

    def _set_all(self) -> Generator[_Step, list[Any], None]:
        """Give out the calls that set what is pending, in the order of connections."""
        sink = self.sink
        for inlet in sorted(sink._active, key=lambda inlet: inlet.position):
            value = inlet.value
            if value is NOTHING:
                continue
            if inlet.part is WHOLE:
                gone = [key for key in inlet.ids if key not in value]
                if gone:
                    remove = tolerant(sink._remove_method())
                    yield [(remove, (inlet.ids[key],)) for key in gone]
                for key in gone:
                    self.changes.append((inlet.ids.pop(key), None))
                for key, item in value.items():
                    data_id = yield from self._set(inlet.ids.get(key, NOTHING), key, item)
                    inlet.ids[key] = data_id
            else:
                inlet.data_id = yield from self._set(inlet.data_id, inlet.key, value)
            sink.done(inlet, value)

    def _set(self, data_id: Any, key: Any, value: Any) -> Generator[_Step, list[Any], Any]:
        """Give out the calls that set *value*, and return the id under which it is stored."""
        sink = self.sink
        if sink._replace is not None and not data_id is key is NOTHING:
            known = key if data_id is NOTHING else data_id
            (data_id,) = yield [(sink._replace, (known, value))]
        else:
            if data_id is not NOTHING:
                yield [(sink._remove_method(), (data_id,))]
            (data_id,) = yield [(sink._method, (value,))]
        self.changes.append((data_id, value))
        return data_id


def tolerant(remove: Callable[..., Any]) -> Callable[..., Any]:
    """Return *remove* so that it does nothing for an id that is not stored."""

    def remove_if_stored(block: Any, data_id: Any) -> Any:
        try:
            return remove(block, data_id)
        except LookupError:
            return None

    return remove_if_stored
