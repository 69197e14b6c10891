"""Reads as plain state: told what finished, a run answers what is ready next.

A run brings what it was asked for up to date. It has one task for each source that is computed and
each sink that is set; a task waits for the tasks of what announced to it, gives out a job, and is
told how the job ended. A run that needs what another run computes at that moment waits for that
task. Nothing here calls a user's method, starts a thread or waits.
"""

from __future__ import annotations

import contextvars
import logging
import weakref
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from connectors._errors import CycleError
from connectors._flags import Laziness, Parallelization

from ._nodes import (
    NOTHING,
    PLAIN,
    WHOLE,
    Cell,
    Inlet,
    MultiOutputSource,
    MultiSink,
    Node,
    Sink,
    Source,
)
from ._waves import Wave, conclude

SEQUENTIAL, THREAD, PROCESS = Parallelization
_logger = logging.getLogger("connectors")
_NO_KEYWORDS: Mapping[str, Any] = {}
#: The job that the present code is a part of.
current_job: contextvars.ContextVar[Job | None] = contextvars.ContextVar(
    "current_job", default=None
)


class Job:
    """A user's method that a task has to have run.

    Attributes:
        task: Is told how it ended.
        node: Whose method it is.
        function: The method.
        block: The instance.
        wish: How far away it may run.
        writes: It changes the block.
        check: The notify condition and its arguments, which is asked after the method.
        verdict: Whether the change is to be passed on.
        nested: The runs that the method itself began and waits for.
        future: What stands for it while it runs elsewhere.
        call: What its driver gives to the executor instead of running the method itself.
    """

    kwargs: Mapping[str, Any] = _NO_KEYWORDS
    writes = False
    check: tuple[Callable[..., Any], tuple[Any, ...]] | None = None
    verdict = True
    nested: list[Run] | tuple[()] = ()
    future: Any = None
    call: Any = None

    def __init__(
        self,
        task: Task,
        node: Node,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        wish: Parallelization,
    ) -> None:
        self.task: Task | None = task
        self.node = node
        self.block = node.block()
        self.function = function
        self.args = args
        self.wish = wish

    def conclude(self) -> None:
        """Ask the notify condition, where the method has run; called without the lock."""
        if self.check is not None:
            condition, args = self.check
            self.verdict = bool(condition(self.block, *args))


class Task:
    """Something that a run does. Tasks that wait for it are told when it is done.

    Attributes:
        run: Whose task it is.
        waiters: The tasks that wait for it.
        waits: The tasks for which it waits, or has waited.
        missing: How many of them are not done.
        error: Why it fails.
        value: What it gives.
        jobs: What it has given out and has not been told the end of.
    """

    waiters: list[Task] | tuple[()] = ()
    waits: list[Task] | tuple[()] = ()
    missing = 0
    error: BaseException | None = None
    value: Any = None
    jobs: list[Job] | tuple[()] = ()
    state = 0
    done = False

    def __init__(self, run: Run) -> None:
        self.run = run
        run.live[self] = None
        run.stack.append(self)

    def step(self) -> None:
        """Go on, as far as that is possible now."""
        raise NotImplementedError

    def completed(self, job: Job | None, value: Any) -> None:
        """Take what *job* returned."""
        raise NotImplementedError

    def failed(self) -> None:
        """Take note that the job raised."""

    def release(self) -> None:
        """Let another task take this one's place."""

    def wait_for(self, other: Task) -> None:
        """Go on when *other* is done."""
        if isinstance(other.waiters, list):
            other.waiters.append(self)
        else:
            other.waiters = [self]
        if isinstance(self.waits, list):
            self.waits.append(other)
        else:
            self.waits = [other]
        self.missing += 1
        if other.run is not self.run:
            self.run.outside += 1

    def end(self, value: Any = None, error: BaseException | None = None) -> None:
        """Be done, with *value* or *error*."""
        self.value = value
        self.error = error
        self.release()
        for waiter in self.waiters:
            waiter.told(self, error)
        self.done = True
        self.waiters = self.waits = ()
        self.run.live.pop(self, None)

    def told(self, other: Task, error: BaseException | None) -> None:
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
        self.release()
        for waiter in self.waiters:
            waiter.missing -= 1
            run = waiter.run
            if run is not self.run:
                run.outside -= 1
                if not waiter.done:
                    waiter.state = 0
                    run.stack.append(waiter)
                    run.ring()
        self.done = True
        self.waiters = self.waits = ()
        self.run.live.pop(self, None)

    def label(self) -> str:
        """Return the name by which messages speak of what it does."""
        return "a read"


