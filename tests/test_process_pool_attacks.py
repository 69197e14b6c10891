"""What `ProcessPool` promises to callers that race, exit, raise anything and misuse handles."""

import atexit
import errno
import os
import subprocess
import sys
import threading
import time

import pytest

import connectors._errors as errors
import process_calls as calls
from connectors._calls import Call
from connectors._map import run_chunk
from connectors.pools import ProcessPool
from connectors.pools._process import _alarms, _crew, _wire
from connectors.pools._process._memory import Segment
from connectors.pools._process._ticket import Ticket
from connectors.pools._process._wire import Inbox, Outbox
from connectors.pools._process._worker import Worker

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def single():
    with ProcessPool(1) as pool:
        yield pool


class Exits:
    """Exits where it is unpacked."""

    def __reduce__(self):
        return sys.exit, (3,)


def stop_at(number, end):
    if number == end:
        raise StopIteration
    return number


def at_exit(seconds, path):
    """Let this process take *seconds* to end, and make a file at *path* then."""

    def end():
        time.sleep(seconds)
        with open(path, "w"):
            pass

    atexit.register(end)


def until(condition):
    while not condition():
        time.sleep(0.005)


def test_exit_with_pending_large_calls():
    """Calls with large arguments that are pending when the interpreter ends are finished."""
    program = (
        "from connectors.pools import ProcessPool\n"
        "pool = ProcessPool(1)\n"
        "for _ in range(8):\n"
        "    future = pool.submit(len, bytes(300_000))\n"
        "    future.add_done_callback(lambda future: print(future.result()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True
    )

    assert ["300000"] * 8 == done.stdout.split()


def test_what_cannot_be_sent_fails_its_call(single, monkeypatch):
    """After an error at sending, while the worker lives, the call ends, here or elsewhere."""
    single.submit(calls.add, 1).result()
    flush = Worker.flush

    def fail(worker):
        monkeypatch.setattr(Worker, "flush", flush)
        raise OSError(errno.EBADF, "bad")

    monkeypatch.setattr(Worker, "flush", fail)

    error = single.submit(calls.add, 1).exception()
    assert error is None or isinstance(error, errors.WorkerCrashError)
    assert Worker.flush is flush
    assert 1 == single.submit(calls.add, 1).result()


def test_a_ticket_ends_once():
    """Whatever comes second is refused without an exception."""
    ticket = Ticket("call", b"")

    assert ticket.settle(1)
    assert not ticket.settle(error=ValueError())
    ticket.end_cancelled()
    assert not ticket.cancelled()
    assert not ticket.cancel()
    assert not ticket.stop()
    assert 1 == ticket.result()
    cancelled = Ticket("call", b"")
    cancelled.begin()
    cancelled.end_cancelled()
    assert not cancelled.settle(1)
    cancelled.begin()
    assert cancelled.cancelled()
    assert cancelled.cancel()


def test_cancel_of_a_decided_call(single):
    """A call whose answer is being handed on cannot be cancelled any more."""
    reached, go_on = threading.Event(), threading.Event()

    def observe(answer):
        reached.set()
        go_on.wait(10)

    future = single.submit_call(Call(calls.add, (1,)), on_answer=observe)
    reached.wait(10)

    assert not future.cancel()
    assert not future.stop()
    go_on.set()
    assert 1 == future.result()
    assert 1 == single.submit(calls.add, 1).result()


def test_result_that_exits_where_it_is_unpacked(single):
    """A result that exits while it is unpacked fails its call only."""
    with pytest.raises(SystemExit):
        single.submit(Exits).result()
    assert 1 == single.submit(calls.add, 1).result()


@pytest.mark.parametrize("where", ["callback", "on_answer"])
def test_callbacks_that_exit(single, where):
    """A callback that exits harms neither other callbacks nor other calls."""
    seen = []
    on_answer = (lambda _: sys.exit()) if where == "on_answer" else None
    future = single.submit_call(Call(calls.sleep, (0.1, 1)), on_answer=on_answer)
    if where == "callback":
        future.add_done_callback(lambda _: sys.exit())
    future.add_done_callback(seen.append)

    assert 1 == future.result()
    assert 1 == single.submit(calls.add, 1).result()
    assert [future] == seen


def test_kill_spares_the_next_call(monkeypatch, tmp_path):
    """Cancelling a call that has ended, unnoticed, does not kill the call that runs now."""
    with ProcessPool(1, kill_on_cancel=True) as pool:
        pool.submit(calls.add, 1).result()
        receive = Worker.receive
        monkeypatch.setattr(Worker, "receive", lambda _: iter(()))
        begun, gate = tmp_path / "begun", tmp_path / "gate"
        first = pool.submit(calls.add, 1)
        second = pool.submit(calls.touch_and_wait, begun, gate, 2)
        until(begun.exists)  # the only worker: the first call has ended

        assert not first.cancel()
        monkeypatch.setattr(Worker, "receive", receive)
        gate.touch()
        assert [1, 2] == [first.result(), second.result()]


def test_timeout_of_the_next_call(monkeypatch):
    """A call whose predecessor's answer is noticed by an alarm has its own limit."""
    with ProcessPool(1) as pool:
        pool.submit(calls.add, 1).result()
        monkeypatch.setattr(Worker, "receive", lambda _: iter(()))
        first = pool.submit_call(Call(calls.sleep, (0.1, 1), timeout=0.5))
        second = pool.submit_call(Call(calls.sleep, (60,), timeout=0.5))

        assert 1 == first.result()
        with pytest.raises(errors.CallTimeoutError):
            second.result(10)


