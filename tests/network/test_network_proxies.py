"""Proxies, and the methods of proxies and real connectors (sections 2.2 and 2.3)."""

import gc
import threading

import pytest

import acceptance_blocks as nb
import connectors
from connectors import connectors as kinds


def is_real(block, name):
    return isinstance(vars(block).get(name), kinds.Connector)


# Proxies


@pytest.mark.parametrize(
    ("block", "name"),
    [
        (nb.Single(), "set_value"),
        (nb.Single(), "get_value"),
        (nb.Multi(), "add"),
        (nb.MultiOut(), "get"),
    ],
)
def test_each_access_gives_a_new_proxy(block, name):
    """Attribute access builds a new proxy each time and leaves the instance as it was."""
    before = dict(vars(block))
    assert getattr(block, name) is not getattr(block, name)
    assert vars(block) == before


def test_a_proxy_holds_its_block():
    """Connectors of a block that nobody else holds can be called, also in a chain."""
    nb.Single().set_value(1)
    assert nb.Single(value=3).get_value() == 3
    assert nb.Double().set1(1.0).set2(2.0).get_values() == (1.0, 2.0)
    assert nb.MultiOut().get(2) == 6
    assert nb.Multi().add(2) == 0


def test_a_proxy_makes_no_reference_cycle():
    """Nothing on the instance references a proxy."""
    block = nb.Double()
    block.set1(1)
    proxies = [block.set1, block.get_values]
    gone = nb.Gone(block)
    gc.disable()
    try:
        del block, proxies
        assert gone
    finally:
        gc.enable()


@pytest.mark.parametrize("make_real", [False, True])
@pytest.mark.parametrize(
    ("kind", "name", "doc"),
    [
        (nb.Single, "set_value", "Set the value."),
        (nb.Single, "get_value", "Return the value."),
        (nb.Multi, "add", "Add a value."),
        (nb.MultiOut, "get", "Return the product with a key."),
    ],
)
def test_metadata(kind, name, doc, make_real):
    """Proxies and connectors imitate the metadata of the function."""
    block = kind()
    if make_real:
        getattr(block, name).set_parallelization(nb.THREAD)
    connector = getattr(block, name)
    assert (connector.__name__, connector.__doc__, connector.__module__) == (
        name,
        doc,
        "acceptance_blocks",
    )
    assert connector.__qualname__ == f"{kind.__name__}.{name}"
    assert connector.__wrapped__.__name__ == name


def test_metadata_of_associates_and_macros():
    """Associates and macro connectors imitate the metadata of the function."""
    for connector, name, doc in [
        (nb.Multi().remove, "remove", "Remove a value."),
        (nb.Multi().replace, "replace", "Replace a value."),
        (nb.Macro().set_input1, "set_input1", "Set the first value."),
        (nb.Macro().get_output1, "get_output1", "Return all values."),
    ]:
        assert (connector.__name__, connector.__doc__) == (name, doc)
        assert connector.__wrapped__.__name__ == name


def test_calling_an_output_proxy():
    """Calling an output proxy is calling the function, without caching, in this thread."""
    block, threads = nb.Single(value=2), []
    block.hooks["get"] = lambda: threads.append(threading.current_thread())
    assert (block.get_value(), block.get_value()) == (2, 2)
    assert threads == [threading.current_thread()] * 2


def test_calling_a_multi_output_proxy():
    """Calling a multi-output proxy is calling the function, without caching, in this thread."""
    block, threads = nb.MultiOut(), []
    block.hooks["get"] = lambda key: threads.append(threading.current_thread())
    assert (block.get(2), block.get(2)) == (6, 6)
    assert threads == [threading.current_thread()] * 2


@pytest.mark.parametrize("level", list(connectors.Parallelization))
def test_calling_an_input_proxy_runs_in_this_thread(level):
    """Calling an input proxy runs the function in the calling thread and gives its result."""

    class Input(nb.Single):
        @connectors.Input("get_value", parallelization=level)
        def set_value(self, value):
            self.value = value
            return threading.current_thread()

    assert Input().set_value(1) is threading.current_thread()


def test_an_input_proxy_changes_real_observers():
    """Calling an input proxy announces to observers that are real connectors."""
    log = []
    block, sink = nb.chain(log)
    assert sink.get_value() is None
    assert not is_real(block, "set_value")
    block.set_value(1)
    assert sink.get_value() == 1
    assert not is_real(block, "set_value")


