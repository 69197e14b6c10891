"""Checks of levels: where calls really run, what is told of it, and what follows them there."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import os
import threading
import warnings
from typing import Any

from connectors import Capabilities, Executor, FallbackError, Parallelization
from connectors.events import CallFellBack, observe

from . import _jobs as jobs
from ._check import Maker, check, expect, in_worlds, opened, raised, same, views

SEQUENTIAL, THREAD, PROCESS = Parallelization


@check()
def check_declared_levels(maker: Maker) -> None:
    """It runs calls at each level that it declares, and at no other."""
    with opened(maker) as executor:
        capabilities = executor.capabilities
        expect(
            isinstance(capabilities, Capabilities),
            f"its capabilities are {capabilities!r}, no Capabilities",
        )
        for wish in Parallelization:
            expected = next(level for level in wish.fallbacks if level in capabilities.levels)
            same(executor.level_for(wish), expected, f"level_for({wish})")


@check("remote")
def check_remote(maker: Maker) -> None:
    """What has processes on other machines has processes."""
    with opened(maker) as executor:
        expect(
            PROCESS in executor.capabilities.levels,
            "it declares remote, and PROCESS is not among its levels",
        )


@check()
def check_real_levels(maker: Maker) -> None:
    """A call runs in the process and thread that its level means, whatever the entrance."""
    with opened(maker) as executor:
        for wish in Parallelization:
            level = executor.level_for(wish)
            place = executor.options(wish=wish).submit(jobs.where).result()
            _judge(place, level, f"{wish}, submit()", _own_threads(executor))
            (place,) = executor.options(wish=wish).map(_where, [None])
            _judge(place, level, f"{wish}, map()", _own_threads(executor))

        async def scene() -> None:
            for wish in Parallelization:
                place = await executor.run_method(wish, jobs.where, None)
                what = f"{wish}, run_method()"
                _judge(place, executor.level_for(wish), what, _own_threads(executor))

        in_worlds(scene)


def _where(_: object) -> tuple[str, int, int]:
    return jobs.where()


async def _thread() -> int:
    return threading.get_ident()


def _own_threads(executor: Executor) -> set[int]:
    """Return the threads in which SEQUENTIAL calls may run: the caller's, the executor's loop's.

    An executor that overrides `run_method` has only its loop for what is submitted to it.
    """
    if not type(executor)._overrides:
        return {threading.get_ident()}
    return {threading.get_ident(), executor.run_coroutine(_thread())}


def _judge(place: Any, level: Parallelization, what: str, here: set[int]) -> None:
    host, pid, thread = place
    home, _, _ = jobs.where()
    away = (host, pid) != (home, os.getpid())
    if level is PROCESS:
        expect(away, f"{what}: it is to run in another process, and ran in the caller's")
        return
    expect(not away, f"{what}: it is to run as {level}, and ran in another process")
    if level is THREAD:
        expect(thread not in here, f"{what}: it is to run in another thread, and ran in this one")
    else:
        expect(thread in here, f"{what}: it is to run in the caller's thread, and ran in another")


@check()
def check_fallbacks(maker: Maker) -> None:
    """A call that runs nearer than it wished says so in an event; a strict executor refuses."""
    with opened(maker) as executor, observe() as seen:
        for wish in Parallelization:
            level = executor.level_for(wish)
            seen.clear()
            view = executor.options(wish=wish)
            same(view.submit(jobs.square, 3).result(), 9, f"a call that wishes for {wish}")
            fallen = list(seen.of(CallFellBack))
            same(len(fallen), int(level is not wish), f"the CallFellBack events of {wish}")
            if fallen:
                told = {"wish": wish, "level": level}
                got = {key: getattr(fallen[0], key) for key in told}
                same(got, told, f"the event of the fallback of {wish}")
                expect(getattr(fallen[0], "reason", ""), f"the fallback of {wish} has no reason")
        executor.strict = True
        for wish in Parallelization:
            if executor.level_for(wish) is not wish:
                refused = functools.partial(executor.options(wish=wish).submit, jobs.square, 3)
                raised(FallbackError, refused, f"{wish} on a strict executor")


@check()
def check_explain(maker: Maker) -> None:
    """What `explain` says of a call is where it runs, with a reason for each level passed over."""
    with opened(maker) as executor:
        for wish in Parallelization:
            decision = executor.explain(jobs.where, wish)
            level = executor.level_for(wish)
            same(decision.asked, wish.name, "Decision.asked")
            same(decision.chosen, level.name, f"Decision.chosen of {wish}")
            passed = {each.name for each in wish.fallbacks if each > level}
            same(set(decision.rejected), passed, f"Decision.rejected of {wish}")
            expect(all(decision.rejected.values()), f"a reason is missing: {decision.rejected}")


@check("context", "THREAD")
def check_context_in_threads(maker: Maker) -> None:
    """THREAD calls see all context variables of their caller, and cannot change the caller's."""
    variable = contextvars.ContextVar("variable", default="unset")

    def look(_: object = None) -> str:
        seen = variable.get()
        variable.set("changed by the call")
        return seen

    with opened(maker) as executor:
        view = executor.options(wish=THREAD)
        view.submit(jobs.square, 1).result()  # threads that exist already see it as well
        variable.set("set by the caller")
        same(view.submit(look).result(), "set by the caller", "the variable in submit()")
        same(list(view.map(look, [1])), ["set by the caller"], "the variable in map()")

        async def scene() -> None:
            variable.set("set in a task")
            got = await executor.run_method(THREAD, look, None)
            same(got, "set in a task", "the variable in run_method()")

        in_worlds(scene)
        same(variable.get(), "set by the caller", "the caller's variable after the calls")


