"""Pictures of networks: `connectors.network.graph`."""

import gc
import sys
import threading

import pytest

import acceptance_blocks as nb
import connectors
from connectors.network import _survey, graph


def states(picture):
    """Return the states of all ports by node and port, ``Single 1.get_value``."""
    return {
        f"{node.id}.{port.id}": str(port.state) for node in picture.nodes for port in node.ports
    }


def details(picture, name):
    node, _, port = name.rpartition(".")
    (found,) = [p for n in picture.nodes if n.id == node for p in n.ports if p.id == port]
    return found.details


def ends(picture):
    return [
        (f"{edge.source}.{edge.source_port}", f"{edge.target}.{edge.target_port}", edge.label)
        for edge in picture.edges
    ]


def edge_states(picture):
    return [str(edge.state) for edge in picture.edges]


# What is found


def test_a_block_alone():
    """A block that is given shows all its connectors, and no connector is made for that."""
    block = nb.Single()
    before = dict(vars(block))

    picture = graph(block)

    assert [node.label for node in picture.nodes] == ["Single"]
    assert states(picture) == {"Single.set_value": "idle", "Single.get_value": "idle"}
    assert "not connected" in details(picture, "Single.set_value")
    assert vars(block) == before


@pytest.mark.parametrize("given", [0, 1, 2])
def test_both_directions(given):
    """The network is found upstream and downstream, whichever block is given."""
    blocks = nb.chain([], nb.Single, nb.Single, nb.Single)

    picture = graph(blocks[given])

    assert ends(picture) == [
        ("Single 1.get_value", "Single 2.set_value", ""),
        ("Single 2.get_value", "Single 3.set_value", ""),
    ]


def test_names_do_not_depend_on_where_one_asks():
    """Blocks of a class are numbered from upstream to downstream, for each question alike."""
    blocks = nb.chain([], *[nb.Single] * 12)
    for one, other in zip(blocks, blocks[1:]):
        one.get_value.set_caching(True)
        other.get_value.set_caching(True)
    for block in blocks:
        block.set_value.set_laziness(nb.ON_REQUEST)  # all connectors are real

    pictures = [graph(block) for block in blocks]

    assert all(picture == pictures[0] for picture in pictures)
    assert [node.id for node in pictures[0].nodes] == [f"Single {i}" for i in range(1, 13)]


def test_numbers_avoid_names_of_classes():
    """Two blocks never have the same name, whatever their classes are called."""
    odd = type("Single 1", (nb.Single,), {})()

    picture = graph(nb.Single(), nb.Single(), odd)

    assert [node.id for node in picture.nodes] == ["Single 2", "Single 3", "Single 1"]


def test_several_networks():
    """Networks that do not hang together are shown in one picture if several blocks are given."""
    one, other = nb.chain([]), nb.chain([])

    assert len(graph(one[0], other[0], one[1]).nodes) == 4
    assert len(graph(one[0]).nodes) == 2
    assert graph().nodes == ()


def test_other_blocks_show_real_connectors():
    """A block that was not given shows what was connected or configured."""
    one, other = nb.chain([])

    assert list(states(graph(one))) == [
        "Single 1.set_value",
        "Single 1.get_value",
        "Single 2.set_value",
        "Single 2.get_value",
    ]
    assert "Single 1.set_value" not in states(graph(other))


def test_inputs_are_left_and_outputs_right():
    """Ports stand in the order of their definition, inputs on the left."""
    (node,) = graph(nb.Double()).nodes

    assert [port.id for port in node.inputs] == ["set1", "set2"]
    assert [port.id for port in node.outputs] == ["get_values"]


def test_across_a_block():
    """Branches that meet only in a block are found through its other connectors."""
    one, two, both, behind = nb.Single(), nb.Single(), nb.Double(), nb.Single()
    both.set1.connect(one.get_value)
    both.set2.connect(two.get_value)
    both.get_values.connect(behind.set_value)

    assert len(graph(one).nodes) == 4
    assert graph(one, two, both, behind).edges == graph(two, behind, one, both).edges


def test_keyed_connections():
    """The label of a connection tells its keys, and parallel connections are all shown."""
    source, sink, one = nb.MultiOut(keys=(1,)), nb.Multi(), nb.Single()
    source.get.connect(sink.add)
    source.get[2].connect(sink.add)
    source.get["k"].connect(sink.add["x"])
    one.get_value.connect(sink.add["y"])

    assert [label for _, _, label in ends(graph(sink))] == ["", "[2]", "['k'] → ['x']", "→ ['y']"]


