"""`Host`, an application that writes methods once and leaves to settings where they run.

```text
detect(frame) ─▶ route: use() > settings > decorator > host ─▶ shared executor ─▶ one door
```
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self, overload

from . import settings
from ._errors import ConnectorsError, MethodNotFoundError, OptionError, breaks_off
from ._executor import Executor
from ._factory import chosen
from ._flags import Parallelization
from ._method import Choice, Configured, ConnectorMethod, P, Plan, R

_CHOICES = 64  # how many ways of choosing an executor a host remembers


_NO_PLAN = Plan()


class Host:
    """An application: its connector methods, its routes and its open executors.

    Args:
        name: What the names of its methods begin with, ``camera`` in ``camera.detect``.
        executor: The name of the executor of methods that no one routes elsewhere, or the
            executor; by default the one that is configured.

    Example:
        >>> import connectors
        >>> host = connectors.Host("math")
        >>> @host.connector
        ... def double(number: int) -> int:
        ...     return 2 * number
        >>> with host:
        ...     double(21), list(double.map([1, 2, 3])), double.submit(4).result()
        (42, [2, 4, 6], 8)
    """

    def __init__(self, name: str, *, executor: Choice | None = None) -> None:
        self.name = name
        self._plan = Plan(executor)
        self._methods: dict[str, ConnectorMethod[..., Any]] = {}
        self._executors: dict[tuple[str, str], Executor] = {}
        self._choices: dict[tuple[Any, ...], tuple[Any, Executor]] = {}
        self._lock = threading.RLock()
        self._used: contextvars.ContextVar[Plan] = contextvars.ContextVar(
            f"{name}.use", default=_NO_PLAN
        )
        _hosts[name] = self

    @overload
    def connector(self, function: Callable[P, R]) -> ConnectorMethod[P, R]: ...

    @overload
    def connector(
        self,
        *,
        parallelization: Parallelization = ...,
        name: str | None = ...,
        executor: Choice | None = ...,
        timeout: float | None = ...,
        retries: int | None = ...,
    ) -> Callable[[Callable[P, R]], ConnectorMethod[P, R]]: ...

    def connector(
        self,
        function: Callable[..., Any] | None = None,
        *,
        parallelization: Parallelization = Parallelization.THREAD,
        name: str | None = None,
        executor: Choice | None = None,
        timeout: float | None = None,
        retries: int | None = None,
    ) -> Any:
        """Register a function or a method of a class as a connector method.

        With static methods and class methods this is the outermost decorator.

        Args:
            function: The function, where the decorator is written without parentheses.
            parallelization: How far away it may run.
            name: Its name; by default that of the function, with its class: ``Camera.read``.
            executor: The executor that it runs on, unless settings route it elsewhere.
            timeout: Limit of one call in seconds.
            retries: How often a call that failed is run again.

        Returns:
            The connector method, which is called like the function.

        Raises:
            ConnectorsError: The host has another method of this name.
        """
        place = f"host '{self.name}', connector"
        plan = Plan.checked(place, executor, parallelization, timeout, retries)

        def register(function: Any) -> ConnectorMethod[..., Any]:
            if not (callable(function) or isinstance(function, (staticmethod, classmethod))):
                raise OptionError(f"{place}: {function!r} is no function")
            return self._register(ConnectorMethod(self, function, plan, name))

        return register if function is None else register(function)

    @property
    def methods(self) -> tuple[ConnectorMethod[..., Any], ...]:
        """The connector methods, in the order in which they were registered."""
        return tuple(self._methods.values())

    def method(self, name: str) -> ConnectorMethod[..., Any]:
        """Return the connector method *name*, which may be written with or without the host's.

        Raises:
            MethodNotFoundError: There is none.
        """
        full = name if name in self._methods else f"{self.name}.{name}"
        try:
            return self._methods[full]
        except KeyError:
            raise MethodNotFoundError(self.name, name, tuple(self._methods)) from None

    def call(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call the connector method *name* and return its result.

        Raises:
            MethodNotFoundError: There is none.
        """
        return self.method(name)(*args, **kwargs)

    @contextlib.contextmanager
    def use(
        self,
        executor: Choice | None = None,
        *,
        parallelization: Parallelization | None = None,
        timeout: float | None = None,
        retries: int | None = None,
    ) -> Iterator[Self]:
        """Let methods that are called in the block run elsewhere or with other limits.

        It is seen by child tasks and by the threads of executors, and by nobody else.

        Args:
            executor: The name of an executor, several names of which the first that opens is
                taken, or an executor, which is not closed.
            parallelization: How far away they may run.
            timeout: Limit of one call in seconds.
            retries: How often a call that failed is run again.
        """
        place = f"host '{self.name}', use"
        plan = Plan.checked(place, executor, parallelization, timeout, retries)
        token = self._used.set(plan.over(self._used.get()))
        try:
            yield self
        finally:
            self._used.reset(token)

    def executor_of(self, name: str) -> Executor:
        """Return the open executor that the connector method *name* would run on now.

        Raises:
            MethodNotFoundError: There is none.
        """
        plan = self.plan_of(self.method(name))
        return self.shared(plan.executor)

    def close(self, cancel: bool = False) -> None:
        """Close the executors that this host opened. The next call of a method opens new ones.

        Args:
            cancel: Cancel the calls that have not begun.
        """
        with self._lock:
            executors = list(self._executors.values())
            self._executors.clear()
            self._choices.clear()
            for method in self._methods.values():
                method.forget_route()
        for executor in executors:
            executor.close(cancel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close(cancel=breaks_off(error))

    def __repr__(self) -> str:
        return f"<Host '{self.name}', {len(self._methods)} connector methods>"

    def __reduce__(self) -> tuple[Callable[..., Host], tuple[str]]:
        return _host, (self.name,)

    def plan_of(self, method: ConnectorMethod[..., Any]) -> Plan:
        """Return where and how a call of *method* would run now."""
        return self._used.get().over(method.routed()).over(self._plan)

    def _register(self, method: ConnectorMethod[..., Any]) -> ConnectorMethod[..., Any]:
        known = self._methods.get(method.name)
        if known is not None and not _redefines(method.function, known.function):
            raise ConnectorsError(
                f"host '{self.name}' already has a connector method '{method.name}', "
                f"of {known.function.__module__}; give one of them another name: "
                '@host.connector(name="...")'
            )
        self._methods[method.name] = method
        return method

    def shared(self, choice: Choice | Configured | None) -> Executor:
        """Return the one open executor of this host for *choice*."""
        if isinstance(choice, Executor):
            return choice
        if choice is None:
            setting = settings.executor_setting()
            choice = Configured(setting.value, setting.origin)
        names, origin = (
            (choice.names, choice.origin) if isinstance(choice, Configured) else (choice, "")
        )
        layers = settings.code_layers()
        key = (names if isinstance(names, str) else tuple(names), origin, *map(id, layers))
        with self._lock:
            _, found = self._choices.get(key, (layers, None))
            if found is None or found.closed:
                found = self._opened(names, origin)
                if len(self._choices) >= _CHOICES:
                    self._choices.clear()
                self._choices[key] = (layers, found)  # the layers are kept, or ids would recur
            return found

    def _opened(self, names: str | Sequence[str], origin: str) -> Executor:
        """Return the one executor of this host that has the name and the options chosen."""
        made = chosen(names, origin=origin)
        key = (made.name, repr({name: item.value for name, item in made.settings.items()}))
        known = self._executors.get(key)
        if known is None or known.closed:
            known = self._executors[key] = made
        else:
            made.close()
        return known


_hosts: weakref.WeakValueDictionary[str, Host] = weakref.WeakValueDictionary()


def _host(name: str) -> Host:
    """Return the host of this process with *name*, for a call that travelled here."""
    return _hosts.get(name) or Host(name)


def _redefines(new: Callable[..., Any], old: Callable[..., Any]) -> bool:
    """Tell whether *new* is *old* once more: its module was reloaded, its cell run again."""
    return (new.__module__, new.__qualname__) == (old.__module__, old.__qualname__)
