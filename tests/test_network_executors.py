"""Executors as the network uses them: levels, lifetime of pools, what travels, fallbacks."""

import asyncio
import gc
import itertools
import logging
import os
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

import connectors
from connectors import (
    ConnectorsError,
    Executor,
    ExecutorClosedError,
    Laziness,
    Output,
    Parallelization,
    events,
)
from connectors.blocks import Multiplexer
from rule_blocks import (
    KINDS,
    PROCESS,
    SEQUENTIAL,
    THREAD,
    Collector,
    Fan,
    Holder,
    Inherited,
    Node,
    Pair,
    Recorder,
    Slots,
    Spoiler,
    Where,
    WithState,
    ends,
    nothing,
    place_of,
    raiser,
    run_script,
    until,
)

# 4.1: kinds

LEVELS = {
    "sequential": (SEQUENTIAL, SEQUENTIAL, SEQUENTIAL),
    "threading": (SEQUENTIAL, THREAD, THREAD),
    "multiprocessing": (SEQUENTIAL, SEQUENTIAL, PROCESS),
    "threading_multiprocessing": (SEQUENTIAL, THREAD, PROCESS),
}
OLDER_NAMES = {
    "sequential": "SequentialExecutor",
    "threading": "ThreadingExecutor",
    "multiprocessing": "MultiprocessingExecutor",
    "threading_multiprocessing": "ThreadingMultiprocessingExecutor",
}


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def executor(kind):
    with connectors.executor(**KINDS[kind]) as executor:
        yield executor


@pytest.mark.parametrize("block", [Where, Inherited])
def test_methods_run_where_the_table_says(kind, executor, block):
    """Getters of single and of multi-outputs run at the level that the table gives for a wish."""
    for wish, level in zip(Parallelization, LEVELS[kind], strict=True):
        where = block()
        for output in (where.get, where.serve):
            output.set_executor(executor)
            output.set_parallelization(wish)
        assert place_of(where.get()) is level
        assert place_of(where.serve(1)) is level
        assert place_of(where.serve[2]()) is level


def test_connected_setters_run_where_the_table_says(kind, executor):
    """Setters run at the level that the table gives, but never in another process."""
    for wish, level in zip(Parallelization, LEVELS[kind], strict=True):
        source, where = Node(1), Where()
        where.set.connect(source.get_value)
        where.add.connect(source.get_value)
        for connector in (where.set, where.add):
            connector.set_parallelization(wish)
        where.get.set_executor(executor)
        near = LEVELS[kind][1] if level is PROCESS else level
        where.get()
        assert {name: place_of(place) for name, place in where.places.items()} == {
            "set": near,
            "add": near,
        }
        source.set_value(2)
        where.get()
        assert place_of(where.places["replace"]) is near


def test_direct_calls_run_in_the_calling_thread(kind, executor):
    """Direct calls of setters run in the calling thread whatever they wish."""
    for wish in Parallelization:
        where = Where()
        for connector in (where.set, where.add):
            connector.set_executor(executor)
            connector.set_parallelization(wish)
        where.set(1)
        where.replace(where.add(1), 2)
        where.add["key"](3)
        assert {place_of(place) for place in where.places.values()} == {SEQUENTIAL}


def test_older_class_names(kind, executor):
    """The counts choose the class of the older name."""
    assert type(executor).__name__ == OLDER_NAMES[kind]


@pytest.mark.parametrize("counts", [{"threads": -1}, {"threads": 0, "processes": -1}])
def test_invalid_counts_are_an_error(counts):
    """A count that cannot be is an error that says which, at the first use at the latest."""
    source, sink = Node(1), Node()
    sink.set_value.connect(source.get_value)

    with pytest.raises(ConnectorsError, match="-1"):
        sink.get_value.set_executor(connectors.executor(**counts))
        sink.get_value()


# The matrix: all executors, all hints, the same values


