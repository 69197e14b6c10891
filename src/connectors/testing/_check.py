"""`Check`, one promise of the contract, and what checks are written with."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import attrs

from connectors import Capabilities, Executor, Parallelization, available_cpus
from connectors._worlds import current_world

Maker = Callable[[], Executor]
CheckFunction = Callable[[Maker], None]
Kind = TypeVar("Kind")
Raised = TypeVar("Raised", bound=BaseException)

#: All checks, in the order in which their modules were imported.
found: list[Check] = []


@attrs.frozen
class Check:
    """One promise of the contract.

    Attributes:
        id: Its name.
        title: What is promised, in a sentence.
        needs: What an executor has to declare for the promise to concern it: a level, a field of
            `Capabilities`, ``not`` and such a field, or ``concurrency``, which is a level other
            than SEQUENTIAL.
        function: Takes a maker of executors and raises `AssertionError` if the promise is broken.
    """

    id: str
    title: str
    needs: tuple[str, ...]
    function: CheckFunction

    def objection(self, capabilities: Capabilities) -> str | None:
        """Return why an executor with *capabilities* is not concerned, or `None` if it is."""
        for need in self.needs:
            if not _declared(need, capabilities):
                return f"it declares no {need}" if " " not in need else f"it declares {need[4:]}"
        return None


def _declared(need: str, capabilities: Capabilities) -> bool:
    if need.startswith("not "):
        return not _declared(need[4:], capabilities)
    if need == "concurrency":
        return len(capabilities.levels) > 1
    if need in Parallelization.__members__:
        return Parallelization[need] in capabilities.levels
    return bool(getattr(capabilities, need))


def check(*needs: str) -> Callable[[CheckFunction], CheckFunction]:
    """Enter the decorated function into the contract; see `Check.needs`."""

    def enter(function: CheckFunction) -> CheckFunction:
        name = function.__name__.removeprefix("check_")
        title = (function.__doc__ or name).partition("\n")[0]
        found.append(Check(name, title, needs, function))
        return function

    return enter


def expect(condition: object, otherwise: str) -> None:
    """Raise `AssertionError` with the sentence *otherwise* unless *condition* holds."""
    if not condition:
        raise AssertionError(otherwise)


def same(got: object, expected: object, what: str) -> None:
    """Raise `AssertionError` unless *got*, which is described by *what*, equals *expected*."""
    if got != expected:
        raise AssertionError(f"{what}: expected {_short(expected)}, got {_short(got)}")


def of_kind(value: object, kind: type[Kind], what: str) -> Kind:
    """Return *value*, which is described by *what*, or raise `AssertionError` for another kind."""
    if isinstance(value, kind):
        return value
    raise AssertionError(f"{what}: expected a {kind.__name__}, got {_short(value)}")


def raised(kind: type[Raised], function: Callable[[], object], what: str) -> Raised:
    """Return the exception of exactly or below *kind* that *function* has to raise."""
    try:
        result = function()
    except kind as error:
        return error
    except BaseException as error:
        raise AssertionError(f"{what}: expected {kind.__name__}, got {error!r}") from error
    raise AssertionError(f"{what}: expected {kind.__name__}, got the result {_short(result)}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:300]}..."


@contextlib.contextmanager
def opened(maker: Maker) -> Iterator[Executor]:
    """Give a new executor for the block, and close it."""
    executor = maker()
    try:
        yield executor
    except BaseException:
        # What went wrong is to be told; an executor that is broken may never close in order.
        executor.shutdown(wait=False, cancel_futures=True)
        raise
    executor.close()


def views(executor: Executor) -> Iterator[tuple[Parallelization, Executor]]:
    """Iterate over the declared levels, with a view of *executor* that wishes for each."""
    for level in Parallelization:
        if level in executor.capabilities.levels:
            yield level, executor.options(wish=level)


def far_views(executor: Executor) -> Iterator[tuple[Parallelization, Executor]]:
    """Do as `views`, without SEQUENTIAL."""
    return (view for view in views(executor) if view[0] is not Parallelization.SEQUENTIAL)


def crowd(executor: Executor) -> int:
    """Return a number of calls that is larger than what *executor* runs at a time."""
    sizes = [getattr(executor, option, None) for option in ("threads", "processes")]
    return 2 * max(available_cpus(), 4, *(size for size in sizes if isinstance(size, int))) + 4


def usable(executor: Executor, after: str) -> None:
    """Raise `AssertionError` unless *executor* runs calls at each of its levels."""
    for level, view in views(executor):
        same(view.submit(pow, 2, 5).result(), 32, f"a {level} call after {after}")


def in_worlds(scene: Callable[[], Awaitable[Any]]) -> None:
    """Run *scene* under asyncio and under trio."""
    import trio

    asyncio.run(_coroutine(scene))
    trio.run(_coroutine, scene)


async def _coroutine(scene: Callable[[], Awaitable[Any]]) -> Any:
    return await scene()


async def together(*functions: Callable[[], Awaitable[Any]]) -> list[Any]:
    """Await all *functions* at the same time in the running library; results are in order."""
    results: list[Any] = [None] * len(functions)

    async def run(index: int) -> None:
        results[index] = await functions[index]()

    if current_world() == "trio":
        import trio

        async with trio.open_nursery() as nursery:
            for index in range(len(functions)):
                nursery.start_soon(run, index)
    else:
        await asyncio.gather(*map(run, range(len(functions))))
    return results


async def in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Run the blocking *function* in a helper thread of the running library."""
    if current_world() == "trio":
        import trio

        return await trio.to_thread.run_sync(function, *args)
    return await asyncio.to_thread(functools.partial(function, *args))
