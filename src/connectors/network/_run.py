"""`Run`: one read, or whatever else brings parts of a network up to date.

A run that needs what another run computes at that moment waits for that task.
"""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from connectors._errors import CycleError
from connectors._flags import Laziness, Parallelization

from . import _nodes, _waves
from ._nodes import WHOLE, Cell, MultiSink, Node, SingleSink, Sink, Source
from ._pull import MultiTask
from ._tasks import Job, Task, current_job
from ._walk import LooseTask, Walk, WholeTask

SEQUENTIAL = Parallelization.SEQUENTIAL
_logger = logging.getLogger("connectors")


class Goal(Task):
    """What a run was begun for.

    Args:
        wanted: What is asked for: methods of the run, and their arguments but the last.
        patient: All are brought to their end before a failure is told.

    Attributes:
        errors: The failures.
        value: What is wanted, if it is one thing.
        lost: It ended with a failure, before everything was brought to its end.
    """

    value: Any = None
    lost = False

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
                value = ask(self.run, *what, self)
                self.value = None if isinstance(value, Task) else value
        if not self.missing:
            self.end()

    def told(self, other: Task, value: Any, error: BaseException | None) -> None:
        """Take note that *other* is done."""
        if self.run.epoch <= other.run.epoch:
            if error is not None and not self.done:
                self.errors.append(error)
            self.value = value
        super().told(other, value, None if self.patient else error)

    def end(self, value: Any = None, error: BaseException | None = None) -> None:
        """Be done."""
        self.wanted = ()
        self.lost = error is not None
        if error is not None and error not in self.errors:
            self.errors.append(error)
        self.error = None
        super().end(value, error)


