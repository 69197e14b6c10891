"""What `ProcessPool` promises while nothing goes wrong."""

import concurrent.futures
import gc
import logging
import os
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest

import connectors._errors as errors
import process_calls as calls
from connectors import events
from connectors._calls import Call
from connectors.pools import ProcessPool
from process_calls import alive

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def pool():
    with ProcessPool(2) as pool:
        yield pool


def test_call_runs_in_another_process(pool):
    """A call runs in a worker process and its result comes back."""
    assert pool.submit(calls.pid).result() != os.getpid()
    assert 5 == pool.submit(calls.add, 2, b=3).result()


def test_by_value(pool):
    """Lambdas, local functions and what is defined in __main__ travel by value."""
    secret = 40

    def local(number):
        return secret + number

    assert 42 == pool.submit(local, 2).result()
    assert 7 == pool.submit(lambda: 7).result()


def test_order_of_results(pool):
    """Many calls at once all end, each with its own result."""
    futures = [pool.submit(calls.add, number, 1) for number in range(3000)]

    assert list(range(1, 3001)) == [future.result() for future in futures]


def test_large_burst_of_medium_arguments(pool):
    """Arguments that exceed what a socket takes do not block the submitter for ever."""
    blob = bytes(100_000)
    futures = [pool.submit(calls.size_of, blob) for _ in range(200)]

    assert {100_000} == {future.result() for future in futures}


def test_map(pool):
    """map gives the results in order, in chunks that it sizes itself or that are asked for."""
    assert [number + 1 for number in range(5000)] == list(
        pool.map(calls.add, range(5000), iter([1] * 5000))
    )
    assert [1, 2, 3] == list(pool.map(calls.add, [0, 1, 2], [1] * 3, chunksize=2))


def test_map_is_lazy(pool):
    """map takes no more of an endless iterable than it needs."""
    taken = []

    def source():
        number = 0
        while True:
            taken.append(number)
            yield number
            number += 1

    results = pool.map(calls.add, source())
    assert [0, 1, 2] == [next(results) for _ in range(3)]
    assert len(taken) < 1_000_000


def test_map_raises_where_it_failed(pool):
    """map gives the results before the item that raised, and then its exception."""
    results = pool.map(calls.add, [1, 2, "x", 4], [1] * 4, chunksize=4)

    assert [2, 3] == [next(results), next(results)]
    with pytest.raises(TypeError):
        next(results)


def test_map_has_a_limit(pool):
    """map raises a TimeoutError when its time is over."""
    with pytest.raises(errors.CallTimeoutError):
        next(pool.map(calls.sleep, [60], timeout=0.1))
    pool.close(cancel=True)


def test_instance_call(pool):
    """A `Call` with an instance runs as its method."""
    call = Call(calls.Camera.read, (2,), instance=calls.Camera(40))

    assert 42 == pool.submit_call(call).result()


def test_answer_tells_where_and_how_long(pool):
    """on_answer is given pid, start and duration before the future has the result."""
    answers = []
    future = pool.submit_call(Call(calls.pid), on_answer=answers.append)

    assert future.result() == answers[0].pid
    assert answers[0].duration >= 0
    assert answers[0].started > 0
    assert answers[0].value == answers[0].pid


def test_prepare_runs_first(pool):
    """prepare is called in the worker before the call."""

    def prepare():
        os.environ["PREPARED"] = "yes"

    assert "yes" == pool.submit_call(Call(calls.environment, ("PREPARED",)), prepare).result()


def test_callback_may_submit(pool):
    """A callback of a future may submit and cancel without a deadlock."""
    done = concurrent.futures.Future()
    first = pool.submit(calls.add, 1)
    first.add_done_callback(lambda _: done.set_result(pool.submit(calls.add, 2)))

    assert 2 == done.result().result()


def test_exception_comes_back_as_itself(pool):
    """An exception has its class, its text and the frames of the worker."""
    with pytest.raises(ZeroDivisionError) as info:
        pool.submit(eval, "1/0").result()

    assert "division" in str(info.value)
    with pytest.raises(TypeError) as info:
        pool.submit(calls.add, 1, "x").result()
    assert "add" in [entry.name for entry in info.traceback]


