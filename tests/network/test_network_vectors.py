"""The acceptance vectors 1 to 17 (section 6)."""

import itertools

import pytest

import acceptance_blocks as nb
import connectors
from connectors.blocks import Multiplexer


@pytest.fixture
def log():
    return []


def read(log, output):
    """Return what runs during a read, and the value."""
    log.clear()
    value = output()
    return nb.taken(log), value


def in_order(log, *entries):
    """Tell whether entries stand in a log in this order."""
    places = [log.index(entry) for entry in entries]
    return places == sorted(places)


def test_1_chain(log):
    """Vector 1: nothing runs on connect; the first read and the read after a change."""
    source, sink = nb.chain(log)
    assert log == []
    assert read(log, sink.get_value) == (["S1.get", "S2.set(None)", "S2.get"], None)
    source.set_value(1)
    assert nb.taken(log) == ["S1.set(1)"]
    assert read(log, sink.get_value) == (["S1.get", "S2.set(1)", "S2.get"], 1)


def test_2_one_of_two_inputs_connected(log):
    """Vector 2: with one of two inputs connected, set the other directly: only the getter."""
    source, sink = nb.Single("S", log), nb.Double("D", log)
    sink.set1.connect(source.get_value)
    sink.get_values()
    sink.set2(5)
    assert read(log, sink.get_values) == (["D.get"], (None, 5))


def test_2_both_inputs_on_one_output(log):
    """Vector 2: both inputs on one output: getter once, both setters, getter once."""
    source, sink = nb.Single("S", log, 1), nb.Double("D", log)
    sink.set1.connect(source.get_value)
    sink.set2.connect(source.get_value)
    runs, value = read(log, sink.get_values)
    assert value == (1, 1)
    assert (runs[0], runs[-1]) == ("S.get", "D.get")
    assert sorted(runs[1:-1]) == ["D.set1(1)", "D.set2(1)"]


def test_3_two_outputs(log):
    """Vector 3: of two outputs, reading one does not run the other."""
    source, block = nb.Single("S", log, 1), nb.Splitter("T", log)
    block.set_value.connect(source.get_value)
    assert read(log, block.get1) == (["S.get", "T.set(1)", "T.get1"], 1)
    assert read(log, block.get2) == (["T.get2"], 1)


@pytest.mark.parametrize("form", nb.FORMS)
def test_3_joined_again(log, form):
    """Vector 3: re-joined: input once, two independent pairs, then the final getter."""
    source, block, sink = nb.Single("S", log, 1), nb.Splitter("T", log), nb.Double("D", log)
    block.set_value.connect(source.get_value)
    sink.set1.connect(block.get1)
    sink.set2.connect(block.get2)
    with nb.make_executor(form) as executor:
        sink.get_values.set_executor(executor)
        runs, value = read(log, sink.get_values)
    assert value == (1, 1)
    assert (runs[:2], runs[-1], len(runs)) == (["S.get", "T.set(1)"], "D.get", 7)
    assert in_order(runs, "T.get1", "D.set1(1)")
    assert in_order(runs, "T.get2", "D.set2(1)")


def test_4_single_disconnect(log):
    """Vector 4: a disconnect after a set runs the pending getter and setter at once."""
    source, sink = nb.chain(log)
    source.set_value(1)
    nb.taken(log)
    sink.set_value.disconnect(source.get_value)
    assert nb.taken(log) == ["S1.get", "S2.set(1)"]
    source.set_value(2)
    assert read(log, sink.get_value) == (["S2.get"], 1)


@pytest.mark.parametrize("laziness", list(connectors.Laziness))
def test_5_connecting(log, laziness):
    """Vector 5: connecting runs an ON_CONNECT input only."""
    source, sink = nb.Single("S1", log), nb.Single("S2", log)
    sink.set_value.set_laziness(laziness)
    sink.set_value.connect(source.get_value)
    assert log == (["S1.get", "S2.set(None)"] if laziness is nb.ON_CONNECT else [])


