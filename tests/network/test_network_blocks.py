"""The blocks of `connectors.blocks` (section 2.8)."""

import gc
import weakref

import pytest

import acceptance_blocks as nb
import connectors
from connectors.blocks import Multiplexer, PassThrough, WeakrefProxyGenerator


class Thing:
    """Can be referenced weakly."""

    def __init__(self, number=1):
        self.number = number


class Reader(nb.Block):
    """Reads the number of a thing."""

    thing = None

    @connectors.Input("get_number")
    def set_thing(self, thing):
        self.thing = thing

    @connectors.Output()
    def get_number(self):
        return self.thing.number


@pytest.mark.parametrize("kind", [PassThrough, WeakrefProxyGenerator])
def test_initial_data(kind):
    """The constructor takes the data, which is None by default."""
    assert kind().output() is None
    assert kind(3).output() == 3
    assert kind(data=3).output() == 3


def test_pass_through():
    """`PassThrough` gives what was put in, and `input` returns self."""
    block = PassThrough()
    assert block.input(4) is block
    assert block.output() == 4
    assert block.input(data=5).output() == 5


def test_pass_through_in_a_chain():
    """`PassThrough` passes changes on."""
    source, block, sink = nb.Single(value=1), PassThrough(), nb.Single()
    block.input.connect(source.get_value)
    sink.set_value.connect(block.output)
    assert sink.get_value() == 1
    source.set_value(2)
    assert sink.get_value() == 2


@pytest.mark.parametrize("kind", [PassThrough, WeakrefProxyGenerator])
def test_outputs_that_do_not_cache(kind):
    """The outputs do not cache."""
    block = kind(1)
    block.output.set_executor("sequential")
    assert block.output() == 1
    name = next(name for name, value in vars(block).items() if value == 1)
    setattr(block, name, 2)  # behind the back of the library
    assert block.output() == 2


def test_a_weakref_proxy():
    """`WeakrefProxyGenerator` gives a weak proxy of its data."""
    thing = Thing(7)
    block = WeakrefProxyGenerator(thing)
    proxy = block.output()
    assert type(proxy) is weakref.ProxyType
    assert proxy.number == 7
    assert block.input(Thing(8)) is block
    assert block.output().number == 8


@pytest.mark.parametrize("data", [1, 1.5, (1, 2), [1, 2], None])
def test_data_that_cannot_be_referenced_weakly(data):
    """Data whose type cannot be weakly referenced is returned itself."""
    assert WeakrefProxyGenerator(data).output() is data


def test_delete_reference():
    """`delete_reference` takes any arguments, drops the data and returns self."""
    thing = Thing()
    block, gone = WeakrefProxyGenerator(thing), nb.Gone(thing)
    del thing
    assert not gone
    assert block.delete_reference(1, key=2) is block
    assert gone
    assert block.output() is None


@pytest.mark.parametrize("form", nb.LOCAL_NAMES)
def test_a_weakref_loop_frees_the_data(form):
    """Feeding the output of the chain back frees the data as soon as the result is read."""
    block, reader, thing = WeakrefProxyGenerator(), Reader(), Thing(3)
    reader.set_thing.connect(block.output)
    block.delete_reference.connect(reader.get_number)
    block.input(thing)
    gone = nb.Gone(thing)
    with nb.make_executor(form) as executor:
        reader.get_number.set_executor(executor)
        gc.collect()
        gc.disable()
        try:
            del thing
            assert not gone
            assert reader.get_number() == 3
            assert gone
        finally:
            gc.enable()


def test_a_weakref_loop_goes_on():
    """New data goes through the loop as the first did."""
    block, reader = WeakrefProxyGenerator(), Reader()
    reader.set_thing.connect(block.output)
    block.delete_reference.connect(reader.get_number)
    for number in (1, 2, 3):
        block.input(Thing(number))
        assert reader.get_number() == number


def test_multiplexer_methods():
    """The methods of `Multiplexer` return what is documented."""
    block = Multiplexer()
    assert block.select("a") is block
    assert block.input(1) is not None
    assert block.input["a"](2) is block
    assert block.replace("a", 3) == "a"
    assert block.output() == 3
    assert block.remove("a") is block
    assert block.output() is None


def test_multiplexer_selector():
    """`Multiplexer` gives the stored data for the selector, or None."""
    block = Multiplexer(selector="b")
    assert block.output() is None
    block.input["a"](1).input["b"](2)
    assert block.output() == 2
    assert block.select("a").output() == 1
    assert Multiplexer("x").select("y").output() is None


def test_multiplexer_id_of_an_unkeyed_input():
    """An id that an unkeyed call returned can be selected."""
    block = Multiplexer()
    first, second = block.input("one"), block.input(data="two")
    assert block.select(first).output() == "one"
    assert block.select(second).output() == "two"


def test_multiplexer_caches():
    """The output of `Multiplexer` caches, and only changes of the selected id notify."""
    block, sink = Multiplexer("x"), nb.Single()
    sink.set_value.connect(block.output)
    block.input["x"](1)
    assert sink.get_value() == 1
    nb.taken(sink.log)
    block.input["y"](2)
    assert sink.get_value() == 1
    assert sink.log == []
    block.input["x"](3)
    assert sink.get_value() == 3
