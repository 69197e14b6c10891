"""Rules N-1 to N-15 of the network: right values."""

import copy
import pickle
import threading

import pytest

from connectors import Input, Laziness, MultiInput, MultiInputData, Output
from connectors.blocks import Multiplexer
from rule_blocks import (
    BOUND,
    SEQUENTIAL,
    Appender,
    Arguments,
    Collector,
    Fan,
    Gate,
    MultiGate,
    Node,
    Pair,
    ends,
    nothing,
    real,
    spawn,
    wait,
)

# N-1: a cancel never leaves a stale value


def test_n_1_unselected_change_after_a_selection():
    """A selection that nobody has read yet survives the change of an unselected input."""
    x, y, multiplexer, sink = Node("X"), Node("Y"), Multiplexer("x"), Node()
    multiplexer.input["x"].connect(x.get_value)
    multiplexer.input["y"].connect(y.get_value)
    sink.set_value.connect(multiplexer.output)
    assert sink.get_value() == "X"

    multiplexer.select("y")
    x.set_value("X2")

    assert sink.get_value() == "Y"
    assert multiplexer.output() == "Y"


@pytest.mark.parametrize("connected", [False, True])
@pytest.mark.parametrize("first", ["sink", "gate"])
def test_n_1_real_change_before_a_cancelled_one(connected, first):
    """After a real change, a cancelled one makes nobody keep the value of before."""
    gate, sink, source = Gate(), Node(), Node(0)
    if connected:
        gate.put.connect(source.get_value)
    gate.set_other(0)
    sink.set_value.connect(gate.get_both)
    assert sink.get_value()[1] == 0
    gate.notifies = False

    gate.set_other(2)
    (source.set_value if connected else gate.put)(7)

    reads = [lambda: sink.get_value()[1], lambda: gate.get_both()[1]]
    assert [read() for read in (reads if first == "sink" else reversed(reads))] == [2, 2]


def test_n_1_cancelled_change_before_a_real_one():
    """The other order is right as well."""
    gate, sink, source = Gate(), Node(), Node(0)
    gate.put.connect(source.get_value)
    sink.set_value.connect(gate.get_both)
    sink.get_value()
    gate.notifies = False

    source.set_value(7)
    gate.set_other(2)

    assert sink.get_value()[1] == 2
    assert gate.get_both()[1] == 2


@pytest.mark.parametrize("change", ["remove", "replace"])
def test_n_1_direct_remove_and_replace_honour_the_condition(change):
    """Direct remove and replace cancel if the notify condition is false: no getter runs."""
    gate, sink = MultiGate(), Node()
    sink.set_value.connect(gate.get)
    data_id = gate.add(1)
    assert sink.get_value() == (1,)
    gate.notifies = False
    gate.log.clear()

    gate.remove(data_id) if change == "remove" else gate.replace(data_id, 2)

    assert sink.get_value() == (1,)
    assert gate.get() == (1,)
    assert gate.log == [change]


# N-2: whoever is connected to an output with a change that is cancelled gets what is there


def gate_with_a_pending_change():
    source, gate = Node(5), Gate()
    gate.put.connect(source.get_value)
    assert gate.get() == 5
    source.set_value(6)
    gate.notifies = False
    return source, gate


def test_n_2_a_single_input_receives_the_existing_value():
    """A consumer gets the value that stays valid when the pending change is cancelled."""
    source, gate = gate_with_a_pending_change()
    sink = Node("default")

    sink.set_value.connect(gate.get)

    assert sink.get_value() == 5
    assert gate.log.count("get") == 1
    assert source.value == 6


def test_n_2_a_multi_input_receives_the_existing_value():
    """A multi-input adds that value, and no placeholder."""
    _source, gate = gate_with_a_pending_change()
    collector = Collector()

    collector.add.connect(gate.get)

    assert collector.get() == (5,)


# N-3: what is pending from others is not lost


