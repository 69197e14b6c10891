"""The executor ``nice``: processes of low priority, for work that must not slow down the rest."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from connectors import Capabilities, Executor, Parallelization, Pools, available_cpus, option


class NiceExecutor(Executor):
    """Runs PROCESS calls on all CPUs, in processes that step back when others need a CPU."""

    capabilities = Capabilities(levels={Parallelization.PROCESS})

    niceness: int = option(default=10, minimum=1, help="how far to step back; 19 is the most")

    def pools(self) -> Pools:
        """Return how to open the process pool."""
        return {
            Parallelization.PROCESS: lambda: ProcessPoolExecutor(
                available_cpus(),
                mp_context=get_context("spawn"),  # a fork would copy locks that threads hold
                initializer=os.nice,
                initargs=(self.niceness,),
            )
        }
