"""Connecting, announcing, requesting and notifying (sections 3.2 to 3.5)."""

import threading

import pytest

import acceptance_blocks as nb
import connectors


def diamond(log):
    """A source, two branches and a sink with two inputs."""
    source, left, right = nb.Single("S", log), nb.Single("L", log), nb.Single("R", log)
    sink = nb.Double("D", log)
    left.set_value.connect(source.get_value)
    right.set_value.connect(source.get_value)
    sink.set1.connect(left.get_value)
    sink.set2.connect(right.get_value)
    return source, left, right, sink


# Connecting


@pytest.mark.parametrize("laziness", [nb.ON_REQUEST, nb.ON_NOTIFY, nb.ON_ANNOUNCE])
@pytest.mark.parametrize("cached", [False, True])
def test_connecting_computes_nothing(laziness, cached):
    """Connecting computes nothing, even if the output has a cached value."""
    source, sink = nb.Single(value=1), nb.Single()
    source.get_value.set_caching(True)
    if cached:
        source.get_value()
    nb.taken(source.log)
    sink.set_value.set_laziness(laziness)
    sink.set_value.connect(source.get_value)
    assert source.log + sink.log == []
    assert sink.get_value() == 1
    assert source.log == ([] if cached else ["S.get"])


@pytest.mark.parametrize("from_output", [False, True])
def test_connecting_runs_on_connect_inputs(from_output):
    """Connecting runs inputs that are ON_CONNECT."""
    log = []
    source, sink = nb.Single("S1", log, 1), nb.Single("S2", log)
    sink.set_value.set_laziness(nb.ON_CONNECT)
    if from_output:
        source.get_value.connect(sink.set_value)
    else:
        sink.set_value.connect(source.get_value)
    assert log == ["S1.get", "S2.set(1)"]


def test_connecting_upstream_of_an_on_connect_input():
    """An ON_CONNECT input further downstream is reached by connecting upstream of it."""
    log = []
    source, middle, sink = nb.Single("S1", log, 1), nb.Single("S2", log), nb.Single("S3", log)
    sink.set_value.connect(middle.get_value)
    sink.set_value.set_laziness(nb.ON_CONNECT)
    middle.set_value.connect(source.get_value)
    assert log == ["S1.get", "S2.set(1)", "S2.get", "S3.set(1)"]


def test_connecting_reserves_the_position():
    """Results appear in connection order, not in completion order."""
    gate, sources, sink = nb.Gate(), [nb.Single(value=i) for i in range(3)], nb.Multi()
    sources[0].hooks["get"] = gate
    sources[2].hooks["get"] = gate.opened.set
    for source in sources:
        sink.add.connect(source.get_value)
    with connectors.executor(threads=3) as executor:
        sink.get.set_executor(executor)
        assert sink.get() == (0, 1, 2)


def test_keyed_connections_reserve_their_positions():
    """A keyed connection reserves its position as well."""
    sources, sink = [nb.Single(value=i) for i in range(3)], nb.Multi()
    for key, source in zip("bac", sources, strict=True):
        sink.add[key].connect(source.get_value)
    sources[0].set_value(5)
    assert sink.get() == (5, 1, 2)


# Announcing


def test_setting_computes_nothing():
    """A setter runs only itself while everything downstream is ON_REQUEST."""
    log = []
    source, *_, sink = blocks = nb.chain(log, *[nb.Single] * 4)
    sink.get_value()
    nb.taken(log)
    source.set_value(1)
    assert log == ["S1.set(1)"]
    assert [block.get_value() for block in blocks] == [1] * 4


def test_only_the_last_of_several_changes_is_delivered():
    """Several changes before a read are one change for everything downstream."""
    log = []
    source, sink = nb.chain(log)
    for value in range(3):
        source.set_value(value)
    assert sink.get_value() == 2
    assert log[3:] == ["S1.get", "S2.set(2)", "S2.get"]


