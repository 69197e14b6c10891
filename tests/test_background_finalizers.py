"""What the garbage collector finds of the background, in any thread and amid anything."""

import contextlib
import functools
import gc
import logging
import threading
import weakref

import pytest

import connectors
from background_watch import LONG, comes, no_collector, nothing_is_left  # noqa: F401
from connectors import _discovery
from connectors.background import BgInvoke, BgProcManager, BgThread
from connectors.background import _manager as manager_module
from connectors.background._manager import _Queue


@contextlib.contextmanager
def collecting_in(monkeypatch, owner, name):
    """Let the collector strike where *name* of *owner* is called, and at no other time."""
    original = getattr(owner, name)

    def collect(*args, **kwargs):
        gc.collect()
        return original(*args, **kwargs)

    with no_collector(), monkeypatch.context() as patch:
        patch.setattr(owner, name, collect)
        yield


def cycle(made):
    """Return *made*, which only the collector finds when it is dropped."""
    made.itself = made
    return made


class Last:
    """What only the collector finds; *last* is called then."""

    def __init__(self, last):
        cycle(self)
        weakref.finalize(self, last).atexit = False


def apart(work):
    """Do *work* in a thread of its own; tell whether it returns."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(LONG)
    return not thread.is_alive()


def test_a_collected_manager_holds_up_no_thread():
    """The collector strikes a thread that has the lock for which a procedure waits."""
    lock, go, ended = threading.Lock(), threading.Event(), []

    def proc(number):
        go.wait(LONG)
        with lock:
            ended.append(number)

    def strike():
        with lock:
            go.set()
            gc.collect()

    before = set(threading.enumerate())
    with no_collector():
        manager = cycle(BgProcManager())
        for number in range(5):
            manager.append_new_proc(functools.partial(proc, number))
        queue = weakref.ref(manager._queue)
        del manager
        assert apart(strike)
        assert comes(lambda: len(ended) == 5)
    assert comes(lambda: queue() is None), "what has ended is let go of"
    assert comes(lambda: not {*threading.enumerate()} - before)


def test_a_collected_manager_that_is_idle_lets_go_of_its_threads():
    """Nothing has to be waited for, and nothing is left."""
    before = set(threading.enumerate())
    with no_collector():
        manager = cycle(BgProcManager())
        manager.append_new_proc(int)
        manager.wait_until_empty(LONG)
        del manager
        gc.collect()
    assert comes(lambda: not {*threading.enumerate()} - before)


def test_a_collected_manager_loses_no_procedure(monkeypatch):
    """A procedure that Ctrl-C left in the queue without a thread runs."""
    ran = threading.Event()
    with no_collector():
        manager = cycle(BgProcManager())
        with monkeypatch.context() as patch:
            patch.setattr(_Queue, "_call_thread", lambda *_: None)
            manager.append_new_proc(ran.set)
        del manager
        gc.collect()
        assert ran.wait(LONG)


def test_a_manager_may_be_collected_by_its_own_thread(monkeypatch):
    """Its thread finds it between two procedures, with the lock of the queue."""
    own, go, rest, ended = [], threading.Event(), threading.Event(), []

    def first():
        own.append(threading.get_ident())
        go.wait(LONG)

    def strike(queue):
        if own == [threading.get_ident()]:
            own.clear()
            gc.collect()
        return is_empty(queue)

    is_empty = _Queue.is_empty
    with no_collector(), monkeypatch.context() as patch:
        patch.setattr(_Queue, "is_empty", strike)
        manager = cycle(BgProcManager())
        manager.append_new_proc(first)
        for number in range(9):
            manager.append_new_proc(lambda n=number: rest.wait(LONG) and ended.append(n))
        assert comes(lambda: own)
        gone = weakref.ref(manager)
        del manager
        go.set()
        assert comes(lambda: gone() is None)
        rest.set()
        assert comes(lambda: len(ended) == 9)


@pytest.mark.parametrize("cpus", [1, 2])
def test_a_procedure_may_be_the_last_that_has_its_manager(monkeypatch, cpus):
    """Its thread drops the manager, and runs the procedures that wait for a thread."""
    monkeypatch.setenv("PYTHON_CPU_COUNT", str(cpus))
    go, ended, before = threading.Event(), [], set(threading.enumerate())

    def proc(manager, number):
        go.wait(LONG)
        ended.append(number)

    with no_collector():
        manager = BgProcManager()
        manager.append_new_proc(functools.partial(proc, manager, 0))
        for number in range(1, 4):
            manager.append_new_proc(functools.partial(proc, None, number))
        del manager
        go.set()
        assert comes(lambda: sorted(ended) == [0, 1, 2, 3])
    assert comes(lambda: not {*threading.enumerate()} - before)


def test_a_manager_that_a_finalizer_uses_first_is_no_wider(monkeypatch):
    """A finalizer queues a procedure amid that of the first one: there is one set of threads."""
    monkeypatch.setenv("PYTHON_CPU_COUNT", "1")
    ran, before = [], set(threading.enumerate())
    go = threading.Event()
    with BgProcManager() as manager:
        with collecting_in(monkeypatch, manager_module, "daemons"):
            Last(lambda: manager.append_new_proc(lambda: ran.append(go.wait(LONG))))
            assert apart(lambda: manager.append_new_proc(lambda: ran.append(go.wait(LONG))))
            assert len({*threading.enumerate()} - before) == 1
        go.set()
    assert ran == [True, True]


def test_a_finalizer_may_be_the_first_to_need_executors(monkeypatch):
    """The collector strikes while the installed executors are looked for."""
    invokes = []
    with collecting_in(monkeypatch, _discovery, "_look"):
        monkeypatch.setattr(_discovery, "_scanned", None)
        Last(lambda: invokes.append(BgInvoke(abs, -1)))
        assert apart(lambda: invokes.append(BgInvoke(abs, -2)))
    for invoke in invokes:
        invoke.thread.join(LONG)
    assert sorted(invoke.result for invoke in invokes) == [1, 2]


def test_a_bg_thread_may_be_collected_amid_observing(monkeypatch, caplog):
    """Its end is an event; an observer that raises at it is removed, also amid another change."""

    def refuse(event):
        raise ValueError(event)

    class Observers(tuple):
        """Collects when it is read, as the change of it does."""

        __slots__ = ()

        def __iter__(self):
            gc.collect()
            return super().__iter__()

    with no_collector(), caplog.at_level(logging.CRITICAL, "connectors"):
        bg = cycle(BgThread(abs))
        monkeypatch.setattr(connectors.events, "_observers", Observers((refuse,)))
        del bg
        assert apart(lambda: connectors.observe(abs))


def test_a_collected_bg_thread_runs_what_it_accepted():
    """Its calls run and its thread ends, whoever finds it."""
    go, before = threading.Event(), set(threading.enumerate())
    with no_collector():
        bg = cycle(BgThread(lambda value: go.wait(LONG) and value))
        futures = [bg.invoke(1), bg.invoke(2)]
        del bg
        assert apart(gc.collect)
        go.set()
        assert [future.result(LONG) for future in futures] == [1, 2]
    assert comes(lambda: not {*threading.enumerate()} - before)
