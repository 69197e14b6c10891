"""`Launcher`: the executor of a group, and how a task is started there."""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from connectors import _factory, _registry, _worlds, settings
from connectors._calls import Call
from connectors._cpus import available_cpus
from connectors._executor import Executor
from connectors._flags import Parallelization
from connectors.executors._options import ProcessOptions, number_of_threads

from ._bodies import in_asyncio, in_trio
from ._runs import CallRun, LoopRun, Run
from ._task import AbstractExecutorTask, AbstractMultiprocessExecutorTask

Wanted = str | Sequence[str] | Executor | None
Schedule = Callable[[Coroutine[Any, Any, Any]], object]

_ALIASES = {"threaded": "threading", "multiprocess": "multiprocessing"}
_PROCESS, _THREAD = Parallelization.PROCESS, Parallelization.THREAD


class Place(enum.Enum):
    """Where a task runs."""

    loop = "an event loop"
    thread = "threads"
    process = "processes"


class Launcher:
    """Starts tasks on one executor, which has room for all of them at once.

    Args:
        tasks: The tasks.
        wanted: The executor: a name, names, an executor, or `None` for the configured one.
        options: Its options, if it is made by name.

    Attributes:
        executor: It.
        owned: It was made for these tasks, and is closed with them.
        schedule: Runs a coroutine in the loop that is running, where tasks belong into that.

    Raises:
        ValueError: It has no room for all tasks, or no processes for process tasks.
        ConnectorsError: There is no such executor.
    """

    def __init__(
        self, tasks: Sequence[AbstractExecutorTask], wanted: Wanted, options: dict[str, Any]
    ) -> None:
        self.schedule: Schedule | None = None
        if isinstance(wanted, Executor):
            self.owned = False
            self.executor = _factory.executor(wanted, **options)
        else:
            self.owned = True
            self.executor = _with_room(tasks, _names(wanted), options)
        _check_room(tasks, self.executor)

    @property
    def in_loop(self) -> bool:
        """Whether tasks that are no process tasks run in an event loop."""
        return _place(None, self.executor) is Place.loop

    def belongs_to(self, world: _worlds.World | None) -> bool:
        """Tell whether its tasks may run in a loop of *world* that is running."""
        return self.in_loop and self.executor.world == world

    def start(self, task: AbstractExecutorTask) -> Run:
        """Start *task* and return its future, which is its ``future`` too."""
        match _place(task, self.executor):
            case Place.loop:
                return self._in_loop(task)
            case Place.thread:
                return self._in_thread(task)
            case Place.process:
                return self._in_process(task)

    def close(self, *, wait: bool, kill: bool) -> None:
        """Close the executor, if it is owned.

        Args:
            wait: Wait until its threads, its loop and its processes have ended.
            kill: Do not let processes end by themselves.
        """
        if not self.owned:
            return
        if wait:
            self.executor.close(cancel=kill)
        else:
            self.executor._stop()
            self.executor.shutdown(wait=False, cancel_futures=True)

    def _in_loop(self, task: AbstractExecutorTask) -> Run:
        run = LoopRun()
        task.future = run
        body = in_trio if self.executor.world == "trio" else in_asyncio
        schedule = self.schedule or self.executor._schedule
        schedule(body(task, run))
        return run

    def _in_thread(self, task: AbstractExecutorTask) -> Run:
        run = CallRun()
        task.future = run
        self._submit(Call(_body, (run, task), wish=_THREAD, name=str(task.id)), run)
        return run

    def _in_process(self, task: AbstractExecutorTask) -> Run:
        target, args = _checked_pair(task)
        from connectors.pools._process import _files  # loaded by those who want processes

        from . import _travel

        name = str(task.id)
        method = getattr(self.executor, "start_method", None) or "forkserver"
        packed, files = _travel.pack(target, args, name, method)
        run = CallRun()
        # An engine of others does not tell.
        begins = run.begin if isinstance(self.executor, ProcessOptions) else None
        call = Call(
            _files.perform, (packed,), wish=_PROCESS, name=name, files=files, on_begin=begins
        )
        task.future = run
        self._submit(call, run)
        if begins is None:
            run.begin()
        return run

    def _submit(self, call: Call, run: CallRun) -> None:
        level, reason = self.executor._place(call)
        if level is not call.wish:
            raise RuntimeError(
                f"task {call.label} cannot run as {call.wish} on '{self.executor.name}': {reason}; "
                "start the group elsewhere, or on an executor of its own"
            )
        run.follow(self.executor.submit_call(call))


