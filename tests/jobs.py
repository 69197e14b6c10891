"""Functions that tests send to worker processes, which find them here by name."""

from __future__ import annotations

import contextvars
import functools
import logging
import os
import signal
import threading
import time
import warnings

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE")


class TwoArguments(Exception):
    """Pickles, but does not unpickle: its constructor needs two arguments."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


class Unrebuildable(Exception):
    """Pickles, and raises when it is unpickled."""

    def __reduce__(self):
        return refuse, ()


def refuse():
    raise RuntimeError("not here")


class Lock:
    """Holds what cannot be pickled."""

    def __init__(self):
        self.name = "door"
        self.lock = threading.Lock()

    def get(self):
        return self.name


class Slotted:
    __slots__ = ("lock",)

    def __init__(self):
        self.lock = threading.Lock()


class Counter:
    def __init__(self, start=0):
        self.value = start

    def add(self, number=1):
        self.value += number
        return self.value

    async def add_async(self, number=1):
        self.value += number
        return self.value


def add(a, b=1):
    return a + b


@functools.lru_cache
def cached(number):
    return number


def pid(*_):
    return os.getpid()


def thread_name(*_):
    return threading.current_thread().name


def divide(a, b):
    return a / b


def fail_with_two(*_):
    raise TwoArguments("one", "two")


def fail_unpicklably(*_):
    raise Unrebuildable("the text")


def unpicklable_result():
    return {"plain": 1, "deep": [threading.Lock()]}


def variable():
    return VARIABLE.get("unset")


def log_and_warn(text):
    logging.getLogger("jobs").info("said %s", text)
    warnings.warn(f"beware of {text}", UserWarning, stacklevel=1)
    return text


class TwoWarning(UserWarning):
    """Cannot be made of its text alone."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def log_badly():
    logging.getLogger("jobs").warning("%d things", "many")
    return "fine"


def log_extra(**extra):
    logging.getLogger("jobs").warning("extra", extra=extra)
    return "fine"


def log_locks():
    return log_extra(door=threading.Lock(), number=1)


def log_errors():
    return log_extra(error=TwoArguments("one", "two"), strange=Unrebuildable("the text"))


def warn_with_two():
    warnings.warn(TwoWarning("one", "two"), stacklevel=1)
    return "fine"


def log_and_fail():
    logging.getLogger("jobs").warning("failing")
    raise ValueError("the call's own")


def leave(error=SystemExit):
    raise error(3)


def crash():
    os._exit(3)


def kill_self():
    os.kill(os.getpid(), signal.SIGKILL)


def forever():
    threading.Event().wait()


def keywords(**kwargs):
    return kwargs


def slowly(seconds):
    time.sleep(seconds)
    return seconds


def odd_fails(number):
    if number % 2:
        raise ValueError(number)
    return number


def fail_at(number, limit):
    if number == limit:
        raise ValueError(number)
    return number


def crash_once(flag):
    """Kill the worker unless the file *flag* exists, which it creates."""
    try:
        with open(flag, "x"):
            pass
    except FileExistsError:
        return "survived"
    os._exit(1)
