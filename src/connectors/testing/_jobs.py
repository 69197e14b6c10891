"""What the checks give to executors to run. Workers import it, so it needs nothing but Python."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import json
import logging
import os
import socket
import threading
import warnings
from collections.abc import Callable
from typing import Any

GO, FAIL, DIE = b"g", b"f", b"d"
GOODBYE = b"+"

#: A context variable that a check declares, so that it reaches processes.
VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="unset")

_kept: list[socket.socket] = []


class Trouble(Exception):  # noqa: N818 - a name that nobody takes for one of the library's
    """What calls raise."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message, code)
        self.code = code


class StubbornTrouble(Exception):  # noqa: N818
    """An exception that can be pickled and not be unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _refuse, (str(self),)


class LockedTrouble(Exception):  # noqa: N818
    """An exception that cannot be pickled."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.lock = threading.Lock()


class Locked:
    """Cannot be pickled, because of its attribute ``lock``."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


class Counter:
    """An object with methods and a state."""

    def __init__(self, start: int = 0) -> None:
        self.count = start

    def add(self, number: int, *, times: int = 1) -> int:
        """Count up and return the count."""
        self.count += number * times
        return self.count

    async def add_async(self, number: int) -> int:
        """Count up and return the count, awaiting something."""
        await pause()
        self.count += number
        return self.count


def _refuse(message: str) -> None:
    raise RuntimeError(f"{message} does not want to be unpickled")


def echo(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments."""
    return args, kwargs


def square(number: int) -> int:
    """Return *number* squared."""
    return number * number


def where() -> tuple[str, int, int]:
    """Return the machine, process and thread in which this runs."""
    return socket.gethostname(), os.getpid(), threading.get_ident()


def deep_trouble(code: int = 7) -> None:
    """Raise `Trouble` some frames down."""
    _raise_trouble(code)


def _raise_trouble(code: int) -> None:
    raise Trouble("it went wrong", code) from KeyError("the cause")


def raise_this(kind: type[BaseException], *args: Any) -> None:
    """Raise an exception of *kind*."""
    raise kind(*args)


def return_trouble() -> Trouble:
    """Return an exception, and raise none."""
    return Trouble("returned", 1)


def fail_at(item: int, bad: int) -> int:
    """Return *item*, or raise `Trouble` if it is the *bad* one."""
    if item == bad:
        raise Trouble("a bad item", item)
    return item


def make_locked() -> Locked:
    """Return what cannot be pickled."""
    return Locked()


def kind_of(value: object) -> tuple[str, int]:
    """Return the name of the class of *value* and the process in which this runs."""
    return type(value).__name__, os.getpid()


def variable() -> str:
    """Return the value of the declared context variable."""
    return VARIABLE.get()


def log_and_warn(logger: str) -> int:
    """Log something important and something that is not, warn, and return the process."""
    logging.getLogger(logger).warning("heed %s", "this")
    logging.getLogger(logger).debug("ignore this")
    warnings.warn("a warning from a call", UserWarning, stacklevel=1)
    return os.getpid()


def die() -> None:
    """End the process at once."""
    os._exit(3)


def knock(address: tuple[str, int], tag: Any = None) -> Any:
    """Report at the gate at *address*, do what it orders, and return *tag*."""
    with socket.create_connection(address) as line:
        _introduce(line, tag)
        order = line.recv(1)
        if order == FAIL:
            raise Trouble("the gate ordered it", 0)
        if order == DIE:
            os._exit(3)
        if order != GO:
            raise ConnectionAbortedError("the gate was closed")
        line.sendall(GOODBYE)
    return tag


def stay_connected(address: tuple[str, int]) -> None:
    """Report at the gate, and keep the line until this process ends."""
    line = socket.create_connection(address)
    _introduce(line, None)
    _kept.append(line)


def _introduce(line: socket.socket, tag: Any) -> None:
    hello = {"pid": os.getpid(), "thread": threading.get_ident(), "tag": tag}
    line.sendall(json.dumps(hello).encode() + b"\n")


def dive(executor: Any, depth: int) -> int:
    """Submit this to *executor*, from inside its own call, *depth* times over."""
    if depth == 0:
        return 0
    return 1 + int(executor.submit(dive, executor, depth - 1).result())


def dive_by_map(executor: Any, depth: int) -> int:
    """Map over *executor* from inside its own call, *depth* times over."""
    if depth == 0:
        return 1
    return sum(executor.map(functools.partial(dive_by_map, executor), [depth - 1] * 2))


def await_run_method(executor: Any, level: Any, number: int) -> int:
    """Await *executor* in an event loop inside its own call."""
    return int(asyncio.run(executor.run_method(level, square, None, number)))


def await_inside(executor: Any, number: int) -> int:
    """Run a coroutine in the loop of *executor* from inside its own call."""
    return int(executor.run_coroutine(later(number)))


def same_executor(executor: Any, number: int) -> int:
    """Use *executor* where this runs."""
    return int(executor.submit(square, number).result())


async def later(value: Any) -> Any:
    """Return *value* after having awaited something."""
    await pause()
    return value


async def trouble_later(code: int) -> None:
    """Raise `Trouble` after having awaited something."""
    await pause()
    raise Trouble("it went wrong", code)


async def pause() -> None:
    """Let other tasks of the running library go on."""
    from connectors._worlds import current_world

    if current_world() == "trio":
        import trio

        await trio.lowlevel.checkpoint()
    else:
        await asyncio.sleep(0)