def test_an_input_proxy_runs_non_lazy_inputs():
    """Calling an input proxy announces, runs the function and then runs non-lazy inputs."""
    log = []
    block, sink = nb.chain(log)
    sink.set_value.set_laziness(nb.ON_ANNOUNCE)
    assert block.set_value(1) is block
    assert log == ["S1.set(1)", "S1.get", "S2.set(1)"]


def test_a_multi_input_proxy_runs_non_lazy_inputs():
    """Calling a multi-input proxy does the same, and gives the new id."""
    log = []
    block, sink = nb.Multi("M", log), nb.Single("S", log)
    sink.set_value.connect(block.get)
    sink.set_value.set_laziness(nb.ON_ANNOUNCE)
    assert block.add(1) == 0
    assert log == ["M.add(1)", "M.get", "S.set((1,))"]


def test_an_input_proxy_cancels_if_the_notify_condition_is_false():
    """Calling an input proxy cancels if the notify condition is false."""
    block, sink = nb.chain([], nb.NotifySingle, nb.Single)
    assert sink.get_value() is None
    block.condition = False
    nb.taken(block.log)
    block.set_value(1)
    assert sink.get_value() is None
    assert block.log == ["S1.set(1)"]


def test_an_input_proxy_does_not_ask_announce_conditions():
    """Announce conditions are not consulted by calls of a proxy."""
    block, sink = nb.chain([], nb.AnnounceSingle, nb.Single)
    assert sink.get_value() is None
    block.condition = False
    block.set_value(1)
    assert sink.get_value() == 1


def test_observers_that_are_proxies_are_left_alone():
    """Observers that are themselves proxies ignore announce and notify."""
    block = nb.Single()
    block.set_value(1)
    assert block.log == ["S.set(1)"]
    assert set(vars(block)) == {"name", "log", "hooks", "value"}


# From proxy to connector

CONVERSIONS = {
    "set_laziness": lambda connector: connector.set_laziness(nb.ON_NOTIFY),
    "set_caching": lambda connector: connector.set_caching(True),
    "set_parallelization": lambda connector: connector.set_parallelization(nb.THREAD),
    "set_executor": lambda connector: connector.set_executor("threading"),
}


@pytest.mark.parametrize(
    ("kind", "name", "conversion"),
    [
        (kind, name, conversion)
        for kind, name, is_input in [
            (nb.Single, "set_value", True),
            (nb.Multi, "add", True),
            (nb.Single, "get_value", False),
            (nb.MultiOut, "get", False),
        ]
        for conversion in CONVERSIONS
        if conversion != ("set_caching" if is_input else "set_laziness")
    ],
)
def test_setting_makes_a_connector(kind, name, conversion):
    """A proxy turns into a real connector on `set_*`, which return None."""
    block = kind()
    assert CONVERSIONS[conversion](getattr(block, name)) is None
    assert is_real(block, name)
    assert getattr(block, name) is getattr(block, name)


@pytest.mark.parametrize("from_output", [False, True])
def test_connecting_makes_connectors(from_output):
    """`connect` and being connected to turn proxies into connectors."""
    source, multi_out, single, multi = nb.Single(), nb.MultiOut(), nb.Single(), nb.Multi()
    pairs = [(source.get_value, single.set_value), (multi_out.get, multi.add)]
    for output, entry in pairs:
        if from_output:
            output.connect(entry)
        else:
            entry.connect(output)
    assert is_real(source, "get_value")
    assert is_real(single, "set_value")
    assert is_real(multi_out, "get")
    assert is_real(multi, "add")


def test_a_key_makes_a_connector_if_an_observer_is_real():
    """`[key]` on a multi-input proxy makes a connector only if an observer is one."""
    block = nb.Multi()
    block.add["k"](1)
    assert not is_real(block, "add")
    block.get.set_caching(True)
    assert not is_real(block, "add")
    _ = block.add["k"]
    assert is_real(block, "add")


def test_an_input_connector_makes_those_of_its_observers():
    """Creating an input connector creates the connectors of all its observers."""
    block = nb.Splitter()
    block.set_value.set_laziness(nb.ON_REQUEST)
    assert is_real(block, "get1")
    assert is_real(block, "get2")


def test_an_output_connector_makes_no_other():
    """Creating an output connector creates nothing else."""
    block = nb.Splitter()
    block.get1.set_caching(True)
    assert [name for name in ("set_value", "get1", "get2") if is_real(block, name)] == ["get1"]