class SourceTask(Task):
    """Computes a cell: the inputs first, then the getter, then what it feeds."""

    def __init__(
        self,
        run: Run,
        source: Source,
        cell: Cell,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any] = _NO_KEYWORDS,
    ) -> None:
        self.run = run
        run.live[self] = None
        run.stack.append(self)
        self.source = source
        self.cell = cell
        self.args = args
        self.kwargs = kwargs
        cell.task = self

    def release(self) -> None:
        """Let another task compute the cell."""
        if self.cell.task is self:
            self.cell.task = None

    def step(self) -> None:
        """Go on, as far as that is possible now."""
        if self.done:
            return
        if self.error is not None:
            self.end(error=self.error)
            return
        if self.state == 0:
            self.state = 1
            if self.source._holds and self._ask_holds():
                return
            self._ask_inputs()
        if self.missing or self.state != 1:
            return
        source, cell = self.source, self.cell
        if cell.result is not NOTHING and source.fresh(cell):
            self.run.deliver(source, cell, cell.result, source._changes)
            self.end(cell.result)
            return
        self.state = 2
        self.version = source._changes
        self.compute()

    def compute(self) -> None:
        """Have the result computed."""
        source = self.source
        job = self.run.start(self, source, source._method, self.args)
        if self.kwargs and job is not None:
            job.kwargs = self.kwargs

    def completed(self, job: Job | None, value: Any) -> None:
        """Store the result, and deliver it."""
        source, cell = self.source, self.cell
        if self.state == 1:  # it was the announce conditions that were asked
            self._go_on_with(value)
            return
        cell.computed = self.version
        if source._caching and self.version == source._changes:
            cell.result = value
            source.reassure()
        self.run.deliver(source, cell, value, self.version)
        self.end(value)

    def _ask_inputs(self) -> None:
        source = self.source
        for why in tuple(source._announcers):
            if isinstance(why, weakref.ref):
                sink = why()
                if sink is None:
                    source._announcers.pop(why, None)
                else:
                    self.run.request_sink(sink, self)

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

        def admitted(_: Any) -> list[tuple[Sink, Inlet]]:
            return [(sink, inlet) for sink, inlet in asked if sink.admits(inlet)]

        self.run.start(self, self.source, admitted, wish=SEQUENTIAL)
        return True

    def _go_on_with(self, admitted: list[tuple[Sink, Inlet]]) -> None:
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

    def completed(self, job: Job | None, value: Any) -> None:
        """Give the result."""
        if self.state == 1:
            self._go_on_with(value)
        else:
            self.end(value)


class WholeTask(SourceTask):
    """Computes the dictionary of a multi-output: the keys first, then what belongs to each."""

    source: MultiOutputSource

    def compute(self) -> None:
        """Have the keys told."""
        keys = self.source._keys
        self.run.start(self, self.source, lambda block: list(keys(block)), wish=SEQUENTIAL)

    def completed(self, job: Job | None, value: Any) -> None:
        """Request what belongs to the keys."""
        if self.state == 1:
            self._go_on_with(value)
            return
        self.state = 3
        self.parts = [(key, self.run.request_cell(self.source, key, self)) for key in value]
        if not self.missing:
            self.run.stack.append(self)

    def step(self) -> None:
        """Go on, as far as that is possible now."""
        if self.state != 3 or self.done or self.error is not None:
            super().step()
        elif not self.missing:
            value = {
                key: part.value if isinstance(part, Task) else part for key, part in self.parts
            }
            self.parts = []
            super().completed(None, value)


class SinkTask(Task):
    """Brings a sink up to date: what announced to it first, then the setter."""

    inlet: Inlet | None = None

    def __init__(self, run: Run, sink: Sink) -> None:
        self.run = run
        run.live[self] = None
        run.stack.append(self)
        self.sink = sink
        sink._task = self

    def release(self) -> None:
        """Let another task bring the sink up to date."""
        if self.sink._task is self:
            self.sink._task = None

    def label(self) -> str:
        """Return the name by which messages speak of what it does."""
        return self.sink.label()

    def tell(self, *, changed: bool) -> None:
        """Tell the observers what came of it."""
        sink = self.sink
        unannounced = conclude(
            sink._observers, sink._ref, changed=changed, pending=bool(sink._active)
        )
        for observer in unannounced:
            Wave().from_source(observer)


