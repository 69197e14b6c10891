"""The envelope: what travels, what comes back, and what is said of what cannot."""

import contextvars
import dataclasses
import functools
import gc
import logging
import os
import pickle
import subprocess
import sys
import threading
import traceback
import typing
import warnings

import pytest

from connectors import Call, ConnectorsError, PicklingError, RemoteError
from connectors._envelope import context_variable, open_envelope, seal, unseal
from jobs import (
    VARIABLE,
    Counter,
    Lock,
    Slotted,
    TwoArguments,
    TwoWarning,
    add,
    cached,
    divide,
    fail_unpicklably,
    fail_with_two,
    keywords,
    leave,
    log_and_fail,
    log_and_warn,
    log_badly,
    log_errors,
    log_locks,
    unpicklable_result,
    variable,
    warn_with_two,
)

TESTS = os.path.dirname(__file__)


def opened_elsewhere(sealed):
    """Open an envelope in a process of its own and return what comes of it."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from connectors._envelope import open_envelope\n"
        "sys.stdout.buffer.write(open_envelope(sys.stdin.buffer.read()))"
    )
    command = [sys.executable, "-c", program, TESTS]
    return subprocess.run(command, input=sealed, capture_output=True, check=True)


def elsewhere(sealed):
    """Open an envelope in a process of its own and return what comes back."""
    return opened_elsewhere(sealed).stdout


def answer(call, where=open_envelope, **how):
    return unseal(where(seal(call, **how)), call.label, "test")


def test_a_result_comes_back():
    """What a call returns is what its caller gets, with where and when it ran."""
    found = answer(Call(add, (1,), {"b": 2}))

    assert (found.value, found.error, found.pid) == (3, None, os.getpid())
    assert found.started > 0
    assert found.duration >= 0


def test_a_method_travels_with_its_instance():
    """A method runs on a copy of its instance."""
    counter = Counter(1)

    assert answer(Call(Counter.add, (2,), instance=counter)).value == 3
    assert counter.value == 1


def test_keyword_arguments_keep_their_names():
    """No name is reserved."""
    names = {"self": 1, "call": 2, "function": 3, "data": 4}

    assert answer(Call(keywords, kwargs=names)).value == names


def test_local_functions_travel_by_value():
    """A lambda and a closure run in a process that cannot import them."""
    number = 40

    assert answer(Call(lambda x: x + number, (2,)), elsewhere).value == 42


def test_local_classes_come_back_as_themselves():
    """An instance of a local class that was made elsewhere is an instance of that class here."""

    class Local:
        pass

    assert type(answer(Call(Local), elsewhere).value) is Local


def test_a_local_class_stays_as_it_is_when_an_instance_comes_back():
    """What the caller or the call made of a class meanwhile is not overwritten by a result."""

    class Local:
        limit = 1
        table = {}  # noqa: RUF012 - shared on purpose

        def method(self):
            return self.limit

    def change(local):
        type(local).limit = 2
        return local, Local

    call, method, table = Call(change, (Local(),)), Local.method, Local.table
    back = elsewhere(seal(call))
    Local.limit = 3
    local, kind = unseal(back, "change", "test").value

    assert type(local) is kind is Local
    assert (Local.limit, local.method(), Local.method, Local.table) == (3, 3, method, table)
    assert Local.table is table


def test_a_class_that_comes_back_is_not_made_again():
    """A result runs no ``__init_subclass__`` of the caller's classes."""
    made = []

    class Base:
        def __init_subclass__(cls):
            made.append(cls)

    class Local(Base):
        pass

    assert type(answer(Call(Local), elsewhere).value) is Local
    assert made == [Local]


def test_a_class_that_is_gone_here_comes_back_nevertheless():
    """An instance of a class that nobody knows any more comes back with a class like it."""

    def call():
        class Local:
            number = 7

        return Call(Local)

    sealed = seal(call())
    gc.collect()

    assert unseal(elsewhere(sealed), "Local", "test").value.number == 7


def test_instances_with_slots_travel():
    """Local classes with slots have them in another process too, and so do their instances."""

    class Slots:
        __slots__ = ("__private", "shown")

        def __init__(self):
            self.shown, self.__private = 1, 2

        def sum(self):
            return self.shown + self.__private

    @dataclasses.dataclass(slots=True, frozen=True)
    class Point:
        x: int = 3

    class Pair(typing.NamedTuple):
        one: int
        two: int = 5

    def visit(slots, point, pair):
        assert not hasattr(slots, "__dict__")
        return slots, point, pair, Slots(), slots.sum() + point.x + pair.two

    slots, point, pair, new, total = answer(
        Call(visit, (Slots(), Point(), Pair(4))), elsewhere
    ).value

    assert total == 1 + 2 + 3 + 5
    assert (slots.sum(), new.sum(), point, pair) == (3, 3, Point(), Pair(4))
    assert type(slots) is type(new) is Slots


