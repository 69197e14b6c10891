"""Explanations of reads and sets: `connectors.network.explain`."""

import gc
import random
import threading

import pytest

import acceptance_blocks as nb
import connectors
from connectors.network import Explanation, _executors, explain, graph


def labels(steps):
    return [step.label for step in steps]


def levels(explanation):
    return {step.label: step.level for step in explanation.steps}


class ProcessInput(nb.Single):
    """A setter with a wish that cannot be granted."""

    @connectors.Input("get_value", parallelization=nb.PROCESS)
    def set_value(self, value):
        """Set the value."""
        self.value = value


# Reads


def test_a_valid_result():
    """A valid result is said to be returned, and nothing would run."""
    one, other = nb.chain([])
    other.get_value()

    explanation = explain(other.get_value)

    assert explanation.kind == "read"
    assert explanation.valid
    assert explanation.steps == explanation.announced == ()
    assert str(explanation) == "Single 2.get_value: the result is valid: a read returns it"


def test_a_changed_chain():
    """What announced is named, and what would run upstream stands in its order, with reasons."""
    blocks = nb.chain([], nb.Single, nb.Single, nb.Single)
    blocks[-1].get_value()
    blocks[0].set_value(2)

    explanation = explain(blocks[-1].get_value)

    assert not explanation.valid
    assert explanation.announced == ("Single 3.set_value",)
    assert [(step.label, step.reason) for step in explanation.steps] == [
        ("Single 1.get_value", "its block changed since it was computed"),
        ("Single 2.set_value", "Single 1.get_value announced a change"),
        ("Single 2.get_value", "Single 2.set_value announced a change"),
        ("Single 3.set_value", "Single 2.get_value announced a change"),
        ("Single 3.get_value", "Single 3.set_value announced a change"),
    ]
    assert all(step.certain for step in explanation.steps)
    assert explanation.executor == "threading"


def test_labels_are_those_of_the_picture():
    """An explanation names blocks as the picture of their network does."""
    blocks = nb.chain([], *[nb.Single] * 5)
    names = {node.id for node in graph(blocks[2]).nodes}

    assert {label.rpartition(".")[0] for label in labels(explain(blocks[4].get_value).steps)} == (
        names
    )


def test_other_reasons():
    """An output without caching, a dropped result and a setter that is being called are told."""
    blocks = [nb.Uncached(), nb.Single(), nb.Single()]
    for block in blocks[:2]:
        block.get_value.set_parallelization(nb.SEQUENTIAL)
        block.get_value()
    blocks[1].get_value.set_caching(False)
    blocks[1].get_value.set_caching(True)
    blocks[2].set_value.set_laziness(nb.ON_REQUEST)
    gate = blocks[2].hooks["set"] = nb.Gate()
    setting = nb.spawn(blocks[2].set_value, 1)
    assert gate.entered.wait(nb.LIMIT)
    found = [explain(block.get_value).steps[0].reason for block in blocks]
    gate.opened.set()
    setting.result(nb.LIMIT)

    assert found == [
        "its result is not kept",
        "its result was dropped",
        "a setter of its block is being called",
    ]


def test_values_that_wait():
    """A value that was delivered and is not set yet is told."""
    one, other, third = nb.Single(), nb.Single(), nb.Single()
    other.set_value.connect(one.get_value)
    third.set_value.connect(one.get_value)
    third.get_value()

    explanation = explain(other.get_value)

    assert explanation.waiting == ("Single 2.set_value: a value of Single 1.get_value",)
    assert labels(explanation.steps) == ["Single 2.set_value", "Single 2.get_value"]


def test_held_changes():
    """A change that an announce condition holds back is told, and the condition is not asked."""
    one, other = nb.chain([], nb.Single, nb.AnnounceSingle)
    other.get_value()
    other.condition = False
    one.set_value(2)
    del type(other).may_announce  # whoever asks would fail
    try:
        explanation = explain(other.get_value)
    finally:
        type(other).may_announce = lambda self: self.condition

    assert explanation.valid
    (held,) = explanation.held
    assert held.startswith("AnnounceSingle.set_value: a change of Single.get_value, until its")
    assert "held back" in str(explanation)


