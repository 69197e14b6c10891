"""`bg_run_proc` and `BgProcManager`: procedures that are queued and forgotten."""

import contextvars
import functools
import logging
import os
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import connectors
from background_watch import LONG, comes, no_collector, nothing_is_left  # noqa: F401
from connectors.background import BgInvoke, BgProcManager, bg_proc_manager, bg_run_proc

VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")
ROOM = "connectors.background"


@pytest.fixture
def manager():
    with BgProcManager() as manager:
        yield manager


class Furious:
    """A logger that raises whatever it is told."""

    def __init__(self, error):
        self.error = error

    def info(self, *args, **kwargs):
        raise self.error

    warning = info


def occupy(manager, number):
    """Let *number* procs run until the event that is returned is set."""
    go, both = threading.Event(), threading.Barrier(number + 1)

    def proc():
        both.wait(LONG)
        go.wait(LONG)

    for _ in range(number):
        manager.append_new_proc(proc)
    both.wait(LONG)
    return go


def test_b11_hundred_values():
    """B-11: all run; none is further from its place than there are CPUs."""
    values = []
    for value in range(100):
        assert bg_run_proc(values.append, value) is None
    bg_proc_manager.wait_until_empty(LONG)
    assert sorted(values) == list(range(100))
    cpus = connectors.available_cpus()
    assert max(abs(place - value) for place, value in enumerate(values)) <= cpus


def test_b11_in_order_with_one_cpu(monkeypatch):
    """B-11: with one CPU the list is in order."""
    monkeypatch.setenv("PYTHON_CPU_COUNT", "1")
    values = []
    with BgProcManager() as manager:
        for value in range(100):
            manager.append_new_proc(functools.partial(values.append, value))
    assert values == list(range(100))


def test_b11_a_failing_proc_is_logged(caplog):
    """B-11: a failure is one warning with its traceback, and later procs run."""
    values = []
    with caplog.at_level(logging.WARNING, ROOM):
        bg_run_proc(lambda: 1 / 0)
        bg_run_proc(values.append, 1)
        bg_proc_manager.wait_until_empty(LONG)
    assert values == [1]
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert isinstance(record.exc_info[1], ZeroDivisionError)


def test_b12_wait_until_empty(manager):
    """B-12: it returns only after all procs have ended, those that wait too."""
    ended = []
    go = occupy(manager, connectors.available_cpus())
    manager.append_new_proc(lambda: ended.append(1))
    waiting = BgInvoke(manager.wait_until_empty)
    assert not manager.is_deque_empty()
    assert not manager.is_no_running_threads()
    with pytest.raises(TimeoutError, match=r"run and 1 wait"):
        manager.wait_until_empty(0)
    assert waiting.is_running()
    go.set()
    waiting.thread.join(LONG)
    assert waiting.outcome.state == "done"
    assert ended == [1]
    assert manager.is_deque_empty()
    assert manager.is_no_running_threads()


def test_br17_never_early():
    """BR17: when it returns, everything that was queued before has ended."""
    with BgProcManager() as manager:
        ended = []
        for number in range(300):
            manager.append_new_proc(functools.partial(ended.append, number))
            manager.wait_until_empty(LONG)
            assert len(ended) == number + 1
            assert manager.is_no_running_threads()


def test_br17_soon_after_the_end(manager):
    """BR17: the end of the last proc is what wakes it."""
    best = LONG
    for _ in range(5):
        ends = []
        manager.append_new_proc(lambda ends=ends: time.sleep(0.05) or ends.append(time.monotonic()))
        manager.wait_until_empty(LONG)
        best = min(best, time.monotonic() - ends[0])
    assert best < 0.2


def test_br15_starts_at_once(manager):
    """BR15: what has a free slot waits for nothing."""
    best = LONG
    for _ in range(20):
        starts = []
        begin = time.monotonic()
        manager.append_new_proc(lambda starts=starts: starts.append(time.monotonic()))
        manager.wait_until_empty(LONG)
        best = min(best, starts[0] - begin)
    assert best < 0.05


