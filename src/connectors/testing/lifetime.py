"""Checks of an executor's life: opening, closing, and what observers hear of it."""

from __future__ import annotations

import concurrent.futures
import functools
import logging
import os
import socket
import threading
from typing import Any

from connectors import Executor, ExecutorClosedError, Parallelization, WorkerCrashError
from connectors.events import (
    CallEvent,
    CallFailed,
    CallFinished,
    CallStarted,
    CallSubmitted,
    ExecutorClosed,
    observe,
)

from . import _jobs as jobs
from ._check import Maker, check, crowd, expect, far_views, in_worlds, opened, raised, same, views
from ._gate import Gate, Visitor

PROCESS = Parallelization.PROCESS

_TEMPTATION = 0.2


@check()
def check_close_twice(maker: Maker) -> None:
    """An executor can be closed more than once, used or not, and says that it is closed."""
    for use in (False, True):
        executor = maker()
        same(executor.closed, False, "closed, of a new executor")
        if use:
            executor.submit(jobs.square, 2).result()
            executor.run_coroutine(jobs.later(1))
        with observe() as seen:
            for _ in range(2):
                executor.close()
                executor.shutdown()
        same(executor.closed, True, "closed, after close()")
        same(len(list(seen.of(ExecutorClosed))), int(use), "the number of ExecutorClosed events")


@check()
def check_use_after_close(maker: Maker) -> None:
    """Using a closed executor raises ExecutorClosedError, at every entrance."""
    executor = maker()
    view = executor.options()
    executor.submit(jobs.square, 2).result()
    executor.close()
    for each in (executor, view):
        raised(ExecutorClosedError, functools.partial(each.submit, jobs.square, 2), "submit()")
        raised(ExecutorClosedError, functools.partial(_map, each), "map()")
        raised(ExecutorClosedError, functools.partial(_run_coroutine, each), "run_coroutine()")
        error = raised(ExecutorClosedError, functools.partial(each.submit, jobs.later, 2), "async")
        expect(isinstance(error, RuntimeError), "ExecutorClosedError is no RuntimeError")
        expect(executor.name in str(error), f"the error does not name the executor: {error}")

    async def scene() -> None:
        for level in Parallelization:
            try:
                await executor.run_method(level, jobs.square, None, 2)
            except ExecutorClosedError:
                continue
            raise AssertionError(f"{level}: run_method() of a closed executor gave a result")

    in_worlds(scene)


def _map(executor: Executor) -> object:
    return list(executor.map(jobs.square, [2]))


def _run_coroutine(executor: Executor) -> object:
    coroutine = jobs.later(1)
    try:
        return executor.run_coroutine(coroutine)
    finally:
        coroutine.close()


@check("concurrency")
def check_close_drains(maker: Maker) -> None:
    """`close` returns when all calls that were submitted are done."""
    for level in _far_levels(maker):
        executor = maker()
        size = crowd(executor)
        with Gate() as gate:
            view = executor.options(wish=level)
            futures = [view.submit(jobs.knock, gate.address, tag) for tag in range(size)]
            first = gate.visitor()
            closing = _begin_to_close(executor)
            # While the first call is held close() cannot return; whoever would let it return has
            # the time to do so. This is no limit: an executor that drains passes however slow.
            closing.join(_TEMPTATION)
            expect(closing.is_alive(), f"{level}: close() returned while calls ran")
            with gate.answering(Visitor.let_in):
                first.let_in()
                closing.join()
                done = [each.done() for each in futures]
                same(done, [True] * size, f"{level}: calls that are done")
                got = [each.exception() or each.result() for each in futures]
                same(got, list(range(size)), f"{level}: outcomes of calls, after close()")


def _far_levels(maker: Maker) -> list[Parallelization]:
    with opened(maker) as executor:
        return [level for level, _ in far_views(executor)]


def _begin_to_close(executor: Executor, *, cancel: bool = False) -> threading.Thread:
    thread = threading.Thread(target=executor.close, kwargs={"cancel": cancel})
    thread.start()
    while not executor.closed:
        thread.join(0.001)
    return thread


@check("cancels", "concurrency")
def check_close_cancels(maker: Maker) -> None:
    """``close(cancel=True)`` does not run what has not begun, and leaves no call undone."""
    for level in _far_levels(maker):
        executor = maker()
        size = crowd(executor)
        with Gate() as gate:
            view = executor.options(wish=level)
            futures = [view.submit(jobs.knock, gate.address, tag) for tag in range(size)]
            first = gate.visitor()
            closing = _begin_to_close(executor, cancel=True)
            _wait_for_cancellation(futures)
            first.let_in()
            with gate.answering(Visitor.let_in) as tags:
                closing.join()
            same([each.done() for each in futures], [True] * size, f"{level}: calls that are done")
            cancelled = {tag for tag, each in enumerate(futures) if each.cancelled()}
            began = {first.tag, *tags}
            expect(cancelled - began, f"{level}: all of {size} calls ran")
            if level is not PROCESS or not executor.capabilities.kills:
                # What can be stopped may be cancelled although it ran.
                same(cancelled & began, set(), f"{level}: the calls that were cancelled and ran")
            for future in futures:
                _judge_end(future, f"{level}: outcome of a call, after close(cancel=True)")