def test_conditions_make_it_uncertain():
    """What a notify condition may make superfluous would run perhaps."""
    one, other, third = nb.chain([], nb.Single, nb.NotifySingle, nb.Single)
    third.get_value()
    one.set_value(2)

    steps = explain(third.get_value).steps

    assert [step.certain for step in steps] == [True, True, False, False, False]
    assert "up to 5 methods" in explain(third.get_value).summary
    assert "perhaps" in str(steps[-1])


def test_by_the_way():
    """Inputs that take each value they are given are told apart from what is asked for."""
    one, two, three = nb.Single(), nb.Single(), nb.Single()
    two.set_value.connect(one.get_value)
    three.set_value.connect(one.get_value)
    three.set_value.set_laziness(nb.ON_NOTIFY)

    explanation = explain(two.get_value)

    assert labels(explanation.also) == ["Single 3.set_value"]
    assert "Single 3.set_value" not in labels(explanation.steps)


def test_multi_inputs():
    """Adding, replacing and removing are told apart."""
    plain, keyed, one, two = nb.NoReplace(), nb.Multi(), nb.Single(), nb.Single()
    plain.add.connect(one.get_value)
    keyed.add.connect(one.get_value)
    keyed.add["x"].connect(two.get_value)
    first = labels(explain(plain.get).steps), labels(explain(keyed.get).steps)
    plain.get(), keyed.get()
    one.set_value(2)
    second = labels(explain(plain.get).steps), labels(explain(keyed.get).steps)

    assert first[0][1:] == ["NoReplace.add", "NoReplace.get"]
    assert first[1][2:] == ["Multi.add", "Multi.replace", "Multi.get"]
    assert second[0][1:] == ["NoReplace.remove", "NoReplace.add", "NoReplace.get"]
    assert second[1][1:] == ["Multi.replace", "Multi.get"]


def test_keyed_items():
    """A key of a multi-output is explained on its own; the whole serves each key."""
    block, sink = nb.MultiOut(keys=(1, 2)), nb.Multi()
    sink.add.connect(block.get)
    block.get(1)

    assert explain(block.get[1]).valid
    assert labels(explain(block.get[2]).steps) == ["MultiOut.get[2]"]
    assert explain(block.get).steps[0].reason.startswith("for each key")
    assert labels(explain(sink.get).steps) == ["MultiOut.get[...]", "Multi.replace", "Multi.get"]
    assert set(block.get._keyed) == {1}


def test_proxies():
    """A proxy is said to call the plain method, and stays a proxy."""
    block = nb.Single()
    kept = block.get_value
    explanation = explain(block.get_value)

    assert "plain method" in explanation.summary
    assert explanation.steps[0].level == "SEQUENTIAL"
    assert "get_value" not in vars(block)
    block.get_value.set_caching(True)
    assert "kept from before" in explain(kept).summary
    assert explain(nb.MultiOut().get[3]).subject == "MultiOut.get[3]"
    assert explain(nb.AsyncBlock().get_value).steps[0].awaited


def test_macros():
    """A macro is explained by what it exports, also through macros."""
    outer = nb.OuterMacro()

    read = explain(outer.get_inner)
    sets = explain(outer.set_all)

    assert read.subject == (
        "OuterMacro.get_inner, which is Macro.get_output1, which is Double 2.get_values"
    )
    assert labels(read.steps)[-1] == "Double 2.get_values"
    assert [part.kind for part in sets.parts] == ["set"] * 3
    assert "Double 1.set2" in str(sets)


@pytest.mark.parametrize("thing", [5, None, nb.Single(), nb.Single])
def test_what_is_no_connector(thing):
    """What is no connector is refused, by the name of its class."""
    with pytest.raises(TypeError, match=f"{type(thing).__name__} is no connector"):
        explain(thing)


