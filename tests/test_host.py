"""`Host` and connector methods."""

import asyncio
import contextvars
import functools
import inspect
import os
import pickle
import signal
import subprocess
import sys
import threading

import pytest
import trio

import connectors
import hostapp
from connectors import Host, MethodNotFoundError, Parallelization, events
from hostapp import Camera, detect, host, level, scale, wait_in_loop

SEQUENTIAL, THREAD, PROCESS = Parallelization
BUILTINS = ["sequential", "threading", "multiprocessing", "threading_multiprocessing", "trio"]


@pytest.fixture(autouse=True)
def closed():
    """Close the executors after each test and read no settings of this machine."""
    yield
    host.close()


@pytest.fixture
def configured(tmp_path, monkeypatch):
    def write(text):
        path = tmp_path / "connectors.toml"
        path.write_text(text)
        monkeypatch.setenv("CONNECTORS_CONFIG", str(path))
        host.close()

    return write


@pytest.mark.parametrize("name", BUILTINS)
def test_a_method_is_called_in_every_way(name):
    """Plain call, future, awaited and mapped: the same result on every executor."""
    with host.use(executor=name):
        assert detect(3, factor=2) == 6
        assert detect.submit(4).result() == 4
        assert list(detect.map(range(20))) == list(range(20))
        assert asyncio.run(detect.aio(5)) == 5
        assert trio.run(functools.partial(detect.aio, 6, factor=2)) == 12
        assert host.call("studio.detect", 7) == host.call("detect", 7) == 7


@pytest.mark.parametrize("name", BUILTINS)
def test_methods_of_classes_work(name):
    """Methods, class methods, static methods and ``async def`` are bound as ever."""
    camera = Camera(10)
    with host.use(executor=name):
        assert camera.read(1) == 11
        assert list(camera.read.map([1, 2])) == [11, 12]
        assert camera.read.submit(2).result() == 12
        assert asyncio.run(camera.read.aio(3)) == 13
        assert Camera.read(camera, 4) == 14
        assert Camera.kind(1) == camera.kind(1) == ("Camera", 1)
        assert Camera.double(2) == camera.double(2) == 4
        assert camera.grab(1) == 11
        assert asyncio.run(camera.grab.aio(1)) == 11


def test_a_method_runs_as_far_away_as_it_may():
    """The wish of the decorator is granted."""
    with host.use(executor="threading_multiprocessing"):
        pid, thread = level()
        assert pid != os.getpid()
        with host.use(parallelization=THREAD):
            assert level()[0] == os.getpid()
            assert level()[1] != threading.get_ident()
        with host.use(parallelization=SEQUENTIAL):
            assert level() == (os.getpid(), threading.get_ident())


def test_a_method_looks_like_its_function():
    """Name, docstring and signature are those of the function; `function` is the function."""
    assert detect.__name__ == "detect"
    assert detect.__doc__ == "Detect."
    assert str(inspect.signature(detect)) == "(frame, factor=1)"
    assert str(inspect.signature(Camera(1).read)) == "(x)"
    assert detect.function(3) == 3
    assert detect.name == "studio.detect"
    assert detect.parallelization is PROCESS
    assert Camera(1).read.name == "studio.Camera.read"
    assert Camera(1).read.parallelization is THREAD
    assert Camera(1).read.function(Camera(1), 1) == 2
    assert "studio.detect" in repr(detect)
    assert "studio.Camera.read" in repr(Camera(1).read)


def test_bound_methods_compare_as_python_binds():
    """Two bindings of one method to one object are equal."""
    one, other = Camera(1), Camera(1)

    assert one.read == one.read
    assert hash(one.read) == hash(one.read)
    assert one.read != other.read


def test_an_unknown_method_is_named():
    """The error lists the methods and says did-you-mean."""
    with pytest.raises(MethodNotFoundError, match=r"'detct'.*Did you mean 'studio.detect'"):
        host.call("detct", 1)