def test_log_and_warnings_reach_the_parent(pool, caplog):
    """Log records and warnings of a call reach the handlers of the parent."""
    with caplog.at_level(logging.WARNING), pytest.warns(UserWarning, match="warned hello"):
        pool.submit(calls.log, "hello").result()

    assert ["hello"] == [r.message for r in caplog.records if r.name == "process.calls"]


def test_context_variables():
    """A declared context variable has in the call the value that it had at submit."""
    token = calls.VARIABLE.set("mine")
    try:
        with ProcessPool(1, context=["process_calls:VARIABLE"]) as pool:
            assert "mine" == pool.submit(calls.variable).result()
            assert "mine" == pool.submit(calls.variable).result()
    finally:
        calls.VARIABLE.reset(token)


def test_environment_of_the_worker(pool, monkeypatch, tmp_path):
    """A worker has the parent's directory, path, arguments and environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OF_THE_PARENT", "yes")
    where, path, arguments = pool.submit(calls.whereabouts).result()

    assert str(tmp_path) == os.path.realpath(where)
    assert path == sys.path
    assert arguments == sys.argv
    assert "yes" == pool.submit(calls.environment, "OF_THE_PARENT").result()


@pytest.mark.parametrize(("threads", "expected"), [(3, "3"), (0, None)])
def test_blas_threads(threads, expected, monkeypatch):
    """Workers limit the threads of BLAS and OpenMP, or leave them alone."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with ProcessPool(1, blas_threads=threads) as pool:
        assert expected == pool.submit(calls.environment, "OMP_NUM_THREADS").result()


def test_spawn():
    """With start_method="spawn" a worker is a new interpreter."""
    with ProcessPool(1, start_method="spawn") as pool:
        assert 3 == pool.submit(calls.add, 1, 2).result()
        assert pool.submit(lambda: 4).result() == 4