# Where and why not elsewhere


def test_levels_are_those_of_the_connector_asked():
    """All steps are explained for the executor that this read would use."""
    one, other = nb.chain([], nb.ProcessSingle, nb.ProcessSingle)
    one.get_value.set_executor("sequential")
    with nb.make_executor("threads=2,processes=2") as executor:
        other.get_value.set_executor(executor)
        explanation = explain(other.get_value)
        assert "not yet open" in repr(executor)

    assert explanation.executor == "threading_multiprocessing"
    assert list(levels(explanation).values()) == ["PROCESS", "SEQUENTIAL", "PROCESS"]
    assert set(levels(explain(one.get_value)).values()) == {"SEQUENTIAL"}


def test_no_pool_for_the_level():
    """An executor without a pool for a wish is told as the reason."""
    block = nb.ProcessSingle()
    block.get_value.set_executor("threading")

    (step,) = explain(block.get_value).steps

    assert (step.level, step.fallback) == (
        "THREAD",
        "not as PROCESS: 'threading' has no pool for PROCESS",
    )
    assert "in a thread: it was not computed yet (not as PROCESS" in str(step)


def test_a_setter_with_process():
    """A setter that wishes for a process is said to stay, because its writes would be lost."""
    one, other = nb.chain([], nb.Single, ProcessInput)
    with nb.make_executor("threads=2,processes=2") as executor:
        other.get_value.set_executor(executor)
        step = explain(other.get_value).steps[1]

    assert step.level == "THREAD"
    assert "the change would be lost" in step.fallback


def test_state_that_cannot_travel():
    """State that cannot be pickled is told with the name of the attribute."""
    block = nb.ProcessSingle()
    block.secret = threading.Lock()
    with nb.make_executor("processes=2") as executor:
        block.get_value.set_executor(executor)
        (step,) = explain(block.get_value).steps

    assert step.level == "SEQUENTIAL"
    assert "instance.secret cannot be pickled" in step.fallback
    assert "has no pool for THREAD" in step.fallback


def test_async_methods():
    """An ``async def`` method is said to be awaited; with PROCESS that is a fallback."""
    one, other = nb.chain([], nb.AsyncBlock, nb.Single)
    one.get_value.set_parallelization(nb.PROCESS)
    with nb.make_executor("threads=2,processes=2") as executor:
        other.get_value.set_executor(executor)
        step = explain(other.get_value).steps[0]

    assert step.awaited
    assert "in the executor's loop" in str(step)
    assert "async def" in step.fallback


def test_a_strict_executor():
    """A strict executor would fail where another falls back."""
    block = nb.ProcessSingle()
    block.get_value.set_executor(connectors.executor("threading", strict=True))

    assert explain(block.get_value).summary == "a read would fail"
    with pytest.raises(connectors.FallbackError):
        block.get_value()


def test_executors_that_do_not_work():
    """An unknown name and a closed executor are told as what the read would raise."""
    block = nb.Single()
    block.get_value.set_executor("treading")
    unknown = explain(block.get_value)
    executor = connectors.executor("threading")
    executor.close()
    block.get_value.set_executor(executor)
    closed = explain(block.get_value)

    assert "Did you mean 'threading'?" in unknown.obstacles[0]
    assert closed.obstacles[0].startswith("ExecutorClosedError")
    assert "it would fail" in str(unknown)


def test_nothing_is_opened(monkeypatch):
    """An executor that was never used is made for the explanation only, and opens nothing."""
    monkeypatch.setattr(_executors, "_shared", {})
    monkeypatch.setattr(connectors.Executor, "lifecycle_observers", [pytest.fail])
    block = nb.ProcessSingle()
    threads = threading.active_count()
    for choice in (None, "threading", "multiprocessing", "threading_multiprocessing", "trio"):
        block.get_value.set_executor(choice)
        assert explain(block.get_value).steps[0].level

    assert _executors._shared == {}
    assert threading.active_count() == threads


