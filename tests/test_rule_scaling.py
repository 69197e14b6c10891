"""Rules N-35 to N-41 of the network: scaling. Work is counted, not timed."""

import gc
import os
import threading

import numpy as np
import pytest

import connectors
from connectors import Laziness, Output, events
from rule_blocks import (
    BOUND,
    PROCESS,
    SEQUENTIAL,
    THREAD,
    Arrays,
    AsyncNode,
    Collector,
    Counted,
    Fan,
    Gate,
    Heavy,
    Node,
    Pair,
    ends,
    profiled,
    run_script,
    wait,
)

# N-35: pools persist


class Asker(Node):
    """Its getter tells the thread, and keeps it, so that none can be taken for another."""

    @Output()
    def get_value(self):
        self.log.append(threading.current_thread())


class ProcessAsker(Node):
    """Its getter tells the process."""

    @Output(parallelization=PROCESS)
    def get_value(self):
        return os.getpid()


@pytest.mark.parametrize("threads", [1, 2])
def test_n_35_reads_use_the_same_threads(threads):
    """A hundred reads use no more threads than the executor has."""
    source, asker = Node(), Asker()
    asker.set_value.connect(source.get_value)
    with connectors.executor(threads=threads) as executor:
        asker.get_value.set_executor(executor)
        for number in range(100):
            source.set_value(number)
            asker.get_value()

    used = {item for item in asker.log if isinstance(item, threading.Thread)}
    assert len(used) <= threads
    assert threading.current_thread() not in used


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("threads", [0, 2])
def test_n_35_reads_use_the_same_workers(threads, processes):
    """A hundred reads use no more worker processes than the executor has."""
    source, asker = Node(), ProcessAsker()
    asker.set_value.connect(source.get_value)
    pids = set()
    with connectors.executor(threads=threads, processes=processes) as executor:
        asker.get_value.set_executor(executor)
        for number in range(100):
            source.set_value(number)
            pids.add(asker.get_value())

    assert len(pids) <= processes
    assert os.getpid() not in pids


def test_n_35_a_process_pool_is_created_when_it_is_needed():
    """Workers start with the first PROCESS method, and not before."""
    node, asker = Node(1), ProcessAsker()
    with (
        connectors.executor(threads=2, processes=1) as executor,
        connectors.observe() as observed,
    ):
        for block in (node, asker):
            block.get_value.set_executor(executor)
        for wish in (SEQUENTIAL, THREAD):
            node.get_value.set_parallelization(wish)
            node.set_value(2)
            assert node.get_value() == 2
        assert not list(observed.of(events.WorkerStarted))

        asker.get_value()

        assert list(observed.of(events.WorkerStarted))


# N-36: each wave visits a connector once


class First(Pair):
    """Gives its first value, so that values do not grow with the number of diamonds."""

    @Output()
    def get(self):
        return self.a


def diamonds(count, end):
    """Connect *count* diamonds, one after the other, to *end*; return the first block and all."""
    first = top = Node(0)
    kept = []
    for _ in range(count):
        left, right, pair = Node(), Node(), First()
        left.set_value.connect(top.get_value if isinstance(top, Node) else top.get)
        right.set_value.connect(top.get_value if isinstance(top, Node) else top.get)
        pair.set_a.connect(left.get_value)
        pair.set_b.connect(right.get_value)
        kept.append((left, right, pair))
        top = pair
    end.connect(top.get)
    return first, kept


@pytest.mark.parametrize("pending", [False, True])
def test_n_36_a_set_in_front_of_diamonds_is_linear(pending):
    """The number of calls of one set grows as the number of diamonds does, pending or not."""

    def calls(count):
        sink = Node()
        first, kept = diamonds(count, sink.set_value)
        if not pending:
            sink.get_value()
        return profiled(first.set_value, 1), kept

    few, many = calls(6)[0], calls(18)[0]

    assert many <= 3.5 * few


