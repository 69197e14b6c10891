"""`Executor`: levels, limits, worlds, views, overrides."""

import asyncio
import concurrent.futures
import contextvars
import gc
import itertools
import logging
import os
import pickle
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import trio

import connectors
from connectors import (
    Call,
    CallTimeoutError,
    Capabilities,
    Executor,
    ExecutorClosedError,
    ExecutorOpenError,
    FallbackError,
    Parallelization,
    PicklingError,
    WorkerCrashError,
    events,
)
from jobs import (
    VARIABLE,
    Counter,
    Lock,
    add,
    crash,
    crash_once,
    divide,
    keywords,
    odd_fails,
    pid,
    thread_name,
    variable,
)

SEQUENTIAL, THREAD, PROCESS = Parallelization
BUILTINS = ["sequential", "threading", "multiprocessing", "threading_multiprocessing", "trio"]


class Override(Executor):
    """Overrides `run_method` only."""

    capabilities = Capabilities(levels={THREAD})

    def __init__(self, **options):
        super().__init__(**options)
        self.seen = []

    async def run_method(self, parallelization, method, instance, /, *args, **kwargs):
        self.seen.append((parallelization, method, instance, args, kwargs))
        result = method(*args, **kwargs) if instance is None else method(instance, *args, **kwargs)
        return await result if asyncio.iscoroutine(result) else result


class Delegating(Override):
    """Overrides `run_method`, looks, and leaves the work to its base class."""

    async def run_method(self, parallelization, method, instance, /, *args, **kwargs):
        self.seen.append(parallelization)
        return await Executor.run_method(self, parallelization, method, instance, *args, **kwargs)

    def pools(self):
        return {THREAD: ThreadPoolExecutor(2)}


class Foreign(Executor):
    """Gives a pool that nobody here wrote."""

    capabilities = Capabilities(levels={THREAD})

    def pools(self):
        return {THREAD: ThreadPoolExecutor(1)}


@pytest.fixture
def threads():
    with connectors.executor("threading", threads=2) as executor:
        yield executor


@pytest.fixture(scope="module")
def processes():
    with connectors.executor("multiprocessing", processes=2) as executor:
        yield executor


@pytest.fixture(params=BUILTINS)
def builtin(request):
    with connectors.executor(request.param) as executor:
        yield executor


def in_world(world, function):
    return trio.run(function) if world == "trio" else asyncio.run(function())


def where():
    return (os.getpid(), threading.get_ident())


def level_of(place):
    if place[0] != os.getpid():
        return PROCESS
    return SEQUENTIAL if place[1] == threading.get_ident() else THREAD


# The fallback table of the docs


TABLE = {
    "sequential": (SEQUENTIAL, SEQUENTIAL, SEQUENTIAL),
    "threading": (SEQUENTIAL, THREAD, THREAD),
    "multiprocessing": (SEQUENTIAL, SEQUENTIAL, PROCESS),
    "threading_multiprocessing": (SEQUENTIAL, THREAD, PROCESS),
    "trio": (SEQUENTIAL, THREAD, THREAD),
}


def fallback_table():
    lines = ["| executor | SEQUENTIAL | THREAD | PROCESS |", "|---|---|---|---|"]
    for name in BUILTINS:
        with connectors.executor(name) as executor:
            cells = " | ".join(executor.level_for(wish).name for wish in Parallelization)
        lines.append(f"| `{name}` | {cells} |")
    return "\n".join(lines)


def test_the_fallback_table_of_the_docs_is_right():
    """The table in the guide is what the executors say."""
    guide = os.path.join(os.path.dirname(__file__), os.pardir, "docs", "executors.md")
    print(fallback_table())

    with open(guide) as file:
        assert fallback_table() in file.read()


@pytest.mark.parametrize("name", BUILTINS)
def test_calls_run_where_the_table_says(name):
    """`level_for` tells where a call really runs."""
    with connectors.executor(name) as executor:
        for wish, level in zip(Parallelization, TABLE[name], strict=True):
            assert executor.level_for(wish) is level
            assert level_of(executor.options(wish=wish).submit(where).result()) is level


def test_trio_has_processes_if_they_are_asked_for():
    """With ``processes`` the trio executor grants PROCESS."""
    with connectors.executor("trio", processes=1) as executor:
        assert executor.level_for(PROCESS) is PROCESS
        assert executor.submit(pid).result() != os.getpid()