def test_5_on_announce(log):
    """Vector 5: ON_ANNOUNCE reacts to a setter, until it is switched to ON_REQUEST."""
    source, sink = nb.chain(log)
    sink.set_value.set_laziness(nb.ON_ANNOUNCE)
    source.set_value(1)
    assert nb.taken(log) == ["S1.set(1)", "S1.get", "S2.set(1)"]
    sink.set_value.set_laziness(nb.ON_REQUEST)
    source.set_value(2)
    assert log == ["S1.set(2)"]


def test_5_on_notify(log):
    """Vector 5: an ON_NOTIFY sibling is set by a read of the other consumer."""
    source, two = nb.chain(log)
    three = nb.Single("S3", log)
    three.set_value.connect(source.get_value)
    three.set_value.set_laziness(nb.ON_NOTIFY)
    source.set_value(1)
    runs, value = read(log, two.get_value)
    assert (runs[0], sorted(runs[1:]), value) == (
        "S1.get",
        ["S2.get", "S2.set(1)", "S3.set(1)"],
        1,
    )
    assert in_order(runs, "S2.set(1)", "S2.get")
    assert read(log, three.get_value) == (["S3.get"], 1)


def test_5_never_connected():
    """Vector 5: `set_laziness` works on inputs that were never connected."""
    block = nb.Single()
    block.set_value.set_laziness(nb.ON_CONNECT)
    block.set_value(1)
    assert block.get_value() == 1


def test_6_announce_condition_true(log):
    """Vector 6: with a true announce condition the full chain runs."""
    source, _, sink = nb.chain(log, nb.Single, nb.AnnounceSingle, nb.Single)
    source.set_value(1)
    full = ["S1.get", "S2.set(1)", "S2.get", "S3.set(1)", "S3.get"]
    assert read(log, sink.get_value) == (full, 1)


def test_6_announce_condition_false(log):
    """Vector 6: with a false one reads run nothing; a direct set propagates."""
    source, middle, sink = nb.chain(log, nb.Single, nb.AnnounceSingle, nb.Single)
    source.set_value(1)
    sink.get_value()
    middle.condition = False
    source.set_value(2)
    assert read(log, sink.get_value) == ([], 1)
    assert read(log, middle.get_value) == ([], 1)
    middle.set_value(3)
    assert nb.taken(log) == ["S2.set(3)"]
    assert read(log, sink.get_value) == (["S2.get", "S3.set(3)", "S3.get"], 3)


def test_7_notify_condition_false(log):
    """Vector 7: with a false notify condition a read runs the source and the setter only."""
    source, middle, sink = nb.chain(log, nb.Single, nb.NotifySingle, nb.Single)
    source.set_value(1)
    assert sink.get_value() == 1
    middle.condition = False
    source.set_value(2)
    assert read(log, sink.get_value) == (["S1.get", "S2.set(2)"], 1)
    assert read(log, middle.get_value) == ([], 1)
    middle.set_value(3)
    assert nb.taken(log) == ["S2.set(3)"]
    assert read(log, sink.get_value) == ([], 1)
    assert read(log, middle.get_value) == ([], 1)
    middle.set_value(value=4.0)
    assert nb.taken(log) == ["S2.set(4.0)"]
    assert read(log, sink.get_value) == ([], 1)


def multi_chain(log, kind=nb.Multi, key=None):
    """Return S1, a block with a multi-input, and S3, connected."""
    source, block, sink = nb.Single("S1", log, 1.0), kind("C", log), nb.Single("S3", log)
    (block.add if key is None else block.add[key]).connect(source.get_value)
    sink.set_value.connect(block.get)
    return source, block, sink


KEYS = [None, "key", 1, 2.5, (1, "two")]