def network(executor, getter, setter, multi):
    """Read a network with these wishes before and after changes, and return all that was read."""
    one, two, fan, selector = Node(1), Node(2), Fan(10, (101, 102)), Node("a")
    collector, multiplexer, pair, sink = Collector(), Multiplexer(), Pair(), Node()
    multiplexer.select.connect(selector.get_value)
    multiplexer.input["a"].connect(one.get_value)
    multiplexer.input["b"].connect(two.get_value)
    for output in (one.get_value, two.get_value, multiplexer.output):
        collector.add.connect(output)
    collector.add.connect(fan.get)
    pair.set_a.connect(collector.get)
    pair.set_b.connect(fan.get[3])
    sink.set_value.connect(pair.get)
    blocks = (one, two, selector, sink)
    for output in (*(b.get_value for b in blocks), collector.get, multiplexer.output, pair.get):
        output.set_parallelization(getter)
    fan.get.set_parallelization(getter)
    for single in (sink.set_value, pair.set_a, pair.set_b, multiplexer.select):
        single.set_parallelization(setter)
    for several in (collector.add, multiplexer.input):
        several.set_parallelization(multi)
    sink.get_value.set_executor(executor)
    read = [sink.get_value()]
    selector.set_value("b")
    read.append(sink.get_value())
    two.set_value(5)
    fan.set_value(100)
    read.append(sink.get_value())
    data_id = collector.add(7)
    read.append(sink.get_value())
    collector.remove(data_id)
    collector.add.disconnect(one.get_value)
    read.append(sink.get_value())
    fan.set_keys((102, 104))
    read.append(sink.get_value())
    return read


EXPECTED = [
    ((1, 2, 1, 1010, 1020), 30),
    ((1, 2, 2, 1010, 1020), 30),
    ((1, 5, 5, 10100, 10200), 300),
    ((1, 5, 5, 10100, 10200, 7), 300),
    ((5, 5, 10100, 10200), 300),
    ((5, 5, 10200, 10400), 300),
]
HINTS = list(itertools.product(Parallelization, repeat=3))


@pytest.mark.parametrize("hints", HINTS, ids=lambda hints: "-".join(hint.name for hint in hints))
def test_all_executors_and_hints_give_the_same_values(executor, hints):
    """Whatever the executor and the hints, the values are the same."""
    assert ends(network, executor, *hints) == EXPECTED


@pytest.mark.parametrize("processes", [0, 2])
@pytest.mark.parametrize("threads", [0, 2])
def test_counts_in_pairs(threads, processes):
    """The same for the executors that counts by position give."""
    with connectors.executor(threads, processes) as executor:
        for wish in Parallelization:
            assert ends(network, executor, wish, wish, wish) == EXPECTED


# 4.2: what the network adds


class Recording(Executor):
    """Sees which calls it is given."""

    def __init__(self, **options):
        super().__init__(**options)
        self.seen = []

    async def run_method(self, parallelization, method, instance, /, *args, **kwargs):
        self.seen.append((parallelization, method.__name__, instance, args, kwargs))
        return await super().run_method(parallelization, method, instance, *args, **kwargs)


def test_the_network_runs_its_methods_through_run_method():
    """An executor that overrides `run_method` only is given each method of a read, plainly."""
    source, sink = Node(1), Node()
    sink.set_value.connect(source.get_value)
    with Recording() as executor:
        sink.get_value.set_executor(executor)

        assert sink.get_value() == 1

        assert executor.seen == [
            (THREAD, "get_value", source, (), {}),
            (SEQUENTIAL, "set_value", sink, (1,), {}),
            (THREAD, "get_value", sink, (), {}),
        ]
        executor.seen.clear()


def test_the_loop_is_gone_when_idle(executor):
    """After a read the executor awaits nothing: `get_event_loop` gives None."""
    source, sink = Node(1), Node()
    sink.set_value.connect(source.get_value)
    sink.get_value.set_executor(executor)

    sink.get_value()
    asyncio.run(sink.get_value.aio())

    until(lambda: executor.get_event_loop() is None)


# 4.3: lifetime of pools


class Counting(Executor):
    """Notes which pools are opened and when hooks of older subclasses are called."""

    def __init__(self, **options):
        super().__init__(**options)
        self.notes = []

    def pools(self):
        return {
            THREAD: lambda: self.notes.append(THREAD) or ThreadPoolExecutor(1),
            PROCESS: lambda: self.notes.append(PROCESS) or ThreadPoolExecutor(1),
        }

    def _set_up(self):
        self.notes.append("up")

    def _tear_down(self):
        self.notes.append("down")


