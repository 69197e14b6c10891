"""`ExecutorPool`, an executor that is opened on first use, and `in_thread` and `in_process`."""

from __future__ import annotations

import concurrent.futures
import os
import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar

import attrs

from connectors import _worlds
from connectors._calls import Call, is_async, label_of
from connectors._cpus import available_cpus
from connectors._errors import ExecutorClosedError, FallbackError, OptionError
from connectors._executor import Executor
from connectors._factory import executor as make_executor
from connectors._flags import Parallelization
from connectors._registry import executor_class
from connectors.settings import options_of

from ._run import check_callable

T = TypeVar("T")
P = ParamSpec("P")

#: How many CPUs this process may use: its affinity and its cgroup count.
CPU_CORES = available_cpus()

_NAMES = {"ThreadPoolExecutor": "threading", "ProcessPoolExecutor": "multiprocessing"}
_all: weakref.WeakSet[ExecutorPool] = weakref.WeakSet()


@attrs.frozen
class _Recipe:
    """What a pool is opened with, so that a forked child can do it again."""

    max_workers: int | None
    options: Mapping[str, Any]


class ExecutorPool:
    """An executor that is opened on first use and may be replaced at any time.

    Args:
        cls: The name of an executor in the registry, or an executor class. `ThreadPoolExecutor`
            and `ProcessPoolExecutor` of `concurrent.futures` mean ``"threading"`` and
            ``"multiprocessing"``.

    Raises:
        TypeError: *cls* is neither.
    """

    def __init__(self, cls: str | type[concurrent.futures.Executor]) -> None:
        self._cls = _known(cls)
        self._default: int | None = None
        self._executor: Executor | None = None
        self._recipe: _Recipe | None = None  # of the executor, which a forked child makes anew
        self._lock = threading.Lock()
        #: Is called before a shutdown that waits, to end what would never end by itself.
        self._before_waiting: weakref.WeakSet[Any] = weakref.WeakSet()
        _all.add(self)

    @property
    def initialized(self) -> bool:
        """Whether there is an executor now."""
        executor = self._executor
        return self._recipe is not None and not (executor is not None and executor.closed)

    @property
    def pool(self) -> Executor:
        """The executor.

        Raises:
            RuntimeError: It was not initialised, or it was shut down.
        """
        with self._lock:
            if not self.initialized:
                raise RuntimeError(f"{self!r} has no pool: call its initialize() first")
            return self._opened()

    def initialize(self, *, max_workers: int | None = None, **options: Any) -> None:
        """Open an executor; one that is there is shut down, and completes what it runs.

        Args:
            max_workers: How many calls run at a time; `None` is the executor's own default.
            **options: Further options of the executor.

        Raises:
            OptionError: An option is unknown or has a value that it cannot have, or says the same
                as *max_workers*.
        """
        recipe = _Recipe(max_workers, options)
        made = self._make(recipe)
        with self._lock:
            old, self._executor, self._recipe = self._executor, made, recipe
        if old is not None:
            old.shutdown(wait=False)

    def shutdown(self, *, wait: bool) -> None:
        """Shut the executor down, if there is one; the next use opens a default one.

        Args:
            wait: Return when its calls have ended. Open generators of `generate_in_thread` are
                closed then.
        """
        with self._lock:
            old, self._executor, self._recipe = self._executor, None, None
        if old is None:
            return
        if wait:
            for each in list(self._before_waiting):
                each.dismiss()
        old.shutdown(wait=wait)

    def submit_call(self, call: Call) -> tuple[Future[Any], Executor]:
        """Schedule *call*; return its future, and the executor, which lives until it is dropped.

        Raises:
            RuntimeError: This executor cannot run it where it wishes to run.
            PicklingError: It cannot travel to another process.
        """
        while True:
            with self._lock:
                if not self.initialized:
                    self._recipe = _Recipe(self._default, {})
                    self._executor = None
                executor = self._opened()
            try:
                return executor.submit_call(call), executor
            except FallbackError as error:
                raise RuntimeError(
                    f"{self!r} cannot run {call.label} as {call.wish}: {error.reason}; put a pool "
                    "in its place that can"
                ) from error
            except ExecutorClosedError:
                if self._executor is executor and not executor.closed:
                    raise  # it was replaced meanwhile in all other cases

    def __repr__(self) -> str:
        name = self._cls if isinstance(self._cls, str) else self._cls.__name__
        return f"<ExecutorPool '{name}', {'' if self.initialized else 'not '}initialized>"

    def _opened(self) -> Executor:
        assert self._recipe is not None
        if self._executor is None:
            self._executor = self._make(self._recipe)
        return self._executor

    def _make(self, recipe: _Recipe) -> Executor:
        # What an executor cannot do is to be refused, not to be done in the event loop's thread.
        options: dict[str, Any] = {"strict": True, **recipe.options}
        if not options["strict"]:
            raise OptionError(f"{self!r}: it is always strict; leave the option strict away")
        if recipe.max_workers is not None:
            options |= self._sizes(recipe)
        if isinstance(self._cls, str):
            return make_executor(self._cls, **options)
        return self._cls(**options)

    def _sizes(self, recipe: _Recipe) -> dict[str, int | None]:
        cls = executor_class(self._cls) if isinstance(self._cls, str) else self._cls
        declared = options_of(cls)
        kinds: list[str] = [each for each in ("threads", "processes") if each in declared]
        # Where the executor has none of a kind by itself, it is not asked for them.
        kinds = [each for each in kinds if declared[each].default != 0] or ["max_workers"]
        for name in kinds:
            if name in recipe.options:
                raise OptionError(
                    f"{self!r}: max_workers={recipe.max_workers} and "
                    f"{name}={recipe.options[name]} are both given; give only one of them"
                )
        return dict.fromkeys(kinds, recipe.max_workers)

    def _start_anew(self) -> None:
        """In a forked child: the threads and processes are the parent's, and so may be a lock."""
        self._lock = threading.Lock()
        self._executor = None
        self._before_waiting = weakref.WeakSet()


