"""What users of `connectors.tasks` do that nobody expects: each once hung, lied or leaked."""

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from connectors.tasks import (
    AbstractMultipleExecutor,
    AbstractMultipleRunner,
    TaskGroup,
    ThreadExecutor,
)
from connectors.tasks._engine import Engine
from task_bodies import fail
from task_cases import AsyncTask, Runner, ThreadTask


def within(function, seconds=10.0):
    """Return what *function* does in a thread, or fail if that takes too long."""
    found = []

    def run():
        try:
            found.append((function(), None))
        except BaseException as error:
            found.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "it hangs"
    value, error = found[0]
    if error is not None:
        raise error
    return value


def states(group):
    return [outcome.state.value for outcome in group.outcomes]


# --- stop and join from where they would wait for themselves ----------------------------------


class Recursive(ThreadTask):
    """Stops its whole group when it is told to stop."""

    def stop(self):
        super().stop()
        self.group.stop()


def test_tr3_a_stop_that_stops_the_group():
    """TR3: `stop` of a task may call `stop` of its group."""
    first = Recursive("a")
    first.group = TaskGroup([first, ThreadTask("b")], "threading")

    def run():
        with first.group as group:
            group.stop()

    within(run)
    assert states(first.group) == ["done", "done"]


def test_tr3_a_stop_that_stops_the_group_by_a_policy():
    """TR3: so it is when the policy tells the tasks."""
    first = Recursive("a")
    first.group = TaskGroup(
        [first, ThreadTask("b"), ThreadTask("x", fail)], "threading", "stop_all"
    )

    def run():
        with first.group:
            pass

    within(run)
    assert states(first.group) == ["done", "done", "failed"]


@pytest.mark.parametrize("mode", ["threaded", "async"])
def test_tr3_stop_when_one_has_ended(mode):
    """TR3: a callback of a task's future may stop the group."""
    make = {"threaded": ThreadTask, "async": AsyncTask}[mode]
    first, second = make("a"), make("b")
    runner = Runner(mode, [first, second])

    def run():
        runner.start(threaded=True)
        first.future.add_done_callback(lambda _: runner.stop())
        first.stop()
        runner.try_join_thread()

    within(run)
    assert second.future.done()


def test_join_from_a_task_of_the_group():
    """A task that waits for its own group is told, as a thread that joins itself is."""
    task = ThreadTask("a")
    group = TaskGroup([task], "threading", "log_only")
    task.body = group.join

    def run():
        with group:
            pass

    within(run)
    error = group.outcomes[0].error
    assert isinstance(error, RuntimeError)
    assert "task of the group" in str(error)


def test_join_in_the_loop_of_the_group():
    """`join` in the loop that the group runs in would block it for ever, and names `ajoin`."""

    async def main():
        async with TaskGroup([ThreadTask("a")], "threading") as group:
            with pytest.raises(RuntimeError, match="await ajoin"):
                group.join()
            await group.astop()

    within(lambda: asyncio.run(main()))


# --- errors of users at odd places ------------------------------------------------------------


def test_tr17_an_id_that_raises():
    """TR17: a task whose `id` raises fails, and is not waited for."""

    class Nameless(ThreadTask):
        @property
        def id(self):
            raise OSError("no name")

    good = ThreadTask("b")
    group = TaskGroup([Nameless(), good], "threading")

    def run():
        with group:
            pass

    with pytest.raises(OSError, match="no name"):
        within(run)
    assert good.future.done()


def test_tr18_a_handler_that_raises():
    """TR18: a handler of the logger that raises stops nobody from applying the policy."""

    class Broken(logging.Handler):
        def emit(self, record):
            raise OSError("the disk is full")

    logger = logging.getLogger(f"mine.{os.urandom(4).hex()}")
    logger.addHandler(Broken())
    good = ThreadTask("a")
    group = TaskGroup([good, ThreadTask("x", fail)], "threading", "stop_all", logger=logger)

    def run():
        with group:
            pass

    with pytest.raises(OSError, match="the disk is full"):
        within(run)
    assert good.future.done()
    assert states(group) == ["done", "failed"]