@pytest.mark.parametrize(
    "wrong",
    [{"processes": 0}, {"start_method": "fork"}, {"max_calls_per_worker": 0}],
)
def test_wrong_arguments(wrong):
    """An argument with a value that it cannot have is an error at once."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ProcessPool(**wrong)


def test_idle_worker_is_used_before_a_new_one_is_started(pool):
    """Calls that follow one another need one worker."""
    assert 1 == len({pool.submit(calls.pid).result() for _ in range(10)})


def test_calls_run_at_the_same_time(pool, tmp_path):
    """Two calls that wait for each other both end."""
    a, b = tmp_path / "a", tmp_path / "b"
    first = pool.submit(calls.touch_and_wait, a, b)
    second = pool.submit(calls.touch_and_wait, b, a)

    assert [None, None] == [first.result(), second.result()]


def test_no_call_waits_behind_a_long_one(pool, tmp_path):
    """What was sent to a worker behind a long call moves to a worker that idles."""
    for future in [pool.submit(calls.add, 1) for _ in range(500)]:
        future.result()  # the pool learns that calls are short, and sends many ahead
    gate = tmp_path / "gate"
    futures = [pool.submit(calls.add, 1) for _ in range(50)]
    long = pool.submit(calls.wait_for, gate)
    futures += [pool.submit(calls.add, 1) for _ in range(500)]

    assert {1} == {future.result() for future in futures}
    assert not long.done()
    gate.touch()
    long.result()


def test_max_calls_per_worker():
    """A worker is replaced after its number of calls, and no call is lost."""
    with ProcessPool(1, max_calls_per_worker=3) as pool:
        futures = [pool.submit(calls.pid) for _ in range(10)]
        pids = [future.result() for future in futures]

    assert 4 == len(set(pids))
    assert max(pids.count(pid) for pid in pids) == 3


def test_idle_timeout():
    """An idle worker ends by itself, and the next call gets a new one."""
    with ProcessPool(1, idle_timeout=0.05) as pool:
        first = pool.submit(calls.pid).result()
        while alive(first):
            pass
        assert first != pool.submit(calls.pid).result()


def test_initializer():
    """An initializer, given as a function or by its address, runs once in each worker."""
    with ProcessPool(1, initializer="process_calls:set_state") as pool:
        assert ["initialized"] == pool.submit(calls.state).result()
    with ProcessPool(1, initializer=calls.set_state) as pool:
        assert ["initialized"] == pool.submit(calls.state).result()


def test_shutdown_does_what_is_left():
    """shutdown waits for the calls that were submitted, and takes no more."""
    pool = ProcessPool(2)
    futures = [pool.submit(calls.sleep, 0.001, number) for number in range(50)]
    pids = pool.worker_pids
    pool.shutdown()

    assert list(range(50)) == [future.result(0) for future in futures]
    with pytest.raises(errors.ExecutorClosedError):
        pool.submit(calls.add, 1)
    assert not any(alive(pid) for pid in pids)
    pool.shutdown()


def test_shutdown_without_waiting():
    """shutdown(wait=False) returns at once, and the calls are done all the same."""
    pool = ProcessPool(1)
    future = pool.submit(calls.sleep, 0.05, "slept")
    pool.shutdown(wait=False)

    assert "slept" == future.result()


def test_shutdown_cancels(tmp_path):
    """shutdown(cancel_futures=True) lets the running call end and cancels the others."""
    pool = ProcessPool(1)
    begun, gate = tmp_path / "begun", tmp_path / "gate"
    running = pool.submit(calls.touch_and_wait, begun, gate)
    calls.wait_for(begun)
    waiting = [pool.submit(calls.add, 1) for _ in range(10)]
    pool.shutdown(wait=False, cancel_futures=True)

    concurrent.futures.wait(waiting, 20)  # they are told by the pool's thread
    assert all(future.cancelled() for future in waiting)
    gate.touch()
    assert running.result() is None


def test_close_kills(tmp_path):
    """close(cancel=True) stops what runs."""
    pool = ProcessPool(1)
    begun = tmp_path / "begun"
    running = pool.submit(calls.touch_and_wait, begun, "/nonexistent")
    calls.wait_for(begun)
    pool.close(cancel=True)

    assert running.cancelled()


def test_unused_pool_costs_nothing():
    """A pool that ran nothing has started nothing, and closes."""
    before = threading.active_count()
    with ProcessPool(2):
        assert threading.active_count() == before


def test_collected_without_close():
    """A pool that is forgotten ends by itself when its calls are done."""
    pool = ProcessPool(1)
    future = pool.submit(calls.pid)
    core = pool._core
    gone = weakref.ref(pool)
    del pool
    gc.collect()

    assert gone() is None
    core.join()
    assert not alive(future.result())


def test_events():
    """Workers that start and die are events."""
    with events.observe() as seen:
        with ProcessPool(1, name="mine") as pool:
            pid = pool.submit(calls.pid).result()
            with pytest.raises(errors.WorkerCrashError):
                pool.submit(calls.die, 9).result()
        started, died = seen.of(events.WorkerStarted), seen.of(events.WorkerDied)
        assert [("mine", pid)] == [(event.executor, event.pid) for event in started]
        assert [(pid, "it was killed by signal 9")] == [(e.pid, e.reason) for e in died]


def test_large_arrays_are_independent_copies(pool):
    """A large array reaches the call writable, and what either side changes is its own."""
    array = np.arange(1_000_000, dtype=float)
    right, changed = pool.submit(calls.add_one_in_place, array).result()

    assert right
    assert array[0] == 0
    assert (changed == array + 1).all()
    changed += 1
    again = pool.submit(calls.add_one_in_place, array).result()[1]
    assert (changed == again + 1).all()


def test_large_arrays_are_packed_when_submitted(pool):
    """What is changed after submit does not change the call."""
    array = np.zeros(200_000)
    futures = []
    for number in range(10):
        array[:] = number
        futures.append(pool.submit(np.sum, array))
    array[:] = -1

    assert [number * 200_000 for number in range(10)] == [f.result() for f in futures]


def test_large_results_that_are_kept(pool):
    """Results that are kept do not change when later calls reuse the memory."""
    results = list(pool.map(np.full, [200_000] * 20, range(20)))

    assert list(range(20)) == [result.mean() for result in results]


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 262_144, 3_000_000, 50_000_000])
def test_bytes_of_any_size(pool, size):
    """Bytes travel there and back, by socket or by shared memory."""
    blob = os.urandom(size)

    assert blob == pool.submit(calls.echo, blob).result()
    array = np.frombuffer(blob, dtype="u1")
    assert (array == pool.submit(calls.echo, array).result()).all()


def test_many_buffers(pool):
    """A value may have more large buffers than the system reads at once."""
    arrays = [np.full(10_000, number) for number in range(1500)]

    assert all((a == b).all() for a, b in zip(arrays, pool.submit(calls.echo, arrays).result()))


def test_segments_are_reused(pool):
    """The memory of one call serves the next."""
    array = np.zeros(1_000_000)
    for _ in range(10):
        pool.submit(calls.echo, array).result()

    assert len(pool._core.segments) <= 2


def test_scatter(pool):
    """A scattered value is sent to each worker at most once and stands for itself in calls."""
    array = np.arange(100_000, dtype=float)
    handle = pool.scatter(array)

    assert {array.sum()} == {pool.submit(np.sum, handle).result() for _ in range(20)}
    assert 6 == pool.submit(calls.size_of, [handle] * 6).result()
    camera = pool.scatter(calls.Camera(40))
    assert 42 == pool.submit_call(Call(calls.Camera.read, (2,), instance=camera)).result()


def test_scattered_value_keeps_its_identity(pool):
    """Calls in one worker share the scattered object."""
    with ProcessPool(1) as pool:
        handle = pool.scatter([])
        assert pool.submit(list.append, handle, 1).result() is None
        assert 1 == pool.submit(len, handle).result()


def test_release_waits_for_calls(pool, tmp_path):
    """A released value serves the calls that were given it, and no new ones."""
    gate = tmp_path / "gate"
    handle = pool.scatter(calls.Camera(1))
    waiting = [pool.submit(calls.wait_for, gate) for _ in range(2)]
    call = Call(calls.Camera.read, instance=handle)
    futures = [pool.submit_call(call) for _ in range(10)]
    handle.release()
    gate.touch()

    assert {1} == {future.result() for future in futures}
    with pytest.raises(errors.PicklingError, match="released"):
        pool.submit_call(call)
    assert [None, None] == [future.result() for future in waiting]


def test_forgotten_handle_is_released(pool):
    """A handle that is collected is released in the parent and in the workers."""
    handle = pool.scatter(bytes(1000))
    pool.submit(len, handle).result()
    del handle
    gc.collect()
    while pool._core.shares:
        pass


def test_scripts_without_main_guard():
    """python -c works: functions of __main__ travel by value and nothing is imported again."""
    script = """
print("once")
from connectors.pools import ProcessPool
def double(x): return 2 * x
class Point:
    def __init__(self, x): self.x = x
def make(x): return Point(x)
pool = ProcessPool(2)
print(list(pool.map(double, range(3))), pool.submit(double, 21).result())
print(isinstance(pool.submit(make, 1).result(), Point))
pool.shutdown()
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ["once", "[0, 2, 4] 42", "True"] == done.stdout.splitlines()
    assert not done.stderr


def test_loaded_when_it_is_asked_for():
    """Importing connectors.pools loads nothing of the process pool, whose public address it is."""
    script = """
import sys, connectors.pools
loaded = set(sys.modules)
assert not {"multiprocessing", "subprocess", "connectors.pools._process"} & loaded
from connectors.pools import ProcessPool
assert ProcessPool.__module__ == "connectors.pools"
assert "multiprocessing" not in sys.modules
try: connectors.pools.nothing
except AttributeError as error: print(error)
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "module 'connectors.pools' has no attribute 'nothing'\n" == done.stdout
