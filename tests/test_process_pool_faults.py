"""What `ProcessPool` promises when things go wrong."""

import asyncio
import contextlib
import functools
import gc
import os
import random
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import trio

import connectors._errors as errors
import process_calls as calls
from connectors import events
from connectors._calls import Call
from connectors.pools import ProcessPool
from connectors.pools._process import _launch
from connectors.pools._process._attend import Bell
from connectors.pools._process._worker import Worker
from process_calls import alive

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def pool():
    with ProcessPool(2) as pool:
        yield pool
        pool.close(cancel=True)  # a test that failed may have left calls that never end


@pytest.fixture
def single():
    with ProcessPool(1) as pool:
        yield pool
        pool.close(cancel=True)


def descendants(pid):
    """Return the pids of all processes below *pid*."""
    below, found = {pid}, set()
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as file:
                    parents[int(entry)] = int(file.read().rpartition(")")[2].split()[1])
            except OSError:
                pass
    while below:
        below = {child for child, parent in parents.items() if parent in below}
        found |= below
    return found


def running(pool, tmp_path, name="begun"):
    """Return a call that runs until it is stopped, and the pid of its worker."""
    begun = tmp_path / name
    future = pool.submit(calls.touch_and_wait, begun, "/nonexistent")
    return future, pid_in(begun)


def pid_in(path):
    """Return the pid that a call writes into the file at *path* when it begins."""
    while not path.exists() or not path.read_text():
        time.sleep(0.001)
    return int(path.read_text())


# --- deaths of workers


@pytest.mark.parametrize(
    ("how", "code"),
    [((calls.die, 9), -9), ((calls.die, -3), 3), ((calls.segfault,), -11), ((calls.die, 15), -15)],
)
def test_death_fails_only_its_call(pool, how, code):
    """A worker that dies fails the call that it ran, with exit code and label; all others run."""
    before = [pool.submit(calls.add, 1) for _ in range(50)]
    victim = pool.submit(*how)
    after = [pool.submit(calls.add, 2) for _ in range(50)]

    with pytest.raises(errors.WorkerCrashError, match=how[0].__name__) as info:
        victim.result()
    assert code == info.value.exitcode
    assert {1} == {future.result() for future in before}
    assert {2} == {future.result() for future in after}


def test_last_words(pool):
    """The last lines of the worker's stderr are in the error."""
    with pytest.raises(errors.WorkerCrashError, match="the last words") as info:
        pool.submit(calls.shout_and_die).result()

    assert "the last words" == info.value.stderr
    with pytest.raises(errors.WorkerCrashError, match="Segmentation fault"):
        pool.submit(calls.segfault).result()


def test_stderr_of_workers_is_passed_on():
    """What a worker writes to its stderr has reached the parent's before its call has failed."""
    process = start(SHOUTING)

    assert ("failed\n", "the last words\nafterwards\n") == process.communicate(timeout=30)


def test_idle_worker_killed(pool):
    """A worker that is killed while it idles harms no call."""
    for _ in range(20):
        os.kill(pool.submit(calls.pid).result(), signal.SIGKILL)

    assert {3} == {future.result() for future in [pool.submit(calls.add, 3) for _ in range(50)]}


def test_worker_dies_as_a_caller_begins_to_listen(single, monkeypatch):
    """A caller that was about to listen at a worker that died meanwhile gets its answer."""
    single.submit(calls.add, 1).result()
    crew, wait, close, taken, rung = single._core.crew, Bell.wait, Worker.close, [], []

    def wait_later(bell, deadline):
        monkeypatch.setattr(Bell, "wait", wait)
        (worker,) = crew.workers.values()
        os.kill(worker.pid, signal.SIGKILL)
        while not taken:
            time.sleep(0.001)
        rung.extend(bell._poll.poll(0))
        wait(bell, deadline)

    def close_and_take_the_numbers(worker):
        monkeypatch.setattr(Worker, "close", close)
        close(worker)
        taken.extend(os.pipe() for _ in range(10))

    monkeypatch.setattr(Bell, "wait", wait_later)
    monkeypatch.setattr(Worker, "close", close_and_take_the_numbers)
    future = single.submit_call(Call(calls.sleep, (0.2, "again"), retries=1))
    try:
        assert future.result(20) == "again"
        assert rung
    finally:
        for descriptor in [descriptor for pipe in taken for descriptor in pipe]:
            os.close(descriptor)