def _wait_for_cancellation(futures: list[concurrent.futures.Future[Any]]) -> None:
    """Wait until one of *futures* is cancelled."""
    # Not with concurrent.futures.wait: standard pools do not tell it what shutdown() cancels.
    cancelled = threading.Event()

    def look(future: concurrent.futures.Future[Any]) -> None:
        if future.cancelled():
            cancelled.set()

    for future in futures:
        future.add_done_callback(look)
    cancelled.wait()


def _judge_end(future: concurrent.futures.Future[Any], what: str) -> None:
    if future.cancelled():
        return
    error = future.exception()  # a running call was stopped, or had the time to end
    expect(error is None or isinstance(error, WorkerCrashError), f"{what}: {error!r}")


@check()
def check_with(maker: Maker) -> None:
    """``with`` and ``async with`` close the executor at their end, and drain it."""
    with maker() as executor:
        futures = [executor.submit(jobs.square, number) for number in range(10)]
    same(executor.closed, True, "closed, after with")
    same([future.done() for future in futures], [True] * 10, "the calls that are done")

    async def scene() -> None:
        async with maker() as executor:
            got = await executor.run_method(Parallelization.THREAD, jobs.square, None, 3)
            same(got, 9, "a call inside async with")
            futures = [executor.submit(jobs.square, number) for number in range(10)]
        same(executor.closed, True, "closed, after async with")
        same([future.done() for future in futures], [True] * 10, "the calls that are done")

    in_worlds(scene)


@check()
def check_exit_without_close(maker: Maker) -> None:
    """An interpreter ends although an executor was used and not closed."""
    executor = maker()
    for _, view in views(executor):
        view.submit(jobs.square, 2).result()
    executor.run_coroutine(jobs.later(1))
    # That the process of this check ends is seen by whoever runs the check.
    globals()["_never_closed"] = executor


@check("PROCESS", "not remote")
def check_workers_end(maker: Maker) -> None:
    """Closing an executor ends its worker processes."""
    with Gate() as gate:
        with opened(maker) as executor:
            executor.options(wish=PROCESS).submit(jobs.stay_connected, gate.address).result()
            visitor = gate.visitor()
        visitor.left()


@check()
def check_events(maker: Maker) -> None:
    """Observers hear of a call in order: submitted, started, and finished or failed."""
    with opened(maker) as executor:
        for level, view in views(executor):
            for function, last in ((jobs.where, CallFinished), (jobs.deep_trouble, CallFailed)):
                with observe() as seen:
                    future = view.submit(function)
                    concurrent.futures.wait([future])
                told = [event for event in seen if isinstance(event, CallEvent)]
                what = f"{level}: the events of {function.__name__}"
                same([type(event) for event in told], [CallSubmitted, CallStarted, last], what)
                about = {(e.call, e.label, e.level, e.executor) for e in told}
                expected = {(told[0].call, function.__name__, level, executor.name)}
                same(about, expected, f"{what}: what they are about")
                if future.exception() is None:
                    host, pid, _ = future.result()
                    started = getattr(told[1], "pid", None)
                    local = host == socket.gethostname()
                    expect(started == pid or not local, f"{what}: pid {started} is told for {pid}")


@check()
def check_events_of_awaited_calls(maker: Maker) -> None:
    """Observers hear of awaited calls and of ``async def`` methods as well."""
    with opened(maker) as executor:

        async def scene() -> None:
            for level, _ in views(executor):
                with observe() as seen:
                    await executor.run_method(level, jobs.square, None, 3)
                told = [type(event) for event in seen if isinstance(event, CallEvent)]
                same(told, [CallSubmitted, CallStarted, CallFinished], f"{level}: the events")
            if executor.capabilities.async_methods:
                with observe() as seen:
                    await executor.run_method(Parallelization.THREAD, jobs.later, None, 3)
                told = [type(event) for event in seen if isinstance(event, CallEvent)]
                same(told, [CallSubmitted, CallStarted, CallFinished], "the events of an async def")

        in_worlds(scene)


@check()
def check_observers_that_raise(maker: Maker) -> None:
    """An observer that raises is removed and harms no call."""
    logging.getLogger("connectors").addHandler(logging.NullHandler())
    heard: list[object] = []

    def complain(event: object) -> None:
        heard.append(event)
        raise jobs.Trouble("of an observer", 1)

    with opened(maker) as executor:
        for level, view in views(executor):
            heard.clear()
            with observe(complain):
                got = [view.submit(jobs.square, number).result() for number in range(3)]
            same(got, [0, 1, 4], f"{level}: the results beside an observer that raises")
            same(len(heard), 1, f"{level}: how often an observer that raises was called")


@check()
def check_own_process(maker: Maker) -> None:
    """A new executor opens nothing before it is used."""
    before = {thread.ident for thread in threading.enumerate()}
    executor = maker()
    after = {thread.ident for thread in threading.enumerate()}
    same(after, before, f"the threads of process {os.getpid()} after an executor was made")
    executor.close()