def test_n_36_a_read_behind_diamonds_is_linear():
    """So does the number of calls of one read."""

    def calls(count):
        sink = Node()
        with connectors.executor(threads=0) as executor:
            first, kept = diamonds(count, sink.set_value)
            sink.get_value.set_executor(executor)
            sink.get_value()
            first.set_value(1)
            found = profiled(sink.get_value)
            assert sink.value == 1
            assert all(left.log.count("node.get") == 2 for left, _, _ in kept)
        return found

    few, many = calls(6), calls(18)

    assert many <= 3.5 * few


def test_n_36_a_condition_is_asked_once_per_wave():
    """An announce condition behind diamonds is asked once per set, also while it is pending."""
    gate = Gate()
    first, _kept = diamonds(10, gate.put)
    gate.get()

    for _ in range(3):
        gate.asked = 0
        first.set_value(1)
        assert gate.asked == 1


@pytest.mark.parametrize("count", [0, 10])
def test_n_36_a_pending_network_still_finds_its_eager_inputs(count):
    """A wave goes through what is pending already, so that eager inputs behind it are updated."""
    sink = Node()
    middle = Node()
    first, _kept = diamonds(count, middle.set_value) if count else (Node(0), [])
    if not count:
        middle.set_value.connect(first.get_value)
    sink.set_value.connect(middle.get_value)
    first.set_value(1)
    assert sink.log == []

    sink.set_value.set_laziness(Laziness.ON_ANNOUNCE)
    first.set_value(2)

    assert sink.value == 2


def test_n_36_each_eager_input_is_updated_once():
    """One set runs the setter of an eager input behind diamonds once."""
    sink = Node()
    first, _kept = diamonds(10, sink.set_value)
    sink.get_value()
    sink.set_value.set_laziness(Laziness.ON_ANNOUNCE)
    sink.log.clear()

    first.set_value(1)

    assert sink.log == ["node.set"]


# N-37: long chains

LONG = """
    import gc, sys, weakref
    import connectors
    from rule_blocks import Node

    count = {count}
    executor = connectors.executor(threads={threads})

    def build():
        blocks = [Node(0) for _ in range(count)]
        for upper, lower in zip(blocks, blocks[1:]):
            lower.set_value.connect(upper.get_value)
        blocks[-1].get_value.set_executor(executor)
        return blocks

    def drop(blocks, kind):
        kept = [weakref.ref(blocks[index]) for index in (0, count // 2, -1)]
        blocks.clear()
        gc.collect()
        print("dropped", kind, [one() for one in kept])

    def disconnect(blocks, middle):
        for upper, lower in zip(blocks, blocks[1:]):
            if lower is not blocks[middle]:
                lower.set_value.disconnect(upper.get_value)
"""
READ = """
    blocks = build()
    for number in (1, 2):
        blocks[0].set_value(number)
        print(blocks[-1].get_value())
    print(sum(len(block.log) for block in blocks) == 4 * count)
    drop(blocks, "read")
    drop(build(), "pending")
    executor.close()
    print(sys.getrecursionlimit())
"""
DISCONNECT = """
    blocks, middle = build(), count // 2
    blocks[0].set_value(3)
    blocks[middle].set_value.disconnect(blocks[middle - 1].get_value)
    blocks[0].set_value(4)
    print(blocks[-1].get_value(), blocks[middle - 1].get_value())
    disconnect(blocks, middle)
    blocks[0].set_value(5)
    print(blocks[-1].get_value(), blocks[middle - 1].get_value())
    drop(blocks, "disconnected")
    executor.close()
    print(sys.getrecursionlimit())
"""
GONE = "[None, None, None]"
PARTS = {
    READ: f"1\n2\nTrue\ndropped read {GONE}\ndropped pending {GONE}\n1000\n",
    DISCONNECT: f"3 4\n3 4\ndropped disconnected {GONE}\n1000\n",
}


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS, ids=["read", "disconnect"])
def test_n_37_a_chain_of_a_hundred_thousand_blocks(tmp_path, part):
    """Connecting, setting, reading, disconnecting and forgetting work at the default limit."""
    printed = run_script(tmp_path, LONG.format(count=100_000, threads=0) + part, timeout=110)

    assert printed == PARTS[part]


