"""`BgThread`: one function, many calls, one thread."""

import concurrent.futures
import contextvars
import os
import threading
import time
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

import connectors
from background_watch import LONG, Landmark, comes, no_collector, nothing_is_left  # noqa: F401
from connectors.background import BgException, BgInvoke, BgThread, OutcomeState

VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")


class Gated:
    """A function whose calls wait until they may go on."""

    def __init__(self):
        self.begun = []
        self.begins = threading.Semaphore(0)
        self.goes = threading.Semaphore(0)
        self.threads = set()

    def __call__(self, value=None, **kwargs):
        self.threads.add(threading.current_thread())
        self.begun.append(value)
        self.begins.release()
        assert self.goes.acquire(timeout=LONG)
        if isinstance(value, BaseException):
            raise value
        return value

    def go(self, times=1):
        self.goes.release(times)

    def has_begun(self):
        assert self.begins.acquire(timeout=LONG)


@pytest.fixture
def gated():
    return Gated()


def blocked(bg):
    """How many invokers of *bg* wait for room."""
    return len(bg._line.invokers)


def reading(bg):
    """How many readers of *bg* wait for a call."""
    return len(bg._line.readers)


def test_b3_alternating_rounds():
    """B-3: invoke and result, with other arguments, 300 times; all on one daemon thread."""
    seen = set()

    def double(value):
        seen.add(threading.current_thread())
        return 2 * value

    with BgThread(double) as bg:
        for value in range(300):
            bg.invoke(value)
            assert bg.result == 2 * value
        (thread,) = seen
        assert thread.daemon
    assert not thread.is_alive()


def test_b4_a_failing_call():
    """B-4: its error arrives as BgException, the future has the original; the next call is fine."""
    with BgThread(lambda value: 1 / value) as bg:
        future = bg.invoke(0)
        with pytest.raises(BgException, match="ZeroDivisionError") as info:
            bg.result
        assert isinstance(info.value.__cause__, ZeroDivisionError)
        assert future.exception() is info.value.__cause__
        assert future.outcome.state is info.value.outcome.state is OutcomeState.failed
        bg.invoke(2)
        assert bg.result == 0.5


def test_b5_after_close():
    """B-5: invoke and result raise RuntimeError, although a result was unread; close repeats."""
    bg = BgThread(abs)
    future = bg.invoke(-1)
    bg.close()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="closed; make a new one"):
            bg.invoke(1)
        with pytest.raises(RuntimeError, match="closed"):
            bg.result
        bg.close()
        bg.close(cancel=True)
    assert future.result(LONG) == 1
    assert "closed" in repr(bg)


def test_one_waits_and_the_third_blocks(gated):
    """While one call runs and one waits, invoke blocks until the first has ended."""
    with BgThread(gated) as bg:
        bg.invoke(0)
        bg.invoke(1)
        third = BgInvoke(bg.invoke, 2)
        gated.has_begun()
        assert comes(lambda: blocked(bg) == 1)
        assert third.is_running()
        gated.go()
        third.thread.join(LONG)
        gated.has_begun()
        assert not third.is_running()
        assert third.result.outcome.state is OutcomeState.pending
        gated.go(2)
        assert [bg.result, bg.result, bg.result] == [0, 1, 2]
    assert gated.begun == [0, 1, 2]
    assert len(gated.threads) == 1


def test_three_calls_of_half_a_second_block_0_0_and_half_a_second():
    """The figures of the specification, with room for a slow machine."""
    with BgThread(time.sleep) as bg:
        blocks = []
        for _ in range(3):
            begin = time.monotonic()
            bg.invoke(0.5)
            blocks.append(time.monotonic() - begin)
    assert blocks[0] < 0.4
    assert blocks[1] < 0.4
    assert 0.1 < blocks[2] < 5


def test_blocked_invokers_are_served_in_order(gated):
    """Who came first is let in first."""
    with BgThread(gated) as bg:
        bg.invoke(0)
        bg.invoke(1)
        for value in range(2, 8):
            BgInvoke(bg.invoke, value)
            assert comes(lambda value=value: blocked(bg) == value - 1)
        gated.go(8)
        assert [bg.result for _ in range(8)] == list(range(8))


def test_br6_running_right_after_invoke(gated):
    """BR6: is_running is True right after invoke, 300 of 300 times, and False at the end."""
    with BgThread(gated) as bg:
        for _ in range(300):
            future = bg.invoke()
            assert bg.is_running()
            gated.go()
            future.result(LONG)
            assert not bg.is_running()


