"""The acceptance cases of `connectors.tasks`, and what its guide says beside the rules."""

import asyncio
import concurrent.futures
import logging
import os
import pickle
import threading

import pytest

import connectors
from connectors import PicklingError
from connectors.tasks import (
    AbstractExecutorTask,
    AbstractMultipleExecutor,
    AsyncExecutor,
    ExecutorExceptionPolicies,
    Outcome,
    TaskGroup,
    ThreadExecutor,
)
from task_bodies import fail
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

ALL_MODES = pytest.mark.parametrize("mode", MODES)


@pytest.fixture(autouse=True, scope="module")
def workers_stay():
    """What starts workers stays, which saves time."""
    with connectors.executor("multiprocessing", processes=1) as executor:
        executor.submit(int).result()
        yield


def done_with(value=None, error=None):
    future = concurrent.futures.Future()
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)
    return future


@pytest.mark.parametrize(
    ("future", "failed"),
    [
        (lambda: None, False),
        (concurrent.futures.Future, False),
        (lambda: done_with(3), False),
        (lambda: done_with(error=KeyboardInterrupt()), False),
        (lambda: done_with(error=ValueError()), True),
        (lambda: done_with(error=SystemExit()), True),
        (lambda: done_with(error=asyncio.CancelledError()), False),
    ],
)
def test_t1_failed(future, failed):
    """T-1: `failed` is read from the future."""
    task = ThreadTask()
    task.future = future()
    assert task.failed is failed


def test_t1_of_tasks_of_asyncio():
    """T-1: and from a task of asyncio."""

    async def main():
        task = ThreadTask()
        task.future = asyncio.get_running_loop().create_task(asyncio.sleep(30))
        assert not task.failed
        task.future.cancel()
        await asyncio.wait([task.future])
        assert not task.failed
        assert task.outcome.state == "cancelled"

    asyncio.run(main())


@ALL_MODES
def test_t2_two_healthy_tasks(mode):
    """T-2: they run after the start, and after the stop they do not."""
    runner = Runner(mode, [HEALTHY[mode]("a"), HEALTHY[mode]("b")])
    assert not runner.is_running
    runner.start(threaded=True)
    assert runner.is_running
    runner.stop()
    assert (runner.is_running, runner.num_failed) == (False, 0)


def three(mode):
    return [HEALTHY[mode]("a"), FAILING[mode]("failing", "the message"), HEALTHY[mode]("b")]


@ALL_MODES
def test_t3_propagate(mode):
    """T-3: a blocking start raises the failure with its message, and a stop succeeds."""
    runner = Runner(mode, three(mode))
    with pytest.raises(ValueError, match="the message"):
        runner.start()
    runner.stop()
    assert runner.failed == ["failing"]


@ALL_MODES
def test_t4_log_only(mode, caplog):
    """T-4: the others go on; the last error record names the task that failed."""
    runner = Runner(mode, three(mode), "log_only")
    runner.start(threaded=True)
    with pytest.raises(concurrent.futures.TimeoutError):
        runner._executor._supervision.join(0.3)
    assert runner.is_running
    records = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "failing" in records[-1].getMessage()
    runner.stop()
    assert not runner.is_running


@ALL_MODES
def test_t5_stop_all(mode, caplog):
    """T-5: all end, and nothing is raised."""
    runner = Runner(mode, three(mode), "stop_all")
    runner.start(threaded=True)
    runner.try_join_thread()
    assert not runner.is_running
    records = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "failing" in records[-1].getMessage()
    runner.stop()


def test_t11_errors():
    """T-11: unknown modes, process tasks in loops or threads, a join without a thread."""
    with pytest.raises(ValueError, match="'strange'"):
        Runner("strange", [])
    for mode in ("async", "threaded"):
        with pytest.raises(ValueError, match='executor="multiprocessing"'):
            Runner(mode, [ProcessTask("a")])
    for executor in ("async", "trio", "threading"):
        if executor != "trio":  # which can have processes
            with pytest.raises(ValueError, match='executor="multiprocessing"'):
                TaskGroup([ProcessTask("a")], executor)
    runner = Runner("threaded", [])
    with pytest.raises(ValueError, match="threaded=True"):
        runner.try_join_thread()
    with pytest.raises(ValueError, match="cannot run in an event loop"):
        ProcessTask("a").create_async_task(None)


