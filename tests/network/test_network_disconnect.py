"""Disconnecting (section 3.6)."""

import threading

import pytest

import acceptance_blocks as nb
import connectors


@pytest.mark.parametrize("from_output", [False, True])
def test_a_pending_value_is_delivered_before_the_cut(from_output):
    """A single input requests itself before it is cut; the last value stays set."""
    log = []
    source, sink = nb.chain(log)
    source.set_value(1)
    if from_output:
        source.get_value.disconnect(sink.set_value)
    else:
        sink.set_value.disconnect(source.get_value)
    assert log == ["S1.set(1)", "S1.get", "S2.set(1)"]
    source.set_value(2)
    assert sink.get_value() == 1


def test_nothing_pending_runs_nothing():
    """Disconnecting a single input without pending changes runs nothing."""
    log = []
    source, sink = nb.chain(log)
    sink.get_value()
    nb.taken(log)
    sink.set_value.disconnect(source.get_value)
    assert (sink.get_value(), log) == (None, [])


def test_the_executor_of_a_single_disconnect():
    """The request before the cut uses the input's own executor."""
    source, sink = nb.chain([])
    threads = []
    source.hooks["get"] = lambda: threads.append(threading.current_thread().name)
    with connectors.executor("threading", thread_name_prefix="mine") as executor:
        sink.set_value.set_executor(executor)
        source.get_value.disconnect(sink.set_value)
    assert threads[0].startswith("mine")


def test_the_other_outputs_of_a_single_input_stay():
    """Disconnecting one of several outputs keeps the others."""
    one, two, sink = nb.Single(value=1), nb.Single(value=2), nb.Single()
    for source in (one, two):
        sink.set_value.connect(source.get_value)
    sink.set_value.disconnect(two.get_value)
    assert sink.get_value() == 2
    two.set_value(3)
    one.set_value(4)
    assert sink.get_value() == 4
    two.set_value(5)
    assert sink.get_value() == 4


def test_a_removed_value():
    """Disconnecting a multi-input removes the stored data and changes the observers."""
    source, other, block, sink = nb.Single(value=1), nb.Single(value=2), nb.Multi(), nb.Single()
    block.add.connect(source.get_value)
    block.add.connect(other.get_value)
    sink.set_value.connect(block.get)
    assert sink.get_value() == (1, 2)
    nb.taken(block.log)
    assert block.add.disconnect(source.get_value) is block
    assert block.log == ["M.remove(0)"]
    assert sink.get_value() == (2,)


def test_a_pending_value_is_dropped():
    """The pending value of a multi-input connection is dropped; the stored one is removed."""
    source, block = nb.Single(value=1), nb.Multi()
    block.add.connect(source.get_value)
    assert block.get() == (1,)
    nb.taken(source.log)
    source.set_value(2)
    block.add.disconnect(source.get_value)
    assert source.log == ["S.set(2)"]
    assert block.get() == ()


@pytest.mark.parametrize("key", [None, "k"])
def test_a_value_that_never_arrived(key):
    """Disconnecting before the first value arrived works and calls no remove."""
    source, block = nb.Single(value=1), nb.Multi()
    entry = block.add if key is None else block.add[key]
    entry.connect(source.get_value)
    block.add.disconnect(source.get_value)
    assert (block.get(), block.log, source.log) == ((), ["M.get"], [])


def test_pending_values_of_others_stay():
    """Disconnecting one connection keeps values that are pending from others."""
    sources, block = [nb.Single(value=1), nb.Single(value=2)], nb.Multi()
    for source in sources:
        block.add.connect(source.get_value)
    block.add.disconnect(sources[0].get_value)
    assert block.get() == (2,)


def test_remove_runs_in_this_thread():
    """The stored data is removed in the calling thread."""
    source, block, threads = nb.Single(value=1), nb.Multi(), []
    block.hooks["remove"] = lambda data_id: threads.append(threading.current_thread())
    block.add.set_parallelization(nb.THREAD)
    block.add.connect(source.get_value)
    block.get()
    block.add.disconnect(source.get_value)
    assert threads == [threading.current_thread()]


@pytest.mark.parametrize("notifying", [False, True])
def test_the_conditions_of_a_disconnect(notifying):
    """The announce condition is ignored; the notify condition is called with (id, None)."""
    source, block, sink = nb.Single(value=1), nb.ConditionalMulti(), nb.Single()
    block.add.connect(source.get_value)
    sink.set_value.connect(block.get)
    assert sink.get_value() == (1,)
    block.announcing, block.notifying = False, notifying
    block.asked.clear()
    block.add.disconnect(source.get_value)
    assert [entry for entry in block.asked if entry[0] == "notify"] == [("notify", 0, None)]
    assert sink.get_value() == (() if notifying else (1,))


@pytest.mark.parametrize("laziness", list(connectors.Laziness))
def test_non_lazy_inputs_of_a_disconnect(laziness):
    """After a multi-input was disconnected, ON_CONNECT inputs downstream run."""
    log = []
    source, block, sink = nb.Single("S", log, 1), nb.Multi("M", log), nb.Single("down", log)
    block.add.connect(source.get_value)
    sink.set_value.connect(block.get)
    sink.set_value.set_laziness(laziness)
    sink.get_value()
    nb.taken(log)
    block.add.disconnect(source.get_value)
    reaction = ["M.get", "down.set(())"] if laziness is nb.ON_CONNECT else []
    assert log == ["M.remove(0)", *reaction]


@pytest.mark.parametrize("make_real", [False, True])
def test_what_was_never_connected(make_real):
    """Disconnecting what is not connected is a clear error that names both ends."""
    source, single, multi = nb.Uncached(value=1), nb.NotifySingle(), nb.Keyed()
    if make_real:
        for connector in (source.get_value, single.set_value, multi.add):
            connector.set_parallelization(nb.SEQUENTIAL)
    for entry, name in [
        (single.set_value, "NotifySingle"),
        (multi.add, "Keyed"),
        (multi.add["k"], "Keyed"),
    ]:
        for act in (
            lambda entry=entry: entry.disconnect(source.get_value),
            lambda entry=entry: source.get_value.disconnect(entry),
        ):
            with pytest.raises(connectors.ConnectorsError) as caught:
                act()
            assert isinstance(caught.value, KeyError)
            assert name in str(caught.value)
            assert "Uncached" in str(caught.value)
    assert single.log + multi.log + source.log == []


def test_connecting_again():
    """A pair that was disconnected can be connected again."""
    source, single, multi = nb.Single(value=1), nb.Single(), nb.Multi()
    for value in (2, 3):
        source.get_value.connect(single.set_value)
        source.get_value.connect(multi.add)
        source.set_value(value)
        assert (single.get_value(), multi.get()) == (value, (value,))
        source.get_value.disconnect(single.set_value)
        source.get_value.disconnect(multi.add)
        assert (single.get_value(), multi.get()) == (value, ())


def test_disconnecting_twice():
    """The second disconnect of a pair is an error, and changes nothing."""
    source, sink = nb.chain([])
    sink.set_value.disconnect(source.get_value)
    with pytest.raises(connectors.ConnectorsError):
        sink.set_value.disconnect(source.get_value)
    sink.set_value(3)
    assert sink.get_value() == 3
