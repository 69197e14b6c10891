"""`ThreadPool`, `InlinePool` and `TrioThreadPool`."""

import concurrent.futures
import contextlib
import contextvars
import gc
import os
import subprocess
import sys
import threading
import weakref

import pytest

from connectors.pools import InlinePool, ThreadPool, TrioThreadPool, _threads

LONG = 30
VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")


@pytest.fixture
def pool():
    with ThreadPool(2) as pool:
        yield pool


def test_a_call_returns_its_result(pool):
    """A future gives what the function returned or raised."""
    assert pool.submit(pow, 2, exp=3).result() == 8
    with pytest.raises(ZeroDivisionError):
        pool.submit(lambda: 1 / 0).result()


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_leaving_ends_the_call_only(pool, kind):
    """A call that raises what ends a program ends itself, and its thread goes on."""

    def leave():
        raise kind

    with pytest.raises(kind):
        pool.submit(leave).result()
    assert pool.submit(abs, -1).result() == 1


def test_no_more_calls_run_than_there_are_threads(pool):
    """With two threads, two calls run and the third waits."""
    gate, both = threading.Event(), threading.Barrier(3)

    def wait():
        both.wait()
        gate.wait()

    running = [pool.submit(wait) for _ in range(2)]
    waiting = pool.submit(abs, -1)
    both.wait()

    assert all(future.running() for future in running)
    assert not waiting.running()
    assert waiting.cancel()
    gate.set()
    with pytest.raises(concurrent.futures.CancelledError):
        waiting.result()


def test_threads_are_started_when_needed_and_kept():
    """One call after another needs one thread."""
    with ThreadPool(4) as pool:
        idents = set()
        for _ in range(20):
            done = threading.Event()
            future = pool.submit(threading.get_ident)
            future.add_done_callback(lambda _, done=done: done.set())
            done.wait()
            idents.add(future.result())
        assert len(idents) <= 2  # a result may come a moment before its thread is free


def test_the_threads_of_a_pool_are_told():
    """There are none before the first call; then those that run calls, until the end."""
    pool = ThreadPool(2)
    assert pool.threads == ()
    assert pool.submit(threading.current_thread).result() in pool.threads
    (thread,) = pool.threads
    pool.shutdown()
    assert not thread.is_alive()
    assert pool.threads == ()


@pytest.mark.parametrize("starts", [False, True])
def test_an_interrupted_start_of_a_thread_costs_no_slot(starts, monkeypatch):
    """Whether or not the thread has started: the next call has one, and no more than one runs."""
    with ThreadPool(1) as pool:
        start, made = threading.Thread.start, []

        def interrupted(thread):
            made.append(thread)
            if starts:
                start(thread)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", interrupted)
            with pytest.raises(KeyboardInterrupt):
                pool.submit(abs, -1)
        assert pool.threads == ()
        assert pool.submit(abs, -2).result() == 2
        assert len(pool.threads) == 1
        if starts:
            made[0].join(LONG)
            assert not made[0].is_alive()


def test_a_call_sees_the_context_of_its_submitter(pool):
    """Each call has a copy of the context variables that held where it was submitted."""
    token = VARIABLE.set("mine")
    future = pool.submit(lambda: (VARIABLE.get(), VARIABLE.set("changed")))
    VARIABLE.reset(token)

    assert future.result()[0] == "mine"
    assert pool.submit(VARIABLE.get).result() == "unset"


@pytest.mark.parametrize("depth", [1, 3, 30])
def test_nested_calls_never_starve(depth):
    """A call that waits for calls that it submitted gets them, to any depth, on one thread."""
    with ThreadPool(1) as pool:

        def nest(left):
            return left and pool.submit(nest, left - 1).result() + 1

        assert pool.submit(nest, depth).result() == depth


def test_nested_calls_run_beside_their_submitter():
    """A call may wait for what a nested call does, not only for its end."""
    with ThreadPool(1) as pool:
        event = threading.Event()

        def outer():
            future = pool.submit(event.set)
            event.wait()
            return future.result()

        assert pool.submit(outer).result() is None


def test_the_pool_shrinks_to_its_size_after_nested_calls():
    """The threads that nested calls needed end with them."""
    with ThreadPool(1, thread_name_prefix="shrinking") as pool:

        def nest(left):
            return left and pool.submit(nest, left - 1).result()

        pool.submit(nest, 20).result()
        # Each further call lets at most one surplus thread go on waiting.
        for _ in range(40):
            pool.submit(abs, 1).result()
        gate = threading.Event()
        running = [pool.submit(gate.wait) for _ in range(3)]
        waits = threading.Event()
        running[-1].add_done_callback(lambda _: waits.set())
        assert not running[-1].running()
        gate.set()
        assert waits.wait(LONG)