def test_killed_with_calls_behind(single, tmp_path):
    """Calls that wait behind the one that kills the worker run elsewhere, once each."""
    path = tmp_path / "notes"
    for _ in range(300):
        single.submit(calls.add, 1).result()
    victim = single.submit(calls.die, 9)
    futures = [single.submit(calls.note, path, number) for number in range(100)]

    assert list(range(100)) == [future.result() for future in futures]
    assert [str(number) for number in range(100)] == path.read_text().split()
    assert isinstance(victim.exception(), errors.WorkerCrashError)


def test_killed_while_sending_a_large_result(pool):
    """A worker that is killed while its result is on the way gives the result or the error."""
    ours = np.arange(3_000_000)
    for _ in range(10):
        future = pool.submit(calls.echo, ours)
        while not pool.worker_pids:
            pass
        for pid in pool.worker_pids:
            os.kill(pid, signal.SIGKILL)
        try:
            assert (future.result() == ours).all()
        except errors.WorkerCrashError:
            pass
    assert 1 == pool.submit(calls.add, 1).result()


def test_killed_while_being_started(tmp_path):
    """A worker that is killed while it starts is replaced, and its call runs."""
    begun, gate = tmp_path / "begun", tmp_path / "gate"

    with ProcessPool(1, initializer=functools.partial(calls.touch_and_wait, begun, gate)) as pool:
        future = pool.submit(calls.add, 4)
        os.kill(pid_in(begun), signal.SIGKILL)
        gate.touch()

        assert 4 == future.result()


def test_twice_in_a_row_and_all_at_once(pool, tmp_path):
    """All workers killed at once, twice, fail the calls that they ran and no other."""
    for turn in range(2):
        victims = [running(pool, tmp_path, f"{turn}-{number}") for number in range(2)]
        others = [pool.submit(calls.add, 1) for _ in range(20)]
        for _, pid in victims:
            os.kill(pid, signal.SIGKILL)

        assert {1} == {future.result() for future in others}
        for future, _ in victims:
            assert isinstance(future.exception(), errors.WorkerCrashError)


def test_retries_run_a_crashed_call_again(pool, tmp_path):
    """With retries a call whose worker died runs again."""
    call = Call(calls.die_once, (tmp_path / "died",), retries=1)

    assert "second run" == pool.submit_call(call).result()


def test_call_that_crashes_every_time(pool):
    """A call that kills each worker fails after its retries, and the others finish."""
    with events.observe() as seen:
        victim = pool.submit_call(Call(calls.die, (9,), retries=2))
        others = [pool.submit(calls.add, 1) for _ in range(100)]
        assert {1} == {future.result() for future in others}
        assert isinstance(victim.exception(), errors.WorkerCrashError)
        while len(list(seen.of(events.WorkerDied))) < 3:
            pass


def test_retries_do_not_repeat_an_exception(pool, tmp_path):
    """An exception is an outcome like any other: the pool does not run the call again."""
    call = Call(calls.raise_error, (ValueError, "once"), retries=3)
    with pytest.raises(ValueError, match="once"):
        pool.submit_call(call).result()


def test_retry_with_large_arguments(pool, tmp_path):
    """A retried call has its large arguments again."""
    array = np.arange(500_000)

    def total(path, array):
        calls.die_once(path)
        return int(array.sum())

    call = Call(total, (tmp_path / "died", array), retries=1)
    assert int(array.sum()) == pool.submit_call(call).result()


def test_memory_limit():
    """A call that wants more memory than the limit fails, and the pool goes on."""
    with ProcessPool(1, memory_limit=400_000_000) as pool:
        with pytest.raises(MemoryError):
            pool.submit(calls.grab, 1_000_000_000).result()
        assert 10 == pool.submit(calls.grab, 10).result()


