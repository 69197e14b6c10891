"""``connectors run``: targets, items, results, failures, and what bad input gets."""

from __future__ import annotations

import concurrent.futures
import io
import json
import os
import queue
import sys
import textwrap
import threading
import types

import cloudpickle
import pytest

import connectors
from connectors import Capabilities, Executor, Parallelization
from connectors.cli import _items, _report, _run, _stream, main
from connectors.cli._interrupts import Interrupted, Interrupts

JOBS = """
    import asyncio
    import dataclasses
    import os
    import pathlib
    import threading
    import time

    import connectors

    LIMIT = 3
    host = connectors.Host("jobs")

    def shout(text):
        return text.upper()

    def double_late(number):
        time.sleep(0.2)
        return 2 * number

    def double(value):
        return 2 * value

    def here(_):
        return f"{os.getpid()} {threading.current_thread() is threading.main_thread()}"

    def picky(text):
        if text.startswith("bad"):
            raise ValueError(f"{text} is bad")
        return text

    async def later(text):
        await asyncio.sleep(0)
        return text + "!"

    def leave(_):
        raise SystemExit(5)

    def interrupt(text):
        if text == "stop":
            raise KeyboardInterrupt
        return text

    @host.connector(parallelization=connectors.Parallelization.PROCESS, name="pid")
    def pid(_):
        return os.getpid()

    class Camera:
        def __init__(self):
            self.zoom = 3

        @host.connector
        def read(self, text):
            return text * self.zoom

    camera = Camera()

    @dataclasses.dataclass
    class Point:
        x: int

    def rich_data(_):
        return {"point": Point(1), "path": pathlib.PurePosixPath("a"), "set": {1}}

    def odd_data(_):
        return object()
"""


@pytest.fixture(autouse=True)
def jobs(registry, tmp_path, monkeypatch):
    """A directory with the module ``cli_jobs``, which is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "cli_jobs.py").write_text(textwrap.dedent(JOBS))
    known = set(sys.modules)
    yield
    for name in cloudpickle.list_registry_pickle_by_value():
        cloudpickle.unregister_pickle_by_value(types.ModuleType(name))
    for name in set(sys.modules) - known:
        if str(tmp_path) in (getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]


def run(capsys, *words):
    code = main(["run", *words])
    out, err = capsys.readouterr()
    return code, out, err


def refused(capsys, *words):
    code, out, err = run(capsys, *words)
    assert code == 2, err
    assert "Traceback" not in err
    assert len(err.splitlines()) <= 24
    return err


@pytest.fixture
def feed(monkeypatch, tmp_path):
    """A function that makes a text standard input."""

    def feed(text):
        path = tmp_path / "stdin"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        monkeypatch.setattr(sys, "stdin", path.open())

    opened = sys.stdin
    yield feed
    if sys.stdin is not opened:
        sys.stdin.close()


@pytest.mark.parametrize("executor", ["sequential", "threading", "multiprocessing", "trio"])
def test_results_are_lines_in_order(capsys, executor):
    """Each result is a line, in the order of the items, on whatever executor."""
    code, out, err = run(capsys, "cli_jobs:shout", "a", "b", "c", "-e", executor)

    assert (code, out, err) == (0, "A\nB\nC\n", "")


def test_options_may_stand_anywhere(capsys):
    """Items may be typed before and after options; what follows ``--`` is an item."""
    words = ["cli_jobs:shout", "a", "-e", "threading", "b", "-1", "-o", "threads=2", "--", "--c"]

    assert run(capsys, *words)[1] == "A\nB\n-1\n--C\n"


def test_the_executor_of_the_settings(capsys, monkeypatch):
    """Without ``--executor`` the configured one runs the items, with its options from ``-o``."""
    monkeypatch.setenv("CONNECTORS_EXECUTOR", "sequential")

    assert run(capsys, "cli_jobs:here", "x")[1] == f"{os.getpid()} True\n"
    assert "'sequential' has no option 'threads'" in refused(
        capsys, "cli_jobs:here", "x", "-o", "threads=2"
    )


def test_first_of_several_executors(capsys):
    """Of several names the first that is installed and opens is taken."""
    assert run(capsys, "cli_jobs:shout", "a", "-e", "dask,sequential")[:2] == (0, "A\n")


def test_the_wish_is_granted_or_told(capsys, caplog):
    """``--wish`` says how far away items run; what the executor cannot grant is told."""
    _, out, _ = run(capsys, "cli_jobs:here", "x", "-e", "threading", "--wish", "sequential")
    assert out == f"{os.getpid()} True\n"

    _, out, _ = run(capsys, "cli_jobs:here", "x", "-e", "threading", "--wish", "process")
    assert out == f"{os.getpid()} False\n"
    assert "'threading' has no level PROCESS: items run as THREAD" in caplog.text


def test_processes_are_other_ones(capsys):
    """Items run in worker processes where the executor has them."""
    _, out, _ = run(capsys, "cli_jobs:here", "x", "-e", "multiprocessing", "-o", "processes=1")

    assert out.split()[0] != str(os.getpid())


def test_async_targets(capsys):
    """An ``async def`` function is awaited in the executor's loop."""
    assert run(capsys, "cli_jobs:later", "a", "b")[:2] == (0, "a!\nb!\n")


