"""What `ProcessPool` promises to callbacks, finalizers, forks and changed surroundings."""

import os
import sys
import threading

import pytest

import process_calls as calls
from connectors.pools import ProcessPool, _process
from connectors.pools._process._crew import Crew

pytestmark = pytest.mark.timeout(60)
PACKAGE = os.path.dirname(_process.__file__)
PATIENCE = 20


@pytest.fixture
def single():
    with ProcessPool(1) as pool:
        yield pool


def amid(place, action, operation, *args):
    """Call *operation*, and *action* at its bytecode number *place*, as a finalizer may run there.

    Return what the operation returns and whether it got so far.
    """
    passed = 0

    def enter(frame, event, _):
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        return look

    def look(frame, event, _):
        nonlocal passed
        passed += event == "opcode"
        if passed == place:
            passed += 1
            sys.settrace(None)
            action()
        return look

    sys.settrace(enter)
    try:
        return operation(*args), passed >= place
    finally:
        sys.settrace(None)


def everywhere(step=1):
    """Return an endless range of places."""
    return range(1, 1_000_000, step)


@pytest.mark.parametrize("operation", ["submit", "cancel", "shutdown"])
def test_callbacks_of_other_calls(operation, tmp_path):
    """Neither submit nor cancel nor shutdown runs a callback of another call in its thread."""
    gate, threads, over = tmp_path / "gate", set(), threading.Event()
    busy, free = threading.Event(), threading.Event()
    with ProcessPool(1) as pool:
        first = pool.submit(calls.sleep, 0.05)
        first.add_done_callback(lambda _: (busy.set(), free.wait(PATIENCE)))
        assert busy.wait(PATIENCE)  # the thread that reads is held up
        pool.submit(calls.wait_for, gate)
        waiting = [pool.submit(calls.add, number) for number in range(300)]
        for future in waiting:
            future.add_done_callback(lambda _: threads.add(threading.current_thread()))
        waiting[-1].add_done_callback(lambda _: over.set())
        last = pool.submit(calls.add, 1)
        gate.touch()
        if operation == "shutdown":
            pool.shutdown(wait=False, cancel_futures=True)
        free.set()
        while operation == "submit" and not over.is_set():
            pool.submit(calls.add, 1)
        while operation == "cancel" and not over.is_set():
            last.cancel()

        assert over.wait(PATIENCE)
    assert threading.current_thread() not in threads


@pytest.mark.parametrize("kill", [False, True])
def test_finalizers_that_cancel(kill, tmp_path):
    """A finalizer or a signal handler may cancel a call wherever it comes in between."""
    with ProcessPool(2, kill_on_cancel=kill) as pool:
        for place in everywhere(17 if kill else 3):
            gate = tmp_path / str(place)
            blockers = [pool.submit(calls.wait_for, gate) for _ in range(1 if kill else 2)]
            victim = pool.submit(calls.wait_for, gate, 1)
            own, hit = amid(place, victim.cancel, pool.submit, calls.add, 2)
            gate.touch()

            assert 2 == own.result(PATIENCE), place
            assert [None] * len(blockers) == [future.result(PATIENCE) for future in blockers]
            assert victim.cancelled() or victim.exception(PATIENCE) is None
            if not hit:
                break
    assert place > 100


def test_finalizers_that_shut_down():
    """A finalizer may shut a pool down wherever it comes in between: what it took is done."""
    for place in everywhere(29):
        pool = ProcessPool(1)
        pool.submit(calls.add, 1).result(PATIENCE)
        (future, hit) = amid(place, lambda: pool.shutdown(wait=True), submit, pool)  # noqa: B023

        assert future is None or 2 == future.result(PATIENCE), place
        pool.close()
        if not hit:
            break
    assert place > 100


def submit(pool):
    try:
        return pool.submit(calls.add, 2)
    except RuntimeError:
        return None  # it was closed just before


def test_finalizers_that_submit(single):
    """A finalizer may submit a call wherever it comes in between, but not wait for one."""
    refused, inner = 0, []

    def act():
        inner.append(single.submit(calls.add, 1))
        try:
            assert inner[-1].result(PATIENCE) == 1
        except RuntimeError as error:
            nonlocal refused
            refused += "would never end" in str(error)

    for place in everywhere(5):
        own, hit = amid(place, act, single.submit, calls.add, 2)

        assert 2 == own.result(PATIENCE), place
        assert [1] * len(inner) == [future.result(PATIENCE) for future in inner]
        if not hit:
            break
    assert refused > 10


def test_finalizers_in_the_thread_that_reads(single, monkeypatch):
    """A finalizer may cancel, submit and shut down also amid what the thread that reads does."""
    heed, late = Crew.heed, []

    def heed_amid_finalizers(crew, worker, frame):
        monkeypatch.setattr(Crew, "heed", heed)
        assert not waiting.cancel()
        late.append(single.submit(calls.add, 2))
        single.shutdown()
        heed(crew, worker, frame)

    single.submit(calls.add, 1).result()
    running = single.submit(calls.sleep, 0.1, 0)
    waiting = single.submit(calls.add, 1)
    monkeypatch.setattr(Crew, "heed", heed_amid_finalizers)

    assert running.result(PATIENCE) == 0
    assert waiting.cancelled() or waiting.result(PATIENCE) == 1
    assert [2] == [future.result(PATIENCE) for future in late]
