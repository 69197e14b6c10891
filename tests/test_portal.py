"""`Portal`, the clock, and waiting in three worlds."""

import asyncio
import concurrent.futures
import contextvars
import threading

import pytest
import trio
import trio.testing

from connectors import _clock
from connectors._portal import Portal
from connectors._worlds import current_loop, current_world, gather, in_thread, result_of

VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")


@pytest.fixture(params=["asyncio", "trio"])
def portal(request):
    portal = Portal(request.param, "test")
    yield portal
    portal.close(cancel=True)


async def sleep_forever():
    await (trio.sleep_forever() if current_world() == "trio" else asyncio.Event().wait())


def run(world, function):
    return trio.run(function) if world == "trio" else asyncio.run(function())


async def give(value):
    return value


async def fail(kind=ValueError):
    raise kind("failed")


def test_a_coroutine_runs_in_the_portal(portal):
    """A coroutine runs in the portal's thread and loop, and its future gives its result."""

    async def where():
        return portal.here(), current_loop() is portal.loop

    assert portal.schedule(where()).result() == (True, True)
    assert not portal.here()


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt])
def test_a_failure_stays_with_its_coroutine(portal, kind):
    """Whatever a coroutine raises, its future raises, and the loop goes on."""
    with pytest.raises(kind):
        portal.schedule(fail(kind)).result()
    assert portal.schedule(give(1)).result() == 1


def test_cancelling_a_future_cancels_its_coroutine(portal):
    """A cancelled coroutine is unwound in the loop."""
    began, unwound = threading.Event(), threading.Event()

    async def wait():
        began.set()
        try:
            await sleep_forever()
        finally:
            unwound.set()

    future = portal.schedule(wait())
    began.wait()
    assert portal.busy
    assert future.cancel()
    assert unwound.wait(30)
    with pytest.raises(concurrent.futures.CancelledError):
        future.result()
    assert concurrent.futures.wait([future]).done


def test_a_coroutine_that_is_cancelled_before_it_begins_never_runs(portal):
    """Cancelling what has not begun closes it."""
    gate, blocked, ran = threading.Event(), threading.Event(), []

    async def block():
        blocked.set()
        gate.wait()

    async def late():
        ran.append(1)

    blocker = portal.schedule(block())
    blocked.wait()
    future = portal.schedule(late())
    assert future.cancel()
    gate.set()
    blocker.result()
    portal.schedule(give(1)).result()

    assert not ran


def test_the_context_travels(portal):
    """A coroutine sees the context variables of its scheduler."""

    async def look():
        return VARIABLE.get()

    token = VARIABLE.set("mine")
    future = portal.schedule(look())
    VARIABLE.reset(token)

    assert future.result() == "mine"


@pytest.mark.parametrize("world", ["asyncio", "trio"])
def test_closing_drains(world):
    """Closing waits for the coroutines that run."""
    portal = Portal(world, "test")
    gate, began = threading.Event(), threading.Event()

    async def wait():
        began.set()
        await in_thread(gate.wait)
        return 1

    future = portal.schedule(wait())
    began.wait()
    closer = threading.Thread(target=portal.close)
    closer.start()
    gate.set()
    closer.join(30)

    assert future.result(0) == 1
    portal.close()


@pytest.mark.parametrize("world", ["asyncio", "trio"])
def test_waiting_for_a_future(world):
    """A future is awaited in either library, whether it is done or not, and gives what it has."""

    async def wait():
        done = concurrent.futures.Future()
        done.set_result(1)
        later = concurrent.futures.Future()
        threading.Thread(target=later.set_result, args=(2,)).start()
        failing = concurrent.futures.Future()
        threading.Thread(target=failing.set_exception, args=(ValueError(),)).start()
        with pytest.raises(ValueError):
            await result_of(failing)
        return await result_of(done), await result_of(later)

    assert run(world, wait) == (1, 2)


@pytest.mark.parametrize("world", ["asyncio", "trio"])
def test_a_cancelled_wait_cancels_its_future(world):
    """When the wait is cancelled, so is what it waited for."""
    future = concurrent.futures.Future()

    async def in_asyncio():
        task = asyncio.create_task(result_of(future))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def in_trio():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(result_of, future)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    run(world, in_trio if world == "trio" else in_asyncio)

    assert future.cancelled()


def test_a_future_may_end_after_the_run_that_waited_for_it():
    """A result that comes when trio is over harms nobody."""
    future = concurrent.futures.Future()
    future.set_running_or_notify_cancel()

    async def wait():
        with trio.move_on_after(0):
            await result_of(future)

    trio.run(wait)
    future.set_result(1)


def test_worlds_are_told_apart():
    """Plain code, asyncio and trio are recognised, trio also as a guest of nobody."""

    async def look():
        return current_world(), current_loop() is not None

    assert (current_world(), current_loop()) == (None, None)
    assert asyncio.run(look()) == ("asyncio", True)
    assert trio.run(look) == ("trio", True)


@pytest.mark.parametrize("world", ["asyncio", "trio"])
def test_gather(world):
    """All are awaited at the same time; results come in order, failures alone or as a group."""

    async def body():
        met = []

        async def meet(number):
            met.append(number)
            while len(met) < 3:
                await (trio.sleep(0) if world == "trio" else asyncio.sleep(0))
            return number

        assert await gather([meet(number) for number in range(3)]) == [0, 1, 2]
        assert await gather([]) == []
        with pytest.raises(ValueError, match="failed"):
            await gather([give(1), fail()])
        with pytest.raises(ExceptionGroup) as caught:
            await gather([fail(), give(1), fail(KeyError)])
        assert [type(error) for error in caught.value.exceptions] == [ValueError, KeyError]

    run(world, body)


def test_the_clock_calls_back_in_order():
    """Limits are called back in the order in which they are due, and not if cancelled."""
    order, done = [], threading.Event()
    _clock.after(0.03, done.set)
    _clock.after(0.02, lambda: order.append("late"))
    cancelled = _clock.after(0.015, lambda: order.append("never"))
    _clock.after(0.01, lambda: order.append("early"))
    cancelled.cancel()

    assert done.wait(30)
    assert order == ["early", "late"]


def test_a_callback_that_raises_does_not_stop_the_clock(caplog):
    """One bad limit does not harm the others."""
    done = threading.Event()
    _clock.after(0, lambda: 1 / 0)
    _clock.after(0.01, done.set)

    assert done.wait(30)
    assert "ZeroDivisionError" in caplog.text