def test_a_pool_opens_with_the_first_method_that_needs_it():
    """Connecting and SEQUENTIAL methods open nothing, THREAD and PROCESS methods their pool."""
    source, where = Node(1), Where()
    where.set.connect(source.get_value)
    source.get_value.set_parallelization(SEQUENTIAL)
    where.get.set_caching(False)
    with Counting() as executor:
        where.get.set_executor(executor)
        where.set.set_executor(executor)
        opened = []
        for wish in (SEQUENTIAL, THREAD, PROCESS, THREAD, PROCESS):
            where.get.set_parallelization(wish)
            where.get()
            opened.append([note for note in executor.notes if note not in ("up", "down")])
    executor.close()

    assert opened == [[], [THREAD], [THREAD, PROCESS], [THREAD, PROCESS], [THREAD, PROCESS]]
    assert [note for note in executor.notes if note in ("up", "down")] == ["up", "down"]


def test_a_closed_executor_says_so(kind):
    """A read, a set with an eager input and a disconnect name the executor that is closed."""
    source, sink = Node(1), Node()
    sink.set_value.connect(source.get_value)
    executor = connectors.executor(**KINDS[kind])
    sink.get_value.set_executor(executor)
    assert sink.get_value() == 1
    executor.close()
    executor.close()

    source.set_value(2)
    with pytest.raises(ExecutorClosedError, match=f"'{executor.name}' is closed") as caught:
        ends(sink.get_value)
    assert isinstance(caught.value, ConnectorsError)
    assert isinstance(caught.value, RuntimeError)
    with pytest.raises(ExecutorClosedError):
        asyncio.run(sink.get_value.aio())
    with connectors.executor(**KINDS[kind]) as fresh:
        sink.get_value.set_executor(fresh)
        assert ends(sink.get_value) == 2


def test_a_closed_executor_of_an_input_says_so():
    """The executor of an eager input's source is the one that is asked."""
    source, sink = Node(1), Node()
    sink.set_value.connect(source.get_value)
    sink.get_value()
    sink.set_value.set_laziness(Laziness.ON_ANNOUNCE)
    executor = connectors.executor(threads=1)
    source.set_value.set_executor(executor)
    source.set_value(2)
    assert sink.value == 2
    executor.close()

    with pytest.raises(ExecutorClosedError):
        ends(source.set_value, 3)


@pytest.mark.parametrize("counts", [*KINDS.values(), None], ids=[*KINDS, "default"])
def test_the_interpreter_ends_with_open_pools(tmp_path, counts):
    """A program that closes nothing ends, well and silently."""
    printed = run_script(
        tmp_path,
        f"""
        import connectors
        from rule_blocks import Holder, Node, PROCESS

        counts = {counts!r}
        source, sink, holder = Node(1), Node(), Holder()
        sink.set_value.connect(source.get_value)
        holder.set.connect(sink.get_value)
        if counts is not None:
            holder.get.set_executor(connectors.executor(**counts))
        print(holder.get() > 0, holder.value)
        """,
    )

    assert printed == "True 1\n"


class Value:
    """Can be referenced weakly."""


class Giving(Node):
    """Gives a new value."""

    @Output()
    def get_value(self):
        self.on_get()
        return Value()


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("wish", Parallelization)
def test_idle_pools_hold_nothing(executor, wish, fails):
    """After a read, and after a failed one, pools hold no block, no value and no traceback."""
    gc.collect()
    gc.disable()
    try:
        giving, sink = Giving(), Node()
        sink.set_value.connect(giving.get_value)
        giving.get_value.set_parallelization(wish)
        sink.get_value.set_executor(executor)
        value = weakref.ref(sink.get_value())
        if fails:
            giving.on_get = BROKEN
            giving.set_value(1)
            with pytest.raises(ValueError, match="broken") as caught:
                sink.get_value()
            caught.value.__traceback__ = None
            del caught
        blocks = [weakref.ref(giving), weakref.ref(sink)]
        del giving, sink

        # A thread drops its last call a moment after it delivered the result.
        until(lambda: not any(one() for one in (*blocks, value)) or (fails and gc.collect()))
    finally:
        gc.enable()


class Broken:
    """A hook that travels and raises."""

    def __call__(self):
        raise ValueError("broken")


BROKEN = Broken()


# 4.4: what travels


@pytest.fixture(scope="module")
def worker():
    with connectors.executor(threads=0, processes=1) as executor:
        yield executor


