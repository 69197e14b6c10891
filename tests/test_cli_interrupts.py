"""Ctrl-C and closed pipes, as the program ``connectors run`` meets them.

The program is a process of its own and leads its process group. Targets say by a file that they
are at the place where it matters, and then wait for ever.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

import connectors
from connectors.cli import _interrupts
from connectors.cli._interrupts import Interrupted, Interrupts

pytestmark = pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")

JOBS = """
    import os
    import subprocess
    import threading

    def ready():
        os.close(os.open(os.environ["READY"], os.O_WRONLY))  # a fifo: returns when it is read

    def job(item):
        if item == "block":
            ready()
            threading.Event().wait()
        if item == "program":
            subprocess.Popen(["sleep", "600"])
            ready()
            threading.Event().wait()
        return item.upper()
"""
EXECUTORS = ["sequential", "threading", "multiprocessing", "threading_multiprocessing", "trio"]


@pytest.fixture
def start(tmp_path):
    """A function that starts ``connectors run`` and waits until its target is ready."""
    (tmp_path / "cli_blocking.py").write_text(textwrap.dedent(JOBS))
    fifo = tmp_path / "ready"
    os.mkfifo(fifo)
    environment = {**os.environ, "CONNECTORS_CONFIG": "none", "READY": str(fifo)}
    started = []

    def start(*words, wait=True, **how):
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        process = subprocess.Popen(
            [sys.executable, "-m", "connectors", "run", *words],
            cwd=tmp_path,
            env=environment,
            text=True,
            start_new_session=True,
            **{**streams, **how},
        )
        started.append(process)
        if wait:
            fifo.read_text()
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def living(group):
    """Return the processes of *group* that are no zombies."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and os.getpgid(int(entry.name)) == group:
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                if state != "Z":
                    found.append((entry / "cmdline").read_text().replace("\0", " "))
    return found


def ends(group):
    """Wait until no process of *group* is left; a hang is the deadline's business."""
    while living(group):
        threading.Event().wait(0.01)


@pytest.mark.parametrize("blocking", ["block", "program"])
@pytest.mark.parametrize("executor", EXECUTORS)
def test_ctrl_c(start, executor, blocking):
    """Ctrl-C leaves at once with 130: what is done is written, nobody is left, no traceback."""
    process = start("cli_blocking:job", "a", "b", blocking, "-e", executor, "--in-flight", "1")

    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)

    assert (process.returncode, out) == (130, "A\nB\n")
    assert err == "connectors run: 2 items, 2 done, 0 failed; interrupted, the rest was not run\n"
    ends(process.pid)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
@pytest.mark.parametrize("executor", ["threading", "multiprocessing"])
def test_signals_to_the_program_alone(start, executor, number, code):
    """A signal that only the program hears ends its workers as well."""
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("whoever runs the tests ignores this signal, and so does the program")
    process = start("cli_blocking:job", "a", "block", "-e", executor, "--in-flight", "1")

    process.send_signal(number)
    out, err = process.communicate(timeout=60)

    assert (process.returncode, out) == (code, "A\n")
    assert "Traceback" not in err
    ends(process.pid)


def test_ctrl_c_while_input_is_waited_for(start):
    """Ctrl-C leaves although the next line of standard input never comes."""
    process = start("cli_blocking:job", "-e", "threading", wait=False)
    process.stdin.write("a\n")
    process.stdin.flush()
    assert process.stdout.readline() == "A\n"  # flushed, with the input still open

    os.killpg(process.pid, signal.SIGINT)

    assert process.wait(timeout=60) == 130
    assert "Traceback" not in process.stderr.read()


def test_results_that_came_early_are_written(start):
    """Without an order, results are written although an earlier item never ends."""
    process = start("cli_blocking:job", "block", "a", "--unordered", "-e", "threading")
    assert process.stdout.readline() == "A\n"

    os.killpg(process.pid, signal.SIGINT)

    assert process.wait(timeout=60) == 130


def test_a_call_over_its_limit_holds_up_nobody(start):
    """A thread that hangs in a call over its limit does not keep the program from ending."""
    process = start("cli_blocking:job", "block", "-e", "threading", "--timeout", "0.2")

    _, err = process.communicate(timeout=60)

    assert process.returncode == 1
    assert "CallTimeoutError" in err


@pytest.mark.parametrize("executor", ["threading", "multiprocessing"])
def test_a_reader_that_leaves(start, tmp_path, executor):
    """A reader that has enough ends an endless run, quietly."""
    reading, writing = os.pipe()
    process = start("cli_blocking:job", "-e", executor, wait=False, stdin=reading)
    os.close(reading)

    def write():
        with contextlib.suppress(BrokenPipeError), open(writing, "w") as items:
            while True:
                items.write("a\n" * 1000)

    threading.Thread(target=write, daemon=True).start()
    assert process.stdout.readline() == "A\n"
    process.stdout.close()

    assert process.wait(timeout=60) == 141
    assert process.stderr.read() == ""
    ends(process.pid)


def test_a_full_disk(start):
    """Results that cannot be written end the run with what is wrong."""
    with open("/dev/full", "w") as full:
        process = start("cli_blocking:job", "a", "b", wait=False, stdout=full)
        err = process.stderr.read()

    assert process.wait(timeout=60) == 2
    assert err == "connectors run: [Errno 28] No space left on device\n"


def test_results_and_bar_share_a_terminal(start):
    """On a terminal results stand above the bar, and Ctrl-C gives the cursor back."""
    import pty

    ours, theirs = pty.openpty()
    process = start(
        "cli_blocking:job", "a", "block", "-e", "threading", stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 130

    told = b""
    with contextlib.suppress(OSError):  # the terminal is gone when its last user is
        while block := os.read(ours, 1 << 16):
            told += block
    os.close(ours)

    hidden, shown = told.rfind(b"\x1b[?25l"), told.rfind(b"\x1b[?25h")
    assert b"A\r\n" in told
    assert b"/2" in told or hidden == -1
    assert shown >= hidden
    assert b"interrupted" in told


def test_held_signals_come_at_the_end_of_the_block():
    """A signal in a held block interrupts at its end, and a second one at once."""
    done = []

    with Interrupts(active=True) as interrupts, pytest.raises(Interrupted) as caught:
        with interrupts.held():
            signal.raise_signal(signal.SIGTERM)
            done.append("written")
    assert (done, caught.value.code) == (["written"], 143)

    with Interrupts(active=True) as interrupts, pytest.raises(Interrupted) as caught:
        with interrupts.held():
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
            done.append("never")
    assert (done, caught.value.code) == (["written"], 130)


def test_signals_are_given_back_and_ignored_ones_left():
    """Handlers are those of before in the end, and what is ignored stays ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts(active=True):
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            assert signal.getsignal(signal.SIGINT) != signal.default_int_handler
        assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
        with Interrupts(active=False):
            assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
    finally:
        signal.signal(signal.SIGHUP, before)


def test_systems_without_signal_masks(monkeypatch):
    """Where there are no signal masks, calls run as they are."""
    monkeypatch.setattr(_interrupts, "_HAS_MASKS", False)

    assert not _interrupts.prepare(connectors.executor("multiprocessing"))
    assert _interrupts.hearing(abs, -1) == 1
