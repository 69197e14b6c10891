"""`aio.generate_in_thread`: a generator that lives in one thread."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading

import pytest
import trio

from aio_worlds import WORLDS, Gate, background, no_complaints, run_in, turns, within
from connectors import aio

both = pytest.mark.parametrize("world", WORLDS)


@pytest.fixture(scope="module", autouse=True)
def no_threads_left():
    before = threading.active_count()
    yield
    aio.THREAD_POOL.shutdown(wait=True)
    assert threading.active_count() <= before


@pytest.fixture(autouse=True)
def closed():
    yield
    aio.THREAD_POOL.shutdown(wait=True)


def me():
    return threading.get_ident()


@both
def test_items_in_order(world):
    """Generators and plain iterators; arguments of any name are forwarded."""

    def count(start, generator_func):
        yield from range(start, generator_func)

    async def main():
        found = aio.generate_in_thread(count, 2, generator_func=5)
        assert [each async for each in found] == [2, 3, 4]
        with pytest.raises(StopAsyncIteration):
            await anext(found)
        assert [each async for each in aio.generate_in_thread(iter, "ab")] == ["a", "b"]

    run_in(world, main)


@both
def test_values_are_passed_on(world):
    """What is sent reaches a generator; a plain iterator ignores it."""

    def echo():
        got = None
        while got != "end":
            got = yield got

    async def main():
        found = aio.generate_in_thread(echo)
        assert await anext(found) is None
        assert await found.asend("one") == "one"
        with pytest.raises(StopAsyncIteration):
            await found.asend("end")
        plain = aio.generate_in_thread(iter, [1, 2])
        assert [await anext(plain), await plain.asend("ignored")] == [1, 2]

    run_in(world, main)


@both
@pytest.mark.parametrize("wrong", [list, dict, int])
def test_what_is_no_iterator(world, wrong):
    """A list is refused: it is not an iterator."""

    async def main():
        with pytest.raises(TypeError, match=f"{wrong.__name__}, which is not an iterator"):
            async for _ in aio.generate_in_thread(wrong):
                pass

    run_in(world, main)


@both
def test_errors_reach_the_consumer(world):
    """The producer's failure, after the items before it; then it is at its end."""

    def fail():
        yield 1
        raise KeyError("mine")

    def broken():
        raise OSError

    async def main():
        found = aio.generate_in_thread(fail)
        assert await anext(found) == 1
        with pytest.raises(KeyError, match="mine"):
            await anext(found)
        with pytest.raises(StopAsyncIteration):
            await anext(found)
        with pytest.raises(OSError):
            await anext(aio.generate_in_thread(broken))

    run_in(world, main)


@both
def test_items_are_strictly_serial(world):
    """An item is worked on when it was asked for, and only one at a time."""
    worked = []

    def count():
        for number in range(3):
            worked.append(number)
            yield number

    async def main():
        found = aio.generate_in_thread(count)
        assert worked == []
        for number in range(3):
            assert await anext(found) == number
            assert worked == list(range(number + 1))
        await found.aclose()

    run_in(world, main)


@both
def test_two_readers_at_once(world):
    """A second reader is refused, as by any async generator."""
    gate = threading.Event()

    def wait():
        gate.wait(20)
        yield 1

    async def main():
        found = aio.generate_in_thread(wait)
        async with background(lambda: anext(found)):
            await turns(3)
            with pytest.raises(RuntimeError, match="already running"):
                await anext(found)
            gate.set()

    run_in(world, main)


# AR16


@both
@pytest.mark.parametrize("form", ["in the generator", "in the consumer"])
def test_ar16_nested_generators_in_a_pool_of_one(world, form):
    """AR16: generators in generators, and calls between items, need no second worker."""
    aio.THREAD_POOL.initialize(max_workers=1)

    async def inner():
        return [each async for each in aio.generate_in_thread(iter, [1, 2])]

    def outer():
        for _ in range(2):
            yield asyncio.run(inner())

    async def main():
        async with within(20):
            if form == "in the generator":
                assert [each async for each in aio.generate_in_thread(outer)] == [[1, 2]] * 2
                return
            seen = []
            async for one in aio.generate_in_thread(iter, "ab"):
                async for two in aio.generate_in_thread(iter, "cd"):
                    seen.append(await aio.in_thread(str.upper, one + two))
            assert seen == ["AC", "AD", "BC", "BD"]

    run_in(world, main)