def test_tr18_a_handler_that_raises_at_the_end():
    """TR18, TR14: the executor is closed though the warning of abandoned tasks cannot be logged."""

    class Broken(logging.Handler):
        def emit(self, record):
            raise OSError("the disk is full")

    logger = logging.getLogger(f"mine.{os.urandom(4).hex()}")
    logger.addHandler(Broken())
    may_end = threading.Event()
    group = TaskGroup([ThreadTask("stuck", may_end.wait)], "threading", logger=logger)

    def run():
        with group:
            group.stop(0)

    with pytest.raises(OSError, match="the disk is full"):
        within(run)
    with pytest.raises(RuntimeError, match="closed"):
        group._launcher.executor.submit(int)
    may_end.set()


def test_tr18_no_report_is_lost(monkeypatch):
    """TR18: whether all is over, and reported, is never asked between two steps of the answer."""
    group = TaskGroup([ThreadTask("x", fail)], "threading", "log_only")
    quiet, asked = Engine.quiet.fget, []

    def watched(engine):
        asked.append(group._supervision._lock._is_owned())
        return quiet(engine)

    monkeypatch.setattr(Engine, "quiet", property(watched))
    with group:
        pass
    assert asked
    assert all(asked)


class Custom(AbstractMultipleExecutor):
    """An executor of a user, whose hooks do what they are told."""

    def __init__(self, tasks, policy="propagate", opening=int, starting=int):
        super().__init__(tasks, policy)
        self.opening, self.starting = opening, starting

    def _set_executor_pool(self):
        self.opening()

    def _start_task(self, task):
        return self.starting()


def test_tr17_a_hook_that_returns_no_future():
    """TR17: `_start_task` that returns no future is a failure of its task."""
    executor = Custom([ThreadTask("a")], starting=lambda: None)
    with pytest.raises(TypeError, match=r"_start_task.* 'a' returned None.* future"):
        within(executor.start)
    assert executor.num_failed == 1


def test_tr17_a_future_of_a_closed_loop():
    """TR17: so is a future of a loop that is closed, which would never tell."""
    loop = asyncio.new_event_loop()
    future = loop.create_future()
    loop.close()
    executor = Custom([ThreadTask("a")], starting=lambda: future)
    with pytest.raises(RuntimeError, match="closed"):
        within(executor.start)


def test_tr17_what_does_not_open_is_opened_once():
    """TR17: an executor that does not open is tried once, and its one error leaves as itself."""
    tries = []

    def refuse():
        tries.append(1)
        raise OSError("no pool today")

    executor = Custom([ThreadTask("a"), ThreadTask("b")], opening=refuse)
    with pytest.raises(OSError, match="no pool today"):
        within(executor.start)
    assert len(tries) == 1
    assert executor.num_failed == 2


def test_tr18_adapters_with_an_extra_of_their_own():
    """TR18: the record has the id of the task, whatever the adapter adds."""
    records = []

    class Kept(logging.Handler):
        def emit(self, record):
            records.append(record)

    logger = logging.getLogger(f"mine.{os.urandom(4).hex()}")
    logger.addHandler(Kept())
    inner = logging.LoggerAdapter(logger, {"place": "here"})
    for adapter in (inner, logging.LoggerAdapter(logger), logging.LoggerAdapter(inner, {"a": 1})):
        with TaskGroup([ThreadTask("x", fail)], "threading", "log_only", logger=adapter):
            pass
    assert [record.task_id for record in records] == ["x"] * 3
    assert [getattr(record, "place", None) for record in records] == ["here", None, "here"]
    assert all(record.exc_info for record in records)


# --- a task that runs again -------------------------------------------------------------------