def test_paths_are_targets(capsys, tmp_path):
    """A path names a module as well, and the modules beside it can be imported, also by workers."""
    away = tmp_path / "away"
    away.mkdir()
    (away / "cli_beside.py").write_text("def add(x): return x + '+'\n")
    (away / "cli_by_path.py").write_text("import cli_beside\ndef f(x): return cli_beside.add(x)\n")

    words = ["-e", "multiprocessing", "-o", "processes=1", "a"]

    assert run(capsys, "away/cli_by_path.py:f", *words)[:2] == (0, "a+\n")


@pytest.mark.parametrize("name", ["cli.dotted.py", "json.py"])
def test_paths_that_cannot_be_imported_travel_by_value(capsys, tmp_path, name):
    """A file whose name is no module's, or another module's, runs in workers all the same."""
    (tmp_path / name).write_text("STEP = '+'\ndef f(x): return x + STEP\n")

    words = ["-e", "multiprocessing", "-o", "processes=1", "a"]

    assert run(capsys, f"./{name}:f", *words)[:2] == (0, "a+\n")
    assert json.loads("1") == 1


def test_remote_workers_get_a_file_by_value(capsys, monkeypatch, tmp_path):
    """A file that was named by its path goes along to machines that do not have it."""

    class Remote(Executor):
        capabilities = Capabilities(remote=True)

    connectors.register("faraway", Remote)
    monkeypatch.setattr(cloudpickle, "register_pickle_by_value", seen := [].append)
    taken = seen.__self__

    assert run(capsys, "cli_jobs.py:shout", "a", "-e", "faraway")[0] == 0
    assert [module.__name__ for module in taken] == ["cli_jobs"]


def test_connector_methods_keep_their_route(capsys, monkeypatch, tmp_path):
    """A connector method runs where its decorator and the settings say, unless it was typed."""
    settings = tmp_path / "settings.toml"
    settings.write_text(
        "[methods.'jobs.pid']\nexecutor = 'multiprocessing'\n"
        "[executors.multiprocessing]\nprocesses = 1\n"
    )
    monkeypatch.setenv("CONNECTORS_CONFIG", str(settings))

    _, routed, _ = run(capsys, "cli_jobs:pid", "x")
    _, typed, _ = run(capsys, "cli_jobs:pid", "x", "-e", "threading")

    assert int(routed) != os.getpid()
    assert int(typed) == os.getpid()


def test_connector_methods_of_an_object(capsys):
    """A connector method of an object in the module is called on this object."""
    assert run(capsys, "cli_jobs:camera.read", "ab")[:2] == (0, "ababab\n")


def test_executors_of_hosts(capsys):
    """A method of a host with an executor of its own runs there, and that takes no options."""
    code = "import connectors\nexecutor = connectors.executor('sequential')\n"
    code += (
        "host = connectors.Host('own', executor=executor)\n@host.connector\ndef f(x): return x\n"
    )
    with open("cli_own.py", "w") as file:
        file.write(code)

    err = refused(capsys, "cli_own:f", "x", "-o", "threads=1")

    assert "takes no options" in err
    assert run(capsys, "cli_own:f", "x")[:2] == (0, "x\n")