def test_what_outlives_a_call_is_not_nested():
    """A context that was copied in a call that has ended does not let the pool grow."""
    with ThreadPool(1) as pool:
        context = pool.submit(contextvars.copy_context).result()
        gate, runs = threading.Event(), threading.Event()

        def wait():
            runs.set()
            gate.wait()

        blocker = pool.submit(wait)
        runs.wait()
        late = context.run(pool.submit, abs, -1)
        assert not late.done()
        assert not late.running()
        gate.set()
        assert late.result() == 1
        blocker.result()


def test_shutdown_drains():
    """Calls that wait when the pool is shut down are done first."""
    pool = ThreadPool(1)
    futures = [pool.submit(abs, -number) for number in range(50)]
    pool.shutdown()

    assert [future.result() for future in futures] == list(range(50))
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(abs, 1)
    pool.shutdown()


def test_shutdown_cancels_what_has_not_begun():
    """With ``cancel_futures`` only the running call is done."""
    pool = ThreadPool(1)
    gate, runs = threading.Event(), threading.Event()

    def wait():
        runs.set()
        return gate.wait()

    running, waiting = pool.submit(wait), pool.submit(abs, 1)
    submitted_again = []
    waiting.add_done_callback(lambda _: submitted_again.append(pytest.raises(RuntimeError)))
    runs.wait()
    pool.shutdown(wait=False, cancel_futures=True)
    gate.set()
    pool.shutdown()

    assert running.result()
    assert waiting.cancelled()
    assert submitted_again


def test_an_idle_pool_holds_no_value():
    """Neither arguments nor results nor tracebacks are kept when a call is done."""

    class Value:
        def fail(self):
            raise ValueError(self)

    gc.disable()
    try:
        with ThreadPool(1) as pool:
            value = Value()
            gone = weakref.ref(value)
            pool.submit(lambda item: None, value).result()
            future = pool.submit(value.fail)
            assert isinstance(future.exception(), ValueError)
            pool.submit(abs, 1).result()
            del value, future
            assert gone() is None
    finally:
        gc.enable()


def test_a_forgotten_pool_ends_its_threads():
    """A pool that is garbage leaves no thread behind."""
    pool = ThreadPool(2, thread_name_prefix="lost-pool")
    pool.submit(abs, 1).result()
    (thread,) = (thread for thread in threading.enumerate() if "lost-pool" in thread.name)
    del pool
    gc.collect()
    thread.join(LONG)

    assert not thread.is_alive()


