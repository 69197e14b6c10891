"""Rules N-20 to N-34 of the network: calls, errors, re-entrancy."""

import asyncio
import dataclasses
import gc
import inspect
import logging
import threading
import weakref

import pytest
import trio

import connectors
from connectors import (
    BlockGoneError,
    ConnectorsError,
    Input,
    Laziness,
    MacroInput,
    MacroOutput,
    MultiInput,
    MultiInputData,
    MultiOutput,
    Output,
)
from connectors.blocks import Multiplexer
from rule_blocks import (
    BOUND,
    KINDS,
    SEQUENTIAL,
    THREAD,
    VARIABLE,
    Appender,
    Arguments,
    AsyncNode,
    Collector,
    Fan,
    InContext,
    Macro,
    Node,
    Pair,
    Reader,
    ends,
    nothing,
    raiser,
    real,
    spawn,
    trio_nap,
    wait,
)

WORLDS = ["asyncio", "trio"]


def in_world(world, function):
    """Run the coroutine function *function* in an event loop of *world*."""
    return trio.run(function) if world == "trio" else asyncio.run(function())


@pytest.fixture(scope="module", params=KINDS)
def executor(request):
    with connectors.executor(**KINDS[request.param]) as executor:
        yield executor


# N-20: keyword arguments

ODD = {"key": 1, "index": 2, "instance": 3, "method": 4, "parallelization": 5}


@pytest.mark.parametrize("proxy", [True, False])
@pytest.mark.parametrize("wish", connectors.Parallelization)
def test_n_20_keyword_arguments_of_outputs(executor, wish, proxy):
    """Outputs and multi-outputs take keyword arguments of any name."""
    block = Arguments()
    if not proxy:
        for output in (block.odd, block.serve):
            output.set_executor(executor)
            output.set_parallelization(wish)

    assert block.odd(**ODD) == (1, 2, 3, 4, 5)
    assert block.odd(7, method=8) == (7, 0, 0, 8, 0)
    assert block.serve(**ODD) == (1, 2, 3, 4, 5)
    assert block.serve(7, instance=8) == (7, 0, 8, 0, 0)
    assert block.serve[7](instance=8, method=9) == (7, 0, 8, 9, 0)


@pytest.mark.parametrize("proxy", [True, False])
def test_n_20_keyword_arguments_of_inputs(executor, proxy):
    """Inputs, multi-inputs and their associates take keyword arguments of any name."""
    block = Arguments()
    if not proxy:
        for connector in (block.set_offset, block.add):
            connector.set_executor(executor)

    assert block.set_offset(instance=5) is block
    assert block.scaled() == 6
    data_id = block.add(method=1)
    assert block.replace(key=data_id, instance=2) == data_id
    assert block.datas == {data_id: 2}
    block.remove(key=data_id)
    assert not block.datas


# N-21: event loops


def chain():
    """Return a source and a sink between which a THREAD method and a multi-input lie."""
    source, collector, sink = Node(1), Collector(), Node()
    collector.add.connect(source.get_value)
    sink.set_value.connect(collector.get)
    return source, collector, sink


@pytest.mark.parametrize("world", WORLDS)
def test_n_21_plain_calls_inside_a_loop(world, executor, caplog):
    """Plain calls of every kind return their values inside a running loop, without noise."""

    async def body():
        source, collector, sink = chain()
        sink.get_value.set_executor(executor)
        assert sink.get_value() == (1,)
        source.set_value(2)
        data_id = collector.add(3)
        assert sink.get_value() == (2, 3)
        collector.remove(data_id)
        source.set_value(4)
        sink.set_value.set_laziness(Laziness.ON_ANNOUNCE)
        source.set_value(5)
        assert sink.value == (5,)
        sink.set_value.disconnect(collector.get)
        return sink.get_value()

    assert in_world(world, body) == (5,)
    gc.collect()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_n_21_a_notebook_cell():
    """Code that a callback of a running loop executes, as a notebook does, can read."""
    results = []

    def cell():
        scope = {"chain": chain}
        exec("source, collector, sink = chain()\nresult = sink.get_value()", scope)
        results.append(scope["result"])

    async def kernel():
        asyncio.get_running_loop().call_soon(cell)
        while not results:
            await asyncio.sleep(0)

    asyncio.run(kernel())
    assert results == [(1,)]