def test_items_of_a_file(capsys, tmp_path):
    """``--input`` reads one item per line; an empty line is one, the end of the file is not."""
    (tmp_path / "items").write_bytes(b"a\r\n\nb")

    assert run(capsys, "cli_jobs:shout", "--input", "items")[1] == "A\n\nB\n"


def test_items_of_standard_input(capsys, feed):
    """Without arguments items are the lines of standard input, as bytes would have them."""
    feed(b"a\n\xff\n" + b"x" * 200_000 + b"\nlast\n")

    code, out, _ = run(capsys, "cli_jobs:double", "-i", "-")

    assert code == 0
    first, odd, long, last = out.splitlines()
    assert (first, len(long), last) == ("aa", 400_000, "lastlast")
    assert odd in ("\\udcff" * 2, "\udcff" * 2)


def test_json_lines(capsys, feed):
    """With ``--json-lines`` a line is a value, an object a dict, and an empty line is none."""
    feed('4\n\n[1]\n{"a": 1}\n')

    code, out, _ = run(capsys, "cli_jobs:double", "--json-lines", "--on-error", "skip")

    assert (code, out) == (1, "8\n[1, 1]\n")


def test_json_results(capsys):
    """With ``--json`` each item has one object, with its number and its result or its error."""
    words = ["a", "bad", "c", "--json", "--on-error", "skip"]

    code, out, err = run(capsys, "cli_jobs:picky", *words)

    assert code == 1
    assert [json.loads(line) for line in out.splitlines()] == [
        {"number": 1, "item": "a", "result": "a"},
        {"number": 2, "item": "bad", "error": {"type": "ValueError", "message": "bad is bad"}},
        {"number": 3, "item": "c", "result": "c"},
    ]
    assert "argument 2, 'bad': ValueError: bad is bad (cli_jobs.py, line " in err


def test_json_of_richer_results(capsys):
    """Data classes, paths and sets are written as data; what is no data is a failure."""
    code, out, _ = run(capsys, "cli_jobs:rich_data", "x", "--json")
    odd_code, _, err = run(capsys, "cli_jobs:odd_data", "x", "--json")

    assert code == 0
    assert json.loads(out)["result"] == {"point": {"x": 1}, "path": "a", "set": [1]}
    assert odd_code == 1
    assert "leave out --json" in err


def test_json_of_numpy_results():
    """Arrays become lists."""
    numpy = pytest.importorskip("numpy")

    assert _report._as_data(numpy.arange(2)) == [0, 1]
    assert _report._as_data(connectors.events.ExecutorOpened(executor="x", time=1.0)) == {
        "executor": "x",
        "time": 1.0,
    }


def test_stop_begins_nothing_more(capsys):
    """By default a failure ends the run: what follows is not begun, what preceded is written."""
    words = ["a", "bad1", "bad2", "c", "-e", "sequential"]

    code, out, err = run(capsys, "cli_jobs:picky", *words)

    assert (code, out) == (1, "a\n")
    assert "bad2" not in err
    assert "2 items, 1 done, 1 failed (1 ValueError); stopped at the first failure" in err


def test_skip_goes_on(capsys):
    """With ``--on-error skip`` all items run, and the summary counts failures by their kind."""
    words = ["bad1", "a", "bad2", "c", "--on-error", "skip"]

    code, out, err = run(capsys, "cli_jobs:picky", *words)

    assert (code, out) == (1, "a\nc\n")
    assert "4 items, 2 done, 2 failed (2 ValueError)" in err


def test_text_is_no_number(capsys):
    """Who gives numbers to a function of numbers is told how."""
    assert "--json-lines 4 is a number" in run(capsys, "math:sqrt", "4")[2]
    assert run(capsys, "math:sqrt", "4", "--json-lines")[1] == "2.0\n"


def test_tracebacks_on_demand(capsys):
    """``--traceback`` prints where a failure came from; without it there is one line."""
    assert "Traceback" in run(capsys, "cli_jobs:picky", "bad", "--traceback")[2]
    assert "Traceback" not in run(capsys, "cli_jobs:picky", "bad")[2]