def test_cached_functions_travel():
    """A local function with a cache travels, with a cache of its own, and may call itself."""

    @functools.lru_cache(maxsize=7)
    def fibonacci(number):
        return number if number < 2 else fibonacci(number - 1) + fibonacci(number - 2)

    def size():
        return fibonacci.cache_parameters()["maxsize"]

    assert answer(Call(fibonacci, (80,)), elsewhere).value == 23416728348467685
    assert answer(Call(size), elsewhere).value == 7


def test_a_cached_function_that_can_be_imported_is_imported():
    """A function of a module is itself in the worker, with the cache that it has there."""
    assert answer(Call(lambda: cached), elsewhere).value is cached


def test_cached_properties_travel():
    """A local class may have a cached property."""

    class Local:
        @functools.cached_property
        def number(self):
            return 42

    def visit(local):
        return local.number, local

    number, local = answer(Call(visit, (Local(),)), elsewhere).value

    assert (number, vars(local), local.number) == (42, {"number": 42}, 42)


def test_the_part_of_a_local_class_at_fault_is_named():
    """So is an attribute of a class that travels by value."""

    class Local:
        lock = threading.Lock()

    with pytest.raises(PicklingError) as caught:
        seal(Call(print, (Local(),)))

    assert caught.value.culprit == "the class of args[0].lock"


def test_the_global_at_fault_is_named():
    """So is a global of a function that travels by value."""
    names = {"__name__": "__main__", "gate": threading.Lock()}
    exec("def wait():\n    return gate", names)

    with pytest.raises(PicklingError) as caught:
        seal(Call(names["wait"]))

    assert caught.value.culprit == "gate in the globals of the function"