class Extras(Task):
    """The inputs that a run brings up to date by the way; their failures are their own."""

    def step(self) -> None:
        """Wait for all that comes."""

    def told(self, other: Task, value: Any, error: BaseException | None) -> None:  # noqa: ARG002
        """Take note that *other* is done."""
        self._heard_of(other)
        if error is not None and not isinstance(error, Exception):
            self.run.goal.errors.append(error)  # it is meant for the caller, whoever met it
        elif error is not None:
            _logger.error(
                "an input could not be brought up to date; its next read raises this again",
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
        generation: The process in which it began, counted in forks.
        epoch: How many changes were complete when it began, and are seen by all that it does.
        parent: The job during which the run was begun.
        present: The job that the thread that conducts runs now.
        closed: Nobody waits for it any more; what runs is brought to its end.
        settled: The end of that job is known.
        broken: Something came from outside and ended it: Ctrl-C, a cancellation.
        help: A job of another run that is to be done here, with that run.
        bell: Wakes the thread or coroutine that conducts the run, if it sleeps.
    """

    running = 0
    outside = 0
    crews = 0
    busy = 0
    closed = False
    bell: Callable[[], object] | None = None
    present: Job | None = None
    settled = True
    broken = False
    help: tuple[Run, Job, Parallelization] | None = None
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
        self.tasks: list[Task] = []
        self.stack: list[Task] = []
        self.inline: list[Job] = []
        self.threaded: list[Job] = []
        self.away: list[Job] = []
        self.uneventful = executor.uneventful
        self.identity = executor._identity
        self.epoch = _waves.epoch
        self.generation = _nodes.generation
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
        return goal.lost or self.extras is None or not self.extras.missing

    @property
    def awaited(self) -> Task:
        """The task for whose end the caller waits now."""
        if self.goal.done and self.extras is not None:
            return self.extras
        return self.goal

    @property
    def stalled(self) -> bool:
        """Whether all its tasks wait for each other, or for those of other runs."""
        return not (self.running or self.inline or self.threaded or self.away)

    def lacks_crew(self, size: int) -> bool:
        """Tell whether one more thread, of *size* at most, would find something to do."""
        if not size:  # there is no pool any more
            return bool(self.threaded) and not self.crews
        return self.crews < size and self.crews - self.busy < len(self.threaded)

    # What tasks ask for

    def request_cell(self, source: Source, key: Any, waiter: Task) -> Any:
        """Have the cell for *key* computed, for *waiter*; return its result or its task."""
        cell = source.cell(key)
        task = cell.task
        if task is None or task.run.generation != _nodes.generation:
            if source.fresh(cell) and not source._holds:
                self.deliver(source, cell, cell.result, source._changes)
                return cell.result
            task = (WholeTask if key is WHOLE else Walk)(self, source, cell)
            cell.task = task
        waiter.wait_for(task, cell)
        return task

    def request_loose(
        self, source: Source, args: tuple[Any, ...], kwargs: Mapping[str, Any], waiter: Task
    ) -> None:
        """Have the getter run with arguments of its own, for *waiter*."""
        waiter.wait_for(LooseTask(self, source, args, kwargs))

    def request_sink(self, sink: Sink, waiter: Task) -> None:
        """Have *sink* brought up to date, for *waiter*."""
        task = sink._task
        if task is None or task.run.generation != _nodes.generation:
            if not sink._active:
                for observer in sink._observers:
                    observer._announcers.pop(sink._ref, None)
                return
            task = self._sink_task(sink)
        waiter.wait_for(task, sink)

    def pull(self, sink: MultiSink, waiter: Task) -> None:
        """Have what is pending at *sink* set, for *waiter*, which tells the observers itself."""
        if sink._task is None and sink._active:
            MultiTask(self, sink, pull=True)
        if sink._task is not None:
            waiter.wait_for(sink._task, sink)

    def wait_for_sink(self, sink: Sink, waiter: Task) -> None:
        """Have *waiter* wait for what is done with *sink* now, and ask for nothing."""
        if sink._task is not None:
            waiter.wait_for(sink._task, sink)

    def request_extra(self, sink: Sink) -> None:
        """Have *sink* brought up to date by the way."""
        if not self.closed and sink._task is None and sink._active:
            if self.extras is None:
                self.extras = Extras(self)
            self.extras.wait_for(self._sink_task(sink))

    def _sink_task(self, sink: Sink) -> Task:
        if isinstance(sink, SingleSink):
            sink._task = task = Walk(self, sink, None)
            return task
        assert isinstance(sink, MultiSink)
        return MultiTask(self, sink)

    def deliver(self, source: Source, cell: Cell, value: Any, version: int) -> None:
        """Give *value* to all that wait for it."""
        for link in tuple(cell.links.values()):
            inlet, sink = link.inlet, link.sink
            task = sink._task
            under_way = (
                isinstance(sink, SingleSink)
                and sink._under_way is inlet
                and inlet.version != version
            )
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
        job: Job,
        node: Node,
        function: Callable[..., Any],
        wish: Parallelization | None = None,
    ) -> None:
        """Have *job* run *function* of *node*; without a *wish*, as far away as it may."""
        task = job if isinstance(job, Task) else job.task
        assert task is not None
        if self.closed:
            task.abort()
            return
        job.block = node._block()
        if job.block is None:
            node.block()
        job.node = node
        job.function = function
        task.given += 1
        if wish is not None:
            job.wish = wish
            self.inline.append(job)
            return
        job.wish = wish = node._parallelization
        # Where the executor runs the method, if that is known and there is no more to it.
        level = node._placed.get((self.identity, function, wish)) if self.uneventful else None
        if level is SEQUENTIAL:
            self.inline.append(job)
        elif level is not None:
            self.threaded.append(job)
        else:
            self.away.append(job)

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
                    task.end(error=error.with_traceback(None))

    def complete(self, job: Job, value: Any, error: BaseException | None) -> None:
        """Take note that *job* has run."""
        task = job if isinstance(job, Task) else job.task
        assert task is not None
        # Contexts and tracebacks may keep the job.
        job.block = job.call = job.task = None
        job.args = ()
        self.running -= 1
        task.given -= 1
        if job is self.present:
            self.settled = True
        if task.done:
            return
        if error is None:
            try:
                task.completed(job, value)
            except Exception as failure:  # a block is gone, a loop was found
                error = failure.with_traceback(None)
        if error is not None and not task.done:
            task.failed()
            task.end(error=error)
        if self.closed:
            self.stack.clear()
            self._abort_idle()

    def give_back(self, job: Job) -> None:
        """Take note that *job* was stopped because nobody here waits for it any more."""
        task = job if isinstance(job, Task) else job.task
        if task is not None:
            task.given -= 1
            if not task.done and self.closed:
                task.abort()

    def close(self) -> None:
        """Begin nothing any more; what other runs wait for, they do themselves."""
        self.closed = True
        self.bell = None
        self.stack.clear()
        for queue in (self.inline, self.threaded, self.away):
            while queue:
                job = queue.pop()
                task = job if isinstance(job, Task) else job.task
                assert task is not None
                task.given -= 1
        if self.present is not None and not self.settled:
            self.give_back(self.present)  # it was interrupted: what it is for is done anew
        self._abort_idle()
        if self.parent is not None:
            self.parent.nested = [run for run in self.parent.nested if run is not self]
            self.parent = None
        self.value, self.errors = self.goal.value, self.goal.errors
        self.extras = self.present = None
        del self.goal  # it leads here

    def _abort_idle(self) -> None:
        left = [task for task in self.tasks if not task.done]
        self.tasks = [task for task in left if task.given]
        for task in left:
            if not task.given:
                task.abort()

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

    def look_round(self) -> tuple[Run, Job, Parallelization] | None:
        """Look what the run waits for, and fail if that waits for the run.

        Returns:
            A job of another run for this thread, with that run and the level: what is begun in a
            method may wait for something that the caller of this very method has still to do.

        Source: the search for a cycle in the wait-for graph, as in databases.
        """
        path: list[Task] = []
        on_path: set[Task] = set()
        seen: set[Task] = set()
        by_the_way = self.awaited is self.extras
        work: list[Task | None] = [self.awaited]
        while work:
            task = work.pop()
            if task is None:
                on_path.discard(path.pop())
                continue
            if task in on_path:
                begin = path.index(task)
                if by_the_way and self.extras is not None:
                    self.extras.missing = 0  # what is wanted by the way can wait for its own read
                    return None
                labels = [label for member in path[begin:] for label in member.labels()]
                self.goal.end(error=CycleError([*labels[::-1], *labels[-1:]]))
                return None
            if task in seen:
                continue
            seen.add(task)
            path.append(task)
            on_path.add(task)
            work.append(None)
            if task.given:
                for job in task.jobs():
                    level = None if self.parent is None else task.run.hand_over(job)
                    if level is not None:
                        return task.run, job, level
                work += [run.awaited for job in task.jobs() for run in job.nested]
            else:
                work += [other for other in task.waits if not other.done]
        return None

    def hand_over(self, job: Job) -> Parallelization | None:
        """Let another thread do *job*, if it is not begun and nobody here can begin it.

        Returns:
            The level at which it is done, PROCESS if it has to be dispatched, `None` if it stays.
        """
        queues = [(self.threaded, Parallelization.THREAD)]
        if self.present is not None and self.present.nested:
            queues += [(self.inline, SEQUENTIAL), (self.away, Parallelization.PROCESS)]
        for queue, level in queues:
            if job in queue:
                queue.remove(job)
                self.running += level is not Parallelization.PROCESS
                return level
        return None