def test_limits(capsys):
    """``--timeout`` and ``--retries`` hold for each item."""
    with open("cli_limits.py", "w") as file:
        file.write(
            "import threading\n"
            "seen = []\n"
            "def flaky(x):\n"
            "    seen.append(x)\n"
            "    if len(seen) < 3: raise OSError('not yet')\n"
            "    return len(seen)\n"
            "gate = threading.Event()\n"
            "def stuck(x): gate.wait()\n"
        )

    assert run(capsys, "cli_limits:flaky", "x", "--retries", "2")[:2] == (0, "3\n")
    try:
        code, _, err = run(capsys, "cli_limits:stuck", "x", "--timeout", "0.05")
    finally:
        sys.modules["cli_limits"].gate.set()
    assert code == 1
    assert "CallTimeoutError" in err


def test_calls_that_want_to_leave(capsys):
    """`SystemExit` in a call fails its item only."""
    code, _, err = run(capsys, "cli_jobs:leave", "x", "-e", "threading")

    assert code == 1
    assert "SystemExit: 5" in err


def test_interrupt_in_a_call(capsys):
    """Ctrl-C in the middle of a run: what is done is written, the rest is not run, the code 130."""
    words = ["a", "stop", "b", "-e", "sequential"]

    code, out, err = run(capsys, "cli_jobs:interrupt", *words)

    assert (code, out) == (130, "a\n")
    assert err == "connectors run: 1 item, 1 done, 0 failed; interrupted, the rest was not run\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["cli_jobs"], ["'cli_jobs'", "module:function or path.py:function"]),
        (["cli_jobs.shout", "x"], ["Did you mean 'cli_jobs:shout'?"]),
        (["cli_jobs.py", "x"], ["cli_jobs.py:main"]),
        (["cli_jobs:", "x"], ["'cli_jobs:'"]),
        (["no_such:f", "x"], ["there is no module 'no_such'"]),
        (["no_such.inner:f", "x"], ["there is no module 'no_such.inner'"]),
        (["..cli_jobs:f", "x"], ["..cli_jobs"]),
        (["cli_job.py:shout", "x"], ["there is no file", "Did you mean 'cli_jobs.py'?"]),
        (["gone/cli_jobs.py:shout", "x"], ["there is no file"]),
        (["./stdin:f", "x"], ["no file"]),
        (["cli_jobs:shuot", "x"], ["'shuot'", "cli_jobs.py", "Did you mean 'shout'?"]),
        (["cli_jobs:Camera.raed", "x"], ["'raed' in 'Camera'"]),
        (["sys:nothing", "x"], ["'nothing' in 'sys'"]),
        (["cli_jobs:LIMIT", "x"], ["cannot be called", "int"]),
        (["cli_jobs:shout", "x", "-e", "dsk"], ["no executor 'dsk'", "installed: sequential"]),
        (["cli_jobs:shout", "x", "-e", "  "], ["has no name"]),
        (["cli_jobs:shout", "x", "-o", "thread=1"], ["Did you mean 'threads'?"]),
        (["cli_jobs:shout", "x", "--timeout", "soon"], ["--timeout soon", "float or None"]),
        (["cli_jobs:shout", "x", "--retries", "-1"], ["--retries -1", "at least 0"]),
        (["cli_jobs:shout", "x", "--in-flight", "0"], ["--in-flight", "at least 1"]),
        (["cli_jobs:shout", "x", "--on-error", "ignore"], ["--on-error", "'skip'"]),
        (["cli_jobs:shout", "x", "--input", "y"], ["--input y", "arguments"]),
        (["cli_jobs:shout", "--input", "gone"], ["--input gone", "No such file"]),
        (["cli_jobs:shout", "--input", "."], ["--input .", "directory"]),
        (["cli_jobs:shout", "x", "--bogus"], ["--bogus"]),
    ],
)
def test_usage_errors(capsys, words, told):
    """What was typed wrong is named, with its place and its cure, and the exit code is 2."""
    err = refused(capsys, *words)

    assert all(part in err for part in told), err


