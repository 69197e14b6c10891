"""``connectors tasks run``: tasks of a file, from the command line."""

import json
import signal
import subprocess
import sys
import textwrap

import pytest

from connectors.cli import main
from connectors.tasks import TaskGroup

JOBS = """
import sys
import threading
from connectors.tasks import AbstractExecutorTask

def say(line):
    sys.stdout.write(line)  # not print, which writes the end of the line by itself
    sys.stdout.flush()

class Job(AbstractExecutorTask):
    def __init__(self, name, what="wait"):
        super().__init__()
        self.name, self.what = name, what
        self.stopping = threading.Event()

    @property
    def id(self):
        return self.name

    def start(self):
        say(f"begins {self.name}\\n")
        if self.what == "fail":
            raise ValueError("it broke")
        if self.what == "deaf":
            threading.Event().wait(30)
        if self.what == "wait":
            self.stopping.wait(30)
        if self.what == "table":
            return {(1, 2): 3}
        return self.what

    def stop(self):
        say(f"told {self.name}\\n")
        self.stopping.set()

    def create_async_task(self, loop): ...

class BadStop(Job):
    def stop(self):
        super().stop()
        raise OSError("the line is dead")

class SlowStop(Job):
    def stop(self):
        say(f"told {self.name}\\n")
        threading.Event().wait(30)

def broken():
    raise OSError("no room")

def leaves():
    raise SystemExit(9)

def no_task():
    return 17
"""


@pytest.fixture
def place(tmp_path, monkeypatch, registry):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cli_jobs.py").write_text(JOBS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cli_jobs", raising=False)
    return tmp_path


def config(place, *tables, top="executor = 'threading'"):
    text = "\n".join([top, *(f"[[tasks]]\n{textwrap.dedent(table)}" for table in tables)])
    (place / "tasks.toml").write_text(text)
    return ["tasks", "run", "tasks.toml"]


def job(name, what):
    return f"task = 'cli_jobs:Job'\nargs = ['{name}']\nwith = {{ what = '{what}' }}"


def test_all_end_well(place, capsys):
    """Tasks run to their end; each has a line."""
    assert main(config(place, job("a", "one"), job("b", "two"))) == 0
    said = capsys.readouterr().out
    assert "a: done (returned 'one')\nb: done (returned 'two')\n" in said


@pytest.mark.parametrize("policy", ["propagate", "stop_all"])
def test_one_fails(place, capsys, policy):
    """The others are stopped, each is reported, and the exit code is 1."""
    words = config(place, job("a", "wait"), job("b", "fail"))
    assert main([*words, "--on-failure", policy]) == 1
    said = capsys.readouterr().out
    assert "told a" in said
    assert "a: done (returned 'wait')\nb: failed (ValueError: it broke)\n" in said


