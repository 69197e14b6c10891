"""Checks of single calls: what goes in, what comes back, and what cannot travel."""

from __future__ import annotations

import concurrent.futures
import functools
import sys
import traceback
from collections.abc import Callable
from typing import Any

from connectors import Executor, Parallelization, PicklingError, RemoteError
from connectors.events import CallFellBack, observe

from . import _jobs as jobs
from ._check import (
    Maker,
    check,
    expect,
    far_views,
    in_worlds,
    of_kind,
    opened,
    raised,
    same,
    usable,
    views,
)

PROCESS = Parallelization.PROCESS

# Names that parameters on the way could have.
_CONFUSING = (
    *("self", "instance", "method", "fn", "function", "func", "call", "args", "kwargs", "wish"),
    *("parallelization", "level", "executor", "timeout", "retries", "label", "name", "context"),
)


@check()
def check_submit(maker: Maker) -> None:
    """A submitted call gives its own result through a standard future."""
    with opened(maker) as executor:
        for level, view in views(executor):
            futures = [view.submit(jobs.square, number) for number in range(25)]
            expect(
                all(isinstance(future, concurrent.futures.Future) for future in futures),
                f"{level}: submit() gives a {type(futures[0])}, no concurrent.futures.Future",
            )
            results = [future.result() for future in futures]
            same(results, [number * number for number in range(25)], f"{level}: results")
        same(executor.submit(pow, 2, 3).result(), 8, "a call without a wish")


@check()
def check_standard_executor(maker: Maker) -> None:
    """The executor is a `concurrent.futures.Executor`, for asyncio and `wait` as well."""
    import asyncio

    with opened(maker) as executor:
        expect(
            isinstance(executor, concurrent.futures.Executor),
            f"{type(executor)} is no concurrent.futures.Executor",
        )
        futures = [executor.submit(jobs.square, number) for number in range(5)]
        done, _ = concurrent.futures.wait(futures)
        same(done, set(futures), "what concurrent.futures.wait() saw end")

        async def scene() -> int:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(executor, jobs.square, 7)

        same(asyncio.run(scene()), 49, "loop.run_in_executor()")


@check()
def check_arguments(maker: Maker) -> None:
    """Positional and keyword arguments arrive, whatever the keywords are called."""
    keywords = {name: number for number, name in enumerate(_CONFUSING)}
    expected = ((1, "two", None), keywords)
    with opened(maker) as executor:
        for level, view in views(executor):
            future = view.submit(jobs.echo, 1, "two", None, **keywords)
            same(future.result(), expected, f"{level}: what submit() passed on")

        async def scene() -> None:
            for level, _ in views(executor):
                got = await executor.run_method(level, jobs.echo, None, 1, "two", None, **keywords)
                same(got, expected, f"{level}: what run_method() passed on")

        in_worlds(scene)


@check()
def check_methods(maker: Maker) -> None:
    """Methods are called on their instance, whose state a near call changes."""
    with opened(maker) as executor:
        for level, view in views(executor):
            counter = jobs.Counter(10)
            same(view.submit(counter.add, 1, times=5).result(), 15, f"{level}: a bound method")
            if level is not PROCESS:
                same(counter.count, 15, f"{level}: the state that the method left")

        async def scene() -> None:
            for level, _ in views(executor):
                counter = jobs.Counter(20)
                got = await executor.run_method(level, jobs.Counter.add, counter, 2, times=3)
                same(got, 26, f"{level}: a method through run_method()")

        in_worlds(scene)


@check()
def check_large_values(maker: Maker) -> None:
    """Arguments and results larger than any pipe arrive whole, several at a time."""
    values = [bytes([number]) * 3_000_000 for number in range(4)]
    with opened(maker) as executor:
        for level, view in views(executor):
            futures = [view.submit(jobs.echo, value) for value in values]
            intact = all(
                future.result() == ((value,), {})
                for future, value in zip(futures, values, strict=True)
            )
            expect(intact, f"{level}: a large value came back changed")


@check()
def check_exceptions_as_results(maker: Maker) -> None:
    """An exception that a call returns is a result, and None is one too."""
    with opened(maker) as executor:
        for level, view in views(executor):
            result = view.submit(jobs.return_trouble).result()
            same(type(result), jobs.Trouble, f"{level}: the class of a returned exception")
            nothing = view.submit(dict[str, int]().get, "absent").result()
            same(nothing, None, f"{level}: the result of a call that returns None")


def _troubles(executor: Executor, function: Callable[..., Any]) -> list[tuple[str, BaseException]]:
    """Return what comes of *function*, which raises, by the way on which it was called."""
    came: list[tuple[str, BaseException]] = []
    for level, view in views(executor):
        error: object = view.submit(function).exception()
        way = f"{level}, submit()"
        came.append((way, of_kind(error, BaseException, way)))
        mapped = view.map(functools.partial(_call_without_item, function), [None])
        way = f"{level}, map()"
        came.append((way, raised(BaseException, functools.partial(next, mapped), way)))

    async def scene() -> None:
        for level, _ in views(executor):
            try:
                await executor.run_method(level, function, None)
            except Exception as error:
                came.append((f"{level}, run_method()", error))
            else:
                raise AssertionError(f"{level}: run_method() of what raises gave a result")

    in_worlds(scene)
    return came


def _call_without_item(function: Callable[..., Any], _: object) -> Any:
    return function()


@check()
def check_exceptions(maker: Maker) -> None:
    """A call's exception travels as itself, with its attributes and its cause."""
    with opened(maker) as executor:
        for way, error in _troubles(executor, jobs.deep_trouble):
            same(type(error), jobs.Trouble, f"{way}: the class of the exception")
            same(error.args, ("it went wrong", 7), f"{way}: its arguments")
            same(getattr(error, "code", None), 7, f"{way}: its attribute")
            same(type(error.__cause__), KeyError, f"{way}: its cause")