def test_function_that_raises_stop_iteration(single):
    """A StopIteration does not end a map as if there were no more items."""
    results, failure, _ = run_chunk(stop_at, ([1, 2, 3], [3, 3, 3]))

    assert [1, 2] == results
    assert "stop_at raised StopIteration" == str(failure.error)
    with pytest.raises(RuntimeError, match="stop_at raised StopIteration"):
        list(single.map(stop_at, range(9), [5] * 9, chunksize=3))


@pytest.mark.parametrize("argument", ["chunksize", "buffersize"])
def test_sizes_of_map(single, argument):
    """Sizes less than 1 are refused."""
    with pytest.raises(ValueError, match=f"{argument}=0"):
        single.map(abs, [1], **{argument: 0})


def test_dropping_calls_keeps_definitions():
    """A definition stays although a call is dropped that has its number."""
    outbox = Outbox()
    outbox.add(_wire.DEFINE, 7, b"definition")
    outbox.add(_wire.CALL, 7, b"call")
    outbox.drop({7})

    assert [_wire.DEFINE] == [piece.kind for piece in outbox._pieces]
    outbox.drop({7}, _wire.DEFINE)
    assert not outbox


def test_old_alarms_spare_a_retiring_worker(tmp_path):
    """The limit of a call that has ended does not kill a worker while it ends."""
    path = tmp_path / "ended"
    with ProcessPool(1) as pool:
        pool.submit(stop_at, 1, 2).result()  # the worker has imported this module
        pool.submit_call(Call(at_exit, (0.6, str(path)), timeout=0.3)).result()

    assert path.exists()


def test_thread_that_cannot_start(single, monkeypatch):
    """A pool whose thread cannot start raises, leaves nothing and can be tried again."""
    before = len(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            single.submit(calls.add, 1)
    assert before == len(os.listdir("/proc/self/fd"))
    assert 1 == single.submit(calls.add, 1).result()


def test_start_that_fails_in_passing(monkeypatch):
    """When a worker could not be started while others live, it is tried again."""
    monkeypatch.setattr(_crew, "_RETRY", 0.05)
    with ProcessPool(2) as pool:
        pool.submit(calls.add, 1).result()
        with monkeypatch.context() as patch:
            patch.setattr(Worker, "start", lambda *_: os.close(-1))
            futures = [pool.submit(calls.sleep, 0.3) for _ in range(6)]
        until(lambda: len(pool.worker_pids) == 2)
        for future in futures:
            future.result()


def test_handle_of_another_pool(single):
    """A handle of another pool is refused, and nothing is kept for that call."""
    with ProcessPool(1) as other:
        single.scatter(0)
        foreign = other.scatter(1)
        with pytest.raises(errors.PicklingError, match="of its own pool only"):
            single.submit(calls.echo, foreign)


def test_release_while_submitting(single):
    """A value that is released while a call that needs it is packed is a clear error."""
    handle = single.scatter(1)
    ticket = Ticket("call", b"")
    ticket.needs = {handle.key}
    handle.release()
    single.scatter(2)

    with pytest.raises(errors.PicklingError, match="is released"):
        single._core.submit(ticket)
    until(lambda: handle.key not in single._core.crew.shelf)


def test_callbacks_that_submit_do_not_recurse(single, tmp_path):
    """A chain of callbacks, each of which submits, is no recursion, wherever it runs."""
    depth, deepest, over = [0], [0], threading.Event()

    def submit(left):
        depth[0] += 1
        deepest[0] = max(deepest[0], depth[0])
        if left:
            future = single.submit(abs, 1)
            future.add_done_callback(lambda _: submit(left - 1))
        else:
            over.set()
        depth[0] -= 1

    gate = tmp_path / "gate"
    single.submit(calls.wait_for, gate).add_done_callback(lambda _: submit(300))
    gate.touch()

    assert over.wait(30)
    assert 1 == deepest[0]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_close_after_a_defect(monkeypatch):
    """A pool that failed closes quietly, and tells why it takes no more calls."""
    with ProcessPool(1) as pool:
        with monkeypatch.context() as patch:
            patch.setattr(_crew.Crew, "heed", lambda *_: 1 / 0)
            future = pool.submit(calls.add, 1)
            future.add_done_callback(lambda _: sys.exit())
            with pytest.raises(errors.ExecutorOpenError, match="ZeroDivisionError"):
                future.result()
        pool._core.join()
        with pytest.raises(errors.ExecutorClosedError) as caught:
            pool.submit(calls.add, 1)
        assert "ZeroDivisionError" in caught.value.__notes__[0]
        assert not future.cancel()


def test_alarms_do_not_heap_up(single):
    """The limits of calls that have ended are forgotten."""
    for _ in range(3 * _alarms._MANY):
        single.submit_call(Call(abs, (1,), timeout=3600)).result()

    assert len(single._core.crew.alarms) <= _alarms._MANY


def test_lost_descriptor():
    """Large contents for which there was no descriptor left are an error of their frame only."""

    class Truncated:
        def recvmsg(self, *_):
            data = _wire.HEADER.pack(_wire.VALUE, _wire.LARGE, True, 1, 1, 0.0) + b"x"
            return data, [], _wire.socket.MSG_CTRUNC, None

    inbox = Inbox()
    (frame,) = inbox.receive(Truncated())

    assert _wire.LOST == frame.descriptor
    with pytest.raises(OSError, match="too many open files"):
        Segment.received(frame.descriptor)


def test_many_releases_during_a_long_call(single, tmp_path):
    """Releasing many values does not wait for the call that runs."""
    gate = tmp_path / "gate"
    handles = [single.scatter(number) for number in range(9000)]
    single.submit(calls.size_of, handles).result()
    running = single.submit(calls.wait_for, str(gate))
    for handle in handles:
        handle.release()
    until(lambda: not single._core.shares)
    future = single.submit(calls.add, 1)
    gate.touch()

    assert running.result() is None
    assert 1 == future.result()