@pytest.mark.parametrize("kind", [Collector, Appender])
def test_n_3_disconnecting_one_keeps_the_other_pending(kind):
    """Disconnecting one connection loses no value that is pending from another."""
    one, two, collector = Node(1), Node(2), kind()
    collector.add.connect(one.get_value)
    collector.add.connect(two.get_value)

    collector.add.disconnect(one.get_value)

    assert collector.get() == (2,)
    two.set_value(3)
    assert collector.get() == (3,)


def test_n_3_keyed_call_beside_a_pending_key():
    """A direct call of one key leaves what is pending for another key."""
    source, collector = Node(1), Collector()
    real(collector.get_dict)
    collector.add["a"].connect(source.get_value)

    assert collector.add["b"](2) is collector

    assert collector.get_dict() == {"a": 1, "b": 2}


def test_n_3_keyed_call_beside_a_pending_replacement():
    """A direct call of a new key leaves a replacement that is pending."""
    source, collector = Node(5), Collector()
    collector.add.connect(source.get_value)
    collector.add(2)
    assert collector.get() == (5, 2)

    source.set_value(6)
    collector.add["key"](3)

    assert collector.get() == (6, 2, 3)


@pytest.mark.parametrize("change", ["remove", "replace"])
def test_n_3_direct_remove_and_replace_leave_what_is_pending(change):
    """Direct remove and replace leave the values that are pending."""
    source, collector = Node(5), Collector()
    collector.add.connect(source.get_value)
    data_id = collector.add(2)
    collector.get()
    source.set_value(6)

    collector.remove(data_id) if change == "remove" else collector.replace(data_id, 3)

    assert collector.get() == ((6,) if change == "remove" else (6, 3))


# N-4: requests join running computations


def test_n_4_two_multi_inputs_on_one_multi_output():
    """Two multi-inputs get the same values of a multi-output in one request, computed once."""
    fan, first, second, pair = Fan(), Collector(), Collector(), Pair()
    first.add.connect(fan.get)
    second.add.connect(fan.get)
    pair.set_a.connect(first.get)
    pair.set_b.connect(second.get)

    assert ends(pair.get) == ((10, 20), (10, 20))
    assert sorted(fan.log) == [1, 2]


@pytest.mark.parametrize("wish", [SEQUENTIAL, None])
def test_n_4_a_shared_getter_runs_once(wish):
    """Two branches of one request that meet at an output share its run, also uncached."""
    source, first, second, pair = Node(1), Node(), Node(), Pair()
    source.get_value.set_caching(False)
    if wish is not None:
        source.get_value.set_parallelization(wish)
    first.set_value.connect(source.get_value)
    second.set_value.connect(source.get_value)
    pair.set_a.connect(first.get_value)
    pair.set_b.connect(second.get_value)

    assert ends(pair.get) == (1, 1)
    assert source.log == ["node.get"]


# N-5: a setter during a running getter


@pytest.mark.parametrize("reader", ["node", "sink"])
@pytest.mark.parametrize("connected", [False, True])
def test_n_5_a_setter_during_the_getter_is_not_lost(reader, connected):
    """A value that is set while the getter runs is what the next read returns, everywhere."""
    source, node, sink = Node("old"), Node("old"), Node()
    if connected:
        node.set_value.connect(source.get_value)
    sink.set_value.connect(node.get_value)
    started, release = threading.Event(), threading.Event()
    node.on_get = lambda: (started.set(), wait(release))
    read = sink.get_value if reader == "sink" else node.get_value
    running = spawn(read)
    wait(started)

    ends((source if connected else node).set_value, "new")
    release.set()

    assert running.result(BOUND) in ("old", "new")
    assert ends(sink.get_value) == "new"
    assert ends(node.get_value) == "new"
    assert ends(sink.get_value) == "new"


def test_n_5_a_multi_output_does_not_lose_it_either():
    """The same for one key of a multi-output."""
    fan, sink = Fan(10), Node()
    sink.set_value.connect(fan.get[1])
    started, release = threading.Event(), threading.Event()
    fan.on_get = lambda: (started.set(), wait(release))
    running = spawn(sink.get_value)
    wait(started)

    ends(fan.set_value, 20)
    release.set()

    assert running.result(BOUND) in (10, 20)
    assert ends(sink.get_value) == 20
    assert ends(fan.get, 1) == 20