def test_the_method_is_found_by_its_name(worker):
    """A getter runs in the module where it was defined, and not in a copy of its globals."""
    blocks = [Recorder(), Recorder()]
    for block in blocks:
        block.get.set_executor(worker)

    first, second = (block.get() for block in blocks)

    assert len(first) == 1
    assert second == first * 2
    assert os.getpid() not in first


@pytest.mark.parametrize("connected", [False, True])
def test_getstate_and_setstate_are_honoured(worker, connected):
    """State travels as the block says, without its connectors, and `__init__` is not called."""
    source, sink, block = Node(2), Node(), WithState(1)
    if connected:
        block.set.connect(source.get_value)
        sink.set_value.connect(block.get)
    block.get.set_executor(worker)

    pid, value, restored, initialized = block.get()

    assert pid != os.getpid()
    assert (value, restored) == (2 if connected else 1, True)
    assert initialized == []
    assert not isinstance(block.lock, str)


def test_slots_travel(worker):
    """What stands in slots travels along."""
    source, block = Node(2), Slots(1)
    block.get.set_executor(worker)
    assert block.get()[1] == 1

    block.set.connect(source.get_value)
    pid, value = block.get()

    assert (pid != os.getpid(), value) == (True, 2)


def test_only_the_return_value_comes_back(worker):
    """Changes that a getter makes in the worker are lost; plain getters are called there."""
    block = Spoiler()
    block.get.set_executor(worker)
    block.double.set_executor(worker)

    pid, doubled = block.get()

    assert pid != os.getpid()
    assert (doubled, block.count) == (2, 0)
    assert block.double() == 0
    block.set(5)
    assert block.get()[1] == 12
    assert block.count == 5


def test_errors_of_a_worker_come_back(worker):
    """What a PROCESS getter raises is raised by the read, and repaired by the next one."""
    giving, sink = Giving(), Node()
    giving.get_value.set_parallelization(PROCESS)
    sink.set_value.connect(giving.get_value)
    sink.get_value.set_executor(worker)
    giving.on_get = BROKEN
    for _ in range(2):
        with pytest.raises(ValueError, match="broken"):
            ends(sink.get_value)

    giving.on_get = nothing
    giving.get_value.invalidate()

    assert isinstance(ends(sink.get_value), Value)


# 4.4: fallbacks


class Told(Where):
    """Has an `async def` getter."""

    @Output(parallelization=PROCESS)
    async def wait(self):
        return threading.get_ident()


def test_an_async_getter_with_a_process_hint_is_a_fallback(caplog):
    """An `async def` method is awaited here, and the wish for a process is reported."""
    block = Told()
    with (
        connectors.executor(threads=2, processes=1) as executor,
        connectors.observe() as observed,
        caplog.at_level(logging.INFO, "connectors"),
    ):
        block.wait.set_executor(executor)
        assert isinstance(block.wait(), int)
        assert not list(observed.of(events.WorkerStarted))

    assert {event.wish for event in observed.of(events.CallFellBack)} == {PROCESS}
    assert "Told.wait" in caplog.text


def test_a_missing_level_is_a_fallback_that_is_reported(caplog):
    """The report names wanted level, used level, reason, class and method."""

    class Fresh(Holder):
        pass

    block = Fresh()
    with (
        connectors.executor(threads=1) as executor,
        connectors.observe() as observed,
        caplog.at_level(logging.INFO, "connectors"),
    ):
        block.get.set_executor(executor)
        assert block.get() == os.getpid()

    (event,) = observed.of(events.CallFellBack)
    assert (event.wish, event.level) == (PROCESS, THREAD)
    (text,) = [record.getMessage() for record in caplog.records if record.name == "connectors"]
    for part in ("PROCESS", "THREAD", "no pool for PROCESS", "Fresh", "get"):
        assert part in text


def test_a_report_never_raises(caplog):
    """An observer that raises at the report harms no read."""

    def refuse(event):
        if isinstance(event, events.CallFellBack):
            raiser(RuntimeError("no"))()

    class Fresh(Holder):
        pass

    block = Fresh(lock=threading.Lock())
    with connectors.executor(threads=1, processes=1) as executor:
        block.get.set_executor(executor)
        observation = connectors.observe(refuse)
        try:
            assert block.get() == os.getpid()
        finally:
            observation.close()
    assert "RuntimeError: no" in caplog.text


pytestmark = pytest.mark.slow
