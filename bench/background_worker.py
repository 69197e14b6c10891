"""Measures work in the background, in a process of its own.

It takes our library or, where that is not installed, the older one, and uses only what both have,
so that two interpreters can run it in turns. What the standard library has is measured here too.
"""

import functools
import logging
import multiprocessing
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

try:
    from connectors import background
except ImportError:
    from mt.base import bg_invoke as background

logging.getLogger("connectors.background").setLevel(logging.ERROR)
clock = time.perf_counter


def same(index):
    return index


def nap(milliseconds):
    return lambda _: time.sleep(milliseconds / 1000)


def timed(function, calls=1):
    """Return a measure of the seconds that one of *calls* takes in *function*."""

    def measure(budget):
        begin = clock()
        function()
        return (clock() - begin) / calls

    return measure


def parallelise(job, threads, **options):
    def build(jobs):
        expected = [job(index) for index in range(jobs)] if job is same else [None] * jobs

        def run():
            if background.parallelise(job, jobs, num_threads=threads, **options) != expected:
                raise AssertionError("results are missing")

        return timed(run)

    return build


def mapped(job, threads):
    def build(jobs):
        def run():
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(job, range(jobs)))

        return timed(run)

    return build


def mapped_in_processes(chunksize):
    def build(jobs):
        def run():
            context = multiprocessing.get_context("forkserver")
            with ProcessPoolExecutor(2, mp_context=context) as pool:
                list(pool.map(same, range(jobs), chunksize=chunksize))

        return timed(run)

    return build


def until_start(submit, calls):
    """Return a measure of how long it takes from the call to the start, the median of *calls*."""

    def measure(budget):
        found = []
        for _ in range(calls):
            started, starts = threading.Event(), []

            def proc(started=started, starts=starts):
                starts.append(clock())
                started.set()

            begin = clock()
            submit(proc)
            started.wait()
            found.append(starts[0] - begin)
        return sorted(found)[calls // 2]

    return measure


def warm_pool():
    pool = ThreadPoolExecutor(2)
    barrier = threading.Barrier(3)
    for _ in range(2):
        pool.submit(barrier.wait)
    barrier.wait()
    return pool


def joined(start):
    def build(calls):
        def run():
            for _ in range(calls):
                start().join()

        return timed(run, calls)

    return build


def bg_invoke():
    return background.BgInvoke(abs, 1).thread


def bare_thread():
    thread = threading.Thread(target=abs, args=(1,), daemon=True)
    thread.start()
    return thread


def bg_thread(calls):
    def measure(budget):
        bg = background.BgThread(abs)
        try:
            bg.invoke(1)
            assert bg.result == 1
            begin = clock()
            for _ in range(calls):
                bg.invoke(1)
                _ = bg.result
            return (clock() - begin) / calls
        finally:
            bg.close()

    return measure


def pool_thread(calls):
    pool = warm_pool()

    def run():
        for _ in range(calls):
            pool.submit(abs, 1).result()

    return timed(run, calls)


MEASURES = {
    "parallelise": parallelise(same, 2),
    "parallelise, naps of 10 ms": parallelise(nap(10), 2),
    "parallelise, naps of 100 ms": parallelise(nap(100), 4),
    "parallelise, processes": parallelise(same, 2, executor="multiprocessing"),
    "map": mapped(same, 2),
    "map, naps of 10 ms": mapped(nap(10), 2),
    "map, naps of 100 ms": mapped(nap(100), 4),
    "map, processes": mapped_in_processes(1),
    "map, processes, chunks": mapped_in_processes(50),
    "bg_run_proc": functools.partial(until_start, background.bg_run_proc),
    "submit": lambda calls: until_start(warm_pool().submit, calls),
    "BgInvoke": joined(bg_invoke),
    "Thread": joined(bare_thread),
    "BgThread": bg_thread,
    "submit and result": pool_thread,
}
