"""References and garbage collection (section 3.10)."""

import asyncio
import gc

import pytest

import acceptance_blocks as nb
import connectors
import network_blocks as blocks
from connectors.blocks import WeakrefProxyGenerator


@pytest.fixture
def no_collector():
    """Switch the garbage collector off."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


# Who holds whom


def test_upstream_holds_downstream():
    """Downstream lives as long as upstream."""
    source, sink = nb.Single(), nb.Single()
    log = sink.log
    sink.set_value.set_laziness(nb.ON_ANNOUNCE)
    source.get_value.connect(sink.set_value)
    gone = nb.Gone(sink)
    del sink
    gc.collect()
    assert not gone
    source.set_value(1)
    assert log == ["S.set(1)"]


@pytest.mark.parametrize("form", nb.FORMS)
def test_downstream_does_not_hold_upstream(form, no_collector):
    """Once values are propagated, an upstream block that the user drops is freed."""
    source, sink = nb.Single(value=1), nb.Single()
    source.get_value.set_parallelization(nb.PROCESS)
    sink.set_value.connect(source.get_value)
    with nb.make_executor(form) as executor:
        sink.get_value.set_executor(executor)
        assert sink.get_value() == 1
        gone = nb.Gone(source)
        del source
        assert gone.wait()
        assert sink.get_value() == 1


def test_downstream_of_multi_connectors_does_not_hold_upstream(no_collector):
    """The same holds for multi-inputs and multi-outputs, keyed and whole."""
    one, many, sink = nb.Single(value=1), nb.MultiOut(keys=(5,)), nb.Keyed()
    sink.add.connect(one.get_value)
    sink.add["k"].connect(one.get_value)
    sink.add.connect(many.get)
    sink.add["l"].connect(many.get[6])
    values = sink.get()
    assert sorted(values.values()) == [1, 1, 15, 18]
    gone = nb.Gone(one, many)
    del one, many
    assert gone.wait()
    assert sink.get() == values


def test_an_orphaned_pair_is_collected(no_collector):
    """An orphaned pair with an unread connection is freed by the garbage collector only."""
    source, sink = nb.Single(), nb.Single()
    sink.set_value.connect(source.get_value)
    gone = nb.Gone(source, sink)
    del source, sink
    assert gc.collect() > 0
    assert gone


def test_an_upstream_block_that_is_dropped_before_the_read():
    """A needed upstream block that was dropped raises BlockGoneError."""
    source, sink = nb.Uncached(), nb.Single()
    sink.set_value.connect(source.get_value)
    del source
    gc.collect()
    with pytest.raises(connectors.BlockGoneError, match=r"Uncached.*get_value"):
        sink.get_value()
    sink.set_value(4)
    assert sink.get_value() == 4


def test_connectors_live_in_the_instance():
    """A connector is an entry of its block's `__dict__`, and is freed with the block."""
    block = nb.Single()
    block.set_value.set_laziness(nb.ON_REQUEST)
    assert vars(block)["set_value"] is block.set_value
    assert vars(block)["get_value"] is block.get_value
    gone = nb.Gone(block, block.set_value, block.get_value)
    gc.disable()
    try:
        del block
        assert gone
    finally:
        gc.enable()


def test_an_input_connector_holds_those_of_its_observers():
    """An input connector holds the connectors of its observers."""
    block = nb.Single()
    block.set_value.set_laziness(nb.ON_REQUEST)
    entry, gone = block.set_value, nb.Gone(block.get_value)
    del block
    gc.collect()
    assert not gone
    del entry
    gc.collect()
    assert gone


def test_an_output_does_not_hold_announcing_proxies(no_collector):
    """Temporary proxies that announced to an output are freed."""
    block, sink = nb.Single(), nb.Single()
    sink.set_value.connect(block.get_value)
    proxy = block.set_value
    gone = nb.Gone(proxy)
    proxy(1)
    del proxy
    assert gone
    assert sink.get_value() == 1


# No garbage


def expect(kind, function, *args):
    """Call a function that has to raise, and keep nothing of the error."""
    try:
        function(*args)
    except kind:
        return
    raise AssertionError("nothing was raised")


class Splitting(nb.Splitter):
    """Has a second output that is never read."""


def build(executor=None):
    """Return a source, a block with two outputs, and a sink behind the first of them."""
    source, middle, sink = nb.Single(value=1), Splitting(), nb.Single()
    middle.set_value.connect(source.get_value)
    sink.set_value.connect(middle.get1)
    if executor is not None:
        sink.get_value.set_executor(executor)
        source.set_value.set_executor(executor)
    return source, middle, sink