def _body(run: Run, task: AbstractExecutorTask) -> Any:
    run.begin()
    return task.start()


def _checked_pair(task: AbstractExecutorTask) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    pair = task.start()
    if isinstance(pair, Sequence) and len(pair) == 2:
        target, args = pair
        if callable(target) and isinstance(args, Sequence) and not isinstance(args, str):
            return target, tuple(args)
    raise TypeError(
        f"start() of task {task.id!r} returned {pair!r}; for a process it has to return a callable "
        "and its positional arguments: return function, (argument, ...)"
    )


def _names(wanted: str | Sequence[str] | None) -> str | list[str] | None:
    if wanted is None or not isinstance(wanted, (str, Sequence)):
        return wanted
    if isinstance(wanted, str):
        return _without_alias(wanted)
    return [_without_alias(name) if isinstance(name, str) else name for name in wanted]


def _without_alias(name: str) -> str:
    key = settings.normalise(name)
    if key == "async":
        return "trio" if _worlds.current_world() == "trio" else "sequential"
    return _ALIASES.get(key, name)


def _with_room(
    tasks: Sequence[AbstractExecutorTask],
    wanted: str | list[str] | None,
    options: dict[str, Any],
) -> Executor:
    """Return a new executor with a slot for each task."""
    origin = ""
    if wanted is None:
        _registry.registry.activate()
        setting = settings.executor_setting()
        wanted, origin = setting.value, setting.origin
        wanted = _names(wanted)
    assert wanted is not None
    made = _factory.chosen(_factory._checked_name(wanted), options, origin)
    room = _room(tasks, made, options)
    if not room:
        return made
    made.shutdown(wait=False)  # one of a list was opened, to see whether it opens
    resolved = {key: each.value for key, each in made.settings.items() if each.origin != "default"}
    roomy = type(made)(**{**resolved, **room})
    roomy.name, roomy.decisions = made.name, made.decisions
    return roomy


def _room(
    tasks: Sequence[AbstractExecutorTask], executor: Executor, options: dict[str, Any]
) -> dict[str, Any]:
    declared = settings.options_of(type(executor))
    places = [_place(task, executor) for task in tasks]
    wanted: dict[str, Any] = {
        "threads": places.count(Place.thread),
        "processes": places.count(Place.process),
        # A worker that is used twice would be the process of two tasks.
        "max_calls_per_worker": min(1, places.count(Place.process)),
    }
    return {
        name: count
        for name, count in wanted.items()
        if count and name in declared and name not in options
    }


def _check_room(tasks: Sequence[AbstractExecutorTask], executor: Executor) -> None:
    """Raise `ValueError` if *executor* cannot run all *tasks* at once."""
    for task in tasks:
        if _place(task, executor) is Place.process and _PROCESS not in executor._available():
            raise ValueError(
                f"task {task.id!r} is a process task, and '{executor.name}' has no processes; "
                'use executor="multiprocessing"'
            )
    places = [_place(task, executor) for task in tasks]
    declared = settings.options_of(type(executor))
    for place, option, default in (
        (Place.thread, "threads", functools.partial(number_of_threads, None)),
        (Place.process, "processes", available_cpus),
    ):
        if option not in declared or place not in places:
            continue
        slots, count = getattr(executor, option) or default(), places.count(place)
        if slots < count:
            raise ValueError(
                f"{count} tasks are to run at once, and '{executor.name}' has {option}={slots}; "
                f"make it with {option}={count}, or name it and let the group make it"
            )


def _place(task: AbstractExecutorTask | None, executor: Executor) -> Place:
    if isinstance(task, AbstractMultiprocessExecutorTask):
        return Place.process
    levels = executor._available()
    if executor.world == "trio" or levels == {Parallelization.SEQUENTIAL}:
        return Place.loop
    return Place.thread if _THREAD in levels else Place.process
