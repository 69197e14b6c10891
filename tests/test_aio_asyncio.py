"""What `aio` does under asyncio only: running, scheduling, semaphores; and the module itself."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import subprocess
import sys
import threading
import types
import warnings
import weakref

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

import connectors
from aio_worlds import WORLDS, no_complaints, run_in, turns, within
from connectors import aio

both = pytest.mark.parametrize("world", WORLDS)
semaphores = pytest.mark.parametrize("semaphore", [aio.Semaphore, aio.BoundedSemaphore])


@pytest.fixture(scope="module", autouse=True)
def nothing_left():
    aio.run(add(1, 2))  # libuv has a pipe for each process
    threads = threading.active_count()
    descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    yield
    gc.collect()
    assert threading.active_count() <= threads
    if descriptors:
        assert len(os.listdir("/proc/self/fd")) <= descriptors


# The module


def script(code, *options):
    done = subprocess.run(
        [sys.executable, *options, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return done.stdout.split()


def test_importing_loads_no_engine():
    """``import connectors.aio`` imports neither trio nor uvloop nor multiprocessing."""
    loaded = set(script("import connectors.aio, sys; print(*sys.modules)"))

    assert not loaded & {"trio", "uvloop", "multiprocessing"}


def test_public_names():
    """All names are there, also in ``dir`` and through the package."""
    assert set(aio.__all__) <= set(dir(aio))
    assert aio.Outcome is connectors.Outcome
    assert aio.OutcomeState is connectors.OutcomeState
    for name in aio.__all__:
        found = getattr(aio, name)
        if isinstance(found, (type, types.FunctionType)):
            assert found.__module__ in {"connectors", "connectors.aio"}, name
    assert connectors.aio is aio
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = aio.nonsense


def test_uvloop_is_there_when_installed():
    """UVLOOP is the module, or None."""
    code = "from connectors.aio import UVLOOP; print(UVLOOP and UVLOOP.__name__)"
    without = "import sys; sys.modules['uvloop'] = None\n" + code
    assert script(without) == ["None"]
    try:
        import uvloop
    except ImportError:
        assert aio.UVLOOP is None
    else:
        assert aio.UVLOOP is uvloop
        assert script(code) == ["uvloop"]


# run


async def add(a, b):
    """Add two numbers."""
    await asyncio.sleep(0)
    return a + b


def test_run_gives_the_result():
    """As asyncio.run does: the result, or what was raised; the loop closed, tasks cancelled."""

    async def fail():
        raise KeyError

    async def leave():
        task = asyncio.ensure_future(asyncio.sleep(3600))
        return task, asyncio.get_running_loop()

    assert aio.run(add(1, 2)) == 3
    with pytest.raises(KeyError):
        aio.run(fail())
    task, loop = aio.run(leave())
    assert task.cancelled()
    assert loop.is_closed()


def test_run_debug():
    """``debug`` is that of the loop."""

    async def debugging():
        return asyncio.get_running_loop().get_debug()

    assert aio.run(debugging(), debug=True) is True
    assert aio.run(debugging()) is False


@pytest.mark.parametrize("wrong", [None, 3, add, asyncio.sleep, object()])
def test_run_takes_only_coroutines(wrong):
    """Anything else is a ValueError."""
    with pytest.raises(ValueError, match="coroutine object"):
        aio.run(wrong)


def test_run_takes_no_future():
    """Nor is a future a coroutine object."""
    loop = asyncio.new_event_loop()
    with pytest.raises(ValueError):
        aio.run(loop.create_future())
    loop.close()


@both
def test_run_inside_a_loop(world):
    """It refuses, and leaves no coroutine un-awaited."""

    async def main():
        with pytest.raises(RuntimeError, match="running"):
            aio.run(add(1, 2))

    run_in(world, main)


def test_a11_run_decorator():
    """A-11: an async function becomes a plain one, on a fresh loop each time."""
    decorated = aio.run_decorator(add)
    assert decorated(1, b=2) == 3
    assert decorated(3, 4) == 7
    assert decorated.__name__ == "add"
    assert decorated.__doc__ == "Add two numbers."

    @aio.run_decorator
    async def loop():
        return asyncio.get_running_loop()

    assert loop() is not loop()


def test_ar24_the_policy_is_not_touched():
    """AR24: after it, asyncio.run uses the loop that it would have used; nothing warns."""
    code = """
import asyncio
from connectors import aio

async def loop():
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]

before = asyncio.run(loop())
ours = aio.run(loop())
assert asyncio.run(loop()) == before == "asyncio", before
assert ours == ("asyncio" if aio.UVLOOP is None else "uvloop"), ours
print("fine")
"""
    assert script(code, "-W", "error") == ["fine"]


def test_ar24_without_uvloop():
    """AR24: likewise where uvloop is not installed."""
    code = """
