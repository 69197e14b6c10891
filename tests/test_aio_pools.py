"""`aio.in_thread`, `aio.in_process` and their pools."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import inspect
import os
import pathlib
import subprocess
import sys
import threading
import time

import pytest
import trio

import aio_jobs
import connectors
from aio_worlds import WORLDS, Gate, background, run_in, turns, within
from connectors import aio

both = pytest.mark.parametrize("world", WORLDS)
callers = pytest.mark.parametrize("call", [aio.in_thread, aio.in_process])


@pytest.fixture(scope="module", autouse=True)
def no_threads_left():
    before = threading.active_count()
    yield
    for pool in (aio.THREAD_POOL, aio.PROCESS_POOL):
        pool.shutdown(wait=True)
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


@pytest.fixture(autouse=True)
def closed():
    yield
    for pool in (aio.THREAD_POOL, aio.PROCESS_POOL):
        pool.shutdown(wait=True)


#


@pytest.mark.parametrize("name", ["THREAD_POOL", "PROCESS_POOL"])
def test_a1_life_of_a_pool(name):
    """A-1: shutting down nothing is harmless; initialising twice works; usable in between."""
    pool = getattr(aio, name)
    pool.shutdown(wait=True)
    pool.shutdown(wait=False)
    assert not pool.initialized
    with pytest.raises(RuntimeError, match="initialize"):
        _ = pool.pool
    pool.initialize()
    assert pool.pool.submit(abs, -1).result() == 1
    pool.initialize(max_workers=1)
    assert pool.initialized
    assert pool.pool.submit(abs, -2).result() == 2
    pool.shutdown(wait=True)
    assert not pool.initialized
    with pytest.raises(RuntimeError):
        _ = pool.pool


@both
@callers
def test_a2_a_function_that_returns_nothing(world, call):
    """A-2: twice each."""

    async def main():
        assert await call(aio_jobs.nothing) is None
        assert await call(aio_jobs.nothing) is None

    run_in(world, main)


@both
def test_a2_scandir_can_be_drained(world):
    """A-2: ``generate_in_thread(os.scandir)``."""

    async def main():
        found = [entry.name async for entry in aio.generate_in_thread(os.scandir)]
        assert sorted(found) == sorted(os.listdir())

    run_in(world, main)


# Calls


@both
@callers
def test_arguments_of_any_name(world, call):
    """Own parameters are taken by position only, so that any name can be forwarded."""

    async def main():
        given = {"function": 1, "generator_func": 2, "self": 3, "call": 4}
        assert await call(aio_jobs.keywords, **given) == given

    run_in(world, main)


@both
def test_exceptions_come_back_unchanged(world):
    """The very exception that the function raised."""
    error = ValueError("mine")

    def fail():
        raise error

    async def main():
        with pytest.raises(ValueError) as raised:
            await aio.in_thread(fail)
        assert raised.value is error

    run_in(world, main)


@both
def test_an_async_function_in_a_thread(world):
    """It gives back its coroutine, un-awaited; out of a process none could come."""

    async def main():
        coroutine = await aio.in_thread(aio_jobs.coroutine)
        assert inspect.iscoroutine(coroutine)
        assert await coroutine == 1
        with pytest.raises(TypeError, match="async function"):
            await aio.in_process(aio_jobs.coroutine)

    run_in(world, main)


@both
def test_what_cannot_travel_is_refused(world):
    """A call that cannot be packed fails, and is not run in the loop's thread instead."""

    async def main():
        with pytest.raises(connectors.PicklingError, match="args"):
            await aio.in_process(id, threading.Lock())

    run_in(world, main)


@both
def test_excess_calls_queue_in_order(world):
    """With one thread the calls run first-in first-out."""
    aio.THREAD_POOL.initialize(max_workers=1)
    gate, order = threading.Event(), []

    async def main():
        async with background(lambda: aio.in_thread(gate.wait, 20)):
            await turns(3)
            async with (
                background(lambda: aio.in_thread(order.append, 1)),
                background_after(lambda: aio.in_thread(order.append, 2)),
            ):
                gate.set()
                await aio.in_thread(order.append, 3)

    class background_after:
        def __init__(self, main):
            self.inner = background(main)

        async def __aenter__(self):
            await turns(3)
            await self.inner.__aenter__()
            await turns(3)

        async def __aexit__(self, *error):
            return await self.inner.__aexit__(*error)

    run_in(world, main)
    assert order == [1, 2, 3]