def test_two_methods_of_one_name_are_refused():
    """A second function does not silently take the place of the first; a reloaded one does."""
    mine = Host("mine")

    def make(module):
        def method():
            return module

        method.__module__ = module
        return method

    mine.connector(make("a"))
    with pytest.raises(connectors.ConnectorsError, match=r"'mine.*method'.*name="):
        mine.connector(make("b"))
    again = mine.connector(make("a"))
    assert mine.methods == (again,)
    assert mine.connector(name="other")(make("b"))() == "b"
    mine.close()


def test_settings_route_methods(configured):
    """A method goes where the settings send it, with the limits that they set."""
    configured(
        '[methods."studio.detect"]\nexecutor = "sequential"\nlabel = "eyes"\n'
        '[methods."studio.Camera.*"]\nexecutor = "trio"\nretries = 3\n'
    )
    with connectors.observe() as observed:
        detect(1)
        Camera(1).read(1)

    submitted = list(observed.of(events.CallSubmitted))
    assert [(event.executor, event.label) for event in submitted] == [
        ("sequential", "eyes"),
        ("trio", "studio.Camera.read"),
    ]


def test_the_nearest_route_wins(configured):
    """`use` goes before settings, settings before the decorator, the decorator before the host."""
    assert scale.host.executor_of("scale").name == "threading"  # the decorator's
    assert host.executor_of("detect").name == "sequential"  # the host's
    configured('[methods."studio.scale"]\nexecutor = "trio"\n')
    assert host.executor_of("scale").name == "trio"
    with host.use(executor="sequential"):
        assert host.executor_of("scale").name == "sequential"
        with host.use(timeout=3):
            assert host.executor_of("scale").name == "sequential"
    assert host.executor_of("scale").name == "trio"


def test_without_a_route_the_configured_executor_is_used(monkeypatch):
    """A host that names no executor uses the one of the settings."""
    free = Host("free")

    @free.connector
    def method():
        return threading.current_thread() is threading.main_thread()

    monkeypatch.setenv("CONNECTORS_CONFIG", "none")
    monkeypatch.setenv("CONNECTORS_EXECUTOR", "sequential")
    with free:
        assert method()
        with connectors.using("threading"):
            assert not method()
        assert method()


@pytest.mark.parametrize(
    "text",
    ['executor = "hostapp:Camera"', '[methods."free.method"]\nexecutor = "hostapp:Camera"'],
)
def test_settings_never_import_an_address(configured, text):
    """A settings file chooses among what is installed; only code can name an address."""
    configured(text)
    free = Host("free")

    @free.connector
    def method():
        return 1

    with pytest.raises(connectors.ConnectorsError, match="hostapp:Camera"):
        method()


def test_executors_are_shared():
    """One open executor serves all methods that name it, and `using` opens no more than needed."""
    with host.use(executor="threading"):
        first = host.executor_of("detect")
        assert host.executor_of("scale") is first
    for _ in range(100):
        with connectors.using(executors={"threading": {"threads": 3}}):
            second = host.executor_of("scale")
    assert second is not first
    assert second.threads == 3
    assert len(host._executors) == 2


def test_a_list_of_executors_takes_the_first_that_opens():
    """The choice falls on what is installed."""
    with host.use(executor=["no_such_executor", "sequential"]):
        assert host.executor_of("detect").name == "sequential"
        assert detect(1) == 1
        assert host.executor_of("detect") is host.executor_of("scale")


def test_an_executor_that_was_given_is_not_closed():
    """Who opens an executor closes it."""
    with connectors.executor("threading") as mine:
        with host, host.use(executor=mine):
            assert detect(1) == 1
        assert not mine.closed


def test_close_closes_and_the_next_call_opens_anew():
    """A host can be used again after it was closed."""
    with host.use(executor="threading"):
        first = host.executor_of("detect")
        with host:
            assert detect(1) == 1
        assert first.closed
        assert detect(2) == 2
        assert host.executor_of("detect") is not first


