"""The executor that runs calls in worker processes."""

from __future__ import annotations

from connectors import Capabilities, Parallelization, Pools

from ._options import ProcessOptions


class MultiprocessingExecutor(ProcessOptions):
    """Runs calls in worker processes, on all CPUs; THREAD calls run inline."""

    capabilities = Capabilities(levels={Parallelization.PROCESS}, kills=True)

    def pools(self) -> Pools:
        """Return the process pool, which is made when a call needs it."""
        return {Parallelization.PROCESS: self.process_pool}