def test_the_first_that_opens(registry):
    """Of several executors none is opened to find out which it would be."""
    block = nb.Single()
    with connectors.using(executor=["threading", "sequential"]):
        monkey, _executors._shared = _executors._shared, {}
        try:
            explanation = explain(_real(block.get_value))
        finally:
            _executors._shared = monkey

    assert explanation.executor == "the first that opens of threading, sequential"
    assert explanation.steps[0].level == ""


def _real(proxy):
    proxy.set_caching(True)
    return proxy._connector()


def test_blocks_that_are_gone():
    """A needed block that does not exist any more is told as what the read would fail for."""
    one, other = nb.chain([])
    one.get_value.set_executor(None)
    kept = one.get_value
    del one
    gc.collect()

    assert explain(kept).obstacles[0].startswith("BlockGoneError")
    assert "Single 1.get_value does not exist" in explain(other.get_value).obstacles[0]
    with pytest.raises(connectors.BlockGoneError):
        other.get_value()


# What goes on


@pytest.mark.parametrize("form", ["threads=2", "sequential"])
def test_running(form):
    """What runs at this moment is told, and that a read would wait for it."""
    one, other = nb.chain([])
    gate = one.hooks["get"] = nb.Gate()
    with nb.make_executor(form) as executor:
        other.get_value.set_executor(executor)
        reading = nb.spawn(other.get_value)
        assert gate.entered.wait(nb.LIMIT)
        upstream, downstream = explain(one.get_value), explain(other.get_value)
        gate.opened.set()
        reading.result(nb.LIMIT)

    assert upstream.running == downstream.running == ("Single 1.get_value",)
    assert upstream.summary == downstream.summary
    assert "it is being computed" in upstream.summary
    assert [step.under_way for step in downstream.steps] == [True] * 3
    assert [step.running for step in downstream.steps] == [True, False, False]


def test_a_read_beside_a_running_one():
    """A read that needs what another one computes says so, and where its own part would run."""
    one, two, three = nb.Single(), nb.Single(), nb.Single()
    two.set_value.connect(one.get_value)
    three.set_value.connect(one.get_value)
    gate = one.hooks["get"] = nb.Gate()
    reading = nb.spawn(two.get_value)
    assert gate.entered.wait(nb.LIMIT)
    explanation = explain(three.get_value)
    gate.opened.set()
    reading.result(nb.LIMIT)

    assert labels(explanation.steps) == [
        "Single 1.get_value",
        "Single 3.set_value",
        "Single 3.get_value",
    ]
    assert [step.running for step in explanation.steps] == [True, False, False]
    assert [step.level for step in explanation.steps] == ["", "SEQUENTIAL", "THREAD"]


# Sets


def test_a_set():
    """A set says what it announces to, and that nothing is computed before it is read."""
    blocks = nb.chain([], nb.Single, nb.Single)
    blocks[0].set_value.set_laziness(nb.ON_REQUEST)

    explanation = explain(blocks[0].set_value)

    assert explanation.kind == "set"
    assert explanation.announces == (
        "Single 1.get_value",
        "Single 2.set_value",
        "Single 2.get_value",
    )
    assert explanation.lazy == ()
    assert labels(explanation.steps) == ["Single 1.set_value"]
    assert "nothing is computed" in explanation.summary


