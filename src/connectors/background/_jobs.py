"""The jobs of one `parallelise`.

```text
          ┌─▶ crews, each of which does one job after the other ──────────┐
muster ───┤                                                               ├──▶ end ──▶ bell
          └─▶ conduct ──▶ start ──▶ executor ──▶ land ──▶ conduct ─▶ ... ─┘
```

Crews are for threads of its own when nobody observes the calls and nothing limits them: a job then
costs no hand-off. All else goes through the executor's door, job by job.

The first jobs are started by a thread of its own: the main thread may be interrupted at any moment,
and would not know whether the job that it was about to start runs.
"""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future
from typing import Any

import attrs

from connectors._calls import label_of
from connectors._executor import Executor
from connectors._flags import Parallelization
from connectors._flight import annotate
from connectors._outcome import Outcome
from connectors._packed_errors import let_go_of_frames

from ._bell import Bell
from ._crew import daemons
from ._exception import BgException, failure_of
from ._logs import is_for_the_program, tell

_EVERY = 1000  # how many jobs there are to one line of the log


@attrs.define(eq=False)
class Jobs:
    """Numbered jobs, of which some have ended, some run and some are still to start.

    Attributes:
        work: What is called, with what after the index.
        number: How many there are.
        width: How many run at once, at most.
        logger: Where to log.
        executor: Where they run.
        own: The executor is closed in the end.
        warns: A failure is logged, and the others go on.
    """

    work: tuple[Callable[..., Any], tuple[Any, ...], Mapping[str, Any]]
    number: int
    width: int
    logger: Any
    executor: Executor
    own: bool = attrs.field(kw_only=True)
    warns: bool = attrs.field(kw_only=True)
    label: str = ""
    stopped: bool = False
    values: list[Any] = attrs.field(factory=list)
    failures: dict[int, BaseException] = attrs.field(factory=dict)
    bell: Bell = attrs.field(factory=Bell)
    context: contextvars.Context = attrs.field(factory=contextvars.copy_context)
    _next: int = 0
    _running: set[int] = attrs.field(factory=set)
    _conducting: bool = False

    def perform(self, *, wait: bool) -> list[Any]:
        """Return what the jobs returned.

        Args:
            wait: Do not leave before the jobs that have started have ended.

        Raises:
            BgException: One failed.
            KeyboardInterrupt: It came meanwhile.
        """
        self.label = label_of(self.work[0])
        self.values = [None] * self.number
        conductor: Executor | None = None
        try:
            if self._is_inline():
                self.conduct()
            else:
                conductor, _ = daemons(1, "parallelise")
                conductor.submit(self._muster)
            self.bell.wait_for(self._is_over if wait else self._is_decided)
        except BaseException:
            self.stopped = True
            if conductor is None:
                self._running.clear()  # the job that ran here was interrupted
            if wait:
                self.bell.wait_for(self._is_over)
            raise
        finally:
            self._leave(conductor)
        if not self.failures:
            return self.values
        raise self._failure()

    def _muster(self) -> None:
        """Have the jobs done by crews, or start them one by one."""
        if not self._suits_crews():
            self.conduct()
            return
        try:
            for _ in range(self.width):
                self.executor.submit(self._crew)
        except RuntimeError:  # there is no thread to be had, which is the failure of the first job
            self.conduct()

    def _suits_crews(self) -> bool:
        executor = self.executor
        in_threads = executor._widest() is Parallelization.THREAD
        return self.own and in_threads and executor.uneventful and executor.has_own_threads()

    def _crew(self) -> None:
        """Do one job after the other in this thread, as long as there are any."""
        while (index := self._claim()) is not None:
            function, args, kwargs = self.work
            try:
                self._tell_start(index)
                value = self.context.copy().run(function, index, *args, **kwargs)
            except BaseException as error:
                annotate(error, self.label, self.executor.name, Parallelization.THREAD)
                self._end(index, None, error)
            else:
                self._end(index, value, None)
                del value

    def conduct(self) -> None:
        """Start jobs as long as there is room, unless another thread does."""
        with self.bell.lock:
            if self._conducting:
                return
            self._conducting = True
        try:
            while (index := self._claim()) is not None:
                self._start(index)
        except BaseException:
            self._conducting = False
            raise

    def _claim(self) -> int | None:
        with self.bell.lock:
            if self.stopped or self._next == self.number or len(self._running) >= self.width:
                self._conducting = False
                return None
            index = self._next
            self._next += 1
            self._running.add(index)
            return index

    def _start(self, index: int) -> None:
        function, args, kwargs = self.work
        submit = self.executor.submit
        try:
            self._tell_start(index)
            future = self.context.copy().run(submit, function, index, *args, **kwargs)
        except BaseException as error:
            self._end(index, None, error)
            if is_for_the_program(error):
                raise
        else:
            future.add_done_callback(functools.partial(self._land, index))

    def _tell_start(self, index: int) -> None:
        if index % _EVERY == 0:
            tell(self.logger.info, "%s: job %d of %d", self.label, index + 1, self.number)

    def _land(self, index: int, future: Future[Any]) -> None:
        if future.cancelled():
            self._end(index, None, CancelledError(f"job {index} of {self.label} was cancelled"))
        else:
            error = future.exception()
            self._end(index, None if error is not None else future.result(), error)
        self.conduct()

    def _end(self, index: int, value: Any, error: BaseException | None) -> None:
        try:
            if error is not None and self.warns:
                job = f"job {index} of {self.label} failed"
                tell(self.logger.warning, "%s: %r", job, error, exc_info=error)
            elif error is not None:
                let_go_of_frames(error)  # they lead here, and from here to it: a cycle
        finally:
            with self.bell.lock:
                self._running.discard(index)
                self.values[index] = value
                if error is not None and not self.warns:
                    self.failures[index] = error
                    self.stopped = True
                if self.stopped or self._is_over():
                    self.bell.ring()
            del error

    def _is_over(self) -> bool:
        return not self._running and (self.stopped or self._next == self.number)

    def _is_decided(self) -> bool:
        return self.stopped or self._is_over()

    def _is_inline(self) -> bool:
        inline = self.executor._widest() is Parallelization.SEQUENTIAL
        return inline and not self.executor._overrides

    def _leave(self, conductor: Executor | None) -> None:
        with self.bell.lock:
            left = sorted(self._running)
        if left:
            indices = ", ".join(map(str, left))
            tell(self.logger.warning, "%s: abandoned started jobs: %s", self.label, indices)
        else:
            self.work = (self.work[0], (), {})  # lest an error that leaves keeps them alive
        if conductor is not None:
            conductor.shutdown(wait=not left)
        if self.own:
            self.executor.shutdown(wait=not left)

    def _failure(self) -> BgException:
        with self.bell.lock:
            failed = sorted(self.failures.items(), key=lambda item: item[0])
        first, error = failed[0]
        outcome = Outcome.of_error(error, first)
        if len(failed) == 1:
            return failure_of(f"job {first} of {self.label} {outcome.state}", error, outcome)
        indices = ", ".join(str(index) for index, _ in failed)
        text = f"jobs {indices} of {self.label} failed"
        return failure_of(text, BaseExceptionGroup(text, [error for _, error in failed]), outcome)