def test_br7_no_result_is_lost_or_mixed_up(gated):
    """BR7: two calls then two reads; a future has its own call's value whatever was read."""
    with BgThread(gated) as bg:
        first, second = bg.invoke("a"), bg.invoke("b")
        gated.go(2)
        assert second.result(LONG) == "b"
        assert [bg.result, bg.result] == ["a", "b"]
        assert first.result() == "a"


@given(st.lists(st.sampled_from(["invoke", "read"]), max_size=30))
def test_br7_any_order_of_calls_and_reads(steps):
    """BR7: reads give the values of the calls in order, whatever the order of the two is."""
    with BgThread(abs) as bg:
        made, read, futures = 0, 0, []
        for step in steps:
            if step == "invoke":
                futures.append(bg.invoke(-made))
                made += 1
            elif read < made:
                assert bg.result == read
                read += 1
        assert [future.result(LONG) for future in futures] == list(range(made))


def test_result_waits_for_a_later_invoke(gated):
    """Without any call, result waits for one; several readers are served in order."""
    with BgThread(gated) as bg:
        readers = []
        for number in range(3):
            readers.append(BgInvoke(lambda: bg.result))
            assert comes(lambda number=number: reading(bg) == number + 1)
        gated.go(3)
        for value in "abc":
            bg.invoke(value)
        for reader in readers:
            reader.thread.join(LONG)
        assert [reader.result for reader in readers] == ["a", "b", "c"]


def test_br8_invoke_and_close_at_once_runs_the_call():
    """BR8: 50 of 50 times the call runs and its future has the result."""
    ran = []
    for value in range(50):
        bg = BgThread(ran.append)
        future = bg.invoke(value)
        bg.close()
        assert future.outcome.state is OutcomeState.done
    assert ran == list(range(50))


def test_br8_close_with_cancel_drops_what_waits(gated):
    """BR8: the waiting call is cancelled, the running one ends."""
    bg = BgThread(gated)
    running, waiting = bg.invoke("runs"), bg.invoke("waits")
    gated.has_begun()
    closing = BgInvoke(bg.close, cancel=True)
    done, _ = concurrent.futures.wait([waiting], LONG)
    assert done == {waiting}
    assert waiting.outcome.state is OutcomeState.cancelled
    with pytest.raises(concurrent.futures.CancelledError):
        waiting.result()
    assert closing.is_running()
    assert running.outcome.state is OutcomeState.running
    gated.go()
    closing.thread.join(LONG)
    assert running.result() == "runs"
    assert gated.begun == ["runs"]


def test_br9_close_wakes_everybody(gated):
    """BR9: blocked invokers and readers without a coming result get RuntimeError at once."""
    bg = BgThread(gated)
    readers = [BgInvoke(lambda: bg.result)]
    assert comes(lambda: reading(bg) == 1)
    bg.invoke("a")
    readers.append(BgInvoke(lambda: bg.result))
    assert comes(lambda: reading(bg) == 1)
    bg.invoke("b")
    gated.has_begun()
    invokers = [BgInvoke(bg.invoke, "never") for _ in range(3)]
    assert comes(lambda: blocked(bg) == 3)
    without = [BgInvoke(lambda: bg.result) for _ in range(3)]
    assert comes(lambda: reading(bg) == 3)
    closing = BgInvoke(bg.close)

    for invoke in invokers + without:  # while the call still runs
        invoke.thread.join(LONG)
        with pytest.raises(BgException, match="closed") as info:
            invoke.result
        assert isinstance(info.value.__cause__, RuntimeError)
    assert closing.is_running()
    assert [reader.is_running() for reader in readers] == [True, True]
    gated.go(2)
    for invoke in [closing, *readers]:
        invoke.thread.join(LONG)
    assert [reader.result for reader in readers] == ["a", "b"]
    assert gated.begun == ["a", "b"]


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_br10_leaving_is_the_failure_of_that_call(kind):
    """BR10: the thread stays usable, is_running is right, close returns."""

    def leave(value):
        if value is None:
            raise kind
        return value

    bg = BgThread(leave)
    future = bg.invoke(None)
    with pytest.raises(BgException) as info:
        bg.result
    assert isinstance(info.value.__cause__, kind)
    assert isinstance(future.exception(), kind)
    assert not bg.is_running()
    bg.invoke(1)
    assert bg.result == 1
    bg.close()


