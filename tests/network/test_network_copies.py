"""Copies and pickles of connected blocks (section 2.10)."""

import copy
import pickle

import pytest

import acceptance_blocks as nb
import connectors

WAYS = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{
        f"pickle {protocol}": lambda block, protocol=protocol: pickle.loads(
            pickle.dumps(block, protocol)
        )
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)
    },
}

every_way = pytest.mark.parametrize("how", WAYS)


class Custom(nb.Single):
    """Has methods of its own for its state."""

    def __getstate__(self):
        return {"saved": self.value}

    def __setstate__(self, state):
        self.__init__("custom")
        self.value = state["saved"] * 10


class Reduced(nb.Single):
    """Says itself how it is rebuilt."""

    def __reduce__(self):
        return Reduced, ("reduced", None, self.value)


class Copied(nb.Single):
    """Has its own copy methods."""

    def __copy__(self):
        return Copied("copied")

    def __deepcopy__(self, memo):
        return Copied("deeply")


class Slotted:
    """Keeps its data in a slot beside its dict."""

    __slots__ = ("__dict__", "__weakref__", "data")

    def __init__(self):
        self.data = 1

    @connectors.Input("get")
    def set(self, data):
        self.data = data

    @connectors.Output()
    def get(self):
        return self.data


@pytest.fixture
def network():
    """Three connected blocks that have been read."""
    blocks = nb.chain([], nb.Single, nb.Single, nb.Single)
    blocks[0].set_value(1)
    assert blocks[2].get_value() == 1
    return blocks


@every_way
def test_a_copy_has_the_same_state(network, how):
    """A copy of a connected block has the same state."""
    made = WAYS[how](network[1])
    assert (type(made), made.name, made.value) == (nb.Single, "S2", 1)
    assert made.get_value() == 1


@every_way
def test_a_copy_is_unconnected(network, how):
    """A copy is not connected, and changes of the original's upstream do not reach it."""
    made = WAYS[how](network[1])
    network[0].set_value(2)
    assert network[2].get_value() == 2
    assert made.get_value() == 1
    with pytest.raises(connectors.ConnectorsError):
        made.set_value.disconnect(network[0].get_value)


@every_way
def test_a_copy_leaves_the_original_alone(network, how):
    """Setting a copy leaves the original and its connections as they were."""
    made = WAYS[how](network[1])
    made.set_value(5)
    assert made.get_value() == 5
    assert [block.get_value() for block in network] == [1, 1, 1]
    network[0].set_value(3)
    assert [block.get_value() for block in network] == [3, 3, 3]


@every_way
def test_a_copy_can_be_connected(network, how):
    """A copy can be connected like any block, and computes for itself."""
    made, sink = WAYS[how](network[1]), nb.Single()
    made.set_value.connect(network[0].get_value)
    sink.set_value.connect(made.get_value)
    network[0].set_value(4)
    assert (sink.get_value(), network[2].get_value()) == (4, 4)


@every_way
def test_a_copy_with_pending_changes(network, how):
    """A block with a pending announcement is copied with the state that it has."""
    network[0].set_value(2)
    made = WAYS[how](network[1])
    assert made.get_value() == 1
    assert network[2].get_value() == 2


@every_way
def test_nothing_is_copied_along(network, how):
    """Nothing upstream or downstream is copied along through connectors."""
    for neighbour in (network[0], network[2]):
        neighbour.bomb = Bomb()
    made = WAYS[how](network[1])
    assert made.value == 1


class Bomb:
    """Cannot be copied or pickled."""

    def __reduce_ex__(self, protocol):
        raise AssertionError("copied along")


@every_way
def test_multi_blocks(how):
    """Blocks with multi-inputs and multi-outputs can be copied as well."""
    source, sink = nb.MultiOut(keys=(1, 2)), nb.Keyed()
    sink.add.connect(source.get)
    assert sink.get() == {1: 3, 2: 6}
    made_source, made_sink = WAYS[how](source), WAYS[how](sink)
    assert made_source.get(5) == 15
    assert made_sink.get() == {1: 3, 2: 6}
    source.set_factor(1)
    assert sink.get() == {1: 1, 2: 2}


@pytest.mark.parametrize("how", ["deepcopy", "pickle 5"])
def test_connected_blocks_in_one_container(network, how):
    """Blocks that are copied together are each unconnected."""
    made = WAYS[how](network)
    made[0].set_value(9)
    assert [block.get_value() for block in made] == [9, 1, 1]
    assert [block.get_value() for block in network] == [1, 1, 1]


@pytest.mark.parametrize("how", WAYS)
def test_state_methods_are_honoured(how):
    """The user's own `__getstate__` and `__setstate__` are honoured."""
    block, source = Custom(value=2), nb.Single()
    block.set_value.connect(source.get_value)
    made = WAYS[how](block)
    assert (made.name, made.get_value()) == ("custom", 20)


@pytest.mark.parametrize("how", WAYS)
def test_reduce_is_honoured(how):
    """The user's own `__reduce__` is honoured."""
    block, source = Reduced(value=2), nb.Single()
    block.set_value.connect(source.get_value)
    made = WAYS[how](block)
    assert (made.name, made.get_value()) == ("reduced", 2)


@pytest.mark.parametrize(("how", "name"), [("copy", "copied"), ("deepcopy", "deeply")])
def test_copy_methods_are_honoured(how, name):
    """The user's own `__copy__` and `__deepcopy__` are honoured."""
    block, source = Copied(), nb.Single()
    block.set_value.connect(source.get_value)
    assert WAYS[how](block).name == name


@pytest.mark.parametrize("how", WAYS)
def test_slots_go_along(how):
    """Data in slots goes along, connectors do not."""
    block, source = Slotted(), nb.Single(value=2)
    block.set.connect(source.get_value)
    assert block.get() == 2
    made = WAYS[how](block)
    source.set_value(3)
    assert (made.get(), block.get()) == (2, 3)


def test_unconnected_blocks_keep_identity_of_shared_data():
    """A shallow copy shares the data, a deep copy does not."""
    data = [1]
    block, source = nb.Single(value=data), nb.Single()
    block.get_value.connect(source.set_value)
    assert copy.copy(block).value is data
    assert copy.deepcopy(block).value == data
    assert copy.deepcopy(block).value is not data
