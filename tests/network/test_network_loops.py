"""Threads, and loops in the graph (section 3.11)."""

import threading

import pytest

import acceptance_blocks as nb
import connectors
from connectors import CycleError


class Alpha(nb.Single):
    pass


class Beta(nb.Single):
    pass


class Gamma(nb.Single):
    pass


# Threads


@pytest.mark.parametrize("shared", [False, True])
def test_two_threads_read_one_network(shared):
    """Two threads that read the same network get right values and do not hang."""
    source, sinks = nb.Single(), [nb.Single(), nb.Single()]
    for sink in sinks:
        sink.set_value.connect(source.get_value)
    with connectors.executor(threads=2) as one, connectors.executor(threads=2) as two:
        sinks[0].get_value.set_executor(one)
        sinks[1].get_value.set_executor(one if shared else two)
        barrier = threading.Barrier(2)

        def read(sink):
            barrier.wait(nb.LIMIT)
            return sink.get_value()

        for value in range(50):
            source.set_value(value)
            futures = [nb.spawn(read, sink) for sink in sinks]
            assert [future.result(nb.LIMIT) for future in futures] == [value] * 2


def test_two_threads_set_and_read():
    """One thread sets while another reads: no hang, and the last value is right."""
    source, sink = nb.chain([])
    start = threading.Barrier(2)

    def setting():
        start.wait(nb.LIMIT)
        for value in range(300):
            source.set_value(value)

    def reading():
        start.wait(nb.LIMIT)
        return [sink.get_value() for _ in range(100)]

    futures = nb.spawn(setting), nb.spawn(reading)
    futures[0].result(nb.LIMIT)
    values = [-1 if value is None else value for value in futures[1].result(nb.LIMIT)]
    assert values == sorted(values)
    assert sink.get_value() == 299


def test_two_threads_set_two_sources():
    """Two threads that set different sources of one sink lose nothing."""
    sources, sink = [nb.Single(), nb.Single()], nb.Double()
    sink.set1.connect(sources[0].get_value)
    sink.set2.connect(sources[1].get_value)
    start = threading.Barrier(2)

    def act(source):
        start.wait(nb.LIMIT)
        for value in range(100):
            source.set_value(value)
            sink.get_values()

    for future in [nb.spawn(act, source) for source in sources]:
        future.result(nb.LIMIT)
    assert sink.get_values() == (99, 99)


def test_no_lock_is_held_while_a_getter_runs():
    """While a getter runs, other threads can set, connect and read the network."""
    source, sink = nb.chain([])
    other, gate = nb.Single("other"), nb.Gate()
    source.hooks["get"] = gate
    first = nb.spawn(sink.get_value)
    assert gate.entered.wait(nb.LIMIT)
    source.hooks.clear()
    nb.spawn(source.set_value, 5).result(nb.LIMIT)
    nb.spawn(other.set_value.connect, sink.get_value).result(nb.LIMIT)
    nb.spawn(sink.get_value.set_caching, True).result(nb.LIMIT)
    nb.spawn(other.set_value, 3).result(nb.LIMIT)
    assert not first.done()
    gate.opened.set()
    assert first.result(nb.LIMIT) in (None, 5)
    assert sink.get_value() == 5


@pytest.mark.parametrize("hooked", ["set", "add"])
def test_no_lock_is_held_while_a_setter_runs(hooked):
    """While a direct setter call runs, other threads can read and set."""
    block, sink, gate = nb.Multi() if hooked == "add" else nb.Single(), nb.Single(), nb.Gate()
    output = block.get if hooked == "add" else block.get_value
    sink.set_value.connect(output)
    block.hooks[hooked] = gate
    call = nb.spawn(block.add if hooked == "add" else block.set_value, 1)
    assert gate.entered.wait(nb.LIMIT)
    nb.spawn(sink.set_value, 2).result(nb.LIMIT)
    assert not call.done()
    gate.opened.set()
    call.result(nb.LIMIT)
    assert sink.get_value() in (2, 1, (1,))