@pytest.mark.parametrize("form", nb.FORMS)
def test_a_read_leaves_no_garbage(form):
    """A read at the end of a chain leaves no garbage, even if an output was never read."""
    with nb.make_executor(form) as executor:

        def act():
            source, _middle, sink = build(executor)
            assert sink.get_value() == 1
            source.set_value(2)
            assert sink.get_value() == 2

        assert nb.garbage_of(act) == 0


@pytest.mark.parametrize("form", ["multiprocessing", "threads=2,processes=2"])
def test_a_read_in_a_process_leaves_no_garbage(form):
    """A read that runs in a worker process leaves no garbage."""
    with nb.make_executor(form) as executor:

        def act():
            source, sink = nb.chain([], nb.ProcessSingle, nb.Single)
            sink.get_value.set_executor(executor)
            source.set_value(1)
            assert sink.get_value() == 1

        assert nb.garbage_of(act) == 0


def manual_set():
    source, sink = nb.chain([])
    source.set_value(1)
    sink.set_value(2)


def disconnect():
    source, sink = nb.chain([])
    source.set_value(1)
    sink.set_value.disconnect(source.get_value)


def read_multi_input():
    source, sink = nb.Single(), nb.Multi()
    sink.add.connect(source.get_value)
    sink.get()
    source.set_value(1)
    sink.get()


def disconnect_multi_input():
    source, sink = nb.Single(), nb.Multi()
    sink.add.connect(source.get_value)
    sink.get()
    sink.add.disconnect(source.get_value)


def disconnect_unread_multi_input():
    source, sink = nb.Single(), nb.Multi()
    sink.add.connect(source.get_value)
    sink.add.disconnect(source.get_value)


def read_keyed_multi_input():
    source, sink = nb.Single(), nb.Keyed()
    sink.add["a"].connect(source.get_value)
    sink.add["b"].connect(source.get_value)
    sink.get()
    sink.add["a"].disconnect(source.get_value)


def read_keyed_multi_output():
    source, one, two = nb.MultiOut(), nb.Single(), nb.Single()
    one.set_value.connect(source.get[1])
    two.set_value.connect(source.get[2])
    assert (one.get_value(), two.get_value()) == (3, 6)


def read_whole_multi_output():
    source, sink = nb.MultiOut(keys=(1, 2)), nb.Keyed()
    sink.add.connect(source.get)
    sink.get()
    source.set_keys((2, 3))
    sink.get()


def non_lazy():
    source, sink = nb.chain([])
    sink.set_value.set_laziness(nb.ON_ANNOUNCE)
    source.set_value(1)


def on_connect():
    source, sink = nb.Single(), nb.Single()
    sink.set_value.set_laziness(nb.ON_CONNECT)
    sink.set_value.connect(source.get_value)


def unstored():
    nb.Single().set_value(1)
    nb.Double().set1(1).set2(2).get_values()
    nb.Multi().add(1)
    nb.Multi().add["k"](1)
    nb.MultiOut().get[2]()


class Calling(nb.Multi):
    """Calls its connectors in the constructor."""

    def __init__(self):
        super().__init__()
        self.add(1)
        self.replace(0, 2)
        self.get()
        self.remove(0)


def calling_constructor():
    Calling().get()


class Thing:
    number = 1


class Reader(nb.Single):
    @connectors.Output()
    def get_value(self):
        return self.value.number


def weakref_loop():
    generator, reader, thing = WeakrefProxyGenerator(), Reader(), Thing()
    reader.set_value.connect(generator.output)
    generator.delete_reference.connect(reader.get_value)
    generator.input(thing)
    assert reader.get_value() == 1
    return generator, reader  # they hold each other, as every loop of connections does


def macros():
    assert nb.Macro().set_input1(1).get_output1() == ((1, None), None)


def macro_in_a_chain():
    source, macro, sink = nb.Single(value=1), nb.Macro(), nb.Single()
    macro.set_input2and3.connect(source.get_value)
    sink.set_value.connect(macro.get_output1)
    assert sink.get_value() == ((None, 1), 1)


def conditions():
    source, middle, sink = nb.chain([], nb.Single, nb.NotifySingle, nb.Single)
    sink.get_value()
    middle.condition = False
    source.set_value(1)
    sink.get_value()


def async_methods():
    source, sink = nb.AsyncBlock(), nb.AsyncBlock()
    sink.set_value.connect(source.get_value)
    source.set_value(1)
    assert sink.get_value() == 1


