"""What `ProcessPool` promises to who waits, whether or not he hears his answer himself."""

import os
import signal
import threading
from concurrent.futures import CancelledError, wait

import pytest

import connectors._errors as errors
import process_calls as calls
from connectors._calls import Call
from connectors.pools import ProcessPool
from connectors.pools._process import _attend

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def single():
    with ProcessPool(1) as pool:
        pool.submit(calls.add, 1).result()
        yield pool


class Waiter:
    """A thread that waits for *future*, and by now listens at its worker."""

    def __init__(self, pool, future, timeout=None):
        self.outcome = None
        self.thread = threading.Thread(target=self.wait, args=(future, timeout))
        self.thread.start()
        self.worker = next(iter(pool._core.crew.workers.values()))
        while not (self.worker.attended and future._condition.sleepers or future.done()):
            pass

    def wait(self, future, timeout):
        try:
            self.outcome = future.result(timeout)
        except BaseException as error:
            self.outcome = error

    def end(self):
        self.thread.join(20)
        return self.outcome


@pytest.fixture
def gate(tmp_path):
    return tmp_path / "gate"


def test_waiter_takes_its_answer(single, gate, monkeypatch):
    """Who waits for the only call of a worker needs no other thread for its answer."""
    monkeypatch.setattr("connectors.pools._process._crew.Crew.receive", None)
    waiter = Waiter(single, single.submit(calls.wait_for, gate, 5))
    gate.touch()

    assert 5 == waiter.end()
    assert not waiter.worker.attended
    monkeypatch.undo()
    assert 6 == single.submit(calls.add, 6).result()


def test_error_and_news(single, gate, caplog):
    """Errors and log records reach a caller that listens at the worker like any other."""
    waiter = Waiter(single, single.submit(calls.wait_for, gate, threading.Lock))
    gate.touch()
    assert waiter.end() is threading.Lock

    def fail(path):
        calls.wait_for(path)
        raise KeyError("here")

    def log(path):
        calls.wait_for(path)
        calls.log("seen")

    gate.unlink()
    waiter = Waiter(single, single.submit(fail, gate))
    gate.touch()
    assert isinstance(waiter.end(), KeyError)
    gate.unlink()
    with pytest.warns(UserWarning, match="warned seen"):
        waiter = Waiter(single, single.submit(log, gate))
        gate.touch()
        assert waiter.end() is None
    assert "seen" in caplog.text


def test_callbacks_and_other_waiters(single, gate):
    """Whoever comes to wait while somebody listens at the worker is told as well."""
    future = single.submit(calls.wait_for, gate, 5)
    first, called = Waiter(single, future), threading.Event()
    future.add_done_callback(lambda _: called.set())
    second = Waiter(single, future)
    gate.touch()

    assert [5, 5] == [first.end(), second.end()]
    assert called.wait(20)
    assert {future} == wait([future], 20).done


def test_calls_behind(single, gate):
    """Calls that come behind the one for whose answer somebody listens are run and answered."""
    waiter = Waiter(single, single.submit(calls.wait_for, gate, 5))
    behind = [single.submit(calls.add, number) for number in range(20)]
    gate.touch()

    assert 5 == waiter.end()
    assert list(range(20)) == [future.result(20) for future in behind]


def test_timeout_of_waiting(single, gate):
    """Who waited long enough is told, and the call is answered all the same."""
    future = single.submit(calls.wait_for, gate, 5)
    waiter = Waiter(single, future, 0.2)

    assert isinstance(waiter.end(), TimeoutError)
    with pytest.raises(TimeoutError):
        future.exception(0)
    gate.touch()
    assert 5 == future.result(20)


@pytest.mark.parametrize("how", ["stop", "limit", "death", "close"])
def test_ends_of_the_call(gate, tmp_path, how):
    """Who listens at a worker is told when the call ends without an answer."""
    with ProcessPool(1) as pool:
        pool.submit(calls.add, 1).result()
        limit = 2 if how == "limit" else None
        begun = tmp_path / "begun"
        future = pool.submit_call(Call(calls.touch_and_wait, (begun, gate), timeout=limit))
        waiter = Waiter(pool, future)
        calls.wait_for(begun)  # or else another worker would run it
        if how == "stop":
            assert future.stop()
        elif how == "death":
            os.kill(waiter.worker.pid, signal.SIGKILL)
        elif how == "close":
            pool.close(cancel=True)
        kinds = {"limit": errors.CallTimeoutError, "death": errors.WorkerCrashError}

        assert isinstance(waiter.end(), kinds.get(how, CancelledError))


def test_call_that_moves(gate):
    """Who listens at a worker is told when another worker has answered."""
    with ProcessPool(2) as pool:
        while len(pool.worker_pids) < 2:
            wait([pool.submit(calls.sleep, 0.01) for _ in range(4)])
        stopped, other = pool._core.crew.workers.values()
        os.kill(stopped.pid, signal.SIGSTOP)
        try:
            waiter = Waiter(pool, pool.submit(calls.add, 5))
            pool.submit(calls.wait_for, gate)
            assert other.seat.calls
            behind = pool.submit(calls.add, 6)
            assert len(stopped.seat.calls) == 2
            gate.touch()

            assert 5 == waiter.end()
        finally:
            os.kill(stopped.pid, signal.SIGCONT)
        assert 6 == behind.result(20)


def test_result_that_explodes(single, gate):
    """A result that cannot be unpickled is an error of the call, and told as such."""

    def explode(path):
        calls.wait_for(path)
        return calls.ExplodesOnLoad()

    waiter = Waiter(single, single.submit(explode, gate))
    gate.touch()

    assert isinstance(waiter.end(), ValueError)
    assert waiter.outcome.__notes__


def test_bell():
    """A bell that was rung before, however often, keeps nobody waiting."""
    bell = _attend.Bell()
    bell.release()
    bell.wait(None)
    bell.calm()
    bell.wait(0.0)
    for _ in range(100_000):
        bell.release()
    bell.wait(None)
