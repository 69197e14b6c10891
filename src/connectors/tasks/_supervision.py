"""`Supervision`: one `Engine` between those who tell it and those who do what it says.

```text
futures of tasks ──┐                              ┌─ drive   (a thread)
stop(), Ctrl-C    ─┼─▶ Supervision ── news, alarm ─┼─ adrive  (asyncio, trio)
                   │       Engine                 └─ stop(): helps, so that its deadline holds
```
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import functools
import logging
import os
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

from ._checks import Logger, checked_limit
from ._engine import Action, Do, Engine, Phase
from ._policies import ExecutorExceptionPolicies
from ._records import log_error
from ._runs import CallRun, Run
from ._task import AbstractExecutorTask, TaskAwaitable, outcome_of

Trouble = tuple[Any, BaseException]  # the id of a task, and what was raised on its account

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
        self.driver_loop: Any = None
        self._hooks = hooks
        self._logger: Logger = logger or logging.getLogger("connectors.tasks")
        self._engine = Engine(len(tasks), policy, stop_timeout)
        self._lock = threading.RLock()  # signal handlers may stop
        self._watchers: set[Future[None]] = set()
        self._troubles: list[Trouble] = []  # of the stops that nobody called
        self._error_taken = False
        self._keeper: Executor | None = None
        self._opening: Future[None] | None = None
        self._driven = False
        self._ended_here = False
        self._process = os.getpid()

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
    def finished(self) -> bool:
        """Whether all is over and the executor closed, or this is a forked child of its process.

        There, nobody runs the tasks, and those of the parent are none of its business.
        """
        return self._ended_here or self._is_forked

    @property
    def _is_forked(self) -> bool:
        return os.getpid() != self._process

    @property
    def broke_off(self) -> bool:
        """Whether the block of the group is to be left, because a task failed."""
        with self._lock:
            engine = self._engine
            propagates = engine.policy is ExecutorExceptionPolicies.propagate
            return engine.interruption is not None or (propagates and bool(engine.failures()))

    def abandoned(self) -> list[Any]:
        """Return the ids of the tasks that still run though nobody waits for them."""
        abandoned = OutcomeState.abandoned
        return [_id_of(task) for task in self.tasks if task.outcome.state is abandoned]

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
            self._engine.begun, self._process = True, os.getpid()
            for task in self.tasks:  # an earlier group may have had it
                task.future = task._outcome = None
            self._publish()

    def launch(self) -> None:
        """Start the tasks, and drive them in a thread."""
        self.begin()
        try:
            self.drive_in_thread()
        except BaseException as error:
            self.survive(error)
            raise

    def drive_in_thread(self) -> None:
        """Drive in a daemon thread, and return when each task has begun, or failed to."""
        if self._engine.over:
            self._finish()
            return
        # As it is built in, without what the settings say of threads.
        keeper = self._keeper = ThreadingExecutor(threads=1, daemon=True)
        call = Call(self.drive, wish=Parallelization.THREAD, name="a group of tasks")
        keeper.submit_call(call)
        if not self.wait(lambda: self.ready or self.finished):
            self.leave()  # Ctrl-C

    def survive(self, error: BaseException) -> None:
        """Let *error*, which is about to leave, stop all tasks first; it is raised then."""
        if not self.began or self.finished:
            return
        try:
            self.interrupt(error)
            self.drive()  # if nobody does
            self.wait(self.is_finished)
        except BaseException as again:
            self.survive(again)
        self.leave()

    # --- driving ------------------------------------------------------------------------------

    def drive(self) -> None:
        """Do what is to be done until all has ended, in this thread, unless somebody does."""
        with self._lock:
            driven, self._driven = self._driven, True
        if driven:
            return
        try:
            while not self._is_quiet():
                with self._watching() as news:
                    self._work()
                    if not self._is_quiet():
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
                await _worlds.in_thread(self._open)
            while not self._is_quiet():
                with self._watching() as news:
                    self._work()
                    news_of()
                    if not self._is_quiet():
                        await _await(news, self._engine.alarm())
            await _worlds.in_thread(self._close)
        except BaseException:  # the loop itself is being closed
            self._hooks.close(wait=False, kill=True)
            raise
        finally:
            self._finish()

    def _open(self) -> Future[None]:
        """Prepare for the tasks, unless that was tried; return how it went."""
        if self._opening is None:
            self._opening = Future()
            try:
                self._hooks.open()
            except BaseException as error:
                self._opening.set_exception(error)
            else:
                self._opening.set_result(None)
        return self._opening

    def _is_quiet(self) -> bool:
        with self._lock:
            return self._engine.quiet

    def _work(self) -> None:
        while (action := self._next()) is not None:
            self._troubles += self._perform(action)

    def _next(self, *, helping: bool = False) -> Action | None:
        if self._is_forked:
            return None
        with self._lock:
            return self._engine.next(time.monotonic(), helping=helping)

    def _perform(self, action: Action) -> list[Trouble]:
        """Do it, and return what the code of users raised and is to leave."""
        task = self.tasks[action.index]
        token = _inside.set((*_inside.get(), self))  # what is called may stop the group
        try:
            self._do(action, task)
        except KeyboardInterrupt as error:
            self._note(error)
        except BaseException as error:
            if action.what is Do.tell:
                error.add_note(f"while task {_id_of(task)} was told to stop")
            return [(_id_of(task), error)]
        finally:
            _inside.reset(token)
        return []

    def _do(self, action: Action, task: AbstractExecutorTask) -> None:
        match action.what:
            case Do.launch:
                self._launch(action.index, task)
            case Do.report:
                error = task.outcome.error
                log_error(self._logger, "task %s failed: %s: %s", _id_of(task), error)
            case Do.tell:
                self._hooks.stop(task)
            case Do.withdraw:
                if isinstance(task.future, Run):
                    task.future.withdraw()
            case Do.terminate | Do.kill:
                self._force(action.index, task, kill=action.what is Do.kill)
            case Do.give_up:
                self._give_up(action.index, task)

    def _launch(self, index: int, task: AbstractExecutorTask) -> None:
        try:
            self._open().result()
            self._follow(index, self._hooks.start(task))
        except BaseException as error:
            run = Run()
            run.finish(error=error)
            self._follow(index, run)

    def _follow(self, index: int, future: Any) -> None:
        task = self.tasks[index]
        task.future = future
        ended = functools.partial(self._ended, index)
        if isinstance(future, Run):
            future.on_begin(functools.partial(self._begun, index))
        elif isinstance(future, (Future, asyncio.Future)):
            self._begun(index)
        else:
            raise TypeError(
                f"_start_task() of task {task.id!r} returned {future!r}; it has to return the "
                "future of the task"
            )
        if isinstance(future, Future):
            future.add_done_callback(ended)
        else:  # callbacks of asyncio are added in its loop
            future.get_loop().call_soon_threadsafe(future.add_done_callback, ended)

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
            outcome = Outcome(OutcomeState.cancelled, _id_of(task), signal=_SIGKILL)
        else:
            outcome = Outcome(OutcomeState.abandoned, _id_of(task))
        self._end(index, outcome)

    # --- news ---------------------------------------------------------------------------------

    def _begun(self, index: int) -> None:
        with self._lock:
            self._engine.launched(index)
            matters = self._engine.ready or self._engine.stopping
        if matters:
            self._tell_watchers()

    def _ended(self, index: int, future: Any) -> None:
        outcome = outcome_of(future, _id_of(self.tasks[index]))
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
                task._outcome = attrs.evolve(outcome, id=_id_of(task))

    @contextlib.contextmanager
    def _watching(self) -> Iterator[Future[None]]:
        """Give a future that is done with the next news."""
        watcher: Future[None] = Future()
        with self._lock:
            self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            with self._lock:
                self._watchers.discard(watcher)

    def _tell_watchers(self) -> None:
        with self._lock:
            watchers = list(self._watchers)
        for watcher in watchers:
            _settle(watcher)

    # --- ending -------------------------------------------------------------------------------

    def _close(self) -> None:
        abandoned = self.abandoned()
        forced = any(self._engine.was_forced(index) for index in range(len(self.tasks)))
        try:
            self._hooks.close(wait=not abandoned, kill=forced)
            if abandoned:
                self._logger.warning(
                    "%d of %d tasks did not stop in time and are abandoned, though they still "
                    "run: %s",
                    len(abandoned),
                    len(self.tasks),
                    ", ".join(map(str, abandoned)),
                )
        except Exception as error:
            self._troubles.append(("the group", error))

    def _finish(self) -> None:
        self._ended_here = True
        if self._keeper is not None:
            self._keeper.shutdown(wait=False)
        self._tell_watchers()

    def ask(self, timeout: float | None) -> list[Trouble]:
        """Tell all tasks to end, within *timeout* seconds, in this thread; return what that raised.

        Tasks that have not begun are told by who drives, as soon as they have.
        """
        if self._is_forked and self.began:
            return []
        with self._lock:
            self._engine.stop(time.monotonic(), timeout)
            self._publish()
            # All at once, so that nobody else tells some of them meanwhile.
            actions = self._engine.asks() if self._engine.begun else []
        self._tell_watchers()
        return [trouble for action in actions for trouble in self._perform(action)]

    def break_off(self) -> None:
        """Let all tasks end, within the limit of the group, and tell them in this thread."""
        self._troubles += self.ask(self._engine.stop_timeout)

    def interrupt(self, error: BaseException) -> None:
        """Let all tasks end because of *error*, a Ctrl-C; at once if this is not the first."""
        self._troubles += self.ask(self._note(error))

    def _note(self, error: BaseException) -> float | None:
        """Note *error*, a Ctrl-C, and let the tasks end; return within which time."""
        with self._lock:
            again = self._engine.interruption is not None
            self._engine.interruption = self._engine.interruption or error
            limit = 0.0 if again else self._engine.stop_timeout
            self._engine.stop(time.monotonic(), limit)
            self._publish()
        self._tell_watchers()
        return limit

    def help(self) -> list[Trouble]:
        """Do what has to be done to stop, in this thread; return what the tasks raised."""
        troubles: list[Trouble] = []
        while (action := self._next(helping=True)) is not None:
            troubles += self._perform(action)
        return troubles

    def may_wait(self) -> bool:
        """Tell whether the caller is none of those for whom it would wait."""
        here = _worlds.current_loop()
        native = here is not None and here is self.driver_loop
        return not native and self not in _inside.get()

    def stop(self, timeout: float | None = None) -> None:
        """Tell every task to stop, and wait for their end or the deadline."""
        limit = _stop_limit(timeout)
        troubles = self.ask(timeout)
        if not self.began:
            return
        while True:
            with self._watching() as news:
                troubles += self.help()
                if self.finished or not self.may_wait() or _is_past(limit):
                    break
                _wait(news, _first(self._engine.alarm(), limit))
        self.let_go()
        self.leave(troubles)

    async def astop(self, timeout: float | None) -> None:  # noqa: ASYNC109 - as in `stop`
        """Do as `stop`, without blocking the running loop."""
        limit = _stop_limit(timeout)
        troubles = self.ask(timeout)
        if not self.began:
            return
        while True:
            with self._watching() as news:
                troubles += self.help()
                if self.finished or self in _inside.get() or _is_past(limit):
                    break
                await _await(news, _first(self._engine.alarm(), limit))
        self.leave(troubles)

    def wait(self, holds: Callable[[], bool], timeout: float | None = None) -> bool:
        """Wait until something holds; tell whether it does.

        Ctrl-C stops all tasks; then it is waited for their end, and what was waited for does not
        hold.
        """
        limit = _limit(timeout)
        interrupted = False
        while True:
            try:
                with self._watching() as news:
                    if self.finished if interrupted else holds():
                        return not interrupted
                    if _is_past(limit):
                        return False
                    _wait(news, limit)
            except KeyboardInterrupt as error:
                interrupted, limit = True, None
                self.interrupt(error)

    async def await_(self, holds: Callable[[], bool], seconds: float | None = None) -> bool:
        """Wait until something holds, in the running loop; tell whether it does."""
        limit = _limit(seconds)
        while True:
            with self._watching() as news:
                if holds():
                    return True
                if _is_past(limit):
                    return False
                await _await(news, limit)

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end and raise what is to be raised.

        Raises:
            TimeoutError: It is not over within *timeout* seconds.
            RuntimeError: The caller would wait for itself.
        """
        checked_limit("join", "timeout", timeout)
        if self.began and not self.finished and not self.may_wait():
            raise RuntimeError(
                "a task of the group, or the loop that this runs in, would wait for itself in "
                "join(); use: await ajoin(), outside of the tasks"
            )
        try:
            if self.began and not self.wait(self.is_finished, timeout) and not self.finished:
                raise TimeoutError(self._not_over(timeout))
            self.let_go()
        except KeyboardInterrupt as error:
            self.survive(error)
            raise
        self.leave()

    async def ajoin(self, timeout: float | None) -> None:  # noqa: ASYNC109 - as in `join`
        """Do as `join`, without blocking the running loop."""
        checked_limit("ajoin", "timeout", timeout)
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
        if self._keeper is not None and self._ended_here:
            self._keeper.shutdown(wait=True)

    # --- raising ------------------------------------------------------------------------------

    def kept(self) -> list[BaseException]:
        """Return, once, the errors that are to leave."""
        with self._lock:
            engine = self._engine
            if self._error_taken or not (self.finished or engine.over):
                return []
            self._error_taken = True
            interruption = engine.interruption
            propagates = engine.policy is ExecutorExceptionPolicies.propagate
            failures = engine.failures() if propagates else []
        if interruption is None:
            return [*failures, *(error for _, error in self._troubles)]
        for name, error in self._troubles:
            with contextlib.suppress(Exception):  # it may be the logger that raised
                log_error(self._logger, "while %s was to end: %s: %s", name, error)
        return [interruption]

    def leave(self, troubles: Iterable[Trouble] = ()) -> None:
        """Raise what is kept, and *troubles*: one as it is, and several as a group."""
        leaving = [*self.kept(), *(error for _, error in troubles)]
        if len(leaving) == 1:
            raise leaving[0]
        if leaving:
            raise _group_of(leaving, len(self.tasks))