def test_keys_that_cannot_be_shown():
    """A key whose representation fails or is long is shown by its class, or cut."""

    class Odd:
        def __repr__(self):
            raise RuntimeError

    sink, one = nb.Multi(), nb.Single()
    one.get_value.connect(sink.add[Odd()])
    one.get_value.connect(sink.add["x" * 1000])

    labels = [label for _, _, label in ends(graph(sink))]
    assert labels[0] == "→ [<Odd>]"
    assert len(labels[1]) < 50


def test_a_loop():
    """A loop that is allowed is shown."""
    generator, one = connectors.blocks.WeakrefProxyGenerator([1]), nb.Single()
    one.set_value.connect(generator.output)
    one.get_value.connect(generator.delete_reference)

    assert len(graph(one).edges) == 2


def test_upstream_that_is_gone():
    """A block that does not exist any more, whose change is still announced, is shown as gone."""
    one, other = nb.chain([])
    del one
    gc.collect()

    picture = graph(other)

    assert sorted(node.label for node in picture.nodes) == ["Single 1 (gone)", "Single 2"]
    assert picture.to_svg()
    other.set_value(1)  # the announcement, which kept the connector, is dropped
    gc.collect()
    picture = graph(other)
    assert [node.label for node in picture.nodes] == ["Single"]
    assert "1 connected outputs do not exist any more" in details(picture, "Single.set_value")


def test_slots():
    """A block without room for connectors is shown with its proxies."""

    class Narrow:
        __slots__ = ()

        @connectors.Output()
        def get(self):
            return 1

    assert list(states(graph(Narrow()))) == ["Narrow.get"]


def test_blocks_need_not_be_hashable():
    """Identity counts, also for blocks that compare equal or have no hash."""

    class Equal(nb.Single):
        __hash__ = None

        def __eq__(self, other):
            raise RuntimeError

    one, other = Equal(), Equal()
    other.set_value.connect(one.get_value)

    assert len(graph(one, other).nodes) == 2


# What may be given


def test_a_macro():
    """Of a macro the blocks inside are shown, also of macros in macros."""
    outer = nb.OuterMacro()

    assert [node.label for node in graph(outer).nodes] == ["Double 1", "Double 2", "Single"]
    assert len(graph(outer.get_inner).nodes) == 2
    assert len(graph(outer.set_all).nodes) == 3


def test_connectors_and_proxies():
    """A connector in any form stands for its block."""
    single, multi, keyed = nb.Single(), nb.Multi(), nb.MultiOut()
    things = [single.get_value, single.set_value, multi.add, multi.add["x"], multi.remove]
    expected = ["Single", "Single", "Multi", "Multi", "Multi", "MultiOut"]
    for kind in ("proxies", "connectors"):
        found = [graph(thing).nodes[0].label for thing in [*things, keyed.get[1]]]
        assert found == expected, kind
        for connector in (single.get_value, single.set_value, multi.add, keyed.get):
            connector.set_executor(None)
        things = [single.get_value, single.set_value, multi.add, multi.add["x"], multi.remove]


@pytest.mark.parametrize("thing", [5, None, nb.Single, "text"])
def test_what_is_no_block(thing):
    """What is neither a block nor a connector is refused, by the name of its class."""
    with pytest.raises(TypeError, match=f"{type(thing).__name__} is no block"):
        graph(thing)


def test_a_connector_without_its_block():
    """A connector whose block is gone cannot be asked for a picture of it."""
    block = nb.Single()
    block.get_value.set_caching(False)
    connector = block.get_value
    del block

    with pytest.raises(connectors.BlockGoneError):
        graph(connector)


# States


def test_pending_and_cached():
    """An announced change is pending, and a valid result is cached, along the whole way."""
    one, other = nb.chain([])
    one.get_value.set_executor("sequential")
    other.get_value.set_executor("sequential")

    announced = graph(one)
    other.get_value()
    read = graph(one)
    one.set_value(2)
    changed = graph(one)

    assert states(announced) == {
        "Single 1.set_value": "idle",
        "Single 1.get_value": "idle",
        "Single 2.set_value": "pending",
        "Single 2.get_value": "pending",
    }
    assert edge_states(announced) == ["pending"]
    assert [str(node.state) for node in announced.nodes] == ["idle", "pending"]
    assert states(read)["Single 1.get_value"] == states(read)["Single 2.get_value"] == "cached"
    assert states(read)["Single 2.set_value"] == "idle"
    assert edge_states(read) == ["cached"]
    assert states(changed)["Single 1.get_value"] == "idle"
    assert states(changed)["Single 2.get_value"] == "pending"


def test_without_caching():
    """An output that does not cache is idle, and its consumer still holds the present value."""
    one, other = nb.chain([], nb.Uncached, nb.Single)
    other.get_value()

    picture = graph(one)

    assert states(picture)["Uncached.get_value"] == "idle"
    assert edge_states(picture) == ["cached"]