def test_make_room_outside_a_pool():
    """Where no pool runs the call, there is nothing to make room in."""
    from connectors.pools._threads import make_room

    make_room()


def test_make_room_for_what_waits_already():
    """A call that makes room lets one that waits for its thread run, once."""
    from connectors.pools import ThreadPool
    from connectors.pools._threads import make_room

    pool = ThreadPool(1)
    submitted, gate, names = threading.Event(), threading.Event(), []

    def waits():
        submitted.wait(20)
        make_room()
        make_room()
        return gate.wait(20)

    first = pool.submit(waits)
    second = pool.submit(gate.set)
    third = pool.submit(lambda: names.append(threading.current_thread().name))
    submitted.set()
    second.result(20)
    assert first.result(20)
    third.result(20)
    assert len(pool._state.threads) <= 2
    pool.shutdown()
    assert not pool._state.threads


def test_make_room_in_a_pool_that_is_closed():
    """Also there the call that waits finds a thread, which ends."""
    from connectors.pools import ThreadPool
    from connectors.pools._threads import make_room

    pool = ThreadPool(1)
    closed, gate = threading.Event(), threading.Event()

    def waits():
        closed.wait(20)
        make_room()
        return gate.wait(20)

    first = pool.submit(waits)
    pool.submit(gate.set)
    pool.shutdown(wait=False)
    closed.set()
    assert first.result(20)
    pool.shutdown()
    assert not pool._state.threads


# AR18, AR19


@both
@pytest.mark.parametrize("form", ["drained", "aclose", "dropped"])
def test_ar18_all_in_the_worker_thread(world, form):
    """AR18 and AR19: factory, items and clean-up run in one thread, which is not the loop's."""
    threads = {}
    cleaned = threading.Event()

    def make():
        threads["factory"] = me()
        return items()

    def items():
        try:
            for number in range(200):
                threads[number] = me()
                yield number
        finally:
            threads["clean-up"] = me()
            cleaned.set()

    async def main():
        found = aio.generate_in_thread(make)
        async for number in found:
            if form != "drained" and number == 5:
                break
        if form == "aclose":
            await found.aclose()
            assert cleaned.is_set()
        del found
        assert await aio.in_thread(cleaned.wait, 20)
        assert len(set(threads.values())) == 1
        assert me() not in threads.values()

    run_in(world, main)


@both
def test_ar18_the_loop_goes_on(world):
    """AR18: while the factory, an item and the clean-up block, the loop runs."""
    gates = {name: threading.Event() for name in ("factory", "item", "clean-up")}

    def items():
        try:
            gates["item"].wait(20)
            yield 1
        finally:
            gates["clean-up"].wait(20)

    def make():
        gates["factory"].wait(20)
        return items()

    async def main():
        found = aio.generate_in_thread(make)
        first, closing = Gate(), Gate()

        async def read():
            assert await anext(found) == 1
            first.open()
            await found.aclose()
            closing.open()

        async with within(20), background(read):
            for name in ("factory", "item"):
                await turns(20)  # only a loop that runs comes past this to open the gate
                gates[name].set()
            await first.passed()
            await turns(20)
            gates["clean-up"].set()
            await closing.passed()

    run_in(world, main)


@both
def test_ar19_a_database_connection(world):
    """AR19: a connection that belongs to its thread can be used from the first item to the last."""

    def rows():
        with contextlib.closing(sqlite3.connect(":memory:")) as connection:
            connection.execute("CREATE TABLE numbers (number INTEGER)")
            connection.executemany(
                "INSERT INTO numbers VALUES (?)", [(number,) for number in range(50)]
            )
            yield from connection.execute("SELECT number FROM numbers ORDER BY number")

    async def main():
        # Others use the pool meanwhile, so that its threads are mixed.
        async def other():
            for _ in range(20):
                await aio.in_thread(abs, 1)

        async with background(other):
            found = [row[0] async for row in aio.generate_in_thread(rows)]
        assert found == list(range(50))

    run_in(world, main)


# AR20