@pytest.mark.parametrize("threads", [0, 2])
@pytest.mark.parametrize("part", PARTS, ids=["read", "disconnect"])
def test_n_37_a_chain_of_some_thousand_blocks(tmp_path, part, threads):
    """The same for a shorter chain, also with threads."""
    printed = run_script(tmp_path, LONG.format(count=5_000, threads=threads) + part)

    assert printed == PARTS[part]


def test_n_37_the_cost_is_linear():
    """Twice the blocks take twice the calls, for whatever is done with the chain."""

    def costs(count):
        blocks = [Node(0) for _ in range(count)]

        def connect():
            for upper, lower in zip(blocks, blocks[1:], strict=False):
                lower.set_value.connect(upper.get_value)

        def disconnect():
            for upper, lower in zip(blocks, blocks[1:], strict=False):
                lower.set_value.disconnect(upper.get_value)

        with connectors.executor(threads=0) as executor:
            found = [profiled(connect)]
            for block in blocks:
                block.set_value.set_executor(executor)
                block.get_value.set_executor(executor)
            found.append(profiled(blocks[-1].get_value))
            found.append(profiled(blocks[0].set_value, 1))
            found.append(profiled(blocks[-1].get_value))
            found.append(profiled(disconnect))
        return found

    for few, many in zip(costs(500), costs(1000), strict=True):
        assert many <= 2.3 * few


# N-38: what runs elsewhere starts first


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("threads", [None, 1, 2])
def test_n_38_threads_start_before_a_sequential_getter(threads, swapped):
    """A SEQUENTIAL getter can wait for what a THREAD getter of the same request does."""
    near, far, pair, came = Node(1), Node(2), Pair(), threading.Event()
    near.get_value.set_parallelization(SEQUENTIAL)
    near.on_get = lambda: wait(came)
    far.on_get = came.set
    (pair.set_b if swapped else pair.set_a).connect(near.get_value)
    (pair.set_a if swapped else pair.set_b).connect(far.get_value)
    with connectors.executor(threads=threads) as executor:
        pair.get.set_executor(executor)

        assert ends(pair.get) == ((2, 1) if swapped else (1, 2))


def test_n_38_several_of_each():
    """The same for sources of a multi-input, of which every other is SEQUENTIAL."""
    barrier, collector = threading.Barrier(3, timeout=BOUND), Collector()
    sources = [Node(number) for number in range(5)]
    passed = threading.Event()
    for number, source in enumerate(sources):
        collector.add.connect(source.get_value)
        if number % 2:
            source.on_get = lambda: (barrier.wait(), passed.set())
    for number in (0, 2, 4):
        sources[number].get_value.set_parallelization(SEQUENTIAL)
    sources[0].on_get = sources[2].on_get = sources[4].on_get = lambda: (
        None if passed.is_set() else (barrier.wait(), wait(passed))
    )
    with connectors.executor(threads=2) as executor:
        collector.get.set_executor(executor)

        assert ends(collector.get) == (0, 1, 2, 3, 4)


@pytest.mark.parametrize("swapped", [False, True])
def test_n_38_coroutines_start_before_a_sequential_getter(swapped):
    """The same for an `async def` getter."""
    near, far, pair, came = Node(1), AsyncNode(2), Pair(), threading.Event()
    near.get_value.set_parallelization(SEQUENTIAL)
    near.on_get = lambda: wait(came)

    async def tell():
        came.set()

    far.nap = tell
    (pair.set_b if swapped else pair.set_a).connect(near.get_value)
    (pair.set_a if swapped else pair.set_b).connect(far.get_value)

    assert ends(pair.get) == ((2, 1) if swapped else (1, 2))


class FileMaker(Node):
    """Makes the file of its name, in a worker process."""

    @Output(parallelization=PROCESS)
    def get_value(self):
        with open(self.name, "x"):
            return os.getpid()