@check()
def check_exception_notes(maker: Maker) -> None:
    """A call's exception has a note that names the call, the executor and the level."""
    with opened(maker) as executor:
        for way, error in _troubles(executor, jobs.deep_trouble):
            level = way.partition(",")[0]
            notes = getattr(error, "__notes__", [])
            named = any(
                executor.name in note and level in note and note.startswith("while running")
                for note in notes
            )
            expect(named, f"{way}: no note names '{executor.name}' and {level}: {notes}")
            if "map" not in way:
                named = any("deep_trouble" in note for note in notes)
                expect(named, f"{way}: no note names the call: {notes}")


@check()
def check_exception_frames(maker: Maker) -> None:
    """The traceback of a call's exception shows the frames in which it was raised."""
    with opened(maker) as executor:
        for way, error in _troubles(executor, jobs.deep_trouble):
            frames = traceback.extract_tb(error.__traceback__)
            names = [frame.name for frame in frames if frame.filename == jobs.__file__]
            same(names[-2:], ["deep_trouble", "_raise_trouble"], f"{way}: the innermost frames")


@check("PROCESS")
def check_stubborn_exceptions(maker: Maker) -> None:
    """An exception that cannot travel arrives as RemoteError, with its class and text."""
    with opened(maker) as executor:
        view = executor.options(wish=PROCESS)
        for kind in (jobs.StubbornTrouble, jobs.LockedTrouble):
            came = view.submit(jobs.raise_this, kind, "the text").exception()
            error = of_kind(came, RemoteError, f"of a {kind.__name__}")
            expect(kind.__name__ in error.type_name, f"type_name is {error.type_name!r}")
            same(error.message, "the text", "RemoteError.message")
            expect("raise_this" in error.traceback, f"no frame in {error.traceback!r}")
        usable(executor, "exceptions that cannot travel")


@check("PROCESS")
def check_stubborn_results(maker: Maker) -> None:
    """A result that cannot be pickled is a PicklingError that names the part at fault."""
    with opened(maker) as executor:
        came = executor.options(wish=PROCESS).submit(jobs.make_locked).exception()
        error = of_kind(came, PicklingError, "of a result that cannot be pickled")
        expect("lock" in error.culprit, f"the part at fault is told as {error.culprit!r}")
        usable(executor, "a result that cannot travel")


@check("PROCESS")
def check_stubborn_arguments(maker: Maker) -> None:
    """A call whose argument cannot be pickled runs nearer, and why is told."""
    with opened(maker) as executor, observe() as seen:
        future = executor.options(wish=PROCESS).submit(jobs.kind_of, jobs.Locked())
        same(future.result()[0], "Locked", "the result of a call with a lock in its argument")
        fallen = list(seen.of(CallFellBack))
        same(len(fallen), 1, "the number of CallFellBack events")
        reason = getattr(fallen[0], "reason", "")
        expect("args[0].lock" in reason, f"the reason does not name args[0].lock: {reason!r}")


@check("PROCESS")
def check_strict_arguments(maker: Maker) -> None:
    """A strict executor refuses, when it is submitted, a call whose argument cannot travel."""
    with opened(maker) as executor:
        executor.strict = True
        view = executor.options(wish=PROCESS)
        refused = functools.partial(view.submit, jobs.kind_of, value=jobs.Locked())
        error = raised(PicklingError, refused, "submit() of a lock to a strict executor")
        expect("lock" in error.culprit, f"the part at fault is told as {error.culprit!r}")
        expect("value" in error.culprit, f"the argument at fault is told as {error.culprit!r}")


@check("not importable")
def check_local_functions(maker: Maker) -> None:
    """Lambdas, local functions and what ``__main__`` defines run at every level."""
    main = sys.modules["__main__"]
    exec("def of_main(number):\n    return number + 1\n", vars(main))  # noqa: S102
    base = 40

    def local(number: int) -> int:
        return base + number

    with opened(maker) as executor, observe() as seen:
        for level, view in views(executor):
            same(view.submit(lambda number: number + 2, 40).result(), 42, f"{level}: a lambda")
            same(view.submit(local, 2).result(), 42, f"{level}: a local function")
            of_main = vars(main)["of_main"]
            same(view.submit(of_main, 41).result(), 42, f"{level}: a function of __main__")
            same(list(view.map(local, [1, 2])), [41, 42], f"{level}: a local function in map()")
        same(list(seen.of(CallFellBack)), [], "fallbacks of lambdas and local functions")


@check("importable", "PROCESS")
def check_importable_functions(maker: Maker) -> None:
    """A function that cannot be imported runs nearer, and why is told."""
    with opened(maker) as executor, observe() as seen:
        view = executor.options(wish=PROCESS)
        same(view.submit(lambda number: number + 2, 40).result(), 42, "a lambda")
        fallen = len(list(seen.of(CallFellBack)))
        same(fallen, 1, "the number of CallFellBack events of a lambda")


@check("concurrency")
def check_exits(maker: Maker) -> None:
    """SystemExit and KeyboardInterrupt in a call are the outcome of that call only."""
    with opened(maker) as executor:
        for level, view in far_views(executor):
            for kind in (SystemExit, KeyboardInterrupt):
                before = view.submit(jobs.square, 3)
                error = view.submit(jobs.raise_this, kind, 5).exception()
                same(type(error), kind, f"{level}: the outcome of a call that raised")
                same(before.result(), 9, f"{level}: a call beside it")
                same(view.submit(jobs.square, 4).result(), 16, f"{level}: a call after it")