def test_a_diamond_runs_each_method_once():
    """In a diamond each method runs once per change."""
    log = []
    source, _left, _right, sink = diamond(log)
    sink.get_values()
    nb.taken(log)
    source.set_value(1)
    assert sink.get_values() == (1, 1)
    assert (log[:2], log[-1]) == (["S.set(1)", "S.get"], "D.get")
    assert sorted(log[2:-1]) == sorted(
        ["L.set(1)", "L.get", "R.set(1)", "R.get", "D.set1(1)", "D.set2(1)"]
    )


@pytest.mark.parametrize("value", [False, True])
def test_an_announce_condition_stops_the_wave(value):
    """A false announce condition stops the wave: nothing downstream learns of it."""
    log = []
    source, middle, sink = nb.chain(log, nb.Single, nb.AnnounceSingle, nb.Single)
    sink.set_value.set_laziness(nb.ON_ANNOUNCE)
    sink.get_value()
    nb.taken(log)
    middle.condition = value
    source.set_value(1)
    full = ["S1.get", "S2.set(1)", "S2.get", "S3.set(1)"]
    assert log == ["S1.set(1)", *(full if value else [])]


def test_a_held_change_is_delivered_later():
    """A change that was held back is delivered once the condition is true."""
    source, middle, sink = nb.chain([], nb.Single, nb.AnnounceSingle, nb.Single)
    assert sink.get_value() is None
    middle.condition = False
    source.set_value(1)
    assert sink.get_value() is None
    middle.condition = True
    assert middle.get_value() == 1
    source.set_value(2)
    assert sink.get_value() == 2


@pytest.mark.parametrize("laziness", [nb.ON_ANNOUNCE, nb.ON_CONNECT])
def test_announcing_collects_non_lazy_inputs(laziness):
    """Each reached input of laziness ON_ANNOUNCE or more is brought up to date by a setter."""
    log = []
    source, *_, sink = nb.chain(log, *[nb.Single] * 3)
    sink.set_value.set_laziness(laziness)
    nb.taken(log)
    source.set_value(1)
    assert log == ["S1.set(1)", "S1.get", "S2.set(1)", "S2.get", "S3.set(1)"]


@pytest.mark.parametrize("laziness", [nb.ON_REQUEST, nb.ON_NOTIFY])
def test_announcing_leaves_lazy_inputs(laziness):
    """An input of a lower laziness is not run by a setter."""
    log = []
    source, sink = nb.chain(log)
    sink.set_value.set_laziness(laziness)
    source.set_value(1)
    assert log == ["S1.set(1)"]


def test_non_lazy_inputs_of_a_pending_network():
    """Each wave reaches the non-lazy inputs, also if they are already pending."""
    log = []
    source, sink = nb.chain(log)
    source.set_value(1)
    sink.set_value.set_laziness(nb.ON_ANNOUNCE)
    nb.taken(log)
    source.set_value(2)
    assert log == ["S1.set(2)", "S1.get", "S2.set(2)"]


def test_several_non_lazy_inputs_in_a_row():
    """Non-lazy inputs behind one another all get the value, once."""
    log = []
    blocks = nb.chain(log, *[nb.Single] * 4)
    for block in blocks[1:]:
        block.set_value.set_laziness(nb.ON_ANNOUNCE)
    blocks[0].set_value(1)
    assert log == [
        "S1.set(1)",
        "S1.get",
        "S2.set(1)",
        "S2.get",
        "S3.set(1)",
        "S3.get",
        "S4.set(1)",
    ]


def test_non_lazy_inputs_run_concurrently():
    """All collected inputs are requested concurrently with the triggering input's executor."""
    source, sinks = nb.Single(), [nb.Single(), nb.Single()]
    meet = nb.meeting(2)
    for sink in sinks:
        sink.set_value.connect(source.get_value)
        sink.set_value.set_laziness(nb.ON_ANNOUNCE)
        sink.set_value.set_parallelization(nb.THREAD)
        sink.hooks["set"] = meet
    with connectors.executor(threads=2) as executor:
        source.set_value.set_executor(executor)
        source.set_value(1)
    assert [sink.value for sink in sinks] == [1, 1]


# Requesting