def test_a_value_waits():
    """A value that was delivered and is not set yet is pending at the input."""
    one, other, third = nb.Single(), nb.Single(), nb.Single()
    other.set_value.connect(one.get_value)
    third.set_value.connect(one.get_value)
    third.get_value()

    picture = graph(other)

    assert "a value waits" in details(picture, "Single 2.set_value")
    assert edge_states(picture) == ["pending", "cached"]


def test_a_change_is_held_back():
    """A change that an announce condition holds back is pending there; the result is cached."""
    one, other = nb.chain([], nb.Single, nb.AnnounceSingle)
    other.get_value()
    other.condition = False
    one.set_value(2)

    picture = graph(one)

    assert states(picture)["AnnounceSingle.set_value"] == "pending"
    assert "held back" in details(picture, "AnnounceSingle.set_value")
    assert states(picture)["AnnounceSingle.get_value"] == "cached"


@pytest.mark.parametrize("form", ["threads=2", "sequential"])
def test_running(form):
    """A getter that runs is running, and what waits for it is pending."""
    one, other = nb.chain([])
    gate = one.hooks["get"] = nb.Gate()
    with nb.make_executor(form) as executor:
        other.get_value.set_executor(executor)
        reading = nb.spawn(other.get_value)
        assert gate.entered.wait(nb.LIMIT)
        picture = graph(other)
        gate.opened.set()
        reading.result(nb.LIMIT)

    assert states(picture)["Single 1.get_value"] == "running"
    assert states(picture)["Single 2.set_value"] == "pending"
    assert states(picture)["Single 2.get_value"] == "pending"
    assert edge_states(picture) == ["running"]
    assert [str(node.state) for node in picture.nodes] == ["running", "pending"]
    assert states(graph(other))["Single 1.get_value"] == "cached"


def test_a_setter_runs():
    """A setter that runs in a read is running."""
    one, other = nb.chain([])
    gate = other.hooks["set"] = nb.Gate()
    reading = nb.spawn(other.get_value)
    assert gate.entered.wait(nb.LIMIT)
    picture = graph(other)
    gate.opened.set()
    reading.result(nb.LIMIT)

    assert states(picture)["Single 2.set_value"] == "running"
    assert states(picture)["Single 2.get_value"] == "pending"
    assert states(picture)["Single 1.get_value"] == "cached"


def test_a_direct_call_goes_on():
    """While a setter is called, what it influences is pending."""
    one, other = nb.chain([])
    other.get_value()
    gate = one.hooks["set"] = nb.Gate()
    one.set_value.set_laziness(nb.ON_REQUEST)
    setting = nb.spawn(one.set_value, 3)
    assert gate.entered.wait(nb.LIMIT)
    picture = graph(one)
    gate.opened.set()
    setting.result(nb.LIMIT)

    assert states(picture)["Single 1.get_value"] == "pending"
    assert states(picture)["Single 2.get_value"] == "pending"


def test_ready_is_not_running():
    """Of several methods that are ready for one thread, only the one that runs is running."""
    sink, sources = nb.Multi(), [nb.Single() for _ in range(5)]
    gate = nb.Gate()
    for source in sources:
        source.hooks["get"] = gate
        sink.add.connect(source.get_value)
    sink.get.set_executor("sequential")
    reading = nb.spawn(sink.get)
    assert gate.entered.wait(nb.LIMIT)
    picture = graph(sink)
    gate.opened.set()
    reading.result(nb.LIMIT)

    found = list(states(picture).values())
    assert (found.count("running"), found.count("pending")) == (1, 6)


def test_a_background_run_after_an_interruption():
    """A getter that goes on although its read failed is still running."""
    slow, failing, both = nb.Single(), nb.Single(), nb.Double()
    gate = slow.hooks["get"] = nb.Gate()
    failing.hooks["get"] = lambda: (gate.entered.wait(nb.LIMIT), nb.raiser(ValueError("no"))())
    both.set1.connect(slow.get_value)
    both.set2.connect(failing.get_value)
    with connectors.executor(threads=2) as executor:
        both.get_values.set_executor(executor)
        with pytest.raises(ValueError):
            both.get_values()
        picture = graph(both)
        gate.opened.set()

    assert states(picture)["Single 1.get_value"] == "running"


# Details


