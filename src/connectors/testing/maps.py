"""Checks of `map`: order, laziness, limits and failures."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator

from connectors import CallTimeoutError, Executor, Parallelization

from . import _jobs as jobs
from ._check import Maker, check, expect, far_views, opened, raised, same, usable, views
from ._gate import Gate

_BUFFER, _CHUNK = 3, 2


@check()
def check_map(maker: Maker) -> None:
    """`map` gives the results of all items in their order, as the builtin does."""
    with opened(maker) as executor:
        for level, view in views(executor):
            numbers = range(300)
            same(list(view.map(jobs.square, numbers)), [n * n for n in numbers], f"{level}: map()")
            pairs = view.map(pow, [2, 3, 4], itertools.repeat(2))
            same(list(pairs), [4, 9, 16], f"{level}: map() over two iterables, one infinite")
            same(list(view.map(jobs.square, [])), [], f"{level}: map() over nothing")


@check()
def check_map_unordered(maker: Maker) -> None:
    """`map` with ``unordered=True`` gives the results of all items, each once."""
    with opened(maker) as executor:
        for level, view in views(executor):
            got = sorted(view.map(jobs.square, range(300), unordered=True))
            same(got, [n * n for n in range(300)], f"{level}: sorted results of map()")


@check()
def check_map_chunksize(maker: Maker) -> None:
    """Any chunk size gives the same results, and one below 1 is refused."""
    with opened(maker) as executor:
        for level, view in views(executor):
            for chunksize in (1, 7, 20, 1000):
                got = list(view.map(jobs.square, range(20), chunksize=chunksize))
                same(got, [n * n for n in range(20)], f"{level}: map(chunksize={chunksize})")
        refused = functools.partial(executor.map, jobs.square, [1], chunksize=0)
        raised(ValueError, refused, "map(chunksize=0)")


@check()
def check_map_infinite(maker: Maker) -> None:
    """`map` over an infinite iterable runs, with a bounded number of items under way."""
    with opened(maker) as executor:
        for level, view in views(executor):
            for unordered in (False, True):
                _take_some(view, unordered, f"{level}, unordered={unordered}")


def _take_some(view: Executor, unordered: bool, what: str) -> None:
    drawn = itertools.count()
    taken = 0
    iterator = view.map(
        jobs.square, drawn, chunksize=_CHUNK, buffersize=_BUFFER, unordered=unordered
    )
    got = []
    for result in itertools.islice(iterator, 40):
        got.append(result)
        taken += 1
    ahead = next(drawn) - taken
    expect(
        ahead <= (_BUFFER + 1) * _CHUNK,
        f"{what}: {ahead} items were taken ahead, with {_BUFFER} chunks of {_CHUNK} allowed",
    )
    if not unordered:
        same(got, [n * n for n in range(40)], f"{what}: the first results")
    _close(iterator)


def _close(iterator: Iterator[object]) -> None:
    close = getattr(iterator, "close", None)
    if close is not None:
        close()


@check()
def check_map_early_close(maker: Maker) -> None:
    """Leaving a `map` early abandons the rest, and harms nothing else."""
    with opened(maker) as executor:
        for _, view in views(executor):
            iterator = view.map(jobs.square, itertools.count(), buffersize=2)
            beside = [view.submit(jobs.square, number) for number in range(5)]
            same(next(iterator), 0, "the first result")
            _close(iterator)
            same([each.result() for each in beside], [0, 1, 4, 9, 16], "calls beside a map()")
        usable(executor, "a map() that was left early")


@check()
def check_map_exception(maker: Maker) -> None:
    """An item that fails raises at its place, as itself, after the results before it."""
    with opened(maker) as executor:
        for level, view in views(executor):
            for chunksize in (None, 1, 4):
                what = f"{level}, chunksize={chunksize}"
                iterator = view.map(
                    jobs.fail_at, range(12), itertools.repeat(6), chunksize=chunksize
                )
                same(list(itertools.islice(iterator, 6)), list(range(6)), f"{what}: before it")
                error = raised(jobs.Trouble, functools.partial(next, iterator), what)
                same(error.code, 6, f"{what}: the attribute of the exception")
            what = f"{level}, unordered"
            iterator = view.map(jobs.fail_at, range(12), itertools.repeat(6), unordered=True)
            raised(jobs.Trouble, functools.partial(list, iterator), what)
        usable(executor, "a map() that failed")


@check()
def check_map_failing_input(maker: Maker) -> None:
    """An exception of the iterable itself reaches the caller as itself."""

    def items() -> Iterator[int]:
        yield 1
        raise jobs.Trouble("in the input", 2)

    with opened(maker) as executor:
        for level, view in views(executor):

            def use(view: Executor = view) -> object:
                return list(view.map(jobs.square, items()))

            raised(jobs.Trouble, use, f"{level}: map() over what raises")
        usable(executor, "a map() whose input failed")


@check("concurrency")
def check_map_timeout(maker: Maker) -> None:
    """`map` with a timeout raises CallTimeoutError when results do not come."""
    with opened(maker) as executor:
        for level, view in far_views(executor):
            with Gate() as gate:  # which nobody opens
                for unordered in (False, True):
                    iterator = view.map(
                        jobs.knock, [gate.address], timeout=0.1, unordered=unordered
                    )
                    what = f"{level}: map(timeout=0.1, unordered={unordered})"
                    raised(CallTimeoutError, functools.partial(next, iterator), what)
        usable(executor, "a map() that was late")


@check("concurrency")
def check_map_runs_ahead(maker: Maker) -> None:
    """`map` starts at once, and not when its first result is asked for."""
    with opened(maker) as executor:
        for level, view in far_views(executor):
            if level is Parallelization.SEQUENTIAL:
                continue
            with Gate() as gate:
                iterator = view.map(jobs.knock, [gate.address], ["tag"])
                gate.visitor().let_in()
                same(list(iterator), ["tag"], f"{level}: the result")
