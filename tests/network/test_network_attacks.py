"""What a hostile review of the network found: each test is named after one finding."""

import asyncio
import copy
import functools
import pickle
import subprocess
import sys
import threading
from dataclasses import dataclass

import pytest

import connectors
from connectors import Laziness, Parallelization

pytestmark = pytest.mark.timeout(20)

LONG = 8  # seconds after which a thread is taken to be stuck


class Box:
    """Stores a value; its conditions can be replaced."""

    def __init__(self, value=None):
        self.value = value
        self.reads = 0
        self.announced = lambda: True

    @connectors.Input("get")
    def put(self, value):
        self.value = value
        return self

    @connectors.Output()
    def get(self):
        self.reads += 1
        return self.value


class Guarded(Box):
    """A box with an announce condition."""

    @connectors.Input("get")
    def put(self, value):
        self.value = value
        return self

    @put.announce_condition
    def _announced(self):
        return self.announced()


class Collector:
    """A multi-input with `replace` and an announce condition."""

    def __init__(self):
        self.data = connectors.MultiInputData()
        self.reads = 0
        self.announced = lambda: True

    @connectors.MultiInput("get")
    def add(self, value):
        return self.data.add(value)

    @add.remove
    def remove(self, data_id):
        del self.data[data_id]

    @add.replace
    def replace(self, data_id, value):
        self.data[data_id] = value
        return data_id

    @add.announce_condition
    def _announced(self, data_id):
        return self.announced()

    @connectors.Output()
    def get(self):
        self.reads += 1
        return tuple(self.data.values())


class Bare:
    """A multi-input without `replace`."""

    def __init__(self):
        self.data = connectors.MultiInputData()
        self.failing = False

    @connectors.MultiInput("get")
    def add(self, value):
        if self.failing:
            raise ValueError("add")
        return self.data.add(value)

    @add.remove
    def remove(self, data_id):
        del self.data[data_id]

    @connectors.Output()
    def get(self):
        return tuple(self.data.values())


class Doubler:
    """Has a loop: what it gives comes back to it."""

    def __init__(self):
        self.value = 1

    @connectors.Output()
    def get(self):
        return 2 * self.value

    @connectors.Input("get", laziness=Laziness.ON_NOTIFY)
    def put(self, value):
        self.value = value


def denied():
    return False


def admitted():
    return True


def broken():
    raise ValueError("condition")


def prober(other, seen):
    """Return a condition that has another thread read *other*."""

    def condition():
        thread = threading.Thread(target=lambda: seen.append(other.get()), daemon=True)
        thread.start()
        thread.join(LONG / 2)
        seen.append("stuck" if thread.is_alive() else "done")
        return True

    return condition


# (1) Locks


def test_a_condition_of_a_released_wave_runs_without_a_lock():
    """While a condition behind a released change runs, others can use another network."""
    source, first, second, other = Box(1), Guarded(), Guarded(), Box(5)
    source.get.connect(first.put)
    first.get.connect(second.put)
    assert second.get() == 1
    other.get.set_caching(True)
    first.announced = denied
    source.put(2)
    seen = []
    first.announced, second.announced = admitted, prober(other, seen)
    assert first.get() == 2
    assert seen == [5, "done"]
    assert second.get() == 2


def test_a_condition_of_a_loop_runs_without_a_lock():
    """While a condition behind the opener of a loop runs, others can use another network."""
    loop, sink, other = Doubler(), Guarded(), Box(5)
    other.get.set_caching(True)
    loop.get.connect(loop.put)
    loop.get.connect(sink.put)
    seen = []
    sink.announced = prober(other, seen)
    assert [sink.get(), sink.get()] == [2, 4]
    assert seen
    assert "stuck" not in seen


# (2) Exceptions that refuse notes


@dataclass(frozen=True)
class Frozen(Exception):
    number: int = 0


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("way", ["call", "aio"])
@pytest.mark.parametrize("level", [Parallelization.THREAD, Parallelization.SEQUENTIAL])
def test_an_exception_that_takes_no_notes(level, way, depth):
    """An exception to which nothing can be added reaches the caller unchanged."""
    error = Frozen(3)

    class Failing:
        @connectors.Output(parallelization=level)
        def get(self):
            raise error

    block, sink = Failing(), Box()
    block.get.set_caching(True)
    block.get.connect(sink.put)
    end = block if depth == 1 else sink
    with pytest.raises(Frozen) as caught:
        end.get() if way == "call" else asyncio.run(end.get.aio())
    assert caught.value is error


