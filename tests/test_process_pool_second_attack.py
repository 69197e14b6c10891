"""What `ProcessPool` promises to callbacks, finalizers, forks and changed surroundings."""

import asyncio
import contextlib
import functools
import os
import signal
import subprocess
import sys
import threading

import pytest

import connectors
import connectors._errors as errors
import process_calls as calls
from connectors import _relay
from connectors._calls import Call
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
        frame.f_trace = look  # newer versions of Python want this before the next
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

    sys._getframe().f_trace_opcodes = True  # Python 3.12 wants to know this before it traces
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


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_blocked_signals(method):
    """Workers block no signals, and their deaths are noticed, whatever the first caller blocks."""
    program = (
        "import os, signal\n"
        "from connectors.pools import ProcessPool\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\n"
        f"with ProcessPool(1, start_method={method!r}) as pool:\n"
        "    print(pool.submit(signal.pthread_sigmask, signal.SIG_BLOCK, []).result())\n"
        "    print(pool.submit(os._exit, 3).exception(20).exitcode)\n"
    )

    assert ["set()", "3"] == run_program(program).split()


def run_program(program, **options):
    """Return what *program* prints, run by an interpreter of its own."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=40,
        check=True,
        **options,
    )
    return done.stdout


def test_fork_amid_an_answer(single, tmp_path):
    """In a forked child every future has ended, also that whose answer was just being handed on.

    Callbacks run in the parent only.
    """
    reached, go_on, gate, ended = threading.Event(), threading.Event(), tmp_path / "gate", []

    def observe(_):
        reached.set()
        go_on.wait(PATIENCE)

    futures = [single.submit_call(Call(calls.add, (1,)), on_answer=observe)]
    futures += [single.submit(calls.add, 1) for _ in range(3)]
    futures += [single.submit(calls.wait_for, gate), single.submit(calls.add, 1)]
    assert futures[-1].cancel()
    futures[-2].add_done_callback(lambda _: ended.append(os.getpid()))
    assert reached.wait(PATIENCE)
    child = os.fork()
    if not child:
        code = 1
        try:
            for future in futures[:-1]:
                with pytest.raises(errors.ExecutorClosedError):
                    future.result(PATIENCE)
            code = 0 if futures[-1].cancelled() and not ended else 2
        finally:
            os._exit(code)
    go_on.set()
    gate.touch()

    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert [1, 1, 1, 1, None] == [future.result(PATIENCE) for future in futures[:-1]]
    single.close()
    assert [os.getpid()] == ended
    assert not single._core.crew.outcomes.open


def test_fork_while_a_callback_is_wanted(single, tmp_path):
    """A child can be made while its maker holds what a callback wants, as with a preexec_fn."""
    gate, lock = tmp_path / "gate", threading.Lock()

    def finished(_):
        with lock:
            pass

    future = single.submit(calls.wait_for, gate)
    future.add_done_callback(finished)
    with lock:
        subprocess.Popen(["true"], preexec_fn=os.setsid).wait(PATIENCE)  # noqa: PLW1509
    gate.touch()

    assert future.result(PATIENCE) is None


@pytest.mark.parametrize("closed", [[2], [0, 1, 2]])
@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_parent_without_standard_files(closed, method, tmp_path):
    """A parent without a stderr, or without any standard file, has workers all the same."""
    path = tmp_path / "seen"
    program = (
        "import os\n"
        "from connectors.pools import ProcessPool\n"
        f"with ProcessPool(1, start_method={method!r}) as pool, open({str(path)!r}, 'w') as seen:\n"
        "    print(pool.submit(abs, -1).result(20), file=seen)\n"
        "    print(pool.submit(os.abort).exception(20).stderr, file=seen)\n"
    )
    redirections = " ".join(f"{descriptor}>&-" for descriptor in closed)
    words = ["sh", "-c", f'exec "$0" "$@" {redirections}', sys.executable, "-c", program]
    subprocess.run(words, timeout=40, check=True)

    first, *last_words = path.read_text().splitlines()
    assert "1" == first
    assert "Fatal Python error: Aborted" in "\n".join(last_words)


@pytest.mark.parametrize(
    "make", [ProcessPool, functools.partial(connectors.executor, "multiprocessing")]
)
@pytest.mark.parametrize("how", ["exit", "generator"])
def test_exit_from_a_block(make, how, tmp_path):
    """Calls are done when a block is left by `sys.exit` or because its generator is closed."""
    gate = tmp_path / "gate"
    futures = []

    def work():
        with make() as pool:
            futures.append(pool.submit(calls.wait_for, gate, 1))
            futures.append(pool.submit(calls.add, 2))
            threading.Timer(0.1, gate.touch).start()
            if how == "exit":
                sys.exit()
            yield

    with contextlib.suppress(SystemExit):
        generator = work()
        next(generator)
        generator.close()

    assert [1, 2] == [future.result(PATIENCE) for future in futures]


@pytest.mark.parametrize("error", [KeyboardInterrupt, asyncio.CancelledError])
def test_breaking_off_a_block(error, tmp_path):
    """Calls are stopped when a block is left by Ctrl-C or because a task is cancelled."""
    with pytest.raises(error), ProcessPool(1) as pool:
        future = pool.submit(calls.wait_for, tmp_path / "never")
        raise error

    assert future.cancelled()


@pytest.mark.parametrize("interactive", [False, True])
def test_interrupt_before_the_end(interactive, tmp_path):
    """Pending calls are done at the end of a session in which Ctrl-C was pressed at a prompt."""
    program = (
        "import sys\n"
        "from connectors.pools import ProcessPool\n"
        "pool = ProcessPool(1)\n"
        "sys.last_type = KeyboardInterrupt\n"  # as the prompt leaves it
        f"{'sys.ps1 = str()' if interactive else ''}\n"
        "future = pool.submit(pow, 2, 3)\n"
        "waiting = [pool.submit(pow, 2, 3) for _ in range(3000)]\n"
        "waiting[-1].add_done_callback(lambda future: print(future.cancelled()))\n"
    )

    assert f"{not interactive}\n" == run_program(program)


def test_worker_that_is_stopped(single):
    """A worker that does not begin a call with a limit, because it is stopped, is replaced."""
    pid = single.submit(os.getpid).result()
    os.kill(pid, signal.SIGSTOP)

    assert pid != single.submit_call(Call(os.getpid, timeout=1)).result(PATIENCE)


def test_news_that_fails(single, monkeypatch):
    """Who cannot be told of log records does not change what came of a call."""
    monkeypatch.setattr(_relay, "deliver", lambda *_: 1 / 0)

    assert single.submit(calls.log, "news").exception(PATIENCE) is None
