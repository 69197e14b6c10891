"""What `ProcessPool` promises when a signal handler raises, wherever that hits the main thread.

The handler is made to run at each place in turn: while one operation runs, its bytecode is counted
and the signal is set at the number that it is the turn of, as if it had arrived then. They are left
out on newer versions of Python, of which the first releases rewrite bytecode that is traced while
other threads run it.
"""

import collections
import ctypes
import os
import signal
import sys
from concurrent.futures import wait

import pytest

import connectors.pools._process
import process_calls as calls
from connectors._calls import Call
from connectors.pools import ProcessPool

pytestmark = [pytest.mark.timeout(120), pytest.mark.slow]
PACKAGE = os.path.dirname(connectors.pools._process.__file__)
PATIENCE = 20


class Interrupted(BaseException):
    """What the signal handler raises."""


def interrupt(*_):
    raise Interrupted


@pytest.fixture(autouse=True)
def handler():
    before = signal.signal(signal.SIGINT, interrupt)
    yield
    signal.signal(signal.SIGINT, before)


class Places:
    """The places of an operation at which it can be interrupted, one after the other."""

    def __init__(self, step=1):
        self.turn, self.step, self.passed, self.over = 1, step, 0, False
        # Looking something up in it sets the signal, and unlike a call that does not handle it
        # yet; so it is handled where the operation goes on.
        self.signal = collections.defaultdict(ctypes.pythonapi.PyErr_SetInterrupt)

    def __iter__(self):
        while not self.over:
            self.passed, self.over = 0, True
            yield self.turn
            self.turn += self.step

    def attempt(self, operation, *args):
        """Return what the operation returns, in a list, which is empty if it was interrupted."""
        sys._getframe().f_trace_opcodes = True  # Python 3.12 wants to know this before it traces
        try:
            sys.settrace(self.enter)
            try:
                return [operation(*args)]
            finally:
                sys.settrace(None)
        except Interrupted:
            return []

    def enter(self, frame, event, _):
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        frame.f_trace = self.look  # newer versions of Python want this before the next
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        return self.look

    def look(self, frame, event, _):
        self.passed += event == "opcode"
        if self.passed == self.turn and self.over:
            self.over = False
            sys.settrace(None)  # or else it would be handled when this is called next
            return self.signal[self.turn]
        return self.look


def values(futures):
    return [future.result(PATIENCE) for future in futures]


def warm(pool):
    """Let all workers run; return their pids."""
    while len(pool.worker_pids) < 2:
        values([pool.submit(calls.sleep, 0.01) for _ in range(4)])
    return pool.worker_pids


@pytest.mark.parametrize(("others", "step"), [(0, 1), (1, 1), (2, 1), (15, 3), (40, 7)])
def test_submit(others, step):
    """An interrupted submit loses no other call and kills no worker, whatever is under way."""
    with ProcessPool(2) as pool:
        pids = warm(pool)
        for turn in (places := Places(step)):
            before = [pool.submit(calls.add, number) for number in range(others)]
            own = places.attempt(pool.submit, calls.add, -1)
            after = [pool.submit(calls.add, number) for number in range(3)]

            assert list(range(others)) == values(before), turn
            assert [0, 1, 2] == values(after), turn
            assert values(own) in ([-1], []), turn
        assert turn > 100
        assert pids == pool.worker_pids


def test_submit_of_a_large_call_that_needs_much():
    """An interrupted submit of a call with a segment, a scattered value and a limit harms none."""
    large = bytes(300_000)
    with ProcessPool(2) as pool:
        pids = warm(pool)
        handle = pool.scatter(b"scattered")
        call = Call(calls.size_of, ([large, handle],), timeout=60)
        for turn in (places := Places(5)):
            own = places.attempt(pool.submit_call, call)
            after = [pool.submit_call(call) for _ in range(2)]

            assert [2, 2] == values(after), turn
            assert values(own) in ([2], []), turn
        assert pids == pool.worker_pids
        handle.release()
        while pool._core.shares:
            assert 1 == pool.submit(calls.add, 1).result(PATIENCE)


def test_first_submit():
    """A pool whose first submit is interrupted takes calls all the same, and closes."""
    for turn in (places := Places(41)):
        with ProcessPool(1) as pool:
            own = places.attempt(pool.submit, calls.add, -1)

            assert 1 == pool.submit(calls.add, 1).result(PATIENCE), turn
            assert values(own) in ([-1], []), turn


def test_result():
    """Who is interrupted while waiting takes nothing from others that wait."""
    with ProcessPool(2) as pool:
        pids = warm(pool)
        for turn in (places := Places()):
            ended = []
            own, other = pool.submit(calls.sleep, 0.003, 0), pool.submit(calls.add, 1)
            if turn % 2:  # or else nobody but the main thread waits
                own.add_done_callback(ended.append)
            places.attempt(own.result)

            assert [0, 1] == values([own, other]), turn
            assert 2 == pool.submit(calls.add, 2).result(PATIENCE), turn
            while turn % 2 and not ended:
                pass
        assert turn > 50
        assert pids == pool.worker_pids


@pytest.mark.parametrize("operation", ["cancel", "stop"])
@pytest.mark.parametrize("begun", [False, True])
def test_cancel(operation, begun, tmp_path):
    """A call whose cancelling is interrupted ends, and no other is harmed."""
    with ProcessPool(1) as pool:
        for turn in (places := Places(1 + 4 * begun)):
            gate = tmp_path / str(turn)
            first = pool.submit(calls.wait_for, gate, 1)
            while not first.running():
                pass
            own, ended = first if begun else pool.submit(calls.add, -1), []
            own.add_done_callback(ended.append)
            after = [pool.submit(calls.add, number) for number in range(3)]
            places.attempt(getattr(own, operation))
            gate.touch()

            assert begun or 1 == first.result(PATIENCE), turn
            assert [0, 1, 2] == values(after), turn
            assert {own} == wait([own], PATIENCE).done, turn
            while not ended:
                pass
            assert [own] == ended
        assert turn > 20


@pytest.mark.parametrize("cancel", [False, True])
def test_close(cancel):
    """A pool whose closing is interrupted closes, and its calls end."""
    for turn in (places := Places(10)):
        pool = ProcessPool(1)
        futures = [pool.submit(calls.add, number) for number in range(4)]
        places.attempt(pool.close, cancel)
        pool.close(cancel)

        assert set(futures) == wait(futures, PATIENCE).done, turn