@ALL_MODES
def test_t12_values(mode):
    """T-12: when all end by themselves start returns, and futures have the values."""

    async def value():
        return 3

    make = {
        "threaded": lambda: ThreadTask("a", lambda: 3),
        "async": lambda: AsyncTask("a", value),
        "multiprocess": lambda: ProcessTask("a", abs, (-3,)),
    }[mode]
    tasks = [make(), make()]
    runner = Runner(mode, tasks)
    assert runner.start() is None
    assert not runner.is_running
    assert [task.future.result() for task in tasks] == [3, 3]
    assert [task.outcome for task in tasks] == [Outcome("done", "a", 3)] * 2


def test_t13_policies():
    """T-13: a wrong policy is told at construction; a member and its name are alike."""
    with pytest.raises(ValueError, match="'stop_al'.*Did you mean 'stop_all'") as info:
        TaskGroup([], on_failure="stop_al")
    assert all(policy.name in str(info.value) for policy in ExecutorExceptionPolicies)
    for policy in ExecutorExceptionPolicies:
        assert policy.value == policy.name
        for given in (policy, policy.name):
            group = TaskGroup([ThreadTask("x", fail)], "threading", given)
            if policy is ExecutorExceptionPolicies.propagate:
                with pytest.raises(ValueError, match="it broke"), group:
                    pass
            else:
                with group:
                    pass
            assert group.failed == ["x"]
    for wrong in (None, 3):
        with pytest.raises(ValueError, match="stop_all, propagate, log_only"):
            TaskGroup([], on_failure=wrong)


@ALL_MODES
def test_t14_two_fail(mode):
    """T-14: two failures leave in a group, in the order of the tasks; one leaves as itself."""
    tasks = [HEALTHY[mode]("h"), *(FAILING[mode](name, name) for name in "ab")]
    with pytest.raises(ExceptionGroup) as info:
        Runner(mode, tasks).start()
    assert [str(error) for error in info.value.exceptions] == ["a", "b"]
    with pytest.raises(ValueError, match="alone"):
        Runner(mode, [FAILING[mode]("a", "alone")]).start()


# --- beside the cases -----------------------------------------------------------------------


def test_the_error_leaves_once():
    """4.4: an error leaves once, and `outcome.result` raises it every time."""
    with TaskGroup([ThreadTask("x", fail)], "threading") as group:
        with pytest.raises(ValueError, match="it broke"):
            group.join()
        group.join()
        group.stop()
    for _ in range(2):
        with pytest.raises(ValueError, match="it broke"):
            group.outcomes[0].result()


def test_join_past_its_timeout_stops_nothing():
    """4.3: `join` raises TimeoutError, names what runs, and stops nothing."""
    with TaskGroup([ThreadTask("a")], "threading") as group:
        with pytest.raises(TimeoutError, match=r"0\.01 s.*a"):
            group.join(0.01)
        assert group.is_running
        group.stop()


def test_leaving_by_an_exception():
    """4.3: leaving by an exception stops all first; failures leave with it in one group."""
    task = ThreadTask("a")
    with pytest.raises(KeyError), TaskGroup([task], "threading"):
        raise KeyError("body")
    assert task.future.done()

    group = TaskGroup([ThreadTask("x", fail), ThreadTask("a")], "threading")
    with pytest.raises(ExceptionGroup) as info, group:
        raise KeyError("body")
    assert [type(error) for error in info.value.exceptions] == [KeyError, ValueError]


def test_ctrl_c_in_the_block():
    """TR8: a KeyboardInterrupt in the block stops and awaits all, and leaves as itself."""
    task = ThreadTask("a")
    with pytest.raises(KeyboardInterrupt), TaskGroup([task], "threading"):
        raise KeyboardInterrupt
    assert task.outcome.value == "stopped"


def test_no_task_among_the_tasks():
    """4.3: what is no task is told at construction, with its place."""
    with pytest.raises(TypeError, match=r"tasks\[1\] is 3"):
        TaskGroup([ThreadTask(), 3])
    with pytest.raises(TypeError, match=r"tasks\[0\]"):
        ThreadExecutor([None])


def test_tasks_are_read_once():
    """4.3: the iterable is read at construction."""
    group = TaskGroup(iter([ThreadTask("a")]), "threading")
    with group:
        group.stop()
    assert len(group.outcomes) == 1


