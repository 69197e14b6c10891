"""The executor that runs every call in the thread of its caller."""

from __future__ import annotations

from connectors import Capabilities, Executor, Parallelization


class SequentialExecutor(Executor):
    """Runs every call inline: for debugging, for tests, and where calls are too small to travel."""

    capabilities = Capabilities(levels={Parallelization.SEQUENTIAL})