import sys; sys.modules["uvloop"] = None
import asyncio
from connectors import aio
async def loop():
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]
assert aio.run(loop()) == asyncio.run(loop()) == "asyncio"
print("fine")
"""
    assert script(code, "-W", "error") == ["fine"]


# schedule


def test_schedule_starts_now():
    """The task begins without anybody waiting; its future gives the finished task."""

    async def main():
        started = []

        async def work():
            started.append(1)
            return 7

        future = aio.schedule(work())
        await turns(1)
        assert started == [1]
        task = await future
        assert task.done()
        assert task.result() == 7

    run_in("asyncio", main)


def test_schedule_any_awaitable():
    """Coroutines, tasks, futures and objects; anything else is a TypeError."""

    class Awaitable:
        def __await__(self):
            return add(1, 2).__await__()

    async def main():
        done = asyncio.get_running_loop().create_future()
        done.set_result(3)
        for each in (add(1, 2), Awaitable(), asyncio.ensure_future(add(1, 2)), done):
            assert (await aio.schedule(each)).result() == 3
        with pytest.raises(TypeError, match="schedule"):
            aio.schedule(3)

    run_in("asyncio", main)


def test_schedule_awaiting_never_raises():
    """The error is the finished task's."""

    async def main():
        async def fail():
            raise KeyError

        task = await aio.schedule(fail())
        with pytest.raises(KeyError):
            task.result()

    run_in("asyncio", main)


def test_schedule_needs_a_loop():
    """Without a running loop, one has to be given."""
    with pytest.raises(RuntimeError, match="loop="):
        aio.schedule(add(1, 2))
    loop = asyncio.new_event_loop()
    future = aio.schedule(add(1, 2), loop=loop)
    assert loop.run_until_complete(future).result() == 3
    loop.close()


def test_ar6_held_until_done():
    """AR6: a task that nobody holds is not collected as garbage."""

    async def main():
        finished = []

        async def work():
            # Only this frame holds the future that it waits for.
            future = asyncio.get_running_loop().create_future()
            watch.append(weakref.ref(future))
            await future
            finished.append(1)

        watch = []
        aio.schedule(work())
        await turns(2)
        gc.collect()
        assert watch[0]() is not None
        watch[0]().set_result(None)
        await turns(3)
        assert finished == [1]

    run_in("asyncio", main)


def test_ar6_cancelling_cancels_the_task():
    """AR6: cancelling the future cancels the task."""

    async def main():
        ended = []

        async def work():
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                ended.append(1)
                raise

        future = aio.schedule(work())
        await turns(2)
        future.cancel()
        await turns(3)
        assert ended == [1]

    run_in("asyncio", main)


@pytest.mark.parametrize("kept", [False, True])
def test_ar6_an_unfetched_failure_is_told_once(kept):
    """AR6: it goes to the loop's exception handler, once; if it was fetched, not at all."""

    async def main():
        told = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

        async def fail():
            raise KeyError("lost")

        future = aio.schedule(fail())
        if kept:
            (await future).exception()
        del future
        await turns(5)
        gc.collect()
        await turns(2)
        if kept:
            assert told == []
        else:
            (context,) = told
            assert isinstance(context["exception"], KeyError)

    run_in("asyncio", main)


def test_journey_9_fire_and_forget(caplog):
    """A handler schedules and drops the result."""

    async def main():
        sent = []

        async def send_mail(to):
            await turns(3)
            sent.append(to)

        async def handler():
            aio.schedule(send_mail("you"))
            return "ok"

        assert await handler() == "ok"
        await turns(8)
        assert sent == ["you"]

    with no_complaints(caplog):
        run_in("asyncio", main)


# semaphores


def test_the_classes():
    """The bounded one is a subclass of both."""
    assert issubclass(aio.Semaphore, asyncio.Semaphore)
    assert issubclass(aio.BoundedSemaphore, aio.Semaphore)
    assert issubclass(aio.BoundedSemaphore, asyncio.BoundedSemaphore)
    with pytest.raises(ValueError):
        aio.Semaphore(-1)


@semaphores
def test_a9_nested_blocks(semaphore):
    """A-9: the free count goes 10, 5, 0, 5, 0, 5, 10; no permits are a ValueError."""

    async def main():
        found = semaphore(10)
        counts = [found._value]
        async with found.acquire_many(5):
            counts.append(found._value)
            async with found.acquire_many(5):
                counts.append(found._value)
                assert found.locked()
            counts.append(found._value)
            async with found.acquire_many(5):
                counts.append(found._value)
            counts.append(found._value)
        counts.append(found._value)
        assert counts == [10, 5, 0, 5, 0, 5, 10]
        for times in (0, -1):
            with pytest.raises(ValueError, match="at least 1"):
                async with found.acquire_many(times):
                    pass

    run_in("asyncio", main)