def test_n_5_a_multi_input_during_the_getter():
    """The same for a value that is added directly."""
    collector, sink = Collector(), Node()
    sink.set_value.connect(collector.get)
    started, release = threading.Event(), threading.Event()
    plain = MultiInputData.values

    class Slow(MultiInputData):
        def values(self):
            found = list(plain(self))
            started.set()
            wait(release)
            return found

    collector.datas = Slow()
    running = spawn(sink.get_value)
    wait(started)

    ends(collector.add, 1)
    release.set()

    assert running.result(BOUND) in ((), (1,))
    assert ends(sink.get_value) == (1,)


# N-6: one failing value


@pytest.mark.parametrize("kind", [Collector, Appender])
def test_n_6_a_failing_value_and_all_later_ones_stay_pending(kind):
    """The read raises until the failure is repaired, and then everything is there, in order."""
    sources, collector = [Node(1), Node(2), Node(3)], kind()
    for source in sources:
        collector.add.connect(source.get_value)
    collector.refused = 2

    for _ in range(2):
        with pytest.raises(ValueError, match="refused 2"):
            ends(collector.get)
    collector.refused = None

    assert ends(collector.get) == (1, 2, 3)
    assert [len(source.log) for source in sources] == [1, 1, 1]


def test_n_6_a_failing_replacement_stays_pending():
    """The same for values that replace earlier ones."""
    sources, collector = [Node(1), Node(2), Node(3)], Collector()
    for source in sources:
        collector.add.connect(source.get_value)
    collector.get()
    for source in sources:
        source.set_value(source.value * 10)
    collector.refused = 20

    for _ in range(2):
        with pytest.raises(ValueError, match="refused 20"):
            ends(collector.get)
    collector.refused = None

    assert ends(collector.get) == (10, 20, 30)


# N-7: one getter, two threads


def test_n_7_a_second_thread_joins_a_running_getter():
    """Both threads get the value, of one run."""
    node = Node(1)
    real(node.get_value)
    started, release, begun = threading.Event(), threading.Event(), threading.Event()
    node.on_get = lambda: (started.set(), wait(release))
    first = spawn(node.get_value)
    wait(started)
    second = spawn(lambda: (begun.set(), node.get_value())[1])
    wait(begun)
    release.set()

    assert (first.result(BOUND), second.result(BOUND)) == (1, 1)
    assert node.log == ["node.get"]


@pytest.mark.parametrize("caching", [True, False])
def test_n_7_reads_at_the_same_time(caching):
    """Two threads that read at the same time both get the value, two hundred times."""
    source, node, barrier = Node(), Node(), threading.Barrier(2, timeout=BOUND)
    node.set_value.connect(source.get_value)
    node.get_value.set_caching(caching)

    def read():
        barrier.wait()
        return node.get_value()

    for number in range(200):
        source.set_value(number)
        reads = [spawn(read), spawn(read)]
        assert [one.result(BOUND) for one in reads] == [number, number]


def test_n_7_both_get_the_error():
    """If the getter fails, both threads are told."""
    node = Node(1)
    real(node.get_value)
    started, release, begun = threading.Event(), threading.Event(), threading.Event()

    def fail():
        started.set()
        wait(release)
        raise ValueError("broken")

    node.on_get = fail
    first = spawn(node.get_value)
    wait(started)
    second = spawn(lambda: (begun.set(), node.get_value()))
    wait(begun)
    release.set()

    for read in (first, second):
        with pytest.raises(ValueError, match="broken"):
            read.result(BOUND)
    node.on_get = nothing
    assert ends(node.get_value) == 1


# N-8: one output, two keys


def test_n_8_the_same_output_on_two_keys():
    """An output that is connected to two keys feeds both."""
    source, collector = Node(1), Collector()
    collector.add["a"].connect(source.get_value)
    source.get_value.connect(collector.add["b"])

    assert collector.get_dict() == {"a": 1, "b": 1}
    source.set_value(2)
    assert collector.get_dict() == {"a": 2, "b": 2}