def test_too_few_slots():
    """2: an executor with fewer slots than tasks is refused, and both numbers are named."""
    with connectors.executor("threading", threads=1) as executor:
        with pytest.raises(ValueError, match=r"2 tasks.*threads=1"):
            TaskGroup([ThreadTask(), ThreadTask()], executor)
    with connectors.executor("multiprocessing", processes=1) as executor:
        with pytest.raises(ValueError, match=r"2 tasks.*processes=1"):
            TaskGroup([ProcessTask("a"), ProcessTask("b")], executor)
    with pytest.raises(ValueError, match=r"2 tasks.*threads=1"):
        TaskGroup([ThreadTask(), ThreadTask()], "threading", threads=1)


@pytest.mark.parametrize("name", ["threading", "sequential", "multiprocessing"])
def test_a_given_executor_is_left_open(name):
    """2: an executor that was given is used and left open."""
    kind = {"threading": ThreadTask, "sequential": AsyncTask, "multiprocessing": ProcessTask}[name]
    options = {"threading": {"threads": 2}, "multiprocessing": {"processes": 2}}.get(name, {})
    with connectors.executor(name, **options) as executor:
        for _ in range(2):
            with TaskGroup([kind("a"), kind("b")], executor) as group:
                assert group.is_running
                group.stop()
            assert not executor.closed
        assert executor.submit(abs, -1).result(20) == 1


def test_more_tasks_than_processors():
    """2: all bodies run at once, however many there are."""
    barrier = threading.Barrier(40)
    tasks = [ThreadTask(str(i), lambda: barrier.wait(20)) for i in range(40)]
    with TaskGroup(tasks, "threading") as group:
        pass
    assert sorted(outcome.value for outcome in group.outcomes) == list(range(40))


def test_a_list_and_nothing(registry):
    """4.3: of a list the first that opens is taken; without a name it is the configured one."""
    for executor in (["nowhere", "threaded"], None):
        with TaskGroup([ThreadTask(str(i)) for i in range(9)], executor) as group:
            assert group.is_running
            group.stop()
        assert group.num_failed == 0
    with connectors.using("multiprocessing"):
        group = TaskGroup([ProcessTask("a")])
    with group:
        group.stop()
    assert group.outcomes[0].value == "stopped"


def test_mixed_tasks():
    """2: where there are threads and processes each task runs where it belongs."""
    tasks = [ThreadTask("thread", os.getpid), ProcessTask("process", os.getpid)]
    with TaskGroup(tasks, "threading_multiprocessing") as group:
        pass
    here, there = (outcome.value for outcome in group.outcomes)
    assert here == os.getpid() != there


def test_what_multiprocessing_makes_reaches_the_child():
    """4.1: events, queues, pipe ends and values of the right context reach the child."""
    queue, event = CONTEXT.Queue(), CONTEXT.Event()
    ours, theirs = CONTEXT.Pipe()
    counter = CONTEXT.Value("i", 1)
    task = ProcessTask("a", exchange, (queue, event, theirs, counter))
    with TaskGroup([task], "multiprocessing"):
        assert queue.get(timeout=20) == "from the child"
        ours.send("to the child")
        assert ours.recv() == "to the child, and back"
        event.set()
    assert counter.value == 2
    for each in (queue, ours, theirs):
        each.close()
    queue.join_thread()


def exchange(queue, event, connection, counter):
    queue.put("from the child")
    connection.send(connection.recv() + ", and back")
    event.wait(20)
    counter.value += 1


def test_a_pipe_ends_when_the_child_does():
    """4.1: we keep no copy of a pipe end that went to a child."""
    ours, theirs = CONTEXT.Pipe()
    with TaskGroup([ProcessTask("a", len, ([theirs],))], "multiprocessing"):
        theirs.close()
        with pytest.raises(EOFError):
            ours.recv()
    ours.close()


def test_what_cannot_travel():
    """4.1: a body that cannot travel is that task's failure, which names the part at fault."""
    task, other = ProcessTask("a", print, (threading.Lock(),)), ProcessTask("b")
    runner = Runner("multiprocess", [task, other], "log_only")
    runner.start(threaded=True)
    assert runner.failed == ["a"]
    assert isinstance(task.outcome.error, PicklingError)
    assert "args[0]" in str(task.outcome.error)
    runner.stop()