@pytest.mark.parametrize("place", ["cli_raises:f", "cli_raises.py:f", "cli.raises.py:f"])
@pytest.mark.parametrize("code", ["1 / 0", "raise SystemExit(3)", "import no_such_thing"])
def test_targets_that_cannot_be_imported(capsys, tmp_path, place, code):
    """What a module raises when it is imported is told with its line, without a traceback."""
    (tmp_path / "cli_raises.py").write_text(f"\n\n{code}\n")
    (tmp_path / "cli.raises.py").write_text(f"\n\n{code}\n")

    err = refused(capsys, place, "x")

    assert "cannot be imported" in err
    assert "raises.py, line 3" in err


def test_a_parent_package_that_cannot_be_imported(capsys, tmp_path):
    """A target in a package whose own import fails tells the reason of the package."""
    package = tmp_path / "cli_package"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('the engine is missing')\n")
    (package / "inner.py").write_text("")

    assert "the engine is missing" in refused(capsys, "cli_package.inner:f", "x")


def test_a_file_that_is_no_python(capsys, tmp_path):
    """A path that exists and is no Python file is named as such."""
    (tmp_path / "notes.txt").write_text("hello")

    assert "has to end in .py" in refused(capsys, "./notes.txt:f", "x")


@pytest.mark.parametrize("place", ["file", "standard input", "arguments"])
def test_a_line_that_is_no_json(capsys, tmp_path, feed, place):
    """A line that is no JSON is named with its number; what stands before it has run."""
    (tmp_path / "lines").write_text('1\n\n{"a: 1}\n2\n')
    feed('1\n\n{"a: 1}\n2\n')
    words = {
        "file": ["--input", "lines"],
        "standard input": [],
        "arguments": ["1", " ", '{"a: 1}', "2"],
    }[place]

    code, out, err = run(capsys, "cli_jobs:double", "--json-lines", *words)

    assert (code, out) == (2, "2\n")
    assert {"file": "lines, line 3", "standard input": "standard input, line 3"}.get(
        place, "argument 3"
    ) in err
    assert """'{"a: 1}'""" in err
    assert "leave out --json-lines" in err


def test_nothing_begins_after_a_line_that_is_no_json(capsys):
    """Such a line ends it also while items before it are under way."""
    words = ["1", '{"a: 1}', "2", "--json-lines", "-e", "threading"]

    code, out, _ = run(capsys, "cli_jobs:double_late", *words)

    assert (code, out) == (2, "2\n")


def test_a_line_that_is_no_json_can_be_skipped(capsys):
    """With ``--on-error skip`` the items after such a line run, and the code still is 2."""
    words = ["1", "x" * 100, "2", "--json-lines", "--on-error", "skip"]

    code, out, err = run(capsys, "cli_jobs:double", *words)

    assert (code, out) == (2, "2\n4\n")
    assert "x" * 57 + "..." in err
    assert "x" * 60 not in err


def test_items_that_are_typed(capsys, feed, monkeypatch):
    """Who types items at a terminal is told that they are waited for, and how they end."""
    feed("a\n")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)

    code, out, err = run(capsys, "cli_jobs:shout")

    assert (code, out) == (0, "A\n")
    assert "Ctrl-D" in err


def test_no_standard_input(capsys, monkeypatch):
    """Where there is no standard input, one is told where items can come from."""
    monkeypatch.setattr(sys, "stdin", None)

    assert "--input" in refused(capsys, "cli_jobs:shout")


def test_an_executor_that_does_not_open(capsys):
    """That an executor does not open is told once, and is no failure of an item."""

    class Stuck(Executor):
        capabilities = Capabilities(levels={Parallelization.THREAD})

        def pools(self):
            def pool():
                raise OSError("no licence")

            return {Parallelization.THREAD: pool}

    connectors.register("stuck_one", Stuck)

    err = refused(capsys, "cli_jobs:shout", "a", "b", "-e", "stuck_one")

    assert err.count("no licence") == 1