def test_a_task_in_a_second_group():
    """What a task tells of an earlier group is forgotten when it is started again."""
    task = ThreadTask("a", int)
    with TaskGroup([task], "threading"):
        pass
    assert task.outcome.state == "done"
    task.body = None
    with TaskGroup([task], "threading") as group:
        assert task.outcome.state == "running"
        with pytest.raises(TimeoutError, match="still run: a"):
            group.join(0)
        group.stop()
    assert task.outcome.value == "stopped"


def test_tr12_a_task_that_is_not_started_again():
    """TR12: neither has it run when its second group was stopped before the start."""
    task = ThreadTask("a", int)
    with TaskGroup([task], "threading"):
        pass
    second = TaskGroup([task], "threading")
    second.stop()
    with second:
        pass
    assert (task.outcome.state, task.future) == ("cancelled", None)


# --- waiting ----------------------------------------------------------------------------------


def test_tr14_looking_often_leaves_nothing():
    """TR14: who asks again and again whether all is over leaves nothing behind."""
    with TaskGroup([ThreadTask("a")], "threading") as group:
        before = len(group._supervision._watchers)
        for _ in range(20):
            with contextlib.suppress(TimeoutError):
                group.join(0)
        assert len(group._supervision._watchers) <= before + 1
        group.stop()

    async def main():
        async with TaskGroup([ThreadTask("a")], "threading") as group:
            for _ in range(20):
                with contextlib.suppress(TimeoutError):
                    await group.ajoin(0.0001)
            assert len(group._supervision._watchers) <= 2
            await group.astop()

    asyncio.run(main())


@pytest.mark.parametrize("seconds", ["5", True, float("nan"), -1])
def test_a_limit_that_is_none(seconds):
    """What is no number of seconds is refused at construction."""
    with pytest.raises(ValueError, match=r"TaskGroup: stop_timeout=.*expected seconds"):
        TaskGroup([], "threading", stop_timeout=seconds)


@pytest.mark.parametrize("seconds", ["5", float("nan")])
def test_a_limit_of_a_call_that_is_none(seconds):
    """`stop` and `join` refuse it too, before they do anything."""
    task = ThreadTask("a")
    with TaskGroup([task], "threading") as group:
        for method in (group.stop, group.join):
            with pytest.raises(ValueError, match=r"timeout=.*expected seconds"):
                method(seconds)
        for method in (group.astop, group.ajoin):
            with pytest.raises(ValueError, match=r"timeout=.*expected seconds"):
                asyncio.run(method(seconds))
        assert task.told == []
        group.stop()


@pytest.mark.parametrize("seconds", [float("inf"), 1e15])
def test_a_limit_beyond_all_clocks(seconds):
    """An endless limit is none."""
    task = ThreadTask("a")
    with TaskGroup([task], "threading", stop_timeout=seconds) as group:
        threading.Timer(0.05, task.stop).start()
        group.join(seconds)
        group.stop(seconds)
    assert states(group) == ["done"]


def test_a_limit_that_is_over():
    """A limit that was computed, and is over, counts as 0."""
    may_end = threading.Event()
    with TaskGroup([ThreadTask("a", may_end.wait)], "threading") as group:
        with pytest.raises(TimeoutError):
            group.join(-1)
        group.stop(-1)
    assert states(group) == ["abandoned"]
    may_end.set()


# --- signals ----------------------------------------------------------------------------------

SCRIPT = """
import os, signal, sys, threading
from task_cases import Runner, ThreadTask
from connectors.tasks import TaskGroup

signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))


class Task(ThreadTask):
    def start(self):
        # In the main thread it is waited for the end by now, or will be.
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
        return super().start()


task = Task("a")
try:
    {what}
except SystemExit as error:
    print(error.code, task.outcome.state, len(task.told), flush=True)
os._exit(0)
"""