@pytest.mark.parametrize("connected", [False, True])
@pytest.mark.parametrize("world", WORLDS)
def test_n_21_aio_of_every_connector(world, connected):
    """Every connector can be awaited, with the result of the plain call."""

    async def body():
        node, collector, fan, macro = Node(1), Collector(), Fan(), Macro()
        if connected:
            for proxy in (node.get_value, node.set_value, collector.get, collector.add, fan.get):
                real(proxy)
        assert await node.get_value.aio() == 1
        assert await node.set_value.aio(2) is node
        assert await node.get_value.aio() == 2
        data_id = await collector.add.aio(3)
        assert await collector.add["key"].aio(4) is collector
        assert await collector.replace.aio(data_id, 5) == data_id
        assert await collector.get.aio() == (5, 4)
        assert await collector.remove.aio(data_id) is collector
        assert await collector.get.aio() == (4,)
        assert await fan.get.aio(1) == 10
        assert await fan.get[2].aio() == 20
        assert await macro.set_value.aio(6) is macro
        assert await macro.get_value.aio() == 6
        with pytest.raises(TypeError):
            await fan.get.aio()
        return True

    assert in_world(world, body)


@pytest.mark.parametrize("world", WORLDS)
def test_n_21_aio_reads_a_chain_and_raises_its_errors(world):
    """An awaited read is a read: it propagates, caches, and raises the error itself."""

    async def body():
        source, _collector, sink = chain()
        assert await sink.get_value.aio() == (1,)
        assert await sink.get_value.aio() == (1,)
        assert source.log == ["node.get"]
        error = ValueError("broken")
        source.on_get = raiser(error)
        await source.set_value.aio(2)
        with pytest.raises(ValueError, match="broken") as caught:
            await sink.get_value.aio()
        assert caught.value is error
        source.on_get = nothing
        return await sink.get_value.aio()

    assert in_world(world, body) == (2,)


def test_n_21_the_loop_goes_on_while_aio_waits():
    """While an awaited read waits for a thread, other tasks of the loop run."""

    async def body():
        gate, started = threading.Event(), threading.Event()
        source, _collector, sink = chain()
        source.on_get = lambda: (started.set(), wait(gate))

        async def open_gate():
            while not started.is_set():
                await asyncio.sleep(0)
            gate.set()

        value, _ = await asyncio.gather(sink.get_value.aio(), open_gate())
        return value

    assert asyncio.run(body()) == (1,)


def test_n_21_the_trio_loop_goes_on_as_well():
    """The same under trio."""

    async def body():
        gate, started = threading.Event(), threading.Event()
        source, _collector, sink = chain()
        source.on_get = lambda: (started.set(), wait(gate))

        async def open_gate():
            while not started.is_set():
                await trio.sleep(0)
            gate.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(open_gate)
            return await sink.get_value.aio()

    assert trio.run(body) == (1,)


async def use_async_methods(call, napping, executor, connected):
    """Use all methods of an `AsyncNode` by *call*, which makes a plain or an awaited call."""
    block, sink = AsyncNode(1), Node()
    block.nap = napping
    outputs = (block.get_value, block.get_datas, block.serve)
    if connected:
        sink.set_value.connect(block.get_value)
        for connector in (*outputs, block.set_value, block.add):
            connector.set_executor(executor)
        sink.get_value.set_executor(executor)
    assert await call(block.get_value) == 1
    assert await call(block.set_value, 2) is block
    assert await call(block.get_value) == 2
    data_id = await call(block.add, 3)
    assert await call(block.add["key"], 4) is block
    assert await call(block.replace, data_id, 5) == data_id
    assert await call(block.get_datas) == (5, 4)
    assert await call(block.remove, data_id) == "removed"
    assert await call(block.get_datas) == (4,)
    assert await call(block.serve, 1) == 10
    assert await call(block.serve[2]) == 20
    return await call(sink.get_value) if connected else 2


async def plainly(connector, *args):
    return connector(*args)


async def awaited(connector, *args):
    return await connector.aio(*args)


