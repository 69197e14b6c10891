"""`aio.rate_limited`: how often calls start."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import heapq
import threading
import time

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from aio_worlds import WORLDS, Gate, background, no_complaints, run_in, sleep, turns, within
from connectors import aio
from connectors.aio._rate import Limiter, Window

both = pytest.mark.parametrize("world", WORLDS)


@pytest.fixture(scope="module", autouse=True)
def no_threads_left():
    before = threading.active_count()
    yield
    assert threading.active_count() <= before


def assert_kept(starts, max_calls, period, gap=0.0):
    """No two starts are closer than *gap*, and no window holds more than *max_calls*."""
    starts = sorted(starts)
    for one, other in zip(starts, starts[1:], strict=False):
        assert other - one >= gap
    for one, other in zip(starts, starts[max_calls:], strict=False):
        assert other - one >= period


# A clock in the hand: it stands while somebody works and jumps to whoever wakes next


class Clock:
    def __init__(self):
        self.now = 0.0
        self.sleepers = []
        self.numbers = iter(range(10**9))

    def __call__(self):
        return self.now

    async def sleep(self, seconds):
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self.sleepers, (self.now + seconds, next(self.numbers), future))
        await future

    async def run_until(self, task):
        """Let everybody work, and then let the time pass until the next one wakes."""
        while not task.done():
            await turns(6)
            while self.sleepers and self.sleepers[0][2].done():
                heapq.heappop(self.sleepers)
            if self.sleepers and not task.done():
                until, _, future = heapq.heappop(self.sleepers)
                self.now = max(self.now, until)
                future.set_result(None)
        return await task


@settings(max_examples=60, deadline=None)
@given(
    max_calls=st.integers(1, 4),
    period=st.floats(0.01, 3),
    gap=st.one_of(st.just(0.0), st.floats(0, 2)),
    callers=st.lists(
        st.tuples(
            st.floats(0, 5),  # when it comes
            st.one_of(st.none(), st.floats(0, 3)),  # when it gives up
        ),
        max_size=14,
    ),
)
def test_both_limits_over_every_window(max_calls, period, gap, callers):
    """Whoever comes when and gives up when: both limits hold over every window, in order."""

    async def main():
        clock = Clock()
        limiter = Limiter(Window(max_calls, period, gap), clock, clock.sleep)
        starts, order, gave_up = [], [], set()

        async def call(number, comes, patience):
            await clock.sleep(comes)
            order.append(number)
            waiting = asyncio.ensure_future(limiter.turn())

            async def impatient():
                await clock.sleep(patience)
                waiting.cancel()

            timer = None if patience is None else asyncio.ensure_future(impatient())
            try:
                await waiting
                starts.append((clock.now, number))
            except asyncio.CancelledError:
                gave_up.add(number)
            finally:
                if timer is not None:
                    timer.cancel()

        calls = [call(number, *each) for number, each in enumerate(callers)]
        await clock.run_until(asyncio.gather(*calls))

        slack = 1e-9  # the sums of floats
        assert_kept([each for each, _ in starts], max_calls, period - slack, gap - slack)
        # In the order of arrival, and everybody who waited long enough was let through.
        assert [number for _, number in starts] == [n for n in order if n not in gave_up]
        assert not limiter._lines
        # Those who gave up took nothing: a start comes at once when it may.
        recent = [each for each, _ in starts]
        due = max(
            [
                0.0,
                *(t + gap for t in recent[-1:]),
                *(t + period for t in recent[-max_calls:][: len(recent) >= max_calls]),
            ]
        )
        clock.now = max(clock.now, due + 0.01)
        await limiter.turn()

    asyncio.run(main())


@settings(max_examples=200, deadline=None)
@given(
    max_calls=st.integers(1, 5),
    period=st.integers(1, 50),
    gap=st.integers(0, 20),
    waits=st.lists(st.integers(0, 30), max_size=40),
    lags=st.lists(st.integers(0, 5), min_size=40, max_size=40),
)
def test_the_window_itself(max_calls, period, gap, waits, lags):
    """The limits hold for when calls really begin, also if that is later than allowed."""
    window = Window(max_calls, period, gap)
    now, begun = 0, []
    for wait, lag in zip(waits, lags, strict=False):
        now += wait
        now += max(0, window.left(now))
        start = window.start(now)
        now += lag
        begun.append(now)
        window.begun(start, now)
    assert_kept(begun, max_calls, period, gap)


def test_a_window_is_not_wasteful():
    """A start is allowed as soon as it may be, and not later."""
    window = Window(2, 10, 3)
    for now in (0, 3):
        assert window.left(now) <= 0
        window.start(now)
    assert window.left(6) == 4
    assert window.left(10) <= 0


# Acceptance


@pytest.mark.parametrize("limits", [(0, 1, 0.2), (2, 0, 0.2), (2, 1, -0.2)])
def test_a3_what_cannot_be(limits):
    """A-3: at decoration."""
    names = ("max_calls", "max_calls_period", "min_seconds_between_calls")
    with pytest.raises(ValueError, match="it has to be"):

        @aio.rate_limited(**dict(zip(names, limits, strict=True)))
        async def call():
            pass


def test_a4_offsets():
    """A-4: ten calls, two in a second and 0.2 s apart."""

    @aio.rate_limited(max_calls=2, max_calls_period=1, min_seconds_between_calls=0.2)
    async def call():
        return time.monotonic()

    async def main():
        starts = sorted(await aio.collect([call() for _ in range(10)]))
        assert_kept(starts, 2, 1, 0.2)
        offsets = [start - starts[0] for start in starts]
        # Never early; late only by what a busy machine takes.
        for offset, due in zip(offsets, [0, 0.2, 1, 1.2, 2, 2.2, 3, 3.2, 4, 4.2], strict=True):
            assert due <= offset < due + 0.75

    run_in("asyncio", main)


# What can be decorated


@both
def test_any_callable_that_returns_an_awaitable(world):
    """Async functions, methods, objects and functions that return an awaitable."""
    limited = aio.rate_limited(max_calls=100, max_calls_period=1)

    class Awaitable:
        def __await__(self):
            return double(3).__await__()

    async def double(number):
        """Double it."""
        await sleep(0)
        return 2 * number

    class Client:
        @limited
        async def get(self, number):
            return await double(number)

    async def main():
        assert await limited(double)(1) == 2
        assert await Client().get(2) == 4
        assert await limited(Awaitable)() == 6
        assert await limited(functools.partial(double, 4))() == 8

    assert limited(double).__name__ == "double"
    assert limited(double).__doc__ == "Double it."
    run_in(world, main)


@both
def test_what_cannot_be_decorated(world):
    """A result that cannot be awaited, and async generators, are TypeErrors."""
    limited = aio.rate_limited(max_calls=100, max_calls_period=1)

    async def pages():
        yield 1

    with pytest.raises(TypeError, match="async generator"):
        limited(pages)

    async def main():
        with pytest.raises(TypeError, match="returned a int"):
            await limited(lambda: 3)()

    run_in(world, main)


@both
def test_the_body_is_not_limited(world):
    """Bodies run outside the limiter, so as many as started may run."""

    async def main():
        gates = [Gate() for _ in range(3)]

        @aio.rate_limited(max_calls=3, max_calls_period=3600)
        async def meet(index):
            gates[index].open()
            for gate in gates:
                await gate.passed()

        async with within(20):
            await aio.collect([meet(index) for index in range(3)])

    run_in(world, main)


@both
def test_a_failed_call_uses_its_slot(world):
    """Who failed has started."""

    @aio.rate_limited(max_calls=1, max_calls_period=3600)
    async def fail():
        raise ValueError

    async def main():
        with pytest.raises(ValueError):
            await fail()
        async with background(fail) as end:
            await turns(10)
            assert await end() == "cancelled"

    run_in(world, main)


def test_one_limiter_per_function():
    """Two functions have two limiters; the instances of a class share that of its method."""
    limited = aio.rate_limited(max_calls=1, max_calls_period=3600)

    async def call():
        return 1

    class Client:
        @limited
        async def get(self):
            return 1

    async def main():
        assert await limited(call)() == await limited(call)() == await Client().get() == 1
        async with background(Client().get) as end:
            await turns(10)
            assert await end() == "cancelled"

    run_in("asyncio", main)


@both
def test_exceptions_and_cancellations_reach_the_body(world):
    """The body sees what is thrown into it, and its clean-up runs."""
    seen = []

    @aio.rate_limited(max_calls=100, max_calls_period=1)
    async def call(fails):
        try:
            await turns(3)
            if fails:
                raise KeyError("mine")
            await sleep(3600)
        except BaseException as error:
            seen.append(type(error).__name__)
            raise

    async def main():
        with pytest.raises(KeyError, match="mine"):
            await call(True)
        async with background(lambda: call(False)) as cancel:
            await turns(8)
            assert await cancel() == "cancelled"

    run_in(world, main)
    assert seen[0] == "KeyError"
    assert seen[1] in {"CancelledError", "Cancelled"}


# AR9


@both
def test_ar9_who_gives_up_takes_no_slot(world):
    """AR9: two a second, with callers that give up soon: two in any second."""
    starts = []
    period = 1 if world == "asyncio" else 0.3

    @aio.rate_limited(max_calls=2, max_calls_period=period)
    async def call():
        starts.append(time.monotonic())

    async def impatient():
        if world == "trio":
            with trio.move_on_after(0.05):
                await call()
        else:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await call()

    async def main():
        for _ in range(6):
            await aio.collect([impatient() for _ in range(5)])
        await aio.collect([call() for _ in range(3)])

    run_in(world, main)
    assert len(starts) >= 5
    assert_kept(starts, 2, period)


@both
@pytest.mark.parametrize("when", range(8))
def test_ar9_cancelled_at_each_turn(world, when, caplog):
    """AR9: a waiter that is cancelled after any turn lets those behind it through in order."""
    started = []

    @aio.rate_limited(max_calls=1, max_calls_period=0.03)
    async def call(number):
        started.append(number)

    async def main():
        async with within(20):
            await call(0)
            async with background(lambda: call(1)) as first:
                await turns(2)
                async with background(lambda: call(2)) as second:
                    await turns(2)
                    async with background(lambda: call(3)):
                        await turns(when)
                        await second()
                        await turns(when)
                        await first()
                        await call(4)
        assert started[0] == 0
        assert started[-1] == 4
        assert started == sorted(started)

    with no_complaints(caplog):
        run_in(world, main)


# AR10


def uvloop_run(main):
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


@pytest.mark.parametrize("run", [lambda main: asyncio.run(main()), uvloop_run, trio.run])
def test_ar10_no_window_is_short(run):
    """AR10: not by a microsecond, on any loop, as the body sees it."""
    starts = []

    @aio.rate_limited(max_calls=3, max_calls_period=0.02, min_seconds_between_calls=0.005)
    async def call():
        starts.append(time.monotonic())

    async def main():
        await aio.collect([call() for _ in range(90)])

    run(main)
    assert len(starts) == 90
    assert_kept(starts, 3, 0.02, 0.005)


def test_ar10_a_sleep_that_ends_early():
    """AR10: the clock is looked at again after each sleep."""

    async def main():
        now, slept = 0.0, []

        async def sleep(seconds):
            nonlocal now
            slept.append(seconds)
            now += seconds * 0.6

        limiter = Limiter(Window(1, 1, 0), lambda: now, sleep)
        await limiter.turn()
        await limiter.turn()
        assert now >= 1
        assert len(slept) > 1

    asyncio.run(main())


# AR11


@both
def test_ar11_successive_runs(world):
    """AR11: one limiter works in one run after the other, and the limit holds across them."""
    starts = []

    @aio.rate_limited(max_calls=2, max_calls_period=0.2)
    async def call():
        starts.append(time.monotonic())

    async def main():
        await aio.collect([call() for _ in range(3)])

    for _ in range(3):
        run_in(world, main)
    assert len(starts) == 9
    assert_kept(starts, 2, 0.2)


def test_ar11_threads_with_a_loop_each():
    """AR11: the limit holds for threads with a loop each, of both worlds, all together."""
    starts = []
    ready = threading.Barrier(4)

    @aio.rate_limited(max_calls=3, max_calls_period=0.1, min_seconds_between_calls=0.01)
    async def call():
        starts.append(time.monotonic())

    async def main():
        await aio.collect([call() for _ in range(6)])

    def in_thread(world):
        ready.wait(20)
        run_in(world, main)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(in_thread, world) for world in WORLDS * 2]:
            future.result(60)
    assert len(starts) == 24
    assert_kept(starts, 3, 0.1, 0.01)


def test_ar11_a_loop_that_died():
    """AR11: a waiter whose loop was closed under it keeps nobody else waiting."""
    started = []

    @aio.rate_limited(max_calls=1, max_calls_period=0.2)
    async def call(number):
        started.append(number)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(call(0))

    async def others():
        async with within(20), background(lambda: call(1)) as first:
            await turns(3)
            task = loop_task()
            await first()
            await call(3)
            return task

    def loop_task():
        """Let call 2 wait in the other loop, which is closed then."""

        def work():
            task = loop.create_task(call(2))
            loop.call_soon(lambda: loop.call_soon(loop.stop))
            loop.run_forever()
            loop.close()
            return task

        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            return pool.submit(work).result(20)

    task = asyncio.run(others())
    assert started == [0, 3]
    task._log_destroy_pending = False
    coroutine = task.get_coro()
    coroutine.close()


@both
@pytest.mark.parametrize("closed", [False, True])
def test_ar11_a_loop_that_stands_still(world, closed):
    """AR11: waiters of a loop that was stopped keep nobody waiting; when it goes on, so do they."""
    started = []

    @aio.rate_limited(max_calls=1, max_calls_period=0.05)
    async def call(number):
        started.append(number)

    async def leave():
        tasks = [asyncio.ensure_future(call(number)) for number in range(4)]
        while not started:
            await asyncio.sleep(0)
        return tasks

    async def others():
        async with within(20):
            await call("a")
            await call("b")

    loop = asyncio.new_event_loop()
    tasks = loop.run_until_complete(leave())
    if closed:
        loop.close()
    run_in(world, others)
    assert started == [0, "a", "b"]
    if closed:
        for task in tasks[1:]:
            task._log_destroy_pending = False
            task.get_coro().close()
    else:
        loop.run_until_complete(asyncio.wait_for(asyncio.gather(*tasks), 20))
        loop.close()
        assert started == [0, "a", "b", 1, 2, 3]


@both
def test_ar11_a_loop_that_stops_before_those_who_wait(world):
    """AR11: who already waits behind calls of another loop goes on when that is stopped."""
    started = []
    waits, stopped = threading.Event(), threading.Event()

    @aio.rate_limited(max_calls=1, max_calls_period=0.05)
    async def call(number):
        started.append(number)

    async def other():
        async with within(20), background(lambda: call("a")):
            await turns(5)
            waits.set()
            assert await aio.in_thread(stopped.wait, 20)
            while "a" not in started:
                await sleep(0.01)

    async def leave():
        tasks = [asyncio.ensure_future(call(number)) for number in range(3)]
        while not started:
            await asyncio.sleep(0)
        # No turn for the others: this loop is stopped in the midst of it.
        thread.start()
        assert waits.wait(20)
        return tasks

    thread = threading.Thread(target=run_in, args=(world, other))
    loop = asyncio.new_event_loop()
    tasks = loop.run_until_complete(leave())
    stopped.set()
    thread.join(30)
    assert started == [0, "a"]
    loop.run_until_complete(asyncio.wait_for(asyncio.gather(*tasks), 20))
    loop.close()
    assert started == [0, "a", 1, 2]
    aio.THREAD_POOL.shutdown(wait=True)