def test_details():
    """Pointers tell the kind, the wish, the laziness or caching, and the executor."""
    block, multi = nb.Single(), nb.Multi()
    block.set_value.set_laziness(nb.ON_NOTIFY)
    block.set_value.set_executor("never made")
    block.get_value.set_caching(False)
    block.get_value.set_parallelization(nb.PROCESS)
    block.get_value.set_executor(connectors.executor(threads=0))

    picture = graph(block, multi)

    assert details(picture, "Single.set_value") == (
        "input; SEQUENTIAL; ON_NOTIFY; executor 'never made'"
    )
    assert details(picture, "Single.get_value") == (
        "output; PROCESS; not caching; executor 'sequential'; no result"
    )
    assert details(picture, "Multi.add").startswith("multi-input; SEQUENTIAL; ON_REQUEST; the shar")
    assert details(graph(nb.Keyless()), "Keyless.get").startswith("multi-output; THREAD; caching;")


def test_private_names():
    """A private method is shown under the name that its class gives it."""

    class Private:
        @connectors.Output()
        def __get(self):
            return 1

        def join(self, other):
            self.__get.connect(other.set_value)

    block, other = Private(), nb.Single()
    block.join(other)

    (port,) = graph(block).nodes[0].ports
    assert (port.id, port.label) == ("_Private__get", "__get")


# How it looks


def test_it_changes_nothing():
    """A picture makes no connector, runs no method, and leaves no garbage."""
    log = []
    one, other = nb.chain(log)
    before = set(vars(one)), set(vars(other)), gc.isenabled()

    graph(one, other)

    assert (set(vars(one)), set(vars(other)), gc.isenabled()) == before
    assert log == []
    assert nb.garbage_of(lambda: str(graph(one))) == 0


def test_a_picture_keeps_no_block():
    """A picture is text and keeps nothing of the network alive."""
    block = nb.Single()
    gone = nb.Gone(block)
    picture = graph(block)
    del block

    assert gone
    assert picture.nodes


def test_the_lock_is_free_for_code_of_users():
    """While code of the user runs, other threads use the library."""
    sink, one = nb.Multi(), nb.Single()
    acquired = []

    class Asking:
        def __repr__(self):
            def use():
                with _survey.lock:
                    acquired.append(True)

            nb.spawn(use).result(nb.LIMIT)
            return "asking"

    class Watched(nb.Single):
        @property
        def __dict__(self):
            repr(Asking())
            return object.__getattribute__(self, "_store")

        def __init__(self):
            object.__setattr__(self, "_store", {"value": 1, "name": "W", "log": [], "hooks": {}})

    one.get_value.connect(sink.add[Asking()])
    graph(sink, Watched())

    assert len(acquired) >= 2


def test_long_chains():
    """A chain of 20,000 blocks is shown without recursion, also asked from its middle."""
    blocks = [nb.Single() for _ in range(20_000)]
    for one, other in zip(blocks, blocks[1:]):
        other.set_value.connect(one.get_value)
    limit = sys.getrecursionlimit()

    picture = graph(blocks[10_000])

    assert (len(picture.nodes), len(picture.edges)) == (20_000, 19_999)
    assert picture.nodes[-1].id == "Single 20000"
    assert sys.getrecursionlimit() == limit


def test_while_others_read_and_set():
    """Pictures are whole while another thread reads, sets, connects and disconnects."""
    blocks = nb.chain([], *[nb.Single] * 5)
    extra, stop = nb.Single(), threading.Event()

    def work():
        number = 0
        while not stop.is_set():
            number += 1
            blocks[0].set_value(number)
            assert blocks[-1].get_value() == number
            extra.set_value.connect(blocks[2].get_value)
            extra.get_value()
            extra.set_value.disconnect(blocks[2].get_value)

    working = nb.spawn(work)
    try:
        sizes = {(len(p.nodes), len(p.edges)) for p in (graph(blocks[3]) for _ in range(300))}
    finally:
        stop.set()
    working.result(nb.LIMIT)
    assert sizes <= {(5, 4), (6, 4), (6, 5)}


def test_small_networks_are_shown_as_they_were_at_one_moment():
    """After each set either all that is behind it is pending, or nothing: never a part."""
    blocks = nb.chain([], *[nb.Single] * 30)
    blocks[-1].get_value()
    stop = threading.Event()

    def work():
        while not stop.is_set():
            blocks[0].set_value(1)
            blocks[-1].get_value()

    working = nb.spawn(work)
    try:
        for _ in range(100):
            picture = graph(blocks[0])
            found = [port.state for node in picture.nodes[1:] for port in node.outputs]
            last = found.index("pending") if "pending" in found else len(found)
            # What is valid is upstream of what waits for it.
            assert all(state != "cached" for state in found[last:])
    finally:
        stop.set()
    working.result(nb.LIMIT)


def test_renders():
    """The picture renders itself in all formats, with its states told apart."""
    one, other = nb.chain([])
    picture = graph(one)

    assert "(pending)" in picture.to_dot()
    assert "(pending)" in picture.to_mermaid()
    assert picture._repr_svg_().startswith("<svg")
    assert str(picture) == "2 nodes, 1 edge; 1 pending"
