"""Blocks that the tests of the network connect; worker processes find them here by name."""

from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures import Future

import connectors
from connectors import Laziness, Parallelization

SEQUENTIAL, THREAD, PROCESS = Parallelization
ON_REQUEST, ON_NOTIFY, ON_ANNOUNCE, ON_CONNECT = Laziness

LIMIT = 20  # seconds until a test counts as hanging

# Each kind of executor, by name and by number of threads and processes.
FORMS = {
    "sequential": (("sequential",), {}),
    "threading": (("threading",), {}),
    "multiprocessing": (("multiprocessing",), {"processes": 2}),
    "threading_multiprocessing": (("threading_multiprocessing",), {"threads": 2, "processes": 2}),
    "trio": (("trio",), {}),
    "threads=0": ((), {"threads": 0}),
    "threads=2": ((), {"threads": 2}),
    "processes=2": ((), {"threads": 0, "processes": 2}),
    "threads=2,processes=2": ((), {"threads": 2, "processes": 2}),
}
NAMES = ["sequential", "threading", "multiprocessing", "threading_multiprocessing", "trio"]
LOCAL_NAMES = ["sequential", "threading", "trio"]  # those that start no process


def make_executor(form):
    """Return a new executor of one of FORMS."""
    args, kwargs = FORMS[form]
    return connectors.executor(*args, **kwargs)


def spawn(function, *args):
    """Call a function in a daemon thread and return a future of its result."""
    future = Future()

    def run():
        try:
            future.set_result(function(*args))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def raiser(error):
    """Return a function that takes anything and raises *error*."""

    def fail(*_):
        raise error

    return fail


def meeting(parties):
    """Return a function that takes anything and returns when *parties* threads are in it."""
    barrier = threading.Barrier(parties)

    def meet(*_):
        barrier.wait(LIMIT)

    return meet


class Gate:
    """A hook that tells when it was entered, and waits until it is opened."""

    def __init__(self):
        self.entered = threading.Event()
        self.opened = threading.Event()

    def __call__(self, *_):
        self.entered.set()
        assert self.opened.wait(LIMIT)


class Gone:
    """Tells whether objects have been freed, by reference counting alone or else."""

    def __init__(self, *objects):
        self.events = []
        for thing in objects:
            event = threading.Event()
            weakref.finalize(thing, event.set).atexit = False
            self.events.append(event)

    def wait(self, seconds=5.0):
        return all(event.wait(seconds) for event in self.events)

    def __bool__(self):
        return all(event.is_set() for event in self.events)


def garbage_of(act):
    """Return how much cyclic garbage ten calls leave once everything is warm.

    What the calls return is kept until the garbage has been counted. The smallest of three counts
    is taken, since threads that end and pytest itself leave some now and then.
    """
    act()
    counts = []
    for _ in range(3):
        act()
        gc.collect()
        gc.disable()
        try:
            kept = [act() for _ in range(10)]
            counts.append(gc.collect())
            del kept
        finally:
            gc.enable()
    return min(counts)


class Block:
    """Logs the calls of its methods; *hooks* are called with the arguments of a method."""

    def __init__(self, name="S", log=None):
        self.name = name
        self.log = [] if log is None else log
        self.hooks = {}

    def note(self, method, *args):
        shown = f"({', '.join(map(repr, args))})" if args else ""
        self.log.append(f"{self.name}.{method}{shown}")
        if method in self.hooks:
            self.hooks[method](*args)


class Single(Block):
    """The S of the specification."""

    def __init__(self, name="S", log=None, value=None):
        super().__init__(name, log)
        self.value = value

    @connectors.Input("get_value")
    def set_value(self, value):
        """Set the value."""
        self.note("set", value)
        self.value = value
        return self

    @connectors.Output()
    def get_value(self):
        """Return the value."""
        self.note("get")
        return self.value


class Uncached(Single):
    """Its getter does not cache."""

    @connectors.Output(caching=False)
    def get_value(self):
        """Return the value."""
        self.note("get")
        return self.value


class ProcessSingle(Single):
    """Its getter may run in another process."""

    @connectors.Output(parallelization=Parallelization.PROCESS)
    def get_value(self):
        """Return the value."""
        self.note("get")
        return self.value


