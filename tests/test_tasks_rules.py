"""The rules of `connectors.tasks`, one by one."""

import asyncio
import contextvars
import gc
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
import trio

import connectors
from connectors import WorkerCrashError
from connectors.tasks import (
    AbstractMultipleRunner,
    AsyncExecutor,
    ProcessExecutor,
    TaskGroup,
    ThreadExecutor,
)
from task_bodies import (
    exit_now,
    fail,
    ignore_sigterm,
    interrupt,
    leave,
    put_pid,
    say_pid_and_wait,
    wait_for,
)
from task_cases import (
    CONTEXT,
    EXECUTORS,
    FAILING,
    HEALTHY,
    MODES,
    AsyncTask,
    ProcessTask,
    Runner,
    ThreadTask,
)

VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")


@pytest.fixture(autouse=True, scope="module")
def nothing_left():
    """No thread, process or descriptor of the tests is left."""
    with TaskGroup([ThreadTask(), ProcessTask()], "threading_multiprocessing") as group:
        group.stop()
    connectors._clock.after(0, int)
    files, threads = open_files(), running_threads()
    with connectors.executor("multiprocessing", processes=1) as executor:
        executor.submit(int).result()  # what starts workers stays, which saves time
        yield
    gc.collect()
    assert eventually(lambda: running_threads() <= threads)
    assert eventually(lambda: open_files() <= files)


def running_threads():
    # trio keeps its threads for ten seconds.
    return sum("trio" not in thread.name.lower() for thread in threading.enumerate())


def open_files():
    return len(os.listdir("/proc/self/fd"))


def eventually(holds, seconds=10.0):
    limit = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > limit:
            return False
        time.sleep(0.01)
    return True


def run_world(world, function):
    if world == "trio":
        return trio.run(function)
    return asyncio.run(function())


WORLDS = pytest.mark.parametrize("world", ["asyncio", "trio"])
ALL_MODES = pytest.mark.parametrize("mode", MODES)


async def pause(seconds):
    await (trio.sleep if "trio" in sys.modules and in_trio() else asyncio.sleep)(seconds)


def in_trio():
    return trio.lowlevel.in_trio_task()


# --- TR1 ------------------------------------------------------------------------------------


@ALL_MODES
@pytest.mark.parametrize("way", ["try_join_thread", "stop"])
def test_tr1_failure_is_kept(mode, way):
    """TR1: after a threaded start the first join or stop raises; then nothing does."""
    runner = Runner(mode, [HEALTHY[mode]("a"), FAILING[mode]("x")])
    runner.start(threaded=True)
    with pytest.raises(ValueError, match="it broke"):
        getattr(runner, way)()
    assert not runner.is_running
    runner.stop()
    runner.try_join_thread()


# --- TR2 ------------------------------------------------------------------------------------


@ALL_MODES
def test_tr2_siblings_have_ended(mode):
    """TR2: when the error leaves, every sibling was stopped and has ended."""
    healthy = [HEALTHY[mode]("a"), HEALTHY[mode]("b")]
    executor = EXECUTORS[mode]([healthy[0], FAILING[mode]("x"), healthy[1]])
    with pytest.raises(ValueError, match="it broke"):
        executor.start()
    assert all(task.future.done() for task in healthy)
    assert [len(task.told) for task in healthy] == [1, 1]


def test_tr2_siblings_are_awaited():
    """TR2: a sibling that takes its time to stop is awaited."""
    told, may_end = threading.Event(), threading.Event()

    class Slow(ThreadTask):
        def start(self):
            told.wait(10)
            may_end.wait(10)
            return "in its own time"

        def stop(self):
            told.set()
            threading.Timer(0.05, may_end.set).start()

    slow = Slow()
    with pytest.raises(ValueError, match="it broke"):
        ThreadExecutor([slow, ThreadTask("x", fail)]).start()
    assert slow.outcome.value == "in its own time"


# --- TR3 ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["threaded", "async"])
def test_tr3_start_then_stop_at_once(mode):
    """TR3: 300 rounds of start and stop give no error."""
    for _ in range(300):
        runner = Runner(mode, [HEALTHY[mode]("a"), HEALTHY[mode]("b")])
        runner.start(threaded=True)
        assert runner.is_running
        runner.stop()
        assert not runner.is_running
        assert runner.num_failed == 0