def test_methods_of_one_block_are_not_locked_against_each_other():
    """Two getters of one block run at the same time."""
    block, meet = nb.Splitter(), nb.meeting(2)
    block.hooks.update(get1=meet, get2=meet)
    for output in (block.get1, block.get2):
        output.set_caching(True)
    futures = nb.spawn(block.get1), nb.spawn(block.get2)
    assert [future.result(nb.LIMIT) for future in futures] == [None, None]


def test_a_set_during_a_running_getter_is_not_lost():
    """A change during a running getter counts for the next read, also at consumers."""
    source, sink = nb.chain([])
    source.set_value("old")

    def change():
        source.hooks.clear()
        source.set_value("new")

    source.hooks["get"] = change
    assert sink.get_value() in ("old", "new")
    assert sink.get_value() == "new"
    assert source.get_value() == "new"


# Loops that are errors


def close_loop(*blocks):
    """Connect blocks in a circle and use it; return the error and the connecting error."""
    for up, down in zip(blocks, blocks[1:], strict=False):
        down.set_value.connect(up.get_value)
    try:
        blocks[0].set_value.connect(blocks[-1].get_value)
    except CycleError as error:
        return error, True
    with pytest.raises(CycleError) as caught:
        nb.spawn(blocks[0].get_value).result(nb.LIMIT)
    return caught.value, False


@pytest.mark.parametrize("kinds", [(Alpha,), (Alpha, Beta), (Alpha, Beta, Gamma)])
def test_a_loop_is_an_error(kinds):
    """A loop raises CycleError, which names the blocks in order."""
    blocks = [kind() for kind in kinds]
    error, _ = close_loop(*blocks)
    names = [kind.__name__ for kind in kinds]
    text = str(error)
    assert all(name in text for name in names)
    first = min(names, key=text.index)
    turned = names[names.index(first) :] + names[: names.index(first)]
    assert sorted(names, key=text.index) == turned


def test_a_loop_through_a_multi_input():
    """A loop through a multi-input is an error as well."""
    multi, single = nb.Multi(), nb.Single()
    single.set_value.connect(multi.get)
    with pytest.raises(CycleError):
        multi.add.connect(single.get_value)
        nb.spawn(multi.get).result(nb.LIMIT)


def test_a_loop_through_a_multi_output():
    """A loop through a multi-output is an error as well."""
    multi, single = nb.MultiOut(), nb.Single()
    single.set_value.connect(multi.get[1])
    with pytest.raises(CycleError):
        multi.set_factor.connect(single.get_value)
        nb.spawn(single.get_value).result(nb.LIMIT)


def test_a_set_that_goes_round_a_loop():
    """A wave that goes round a loop raises CycleError or ends."""
    one, two = Alpha(), Beta()
    _, refused = close_loop(one, two)
    if not refused:
        with pytest.raises(CycleError):
            nb.spawn(one.set_value, 1).result(nb.LIMIT)


def test_a_refused_connection_is_not_made():
    """If `connect` raises CycleError, the connection is not made."""
    one, two = Alpha(), Beta()
    _, refused = close_loop(one, two)
    if not refused:
        pytest.skip("loops are found later")
    with pytest.raises(connectors.ConnectorsError):
        one.set_value.disconnect(two.get_value)
    one.set_value(1)
    assert two.get_value() == 1


def test_an_input_without_observers_closes_no_loop():
    """An input without observers closes no loop."""

    class Sink(nb.Single):
        seen = None

        @connectors.Input()
        def see(self, value):
            self.note("see", value)
            self.seen = value

    one, two = Sink("one"), nb.Single("two")
    two.set_value.connect(one.get_value)
    one.see.connect(two.get_value)
    one.set_value(1)
    assert two.get_value() == 1
    one.see.set_laziness(nb.ON_ANNOUNCE)
    one.set_value(2)
    assert one.seen == 2


@pytest.mark.parametrize("form", nb.LOCAL_NAMES)
@pytest.mark.parametrize("level", list(connectors.Parallelization))
def test_a_getter_that_reads_itself(form, level):
    """A getter that reads its own output raises CycleError and never waits for itself."""

    class Narcissus(nb.Single):
        @connectors.Output()
        def get_value(self):
            return self.get_value()

    block = Narcissus()
    block.get_value.set_parallelization(level)
    with nb.make_executor(form) as executor:
        block.get_value.set_executor(executor)
        with pytest.raises(CycleError, match="Narcissus"):
            nb.spawn(block.get_value).result(nb.LIMIT)


