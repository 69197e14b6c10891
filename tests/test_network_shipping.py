"""What of a block's state goes to worker processes, how often, and how long it stays there."""

import concurrent.futures
import copy
import functools
import gc
import os
import pickle
import sys
import threading
import time
import types
import weakref

import cloudpickle
import numpy as np
import pytest

import connectors
from connectors import Parallelization, events
from connectors.network import _likeness, _packing, _shipping
from connectors.pools import ProcessPool
from connectors.pools._process import _pool
from rule_blocks import NewArguments, WithReduce
from shipping_blocks import (
    Bag,
    Copied,
    Meddling,
    Point,
    Slotted,
    descriptors,
    family,
    first_of,
    item,
    shared,
    spoil,
)

SIZE = 1 << 20
NAMES = ["multiprocessing", "threading_multiprocessing"]
BOUND = 20
KEPT = (_shipping.Parcel, _packing.Shipment, _packing.Part)


@pytest.fixture(params=NAMES)
def worker(request):
    """An executor with one worker process, by name."""
    with connectors.executor(request.param, processes=1) as executor:
        yield executor


@pytest.fixture
def sent(monkeypatch):
    """The sizes of what is deposited, in order."""
    sizes = []
    deposit = ProcessPool.deposit

    def counting(self, parts):
        sizes.append(sum(len(part) for part in parts))
        return deposit(self, parts)

    monkeypatch.setattr(ProcessPool, "deposit", counting)
    return sizes


def on(executor, block):
    block.get.set_executor(executor)
    return block


def shelf_of(executor):
    return executor._pools[Parallelization.PROCESS]._core.crew.shelf


def bell_of(executor):
    (worker,) = executor._pools[Parallelization.PROCESS]._core.crew.workers.values()
    return worker.bell


def until(condition):
    limit = time.monotonic() + BOUND
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.005)


# What a call sees