def test_an_exception_comes_back_as_itself():
    """The caller catches what the call raised, with the frames of where it was raised."""
    error = answer(Call(divide, (1, 0)), elsewhere).error

    assert type(error) is ZeroDivisionError
    frames = []
    traceback = error.__traceback__
    while traceback is not None:
        frames.append(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    assert frames == ["divide"]


def test_the_cause_of_an_exception_comes_back():
    """``raise ... from`` is seen by the caller as well."""

    def chained():
        try:
            divide(1, 0)
        except ZeroDivisionError as error:
            raise ValueError("chained") from error

    error = answer(Call(chained), elsewhere).error

    assert type(error.__cause__) is ZeroDivisionError


def test_an_exception_with_a_constructor_of_its_own_comes_back():
    """An exception whose constructor plain pickle would call wrongly comes back as itself."""
    error = answer(Call(fail_with_two), elsewhere).error

    assert isinstance(error, TwoArguments)
    assert str(error) == "one and two"


def test_an_exception_that_cannot_be_rebuilt_is_described():
    """An exception that cannot be unpickled comes back with type, text and traceback."""
    error = answer(Call(fail_unpicklably), elsewhere).error

    assert isinstance(error, RemoteError)
    assert error.type_name == "jobs.Unrebuildable"
    assert error.message == "the text"
    assert "in fail_unpicklably" in error.traceback
    assert "RuntimeError: not here" in str(error)


def test_an_exception_that_cannot_be_pickled_is_described():
    """So does one that holds what cannot travel, and one whose text cannot be told."""

    class Strange(Exception):
        def __str__(self):
            raise RuntimeError

    def locked():
        error = Strange()
        error.lock = threading.Lock()
        raise error

    error = answer(Call(locked)).error

    assert isinstance(error, RemoteError)
    assert "cannot be told" in error.message


def test_an_exception_that_unpickles_as_something_else_is_described():
    """What comes back in the place of an exception is an exception in any case."""

    class Liar(Exception):
        def __reduce__(self):
            return (int, ())

    def lie():
        raise Liar

    assert isinstance(answer(Call(lie)).error, (RemoteError, TypeError))


def frames_of(error):
    return [frame.f_code.co_name for frame, _ in traceback.walk_tb(error.__traceback__)]


@pytest.mark.parametrize("depth", [500, 900, 10_000])
def test_an_exception_from_deep_inside_comes_back_as_itself(depth):
    """However deep a call was, what it raised comes back, with both ends of the traceback."""

    def descend(level):
        return descend(level + 1) if level < depth else divide(1, 0)

    error = answer(Call(descend, (0,))).error

    names = frames_of(error)
    assert type(error) in (ZeroDivisionError, RecursionError)
    assert names[:2] == ["descend", "descend"]
    assert len(names) == 101
    assert names[50].endswith(" calls")
    assert "left out" in "".join(traceback.format_exception(error))


def test_a_recursion_error_comes_back_as_itself():
    """Who expects a RecursionError of a call catches one."""

    def for_ever():
        return for_ever()

    assert type(answer(Call(for_ever), elsewhere).error) is RecursionError


def test_exceptions_that_lead_to_each_other_come_back():
    """A chain of causes that leads back to where it began does so for the caller."""

    def chase():
        one, two = ValueError("one"), KeyError("two")
        one.__context__, two.__cause__ = two, one
        raise one

    error = answer(Call(chase), elsewhere).error

    assert type(error) is ValueError
    assert type(error.__context__) is KeyError
    assert error.__context__.__cause__ is error


def test_a_long_chain_of_causes_is_shortened():
    """An exception with thousands of causes comes back with those that are next to it."""

    def chain():
        last = None
        for number in range(3000):
            error = ValueError(number)
            error.__cause__ = last
            last = error
        raise last

    error = answer(Call(chain), elsewhere).error
    numbers = []
    while error is not None:
        numbers.append(error.args[0])
        error = error.__cause__

    assert numbers == list(range(2999, 2799, -1))


def test_a_group_comes_back_with_the_tracebacks_of_its_members():
    """The members of a group have their own tracebacks and may lead to the group."""

    def group():
        try:
            divide(1, 0)
        except ZeroDivisionError as error:
            member = error
        both = ExceptionGroup("both", [member, ValueError("two")])
        member.__context__ = both
        raise both

    error = answer(Call(group), elsewhere).error

    assert [type(member) for member in error.exceptions] == [ZeroDivisionError, ValueError]
    assert frames_of(error.exceptions[0]) == ["group", "divide"]
    assert error.exceptions[0].__context__ is error


def test_an_exception_with_a_cause_that_cannot_travel_comes_back_as_itself():
    """What stands for a cause that cannot be pickled is a RemoteError; the rest is as it was."""

    def chained():
        error = ValueError("held")
        error.lock = threading.Lock()
        raise KeyError("key") from error

    error = answer(Call(chained), elsewhere).error

    assert type(error) is KeyError
    assert isinstance(error.__cause__, RemoteError)
    assert error.__cause__.message == "held"


@pytest.mark.parametrize("name", ["__str__", "__reduce__"])
def test_an_exception_that_exits_when_it_is_looked_at_fails_its_call_only(name):
    """The text or the pickling of an exception does not end the process."""

    def leaves(self):
        raise SystemExit

    def fail():
        raise type("Strange", (Exception,), {name: leaves})

    assert type(answer(Call(fail)).error).__name__ in ("Strange", "RemoteError")


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_leaving_fails_the_call_only(kind):
    """A call that wants to end its process ends itself."""
    assert type(answer(Call(leave, (kind,)), elsewhere).error) is kind


def test_a_result_that_cannot_travel_is_named():
    """The error names the part of the result that is at fault."""
    error = answer(Call(unpicklable_result), elsewhere).error

    assert isinstance(error, PicklingError)
    assert error.culprit == "result['deep'][0]"


@pytest.mark.parametrize(
    ("call", "culprit"),
    [
        (Call(add, (1, threading.Lock())), "args[1]"),
        (Call(keywords, kwargs={"x": [threading.Lock()]}), "kwargs['x'][0]"),
        (Call(Lock.get, instance=Lock()), "instance.lock"),
        (Call(add, (Slotted(),)), "args[0].lock"),
        (Call(Lock().get), "the function.__self__.lock"),
        (Call(add, ({"a": (Lock(),)},)), "args[0]['a'][0].lock"),
    ],
)
def test_an_argument_that_cannot_travel_is_named(call, culprit):
    """The error is raised where the call is submitted, and names the attribute at fault."""
    with pytest.raises(PicklingError) as caught:
        seal(call)

    assert caught.value.culprit == culprit
    assert "lock" in str(caught.value)


def test_the_closure_at_fault_is_named():
    """A closure over what cannot travel is named by the variable."""
    gate = threading.Lock()

    with pytest.raises(PicklingError) as caught:
        seal(Call(lambda: gate))

    assert caught.value.culprit == "gate in the closure of the function"


def test_recursive_values_end_the_search():
    """A value that contains itself and a lock is named, not searched for ever."""
    knot = [threading.Lock()]
    knot.insert(0, knot)

    with pytest.raises(PicklingError):
        seal(Call(add, (knot,)))


def test_declared_context_is_restored():
    """A declared context variable has its caller's value where the call runs."""
    found = answer(Call(variable), elsewhere, context={"jobs:VARIABLE": "here"})

    assert found.value == "here"
    assert VARIABLE.get("unset") == "unset"


@pytest.mark.parametrize("address", ["jobs:add", "jobs:NONE", "no_such_module:X", "nonsense"])
def test_a_wrong_context_address_is_named(address):
    """What is no context variable is refused with the address and how to write one."""
    with pytest.raises(ConnectorsError, match=r"context="):
        context_variable(address)

    assert isinstance(context_variable("jobs:VARIABLE"), contextvars.ContextVar)


def test_preparation_runs_before_the_call():
    """What prepares a worker is called there, before the call."""
    prepared = answer(Call(variable), prepare=_prepare)

    assert prepared.value == "prepared"
    VARIABLE.set("unset")


def _prepare():
    VARIABLE.set("prepared")


def test_logs_and_warnings_of_a_worker_arrive(caplog):
    """Records and warnings of a worker reach the handlers and filters of the caller."""
    with caplog.at_level(logging.INFO, "jobs"), pytest.warns(UserWarning, match="beware of fire"):
        answer(Call(log_and_warn, ("fire",)), elsewhere)

    (record,) = (record for record in caplog.records if record.name == "jobs")
    assert record.getMessage() == "said fire"
    assert (record.executor, record.label) == ("test", "log_and_warn")
    assert record.process != os.getpid()


def test_records_below_the_callers_level_stay_away(caplog):
    """A record that the caller's logger would not take is not made."""
    with caplog.at_level(logging.WARNING, "jobs"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answer(Call(log_and_warn, ("smoke",)), elsewhere)

    assert not [record for record in caplog.records if record.name == "jobs"]


def test_a_record_that_cannot_be_formatted_fails_no_call():
    """Whoever logs badly is told so on stderr, as by every handler of logging."""
    done = opened_elsewhere(seal(Call(log_badly)))

    assert unseal(done.stdout, "log_badly", "test").value == "fine"
    assert b"--- Logging error ---" in done.stderr


@pytest.mark.parametrize(
    ("function", "found"),
    [
        (log_locks, {"door": "lock", "number": "1"}),
        (log_errors, {"error": "one and two", "strange": "the text"}),
    ],
)
def test_what_cannot_travel_of_a_record_is_told_by_its_text(caplog, function, found):
    """A record arrives, whatever it holds; what cannot be pickled or unpickled is its text."""
    assert answer(Call(function), elsewhere).value == "fine"

    (record,) = (record for record in caplog.records if record.name == "jobs")
    assert all(text in str(getattr(record, name)) for name, text in found.items())


def test_a_warning_with_a_constructor_of_its_own_arrives():
    """A warning that cannot be made of its text alone is the warning that it was."""
    with pytest.warns(TwoWarning, match="one and two"):
        assert answer(Call(warn_with_two), elsewhere).value == "fine"


def test_a_warning_of_a_local_class_arrives():
    """A warning of a class that travels by value is one of that class."""

    class LocalWarning(UserWarning):
        pass

    def warn():
        warnings.warn(LocalWarning("by value"), stacklevel=1)
        return "fine"

    with pytest.warns(LocalWarning):
        assert answer(Call(warn), elsewhere).value == "fine"


def test_a_warning_that_is_an_error_here_is_logged(caplog):
    """A filter that makes errors of warnings does not fail a call that has ended."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert answer(Call(log_and_warn, ("ice",)), elsewhere).value == "ice"

    assert "log_and_warn on test warned: UserWarning: beware of ice" in caplog.text


@pytest.mark.parametrize("kind", [RuntimeError, SystemExit])
def test_a_handler_that_raises_decides_no_outcome(caplog, kind):
    """The caller gets the call's own error, and a debug record tells of the handler's."""

    class Raising(logging.Handler):
        def emit(self, record):
            raise kind("the handler's own")

    logger, handler = logging.getLogger("jobs"), Raising()
    logger.addHandler(handler)
    try:
        with caplog.at_level(logging.DEBUG, "connectors"):
            error = answer(Call(log_and_fail), elsewhere).error
    finally:
        logger.removeHandler(handler)

    assert type(error) is ValueError
    assert "news of log_and_fail on test is dropped" in caplog.text


def test_a_handler_of_all_records_that_raises_decides_no_outcome():
    """Nor does one that raises again when it is told of."""

    class Raising(logging.Handler):
        def emit(self, record):
            raise RuntimeError("the handler's own")

    handler, level = Raising(), logging.root.level
    back = elsewhere(seal(Call(log_and_fail)))
    logging.root.addHandler(handler)
    logging.root.setLevel(logging.DEBUG)
    try:
        error = unseal(back, "log_and_fail", "test").error
    finally:
        logging.root.removeHandler(handler)
        logging.root.setLevel(level)

    assert type(error) is ValueError


def test_buffers_travel_out_of_band():
    """Large buffers are handed over beside the bytes."""
    buffers = []
    data = pickle.PickleBuffer(bytearray(b"x" * 100_000))
    sealed = seal(Call(len, (data,)), buffer_callback=buffers.append)

    assert len(buffers) == 1
    assert len(sealed) < 1000
    back = open_envelope(sealed, [buffer.raw() for buffer in buffers])
    assert unseal(back, "len", "test").value == 100_000
