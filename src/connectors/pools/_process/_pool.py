"""`ProcessPool`, worker processes behind the interface of `concurrent.futures`."""

from __future__ import annotations

import concurrent.futures
import itertools
import math
import os
import pickle
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from types import TracebackType
from typing import Any

from connectors import _map
from connectors._calls import Call
from connectors._cpus import available_cpus
from connectors._envelope import Answer, context_variable, dump, dump_named, pack
from connectors._errors import breaks_off
from connectors._flags import Parallelization
from connectors._flight import annotate

from . import _scatter
from ._child import Setup
from ._core import Core
from ._crew import Crew
from ._deposit import MOST_SEGMENTS, Deposit, shared_by
from ._launch import START_METHODS
from ._memory import wrap
from ._scatter import Handle
from ._schedule import Schedule
from ._shelf import Shared
from ._starter import Starter
from ._ticket import Ticket

_BLAS_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


class ProcessPool(concurrent.futures.Executor):
    """Runs calls in worker processes, which are started when they are needed and kept.

    A worker that dies fails only the call that it ran; a call can be stopped, by a timeout or by
    cancelling it; the main module is never imported again, so no main guard is needed.

    Args:
        processes: How many workers there are, at most; `None`: as many as CPUs that may be used.
        start_method: ``"forkserver"`` forks workers from a small process without threads,
            ``"spawn"`` starts each as a new interpreter; `None`: forkserver.
        kill_on_cancel: ``Future.cancel`` stops a call that has begun, by killing its worker.
        max_calls_per_worker: Replace a worker after so many calls.
        idle_timeout: Let a worker end after so many seconds without a call.
        memory_limit: How many bytes of data a worker may have (``RLIMIT_DATA``); a call that wants
            more gets a `MemoryError`.
        initializer: What each new worker calls first: a function without arguments or its address,
            ``"package.module:function"``.
        blas_threads: How many threads BLAS and OpenMP use in each worker; `None`: CPUs divided by
            *processes*, unless the environment says otherwise; 0: leave them alone.
        context: Addresses of context variables, ``"package.module:VARIABLE"``, whose values reach
            the calls.
        name: The name by which messages and events speak of this pool.

    Raises:
        ValueError: An argument has a value that it cannot have.
        ConnectorsError: An item of *context* names no context variable.
        PicklingError: The *initializer* cannot travel.
    """

    __module__ = "connectors.pools"

    def __init__(
        self,
        processes: int | None = None,
        *,
        start_method: str | None = None,
        kill_on_cancel: bool = False,
        max_calls_per_worker: int | None = None,
        idle_timeout: float | None = None,
        memory_limit: int | None = None,
        initializer: Callable[[], object] | str | None = None,
        blas_threads: int | None = None,
        context: Sequence[str] = (),
        name: str = "multiprocessing",
    ) -> None:
        processes = available_cpus() if processes is None else processes
        for argument, value in {
            "processes": processes,
            "max_calls_per_worker": max_calls_per_worker,
        }.items():
            if value is not None and value < 1:
                raise ValueError(f"{argument}={value}: it has to be at least 1")
        if start_method not in (None, *START_METHODS):
            raise ValueError(
                f"start_method={start_method!r}: choose one of {', '.join(START_METHODS)} (a "
                "process with threads is never forked)"
            )
        self._context = {address: context_variable(address) for address in context}
        self._name = name
        described = initializer if isinstance(initializer, (str, type(None))) else dump(initializer)
        setups = _Setups(memory_limit, described, _blas_threads(blas_threads, processes))
        starter = Starter(start_method or next(iter(START_METHODS)), setups)
        schedule: Schedule[Ticket] = Schedule(processes, max_calls_per_worker or math.inf)
        self._core = Core(Crew(name, starter, idle_timeout, schedule), kill_on_cancel)
        self._processes = processes
        weakref.finalize(self, self._core.abandon).atexit = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Ticket:
        """Schedule ``fn(*args, **kwargs)`` and return its future.

        Raises:
            PicklingError: An argument cannot travel; names the part of it that is at fault.
            ExecutorClosedError: The pool is closed.
        """
        return self.submit_call(Call(fn, args, kwargs))

    def submit_call(
        self,
        call: Call,
        prepare: Callable[[], object] | None = None,
        on_answer: Callable[[Answer], object] | None = None,
    ) -> Ticket:
        """Schedule *call* and return its future.

        Args:
            call: The call. Its timeout limits each run, and its retries are for runs during which
                its worker died.
            prepare: Is called in the worker before the call.
            on_answer: Is given what came back, before the future has it, in the thread that reads.

        Raises:
            PicklingError: An argument cannot travel; names the part of it that is at fault.
            ExecutorClosedError: The pool is closed.
        """
        core = self._core
        core.check_open()
        context = self._context and self._values()
        buffers: list[pickle.PickleBuffer] = []
        needs: AbstractSet[int] = frozenset()
        if core.shares:
            with _scatter.needing(id(core)) as needs:
                data = pack(call, context, prepare, buffers.append)
        else:
            data = pack(call, context, prepare, buffers.append)
        payload, flags, segment = wrap(data, buffers, core.segments.take)
        ticket = Ticket(call.label, payload)
        if segment is not None:
            ticket.flags, ticket.segment = flags, segment
        if needs:
            ticket.needs = needs
        ticket.timeout, ticket.retries, ticket.on_answer = call.timeout, call.retries, on_answer
        ticket.files, ticket.on_begin = call.files, call.on_begin
        core.submit(ticket)
        return ticket

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
    ) -> Iterator[Any]:
        """Return an iterator over ``fn(*items)`` for the items of *iterables*, in order.

        Args:
            fn: The function.
            *iterables: Where its arguments come from; they are read as the results are taken.
            timeout: Limit of the whole in seconds.
            chunksize: How many items travel together; `None` to find out what is best.
            buffersize: How many chunks are under way; `None` for what keeps the workers busy.

        Raises:
            TimeoutError: The iterator raises it when the limit is over.
            ValueError: *chunksize* or *buffersize* is less than 1.
        """
        for argument, size in {"chunksize": chunksize, "buffersize": buffersize}.items():
            if size is not None and size < 1:
                raise ValueError(f"{argument}={size}: it has to be at least 1")
        self._core.check_open()
        call = Call(fn)
        mapping = _map.Mapping(
            self.submit_call,
            call,
            iterables,
            _map.Sizer(chunksize, _map.length_of(iterables), 4 * self._processes),
            buffersize=buffersize or 3 * self._processes,
            timeout=timeout,
            note=lambda error: annotate(error, call.label, self._name, Parallelization.PROCESS),
        )
        return mapping.results()

    def scatter(self, value: Any) -> Handle:
        """Return a handle that stands for *value* in calls; each worker is sent it at most once.

        Args:
            value: An argument, an instance or a part of one. It is packed now.

        Raises:
            PicklingError: It cannot travel.
        """
        core = self._core
        core.check_open()
        buffers: list[pickle.PickleBuffer] = []
        data = dump_named({"the value": value}, "what is scattered", buffers.append)
        handle = Handle(core.release, id(core))
        core.share(handle.key, Shared(*wrap(data, buffers, core.segments.take)))
        return handle

    def deposit(self, parts: Sequence[bytes | memoryview]) -> Deposit | None:
        """Return what stands for *parts*, in calls that get copies of them of their own.

        Each worker is sent them at most once. In a call it becomes `Contents`.

        Args:
            parts: Bytes. They are copied now, once.

        Returns:
            `None` if there is no room for them: what needs them has to take them along.
        """
        core = self._core
        core.check_open()
        if core.deposits >= MOST_SEGMENTS:
            return None
        try:
            shared = shared_by(parts)
        except OSError:
            return None
        deposit = Deposit(core.release, id(core), shared, parts)
        core.share(deposit.key, shared)
        return deposit

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and let the workers end when the calls are done.

        Args:
            wait: Return when they have ended.
            cancel_futures: Cancel the calls that have not begun.
        """
        self._core.shutdown(cancel=cancel_futures)
        if wait:
            self._core.join()

    def close(self, cancel: bool = False) -> None:
        """Close, and return when all workers have ended.

        Args:
            cancel: Cancel all calls, also those that run, by killing the workers.
        """
        self._core.shutdown(kill=cancel)
        self._core.join()

    @property
    def worker_pids(self) -> list[int]:
        """The process ids of the workers that there are now."""
        return self._core.pids()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close(cancel=breaks_off(error))

    def _values(self) -> dict[str, Any]:
        unset = object()
        values = {address: variable.get(unset) for address, variable in self._context.items()}
        return {address: value for address, value in values.items() if value is not unset}


class _Setups:
    """Makes the `Setup` of each new worker, from what this process is like then."""

    def __init__(
        self, memory_limit: int | None, initializer: str | bytes | None, blas: dict[str, str]
    ) -> None:
        self._memory_limit = memory_limit
        self._initializer = initializer
        self._blas = blas

    def __call__(self) -> bytes:
        try:
            directory = str(Path.cwd())
        except OSError:  # it was removed
            directory = None
        path = [entry for entry in sys.path if isinstance(entry, str)]
        setup = Setup(
            path,
            directory,
            list(sys.argv),
            {**os.environ, **self._blas},
            self._memory_limit,
            self._initializer,
        )
        return pickle.dumps(setup)


def _blas_threads(wanted: int | None, processes: int) -> dict[str, str]:
    if wanted == 0:
        return {}
    threads = str(wanted or max(1, available_cpus() // processes))
    names: Iterable[str] = _BLAS_VARIABLES
    if wanted is None:
        names = itertools.filterfalse(os.environ.__contains__, names)
    return dict.fromkeys(names, threads)