def _group_of(errors: Sequence[BaseException], count: int) -> BaseExceptionGroup[BaseException]:
    """Return *errors* as one, an `ExceptionGroup` if they are no worse."""
    return BaseExceptionGroup(f"{len(errors)} errors in a group of {count} tasks", list(errors))


def _id_of(task: AbstractExecutorTask) -> Any:
    """Return the id of *task*, or that of the object if the property raises."""
    try:
        return task.id
    except Exception:
        return id(task)


def _limit(seconds: float | None) -> float | None:
    return None if seconds is None else time.monotonic() + seconds


def _stop_limit(timeout: float | None) -> float | None:
    """Return when a stop has to have returned."""
    checked_limit("stop", "timeout", timeout)
    return _limit(None if timeout is None else timeout + _PATIENCE)


def _is_past(limit: float | None) -> bool:
    return limit is not None and time.monotonic() >= limit


def _first(*moments: float | None) -> float | None:
    return min((moment for moment in moments if moment is not None), default=None)


def _settle(watcher: Future[None]) -> None:
    # News and the clock may both do it, and its watcher may have gone.
    with contextlib.suppress(concurrent.futures.InvalidStateError):
        watcher.set_result(None)


def _wait(news: Future[None], until: float | None) -> None:
    # A Ctrl-C that comes between the last look of the main thread and its sleep does not wake it.
    # The tasks have often begun just now, so the first sleep is a short one.
    for longest in (_SHORT, threading.TIMEOUT_MAX):
        left = threading.TIMEOUT_MAX if until is None else max(0.0, until - time.monotonic())
        with contextlib.suppress(TimeoutError):
            news.result(min(left, longest))
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
