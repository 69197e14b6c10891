"""`aio.collect`: all results in order, a bounded number at a time, nothing left behind."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import inspect
import threading

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

import connectors
from aio_worlds import WORLDS, Gate, background, no_complaints, run_in, sleep, turns, within
from connectors import aio

both = pytest.mark.parametrize("world", WORLDS)
streams = pytest.mark.parametrize("stream", [aio.resolve, aio.as_completed])


async def read_all(items):
    return [result async for result in aio.resolve(items)]


ways = pytest.mark.parametrize("way", [aio.collect, read_all])


@pytest.fixture(scope="module", autouse=True)
def no_threads_left():
    before = threading.active_count()
    yield
    assert threading.active_count() <= before


async def item(number, failing=()):
    await sleep(0)
    if number in failing:
        raise ValueError(number)
    return number


async def forever():
    await sleep(3600)


# What it returns


@both
def test_results_in_input_order(world):
    """The results stand in the order of the input, whenever they came."""

    async def main():
        gates = [Gate() for _ in range(4)]

        async def wait(index):
            if index < 3:
                await gates[index + 1].passed()
            gates[index].open()
            return index

        return await aio.collect([wait(index) for index in range(4)])

    assert run_in(world, main) == (0, 1, 2, 3)


@both
def test_a7_one_item_and_none(world):
    """One item gives a tuple of one; nothing gives nothing, as a list and as an iterator."""

    async def main():
        assert await aio.collect([item(0)]) == (0,)
        assert await aio.collect([]) == ()
        assert await aio.collect(iter(())) == ()

    run_in(world, main)


@both
@pytest.mark.parametrize("workers", [0, -1])
def test_a8_no_workers(world, workers):
    """Without workers nothing could ever be done."""

    async def main():
        with pytest.raises(ValueError, match="workers="):
            await aio.collect([], workers=workers)

    run_in(world, main)


@both
def test_a10_peak_concurrency(world):
    """100 items and 7 workers: exactly 7 are under way at the peak."""

    async def main():
        running = peak = 0

        async def work(index):
            nonlocal running, peak
            running += 1
            peak = max(peak, running)
            await turns(2)
            running -= 1
            return index

        assert await aio.collect(map(work, range(100)), workers=7) == tuple(range(100))
        assert peak == 7

    run_in(world, main)


@both
def test_a12_return_exceptions(world):
    """A-12: the exception stands in the place of the item, and the others go on."""

    async def main():
        results = await aio.collect(
            [item(index, {3}) for index in range(5)], workers=2, return_exceptions=True
        )
        assert results[:3] == (0, 1, 2)
        assert isinstance(results[3], ValueError)
        assert results[4] == 4

    run_in(world, main)


@both
def test_input_is_pulled_lazily(world):
    """An item is pulled when a worker is free, and not before."""

    async def main():
        pulled = []
        gate = Gate()

        async def wait(index):
            await gate.passed()
            return index

        def items():
            for index in range(10):
                pulled.append(index)
                yield wait(index)

        async with within(20), background(lambda: aio.collect(items(), workers=3)) as end:
            await turns(20)
            assert pulled == [0, 1, 2]
            gate.open()
            await turns(50)
            assert pulled == list(range(10))
            await end()

    run_in(world, main)


@both
def test_each_item_in_its_own_task(world):
    """What an item does to its context and its task concerns it alone."""

    async def main():
        def current():
            return asyncio.current_task() if world == "asyncio" else trio.lowlevel.current_task()

        async def who():
            return id(current()), current()

        found = await aio.collect([who() for _ in range(5)])
        assert len({identity for identity, _ in found}) == 5
        assert current() not in [task for _, task in found]

    run_in(world, main)


# AR1


class Awaitable:
    def __await__(self):
        return item(7).__await__()


@both
def test_ar1_any_awaitable(world):
    """AR1: coroutines, objects with __await__ and async functions without arguments."""

    class Caller:
        async def __call__(self):
            return 5

    async def main():
        async def function():
            return 1

        given = [item(0), Awaitable(), function, functools.partial(item, 9), Caller()]
        assert await aio.collect(given) == (0, 7, 1, 9, 5)

    run_in(world, main)


def test_ar1_tasks_and_futures():
    """AR1: tasks and futures are awaited, also those that are done."""

    async def main():
        loop = asyncio.get_running_loop()
        done, later = loop.create_future(), loop.create_future()
        done.set_result("done")
        loop.call_soon(later.set_result, "later")
        return await aio.collect([asyncio.create_task(item(1)), done, later])

    assert run_in("asyncio", main) == (1, "done", "later")


@both
@pytest.mark.parametrize(
    "wrong", [3, None, len, concurrent.futures.Future(), concurrent.futures.Future]
)
def test_ar1_what_cannot_be_awaited(world, wrong):
    """AR1: anything else is a TypeError that names index and type."""

    async def main():
        with pytest.raises(TypeError, match=f"item 1 is of the type {type(wrong).__name__}"):
            await aio.collect([item(0), wrong, item(2)])

    run_in(world, main)


def test_ar1_asyncio_futures_under_trio():
    """AR1: trio cannot await a future of asyncio, and never hangs on one."""
    loop = asyncio.new_event_loop()
    future = loop.create_future()

    async def main():
        async with within(10):
            with pytest.raises(TypeError, match="item 0 is of the type Future"):
                await aio.collect([future])

    run_in("trio", main)
    loop.close()


def test_ar1_coroutine_that_hides_an_asyncio_future():
    """AR1: nor does it hang where the future is hidden in a coroutine."""
    loop = asyncio.new_event_loop()

    async def hidden():
        await loop.create_future()

    async def main():
        async with within(10):
            with pytest.raises(TypeError):
                await aio.collect([hidden()])

    run_in("trio", main)
    loop.close()


# AR2


@both
def test_ar2_error_of_the_input(world):
    """AR2: a producer that fails is no success; what is under way is cancelled."""

    async def main():
        cancelled = []

        async def wait(index):
            try:
                await sleep(3600)
            finally:
                cancelled.append(index)

        def items():
            yield wait(0)
            yield wait(1)
            raise OSError("no more pages")

        async with within(20):
            with pytest.raises(OSError, match="no more pages"):
                await aio.collect(items())
        return sorted(cancelled)

    assert run_in(world, main) in ([0, 1], [])  # those that had begun


@both
def test_ar2_error_after_a_first_turn(world):
    """AR2: likewise when the items have begun already."""

    async def main():
        log = []

        async def wait(index):
            log.append(("begun", index))
            try:
                await sleep(3600)
            finally:
                log.append(("ended", index))

        async def quick():
            return 1

        def items():
            yield wait(0)
            yield quick()
            assert log == [("begun", 0)]
            raise OSError

        with pytest.raises(OSError):
            await aio.collect(items(), workers=2)
        assert log == [("begun", 0), ("ended", 0)]

    run_in(world, main)


# AR3


@both
def test_ar3_failure_acts_at_once(world):
    """AR3: when item 0 of 10,000 fails, no further item starts."""

    async def main():
        started = 0

        async def fail():
            raise ValueError("item 0")

        async def wait():
            nonlocal started
            started += 1
            await sleep(3600)

        def items():
            yield fail()
            for _ in range(9_999):
                yield wait()

        with pytest.raises(ValueError, match="item 0"):
            await aio.collect(items(), workers=100)
        seen = started
        assert seen < 100
        await turns(20)
        assert started == seen

    run_in(world, main)


@both
@pytest.mark.parametrize("position", [0, 3, 6])
def test_ar3_failure_whatever_its_position(world, position):
    """AR3: a failure behind a slow head acts at once as well, and what was listed is closed."""

    async def main():
        async def fail():
            raise ValueError(position)

        coroutines = [fail() if index == position else forever() for index in range(20)]
        async with within(20):
            with pytest.raises(ValueError):
                await aio.collect(coroutines, workers=7)
        states = {inspect.getcoroutinestate(each) for each in coroutines}
        assert states == {inspect.CORO_CLOSED}

    run_in(world, main)


@both
def test_ar3_timeout_leaves_nothing(world, caplog):
    """AR3: a timeout around it leaves no task, and nothing complains."""

    async def main():
        gates = []

        async def wait():
            try:
                await sleep(3600)
            finally:
                gates.append(1)

        with pytest.raises((TimeoutError, trio.TooSlowError)):
            async with within(0.05):
                await aio.collect([wait() for _ in range(20)], workers=20)
        assert len(gates) == 20

    with no_complaints(caplog):
        run_in(world, main)


@both
def test_ar3_clean_up_is_awaited(world):
    """AR3: the error leaves when what was under way has cleaned up."""

    async def main():
        cleaned = []

        async def wait():
            try:
                await sleep(3600)
            finally:
                if world == "trio":
                    with trio.CancelScope(shield=True):
                        await turns(10)
                else:
                    await turns(10)
                cleaned.append(1)

        async def fail():
            await turns(3)
            raise ValueError

        with pytest.raises(ValueError):
            await aio.collect([wait(), fail(), wait()])
        assert len(cleaned) == 2

    run_in(world, main)


@both
def test_several_failures_leave_as_a_group(world, caplog):
    """What had failed by then leaves as a group in input order."""

    async def main():
        async def late():
            try:
                await sleep(3600)
            finally:
                raise KeyError("in the clean-up")

        async def fail(index):
            await turns(3)
            raise ValueError(index)

        with pytest.raises(ExceptionGroup, match="2 of 2") as raised:
            await aio.collect([late(), fail(1)])
        assert [type(error) for error in raised.value.exceptions] == [KeyError, ValueError]

    with no_complaints(caplog):
        run_in(world, main)


@both
def test_a_failure_is_the_very_exception(world):
    """One failure leaves as itself."""

    async def main():
        error = ValueError("mine")

        async def fail():
            raise error

        with pytest.raises(ValueError) as raised:
            await aio.collect([fail()])
        assert raised.value is error

    run_in(world, main)


@both
def test_a_group_that_an_item_raised(world):
    """It leaves as itself as well."""

    async def main():
        error = ExceptionGroup("mine", [ValueError(1), KeyError(2)])

        async def fail():
            await turns(1)
            raise error

        with pytest.raises(ExceptionGroup) as raised:
            await aio.collect([fail(), forever()])
        assert raised.value is error

    run_in(world, main)


def test_trio_nurseries_in_items():
    """What an item's own nursery makes of a cancellation is no failure; what it adds is one."""

    async def main():
        async def inner(clean_up):
            async def wait():
                try:
                    await trio.sleep_forever()
                finally:
                    clean_up()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait)
                nursery.start_soon(trio.sleep_forever)

        def nothing():
            pass

        def bad():
            raise KeyError("in the clean-up")

        async def fail():
            await turns(4)
            raise ValueError

        with pytest.raises(ValueError):
            await aio.collect([inner(nothing), fail()])
        with pytest.raises(ExceptionGroup) as raised:
            await aio.collect([inner(bad), fail()])
        inner_group, failure = raised.value.exceptions
        assert isinstance(failure, ValueError)
        assert inner_group.subgroup(KeyError) is not None
        assert inner_group.subgroup(trio.Cancelled) is None
        with trio.move_on_after(0.02) as scope:
            await aio.collect([inner(nothing), inner(nothing)])
        assert scope.cancelled_caught

    run_in("trio", main)