# (3) Destructors


DESTRUCTOR = """
import connectors

class Value:
    def __del__(self):
        print("gone", other.get())

class Box:
    value = 1
    @connectors.Input("get")
    def put(self, value):
        self.value = value
    @connectors.Output()
    def get(self):
        return self.value
    @connectors.Output(caching=False)
    def fresh(self):
        return self.value

class Maker(Box):
    @connectors.Output()
    def get(self):
        return Value()

other = Box()
other.get.set_caching(False)
block = Maker()
block.get.set_caching(True)
block.get()
block.put(1)
print("set")
block.get()
block.get.invalidate()
print("invalidated")
"""


def test_a_destructor_reads_a_network():
    """A result that is dropped may read a network in its destructor."""
    done = subprocess.run(
        [sys.executable, "-c", DESTRUCTOR],
        capture_output=True,
        text=True,
        timeout=15,
        check=True,
    )
    assert done.stdout.split("\n")[:4] == ["gone 1", "set", "gone 1", "invalidated"]
    assert "Exception" not in done.stderr


# (4) Iteration


@pytest.mark.parametrize("real", [False, True])
def test_a_multi_connector_is_not_iterable(real):
    """Iterating over a multi-input or multi-output raises TypeError, and does not go on forever."""

    class Keyed:
        @connectors.MultiOutput()
        def get(self, key):
            return key

    sink, source = Collector(), Keyed()
    if real:
        Box(1).get.connect(sink.add)
        source.get.set_caching(True)
    for multi in (sink.add, source.get):
        with pytest.raises(TypeError):
            iter(multi)


# (5) A multi-input without replace


def test_a_failed_addition_is_made_up_for():
    """After an `add` that failed, the next read adds the value, and removes nothing twice."""
    first, second, sink = Box(1), Box(2), Bare()
    first.get.connect(sink.add)
    second.get.connect(sink.add)
    assert sink.get() == (1, 2)
    first.put(11)
    sink.failing = True
    for _ in range(2):
        with pytest.raises(ValueError, match="add"):
            sink.get()
    sink.failing = False
    assert [sorted(sink.get()) for _ in range(2)] == [[2, 11]] * 2


def test_a_cancelled_addition_is_made_up_for():
    """After an async `add` that was cancelled, the next read adds the value."""

    class Slow:
        def __init__(self):
            self.data = connectors.MultiInputData()
            self.adding = None

        @connectors.MultiInput("get")
        async def add(self, value):
            if self.adding is not None:
                self.adding.set()
                await asyncio.sleep(LONG)
            return self.data.add(value)

        @add.remove
        async def remove(self, data_id):
            del self.data[data_id]

        @connectors.Output()
        def get(self):
            return tuple(self.data.values())

    source, sink = Box(1), Slow()
    source.get.connect(sink.add)
    assert sink.get() == (1,)
    source.put(2)

    async def cancel():
        sink.adding = threading.Event()
        task = asyncio.create_task(sink.get.aio())
        await asyncio.to_thread(sink.adding.wait, LONG)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    sink.adding = None
    assert [sink.get(), sink.get()] == [(2,), (2,)]


def test_a_value_removed_by_hand_comes_back():
    """A connection whose value was removed by hand adds its next value."""
    source, sink = Box(1), Bare()
    source.get.connect(sink.add)
    assert sink.get() == (1,)
    sink.remove(0)
    assert sink.get() == ()
    source.put(2)
    assert [sink.get(), sink.get()] == [(2,), (2,)]


# (6) async def remove


class AsyncRemoval:
    def __init__(self):
        self.data = connectors.MultiInputData()

    @connectors.MultiInput("get")
    async def add(self, value):
        return self.data.add(value)

    @add.remove
    async def remove(self, data_id):
        await asyncio.sleep(0)
        del self.data[data_id]

    @connectors.Output()
    def get(self):
        return tuple(self.data.values())


def test_an_async_remove_of_keys_that_are_gone():
    """An ``async def`` remove runs for the keys that a multi-output gives no more."""

    class Keyed:
        known = (1, 2)

        @connectors.Input("get")
        def put(self, known):
            self.known = known

        @connectors.MultiOutput()
        def get(self, key):
            return 10 * key

        @get.keys
        def keys(self):
            return self.known

    source, sink = Keyed(), AsyncRemoval()
    source.get.connect(sink.add)
    assert sorted(sink.get()) == [10, 20]
    source.put((2, 3))
    assert sorted(sink.get()) == [20, 30]
    source.get.disconnect(sink.add)
    assert sink.get() == ()