@pytest.mark.parametrize("form", nb.FORMS)
def test_all_executors_agree(form):
    """A network with branches gives the same values with every executor."""
    source, left, right, sink = diamond([])
    with nb.make_executor(form) as executor:
        sink.get_values.set_executor(executor)
        for block in (source, left, right):
            block.get_value.set_parallelization(nb.PROCESS)
        assert sink.get_values() == (None, None)
        source.set_value(1)
        assert sink.get_values() == (1, 1)
        left.set_value(2)
        assert sink.get_values() == (2, 1)


@pytest.mark.parametrize("name", nb.NAMES)
def test_executors_by_name(name):
    """The executor of a read may be given by name."""
    source, sink = nb.chain([], nb.ProcessSingle, nb.Single)
    sink.get_value.set_executor(name)
    source.set_value(1)
    assert sink.get_value() == 1


def test_a_second_read_joins_the_first():
    """A request that meets a running computation of the same output gets its result."""
    block, gate = nb.Single(value=1), nb.Gate()
    block.hooks["get"] = gate
    block.get_value.set_caching(True)
    first = nb.spawn(block.get_value)
    assert gate.entered.wait(nb.LIMIT)
    second = nb.spawn(block.get_value)
    gate.opened.set()
    assert (first.result(nb.LIMIT), second.result(nb.LIMIT)) == (1, 1)
    assert block.log == ["S.get"]


def test_a_getter_runs_once_for_all_consumers():
    """The getter runs once per change for any number of consumers, also without caching."""
    source, sink = nb.Uncached(value=1), nb.Multi()
    middles = [nb.Single() for _ in range(5)]
    for middle in middles:
        middle.set_value.connect(source.get_value)
        sink.add.connect(middle.get_value)
    assert sink.get() == (1,) * 5
    assert source.log == ["S.get"]
    source.set_value(2)
    assert sink.get() == (2,) * 5
    assert source.log == ["S.get", "S.set(2)", "S.get"]


def test_a_read_delivers_to_all_consumers():
    """A read delivers the result to all connected inputs."""
    log = []
    source, one = nb.chain(log)
    two = nb.Single("two", log)
    two.set_value.connect(source.get_value)
    source.set_value(1)
    assert one.get_value() == 1
    nb.taken(log)
    assert two.get_value() == 1
    assert log == ["two.set(1)", "two.get"]


def test_without_caching_direct_calls_run_the_getter_again():
    """With caching off, direct calls run the getter again."""
    _source, sink = nb.chain([], nb.Single, nb.Uncached)
    sink.get_value()
    nb.taken(sink.log)
    assert (sink.get_value(), sink.get_value()) == (None, None)
    assert sink.log == ["S2.get"] * 2


def test_all_cancelled_means_no_run():
    """If all announced changes are cancelled, the stored result is returned without a run."""
    sources = [nb.Single(value=1), nb.Single(value=2)]

    class Both(nb.Double):
        @connectors.Input("get_values")
        def set1(self, value):
            self.note("set1", value)
            self.value1 = value

        @set1.notify_condition
        def changed1(self, value):
            return value > 0

        @connectors.Input("get_values")
        def set2(self, value):
            self.note("set2", value)
            self.value2 = value

        @set2.notify_condition
        def changed2(self, value):
            return value > 0

    block = Both()
    block.set1.connect(sources[0].get_value)
    block.set2.connect(sources[1].get_value)
    assert block.get_values() == (1, 2)
    nb.taken(block.log)
    for source in sources:
        source.set_value(-1)
    assert block.get_values() == (1, 2)
    assert sorted(block.log) == ["D.set1(-1)", "D.set2(-1)"]
    sources[0].set_value(-2)
    sources[1].set_value(3)
    assert block.get_values() == (-2, 3)