@pytest.mark.parametrize(
    "what",
    [
        "Runner('threaded', [task]).start()",
        "TaskGroup([task], 'threading').__enter__().__exit__(None, None, None)",
    ],
)
def test_a_signal_handler_that_raises(what):
    """`SystemExit` of a handler leaves a block, or a blocking start, after all were stopped."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT).format(what=what)],
        cwd=os.path.dirname(__file__),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.stdout == "7 done 1\n", done.stderr


def test_a_second_ctrl_c_while_a_task_is_told():
    """A Ctrl-C that comes while a task's `stop` blocks is the second one: it ends the waiting."""
    both, may_end = threading.Barrier(2), threading.Event()
    main = threading.main_thread().ident

    class Other(ThreadTask):
        def start(self):
            both.wait(10)
            return super().start()

    class Slow(ThreadTask):
        def start(self):
            both.wait(10)
            signal.pthread_kill(main, signal.SIGINT)
            may_end.wait(30)

        def stop(self):
            signal.pthread_kill(main, signal.SIGINT)
            threading.Event().wait(30)

    group = TaskGroup([Slow("slow"), Other("b")], "threading")
    with pytest.raises(KeyboardInterrupt), group:
        pass
    assert states(group)[0] == "abandoned"
    assert group._tasks[1].told
    may_end.set()


def test_tr9_a_stop_that_raises_after_ctrl_c(caplog):
    """TR9: after Ctrl-C that is raised; what the `stop` of a task raised is logged."""

    class Broken(ThreadTask):
        def stop(self):
            super().stop()
            raise OSError("the line is dead")

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ThreadExecutor([Broken("broken"), ThreadTask("x", interrupt)]).start()
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert record.task_id == "broken"
    assert isinstance(record.exc_info[1], OSError)


def test_tr9_the_error_says_whose_it_is():
    """TR9: an error of a task's `stop` has a note that names the task."""

    class Broken(ThreadTask):
        def stop(self):
            super().stop()
            raise OSError("the line is dead")

    with (
        pytest.raises(OSError, match="the line is dead") as caught,
        TaskGroup([Broken("broken")], "threading") as group,
    ):
        group.stop()
    assert caught.value.__notes__ == ["while task broken was told to stop"]


# --- mistakes of a beginner -------------------------------------------------------------------


@pytest.mark.parametrize("tasks", [ThreadTask("a"), None, 3])
def test_one_task_for_many(tasks):
    """What is no iterable of tasks is told with the cure."""
    with pytest.raises(TypeError, match=r"tasks is .*give a list of tasks"):
        TaskGroup(tasks, "threading")


def test_tr20_make_tasks_that_returns_nothing():
    """TR20: a `_make_tasks` that forgets its return is told by name."""

    class Forgetful(AbstractMultipleRunner):
        SUPPORTED_MODES = {"threaded": ThreadExecutor}

        def _make_tasks(self): ...

    with pytest.raises(TypeError, match=r"Forgetful\._make_tasks\(\) returned None"):
        Forgetful("threaded")


def test_t11_a_mode_that_is_no_text():
    """T-11: a mode that cannot be a mode at all is a `ValueError` too."""
    with pytest.raises(ValueError, match=r"no mode \['threaded'\]"):
        Runner(["threaded"], [])


def test_a_logger_that_is_none():
    """What is no logger is refused at construction, not at the first failure."""
    with pytest.raises(TypeError, match=r"logger is 'mine'"):
        TaskGroup([], "threading", logger="mine")


FORKED = """
import os
import signal
from connectors.tasks import TaskGroup
from task_cases import ThreadTask

task = ThreadTask("a")
with TaskGroup([task], "threading") as group:
    child = os.fork()
    if not child:
        signal.alarm(15)  # no orphan, if it hangs
        try:
            {way}
        finally:
            os._exit(len(task.told))
    print("the child left with", os.waitpid(child, 0)[1], flush=True)
    group.stop()
print(task.outcome.value)
"""


@pytest.mark.parametrize(
    "way", ["group.__exit__(None, None, None)", "group.stop()", "group.join()"]
)
def test_a_forked_child(way):
    """A child that is forked in a block leaves it at once, and stops no task of its parent."""
    script = FORKED.format(way=way)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=os.path.dirname(__file__),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.stdout == "the child left with 0\nstopped\n", done.stderr