@pytest.mark.parametrize(("daemon", "printed"), [(False, "done\n"), (True, "")])
def test_the_interpreter_waits_unless_the_pool_is_a_daemon(daemon, printed):
    """At the end of a program running calls are finished; those of a daemon pool are not."""
    program = (
        "import threading, sys\n"
        "from connectors.pools import ThreadPool\n"
        f"pool = ThreadPool(1, daemon={daemon})\n"
        "runs, main = threading.Event(), threading.main_thread()\n"
        "def call():\n"
        "    runs.set()\n"
        "    if sys.argv[1] == 'True': threading.Event().wait()\n"
        "    main.join()\n"
        "    print('done')\n"
        "pool.submit(call)\n"
        "runs.wait()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(daemon)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert done.stdout == printed
    assert not done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_has_a_pool_of_its_own(pool):
    """After a fork the child's pool starts new threads and does not wait for the parent's."""
    pool.submit(abs, 1).result()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if pool.submit(abs, -7).result(LONG) == 7 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("kind", [ThreadPool, TrioThreadPool])
@pytest.mark.parametrize("threads", [0, -1])
def test_a_pool_without_threads_is_refused(kind, threads):
    """The number of threads is named."""
    with pytest.raises(ValueError, match=f"threads={threads}"):
        kind(threads)


def test_inline_runs_where_it_is_submitted():
    """An inline call is done when its future is there."""
    with InlinePool() as pool:
        assert pool.submit(threading.get_ident).result() == threading.get_ident()
        assert isinstance(pool.submit(lambda: 1 / 0).exception(0), ZeroDivisionError)


def test_inline_lets_an_interrupt_through():
    """Ctrl-C in an inline call is meant for the caller."""

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        InlinePool().submit(interrupt)


def test_trio_threads_serve_plain_code():
    """A trio thread pool is a pool as any other for those who know no trio."""
    with TrioThreadPool(2) as pool:
        assert pool.submit(pow, 2, 3).result() == 8
        assert isinstance(pool.submit(lambda: 1 / 0).exception(), ZeroDivisionError)
        gate, both = threading.Event(), threading.Barrier(3)
        running = [pool.submit(lambda: (both.wait(), gate.wait())) for _ in range(2)]
        both.wait()
        waiting = pool.submit(abs, 1)
        assert all(future.running() for future in running)
        assert waiting.cancel()
        gate.set()
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(abs, 1)


def test_trio_threads_cancel_what_waits():
    """``cancel_futures`` cancels what has not begun."""
    pool = TrioThreadPool(1)
    gate, runs = threading.Event(), threading.Event()
    running = pool.submit(lambda: (runs.set(), gate.wait()))
    runs.wait()
    waiting = pool.submit(abs, 1)
    pool.shutdown(wait=False, cancel_futures=True)
    gate.set()

    assert waiting.cancelled()
    assert running.result()


class Cycle:
    """What only the collector finds; *last* is called then."""

    def __init__(self, last):
        self.itself = self
        weakref.finalize(self, last).atexit = False


@contextlib.contextmanager
def collecting_at(monkeypatch, name):
    """Let the collector strike where the pool calls its function *name*, and at no other time."""
    original = getattr(_threads, name)
    gc.collect()
    gc.disable()

    def collect(*args, **kwargs):
        gc.collect()
        return original(*args, **kwargs)

    try:
        with monkeypatch.context() as patch:
            patch.setattr(_threads, name, collect)
            yield
    finally:
        gc.enable()


def done_apart(work):
    """Do *work* in a thread of its own; tell whether it returns."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(LONG)
    return not thread.is_alive()


@pytest.mark.parametrize("name", ["_mark_submitter", "_count_freed", "_staff", "_start_thread"])
def test_a_finalizer_may_submit_amid_a_submission(monkeypatch, name):
    """The collector may strike where a thread has the lock of the pool, which stays as wide."""
    pool, ran, gate = ThreadPool(1), [], threading.Event()

    with collecting_at(monkeypatch, name):
        Cycle(lambda: pool.submit(ran.append, "late"))
        assert done_apart(lambda: pool.submit(gate.wait))
        assert len(pool.threads) == 1
    gate.set()
    assert done_apart(lambda: pool.submit(abs, -1).result())
    pool.shutdown()
    assert ran == ["late"]


def test_a_finalizer_may_shut_down_amid_a_submission(monkeypatch):
    """The call that was accepted runs, and then the thread ends."""
    for name in ("_staff", "_start_thread"):
        pool = ThreadPool(1)
        futures = []
        with collecting_at(monkeypatch, name):
            Cycle(lambda pool=pool: pool.shutdown(wait=False))
            assert done_apart(lambda: futures.append(pool.submit(abs, -1)))
        assert futures[0].result(LONG) == 1
        assert done_apart(pool.shutdown)


def test_a_pool_may_be_collected_by_its_own_thread(monkeypatch):
    """The last thread that counts itself under the lock may be the one that finds the pool."""
    box = [ThreadPool(1)]
    box[0].itself = box[0]  # only the collector finds it
    state, gone = box[0]._state, weakref.ref(box[0])
    inner, gate = threading.Event(), threading.Event()

    def outer():
        box[0].submit(inner.set)
        inner.wait(LONG)
        gate.wait(LONG)

    with collecting_at(monkeypatch, "_count_freed"):
        future = box[0].submit(outer)
        assert inner.wait(LONG)
        box.clear()
        gate.set()
        future.result(LONG)
        threads = list(state.threads)
        for thread in threads:
            thread.join(LONG)
        assert not any(thread.is_alive() for thread in threads)
        assert gone() is None


def test_the_threads_may_change_while_they_are_looked_at():
    """A thread that begins meanwhile, in a finalizer for instance, is no error."""
    pool, ended = ThreadPool(1), threading.Thread(target=int)
    ended.start()
    ended.join()

    class Changing(set):
        def __iter__(self):
            for each in super().__iter__():
                pool._state.threads.add(ended)
                yield each

    pool.submit(int).result(LONG)
    pool._state.threads = Changing(pool._state.threads)
    assert len(pool.threads) == 1
    pool._state.threads.discard(ended)
    pool.shutdown()