def test_n_8_connecting_a_key_twice_adds_nothing():
    """The same pair under the same key is one connection."""
    source, collector = Node(1), Collector()
    for _ in range(2):
        collector.add["a"].connect(source.get_value)

    assert collector.get_dict() == {"a": 1}
    assert collector.log == ["replace"]


# N-9: getters with arguments


def test_n_9_a_getter_is_answered_for_its_arguments():
    """Each call gets the answer for its own arguments."""
    block = Arguments()
    real(block.scaled)

    assert [block.scaled(x=7), block.scaled(x=8), block.scaled(9)] == [7, 8, 9]


def test_n_9_the_cached_result_of_the_plain_call_is_left():
    """A call with arguments neither uses nor changes what the plain call cached."""
    block = Arguments()
    real(block.scaled)
    assert block.scaled() == 1

    assert block.scaled(7) == 7
    assert block.scaled() == 1
    assert block.log.count(1) == 1
    block.set_offset(10)
    assert block.scaled(x=7) == 17
    assert block.scaled() == 11


def test_n_9_consumers_get_the_plain_result():
    """A call with arguments delivers nothing to consumers, and pending values come first."""
    source, block, sink = Node(100), Arguments(), Node()
    block.set_offset.connect(source.get_value)
    sink.set_value.connect(block.scaled)

    assert block.scaled(7) == 107
    assert sink.get_value() == 101
    source.set_value(200)
    assert block.scaled(x=7) == 207
    assert sink.get_value() == 201


# N-10: changes held back by an announce condition


def held_back(value=2):
    """Return a source and a gate that has read 1 and holds back the announcement of *value*."""
    source, gate, sink = Node(1), Gate(), Node()
    gate.put.connect(source.get_value)
    sink.set_value.connect(gate.get)
    assert sink.get_value() == 1
    gate.announces = False
    source.set_value(value)
    source.log.clear()
    gate.log.clear()
    return source, gate, sink


def test_n_10_while_off_a_read_runs_nothing():
    """While the condition is false nothing runs, and the old value is read."""
    source, gate, sink = held_back()

    assert [sink.get_value(), gate.get(), sink.get_value()] == [1, 1, 1]
    assert source.log == gate.log == []


def test_n_10_a_read_of_the_block_delivers_it():
    """When the condition is true again, a read of the block delivers what was held back."""
    _source, gate, sink = held_back()
    assert gate.get() == 1

    gate.announces = True

    assert gate.get() == 2
    assert sink.get_value() == 2


def test_n_10_a_request_of_the_block_delivers_it():
    """A request that comes from downstream, for another reason, delivers it as well."""
    _source, gate, _sink = held_back()
    late = Node()
    late.set_value.connect(gate.get_both)
    gate.set_other(0)

    gate.announces = True

    assert late.get_value() == (2, 0)


def test_n_10_the_next_announcement_goes_on():
    """The condition is evaluated again when upstream announces again."""
    source, gate, sink = held_back()

    gate.announces = True
    source.set_value(3)

    assert sink.get_value() == 3


def test_n_10_a_condition_that_is_switched_by_an_input():
    """An ordinary input that switches the condition on makes the next read deliver the change."""
    _source, gate, sink = held_back()

    gate.set_announces(True)

    assert sink.get_value() == 2


def test_n_10_a_direct_set_drops_it():
    """What is set directly wins over what was held back."""
    _source, gate, sink = held_back()

    gate.put(7)
    gate.announces = True

    assert gate.get() == 7
    assert sink.get_value() == 7


def test_n_10_a_disconnect_drops_it():
    """Disconnecting drops what was held back."""
    source, gate, _sink = held_back()

    gate.put.disconnect(source.get_value)
    gate.announces = True

    assert gate.get() == 1