@check("context", "PROCESS")
def check_context_in_processes(maker: Maker) -> None:
    """PROCESS calls see the context variables that are declared, with the caller's values."""
    executor = maker()
    vars(executor)["context"] = [f"{jobs.__name__}:VARIABLE"]
    with opened(lambda: executor):
        view = executor.options(wish=PROCESS)
        for value in ("first", "second"):
            jobs.VARIABLE.set(value)
            same(view.submit(jobs.variable).result(), value, "the variable in a PROCESS call")

        async def scene() -> None:
            jobs.VARIABLE.set("set in a task")
            got = await executor.run_method(PROCESS, jobs.variable, None)
            same(got, "set in a task", "the variable in run_method()")

        in_worlds(scene)


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@check("logs", "PROCESS")
def check_logs(maker: Maker) -> None:
    """Log records of PROCESS calls reach the caller's handlers, at the caller's levels."""
    logger = logging.getLogger("connectors.testing.calls")
    handler = _Kept()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    with opened(maker) as executor, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pid = executor.options(wish=PROCESS).submit(jobs.log_and_warn, logger.name).result()
        told = [
            (record.getMessage(), record.levelname, record.process) for record in handler.records
        ]
        same(told, [("heed this", "WARNING", pid)], "the log records of a PROCESS call")


@check("logs", "PROCESS")
def check_warnings(maker: Maker) -> None:
    """Warnings of PROCESS calls reach the caller."""
    logging.getLogger("connectors.testing.calls").addHandler(logging.NullHandler())
    with opened(maker) as executor, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        view = executor.options(wish=PROCESS)
        view.submit(jobs.log_and_warn, "connectors.testing.calls").result()
        told = [str(each.message) for each in caught if each.category is UserWarning]
        same(told, ["a warning from a call"], "the warnings of a PROCESS call")


@check()
def check_async_entrance(maker: Maker) -> None:
    """SEQUENTIAL calls of `run_method` run where they are awaited, at once."""
    with opened(maker) as executor:
        if executor.world == "asyncio":
            place = asyncio.run(executor.run_method(SEQUENTIAL, jobs.where, None))
        else:
            import trio

            place = trio.run(executor.run_method, SEQUENTIAL, jobs.where, None)
        same(place, jobs.where(), "where a SEQUENTIAL call ran")


@check()
def check_options_view(maker: Maker) -> None:
    """`options` gives a view with another wish and label, whose closing closes nothing."""
    with opened(maker) as executor, observe() as seen:
        for level, _ in views(executor):
            view = executor.options(wish=level, label="a label")
            _judge(view.submit(jobs.where).result(), level, f"{level} view", _own_threads(executor))
            error = view.submit(jobs.deep_trouble).exception()
            notes = getattr(error, "__notes__", [])
            expect(any("a label" in note for note in notes), f"no note names the label: {notes}")
            view.close()
            same(executor.closed, False, "closed, after a view was closed")
        labels = {getattr(event, "label", "a label") for event in seen}
        same(labels, {"a label"}, "the labels in events")
        raised(ValueError, functools.partial(executor.options, timeout=-1.0), "timeout=-1")
        raised(ValueError, functools.partial(executor.options, retries=-1), "retries=-1")
