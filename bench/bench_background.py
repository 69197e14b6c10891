"""Work in the background, beside the standard library. The older library is not measured."""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator

from harness import Measure, Row, timed

from connectors.background import BgInvoke, BgThread, bg_proc_manager, bg_run_proc, parallelise

logging.getLogger("connectors.background").setLevel(logging.ERROR)


def _same(index: int) -> int:
    return index


def _nap(seconds: float) -> Callable[[int], None]:
    return lambda _: time.sleep(seconds)


def _mapped(job: Callable[[int], object], jobs: int, threads: int) -> Measure:
    def run() -> None:
        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            list(pool.map(job, range(jobs)))

    return timed(run)


def _ours(job: Callable[[int], object], jobs: int, threads: int, executor: str) -> Measure:
    return timed(lambda: parallelise(job, jobs, num_threads=threads, executor=executor))


def _processes(chunksize: int) -> Measure:
    def run() -> None:
        context = multiprocessing.get_context("forkserver")
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
            list(pool.map(_same, range(1000), chunksize=chunksize))

    return timed(run)


def _until_start(submit: Callable[[Callable[[], None]], object]) -> Measure:
    """Return a measure of how long it takes from the call to the start, the median of 50."""

    def measure() -> float:
        found = []
        for _ in range(50):
            started, starts = threading.Event(), []

            def proc(started: threading.Event = started, starts: list[float] = starts) -> None:
                starts.append(time.perf_counter())
                started.set()

            begin = time.perf_counter()
            submit(proc)
            started.wait()
            found.append(starts[0] - begin)
        return sorted(found)[25]

    return measure


def _joined(start: Callable[[], threading.Thread], calls: int) -> Measure:
    return timed(lambda: [start().join() for _ in range(calls)], calls)


def _started() -> threading.Thread:
    thread = threading.Thread(target=abs, args=(1,), daemon=True)
    thread.start()
    return thread


def _round_trips(bg: BgThread, calls: int) -> Measure:
    def run() -> None:
        for _ in range(calls):
            bg.invoke(1)
            _ = bg.result

    return timed(run, calls)


def rows() -> Iterator[Row]:
    """Yield the rows; what they need is open while they are measured."""
    yield Row(
        "`parallelise`, 1000 trivial jobs, 2 threads",
        _ours(_same, 1000, 2, "threading"),
        {"`ThreadPoolExecutor.map`": _mapped(_same, 1000, 2)},
        absolute=40.0,
        alone=True,
        unit="ms",
    )
    yield Row(
        "`parallelise`, 16 jobs of 10 ms, 2 threads",
        _ours(_nap(0.01), 16, 2, "threading"),
        {"`ThreadPoolExecutor.map`": _mapped(_nap(0.01), 16, 2)},
        absolute=120.0,
        alone=True,
        unit="ms",
    )
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(2))
        yield Row(
            "`bg_run_proc`, from the call to the start of the proc",
            _until_start(bg_run_proc),
            {"`ThreadPoolExecutor.submit`": _until_start(pool.submit)},
            absolute=5.0,
            alone=True,
            unit="ms",
        )
        bg_proc_manager.wait_until_empty()
        yield Row(
            "`BgInvoke`: start and join",
            _joined(lambda: BgInvoke(abs, 1).thread, 200),
            {"`Thread`": _joined(_started, 200)},
        )
        yield Row(
            "`BgThread`: `invoke` and `result`",
            _round_trips(stack.enter_context(BgThread(abs)), 500),
            {
                "`ThreadPoolExecutor.submit`, `result`": timed(
                    lambda: [pool.submit(abs, 1).result() for _ in range(500)], 500
                )
            },
        )
    yield Row(
        "`parallelise`, 40 jobs of 100 ms, 4 threads",
        _ours(_nap(0.1), 40, 4, "threading"),
        {"`ThreadPoolExecutor.map`": _mapped(_nap(0.1), 40, 4)},
        unit="ms",
        rounds=3,
    )
    yield Row(
        "`parallelise`, 1000 trivial jobs, 2 processes, with their start",
        _ours(_same, 1000, 2, "multiprocessing"),
        {
            "`ProcessPoolExecutor.map`": _processes(1),
            "the same in chunks of 50": _processes(50),
        },
        unit="ms",
        rounds=3,
    )
