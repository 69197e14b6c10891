"""The executor that stands on trio."""

from __future__ import annotations

from typing import Any

import attrs

from connectors import Capabilities, Parallelization, Pools, option
from connectors.pools import TrioThreadPool

from ._options import ProcessOptions, number_of_threads


class TrioExecutor(ProcessOptions):
    """Awaits ``async def`` methods under trio and runs THREAD calls through ``trio.to_thread``."""

    capabilities = Capabilities(
        levels={Parallelization.THREAD, Parallelization.PROCESS}, kills=True
    )
    world = "trio"

    threads: int | None = option(
        default=None,
        minimum=1,
        help="how many calls run in threads at a time; none: as many as CPUs, and at least 4",
    )
    processes: int | None = option(
        default=0,
        minimum=0,
        help="how many worker processes there are; 0: none; none: as many as CPUs",
    )

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if self.processes == 0:
            near = {Parallelization.THREAD}
            self.capabilities = attrs.evolve(self.capabilities, levels=near)

    def pools(self) -> Pools:
        """Return the threads of trio, and a process pool unless there are to be none."""
        threads = number_of_threads(self.threads)
        pools: Pools = {Parallelization.THREAD: lambda: TrioThreadPool(threads)}
        if self.processes == 0:
            return pools
        return {**pools, Parallelization.PROCESS: self.process_pool}
