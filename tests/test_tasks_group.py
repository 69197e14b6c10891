"""`TaskGroup` in its async forms: cancellation, failures in the body, waiting."""

import asyncio
import contextlib
import threading

import pytest
import trio

import connectors
from connectors.tasks import TaskGroup
from task_bodies import afail, fail
from task_cases import AsyncTask, ProcessTask, ThreadTask

WORLDS = pytest.mark.parametrize("world", ["asyncio", "trio"])


def run_world(world, function):
    return trio.run(function) if world == "trio" else asyncio.run(function())


async def forever():
    if trio.lowlevel.in_trio_task():
        await trio.sleep_forever()
    await asyncio.Event().wait()


@WORLDS
@pytest.mark.parametrize("executor", ["threading", "async"])
def test_a_failure_cancels_the_body(world, executor):
    """4.3: under propagate a failing task cancels the body, and its error leaves as itself."""
    failing = ThreadTask("x", fail) if executor == "threading" else AsyncTask("x", afail)

    async def main():
        with pytest.raises(ValueError, match="it broke"):
            async with TaskGroup([failing], executor):
                await forever()
        await connectors._worlds.breath()  # nothing of the cancellation is left
        return "went on"

    assert run_world(world, main) == "went on"


@WORLDS
@pytest.mark.parametrize("policy", ["stop_all", "log_only"])
def test_other_policies_leave_the_body_alone(world, policy):
    """4.3: only propagate cancels the body."""

    async def main():
        async with TaskGroup([ThreadTask("x", fail)], "threading", policy) as group:
            await group.ajoin()
            for _ in range(5):
                await connectors._worlds.breath()
        return group

    assert run_world(world, main).failed == ["x"]


@WORLDS
def test_several_failures_leave_as_a_group(world):
    """T-14: in the async form too."""

    async def main():
        with pytest.raises(ExceptionGroup) as info:
            async with TaskGroup([AsyncTask("a", afail), AsyncTask("b", afail)], "async"):
                await forever()
        return info.value

    assert len(run_world(world, main).exceptions) == 2


@WORLDS
@pytest.mark.parametrize("executor", ["threading", "async", "multiprocessing"])
def test_cancelling_the_body_stops_the_tasks(world, executor):
    """4.3: leaving by a cancellation stops and awaits all; then the cancellation leaves."""
    kinds = {"threading": ThreadTask, "async": AsyncTask, "multiprocessing": ProcessTask}
    task = kinds[executor]("a")

    async def block():
        async with TaskGroup([task], executor):
            entered.set()
            await forever()

    async def main():
        nonlocal entered
        if world == "trio":
            entered = trio.Event()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(block)
                await entered.wait()
                nursery.cancel_scope.cancel()
        else:
            entered = asyncio.Event()
            running = asyncio.create_task(block())
            await entered.wait()
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
        assert task.future.done()

    entered = None
    run_world(world, main)
    assert len(task.told) == 1


@WORLDS
def test_cancelling_while_the_end_is_awaited(world):
    """4.3: a cancellation at the end of the block stops all as well."""
    task = ThreadTask("a")

    async def main():
        if world == "trio":
            with trio.CancelScope() as scope:
                async with TaskGroup([task], "threading"):
                    trio.lowlevel.current_trio_token().run_sync_soon(scope.cancel)
            assert scope.cancelled_caught
        else:

            async def block():
                async with TaskGroup([task], "threading"):
                    asyncio.get_running_loop().call_soon(running.cancel)

            running = asyncio.create_task(block())
            with pytest.raises(asyncio.CancelledError):
                await running

    run_world(world, main)
    assert task.outcome.value == "stopped"


@WORLDS
def test_the_body_fails(world):
    """4.3: the body's error leaves as itself, and with the failures of tasks in one group."""

    async def alone():
        with pytest.raises(KeyError):
            async with TaskGroup([AsyncTask("a")], "async"):
                raise KeyError("body")

    async def together():
        with pytest.raises(ExceptionGroup) as info:
            async with TaskGroup([ThreadTask("x", fail)], "threading"):
                raise KeyError("body")
        assert [type(error) for error in info.value.exceptions] == [KeyError, ValueError]

    run_world(world, alone)
    run_world(world, together)


