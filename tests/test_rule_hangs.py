"""Rules N-16 to N-19 of the network: no hangs."""

import contextlib
import gc
import threading

import pytest

import connectors
from connectors import Laziness
from rule_blocks import (
    BOUND,
    PROCESS,
    SEQUENTIAL,
    THREAD,
    Collector,
    Fan,
    Gate,
    MultiGate,
    Node,
    Pair,
    ends,
    nothing,
    raiser,
    real,
    spawn,
    wait,
)


@pytest.fixture
def no_collection():
    """No garbage collection comes to the rescue."""
    gc.disable()
    yield
    gc.enable()


# N-16: a direct call that raises


def failing(kept, function, *args):
    """Call *function*, which raises a ValueError, and return it if it is to be *kept*."""
    if kept:
        with pytest.raises(ValueError) as caught:
            ends(function, *args)
        return caught
    with contextlib.suppress(ValueError):
        ends(function, *args)
        pytest.fail("nothing was raised")
    return None


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("proxy", [False, True])
def test_n_16_a_setter_that_raises(proxy, kept, no_collection):
    """After a setter raised, the next read ends and takes the block as changed."""
    node, sink = Node(1), Node()
    sink.set_value.connect(node.get_value)
    if not proxy:
        real(node.set_value)
    assert sink.get_value() == 1
    node.log.clear()
    node.on_set = raiser(ValueError("broken"))

    traceback = failing(kept, node.set_value, 2)

    assert ends(sink.get_value) == 1
    assert node.log == ["node.set", "node.get"]
    node.on_set = nothing
    node.set_value(3)
    assert ends(sink.get_value) == 3
    del traceback


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("proxy", [False, True])
def test_n_16_a_notify_condition_that_raises(proxy, kept, no_collection):
    """The same for the notify condition: the setter has run, and the read sees its value."""
    gate, sink = Gate(1), Node()
    sink.set_value.connect(gate.get)
    if not proxy:
        real(gate.put)
    assert sink.get_value() == 1
    gate.error = ValueError("broken")

    traceback = failing(kept, gate.put, 2)

    assert ends(sink.get_value) == 2
    del traceback


@pytest.mark.parametrize("proxy", [False, True])
@pytest.mark.parametrize("call", ["add", "replace", "keyed", "remove"])
def test_n_16_multi_inputs_and_their_associates(proxy, call, no_collection):
    """The same for every direct call of a multi-input."""
    gate, sink = MultiGate(), Node()
    sink.set_value.connect(gate.get)
    if not proxy:
        real(gate.add)
    data_id = gate.add(1)
    assert sink.get_value() == (1,)
    gate.error = ValueError("broken")
    calls = {
        "add": lambda: gate.add(2),
        "replace": lambda: gate.replace(data_id, 2),
        "keyed": lambda: gate.add[data_id](2),
        "remove": lambda: gate.remove(data_id),
    }

    with pytest.raises(ValueError, match="broken"):
        ends(calls[call])

    expected = {"add": (1, 2), "replace": (2,), "keyed": (2,), "remove": ()}
    assert ends(sink.get_value) == expected[call]


def test_n_16_pending_values_of_a_multi_input_stay():
    """What was pending when the direct call raised is there in the next read."""
    source, collector = Node(1), Collector()
    collector.add.connect(source.get_value)
    collector.refused = 2

    with pytest.raises(ValueError, match="refused 2"):
        ends(collector.add, 2)

    assert ends(collector.get) == (1,)


def test_n_16_the_pending_value_of_a_single_input_stays():
    """A direct call that raised does not win over what was announced."""
    source, node = Node(1), Node()
    node.set_value.connect(source.get_value)
    node.on_set = raiser(ValueError("broken"))

    with pytest.raises(ValueError, match="broken"):
        ends(node.set_value, 2)
    node.on_set = nothing

    assert ends(node.get_value) == 1


def test_n_16_the_earlier_source_of_a_single_input_does_not_hang_a_read():
    """Of two sources the one that announced last supplies the value; the other harms nobody."""
    one, two, node = Node(1), Node(2), Node()
    node.set_value.connect(one.get_value)
    node.set_value.connect(two.get_value)

    assert ends(node.get_value) == 2
    one.set_value(3)
    assert ends(node.get_value) == 3
    one.set_value(4)
    two.set_value(5)
    assert ends(node.get_value) == 5


# N-17: a failing branch and a slow sibling


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("wish", [SEQUENTIAL, THREAD])
def test_n_17_the_siblings_run_is_used(wish, early, no_collection):
    """After one branch failed, the next read works and uses the run of the slow sibling."""
    bad, slow, pair = Node(1), Node(2), Pair()
    started, release, finished = threading.Event(), threading.Event(), threading.Event()
    slow.on_get = lambda: (started.set(), wait(release), finished.set())
    bad.get_value.set_parallelization(wish)
    bad.on_get = lambda: (wait(started), raiser(ValueError("broken"))())
    pair.set_a.connect(bad.get_value)
    pair.set_b.connect(slow.get_value)
    with connectors.executor(threads=4) as executor:
        pair.get.set_executor(executor)
        with pytest.raises(ValueError, match="broken"):
            ends(pair.get)
        assert not finished.is_set()  # the failure did not wait for the sibling
        bad.on_get = nothing
        if early:
            release.set()
            wait(finished)

        second = spawn(pair.get)
        release.set()

        assert second.result(BOUND) == (1, 2)
        assert slow.log == ["node.get"]