def test_cancelled_after_a_failure(caplog):
    """The cancellation leaves, and the failure, which nobody sees now, is logged."""

    async def main():
        gate = asyncio.Event()

        async def fail():
            raise ValueError("lost")

        async def stubborn():
            try:
                await asyncio.sleep(3600)
            finally:
                await gate.wait()

        task = asyncio.create_task(aio.collect([stubborn(), fail()]))
        await turns(4)
        task.cancel()
        await turns(2)
        assert not task.done()
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_in("asyncio", main)
    (record,) = caplog.records
    assert "item 1" in record.getMessage()


# Cancellation, at every await


@both
@pytest.mark.parametrize("when", range(1, 13))
def test_cancelled_at_each_turn(world, when, caplog):
    """Cancelled after so many turns of the loop, it leaves neither task nor open coroutine."""

    async def main():
        made, ended = [], []

        async def work(index):
            try:
                await turns(index % 4)
            finally:
                ended.append(index)
            return index

        def listed():
            made.extend(work(index) for index in range(12))
            return list(made)

        async with within(20), background(lambda: aio.collect(listed(), workers=3)) as cancel:
            await turns(when)
            result = await cancel()
        assert result in ("cancelled", tuple(range(12)))
        assert {inspect.getcoroutinestate(each) for each in made} <= {inspect.CORO_CLOSED}

    with no_complaints(caplog):
        run_in(world, main)