def test_use_is_seen_by_child_tasks_only():
    """An override holds for the tasks and calls that start in its block, and nowhere else."""

    async def task(name, met):
        with host.use(executor=name):
            await met.wait()
            return host.executor_of("detect").name

    async def body():
        met = asyncio.Barrier(2)
        return await asyncio.gather(task("threading", met), task("sequential", met))

    assert asyncio.run(body()) == ["threading", "sequential"]


def test_limits_of_the_decorator_hold():
    """A timeout in the decorator is a limit of each call."""
    with host.use(executor="threading"):
        with pytest.raises(connectors.CallTimeoutError, match="studio.wait_in_loop"):
            wait_in_loop()


def test_methods_and_hosts_travel():
    """A connector method that is an argument of a call is the same method there."""
    assert pickle.loads(pickle.dumps(detect)) is detect
    assert pickle.loads(pickle.dumps(host)) is host
    bound = pickle.loads(pickle.dumps(Camera(3).read))
    assert bound(1) == 4
    kind = pickle.loads(pickle.dumps(Camera.kind))
    assert kind(1) == ("Camera", 1)
    with host.use(executor="multiprocessing"):
        assert hostapp.apply(detect, 5) == 5
        assert hostapp.apply(Camera(5).read, 5) == 10


def test_a_local_method_travels_by_value():
    """A connector method of a function body runs in a process that cannot import it."""
    local = Host("local", executor="multiprocessing")
    number = 40

    @local.connector(parallelization=PROCESS)
    def method(x):
        return x + number, os.getpid()

    with local:
        result, pid = method(2)
    assert result == 42
    assert pid != os.getpid()


def test_a_script_is_a_host():
    """Connector methods of ``__main__`` run in worker processes, also those that use each other."""
    script = (
        "import connectors, os\n"
        "host = connectors.Host('script', executor='multiprocessing')\n"
        "@host.connector(parallelization=connectors.Parallelization.PROCESS)\n"
        "def inner(x): return x + 1\n"
        "@host.connector(parallelization=connectors.Parallelization.PROCESS)\n"
        "def outer(x): return inner(x), os.getpid()\n"
        "if __name__ == '__main__':\n"
        "    with host:\n"
        "        result, pid = outer(1)\n"
        "    print(result, pid != os.getpid())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout == "2 True\n"


def test_a_context_variable_reaches_a_thread():
    """What its caller set, a method in a thread sees."""
    variable = contextvars.ContextVar("variable", default="unset")
    mine = Host("context", executor="threading")

    @mine.connector
    def look():
        return variable.get()

    token = variable.set("mine")
    with mine:
        assert look() == "mine"
    variable.reset(token)


def test_ctrl_c_in_a_call_leaves_it():
    """An interrupt while a call is waited for reaches the caller and cancels the call."""
    mine = Host("interrupted", executor="threading")
    gate = threading.Event()

    @mine.connector
    def interrupt():
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        gate.wait()

    try:
        with pytest.raises(KeyboardInterrupt):
            interrupt()
    finally:
        gate.set()
        mine.close()


def test_a_host_tells_what_it_has():
    """Its methods are listed in order."""
    assert host.methods[0] is detect
    assert host.method("studio.detect") is detect
    assert "'studio'" in repr(host)


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"parallelization": "x"}, "no connectors.Parallelization"),
        ({"timeout": -1}, "timeout"),
        ({"retries": "a"}, "retries"),
        ({"executor": 3}, "neither a name"),
        ({"executor": []}, "neither a name"),
    ],
)
def test_what_is_given_in_code_is_checked_there(given, part):
    """A wish, a limit or an executor without meaning is refused by the decorator and by `use`."""
    with pytest.raises(connectors.OptionError, match=part):
        host.connector(**given)
    with pytest.raises(connectors.OptionError, match=part), host.use(**given):
        pass
    with pytest.raises(connectors.OptionError, match="3 is no function"):
        host.connector(3)