def test_two_kept_proxies_lead_to_one_connector():
    """There is at most one connector per method and block, also from kept proxies."""
    source = nb.Single(value=1)
    one, two = source.get_value, source.get_value
    sinks = nb.Single(), nb.Single()
    one.connect(sinks[0].set_value)
    connector = source.get_value
    two.connect(sinks[1].set_value)
    assert source.get_value is connector
    source.set_value(2)
    assert [sink.get_value() for sink in sinks] == [2, 2]


class Configured(nb.Single):
    """Configures a connector in its constructor."""

    def __init__(self, name, conversion):
        super().__init__()
        CONVERSIONS[conversion](getattr(self, name))


@pytest.mark.parametrize(
    ("name", "conversion"),
    [
        ("set_value", "set_laziness"),
        ("get_value", "set_caching"),
        ("get_value", "set_parallelization"),
        ("get_value", "set_executor"),
    ],
)
def test_a_connector_holds_its_block_weakly(name, conversion):
    """A configured block that is not stored is dead before the call; a stored one works."""
    args = (1,) if name == "set_value" else ()
    with pytest.raises(connectors.BlockGoneError) as caught:
        getattr(Configured(name, conversion), name)(*args)
    assert isinstance(caught.value, AttributeError)
    stored = Configured(name, conversion)
    getattr(stored, name)(*args)
    assert len(stored.log) == 1


def test_a_constructor_that_only_calls():
    """Constructors that merely call their connectors leave blocks that need not be stored."""

    class Calling(nb.Single):
        def __init__(self):
            super().__init__()
            self.set_value(4)

    assert Calling().get_value() == 4


@pytest.mark.parametrize("make_real", [False, True])
@pytest.mark.parametrize(
    ("kind", "name", "methods"),
    [
        (nb.Single, "set_value", "set_laziness"),
        (nb.Multi, "add", "set_laziness __getitem__"),
        (nb.Single, "get_value", "set_caching invalidate"),
        (nb.MultiOut, "get", "set_caching invalidate __getitem__"),
    ],
)
def test_methods(kind, name, methods, make_real):
    """Proxies and connectors offer call, connect, disconnect, set_*, aio and, if multi, []."""
    block = kind()
    if make_real:
        getattr(block, name).set_parallelization(nb.THREAD)
    common = "__call__ connect disconnect set_parallelization set_executor aio"
    for method in [*common.split(), *methods.split()]:
        assert callable(getattr(getattr(block, name), method))


# Methods


def test_connect_returns_the_block_it_is_called_on():
    """`connect` and `disconnect` from either end return the block of the object called."""
    up, down = nb.Single(), nb.Single()
    for _ in range(2):  # with proxies, then with connectors
        assert up.get_value.connect(down.set_value) is up
        assert up.get_value.disconnect(down.set_value) is up
        assert down.set_value.connect(up.get_value) is down
        assert down.set_value.disconnect(up.get_value) is down


def test_connect_returns_the_block_of_multi_connectors():
    """The same holds for multi-inputs, multi-outputs and their items."""
    up, down = nb.MultiOut(), nb.Multi()
    for _ in range(2):
        assert up.get.connect(down.add) is up
        assert up.get.disconnect(down.add) is up
        assert down.add.connect(up.get) is down
        assert down.add.disconnect(up.get) is down
        assert up.get[1].connect(down.add["k"]) is up
        assert up.get[1].disconnect(down.add["k"]) is up
        assert down.add["k"].connect(up.get[1]) is down
        assert down.add["k"].disconnect(up.get[1]) is down


@pytest.mark.parametrize("from_output", [False, True])
@pytest.mark.parametrize("output", ["output", "item"])
@pytest.mark.parametrize("entry", ["input", "multi-input", "multi-input item", "macro input"])
def test_partners_of_outputs(output, entry, from_output):
    """Outputs and keyed multi-output items can be connected to every kind of input."""
    single, multi, macro = nb.Single(), nb.Multi(), nb.Macro()
    source = nb.Single(value=6) if output == "output" else nb.MultiOut()
    out = source.get_value if output == "output" else source.get[2]
    partner, block, getter, expected = {
        "input": (single.set_value, single, "get_value", 6),
        "multi-input": (multi.add, multi, "get", (6,)),
        "multi-input item": (multi.add["k"], multi, "get", (6,)),
        "macro input": (macro.set_input1, macro, "get_output1", ((6, None), None)),
    }[entry]
    if from_output:
        out.connect(partner)
    else:
        partner.connect(out)
    assert getattr(block, getter)() == expected


