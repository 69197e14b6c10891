"""`Call`, labels and `Decision`."""

import functools

import pytest

from connectors import Call, Decision
from connectors._calls import is_async
from jobs import Counter, add


class Caller:
    def __call__(self):
        return 1


class AsyncCaller:
    async def __call__(self):
        return 1


async def coroutine_function():
    return 1


def test_a_call_runs_its_function_with_its_instance_first():
    """A call with an instance is a method call."""
    assert Call(add, (1,), {"b": 2}).run() == 3
    assert Call(Counter.add, (2,), instance=Counter(40)).run() == 42


@pytest.mark.parametrize(
    ("call", "label"),
    [
        (Call(add), "add"),
        (Call(functools.partial(add, 1)), "add"),
        (Call(Counter.add, instance=Counter()), "Counter.add"),
        (Call(Caller()), "Caller"),
        (Call(add, name="sum"), "sum"),
        (Call(len), "len"),
    ],
)
def test_a_label_says_what_is_called(call, label):
    """A message names a function by its own name, unless the caller gave one."""
    assert label == call.label


@pytest.mark.parametrize(
    "function",
    [
        coroutine_function,
        functools.partial(coroutine_function),
        AsyncCaller(),
        Counter().add_async,
        Counter.add_async,
    ],
)
def test_async_functions_are_recognised(function):
    """Whatever gives a coroutine when it is called has to be awaited."""
    assert is_async(function)


@pytest.mark.parametrize("function", [add, functools.partial(add), Caller(), len, int, str.upper])
def test_plain_functions_are_recognised(function):
    """Whatever gives its result when it is called is plain."""
    assert not is_async(function)


def test_a_decision_tells_why():
    """A decision reads as sentences: the choice first, then why not the others."""
    decision = Decision("f", "PROCESS", ("THREAD",), "THREAD", {"PROCESS": "no pool"}, "first")

    assert str(decision) == (
        "f: PROCESS was asked for, THREAD is chosen (first)\n  not PROCESS: no pool"
    )
