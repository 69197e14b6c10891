"""Keyed items of multi-inputs and multi-outputs (sections 2.4 and 2.5)."""

import threading

import pytest

import acceptance_blocks as nb
import connectors

KEYS = ["k", 1.5, (1, "two"), 7]


# Multi-inputs


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("connected", [False, True])
def test_a_keyed_call_runs_replace(key, connected):
    """`m[key](value)` runs the replace function, also for a new key, and returns the block."""
    block = nb.Keyed()
    if connected:
        block.get.set_caching(True)
    assert block.add[key](1) is block
    assert block.add[key](2) is block
    assert block.get() == {key: 2}
    assert block.log == [f"M.replace({key!r}, 1)", f"M.replace({key!r}, 2)", "M.get"]


def test_a_keyed_call_takes_keywords():
    """`m[key](value=...)` passes keywords on."""
    block = nb.Keyed()
    assert block.add["k"](value=4.0) is block
    assert block.get() == {"k": 4.0}


def test_a_keyed_call_is_bracketed():
    """On a real connector a keyed call announces, notifies, and runs non-lazy inputs."""
    log = []
    block, sink = nb.Multi("M", log), nb.Single("S", log)
    sink.set_value.connect(block.get)
    sink.set_value.set_laziness(nb.ON_ANNOUNCE)
    block.add["k"](1)
    assert log == ["M.replace('k', 1)", "M.get", "S.set((1,))"]


def test_the_condition_of_a_keyed_call():
    """The notify condition sees the id that replace returned, and false cancels."""

    class Renaming(nb.ConditionalMulti):
        @connectors.MultiInput("get")
        def add(self, value):
            return self.data.add(value)

        @add.remove
        def remove(self, data_id):
            del self.data[data_id]

        @add.replace
        def replace(self, data_id, value):
            self.data[f"new {data_id}"] = value
            return f"new {data_id}"

        @add.notify_condition
        def may_notify(self, data_id, value):
            self.asked.append((data_id, value))
            return self.notifying

    block = Renaming()
    block.get.set_caching(True)
    assert block.get() == ()
    block.add["k"](1)
    assert block.get() == (1,)
    block.notifying = False
    block.add["l"](2)
    assert block.get() == (1,)
    assert block.asked == [("new k", 1), ("new l", 2)]


def test_a_keyed_call_through_a_proxy_only_replaces():
    """Through a proxy while no observer is a connector, only replace runs."""
    block = nb.ConditionalMulti()
    assert block.add["k"](1) is block
    assert (block.log, block.asked) == (["C.replace('k', 1)"], [])


def test_a_keyed_call_does_not_pull():
    """A keyed call leaves pending what was pending, and loses none of it."""
    source, block = nb.Single(value=1), nb.Keyed()
    block.add["a"].connect(source.get_value)
    block.add["b"](2)
    assert source.log == []
    assert block.get() == {"a": 1, "b": 2}


@pytest.mark.parametrize("from_output", [False, True])
@pytest.mark.parametrize("key", KEYS)
def test_a_keyed_connection(key, from_output):
    """The id of a keyed connection is the key; the first value goes through replace."""
    source, block = nb.Single(value=1), nb.Keyed()
    if from_output:
        assert source.get_value.connect(block.add[key]) is source
    else:
        assert block.add[key].connect(source.get_value) is block
    assert block.get() == {key: 1}
    source.set_value(2)
    assert block.get() == {key: 2}
    calls = [entry for entry in block.log if entry != "M.get"]
    assert calls == [f"M.replace({key!r}, 1)", f"M.replace({key!r}, 2)"]