@pytest.mark.parametrize("key", KEYS)
def test_8_and_9_delivery(log, key):
    """Vectors 8, 9: the first delivery adds, or replaces if keyed; later ones replace."""
    source, _block, sink = multi_chain(log, key=key)
    data_id = 0 if key is None else key
    first = "C.add(1.0)" if key is None else f"C.replace({key!r}, 1.0)"
    runs = ["S1.get", first, "C.get", "S3.set((1.0,))", "S3.get"]
    assert read(log, sink.get_value) == (runs, (1.0,))
    source.set_value(2)
    assert nb.taken(log) == ["S1.set(2)"]
    runs = ["S1.get", f"C.replace({data_id!r}, 2)", "C.get", "S3.set((2,))", "S3.get"]
    assert read(log, sink.get_value) == (runs, (2,))


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("laziness", list(connectors.Laziness))
def test_8_and_9_laziness(log, key, laziness):
    """Vectors 8, 9: laziness of a multi-input."""
    source, block = nb.Single("S", log, 1), nb.Multi("M", log)
    block.add.set_laziness(laziness)
    (block.add if key is None else block.add[key]).connect(source.get_value)
    first = "M.add(1)" if key is None else f"M.replace({key!r}, 1)"
    assert nb.taken(log) == (["S.get", first] if laziness is nb.ON_CONNECT else [])
    block.get()
    nb.taken(log)
    source.set_value(2)
    data_id = 0 if key is None else key
    reaction = ["S.get", f"M.replace({data_id!r}, 2)"]
    assert log == ["S.set(2)", *(reaction if laziness >= nb.ON_ANNOUNCE else [])]
    assert block.get() == (2,)


def test_8_announce_condition_false(log):
    """Vector 8: a false announce condition: no pull by a direct add; disconnect propagates."""
    source, block, sink = multi_chain(log, nb.ConditionalMulti)
    assert sink.get_value() == (1.0,)
    block.announcing = False
    source.set_value(2)
    assert read(log, sink.get_value) == ([], (1.0,))
    assert read(log, block.get) == ([], (1.0,))
    block.add(3)
    assert nb.taken(log) == ["C.add(3)"]
    runs = ["C.get", "S3.set((1.0, 3))", "S3.get"]
    assert read(log, sink.get_value) == (runs, (1.0, 3))
    block.add.disconnect(source.get_value)
    assert nb.taken(log) == ["C.remove(0)"]
    assert read(log, sink.get_value) == (["C.get", "S3.set((3,))", "S3.get"], (3,))


def test_8_notify_condition_false(log):
    """Vector 8: a false notify condition, with direct calls and a disconnect."""
    source, block, sink = multi_chain(log, nb.ConditionalMulti)
    assert sink.get_value() == (1.0,)
    block.set_condition(False)
    assert sink.get_value() == (1.0,)
    source.set_value(1.0)
    nb.taken(log)
    assert read(log, sink.get_value) == (["S1.get", "C.replace(0, 1.0)"], (1.0,))
    assert block.add(3.0) == 1
    assert block.add(value=4.0) == 2
    block.remove(2)
    nb.taken(log)
    block.add.disconnect(source.get_value)
    assert log == ["C.remove(0)"]
    assert read(log, sink.get_value) == ([], (1.0,))
    block.set_condition(True)
    assert nb.taken(log) == ["C.set_condition(True)"]
    assert read(log, sink.get_value) == (["C.get", "S3.set((3.0,))", "S3.get"], (3.0,))


def test_8_notify_condition_by_a_connected_input(log):
    """Vector 8: the condition may be set by an ordinary input with the same observer."""
    source, block, sink = multi_chain(log, nb.ConditionalMulti)
    switch = nb.Single("switch", log, True)
    block.set_condition.connect(switch.get_value)
    assert sink.get_value() == (1.0,)
    switch.set_value(False)
    assert sink.get_value() == (1.0,)
    source.set_value(2.0)
    assert sink.get_value() == (1.0,)
    switch.set_value(True)
    assert sink.get_value() == (2.0,)


