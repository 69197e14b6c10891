"""Checks of the async worlds: `run_method` awaited, ``async def`` methods, coroutines."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import Callable, Generator
from typing import Any

from connectors import Executor, Parallelization
from connectors._worlds import current_loop, current_world

from . import _jobs as jobs
from ._check import (
    Maker,
    check,
    expect,
    far_views,
    in_thread,
    in_worlds,
    opened,
    raised,
    same,
    together,
    usable,
    views,
)
from ._gate import Gate, Visitor


@check()
def check_run_method(maker: Maker) -> None:
    """`run_method` can be awaited under asyncio and under trio, many calls at a time."""
    with opened(maker) as executor:

        async def scene() -> None:
            for level, _ in views(executor):
                calls = [
                    functools.partial(executor.run_method, level, jobs.square, None, number)
                    for number in range(12)
                ]
                got = await together(*calls)
                same(got, [n * n for n in range(12)], f"{level}: results of run_method()")

        in_worlds(scene)


@check("concurrency")
def check_loop_goes_on(maker: Maker) -> None:
    """The caller's event loop goes on while a far call runs."""
    with opened(maker) as executor:

        async def scene() -> None:
            for level, _ in far_views(executor):
                with Gate() as gate:

                    async def open_gate(gate: Gate = gate) -> None:
                        (await in_thread(gate.visitor)).let_in()

                    call = functools.partial(
                        executor.run_method, level, jobs.knock, None, gate.address, "through"
                    )
                    got, _ = await together(call, open_gate)
                    same(got, "through", f"{level}: the result of a call that the loop let in")

        in_worlds(scene)


@check("concurrency")
def check_cancelled_await(maker: Maker) -> None:
    """Cancelling an awaited call gives control back at once; a neighbour's call is not lost."""
    with opened(maker) as executor:

        async def scene() -> None:
            for level, view in far_views(executor):
                with Gate() as gate:
                    visitor = await cancelled(executor, level, gate)
                    neighbours = [view.submit(jobs.square, number) for number in range(8)]
                    visitor.let_in()
                    for number, future in enumerate(neighbours):
                        got = await in_thread(future.result)
                        same(got, number * number, f"{level}: a call beside a cancelled one")

        in_worlds(scene)
        usable(executor, "a call that was cancelled")


async def cancelled(executor: Executor, level: Parallelization, gate: Gate) -> Visitor:
    """Begin a call that waits at *gate*, cancel it, and return it once control came back."""
    call = functools.partial(executor.run_method, level, jobs.knock, None, gate.address)
    if current_world() == "trio":
        import trio

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            visitor: Visitor = await in_thread(gate.visitor)
            nursery.cancel_scope.cancel()
        return visitor
    task = asyncio.ensure_future(call())
    visitor = await in_thread(gate.visitor)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return visitor
    raise AssertionError(f"{level}: the call was cancelled and gave a result")


@check("async_methods")
def check_async_methods(maker: Maker) -> None:
    """``async def`` functions and methods are awaited, from plain code, asyncio and trio."""
    with opened(maker) as executor:
        same(executor.submit(jobs.later, 5).result(), 5, "an async def function in submit()")
        counter = jobs.Counter(1)
        same(executor.submit(counter.add_async, 2).result(), 3, "an async def method in submit()")
        same(counter.count, 3, "the state that the method left")
        same(list(executor.map(jobs.later, [1, 2, 3])), [1, 2, 3], "an async def function in map()")
        error = executor.submit(jobs.trouble_later, 9).exception()
        same(type(error), jobs.Trouble, "the class of what an async def function raised")

        async def scene() -> None:
            for level in Parallelization:
                got = await executor.run_method(level, jobs.later, None, level.name)
                same(got, level.name, f"{level}: an async def function in run_method()")
                method = jobs.Counter.add_async
                got = await executor.run_method(level, method, jobs.Counter(4), 3)
                same(got, 7, f"{level}: an async def method in run_method()")

        in_worlds(scene)


@check("async_methods")
def check_async_context(maker: Maker) -> None:
    """``async def`` methods and coroutines see the context variables of their caller."""
    variable = contextvars.ContextVar("variable", default="unset")

    async def look() -> str:
        await jobs.pause()
        return variable.get()

    with opened(maker) as executor:
        executor.run_coroutine(jobs.later(1))  # a loop that exists already sees it as well
        variable.set("set")
        same(executor.submit(look).result(), "set", "the variable in submit()")
        same(executor.run_coroutine(look()), "set", "the variable in run_coroutine()")


@check("async_methods")
def check_async_cancel(maker: Maker) -> None:
    """Cancelling the future of an ``async def`` call ends it where it awaits."""
    entered, left = threading.Event(), threading.Event()

    async def stay() -> None:
        entered.set()
        try:
            await _forever()
        finally:
            left.set()

    with opened(maker) as executor:
        future = executor.submit(stay)
        entered.wait()
        expect(future.cancel(), "cancel() of an async def call that awaits gave False")
        left.wait()
        expect(future.cancelled(), "the future of a cancelled call is not cancelled")
        usable(executor, "an async def call that was cancelled")