def test_template_killed(pool):
    """When the process that starts workers is killed, a new one takes its place."""
    worker = pool.submit(calls.pid).result()
    os.kill(_launch._shared._process.pid, signal.SIGKILL)
    while alive(worker):  # it follows its template
        pass

    assert {1} == {pool.submit(calls.add, 1).result() for _ in range(10)}


# --- starting


@pytest.mark.parametrize(
    ("initializer", "reason"),
    [
        (calls.fail_to_start, "no licence"),
        ("process_calls:missing", "missing"),
        (calls.crash_at_start, "code 9"),
    ],
)
def test_initializer_that_fails(initializer, reason):
    """A worker that cannot start is a clear error of all calls that wait, not a loop."""
    with ProcessPool(2, initializer=initializer) as pool:
        for _ in range(2):
            futures = [pool.submit(calls.add, 1) for _ in range(5)]
            for future in futures:
                with pytest.raises(errors.ExecutorOpenError, match=reason):
                    future.result()


# --- calls that misbehave


@pytest.mark.parametrize(
    "misbehave",
    [
        calls.close_standard_files,
        calls.write_standard_files,
        calls.change_signals,
        calls.start_endless_thread,
        calls.fork_and_leave_both,
        calls.fork_a_survivor,
    ],
)
def test_worker_survives(single, misbehave):
    """What a call does to its process harms neither its answer nor the calls that follow."""
    before = single.submit(calls.pid).result()
    single.submit(misbehave).result()

    assert list(range(20)) == [single.submit(calls.echo, n).result() for n in range(20)]
    assert before == single.submit(calls.pid).result()


def test_closing_the_pools_own_files(single):
    """A call that closes what leads to the pool crashes its worker and nothing else."""
    with pytest.raises(errors.WorkerCrashError):
        single.submit(calls.close_everything).result()
    assert 1 == single.submit(calls.add, 1).result()


def test_worker_with_a_fork_killed(single):
    """A worker's death is noticed although a process that it forked holds its files."""
    survivor = single.submit(calls.fork_a_survivor).result()
    try:
        with pytest.raises(errors.WorkerCrashError):
            single.submit(calls.die, 9).result()
    finally:
        os.kill(survivor, signal.SIGKILL)


def test_much_on_stderr(monkeypatch, capfd):
    """A call that prints 1 MB to stderr ends, and all of it arrives."""
    monkeypatch.setattr(_launch, "_shared", None)  # which other pools may have, with its stderr
    with ProcessPool(1) as pool:
        assert "done" == pool.submit(calls.shout_much, 1_000_000).result()
    assert 1_000_000 == len(capfd.readouterr().err)


def test_stderr_that_nobody_reads():
    """When the parent's stderr takes no more, only calls that write there wait."""
    script = """
import process_calls as calls
from connectors.pools import ProcessPool
pool = ProcessPool(2)
stuck = pool.submit(calls.shout_much, 1_000_000)
assert [pool.submit(calls.add, n).result() for n in range(200)] == list(range(200))
assert not stuck.done()
pool.close(cancel=True)
print("closed", flush=True)
"""
    process = start(script)
    assert "closed\n" == process.stdout.readline()
    process.stdout.close()
    process.stderr.close()
    assert 0 == process.wait()


def test_nested_pool(single):
    """A call may have a process pool of its own."""
    assert [1, 2, 3] == single.submit(calls.nested, 3).result()


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_exits_fail_the_call_only(single, kind):
    """SystemExit and KeyboardInterrupt in a call fail that call and end no process."""
    pid = single.submit(calls.pid).result()
    assert isinstance(single.submit(calls.exit_call, kind).exception(), kind)
    assert pid == single.submit(calls.pid).result()


# --- what cannot travel


def test_unpicklable_argument(pool):
    """An argument that cannot travel is an error in submit, which names it."""
    with pytest.raises(errors.PicklingError, match=r"args\[1\]\['lock'\]"):
        pool.submit(calls.add, 1, {"lock": threading.Lock()})
    assert 1 == pool.submit(calls.add, 1).result()


def test_unpicklable_result(pool):
    """A result that cannot travel is an error of its call, which names it."""
    with pytest.raises(errors.PicklingError, match="result of lock"):
        pool.submit(calls.lock).result()