def test_9_keyed_direct_calls(log):
    """Vector 9: the keyed variant shows replace from the first delivery on."""
    source, block, sink = multi_chain(log, nb.ConditionalMulti, key=1)
    runs = ["S1.get", "C.replace(1, 1.0)", "C.get", "S3.set((1.0,))", "S3.get"]
    assert read(log, sink.get_value) == (runs, (1.0,))
    block.notifying = False
    block.add[2](3.0)
    block.add[4](value=4.0)
    block.remove(4)
    assert nb.taken(log) == ["C.replace(2, 3.0)", "C.replace(4, 4.0)", "C.remove(4)"]
    block.add.disconnect(source.get_value)
    assert nb.taken(log) == ["C.remove(1)"]
    assert read(log, sink.get_value) == ([], (1.0,))
    block.set_condition(True)
    nb.taken(log)
    assert read(log, sink.get_value) == (["C.get", "S3.set((3.0,))", "S3.get"], (3.0,))


@pytest.mark.parametrize("consumer", [False, True])
@pytest.mark.parametrize("kind", [nb.Multi, nb.NoReplace])
def test_10_manual_calls_on_an_unconnected_multi_input(kind, consumer):
    """Vector 10: manual calls give the same with a never-read ON_ANNOUNCE consumer."""
    block, sink = kind(), nb.Single()
    if consumer:
        sink.set_value.connect(block.get)
        sink.set_value.set_laziness(nb.ON_ANNOUNCE)
    results = [block.get()]
    for value in (1.0, 2.0):
        block.add(value)
        results.append(block.get())
    if kind is nb.Multi:
        block.replace(0, 3.0)
        results.append(block.get())
        assert results.pop() == (3.0, 2.0)
    block.remove(0)
    results.append(block.get())
    assert results == [(), (1.0,), (1.0, 2.0), (2.0,)]
    if consumer:
        assert sink.value == (2.0,)


@pytest.mark.parametrize("consumer", [False, True])
def test_10_manual_calls_on_a_connected_multi_input(consumer):
    """Vector 10: on a connected multi-input a pending value comes first."""
    source, block, sink = nb.Single(), nb.Multi(), nb.Single()
    if consumer:
        sink.set_value.connect(block.get)
        sink.set_value.set_laziness(nb.ON_ANNOUNCE)
    block.add.connect(source.get_value)
    data_id = block.add(1.0)
    results = [block.get()]
    block.replace(data_id, 2.0)
    results.append(block.get())
    source.set_value(5)
    results.append(block.get())
    block.remove(data_id)
    results.append(block.get())
    assert results == [(None, 1.0), (None, 2.0), (5, 2.0), (5,)]
    if consumer:
        assert sink.value == (5,)


def test_10_a_pending_value_comes_first():
    """Vector 10: `(None,)`, `(None, 1.0)`."""
    source, block = nb.Single(), nb.Multi()
    block.add.connect(source.get_value)
    assert block.get() == (None,)
    block.add(1.0)
    assert block.get() == (None, 1.0)


def test_11_two_observers(log):
    """Vector 11: two observers of one multi-input: one add, then both branches."""
    source, block = nb.Single("S", log, 1), nb.MultiTwoOutputs("M", log)
    sink = nb.Double("D", log)
    block.add.connect(source.get_value)
    sink.set1.connect(block.get1)
    sink.set2.connect(block.get2)
    runs, value = read(log, sink.get_values)
    assert value == ((1,), (1,))
    assert (runs[:2], runs[-1], len(runs)) == (["S.get", "M.add(1)"], "D.get", 7)
    assert in_order(runs, "M.get1", "D.set1((1,))")
    assert in_order(runs, "M.get2", "D.set2((1,))")


def test_12_an_uncached_output_with_two_consumers(log):
    """Vector 12: an uncached output runs once for its consumers, and again for direct calls."""
    block = nb.Uncached("U", log)
    consumers = nb.Single("one", log), nb.Single("two", log)
    source = nb.Single("S", log, 1)
    block.set_value.connect(source.get_value)
    for consumer in consumers:
        consumer.set_value.connect(block.get_value)
    runs = ["S.get", "U.set(1)", "U.get", "one.set(1)", "one.get"]
    assert read(log, consumers[0].get_value) == (runs, 1)
    assert read(log, consumers[1].get_value) == (["two.set(1)", "two.get"], 1)
    assert read(log, consumers[0].get_value) == ([], 1)
    assert read(log, block.get_value) == (["U.get"], 1)


