"""`Supervision`: one `Engine` between those who tell it and those who do what it says.

```text
futures of tasks ──┐                              ┌─ drive   (a thread)
stop(), Ctrl-C    ─┼─▶ Supervision ── news, alarm ─┼─ adrive  (asyncio, trio)
                   │       Engine                 └─ stop(): helps, so that its deadline holds
```
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import contextvars
import functools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import attrs

from connectors import _clock, _worlds
from connectors._calls import Call
from connectors._executor import Executor
from connectors._flags import Parallelization
from connectors._outcome import Outcome, OutcomeState
from connectors.executors.threading import ThreadingExecutor

from ._engine import Action, Do, Engine, Phase
from ._policies import ExecutorExceptionPolicies
from ._runs import CallRun, Run
from ._task import AbstractExecutorTask, TaskAwaitable, outcome_of

Logger = logging.Logger | logging.LoggerAdapter[Any]

_SIGKILL = 9
_SHORT = 0.01  # seconds
_PATIENCE = 0.45  # seconds after its deadline in which a stop has to have returned
_inside: contextvars.ContextVar[tuple[Supervision, ...]] = contextvars.ContextVar(
    "_inside", default=()
)


@attrs.frozen
class Hooks:
    """How the tasks of a group are handled.

    Attributes:
        open: Prepares for the tasks; called once, before the first is started.
        start: Starts a task and returns its future.
        stop: Asks a task to end.
        close: Is called with *wait* and *kill* when all have ended.
    """

    open: Callable[[], object]
    start: Callable[[AbstractExecutorTask], TaskAwaitable]
    stop: Callable[[AbstractExecutorTask], object]
    close: Callable[..., object]


class Supervision:
    """What several threads and loops share about the tasks of one group.

    Args:
        tasks: The tasks.
        policy: What becomes of the others when one fails.
        hooks: How they are handled.
        stop_timeout: The limit of stops that nobody gave one.
        logger: Where failures are logged.
    """

    def __init__(
        self,
        tasks: Sequence[AbstractExecutorTask],
        policy: ExecutorExceptionPolicies,
        hooks: Hooks,
        stop_timeout: float | None = None,
        logger: Logger | None = None,
    ) -> None:
        self.tasks = tasks
        self.finished = False
        self.driver_loop: Any = None
        self._hooks = hooks
        self._logger: Logger = logger or logging.getLogger("connectors.tasks")
        self._engine = Engine(len(tasks), policy, stop_timeout)
        self._lock = threading.RLock()  # signal handlers may stop
        self._watchers: list[Future[None]] = []
        self._error_taken = False
        self._keeper: Executor | None = None
        self._opened = False
        self._driven = False

    # --- looking ------------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """Whether all tasks were started and not all have ended."""
        with self._lock:
            return self._engine.ready and not self._engine.over

    @property
    def ready(self) -> bool:
        """Whether each task has begun, or failed to."""
        with self._lock:
            return self._engine.ready

    @property
    def began(self) -> bool:
        """Whether it was started."""
        return self._engine.begun

    @property
    def broke_off(self) -> bool:
        """Whether the block of the group is to be left, because a task failed."""
        with self._lock:
            engine = self._engine
            propagates = engine.policy is ExecutorExceptionPolicies.propagate
            return engine.interruption is not None or (propagates and bool(engine.failures()))

    def abandoned(self) -> list[Any]:
        """Return the ids of the tasks that still run though nobody waits for them."""
        return [task.id for task in self.tasks if task.outcome.state is OutcomeState.abandoned]

    # --- beginning ----------------------------------------------------------------------------

    def begin(self) -> None:
        """Note that it is started.

        Raises:
            RuntimeError: It was started before.
        """
        with self._lock:
            if self._engine.begun:
                raise RuntimeError(
                    "this group was started already, and can be started only once; make a new one"
                )
            self._engine.begun = True

    def drive_in_thread(self) -> None:
        """Drive in a daemon thread, and return when each task has begun, or failed to."""
        self.begin()
        if self._engine.over:
            self._finish()
            return
        # As it is built in, without what the settings say of threads.
        keeper = self._keeper = ThreadingExecutor(threads=1, daemon=True)
        call = Call(self.drive, wish=Parallelization.THREAD, name="a group of tasks")
        with self.surviving():
            keeper.submit_call(call)
            if not self.wait(lambda: self.ready or self.finished):
                self.leave()  # Ctrl-C

    @contextlib.contextmanager
    def surviving(self) -> Iterator[None]:
        """Let a Ctrl-C in the block stop all tasks, wherever it comes, before it leaves."""
        try:
            yield
        except KeyboardInterrupt as error:
            if self.began and not self.finished:
                self.interrupt(error)
                self.drive()  # if nobody does
                self.wait(self.is_finished)
                self.leave()
            raise

    # --- driving ------------------------------------------------------------------------------

    def drive(self) -> None:
        """Do what is to be done until all has ended, in this thread, unless somebody does."""
        with self._lock:
            driven, self._driven = self._driven, True
        if driven:
            return
        try:
            while True:
                news = self._watch()
                self._work()
                if self._engine.quiet:
                    break
                _wait(news, self._engine.alarm())
            self._close()
        finally:
            self._finish()

    async def adrive(self, news_of: Callable[[], object]) -> None:
        """Do what is to be done until all has ended, in the running loop.

        Args:
            news_of: Is called after each piece of news.
        """
        self._driven, self.driver_loop = True, _worlds.current_loop()
        try:
            if not self._engine.over:
                with contextlib.suppress(Exception):  # it fails again where a task is started
                    await _worlds.in_thread(self._open)
            while True:
                news = self._watch()
                self._work()
                news_of()
                if self._engine.quiet:
                    break
                await _await(news, self._engine.alarm())
            await _worlds.in_thread(self._close)
        except BaseException:  # the loop itself is being closed
            self._hooks.close(wait=False, kill=True)
            raise
        finally:
            self._finish()

    def _open(self) -> None:
        if not self._opened:
            self._hooks.open()
            self._opened = True

    def _work(self) -> None:
        while (action := self._next()) is not None:
            errors: list[BaseException] = []
            self._perform(action, errors)
            self._engine.stop_errors.extend(errors)

    def _next(self, *, helping: bool = False) -> Action | None:
        with self._lock:
            return self._engine.next(time.monotonic(), helping=helping)

    def _perform(self, action: Action, errors: list[BaseException]) -> None:
        task = self.tasks[action.index]
        match action.what:
            case Do.launch:
                self._launch(action.index, task)
            case Do.report:
                self._report(task)
            case Do.tell:
                self._tell(task, errors)
            case Do.withdraw:
                if isinstance(task.future, Run):
                    task.future.withdraw()
            case Do.terminate | Do.kill:
                self._force(action.index, task, kill=action.what is Do.kill)
            case Do.give_up:
                self._give_up(action.index, task)

    def _launch(self, index: int, task: AbstractExecutorTask) -> None:
        token = _inside.set((*_inside.get(), self))
        try:
            self._open()
            future = self._hooks.start(task)
            task.future = future
        except BaseException as error:
            run = Run()
            run.finish(error=error)
            task.future = future = run
        finally:
            _inside.reset(token)
        if isinstance(future, Run):
            future.on_begin(functools.partial(self._begun, index))
        else:
            self._begun(index)
        ended = functools.partial(self._ended, index)
        if isinstance(future, Future):
            future.add_done_callback(ended)
        else:  # callbacks of asyncio are added in its loop
            future.get_loop().call_soon_threadsafe(future.add_done_callback, ended)

    def _report(self, task: AbstractExecutorTask) -> None:
        error = task.outcome.error
        self._logger.error(
            "task %s failed: %s: %s",
            task.id,
            type(error).__name__,
            error,
            exc_info=error,
            extra={"task_id": task.id},
        )

    def _tell(self, task: AbstractExecutorTask, errors: list[BaseException]) -> None:
        try:
            self._hooks.stop(task)
        except BaseException as error:
            errors.append(error)

    def _force(self, index: int, task: AbstractExecutorTask, *, kill: bool) -> None:
        future = task.future
        possible = False
        if isinstance(future, Run):
            possible = future.force(kill)
        elif future is not None:
            future.cancel()
        if not possible:
            with self._lock:
                self._engine.hopeless(index)

    def _give_up(self, index: int, task: AbstractExecutorTask) -> None:
        future = task.future
        if isinstance(future, CallRun) and future.killed:
            outcome = Outcome(OutcomeState.cancelled, task.id, signal=_SIGKILL)
        else:
            outcome = Outcome(OutcomeState.abandoned, task.id)
        self._end(index, outcome)

    # --- news ---------------------------------------------------------------------------------

    def _begun(self, index: int) -> None:
        with self._lock:
            self._engine.launched(index)
            matters = self._engine.ready or self._engine.stopping
        if matters:
            self._tell_watchers()

    def _ended(self, index: int, future: Any) -> None:
        outcome = outcome_of(future, self.tasks[index].id)
        crash = future.crash if isinstance(future, CallRun) else None
        if crash is not None and outcome.state is OutcomeState.cancelled:
            how = Outcome.of_error(crash)
            outcome = attrs.evolve(outcome, error=crash, exit_code=how.exit_code, signal=how.signal)
        self._end(index, outcome)

    def _end(self, index: int, outcome: Outcome) -> None:
        with self._lock:
            if self._engine.phase(index) is not Phase.ended:
                self.tasks[index]._outcome = outcome
            self._engine.ended(index, outcome, time.monotonic())
            self._publish()
        self._tell_watchers()

    def _publish(self) -> None:
        """Tell the tasks that never will be started how that ended."""
        for index, task in enumerate(self.tasks):
            outcome = self._engine.outcome(index)
            if outcome is not None and task._outcome is None:
                task._outcome = attrs.evolve(outcome, id=task.id)

    def _watch(self) -> Future[None]:
        """Return a future that is done with the next news."""
        watcher: Future[None] = Future()
        with self._lock:
            self._watchers.append(watcher)
        return watcher

    def _tell_watchers(self) -> None:
        with self._lock:
            watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            _settle(watcher)

    # --- ending -------------------------------------------------------------------------------

    def _close(self) -> None:
        abandoned = self.abandoned()
        if abandoned:
            self._logger.warning(
                "%d of %d tasks did not stop in time and are abandoned, though they still run: %s",
                len(abandoned),
                len(self.tasks),
                ", ".join(map(str, abandoned)),
            )
        forced = any(self._engine.was_forced(index) for index in range(len(self.tasks)))
        try:
            self._hooks.close(wait=not abandoned, kill=forced)
        except Exception as error:
            self._engine.stop_errors.append(error)

    def _finish(self) -> None:
        self.finished = True
        if self._keeper is not None:
            self._keeper.shutdown(wait=False)
        self._tell_watchers()

    def ask(self, timeout: float | None) -> list[BaseException]:
        """Tell all tasks to end, within *timeout* seconds, in this thread; return what that raised.

        Tasks that have not begun are told by who drives, as soon as they have.
        """
        with self._lock:
            self._engine.stop(time.monotonic(), timeout)
            self._publish()
            # All at once, so that nobody else tells some of them meanwhile.
            actions = self._engine.asks() if self._engine.begun else []
        self._tell_watchers()
        errors: list[BaseException] = []
        for action in actions:
            self._perform(action, errors)
        return errors

    def break_off(self) -> None:
        """Let all tasks end, within the limit of the group, and tell them in this thread."""
        self._engine.stop_errors.extend(self.ask(self._engine.stop_timeout))

    def interrupt(self, error: BaseException) -> None:
        """Let all tasks end because of *error*, a Ctrl-C; at once if this is not the first."""
        with self._lock:
            again = self._engine.interruption is not None
            self._engine.interruption = self._engine.interruption or error
        self._engine.stop_errors.extend(self.ask(0 if again else self._engine.stop_timeout))

    def help(self) -> list[BaseException]:
        """Do what has to be done to stop, in this thread; return what the tasks raised."""
        errors: list[BaseException] = []
        while (action := self._next(helping=True)) is not None:
            self._perform(action, errors)
        return errors

    def may_wait(self) -> bool:
        """Tell whether the caller is none of those for whom it would wait."""
        here = _worlds.current_loop()
        native = here is not None and here is self.driver_loop
        return not native and self not in _inside.get()

    def stop(self, timeout: float | None = None) -> None:
        """Tell every task to stop, and wait for their end or the deadline."""
        limit = None if timeout is None else time.monotonic() + timeout + _PATIENCE
        errors = self.ask(timeout)
        if not self.began:
            return
        while True:
            news = self._watch()
            errors += self.help()
            now = time.monotonic()
            if self.finished or not self.may_wait() or (limit is not None and now >= limit):
                break
            _wait(news, _first(self._engine.alarm(), limit))
        self.let_go()
        self.leave(errors)

    async def astop(self, timeout: float | None) -> None:  # noqa: ASYNC109 - as in `stop`
        """Do as `stop`, without blocking the running loop."""
        limit = None if timeout is None else time.monotonic() + timeout + _PATIENCE
        errors = self.ask(timeout)
        if not self.began:
            return
        while True:
            news = self._watch()
            errors += self.help()
            now = time.monotonic()
            inside = self in _inside.get()
            if self.finished or inside or (limit is not None and now >= limit):
                break
            await _await(news, _first(self._engine.alarm(), limit))
        self.leave(errors)

    def wait(self, holds: Callable[[], bool], timeout: float | None = None) -> bool:
        """Wait until something holds; tell whether it does.

        Ctrl-C stops all tasks; then it is waited for their end, and what was waited for does not
        hold.
        """
        limit = None if timeout is None else time.monotonic() + timeout
        interrupted = False
        while True:
            try:
                news = self._watch()
                if self.finished if interrupted else holds():
                    return not interrupted
                if limit is not None and time.monotonic() >= limit:
                    return False
                _wait(news, limit)
            except KeyboardInterrupt as error:
                interrupted, limit = True, None
                self.interrupt(error)

    async def await_(self, holds: Callable[[], bool], seconds: float | None = None) -> bool:
        """Wait until something holds, in the running loop; tell whether it does."""
        limit = None if seconds is None else time.monotonic() + seconds
        while True:
            news = self._watch()
            if holds():
                return True
            if limit is not None and time.monotonic() >= limit:
                return False
            await _await(news, limit)

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end and raise what is to be raised.

        Raises:
            TimeoutError: It is not over within *timeout* seconds.
        """
        with self.surviving():
            if self.began and not self.wait(self.is_finished, timeout) and not self.finished:
                raise TimeoutError(self._not_over(timeout))
            self.let_go()
        self.leave()

    async def ajoin(self, timeout: float | None) -> None:  # noqa: ASYNC109 - as in `join`
        """Do as `join`, without blocking the running loop."""
        if self.began and not await self.await_(self.is_finished, timeout):
            raise TimeoutError(self._not_over(timeout))
        self.leave()

    def leave_with(self, error: BaseException) -> None:
        """Raise *error* together with what is kept, or return if nothing is."""
        kept = self.kept()
        if kept and kept[0] is self._engine.interruption:
            raise kept[0]
        if kept:
            raise _group_of([error, *kept], len(self.tasks)) from None

    def _not_over(self, timeout: float | None) -> str:
        running = [
            str(task.id) for task in self.tasks if task.outcome.state is OutcomeState.running
        ]
        return f"after {timeout:g} s these tasks still run: {', '.join(running)}; stop() ends them"

    def is_finished(self) -> bool:
        """Tell whether all is over, and the executor closed."""
        return self.finished

    def let_go(self) -> None:
        """Wait until the thread that drove has ended too."""
        if self._keeper is not None and self.finished:
            self._keeper.shutdown(wait=True)

    # --- raising ------------------------------------------------------------------------------

    def kept(self) -> list[BaseException]:
        """Return, once, the errors that are to leave."""
        with self._lock:
            engine = self._engine
            if self._error_taken or not (self.finished or engine.over):
                return []
            self._error_taken = True
            if engine.interruption is not None:
                return [engine.interruption]
            propagates = engine.policy is ExecutorExceptionPolicies.propagate
            return [*(engine.failures() if propagates else ()), *engine.stop_errors]

    def leave(self, errors: Iterable[BaseException] = ()) -> None:
        """Raise what is kept, and *errors*: one as it is, and several as a group."""
        leaving = [*self.kept(), *errors]
        if len(leaving) == 1:
            raise leaving[0]
        if leaving:
            raise _group_of(leaving, len(self.tasks))