def test_a_body_may_be_a_method():
    """4.1: a method of the task travels, although the task holds a future."""

    class Method(ProcessTask):
        def start(self):
            return self.body, ()

        def body(self):
            return self.name, self.future

    task = Method("a", print)
    Runner("multiprocess", [task]).start()
    assert task.outcome.value == ("a", None)
    assert pickle.loads(pickle.dumps(done_task())).future is None


def done_task():
    task = Plain()
    task.future = done_with(3)
    return task


class Plain(AbstractExecutorTask):
    def start(self):
        return 3

    def stop(self):
        pass

    def create_async_task(self, loop):
        return 17 if loop is None else asyncio.ensure_future(asyncio.sleep(0), loop=loop)


def test_ids():
    """4.1: the id is the object's identity unless it is overridden."""
    task = Plain()
    assert task.id == id(task)
    assert task.outcome == Outcome("pending", id(task))


def test_what_create_async_task_returns():
    """4.1: what is no task of the loop, or no awaitable under trio, is that task's failure."""
    other_loop = asyncio.new_event_loop()

    class Foreign(Plain):
        def create_async_task(self, loop):
            return other_loop.create_future()

    class Nothing(Plain):
        def create_async_task(self, loop):
            return None

    class Asyncio(Plain):
        def create_async_task(self, loop):
            return other_loop.create_future()

    for task, executor, text in (
        (Foreign(), "async", "another loop"),
        (Nothing(), "async", "returned None"),
        (Plain(), "trio", "returned 17"),
        (Asyncio(), "trio", "trio cannot run"),
    ):
        with pytest.raises(TypeError, match=text), TaskGroup([task], executor):
            pass
    other_loop.close()


def test_an_executor_of_ones_own():
    """4.4: the hooks are enough for another kind of multiple executor."""

    class Own(AbstractMultipleExecutor):
        def _set_executor_pool(self):
            self.pool = concurrent.futures.ThreadPoolExecutor(len(self._tasks))

        def _start_task(self, task):
            return self.pool.submit(task.start)

        def _close_pool(self, *, wait, kill):
            self.pool.shutdown(wait=wait)

    own = Own([ThreadTask("a", lambda: 3), ThreadTask("b", lambda: 4)])
    own.start()
    assert [task.future.result() for task in own.not_failed_tasks] == [3, 4]
    own = Own([ThreadTask("a"), ThreadTask("x", fail)])
    with pytest.raises(ValueError, match="it broke"):
        own.start()
    assert [task.id for task in own.failed_tasks] == ["x"]


def test_stop_from_a_body():
    """TR3: a task may stop its own group; then nobody waits for himself."""
    groups, entered = [], threading.Event()

    def body():
        entered.wait(10)
        groups[0].stop()
        return "stopped all"

    group = TaskGroup([ThreadTask("a", body), ThreadTask("b")], "threading")
    groups.append(group)
    with group:
        entered.set()
    assert [outcome.value for outcome in group.outcomes] == ["stopped all", "stopped"]


def test_the_policy_stops_from_the_supervising_thread():
    """4.1: stop is called in the thread that called stop, under a policy in the supervising one."""
    task = ThreadTask("a")
    with TaskGroup([task], "threading") as group:
        group.stop()
    assert task.told == [threading.current_thread()]
    task = ThreadTask("a")
    with TaskGroup([task, ThreadTask("x", fail)], "threading", "stop_all"):
        pass
    assert task.told != [threading.current_thread()]


def test_older_names():
    """1: every name of the spec is there."""
    assert set(connectors.tasks.__all__) == {
        "AbstractExecutorTask",
        "AbstractMultipleExecutor",
        "AbstractMultipleRunner",
        "AbstractMultiprocessExecutorTask",
        "AsyncExecutor",
        "ExecutorExceptionPolicies",
        "Outcome",
        "OutcomeState",
        "ProcessExecutor",
        "TaskAwaitable",
        "TaskGroup",
        "ThreadExecutor",
    }
    assert connectors.tasks.Outcome is connectors.Outcome
    assert {kind.__module__ for kind in (TaskGroup, AsyncExecutor)} == {"connectors.tasks"}
    assert set(EXECUTORS) == {"threaded", "async", "multiprocess"}