@semaphores
def test_as_asyncios(semaphore):
    """acquire, release, ``async with`` and locked work as asyncio's."""

    async def main():
        found = semaphore(1)
        assert not found.locked()
        async with found:
            assert found.locked()
        assert await found.acquire() is True
        waiter = asyncio.ensure_future(found.acquire())
        await turns(2)
        assert not waiter.done()
        found.release()
        assert await waiter is True
        found.release()
        assert "unlocked" in repr(found)

    run_in("asyncio", main)


def test_the_bound():
    """Giving back more than was taken is refused by the bounded one only."""

    async def main():
        found = aio.BoundedSemaphore(2)
        async with found.acquire_many(2):
            pass
        with pytest.raises(ValueError, match="too many"):
            found.release()
        free = aio.Semaphore(2)
        free.release()
        async with free.acquire_many(3):  # the highest count so far
            assert free.locked()

    run_in("asyncio", main)


@semaphores
def test_ar21_all_or_nothing(semaphore):
    """AR21: two tasks that want 6 of 10 both finish, one after the other."""

    async def main():
        found, running, peak = semaphore(10), 0, 0

        async def work():
            nonlocal running, peak
            async with found.acquire_many(6):
                running += 1
                peak = max(peak, running)
                await turns(3)
                running -= 1

        async with within(20):
            await asyncio.gather(*(work() for _ in range(4)))
        assert peak == 1
        assert found._value == 10

    run_in("asyncio", main)


@semaphores
def test_ar21_first_in_first_out(semaphore):
    """AR21: together with acquire, in the order of asking."""

    async def main():
        found, order = semaphore(3), []

        async def take(name, times):
            if times == 1:
                await found.acquire()
                order.append(name)
                await turns(2)
                found.release()
            else:
                async with found.acquire_many(times):
                    order.append(name)
                    await turns(2)

        async with found.acquire_many(2):
            tasks = []
            for name, times in (("a", 3), ("b", 1), ("c", 2), ("d", 1)):
                tasks.append(asyncio.ensure_future(take(name, times)))
                await turns(2)
            assert order == []  # one is free, and a came first
        async with within(20):
            await asyncio.gather(*tasks)
        assert order == ["a", "b", "c", "d"]

    run_in("asyncio", main)


@semaphores
def test_ar21_more_than_there_are(semaphore):
    """AR21: wanting more than the capacity is a ValueError on entry, also while all are taken."""

    async def main():
        found = semaphore(10)
        async with found.acquire_many(10):
            with pytest.raises(ValueError, match="only 10 permits"):
                async with found.acquire_many(11):
                    pass

    run_in("asyncio", main)


def test_ar21_the_cost_does_not_grow():
    """AR21: many permits are one wait, and one step of the loop."""

    async def main():
        found = aio.Semaphore(10**9)
        async with found.acquire_many(10**9), within(20):
            waiter = asyncio.ensure_future(found.acquire_many(10**9).__aenter__())
            await turns(2)
            assert len(found._waiters) == 1
        await turns(2)
        assert waiter.done()

    run_in("asyncio", main)


@semaphores
@pytest.mark.parametrize("when", range(8))
def test_ar22_cancelled_at_each_turn(semaphore, when):
    """AR22: a cancelled acquire_many gives back what it got and nothing else."""

    async def main():
        found = semaphore(4)
        inside = 0

        async def work(times):
            nonlocal inside
            async with found.acquire_many(times):
                inside += times
                assert inside <= 4
                await turns(3)
                inside -= times

        async def interrupted():
            nonlocal inside
            taken = False
            try:
                async with found.acquire_many(3):
                    taken = True
                    inside += 3
                    assert inside <= 4
                    await turns(3)
            finally:
                inside -= 3 if taken else 0

        first = asyncio.ensure_future(work(3))
        await turns(1)
        second = asyncio.ensure_future(interrupted())
        others = [asyncio.ensure_future(work(times)) for times in (2, 4, 1)]
        await turns(when)
        second.cancel()
        async with within(20):
            await asyncio.gather(first, *others)
            await asyncio.wait([second])
        assert found._value == 4
        assert not found._waiters
        assert not found._wants

    run_in("asyncio", main)