def test_an_async_remove_before_a_keyed_addition():
    """An ``async def`` remove runs when a key gets another value and there is no replace."""
    sink = AsyncRemoval()
    sink.add(1)
    sink.add[0](2)
    assert sink.get() == (2,)


# (7) A setter that calls a setter


def test_a_setter_calls_another_of_its_block():
    """A setter may call another of its block, also with a display downstream."""

    class Pair:
        first = second = 0

        @connectors.Input("get")
        def set_first(self, value):
            self.first = value
            self.set_second(value + 1)

        @connectors.Input("get")
        def set_second(self, value):
            self.second = value

        @connectors.Output()
        def get(self):
            return self.first, self.second

    class Display:
        def __init__(self):
            self.shown = []

        @connectors.Input(laziness=Laziness.ON_ANNOUNCE)
        def show(self, value):
            self.shown.append(value)

    source, pair, display = Box(0), Pair(), Display()
    source.get.connect(pair.set_first)
    pair.get.connect(display.show)
    source.put(1)
    assert display.shown[-1] == pair.get() == (1, 2)
    source.put(5)
    assert display.shown[-1] == pair.get() == (5, 6)


# (8) Disconnecting while the value is added


@pytest.mark.parametrize("keyed", [False, True])
def test_disconnecting_while_the_value_is_added(keyed):
    """A disconnection waits for the addition that is under way, and removes the value."""
    adding, go_on = threading.Event(), threading.Event()

    class Slow:
        def __init__(self):
            self.data = connectors.MultiInputData()

        @connectors.MultiInput("get", parallelization=Parallelization.THREAD)
        def add(self, value):
            adding.set()
            go_on.wait(LONG)
            return self.data.add(value)

        @add.remove
        def remove(self, data_id):
            del self.data[data_id]

        @add.replace
        def replace(self, data_id, value):
            adding.set()
            go_on.wait(LONG)
            self.data[data_id] = value
            return data_id

        @connectors.Output()
        def get(self):
            return dict(self.data)

    source, sink = Box(1), Slow()
    target = sink.add["key"] if keyed else sink.add
    source.get.connect(target)
    reader = threading.Thread(target=sink.get, daemon=True)
    reader.start()
    assert adding.wait(LONG)
    remover = threading.Thread(target=lambda: source.get.disconnect(target), daemon=True)
    remover.start()
    remover.join(0.2)
    go_on.set()
    for thread in (remover, reader):
        thread.join(LONG)
        assert not thread.is_alive()
    assert sink.get() == {}


# (9) Raising conditions


def test_a_raising_condition_of_a_released_wave():
    """A condition that raises in a released wave is told, and no branch loses the change."""
    source, first, bad, good = Box(1), Guarded(), Guarded(), Box()
    source.get.connect(first.put)
    first.get.connect(bad.put)
    first.get.connect(good.put)
    assert [bad.get(), good.get()] == [1, 1]
    first.announced = denied
    source.put(2)
    assert good.get() == 1
    first.announced, bad.announced = admitted, broken
    with pytest.raises(ValueError, match="condition"):
        first.get()
    bad.announced = admitted
    assert [first.get(), bad.get(), good.get()] == [2, 2, 2]


def test_a_raising_condition_of_an_invalidation():
    """A condition that raises in `invalidate` is told, and no branch loses the change."""
    source, bad, good = Box(1), Guarded(), Box()
    source.get.connect(bad.put)
    source.get.connect(good.put)
    assert [bad.get(), good.get()] == [1, 1]
    source.value = 2
    bad.announced = broken
    with pytest.raises(ValueError, match="condition"):
        source.get.invalidate()
    bad.announced = admitted
    assert [source.get(), good.get(), bad.get()] == [2, 2, 2]


# (10) Copies


def attributes_of(block):
    """Return the attributes of *block*, as a class that knows nothing of connectors does."""
    attributes = dict(block.__dict__)
    del attributes["announced"]  # is not picklable
    return attributes


class StateInList(Box):
    def __getstate__(self):
        return [attributes_of(self)]

    def __setstate__(self, state):
        self.__dict__.update(state[0])


def rebuilt(cls, attributes):
    block = cls.__new__(cls)
    block.__dict__.update(attributes)
    return block


