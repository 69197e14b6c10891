"""The options that several built-ins have, and the pools that they describe."""

from __future__ import annotations

import concurrent.futures
import multiprocessing

from connectors import Executor, available_cpus, option
from connectors.pools import ThreadPool


class ThreadOptions(Executor):
    """The options of an executor that has threads."""

    threads: int | None = option(
        default=None,
        minimum=1,
        help="how many calls run in threads at a time; none: as many as CPUs, and at least 4",
    )
    daemon: bool = option(
        default=False, help="do not wait for running calls when the interpreter exits"
    )
    thread_name_prefix: str = option(default="", help="what the names of the threads begin with")

    def thread_pool(self) -> ThreadPool:
        """Return the thread pool that the options describe."""
        return ThreadPool(
            number_of_threads(self.threads),
            daemon=self.daemon,
            thread_name_prefix=self.thread_name_prefix or f"connectors-{self.name}",
        )


class ProcessOptions(Executor):
    """The options of an executor that has worker processes."""

    processes: int | None = option(
        default=None,
        minimum=1,
        help="how many worker processes there are; none: as many as CPUs that may be used",
    )
    start_method: str | None = option(
        default=None,
        choices=("forkserver", "spawn"),
        help="how workers are started; none: forkserver where there is one, else spawn",
    )
    max_calls_per_worker: int | None = option(
        default=None, minimum=1, help="replace a worker after so many calls"
    )
    initializer: str | None = option(
        default=None, help='"module:function", called once in each new worker'
    )
    blas_threads: int | None = option(
        default=None,
        minimum=0,
        help="BLAS and OpenMP threads of each worker; none: CPUs / processes; 0: leave them alone",
    )
    context: list[str] = option(
        default=(), help='context variables that reach calls in workers, as "module:VARIABLE"'
    )

    def process_pool(self) -> concurrent.futures.Executor:
        """Return the process pool that the options describe."""
        processes = self.processes or available_cpus()
        return concurrent.futures.ProcessPoolExecutor(
            processes,
            mp_context=multiprocessing.get_context(self.start_method or _start_method()),
            initializer=prepare_worker,
            initargs=(self.initializer, _blas_threads(self.blas_threads, processes)),
            max_tasks_per_child=self.max_calls_per_worker,
        )


def number_of_threads(threads: int | None) -> int:
    """Return *threads*, or what suits this machine."""
    return threads or max(4, available_cpus())


def prepare_worker(initializer: str | None, blas_threads: int) -> None:
    """Make ready a new worker process: limit its BLAS threads and call the *initializer*."""
    if blas_threads:
        import threadpoolctl

        threadpoolctl.threadpool_limits(blas_threads)
    if initializer is not None:
        import importlib

        module, _, name = initializer.partition(":")
        getattr(importlib.import_module(module), name)()


def _blas_threads(wanted: int | None, processes: int) -> int:
    return max(1, available_cpus() // processes) if wanted is None else wanted


def _start_method() -> str:
    methods = multiprocessing.get_all_start_methods()
    return "forkserver" if "forkserver" in methods else "spawn"