def test_multi_input_values_are_added_one_after_another():
    """A multi-input adds and replaces its values strictly one after another, in order."""
    sink, inside, order = nb.Multi(), [], []
    sources = [nb.Single(value=i) for i in range(4)]

    def only_one(*args):
        inside.append(args)
        assert len(inside) == 1
        order.append(args[-1])
        inside.clear()

    sink.hooks.update(add=only_one, replace=only_one)
    sink.add.set_parallelization(nb.THREAD)
    for source in sources:
        sink.add.connect(source.get_value)
    with connectors.executor(threads=4) as executor:
        sink.get.set_executor(executor)
        assert sink.get() == (0, 1, 2, 3)
        for source in reversed(sources):
            source.set_value(source.value + 10)
        assert sink.get() == (10, 11, 12, 13)
    assert order[:4] == [0, 1, 2, 3]
    assert sorted(order[4:]) == [10, 11, 12, 13]


def test_a_multi_input_requests_its_sources_concurrently():
    """A multi-input requests all announcing sources concurrently."""
    meet, sink = nb.meeting(3), nb.Multi()
    sources = [nb.Single(value=i) for i in range(3)]
    for source in sources:
        source.hooks["get"] = meet
        sink.add.connect(source.get_value)
    with connectors.executor(threads=3) as executor:
        sink.get.set_executor(executor)
        assert sink.get() == (0, 1, 2)


def test_a_multi_output_joins_computations_per_key():
    """Whole and keyed requests of one multi-output share the run of a key."""
    source, sink = nb.MultiOut(keys=(1,)), nb.Keyed()
    gate = nb.Gate()
    source.hooks["get"] = gate
    sink.add.connect(source.get)
    first = nb.spawn(source.get, 1)
    assert gate.entered.wait(nb.LIMIT)
    second = nb.spawn(sink.get)
    gate.opened.set()
    assert (first.result(nb.LIMIT), second.result(nb.LIMIT)) == (3, {1: 3})
    assert source.log == ["O.get(1)"]


@pytest.mark.parametrize("level", list(connectors.Parallelization))
def test_setters_run_with_their_parallelization(level):
    """In a read, a setter runs with its own parallelization."""
    source, sink = nb.chain([])
    threads = []
    sink.hooks["set"] = lambda value: threads.append(threading.current_thread())
    sink.set_value.set_parallelization(level)
    with connectors.executor(threads=1) as executor:
        sink.get_value.set_executor(executor)
        sink.get_value()
    inline = threads == [threading.current_thread()]
    assert inline == (level is nb.SEQUENTIAL)


# Notifying


@pytest.mark.parametrize("laziness", [nb.ON_NOTIFY, nb.ON_ANNOUNCE, nb.ON_CONNECT])
def test_a_read_of_the_source_updates_non_lazy_inputs(laziness):
    """A value delivered to an input that is ON_NOTIFY or more is set in the same request."""
    source, sink = nb.Single(value=1), nb.Single()
    sink.set_value.connect(source.get_value)
    sink.set_value.set_laziness(laziness)
    assert source.get_value() == 1
    assert sink.log == ["S.set(1)"]


def test_a_read_of_a_sibling_updates_on_notify_inputs():
    """A read of one consumer updates an ON_NOTIFY sibling."""
    source, one = nb.chain([])
    two = nb.Single("two")
    two.set_value.connect(source.get_value)
    two.set_value.set_laziness(nb.ON_NOTIFY)
    source.set_value(1)
    assert one.get_value() == 1
    assert two.log == ["two.set(1)"]
    assert two.get_value() == 1


def test_on_notify_does_not_travel_further():
    """A state change reported to an output does not travel further by itself."""
    log = []
    source, middle, sink = nb.chain(log, *[nb.Single] * 3)
    middle.set_value.set_laziness(nb.ON_NOTIFY)
    source.set_value(1)
    nb.taken(log)
    assert source.get_value() == 1
    assert log == ["S1.get", "S2.set(1)"]
    assert sink.get_value() == 1


def test_a_cancel_goes_through_clean_outputs():
    """A cancelled change runs nothing further downstream, however long the chain is."""
    log = []
    kinds = [nb.Single, nb.NotifySingle, nb.Single, nb.Single]
    source, middle, _, sink = nb.chain(log, *kinds)
    assert sink.get_value() is None
    middle.condition = False
    nb.taken(log)
    source.set_value(1)
    assert sink.get_value() is None
    assert log == ["S1.set(1)", "S1.get", "S2.set(1)"]
    assert sink.get_value() is None
    assert len(log) == 3