@both
def test_cancelling_drops_a_queued_call(world):
    """What has not begun is not run; what has begun runs on."""
    aio.THREAD_POOL.initialize(max_workers=1)
    begun, gate, ran = threading.Event(), threading.Event(), []

    def first():
        begun.set()
        gate.wait(20)
        ran.append("first")

    async def main():
        async with background(lambda: aio.in_thread(first)) as cancel_first:
            await turns(3)
            async with background(lambda: aio.in_thread(ran.append, "second")) as cancel_second:
                await turns(3)
                assert begun.wait(20)
                assert await cancel_second() == "cancelled"
                assert await cancel_first() == "cancelled"
        gate.set()
        await aio.in_thread(ran.append, "third")

    run_in(world, main)
    assert ran == ["first", "third"]


@both
def test_a_started_process_call_runs_on(world, tmp_path):
    """Without kill_on_cancel a call that has begun is not stopped."""
    aio.PROCESS_POOL.initialize(max_workers=1)
    begun = tmp_path / "begun"

    async def main():
        own = await aio.in_process(aio_jobs.pid)
        async with background(
            lambda: aio.in_process(aio_jobs.mark_and_sleep, begun, 0.3)
        ) as cancel:
            await aio.in_thread(wait_for, begun)
            assert await cancel() == "cancelled"
        assert await aio.in_process(aio_jobs.pid) == own

    run_in(world, main)


def wait_for(path):
    deadline = time.monotonic() + 20
    while not path.exists() or not path.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# Pools


def test_defaults(monkeypatch):
    """Opened on first use, with ten threads for each CPU, and a process for each."""

    async def main():
        assert not aio.THREAD_POOL.initialized
        assert not aio.PROCESS_POOL.initialized
        await aio.in_thread(abs, 1)
        await aio.in_process(abs, 1)
        assert aio.THREAD_POOL.pool.threads == 10 * aio.CPU_CORES
        assert aio.PROCESS_POOL.pool.processes == aio.CPU_CORES
        assert aio.THREAD_POOL.pool.name == "threading"
        assert aio.PROCESS_POOL.pool.name == "multiprocessing"

    run_in("asyncio", main)


def test_options_go_to_the_registry():
    """Options are those of the executor; an unknown one is told at once."""
    pool = aio.ExecutorPool("threading")
    with pytest.raises(connectors.OptionError, match="nonsense"):
        pool.initialize(nonsense=1)
    assert not pool.initialized
    pool.initialize(max_workers=3, thread_name_prefix="mine")
    name = pool.pool.submit(lambda: threading.current_thread().name).result()
    assert name.startswith("mine")
    assert pool.pool.threads == 3
    pool.shutdown(wait=True)
    pool.initialize()
    assert pool.pool.threads is None  # the executor's own default
    pool.shutdown(wait=True)


def test_options_that_contradict():
    """A size given twice is told, and strict cannot be taken away: nothing is silently ignored."""
    pool = aio.ExecutorPool("threading")
    with pytest.raises(connectors.OptionError, match="max_workers=2 and threads=3 are both given"):
        pool.initialize(max_workers=2, threads=3)
    with pytest.raises(connectors.OptionError, match="always strict"):
        pool.initialize(strict=False)
    assert not pool.initialized
    pool.initialize(strict=True, threads=3)
    assert pool.pool.threads == 3
    pool.shutdown(wait=True)


def test_max_workers_is_for_all_that_an_executor_has():
    """An executor with threads and processes has that many of each, and none where it has none."""
    pool = aio.ExecutorPool("threading_multiprocessing")
    pool.initialize(max_workers=1)
    assert (pool.pool.threads, pool.pool.processes) == (1, 1)
    pool.shutdown(wait=True)
    pool = aio.ExecutorPool("trio")
    pool.initialize(max_workers=1)
    assert (pool.pool.threads, pool.pool.processes) == (1, 0)
    pool.shutdown(wait=True)