@both
def test_ar20_a_timeout_loses_nothing(world):
    """AR20: the item whose wait was given up comes next."""
    gate = threading.Event()

    def items():
        gate.wait(20)
        yield "first"
        yield "second"

    async def main():
        found = aio.generate_in_thread(items)
        for _ in range(3):
            async with background(lambda: anext(found)) as cancel:
                await turns(3)
                assert await cancel() == "cancelled"
        with pytest.raises(RuntimeError, match="comes first"):
            await found.asend("something")
        gate.set()
        assert [each async for each in found] == ["first", "second"]

    run_in(world, main)


@both
def test_ar20_a_timeout_before_a_failure(world):
    """AR20: nor is a failure lost, or told twice."""
    gate = threading.Event()

    def items():
        gate.wait(20)
        raise KeyError
        yield

    async def main():
        found = aio.generate_in_thread(items)
        async with background(lambda: anext(found)) as cancel:
            await turns(3)
            await cancel()
        gate.set()
        with pytest.raises(KeyError):
            await anext(found)
        with pytest.raises(StopAsyncIteration):
            await anext(found)

    run_in(world, main)


@both
def test_ar20_athrow(world):
    """AR20: ``athrow`` is forwarded; a plain iterator ends with the exception."""

    def items():
        while True:
            try:
                yield "item"
            except ValueError as error:
                yield error.args[0]

    async def main():
        found = aio.generate_in_thread(items)
        await anext(found)
        assert await found.athrow(ValueError("caught")) == "caught"
        assert await anext(found) == "item"
        assert await found.athrow(ValueError, "by class") == "by class"
        with pytest.raises(KeyError):
            await found.athrow(KeyError)
        with pytest.raises(StopAsyncIteration):
            await anext(found)
        plain = aio.generate_in_thread(iter, [1, 2])
        await anext(plain)
        with pytest.raises(KeyError):
            await plain.athrow(KeyError("x"))
        with pytest.raises(StopAsyncIteration):
            await anext(plain)

    run_in(world, main)


@both
@pytest.mark.parametrize("stray", [StopAsyncIteration, StopIteration])
def test_ar20_stray_stop(world, stray):
    """AR20: in the generator it is an error, and does not look like the end."""

    def items():
        yield 1
        raise stray

    async def main():
        found = aio.generate_in_thread(items)
        assert await anext(found) == 1
        with pytest.raises(RuntimeError, match=stray.__name__):
            await anext(found)

    run_in(world, main)


@both
def test_ar20_stray_stop_in_the_factory(world):
    """AR20 and AR12: neither is it when the generator is made."""

    def make():
        raise StopIteration

    async def main():
        with pytest.raises(RuntimeError, match="StopIteration"):
            await anext(aio.generate_in_thread(make))

    run_in(world, main)


# Ends


@both
def test_closing_what_never_began(world):
    """aclose before the first item makes nothing, twice likewise; then it is at its end."""
    made = []

    async def main():
        found = aio.generate_in_thread(lambda: made.append(1) or iter([1]))
        await found.aclose()
        await found.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(found)

    run_in(world, main)
    assert made == []


@both
def test_closing_what_waits_for_a_thread(world):
    """aclose of a generator that has no thread yet takes its place in the queue back."""
    aio.THREAD_POOL.initialize(max_workers=1)
    gate, made = threading.Event(), []

    async def main():
        async with background(lambda: aio.in_thread(gate.wait, 20)):
            await turns(3)
            found = aio.generate_in_thread(lambda: made.append(1) or iter([1]))
            async with background(lambda: anext(found)) as cancel:
                await turns(3)
                await cancel()
            await found.aclose()
            gate.set()
        await aio.in_thread(abs, 1)

    run_in(world, main)
    assert made == []


@both
def test_a_failing_clean_up(world):
    """What the clean-up raises reaches whoever closes."""

    def items():
        try:
            yield 1
        finally:
            raise OSError("on the way out")

    async def main():
        found = aio.generate_in_thread(items)
        await anext(found)
        with pytest.raises(OSError, match="on the way out"):
            await found.aclose()

    run_in(world, main)


@both
def test_shutting_down_under_an_open_generator(world):
    """A shutdown that waits closes generators that would wait for ever, and tells the reader."""
    cleaned = []

    def items():
        try:
            yield 1
            yield 2
        finally:
            cleaned.append(1)

    async def main():
        found = aio.generate_in_thread(items)
        assert await anext(found) == 1
        aio.THREAD_POOL.shutdown(wait=True)
        assert cleaned == [1]
        with pytest.raises(RuntimeError, match="shut down"):
            await anext(found)

    run_in(world, main)