class Double(Block):
    """Two inputs, one output."""

    def __init__(self, name="D", log=None):
        super().__init__(name, log)
        self.value1 = None
        self.value2 = None

    @connectors.Input("get_values")
    def set1(self, value):
        """Set the first value."""
        self.note("set1", value)
        self.value1 = value
        return self

    @connectors.Input("get_values")
    def set2(self, value):
        """Set the second value."""
        self.note("set2", value)
        self.value2 = value
        return self

    @connectors.Output()
    def get_values(self):
        """Return both values."""
        self.note("get")
        return self.value1, self.value2


class Splitter(Block):
    """One input, two outputs."""

    def __init__(self, name="T", log=None):
        super().__init__(name, log)
        self.value = None

    @connectors.Input(["get1", "get2"])
    def set_value(self, value):
        """Set the value."""
        self.note("set", value)
        self.value = value
        return self

    @connectors.Output()
    def get1(self):
        """Return the value."""
        self.note("get1")
        return self.value

    @connectors.Output()
    def get2(self):
        """Return the value once more."""
        self.note("get2")
        return self.value


class Multi(Block):
    """A multi-input with a replace method."""

    def __init__(self, name="M", log=None):
        super().__init__(name, log)
        self.data = connectors.MultiInputData()

    @connectors.MultiInput("get")
    def add(self, value):
        """Add a value."""
        self.note("add", value)
        return self.data.add(value)

    @add.remove
    def remove(self, data_id):
        """Remove a value."""
        self.note("remove", data_id)
        del self.data[data_id]

    @add.replace
    def replace(self, data_id, value):
        """Replace a value."""
        self.note("replace", data_id, value)
        self.data[data_id] = value
        return data_id

    @connectors.Output()
    def get(self):
        """Return the values."""
        self.note("get")
        return tuple(self.data.values())


class Keyed(Multi):
    """Its getter gives the data ids as well."""

    @connectors.Output()
    def get(self):
        """Return a copy of the data."""
        self.note("get")
        return dict(self.data)


class NoReplace(Block):
    """A multi-input without a replace method."""

    def __init__(self, name="M", log=None):
        super().__init__(name, log)
        self.data = connectors.MultiInputData()

    @connectors.MultiInput("get")
    def add(self, value):
        """Add a value."""
        self.note("add", value)
        return self.data.add(value)

    @add.remove
    def remove(self, data_id):
        """Remove a value."""
        self.note("remove", data_id)
        del self.data[data_id]

    @connectors.Output()
    def get(self):
        """Return the values."""
        self.note("get")
        return tuple(self.data.values())


class MultiTwoOutputs(Block):
    """A multi-input with two observers."""

    def __init__(self, name="M", log=None):
        super().__init__(name, log)
        self.data = connectors.MultiInputData()

    @connectors.MultiInput(("get1", "get2"))
    def add(self, value):
        """Add a value."""
        self.note("add", value)
        return self.data.add(value)

    @add.remove
    def remove(self, data_id):
        """Remove a value."""
        self.note("remove", data_id)
        del self.data[data_id]

    @connectors.Output()
    def get1(self):
        """Return the values."""
        self.note("get1")
        return tuple(self.data.values())

    @connectors.Output()
    def get2(self):
        """Return the values once more."""
        self.note("get2")
        return tuple(self.data.values())


class AnnounceSingle(Single):
    """Its condition decides whether announcements go on."""

    condition = True

    @connectors.Input("get_value")
    def set_value(self, value):
        """Set the value."""
        self.note("set", value)
        self.value = value
        return self

    @set_value.announce_condition
    def may_announce(self):
        return self.condition


class NotifySingle(Single):
    """Its condition decides whether a new value is a change."""

    condition = True

    @connectors.Input("get_value")
    def set_value(self, value):
        """Set the value."""
        self.note("set", value)
        self.value = value
        return self

    @set_value.notify_condition
    def may_notify(self, value):
        return self.condition


