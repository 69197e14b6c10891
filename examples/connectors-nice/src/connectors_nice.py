"""The executor ``nice``: processes of low priority, for work that must not slow down the rest."""

from __future__ import annotations

import functools
import os

from connectors import Capabilities, Executor, Parallelization, Pools, option


class NiceExecutor(Executor):
    """Runs PROCESS calls on all CPUs, in processes that step back when others need a CPU."""

    capabilities = Capabilities(levels={Parallelization.PROCESS}, kills=True, context=False)

    niceness: int = option(default=10, minimum=1, help="how far to step back; 19 is the most")

    def pools(self) -> Pools:
        """Return how to open the process pool."""
        from connectors.pools import ProcessPool  # who only looks at the class needs no engine

        step_back = functools.partial(os.nice, self.niceness)
        return {Parallelization.PROCESS: lambda: ProcessPool(initializer=step_back, name=self.name)}