@pytest.mark.parametrize("connected", [False, True])
@pytest.mark.parametrize("call", [plainly, awaited])
@pytest.mark.parametrize("world", WORLDS)
def test_n_21_async_methods_give_their_results(world, call, connected, executor):
    """`async def` methods give results and never coroutines, in every kind of call."""
    from rule_blocks import asyncio_nap

    async def body():
        return await use_async_methods(call, asyncio_nap, executor, connected)

    assert in_world(world, body) == 2


@pytest.mark.parametrize("call", [plainly, awaited])
@pytest.mark.parametrize("world", WORLDS)
def test_n_21_async_methods_on_the_trio_executor(world, call):
    """On the trio executor `async def` methods are awaited under trio."""
    with connectors.executor("trio") as executor:

        async def body():
            block, sink = AsyncNode(1), Node()
            block.nap = trio_nap
            sink.set_value.connect(block.get_value)
            for connector in (block.get_value, block.set_value, sink.get_value):
                connector.set_executor(executor)
            await call(block.set_value, 2)
            return await call(sink.get_value)

        assert in_world(world, body) == 2


def test_n_21_async_methods_in_plain_code():
    """Without any loop, async methods of a chain give their results."""
    source, block, sink = Node(1), AsyncNode(), Node()
    block.set_value.connect(source.get_value)
    block.add.connect(source.get_value)
    sink.set_value.connect(block.get_value)

    assert sink.get_value() == 1
    assert block.get_datas() == (1,)
    collector = Collector()
    collector.add.connect(block.serve)
    assert collector.get() == (10, 20)


# N-22: errors of non-lazy inputs


def eager(laziness=Laziness.ON_ANNOUNCE):
    """Return a source and an eager sink that is connected to it."""
    source, sink = Node(1), Node()
    sink.set_value.connect(source.get_value)
    sink.get_value()
    sink.set_value.set_laziness(laziness)
    return source, sink


@pytest.mark.parametrize("proxy", [False, True])
def test_n_22_the_setter_raises_the_error(proxy, caplog):
    """The error of an eager input is raised by the setter that caused it, which stays in effect."""
    source, sink = eager()
    if not proxy:
        real(source.set_value)
    error = ValueError("broken")
    sink.on_set = raiser(error)

    with pytest.raises(ValueError, match="broken") as caught:
        ends(source.set_value, 2)

    assert caught.value is error
    assert source.value == 2
    assert not [record for record in caplog.records if record.name == "asyncio"]
    sink.on_set = nothing
    assert ends(sink.get_value) == 2


def test_n_22_connecting_raises_the_error():
    """`connect` raises the error of an input with laziness ON_CONNECT."""
    source, sink = Node(1), Node()
    sink.set_value.set_laziness(Laziness.ON_CONNECT)
    sink.on_set = raiser(ValueError("broken"))

    with pytest.raises(ValueError, match="broken"):
        ends(sink.set_value.connect, source.get_value)


def test_n_22_disconnecting_raises_the_error():
    """Disconnecting a multi-input raises the error of an eager input downstream."""
    source, collector, sink = chain()
    assert sink.get_value() == (1,)
    sink.set_value.set_laziness(Laziness.ON_CONNECT)
    sink.on_set = raiser(ValueError("broken"))

    with pytest.raises(ValueError, match="broken"):
        ends(collector.add.disconnect, source.get_value)
    assert collector.datas == {}


def test_n_22_several_errors_are_a_group():
    """All eager inputs are run to their end; several failures are raised as a group."""
    source, one, two, fine = Node(1), Node(), Node(), Node()
    for sink in (one, fine, two):
        sink.set_value.connect(source.get_value)
        sink.get_value()
        sink.set_value.set_laziness(Laziness.ON_ANNOUNCE)
    one.on_set, two.on_set = raiser(ValueError("one")), raiser(KeyError("two"))

    with pytest.raises(ExceptionGroup) as caught:
        ends(source.set_value, 2)

    assert {type(error) for error in caught.value.exceptions} == {ValueError, KeyError}
    assert (source.value, fine.value) == (2, 2)