class Own(connectors.Executor):
    threads: int | None = connectors.option(default=None, help="threads")

    def pools(self):
        return {connectors.Parallelization.THREAD: connectors.pools.ThreadPool(self.threads or 1)}


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        ("threading", "threading"),
        (concurrent.futures.ThreadPoolExecutor, "threading"),
        (concurrent.futures.ProcessPoolExecutor, "multiprocessing"),
        (Own, "own"),
    ],
)
def test_names_and_classes(cls, name):
    """A pool stands for a registry name or an executor class."""
    pool = aio.ExecutorPool(cls)
    pool.initialize(max_workers=1)
    assert pool.pool.name == name
    pool.shutdown(wait=True)


@pytest.mark.parametrize("wrong", [None, 3, int, concurrent.futures.Executor])
def test_what_is_no_executor(wrong):
    """Anything else is a TypeError."""
    with pytest.raises(TypeError, match="ExecutorPool"):
        aio.ExecutorPool(wrong)


@both
def test_initialize_on_a_live_pool(world):
    """The old pool completes what it runs, and nobody waits for that."""
    aio.THREAD_POOL.initialize(max_workers=1)
    begun, gate = threading.Event(), threading.Event()

    def work():
        begun.set()
        return gate.wait(20)

    async def main():
        ended, results = Gate(), []

        async def first():
            results.append(await aio.in_thread(work))
            ended.open()

        async with within(20), background(first):
            await turns(3)
            assert begun.wait(20)
            aio.THREAD_POOL.initialize(max_workers=1)
            assert await aio.in_thread(abs, -1) == 1
            assert results == []
            gate.set()
            await ended.passed()
        assert results == [True]

    run_in(world, main)


@both
def test_reopened_after_shutdown(world):
    """After a shutdown the next call opens a default pool again."""

    async def main():
        aio.THREAD_POOL.initialize(max_workers=1)
        aio.THREAD_POOL.shutdown(wait=True)
        assert await aio.in_thread(abs, -1) == 1
        assert aio.THREAD_POOL.pool.threads == 10 * aio.CPU_CORES
        aio.THREAD_POOL.pool.close()  # behind our back
        assert not aio.THREAD_POOL.initialized
        assert await aio.in_thread(abs, -2) == 2

    run_in(world, main)


@both
def test_what_a_pool_cannot_do_is_refused(world, monkeypatch):
    """``in_process`` while its pool stands for threads, and the other way round."""
    pools = [aio.ExecutorPool("threading"), aio.ExecutorPool("multiprocessing")]
    monkeypatch.setattr(aio, "PROCESS_POOL", pools[0])
    monkeypatch.setattr(aio, "THREAD_POOL", pools[1])

    async def main():
        with pytest.raises(RuntimeError, match="no pool for PROCESS"):
            await aio.in_process(abs, 1)
        with pytest.raises(RuntimeError, match="no pool for THREAD"):
            await aio.in_thread(abs, 1)
        with pytest.raises(RuntimeError, match="no pool for THREAD"):
            async for _ in aio.generate_in_thread(iter, [1]):
                pass

    run_in(world, main)
    for pool in pools:
        pool.shutdown(wait=True)


@both
@pytest.mark.parametrize("observed", [False, True])
def test_other_executors_behind_the_pools(world, monkeypatch, observed):
    """Any executor that has threads will do, whatever its world, and whoever observes."""
    pool = aio.ExecutorPool("trio")
    monkeypatch.setattr(aio, "THREAD_POOL", pool)

    async def main():
        assert await aio.in_thread(abs, -3) == 3
        assert [each async for each in aio.generate_in_thread(iter, [1, 2])] == [1, 2]

    if observed:
        seen = []
        with connectors.observe(seen.append):
            run_in(world, main)
        assert seen
    else:
        run_in(world, main)
    pool.shutdown(wait=True)


def test_in_a_worker_process():
    """A worker has no workers of its own; that is told, and not done in its loop instead."""

    async def main():
        with pytest.raises(RuntimeError, match="already is a worker process"):
            await aio.in_process(aio_jobs.nested)

    run_in("asyncio", main)