KEY_KINDS = {"tuple": tuple, "generator": lambda keys: (key for key in keys), "set": set}


@pytest.mark.parametrize("kind", KEY_KINDS)
def test_13_keys_change(log, kind):
    """Vector 13: keys {2, 3, 5} -> {3, 5, 7} replaces the set of delivered values."""

    class Serving(nb.MultiOut):
        @connectors.MultiOutput()
        def get(self, key):
            self.note("get", key)
            return self.factor * key

        @get.keys
        def keys(self):
            return KEY_KINDS[kind](self.served)

    source, sink = Serving("O", log, keys=(2, 3, 5)), nb.Keyed("M", log)
    sink.add.connect(source.get)
    assert sink.get() == {2: 6, 3: 9, 5: 15}
    source.set_keys((3, 5, 7))
    assert sink.get() == {3: 9, 5: 15, 7: 21}


def test_13_keys_from_another_block(log):
    """Vector 13: the same with keys that another block's output gives."""
    keys, source = nb.Single("K", log, (2, 3, 5)), nb.MultiOut("O", log)
    sink = nb.Keyed("M", log)
    source.set_keys.connect(keys.get_value)
    sink.add.connect(source.get)
    assert sink.get() == {2: 6, 3: 9, 5: 15}
    keys.set_value((3, 5, 7))
    assert sink.get() == {3: 9, 5: 15, 7: 21}


@pytest.mark.parametrize("form", nb.FORMS)
def test_13_keyed_consumers(log, form):
    """Vector 13: two consumers of key 1 and one of key 4: one getter run per key."""
    source, merge = nb.MultiOut("O", log), nb.Multi("M", log)
    consumers = [nb.Single(f"S{i}", log) for i in range(3)]
    for consumer, key in zip(consumers, (1, 1, 4), strict=True):
        consumer.set_value.connect(source.get[key])
        merge.add.connect(consumer.get_value)
    with nb.make_executor(form) as executor:
        merge.get.set_executor(executor)
        assert merge.get() == (3, 3, 12)
    assert (log.count("O.get(1)"), log.count("O.get(4)")) == (1, 1)


def multiplexer(log):
    """Return two sources, a source of the selector, a multiplexer and a target."""
    one, two, selector = (nb.Single(name, log, name) for name in ("one", "two", "selector"))
    mux, target = Multiplexer(), nb.Single("T", log)
    selector.value = None
    mux.input["x"].connect(one.get_value)
    mux.input["y"].connect(two.get_value)
    mux.select.connect(selector.get_value)
    target.set_value.connect(mux.output)
    return one, two, selector, mux, target


def test_14_nothing_selected(log):
    """Vector 14: nothing selected: both sources are read, the output is None."""
    *_, target = multiplexer(log)
    runs, value = read(log, target.get_value)
    assert value is None
    assert sorted(runs[:3]) == ["one.get", "selector.get", "two.get"]
    assert runs[3:] == ["T.set(None)", "T.get"]


def test_14_changes_of_sources(log):
    """Vector 14: changes of the selected and of an unselected source."""
    one, two, selector, _mux, target = multiplexer(log)
    selector.set_value("x")
    assert target.get_value() == "one"
    nb.taken(log)
    one.set_value(1)
    assert nb.taken(log) == ["one.set(1)"]
    assert read(log, target.get_value) == (["one.get", "T.set(1)", "T.get"], 1)
    two.set_value(2)
    assert nb.taken(log) == ["two.set(2)"]
    assert read(log, target.get_value) == (["two.get"], 1)
    selector.set_value("y")
    assert read(log, target.get_value) == (["selector.get", "T.set(2)", "T.get"], 2)