@pytest.mark.parametrize("entry", ["input", "multi-input item"])
def test_a_multi_output_refuses_single_inputs(entry):
    """A plain multi-output raises TypeError with a single input or item, from both ends."""
    source, single, multi = nb.MultiOut(), nb.Single(), nb.Multi()
    partner = single.set_value if entry == "input" else multi.add["k"]
    with pytest.raises(TypeError):
        source.get.connect(partner)
    with pytest.raises(TypeError):
        partner.connect(source.get)
    assert (single.get_value(), multi.get()) == (None, ())


def test_set_caching_false_drops_results():
    """`set_caching(False)` drops cached results at once."""
    block = nb.Single(value=1)
    block.get_value.set_caching(True)
    assert (block.get_value(), block.get_value()) == (1, 1)
    assert block.log == ["S.get"]
    block.get_value.set_caching(False)
    block.get_value.set_caching(True)
    assert block.get_value() == 1
    assert block.log == ["S.get"] * 2


def test_set_caching_false_drops_results_of_keys():
    """The same holds for multi-outputs."""
    block = nb.MultiOut()
    block.get.set_caching(True)
    assert (block.get(1), block.get(1)) == (3, 3)
    block.get.set_caching(False)
    assert (block.get(1), block.get(1)) == (3, 3)
    assert block.log == ["O.get(1)"] * 3


def test_settings_compute_nothing():
    """`set_laziness`, `set_parallelization` and `set_executor` only store."""
    log = []
    _source, sink = nb.chain(log)
    sink.set_value.set_laziness(nb.ON_CONNECT)
    for name in ("set_value", "get_value"):
        getattr(sink, name).set_parallelization(nb.THREAD)
        getattr(sink, name).set_executor("sequential")
    assert log == []


@pytest.mark.parametrize("conversion", ["set_parallelization", "set_executor"])
def test_settings_keep_cached_results(conversion):
    """Settings other than caching keep a cached result."""
    block = nb.Single(value=1)
    block.get_value.set_caching(True)
    block.get_value()
    CONVERSIONS[conversion](block.get_value)
    block.get_value()
    assert block.log == ["S.get"]


def test_invalidate():
    """`invalidate` drops cached results and announces downstream; it returns the block."""
    source, sink = nb.chain([])
    sink.get_value()
    source.value = 7
    assert sink.get_value() is None
    nb.taken(source.log)
    assert source.get_value.invalidate() is source
    assert source.log == []
    assert sink.get_value() == 7
    assert source.log == ["S1.get", "S2.set(7)", "S2.get"]


def test_invalidate_runs_non_lazy_inputs():
    """`invalidate` runs non-lazy inputs, like a setter."""
    source, sink = nb.chain([])
    sink.set_value.set_laziness(nb.ON_ANNOUNCE)
    sink.get_value()
    nb.taken(source.log)
    source.value = 7
    source.get_value.invalidate()
    assert source.log == ["S1.get", "S2.set(7)"]


def test_invalidate_a_multi_output():
    """`invalidate` of a multi-output drops the results of all keys."""
    source, sink = nb.MultiOut(keys=(1, 2)), nb.Keyed()
    sink.add.connect(source.get)
    assert sink.get() == {1: 3, 2: 6}
    source.factor = 10
    assert source.get.invalidate() is source
    assert sink.get() == {1: 10, 2: 20}


def test_invalidate_a_proxy():
    """`invalidate` of a proxy returns the block."""
    block, multi = nb.Single(), nb.MultiOut()
    assert block.get_value.invalidate() is block
    assert multi.get.invalidate() is multi
    assert block.log + multi.log == []


def test_connecting_twice_adds_nothing():
    """Connecting the same pair twice adds nothing."""
    source, sink, multi = nb.Single(value=1), nb.Single(), nb.Multi()
    for _ in range(2):
        sink.set_value.connect(source.get_value)
        source.get_value.connect(multi.add)
    assert (sink.get_value(), multi.get()) == (1, (1,))
    assert sink.log + multi.log == ["S.set(1)", "S.get", "M.add(1)", "M.get"]
    source.get_value.connect(multi.add)
    assert multi.get() == (1,)


def test_one_output_on_two_keys():
    """An output connected to two keys of one multi-input feeds both."""
    source, multi = nb.Single(value=1), nb.Keyed()
    multi.add["a"].connect(source.get_value)
    multi.add["b"].connect(source.get_value)
    assert multi.get() == {"a": 1, "b": 1}
    source.set_value(2)
    assert multi.get() == {"a": 2, "b": 2}


