"""The executors at the address and with the arguments that the older library documents."""

from __future__ import annotations

from connectors import Executor
from connectors.executors.multiprocessing import MultiprocessingExecutor as _Multiprocessing
from connectors.executors.sequential import SequentialExecutor
from connectors.executors.threading import ThreadingExecutor as _Threading
from connectors.executors.threading_multiprocessing import (
    ThreadingMultiprocessingExecutor as _ThreadingMultiprocessing,
)

__all__ = [
    "Executor",
    "MultiprocessingExecutor",
    "SequentialExecutor",
    "ThreadingExecutor",
    "ThreadingMultiprocessingExecutor",
]


class ThreadingExecutor(_Threading):
    """Runs calls in threads.

    Args:
        number_of_threads: How many; `None` for as many as suit the machine.
    """

    def __init__(self, number_of_threads: int | None = None) -> None:
        super().__init__(threads=number_of_threads)


class MultiprocessingExecutor(_Multiprocessing):
    """Runs calls in worker processes.

    Args:
        number_of_processes: How many; `None` for as many as CPUs may be used.
    """

    def __init__(self, number_of_processes: int | None = None) -> None:
        super().__init__(processes=number_of_processes)


class ThreadingMultiprocessingExecutor(_ThreadingMultiprocessing):
    """Runs calls in threads and in worker processes.

    Args:
        number_of_threads: How many threads; `None` for as many as suit the machine.
        number_of_processes: How many processes; `None` for as many as CPUs may be used.
    """

    def __init__(
        self, number_of_threads: int | None = None, number_of_processes: int | None = None
    ) -> None:
        super().__init__(threads=number_of_threads, processes=number_of_processes)
