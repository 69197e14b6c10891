"""The options that several built-ins have, and the pools that they describe."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from connectors import Executor, available_cpus, option, pools

if TYPE_CHECKING:
    from connectors.pools import ProcessPool, ThreadPool


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
        return pools.ThreadPool(
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
    kill_on_cancel: bool = option(
        default=False, help="Future.cancel stops a call that runs, by killing its worker"
    )
    max_calls_per_worker: int | None = option(
        default=None, minimum=1, help="replace a worker after so many calls"
    )
    idle_timeout: float | None = option(
        default=None, minimum=0, help="let a worker end after so many seconds without a call"
    )
    memory_limit: int | None = option(
        default=None, minimum=1, help="how many bytes of data a worker may have"
    )
    initializer: Callable[[], object] | str | None = option(
        default=None, help='a function, or "module:function", called once in each new worker'
    )
    blas_threads: int | None = option(
        default=None,
        minimum=0,
        help="BLAS and OpenMP threads of each worker; none: CPUs / processes; 0: leave them alone",
    )
    context: list[str] = option(
        default=(), help='context variables that reach calls in workers, as "module:VARIABLE"'
    )

    def process_pool(self) -> ProcessPool:
        """Return the process pool that the options describe."""
        return pools.ProcessPool(
            self.processes or available_cpus(),
            start_method=self.start_method,
            kill_on_cancel=self.kill_on_cancel,
            max_calls_per_worker=self.max_calls_per_worker,
            idle_timeout=self.idle_timeout,
            memory_limit=self.memory_limit,
            initializer=self.initializer,
            blas_threads=self.blas_threads,
            context=self.context,
            name=self.name,
        )


def number_of_threads(threads: int | None) -> int:
    """Return *threads*, or what suits this machine."""
    return threads or max(4, available_cpus())
