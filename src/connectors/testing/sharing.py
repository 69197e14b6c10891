"""Checks of sharing: calls inside calls, many threads, many loops, and neighbours."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable
from typing import Any

from connectors import Executor, Parallelization
from connectors.events import ExecutorOpened, observe

from . import _jobs as jobs
from ._check import (
    Maker,
    check,
    crowd,
    expect,
    far_views,
    opened,
    raised,
    same,
    together,
    usable,
    views,
)


@check()
def check_calls_inside_calls(maker: Maker) -> None:
    """Calls that submit to their own executor and wait do not deadlock, however deep."""
    with opened(maker) as executor:
        depth = crowd(executor)
        for level, view in views(executor):
            same(view.submit(jobs.dive, view, depth).result(), depth, f"{level}: depth of calls")


@check()
def check_crowds_inside_calls(maker: Maker) -> None:
    """When every worker runs a call that waits for another call, none starves."""
    with opened(maker) as executor:
        size = crowd(executor)
        for level, view in views(executor):
            futures = [view.submit(jobs.dive, view, 3) for _ in range(size)]
            same([future.result() for future in futures], [3] * size, f"{level}: depths of calls")


@check()
def check_maps_inside_calls(maker: Maker) -> None:
    """Calls may map over their own executor."""
    with opened(maker) as executor:
        for level, view in views(executor):
            same(view.submit(jobs.dive_by_map, view, 4).result(), 16, f"{level}: leaves of a tree")


@check("concurrency")
def check_awaits_inside_calls(maker: Maker) -> None:
    """Calls may run event loops of their own, in which they await their own executor."""
    with opened(maker) as executor:
        for level, view in far_views(executor):
            futures = [view.submit(jobs.await_run_method, view, level, 3) for _ in range(8)]
            got = [future.result() for future in futures]
            same(got, [9] * 8, f"{level}: results of calls that await")


@check()
def check_coroutines_inside_calls(maker: Maker) -> None:
    """Calls may run coroutines in the loop of their own executor."""
    with opened(maker) as executor:
        for level, view in views(executor):
            got = view.submit(jobs.await_inside, view, 6).result()
            same(got, 6, f"{level}: the result of a coroutine inside a call")


@check()
def check_executor_in_call(maker: Maker) -> None:
    """An executor and a view can be given to a call, and work there."""
    with opened(maker) as executor:
        for level, view in views(executor):
            got = [view.submit(jobs.same_executor, each, 5).result() for each in (executor, view)]
            same(got, [25, 25], f"{level}: what a call did with its executor")


def _at_once(works: list[Callable[[], Any]]) -> None:
    """Run *works* in threads that begin together, and raise the first thing that they raised."""
    barrier = threading.Barrier(len(works))
    errors: list[BaseException] = []

    def run(work: Callable[[], Any]) -> None:
        barrier.wait()
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors:
        raise error


@check()
def check_many_threads(maker: Maker) -> None:
    """Several threads share one executor from its first call on, and no call is lost."""
    with opened(maker) as executor, observe() as seen:

        def use(base: int) -> None:
            for level, view in views(executor):
                futures = [view.submit(jobs.square, base + number) for number in range(25)]
                got = [future.result() for future in futures]
                same(got, [(base + n) ** 2 for n in range(25)], f"{level}: results in a thread")
                got = list(view.map(jobs.square, range(base, base + 25)))
                same(got, [(base + n) ** 2 for n in range(25)], f"{level}: a map in a thread")

        _at_once([functools.partial(use, 1000 * number) for number in range(5)])
        openings = len(list(seen.of(ExecutorOpened)))
        expect(openings <= 1, f"the executor was opened {openings} times")


@check()
def check_many_loops(maker: Maker) -> None:
    """Several event loops, of asyncio and of trio, share one executor, and no call is lost."""
    import trio

    with opened(maker) as executor:

        async def use(base: int) -> None:
            for level, _ in views(executor):
                calls = [
                    functools.partial(executor.run_method, level, jobs.square, None, base + number)
                    for number in range(10)
                ]
                got = await together(*calls)
                same(got, [(base + n) ** 2 for n in range(10)], f"{level}: results in a loop")
            same(
                await executor.run_method(Parallelization.THREAD, jobs.later, None, base),
                base,
                "async",
            )

        _at_once(
            [
                lambda: asyncio.run(use(0)),
                lambda: trio.run(use, 100),
                lambda: asyncio.run(use(200)),
                lambda: trio.run(use, 300),
                lambda: same(
                    executor.run_coroutine(jobs.later(1)), 1, "run_coroutine() beside loops"
                ),
            ]
        )


@check()
def check_failing_neighbours(maker: Maker) -> None:
    """A call that fails takes no other call with it."""
    with opened(maker) as executor:
        for level, view in views(executor):
            futures = _alternating(view)
            for number, future in enumerate(futures):
                if number % 3:
                    same(future.result(), number * number, f"{level}: a call beside a failing one")
                else:
                    what = f"{level}: a call that fails"
                    same(raised(jobs.Trouble, future.result, what).code, number, what)
        usable(executor, "calls that failed")


def _alternating(view: Executor) -> list[Any]:
    return [
        view.submit(jobs.square, number) if number % 3 else view.submit(jobs.deep_trouble, number)
        for number in range(30)
    ]