def test_arguments_that_cannot_travel(capsys):
    """Under ``strict`` an item whose call cannot run as wished fails, and only that."""
    words = ["a", "-e", "threading", "-o", "strict=yes", "--wish", "process"]

    code, _, err = run(capsys, "cli_jobs:shout", *words)

    assert code == 1
    assert "FallbackError" in err


def test_a_bar_on_a_terminal(capsys, monkeypatch):
    """On a terminal a bar shows how far it is, around the results, and is gone at the end."""
    monkeypatch.setenv("TERM", "xterm")
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)

    code, out, err = run(capsys, "cli_jobs:picky", "a", "bad", "[c]", "--on-error", "skip")

    assert code == 1
    assert "2/3" in out or "3/3" in out
    assert "\na\n" in out.replace("\x1b[2K", "").replace("\r", "\n")
    assert "[c]\n" in out
    assert "1 failed" in err


def test_a_bar_beside_a_pipe(capsys, monkeypatch, tmp_path):
    """Where results go to a pipe nothing but results goes there, and the bar to the terminal."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    (tmp_path / "items").write_text("a\nb")

    code, out, err = run(capsys, "cli_jobs:shout", "--input", "items")
    _, _, quiet = run(capsys, "cli_jobs:shout", "a", "--no-progress")

    assert (code, out) == (0, "A\nB\n")
    assert "/2" in err
    assert quiet == "connectors run: 1 item, 1 done, 0 failed\n"


def test_lines_are_counted_in_files_only(tmp_path):
    """How many items there are is known of a file, and not of what is read once or is empty."""
    (tmp_path / "items").write_text("a\nb\nc")
    (tmp_path / "empty").write_text("")
    reading, writing = os.pipe()

    try:
        assert _items.items_of([], str(tmp_path / "items"), as_json=False).count() == 3
        assert _items.items_of([], str(tmp_path / "empty"), as_json=False).count() is None
        assert _items._count_lines(reading) is None
        assert _items.items_of(["a"], None, as_json=False).count() == 1
    finally:
        os.close(reading)
        os.close(writing)


def test_output_of_a_narrow_encoding(monkeypatch):
    """A result that the output's encoding does not have is written with escapes."""
    written = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", written)

    assert main(["run", "cli_jobs:shout", "é"]) == 0

    written.seek(0)
    assert written.read() == "\\xc9\n"


def test_a_reader_that_is_gone(capsys, monkeypatch):
    """A reader that takes no more results ends the run quietly."""

    class Gone(io.StringIO):
        def flush(self):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Gone())

    assert main(["run", "cli_jobs:shout", "a", "b"]) == 141
    assert capsys.readouterr().err == ""


def test_room_follows_the_workers():
    """Many workers have many items under way."""
    with connectors.executor("threading", threads=1000) as executor:
        assert _run._room(executor) == 2000
    with connectors.executor("sequential") as executor:
        assert _run._room(executor) >= 16


class Notes:
    """A report that keeps what it is told."""

    def __init__(self):
        self.told = queue.SimpleQueue()

    def result(self, item, value):
        self.told.put((item.number, value))
        return True

    def failure(self, item, error):
        self.told.put((item.number, type(error).__name__))

    def problem(self, item):
        self.told.put((item.number, "problem"))

    def flush(self):
        pass

    def all(self):
        return [self.told.get_nowait() for _ in range(self.told.qsize())]


class Bench:
    """A stream whose calls end when the test says so."""

    def __init__(self, **how):
        self.notes = Notes()
        self.begun = queue.SimpleQueue()
        how = {"limit": 4, "ordered": True, "stop": True, **how}
        self.stream = _stream.Stream(self.begin, self.notes, Interrupts(active=False), **how)

    def begin(self, value):
        future = concurrent.futures.Future()
        self.begun.put((value, future))
        return future

    def start(self, items):
        def run():
            try:
                self.stream.run(items)
            except Exception as error:
                self.error = error

        self.error = None
        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def join(self):
        self.thread.join(30)
        assert not self.thread.is_alive()


def items(count):
    return (_items.Item(number, number, f"argument {number}") for number in range(1, count + 1))