def test_never_by_fork():
    """How processes start is an option, and fork is none of the choices."""
    for method in ("forkserver", "spawn"):
        aio.PROCESS_POOL.initialize(max_workers=1, start_method=method)
        assert asyncio.run(one_process_call()) == 1
    with pytest.raises(connectors.OptionError, match="fork"):
        aio.PROCESS_POOL.initialize(start_method="fork")


async def one_process_call():
    return await aio.in_process(abs, -1)


def test_journey_10_capping_the_pools():
    """Both are uninitialised at first, and then have one worker each."""
    assert not aio.THREAD_POOL.initialized
    assert not aio.PROCESS_POOL.initialized
    aio.THREAD_POOL.initialize(max_workers=1)
    aio.PROCESS_POOL.initialize(max_workers=1)
    names = set()

    async def main():
        async def one():
            names.add(await aio.in_thread(lambda: threading.current_thread().name))

        await aio.collect([one() for _ in range(20)])
        pids = await aio.collect([aio.in_process(aio_jobs.pid) for _ in range(4)])
        assert len(set(pids)) == 1

    run_in("asyncio", main)
    assert len(names) == 1


# AR12 to AR17


@both
@callers
def test_ar12_stop_iteration(world, call):
    """AR12: it becomes a RuntimeError with its cause; the await returns."""

    async def main():
        async with within(30):
            with pytest.raises(RuntimeError, match="raised StopIteration") as raised:
                await call(aio_jobs.stop)
        assert isinstance(raised.value.__cause__, StopIteration)

    run_in(world, main)


@both
def test_ar12_a_runtime_error_of_the_function(world):
    """AR12: a RuntimeError that the function raised because of one stays what it is."""
    error = RuntimeError("mine")

    def fail():
        raise error from StopIteration()

    async def main():
        with pytest.raises(RuntimeError) as raised:
            await aio.in_thread(fail)
        assert raised.value is error

    run_in(world, main)


@both
def test_ar13_context_variables(world):
    """AR13: carried into threads, into generators too, and not back."""

    def read_and_set():
        found = aio_jobs.variable.get()
        aio_jobs.variable.set("changed")
        return found

    async def main():
        aio_jobs.variable.set("mine")
        assert await aio.in_thread(read_and_set) == "mine"
        assert aio_jobs.variable.get() == "mine"
        found = [each async for each in aio.generate_in_thread(lambda: iter([read_and_set()]))]
        assert found == ["mine"]

    contextvars.copy_context().run(run_in, world, main)


@both
@pytest.mark.parametrize("how", ["exit", "kill"])
def test_ar14_a_crash_fails_its_own_call(world, how):
    """AR14: siblings and later calls succeed, and the error tells how the child ended."""
    aio.PROCESS_POOL.initialize(max_workers=2)

    async def main():
        calls = [
            aio.in_process(aio_jobs.sleep, 0.2),
            aio.in_process(aio_jobs.crash, how),
            aio.in_process(aio_jobs.sleep, 0.1),
        ]
        first, crashed, last = await aio.collect(calls, return_exceptions=True)
        assert (first, last) == (0.2, 0.1)
        assert isinstance(crashed, connectors.WorkerCrashError)
        assert crashed.exitcode == (3 if how == "exit" else -9)
        assert await aio.in_process(abs, -1) == 1
        crash = next(aio.resolve([aio.in_process(aio_jobs.crash, how)]))
        with pytest.raises(connectors.WorkerCrashError):
            await crash
        outcome = crash.outcome
        assert outcome.state == "crashed"
        assert (outcome.exit_code, outcome.signal) == ((3, None) if how == "exit" else (None, 9))

    run_in(world, main)


@both
def test_ar14_an_exception_that_cannot_be_rebuilt(world):
    """AR14: it arrives as a RemoteError with type name, message and traceback."""

    async def main():
        with pytest.raises(connectors.RemoteError) as raised:
            await aio.in_process(aio_jobs.raise_unpicklable)
        assert raised.value.type_name.endswith("Unpicklable")
        assert "the message" in raised.value.message
        assert "raise_unpicklable" in raised.value.traceback

    run_in(world, main)