def test_submit_goes_as_far_as_the_executor_can():
    """`submit` states no wish and gets the farthest level."""
    for name, level in (("threading", THREAD), ("threading_multiprocessing", PROCESS)):
        with connectors.executor(name) as executor:
            assert level_of(executor.submit(where).result()) is level


# Calls


def test_arguments_and_results(builtin):
    """Positional and keyword arguments arrive, and the result comes back."""
    assert builtin.submit(add, 1, b=2).result() == 3
    names = {"self": 1, "fn": 2, "method": 3, "instance": 4, "parallelization": 5}
    assert builtin.submit(keywords, **names).result() == names


def test_a_users_exception_is_never_wrapped(builtin):
    """An exception comes as itself, with a note of what ran where."""
    level = builtin.level_for(PROCESS)
    with pytest.raises(ZeroDivisionError) as caught:
        builtin.submit(divide, 1, 0).result()

    assert caught.value.__notes__ == [f"while running divide on '{builtin.name}' ({level})"]
    assert caught.traceback[-1].name == "divide"


@pytest.mark.parametrize("limits", [{}, {"retries": 1}, {"timeout": 60}])
@pytest.mark.parametrize("name", BUILTINS)
def test_a_failed_call_leaves_no_cyclic_garbage(name, limits):
    """Futures, frames and tracebacks of a failed call go by reference counting alone."""
    gc.collect()
    gc.disable()
    try:
        with connectors.executor(name) as executor:
            future = executor.options(**limits).submit(divide, 1, 0)
            assert future.exception()
        gone = weakref.ref(future)
        del future
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("world", ["asyncio", "trio"])
def test_run_method_is_awaitable_in_both_worlds(builtin, world):
    """`run_method` runs a method of an instance under asyncio and under trio."""

    async def body():
        got = [await builtin.run_method(wish, Counter.add, Counter(1), 2) for wish in TABLE["trio"]]
        with pytest.raises(ZeroDivisionError):
            await builtin.run_method(THREAD, divide, None, 1, 0)
        return got

    assert in_world(world, body) == [3, 3, 3]


@pytest.mark.parametrize("world", ["asyncio", "trio"])
def test_run_method_gives_the_context_of_its_caller(world):
    """Context variables of the awaiting task reach the method, wherever it runs."""
    for name in BUILTINS:
        given = {"context": ["jobs:VARIABLE"]} if "multiprocessing" in name else {}
        with connectors.executor(name, **given) as executor:

            async def body(executor=executor):
                VARIABLE.set("mine")
                return [await executor.run_method(wish, variable, None) for wish in Parallelization]

            assert in_world(world, body) == ["mine", "mine", "mine"], name


@pytest.mark.parametrize("world", ["asyncio", "trio"])
def test_async_methods_are_awaited_in_the_executors_world(builtin, world):
    """An ``async def`` method runs in the library of its executor, whoever calls it."""
    native = "trio" if builtin.name == "trio" else "asyncio"

    async def method(number):
        await (trio.sleep(0) if native == "trio" else asyncio.sleep(0))
        return number, builtin.get_event_loop() is not None

    async def body():
        return await builtin.run_method(PROCESS, method, None, 1)

    assert in_world(world, body) == (1, True)
    assert builtin.submit(method, 2).result() == (2, True)
    assert list(builtin.map(method, [3, 4])) == [(3, True), (4, True)]
    assert builtin.get_event_loop() is None


def test_async_methods_share_one_loop(threads):
    """What one call binds to the loop the next can use."""

    async def loop():
        return asyncio.get_running_loop()

    assert threads.submit(loop).result() is threads.submit(loop).result()
    assert threads.submit(loop).result() is threads.run_coroutine(loop())


