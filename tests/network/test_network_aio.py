"""The awaitable form and `async def` methods (section 2.9)."""

import asyncio
import subprocess
import sys
import threading

import pytest
import trio

import acceptance_blocks as nb
import connectors

LIBRARIES = {"asyncio": lambda function: asyncio.run(function()), "trio": trio.run}
WORLDS = {"plain": None, **LIBRARIES}

every_library = pytest.mark.parametrize("library", LIBRARIES)


def run_in(library, function):
    """Run a function that returns an awaitable in an async library."""

    async def main():
        return await function()

    return LIBRARIES[library](main)


def call_in(world, function):
    """Call a function from plain code, or from inside an async library."""

    async def inside():
        return function()

    return function() if world == "plain" else run_in(world, inside)


def current_library():
    """Return the name of the async library whose task runs this."""
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        return "asyncio" if asyncio.current_task() else None
    return "trio"


async def until(library, condition):
    """Let the loop run until *condition* holds."""
    for _ in range(200 * nb.LIMIT):
        if condition():
            return
        await (asyncio if library == "asyncio" else trio).sleep(0.005)
    raise AssertionError("the condition never held")


@pytest.mark.parametrize("form", nb.NAMES)
@pytest.mark.parametrize("world", WORLDS)
def test_plain_calls_work_everywhere(world, form):
    """The plain call works from plain code, in a running asyncio loop and inside trio."""
    source, sink = nb.chain([])
    with nb.make_executor(form) as executor:
        sink.get_value.set_executor(executor)
        source.set_value.set_executor(executor)

        def act():
            source.set_value(1)
            return sink.get_value()

        assert call_in(world, act) == 1


@every_library
@pytest.mark.parametrize("make_real", [False, True])
def test_aio_of_single_connectors(library, make_real):
    """Inputs and outputs have `aio`, as proxies and as connectors."""
    block = nb.Single()
    if make_real:
        block.set_value.set_laziness(nb.ON_REQUEST)

    async def main():
        assert await block.set_value.aio(1) is block
        return await block.get_value.aio(), await block.set_value.aio(value=2)

    assert run_in(library, main) == (1, block)
    assert block.value == 2


@every_library
@pytest.mark.parametrize("make_real", [False, True])
def test_aio_of_multi_inputs(library, make_real):
    """Multi-inputs, associates and items have `aio`."""
    block = nb.Keyed()
    if make_real:
        block.add.set_laziness(nb.ON_REQUEST)

    async def main():
        assert await block.add.aio(1) == 0
        assert await block.add.aio(value=2) == 1
        assert await block.remove.aio(0) is None
        assert await block.replace.aio(1, 3) == 1
        assert await block.add["k"].aio(4) is block
        return await block.get.aio()

    assert run_in(library, main) == {1: 3, "k": 4}


@every_library
@pytest.mark.parametrize("make_real", [False, True])
def test_aio_of_multi_outputs(library, make_real):
    """Multi-outputs and their items have `aio`."""
    block = nb.MultiOut()
    if make_real:
        block.get.set_caching(True)

    async def main():
        return await block.get.aio(1), await block.get[2].aio()

    assert run_in(library, main) == (3, 6)


@every_library
def test_aio_of_macros(library):
    """Macros have `aio`."""
    macro = nb.Macro()

    async def main():
        assert await macro.set_input1.aio(1) is macro
        assert await macro.set_input2and3.aio(2) is macro
        return await macro.get_output1.aio()

    assert run_in(library, main) == ((1, 2), 2)


@every_library
@pytest.mark.parametrize("form", nb.FORMS)
def test_aio_of_a_network(library, form):
    """`aio` gives the same result and the same order as the plain call."""
    log = []
    source, sink = nb.chain(log)
    with nb.make_executor(form) as executor:
        sink.get_value.set_executor(executor)

        async def main():
            await source.set_value.aio(1)
            return await sink.get_value.aio(), await sink.get_value.aio()

        assert run_in(library, main) == (1, 1)
    assert log == ["S1.set(1)", "S1.get", "S2.set(1)", "S2.get"]


@every_library
def test_aio_runs_non_lazy_inputs(library):
    """`aio` of a setter ends after the non-lazy inputs."""
    log = []
    source, sink = nb.chain(log)
    sink.set_value.set_laziness(nb.ON_ANNOUNCE)
    run_in(library, lambda: source.set_value.aio(1))
    assert log == ["S1.set(1)", "S1.get", "S2.set(1)"]


@every_library
@pytest.mark.parametrize("form", nb.LOCAL_NAMES)
def test_aio_raises_the_same_errors(library, form):
    """`aio` raises what the plain call raises."""
    source, sink = nb.chain([])
    error = ValueError("failed")
    source.hooks["get"] = nb.raiser(error)
    with nb.make_executor(form) as executor:
        sink.get_value.set_executor(executor)
        with pytest.raises(ValueError, match="failed") as caught:
            run_in(library, sink.get_value.aio)
        assert caught.value is error
        del source.hooks["get"]
        assert run_in(library, sink.get_value.aio) is None


@every_library
@pytest.mark.parametrize("form", ["threading", "trio", "threads=2,processes=2"])
def test_the_loop_keeps_running(library, form):
    """While `aio` waits for a THREAD method, the caller's loop keeps running."""
    block, gate = nb.Single(value=1), nb.Gate()
    block.hooks["get"] = gate

    async def opener():
        await until(library, gate.entered.is_set)
        gate.opened.set()

    async def with_asyncio():
        return (await asyncio.gather(block.get_value.aio(), opener()))[0]

    async def with_trio():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(opener)
            return await block.get_value.aio()

    with nb.make_executor(form) as executor:
        block.get_value.set_executor(executor)
        assert run_in(library, with_asyncio if library == "asyncio" else with_trio) == 1