@pytest.mark.parametrize("swapped", [False, True])
def test_n_38_processes_start_before_a_sequential_getter(tmp_path, swapped):
    """The same for a PROCESS getter."""
    near, far, pair = Node(1), FileMaker(2, str(tmp_path / "made")), Pair()
    near.get_value.set_parallelization(SEQUENTIAL)

    def wait_for_file():
        for _ in range(BOUND * 200):
            if os.path.exists(far.name):
                return
            threading.Event().wait(0.005)
        pytest.fail("the PROCESS getter did not run")

    near.on_get = wait_for_file
    (pair.set_b if swapped else pair.set_a).connect(near.get_value)
    (pair.set_a if swapped else pair.set_b).connect(far.get_value)
    with connectors.executor(threads=0, processes=1) as executor:
        pair.get.set_executor(executor)

        result = pair.get()

    assert result[1 if swapped else 0] == 1
    assert result[0 if swapped else 1] != os.getpid()


# N-39: state travels once per change


@pytest.fixture
def one_worker():
    with connectors.executor(threads=0, processes=1) as executor:
        yield executor


@pytest.fixture
def heavy(one_worker):
    """A block on one worker, which has read it once."""
    block = Heavy()
    block.get.set_executor(one_worker)
    told = block.get()
    assert told.pid != os.getpid()
    assert sorted(told.arrived)[:2] == ["first", "second"]
    return block


class Travelled:
    """What travelled of a `Heavy` between two reads: what was packed here and arrived there."""

    def __init__(self, block):
        self.block = block
        self.salt = 0
        self.last = self.read()

    def read(self):
        self.salt += 1  # with an argument the getter runs, whatever is cached
        return self.block.get(self.salt)

    def names(self):
        pickled = {part.name: part.pickled for part in (self.block.first, self.block.second)}
        before, self.last = self.last, self.read()
        assert self.last.pid == before.pid
        arrived = self.last.arrived[len(before.arrived) :]
        parts = (self.block.first, self.block.second)
        return {
            part.name
            for part in parts
            if part.name in arrived and part.pickled > pickled.get(part.name, 0)
        }


def test_n_39_unchanged_state_does_not_travel(heavy):
    """Run again without a change, the getter finds its state where it is."""
    travelled = Travelled(heavy)

    assert [travelled.names() for _ in range(3)] == [set()] * 3


def test_n_39_another_consumer_is_no_change(heavy):
    """Connecting one more consumer sends nothing."""
    travelled = Travelled(heavy)
    sink = Node()

    sink.set_value.connect(heavy.get)
    assert sink.get_value().number == 0

    assert travelled.names() == set()


def test_n_39_at_most_the_changed_attributes_travel(heavy):
    """After an input that keeps the heavy attributes, these do not travel again."""
    travelled = Travelled(heavy)

    heavy.set_number(5)

    assert travelled.names() == set()
    assert travelled.last.number == 5


def test_n_39_a_heavy_attribute_that_changed_travels_alone(heavy):
    """An input that binds one heavy attribute sends this one and not the other."""
    travelled = Travelled(heavy)

    heavy.set_first(Counted("new"))

    assert travelled.names() == {"new"}
    assert travelled.names() == set()


def test_n_39_every_kind_of_change_is_seen(heavy):
    """Inputs that bind or change in place, binding, deleting and invalidating are all seen."""
    source = Node(1)
    assert heavy.get().number == 0

    heavy.set_number(1)
    assert heavy.get().number == 1
    heavy.append("a")  # in place, by an input
    heavy.append("b")
    assert heavy.get().items == ["a", "b"]
    heavy.append("c")
    assert heavy.get().items == ["a", "b", "c"]
    heavy.number = 2  # bound, by nobody
    assert heavy.get(1).number == 2
    heavy.extra = "more"
    assert heavy.get(2).extra == "more"
    del heavy.extra
    assert heavy.get(3).extra is None
    heavy.items.append("d")  # in place, behind the library's back
    heavy.get.invalidate()
    assert heavy.get().items == ["a", "b", "c", "d"]
    heavy.set_number.connect(source.get_value)
    assert heavy.get().number == 1
    source.set_value(7)
    assert heavy.get().number == 7


def test_n_39_without_caching_the_state_is_always_sent(heavy):
    """With ``caching=False`` changes in place are seen although nobody told."""
    heavy.get.set_caching(False)
    assert heavy.get().items == []

    heavy.items.append("a")

    assert heavy.get().items == ["a"]
    heavy.items.append("b")
    assert heavy.get().items == ["a", "b"]