def test_n_22_the_awaited_setter_raises_it_too():
    """The same for `aio`."""
    source, sink = eager()
    sink.on_set = raiser(ValueError("broken"))

    with pytest.raises(ValueError, match="broken"):
        asyncio.run(source.set_value.aio(2))


# N-23: a failing sibling with laziness ON_NOTIFY


def test_n_23_a_failing_sibling_fails_nobody_else(caplog):
    """The other branch is read; the error is logged; the sibling's own read raises it."""
    source, lazy, sibling = Node(1), Node(), Node()
    for sink in (lazy, sibling):
        sink.set_value.connect(source.get_value)
    sibling.set_value.set_laziness(Laziness.ON_NOTIFY)
    sibling.on_set = raiser(ValueError("the sibling is broken"))

    with caplog.at_level(logging.DEBUG):
        assert ends(lazy.get_value) == 1

    assert "the sibling is broken" in caplog.text
    with pytest.raises(ValueError, match="the sibling is broken"):
        ends(sibling.get_value)
    sibling.on_set = nothing
    assert ends(sibling.get_value) == 1
    assert source.log == ["node.get"]


# N-24: reading from inside

DEEP = {"one thread": {"threads": 1}, "default": None, "sequential": {"threads": 0}}


@pytest.mark.parametrize("depth", [3, 10])
@pytest.mark.parametrize("kind", DEEP)
def test_n_24_getters_and_setters_read_other_networks(kind, depth):
    """Getters and setters read networks whose methods read networks, on one executor."""
    executor = DEEP[kind] and connectors.executor(**DEEP[kind])
    kept, read = [], None
    for number in range(depth):
        source, block = Node(number), Reader(read)
        block.set.connect(source.get_value)
        if executor:
            block.get.set_executor(executor)
        kept += [source, block]
        read = block.get

    assert ends(read) == sum(range(depth)) + depth
    kept[0].set_value(100)
    for source in kept[2::2]:
        source.set_value(source.value)
    assert ends(read) == sum(range(depth)) + depth + 100
    if executor:
        executor.close()


def test_n_24_a_setter_may_set_and_read_another_network():
    """A setter that is called in a read sets and reads a network of its own."""
    inner_source, inner = Node(0), Node()
    inner.set_value.connect(inner_source.get_value)
    source, node = Node(1), Node()
    node.set_value.connect(source.get_value)
    node.on_set = lambda value: (inner_source.set_value(value + 1), inner.get_value())

    assert ends(node.get_value) == 1
    assert inner.value == 2


# N-25: independent networks


def test_n_25_independent_networks_in_two_threads():
    """Two threads read networks of their own on the default executor, 1000 times in a row."""
    barrier = threading.Barrier(2, timeout=BOUND)

    def work():
        source, sink = Node(), Node()
        sink.set_value.connect(source.get_value)
        barrier.wait()
        for number in range(1000):
            source.set_value(number)
            assert sink.get_value() == number
        return True

    assert [one.result(60) for one in [spawn(work), spawn(work)]] == [True, True]


# N-26: context variables


def contextual():
    source, block, sink = Node(1), InContext(), Pair()
    block.set_in_thread.connect(source.get_value)
    block.set_in_loop.connect(source.get_value)
    sink.set_a.connect(block.in_thread)
    sink.set_b.connect(block.in_loop)
    return source, block, sink


EVERYWHERE = ["async input", "async output", "input", "output"]


def test_n_26_the_callers_context_is_seen():
    """THREAD and `async def` methods see the context variables of the caller."""
    source, block, sink = contextual()

    token = VARIABLE.set("mine")
    try:
        assert sink.get() == ("mine", "mine")
    finally:
        VARIABLE.reset(token)

    assert block.seen == dict.fromkeys(EVERYWHERE, "mine")
    source.set_value(2)
    assert sink.get() == ("unset", "unset")


@pytest.mark.parametrize("world", WORLDS)
def test_n_26_the_context_of_a_task_is_seen(world):
    """The same for awaited reads, under asyncio and trio."""
    _source, block, sink = contextual()

    async def body():
        VARIABLE.set("of the task")
        return await sink.get.aio()

    assert in_world(world, body) == ("of the task", "of the task")
    assert block.seen == dict.fromkeys(EVERYWHERE, "of the task")