class StateInArguments(Box):
    def __reduce__(self):
        return rebuilt, (type(self), attributes_of(self))


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda block: pickle.loads(pickle.dumps(block))]
)
@pytest.mark.parametrize("cls", [StateInList, StateInArguments])
def test_copies_of_blocks_with_their_own_way(cls, duplicate):
    """A copy has connectors of its own, also if the class says itself what its state is."""
    source, block, sink, other = Box(3), cls(1), Box(), Box(8)
    source.get.connect(block.put)
    block.get.connect(sink.put)
    assert sink.get() == 3
    twin = duplicate(block)
    twin.put(5)
    assert [twin.get(), twin.value, block.value, sink.get()] == [5, 5, 3, 3]
    other.get.connect(twin.put)
    assert [twin.get(), block.get()] == [8, 3]
    source.put(4)
    assert [twin.get(), sink.get()] == [8, 4]


# (11) A default key


def test_a_multi_output_with_a_default_key():
    """A multi-output whose key has a default can be called without one, and runs once."""

    class Keyed:
        def __init__(self):
            self.asked = []

        @connectors.MultiOutput()
        def get(self, key=0):
            self.asked.append(key)
            return "value", key

    block = Keyed()
    assert block.get() == ("value", 0)
    block.get.set_caching(True)
    block.asked.clear()
    assert block.get() == ("value", 0)
    assert block.asked == [0]


# (12) Aliases


class Aliased:
    value = 0

    @connectors.Input("get")
    def put(self, value):
        self.value = value

    @connectors.Output()
    def get(self):
        return self.value

    fetch = get


class Original:
    value = 0

    @connectors.Input("get")
    def put(self, value):
        self.value = value

    @connectors.Output()
    def get(self):
        return self.value


class AliasedLater(Original):
    fetch = Original.get


@pytest.mark.parametrize("cls", [Aliased, AliasedLater])
@pytest.mark.parametrize("names", [("get", "fetch"), ("fetch", "get")])
def test_an_alias(cls, names):
    """A connector of a class that has two names is the same by both, whichever is used first."""
    source, block, sink = Box(1), cls(), Box()
    source.get.connect(block.put)
    getattr(block, names[0]).connect(sink.put)
    assert sink.get() == 1
    source.put(2)
    assert [getattr(block, name)() for name in names] == [2, 2]
    source.put(3)
    assert [getattr(block, name)() for name in reversed(names)] == [3, 3]
    assert sink.get() == 3


# (13) Kept items


def test_an_item_kept_from_before():
    """An item of a multi-input that was kept from before all connections announces changes."""
    sink, end = Collector(), Box()
    item = sink.add["key"]
    sink.get.connect(end.put)
    assert end.get() == ()
    item(5)
    assert [end.get(), sink.get()] == [(5,), (5,)]


# (14) Values set by hand


def test_a_kept_proxy_sets_by_hand():
    """A value set through an input that was kept from before its connection stays."""
    source, sink = Box(1), Box()
    kept = sink.put
    source.get.connect(sink.put)
    kept(7)
    assert [sink.get(), sink.get()] == [7, 7]
    source.put(2)
    assert sink.get() == 2


def test_super_sets_by_hand():
    """A value set through ``super()`` stays."""

    class Derived(Box):
        def configure(self, value):
            super().put(value)

    source, sink = Box(1), Derived()
    source.get.connect(sink.put)
    sink.configure(7)
    assert [sink.get(), sink.get()] == [7, 7]
    source.put(2)
    assert sink.get() == 2


# (15) What is known of functions


def test_an_override_that_wraps_the_method_of_its_base():
    """An override with ``functools.wraps(Base.get)`` is what runs."""

    class Derived(Box):
        @connectors.Output()
        @functools.wraps(Box.get)
        def get(self):
            return "derived", self.value

        @connectors.Input("get")
        @functools.wraps(Box.put)
        def put(self, value):
            self.value = ("derived", value)

    block, source, sink = Derived(), Box(2), Box()
    block.put(1)
    assert block.get() == ("derived", ("derived", 1))
    source.get.connect(block.put)
    block.get.connect(sink.put)
    assert sink.get() == ("derived", ("derived", 2))