def test_cancelled_again_in_the_clean_up(caplog):
    """A second cancellation does not leave items behind that are still cleaning up."""

    async def main():
        gate, cleaned = asyncio.Event(), []

        async def stubborn():
            try:
                await asyncio.sleep(3600)
            finally:
                await gate.wait()
                cleaned.append(1)

        task = asyncio.create_task(aio.collect([stubborn(), stubborn()]))
        await turns(3)
        for _ in range(3):
            task.cancel()
            await turns(3)
        assert not task.done()
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert cleaned == [1, 1]

    with no_complaints(caplog):
        run_in("asyncio", main)


def test_ar26_lost_failures_are_logged(caplog):
    """AR26: a failure that nobody sees, since the caller was cancelled, is logged by us."""

    async def main():
        async def bad():
            try:
                await asyncio.sleep(3600)
            finally:
                raise ValueError("lost")

        async with background(lambda: aio.collect([bad()])) as cancel:
            await turns(3)
            assert await cancel() == "cancelled"

    run_in("asyncio", main)
    (record,) = caplog.records
    assert record.name == "connectors.aio"
    assert "item 0" in record.getMessage()


# AR25


@pytest.mark.parametrize("returned", [False, True])
def test_ar25_an_item_that_cancels_itself(returned):
    """AR25: its CancelledError leaves as an error of ours that names the index."""

    async def main():
        async def cancelled():
            raise asyncio.CancelledError

        given = [item(0), cancelled()]
        if returned:
            return (await aio.collect(given, return_exceptions=True))[1]
        with pytest.raises(connectors.ConnectorsError) as raised:
            await aio.collect(given)
        return raised.value

    error = run_in("asyncio", main)
    assert isinstance(error, concurrent.futures.CancelledError)
    assert isinstance(error, connectors.ConnectorsError)
    assert not isinstance(error, asyncio.CancelledError)
    assert "item 1" in str(error)
    assert error.index == 1


