"""`Call`, the description of one piece of work, and `Decision`, the reason for where it ran."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import attrs

from ._flags import Parallelization

_NEVER_ASYNC = (types.BuiltinFunctionType, types.MethodDescriptorType, type)
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@attrs.frozen(eq=False)
class Call:
    """One piece of work and how it may run.

    Attributes:
        function: What is called. With an *instance*, the plain function of its class.
        args: Positional arguments, without the instance.
        kwargs: Keyword arguments.
        instance: What *function* is a method of, or `None`.
        wish: How far away it may run.
        name: The caller's label for it; see `label`.
        timeout: Limit of one run in seconds, or `None`.
        retries: How many more times it is run after it failed.
        writes: It changes its instance, so that in another process its effect would be lost.
        size: The number of items that it works on; more than 1 for a chunk of a `map`.
        packer: Gives the form in which it travels to a pool of processes, or `None`.
        files: The files that travel with it, to a pool of processes of ours.
        on_begin: Is given the process id of its worker when it tells there that it begins.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = _NOTHING
    instance: Any = None
    wish: Parallelization = Parallelization.SEQUENTIAL
    name: str | None = None
    timeout: float | None = None
    retries: int = 0
    writes: bool = False
    size: int = 1
    packer: Callable[[Call, Any], Call] | None = None
    files: Any = None
    on_begin: Callable[[int], object] | None = None

    @property
    def label(self) -> str:
        """The name by which messages and events speak of this call."""
        return self.name or label_of(self.function, self.instance)

    def run(self) -> Any:
        """Call the function in this thread and return what it returns."""
        if self.instance is None:
            return self.function(*self.args, **self.kwargs)
        return self.function(self.instance, *self.args, **self.kwargs)


@attrs.frozen
class Decision:
    """What was asked, what was possible, what was chosen and why nothing else was.

    Attributes:
        subject: What was decided: a name, a level, a setting.
        asked: What was asked for.
        possible: What could have been chosen.
        chosen: What was.
        rejected: Why each of the others was not, by its name.
        reason: Why the chosen one was.
    """

    subject: str
    asked: str
    possible: tuple[str, ...]
    chosen: str
    rejected: Mapping[str, str] = attrs.field(factory=dict)
    reason: str = ""

    def __str__(self) -> str:
        lines = [f"{self.subject}: {self.asked} was asked for, {self.chosen} is chosen"]
        if self.reason:
            lines[0] += f" ({self.reason})"
        lines += [f"  not {name}: {why}" for name, why in self.rejected.items()]
        return "\n".join(lines)


def label_of(function: Callable[..., Any], instance: Any = None) -> str:
    """Return the name by which messages speak of *function*, ``Camera.read`` for instance."""
    function = _innermost(function)
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    if instance is not None:
        return f"{type(instance).__qualname__}.{name.rpartition('.')[2]}"
    return str(name).replace("<locals>.", "")


def is_async(function: Callable[..., Any]) -> bool:
    """Tell whether calling *function* gives a coroutine that has to be awaited."""
    code = getattr(function, "__code__", None)
    if code is not None:
        return bool(code.co_flags & inspect.CO_COROUTINE)
    if isinstance(function, _NEVER_ASYNC):
        return False
    function = _innermost(function)
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(type(function), "__call__", None)  # noqa: B004 - the class's own, not a check
    )


def is_importable(function: Callable[..., Any]) -> bool:
    """Tell whether another process can import *function*, or the class of a callable object."""
    function = _innermost(function)
    named = function if hasattr(function, "__qualname__") else type(function)
    return named.__module__ != "__main__" and "<" not in named.__qualname__


def _innermost(function: Callable[..., Any]) -> Callable[..., Any]:
    while isinstance(function, functools.partial):
        function = function.func
    return function