def _known(cls: object) -> str | type[Executor]:
    if isinstance(cls, str):
        return cls
    if isinstance(cls, type):
        if issubclass(cls, Executor):
            return cls
        for name, ours in _NAMES.items():
            # Only who has imported the class can pass it; looking it up would import its module.
            if cls.__name__ == name and cls.__module__.startswith("concurrent.futures."):
                return ours
    raise TypeError(
        f"ExecutorPool({cls!r}): expected the name of an executor, a subclass of "
        "connectors.Executor, ThreadPoolExecutor or ProcessPoolExecutor"
    )


def _default_pool(name: str, workers: int) -> ExecutorPool:
    pool = ExecutorPool(name)
    pool._default = workers
    return pool


#: Where `in_thread` and `generate_in_thread` run.
THREAD_POOL = _default_pool("threading", 10 * CPU_CORES)
#: Where `in_process` runs.
PROCESS_POOL = _default_pool("multiprocessing", CPU_CORES)

# The pools are looked up in the room: an application may put others in their place.
_room: Any = sys.modules[__package__ or ""]


def thread_pool() -> ExecutorPool:
    """Return what stands at ``connectors.aio.THREAD_POOL``."""
    pool: ExecutorPool = _room.THREAD_POOL
    return pool


async def in_thread(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call *function* in a thread of `THREAD_POOL` and return its result.

    Context variables are carried along. When the await is cancelled, a call that has not begun is
    dropped; one that has begun runs on, unobserved.

    Args:
        function: The function. An async function gives back its coroutine, un-awaited.
        *args: Its positional arguments.
        **kwargs: Its keyword arguments.

    Raises:
        RuntimeError: The function raised `StopIteration`, or `THREAD_POOL` stands for an executor
            without threads.
        TypeError: *function* cannot be called.
    """
    check_callable("in_thread", function)
    target: Callable[..., Any] = function
    positional: tuple[Any, ...] = args
    if is_async(function):
        target, positional = _called, (function, *args)
    return await _result(thread_pool(), target, positional, kwargs, Parallelization.THREAD)  # type: ignore[no-any-return]


async def in_process(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call *function* in a worker process of `PROCESS_POOL` and return its result.

    When the await is cancelled, a call that has not begun is dropped. One that has begun runs on,
    unless the pool was opened with ``kill_on_cancel=True``: then its worker is killed.

    Args:
        function: The function.
        *args: Its positional arguments.
        **kwargs: Its keyword arguments.

    Raises:
        RuntimeError: The function raised `StopIteration`, or `PROCESS_POOL` stands for an executor
            without processes, or this is a worker process already.
        PicklingError: The call cannot travel to another process.
        TypeError: *function* cannot be called, or is an async function, whose coroutine could not
            come back.
        WorkerCrashError: The process died.
        RemoteError: It raised what cannot be rebuilt here.
    """
    check_callable("in_process", function)
    if is_async(function):
        raise TypeError(
            f"in_process({label_of(function)}): an async function gives a coroutine, which cannot "
            "leave its process; give a plain function that runs it: aio.run_decorator(function)"
        )
    pool: ExecutorPool = _room.PROCESS_POOL
    return await _result(pool, function, args, kwargs, Parallelization.PROCESS)  # type: ignore[no-any-return]


async def _result(
    pool: ExecutorPool,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    wish: Parallelization,
) -> Any:
    # The executor is held until the call has ended, also if the pool gets another one meanwhile.
    future, _executor = pool.submit_call(Call(function, args, kwargs, None, wish))
    try:
        return await _worlds.result_of(future, _drop)
    except RuntimeError:
        stopped = future.exception() if future.done() and not future.cancelled() else None
        if isinstance(stopped, StopIteration):
            # Python tells that a coroutine may not raise it; this tells who did.
            message = f"{label_of(function)} raised StopIteration"
            raise RuntimeError(message) from stopped  # noqa: TRY004 - as a coroutine would
        raise


def _drop(future: Future[Any]) -> None:
    future.cancel()


def _called(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    return function(*args, **kwargs)


def _start_anew() -> None:
    for pool in list(_all):
        pool._start_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
