"""The executor that runs calls in threads."""

from __future__ import annotations

from connectors import Capabilities, Parallelization, Pools

from ._options import ThreadOptions


class ThreadingExecutor(ThreadOptions):
    """Runs calls in threads: for input and output, and for what releases the interpreter's lock."""

    capabilities = Capabilities(levels={Parallelization.THREAD})

    def pools(self) -> Pools:
        """Return the thread pool."""
        return {Parallelization.THREAD: self.thread_pool()}