def test_argument_that_explodes_in_the_worker(pool):
    """An argument that cannot be unpickled in the worker fails its call."""
    with pytest.raises(ValueError, match="boom at load"):
        pool.submit(calls.echo, calls.ExplodesOnLoad()).result()


def test_result_that_explodes_in_the_parent(pool):
    """A result that cannot be unpickled in the parent fails its call."""
    with pytest.raises(ValueError, match="boom at load"):
        pool.submit(calls.bring, calls.ExplodesOnLoad).result()
    assert 1 == pool.submit(calls.add, 1).result()


def test_scattered_value_that_explodes(pool):
    """A scattered value that cannot be unpickled fails the calls that need it, each time."""
    handle = pool.scatter(calls.ExplodesOnLoad())
    for _ in range(3):
        with pytest.raises(ValueError, match="boom at load"):
            pool.submit(calls.echo, handle).result()


def test_exceptions_that_do_not_travel(pool):
    """Any exception comes back, as itself or as a RemoteError that tells of it."""
    error = pool.submit(calls.raise_error, calls.TwoArguments, 1, 2).exception()
    assert isinstance(error, (calls.TwoArguments, errors.RemoteError))
    assert "1 and 2" in str(error)
    error = pool.submit(calls.raise_error, calls.ExplodingError, "x").exception()
    assert isinstance(error, (calls.ExplodingError, errors.RemoteError))
    error = pool.submit(calls.raise_locked).exception()
    assert isinstance(error, errors.RemoteError)


def test_function_that_the_worker_lacks(pool, monkeypatch):
    """A function that is not in its module in the worker fails its call."""

    def vanishing():
        return "never"

    vanishing.__module__, vanishing.__qualname__ = "process_calls", "vanishing"
    monkeypatch.setattr(calls, "vanishing", vanishing, raising=False)
    with pytest.raises(AttributeError, match="vanishing"):
        pool.submit(vanishing).result()


def test_recursive_structures(pool):
    """A value that contains itself travels."""
    ring = calls.ring()

    assert pool.submit(calls.is_ring, ring).result()
    assert calls.is_ring(pool.submit(calls.ring).result())


@pytest.mark.slow
@pytest.mark.skipif(
    os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") < 16 << 30,
    reason="needs 16 GB of free memory",
)
@pytest.mark.timeout(300)
def test_argument_of_three_gigabytes(single):
    """What a signed number of 32 bits can tell is no limit of frame, segment or read."""
    assert 3_000_000_000 == single.submit(calls.size_of, bytes(3_000_000_000)).result()


# --- stopping


def test_timeout_kills(pool, tmp_path):
    """A call over its limit is stopped, also if it ignores SIGTERM, and others are not."""
    begun = tmp_path / "begun"
    call = Call(calls.ignore_sigterm_and_sleep, (begun,), timeout=0.2)
    future = pool.submit_call(call)
    others = [pool.submit(calls.add, 1) for _ in range(50)]

    with pytest.raises(errors.CallTimeoutError, match="ignore_sigterm"):
        future.result()
    assert not alive(int(begun.read_text()))
    assert {1} == {future.result() for future in others}


def test_timeout_counts_from_the_beginning(single):
    """Waiting for a worker is no part of a call's limit."""
    call = Call(calls.sleep, (0.3, "slept"), timeout=1.2)
    futures = [single.submit_call(call) for _ in range(5)]

    assert ["slept"] * 5 == [future.result() for future in futures]


def test_cancel_queued_and_sent(single, tmp_path):
    """A call that has not begun can be cancelled wherever it waits, and never runs."""
    path = tmp_path / "notes"
    for _ in range(300):
        single.submit(calls.add, 1).result()
    gate = tmp_path / "gate"
    blocker = single.submit(calls.wait_for, gate)
    futures = [single.submit(calls.note, path, number) for number in range(1000)]
    cancelled = futures[::2]

    assert all(future.cancel() for future in cancelled)
    assert not blocker.cancel()
    gate.touch()
    assert list(range(1, 1000, 2)) == [future.result() for future in futures[1::2]]
    assert [str(number) for number in range(1, 1000, 2)] == path.read_text().split()