@pytest.mark.parametrize("cpus", [1, 3])
def test_as_wide_as_the_cpus(monkeypatch, cpus):
    """As many procs run at once as this process may use CPUs, also when procs queue procs."""
    monkeypatch.setenv("PYTHON_CPU_COUNT", str(cpus))
    lock, now, most, left = threading.Lock(), [0], [0], [60]
    with BgProcManager() as manager:

        def proc():
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
                more, left[0] = left[0] > 0, left[0] - 1
            if more:
                manager.append_new_proc(proc)
                time.sleep(0.001)
            with lock:
                now[0] -= 1

        go = occupy(manager, cpus)
        for _ in range(2 * cpus):
            manager.append_new_proc(proc)
        assert manager._queue.running.__len__() == cpus
        go.set()
        manager.wait_until_empty(LONG)
        assert left[0] <= 0
        assert 1 <= most[0] <= cpus


@given(st.lists(st.sampled_from(["good", "bad", "exit", "nested"]), max_size=20))
@settings(deadline=None)
def test_br13_the_manager_survives_any_mixture(kinds):
    """BR13: whatever procs do, all run, and waiting for them ends."""
    ran = []
    with BgProcManager(Furious(OSError("full"))) as manager:

        def proc(kind):
            ran.append(kind)
            if kind == "bad":
                raise ValueError
            if kind == "exit":
                raise SystemExit
            if kind == "nested":
                manager.append_new_proc(lambda: ran.append("inner"))

        for kind in kinds:
            manager.append_new_proc(functools.partial(proc, kind))
        manager.wait_until_empty(LONG)
    assert sorted(ran) == sorted([*kinds, *["inner"] * kinds.count("nested")])


@pytest.mark.parametrize("error", [OSError(), SystemExit(), KeyboardInterrupt(), MemoryError()])
def test_br13_a_logger_that_raises(error):
    """BR13: later procs run, and wait_until_empty returns."""
    ran = []
    with BgProcManager(Furious(error)) as manager:
        for _ in range(5):
            manager.append_new_proc(lambda: 1 / 0)
        manager.append_new_proc(lambda: ran.append(1))
        manager.wait_until_empty(LONG)
    assert ran == [1]


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_br13_leaving_is_the_failure_of_that_proc(manager, kind, caplog):
    """BR13: it is logged, and the next one runs."""

    def leave():
        raise kind

    ran = []
    with caplog.at_level(logging.WARNING, ROOM):
        manager.append_new_proc(leave)
        manager.append_new_proc(lambda: ran.append(1))
        manager.wait_until_empty(LONG)
    assert ran == [1]
    assert kind.__name__ in caplog.text


def test_closing_stops_accepting_and_then_waits(caplog):
    """A closing manager warns and drops; close returns when everything has ended; it repeats."""
    manager = BgProcManager()
    ended = []
    go = occupy(manager, connectors.available_cpus())
    manager.append_new_proc(lambda: ended.append("accepted"))
    closing = BgInvoke(manager.close)
    assert comes(lambda: manager._queue.closed)
    with caplog.at_level(logging.WARNING, ROOM):
        manager.append_new_proc(lambda: ended.append("dropped"))
    assert "its BgProcManager is closed" in caplog.text
    assert closing.is_running()
    go.set()
    closing.thread.join(LONG)
    assert ended == ["accepted"]
    manager.close()
    assert "closed" in repr(manager)


def test_deletion_closes():
    """The last reference goes, and everything that was queued has run."""
    ended, before = [], set(threading.enumerate())
    with no_collector():
        manager = BgProcManager()
        for number in range(20):
            manager.append_new_proc(functools.partial(ended.append, number))
        del manager
        assert sorted(ended) == list(range(20))
        assert comes(lambda: not {*threading.enumerate()} - before)


def test_a_proc_may_close_or_drop_its_manager():
    """Who would wait for itself does not wait."""
    ended, gone = threading.Event(), threading.Event()
    managers = [BgProcManager()]

    def proc():
        with pytest.raises(RuntimeError, match="wait here for its own end"):
            managers[0].wait_until_empty()
        managers[0].close()
        managers.clear()
        gone.set()

    managers[0].append_new_proc(proc)
    assert gone.wait(LONG)
    manager = BgProcManager()
    manager.append_new_proc(proc=ended.set)
    manager.close()
    assert ended.is_set()