@every_library
@pytest.mark.parametrize("form", nb.LOCAL_NAMES)
def test_sequential_methods_run_in_the_thread_of_the_caller(library, form):
    """With `aio`, a SEQUENTIAL method runs in the thread of the caller."""
    source, sink = nb.chain([])
    threads = []
    sink.hooks["set"] = lambda value: threads.append(threading.current_thread())
    with nb.make_executor(form) as executor:
        sink.get_value.set_executor(executor)
        run_in(library, sink.get_value.aio)
    assert threads == [threading.current_thread()]


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("make_real", [False, True])
def test_async_methods_with_plain_calls(world, make_real):
    """A plain call of an `async def` method gives its result, on proxies and connectors."""
    block = nb.AsyncBlock()
    if make_real:
        block.set_value.set_laziness(nb.ON_REQUEST)
        block.add.set_laziness(nb.ON_REQUEST)
        block.get_keyed.set_caching(True)

    def act():
        assert block.set_value(1) is block
        assert (block.get_value(), block.get_keyed(2), block.get_keyed[3]()) == (
            1,
            (2, 1),
            (3, 1),
        )
        assert (block.add(5), block.add(6)) == (0, 1)
        assert block.replace(0, 7) == 0
        assert block.remove(1) == 6
        assert block.add["k"](8) is block
        return block.get_all()

    assert call_in(world, act) == (7, 8)


@every_library
@pytest.mark.parametrize("make_real", [False, True])
def test_async_methods_with_aio(library, make_real):
    """`aio` of an `async def` method gives its result, on proxies and connectors."""
    block = nb.AsyncBlock()
    if make_real:
        block.set_value.set_laziness(nb.ON_REQUEST)
        block.add.set_laziness(nb.ON_REQUEST)

    async def main():
        assert await block.set_value.aio(1) is block
        assert await block.get_value.aio() == 1
        assert await block.add.aio(5) == 0
        assert await block.replace.aio(0, 7) == 0
        assert await block.add["k"].aio(8) is block
        assert await block.remove.aio("k") == 8
        return await block.get_all.aio()

    assert run_in(library, main) == (7,)


@pytest.mark.parametrize("form", nb.FORMS)
def test_async_methods_in_a_network(form):
    """`async def` getters, setters, add, replace and remove work when they are connected."""
    source, middle, sink = nb.AsyncBlock(), nb.AsyncBlock(), nb.AsyncBlock()
    middle.add.connect(source.get_value)
    sink.set_value.connect(middle.get_all)
    with nb.make_executor(form) as executor:
        sink.get_value.set_executor(executor)
        source.set_value(1)
        assert sink.get_value() == (1,)
        source.set_value(2)
        assert sink.get_value() == (2,)
        middle.add.disconnect(source.get_value)
        assert sink.get_value() == ()
    assert [entry for entry in middle.log if "get" not in entry] == [
        "A.add(1)",
        "A.replace(0, 2)",
        "A.remove(0)",
    ]


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("form", nb.NAMES)
def test_the_loop_of_async_methods(form, world):
    """`async def` methods run in trio's loop for the trio executor, else in asyncio's."""

    class Asking(nb.Single):
        @connectors.Output()
        async def get_value(self):
            return current_library()

    block, sink = Asking(), nb.Single()
    sink.set_value.connect(block.get_value)
    with nb.make_executor(form) as executor:
        sink.get_value.set_executor(executor)
        expected = "trio" if form == "trio" else "asyncio"
        assert call_in(world, sink.get_value) == expected
        if world != "plain":
            block.get_value.invalidate()
            assert run_in(world, sink.get_value.aio) == expected


def test_async_siblings_run_concurrently():
    """`async def` methods of independent branches are awaited at the same time."""
    events = []

    class Meeting(nb.Single):
        @connectors.Output()
        async def get_value(self):
            if not events:
                events.extend((asyncio.Event(), asyncio.Event()))
            events[self.value].set()
            await asyncio.wait_for(events[1 - self.value].wait(), nb.LIMIT)
            return self.value

    sources, sink = [Meeting(value=0), Meeting(value=1)], nb.Multi()
    for source in sources:
        sink.add.connect(source.get_value)
    with connectors.executor(threads=2) as executor:
        sink.get.set_executor(executor)
        assert sink.get() == (0, 1)


def test_an_async_method_with_a_process_hint():
    """A PROCESS hint of an `async def` method does not matter."""

    class Async(nb.Single):
        @connectors.Output(parallelization=nb.PROCESS)
        async def get_value(self):
            self.note("get")
            return self.value

    block = Async(value=1)
    with nb.make_executor("multiprocessing") as executor:
        block.get_value.set_executor(executor)
        assert block.get_value() == 1
    assert block.log == ["S.get"]


def test_asyncio_needs_no_trio():
    """`aio` works under asyncio where trio cannot be imported."""
    code = """
        import asyncio, sys

        class NoTrio:
            def find_spec(self, name, path=None, target=None):
                if name == "trio":
                    raise ModuleNotFoundError(name)

        sys.meta_path.insert(0, NoTrio())
        import connectors

        class Block:
            value = 0

            @connectors.Input("get")
            def set(self, value):
                self.value = value

            @connectors.Output()
            def get(self):
                return self.value

        async def main():
            one, two = Block(), Block()
            two.set.connect(one.get)
            await one.set.aio(3)
            print(await two.get.aio())

        asyncio.run(main())
    """
    program = "if True:" + code
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("3\n", "")