@pytest.mark.parametrize("size", [10, SIZE], ids=["small", "large"])
def test_each_call_sees_the_state_as_it_was_sent(worker, size):
    """What a getter changes in the worker, the next call does not see, sent once or not."""
    block = Bag(
        array=np.ones(size, np.uint8),
        buffer=bytearray(b"\1") * size,
        numbers=list(range(3)) * (size // 10),
        point=Point(1),
        constant=b"\1" * size,
        number=1,
    )
    on(worker, block)

    first = block.get(spoil)

    assert first == (1, 1, block.numbers, 1, 1)
    assert [block.get(spoil) for _ in range(3)] == [first] * 3
    block.change(lambda block: setattr(block, "number", 2))
    assert block.get(spoil) == first
    assert (block.array[0], block.point.x) == (1, 1)


@pytest.mark.parametrize("change", ["change", "change_unobserved"])
@pytest.mark.parametrize("name", ["array", "other", "numbers"])
def test_what_an_input_changes_in_place_is_seen(worker, change, name):
    """An input, observed or not, that changes a large attribute in place is seen."""
    block = Bag(
        array=np.zeros(SIZE, np.uint8), other=bytearray(SIZE), numbers=[0] * 100_000, rest=Point(1)
    )
    on(worker, block)
    assert block.get(first_of[name]) == 0

    def set_last(block):
        getattr(block, name)[-1] = 7

    getattr(block, change)(set_last)

    assert block.get(functools.partial(item, name=name, index=-1)) == 7


def test_what_a_failing_input_changed_is_seen(worker):
    """An input that raises has changed what it has changed."""
    block = on(worker, Bag(array=np.zeros(SIZE, np.uint8)))
    assert block.get(first_of["array"]) == 0

    def fail(block):
        block.array[0] = 7
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        block.change(fail)

    assert block.get(first_of["array"]) == 7


def test_what_is_bound_in_the_place_of_another_is_seen(worker):
    """A value bound where one was freed, perhaps at its address, is not mistaken for that."""
    block = on(worker, Slotted())
    block.point = Point(-1)
    for number in range(20):
        block.point = None
        block.point = Point(number)
        block.first = block.second = None
        block.second = [number]
        assert block.get(lambda block: (block.point.x, block.second)) == (number, [number])


def test_a_change_while_it_is_packed_is_seen_by_the_next_call(worker):
    """An input that runs to its end while the state is packed is not lost."""
    block = on(worker, Bag(points=[Point(0)], meddling=Meddling()))

    def add(block):
        block.points[0].x += 1

    def meddle():
        Meddling.function = None
        thread = threading.Thread(target=block.change_unobserved, args=(add,))
        thread.start()
        thread.join(BOUND)

    Meddling.function = meddle
    block.get()

    assert Meddling.function is None
    assert block.points[0].x == 1
    assert block.get(lambda block: block.points[0].x) == 1


def test_identity_between_attributes_survives(worker):
    """Attributes that are the same object, or refer to it, are so in the worker."""
    array, text = np.zeros(SIZE, np.uint8), b"x" * SIZE
    block = Bag(a=array, text=text, n=0)
    block.b, block.inside = array, [array, text]
    block.partial = functools.partial(print, array)
    on(worker, block)

    for number in range(3):
        assert block.get(shared) == (True, True, True, True)
        block.change(lambda block, number=number: setattr(block, "n", number))


def test_attributes_that_become_one_object_are_one(worker):
    """What an input makes the same object of two equal ones is the same in the worker."""
    block = on(worker, Bag(a=[Point(1)] * 2, b=[Point(1)] * 2))
    assert not block.get(lambda block: block.a[0] is block.b[0])

    block.change(lambda block: block.b.__setitem__(0, block.a[0]))

    assert block.get(lambda block: (block.a[0] is block.b[0], block.a[0] is block.b[1])) == (
        True,
        False,
    )


def test_a_block_to_which_its_attributes_lead_back(worker):
    """A block with a child that knows its parent is one block in the worker."""
    block = Bag(data=np.zeros(SIZE, np.uint8))
    block.child = Point(block)
    on(worker, block)

    assert block.get(family) == (True, SIZE)
    block.change(lambda block: setattr(block, "data", b"123"))
    assert block.get(family) == (True, 3)


# What is sent


@pytest.mark.parametrize("kind", ["array", "bytes"])
@pytest.mark.parametrize("size", [SIZE, pytest.param(200_000_000, marks=pytest.mark.slow)])
def test_only_what_changed_is_sent(worker, sent, size, kind):
    """Of two large attributes those that an input kept are not sent again."""
    make = (
        functools.partial(np.full, size, dtype=np.uint8)
        if kind == "array"
        else (lambda number: bytes([number]) * size)
    )
    block = on(worker, Bag(array=make(1), other=make(2), n=0))
    assert block.get(first_of["array"]) == 1
    assert len(sent) == 2 and sum(sent) < 2 * size + 1000
    sent.clear()

    assert block.get(first_of["other"]) == 2
    block.change(lambda block: setattr(block, "n", 1))
    assert block.get(first_of["other"]) == 2
    Bag().change.connect(block.get)
    assert block.get(first_of["array"]) == 1
    assert sent == []

    block.change(lambda block: setattr(block, "other", make(3)))
    assert block.get(first_of["other"]) == 3
    assert len(sent) == 1 and sum(sent) < size + 1000


def test_modules_by_value_do_not_concern_others(worker, sent):
    """That some module travels by value does not make attributes without it travel together."""
    elsewhere = types.ModuleType("elsewhere")
    sys.modules["elsewhere"] = elsewhere
    cloudpickle.register_pickle_by_value(elsewhere)
    try:
        block = Bag(array=np.ones(SIZE, np.uint8), other=np.zeros(SIZE, np.uint8), n=0)
        on(worker, block).get(first_of["array"])
        block.change(lambda block: setattr(block, "n", 1))
        block.get(first_of["array"])
    finally:
        cloudpickle.unregister_pickle_by_value(elsewhere)
        del sys.modules["elsewhere"]

    assert len(sent) == 2 and sum(sent) < 2 * SIZE + 1000


def test_many_small_attributes_are_sent_together(worker, sent):
    """Attributes that are small, but many, are sent once as well."""
    block = Bag(**{f"point{number}": Point("x" * 100) for number in range(100)})
    on(worker, block)

    assert [block.get(lambda block: block.point50.x[0]) for _ in range(3)] == ["x"] * 3

    assert len(sent) == 1


def test_two_executors_have_a_state_each(sent):
    """A block that is read with two executors in turn is sent to each once."""
    block = Bag(array=np.ones(SIZE, np.uint8))
    with (
        connectors.executor("multiprocessing", processes=1) as first,
        connectors.executor("multiprocessing", processes=1) as second,
    ):
        pids = set()
        for _ in range(3):
            for executor in (first, second):
                pids.add(on(executor, block).get(lambda block: (os.getpid(), int(block.array[0]))))

    assert len(pids) == 2
    assert len(sent) == 2


def test_without_room_the_state_goes_along(worker, monkeypatch):
    """What the pool has no room to keep travels with each call, and is as right."""
    monkeypatch.setattr(_pool, "MOST_SEGMENTS", 0)
    block = on(worker, Bag(array=np.ones(SIZE, np.uint8), other=b"\2" * SIZE))
    read = lambda block: (int(block.array[0]), block.other[0])

    assert [block.get(read) for _ in range(2)] == [(1, 2)] * 2
    block.change(lambda block: block.array.fill(3))
    assert block.get(read) == (3, 2)
    array = weakref.ref(block.array)
    block.array = block.other
    assert array() is None


# How long it stays


def test_a_block_that_goes_takes_its_state_along(worker):
    """When a block is gone, neither process keeps anything of it."""
    other = on(worker, Bag())
    other.get()
    until(lambda: worker.submit(os.getpid).result() and bell_of(worker))  # which is kept
    before = worker.submit(descriptors).result(), descriptors()
    block = on(worker, Bag(array=np.ones(SIZE, np.uint8), other=b"2" * SIZE))
    block.get()
    assert shelf_of(worker).segments == 2

    del block

    until(lambda: not shelf_of(worker))
    until(lambda: (worker.submit(descriptors).result(), descriptors()) == before)


def test_what_was_sent_is_not_kept_alive(worker):
    """An array that is replaced is gone, also if no input did it, and so is what an input drops."""
    block = on(worker, Bag(array=np.ones(SIZE, np.uint8), points=[Point(1)]))
    block.get()
    array, point = weakref.ref(block.array), weakref.ref(block.points[0])

    block.array = None
    assert array() is None
    block.change(lambda block: block.points.clear())
    assert point() is None
    block.get(lambda block: None)
    until(lambda: not shelf_of(worker))


def test_a_closed_executor_keeps_nothing():
    """When an executor is closed, its segments are gone, although the block is there."""
    before = descriptors()
    executor = connectors.executor("multiprocessing", processes=1)
    block = on(executor, Bag(array=np.ones(SIZE, np.uint8)))
    block.get()

    executor.close()

    assert descriptors() == before
    with connectors.executor("multiprocessing", processes=1) as other:
        assert on(other, block).get(first_of["array"]) == 1


def test_a_block_that_was_read_leaves_no_garbage(worker):
    """What a block remembers of its shipments makes no cycles."""

    def use():
        block = on(worker, Bag(array=np.ones(SIZE, np.uint8), points=[Point(1)]))
        block.get()
        block.change(lambda block: None)
        block.get()

    use()
    gc.collect()
    gc.disable()
    try:
        gc.set_debug(gc.DEBUG_SAVEALL)
        use()
        gc.collect()
        ours = [item for item in gc.garbage if isinstance(item, (Bag, Point, np.ndarray, *KEPT))]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()

    assert ours == []


def test_copies_do_not_share_what_was_sent(worker):
    """A copy, made in any way, has a state of its own."""
    block = on(worker, Copied(array=np.ones(SIZE, np.uint8)))
    block.get()

    for other in (copy.copy(block), copy.deepcopy(block), pickle.loads(pickle.dumps(block))):
        other.array = np.full(SIZE, 2, np.uint8)
        assert on(worker, other).get(first_of["array"]) == 2
        assert block.get(first_of["array"]) == 1
    assert "_connectors_parcel" not in vars(pickle.loads(pickle.dumps(block)))
    assert pickle.loads(pickle.dumps(vars(block)["_connectors_parcel"])) is None


# Pools that keep nothing


class Enveloping(connectors.Executor):
    """Has a pool for PROCESS that takes functions only."""

    capabilities = connectors.Capabilities(levels={Parallelization.PROCESS})

    def pools(self):
        return {Parallelization.PROCESS: lambda: concurrent.futures.ThreadPoolExecutor(1)}


def test_a_pool_that_keeps_nothing_is_sent_the_block():
    """With a plain pool the whole block travels, and what cannot be made there falls back."""
    with Enveloping() as executor, connectors.observe() as observed:
        block = on(executor, Bag(array=np.ones(3)))
        assert block.get(lambda block: float(block.array[0])) == 1
        told = on(executor, WithReduce("first"))
        assert told.get()[1] == "first"
        assert not list(observed.of(events.CallFellBack))
        untold = on(executor, NewArguments("first"))
        assert untold.get()[1] == "first"

    (event,) = observed.of(events.CallFellBack)
    assert "__getnewargs__" in event.reason


# Looks


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (0.0, -0.0),
        (1, True),
        (1, 1.0),
        ([1, 2], [2, 1]),
        ([[1], 2], [[1, 2]]),
        ((1,), [1]),
        ({"a": 1}, {"a": 2}),
        (Point(1), Point(2)),
        (Point([Point(1)]), Point([Point(3)])),
        ([(p := Point(1)), p], [Point(1), Point(1)]),
        (int, str),
    ],
)
def test_a_look_sees_a_difference(first, second):
    """Values that differ do not look alike, and each looks like itself."""
    assert _likeness.likeness(first)[0] != _likeness.likeness(second)[0]
    assert _likeness.likeness(first)[0] == _likeness.likeness(copy.deepcopy(first))[0]


@pytest.mark.parametrize(
    "value",
    [
        np.zeros(3),
        [0] * 1000,
        "x" * 10_000,
        functools.partial(print),
        threading.Lock(),
        {1, 2},
        type("Text", (str,), {})("text"),
        lambda: None,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_one_cannot_look_into(value):
    """Values with a state that cannot be seen, or with too much of it, have no look."""
    assert _likeness.likeness(value) is None


pytestmark = pytest.mark.slow