@pytest.mark.parametrize("kind", [Node, Fan])
def test_n_17_a_failing_getter_can_be_read_again(kind, no_collection):
    """A getter that failed is run again by the next read, at the end of a chain as well."""
    source, sink = kind(10), Node()
    sink.set_value.connect(source.get_value if kind is Node else source.get[1])
    source.on_get = raiser(ValueError("broken"))
    for _ in range(2):
        with pytest.raises(ValueError, match="broken"):
            ends(sink.get_value)

    source.on_get = nothing

    assert ends(sink.get_value) == 10


def test_n_17_a_failing_setter_can_be_read_again(no_collection):
    """A connected setter that failed is given its value again by the next read."""
    source, node = Node(1), Node()
    node.set_value.connect(source.get_value)
    node.on_set = raiser(ValueError("broken"))
    for _ in range(2):
        with pytest.raises(ValueError, match="broken"):
            ends(node.get_value)

    node.on_set = nothing

    assert ends(node.get_value) == 1
    assert source.log == ["node.get"]


# N-18: a key that is cached already


@pytest.mark.parametrize("kind", ["single", "keyed", "whole"])
def test_n_18_a_cached_key_that_is_connected(kind):
    """A key that was computed before it was connected is delivered."""
    fan, collector = Fan(), Collector()
    real(fan.get)
    assert (fan.get(1), fan.get[2]()) == (10, 20)
    if kind == "single":
        block = Node()
        block.set_value.connect(fan.get[1])
        assert ends(block.get_value) == 10
    elif kind == "keyed":
        collector.add["a"].connect(fan.get[2])
        assert ends(collector.get) == (20,)
    else:
        collector.add.connect(fan.get)
        assert ends(collector.get) == (10, 20)

    assert fan.log == [1, 2]


def test_n_18_a_cached_output_that_is_connected():
    """The same for an ordinary output."""
    node, sink = Node(1), Node()
    real(node.get_value)
    assert node.get_value() == 1

    sink.set_value.connect(node.get_value)

    assert ends(sink.get_value) == 1
    assert node.log == ["node.get"]


# N-19: two executors on one upstream block


@pytest.mark.parametrize("wish", [SEQUENTIAL, THREAD, PROCESS])
def test_n_19_two_threads_with_an_executor_each(wish):
    """Two threads that read consumers of one block, each with its own executor, both return."""
    source, sinks = Node(), [Node(), Node()]
    source.get_value.set_parallelization(wish)
    barrier = threading.Barrier(2, timeout=BOUND)
    with connectors.executor(threads=2) as one, connectors.executor(threads=2) as two:
        for sink, executor in zip(sinks, (one, two), strict=True):
            sink.set_value.connect(source.get_value)
            sink.get_value.set_executor(executor)

        def read(sink):
            barrier.wait()
            return sink.get_value()

        for number in range(100):
            source.set_value(number)
            reads = [spawn(read, sink) for sink in sinks]
            assert [one.result(BOUND) for one in reads] == [number, number]


@pytest.mark.parametrize("kinds", [(0, 0), (0, 2), (2, 0), (2, 2)])
def test_n_19_while_the_shared_getter_runs(kinds):
    """The second reader comes while the first one runs the shared getter."""
    source, sinks = Node(1), [Node(), Node()]
    started, release, begun = threading.Event(), threading.Event(), threading.Event()
    source.on_get = lambda: (started.set(), wait(release))
    with (
        connectors.executor(threads=kinds[0]) as one,
        connectors.executor(threads=kinds[1]) as two,
    ):
        for sink, executor in zip(sinks, (one, two), strict=True):
            sink.set_value.connect(source.get_value)
            sink.get_value.set_executor(executor)
        first = spawn(sinks[0].get_value)
        wait(started)
        second = spawn(lambda: (begun.set(), sinks[1].get_value())[1])
        wait(begun)
        release.set()

        assert (first.result(BOUND), second.result(BOUND)) == (1, 1)
    assert source.log == ["node.get"]


def test_n_19_reads_and_sets_of_three_threads():
    """While one thread sets and two read, every read ends, and the last ones see the last value."""
    source, sinks = Node(0), [Node(), Node()]
    with connectors.executor(threads=2) as one, connectors.executor(threads=2) as two:
        for sink, executor in zip(sinks, (one, two), strict=True):
            sink.set_value.connect(source.get_value)
            sink.get_value.set_executor(executor)
        done = threading.Event()

        def read(sink):
            seen = [sink.get_value()]
            while not done.is_set():
                seen.append(sink.get_value())
            return seen

        reads = [spawn(read, sink) for sink in sinks]
        for number in range(1, 301):
            source.set_value(number)
        done.set()

        for one_read in reads:
            seen = one_read.result(BOUND)
            assert seen == sorted(seen)
        assert [ends(sink.get_value) for sink in sinks] == [300, 300]


def test_n_19_a_non_lazy_input_of_the_other_reader():
    """A read that also updates an eager sibling does not wait for the sibling's own reader."""
    source, lazy, eager = Node(0), Node(), Node()
    for sink in (lazy, eager):
        sink.set_value.connect(source.get_value)
    eager.set_value.set_laziness(Laziness.ON_NOTIFY)
    barrier = threading.Barrier(2, timeout=BOUND)

    def read(sink):
        barrier.wait()
        return sink.get_value()

    for number in range(100):
        source.set_value(number)
        reads = [spawn(read, sink) for sink in (lazy, eager)]
        assert [one.result(BOUND) for one in reads] == [number, number]