@pytest.mark.parametrize("form", nb.LOCAL_NAMES)
def test_a_getter_that_reads_itself_through_others(form):
    """A getter that reads its own output through other reads raises CycleError."""
    block, sink = nb.Single(), nb.Single()
    sink.set_value.connect(block.get_value)
    with nb.make_executor(form) as executor:
        sink.get_value.set_executor(executor)
        block.get_value.set_executor(executor)
        block.hooks["get"] = sink.get_value
        with pytest.raises(CycleError):
            nb.spawn(sink.get_value).result(nb.LIMIT)
        with pytest.raises(CycleError):
            nb.spawn(block.get_value).result(nb.LIMIT)
        block.hooks.clear()
        assert nb.spawn(sink.get_value).result(nb.LIMIT) is None


def test_getters_that_read_each_other():
    """Two getters that read each other raise CycleError."""
    one, two = nb.Single("one"), nb.Single("two")
    one.get_value.set_caching(True)
    two.get_value.set_caching(True)
    one.hooks["get"] = two.get_value
    two.hooks["get"] = one.get_value
    with pytest.raises(CycleError):
        nb.spawn(one.get_value).result(nb.LIMIT)


def test_an_async_getter_that_reads_itself():
    """An `async def` getter that awaits its own output raises CycleError."""

    class Echo(nb.Single):
        @connectors.Output()
        async def get_value(self):
            return await self.get_value.aio()

    block = Echo()
    block.get_value.set_caching(True)
    with pytest.raises(CycleError):
        nb.spawn(block.get_value).result(nb.LIMIT)


# Loops that are allowed


class Feedback(nb.Single):
    """Has an ON_NOTIFY input that influences its getter."""

    fed = None

    @connectors.Input("get_value", laziness=nb.ON_NOTIFY)
    def feed(self, value):
        self.note("feed", value)
        self.fed = value

    @connectors.Output()
    def get_value(self):
        self.note("get")
        return self.value, self.fed


class Quiet(nb.Single):
    """Has an ON_NOTIFY input without observers."""

    @connectors.Input(laziness=nb.ON_NOTIFY)
    def feed(self, value):
        self.note("feed", value)


@pytest.mark.parametrize("form", nb.LOCAL_NAMES)
def test_a_loop_through_an_on_notify_input(form):
    """A loop through an ON_NOTIFY input runs each method at most once per read."""
    log = []
    block, other = Quiet("one", log), nb.Single("two", log)
    other.set_value.connect(block.get_value)
    block.feed.connect(other.get_value)
    block.set_value(1)
    nb.taken(log)
    with nb.make_executor(form) as executor:
        other.get_value.set_executor(executor)
        assert nb.spawn(other.get_value).result(nb.LIMIT) == 1
    assert log == ["one.get", "two.set(1)", "two.get", "one.feed(1)"]


@pytest.mark.parametrize("form", nb.LOCAL_NAMES)
def test_a_feedback_with_observers(form):
    """If the ON_NOTIFY input has observers, its change counts for the next read."""
    log = []
    block, other = Feedback("one", log), nb.Single("two", log)
    other.set_value.connect(block.get_value)
    block.feed.connect(other.get_value)
    block.set_value(1)
    nb.taken(log)
    with nb.make_executor(form) as executor:
        other.get_value.set_executor(executor)
        assert nb.spawn(other.get_value).result(nb.LIMIT) == (1, None)
        first = nb.taken(log)
        assert first == ["one.get", "two.set((1, None))", "two.get", "one.feed((1, None))"]
        assert nb.spawn(other.get_value).result(nb.LIMIT) == (1, (1, None))
        assert len(log) == len(set(log)) == 4


def test_reading_the_start_of_a_feedback_loop():
    """A read at any output of such a loop runs each method at most once and ends."""
    log = []
    block, other = Feedback("one", log), nb.Single("two", log)
    other.set_value.connect(block.get_value)
    block.feed.connect(other.get_value)
    assert nb.spawn(block.get_value).result(nb.LIMIT) == (None, None)
    methods = [entry.partition("(")[0] for entry in log]
    assert len(methods) == len(set(methods))