async def _forever() -> None:
    if current_world() == "trio":
        import trio

        await trio.sleep_forever()
    await asyncio.Event().wait()


@check("async_methods")
def check_event_loop(maker: Maker) -> None:
    """`get_event_loop` gives the loop in which the executor awaits something, None when idle."""
    loops: list[object] = []

    async def look() -> object:
        await jobs.pause()
        loops.append(executor.get_event_loop())
        return current_loop()

    with opened(maker) as executor:
        same(executor.get_event_loop(), None, "get_event_loop() of a new executor")
        ways: list[Callable[[], object]] = [
            lambda: executor.run_coroutine(look()),
            lambda: executor.submit(look).result(),
        ]
        for way in ways:
            same(way(), loops[-1], "get_event_loop() inside, and the loop that runs")
            expect(loops[-1] is not None, "get_event_loop() inside a coroutine gave None")
            same(executor.get_event_loop(), None, "get_event_loop() of an idle executor")

        async def scene() -> None:
            got = await executor.run_method(Parallelization.THREAD, look, None)
            same(got, loops[-1], "get_event_loop() inside run_method(), and the loop that runs")

        in_worlds(scene)
        same(executor.get_event_loop(), None, "get_event_loop() of an idle executor")


@check()
def check_run_coroutine(maker: Maker) -> None:
    """`run_coroutine` blocks for the result of a coroutine; all coroutines share one loop."""
    with opened(maker) as executor:
        same(executor.run_coroutine(jobs.later(3)), 3, "the result")
        failing = functools.partial(_run, executor)
        error = raised(jobs.Trouble, failing, "run_coroutine() of what raises")
        same(error.code, 4, "the attribute of the exception")

        async def loop() -> Any:
            return current_loop()

        first = executor.run_coroutine(loop())
        expect(first is executor.run_coroutine(loop()), "two coroutines ran in different loops")


def _run(executor: Executor) -> object:
    return executor.run_coroutine(jobs.trouble_later(4))


@check()
def check_run_coroutines(maker: Maker) -> None:
    """`run_coroutines` gives results in order; one failure is raised as itself, more as a group."""
    with opened(maker) as executor:
        got = executor.run_coroutines([jobs.later(number) for number in range(5)])
        same(got, [0, 1, 2, 3, 4], "the results")
        same(executor.run_coroutines([]), [], "the results of no coroutines")

        def one() -> object:
            return executor.run_coroutines([jobs.later(1), jobs.trouble_later(8), jobs.later(2)])

        same(raised(jobs.Trouble, one, "one failure of three").code, 8, "the exception")

        def two() -> object:
            return executor.run_coroutines(
                [jobs.trouble_later(1), jobs.later(0), jobs.trouble_later(2)]
            )

        group = raised(ExceptionGroup, two, "two failures of three")
        codes = [getattr(error, "code", None) for error in group.exceptions]
        same(codes, [1, 2], "the exceptions of the group")


@check()
def check_coroutines_together(maker: Maker) -> None:
    """`run_coroutines` runs its coroutines at the same time."""
    here = [False, False]

    async def meet(me: int) -> int:
        here[me] = True
        while not here[1 - me]:
            await jobs.pause()
        return me

    with opened(maker) as executor:
        same(executor.run_coroutines([meet(0), meet(1)]), [0, 1], "two coroutines that meet")


class _Awaitable:
    def __await__(self) -> Generator[Any, Any, int]:
        return jobs.later(6).__await__()


@check()
def check_run_until_complete(maker: Maker) -> None:
    """`run_until_complete` takes coroutines, other awaitables, and futures of `submit`."""
    with opened(maker) as executor:
        same(executor.run_until_complete(jobs.later(5)), 5, "of a coroutine")
        same(executor.run_until_complete(_Awaitable()), 6, "of an awaitable")
        same(executor.run_until_complete(executor.submit(jobs.square, 3)), 9, "of a future")


@check()
def check_coroutines_inside_loops(maker: Maker) -> None:
    """`run_coroutine` works where an event loop is running, the executor's own included."""
    with opened(maker) as executor:

        async def scene() -> None:
            same(executor.run_coroutine(jobs.later(3)), 3, "inside a running loop")
            same(executor.run_coroutines([jobs.later(4)]), [4], "several inside a running loop")

        in_worlds(scene)
        executor.run_coroutine(scene())

        async def nested(depth: int) -> int:
            return 1 + int(executor.run_coroutine(nested(depth - 1))) if depth else 0

        same(executor.run_coroutine(nested(4)), 4, "depth of coroutines that block")


@check("async_methods")
def check_await_inside(maker: Maker) -> None:
    """An ``async def`` method may await calls of its own executor."""
    with opened(maker) as executor:

        async def outer(depth: int) -> int:
            if depth == 0:
                return 0
            total = 1 + int(
                await executor.run_method(Parallelization.THREAD, outer, None, depth - 1)
            )
            for level, _ in views(executor):
                total += int(await executor.run_method(level, jobs.square, None, 0))
            return total

        same(executor.submit(outer, 5).result(), 5, "five levels of async def methods")

        async def scene() -> None:
            same(await outer(3), 3, "three levels of async def methods")

        in_worlds(scene)