def _group_of(errors: Sequence[BaseException], count: int) -> BaseExceptionGroup[BaseException]:
    """Return *errors* as one, an `ExceptionGroup` if they are no worse."""
    return BaseExceptionGroup(f"{len(errors)} errors in a group of {count} tasks", list(errors))


def _first(*moments: float | None) -> float | None:
    return min((moment for moment in moments if moment is not None), default=None)


def _settle(watcher: Future[None]) -> None:
    # News and the clock may both do it, and its watcher may have gone.
    with contextlib.suppress(concurrent.futures.InvalidStateError):
        watcher.set_result(None)


def _wait(news: Future[None], until: float | None) -> None:
    # A Ctrl-C that comes between the last look of the main thread and its sleep does not wake it.
    # The tasks have often begun just now, so the first sleep is a short one.
    for longest in (_SHORT, None):
        left = longest if until is None else max(0.0, until - time.monotonic())
        with contextlib.suppress(TimeoutError):
            news.result(left if longest is None or left is None else min(left, longest))
            return


async def _await(news: Future[None], until: float | None) -> None:
    timer = None
    if until is not None:
        left = max(0.0, until - time.monotonic())
        timer = _clock.after(left, functools.partial(_settle, news))
    try:
        await _worlds.result_of(news)
    finally:
        if timer is not None:
            timer.cancel()
