"""The launcher of `examples/`: T-6 to T-10, and every mode with every policy."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
PROGRAM = EXAMPLES / "launcher.py"


@pytest.fixture
def launcher(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    import launcher

    return launcher


@pytest.fixture
def directories(tmp_path):
    """Three directories, of which the second has a file that is no text."""
    for name in ("first", "bad", "third"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "letter.txt").write_text("a few words")
    (tmp_path / "bad" / "photograph.txt").write_bytes(b"\xff\xd8")
    return tmp_path


def launch(place, *arguments, until="workers run"):
    """Start the program, send it Ctrl-C when it has said *until*, and return what it did."""
    process = subprocess.Popen(
        [sys.executable, PROGRAM, *arguments],
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said = []
        for line in process.stdout:
            said.append(line)
            if until in line:
                process.send_signal(signal.SIGINT)
        return process.wait(30), "".join(said)
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


def test_t6_a_task_that_never_started(launcher, tmp_path):
    """T-6: it has not failed, and its stop does not set its event."""
    task = launcher.ProcessTask(str(tmp_path))
    assert not task.failed
    task.stop()
    assert not task.stopping.is_set()


def test_t7_the_body_in_a_thread(launcher, directories):
    """T-7: the child's body returns when its event is set."""
    stopping, codes = threading.Event(), []
    place = str(directories / "first")
    thread = threading.Thread(target=lambda: codes.append(launcher.run_worker(place, stopping)))
    thread.start()
    assert thread.is_alive()
    stopping.set()
    thread.join(20)
    assert codes == [0]


@pytest.mark.parametrize("mode", ["multiprocess", "threaded", "async"])
@pytest.mark.parametrize("names", [("first", "third"), ("first",)])
def test_t8_ctrl_c(directories, mode, names):
    """T-8: all are reported with exit code 0, and so is the launcher."""
    code, said = launch(directories, "--mode", mode, *names)
    assert code == 0, said
    for name in names:
        assert f"{name}: " in said
        assert "exit code 0" in said.partition(f"{name}: ")[2].splitlines()[0]


@pytest.mark.parametrize("mode", ["multiprocess", "threaded"])
def test_t9_one_fails(directories, mode):
    """T-9: the healthy one goes on until Ctrl-C and is reported 0; the launcher exits 1."""
    code, said = launch(directories, "--mode", mode, "first", "bad", until="ERROR task bad")
    assert code == 1, said
    assert "first: done, exit code 0" in said
    assert "bad: failed, exit code 1 (UnicodeDecodeError)" in said


def test_t10_no_directory(directories):
    """T-10: a directory that does not exist: exit code 1."""
    code, said = launch(directories, "first", "nowhere")
    assert code == 1
    assert "there is no directory 'nowhere'" in said


def test_repeated_names_are_dropped(launcher, directories, monkeypatch):
    """The first of repeated names is kept, and the order too."""
    monkeypatch.chdir(directories)
    made = launcher.Launcher(["third", "first", "third"], "threaded", "log_only")
    assert [task.id for task in made.tasks] == ["third", "first"]


@pytest.mark.parametrize("policy", ["log_only", "stop_all", "propagate"])
@pytest.mark.parametrize("mode", ["multiprocess", "threaded", "async"])
def test_every_mode_with_every_policy(launcher, directories, monkeypatch, capsys, mode, policy):
    """Of three workers one fails; the others end well, and only propagate raises."""
    monkeypatch.chdir(directories)
    assert launcher.launch(["first", "bad", "third"], mode, policy, 1.0) == 1
    said = capsys.readouterr().out
    assert "first: done, exit code 0" in said
    assert "third: done, exit code 0" in said
    assert "bad: failed, exit code 1 (UnicodeDecodeError)" in said
    assert ("raised: UnicodeDecodeError" in said) is (policy == "propagate")