@pytest.mark.parametrize("delivered", [False, True])
def test_n_10_multi_inputs_hold_back_as_well(delivered):
    """The same for a multi-input, before and after the first value was delivered."""
    source, gate = Node(1), MultiGate()
    gate.announces = delivered
    gate.add.connect(source.get_value)
    assert gate.get() == ((1,) if delivered else ())
    gate.announces = False
    source.set_value(2)
    source.log.clear()
    assert gate.get() == ((1,) if delivered else ())
    assert source.log == []

    gate.announces = True

    assert gate.get() == (2,)


# N-11: inputs that are still proxies


def test_n_11_a_proxy_evaluates_its_notify_condition():
    """A false condition of an input that is no connector yet runs no getter downstream."""
    gate, sink = Gate(1), Node()
    sink.set_value.connect(gate.get)
    assert sink.get_value() == 1
    gate.log.clear()
    gate.notifies = False

    gate.put(5)

    assert "put" not in vars(gate)
    assert sink.get_value() == 1
    assert gate.log == ["put"]
    gate.notifies = True
    gate.put(6)
    assert sink.get_value() == 6


def test_n_11_multi_inputs_do_so_too():
    """The same for adding, replacing and removing through proxies."""
    gate, sink = MultiGate(), Node()
    sink.set_value.connect(gate.get)
    assert sink.get_value() == ()
    gate.notifies = False
    gate.log.clear()

    data_id = gate.add(1)
    gate.replace(data_id, 2)
    gate.add["key"](3)
    gate.remove(data_id)

    assert sink.get_value() == ()
    assert gate.log == ["add", "replace", "replace", "remove"]


# N-12: copies and pickles

COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda block: pickle.loads(pickle.dumps(block)),
}


class Immovable(Node):
    """Refuses to be copied."""

    def __reduce_ex__(self, protocol):
        raise AssertionError("a neighbour was copied along")


class Stateful(Node):
    """Has its own idea of what its state is."""

    def __getstate__(self):
        return {**self.__dict__, "got": True}

    def __setstate__(self, state):
        self.__dict__.update(state, restored=True)


@pytest.mark.parametrize("kind", [Node, Stateful])
@pytest.mark.parametrize("how", COPIES)
def test_n_12_a_copy_is_independent(how, kind):
    """A copy of a connected block has its state and none of its connections."""
    source, block, sink = Immovable(1), kind(), Immovable()
    block.set_value.connect(source.get_value)
    sink.set_value.connect(block.get_value)
    assert sink.get_value() == 1

    twin = COPIES[how](block)

    assert twin.get_value() == 1
    twin.set_value(5)
    assert (twin.get_value(), block.get_value(), sink.get_value()) == (5, 1, 1)
    source.set_value(2)
    assert (twin.get_value(), block.get_value(), sink.get_value()) == (5, 2, 2)
    assert hasattr(twin, "restored") is (kind is Stateful)


@pytest.mark.parametrize("how", COPIES)
def test_n_12_a_copy_can_be_connected(how):
    """A copy is connected like any other block, without an effect on the original."""
    source, collector = Node(1), Collector()
    collector.add.connect(source.get_value)
    assert collector.get() == (1,)

    twin = COPIES[how](collector)
    other, sink = Node(9), Node()
    sink.set_value.connect(twin.get)
    if how != "copy":  # a shallow copy shares the data, as copies do
        twin.add.connect(other.get_value)
        assert sink.get_value() == (1, 9)

    assert collector.get() == (1,)
    source.set_value(2)
    assert collector.get() == (2,)


def test_n_12_the_users_own_copying_is_honoured():
    """`__copy__` and `__deepcopy__` of the user are what is called."""

    class Own(Node):
        def __copy__(self):
            return "copied"

        def __deepcopy__(self, memo):
            return "deeply copied"

    block = Own(1)
    real(block.get_value)

    assert (copy.copy(block), copy.deepcopy(block)) == ("copied", "deeply copied")


# N-13: MultiInputData


def updated(data):
    data |= {}
    return data