@WORLDS
def test_waiting_in_a_loop(world):
    """4.3: `ajoin` past its timeout stops nothing; `astop` stops."""

    async def main():
        async with TaskGroup([AsyncTask("a"), AsyncTask("b")], "async") as group:
            with pytest.raises(TimeoutError, match=r"0\.01 s"):
                await group.ajoin(0.01)
            assert group.is_running
            await group.astop(5)
            await group.ajoin()
        return group.outcomes

    assert [outcome.state for outcome in run_world(world, main)] == ["cancelled"] * 2


@WORLDS
def test_stop_in_the_loop_of_the_group_only_tells(world):
    """4.3: a stop that would have to block the group's own loop does not wait."""

    async def main():
        async with TaskGroup([AsyncTask("a")], "async") as group:
            group.stop()
        return group.outcomes[0].state

    assert run_world(world, main) == "cancelled"


@WORLDS
def test_tasks_run_in_the_loop_of_the_caller(world):
    """2: coroutine tasks run in the loop that is running, if it is of the executor's world."""
    threads = []

    async def body():
        threads.append(threading.current_thread())

    async def main():
        async with TaskGroup([AsyncTask("a", body)], "async"):
            pass

    run_world(world, main)
    assert threads == [threading.current_thread()]


def test_groups_of_plain_code_can_be_awaited():
    """4.3: a group that was entered in plain code can be stopped from a loop."""

    async def main():
        await group.astop()

    with TaskGroup([ThreadTask("a")], "threading") as group:
        asyncio.run(main())
    assert group.outcomes[0].value == "stopped"


@WORLDS
def test_an_executor_that_does_not_open(world, registry):
    """TR17: when the executor does not open, each task fails with that, by the policy."""

    class Broken(connectors.Executor):
        capabilities = connectors.Capabilities(levels={connectors.Parallelization.THREAD})

        def pools(self):
            return {connectors.Parallelization.THREAD: self.refuse}

        def refuse(self):
            raise OSError("no threads today")

    connectors.register("broken", Broken)

    async def main():
        async with TaskGroup([ThreadTask("a"), ThreadTask("b")], "broken", "log_only") as group:
            pass
        return group

    assert run_world(world, main).failed == ["a", "b"]
    with TaskGroup([ThreadTask("a")], "broken", "stop_all") as group:
        pass
    assert "no threads today" in str(group.outcomes[0].error)


def failing_later():
    """Return a task that fails when its event is set, and the event."""
    event = threading.Event()

    def body():
        event.wait(10)
        raise ValueError("it broke")

    return ThreadTask("x", body), event


def test_a_body_that_swallows_its_cancellation():
    """A body that swallows it leaves no cancellation pending, and hides none that comes later."""

    async def main():
        failing, fails = failing_later()
        may_end = threading.Event()

        class Slow(ThreadTask):
            def start(self):
                may_end.wait(10)

        swallowed = asyncio.Event()

        async def user():
            async with TaskGroup([Slow("slow"), failing], "threading"):
                fails.set()
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(10)
                swallowed.set()

        task = asyncio.create_task(user())
        await swallowed.wait()
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        may_end.set()
        with pytest.raises(BaseExceptionGroup) as caught:
            await task
        assert [type(e) for e in caught.value.exceptions] == [asyncio.CancelledError, ValueError]

    asyncio.run(main())


def test_a_body_that_turns_its_cancellation_into_an_error():
    """The task of the body does not count as cancelled afterwards."""

    async def main():
        failing, fails = failing_later()
        with pytest.raises(ExceptionGroup) as caught:
            async with TaskGroup([failing], "threading"):
                fails.set()
                try:
                    await asyncio.sleep(10)
                except asyncio.CancelledError:
                    raise KeyError("mine") from None
        assert [type(error) for error in caught.value.exceptions] == [KeyError, ValueError]
        assert asyncio.current_task().cancelling() == 0

    asyncio.run(main())


def test_a_failure_before_a_body_that_never_awaits(monkeypatch):
    """When all is over before such a body begins, no cancellation is left for what follows."""
    from connectors.tasks._supervision import Supervision

    await_ = Supervision.await_

    async def until_finished(self, holds, seconds=None):
        await await_(self, self.is_finished)
        return await await_(self, holds, seconds)

    monkeypatch.setattr(Supervision, "await_", until_finished)

    async def main():
        with pytest.raises(ValueError, match="it broke"):
            async with TaskGroup([ThreadTask("x", fail)], "threading"):
                pass
        await asyncio.sleep(0)
        assert asyncio.current_task().cancelling() == 0

    asyncio.run(main())