class SingleTask(SinkTask):
    """Brings a single input up to date."""

    def step(self) -> None:
        """Go on, as far as that is possible now."""
        if self.done:
            return
        if self.error is not None:
            self.end(error=self.error)
            return
        sink = self.sink
        if self.state == 0:
            self.state = 1
            self.inlet = inlet = next(iter(sink._active), None)
            if inlet is not None and inlet.announcer is not None:
                self.run.request_cell(inlet.announcer, inlet.part, self)
        if self.missing or self.state != 1:
            return
        inlet = self.inlet
        if inlet is None or inlet.value is NOTHING:
            self.tell(changed=False)
            self.end()
            return
        self.state = 2
        self.value = inlet.value
        condition = sink._notify_condition
        job = self.run.start(self, sink, sink._method, (inlet.value,), writes=True)
        if condition is not None and job is not None:
            job.check = (condition, (inlet.value,))

    def completed(self, job: Job | None, value: Any) -> None:  # noqa: ARG002 - what a setter returns is for others
        """Forget the value, which is set now, and tell the observers."""
        assert self.inlet is not None
        self.sink.done(self.inlet, self.value)
        self.tell(changed=job is None or job.verdict)
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
        super().__init__(run, sink)
        self.pull = pull
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

    def completed(self, job: Job | None, value: Any) -> None:
        """Take the result of one step."""
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
            self.run.start(self, self.sink, function, args, writes=True)

    def _ask_condition(self) -> None:
        condition, changes = self.sink._notify_condition, self.changes
        if condition is None or not changes or self.pull:
            self._finish(changed=bool(changes))
            return
        self.state = 3

        def changed(block: Any) -> bool:
            return any(condition(block, data_id, value) for data_id, value in changes)

        self.run.start(self, self.sink, changed, wish=SEQUENTIAL)

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


class Goal(Task):
    """What a run was begun for.

    Args:
        wanted: What is asked for: methods of the run, and their arguments but the last.
        patient: All are brought to their end before a failure is told.

    Attributes:
        errors: The failures.
    """

    def __init__(
        self,
        run: Run,
        wanted: Sequence[tuple[Any, ...]],
        *,
        patient: bool = False,
    ) -> None:
        super().__init__(run)
        self.wanted = wanted
        self.patient = patient
        self.errors: list[BaseException] = []

    def step(self) -> None:
        """Ask for everything, unless it is there."""
        if self.error is not None:
            self.end(error=self.error)
            return
        if self.state == 0:
            self.state = 1
            for ask, *what in self.wanted:
                self.value = ask(self.run, *what, self)
        if not self.missing:
            self.end(self.value)

    def told(self, other: Task, error: BaseException | None) -> None:
        """Take note that *other* is done."""
        if error is not None and not self.done:
            self.errors.append(error)
        self.value = other.value
        if error is None or self.patient:
            super().told(other, None)
        else:
            super().told(other, error)

    def end(self, value: Any = None, error: BaseException | None = None) -> None:
        """Be done."""
        self.wanted = ()
        if error is not None and error not in self.errors:
            self.errors.append(error)
        super().end(value, error)


class Extras(Task):
    """The inputs that a run brings up to date by the way; their failures are their own."""

    def step(self) -> None:
        """Wait for all that comes."""

    def told(self, other: Task, error: BaseException | None) -> None:
        """Take note that *other* is done."""
        self.missing -= 1
        if error is not None and len(other.waiters) == 1:
            _logger.error(
                "%s could not be brought up to date; its next read raises this again",
                other.label(),
                exc_info=error,
            )