@pytest.mark.parametrize("form", ["m", "m[key]", "m[other]"])
@pytest.mark.parametrize("from_output", [False, True])
def test_disconnecting_the_only_connection(form, from_output):
    """If a pair has one connection, disconnecting ignores the key."""
    source, block = nb.Single(value=1), nb.Keyed()
    block.add["k"].connect(source.get_value)
    assert block.get() == {"k": 1}
    entry = {"m": block.add, "m[key]": block.add["k"], "m[other]": block.add["other"]}[form]
    if from_output:
        source.get_value.disconnect(entry)
    else:
        entry.disconnect(source.get_value)
    source.set_value(2)
    assert block.get() == {}
    assert "M.remove('k')" in block.log


def test_disconnecting_one_of_several_keys():
    """If a pair has several keys, a disconnect with a key ends that one."""
    source, block = nb.Single(value=1), nb.Keyed()
    for key in "abc":
        block.add[key].connect(source.get_value)
    assert block.get() == {"a": 1, "b": 1, "c": 1}
    assert block.add["b"].disconnect(source.get_value) is block
    source.set_value(2)
    assert block.get() == {"a": 2, "c": 2}


def test_disconnecting_all_keys():
    """If a pair has several keys, a disconnect without a key ends all."""
    source, block = nb.Single(value=1), nb.Keyed()
    for key in "abc":
        block.add[key].connect(source.get_value)
    block.get()
    source.get_value.disconnect(block.add)
    source.set_value(2)
    assert block.get() == {}


# Multi-outputs


@pytest.mark.parametrize("make_real", [False, True])
def test_an_item_of_a_multi_output(make_real):
    """`o[key]` has a call, which is the getter with the key, and `key()`."""
    block = nb.MultiOut()
    if make_real:
        block.get.set_caching(True)
    assert (block.get[4](), block.get(4), block.get[4].key()) == (12, 12, 4)


@pytest.mark.parametrize("make_real", [False, True])
def test_wrong_arguments(make_real):
    """Too many arguments and a missing key raise the getter's own TypeError."""
    block = nb.MultiOut()
    if make_real:
        block.get.set_caching(True)
    with pytest.raises(TypeError, match=r"get\(\) takes 2 positional arguments but 3 were given"):
        block.get[12](4)
    with pytest.raises(TypeError, match=r"get\(\) missing 1 required positional argument: 'key'"):
        block.get()


def test_results_are_cached_per_key():
    """Results are cached per key and shared between `o(key)` and `o[key]()`."""
    block = nb.MultiOut()
    block.get.set_caching(True)
    assert [block.get(1), block.get[1](), block.get(2), block.get[2](), block.get(1)] == [
        3,
        3,
        6,
        6,
        3,
    ]
    assert block.log == ["O.get(1)", "O.get(2)"]
    block.set_factor(1)
    assert [block.get(1), block.get[1](), block.get(2)] == [1, 1, 2]


def test_keys_are_compared_by_hash_and_equality():
    """Connections under equal keys share one source."""
    source, one, two = nb.MultiOut(), nb.Single(), nb.Single()
    one.set_value.connect(source.get[1])
    two.set_value.connect(source.get[1.0])
    assert (one.get_value(), two.get_value()) == (3, 3)
    assert len(source.log) == 1


@pytest.mark.parametrize("form", ["sequential", "threading", "trio"])
def test_one_run_per_key_and_change(form):
    """A getter runs once per key and change, also with several consumers in parallel."""
    source, merge = nb.MultiOut(), nb.Multi()
    consumers = [nb.Single() for _ in range(4)]
    for consumer, key in zip(consumers, (1, 1, 4, 4), strict=True):
        consumer.set_value.set_parallelization(nb.THREAD)
        consumer.set_value.connect(source.get[key])
        merge.add.connect(consumer.get_value)
    with nb.make_executor(form) as executor:
        merge.get.set_executor(executor)
        assert merge.get() == (3, 3, 12, 12)
        assert sorted(nb.taken(source.log)) == ["O.get(1)", "O.get(4)"]
        source.set_factor(2)
        assert merge.get() == (2, 2, 8, 8)
        assert sorted(source.log[1:]) == ["O.get(1)", "O.get(4)"]