def test_n_26_two_callers_at_once():
    """Two threads that read at the same time see their own values."""
    barrier = threading.Barrier(2, timeout=BOUND)

    def work(value):
        VARIABLE.set(value)
        source, _block, sink = contextual()
        for number in range(50):
            source.set_value(number)
            barrier.wait()
            assert sink.get() == (value, value)
        return True

    assert [one.result(60) for one in [spawn(work, "one"), spawn(work, "two")]] == [True, True]


# N-27 and N-28: multi-outputs


def test_n_27_a_conditional_multi_input_on_a_multi_output():
    """`Multiplexer.input` is connected to a multi-output."""
    fan, multiplexer, sink = Fan(), Multiplexer(2), Node()
    multiplexer.input.connect(fan.get)
    sink.set_value.connect(multiplexer.output)

    assert sink.get_value() == 20
    fan.set_value(1)
    assert sink.get_value() == 2
    multiplexer.select(1)
    assert sink.get_value() == 1


def test_n_28_a_multi_output_feeds_a_multi_input_without_replace():
    """Values are added, replaced by removing and adding, and removed."""
    fan, appender = Fan(), Appender()
    appender.add.connect(fan.get)

    assert appender.get() == (10, 20)
    fan.set_value(1)
    assert sorted(appender.get()) == [1, 2]
    fan.set_keys((2, 3))
    assert sorted(appender.get()) == [2, 3]
    appender.add.disconnect(fan.get)
    assert appender.get() == ()


# N-29: disconnecting


@pytest.mark.parametrize("kind", ["keyed", "plain", "multi-output"])
def test_n_29_disconnecting_before_the_value_arrived(kind):
    """A connection whose value has not arrived ends without any call of remove."""
    source, collector = Fan() if kind == "multi-output" else Node(1), Collector()
    output = source.get if kind == "multi-output" else source.get_value
    end = collector.add["key"] if kind == "keyed" else collector.add
    end.connect(output)

    end.disconnect(output)

    assert collector.log == []
    assert collector.get() == ()


def unconnected():
    node, sink, collector, fan = Node(1), Node(), Collector(), Fan()
    return {
        "single": (sink.set_value, node.get_value, "set_value", "get_value"),
        "output": (node.get_value, sink.set_value, "set_value", "get_value"),
        "multi": (collector.add, node.get_value, "add", "get_value"),
        "keyed": (collector.add["key"], node.get_value, "add", "get_value"),
        "output from multi": (node.get_value, collector.add, "add", "get_value"),
        "output from keyed": (node.get_value, collector.add["key"], "add", "get_value"),
        "multi-output": (collector.add, fan.get, "add", "get"),
        "key of it": (sink.set_value, fan.get[1], "set_value", "get"),
        "from a key of it": (fan.get[1], sink.set_value, "set_value", "get"),
    }


@pytest.mark.parametrize("kind", unconnected())
def test_n_29_what_is_not_connected_is_an_error(kind):
    """Disconnecting proxies that are not connected raises an error that names both ends."""
    a, b, input_name, output_name = unconnected()[kind]

    with pytest.raises(KeyError) as caught:
        a.disconnect(b)

    assert isinstance(caught.value, ConnectorsError)
    text = str(caught.value)
    assert input_name in text
    assert output_name in text
    assert "Fan" in text if "of it" in kind or kind == "multi-output" else "Node" in text


def test_n_29_a_failed_disconnect_changes_nothing():
    """Other connections of the same connectors stay, pending values included."""
    one, two, node, collector, sink = Node(1), Node(2), Node(), Collector(), Node()
    node.set_value.connect(one.get_value)
    collector.add.connect(one.get_value)
    sink.set_value.connect(two.get_value)

    for connector in (node.set_value, collector.add, collector.add["key"]):
        with pytest.raises(KeyError) as caught:
            connector.disconnect(two.get_value)
        assert isinstance(caught.value, ConnectorsError)
        assert "get_value" in str(caught.value)

    assert (node.log, collector.log) == ([], [])
    assert (node.get_value(), collector.get(), sink.get_value()) == (1, (1,), 2)


