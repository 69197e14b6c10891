"""What the process pool does for tasks: files go along, calls tell that they begin, workers end."""

import os
import pickle
import signal
import threading
import time

import pytest

import connectors
from connectors import Parallelization, WorkerCrashError
from connectors._calls import Call
from connectors._packed_errors import pack_error, unpack_error
from connectors.pools._process import _files


@pytest.fixture(scope="module")
def executor():
    with connectors.executor("multiprocessing", processes=2) as executor:
        yield executor


def call_of(function, *args, files=None, on_begin=None):
    packed = pickle.dumps((function, args))
    return Call(
        _files.perform, (packed,), wish=Parallelization.PROCESS, files=files, on_begin=on_begin
    )


def write_to(passed, text):
    with os.fdopen(passed.detach(), "w") as file:
        file.write(text)


def open_descriptors():
    return set(os.listdir("/proc/self/fd"))


def test_files_go_along_with_a_call(executor):
    """Descriptors arrive in the order in which they were added."""
    pipes = [os.pipe() for _ in range(2)]
    files = _files.Files([end for _, end in pipes])
    passed = [_files.Passed(number) for number in range(2)]
    futures = [
        executor.submit_call(call_of(write_both, passed, files=files)),
    ]
    for future in futures:
        future.result(20)
    assert not files.close.alive  # our copies were closed
    for number, (reader, writer) in enumerate(pipes):
        os.close(writer)
        with os.fdopen(reader) as file:
            assert file.read() == f"text {number}"


def write_both(passed):
    for number, each in enumerate(passed):
        write_to(each, f"text {number}")


def test_files_that_nobody_takes_are_closed(executor):
    """A worker closes, after the call, the files that it did not take."""
    before = executor.submit(open_descriptors).result(20)
    reader, writer = os.pipe()
    for _ in range(5):
        executor.submit_call(call_of(int, files=_files.Files([writer]))).result(20)
    assert len(executor.submit(open_descriptors).result(20)) <= len(before)
    os.close(writer)
    with os.fdopen(reader) as file:
        assert file.read() == ""  # nobody else holds the other end


def test_a_file_is_taken_once():
    """Who asks twice for a file is told."""
    _files.receive([os.dup(0)])
    os.close(_files.take(0))
    with pytest.raises(OSError, match="lost"):
        _files.take(0)
    _files.receive([])


def test_a_call_tells_that_it_begins(executor):
    """`on_begin` gets the worker's process id before the call has ended."""
    begun = threading.Event()
    pids = []

    def on_begin(pid):
        pids.append(pid)
        begun.set()

    reader, writer = os.pipe()
    files = _files.Files([reader])
    future = executor.submit_call(
        call_of(read_one, _files.Passed(0), files=files, on_begin=on_begin)
    )
    assert begun.wait(20)
    assert not future.done()
    os.write(writer, b"x")
    assert future.result(20) == (b"x", pids[0])
    os.close(reader)
    os.close(writer)


def read_one(passed):
    with os.fdopen(passed.detach(), "rb", buffering=0) as file:
        return file.read(1), os.getpid()


def test_begin_without_anybody_who_listens():
    """Outside of such a call `begin` does nothing."""
    _files.begin()


@pytest.mark.parametrize("kill", [False, True])
def test_a_worker_is_ended(executor, kill):
    """`end_worker` ends it by SIGTERM, or SIGKILL, and the call tells by which."""
    begun = threading.Event()
    reader, writer = os.pipe()
    call = call_of(
        read_one, _files.Passed(0), files=_files.Files([reader]), on_begin=begun_of(begun)
    )
    future = executor.submit_call(call)
    assert begun.wait(20)
    future.end_worker(kill)
    with pytest.raises(WorkerCrashError) as info:
        future.result(20)
    assert info.value.exitcode == -(signal.SIGKILL if kill else signal.SIGTERM)
    future.end_worker(kill)  # it has ended
    assert executor.submit(int).result(20) == 0  # the pool goes on
    os.close(reader)
    os.close(writer)


def begun_of(event):
    return lambda _: event.set()


def test_calls_before_others_keep_their_files(executor):
    """Many calls with files at once are not mixed up."""
    pipes = [os.pipe() for _ in range(20)]
    futures = [
        executor.submit_call(
            call_of(write_to, _files.Passed(0), str(number), files=_files.Files([writer]))
        )
        for number, (_, writer) in enumerate(pipes)
    ]
    for future in futures:
        future.result(20)
    for number, (reader, writer) in enumerate(pipes):
        # A worker from which a call was taken back has its files until its next call.
        assert os.read(reader, 10) == str(number).encode()
        os.close(writer)
        os.close(reader)


def test_cancelled_calls_close_their_files(executor):
    """A call that is cancelled before it begins leaves no copy of its files."""
    reader, writer = os.pipe()
    blocked = [os.pipe() for _ in range(2)]
    running = [
        executor.submit_call(call_of(read_one, _files.Passed(0), files=_files.Files([end])))
        for end, _ in blocked
    ]
    files = _files.Files([writer])
    waiting = executor.submit_call(call_of(int, files=files))
    assert waiting.cancel()
    for (end, other), future in zip(blocked, running, strict=True):
        os.write(other, b"x")
        future.result(20)
        os.close(end)
        os.close(other)
    limit = time.monotonic() + 10  # the thread that reads does it
    while files.close.alive and time.monotonic() < limit:
        time.sleep(0.01)
    assert not files.close.alive
    os.close(writer)
    os.close(reader)


@pytest.mark.parametrize(
    "error",
    [
        SystemExit(4),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        StopIteration(3),
        SyntaxError("bad", ("file.py", 1, 2, "text")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_built_in_errors_keep_what_they_say(error):
    """Errors whose fields are set by their constructors come back with them."""
    error.add_note("a note")
    back = unpack_error(pack_error(error))
    assert (type(back), str(back), back.args) == (type(error), str(error), error.args)
    assert getattr(back, "code", None) == getattr(error, "code", None)
    assert back.__notes__ == ["a note"]