FORKED = """
import asyncio, os, sys, threading, warnings
from connectors import aio
warnings.simplefilter("ignore")
aio.THREAD_POOL.initialize(max_workers=3)
asyncio.run(aio.in_thread(abs, -1))
asyncio.run(aio.in_process(abs, -1))
generator = aio.generate_in_thread(iter, [1, 2])

async def begin():
    assert await anext(generator) == 1

asyncio.run(begin())
held, fork = threading.Event(), threading.Event()

def hold():
    with aio.THREAD_POOL._lock, aio.THREAD_POOL._executor._lock:
        held.set()
        fork.wait(20)

thread = threading.Thread(target=hold)
thread.start()
held.wait(20)
child = os.fork()
if child == 0:
    assert aio.THREAD_POOL.initialized
    assert asyncio.run(aio.in_thread(abs, -2)) == 2
    assert aio.THREAD_POOL.pool.threads == 3
    async def drain():
        return [each async for each in aio.generate_in_thread(iter, [1, 2])]
    assert asyncio.run(drain()) == [1, 2]
    async def stale():
        try:
            await anext(generator)
        except RuntimeError as error:
            assert "forked" in str(error)
        await generator.aclose()
    asyncio.run(stale())
    assert asyncio.run(aio.in_process(abs, -4)) == 4
    aio.PROCESS_POOL.shutdown(wait=True)
    os._exit(7)
fork.set()
thread.join()
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert asyncio.run(aio.in_thread(abs, -3)) == 3
asyncio.run(generator.aclose())
print("fine")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_ar15_a_forked_child_can_use_threads():
    """AR15: also while the parent holds the locks of its pool; and the parent goes on."""
    assert run_script(FORKED) == "fine"


def run_script(source, **environment):
    done = subprocess.run(
        [sys.executable, "-c", source],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=pathlib.Path(__file__).parent,
        env={**os.environ, "CONNECTORS_CONFIG": "none", **environment},
    )
    assert not done.stderr, done.stderr
    return done.stdout.strip()


@both
def test_ar16_calling_back_from_a_pool_of_one(world):
    """AR16: a thread whose function calls back into in_thread finishes."""
    aio.THREAD_POOL.initialize(max_workers=1)

    async def main():
        loop = asyncio.get_running_loop() if world == "asyncio" else None

        def back():
            if world == "trio":
                return trio.from_thread.run(aio.in_thread, abs, -7, trio_token=token)
            return asyncio.run_coroutine_threadsafe(aio.in_thread(abs, -7), loop).result(20)

        def in_a_loop_of_its_own():
            return asyncio.run(aio.in_thread(abs, -8))

        token = trio.lowlevel.current_trio_token() if world == "trio" else None
        async with within(20):
            assert await aio.in_thread(back) == 7
            assert await aio.in_thread(in_a_loop_of_its_own) == 8

    run_in(world, main)


@both
def test_ar17_kill_on_cancel_frees_the_worker(world, tmp_path):
    """AR17: a cancelled call of such a pool ends with its worker; shutdown has nothing to await."""
    aio.PROCESS_POOL.initialize(max_workers=1, kill_on_cancel=True)
    begun = tmp_path / "begun"

    async def main():
        async with background(lambda: aio.in_process(aio_jobs.mark_and_sleep, begun, 30)) as cancel:
            await aio.in_thread(wait_for, begun)
            assert await cancel() == "cancelled"
        begin = time.monotonic()
        aio.PROCESS_POOL.shutdown(wait=True)
        assert time.monotonic() - begin < 3  # the call would have taken 30

    run_in(world, main)
    with pytest.raises(ProcessLookupError):
        os.kill(int(begun.read_text()), 0)


# AR23


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_ar23_cpu_cores():
    """AR23: one when pinned to one CPU."""
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from connectors import aio; print(aio.CPU_CORES)"
    )
    assert run_script(code) == "1"
    assert connectors.available_cpus() == aio.CPU_CORES


def test_the_interpreter_ends():
    """A program that leaves calls and generators behind ends."""
    code = """
import asyncio
from connectors import aio

async def main():
    global generator
    generator = aio.generate_in_thread(iter, [1, 2])
    assert await anext(generator) == 1
    await aio.in_process(abs, -1)

asyncio.run(main())
print("fine")
"""
    assert run_script(code) == "fine"