def test_results_wait_for_their_turn():
    """In order, a result that comes early waits for those before it."""
    bench = Bench()
    bench.start(items(2))
    (_, first), (_, second) = bench.begun.get(), bench.begun.get()

    second.set_result("b")
    first.set_result("a")
    bench.join()

    assert bench.notes.all() == [(1, "a"), (2, "b")]


def test_results_as_they_come():
    """Without an order, a result is told although an earlier item is not done."""
    bench = Bench(ordered=False)
    bench.start(items(2))
    (_, first), (_, second) = bench.begun.get(), bench.begun.get()

    second.set_result("b")
    assert bench.notes.told.get() == (2, "b")
    first.set_result("a")
    bench.join()

    assert bench.notes.all() == [(1, "a")]


def test_a_slow_input_holds_up_no_result():
    """A result is told while the next item is still being waited for."""
    gate = threading.Event()

    def slow():
        yield from items(1)
        gate.wait()

    bench = Bench()
    bench.start(slow())
    bench.begun.get()[1].set_result("a")

    assert bench.notes.told.get() == (1, "a")
    gate.set()
    bench.join()


def test_input_is_read_as_there_is_room():
    """An endless input is read no further than there are places, and goes on when one is free."""
    read = queue.SimpleQueue()

    def endless():
        for item in items(10**9):
            read.put(item.number)
            yield item

    bench = Bench(limit=2)
    bench.start(endless())
    futures = [bench.begun.get()[1] for _ in range(2)]
    assert [read.get(), read.get()] == [1, 2]
    assert read.empty()

    futures[0].set_result(None)
    assert bench.begun.get()[0] == 3
    assert read.get() == 3
    futures[1].set_exception(OSError())  # stops it: item 3 has begun, and is cancelled


def test_stop_cancels_what_has_not_begun():
    """After a failure, what waits is cancelled, and what runs is done to its end and told."""
    bench = Bench()
    bench.start(items(3))
    futures = [bench.begun.get()[1] for _ in range(3)]
    futures[1].set_running_or_notify_cancel()

    futures[0].set_exception(OSError())
    assert bench.notes.told.get() == (1, "OSError")
    futures[1].set_result("b")
    bench.join()

    assert futures[2].cancelled()
    assert bench.stream.stopped
    assert bench.notes.all() == [(2, "b")]


def test_unordered_stop():
    """Without an order as well, what was cancelled is told of no more."""
    bench = Bench(ordered=False)
    bench.start(items(3))
    futures = [bench.begun.get()[1] for _ in range(3)]

    futures[1].set_exception(OSError())
    bench.join()

    assert bench.notes.all() == [(2, "OSError")]
    assert futures[0].cancelled()
    assert futures[2].cancelled()


def test_calls_that_others_cancel():
    """A call that somebody else cancelled is a failure of its item."""
    bench = Bench(stop=False)
    bench.start(items(1))
    bench.begun.get()[1].cancel()
    bench.join()

    assert bench.notes.all() == [(1, "CancelledError")]


def test_an_input_that_breaks():
    """An input that cannot be read to its end raises, and not before what was read is begun."""

    def broken():
        yield from items(1)
        raise OSError("the disk is gone")

    bench = Bench()
    bench.start(broken())
    bench.begun.get()
    bench.join()

    assert "the disk is gone" in str(bench.error)


@pytest.mark.parametrize(
    ("ordered", "expected"), [(True, [(1, "a")]), (False, [(1, "a"), (3, "c")])]
)
def test_rescue_tells_what_is_done(ordered, expected):
    """When a run is interrupted, results that are there are told; in order, up to a gap."""
    bench = Bench(ordered=ordered)
    for number, outcome in enumerate(["a", None, "c", OSError()], 1):
        future = concurrent.futures.Future()
        if isinstance(outcome, str):
            future.set_result(outcome)
        elif outcome is not None:
            future.set_exception(outcome)
        item = _items.Item(number, number, "")
        bench.stream._flights[number] = _stream._Flight(item, future)

    bench.stream.rescue()

    assert bench.notes.all() == expected


def test_interrupted_twice(capsys):
    """Who is interrupted while the last results are written leaves without them."""

    class Stream:
        def rescue(self):
            raise Interrupted

    assert _run._interrupted(Stream(), None, Interrupted(15)) == 143