def test_br11_dropped_objects_leave_no_thread():
    """BR11: 50 dropped objects leave no thread, without the collector's help."""
    before = set(threading.enumerate())
    with no_collector():
        for value in range(50):
            bg = BgThread(abs)
            bg.invoke(value)
            if value % 2:
                bg.invoke(value)
                bg.result
        del bg
        assert comes(lambda: not {*threading.enumerate()} - before, 10)


def test_br11_a_dropped_object_still_runs_what_it_accepted(gated):
    """BR11: its futures have results, and then the thread ends."""
    bg = BgThread(gated)
    futures = [bg.invoke("a"), bg.invoke("b")]
    gated.has_begun()
    (thread,) = gated.threads
    del bg
    gated.go(2)
    assert [future.result(LONG) for future in futures] == ["a", "b"]
    thread.join(LONG)
    assert not thread.is_alive()


def test_br12_close_returns_when_the_call_has_ended(gated):
    """BR12: nothing is between the end of the call and the end of close but the thread's end."""
    bg = BgThread(time.sleep)
    bg.invoke(0.3)
    begin = time.monotonic()
    bg.close()
    assert time.monotonic() - begin < 3
    assert not bg.is_running()


def test_past_its_timeout_close_abandons(gated):
    """A call that does not end is abandoned; so is the one that waits, and it never runs."""
    bg = BgThread(gated)
    runs, waits = bg.invoke("runs"), bg.invoke("waits")
    gated.has_begun()
    reader = BgInvoke(lambda: bg.result)
    assert comes(lambda: not bg._line.unread or len(bg._line.unread) == 1)
    with pytest.raises(TimeoutError, match="abandoned"):
        bg.close(timeout=0)
    assert [f.outcome.state for f in (runs, waits)] == [OutcomeState.abandoned] * 2
    assert not bg.is_running()
    bg.close()
    with pytest.raises(TimeoutError):
        runs.result(LONG)
    with pytest.raises(TimeoutError):
        runs.outcome.result()
    reader.thread.join(LONG)
    with pytest.raises(BgException, match="closed"):
        reader.result
    gated.go(2)
    (thread,) = gated.threads
    thread.join(LONG)
    assert gated.begun == ["runs"]
    assert runs.outcome.state is OutcomeState.abandoned


@pytest.mark.parametrize("timeout", [float("inf"), 1e10, None])
def test_any_long_timeout_will_do(timeout):
    """One that is longer than threads can wait is no limit, also while the thread ends."""
    for _ in range(100):
        bg = BgThread(abs)
        bg.invoke(-1)
        bg.close(timeout=timeout)


@pytest.mark.parametrize("timeout", [-1, "3", True])
def test_a_wrong_timeout_is_refused(timeout):
    """Nothing is closed by a mistake."""
    with BgThread(abs) as bg:
        with pytest.raises(ValueError, match="timeout="):
            bg.close(timeout=timeout)
        bg.invoke(-1)
        assert bg.result == 1


def test_leaving_the_block_closes(gated):
    """Normally all calls end; by an exception the waiting one is cancelled."""
    with BgThread(abs) as bg:
        futures = [bg.invoke(-1), bg.invoke(-2)]
    assert [future.result() for future in futures] == [1, 2]

    def go_on():
        waiting.add_done_callback(lambda _: gated.go())

    with pytest.raises(LookupError), BgThread(gated) as bg:
        running, waiting = bg.invoke(1), bg.invoke(2)
        gated.has_begun()
        go_on()
        raise LookupError
    assert running.result() == 1
    assert waiting.cancelled()


def test_it_is_no_thread():
    """It has one, and it is none."""
    assert not issubclass(BgThread, threading.Thread)


def test_br5_every_keyword_reaches_the_function():
    """BR5: also those that have the names of our own parameters."""
    given = dict.fromkeys(["self", "func", "fn", "call", "args", "kwargs", "context", "box"], 1)
    with BgThread(lambda **kwargs: kwargs) as bg:
        bg.invoke(**given)
        assert bg.result == given