def test_a_dirty_output_forwards_no_cancel():
    """After a real change a cancelled one does not make the old value valid."""

    class Mixed(nb.Double):
        @connectors.Input("get_values")
        def set1(self, value):
            self.value1 = value

        @connectors.Input("get_values")
        def set2(self, value):
            self.value2 = value

        @set2.notify_condition
        def changed(self, value):
            return False

    block, sink = Mixed(), nb.Single()
    sink.set_value.connect(block.get_values)
    assert sink.get_value() == (None, None)
    block.set1(1)
    block.set2(2)
    assert sink.get_value() == (1, 2)
    assert block.get_values() == (1, 2)


def test_a_late_consumer_of_a_cancelled_change():
    """A consumer that lacks the value gets it even if the pending change is cancelled."""
    source, block = nb.chain([], nb.Single, nb.NotifySingle)
    source.set_value(5)
    assert block.get_value() == 5
    block.condition = False
    source.set_value(6)
    single, multi = nb.Single(), nb.Multi()
    single.set_value.connect(block.get_value)
    multi.add.connect(block.get_value)
    assert (single.get_value(), multi.get()) == (5, (5,))


def test_a_cancel_at_a_multi_input():
    """A multi-input whose only announced change is cancelled keeps its observers' results."""
    source, block = nb.chain([], nb.Single, nb.NotifySingle)
    sink, last = nb.Multi(), nb.Single()
    sink.add.connect(block.get_value)
    last.set_value.connect(sink.get)
    assert last.get_value() == (None,)
    block.condition = False
    nb.taken(sink.log)
    source.set_value(1)
    assert last.get_value() == (None,)
    assert sink.log == []


def test_a_multi_input_with_one_cancelled_source():
    """A multi-input waits for its other sources after one has cancelled."""
    source, block = nb.chain([], nb.Single, nb.NotifySingle)
    other, sink = nb.Single(value=1), nb.Multi()
    sink.add.connect(block.get_value)
    sink.add.connect(other.get_value)
    assert sink.get() == (None, 1)
    block.condition = False
    source.set_value(2)
    other.set_value(3)
    assert sink.get() == (None, 3)


def test_a_cancel_at_a_multi_output():
    """A cancel keeps all results of a multi-output."""

    class Conditional(nb.MultiOut):
        @connectors.Input("get")
        def set_factor(self, factor):
            self.factor = factor

        @set_factor.notify_condition
        def changed(self, factor):
            return factor > 0

    numbers, source, sink = nb.Single(value=2), Conditional(keys=(1, 2)), nb.Keyed()
    source.set_factor.connect(numbers.get_value)
    sink.add.connect(source.get)
    assert sink.get() == {1: 2, 2: 4}
    nb.taken(source.log)
    numbers.set_value(-1)
    assert sink.get() == {1: 2, 2: 4}
    assert (source.get(1), source.log) == (2, [])
    numbers.set_value(3)
    assert sink.get() == {1: 3, 2: 6}


@pytest.mark.parametrize("hashing", ["0", "1"])
def test_runs_are_the_same_under_every_hash_seed(hashing):
    """What runs does not depend on the hash seed."""
    import os
    import subprocess
    import sys
    from pathlib import Path

    code = (
        "import acceptance_blocks as nb\n"
        "blocks, sink = [nb.Single(str(i)) for i in range(5)], nb.Multi()\n"
        "for block in blocks: sink.add.connect(block.get_value)\n"
        "sink.get.set_executor('sequential')\n"
        "print(sink.get(), len(sink.log), [block.log for block in blocks])\n"
    )
    environment = {**os.environ, "PYTHONHASHSEED": hashing}
    environment["PYTHONPATH"] = str(Path(nb.__file__).parent)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
    )
    values, gets = (None,) * 5, [["0.get"], ["1.get"], ["2.get"], ["3.get"], ["4.get"]]
    assert (done.stdout, done.stderr) == (f"{values} 6 {gets}\n", "")