def test_14_disconnecting(log):
    """Vector 14: disconnecting and reconnecting sources of a multiplexer."""
    one, two, selector, mux, target = multiplexer(log)
    selector.set_value("x")
    assert target.get_value() == "one"
    nb.taken(log)
    mux.input.disconnect(two.get_value)
    assert log == []
    assert read(log, target.get_value) == ([], "one")
    mux.input["y"].connect(two.get_value)
    assert log == []
    selector.set_value("y")
    assert nb.taken(log) == ["selector.set('y')"]
    assert read(log, target.get_value) == (["selector.get", "T.set('two')", "T.get"], "two")
    mux.input["y"].disconnect(two.get_value)
    assert log == []
    assert read(log, target.get_value) == (["T.set(None)", "T.get"], None)
    one.set_value(1)
    selector.set_value("x")
    assert target.get_value() == 1


def test_15_macro():
    """Vector 15: values of a macro follow single and double inputs."""
    macro, one, two = nb.Macro(), nb.Single(value=1), nb.Single(value=2)
    assert macro.get_output1() == ((None, None), None)
    macro.set_input1.connect(one.get_value)
    assert macro.get_output1() == ((1, None), None)
    two.get_value.connect(macro.set_input2and3)
    assert macro.get_output1() == ((1, 2), 2)
    two.set_value(3)
    one.set_value(4)
    assert macro.get_output1() == ((4, 3), 3)
    one.get_value.disconnect(macro.set_input1)
    macro.set_input2and3.disconnect(two.get_value)
    one.set_value(5)
    two.set_value(6)
    assert macro.get_output1() == ((4, 3), 3)


def test_15_macro_in_macro():
    """Vector 15: macro in macro, and the cascade."""
    macro, source = nb.OuterMacro(), nb.Single(value=1)
    assert macro.get_inner() == ((None, None), None)
    macro.set_all.connect(source.get_value)
    assert macro.get_inner() == ((1, 1), 1)
    macro.set_all.disconnect(source.get_value)
    source.set_value(2)
    assert macro.get_inner() == ((1, 1), 1)
    assert nb.Macro().set_input1(2.3).set_input2and3(4.9).get_output1() == ((2.3, 4.9), 4.9)


class Constructed(nb.Multi):
    """Its constructor calls its connectors."""

    def __init__(self, name, log):
        super().__init__(name, log)
        self.value = None
        self.set_value(1)
        data_id = self.add(2)
        self.replace(data_id, 3)
        self.remove(data_id)
        self.get()

    @connectors.Input("get")
    def set_value(self, value):
        self.note("set", value)
        self.value = value

    @connectors.Output()
    def get(self):
        self.note("get")
        return self.value, tuple(self.data.values())


def test_16_a_constructor_that_calls(log):
    """Vector 16: five logged calls in a constructor, a sixth by a read, thirteen in a chain."""
    block = Constructed("C", log)
    assert log == ["C.set(1)", "C.add(2)", "C.replace(0, 3)", "C.remove(0)", "C.get"]
    assert block.get() == (1, ())
    assert len(log) == 6
    sources, sink = [nb.Single("S1", log, 4), nb.Single("S2", log, 5)], nb.Single("S3", log)
    block.set_value.connect(sources[0].get_value)
    block.add.connect(sources[1].get_value)
    sink.set_value.connect(block.get)
    assert sink.get_value() == (4, (5,))
    assert len(log) == 13


SIZES = list(itertools.product((0, 2), repeat=2))
LEVELS = list(itertools.product(connectors.Parallelization, repeat=2))


@pytest.mark.parametrize(("threads", "processes"), SIZES)
def test_17_executor_matrix(threads, processes):
    """Vector 17: all executors give the same values with every combination of hints."""
    with connectors.executor(threads=threads, processes=processes) as executor:
        for getting, setting in LEVELS:
            source, multi, sink = nb.Single(value=1), nb.Multi(), nb.Single()
            multi.add.connect(source.get_value)
            multi.add["k"].connect(source.get_value)
            sink.set_value.connect(multi.get)
            for output in (source.get_value, multi.get, sink.get_value):
                output.set_parallelization(getting)
            for entry in (multi.add, sink.set_value):
                entry.set_parallelization(setting)
            sink.get_value.set_executor(executor)
            assert sink.get_value() == (1, 1)
            source.set_value(2)
            assert sink.get_value() == (2, 2)
            multi.add.disconnect(source.get_value)
            assert sink.get_value() == ()
