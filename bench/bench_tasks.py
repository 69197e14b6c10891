"""Start and stop of trivial tasks, beside what the standard library has.

The older API is not among the peers, as no distribution is known to have it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import multiprocessing
import threading
from collections.abc import Iterator
from typing import Any

from harness import Row, timed

import connectors
from connectors.tasks import (
    AbstractExecutorTask,
    AbstractMultiprocessExecutorTask,
    TaskGroup,
)

METHOD = "forkserver"
CONTEXT = multiprocessing.get_context(METHOD)


def wait(event: Any) -> None:
    event.wait()


class ThreadTask(AbstractExecutorTask):
    def __init__(self) -> None:
        super().__init__()
        self.stopping = threading.Event()

    def start(self) -> None:
        self.stopping.wait()

    def stop(self) -> None:
        self.stopping.set()

    def create_async_task(self, loop: Any) -> Any:
        async def body() -> None:
            await asyncio.Event().wait()

        return loop.create_task(body())


class LoopTask(ThreadTask):
    def stop(self) -> None:
        self.future.cancel()


class ProcessTask(AbstractMultiprocessExecutorTask):
    def __init__(self) -> None:
        super().__init__()
        self.stopping = CONTEXT.Event()

    def start(self) -> Any:
        return wait, (self.stopping,)

    def stop(self) -> None:
        self.stopping.set()


def in_threads(count: int) -> None:
    with TaskGroup([ThreadTask() for _ in range(count)], "threading") as group:
        group.stop()


def in_processes(count: int) -> None:
    with TaskGroup([ProcessTask() for _ in range(count)], "multiprocessing") as group:
        group.stop()


def in_loop(count: int) -> None:
    async def main() -> None:
        async with TaskGroup([LoopTask() for _ in range(count)], "async") as group:
            await group.astop()

    asyncio.run(main())


def thread_pool(count: int) -> None:
    events = [threading.Event() for _ in range(count)]
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        for event in events:
            pool.submit(wait, event)
        for event in events:
            event.set()


def loop_group(count: int) -> None:
    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(asyncio.Event().wait()) for _ in range(count)]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()

    asyncio.run(main())


def bare_processes(count: int) -> None:
    events = [CONTEXT.Event() for _ in range(count)]
    processes = [CONTEXT.Process(target=wait, args=(event,)) for event in events]
    for process in processes:
        process.start()
    for event in events:
        event.set()
    for process in processes:
        process.join()
        process.close()


def rows() -> Iterator[Row]:
    """Yield the rows; what starts workers is there before, as that of multiprocessing stays."""
    with connectors.executor("multiprocessing", processes=1) as executor:
        executor.submit(int).result()
        bare_processes(1)
        for title, mine, peer, theirs, counts in (
            ("threads", in_threads, "ThreadPoolExecutor", thread_pool, (1, 10, 100)),
            ("event loop", in_loop, "asyncio.TaskGroup", loop_group, (1, 10, 100)),
            ("processes", in_processes, f"Process, {METHOD}", bare_processes, (1, 10)),
        ):
            for count in counts:
                yield Row(
                    f"{title}: start and stop {count}",
                    timed(functools.partial(mine, count)),
                    {peer: timed(functools.partial(theirs, count))},
                    unit="ms",
                )
