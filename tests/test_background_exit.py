"""What becomes of the background when an interpreter exits, forks or is interrupted."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from background_watch import LONG

HEAD = """

import os, signal, sys, threading, time
import connectors.background
from connectors.background import *

def say(*words, seconds=0):
    time.sleep(seconds)
    os.write(1, " ".join([*map(str, words), "\\n"]).encode())
"""


@contextlib.contextmanager
def start(code, *arguments):
    """Start a program, which does not outlive the block."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CONNECTORS_")}
    with subprocess.Popen(
        [sys.executable, *arguments, "-c", HEAD + textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment, "CONNECTORS_CONFIG": "none"},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def run(code, *arguments):
    """Run a program; return what it printed, after what it said of errors, and its exit code."""
    with start(code, *arguments) as process:
        output, errors = process.communicate(timeout=LONG)
    return output.split(), errors, process.returncode


def test_br16_importing_starts_no_thread():
    """BR16: neither the import nor the first attribute starts one; the first proc does."""
    output, errors, code = run("""
        print(threading.active_count(), len(threading.enumerate()))
        bg_run_proc(print, "ran")
        bg_proc_manager.wait_until_empty()
        print(threading.active_count() > 1)
    """)
    assert (output, errors, code) == (["1", "1", "ran", "True"], "", 0)


def test_importing_loads_no_event_loop():
    """The room costs nobody an async library or the machinery of processes."""
    output, _, _ = run("""
        BgInvoke(abs, 1).thread.join(); parallelise(lambda i: i, 3)
        print(*{"asyncio", "trio", "multiprocessing"} & set(sys.modules))
    """)
    assert output == []


@pytest.mark.parametrize("ending", ["", "sys.exit(0)", "raise SystemExit(0)", "del bg_run_proc"])
def test_br14_a_program_that_ends_at_once_runs_all_ten(ending):
    """BR14: ten bg_run_proc and the end: all ten run."""
    output, errors, code = run(f"""
        for number in range(10):
            bg_run_proc(say, number, seconds=0.01)
        {ending}
    """)
    assert sorted(map(int, output)) == list(range(10))
    assert (errors, code) == ("", 0)


def test_br14_a_program_that_fails_runs_them_too():
    """BR14: also after an uncaught exception, whose exit code is kept."""
    output, errors, code = run("""
        for number in range(10):
            bg_run_proc(say, number)
        1 / 0
    """)
    assert sorted(map(int, output)) == list(range(10))
    assert "ZeroDivisionError" in errors
    assert code == 1


def test_br14_procs_that_queue_procs_at_exit():
    """BR14: what a queued proc queues is queued too."""
    output, errors, _ = run("""
        def step(n):
            time.sleep(0.01)
            print(n)
            if n: bg_run_proc(step, n - 1)
        bg_run_proc(step, 5)
    """)
    assert (output, errors) == (["5", "4", "3", "2", "1", "0"], "")


@pytest.mark.parametrize("limit", [0, 0.2])
def test_br14_what_is_left_is_abandoned_with_one_warning(limit):
    """BR14: after exit_timeout seconds the rest is dropped, and one warning says how many."""
    begin = time.monotonic()
    output, errors, code = run(
        f"""
        import logging; logging.basicConfig()
        manager = BgProcManager(exit_timeout={limit})
        begun = threading.Event()
        manager.append_new_proc(lambda: (begun.set(), time.sleep(600)))
        begun.wait()
        for _ in range(5): manager.append_new_proc(lambda: time.sleep(600))
        """,
        "-X",
        "cpu_count=1",
    )
    assert time.monotonic() - begin < 20
    assert errors.count("WARNING") == 1
    assert f"6 procedures abandoned at exit after {limit} s: 1 still run, 5 did not" in errors
    assert (output, code) == ([], 0)


def test_br14_each_manager_has_its_time():
    """BR14: managers of the program's own run what they have too, with other limits."""
    output, errors, _ = run("""
        import logging; logging.basicConfig()
        slow, quick = BgProcManager(exit_timeout=None), BgProcManager(exit_timeout=0.1)
        quick.append_new_proc(lambda: time.sleep(600))
        for n in range(5): slow.append_new_proc(lambda n=n: say(n, seconds=0.05))
    """)
    assert sorted(output) == ["0", "1", "2", "3", "4"]
    assert errors.count("abandoned") == 1


def test_br14_a_proc_that_is_queued_by_an_exit_handler():
    """BR14: also what the program queues while it exits, even as its very first."""
    output, errors, _ = run("""
        import atexit
        atexit.register(bg_run_proc, print, "late")
    """)
    assert (output, errors) == (["late"], "")


def test_br14_a_proc_of_a_thread_that_outlives_the_main_thread():
    """BR14: a thread that is no daemon may queue until it ends."""
    output, errors, _ = run("""
        def work():
            threading.main_thread().join()
            for n in range(10): bg_run_proc(say, n)
        threading.Thread(target=work).start()
        bg_run_proc(say, "first")
    """)
    assert sorted(output) == sorted(["first", *map(str, range(10))])
    assert errors == ""


def test_br14_interrupted_at_exit():
    """Ctrl-C in the wait at exit ends it; what is left is told."""
    with start("""
        import logging; logging.basicConfig()
        bg_run_proc(time.sleep, 600)
        bg_proc_manager  # still there
        print("ends", flush=True)
    """) as process:
        assert process.stdout.readline() == "ends\n"
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=LONG)
    assert "1 procedures abandoned" in errors