def test_ar25_a_cancelled_task_in_the_input():
    """AR25: a task that somebody else cancelled is an item that failed."""

    async def main():
        task = asyncio.create_task(forever())
        task.cancel()
        with pytest.raises(connectors.ItemCancelledError):
            await aio.collect([task])

    run_in("asyncio", main)


def test_ar25_the_caller_was_cancelled():
    """AR25: CancelledError leaves when the caller was cancelled."""

    async def main():
        task = asyncio.create_task(aio.collect([forever()]))
        await turns(2)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()

    run_in("asyncio", main)


def test_trio_cancellation_is_plain():
    """Under trio a cancellation leaves as it does anywhere, not in a group."""

    async def main():
        with trio.CancelScope() as scope:
            scope.cancel()
            with pytest.raises(trio.Cancelled):
                await aio.collect([forever()])
            await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught

    run_in("trio", main)


# Any input, any limits


@both
@settings(max_examples=25, deadline=None)
@given(
    plan=st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=12),
    workers=st.integers(1, 5),
    sized=st.booleans(),
)
def test_any_plan(world, plan, workers, sized):
    """Whatever fails whenever: results in order, never more than the workers, nothing left."""

    async def main():
        running = peak = 0

        async def work(index, pause, fails):
            nonlocal running, peak
            running += 1
            peak = max(peak, running)
            try:
                await turns(pause)
                if fails:
                    raise ValueError(index)
                return index
            finally:
                running -= 1

        def given_():
            made = [work(index, *step) for index, step in enumerate(plan)]
            return made if sized else iter(made)

        results = await aio.collect(given_(), workers=workers, return_exceptions=True)
        assert [each.args[0] if isinstance(each, ValueError) else each for each in results] == list(
            range(len(plan))
        )
        assert peak <= workers
        assert running == 0

    run_in(world, main)