def test_n_29_disconnecting_twice():
    """The second time is an error, too."""
    node, sink = Node(1), Node()
    sink.set_value.connect(node.get_value)
    sink.set_value.disconnect(node.get_value)

    with pytest.raises(KeyError):
        sink.set_value.disconnect(node.get_value)
    assert sink.get_value() == 1


# N-30: blocks of all kinds


@dataclasses.dataclass
class Data:
    """Equal to others of the same value, and so not hashable."""

    value: int = 0

    @Output()
    def get(self):
        return self.value

    @Input("get")
    def set(self, value):
        self.value = value


def test_n_30_unhashable_blocks_count_by_identity():
    """Two equal dataclass blocks are two blocks, as sources and as sinks."""
    one, two, sinks, collector = Data(1), Data(1), [Data(), Data()], Collector()
    assert one == two
    for block in (one, two):
        collector.add.connect(block.get)
    for sink in sinks:
        one.get.connect(sink.set)

    assert collector.get() == (1, 1)
    one.set(2)
    assert collector.get() == (2, 1)
    assert [sink.get() for sink in sinks] == [2, 2]
    collector.add.disconnect(two.get)
    assert collector.get() == (2,)


def slotted(*slots):
    """Return a block whose class has these slots only."""

    class Slotted:
        __slots__ = ("value", *slots)

        @Output()
        def get(self):
            return self.value

        @Input("get")
        def set(self, value):
            self.value = value
            return self

        @MultiInput("get")
        def add(self, value):
            self.value = value
            return 0

        @add.remove
        def remove(self, data_id):
            self.value = None

    return Slotted().set(1)


SLOTS = {(): ["__dict__", "__weakref__"], ("__dict__",): ["__weakref__"]}
SLOTS[("__weakref__",)] = ["__dict__"]


@pytest.mark.parametrize("slots", SLOTS)
def test_n_30_slots_work_through_proxies(slots):
    """A block without ``__dict__`` or ``__weakref__`` works as long as it is not connected."""
    block = slotted(*slots)

    assert block.get() == 1
    assert block.set(2).get() == 2
    assert block.add(3) == 0
    block.add[1].__class__  # noqa: B018 - making the item needs no connector
    assert block.get() == 3


@pytest.mark.parametrize(
    "action",
    [
        lambda block: block.set.connect(Node(1).get_value),
        lambda block: Node(1).set_value.connect(block.get),
        lambda block: block.get.connect(Node(1).set_value),
        lambda block: block.get.set_caching(False),
        lambda block: block.set.set_laziness(Laziness.ON_ANNOUNCE),
        lambda block: block.add.set_parallelization(THREAD),
        lambda block: block.get.set_executor("sequential"),
    ],
)
@pytest.mark.parametrize("slots", SLOTS)
def test_n_30_a_connector_that_has_no_place_says_what_to_add(slots, action):
    """The first action that needs a connector names the class and the slots that are missing."""
    with pytest.raises(TypeError) as caught:
        action(slotted(*slots))

    assert "Slotted" in str(caught.value)
    assert all(missing in str(caught.value) for missing in SLOTS[slots])


# N-31: dead blocks


@pytest.mark.parametrize("method", ["get_value", "set_value"])
def test_n_31_a_dead_block_is_named(method):
    """A connector whose block is dead says so, naming class and method."""
    node = Node(1)
    real(getattr(node, method))
    connector = getattr(node, method)
    del node

    with pytest.raises(BlockGoneError, match=rf"Node\b.*\b{method}\b") as caught:
        connector() if method == "get_value" else connector(1)
    assert isinstance(caught.value, AttributeError)
    assert isinstance(caught.value, ConnectorsError)


def test_n_31_a_needed_upstream_block_is_named():
    """A read that needs a block that was dropped names it."""
    source, sink = Fan(), Node()
    sink.set_value.connect(source.get[1])
    source.set_value(2)
    del source
    gc.collect()

    with pytest.raises(BlockGoneError, match=r"Fan\b.*\bget\b"):
        ends(sink.get_value)