@pytest.mark.parametrize(
    "act",
    [
        manual_set,
        disconnect,
        read_multi_input,
        disconnect_multi_input,
        disconnect_unread_multi_input,
        read_keyed_multi_input,
        read_keyed_multi_output,
        read_whole_multi_output,
        non_lazy,
        on_connect,
        unstored,
        calling_constructor,
        weakref_loop,
        macros,
        macro_in_a_chain,
        conditions,
        async_methods,
    ],
)
def test_no_garbage(act):
    """Normal operation leaves no cyclic garbage."""
    assert nb.garbage_of(act) == 0


def fail_in_a_getter():
    source, sink = nb.chain([])
    source.hooks["get"] = lambda: 1 / 0
    expect(ZeroDivisionError, sink.get_value)
    source.hooks.clear()
    sink.get_value()


def fail_in_a_setter():
    _source, sink = nb.chain([])
    sink.hooks["set"] = lambda value: 1 / 0
    expect(ZeroDivisionError, sink.get_value)
    sink.hooks.clear()
    sink.get_value()


def fail_in_a_direct_call():
    block, sink = nb.chain([])
    sink.get_value()
    block.hooks["set"] = lambda value: 1 / 0
    expect(ZeroDivisionError, block.set_value, 1)
    sink.get_value()


def fail_in_non_lazy_inputs():
    source, sinks = nb.Single(), [nb.Single(), nb.Single()]
    for sink in sinks:
        sink.set_value.connect(source.get_value)
        sink.set_value.set_laziness(nb.ON_ANNOUNCE)
        sink.hooks["set"] = lambda value: 1 / 0
    expect(ExceptionGroup, source.set_value, 1)
    for sink in sinks:
        sink.hooks.clear()
        sink.get_value()


def fail_in_a_multi_input():
    source, sink = nb.Single(), nb.Multi()
    sink.add.connect(source.get_value)
    sink.hooks["add"] = lambda value: 1 / 0
    expect(ZeroDivisionError, sink.get)
    sink.hooks.clear()
    sink.get()


def fail_to_disconnect():
    source, sink = nb.Single(), nb.Single()
    expect(connectors.ConnectorsError, source.get_value.disconnect, sink.set_value)


@pytest.mark.parametrize(
    "act",
    [
        fail_in_a_getter,
        fail_in_a_setter,
        fail_in_a_direct_call,
        fail_in_non_lazy_inputs,
        fail_in_a_multi_input,
        fail_to_disconnect,
    ],
)
def test_failures_leave_no_garbage(act):
    """A failure that was handled leaves no garbage: no tracebacks, tasks or futures."""
    assert nb.garbage_of(act) == 0


@pytest.mark.parametrize("form", nb.FORMS)
def test_no_last_results_are_kept(form, no_collector):
    """Pools and the engine keep no value once it was read and dropped."""
    block = nb.Single(value=Thing())
    sink = nb.Single()
    sink.set_value.connect(block.get_value)
    with nb.make_executor(form) as executor:
        sink.get_value.set_executor(executor)
        gone = nb.Gone(sink.get_value())
        block.value = None
        block.get_value.invalidate()
        assert sink.get_value() is None
        assert gone.wait()


@pytest.mark.parametrize("form", nb.FORMS)
def test_idle_executors_hold_no_block(form, no_collector):
    """An idle executor holds no block after a read and after a failed read."""
    with nb.make_executor(form) as executor:
        for fails in (False, True):
            block = nb.Single(value=1)
            block.get_value.set_executor(executor)
            if fails:
                block.hooks["get"] = lambda: 1 / 0
                expect(ZeroDivisionError, block.get_value)
            else:
                block.get_value()
            gone = nb.Gone(block)
            del block
            assert gone.wait()


def test_aio_leaves_blocks_free(no_collector):
    """After `aio` the blocks are freed by reference counting."""

    async def main():
        source, sink = nb.chain([])
        await source.set_value.aio(1)
        assert await sink.get_value.aio() == 1
        return nb.Gone(source, sink)

    assert asyncio.run(main()).wait()


@pytest.mark.parametrize("executor", ["sequential", "threading"])
def test_an_item_that_was_not_set_because_another_input_failed(executor, no_collector):
    """A read that fails while an item waits for its turn leaves nothing that holds the block."""
    failing, other, sink = blocks.Keyed("failing"), blocks.One("other"), blocks.Keyed("sink")
    failing.failing = {"out"}
    other.out()
    sink.items["key"](1)
    sink.out.set_executor(executor)
    sink.a.connect(failing.out)
    sink.items["other"].connect(other.out)
    with pytest.raises(blocks.Injected):
        sink.out()
    failing.failing = ()
    sink.out()

    gone = nb.Gone(sink)
    del failing, other, sink

    assert gone.wait()
