"""Running the same coroutine in either world, and looking for what it left behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging

import trio

from connectors import _worlds

WORLDS = ("asyncio", "trio")


def run_in(world, main, *args):
    """Run ``main(*args)`` and check that no task of it is left when it returns."""
    if world == "trio":

        async def watched():
            nursery = trio.lowlevel.current_root_task().child_nurseries
            result = await main(*args)
            await trio.testing.wait_all_tasks_blocked()
            tasks = [task for each in nursery for task in each.child_tasks]
            hosts = [task for task in tasks if "host" in task.name]
            assert not hosts, hosts
            return result

        import trio.testing

        return trio.run(watched)

    async def watched():
        result = await main(*args)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, left
        return result

    return asyncio.run(watched())


sleep = _worlds.sleep


async def turns(number):
    """Give the loop some turns."""
    for _ in range(number):
        await _worlds.breath()


class Gate:
    """An event of the world that runs."""

    def __init__(self):
        self.event = trio.Event() if _worlds.current_world() == "trio" else asyncio.Event()

    def open(self):
        self.event.set()

    async def passed(self):
        await self.event.wait()


@contextlib.asynccontextmanager
async def background(main):
    """Run *main* beside the block; gives a function that cancels it and waits, at the latest."""
    if _worlds.current_world() == "trio":
        ended = trio.Event()
        outcome = []
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()

            async def perform():
                with scope:
                    try:
                        outcome.append(await main())
                    except Exception as error:
                        outcome.append(error)
                ended.set()

            nursery.start_soon(perform)

            async def cancel():
                scope.cancel()
                await ended.wait()
                return outcome[0] if outcome else "cancelled"

            yield cancel
            scope.cancel()
    else:
        task = asyncio.create_task(main())

        async def cancel():
            task.cancel()
            try:
                return await task
            except asyncio.CancelledError:
                return "cancelled"
            except Exception as error:
                return error

        yield cancel
        await cancel()


@contextlib.contextmanager
def no_complaints(caplog):
    """Nothing is logged by asyncio or by us, and no coroutine is left un-awaited."""
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        yield
        gc.collect()
    assert not caplog.records, caplog.text


@contextlib.asynccontextmanager
async def within(seconds):
    """Give up after so many seconds; a guard against hanging, never a measurement."""
    if _worlds.current_world() == "trio":
        with trio.fail_after(seconds):
            yield
    else:
        async with asyncio.timeout(seconds):
            yield
