"""Blocks for the tests of the network's rules; worker processes import them by name."""

from __future__ import annotations

import asyncio
import contextvars
import os
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import Future
from pathlib import Path

import connectors
from connectors import (
    Input,
    MacroInput,
    MacroOutput,
    MultiInput,
    MultiInputData,
    MultiOutput,
    Output,
    Parallelization,
)

SEQUENTIAL, THREAD, PROCESS = Parallelization
#: How each kind of executor is made.
KINDS = {
    "sequential": {"threads": 0},
    "threading": {"threads": 2},
    "multiprocessing": {"threads": 0, "processes": 2},
    "threading_multiprocessing": {"threads": 2, "processes": 2},
}
VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="unset")
BOUND = 10  # seconds until what has to come is given up


# Tools


def spawn(function, *args, **kwargs):
    """Run *function* in a new thread, which holds nobody up, and return its future."""
    future = Future()

    def run():
        try:
            future.set_result(function(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def ends(function, *args, **kwargs):
    """Return what *function* returns, or fail if it hangs."""
    return spawn(function, *args, **kwargs).result(BOUND)


def wait(event):
    """Wait for *event*, and fail if it does not come."""
    assert event.wait(BOUND), "what was waited for did not come"


def until(condition):
    """Wait until *condition* holds, and fail if it never does."""
    for _ in range(BOUND * 200):
        if condition():
            return
        threading.Event().wait(0.005)
    raise AssertionError("it never came true")


def raiser(error):
    """Return a hook that raises *error*."""

    def hook(*_):
        raise error

    return hook


def profiled(function, *args):
    """Return how many Python functions are called in this thread while *function* runs."""
    calls = 0

    def count(frame, event, argument):
        nonlocal calls
        calls += event == "call"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        function(*args)
    finally:
        sys.setprofile(before)
    return calls


def script(tmp_path, source):
    """Write *source* to a file and return the command that runs it, for `subprocess`."""
    path = Path(tmp_path) / "program.py"
    path.write_text(textwrap.dedent(source))
    return [sys.executable, str(path)]


def environment():
    """Return the environment of a program that may import what tests import."""
    return {**os.environ, "CONNECTORS_CONFIG": "none", "PYTHONPATH": str(Path(__file__).parent)}


def run_script(tmp_path, source, timeout=60):
    """Run *source* as a program, which must end well and silently, and return what it printed."""
    process = subprocess.run(
        script(tmp_path, source),
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment(),
        check=False,
    )
    assert (process.returncode, process.stderr) == (0, "")
    return process.stdout


def nothing(*_):
    """Do nothing: the hook of those who have none."""


def here():
    """Return the process and the thread in which this is called."""
    return os.getpid(), threading.get_ident()


def place_of(where):
    """Return the level at which the code ran that got *where* from `here`."""
    if where[0] != os.getpid():
        return PROCESS
    return SEQUENTIAL if where[1] == threading.get_ident() else THREAD


# Plain blocks


class Node:
    """`set_value` -> `get_value`, with a log and with hooks that are called in the methods."""

    def __init__(self, value=None, name="node", log=None):
        self.value = value
        self.name = name
        self.log = [] if log is None else log
        self.on_get = self.on_set = nothing

    @Output()
    def get_value(self):
        self.log.append(f"{self.name}.get")
        value = self.value
        self.on_get()
        return value

    @Input("get_value")
    def set_value(self, value):
        self.log.append(f"{self.name}.set")
        self.on_set(value)
        self.value = value
        return self


class Pair:
    """Two inputs, one output."""

    def __init__(self, name="pair", log=None):
        self.a = self.b = None
        self.name = name
        self.log = [] if log is None else log

    @Input("get")
    def set_a(self, value):
        self.log.append(f"{self.name}.set_a")
        self.a = value
        return self

    @Input("get")
    def set_b(self, value):
        self.log.append(f"{self.name}.set_b")
        self.b = value
        return self

    @Output()
    def get(self):
        self.log.append(f"{self.name}.get")
        return self.a, self.b


class Collector:
    """A multi-input with replace; `refused` is a value that it raises at."""

    def __init__(self):
        self.datas = MultiInputData()
        self.log = []
        self.refused = None

    def _check(self, value):
        if self.refused is not None and value == self.refused:
            raise ValueError(f"refused {value}")

    @Output()
    def get(self):
        self.log.append("get")
        return tuple(self.datas.values())

    @Output()
    def get_dict(self):
        return dict(self.datas)

    @MultiInput(["get", "get_dict"])
    def add(self, value):
        self.log.append("add")
        self._check(value)
        return self.datas.add(value)

    @add.remove
    def remove(self, data_id):
        self.log.append("remove")
        del self.datas[data_id]
        return self

    @add.replace
    def replace(self, data_id, value):
        self.log.append("replace")
        self._check(value)
        self.datas[data_id] = value
        return data_id


class Appender:
    """A multi-input without replace."""

    def __init__(self):
        self.datas = MultiInputData()
        self.log = []
        self.refused = None

    @Output()
    def get(self):
        return tuple(self.datas.values())

    @MultiInput("get")
    def add(self, value):
        self.log.append("add")
        if self.refused is not None and value == self.refused:
            raise ValueError(f"refused {value}")
        return self.datas.add(value)

    @add.remove
    def remove(self, data_id):
        self.log.append("remove")
        del self.datas[data_id]


class Fan:
    """A multi-output: key times value."""

    def __init__(self, value=10, keys=(1, 2)):
        self.value = value
        self.served = keys
        self.log = []
        self.on_get = nothing

    @MultiOutput()
    def get(self, key):
        self.log.append(key)
        value = self.value
        self.on_get()
        return value * key

    @get.keys
    def keys(self):
        return self.served

    @Input("get")
    def set_value(self, value):
        self.value = value
        return self

    @Input("get")
    def set_keys(self, keys):
        self.served = keys
        return self


# Blocks with conditions


class Gate:
    """`put` -> `get` with conditions, and `set_other` -> `get` without any."""

    def __init__(self, value=None):
        self.value = value
        self.other = None
        self.announces = self.notifies = True
        self.error = None
        self.asked = 0
        self.log = []

    @Output()
    def get(self):
        self.log.append("get")
        return self.value

    @Output()
    def get_both(self):
        self.log.append("get_both")
        return self.value, self.other

    @Input(["get", "get_both"])
    def put(self, value):
        self.log.append("put")
        self.value = value
        return self

    @put.announce_condition
    def __announces(self):
        self.asked += 1
        return self.announces

    @put.notify_condition
    def __notifies(self, value):
        if self.error is not None:
            raise self.error
        return self.notifies

    @Input(["get", "get_both"])
    def set_other(self, value):
        self.log.append("set_other")
        self.other = value
        return self

    @Input(["get", "get_both"])
    def set_announces(self, announces):
        self.announces = announces


class MultiGate:
    """A multi-input with conditions."""

    def __init__(self):
        self.datas = MultiInputData()
        self.announces = self.notifies = True
        self.error = None
        self.log = []

    @Output()
    def get(self):
        self.log.append("get")
        return tuple(self.datas.values())

    @MultiInput("get")
    def add(self, value):
        self.log.append("add")
        return self.datas.add(value)

    @add.remove
    def remove(self, data_id):
        self.log.append("remove")
        del self.datas[data_id]
        return self

    @add.replace
    def replace(self, data_id, value):
        self.log.append("replace")
        self.datas[data_id] = value
        return data_id

    @add.announce_condition
    def announce(self, data_id):
        return self.announces

    @add.notify_condition
    def notify(self, data_id, value):
        if self.error is not None:
            raise self.error
        return self.notifies


# Blocks that call, and are called, in special ways


class Arguments:
    """A getter that takes arguments, and setters and getters whose parameters have odd names."""

    def __init__(self):
        self.log = []
        self.offset = 0
        self.datas = MultiInputData()

    @Output()
    def scaled(self, x=1):
        self.log.append(x)
        return self.offset + x

    @Input(["scaled", "odd", "serve"])
    def set_offset(self, instance):
        self.offset = instance
        return self

    @Output()
    def odd(self, key=0, index=0, instance=0, method=0, parallelization=0):
        return key, index, instance, method, parallelization

    @MultiOutput()
    def serve(self, key, index=0, instance=0, method=0, parallelization=0):
        return key, index, instance, method, parallelization

    @MultiInput("scaled")
    def add(self, method):
        return self.datas.add(method)

    @add.remove
    def remove(self, key):
        del self.datas[key]

    @add.replace
    def replace(self, key, instance):
        self.datas[key] = instance
        return key


class Reader:
    """Its methods read another network through the function `read`."""

    def __init__(self, read=None):
        self.read = read or (lambda: 0)
        self.value = 0

    @Output()
    def get(self):
        return self.value + self.read() + 1

    @Input("get", parallelization=THREAD)
    def set(self, value):
        self.value = value + 0 * self.read()


class AsyncNode:
    """`async def` methods all round."""

    def __init__(self, value=None):
        self.value = value
        self.datas = MultiInputData()
        self.nap = asyncio_nap

    @Output()
    async def get_value(self):
        await self.nap()
        return self.value

    @Input("get_value")
    async def set_value(self, value):
        await self.nap()
        self.value = value
        return self

    @MultiInput("get_datas")
    async def add(self, value):
        await self.nap()
        return self.datas.add(value)

    @add.remove
    async def remove(self, data_id):
        await self.nap()
        del self.datas[data_id]
        return "removed"

    @add.replace
    async def replace(self, data_id, value):
        await self.nap()
        self.datas[data_id] = value
        return data_id

    @Output()
    async def get_datas(self):
        await self.nap()
        return tuple(self.datas.values())

    @MultiOutput()
    async def serve(self, key):
        await self.nap()
        return key * 10

    @serve.keys
    def keys(self):
        return 1, 2


async def asyncio_nap():
    await asyncio.sleep(0)


async def trio_nap():
    import trio

    await trio.sleep(0)


class Macro:
    """A macro block: one exported input, one exported output."""

    def __init__(self):
        self.first, self.second = Node(name="first"), Node(name="second")
        self.second.set_value.connect(self.first.get_value)

    @MacroInput()
    def set_value(self):
        yield self.first.set_value

    @MacroOutput()
    def get_value(self):
        return self.second.get_value


class InContext:
    """Tells the context variable that its methods see."""

    def __init__(self):
        self.seen = {}

    @Output()
    def in_thread(self):
        self.seen["output"] = VARIABLE.get()
        return VARIABLE.get()

    @Input("in_thread", parallelization=THREAD)
    def set_in_thread(self, value):
        self.seen["input"] = VARIABLE.get()

    @Output()
    async def in_loop(self):
        self.seen["async output"] = VARIABLE.get()
        return VARIABLE.get()

    @Input("in_loop")
    async def set_in_loop(self, value):
        self.seen["async input"] = VARIABLE.get()


# Blocks that go to worker processes

CALLS: list[int] = []  # in each process: the pids of the calls that were made there


class Counted:
    """Counts, here, how often it is pickled, and, there, how often it arrives."""

    arrivals: list[str] = []  # in a worker: the names of what came

    def __init__(self, name):
        self.name = name
        self.pickled = 0

    def __reduce__(self):
        self.pickled += 1
        return counted_arrives, (self.name,)


def counted_arrives(name):
    Counted.arrivals.append(name)
    return Counted(name)


class Heavy:
    """Two heavy attributes and some light ones; its getter runs in another process."""

    def __init__(self):
        self.first, self.second = Counted("first"), Counted("second")
        self.number = 0
        self.items = []

    @Output(parallelization=PROCESS)
    def get(self, salt=0):
        extra = getattr(self, "extra", None)
        assert self.first is not self.second  # both are here, and are used
        return Told(os.getpid(), self.number, list(self.items), extra, list(self.first.arrivals))

    @Input("get")
    def set_number(self, number):
        self.number = number

    @Input("get")
    def append(self, item):
        self.items.append(item)

    @Input("get")
    def set_first(self, first):
        self.first = first


class Told:
    """What the getter of `Heavy` saw."""

    def __init__(self, pid, number, items, extra, arrived):
        self.pid, self.number, self.items = pid, number, items
        self.extra, self.arrived = extra, arrived


class Arrays:
    """Two arrays of some megabytes; its getter returns one number of each."""

    def __init__(self, first, second):
        self.first, self.second = first, second
        self.index = 0

    @Output(parallelization=PROCESS)
    def get(self):
        return int(self.first[self.index]), int(self.second[self.index]), os.getpid()

    @Input("get")
    def set_index(self, index):
        self.index = index

    @Input("get")
    def fill_first(self, value):
        self.first[:] = value

    @Input("get")
    def set_second(self, second):
        self.second = second


class Where:
    """Tells where its methods run."""

    def __init__(self):
        self.places = {}
        self.datas = MultiInputData()

    @Output()
    def get(self):
        return here()

    @Input("get")
    def set(self, value):
        self.places["set"] = here()

    @MultiInput("get")
    def add(self, value):
        self.places["add"] = here()
        return self.datas.add(value)

    @add.remove
    def remove(self, data_id):
        del self.datas[data_id]

    @add.replace
    def replace(self, data_id, value):
        self.places["replace"] = here()
        self.datas[data_id] = value
        return data_id

    @MultiOutput()
    def serve(self, key):
        return here()


class Inherited(Where):
    """Inherits its connectors."""


class Crashing:
    """Its getter kills its worker as long as there is no file `path`."""

    def __init__(self, path):
        self.path = str(path)
        self.value = 0
        self.home = os.getpid()

    @Output(parallelization=PROCESS)
    def get(self):
        if os.getpid() != self.home and not os.path.exists(self.path):
            os._exit(3)
        return self.value

    @Input("get")
    def set(self, value):
        self.value = value


class CrashesOnArrival:
    """Kills the worker that rebuilds it."""

    def __init__(self):
        self.home = os.getpid()

    def __setstate__(self, state):
        if state["home"] != os.getpid():
            os._exit(4)
        self.__dict__.update(state)

    @Output(parallelization=PROCESS)
    def get(self):
        return "here"


class Recorder:
    """Its getter leaves a trace in this module, of the process in which it runs."""

    @Output(parallelization=PROCESS)
    def get(self):
        CALLS.append(os.getpid())
        return list(CALLS)


class Holder:
    """Holds anything; its getter tells in which process it ran and what it holds."""

    def __init__(self, **attributes):
        self.__dict__.update(attributes)

    @Output(parallelization=PROCESS)
    def get(self):
        return os.getpid()

    @Output(parallelization=PROCESS)
    def call(self):
        return os.getpid(), self.function(20)

    @Input(["get", "call"])
    def set(self, value):
        self.value = value


class NewArguments:
    """Cannot be made without an argument, and does not say so."""

    def __new__(cls, first):
        block = super().__new__(cls)
        block.first = first
        return block

    @Output(parallelization=PROCESS)
    def get(self):
        return os.getpid(), self.first


class WithNewArguments(NewArguments):
    """Says which argument it is made with."""

    def __getnewargs__(self):
        return (self.first,)


class WithReduce(NewArguments):
    """Says how it is made."""

    def __reduce__(self):
        return WithReduce, (self.first,)


class WithState:
    """Has its own idea of its state, which takes along whatever is in its `__dict__`."""

    initialized: list[object] = []  # in each process: the values with which the class was called

    def __init__(self, value):
        self.initialized.append(value)
        self.value = value
        self.lock = threading.Lock()

    def __getstate__(self):
        state = self.__dict__.copy()
        del state["lock"]
        return state

    def __setstate__(self, state):
        self.__dict__.update(state)
        self.lock = "restored"

    @Output(parallelization=PROCESS)
    def get(self):
        return os.getpid(), self.value, self.lock == "restored", list(self.initialized)

    @Input("get")
    def set(self, value):
        self.value = value


class Slots:
    """Has slots beside its dictionary."""

    __slots__ = ("__dict__", "__weakref__", "value")

    def __init__(self, value):
        self.value = value

    @Output(parallelization=PROCESS)
    def get(self):
        return os.getpid(), self.value

    @Input("get")
    def set(self, value):
        self.value = value


class Spoiler:
    """Its getter changes the block, and calls another getter of the same block."""

    def __init__(self):
        self.count = 0

    @Output(parallelization=PROCESS)
    def get(self):
        self.count += 1
        return os.getpid(), self.double()

    @Output(parallelization=PROCESS)
    def double(self):
        return 2 * self.count

    @Input(["get", "double"])
    def set(self, value):
        self.count = value


class ProcessWriter:
    """Setters that wish to run in another process, where their writes would be lost."""

    def __init__(self):
        self.value = None
        self.datas = MultiInputData()
        self.places = []

    @Input("get", parallelization=PROCESS)
    def set(self, value):
        self.places.append(here())
        self.value = value

    @MultiInput("get", parallelization=PROCESS)
    def add(self, value):
        self.places.append(here())
        return self.datas.add(value)

    @add.remove
    def remove(self, data_id):
        self.places.append(here())
        del self.datas[data_id]

    @Output()
    def get(self):
        return self.value, tuple(self.datas.values())


class ProcessReplacer(ProcessWriter):
    """The same with a replace method."""

    @MultiInput("get", parallelization=PROCESS)
    def add(self, value):
        self.places.append(here())
        return self.datas.add(value)

    @add.remove
    def remove(self, data_id):
        self.places.append(here())
        del self.datas[data_id]

    @add.replace
    def replace(self, data_id, value):
        self.places.append(here())
        self.datas[data_id] = value
        return data_id


def real(proxy):
    """Make the connector behind *proxy* a real one, without any other effect."""
    if hasattr(proxy, "set_caching"):
        proxy.set_caching(True)
    else:
        proxy.set_laziness(connectors.Laziness.ON_REQUEST)