def test_n_39_two_workers_both_have_the_state_of_the_day():
    """With several workers, and threads that read at once, every result is of the last state."""
    blocks = [Heavy() for _ in range(4)]
    collector = Collector()
    with connectors.executor(threads=2, processes=2) as executor:
        for block in blocks:
            collector.add.connect(block.get)
        collector.get.set_executor(executor)
        for number in range(20):
            for block in blocks:
                block.set_number(number)
            assert [told.number for told in collector.get()] == [number] * 4


def test_n_39_a_block_that_is_gone_is_not_mistaken(one_worker):
    """Blocks made one after the other, perhaps at the same address, each have their own state."""
    for number in range(20):
        block = Heavy()
        block.number = number
        block.get.set_executor(one_worker)
        assert block.get().number == number
        del block


def test_n_39_large_arrays(one_worker):
    """Arrays of some megabytes are right after each kind of change."""
    first, second = np.arange(500_000), np.arange(500_000) * 2
    block = Arrays(first, second)
    block.get.set_executor(one_worker)
    assert block.get()[:2] == (0, 0)
    assert block.get()[2] != os.getpid()

    block.set_index(3)
    assert block.get()[:2] == (3, 6)
    block.fill_first(9)
    assert block.get()[:2] == (9, 6)
    block.set_second(np.full(500_000, 4))
    assert block.get()[:2] == (9, 4)
    block.first[3] = 1
    block.get.invalidate()
    assert block.get()[:2] == (1, 4)
    assert first[3] == 1


# N-40: cached values are not redelivered


@pytest.mark.parametrize("laziness", Laziness)
def test_n_40_another_consumer_does_not_redeliver(laziness):
    """Connecting and reading one more consumer does not run the setters of the others."""
    source, sink, late = Node(1), Node(), Node()
    sink.set_value.connect(source.get_value)
    sink.get_value()
    sink.set_value.set_laziness(laziness)
    assert sink.log.count("node.set") == 1

    late.set_value.connect(source.get_value)
    assert late.get_value() == 1
    source.get_value()
    sink.get_value()

    assert sink.log.count("node.set") == 1
    assert source.log == ["node.get"]


def test_n_40_a_multi_output_does_not_redeliver():
    """The same for keys of a multi-output."""
    fan, sink, late, whole = Fan(), Node(), Node(), Collector()
    sink.set_value.connect(fan.get[1])
    sink.get_value()
    sink.set_value.set_laziness(Laziness.ON_NOTIFY)

    late.set_value.connect(fan.get[1])
    whole.add.connect(fan.get)
    assert (late.get_value(), whole.get()) == (10, (10, 20))

    assert sink.log.count("node.set") == 1
    assert fan.log == [1, 2]


# N-41: no garbage


@pytest.fixture
def no_automatic_collection():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("threads", [0, 2])
def test_n_41_keyed_connections_leave_no_garbage(threads, no_automatic_collection):
    """Keyed multi-output connections that were read leave nothing for the garbage collector."""
    with connectors.executor(threads=threads) as executor:

        def use():
            fan, nodes, collector = Fan(), [Node(), Node()], Collector()
            for key, node in enumerate(nodes):
                node.set_value.connect(fan.get[key])
                node.get_value.set_executor(executor)
            collector.add["a"].connect(fan.get[7])
            collector.get.set_executor(executor)
            read = [node.get_value() for node in nodes], collector.get()
            fan.set_value(1)
            return read, [node.get_value() for node in nodes], collector.get()

        expected = (([0, 10], (70,)), [0, 1], (7,))
        assert use() == expected
        gc.collect()

        assert use() == expected

        assert gc.collect() == 0


def test_n_41_disconnected_keys_leave_no_garbage(no_automatic_collection):
    """Nor do those that were disconnected."""

    def use():
        fan, node, collector = Fan(), Node(), Collector()
        node.set_value.connect(fan.get[1])
        collector.add.connect(fan.get[2])
        node.set_value.disconnect(fan.get[1])
        collector.add.disconnect(fan.get[2])
        return node.get_value(), collector.get()

    assert use() == (10, ())
    gc.collect()

    assert use() == (10, ())

    assert gc.collect() == 0