def test_a_finalizer_may_queue_procs(manager):
    """A proc that is queued amid the queueing of another one: the lock may be taken again."""
    ran = []

    class Last:
        def __del__(self):
            manager.append_new_proc(lambda: ran.append("finalizer"))

    with manager._queue.bell.lock:
        Last()
        manager.append_new_proc(lambda: ran.append("amid"))
    manager.wait_until_empty(LONG)
    assert sorted(ran) == ["amid", "finalizer"]


def test_br5_every_keyword_reaches_the_proc():
    """BR5: also those that have the names of our own parameters."""
    names, seen = dict.fromkeys(["proc", "self", "func", "logger", "args", "fn"], 1), []
    bg_run_proc(lambda *args, **kwargs: seen.append((args, kwargs)), 1, 2, **names)
    bg_proc_manager.wait_until_empty(LONG)
    assert seen == [((1, 2), names)]


def test_br20_the_context_of_the_caller():
    """BR20: a proc sees the context variables that held where it was queued."""
    seen = []
    for value in ("one", "two"):
        token = VARIABLE.set(value)
        bg_run_proc(lambda: seen.append((VARIABLE.get(), VARIABLE.set("changed"))[0]))
        VARIABLE.reset(token)
    bg_proc_manager.wait_until_empty(LONG)
    assert sorted(seen) == ["one", "two"]


def test_br19_any_logger(caplog):
    """BR19: a logger, an adapter, None; anything else is refused."""
    mine = logging.getLogger("mine")
    with caplog.at_level(logging.WARNING):
        for logger in (mine, logging.LoggerAdapter(mine, {}), None):
            with BgProcManager(logger) as manager:
                manager.append_new_proc(lambda: 1 / 0)
    assert [record.name for record in caplog.records] == ["mine", "mine", ROOM]
    with pytest.raises(TypeError, match="logger=3"):
        BgProcManager(3)
    with pytest.raises(ValueError, match="exit_timeout=-1"):
        BgProcManager(exit_timeout=-1)


@pytest.mark.parametrize("proc", [None, 3])
def test_what_cannot_be_called_is_refused(manager, proc):
    """It is told to who queues it."""
    with pytest.raises(TypeError, match="cannot be called"):
        manager.append_new_proc(proc)
    with pytest.raises(TypeError, match="bg_run_proc: .* cannot be called"):
        bg_run_proc(proc)


def test_without_a_thread_to_be_had_the_caller_runs_it(manager, monkeypatch):
    """What is queued where no thread can be started is not lost."""
    ran = []

    def refuse(self):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        manager.append_new_proc(lambda: ran.append(threading.current_thread()))
    assert ran == [threading.current_thread()]
    manager.append_new_proc(lambda: ran.append(1))
    manager.wait_until_empty(LONG)
    assert ran[1:] == [1]


def test_an_interrupted_queueing_blocks_nobody(manager, monkeypatch):
    """A proc that Ctrl-C left in the queue without a thread is run by who waits for the end."""
    ran = []
    with monkeypatch.context() as patch:
        patch.setattr(type(manager._queue), "_call_thread", lambda *_: None)
        manager.append_new_proc(lambda: ran.append(1))
    assert not manager.is_deque_empty()
    manager.wait_until_empty(LONG)
    assert ran == [1]


def test_procs_pass_the_one_door():
    """Observers hear of procs by their names."""
    with connectors.observe() as events:
        bg_run_proc(divmod, 7, 2)
        bg_proc_manager.wait_until_empty(LONG)
        assert comes(lambda: any(type(event).__name__ == "CallFinished" for event in events))
    assert "divmod" in {event.label for event in events if hasattr(event, "label")}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_br16_a_forked_child_starts_anew(manager):
    """BR16: the parent's procs do not run in the child, where new ones do."""
    ran = []
    go = occupy(manager, connectors.available_cpus())
    manager.append_new_proc(lambda: ran.append("parent's"))
    with manager._queue.bell.lock:  # as if another thread were amid something
        child = os.fork()
    if not child:
        empty = manager.is_deque_empty() and manager.is_no_running_threads()
        manager.append_new_proc(lambda: ran.append("child's"))
        manager.wait_until_empty(LONG)
        os._exit(0 if empty and ran == ["child's"] else 1)
    assert os.waitpid(child, 0)[1] == 0
    go.set()
    manager.wait_until_empty(LONG)
    assert ran == ["parent's"]
