"""Whose executor runs a chain, and what is concurrent (sections 3.7 and 3.8)."""

import contextlib
import threading

import pytest

import acceptance_blocks as nb
import connectors


@contextlib.contextmanager
def named(*names):
    """Give executors whose threads have these names."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(connectors.executor("threading", thread_name_prefix=name))
            for name in names
        ]


def record_threads(*blocks):
    """Make all methods of blocks note the name of their thread."""
    names = []

    def record(*_):
        names.append(threading.current_thread().name.rpartition("-")[0])

    for block in blocks:
        block.hooks.update(dict.fromkeys(["get", "set", "add", "remove", "replace"], record))
    return names


def test_the_executor_of_a_read():
    """A read uses the executor of its output for the whole chain."""
    source, sink = nb.chain([])
    sink.set_value.set_parallelization(nb.THREAD)
    names = record_threads(source, sink)
    with named("source", "input", "sink") as executors:
        source.get_value.set_executor(executors[0])
        sink.set_value.set_executor(executors[1])
        sink.get_value.set_executor(executors[2])
        sink.get_value()
    assert names == ["sink"] * 3


def test_the_executor_of_non_lazy_inputs():
    """Non-lazy inputs run with the executor of the input that was called."""
    source, sink = nb.chain([])
    sink.set_value.set_parallelization(nb.THREAD)
    sink.set_value.set_laziness(nb.ON_ANNOUNCE)
    names = record_threads(sink)
    source.hooks["get"] = sink.hooks["get"]
    with named("trigger", "output", "input") as executors:
        source.set_value.set_executor(executors[0])
        source.get_value.set_executor(executors[1])
        sink.set_value.set_executor(executors[2])
        source.set_value(1)
    assert names == ["trigger"] * 2


@pytest.mark.parametrize("from_output", [False, True])
def test_the_executor_of_a_connect(from_output):
    """Connecting uses the executor of the input."""
    source, sink = nb.Single(), nb.Single()
    sink.set_value.set_parallelization(nb.THREAD)
    sink.set_value.set_laziness(nb.ON_CONNECT)
    names = record_threads(source, sink)
    with named("output", "input") as executors:
        source.get_value.set_executor(executors[0])
        sink.set_value.set_executor(executors[1])
        if from_output:
            source.get_value.connect(sink.set_value)
        else:
            sink.set_value.connect(source.get_value)
    assert names == ["input"] * 2


def test_the_executor_of_a_multi_input_disconnect():
    """Non-lazy inputs after a disconnect run with the executor of the input."""
    source, block, sink = nb.Single(), nb.Multi(), nb.Single()
    block.add.connect(source.get_value)
    sink.set_value.connect(block.get)
    sink.get_value()
    sink.set_value.set_laziness(nb.ON_CONNECT)
    sink.set_value.set_parallelization(nb.THREAD)
    names = record_threads(sink)
    with named("output", "input", "sink") as executors:
        source.get_value.set_executor(executors[0])
        block.add.set_executor(executors[1])
        sink.set_value.set_executor(executors[2])
        source.get_value.disconnect(block.add)
    assert names == ["input"]


def test_sequential_methods_of_a_chain():
    """Within a chain SEQUENTIAL methods run in the calling thread."""
    source, sink = nb.chain([])
    source.get_value.set_parallelization(nb.SEQUENTIAL)
    threads = []
    source.hooks["get"] = lambda: threads.append(threading.current_thread())
    sink.hooks["set"] = lambda value: threads.append(threading.current_thread())
    with connectors.executor(threads=2) as executor:
        sink.get_value.set_executor(executor)
        sink.get_value()
    assert threads == [threading.current_thread()] * 2


@pytest.mark.parametrize("form", nb.FORMS)
def test_inputs_before_outputs(form):
    """Upstream runs before downstream, and inputs before the outputs that they influence."""
    log = []
    _source, sink = nb.chain(log, *[nb.Single] * 6)[::5]
    with nb.make_executor(form) as executor:
        sink.get_value.set_executor(executor)
        sink.get_value()
    expected = ["S1.get"]
    for i in range(2, 7):
        expected += [f"S{i}.set(None)", f"S{i}.get"]
    assert log == expected


@pytest.mark.parametrize("form", nb.FORMS)
def test_the_order_inside_a_multi_input(form):
    """The order inside a multi-input is the connection order, with every executor."""
    sources, sink = [nb.ProcessSingle(value=i) for i in range(5)], nb.Multi()
    for source in reversed(sources):
        sink.add.connect(source.get_value)
    with nb.make_executor(form) as executor:
        sink.get.set_executor(executor)
        assert sink.get() == (4, 3, 2, 1, 0)


def test_independent_methods_run_at_the_same_time():
    """A THREAD add, a THREAD setter and a getter that are independent run concurrently."""
    meet = nb.meeting(3)
    source, adding, setting, getting = nb.Single(), nb.Multi(), nb.Single(), nb.Single()
    adding.hooks["add"] = setting.hooks["set"] = getting.hooks["get"] = meet
    adding.add.set_parallelization(nb.THREAD)
    setting.set_value.set_parallelization(nb.THREAD)
    adding.add.connect(source.get_value)
    setting.set_value.connect(source.get_value)
    sink = nb.Multi("sink")
    for output in (adding.get, setting.get_value, getting.get_value):
        sink.add.connect(output)
    with connectors.executor(threads=4) as executor:
        sink.get.set_executor(executor)
        assert sink.get() == ((None,), None, None)


def test_the_default_executor_runs_keys_concurrently():
    """The default executor runs getter calls of a multi-output for different keys at once."""
    source, sink = nb.MultiOut(keys=(1, 2)), nb.Keyed()
    source.hooks["get"] = nb.meeting(2)
    sink.add.connect(source.get)
    assert sink.get() == {1: 3, 2: 6}


def test_the_default_executor_runs_branches_concurrently():
    """The default executor runs independent branches concurrently."""
    meet, sink = nb.meeting(2), nb.Double()
    sources = nb.Single(value=1), nb.Single(value=2)
    for source in sources:
        source.hooks["get"] = meet
    sink.set1.connect(sources[0].get_value)
    sink.set2.connect(sources[1].get_value)
    assert sink.get_values() == (1, 2)


def test_a_joining_read_waits_for_another_executor():
    """A read that joins a running computation waits for it, whichever executor runs it."""
    source, gate = nb.Single(value=1), nb.Gate()
    sinks = nb.Single(), nb.Single()
    for sink in sinks:
        sink.set_value.connect(source.get_value)
    source.hooks["get"] = gate
    with connectors.executor(threads=1) as one, connectors.executor(threads=1) as two:
        sinks[0].get_value.set_executor(one)
        sinks[1].get_value.set_executor(two)
        first = nb.spawn(sinks[0].get_value)
        assert gate.entered.wait(nb.LIMIT)
        second = nb.spawn(sinks[1].get_value)
        gate.opened.set()
        assert (first.result(nb.LIMIT), second.result(nb.LIMIT)) == (1, 1)
    assert source.log == ["S.get"]


def test_two_readers_in_a_row():
    """A sequential reader joins what a threading executor runs, and the other way round."""
    source, gate = nb.Single(value=1), nb.Gate()
    sinks = nb.Single(), nb.Single()
    for sink in sinks:
        sink.set_value.connect(source.get_value)
    source.hooks["get"] = gate
    with connectors.executor(threads=0) as one, connectors.executor(threads=1) as two:
        sinks[0].get_value.set_executor(one)
        sinks[1].get_value.set_executor(two)
        for first, second in (sinks, sinks[::-1]):
            source.set_value(source.value + 1)
            gate.entered.clear()
            gate.opened.clear()
            futures = [nb.spawn(first.get_value)]
            assert gate.entered.wait(nb.LIMIT)
            futures.append(nb.spawn(second.get_value))
            gate.opened.set()
            assert [future.result(nb.LIMIT) for future in futures] == [source.value] * 2
    assert source.log == ["S.set(2)", "S.get", "S.set(3)", "S.get"]