def test_cancelling_gives_control_back_at_once(threads):
    """A cancelled await does not wait for its thread, and the executor goes on."""
    gate, runs = threading.Event(), threading.Event()

    def wait():
        runs.set()
        gate.wait()

    async def in_asyncio():
        task = asyncio.create_task(threads.run_method(THREAD, wait, None))
        await asyncio.to_thread(runs.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def in_trio():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(threads.run_method, THREAD, wait, None)
            await trio.to_thread.run_sync(runs.wait)
            nursery.cancel_scope.cancel()

    asyncio.run(in_asyncio())
    runs.clear()
    trio.run(in_trio)
    assert not gate.is_set()
    gate.set()
    assert threads.submit(add, 1).result() == 2


# Coroutines


def test_run_coroutine_blocks_for_its_result(builtin):
    """`run_coroutine` gives the result or the error, from plain code and inside a running loop."""

    async def give():
        return 1

    async def fail():
        raise ValueError("failed")

    async def inside():
        return builtin.run_coroutine(give())

    assert builtin.run_coroutine(give()) == 1
    with pytest.raises(ValueError, match="failed"):
        builtin.run_coroutine(fail())
    assert asyncio.run(inside()) == 1
    assert builtin.run_coroutine(inside()) == 1


def test_run_until_complete_takes_what_can_be_awaited(threads):
    """Coroutines and futures are waited for; a future of another loop is refused."""

    async def give():
        return 1

    async def foreign():
        with pytest.raises(ValueError, match="another event loop"):
            threads.run_until_complete(asyncio.get_running_loop().create_future())

    assert threads.run_until_complete(give()) == 1
    assert threads.run_until_complete(threads.submit(add, 1)) == 2
    asyncio.run(foreign())


def test_run_coroutines_gives_results_in_order(builtin):
    """All run at the same time; failures leave alone or as a group."""

    async def give(number):
        return number

    async def fail():
        raise ValueError("failed")

    assert builtin.run_coroutines(give(number) for number in range(3)) == [0, 1, 2]
    assert builtin.run_coroutines([]) == []
    with pytest.raises(ValueError, match="failed"):
        builtin.run_coroutines([give(1), fail()])
    with pytest.raises(ExceptionGroup):
        builtin.run_coroutines([fail(), fail()])


# map


def test_map_is_ordered(builtin):
    """Results come in the order of the items, from several iterables, up to the shortest."""
    assert list(builtin.map(add, range(100), itertools.count())) == [
        2 * number for number in range(100)
    ]
    assert list(builtin.map(add, [])) == []
    assert sorted(builtin.map(add, range(30), unordered=True)) == list(range(1, 31))
    assert list(builtin.map(add, range(30), chunksize=7)) == list(range(1, 31))


def test_map_takes_an_infinite_iterable(builtin):
    """Items are taken as results are taken."""
    results = builtin.map(add, itertools.count())

    assert list(itertools.islice(results, 500)) == list(range(1, 501))
    results.close()


def test_map_keeps_a_bounded_number_under_way(threads):
    """No more chunks are under way than ``buffersize``."""
    taken = []

    def items():
        for number in itertools.count():
            taken.append(number)
            yield number

    results = threads.map(add, items(), chunksize=2, buffersize=3)
    assert taken == list(range(6))
    assert next(results) == 1
    assert len(taken) == 8
    results.close()


def test_a_failing_item_comes_after_the_results_before_it(builtin):
    """The results of the items before a failing one are not lost, also within its chunk."""
    got = []
    with pytest.raises(ValueError) as caught:
        for result in builtin.map(odd_fails, [0, 2, 4, 5, 6], chunksize=5):
            got.append(result)

    assert got == [0, 2, 4]
    assert caught.value.__notes__[0].startswith(f"while running odd_fails on '{builtin.name}'")
    assert caught.traceback[-1].name == "odd_fails"


def test_unordered_results_come_as_they_are_done(threads):
    """A slow item holds up nobody."""
    gate = threading.Event()

    def work(number):
        if number == 0:
            gate.wait()
        return number

    results = threads.map(work, range(5), unordered=True, chunksize=1)
    assert sorted(itertools.islice(results, 4)) == [1, 2, 3, 4]
    gate.set()
    assert list(results) == [0]


@pytest.mark.parametrize("unordered", [False, True])
def test_map_gives_up_after_its_timeout(threads, unordered):
    """With ``timeout`` the wait for results is limited."""
    gate = threading.Event()
    try:
        results = threads.map(lambda _: gate.wait(), [1], timeout=0.01, unordered=unordered)
        with pytest.raises(CallTimeoutError, match="map of"):
            next(results)
    finally:
        gate.set()


def test_a_timeout_error_of_an_item_is_the_items(threads):
    """An item that raises `TimeoutError` is not taken for a late map."""

    def fail(_):
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        next(threads.map(fail, [1], timeout=60))


def test_an_abandoned_map_cancels_what_has_not_begun(threads):
    """Who stops taking results stops the work."""
    gate, ran = threading.Event(), []

    def work(number):
        gate.wait()
        ran.append(number)

    results = threads.map(work, range(100), chunksize=1, buffersize=50)
    results.close()
    del results
    gc.collect()
    gate.set()
    threads.close()
    assert len(ran) <= 50


@pytest.mark.parametrize("given", [{"chunksize": 0}, {"buffersize": -1}])
def test_map_refuses_sizes_without_meaning(threads, given):
    """A size below 1 is named at once."""
    (name, value), *_ = given.items()
    with pytest.raises(ValueError, match=f"{name}={value}"):
        threads.map(add, [1], **given)


def test_limits_hold_for_each_item(threads):
    """Items with limits of their own travel alone."""
    failed = set()

    def once(number):
        if number not in failed:
            failed.add(number)
            raise ValueError(number)
        return number

    assert list(threads.options(retries=1).map(once, range(20))) == list(range(20))
    with connectors.executor("sequential", retries=1) as executor:
        failed.clear()
        assert list(executor.map(once, range(20))) == list(range(20))


# Limits


@pytest.mark.parametrize("name", ["threading", "trio"])
def test_a_late_call_is_told_to_be_late(name):
    """A call over its limit raises for its caller, and other calls go on."""
    gate = threading.Event()
    with connectors.executor(name, threads=2) as executor:
        try:
            future = executor.options(timeout=0.01).submit(gate.wait)
            with pytest.raises(CallTimeoutError, match=r"limit of 0.01 s; a thread cannot be"):
                future.result(30)
            assert executor.submit(add, 1).result() == 2
        finally:
            gate.set()


@pytest.mark.parametrize("name", ["threading", "trio"])
def test_a_late_coroutine_is_cancelled(name):
    """An ``async def`` call over its limit is cancelled, from plain code and awaited."""
    unwound = []

    async def wait():
        try:
            await (trio.sleep_forever() if name == "trio" else asyncio.Event().wait())
        finally:
            unwound.append(1)

    with connectors.executor(name, timeout=0.01) as executor:
        with pytest.raises(CallTimeoutError):
            executor.submit(wait).result()

        async def body():
            with pytest.raises(CallTimeoutError):
                await executor.run_method(THREAD, wait, None)

        in_world("trio" if name == "trio" else "asyncio", body)
    assert unwound == [1, 1]


def test_a_late_inline_call_is_told_afterwards():
    """Nothing can interrupt the calling thread, but the outcome is that of every executor."""
    with connectors.executor("sequential", timeout=0) as executor:
        with pytest.raises(CallTimeoutError, match="calling thread"):
            executor.submit(add, 1).result()


def test_a_timeout_of_the_users_own_is_no_limit(threads):
    """A `TimeoutError` that a method raises is the method's."""

    async def fail():
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        threads.options(timeout=60).submit(fail).result()


def test_a_failed_call_is_run_again(builtin, tmp_path):
    """With ``retries`` a call that failed is run again, so often and no oftener."""
    path = tmp_path / "runs"

    def fail_twice():
        with open(path, "a") as file:
            file.write("x")
        if path.stat().st_size < 3:
            raise ValueError("again")
        return path.stat().st_size

    assert builtin.options(retries=2).submit(fail_twice).result() == 3
    path.unlink()
    with pytest.raises(ValueError, match="again"):
        builtin.options(retries=1).submit(fail_twice).result()
    assert path.stat().st_size == 2


def test_a_failed_coroutine_is_run_again(threads):
    """Retries hold for ``async def`` as well."""
    runs = []

    async def fail_once():
        runs.append(1)
        if len(runs) < 2:
            raise ValueError("again")
        return len(runs)

    assert threads.options(retries=1).submit(fail_once).result() == 2


def test_a_dead_worker_fails_its_call_and_no_other(processes):
    """A worker that dies is told with the label of its call, and the executor goes on."""
    with pytest.raises(WorkerCrashError, match="crash"):
        processes.submit(crash).result(60)
    assert processes.submit(add, 1).result(60) == 2


def test_a_crashed_call_is_run_again_if_it_may_be(processes, tmp_path):
    """With ``retries`` a call that killed its worker is run again, and without it is not."""
    flag = tmp_path / "flag"

    assert processes.options(retries=1).submit(crash_once, flag).result(60) == "survived"


def test_a_waiting_call_can_be_cancelled_and_a_running_one_cannot(threads):
    """`Future.cancel` keeps the promises of the standard library, with limits and without."""
    for executor in (threads, threads.options(retries=1), threads.options(timeout=60)):
        gate, both = threading.Event(), threading.Barrier(3)
        running = [executor.submit(lambda g=gate, b=both: (b.wait(), g.wait())) for _ in range(2)]
        waiting = executor.submit(add, 1)
        both.wait()
        assert running[0].running()
        assert not running[0].cancel()
        assert waiting.cancel()
        gate.set()
        done = concurrent.futures.wait([*running, waiting], timeout=30)
        assert not done.not_done
        assert waiting.cancelled()
        assert waiting.cancel()
        assert not running[0].cancel()


# Fallback


def test_what_cannot_travel_stays(caplog):
    """A call that cannot be pickled runs in a thread, says so once and names the attribute."""
    with (
        connectors.executor("threading_multiprocessing", processes=1) as executor,
        connectors.observe() as observed,
        caplog.at_level(logging.INFO, "connectors"),
    ):
        for _ in range(2):
            future = executor.submit_call(Call(Lock.get, instance=Lock(), wish=PROCESS))
            assert future.result() == "door"

    assert {event.level for event in observed.of(events.CallFellBack)} == {THREAD}
    assert "instance.lock" in next(observed.of(events.CallFellBack)).reason
    assert caplog.text.count("instance.lock") == 1


def test_a_strict_executor_refuses_to_fall_back():
    """With ``strict`` a fallback is an error that names the cause, raised at once."""
    with connectors.executor("threading", strict=True) as executor:
        with pytest.raises(FallbackError, match="no pool for PROCESS"):
            executor.options(wish=PROCESS).submit(add, 1)
        assert executor.submit(add, 1).result() == 2
    with connectors.executor("multiprocessing", strict=True) as executor:
        with pytest.raises(PicklingError, match=r"args\[0\].lock"):
            executor.submit(add, Lock())


def test_writes_are_not_lost_in_another_process(processes):
    """A method that changes its instance runs where the instance is."""
    counter = Counter()
    call = Call(Counter.add, instance=counter, wish=PROCESS, writes=True)

    processes.submit_call(call).result()

    assert counter.value == 1
    assert "would be lost" in processes.explain(call).rejected["PROCESS"]


def test_in_a_worker_there_are_no_further_workers(processes):
    """A call in a worker process that uses its executor finds PROCESS falling back there."""

    def nested():
        level = processes.level_for(PROCESS)
        return pid(), processes.submit(pid).result(), level

    worker, nested_worker, _ = processes.submit(nested).result()
    assert worker == nested_worker != os.getpid()


def test_explain_tells_every_reason(threads):
    """A decision names what was possible, what was chosen and why not the rest."""
    decision = threads.explain(add, PROCESS)

    assert decision.chosen == "THREAD"
    assert decision.possible == ("SEQUENTIAL", "THREAD")
    assert decision.rejected == {"PROCESS": "'threading' has no pool for PROCESS"}
    assert threads.explain(add).reason == "as far as it may"


def test_explain_tells_what_cannot_travel(processes):
    """The attribute at fault is named without a run."""
    assert "lock" in processes.explain(Lock().get).rejected["PROCESS"]


# Scattered values


def test_a_scattered_value_is_the_value_in_every_call(builtin):
    """What stands for a value is the value where a call gets it: argument, keyword or instance."""
    table = builtin.scatter([1, 2, 3])
    counter = builtin.options(label="x").scatter(Counter(40))
    for wish in Parallelization:
        executor = builtin.options(wish=wish)
        assert executor.submit(add, table, b=[4]).result() == [1, 2, 3, 4]
        assert executor.submit(add, [0], b=table).result() == [0, 1, 2, 3]
        call = Call(Counter.add, instance=counter, wish=wish)
        assert executor.submit_call(call).result() >= 41

    async def body():
        return await builtin.run_method(THREAD, add, None, table, [5])

    async def method(items):
        return len(items)

    assert asyncio.run(body()) == [1, 2, 3, 5]
    assert builtin.submit(method, table).result() == 3
    table.release()
    table.release()
    assert builtin.submit(add, table, [4]).result() == [1, 2, 3, 4]
    assert "list" in repr(table)


def test_a_scattered_value_travels_once(processes):
    """A value is packed when it is scattered, and never again, however many calls get it."""
    value = Packed()
    handle = processes.scatter(value)
    packed = value.packed

    assert [processes.submit(Packed.get, handle).result() for _ in range(10)] == ["value"] * 10
    assert value.packed == packed


class Packed:
    """Counts how often it is packed."""

    packed = 0

    def get(self):
        return "value"

    def __reduce__(self):
        self.packed += 1
        return Packed, ()


def test_a_scattered_value_that_cannot_travel_stays(processes):
    """The calls that are given it fall back."""
    handle = processes.scatter(Lock())

    assert processes.submit(Lock.get, handle).result() == "door"


# Views


def test_a_view_changes_wish_limits_and_label(threads):
    """`options` gives the same executor with other limits; closing it closes nothing."""
    with threads.options(wish=SEQUENTIAL, label="mine", timeout=60, retries=1) as view:
        with connectors.observe() as observed:
            assert view.submit(thread_name).result() == threading.current_thread().name
    assert {event.label for event in observed} == {"mine"}
    assert isinstance(view, Executor)
    assert not view.closed
    assert threads.submit(add, 1).result() == 2
    assert view.options(label="other").retries == 1
    assert "view of" in repr(view)
    assert view.open() is view
    assert view.get_event_loop() is None

    async def give():
        return await view.run_method(THREAD, add, None, 1)

    assert view.run_coroutine(give()) == 2


@pytest.mark.parametrize("given", [{"timeout": -1}, {"retries": 1.5}, {"label": 3}])
def test_a_view_checks_its_limits(threads, given):
    """A limit without meaning is refused with its name."""
    with pytest.raises(connectors.OptionError, match=next(iter(given))):
        threads.options(**given)


# Overrides


@pytest.mark.parametrize("world", ["asyncio", "trio"])
def test_an_override_of_run_method_is_enough(world):
    """Everything works on an executor that says only how a method is run."""
    with Override() as executor:
        assert executor.submit(add, 1, b=2).result() == 3
        assert list(executor.map(add, range(10))) == list(range(1, 11))
        with pytest.raises(ZeroDivisionError):
            executor.submit(divide, 1, 0).result()

        async def body():
            return await executor.run_method(PROCESS, Counter.add, Counter(1), number=1)

        assert in_world(world, body) == 2
        assert executor.seen[-1][0] is THREAD  # it declares no more
        assert executor.seen[-1][4] == {"number": 1}
        assert executor.options(retries=1).submit(add, 1).result() == 2


def test_an_override_that_declares_no_levels_is_given_every_wish():
    """Who says nothing of levels is asked for what the caller wished for."""

    class Undeclared(Override):
        capabilities = Capabilities()

    with Undeclared() as executor:
        assert asyncio.run(executor.run_method(PROCESS, add, None, 1)) == 2
        assert executor.seen[-1][0] is PROCESS


def test_an_override_gives_events_and_limits():
    """Calls of an override pass the one door as well, also those that are awaited."""
    with Override() as executor, connectors.observe() as observed:
        asyncio.run(executor.run_method(THREAD, add, None, 1))
        executor.submit(divide, 1, 0).exception()

    names = [type(event).__name__ for event in observed if isinstance(event, events.CallEvent)]
    assert names == ["CallSubmitted", "CallStarted", "CallFinished"] + [
        "CallSubmitted",
        "CallStarted",
        "CallFailed",
    ]


def test_an_override_can_leave_the_work_to_its_base():
    """``super().run_method`` runs the call in the pools, with one set of events."""
    with Delegating() as executor, connectors.observe() as observed:
        name = executor.submit(thread_name).result()
        assert "ThreadPoolExecutor" in name
        assert asyncio.run(executor.run_method(SEQUENTIAL, thread_name, None)) == "MainThread"
        assert executor.seen == [THREAD, SEQUENTIAL]

    assert len(list(observed.of(events.CallSubmitted))) == 2


def test_an_override_of_an_override_is_called_in_turn():
    """Each class of a chain of overrides is asked once."""
    asked = []

    class Outer(Override):
        async def run_method(self, parallelization, method, instance, /, *args, **kwargs):
            asked.append("outer")
            return await super().run_method(parallelization, method, instance, *args, **kwargs)

    with Outer() as executor:
        assert executor.submit(add, 1).result() == 2
        assert len(executor.seen) == len(asked) == 1


def test_a_foreign_pool_gets_context_and_does_not_starve():
    """A pool that nobody here wrote sees context variables and lets nested calls through."""
    variable = contextvars.ContextVar("variable", default="unset")
    with Foreign() as executor:
        token = variable.set("mine")
        future = executor.submit(variable.get)
        variable.reset(token)
        assert future.result() == "mine"

        def nested():
            return executor.submit(thread_name).result(), thread_name()

        inner, outer = executor.submit(nested).result(30)
        assert inner == outer


# Opening and closing


def test_a_closed_executor_says_so(builtin):
    """Use after closing names the executor; closing again is allowed."""
    builtin.submit(add, 1).result()
    builtin.close()
    builtin.close(cancel=True)

    for use in (
        lambda: builtin.submit(add, 1),
        lambda: builtin.map(add, [1]).__next__(),
        lambda: asyncio.run(builtin.run_method(THREAD, add, None, 1)),
        lambda: builtin.run_coroutine(give_nothing()),
    ):
        with pytest.raises(ExecutorClosedError, match=f"'{builtin.name}' is closed"):
            use()
    assert builtin.closed
    assert "closed" in repr(builtin)


async def give_nothing():
    """Give nothing."""


@pytest.mark.parametrize("world", ["asyncio", "trio"])
def test_async_with_closes(world):
    """``async with`` closes at its end without blocking the loop."""

    async def body():
        async with connectors.executor("threading") as executor:
            assert await executor.run_method(THREAD, add, None, 1) == 2
        return executor

    assert in_world(world, body).closed


def test_an_interrupted_block_does_not_wait_for_what_has_not_begun():
    """After Ctrl-C calls that wait are cancelled."""
    gate = threading.Event()
    with pytest.raises(KeyboardInterrupt):
        with connectors.executor("threading", threads=1) as executor:
            runs = threading.Event()
            executor.submit(lambda: (runs.set(), gate.wait()))
            waiting = executor.submit(add, 1)
            runs.wait()
            threading.Timer(0, gate.set).start()
            raise KeyboardInterrupt
    assert waiting.cancelled() or waiting.done()


def test_pools_open_when_they_are_needed():
    """Making an executor opens nothing; a call opens its own level only; `open` opens all."""
    opened = []

    class Lazy(Executor):
        def pools(self):
            return {
                THREAD: lambda: opened.append(THREAD) or ThreadPoolExecutor(1),
                PROCESS: lambda: opened.append(PROCESS) or ThreadPoolExecutor(1),
            }

    with Lazy() as executor:
        assert executor.level_for(PROCESS) is PROCESS
        executor.options(wish=SEQUENTIAL).submit(add, 1).result()
        assert opened == []
        assert "not yet open" in repr(executor)
        executor.options(wish=THREAD).submit(add, 1).result()
        assert opened == [THREAD]
        executor.open()
        executor.open()
        assert opened == [THREAD, PROCESS]


def test_a_pool_that_does_not_open_is_told():
    """The error names the executor and the reason."""

    class Broken(Executor):
        def pools(self):
            return {THREAD: lambda: 1 / 0}

    with Broken() as executor:
        with pytest.raises(ExecutorOpenError, match=r"'broken'.*ZeroDivisionError"):
            executor.open()
        with pytest.raises(ExecutorOpenError):
            executor.options(wish=THREAD).submit(add, 1)


def test_older_hooks_are_called():
    """``_set_up`` and ``_tear_down`` of older subclasses are called once each."""
    called = []

    class Older(Foreign):
        def _set_up(self):
            called.append("up")

        def _tear_down(self):
            called.append("down")

    with Older() as executor:
        executor.submit(add, 1).result()
        executor.submit(add, 1).result()
    executor.close()

    assert called == ["up", "down"]


def test_a_lifecycle_observer_that_raises_harms_nobody(caplog):
    """It is logged."""

    def broken(what, executor):
        raise RuntimeError(what)

    Executor.lifecycle_observers.append(broken)
    try:
        with connectors.executor("threading") as executor:
            assert executor.submit(add, 1).result() == 2
    finally:
        Executor.lifecycle_observers.remove(broken)

    assert "RuntimeError: opened" in caplog.text


def test_an_executor_travels_as_its_description():
    """A pickled executor is one of the same class and options, one for each process."""
    with connectors.executor("threading", threads=3) as executor:
        travelled = pickle.loads(pickle.dumps(executor))
        assert travelled.threads == 3
        assert travelled is pickle.loads(pickle.dumps(executor))
        view = pickle.loads(pickle.dumps(executor.options(retries=4)))
        assert view.retries == 4


def test_options_are_checked():
    """An unknown option is named with those that there are."""
    with pytest.raises(connectors.OptionError, match=r"thread.*Did you mean 'threads'"):
        connectors.executor("threading", thread=3)


# Many users


def test_threads_and_loops_share_an_executor(threads):
    """Many threads and several event loops use one executor at the same time; no call is lost."""
    barrier = threading.Barrier(6)

    def plain(start):
        barrier.wait()
        return [threads.submit(add, start, number).result() for number in range(100)]

    def looped(start):
        async def body():
            barrier.wait()
            calls = [threads.run_method(THREAD, add, None, start, n) for n in range(100)]
            return await asyncio.gather(*calls)

        return asyncio.run(body())

    with ThreadPoolExecutor(6) as users:
        futures = [
            users.submit(looped if number % 2 else plain, 1000 * number) for number in range(6)
        ]
        for number, future in enumerate(futures):
            assert list(future.result(60)) == [1000 * number + item for item in range(100)]


def test_asyncio_takes_it_as_an_executor(threads):
    """An executor is a `concurrent.futures.Executor` for everybody else."""

    async def body():
        return await asyncio.get_running_loop().run_in_executor(threads, add, 1, 2)

    assert isinstance(threads, concurrent.futures.Executor)
    assert asyncio.run(body()) == 3


@pytest.mark.parametrize("depth", [5])
def test_nested_calls_do_not_deadlock(builtin, depth):
    """A call may wait for calls of its own executor, deeper than it has threads."""

    def nest(left):
        return left and builtin.options(wish=THREAD).submit(nest, left - 1).result() + 1

    with connectors.executor("trio" if builtin.name == "trio" else "threading", threads=1) as small:

        def nest_small(left):
            return left and small.submit(nest_small, left - 1).result() + 1

        assert small.submit(nest_small, depth).result(60) == depth
    assert builtin.options(wish=THREAD).submit(nest, depth).result(60) == depth


# What a hostile user does


class Alien(BaseException):
    """Neither an `Exception` nor known to any event loop."""


async def raise_(error):
    raise error


@pytest.mark.parametrize("kind", [Alien, SystemExit, KeyboardInterrupt, asyncio.CancelledError])
def test_whatever_a_coroutine_raises_ends_it_alone(builtin, kind):
    """Any exception reaches the caller, and the loop goes on."""
    with pytest.raises((kind, concurrent.futures.CancelledError)):
        builtin.run_coroutine(raise_(kind()))
    if kind is not asyncio.CancelledError:
        with pytest.raises(kind):
            builtin.run_coroutines([raise_(kind()), give_nothing()])
        with pytest.raises(BaseExceptionGroup):
            builtin.run_coroutines([raise_(kind()), raise_(kind())])
    assert builtin.run_coroutine(give_nothing()) is None
    assert builtin.submit(add, 1).result() == 2


def raise_stop():
    raise StopIteration("mine")


def test_a_stop_iteration_is_told_to_an_awaiting_caller(builtin):
    """A coroutine cannot raise `StopIteration`: its caller gets what Python makes of it."""

    async def body():
        with pytest.raises(RuntimeError, match="StopIteration"):
            await builtin.run_method(THREAD, raise_stop, None)

    asyncio.run(body())


@pytest.mark.parametrize("name", ["threading", "trio"])
def test_a_call_may_close_its_executor(name):
    """Closing from a worker thread does not wait for that very thread."""
    executor = connectors.executor(name, threads=1)

    def close():
        executor.close()
        return "closed"

    assert executor.submit(close).result(30) == "closed"
    executor.close()


def test_map_inline_keeps_its_timeout():
    """The limit of a map holds where the calls run inline as well."""
    with connectors.executor("sequential") as executor:
        with pytest.raises(CallTimeoutError, match="map of"):
            list(executor.map(add, [1, 2], timeout=0))


@pytest.mark.parametrize("wish", ["thread", None, 3])
def test_what_is_no_wish_is_named(threads, wish):
    """A level that is none is refused where it is given."""
    with pytest.raises(connectors.OptionError, match="no connectors.Parallelization"):
        threads.level_for(wish)
    with pytest.raises(connectors.OptionError, match="no connectors.Parallelization"):
        asyncio.run(threads.run_method(wish, add, None, 1))
    if wish is not None:
        with pytest.raises(connectors.OptionError, match="no connectors.Parallelization"):
            threads.options(wish=wish)


def test_everything_on_a_closed_executor_says_so(threads):
    """Opening, mapping nothing and scattering are uses as well."""
    threads.close()
    for use in (
        threads.open,
        lambda: threads.map(add, []),
        lambda: threads.scatter(1),
        lambda: threads.run_coroutines([give_nothing()]),
        lambda: threads.run_until_complete(give_nothing()),
    ):
        with pytest.raises(ExecutorClosedError):
            use()


def test_an_overridden_shutdown_is_called():
    """Who overrides `shutdown` is asked, however the executor is closed."""
    called = []

    class Own(Foreign):
        def shutdown(self, wait=True, *, cancel_futures=False):
            called.append(cancel_futures)
            super().shutdown(wait, cancel_futures=cancel_futures)

    Own().close()
    Own().close(cancel=True)
    with Own():
        pass

    assert called == [False, True, False]