def test_cancel_running(pool, tmp_path):
    """A running call cannot be cancelled without kill_on_cancel, and can be stopped."""
    future, pid = running(pool, tmp_path)

    while not future.running():  # the worker may be faster than the thread that says so
        time.sleep(0.001)
    assert not future.cancel()
    assert future.stop()
    assert future.cancelled()
    while alive(pid):
        pass
    assert not future.stop() or future.cancelled()


def test_kill_on_cancel(tmp_path):
    """With kill_on_cancel, Future.cancel stops the worker; its other calls run elsewhere."""
    with ProcessPool(1, kill_on_cancel=True) as pool:
        future, pid = running(pool, tmp_path)
        others = [pool.submit(calls.add, 1) for _ in range(10)]

        assert future.cancel()
        assert {1} == {other.result() for other in others}
        assert not alive(pid)


def test_cancel_when_the_result_is_on_its_way(pool):
    """Cancelling at any moment ends the future one way or the other."""
    outcomes = set()
    for _ in range(300):
        future = pool.submit(calls.add, 1)
        for _ in range(random.randrange(200)):
            pass
        outcomes.add("cancelled" if future.stop() else future.result())

    assert outcomes <= {"cancelled", 1}
    assert 1 == pool.submit(calls.add, 1).result()


def test_cancel_from_asyncio(tmp_path):
    """Cancelling an asyncio task that waits for a call stops the call."""

    async def main(pool):
        begun = tmp_path / "begun"
        loop = asyncio.get_running_loop()
        waiting = loop.run_in_executor(pool, calls.touch_and_wait, begun, "/nonexistent")
        await asyncio.to_thread(pid_in, begun)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return int(begun.read_text())

    with ProcessPool(1, kill_on_cancel=True) as pool:
        pid = asyncio.run(main(pool))
        assert 1 == pool.submit(calls.add, 1).result()
        assert not alive(pid)


def test_stop_from_trio(pool, tmp_path):
    """A trio task that is cancelled can stop its call."""

    async def main():
        begun = tmp_path / "begun"
        future = pool.submit(calls.touch_and_wait, begun, "/nonexistent")
        with trio.CancelScope() as scope:
            try:
                await trio.to_thread.run_sync(pid_in, begun)
                scope.cancel()
                await trio.sleep_forever()
            finally:
                future.stop()
        return future

    assert trio.run(main).cancelled()


# --- ends of the parent


def start(script, **kwargs):
    return subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.path.dirname(calls.__file__)},
        **kwargs,
    )


SHOUTING = """
import sys
import process_calls as calls
from connectors.pools import ProcessPool
with ProcessPool(1) as pool:
    if pool.submit(calls.shout_and_die).exception():
        print("failed")
        print("afterwards", file=sys.stderr)
"""

BUSY = """
import sys, time
import process_calls as calls
from connectors.pools import ProcessPool
pool = ProcessPool(2)
futures = [pool.submit(calls.{call}, 30) for _ in range(100)]
while len(pool.worker_pids) < 2: time.sleep(0.001)
print(*pool.worker_pids, flush=True)
"""


