"""Measures one thing in a fresh process: ``aio_worker.py NAME COUNT`` prints seconds and MiB.

It takes our library or, where that is not installed, the older one.
"""

from __future__ import annotations

import asyncio
import collections
import inspect
import multiprocessing
import resource
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor

try:
    from connectors import aio
except ImportError:
    import aioextensions as aio


async def trivial():
    return None


def coroutines(count):
    return (trivial() for _ in range(count))


async def collect(count):
    await aio.collect(coroutines(count), workers=1024)


async def task_group(count):
    """Return all results, with a semaphore that is taken before a task is made."""
    semaphore = asyncio.Semaphore(1024)
    results = [None] * count

    async def work(index, coroutine):
        try:
            results[index] = await coroutine
        finally:
            semaphore.release()

    async with asyncio.TaskGroup() as group:
        for index, coroutine in enumerate(coroutines(count)):
            await semaphore.acquire()
            group.create_task(work(index, coroutine))
    return tuple(results)


async def gather(count):
    await asyncio.gather(*coroutines(count))


async def resolve(count):
    async for _ in aio.resolve(coroutines(count), workers=1024, worker_greediness=1):
        pass


async def resolve_each(count):
    """Do it in the way that the older library has as well."""
    for awaitable in aio.resolve(coroutines(count), workers=1024, worker_greediness=1):
        await awaitable


async def window(count):
    """Await an ordered window of 1024 tasks."""
    tasks = collections.deque()
    for coroutine in coroutines(count):
        if len(tasks) == 1024:
            await tasks.popleft()
        tasks.append(asyncio.ensure_future(coroutine))
    while tasks:
        await tasks.popleft()


async def each(call, count):
    """Return the median of *count* calls, one at a time, as if it were the time of all."""
    times = []
    for _ in range(count // 10 + 20):
        await call()
    for _ in range(count):
        begin = time.perf_counter()
        await call()
        times.append(time.perf_counter() - begin)
    return statistics.median(times) * count


async def in_thread(count):
    return await each(lambda: aio.in_thread(int), count)


async def to_thread(count):
    return await each(lambda: asyncio.to_thread(int), count)


async def in_process(count):
    return await each(lambda: aio.in_process(int), count)


def raw_process(count):
    times = []
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        for _ in range(100):
            pool.submit(int).result()
        for _ in range(count):
            begin = time.perf_counter()
            pool.submit(int).result()
            times.append(time.perf_counter() - begin)
    return statistics.median(times) * count


def raw_ours(count):
    from connectors.pools import ProcessPool

    times = []
    with ProcessPool(1) as pool:
        for _ in range(100):
            pool.submit(int).result()
        for _ in range(count):
            begin = time.perf_counter()
            pool.submit(int).result()
            times.append(time.perf_counter() - begin)
    return statistics.median(times) * count


async def threads_at_once(count):
    await aio.collect([aio.in_thread(int) for _ in range(count)], workers=count)


def numbers(count):
    yield from range(count)


async def generate(count):
    async for _ in aio.generate_in_thread(numbers, count):
        pass


async def rate(count):
    limited = aio.rate_limited(max_calls=10**9, max_calls_period=1)(trivial)
    for _ in range(count):
        await limited()


async def permits(count):
    semaphore = aio.Semaphore(5)
    for _ in range(count):
        async with semaphore.acquire_many(5):
            pass


def main(name, count, loop="asyncio"):
    measured = globals()[name]
    begin = time.perf_counter()
    if not inspect.iscoroutinefunction(measured):
        seconds = measured(count)
    elif loop == "trio":
        import trio

        begin = time.perf_counter()
        seconds = trio.run(measured, count)
    elif loop == "uvloop":
        begin = time.perf_counter()
        seconds = aio.run(measured(count))
    else:
        seconds = asyncio.run(measured(count))
    if not isinstance(seconds, float):
        seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(seconds / count, peak, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