def test_n_31_a_dropped_block_is_freed_and_missed():
    """A source that is dropped with a change that nobody read is freed, and needed."""
    source, sink = Node(1), Node()
    sink.set_value.connect(source.get_value)
    assert sink.get_value() == 1
    source.set_value(2)
    dropped = weakref.ref(source)
    del source
    gc.collect()

    assert dropped() is None
    for _ in range(2):
        with pytest.raises(BlockGoneError, match=r"Node\b.*\bget_value\b"):
            ends(sink.get_value)
    assert sink.set_value(5) is sink
    assert ends(sink.get_value) == 5


def test_n_31_delivered_values_stay():
    """What was delivered before the drop stays, and what needs nothing new can be read."""
    one, two, node, collector = Node(1), Node(2), Node(), Collector()
    node.set_value.connect(one.get_value)
    for source in (one, two):
        collector.add.connect(source.get_value)
    assert (node.get_value(), collector.get()) == (1, (1, 2))

    del one, source
    gc.collect()

    assert (node.get_value(), collector.get()) == (1, (1, 2))
    node.get_value.set_caching(False)
    assert node.get_value() == 1
    two.set_value(3)
    assert collector.get() == (1, 3)
    collector.add(4)
    assert collector.get() == (1, 3, 4)


# N-32: wrong observers


class Wrong:
    """Its input names an output that does not exist."""

    @Output()
    def get_value(self):
        return 1

    @Input("get_valeu")
    def set_value(self, value):
        """Set."""


class WrongToo:
    """The same for one of the observers of a multi-input."""

    @Output()
    def get_value(self):
        return 1

    @MultiInput(["get_value", "get_vlaue"])
    def add_value(self, value):
        return 0

    @add_value.remove
    def remove_value(self, data_id):
        """Remove."""


@pytest.mark.parametrize(("kind", "name"), [(Wrong, "set_value"), (WrongToo, "add_value")])
@pytest.mark.parametrize(
    "action",
    [
        lambda connector: connector(1),
        lambda connector: connector.connect(Node(1).get_value),
        lambda connector: [Node(1).get_value.connect(connector)],
        lambda connector: connector.set_laziness(Laziness.ON_REQUEST),
        lambda connector: connector.set_parallelization(THREAD),
        lambda connector: connector.set_executor("threading"),
    ],
    ids=["call", "connect", "be connected", "laziness", "parallelization", "executor"],
)
def test_n_32_a_wrong_observer_is_an_error_at_the_first_use(kind, name, action):
    """Each use of the input raises, with class, method and a suggestion, and so does the next."""
    block = kind()

    for _ in range(2):
        with pytest.raises(ConnectorsError) as caught:
            action(getattr(block, name))
        for part in (kind.__name__, name, "Did you mean 'get_value'?"):
            assert part in str(caught.value)


def test_n_32_other_uses_find_it_as_well():
    """The first use of any connector of the instance finds it: an output, an associate, an item."""
    for use in (
        lambda: Wrong().get_value(),
        lambda: Wrong().get_value.set_caching(False),
        lambda: Node().set_value.connect(Wrong().get_value),
        lambda: WrongToo().remove_value(0),
        lambda: WrongToo().add_value["key"].connect(Node(1).get_value),
    ):
        with pytest.raises(ConnectorsError, match="Did you mean 'get_value'"):
            use()


def test_n_32_a_base_class_may_name_what_its_subclasses_have():
    """Names are looked up in the class of the instance."""

    class Base:
        value = None

        @Input("get_late")
        def set_value(self, value):
            self.value = value

    class Whole(Base):
        @Output()
        def get_late(self):
            return self.value

    source, block = Node(1), Whole()
    block.set_value.connect(source.get_value)
    assert block.get_late() == 1
    with pytest.raises(ConnectorsError, match="get_late"):
        Base().set_value(1)


# N-33: decorators


class Bare:
    """Decorated without parentheses."""

    def __init__(self):
        self.value = 1
        self.datas = MultiInputData()

    @Output
    def get(self, factor=1):
        """Get."""
        return self.value * factor

    @Input
    def set(self, value):
        self.value = value
        return self

    @MultiInput
    def add(self, value):
        return self.datas.add(value)

    @add.remove
    def remove(self, data_id):
        del self.datas[data_id]

    @MultiOutput
    def serve(self, key):
        return self.value * key

    @serve.keys
    def keys(self):
        return (1,)

    @MacroInput
    def macro_in(self):
        yield self.set

    @MacroOutput
    def macro_out(self):
        return self.get


