"""Checks of limits: timeouts, cancellation, workers that die, and retries."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import signal
from concurrent.futures import Future
from typing import Any

from connectors import CallTimeoutError, Executor, Parallelization, WorkerCrashError
from connectors.events import CallFailed, CallRetried, observe

from . import _jobs as jobs
from ._check import (
    Maker,
    check,
    crowd,
    expect,
    far_views,
    in_thread,
    in_worlds,
    opened,
    raised,
    same,
    usable,
    views,
)
from ._gate import Answer, Gate, Visitor, in_turn
from .coroutines import cancelled

PROCESS = Parallelization.PROCESS

# A call that is to be running when its limit is over gets more and more time to begin.
_LIMITS = (0.3, 2.0, 15.0)


@check("concurrency")
def check_timeout(maker: Maker) -> None:
    """A call over its limit raises CallTimeoutError, and the executor works afterwards."""
    with opened(maker) as executor:
        for level, view in far_views(executor):
            limited = view.options(wish=level, timeout=0.1, label="slow call")
            with Gate() as gate, observe() as seen:
                future = limited.submit(jobs.knock, gate.address)
                what = f"{level}: a call with timeout=0.1"
                error = raised(CallTimeoutError, future.result, what)
                expect(isinstance(error, TimeoutError), f"{what}: it is no TimeoutError")
                expect("slow call" in str(error), f"{what}: it does not name the call: {error}")
                expect("0.1" in str(error), f"{what}: it does not name the limit: {error}")
                same(len(list(seen.of(CallFailed))), 1, f"{what}: the CallFailed events")
        usable(executor, "a call that was over its limit")
        for level, view in views(executor):
            quick = view.options(wish=level, timeout=60.0).submit(jobs.square, 3)
            same(quick.result(), 9, f"{level}: a call within its limit")


@check("concurrency")
def check_timeout_awaited(maker: Maker) -> None:
    """An awaited call over its limit raises CallTimeoutError, under asyncio and trio."""
    with opened(maker) as executor:

        async def scene() -> None:
            for level, _ in far_views(executor):
                limited = executor.options(timeout=0.1)
                with Gate() as gate:
                    try:
                        await limited.run_method(level, jobs.knock, None, gate.address)
                    except CallTimeoutError:
                        continue
                    raise AssertionError(f"{level}: a call with timeout=0.1 gave a result")

        in_worlds(scene)
        usable(executor, "a call that was over its limit")


@check("kills", "PROCESS")
def check_kills_on_timeout(maker: Maker) -> None:
    """A PROCESS call over its limit is stopped: its process ends or lets it go."""
    with opened(maker) as executor:
        usable(executor, "opening")
        for limit in _LIMITS:
            with Gate() as gate:
                future = executor.options(wish=PROCESS, timeout=limit).submit(
                    jobs.knock, gate.address
                )
                raised(CallTimeoutError, future.result, f"a call with timeout={limit}")
                visitors = gate.arrived()
                for visitor in visitors:
                    same(visitor.left(), False, "whether the call over its limit ended by itself")
            if visitors:
                usable(executor, "a call that was stopped")
                return
        raise AssertionError(f"no call began within {_LIMITS[-1]} seconds")


@check("kills", "PROCESS")
def check_kills_on_cancel(maker: Maker) -> None:
    """Cancelling an awaited PROCESS call stops it, under asyncio and trio."""
    with opened(maker) as executor:

        async def scene() -> None:
            with Gate() as gate:
                visitor = await cancelled(executor, PROCESS, gate)
                stopped = not await in_thread(visitor.left)
                expect(stopped, "the cancelled call ended by itself")

        in_worlds(scene)
        usable(executor, "a call that was stopped")


@check("cancels", "concurrency")
def check_cancel(maker: Maker) -> None:
    """A call that has not begun can be cancelled, does not run then, and no other is lost."""
    with opened(maker) as executor:
        for level, view in far_views(executor):
            size = crowd(executor)
            with Gate() as gate:
                futures = [view.submit(jobs.knock, gate.address, tag) for tag in range(size)]
                gate.visitor().let_in()
                tag = _cancel_one(futures, f"{level}: none of {size} calls can be cancelled")
                expect(futures[tag].cancelled(), f"{level}: a cancelled call is not cancelled()")
                cancelled_result = futures[tag].result
                raised(concurrent.futures.CancelledError, cancelled_result, f"{level}: its result")
                with gate.answering(Visitor.let_in) as tags:
                    got = [futures[other].result() for other in range(size) if other != tag]
                    others = [other for other in range(size) if other != tag]
                    same(got, others, f"{level}: the calls beside it")
                    # Whoever was to run the cancelled call ran this one in its place.
                    same(view.submit(jobs.square, 3).result(), 9, f"{level}: a call after it")
                expect(tag not in tags, f"{level}: the cancelled call ran")


def _cancel_one(futures: list[Future[Any]], otherwise: str) -> int:
    """Cancel one of *futures* and return its index, if that is possible at all."""
    # In which order calls begin is not promised, so that it need not be the last one.
    for tag in reversed(range(len(futures))):
        if futures[tag].cancel():
            return tag
    raise AssertionError(otherwise)


@check("PROCESS")
def check_crash(maker: Maker) -> None:
    """A call whose worker dies raises WorkerCrashError, and the executor works afterwards."""
    with opened(maker) as executor:
        view = executor.options(wish=PROCESS, label="fatal call")
        for _ in range(2):
            future = view.submit(jobs.die)
            error = raised(WorkerCrashError, future.result, "a call of os._exit(3)")
            expect(
                isinstance(error, concurrent.futures.BrokenExecutor),
                "WorkerCrashError is no BrokenExecutor",
            )
            expect("fatal call" in str(error), f"the error does not name the call: {error}")
            usable(executor, "a worker died")

        async def scene() -> None:
            try:
                await executor.run_method(PROCESS, jobs.die, None)
            except WorkerCrashError:
                return
            raise AssertionError("run_method() of a call of os._exit(3) gave a result")

        in_worlds(scene)
        usable(executor, "a worker died")


@check("PROCESS", "not remote")
def check_killed_worker(maker: Maker) -> None:
    """A worker that is killed from outside fails its call, and the executor works afterwards."""
    with opened(maker) as executor, Gate() as gate:
        future = executor.options(wish=PROCESS).submit(jobs.knock, gate.address)
        with gate.answering(_kill):  # each time, should the engine run it again by itself
            error = future.exception()
        same(type(error), WorkerCrashError, "the outcome of a call whose worker was killed")
        usable(executor, "a worker was killed")


def _kill(visitor: Visitor) -> None:
    os.kill(visitor.pid, getattr(signal, "SIGKILL", signal.SIGTERM))


@check("PROCESS")
def check_crashing_neighbours(maker: Maker) -> None:
    """A worker that dies fails only the call that it ran."""
    with opened(maker) as executor, Gate() as gate:
        view = executor.options(wish=PROCESS)
        fatal = view.submit(jobs.knock, gate.address, "fatal")
        beside = [view.submit(jobs.knock, gate.address, tag) for tag in range(6)]

        answer = _Triage(fatal)
        with gate.answering(answer):
            raised(WorkerCrashError, fatal.result, "the call that ended its process")
            for tag, future in enumerate(beside):
                same(future.exception(), None, f"the exception of call {tag} beside it")
                same(future.result(), tag, f"the result of call {tag} beside it")


class _Triage:
    """Lets the fatal call die, and the others in when that is told: they run while it dies."""

    def __init__(self, fatal: Future[Any]) -> None:
        self._fatal = fatal
        self._held: list[Visitor] = []
        fatal.add_done_callback(self._release)

    def __call__(self, visitor: Visitor) -> None:
        if visitor.tag == "fatal":
            visitor.die()
            return
        self._held.append(visitor)
        if self._fatal.done():
            self._release(self._fatal)

    def _release(self, _: Future[Any]) -> None:
        while self._held:
            with contextlib.suppress(IndexError):  # two threads may be here
                self._held.pop().let_in()


@check("PROCESS", "not retries")
def check_crash_runs_once(maker: Maker) -> None:
    """A call that killed its worker is not run again unless the caller said so."""
    with opened(maker) as executor, Gate() as gate:
        with gate.answering(Visitor.die) as tags:
            future = executor.options(wish=PROCESS).submit(jobs.knock, gate.address, "run")
            raised(WorkerCrashError, future.result, "the call that ended its process")
            usable(executor, "a worker died")
        same(tags, ["run"], "the runs of a call that killed its worker")


@check("PROCESS")
def check_crash_retried(maker: Maker) -> None:
    """A call that killed its worker is run again if it has retries."""
    with opened(maker) as executor, Gate() as gate:
        with gate.answering(in_turn(Visitor.die, Visitor.let_in)) as tags:
            view = executor.options(wish=PROCESS, retries=1)
            got = view.submit(jobs.knock, gate.address, "run").result()
        same((got, tags), ("run", ["run", "run"]), "the result and the runs of a retried call")


@check("retries", "PROCESS")
def check_engine_retries(maker: Maker) -> None:
    """An engine that declares it runs a call whose worker died again by itself."""
    answer = in_turn(Visitor.die, Visitor.let_in)
    with opened(maker) as executor, Gate() as gate, gate.answering(answer):
        future = executor.options(wish=PROCESS).submit(jobs.knock, gate.address, "run")
        same(future.exception(), None, "the exception of a call whose worker died once")


@check()
def check_retries(maker: Maker) -> None:
    """A call that fails is run again as often as it may be, and each time is told."""
    with opened(maker) as executor:
        for level, view in views(executor):
            _check_retries(view, level)


def _check_retries(view: Executor, level: Parallelization) -> None:
    def runs(allowed: int, *answers: Answer) -> tuple[Future[Any], int, list[int]]:
        with Gate() as gate, observe() as seen:
            with gate.answering(in_turn(*answers)) as tags:
                again = view.options(wish=level, retries=allowed)
                future = again.submit(jobs.knock, gate.address, "run")
                concurrent.futures.wait([future])
            attempts = [getattr(event, "attempt", 0) for event in seen.of(CallRetried)]
            return future, len(tags), attempts

    future, count, attempts = runs(3, Visitor.fail, Visitor.fail, Visitor.let_in)
    same((future.exception(), count), (None, 3), f"{level}: outcome and runs, two failures")
    same(attempts, [2, 3], f"{level}: the attempts in CallRetried events")
    future, count, attempts = runs(1, Visitor.fail, Visitor.fail)
    same((type(future.exception()), count), (jobs.Trouble, 2), f"{level}: retries=1, two failures")
    same(attempts, [2], f"{level}: the attempts in CallRetried events")
    future, count, attempts = runs(0, Visitor.fail)
    same((type(future.exception()), count), (jobs.Trouble, 1), f"{level}: retries=0, one failure")


@check()
def check_retries_awaited(maker: Maker) -> None:
    """An awaited call that fails is run again as often as it may be."""
    with opened(maker) as executor:
        again = executor.options(retries=1)

        async def scene() -> None:
            for level, _ in views(executor):
                answer = in_turn(Visitor.fail, Visitor.let_in)
                with Gate() as gate, gate.answering(answer) as tags:
                    got = await again.run_method(level, jobs.knock, None, gate.address, "run")
                same((got, len(tags)), ("run", 2), f"{level}: the result and the number of runs")

        in_worlds(scene)