@pytest.mark.parametrize(
    "derived",
    [
        lambda data: data | {},
        updated,
        lambda data: data.copy(),
        copy.copy,
        copy.deepcopy,
        lambda data: pickle.loads(pickle.dumps(data)),
    ],
    ids=["or", "ior", "method", "copy", "deepcopy", "pickle"],
)
def test_n_13_derived_data_keeps_keys_and_values(derived):
    """What is made of data is data with the same keys and values."""
    found = derived(MultiInputData([5, 6]))

    assert type(found) is MultiInputData
    assert found == {0: 5, 1: 6}
    assert list(found) == [0, 1]
    new = found.add(7)
    assert new not in (0, 1)
    assert found[new] == 7


def test_n_13_or_takes_the_other_side():
    """Both sides of ``|`` and ``|=`` are in the result, and the operands are left."""
    data = MultiInputData([5])

    assert data | {"a": 1} == {0: 5, "a": 1}
    assert data == {0: 5}
    data |= {0: 6}
    assert data == {0: 6}


# N-14: two proxies of one method


def test_n_14_two_kept_proxies_of_an_output():
    """Both connections work."""
    node, a, b = Node(1), Node(), Node()
    first, second = node.get_value, node.get_value

    a.set_value.connect(first)
    b.set_value.connect(second)

    assert (a.get_value(), b.get_value()) == (1, 1)
    node.set_value(2)
    assert (a.get_value(), b.get_value()) == (2, 2)


def test_n_14_two_kept_proxies_of_inputs():
    """Both connections work, of single and of multi-inputs."""
    one, two, collector, node = Node(1), Node(2), Collector(), Node()
    first, second = collector.add, collector.add
    first.connect(one.get_value)
    second.connect(two.get_value)
    assert collector.get() == (1, 2)

    kept = node.set_value
    node.set_value.connect(one.get_value)
    kept.set_laziness(Laziness.ON_ANNOUNCE)
    one.set_value(3)
    assert node.value == 3


def test_n_14_two_kept_proxies_of_a_multi_output():
    """Both connections work, with keys and without."""
    fan, node, collector = Fan(), Node(), Collector()
    first, second = fan.get, fan.get

    node.set_value.connect(first[1])
    collector.add.connect(second)

    assert (node.get_value(), collector.get()) == (10, (10, 20))
    fan.set_value(1)
    assert (node.get_value(), collector.get()) == (1, (1, 2))


def test_n_14_a_kept_proxy_is_not_stale():
    """A proxy that was taken before the connector existed reaches the network all the same."""
    node, sink = Node(1), Node()
    getter, setter = node.get_value, node.set_value
    sink.set_value.connect(node.get_value)
    real(node.set_value)
    assert sink.get_value() == 1

    setter(2)

    assert sink.get_value() == 2
    assert getter() == 2


# N-15: private names


class Private:
    """Everything private; the observers are written plainly and mangled."""

    def __init__(self):
        self.value = None
        self.runs = 0
        self.datas = MultiInputData()

    @Output()
    def __get(self):
        self.runs += 1
        return self.value, tuple(self.datas.values())

    @Input("__get")
    def __set(self, value):
        self.value = value

    @MultiInput("_Private__get")
    def __add(self, value):
        return self.datas.add(value)

    @__add.remove
    def __remove(self, data_id):
        del self.datas[data_id]

    output = property(lambda self: self.__get)
    input = property(lambda self: self.__set)
    multi = property(lambda self: self.__add)


class Heir(Private):
    """Inherits what is private to its base."""


@pytest.mark.parametrize("kind", [Private, Heir])
def test_n_15_private_methods_are_connected(kind):
    """Methods with private names are connected and announce to each other."""
    one, two, block, sink = Node(1), Node(2), kind(), Node()
    block.input.connect(one.get_value)
    block.multi.connect(two.get_value)
    sink.set_value.connect(block.output)

    assert sink.get_value() == (1, (2,))
    one.set_value(3)
    two.set_value(4)
    assert sink.get_value() == (3, (4,))
    assert {"_Private__get", "_Private__set", "_Private__add"} <= set(vars(block))


def test_n_15_private_methods_keep_their_settings():
    """What is configured stays configured."""
    block = Private()
    block.output.set_caching(False)

    block.output()
    block.output()

    assert block.runs == 2
    assert block.output is block.output