def gone_within(seconds, pids):
    deadline = time.monotonic() + seconds
    while any(alive(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


@pytest.mark.parametrize("call", ["sleep", "spin"])
def test_parent_killed(call):
    """When the parent is killed with SIGKILL, its workers are gone within a second."""
    process = start(BUSY.format(call=call) + "time.sleep(60)")
    process.stdout.readline()
    below = descendants(process.pid)
    assert len(below) >= 3
    process.kill()
    process.wait()

    assert gone_within(1, below)
    process.stdout.close()
    assert "" == process.stderr.read()
    process.stderr.close()


def test_parent_and_template_killed():
    """Workers go even when both their parents are killed."""
    process = start(BUSY.format(call="sleep") + "time.sleep(60)")
    workers = {int(pid) for pid in process.stdout.readline().split()}
    below = descendants(process.pid)
    for pid in [*(below - workers), process.pid]:
        os.kill(pid, signal.SIGKILL)
    process.communicate()

    assert gone_within(1, below)


@pytest.mark.parametrize(
    "wait",
    ["futures[0].result()", "with pool: futures[0].result()", "pool.shutdown()", "pass"],
)
def test_interrupt(wait):
    """Ctrl-C while 100 calls run: KeyboardInterrupt in the parent, and no child is left."""
    process = start(BUSY.format(call="sleep") + wait, start_new_session=True)
    process.stdout.readline()
    below = descendants(process.pid)
    time.sleep(0.05)
    begin = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate()

    assert gone_within(1, below)
    assert time.monotonic() - begin < 5
    # Python ends well when only its atexit callbacks, where it waited in the last case, fail.
    assert process.returncode or wait == "pass"
    assert 1 == told.count("KeyboardInterrupt")


def test_exit_with_pending_calls(tmp_path):
    """A program that ends with calls under way does them first, as with the standard library."""
    path = tmp_path / "notes"
    script = f"""
import process_calls as calls
from connectors.pools import ProcessPool
pool = ProcessPool(2)
for number in range(50): pool.submit(calls.note, {str(path)!r}, number)
"""
    _, told = start(script).communicate()

    assert "" == told
    assert list(range(50)) == sorted(map(int, path.read_text().split()))


def test_fork_of_the_parent(pool, tmp_path):
    """In a fork of the parent the pool says so, pending futures fail, and a new pool works."""
    pool.submit(calls.add, 1).result()
    gate = tmp_path / "gate"
    pending = pool.submit(calls.wait_for, gate)
    child = os.fork()
    if not child:
        code = 1
        try:
            with pytest.raises(errors.ExecutorClosedError):
                pending.result(5)
            with pytest.raises(errors.ExecutorClosedError):
                pool.submit(calls.add, 1)
            with ProcessPool(1) as own:
                code = 0 if own.submit(calls.add, 1).result(20) == 1 else 2
        finally:
            os._exit(code)
    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    gate.touch()
    assert pending.result() is None
    assert 1 == pool.submit(calls.add, 1).result()


# --- nothing is left, lost or done twice


def state():
    gc.collect()
    return (
        sorted(os.readlink(f"/proc/self/fd/{fd}").split(":")[0] for fd in open_files()),
        # trio's threads, which other tests used, end when they please
        [thread.name for thread in threading.enumerate() if "reader" in thread.name],
        descendants(os.getpid()),
        sorted(line.split()[-1] for line in open_maps() if "memfd" in line or "/dev/shm" in line),
    )


def open_maps():
    with open("/proc/self/maps") as maps:
        return maps.readlines()


def open_files():
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        found.append(fd)
    return found


@pytest.mark.slow
def test_fifty_pools_leave_nothing():
    """Pools that are opened and closed leave no descriptor, thread, process or memory."""
    array = np.zeros(100_000)
    before = state()
    for number in range(50):
        with ProcessPool(2) as pool:
            pool.submit(calls.echo, array).result()
            if number % 5 == 0:
                pool.submit(calls.die, 9).exception()
                handle = pool.scatter(array)
                pool.submit(calls.echo, handle).result()
                pool.submit(calls.sleep, 60)
                pool.close(cancel=True)

    assert before == state()


def test_idle_pool_uses_no_cpu(pool):
    """An idle pool sleeps: neither parent nor workers use CPU time."""
    pids = {pool.submit(calls.pid).result() for _ in range(5)}

    def switches():
        me = pool._core.crew.reader.thread.native_id
        told = []
        for path in [f"/proc/self/task/{me}/status", *(f"/proc/{pid}/status" for pid in pids)]:
            with open(path) as file:
                told += [line for line in file if line.startswith("voluntary_ctxt_switches")]
        return told

    time.sleep(0.1)
    before = switches()
    time.sleep(0.3)
    assert before == switches()


def kill_workers(pool, stop, seconds, ended=None):
    """Kill a worker every so many *seconds*, if more calls *ended* meanwhile, until *stop*."""
    before = -1
    while not stop.wait(seconds):
        pids = pool.worker_pids
        if pids and (ended is None or len(ended) > before):
            before = 0 if ended is None else len(ended) + 5
            with contextlib.suppress(ProcessLookupError):
                os.kill(random.choice(pids), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("retries", [0, 3])
def test_stress(retries, tmp_path):
    """20,000 calls while a worker is killed again and again: all end, none is wrong."""
    stop, ended = threading.Event(), []

    with ProcessPool(2) as pool:
        # On a busy machine a call could be hit four times, if nothing had to come in between.
        killer = threading.Thread(target=kill_workers, args=(pool, stop, 0.05, ended))
        killer.start()
        try:
            futures = []
            for number in range(20_000):
                call = Call(calls.sleep, (0.0001, number), retries=retries)
                futures.append(pool.submit_call(call))
                if number % 10 == 0:
                    futures[-1].add_done_callback(ended.append)
            crashed = 0
            for number, future in enumerate(futures):
                error = future.exception()
                if error is None:
                    assert number == future.result()
                else:
                    assert isinstance(error, errors.WorkerCrashError)
                    crashed += 1
        finally:
            stop.set()
            killer.join()
    assert not crashed if retries else crashed


def test_crash_runs_nothing_twice(tmp_path):
    """Calls run at most once although their workers are killed."""
    path = tmp_path / "notes"
    stop = threading.Event()

    with ProcessPool(2) as pool:
        killer = threading.Thread(target=kill_workers, args=(pool, stop, 0.02))
        killer.start()
        try:
            futures = [pool.submit(calls.note, path, number) for number in range(3000)]
            fine = [f.result() for f in futures if f.exception() is None]
        finally:
            stop.set()
            killer.join()
    seen = path.read_text().split()
    assert len(seen) == len(set(seen))
    assert {str(number) for number in fine} <= set(seen)


# --- what must not happen, and is an error of its own


def test_interpreter_that_cannot_start(monkeypatch):
    """When no worker process can be started at all, every call says so."""
    monkeypatch.setattr(_launch, "_shared", None)  # which other pools may still have
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with ProcessPool(2) as pool:
        for future in [pool.submit(calls.add, 1) for _ in range(3)]:
            with pytest.raises(errors.ExecutorOpenError, match="worker"):
                future.result()
        monkeypatch.undo()
        assert 1 == pool.submit(calls.add, 1).result()


def test_no_descriptors_left(monkeypatch):
    """When no pipe can be made, a call says so."""

    def no_pair():
        raise OSError(24, "Too many open files")

    with ProcessPool(2) as pool:
        assert 1 == pool.submit(calls.add, 1).result()
        os.kill(pool.worker_pids[0], signal.SIGKILL)
        while pool.worker_pids:
            pass
        monkeypatch.setattr("socket.socketpair", no_pair)
        with pytest.raises(errors.ExecutorOpenError, match="Too many open files"):
            pool.submit(calls.add, 1).result()
        monkeypatch.undo()
        assert 1 == pool.submit(calls.add, 1).result()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_defect_of_the_reading_thread(pool, monkeypatch):
    """Should the thread that reads ever fail, the calls fail with it and nobody hangs."""
    future, pid = pool.submit(calls.sleep, 60), pool.submit(calls.pid).result()
    monkeypatch.setattr(type(pool._core.crew.schedule), "answered", None)
    other = pool.submit(calls.add, 1)

    for lost in (future, other):
        with pytest.raises(errors.ExecutorOpenError, match="reader"):
            lost.result()
    with pytest.raises(errors.ExecutorClosedError):
        pool.submit(calls.add, 1)
    while alive(pid):
        pass


def test_observer_of_answers_that_raises(pool, caplog):
    """An on_answer that raises is logged, and harms neither the call nor the pool."""
    future = pool.submit_call(Call(calls.add, (1,)), on_answer=lambda _: 1 / 0)

    assert 1 == future.result()
    assert "on_answer of add raised" in caplog.text
    assert 1 == pool.submit(calls.add, 1).result()


def test_memory_of_a_pool_that_ran_nothing():
    """What was scattered to a pool that ran nothing is given back when it closes."""
    before = len(open_files())
    pool = ProcessPool(1)
    pool.scatter(np.zeros(100_000))
    pool.close()

    assert before == len(open_files())