@semaphores
def test_ar22_cancelled_when_served_already(semaphore):
    """AR22: permits that were handed over in the turn of the cancellation go to the next."""

    async def main():
        found = semaphore(2)
        await found.acquire()
        await found.acquire()
        first = asyncio.ensure_future(found.acquire_many(2).__aenter__())
        second = asyncio.ensure_future(found.acquire())
        await turns(2)
        found.release()
        found.release()  # the first is served now
        first.cancel()
        async with within(20):
            await second
        assert first.cancelled()
        assert found._value == 1

    run_in("asyncio", main)


@semaphores
def test_ar22_a_cancelled_head_lets_others_through(semaphore):
    """AR22: when who wanted much gives up, those behind it get what is free."""

    async def main():
        found = semaphore(2)
        await found.acquire()
        head = asyncio.ensure_future(found.acquire_many(2).__aenter__())
        await turns(1)
        behind = asyncio.ensure_future(found.acquire())
        await turns(2)
        assert not behind.done()
        head.cancel()
        async with within(20):
            await behind

    run_in("asyncio", main)


@semaphores
@settings(max_examples=60, deadline=None)
@given(
    capacity=st.integers(1, 6),
    plan=st.lists(
        st.tuples(
            st.integers(1, 6),  # how many
            st.integers(0, 4),  # for how many turns
            st.one_of(st.none(), st.integers(0, 8)),  # cancelled after so many turns
        ),
        max_size=8,
    ),
)
def test_ar21_ar22_any_plan(semaphore, capacity, plan):
    """Whoever wants what and gives up when: never more than there are, in order, all given back."""

    async def main():
        found, inside, served = semaphore(capacity), 0, []

        async def work(number, times, pause):
            nonlocal inside
            async with found.acquire_many(times):
                served.append(number)
                inside += times
                assert inside <= capacity
                try:
                    await turns(pause)
                finally:
                    inside -= times

        tasks = []
        for number, (times, pause, _) in enumerate(plan):
            tasks.append(asyncio.ensure_future(work(number, min(times, capacity), pause)))
        for turn in range(9):
            for task, (_, _, end) in zip(tasks, plan, strict=True):
                if end == turn:
                    task.cancel()
            await turns(1)
        async with within(20):
            results = await asyncio.gather(*tasks, return_exceptions=True)
        assert not [each for each in results if isinstance(each, Exception)]
        assert served == sorted(served)
        assert found._value == capacity
        assert not found._waiters

    run_in("asyncio", main)


# Elsewhere


def test_only_under_asyncio():
    """Under trio they raise a RuntimeError that says so."""

    async def main():
        with pytest.raises(RuntimeError, match="only under asyncio"):
            aio.run(add(1, 2))
        with pytest.raises(RuntimeError, match="only under asyncio"):
            aio.run_decorator(add)(1, 2)
        with pytest.raises(RuntimeError, match="only under asyncio"):
            aio.schedule(add(1, 2))
        for semaphore in (aio.Semaphore(1), aio.BoundedSemaphore(1)):
            with pytest.raises(RuntimeError, match="only under asyncio"):
                await semaphore.acquire()
            with pytest.raises(RuntimeError, match="only under asyncio"):
                async with semaphore.acquire_many(1):
                    pass

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trio.run(main)
        gc.collect()


@both
def test_force_loop_cycle(world):
    """Exactly one turn."""

    async def main():
        if world == "trio":
            with trio.CancelScope() as scope:
                scope.cancel()
                await aio.force_loop_cycle()  # a checkpoint
            assert scope.cancelled_caught
            return
        loop, calls = asyncio.get_running_loop(), []

        def step():
            calls.append(1)
            loop.call_soon(step)

        loop.call_soon(step)
        for turn in range(1, 5):
            await aio.force_loop_cycle()
            assert len(calls) == turn

    run_in(world, main)


def test_ar26_the_logger():
    """AR26: our records go to ``connectors.aio``."""
    from connectors.aio import _collect

    assert _collect._logger is logging.getLogger("connectors.aio")


def test_type_hints():
    """The package ships type hints."""
    assert isinstance(connectors.aio, types.ModuleType)
    path = os.path.join(os.path.dirname(connectors.__file__), "py.typed")
    assert os.path.exists(path)


@pytest.mark.parametrize(
    ("place", "use"),
    [
        ("in_thread", lambda: asyncio.run(aio.in_thread(3))),
        ("in_process", lambda: asyncio.run(aio.in_process(3))),
        ("generate_in_thread", lambda: aio.generate_in_thread(3)),
        ("rate_limited", lambda: aio.rate_limited(max_calls=1, max_calls_period=1)(3)),
        ("run_decorator", lambda: aio.run_decorator(3)),
    ],
)
def test_what_is_no_function(place, use):
    """What a function returned, instead of the function, is told with value, place and cure."""
    with pytest.raises(TypeError, match=rf"{place}.*\(3\): a function is needed, got int; give"):
        use()