def test_functions_with_attributes():
    """An attribute of a function called like a method of connectors hides nothing."""

    def labelled(function):
        function.label = "voltage"
        function.block = function._block = function._name = function.connect = 3
        function.unit = "V"
        return function

    class Labelled:
        value = 0

        @connectors.Output()
        @labelled
        def get(self):
            return self.value

        @connectors.Input("get")
        @labelled
        def put(self, value):
            self.value = value

    source, block, sink = Box(1), Labelled(), Box()
    assert [block.get(), block.get.unit] == [0, "V"]
    block.get.set_caching(True)
    source.get.connect(block.put)
    block.get.connect(sink.put)
    assert [sink.get(), block.get.unit, block.put.unit] == [1, "V", "V"]
    block.get.invalidate()
    source.put(2)
    assert sink.get() == 2


# (18) Disconnecting during an announce condition


@pytest.mark.parametrize("answer", [True, False])
@pytest.mark.parametrize("cls", [Guarded, Collector])
def test_a_condition_disconnects(cls, answer):
    """A connection that its announce condition ended is gone, whatever the condition says."""
    source, sink = Box(1), cls()
    target = sink.put if cls is Guarded else sink.add
    source.get.connect(target)
    first = sink.get()

    def condition():
        sink.announced = admitted
        source.get.disconnect(target)
        return answer

    sink.announced = condition
    source.put(2)
    gone = first if cls is Guarded else ()
    assert sink.get() == gone
    sink.reads = source.reads = 0
    assert [sink.get(), sink.get()] == [gone, gone]
    source.put(3)
    assert sink.get() == gone
    assert [sink.reads, source.reads] == [0, 0]


def test_a_thread_disconnects_during_a_condition():
    """A connection that another thread ends while its announce condition runs is gone."""
    source, sink = Box(1), Collector()
    source.get.connect(sink.add)
    assert sink.get() == (1,)
    asked, go_on = threading.Event(), threading.Event()

    def condition():
        asked.set()
        return go_on.wait(LONG)

    sink.announced = condition
    setter = threading.Thread(target=lambda: source.put(2), daemon=True)
    setter.start()
    assert asked.wait(LONG)
    sink.announced = admitted
    source.get.disconnect(sink.add)
    go_on.set()
    setter.join(LONG)
    assert not setter.is_alive()
    assert sink.get() == ()
    sink.reads = 0
    source.put(3)
    assert [sink.get(), sink.get(), sink.reads] == [(), (), 0]


# (19), (20) Exceptions with a meaning of their own


@pytest.mark.parametrize("real", [False, True])
def test_a_setter_raises_stopiteration(real):
    """A StopIteration of a setter reaches the caller as it is."""
    error = StopIteration("setter")

    class Stopping(Box):
        @connectors.Input("get")
        def put(self, value):
            raise error

    class Adding(Bare):
        @connectors.MultiInput("get")
        def add(self, value):
            raise error

        @add.remove
        def remove(self, data_id):
            pass

    single, multi = Stopping(), Adding()
    if real:
        single.get.set_caching(True)
        single.put.set_laziness(Laziness.ON_REQUEST)
        multi.get.set_caching(True)
        multi.add.set_laziness(Laziness.ON_REQUEST)
    for setter in (single.put, multi.add):
        with pytest.raises(StopIteration) as caught:
            setter(1)
        assert caught.value is error


@pytest.mark.parametrize("way", ["call", "aio", "downstream"])
@pytest.mark.parametrize("real", [False, True])
def test_an_async_getter_raises_cancellederror(real, way):
    """An async getter that raises CancelledError gives its caller asyncio.CancelledError."""

    class Cancelling:
        @connectors.Output()
        async def get(self):
            raise asyncio.CancelledError

    block, sink = Cancelling(), Box()
    if real:
        block.get.set_caching(True)
    if way == "downstream":
        block.get.connect(sink.put)
    with pytest.raises(asyncio.CancelledError):
        if way == "call":
            block.get()
        elif way == "aio":
            asyncio.run(block.get.aio())
        else:
            sink.get()


# (22) Macros


def test_a_macro_that_cannot_be_connected():
    """A connection to a macro of which one end fails connects none of its ends."""

    class Macro:
        def __init__(self):
            self.box = Box()
            self.collector = Collector()

        @connectors.MacroInput()
        def put(self):
            yield self.box.put
            yield self.collector.add[[1]]

    macro, source = Macro(), Box(1)
    with pytest.raises(TypeError):
        source.get.connect(macro.put)
    source.put(2)
    assert [macro.box.get(), macro.collector.get()] == [None, ()]
    with pytest.raises(connectors.ConnectorsError):
        source.get.disconnect(macro.box.put)