class ConditionalMulti(Block):
    """A multi-input with both conditions, which log what they are asked in *asked*."""

    def __init__(self, name="C", log=None):
        super().__init__(name, log)
        self.data = connectors.MultiInputData()
        self.announcing = True
        self.notifying = True
        self.asked = []

    @connectors.MultiInput("get")
    def add(self, value):
        """Add a value."""
        self.note("add", value)
        return self.data.add(value)

    @add.remove
    def remove(self, data_id):
        """Remove a value."""
        self.note("remove", data_id)
        del self.data[data_id]
        return "removed"

    @add.replace
    def replace(self, data_id, value):
        """Replace a value."""
        self.note("replace", data_id, value)
        self.data[data_id] = value
        return data_id

    @add.announce_condition
    def may_announce(self, data_id):
        self.asked.append(("announce", data_id))
        return self.announcing

    @add.notify_condition
    def may_notify(self, data_id, value):
        self.asked.append(("notify", data_id, value))
        return self.notifying

    @connectors.Input("get")
    def set_condition(self, condition):
        """Set the notify condition."""
        self.note("set_condition", condition)
        self.notifying = condition
        return self

    @connectors.Output()
    def get(self):
        """Return the values."""
        self.note("get")
        return tuple(self.data.values())


class MultiOut(Block):
    """A multi-output: its values are *factor* times the key."""

    def __init__(self, name="O", log=None, keys=()):
        super().__init__(name, log)
        self.factor = 3
        self.served = keys

    @connectors.Input("get")
    def set_factor(self, factor):
        """Set the factor."""
        self.note("set", factor)
        self.factor = factor
        return self

    @connectors.Input("get")
    def set_keys(self, keys):
        """Set the keys."""
        self.note("set_keys", keys)
        self.served = keys
        return self

    @connectors.MultiOutput()
    def get(self, key):
        """Return the product with a key."""
        self.note("get", key)
        return self.factor * key

    @get.keys
    def keys(self):
        """Return the served keys."""
        return iter(self.served)


class Keyless(Block):
    """A multi-output without a keys method."""

    @connectors.MultiOutput()
    def get(self, key):
        """Return the key."""
        self.note("get", key)
        return key


class Macro:
    """Two connected blocks behind connectors of its own."""

    def __init__(self, log=None):
        self.log = [] if log is None else log
        self.one = Double("one", self.log)
        self.two = Double("two", self.log)
        self.two.set1.connect(self.one.get_values)

    @connectors.MacroInput()
    def set_input1(self):
        """Set the first value."""
        yield self.one.set1

    @connectors.MacroInput()
    def set_input2and3(self, *_):
        """Set the second and the third value."""
        yield self.one.set2
        yield self.two.set2

    @connectors.MacroOutput()
    def get_output1(self):
        """Return all values."""
        return self.two.get_values


class OuterMacro:
    """A macro that exports the connectors of another one."""

    def __init__(self):
        self.inner = Macro()
        self.extra = Single("extra", self.inner.log)

    @connectors.MacroInput()
    def set_all(self):
        """Set everything."""
        yield self.inner.set_input1
        yield self.inner.set_input2and3
        yield self.extra.set_value

    @connectors.MacroOutput()
    def get_inner(self):
        """Return the values of the inner macro."""
        return self.inner.get_output1


class AsyncBlock(Block):
    """All its methods are coroutine functions."""

    def __init__(self, name="A", log=None):
        super().__init__(name, log)
        self.value = None
        self.data = connectors.MultiInputData()

    @connectors.Input("get_value")
    async def set_value(self, value):
        """Set the value."""
        self.note("set", value)
        self.value = value
        return self

    @connectors.Output()
    async def get_value(self):
        """Return the value."""
        self.note("get")
        return self.value

    @connectors.MultiInput("get_all")
    async def add(self, value):
        """Add a value."""
        self.note("add", value)
        return self.data.add(value)

    @add.remove
    async def remove(self, data_id):
        """Remove a value."""
        self.note("remove", data_id)
        return self.data.pop(data_id)

    @add.replace
    async def replace(self, data_id, value):
        """Replace a value."""
        self.note("replace", data_id, value)
        self.data[data_id] = value
        return data_id

    @connectors.Output()
    async def get_all(self):
        """Return the values."""
        self.note("get_all")
        return tuple(self.data.values())

    @connectors.MultiOutput()
    async def get_keyed(self, key):
        """Return the key and the value."""
        self.note("get_keyed", key)
        return key, self.value


def chain(log, *kinds):
    """Return connected blocks with one log, called S1, S2 ... ; by default two of Single."""
    blocks = [kind(f"S{i}", log) for i, kind in enumerate(kinds or (Single, Single), 1)]
    for up, down in zip(blocks, blocks[1:], strict=False):
        down.set_value.connect(up.get_value)
    return blocks


def taken(log):
    """Return what a log has, and clear it."""
    entries = list(log)
    log.clear()
    return entries
