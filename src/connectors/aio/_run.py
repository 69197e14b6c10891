"""`run`, which runs a coroutine on a fresh loop, and what else concerns the loop itself."""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
from collections.abc import Callable, Coroutine
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

from connectors import _worlds

T = TypeVar("T")
P = ParamSpec("P")


@functools.cache
def uvloop_or_none() -> ModuleType | None:
    """Return the module ``uvloop`` if it is installed."""
    try:
        return importlib.import_module("uvloop")
    except ImportError:
        return None


def only_asyncio(what: str) -> None:
    """Refuse to go on under trio.

    Raises:
        RuntimeError: trio is running here.
    """
    if _worlds.current_world() == "trio":
        raise RuntimeError(f"{what} works only under asyncio, and trio is running here")


def check_callable(place: str, function: object) -> None:
    """Refuse what is not a function, but mostly what one returned.

    Raises:
        TypeError: *function* cannot be called.
    """
    if not callable(function):
        raise TypeError(
            f"{place}({function!r}): a function is needed, got {type(function).__name__}; give the "
            "function itself, and not what it returns"
        )


def run(coroutine: Coroutine[Any, Any, T], *, debug: bool = False) -> T:
    """Run *coroutine* on a fresh event loop and return its result, as `asyncio.run` does.

    Where uvloop is installed, the loop is one of uvloop's. The process-wide policy is not touched.

    Args:
        coroutine: A coroutine object.
        debug: Turn the debug mode of the loop on.

    Raises:
        ValueError: *coroutine* is no coroutine object.
        RuntimeError: An event loop is running in this thread.
    """
    if not inspect.iscoroutine(coroutine):
        raise ValueError(
            f"run({coroutine!r}): a coroutine object is needed, got {type(coroutine).__name__}; "
            "call the async function: run(main())"
        )
    try:
        _check_idle()
    except RuntimeError:
        coroutine.close()
        raise
    uvloop = uvloop_or_none()
    factory = None if uvloop is None else uvloop.new_event_loop
    with asyncio.Runner(debug=debug or None, loop_factory=factory) as runner:
        result: T = runner.run(coroutine)
    return result


def _check_idle() -> None:
    only_asyncio("run()")
    if _worlds.current_world() == "asyncio":
        raise RuntimeError(
            "run() cannot be called while an event loop is running in this thread; "
            "await the coroutine instead"
        )


def run_decorator(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Return a plain function that calls the async *function* with `run`, each time.

    Args:
        function: An async function.

    Raises:
        TypeError: *function* cannot be called.
    """
    check_callable("run_decorator", function)

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        return run(function(*args, **kwargs))

    return wrapper


async def force_loop_cycle() -> None:
    """Give the running event loop exactly one turn."""
    await _worlds.breath()