def test_json(place, capsys):
    """With --json there is an object for each task."""
    assert main([*config(place, job("a", "one"), job("b", "fail")), "--json"]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    first, second = map(json.loads, lines)
    assert first == {
        "id": "a",
        "state": "done",
        "value": "one",
        "error": None,
        "exit_code": None,
        "signal": None,
    }
    assert (second["state"], second["error"]) == ("failed", "ValueError: it broke")


def test_json_of_what_is_none(place, capsys):
    """What JSON cannot tell is told as Python shows it."""
    assert main([*config(place, job("a", "table")), "--json"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert json.loads(line)["value"] == "{(1, 2): 3}"


def test_a_stop_that_raises(place, capsys):
    """The error of a task's `stop` is told, with the name of the task."""
    words = config(place, job("a", "wait").replace("Job", "BadStop"), job("b", "fail"))
    assert main(words) == 1
    said = capsys.readouterr()
    assert "OSError: the line is dead (while task a was told to stop)" in said.err
    assert "a: done (returned 'wait')\nb: failed (ValueError: it broke)\n" in said.out


def test_no_tasks(place, capsys):
    """An empty list of tasks is none too many."""
    (place / "tasks.toml").write_text("tasks = []")
    assert main(["tasks", "run", "tasks.toml"]) == 0


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("executr = 'threading'", "'executr' means nothing.*Did you mean 'executor'"),
        ("executor = 3", "executor = 3: it has to be of type str or list"),
        ("tasks = [3]", r"tasks\[0\] is no table"),
        ("[[tasks]]\nargs = []", r"tasks\[0\] has no 'task'"),
        ("[[tasks]]\ntask = 'cli_jobs:Job'\nargz = []", r"'tasks\[0\].argz' means nothing"),
        ("[[tasks]]\ntask = 'cli_jobs:Jb'", r"tasks\[0\], 'cli_jobs:Jb'.*there is no 'Jb'"),
        ("[[tasks]]\ntask = 'cli_jobs:broken'", r"OSError: no room"),
        ("[[tasks]]\ntask = 'cli_jobs:no_task'", r"tasks\[0\] is 17, no task"),
        ("[[tasks]]\ntask = 'strange'", "no task of this name is installed"),
        ("on_failure = 'explode'", "no failure policy 'explode'"),
        ("[options]\nthreds = 3", "threds"),
        ("[options]\nexecutor = 'x'", "options.executor is no option.*write executor at the top"),
        ("[options]\nlogger = 'x'", "options.logger is no option"),
        ("[[tasks]]\ntask = 'cli_jobs:leaves'", r"tasks\[0\].*SystemExit: 9"),
        ("executor = 'threading'", r"tasks.toml: there are no tasks in it; begin.*\[\[tasks\]\]"),
        ("stop_timeout = -1", r"tasks.toml: .*stop_timeout=-1; expected seconds"),
        ("stop_timeout = nan", r"stop_timeout=nan; expected seconds"),
        ("= 3", "no TOML"),
    ],
)
def test_mistakes(place, capsys, text, complaint):
    """A mistake of the file is told with its place, and the exit code is 2."""
    (place / "tasks.toml").write_text(text)
    assert main(["tasks", "run", "tasks.toml"]) == 2
    import re

    assert re.search(complaint, capsys.readouterr().err)


def test_no_file(place, capsys):
    """A file that is not there is told."""
    assert main(["tasks", "run", "nowhere.toml"]) == 2
    assert "nowhere.toml" in capsys.readouterr().err


def test_registered_tasks(place, capsys, monkeypatch):
    """A name without a colon is that of an entry point of `connectors.tasks`."""
    info = place / "jobs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: jobs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[connectors.tasks]\nmy-job = cli_jobs:Job\n")
    assert main(config(place, "task = 'my-job'\nargs = ['a', 'one']")) == 0
    assert "a: done (returned 'one')" in capsys.readouterr().out


def run_until(place, words, *moments):
    """Run the program; send Ctrl-C when the text of a moment was said so many times, in turn."""
    process = subprocess.Popen(
        [sys.executable, "-m", "connectors", *words],
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said, awaited = "", list(moments)
        for line in process.stdout:
            said += line
            if awaited and said.count(awaited[0][0]) >= awaited[0][1]:
                awaited.pop(0)
                process.send_signal(signal.SIGINT)
        return process.wait(30), said
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


def test_ctrl_c_stops_in_order(place):
    """Ctrl-C stops all in order and reports each one; nothing failed, so the exit code is 0."""
    words = config(place, job("a", "wait"), job("b", "wait"))
    code, said = run_until(place, words, ("begins", 2))
    assert code == 0, said
    assert said.index("told a") < said.index("told b")
    assert "a: done (returned 'wait')\nb: done (returned 'wait')\n" in said


def test_ctrl_c_and_a_failure(place):
    """Under log_only the others go on until Ctrl-C, and the exit code is 1."""
    words = config(
        place, job("a", "wait"), job("b", "fail"), top="executor='threading'\non_failure='log_only'"
    )
    code, said = run_until(place, words, ("task b failed", 1))
    assert code == 1, said
    assert "a: done (returned 'wait')\nb: failed (ValueError: it broke)\n" in said


def test_ctrl_c_and_a_task_that_does_not_stop(place):
    """After `stop_timeout` a thread is abandoned, and does not hold up the exit."""
    words = config(place, job("a", "deaf"))
    code, said = run_until(place, [*words, "--stop-timeout", "0.2"], ("begins", 1))
    assert code == 0, said
    assert "a: abandoned" in said


@pytest.mark.parametrize(("kind", "moment"), [("Job", "told b"), ("SlowStop", "told a")])
def test_a_second_ctrl_c(place, kind, moment):
    """A second Ctrl-C ends the waiting at once, also for the `stop` of a task."""
    words = config(place, job("a", "deaf").replace("Job", kind), job("b", "wait"))
    code, said = run_until(place, words, ("begins", 2), (moment, 1))
    assert code == 0, said
    assert "told b" in said
    assert "a: abandoned\n" in said


def test_ctrl_c_between_two_steps(place, capsys, monkeypatch):
    """A Ctrl-C that comes when the block is entered, and not yet left, stops the tasks too."""

    def interrupted(self, *error):
        raise KeyboardInterrupt

    monkeypatch.setattr(TaskGroup, "__exit__", interrupted)
    assert main(config(place, job("a", "wait"))) == 0
    assert "told a\na: done (returned 'wait')\n" in capsys.readouterr().out