def test_a_single_input_with_two_outputs():
    """All outputs of a single input stay connected; the last to announce gives the value."""
    one, two, sink = nb.Single(value=1), nb.Single(value=2), nb.Single()
    sink.set_value.connect(one.get_value)
    sink.set_value.connect(two.get_value)
    assert nb.spawn(sink.get_value).result(nb.LIMIT) == 2
    one.set_value(3)
    assert nb.spawn(sink.get_value).result(nb.LIMIT) == 3
    two.set_value(4)
    one.set_value(5)
    assert nb.spawn(sink.get_value).result(nb.LIMIT) == 5
    one.set_value(6)
    two.set_value(7)
    assert nb.spawn(sink.get_value).result(nb.LIMIT) == 7


# Calls of real connectors


def test_a_valid_result_is_returned_directly():
    """A valid cached result is returned without running anything."""
    log = []
    _source, sink = nb.chain(log)
    sink.get_value()
    nb.taken(log)
    assert sink.get_value() is None
    assert log == []


@pytest.mark.parametrize("level", list(connectors.Parallelization))
def test_a_single_input_runs_in_this_thread(level):
    """A direct call of an input runs in the calling thread, whatever the parallelization."""
    block, threads = nb.Single(), []
    block.hooks["set"] = lambda value: threads.append(threading.current_thread())
    block.set_value.set_parallelization(level)
    block.set_value.set_executor(connectors.executor(threads=2))
    assert block.set_value(1) is block
    assert threads == [threading.current_thread()]


def test_a_manual_value_wins():
    """A direct call discards a pending announcement of this input."""
    log = []
    source, sink = nb.chain(log)
    source.set_value(1)
    sink.set_value(5)
    assert sink.get_value() == 5
    assert log == ["S1.set(1)", "S2.set(5)", "S2.get"]
    source.set_value(2)
    assert sink.get_value() == 2


def test_a_manual_value_wins_over_a_pending_value():
    """A direct call discards a value that was delivered and is pending."""
    source, one, two = nb.Single(value=1), nb.Single(), nb.Single()
    one.set_value.connect(source.get_value)
    two.set_value.connect(source.get_value)
    assert one.get_value() == 1  # delivers to both
    two.set_value(5)
    assert two.get_value() == 5
    assert two.log == ["S.set(5)", "S.get"]


def test_a_direct_call_does_not_ask_announce_conditions():
    """Announce conditions are not consulted on direct calls of a connector."""
    _source, block, sink = nb.chain([], nb.Single, nb.AnnounceSingle, nb.Single)
    sink.get_value()
    block.condition = False
    block.set_value(3)
    assert sink.get_value() == 3


def test_a_direct_call_cancels_if_the_notify_condition_is_false():
    """A direct call cancels if the notify condition is false."""
    log = []
    _source, block, sink = nb.chain(log, nb.Single, nb.NotifySingle, nb.Single)
    sink.get_value()
    block.condition = False
    nb.taken(log)
    block.set_value(3)
    assert (block.get_value(), sink.get_value()) == (None, None)
    assert log == ["S2.set(3)"]


def test_a_direct_call_runs_non_lazy_inputs():
    """A direct call of a connector runs collected non-lazy inputs before it returns."""
    log = []
    _source, block, sink = nb.chain(log, nb.Single, nb.Single, nb.Single)
    sink.set_value.set_laziness(nb.ON_ANNOUNCE)
    sink.get_value()
    nb.taken(log)
    block.set_value(3)
    assert log == ["S2.set(3)", "S2.get", "S3.set(3)"]


def test_a_multi_input_call_keeps_the_connection_order():
    """A direct add comes after values that are pending from connected outputs."""
    source, block = nb.Single(value=1), nb.Keyed()
    block.add.connect(source.get_value)
    assert block.add(5) == 1
    assert block.get() == {0: 1, 1: 5}


def test_a_multi_input_call_replaces_pending_values_first():
    """No pending value is lost by a direct add."""
    sources, block = [nb.Single(value=1), nb.Single(value=2)], nb.Multi()
    for source in sources:
        block.add.connect(source.get_value)
    assert block.get() == (1, 2)
    sources[0].set_value(3)
    block.add(5)
    assert block.get() == (3, 2, 5)