def test_br20_the_context_of_each_caller():
    """BR20: each call sees the context variables that held where it was invoked."""
    with BgThread(lambda: (VARIABLE.get(), VARIABLE.set("changed"))[0]) as bg:
        for value in ("one", "two"):
            token = VARIABLE.set(value)
            bg.invoke()
            VARIABLE.reset(token)
        assert [bg.result, bg.result] == ["one", "two"]


def test_a_waiting_call_can_be_cancelled(gated):
    """Its future cancels it; there is room for another, and result passes over it."""
    with BgThread(gated) as bg:
        bg.invoke(0)
        gated.has_begun()
        waiting = bg.invoke(1)
        third = BgInvoke(bg.invoke, 2)
        assert comes(lambda: blocked(bg) == 1)
        assert waiting.cancel()
        third.thread.join(LONG)
        gated.go(2)
        assert [bg.result, bg.result] == [0, 2]
        assert not bg._pool.threads or len(gated.threads) == 1


def test_a_function_that_invokes_itself(gated):
    """One more call may wait; a second could never come, nor could its own result."""
    seen = []

    def again(value):
        if value:
            seen.append(bg.invoke(value - 1))
            with pytest.raises(RuntimeError, match="wait here for itself"):
                bg.invoke(value)
            with pytest.raises(RuntimeError, match="wait here for itself"):
                bg.result
            bg.close()
        return threading.current_thread()

    bg = BgThread(again)
    first = bg.invoke(1)
    assert first.result(LONG) is seen[0].result(LONG)
    first.result().join(LONG)
    bg.close()


def test_an_interrupted_reader_loses_nothing(gated, monkeypatch):
    """What Ctrl-C interrupts in result is read by the next reader."""
    with BgThread(gated) as bg:
        bg.invoke("a")
        gated.has_begun()
        real = bg._line.bell.wait_for

        def interrupted(ready, timeout=None):
            raise KeyboardInterrupt

        for _ in range(2):
            monkeypatch.setattr(bg._line.bell, "wait_for", interrupted)
            with pytest.raises(KeyboardInterrupt):
                bg.result
            monkeypatch.setattr(bg._line.bell, "wait_for", real)
        gated.go()
        assert bg.result == "a"


def test_an_interrupted_invoke_leaves_the_thread_usable(gated, monkeypatch):
    """The call of which nobody knows is taken back."""
    with BgThread(gated) as bg:
        monkeypatch.setattr(bg._executor, "submit_call", lambda call: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            bg.invoke("lost")
        monkeypatch.undo()
        assert not bg.is_running()
        gated.go()
        bg.invoke("kept")
        assert bg.result == "kept"


def test_events_and_limits_hold_for_each_call():
    """A call passes the one door: observers hear of it by its name."""
    with connectors.observe() as events, BgThread(divmod) as bg:
        bg.invoke(7, 2)
        assert bg.result == (3, 1)
    labels = [(type(e).__name__, e.label) for e in events if hasattr(e, "label")]
    assert ("CallFinished", "divmod") in labels


def test_an_idle_thread_holds_nothing():
    """Neither argument nor result of a call is kept when it was read."""
    with no_collector(), BgThread(lambda thing: thing) as bg:
        given = Landmark()
        lead = weakref.ref(given)
        bg.invoke(given)
        assert bg.result is given
        del given
        assert comes(lambda: lead() is None)


def test_journey_13_a_heartbeat():
    """A worker polls is_running while it works; an error of its code ends it."""
    beats = []
    with BgThread(lambda step: beats.append(step) or 1 // (2 - step)) as bg:
        with pytest.raises(BgException):
            for step in range(5):
                bg.invoke(step)
                while bg.is_running():
                    pass
                bg.result
    assert beats == [0, 1, 2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_starts_anew(gated):
    """In the child nothing runs and nothing waits, and a new call runs there."""
    bg = BgThread(gated)
    futures = [bg.invoke("a"), bg.invoke("b")]
    invoke = BgInvoke(gated, "c")
    gated.has_begun()
    gated.has_begun()
    child = os.fork()
    if not child:
        right = not bg.is_running() and not invoke.is_running()
        right = right and all(future.cancelled() for future in futures)
        gated.goes.release()
        bg.invoke("d")
        os._exit(0 if right and bg.result == "d" else 1)
    assert os.waitpid(child, 0)[1] == 0
    gated.go(3)
    bg.close()
    assert [future.result() for future in futures] == ["a", "b"]
    invoke.thread.join(LONG)
    assert invoke.result == "c"