@pytest.mark.slow
def test_tr3_start_then_stop_at_once_processes():
    """TR3: and so it is with processes."""
    for _ in range(300):
        runner = Runner("multiprocess", [ProcessTask("a"), ProcessTask("b")])
        runner.start(threaded=True)
        assert runner.is_running
        runner.stop()
        assert (runner.is_running, runner.num_failed) == (False, 0)


@ALL_MODES
def test_tr3_start_is_a_handshake(mode):
    """TR3: when start returns, each task runs or has failed."""
    tasks = [HEALTHY[mode]("a"), FAILING[mode]("x"), HEALTHY[mode]("b")]
    runner = Runner(mode, tasks, "log_only")
    runner.start(threaded=True)
    assert [task.outcome.state for task in (tasks[0], tasks[2])] == ["running"] * 2
    assert runner.is_running
    runner.stop()


def test_tr3_a_process_has_begun():
    """TR3: a process task counts as started when its body begins in the process."""
    ours, theirs = CONTEXT.Pipe()
    with TaskGroup([ProcessTask("a", say_pid_and_wait, (theirs,))], "multiprocessing") as group:
        assert ours.poll(10)
        assert ours.recv() != os.getpid()
        group.stop(0)
    ours.close()
    theirs.close()


@pytest.mark.parametrize("mode", ["threaded", "async"])
def test_tr3_stop_from_other_threads(mode):
    """TR3: stop may come at any moment from any thread."""
    for round_ in range(30):
        runner = Runner(mode, [HEALTHY[mode](str(i)) for i in range(3)])
        barrier, errors = threading.Barrier(3), []

        def stop(runner=runner, barrier=barrier, errors=errors):
            barrier.wait()
            try:
                runner.stop()
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=stop) for _ in range(2)]
        for thread in threads:
            thread.start()
        barrier.wait()
        runner.start(threaded=True)
        for thread in threads:
            thread.join(20)
        assert not errors, round_
        runner.stop()
        assert not runner.is_running


# --- TR4 ------------------------------------------------------------------------------------


def test_tr4_a_crash_is_that_tasks_alone():
    """TR4: a killed child and one that exits are crashed, and the others go on."""
    ours, theirs = CONTEXT.Pipe()
    killed = ProcessTask("killed", say_pid_and_wait, (theirs,))
    exits = ProcessTask("exits", leave, (3,))
    healthy = ProcessTask("healthy")
    runner = Runner("multiprocess", [killed, exits, healthy], "log_only")
    runner.start(threaded=True)
    os.kill(ours.recv(), signal.SIGKILL)
    assert eventually(lambda: runner.num_failed == 2)
    assert (killed.outcome.state, killed.outcome.signal) == ("crashed", signal.SIGKILL)
    assert (exits.outcome.state, exits.outcome.exit_code) == ("crashed", 3)
    assert (killed.outcome.exit_code, exits.outcome.signal) == (None, None)
    assert runner.is_running
    assert healthy.outcome.state == "running"
    runner.stop()
    assert runner.failed == ["killed", "exits"]
    assert healthy.outcome.value == "stopped"
    with pytest.raises(WorkerCrashError, match="exits exited with code 3"):
        exits.outcome.result()
    ours.close()
    theirs.close()


def test_tr4_one_process_per_task():
    """TR4, TR19: each task has a process of its own, also after others have ended."""
    pids = CONTEXT.SimpleQueue()
    tasks = [ProcessTask(str(i), put_pid, (pids,)) for i in range(4)]
    ProcessExecutor(tasks).start()
    assert len({pids.get() for _ in tasks}) == 4
    pids.close()


# --- TR5 ------------------------------------------------------------------------------------