@pytest.mark.parametrize("real", [False, True])
def test_a_set_before_a_non_lazy_input(real):
    """A set names the inputs that are brought up to date at once, and all that runs for that."""
    blocks = nb.chain([], nb.Single, nb.Single, nb.Single)
    blocks[2].set_value.set_laziness(nb.ON_ANNOUNCE)
    if real:
        blocks[0].set_value.set_executor("sequential")
    log = blocks[0].log
    blocks[2].get_value()

    explanation = explain(blocks[0].set_value)

    assert explanation.lazy == ("Single 3.set_value",)
    assert labels(explanation.steps) == [
        "Single 1.set_value",
        "Single 1.get_value",
        "Single 2.set_value",
        "Single 2.get_value",
        "Single 3.set_value",
    ]
    assert all(step.certain for step in explanation.steps)
    assert explanation.steps[1].level == ("SEQUENTIAL" if real else "THREAD")
    log.clear()
    blocks[0].set_value(5)
    assert len(log) == 5


def test_conditions_of_a_set():
    """A set names the conditions that decide how far it is announced, and asks none."""
    blocks = nb.chain([], nb.NotifySingle, nb.AnnounceSingle)
    blocks[1].set_value.set_laziness(nb.ON_ANNOUNCE)
    blocks[1].get_value()

    explanation = explain(blocks[0].set_value)

    assert explanation.conditions == ("NotifySingle.may_notify", "AnnounceSingle.may_announce")
    assert [step.certain for step in explanation.steps] == [True, False, False]


def test_a_set_of_a_connected_input():
    """A set of a connected input says what is pending there; it is discarded, or taken first."""
    one, other, multi = nb.Single(), nb.Single(), nb.Multi()
    other.set_value.connect(one.get_value)
    multi.add.connect(one.get_value)

    single, added = explain(other.set_value), explain(multi.add)

    assert single.announced == added.announced == ("Single 1.get_value",)
    assert labels(single.steps) == ["Single 2.set_value"]
    assert labels(added.steps) == ["Single 1.get_value", "Multi.add", "Multi.add"]
    assert "first takes what is pending" in added.summary
    assert explain(multi.add).steps == added.steps  # nothing was changed by it
    assert explain(other.get_value).announced == ("Single 2.set_value",)


def test_items_and_associates():
    """Keyed inputs and remove and replace methods are explained like inputs."""
    multi, plain = nb.Multi(), nb.NoReplace()
    multi.get.set_caching(True)
    plain.add.set_laziness(nb.ON_REQUEST)

    assert labels(explain(multi.add["x"]).steps) == ["Multi.replace"]
    assert explain(multi.add["x"]).announces == ("Multi.get",)
    assert labels(explain(plain.add[1]).steps) == ["NoReplace.remove", "NoReplace.add"]
    assert explain(multi.remove).announces == ("Multi.get",)
    assert explain(multi.replace).subject == "Multi.replace"
    assert "nothing that it influences" in explain(nb.Single().set_value).summary
    assert labels(explain(nb.Multi().add[1]).steps) == ["Multi.replace"]


# The value


def test_long_explanations():
    """The text of a long explanation is cut, its attributes are complete; without recursion."""
    blocks = nb.chain([], *[nb.Single] * 5000)

    read, told = explain(blocks[-1].get_value), explain(blocks[0].set_value)

    assert len(read.steps) == 9999
    assert str(read).splitlines()[-1] == "    ... and 9979 more"
    assert len(str(read).splitlines()) < 30
    assert len(told.announces) == 9999


def test_it_changes_nothing():
    """An explanation calls no method, makes no connector, and leaves no garbage."""
    log = []
    one, other = nb.chain(log)
    before = set(vars(one)), set(vars(other))
    explanation = explain(other.get_value)
    explain(one.set_value)

    assert (set(vars(one)), set(vars(other))) == before
    assert log == []
    assert nb.garbage_of(lambda: str(explain(other.get_value))) == 0
    assert isinstance(explanation, Explanation)


def test_an_explanation_keeps_no_block():
    """An explanation is text and keeps nothing of the network alive."""
    block = nb.Single()
    gone = nb.Gone(block)
    block.get_value.set_caching(True)
    explanation = explain(block.get_value)
    del block

    assert gone
    assert explanation.steps