def test_disconnecting_an_item():
    """`o[key].disconnect` ends that connection."""
    source, one, two = nb.MultiOut(), nb.Single(), nb.Single()
    one.set_value.connect(source.get[1])
    two.set_value.connect(source.get[1])
    assert (one.get_value(), two.get_value()) == (3, 3)
    assert source.get[1].disconnect(one.set_value) is source
    source.set_factor(5)
    assert (one.get_value(), two.get_value()) == (3, 5)


@pytest.mark.parametrize("form", nb.FORMS)
def test_a_dictionary_is_transported(form):
    """`o.connect(multi_input)` transports {key: value}; keys become ids via replace."""
    source, sink = nb.MultiOut(keys=(2, 3, 5)), nb.Keyed()
    source.get.set_parallelization(nb.PROCESS)
    sink.add.connect(source.get)
    with nb.make_executor(form) as executor:
        sink.get.set_executor(executor)
        assert sink.get() == {2: 6, 3: 9, 5: 15}
    assert sorted(sink.log) == ["M.get", "M.replace(2, 6)", "M.replace(3, 9)", "M.replace(5, 15)"]


def test_keys_that_went_are_removed_first():
    """Ids delivered earlier but missing now are removed before the others are replaced."""
    source, sink = nb.MultiOut(keys=(2, 3, 5)), nb.Keyed()
    sink.add.connect(source.get)
    sink.get()
    nb.taken(sink.log)
    source.set_keys((3, 5, 7))
    assert sink.get() == {3: 9, 5: 15, 7: 21}
    assert sink.log[0] == "M.remove(2)"
    assert [entry for entry in sink.log if "remove" in entry] == ["M.remove(2)"]


def test_keys_are_read_after_pending_inputs():
    """The keys are evaluated after pending inputs were processed."""
    keys, source, sink = nb.Single(value=(1, 2)), nb.MultiOut(), nb.Keyed()
    source.set_keys.connect(keys.get_value)
    sink.add.connect(source.get)
    assert sink.get() == {1: 3, 2: 6}
    keys.set_value((2, 4))
    assert sink.get() == {2: 6, 4: 12}


def test_keys_are_computed_concurrently():
    """Every key is computed concurrently."""
    source, sink = nb.MultiOut(keys=(1, 2, 3)), nb.Keyed()
    source.hooks["get"] = nb.meeting(3)
    sink.add.connect(source.get)
    with connectors.executor(threads=3) as executor:
        sink.get.set_executor(executor)
        assert sink.get() == {1: 3, 2: 6, 3: 9}


def test_disconnecting_removes_all_ids():
    """Disconnecting a multi-output removes all ids that it delivered."""
    source, sink = nb.MultiOut(keys=(2, 3)), nb.Keyed()
    sink.add["own"](1)
    sink.add.connect(source.get)
    assert sink.get() == {"own": 1, 2: 6, 3: 9}
    sink.add.disconnect(source.get)
    assert sink.get() == {"own": 1}


def test_a_connection_without_keys_method():
    """Without a keys method nothing is transported."""
    source, sink = nb.Keyless(), nb.Keyed()
    source.get.connect(sink.add)
    assert (sink.get(), source.log) == ({}, [])


def test_keyed_and_whole_connections_together():
    """A multi-output serves keyed and whole connections, with one run per key."""
    source, sink, single = nb.MultiOut(keys=(1, 2)), nb.Keyed(), nb.Single()
    sink.add.connect(source.get)
    single.set_value.connect(source.get[2])
    assert (sink.get(), single.get_value()) == ({1: 3, 2: 6}, 6)
    assert sorted(source.log) == ["O.get(1)", "O.get(2)"]


def test_multi_output_getters_run_in_threads():
    """A multi-output is THREAD by default."""
    source, threads = nb.MultiOut(), []
    source.hooks["get"] = lambda key: threads.append(threading.current_thread())
    with connectors.executor(threads=1) as executor:
        source.get.set_executor(executor)
        source.get(1)
    assert threads[0] is not threading.current_thread()