@pytest.mark.parametrize("level", list(connectors.Parallelization))
def test_a_multi_input_runs_in_this_thread(level):
    """A direct call of a multi-input runs in the calling thread and returns the id."""
    block, threads = nb.Multi(), []
    for method in ("add", "remove", "replace"):
        block.hooks[method] = lambda *_: threads.append(threading.current_thread())
    block.add.set_parallelization(level)
    block.add.set_executor(connectors.executor(threads=2))
    assert block.add(1) == 0
    assert block.replace(0, 2) == 0
    assert block.remove(0) is None
    assert threads == [threading.current_thread()] * 3


def test_a_multi_input_call_notifies_if_any_condition_is_true():
    """If the condition is true for one of the pairs of a call, the call notifies."""

    class Choosy(nb.ConditionalMulti):
        @connectors.MultiInput("get")
        def add(self, value):
            return self.data.add(value)

        @add.remove
        def remove(self, data_id):
            del self.data[data_id]

        @add.notify_condition
        def may_notify(self, data_id, value):
            return value == 1

    source, block = nb.Single(value=1), Choosy()
    block.get.set_caching(True)
    assert block.get() == ()
    block.add(5)
    assert block.get() == ()
    block.add.connect(source.get_value)
    block.add(6)
    assert block.get() == (5, 1, 6)


@pytest.mark.parametrize(
    ("args", "kwargs"), [((4.0,), {}), ((), {"value": 4.0}), ((), {"more": 2, "value": 4.0})]
)
def test_the_value_that_a_condition_gets(args, kwargs):
    """The value is the first argument, the only keyword, or the first parameter by signature."""
    asked = []

    class Wide(nb.Block):
        @connectors.MultiInput("get")
        def add(self, value, more=1):
            return "id"

        @add.remove
        def remove(self, data_id):
            pass

        @add.notify_condition
        def may_notify(self, data_id, value):
            asked.append((data_id, value))
            return True

        @connectors.Output()
        def get(self):
            return None

    block = Wide()
    block.add.set_laziness(nb.ON_REQUEST)
    assert block.add(*args, **kwargs) == "id"
    assert asked == [("id", 4.0)]


def test_changes_held_back_are_not_pulled():
    """A direct add does not pull changes that an announce condition holds back."""
    source, block = nb.Single(value=1), nb.ConditionalMulti()
    block.add.connect(source.get_value)
    assert block.get() == (1,)
    block.announcing = False
    source.set_value(2)
    block.add(5)
    assert block.get() == (1, 5)
    assert source.log == ["S.get", "S.set(2)"]


@pytest.mark.parametrize("name", ["remove", "replace"])
def test_associates_change_observers(name):
    """Direct remove and replace announce and notify observers, and return their result."""
    block, sink = nb.ConditionalMulti(), nb.Single()
    sink.set_value.connect(block.get)
    assert block.add(1) == 0
    assert sink.get_value() == (1,)
    block.asked.clear()
    if name == "remove":
        assert block.remove(0) == "removed"
        assert (sink.get_value(), block.asked) == ((), [("notify", 0, None)])
    else:
        assert block.replace(0, 2) == 0
        assert (sink.get_value(), block.asked) == ((2,), [("notify", 0, 2)])


@pytest.mark.parametrize("name", ["remove", "replace"])
def test_associates_cancel(name):
    """Direct remove and replace cancel if the notify condition is false."""
    block, sink = nb.ConditionalMulti(), nb.Single()
    sink.set_value.connect(block.get)
    block.add(1)
    assert sink.get_value() == (1,)
    block.notifying = False
    nb.taken(block.log)
    block.remove(0) if name == "remove" else block.replace(0, 2)
    assert (sink.get_value(), block.get()) == ((1,), (1,))
    assert "C.get" not in block.log


@pytest.mark.parametrize("name", ["remove", "replace"])
def test_associates_run_non_lazy_inputs(name):
    """Direct remove and replace run non-lazy inputs."""
    log = []
    block, sink = nb.Multi("M", log), nb.Single("S", log)
    sink.set_value.connect(block.get)
    sink.set_value.set_laziness(nb.ON_ANNOUNCE)
    block.add(1)
    nb.taken(log)
    block.remove(0) if name == "remove" else block.replace(0, 2)
    assert log[1:] == ["M.get", f"S.set({() if name == 'remove' else (2,)})"]


def test_pending_values_stay_pending_at_associates():
    """A direct remove or replace does not pull pending values, and loses none."""
    source, block = nb.Single(value=1), nb.Multi()
    block.add(7)
    block.add.connect(source.get_value)
    block.replace(0, 8)
    block.remove(0)
    assert source.log == []
    assert block.get() == (1,)