# What is listed and not started


@pytest.mark.parametrize("ends", ["failure", "timeout"])
def test_ar3_listed_tasks_are_not_left_alive(ends, caplog):
    """AR3: tasks that were listed and not yet pulled are cancelled and awaited as well."""

    async def main():
        async def fail():
            await turns(2)
            raise ValueError("mine")

        async def linger():
            try:
                await asyncio.sleep(3600)
            finally:
                await turns(3)

        async def broken():
            raise KeyError("nobody asks")

        first = fail() if ends == "failure" else linger()
        tasks = [asyncio.ensure_future(each) for each in (first, linger(), linger(), broken())]
        async with within(20):
            with pytest.raises(ValueError if ends == "failure" else TimeoutError):
                async with asyncio.timeout(None if ends == "failure" else 0.05):
                    await aio.collect(tasks, workers=1)
        assert all(task.done() for task in tasks)

    with no_complaints(caplog):
        run_in("asyncio", main)


@streams
def test_ar8_listed_tasks_are_not_left_alive(stream, caplog):
    """AR8: nor by aclose, whether work had begun or not."""

    async def main():
        async def linger():
            try:
                await asyncio.sleep(3600)
            finally:
                await turns(3)

        for begins in (False, True):
            tasks = [asyncio.ensure_future(each) for each in (asyncio.sleep(0), linger(), linger())]
            await turns(3)
            async with within(20), stream(tasks, workers=1) as found:
                if begins:
                    await anext(found)
            assert all(task.done() for task in tasks)

    with no_complaints(caplog):
        run_in("asyncio", main)


@both
@ways
def test_ar1_an_async_function_that_needs_arguments(world, way):
    """AR1: it is a TypeError that names the index and the type, and says what is missing."""

    async def get(url):
        return url

    async def main():
        with pytest.raises(TypeError, match="item 1 is of the type function.*argument: 'url'"):
            await way([item(0), get])

    run_in(world, main)


@both
@ways
def test_ar1_an_item_that_cannot_even_be_looked_at(world, way):
    """AR1: what an item raises when it is asked what it is fails that item; nothing hangs."""

    class Evil:
        looks = iter("once")

        @property
        def __class__(self):
            if next(self.looks, None) == "o":
                raise KeyError("evil")
            return Evil

    async def main():
        async with within(20):
            with pytest.raises(KeyError, match="evil"):
                await way([item(0), Evil()])

    run_in(world, main)


@both
@ways
@pytest.mark.parametrize(
    "error", [asyncio.CancelledError("by itself"), concurrent.futures.CancelledError("by itself")]
)
def test_ar25_every_kind_of_cancelled(world, way, error):
    """AR25: all that say cancelled leave as an error that names the index, in both worlds."""

    async def fail():
        raise error

    async def main():
        with pytest.raises(connectors.ItemCancelledError, match="item 1 ") as caught:
            await way([item(0), fail])
        assert caught.value.index == 1

    run_in(world, main)
