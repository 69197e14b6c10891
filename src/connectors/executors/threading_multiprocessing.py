"""The executor that has threads and worker processes."""

from __future__ import annotations

from connectors import Capabilities, Parallelization, Pools

from ._options import ProcessOptions, ThreadOptions


class ThreadingMultiprocessingExecutor(ThreadOptions, ProcessOptions):
    """Runs each call where it wishes to run: in a thread or in a worker process."""

    capabilities = Capabilities(
        levels={Parallelization.THREAD, Parallelization.PROCESS}, kills=True
    )

    def pools(self) -> Pools:
        """Return the thread pool and the process pool."""
        return {
            Parallelization.THREAD: self.thread_pool(),
            Parallelization.PROCESS: self.process_pool,
        }