def test_n_33_decorators_without_parentheses():
    """Every decorator works without parentheses, through proxies and connectors."""
    block = Bare()
    assert block.set(2) is block
    assert (block.get(), block.serve(3)) == (2, 6)
    assert block.macro_in(3) is block
    assert block.macro_out() == 3

    source, collector, sink = Node(4), Collector(), Node()
    block.macro_in.connect(source.get_value)
    block.add.connect(source.get_value)
    collector.add.connect(block.serve)
    sink.set_value.connect(block.macro_out)
    block.set.disconnect(source.get_value)
    assert sink.get_value() == 4
    assert collector.get() == (4,)


@pytest.mark.parametrize("connected", [False, True])
def test_n_33_calls_through_the_class(connected):
    """``Class.method(obj, x)`` equals ``obj.method(x)``."""
    node, collector, fan = Node(1), Collector(), Fan()
    if connected:
        for proxy in (node.get_value, node.set_value, collector.add, collector.get, fan.get):
            real(proxy)

    assert Node.set_value(node, 2) is node
    assert Node.get_value(node) == node.get_value() == 2
    assert Collector.add(collector, 3) == 0
    assert Collector.replace(collector, 0, 4) == 0
    assert Collector.get(collector) == collector.get() == (4,)
    assert Collector.remove(collector, 0) is collector
    assert collector.get() == ()
    assert Fan.get(fan, 2) == fan.get(2) == 20
    assert Bare.get(Bare(), factor=5) == 5


@pytest.mark.parametrize("connected", [False, True])
def test_n_33_signatures_have_no_self(connected):
    """The signature of a bound connector is that of a bound method."""
    bare, collector = Bare(), Collector()
    if connected:
        for proxy in (bare.get, bare.set, bare.add, bare.serve, collector.add):
            real(proxy)

    def parameters(connector):
        return list(inspect.signature(connector).parameters)

    assert parameters(bare.get) == ["factor"]
    assert parameters(bare.set) == ["value"]
    assert parameters(bare.add) == ["value"]
    assert parameters(bare.serve) == ["key"]
    assert parameters(collector.replace) == ["data_id", "value"]
    assert parameters(collector.remove) == ["data_id"]
    assert inspect.signature(bare.get).parameters["factor"].default == 1
    assert bare.get.__name__ == "get"
    assert bare.get.__doc__ == "Get."


def test_n_33_signatures_of_macros_have_no_self():
    """The same for macros."""
    macro = Macro()

    assert "self" not in inspect.signature(macro.get_value).parameters
    assert "self" not in inspect.signature(macro.set_value).parameters


# N-34: laziness


@pytest.mark.parametrize("wish", [SEQUENTIAL, THREAD])
def test_n_34_laziness_is_monotonic(wish):
    """A direct read of the source updates every input that is at least as eager as ON_NOTIFY."""
    source, sinks = Node(1), {laziness: Node() for laziness in Laziness}
    source.get_value.set_parallelization(wish)
    for sink in sinks.values():
        sink.set_value.connect(source.get_value)
    for laziness, sink in sinks.items():
        sink.set_value.set_laziness(laziness)
    assert [sink.log for sink in sinks.values()] == [[]] * 4

    assert source.get_value() == 1

    updated = {laziness: sink.value for laziness, sink in sinks.items()}
    assert updated == {**dict.fromkeys(Laziness, 1), Laziness.ON_REQUEST: None}


def test_n_34_a_setter_updates_what_is_eager_enough():
    """A set updates ON_ANNOUNCE and ON_CONNECT inputs, and with them an ON_NOTIFY sibling."""
    source, sinks = Node(0), {laziness: Node() for laziness in Laziness}
    for laziness, sink in sinks.items():
        sink.set_value.connect(source.get_value)
        sink.get_value()
        sink.set_value.set_laziness(laziness)

    source.set_value(1)

    updated = {laziness: sink.value for laziness, sink in sinks.items()}
    assert updated == {**dict.fromkeys(Laziness, 1), Laziness.ON_REQUEST: 0}