def test_tr5_threads_are_abandoned(caplog):
    """TR5: a thread that does not stop is abandoned at the deadline, with one warning."""
    may_end = threading.Event()
    tasks = [ThreadTask("stuck", may_end.wait), ThreadTask("stuck too", may_end.wait)]
    runner = Runner("threaded", [*tasks, ThreadTask("good")])
    runner.start(threaded=True)
    begin = time.monotonic()
    runner.stop(timeout=0.5)
    assert time.monotonic() - begin < 1.0
    assert runner.abandoned == ["stuck", "stuck too"]
    assert (runner.failed, runner.is_running) == ([], False)
    assert tasks[0].outcome.state == "abandoned"
    with pytest.raises(TimeoutError):
        tasks[0].outcome.result()
    (warning,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert "stuck, stuck too" in warning.getMessage()
    may_end.set()


def test_tr5_children_are_terminated_then_killed():
    """TR5: a child ends by SIGTERM at the deadline, and by SIGKILL if it ignores that."""
    pipes = [CONTEXT.Pipe() for _ in range(2)]
    polite = ProcessTask("polite", say_pid_and_wait, (pipes[0][1],))
    stubborn = ProcessTask("stubborn", ignore_sigterm, (pipes[1][1],))
    with TaskGroup([polite, stubborn], "multiprocessing") as group:
        pids = [ours.recv() for ours, _ in pipes]
        begin = time.monotonic()
        group.stop(timeout=0.5)
        assert time.monotonic() - begin < 1.0
    assert [(o.state, o.signal) for o in group.outcomes] == [("cancelled", 15), ("cancelled", 9)]
    assert (group.num_failed, group.abandoned) == (0, [])
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    for end in (end for pipe in pipes for end in pipe):
        end.close()


def test_tr5_coroutines():
    """TR5: at the deadline a coroutine is cancelled, and abandoned if it does not end."""
    may_end = threading.Event()

    class Deaf(AsyncTask):
        def stop(self):
            pass

    async def wait():
        await asyncio.sleep(30)

    async def block():
        may_end.wait(30)

    runner = Runner("async", [Deaf("deaf", wait)])
    runner.start(threaded=True)
    runner.stop(timeout=0.1)
    assert runner._tasks[0].outcome.state == "cancelled"

    blocking = Runner("async", [Deaf("blocks", block)])
    blocking.start(threaded=True)
    begin = time.monotonic()
    blocking.stop(timeout=0.5)
    assert time.monotonic() - begin < 1.0
    assert blocking.abandoned == ["blocks"]
    may_end.set()


def test_tr5_stop_timeout_of_the_group():
    """TR5: `stop_timeout` limits the stops that a failure causes."""
    may_end = threading.Event()
    group = TaskGroup(
        [ThreadTask("stuck", may_end.wait), ThreadTask("x", fail)], "threading", stop_timeout=0.1
    )
    with pytest.raises(ValueError, match="it broke"), group:
        pass
    assert group.abandoned == ["stuck"]
    may_end.set()


# --- TR6 ------------------------------------------------------------------------------------


@WORLDS
@pytest.mark.parametrize("executor", ["threading", "async"])
def test_tr6_the_loop_is_never_blocked(world, executor):
    """TR6: while siblings are awaited the loop goes on, and the deadline holds."""
    may_end = threading.Event()
    ticks = []

    class Stubborn(AsyncTask):
        def stop(self):
            pass

    async def tick():
        while True:
            ticks.append(time.monotonic())
            await pause(0.005)

    def thread_stuck():
        may_end.wait(30)

    async def stuck():
        await pause(30)

    async def main():
        stuck_task = (
            ThreadTask("stuck", thread_stuck)
            if executor == "threading"
            else Stubborn("stuck", stuck)
        )
        failing = FAILING["threaded" if executor == "threading" else "async"]("x")
        group = TaskGroup([stuck_task, failing], executor, stop_timeout=0.5)
        if world == "trio":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(tick)
                await leave_group(group)
                nursery.cancel_scope.cancel()
        else:
            ticker = asyncio.create_task(tick())
            await leave_group(group)
            ticker.cancel()
        return group

    async def leave_group(group):
        with pytest.raises(ValueError, match="it broke"):
            async with group:
                await pause(30)

    begin = time.monotonic()
    group = run_world(world, main)
    may_end.set()
    assert time.monotonic() - begin < 10
    assert group.outcomes[0].state in {"abandoned", "cancelled"}
    gaps = [after - before for before, after in zip(ticks, ticks[1:], strict=False)]
    assert len(ticks) > 20
    assert max(gaps) < 0.5


class WaitsForTheLoop:
    """Is told to stop, and ends only when the loop has gone on ticking after that."""

    def stop(self):
        self.asked.set()


class WaitingThread(WaitsForTheLoop, ThreadTask):
    def __init__(self):
        super().__init__("waits", lambda: self.released.wait(30))
        self.asked, self.released = threading.Event(), threading.Event()


class WaitingProcess(WaitsForTheLoop, ProcessTask):
    def __init__(self):
        self.asked, self.released = threading.Event(), CONTEXT.Event()
        super().__init__("waits", wait_for, (self.released,))


class WaitingCoroutine(WaitsForTheLoop, AsyncTask):
    def __init__(self):
        super().__init__("waits", self.wait)
        self.asked, self.released = threading.Event(), threading.Event()

    async def wait(self):
        while not self.released.is_set():
            await pause(0.001)


WAITING = {
    "threaded": WaitingThread,
    "multiprocess": WaitingProcess,
    "async": WaitingCoroutine,
}


def gaps_while_awaited(world, mode):
    """Return the gaps between ticks while a group begins, fails, and awaits a sibling."""
    gaps = []
    waiting = WAITING[mode]()

    async def tick():
        after = 0
        last = time.monotonic()
        while True:
            await pause(0)
            now = time.monotonic()
            gaps.append(now - last)
            last = now
            after += waiting.asked.is_set()
            if after == 200:  # while it is awaited, the loop is free
                waiting.released.set()

    async def leave_group():
        with pytest.raises(ValueError, match="it broke"):
            async with TaskGroup([waiting, FAILING[mode]("x")], mode):
                await pause(30)

    async def main():
        if world == "trio":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(tick)
                await leave_group()
                nursery.cancel_scope.cancel()
        else:
            ticker = asyncio.create_task(tick())
            await leave_group()
            ticker.cancel()

    run_world(world, main)
    assert waiting.released.is_set()
    assert waiting.outcome.state == "done"
    return gaps


@WORLDS
@ALL_MODES
def test_tr6_no_gap_above_50_ms(world, mode):
    """TR6: a sibling that needs the loop to go on gets it, and no gap is above 50 ms.

    What else the machine does can make a gap, and the best of some rounds tells of the group.
    """
    for _ in range(10):
        if max(gaps_while_awaited(world, mode)) < 0.05:
            return
    raise AssertionError("in each of ten rounds the loop was blocked for more than 50 ms")


# --- TR7 ------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["propagate", "log_only", "stop_all"])
def test_tr7_a_task_cancels_itself(policy):
    """TR7: a task that cancels itself is cancelled and no failure."""

    async def cancel():
        asyncio.current_task().cancel()
        await asyncio.sleep(0)

    task = AsyncTask("c", cancel)
    runner = Runner("async", [task, AsyncTask("d", nothing)], policy)
    runner.start()
    assert (task.outcome.state, task.failed) == ("cancelled", False)
    assert (runner.failed, runner.num_failed, runner.not_failed) == ([], 0, ["c", "d"])


async def nothing():
    return "nothing"


# --- TR8 ------------------------------------------------------------------------------------


async def aexit_now():
    raise SystemExit(4)


async def ainterrupt():
    raise KeyboardInterrupt


EXITING = {
    "threaded": lambda: ThreadTask("x", exit_now),
    "async": lambda: AsyncTask("x", aexit_now),
    "multiprocess": lambda: ProcessTask("x", exit_now),
}
INTERRUPTING = {
    "threaded": lambda: ThreadTask("x", interrupt),
    "async": lambda: AsyncTask("x", ainterrupt),
    "multiprocess": lambda: ProcessTask("x", interrupt),
}


@ALL_MODES
def test_tr8_system_exit_is_a_failure(mode):
    """TR8: SystemExit is that task's failure under every policy."""
    task = EXITING[mode]()
    runner = Runner(mode, [HEALTHY[mode]("a"), task], "log_only")
    runner.start(threaded=True)
    assert eventually(lambda: runner.num_failed == 1)
    assert runner.is_running
    assert task.outcome.state == "failed"
    runner.stop()

    Runner(mode, [HEALTHY[mode]("a"), EXITING[mode]()], "stop_all").start()
    with pytest.raises(SystemExit) as info:
        Runner(mode, [HEALTHY[mode]("a"), EXITING[mode]()]).start()
    assert info.value.code == 4


@ALL_MODES
@pytest.mark.parametrize("policy", ["propagate", "log_only", "stop_all"])
def test_tr8_keyboard_interrupt_stops_all(mode, policy):
    """TR8: KeyboardInterrupt in a body stops and awaits all, then it is raised."""
    task, other = INTERRUPTING[mode](), HEALTHY[mode]("a")
    runner = Runner(mode, [other, task], policy)
    with pytest.raises(KeyboardInterrupt):
        runner.start()
    assert other.future.done()
    assert (task.outcome.state, task.failed, runner.is_running) == ("cancelled", False, False)


@WORLDS
def test_tr8_in_a_running_loop(world):
    """TR8: SystemExit of a coroutine does not leave the loop that it shares with its group."""

    async def main():
        async with TaskGroup([AsyncTask("x", aexit_now)], "async", "log_only") as group:
            await pause(0)
        return group

    assert run_world(world, main).outcomes[0].state == "failed"


# --- TR9 ------------------------------------------------------------------------------------


class BadlyStopped(ThreadTask):
    def stop(self):
        super().stop()
        raise RuntimeError(f"cannot stop {self.name}")


def test_tr9_stop_raises():
    """TR9: when a stop raises, the others are told and awaited, and then the error leaves."""
    bad, good = BadlyStopped("bad"), ThreadTask("good")
    runner = Runner("threaded", [bad, good])
    runner.start(threaded=True)
    with pytest.raises(RuntimeError, match="cannot stop bad"):
        runner.stop()
    assert len(good.told) == 1
    assert good.future.done()
    runner.stop()


def test_tr9_several_stops_raise():
    """TR9: several errors leave as a group."""
    runner = Runner("threaded", [BadlyStopped("a"), ThreadTask("b"), BadlyStopped("c")])
    runner.start(threaded=True)
    with pytest.raises(ExceptionGroup) as info:
        runner.stop()
    assert [str(error) for error in info.value.exceptions] == ["cannot stop a", "cannot stop c"]


def test_tr9_when_a_policy_stops():
    """TR9: the error of a stop that a policy made leaves with the failure."""
    runner = Runner("threaded", [BadlyStopped("a"), ThreadTask("x", fail)])
    with pytest.raises(ExceptionGroup) as info:
        runner.start()
    assert [type(error) for error in info.value.exceptions] == [ValueError, RuntimeError]


# --- TR10 -----------------------------------------------------------------------------------


def test_tr10_all_failures_are_told():
    """TR10: what fails while it is being stopped is in the group too."""

    class FailsWhenStopped(ThreadTask):
        def start(self):
            self.stopping.wait(10)
            raise KeyError(self.name)

    with pytest.raises(ExceptionGroup) as info:
        ThreadExecutor(
            [FailsWhenStopped("a"), ThreadTask("x", fail), FailsWhenStopped("b")]
        ).start()
    assert [repr(error) for error in info.value.exceptions] == [
        "KeyError('a')",
        "ValueError('it broke')",
        "KeyError('b')",
    ]


# --- TR11, TR12, TR13 -----------------------------------------------------------------------


@ALL_MODES
def test_tr11_single_use(mode):
    """TR11: a second start is a RuntimeError that says what to do."""
    runner = Runner(mode, [FAILING[mode]("x")], "log_only")
    runner.start()
    for threaded in (False, True):
        with pytest.raises(RuntimeError, match="make a new one"):
            runner.start(threaded=threaded)


@WORLDS
def test_tr11_groups_too(world):
    """TR11: a group is entered once, in whichever way."""
    group = TaskGroup([], "threading")
    with group:
        pass
    with pytest.raises(RuntimeError, match="make a new one"), group:
        pass

    async def main():
        async with group:
            pass

    with pytest.raises(RuntimeError, match="make a new one"):
        run_world(world, main)


@ALL_MODES
def test_tr12_stop_before_start(mode):
    """TR12: a stop before the start is remembered."""
    task = HEALTHY[mode]("a")
    runner = Runner(mode, [task])
    runner.stop()
    runner.start()
    assert (task.future, task.told, runner.is_running, task.failed) == (None, [], False, False)
    runner.stop()


@ALL_MODES
def test_tr13_zero_tasks(mode):
    """TR13: without tasks everything is done at once."""
    for threaded in (False, True):
        runner = Runner(mode, [])
        runner.start(threaded=threaded)
        assert (runner.is_running, runner.num_failed, runner.failed) == (False, 0, [])
        runner.stop()


@WORLDS
@pytest.mark.parametrize(
    "executor", ["sequential", "threading", "multiprocessing", "threading_multiprocessing", "trio"]
)
def test_tr13_zero_tasks_in_groups(world, executor):
    """TR13: and so it is in a group, in every form."""
    with TaskGroup([], executor) as group:
        group.stop()
    assert group.outcomes == ()

    async def main():
        async with TaskGroup([], executor) as group:
            await group.astop()

    run_world(world, main)


# --- TR14, TR15, TR16 -----------------------------------------------------------------------


@ALL_MODES
def test_tr14_kept_runners_hold_nothing(mode):
    """TR14: runners that are kept hold no descriptor and no thread."""
    count = 50 if mode != "multiprocess" else 8

    def runner():
        made = Runner(mode, [HEALTHY[mode]("a")] if mode != "multiprocess" else [quick()])
        made.start(threaded=True)
        made.stop()
        return made

    kept = [runner()]
    files, threads = open_files(), threading.active_count()
    kept += [runner() for _ in range(count)]
    assert eventually(lambda: open_files() <= files)
    assert eventually(lambda: threading.active_count() <= threads)
    assert len(kept) == count + 1


def quick():
    return ProcessTask("quick", os.getpid)


@ALL_MODES
def test_tr15_stop_from_another_thread(mode):
    """TR15: stop from another thread returns when all has ended."""
    task = HEALTHY[mode]("a")
    runner = Runner(mode, [task])
    seen = []

    def stop():
        runner.stop()
        seen.append((task.future.done(), runner.is_running))

    stopper = threading.Thread(target=stop)
    runner.start(threaded=True)
    stopper.start()
    stopper.join(20)
    assert seen == [(True, False)]


@WORLDS
def test_tr15_stop_of_a_loops_group_from_another_thread(world):
    """TR15: so it is when the tasks run in a loop that somebody else runs."""
    seen = []

    async def main():
        entered, stopped = threading.Event(), threading.Event()

        def stop():
            entered.wait(10)
            group.stop()
            seen.append(group.outcomes[0].state)
            stopped.set()

        thread = threading.Thread(target=stop)
        thread.start()
        group = TaskGroup([AsyncTask("a")], "async")
        async with group:
            entered.set()
        await connectors._worlds.in_thread(thread.join)

    run_world(world, main)
    assert seen == ["cancelled"]


def test_tr16_daemon_threads_do_not_hold_up_the_exit():
    """TR16: with daemon=True the interpreter ends though a body runs on; without, it waits."""
    script = textwrap.dedent(
        """
        import sys, threading
        from connectors.tasks import AbstractExecutorTask, TaskGroup

        class Body(AbstractExecutorTask):
            def start(self):
                threading.Event().wait({seconds})
                print("ended", flush=True)
            def stop(self): pass
            def create_async_task(self, loop): pass

        group = TaskGroup([Body()], "threading", daemon={daemon})
        group.__enter__()
        group.stop(0)
        print(group.abandoned != [], flush=True)
        """
    )
    for daemon, seconds, said in ((True, 60, "True\n"), (False, 1, "True\nended\n")):
        done = subprocess.run(
            [sys.executable, "-c", script.format(daemon=daemon, seconds=seconds)],
            capture_output=True,
            text=True,
            timeout=50,
            check=True,
        )
        assert done.stdout == said
    assert "daemon=True" in Path(__file__).parents[1].joinpath("docs/tasks.md").read_text()


# --- TR17, TR18 -----------------------------------------------------------------------------


class CannotStart(ProcessTask):
    def start(self):
        raise OSError("no room")


class NoPair(ProcessTask):
    def start(self):
        return 17


class NoCoroutine(AsyncTask):
    def create_async_task(self, loop):
        raise OSError("no room")


BAD_STARTS = [
    ("multiprocess", lambda: CannotStart("x"), OSError, "no room"),
    ("multiprocess", lambda: NoPair("x"), TypeError, "task 'x' returned 17"),
    ("async", lambda: NoCoroutine("x"), OSError, "no room"),
]


@pytest.mark.parametrize(("mode", "make", "kind", "text"), BAD_STARTS)
def test_tr17_a_failing_start(mode, make, kind, text):
    """TR17: a start that fails goes through the policy as any failure does."""
    bad, good = make(), HEALTHY[mode]("a")
    runner = Runner(mode, [good, bad], "log_only")
    runner.start(threaded=True)
    assert (runner.is_running, runner.failed, bad.outcome.state) == (True, ["x"], "failed")
    runner.stop()

    good, late = HEALTHY[mode]("a"), HEALTHY[mode]("b")
    runner = Runner(mode, [good, make(), late])
    with pytest.raises(kind, match=text):
        runner.start()
    assert good.future.done()
    Runner(mode, [HEALTHY[mode]("a"), make()], "stop_all").start()


@ALL_MODES
@pytest.mark.parametrize("policy", ["propagate", "log_only", "stop_all"])
def test_tr18_one_record_for_a_failure(mode, policy, caplog):
    """TR18: a failure gives one error record, with its traceback and the task's id."""
    runner = Runner(mode, [FAILING[mode]("the-id")], policy)
    runner.start(threaded=True)
    try:
        runner.try_join_thread()
    except ValueError:
        assert policy == "propagate"
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert (record.levelname, record.task_id, record.name) == (
        "ERROR",
        "the-id",
        "connectors.tasks",
    )
    assert "the-id" in record.getMessage()
    assert isinstance(record.exc_info[1], ValueError)


def test_tr18_a_logger_of_ones_own(caplog):
    """TR18: the record goes to the logger, or adapter, that was given."""
    adapter = logging.LoggerAdapter(logging.getLogger("mine"), {})
    with TaskGroup([ThreadTask("x", fail)], "threading", "log_only", logger=adapter):
        pass
    assert [record.name for record in caplog.records] == ["mine"]


# --- TR19 to TR23 ---------------------------------------------------------------------------


def children_of(pid):
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            if int(stat.rpartition(")")[2].split()[1]) == pid:
                found.append(int(entry))
    return found


def test_tr19_processes_are_counted():
    """TR19: n process tasks make n workers below one service process."""
    tasks = [ProcessTask(str(i)) for i in range(4)]
    services = children_of(os.getpid())  # what starts them, and what has the semaphores
    before = {pid for service in services for pid in children_of(service)}
    with TaskGroup(tasks, "multiprocessing") as group:
        assert children_of(os.getpid()) == services
        now = {pid for service in services for pid in children_of(service)}
        assert len(now - before) == 4
        group.stop()


def test_tr20_no_hook():
    """TR20: a runner without `_make_tasks` cannot be made, and names are checked at once."""

    class Hookless(AbstractMultipleRunner):
        SUPPORTED_MODES = EXECUTORS

    with pytest.raises(TypeError, match="_make_tasks"):
        Hookless("threaded")
    with pytest.raises(ValueError, match="'thredded'.*threaded"):
        Runner("thredded", [])
    with pytest.raises(ValueError, match="'explode'.*stop_all, propagate, log_only"):
        Runner("threaded", [], "explode")
    with pytest.raises(ValueError, match="'explode'"):
        ThreadExecutor([], "explode")


def test_tr21_start_methods():
    """TR21: the start method can be chosen, and fork is refused."""
    for method in ("forkserver", "spawn"):
        context = multiprocessing.get_context(method)
        with TaskGroup(
            [ProcessTask("a", context=context)], "multiprocessing", start_method=method
        ) as group:
            group.stop()
        assert group.outcomes[0].value == "stopped"
    with pytest.raises(ValueError, match="fork"):
        TaskGroup([ProcessTask("a")], "multiprocessing", start_method="fork")


def test_tr21_context_of_another_start_method():
    """4.1: an event of the fork context is a TypeError that names the right context."""
    event = multiprocessing.get_context("fork").Event()
    task = ProcessTask("a", print, (event,))
    runner = Runner("multiprocess", [task])
    with pytest.raises(TypeError, match=r'args\[0\].*get_context\("forkserver"\)'):
        runner.start()


TASKS_OF = {
    "sequential": AsyncTask,
    "async": AsyncTask,
    "trio": AsyncTask,
    "threading": ThreadTask,
    "threaded": ThreadTask,
    "threading_multiprocessing": ThreadTask,
    "multiprocessing": ProcessTask,
    "multiprocess": ProcessTask,
}


@WORLDS
@pytest.mark.parametrize("executor", list(TASKS_OF))
def test_tr22_async_with(world, executor):
    """TR22: the async form works in both worlds with every executor."""
    kind = TASKS_OF[executor]

    async def main():
        async with TaskGroup([kind("a"), kind("b")], executor) as group:
            assert group.is_running
            await group.astop()
            assert not group.is_running
        return group

    group = run_world(world, main)
    expected = "cancelled" if kind is AsyncTask else "done"
    assert [outcome.state for outcome in group.outcomes] == [expected] * 2


def test_tr23_context_of_the_starter():
    """TR23: bodies in threads and loops see the starter's context variables."""
    seen = {}

    def body():
        seen["threaded"] = VARIABLE.get()

    async def abody():
        seen["async"] = VARIABLE.get()

    def starter():
        VARIABLE.set("starter")
        for mode, task in (("threaded", ThreadTask("a", body)), ("async", AsyncTask("a", abody))):
            runner = Runner(mode, [task])
            runner.start(threaded=True)
            runner.try_join_thread()

    contextvars.copy_context().run(starter)
    assert seen == {"threaded": "starter", "async": "starter"}


@WORLDS
def test_tr23_in_the_async_form(world):
    """TR23: and so it is in the async form, in the loop and in threads."""
    seen = []

    async def abody():
        seen.append(VARIABLE.get())

    async def main():
        VARIABLE.set("starter")
        async with TaskGroup([AsyncTask("a", abody)], "async"):
            pass
        async with TaskGroup([ThreadTask("a", lambda: seen.append(VARIABLE.get()))], "threading"):
            pass

    run_world(world, main)
    assert seen == ["starter", "starter"]


def test_async_executor_does_not_block_a_loop():
    """4.4: AsyncExecutor.start where a loop runs is an error that names the cure."""

    async def main():
        with pytest.raises(RuntimeError, match="async with connectors.tasks.TaskGroup"):
            AsyncExecutor([AsyncTask("a")]).start()

    asyncio.run(main())
    trio.run(main)


def test_stop_tells_in_order_in_the_callers_thread():
    """4.4: stop tells every task in order, in the thread that calls it, whoever is awake."""
    order = []

    class Noting(ThreadTask):
        def stop(self):
            order.append((self.name, threading.current_thread()))
            super().stop()

    names = [str(number) for number in range(10)]
    for _ in range(20):
        order.clear()
        with TaskGroup([Noting(name) for name in names], "threading") as group:
            group.stop()
        assert order == [(name, threading.current_thread()) for name in names]


def test_async_mode_threaded_in_a_loop():
    """4.4: a threaded start of the async mode works where a loop runs."""

    async def main():
        runner = Runner("async", [AsyncTask("a")])
        runner.start(threaded=True)
        assert runner.is_running
        runner.stop()

    asyncio.run(main())


def test_process_tasks_on_the_trio_executor():
    """2: the trio executor gets a process for each process task."""
    with TaskGroup([ProcessTask("a"), AsyncTask("b")], "trio") as group:
        assert group.is_running
        group.stop()
    assert [outcome.state for outcome in group.outcomes] == ["done", "cancelled"]


def test_names_are_normalised():
    """2: names and the older mode names compare as they do everywhere."""
    with TaskGroup([ThreadTask("a")], "Threaded") as group:
        group.stop()
    assert group.outcomes[0].value == "stopped"


def test_tr8_ctrl_c_in_a_blocking_start():
    """TR8: Ctrl-C in a blocking start stops and awaits all, then it is raised."""
    script = textwrap.dedent(
        """
        import os, signal, sys, threading
        sys.path.insert(0, {tests!r})
        from task_cases import Runner, ThreadTask

        class Task(ThreadTask):
            def start(self):
                os.kill(os.getpid(), signal.SIGINT)
                return super().start()

        task = Task("a")
        try:
            Runner("threaded", [task, ThreadTask("b")]).start()
        except KeyboardInterrupt:
            print(task.outcome.value)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script.format(tests=str(Path(__file__).parent))],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.stdout == "stopped\n", done.stderr