class Run:
    """What a read, or whatever else brings parts of a network up to date, has to do.

    Args:
        executor: Runs the methods.
        wanted: What the run is begun for; see `Goal`.
        patient: All is brought to its end before a failure is told.

    Attributes:
        inline: Jobs for the thread that conducts the run.
        threaded: Jobs for threads of the executor's own pool.
        away: Jobs that have to pass the executor's door.
        running: How many jobs run.
        outside: How many times a task waits for one of another run.
        crews: How many threads work on `threaded`, or are about to.
        busy: How many of them run a job.
        parent: The job during which the run was begun.
        closed: Nobody waits for it any more; what runs is brought to its end.
        bell: Wakes the thread or coroutine that conducts the run, if it sleeps.
    """

    running = 0
    outside = 0
    crews = 0
    busy = 0
    closed = False
    bell: Callable[[], object] | None = None
    extras: Extras | None = None
    value: Any = None
    errors: list[BaseException] | tuple[()] = ()

    def __init__(
        self,
        executor: Any,
        wanted: Sequence[tuple[Any, ...]],
        *,
        patient: bool = False,
    ) -> None:
        self.executor = executor
        self.context = contextvars.copy_context()
        self.parent = current_job.get()
        self.live: dict[Task, None] = {}
        self.stack: list[Task] = []
        self.inline: list[Job] = []
        self.threaded: list[Job] = []
        self.away: list[Job] = []
        self.uneventful = executor.uneventful
        self.goal = Goal(self, wanted, patient=patient)
        if self.parent is not None:
            self.parent.nested = [*self.parent.nested, self]

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to wait for."""
        if self.closed:
            return True
        goal = self.goal
        if not goal.done:
            return False
        return goal.error is not None or self.extras is None or not self.extras.missing

    @property
    def stalled(self) -> bool:
        """Whether all its tasks wait for each other, or for those of other runs."""
        return not (self.running or self.inline or self.threaded or self.away)

    def lacks_crew(self, size: int) -> bool:
        """Tell whether one more thread, of *size* at most, would find something to do."""
        return self.crews < size and self.crews - self.busy < len(self.threaded)

    # What tasks ask for

    def request_cell(self, source: Source, key: Any, waiter: Task) -> Any:
        """Have the cell for *key* computed, for *waiter*; return its result or its task."""
        cell = source.cell(key)
        task = cell.task
        if task is None:
            if source.fresh(cell) and not source._holds:
                self.deliver(source, cell, cell.result, source._changes)
                return cell.result
            if key is WHOLE:
                task = WholeTask(self, source, cell, ())
            else:
                task = SourceTask(self, source, cell, () if key is PLAIN else (key,))
        waiter.wait_for(task)
        return task

    def request_loose(
        self, source: Source, args: tuple[Any, ...], kwargs: Mapping[str, Any], waiter: Task
    ) -> None:
        """Have the getter run with arguments of its own, for *waiter*."""
        waiter.wait_for(LooseTask(self, source, Cell(NOTHING), args, kwargs))

    def request_sink(self, sink: Sink, waiter: Task) -> None:
        """Have *sink* brought up to date, for *waiter*."""
        task = sink._task
        if task is None:
            if not sink._active:
                for observer in sink._observers:
                    observer._announcers.pop(sink._ref, None)
                return
            task = self._sink_task(sink)
        waiter.wait_for(task)

    def pull(self, sink: MultiSink, waiter: Task) -> None:
        """Have what is pending at *sink* set, for *waiter*, which tells the observers itself."""
        if sink._task is None and sink._active:
            MultiTask(self, sink, pull=True)
        if sink._task is not None:
            waiter.wait_for(sink._task)

    def request_extra(self, sink: Sink) -> None:
        """Have *sink* brought up to date by the way."""
        if not self.closed and sink._task is None and sink._active:
            if self.extras is None:
                self.extras = Extras(self)
            self.extras.wait_for(self._sink_task(sink))

    def _sink_task(self, sink: Sink) -> SinkTask:
        return MultiTask(self, sink) if isinstance(sink, MultiSink) else SingleTask(self, sink)

    def deliver(self, source: Source, cell: Cell, value: Any, version: int) -> None:
        """Give *value* to all that wait for it."""
        for link in tuple(cell.links.values()):
            inlet, sink = link.inlet, link.sink
            task = sink._task
            under_way = task is not None and task.inlet is inlet and inlet.version != version
            if inlet.announcer is None and not under_way:
                continue
            inlet.value = value
            inlet.version = version
            if version == source._changes and not source._announcers:
                inlet.announcer = None
            if task is None and sink._laziness >= Laziness.ON_NOTIFY:
                self.request_extra(sink)

    def start(
        self,
        task: Task,
        node: Node,
        function: Callable[..., Any],
        args: tuple[Any, ...] = (),
        wish: Parallelization | None = None,
        *,
        writes: bool = False,
    ) -> Job | None:
        """Have *function* run for *task*; without a *wish*, as far away as *node* may."""
        if self.closed:
            task.abort()
            return None
        job = Job(task, node, function, args, wish or node._parallelization)
        if writes:
            job.writes = True
        if isinstance(task.jobs, list):
            task.jobs.append(job)
        else:
            task.jobs = [job]
        # Where the executor runs the method, if that is known and there is no more to it.
        level: Parallelization | None = SEQUENTIAL
        if wish is None:
            placed = node._placed.get(function)
            level = None
            if placed is not None and self.uneventful:
                identity, wished, known = placed
                if identity is self.executor._identity and wished is job.wish:
                    level = known
        if level is SEQUENTIAL:
            self.inline.append(job)
        elif level is THREAD:
            self.threaded.append(job)
        else:
            self.away.append(job)
        return job

    # What its driver does

    def advance(self) -> None:
        """Do all that can be done without running a method."""
        stack = self.stack
        while stack:
            task = stack.pop()
            if not task.done:
                try:
                    task.step()
                except Exception as error:  # a block is gone, a loop was found
                    task.end(error=error)

    def complete(self, job: Job, value: Any, error: BaseException | None) -> None:
        """Take note that *job* has run."""
        task = job.task
        assert task is not None
        job.block = job.call = job.task = None  # contexts may keep the job
        self.running -= 1
        if len(task.jobs) > 1:
            task.jobs = [other for other in task.jobs if other is not job]
        else:
            task.jobs = ()
        if task.done:
            return
        if error is None:
            try:
                task.completed(job, value)
            except Exception as failure:  # a block is gone, a loop was found
                error = failure
        if error is not None and not task.done:
            task.failed()
            task.end(error=error)
        if self.closed:
            self.stack.clear()
            for left in list(self.live):
                if not left.jobs:
                    left.abort()

    def close(self) -> None:
        """Begin nothing any more; what other runs wait for, they do themselves."""
        self.closed = True
        self.bell = None
        self.stack.clear()
        for queue in (self.inline, self.threaded, self.away):
            while queue:
                job = queue.pop()
                if job.task is not None:
                    job.task.jobs = ()
        for task in list(self.live):
            if not task.jobs:
                task.abort()
        if self.parent is not None:
            self.parent.nested = [run for run in self.parent.nested if run is not self]
            self.parent = None
        self.value, self.errors = self.goal.value, self.goal.errors
        self.extras = None
        del self.goal  # it leads here

    def result(self) -> Any:
        """Return what was wanted, or raise why it is not there; once, when it is closed."""
        errors, self.errors = self.errors, ()
        value, self.value = self.value, None
        if not errors:
            return value
        try:
            if len(errors) == 1:
                raise errors[0]
            raise BaseExceptionGroup(
                f"{len(errors)} inputs could not be brought up to date", errors
            )
        finally:
            del errors  # their tracebacks lead here

    def ring(self) -> None:
        """Wake the driver."""
        bell, self.bell = self.bell, None
        if bell is not None:
            bell()

    def check_loop(self) -> None:
        """Fail if the run waits for what waits for it.

        Source: the search for a cycle in the wait-for graph, as in databases.
        """
        path: list[Task] = []
        on_path: set[Task] = set()
        seen: set[Task] = set()
        work: list[Task | None] = [self.goal]
        while work:
            task = work.pop()
            if task is None:
                on_path.discard(path.pop())
                continue
            if task in on_path:
                begin = path.index(task)
                labels = [
                    member.label() for member in path[begin:] if isinstance(member, SourceTask)
                ]
                self.goal.end(error=CycleError([*labels[::-1], labels[-1]]))
                return
            if task in seen:
                continue
            seen.add(task)
            path.append(task)
            on_path.add(task)
            work.append(None)
            if task.jobs:
                work += [run.goal for job in task.jobs for run in job.nested if not run.goal.done]
            else:
                work += [other for other in task.waits if not other.done]