def test_daemon_threads_do_not_hold_up_the_exit():
    """BgInvoke, BgThread and what parallelise abandoned end with the program."""
    begin = time.monotonic()
    output, errors, code = run("""
        gate = threading.Event()
        BgInvoke(gate.wait)
        thread = BgThread(gate.wait); thread.invoke(); thread.invoke()
        started = threading.Event()
        def job(i):
            if i: started.wait(); raise ValueError
            started.set(); gate.wait()
        try: parallelise(job, 2, num_threads=2, wait=False)
        except BgException: print("left")
    """)
    assert output == ["left"]
    assert code == 0
    assert time.monotonic() - begin < 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_br16_fork_in_the_middle():
    """BR16: child and parent each run their own procs, to the end of each."""
    output, errors, _ = run(
        """
        import warnings; warnings.simplefilter("ignore")
        go = threading.Event()
        def wait(): go.wait(); print("parent-waits", flush=True)
        bg_run_proc(wait)
        bg_run_proc(print, "parent-queued", flush=True)
        queue = bg_proc_manager._queue
        with queue.bell.lock, queue._crew[1]._state.lock:
            child = os.fork()  # as if other threads were amid something
        if child:
            os.waitpid(child, 0)
            go.set()
        else:
            for n in range(3): bg_run_proc(print, "child", n, flush=True)
        """,
        "-X",
        "cpu_count=1",
    )
    assert sorted(output) == sorted("child 0 child 1 child 2 parent-waits parent-queued".split())
    assert errors == ""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_procs_of_a_child_process(method, tmp_path):
    """A child of multiprocessing runs what it queued before it ends, however it was started."""
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(f"""
        import multiprocessing, os, time, warnings
        from connectors.background import bg_run_proc
        def say(n): time.sleep(0.02); os.write(1, (str(n) + chr(10)).encode())
        def work():
            for n in range(5): bg_run_proc(say, n)
        if __name__ == "__main__":
            warnings.simplefilter("ignore")
            bg_run_proc(say, "parent")
            process = multiprocessing.get_context("{method}").Process(target=work)
            process.start(); process.join()
        """)
    )
    done = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, timeout=LONG, check=False
    )
    assert sorted(done.stdout.split()) == ["0", "1", "2", "3", "4", "parent"], done.stderr


def test_procs_of_a_job_in_a_worker_process():
    """A job in a process may queue procs; they run before the worker ends."""
    output, errors, _ = run("""
        def job(i):
            bg_run_proc(say, i, seconds=0.05)
        parallelise(job, 3, num_threads=1, executor="multiprocessing")
    """)
    assert sorted(output) == ["0", "1", "2"], errors


@pytest.mark.parametrize("executor", ["threading", "multiprocessing"])
@pytest.mark.parametrize("wait", [True, False])
def test_br18_interrupt_of_a_program(executor, wait):
    """BR18: Ctrl-C leaves parallelise with KeyboardInterrupt; no further job starts."""
    with start(f"""
        def job(i):
            os.write(1, f"start {{i}}\\n".encode())
            time.sleep(1.0)
            os.write(1, f"end {{i}}\\n".encode())
        begin = time.monotonic()
        try:
            parallelise(job, 20, num_threads=2, wait={wait}, executor="{executor}")
        except KeyboardInterrupt:
            os.write(1, b"left\\n")
    """) as process:
        lines = [process.stdout.readline() for _ in range(2)]
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=LONG)
    lines += rest.splitlines(keepends=True)
    lines = [line.strip() for line in lines]
    assert sorted(line for line in lines if line.startswith("start")) == ["start 0", "start 1"]
    left = lines.index("left")
    ended = {line for line in lines[:left] if line.startswith("end")}
    assert ended == ({"end 0", "end 1"} if wait else set())
    assert process.returncode == 0, errors


@pytest.mark.parametrize("executor", ["threading", "multiprocessing"])
def test_br18_second_interrupt_of_a_program(executor):
    """BR18: the second Ctrl-C leaves at once."""
    with start(f"""
        def job(i):
            os.write(1, b"start\\n")
            time.sleep(20)
        try:
            parallelise(job, 20, num_threads=2, executor="{executor}")
        except KeyboardInterrupt:
            os.write(1, b"left\\n")
            os._exit(5)
    """) as process:
        for _ in range(2):
            process.stdout.readline()
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        begin = time.monotonic()
        output, errors = process.communicate(timeout=LONG)
    assert time.monotonic() - begin < 10
    assert (output, process.returncode) == ("left\n", 5), errors
