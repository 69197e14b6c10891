"""`aio.resolve` and `aio.as_completed`: streams of results."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import inspect
import itertools
import threading
import time
import weakref

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

import connectors
from aio_worlds import WORLDS, Gate, background, no_complaints, run_in, sleep, turns, within
from connectors import aio

both = pytest.mark.parametrize("world", WORLDS)
streams = pytest.mark.parametrize("stream", [aio.resolve, aio.as_completed])


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


async def drained(stream):
    return [result async for result in stream]


# The acceptance cases


async def acceptance(index, ended=None):
    await sleep(0.4 if index == 0 else 0.1)
    if ended is not None:
        ended.append(index)
    if index == 3:
        raise ValueError(index)
    return index


@both
@pytest.mark.parametrize(
    "limits",
    [
        pytest.param({"workers": 2, "worker_greediness": 4}, id="a5"),
        pytest.param({"workers": 100_000, "worker_greediness": 1}, id="a6"),
    ],
)
def test_a5_a6_a12_resolve(world, limits):
    """A-5, A-6 and A-12: in order, the failure caught, in the time of the longest item."""

    async def main():
        results, ended = [], []
        items = (acceptance(index, ended) for index in range(5))
        for awaitable in aio.resolve(items, **limits):
            try:
                results.append(await awaitable)
            except ValueError:
                results.append("caught")
        assert results == [0, 1, 2, "caught", 4]
        assert ended.index(0) >= 2  # the others went on beside the long one

    run_in(world, main)


@both
@streams
def test_a8_argument_errors_at_the_call(world, stream):
    """A-8: what cannot be is refused at the call, not when the first result is wanted."""

    async def main():
        with pytest.raises(ValueError, match="workers=0"):
            stream([], workers=0)
        with pytest.raises(ValueError, match="worker_greediness=-1"):
            stream([], worker_greediness=-1)

    run_in(world, main)


@streams
@pytest.mark.parametrize("wrong", [{"workers": 0}, {"worker_greediness": -1}])
def test_a8_what_was_listed_is_closed(stream, wrong):
    """A-8: coroutines that were listed are closed when the arguments are refused."""
    coroutine = item(0)
    with pytest.raises(ValueError, match=next(iter(wrong))):
        stream([coroutine], **wrong)
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


@both
@streams
def test_a10_peak_concurrency(world, stream):
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

        assert sorted(await drained(stream(map(work, range(100)), workers=7))) == list(range(100))
        assert peak == 7

    run_in(world, main)


# What they give


@both
def test_resolve_gives_results_in_order(world):
    """``async for`` gives results in input order; an error at its turn, and then the rest."""

    async def main():
        stream = aio.resolve([item(index, {1, 3}) for index in range(5)], workers=2)
        seen = []
        while True:
            try:
                seen.append(await anext(stream))
            except ValueError as error:
                seen.append(str(error))
            except StopAsyncIteration:
                break
        assert seen == [0, "1", 2, "3", 4]

    run_in(world, main)


@both
def test_as_completed_gives_results_as_they_come(world):
    """The next to finish comes next; the awaitable tells which item it was."""

    async def main():
        gates = [Gate() for _ in range(3)]

        async def wait(index):
            await gates[index].passed()
            return index

        turned = list(aio.as_completed(map(wait, range(3))))
        assert len(turned) == 3
        assert turned[0].outcome == aio.Outcome("pending")
        order = [2, 0, 1]
        for turn, index in zip(turned, order, strict=True):
            gates[index].open()
            assert await turn == index
            assert await turn == index  # as often as one likes
            assert turn.outcome == aio.Outcome("done", index, index)

    run_in(world, main)


@both
@streams
def test_both_forms_can_be_mixed(world, stream):
    """An iterable of awaitables and an async iterator of results are one stream."""

    async def main():
        found = stream(map(item, range(6)), workers=1)
        first = await next(found)
        second = await anext(found)
        rest = [await each for each in itertools.islice(found, 2)]
        assert [first, second, *rest, *await drained(found)] == list(range(6))
        with pytest.raises(StopIteration):
            next(found)

    run_in(world, main)


@both
@streams
def test_work_begins_with_the_first_await(world, stream):
    """Neither the call nor iteration starts anything; then it goes on in the background."""

    async def main():
        started = []

        async def work(index):
            started.append(index)
            return index

        found = stream([work(index) for index in range(5)])
        first, *_rest = found
        await turns(5)
        assert started == []
        await first
        await turns(5)
        assert sorted(started) == list(range(5))

    run_in(world, main)


@both
@streams
@pytest.mark.parametrize("greediness", [1, 3])
def test_runs_ahead_by_the_window(world, stream, greediness):
    """It runs ahead of the consumer by at most workers x (greediness + 1), and by that much."""

    async def main():
        started = 0

        async def work():
            nonlocal started
            started += 1

        def items():
            while True:
                yield work()

        window = 2 * (greediness + 1)
        async with stream(items(), workers=2, worker_greediness=greediness) as found:
            for consumed in range(1, 6):
                await anext(found)
                await turns(60)
                assert started == consumed + window

    run_in(world, main)


@both
@streams
def test_greediness_zero_is_no_limit(world, stream):
    """Without a limit the work does not wait for the consumer."""

    async def main():
        found = stream(map(item, range(50)), workers=2)
        await anext(found)
        await turns(200)
        rest = list(found)
        ended = {each.outcome.state for each in rest if isinstance(each.outcome.id, int)}
        if stream is aio.resolve:
            assert ended == {aio.OutcomeState.done}
        assert sorted([await each for each in rest]) == sorted(range(50))[-49:]

    run_in(world, main) if stream is aio.resolve else None


@both
def test_outcomes_of_resolve(world):
    """Each awaitable has its outcome, with the input index as its id."""

    async def main():
        gate = Gate()

        async def wait():
            await gate.passed()
            return "value"

        failed, waiting, pending = aio.resolve([item(0, {0}), wait(), item(2)], workers=1)
        assert {each.outcome for each in (failed, waiting)} == {
            aio.Outcome("pending", 0),
            aio.Outcome("pending", 1),
        }
        with pytest.raises(ValueError):
            await failed
        assert failed.outcome.state == "failed"
        assert isinstance(failed.outcome.error, ValueError)
        await turns(5)
        assert waiting.outcome.state == "running"
        assert pending.outcome.state == "pending"
        gate.open()
        assert await pending == 2
        assert waiting.outcome.result() == "value"

    run_in(world, main)


# AR1, AR2


@both
@streams
def test_ar1_a_wrong_item_is_its_own_failure(world, stream):
    """AR1: what cannot be awaited is a TypeError with index and type; the others go on."""

    async def main():
        async with within(20):
            found = stream([item(0), 17, item(2)], workers=1)
            assert await anext(found) == 0
            with pytest.raises(TypeError, match="item 1 is of the type int"):
                await anext(found)
            assert await anext(found) == 2

    run_in(world, main)


@both
@streams
def test_ar1_async_functions_and_objects(world, stream):
    """AR1: async functions are called at their turn, objects are awaited."""

    class Awaitable:
        def __await__(self):
            return item(1).__await__()

    async def function():
        return 2

    async def main():
        assert sorted(await drained(stream([Awaitable(), function, item(3)]))) == [1, 2, 3]

    run_in(world, main)


@streams
def test_ar1_tasks_and_futures(stream):
    """AR1: tasks and futures are awaited."""

    async def main():
        future = asyncio.get_running_loop().create_future()
        future.set_result(2)
        async with within(20):
            assert sorted(await drained(stream([asyncio.ensure_future(item(1)), future]))) == [1, 2]

    run_in("asyncio", main)


@both
@streams
def test_ar2_error_of_the_input(world, stream):
    """AR2: what was finished comes, then the error of the input, then the end."""

    async def main():
        cancelled = []

        async def wait():
            try:
                await sleep(3600)
            finally:
                cancelled.append(1)

        def items():
            yield item(0)
            yield wait()
            yield item(2)
            raise OSError("no more pages")

        async with within(20):
            found = stream(items(), workers=2)
            assert await anext(found) == 0
            with pytest.raises(OSError, match="no more pages"):
                while True:
                    assert await anext(found) == 2
            with pytest.raises(StopAsyncIteration):
                await anext(found)
            await turns(5)
        assert cancelled == [1]

    run_in(world, main)


@both
@streams
def test_ar2_error_of_the_input_while_iterating(world, stream):
    """AR2: a plain ``for`` over awaitables is told as well, once."""

    async def main():
        def items():
            yield item(0)
            raise OSError

        found = stream(items())
        first = next(found)
        with pytest.raises(OSError):
            next(found)
        with pytest.raises(OSError):
            await first
        assert list(found) == []

    run_in(world, main)


# AR4


@both
@settings(max_examples=20, deadline=None)
@given(
    order=st.permutations(range(8)),
    subset=st.integers(0, 8),
    workers=st.integers(1, 3),
    greediness=st.integers(0, 2),
)
def test_ar4_each_awaitable_owns_its_result(world, order, subset, workers, greediness):
    """AR4: any order and any subset are right, and none waits for ever."""

    async def main():
        async with aio.resolve(
            map(item, range(8)), workers=workers, worker_greediness=greediness
        ) as found:
            awaitables = list(found)
            for index in order[:subset]:
                async with within(20):
                    assert await awaitables[index] == index

    run_in(world, main)


def test_ar4_gather():
    """AR4: ``gather`` awaits all of them at the same time."""

    async def main():
        found = aio.resolve(map(item, range(50)), workers=2, worker_greediness=1)
        assert await asyncio.gather(*found) == list(range(50))
        turned = aio.as_completed(map(item, range(50)), workers=2, worker_greediness=1)
        assert sorted(await asyncio.gather(*turned)) == list(range(50))

    run_in("asyncio", main)


@both
def test_ar4_awaiting_lets_it_run(world):
    """AR4: the last item runs when it is awaited, however small the window."""

    async def main():
        *_, last = aio.resolve(map(item, range(100)), workers=1, worker_greediness=1)
        async with within(20):
            assert await last == 99

    run_in(world, main)


# AR5


@both
@streams
@pytest.mark.parametrize("greediness", [0, 1])
def test_ar5_first_result_early(world, stream, greediness):
    """AR5: of an infinite input, the first result comes before much of it was pulled."""

    async def main():
        pulled = itertools.count()

        async def work(index):
            return index

        async with stream(map(work, pulled), worker_greediness=greediness) as found:
            await anext(found)
            assert next(pulled) <= 1025

    run_in(world, main)


@both
@streams
def test_ar5_slow_input(world, stream):
    """AR5: where pulling takes long, the first item is not kept waiting for the others."""

    async def main():
        pulled = []

        def items():
            for index in itertools.count():
                time.sleep(0.002)
                pulled.append(index)
                yield item(index)

        async with stream(items()) as found:
            await anext(found)
            assert len(pulled) < 50

    run_in(world, main)


@streams
def test_ar5_workers_start_as_needed(stream):
    """AR5: two items make two tasks and the one that starts them."""

    async def main():
        found = stream(iter([forever(), forever()]), workers=1000)
        async with found, background(lambda: anext(found)):
            await turns(5)
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            assert len(tasks) == 2 + 1 + 1  # and ours, in the background

    run_in("asyncio", main)


# AR7


@both
def test_ar7_as_completed_does_not_stall(world):
    """AR7: behind a slow head over 50 others are delivered; with an order they wait for it."""

    async def main():
        gate = Gate()

        async def work(index):
            if index == 0:
                await gate.passed()
            return index

        seen = []
        async with within(20):
            found = aio.as_completed(map(work, range(200)), workers=2, worker_greediness=1)
            async for index in found:
                seen.append(index)
                if len(seen) == 60:
                    gate.open()
        assert len(seen) == 200
        assert seen.index(0) >= 60

    run_in(world, main)


# AR8 and leaving


@both
@streams
@pytest.mark.parametrize("form", ["aclose", "block"])
def test_ar8_leaving_early(world, stream, form, caplog):
    """AR8: a consumer that leaves takes everything along, and closes what was not started."""

    async def main():
        coroutines = [item(0), *(forever() for _ in range(100))]

        async def consume(found):
            async for _ in found:
                break

        if form == "block":
            async with stream(coroutines, workers=64) as found:
                await consume(found)
        else:
            found = stream(coroutines, workers=64)
            await consume(found)
            await found.aclose()
            await found.aclose()
        if world == "asyncio":
            assert asyncio.all_tasks() == {asyncio.current_task()}
        assert {inspect.getcoroutinestate(each) for each in coroutines} == {inspect.CORO_CLOSED}
        assert list(found) == []
        with pytest.raises(StopAsyncIteration):
            await anext(found)

    with no_complaints(caplog):
        run_in(world, main)


@both
@streams
def test_ar8_a_failure_in_the_block(world, stream, caplog):
    """AR8: the block is left as well when it fails or is cancelled."""

    async def main():
        with pytest.raises(KeyError):
            async with stream([item(0), *(forever() for _ in range(9))]) as found:
                await anext(found)
                raise KeyError

        async def wait():
            async with stream([forever() for _ in range(9)]) as found:
                await anext(found)

        async with background(wait) as cancel:
            await turns(5)
            assert await cancel() == "cancelled"
        await turns(3)

    with no_complaints(caplog):
        run_in(world, main)


@both
@streams
def test_closing_before_anything_began(world, stream, caplog):
    """A stream that nobody awaited closes its coroutines."""

    async def main():
        coroutines = [item(index) for index in range(5)]
        found = stream(coroutines)
        first = next(found)
        await found.aclose()
        assert {inspect.getcoroutinestate(each) for each in coroutines} == {inspect.CORO_CLOSED}
        with pytest.raises(connectors.ItemCancelledError, match="was closed"):
            if stream is aio.resolve:
                assert first.outcome.state == "cancelled"
            await first

    with no_complaints(caplog):
        run_in(world, main)


@both
@streams
def test_who_waits_when_it_is_closed(world, stream):
    """Whoever waits for an item of a stream that another closes is told."""

    async def main():
        found = stream([forever(), forever()], workers=1)
        async with background(lambda: anext(found)) as end:
            await turns(5)
            await found.aclose()
            await turns(5)
            assert isinstance(await end(), connectors.ItemCancelledError)

    run_in(world, main)


@streams
def test_a_stream_that_nobody_reads_holds_no_task(stream, caplog):
    """Without aclose what is under way ends by itself, and then nothing of it is left."""

    async def main():
        found = stream(map(item, itertools.count()), workers=4, worker_greediness=2)
        await anext(found)
        watch = weakref.ref(found)
        del found
        await turns(100)
        gc.collect()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert watch() is None

    with no_complaints(caplog):
        run_in("asyncio", main)


@streams
def test_the_end_of_the_run(stream, caplog):
    """The end of `asyncio.run` cancels what a stream has under way, without a complaint."""

    async def main():
        found = stream([item(0), *(forever() for _ in range(20))])
        await anext(found)

    with no_complaints(caplog):
        asyncio.run(main())
        if stream is aio.resolve:
            trio.run(main)


# Cancellation at each await


@both
@streams
@pytest.mark.parametrize("when", range(10))
def test_cancelled_next_loses_nothing(world, stream, when, caplog):
    """The wait for a result may be cancelled after any turn: the next wait gives it."""

    async def main():
        async def work(index):
            await turns(index % 5)
            return index

        found = stream(map(work, range(8)), workers=3, worker_greediness=1)
        seen = []

        async def read():
            seen.append(await anext(found))

        async with within(20):
            for _ in range(3):
                async with background(read) as cancel:
                    await turns(when)
                    assert await cancel() in ("cancelled", None)
            seen += await drained(found)
        assert sorted(seen) == list(range(8))
        if stream is aio.resolve:
            assert seen == list(range(8))

    with no_complaints(caplog):
        run_in(world, main)


@both
@streams
@pytest.mark.parametrize("when", range(1, 12))
def test_cancelled_consumer_leaves_nothing(world, stream, when, caplog):
    """A consumer in a block may be cancelled after any turn: nothing is left."""

    async def main():
        made = []

        async def work(index):
            await turns(index % 4)
            return index

        async def consume():
            made.extend(work(index) for index in range(12))
            async with stream(made, workers=3, worker_greediness=1) as found:
                return [result async for result in found]

        async with within(20), background(consume) as cancel:
            await turns(when)
            await cancel()
        assert {inspect.getcoroutinestate(each) for each in made} <= {inspect.CORO_CLOSED}

    with no_complaints(caplog):
        run_in(world, main)


def test_cancelled_aclose_waits_for_the_clean_up(caplog):
    """A cancellation in the midst of aclose leaves when everything is cleaned up."""

    async def main():
        gate, cleaned = asyncio.Event(), []

        async def stubborn():
            try:
                await asyncio.sleep(3600)
            finally:
                await gate.wait()
                cleaned.append(1)

        found = aio.resolve([item(0), stubborn()])
        await anext(found)
        task = asyncio.create_task(found.aclose())
        await turns(3)
        task.cancel()
        await turns(3)
        assert not task.done()
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert cleaned == [1]

    with no_complaints(caplog):
        run_in("asyncio", main)


# AR25


@streams
def test_ar25_an_item_that_cancels_itself(stream):
    """AR25: it is a failure of the item, whose outcome is cancelled; the stream goes on."""

    async def main():
        async def cancelled():
            raise asyncio.CancelledError

        found = stream([cancelled(), item(1)], workers=1)
        first = next(found)
        with pytest.raises(concurrent.futures.CancelledError) as raised:
            await first
        assert isinstance(raised.value, connectors.ConnectorsError)
        assert "item 0" in str(raised.value)
        assert first.outcome.state == "cancelled"
        assert first.outcome.id == 0
        assert await anext(found) == 1

    run_in("asyncio", main)


@both
@streams
def test_read_on_in_another_run(world, stream):
    """A stream that has nothing under way can be read on in the next run, of either world."""

    async def some(found):
        return [await anext(found) for _ in range(2)]

    async def first(found):
        result = await some(found)
        await turns(30)
        return result

    found = stream(map(item, range(8)), workers=1, worker_greediness=1)
    seen = run_in(world, first, found) + asyncio.run(first(found)) + trio.run(first, found)
    assert seen == list(range(6))


@both
@streams
def test_what_a_run_took_along_is_no_end(world, stream):
    """Items that were under way when their run ended are failures, and not the end."""

    async def main(found):
        assert await anext(found) == 0

    async def rest(found):
        with pytest.raises(connectors.ItemCancelledError, match="its run ended"):
            while True:
                assert await anext(found) == 2  # it may have ended before

    found = stream([item(0), forever(), item(2)], workers=2)
    if world == "trio":
        trio.run(main, found)
        trio.run(rest, found)
    else:
        asyncio.run(main(found))
        asyncio.run(rest(found))


@streams
def test_eager_tasks(stream):
    """Tasks that begin, or even end, while they are made."""
    if not hasattr(asyncio, "eager_task_factory"):
        pytest.skip("this Python has no eager tasks")

    async def work(index):
        if index % 2:
            await sleep(0)
        return index

    async def main():
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        assert await aio.collect(map(work, range(9)), workers=2) == tuple(range(9))
        found = stream(map(work, range(9)), workers=2, worker_greediness=1)
        assert sorted(await drained(found)) == list(range(9))

    asyncio.run(main())


# Closed by its own items


@both
@streams
@pytest.mark.parametrize("deep", [False, True])
def test_ar8_an_item_may_close_its_stream(world, stream, deep):
    """AR8: an item that calls aclose, or has it called, does not wait for itself."""

    async def main():
        async def close():
            await found.aclose()
            await forever()

        async def close_within():
            if world == "trio":
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(close)
            else:
                await asyncio.gather(close())

        found = stream([close_within() if deep else close(), forever()])
        async with within(20):
            with pytest.raises(connectors.ItemCancelledError, match="was closed"):
                await anext(found)
            await found.aclose()
            assert await drained(found) == []

    run_in(world, main)


@streams
def test_ar8_an_item_closes_a_stream_that_it_is_in_through_another(stream):
    """AR8: an item of a stream that an item of another one reads closes both."""

    async def main():
        async def close_outer():
            await outer.aclose()
            await forever()

        async def read():
            async with stream([close_outer()]) as inner:
                await drained(inner)

        outer = stream([read(), forever()])
        async with within(20):
            with pytest.raises(connectors.ItemCancelledError, match="was closed"):
                await anext(outer)
            await outer.aclose()

    run_in("asyncio", main)