def test_while_others_read_and_set():
    """Explanations are given while another thread reads and sets."""
    blocks = nb.chain([], *[nb.Single] * 5)
    stop = threading.Event()

    def work():
        number = 0
        while not stop.is_set():
            number += 1
            blocks[0].set_value(number)
            assert blocks[-1].get_value() == number

    working = nb.spawn(work)
    try:
        for _ in range(300):
            explanation = explain(blocks[-1].get_value)
            assert explanation.valid != bool(explanation.steps)
            assert len(explanation.steps) <= 9
            explain(blocks[0].set_value)
    finally:
        stop.set()
    working.result(nb.LIMIT)


# Against what happens


class Logging:
    """Logs what runs under the names that explanations use; each block has its own class."""

    log = []

    def note(self, method, *args):
        known = {"set": "set_value", "get": "get_value"}
        cls = type(self)
        if cls.kind in (nb.Single, nb.Uncached, nb.NotifySingle):
            method = known[method]
        elif method == "get" and cls.kind is nb.Double:
            method = "get_values"
        end = f"[{args[0]!r}]" if cls.kind is nb.MultiOut and method == "get" else ""
        name = {"set": "set_factor"}.get(method, method) if cls.kind is nb.MultiOut else method
        self.log.append(f"{cls.__name__}.{name}{end}")


def random_network(random):
    kinds = [nb.Single, nb.Uncached, nb.NotifySingle, nb.Double, nb.Multi, nb.MultiOut]
    blocks = []
    for number in range(random.randint(2, 8)):
        kind = random.choice(kinds)
        cls = type(f"B{number}", (Logging, kind), {"kind": kind})
        block = cls()
        block.log = Logging.log
        block.value = block.value1 = block.value2 = 1
        outputs = [output for other in blocks for output in outputs_of(other, random)]
        for sink in inputs_of(block, random):
            sink.set_laziness(random.choice([nb.ON_REQUEST] * 3 + [nb.ON_NOTIFY, nb.ON_ANNOUNCE]))
            for _ in range(random.randint(0, 2)):
                if outputs:
                    sink.connect(random.choice(outputs))
        blocks.append(block)
    return blocks


def outputs_of(block, random):
    if type(block).kind is nb.Double:
        return [block.get_values]
    if type(block).kind is nb.MultiOut:
        return [block.get[random.randint(1, 2)]]
    return [block.get if type(block).kind is nb.Multi else block.get_value]


def inputs_of(block, random):
    kind = type(block).kind
    if kind is nb.Double:
        return [block.set1, block.set2]
    if kind is nb.Multi:
        return [block.add]
    return [block.set_factor if kind is nb.MultiOut else block.set_value]


@pytest.mark.parametrize("seed", range(150))
def test_what_is_explained_happens(seed):
    """On random networks all that is certain runs, and nothing else than what was told runs."""
    chance = random.Random(seed)
    blocks = random_network(chance)
    for block in blocks:
        for output in outputs_of(block, chance):
            getattr(output, "_multi", output).set_executor("sequential")
    for _ in range(25):
        block = chance.choice(blocks)
        if chance.random() < 0.5:
            (connector, *_) = outputs_of(block, chance)
            act = connector
        else:
            (connector, *_) = inputs_of(block, chance)
            connector.set_executor("sequential")
            act = lambda connector=connector: connector(chance.randint(1, 3))
        if isinstance(block, nb.NotifySingle):
            block.condition = chance.random() < 0.5
        Logging.log.clear()

        explanation = explain(connector)
        told = explanation.steps + explanation.also
        assert Logging.log == []
        act()
        # What is added while a multi-input takes what is pending is replaced by what is set then.
        ran = {label.replace(".replace", ".add") for label in Logging.log}
        said = {step.label.replace(".replace", ".add"): step.certain for step in told}
        assert ran <= set(said), str(explanation)
        assert {label for label in said if said[label]} <= ran, (str(explanation), Logging.log)
        assert explanation.valid <= (not explanation.steps)