@both
def test_shutting_down_under_a_generator_that_waits(world):
    """One that has no thread yet is not made any more, and its reader is told."""
    aio.THREAD_POOL.initialize(max_workers=1)
    gate, made = threading.Event(), []

    async def main():
        async with background(lambda: aio.in_thread(gate.wait, 20)):
            await turns(3)
            found = aio.generate_in_thread(lambda: made.append(1) or iter([1]))
            async with background(lambda: anext(found)) as cancel:
                await turns(3)
                await cancel()
            gate.set()
            aio.THREAD_POOL.shutdown(wait=True)
            with pytest.raises(RuntimeError, match="shut down"):
                while True:
                    assert await anext(found) == 1  # if it got the thread after all

    run_in(world, main)


@both
def test_initialize_under_an_open_generator(world):
    """A new pool does not end the generators of the old one."""

    async def main():
        found = aio.generate_in_thread(iter, range(5))
        assert await anext(found) == 0
        aio.THREAD_POOL.initialize(max_workers=1)
        assert [each async for each in found] == [1, 2, 3, 4]

    run_in(world, main)


@both
@pytest.mark.parametrize("when", range(6))
def test_cancelled_at_each_turn(world, when, caplog):
    """A reader that is cancelled after any turn loses nothing."""

    async def main():
        found = aio.generate_in_thread(iter, range(10))
        seen = []

        async def read():
            seen.append(await anext(found))

        for _ in range(4):
            async with background(read) as cancel:
                await turns(when)
                await cancel()
        seen += [each async for each in found]
        assert seen == list(range(10))

    with no_complaints(caplog):
        run_in(world, main)


@both
def test_journey_8_streaming_rows(world):
    """A fetch loop in a thread feeds a queue with several workers."""

    def rows():
        with contextlib.closing(sqlite3.connect(":memory:")) as connection:
            connection.executescript(
                "CREATE TABLE t (n INTEGER); "
                "INSERT INTO t VALUES (1), (2), (3), (4), (5), (6), (7);"
            )
            cursor = connection.execute("SELECT n FROM t")
            while chunk := cursor.fetchmany(2):
                yield from (row[0] for row in chunk)

    async def main():
        done = []

        async def work(row):
            await turns(1)
            done.append(row)

        if world == "trio":
            send, receive = trio.open_memory_channel(2)

            async def consume():
                async for row in receive.clone():
                    await work(row)

            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(consume)
                async with send:
                    async for row in aio.generate_in_thread(rows):
                        await send.send(row)
                receive.close()
        else:
            queue = asyncio.Queue(2)

            async def consume():
                while (row := await queue.get()) is not None:
                    await work(row)

            async with asyncio.TaskGroup() as group:
                for _ in range(3):
                    group.create_task(consume())
                async for row in aio.generate_in_thread(rows):
                    await queue.put(row)
                for _ in range(3):
                    await queue.put(None)
        assert sorted(done) == [1, 2, 3, 4, 5, 6, 7]

    run_in(world, main)


@both
def test_ar18_a_generator_may_close_itself(world):
    """AR18: a generator that calls aclose in the loop, and waits for it, is closed afterwards."""
    log = []

    async def main():
        loop = None if world == "trio" else asyncio.get_running_loop()

        def generate():
            try:
                yield 1
                if loop is None:
                    trio.from_thread.run(found.aclose, trio_token=token)
                else:
                    asyncio.run_coroutine_threadsafe(found.aclose(), loop).result(20)
                yield 2
            finally:
                log.append("cleaned")

        token = trio.lowlevel.current_trio_token() if loop is None else None
        found = aio.generate_in_thread(generate)
        async with within(30):
            assert [each async for each in found] == [1, 2]
            await found.aclose()

    run_in(world, main)
    assert log == ["cleaned"]


@both
def test_a_value_sent_too_early(world):
    """A generator that has not begun refuses a value, as others do, and can still begin."""

    def echo():
        got = yield "first"
        yield got

    async def main():
        found = aio.generate_in_thread(echo)
        with pytest.raises(TypeError, match="just-started generator"):
            await found.asend(1)
        assert await anext(found) == "first"
        assert await found.asend(2) == 2
        await found.aclose()

    run_in(world, main)
