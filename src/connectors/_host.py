"""`Host`, an application that writes methods once and leaves to settings where they run.

```text
detect(frame) ─▶ route: use() > settings > decorator > host ─▶ shared executor ─▶ one door
```
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Generic, ParamSpec, Self, TypeVar, overload

import attrs

from . import settings
from ._calls import Call
from ._errors import ConnectorsError, MethodNotFoundError
from ._executor import Executor
from ._factory import chosen
from ._flags import Parallelization
from ._worlds import abandon

P = ParamSpec("P")
R = TypeVar("R")
Choice = str | Sequence[str] | Executor


@attrs.frozen
class Configured:
    """Names of executors that settings chose; unlike those in code they are never addresses."""

    names: str | list[str]
    origin: str


_CHOICES = 64  # how many ways of choosing an executor a host remembers


@attrs.frozen
class _Plan:
    """Where and how the calls of a method run."""

    executor: Choice | Configured | None = None
    wish: Parallelization | None = None
    timeout: float | None = None
    retries: int | None = None
    label: str | None = None

    def over(self, lower: _Plan) -> _Plan:
        """Return this plan with what it leaves open taken from *lower*."""
        fields = (field.name for field in attrs.fields(_Plan))
        pairs = ((name, getattr(self, name), getattr(lower, name)) for name in fields)
        return _Plan(**{name: low if high is None else high for name, high, low in pairs})


_NO_PLAN = _Plan()


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
        self._plan = _Plan(executor)
        self._methods: dict[str, ConnectorMethod[..., Any]] = {}
        self._executors: dict[tuple[str, str], Executor] = {}
        self._choices: dict[tuple[Any, ...], tuple[Any, Executor]] = {}
        self._lock = threading.RLock()
        self._used: contextvars.ContextVar[_Plan] = contextvars.ContextVar(
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
        plan = _Plan(executor, parallelization, timeout, retries)

        def register(function: Callable[..., Any]) -> ConnectorMethod[..., Any]:
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
        plan = _Plan(executor, parallelization, timeout, retries)
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
        return self._shared(plan.executor)

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
        self.close(cancel=error is not None and not isinstance(error, Exception))

    def __repr__(self) -> str:
        return f"<Host '{self.name}', {len(self._methods)} connector methods>"

    def __reduce__(self) -> tuple[Callable[..., Host], tuple[str]]:
        return _host, (self.name,)

    def plan_of(self, method: ConnectorMethod[..., Any]) -> _Plan:
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

    def _shared(self, choice: Choice | Configured | None) -> Executor:
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


class ConnectorMethod(Generic[P, R]):
    """A registered function or method: called like the function, run where its host says.

    Attributes:
        name: Its full name, ``camera.detect``.
        function: The plain function.
        parallelization: How far away it may run.
    """

    __module__: str
    __name__: str
    __qualname__: str

    def __init__(
        self, host: Host, function: Callable[P, R], plan: _Plan, name: str | None = None
    ) -> None:
        self._binds = not isinstance(function, staticmethod)
        self._binds_class = isinstance(function, classmethod)
        plain = function.__func__ if isinstance(function, (staticmethod, classmethod)) else function
        functools.update_wrapper(self, plain)
        self.function: Callable[P, R] = plain
        self.host = host
        own = name or plain.__qualname__.rpartition("<locals>.")[2]
        self.name = f"{host.name}.{own}"
        self._plan = plan
        self._body = _Body(plain)
        self._route: tuple[Any, _Plan] | None = None

    @property
    def parallelization(self) -> Parallelization:
        """How far away it may run."""
        return self._plan.wish or Parallelization.SEQUENTIAL

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the method, block until it ends and return its result."""
        future = self.submit(*args, **kwargs)
        try:
            result: R = future.result()
        except BaseException:
            abandon(future)  # Ctrl-C in the wait; a future that is done does not mind
            raise
        return result

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Schedule the method and return the future of its result."""
        return self._submit(None, args, kwargs)

    async def aio(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the method and return its result, under asyncio or trio."""
        result: R = await self._aio(None, args, kwargs)
        return result

    def map(self, *iterables: Iterable[Any], **how: Any) -> Iterator[R]:
        """Return an iterator over the method of each item of *iterables*.

        Args:
            *iterables: Its arguments, one iterable each.
            **how: ``timeout``, ``chunksize``, ``buffersize``, ``unordered``; see `Executor.map`.
        """
        return self._map(None, iterables, how)

    @overload
    def __get__(self, instance: None, owner: type) -> ConnectorMethod[P, R]: ...

    @overload
    def __get__(self, instance: object, owner: type | None = None) -> BoundMethod[R]: ...

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if self._binds_class:
            return BoundMethod(self, type(instance) if owner is None else owner)
        if instance is None or not self._binds:
            return self
        return BoundMethod(self, instance)

    def __repr__(self) -> str:
        return f"<connector method '{self.name}', {self.parallelization}>"

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        if _importable(self):
            return _method_at, (self.__module__, self.__qualname__)
        return ConnectorMethod, (self.host, self.function, self._plan, self.name.partition(".")[2])

    def routed(self) -> _Plan:
        """Return the plan of the settings over that of the decorator.

        The settings are read once, and again when `configure` or `using` changed them.
        """
        layers = settings.code_layers()
        route = self._route
        if route is None or route[0] != layers:
            found = settings.route(self.name)
            names = found.executor
            executor = None if names is None else Configured(names, found.origin)
            plan = _Plan(executor, found.wish, found.timeout, found.retries, found.label)
            route = self._route = (layers, plan.over(self._plan))
        return route[1]

    def forget_route(self) -> None:
        """Read the settings again at the next call."""
        self._route = None

    def _call(self, instance: Any, args: Any, kwargs: Any) -> tuple[Executor, Call]:
        plan = self.host.plan_of(self)
        executor = self.host._shared(plan.executor)
        return executor, Call(
            self._body,
            args,
            kwargs,
            instance,
            plan.wish or self.parallelization,
            plan.label or self.name,
            executor.timeout if plan.timeout is None else plan.timeout,
            executor.retries if plan.retries is None else plan.retries,
        )

    def _submit(self, instance: Any, args: Any, kwargs: Any) -> Future[Any]:
        executor, call = self._call(instance, args, kwargs)
        return executor.submit_call(call)

    async def _aio(self, instance: Any, args: Any, kwargs: Any) -> Any:
        executor, call = self._call(instance, args, kwargs)
        return await executor.run_call(call)

    def _map(self, instance: Any, iterables: Any, how: Any) -> Iterator[Any]:
        executor, call = self._call(instance, (), {})
        view = executor.options(
            wish=call.wish, timeout=call.timeout, retries=call.retries, label=call.name
        )
        body = self._body if instance is None else functools.partial(self._body, instance)
        return view.map(body, *iterables, **how)


class BoundMethod(Generic[R]):
    """A connector method of one object: what `ConnectorMethod` is for functions."""

    def __init__(self, method: ConnectorMethod[..., R], instance: Any) -> None:
        self._method = method
        self._instance = instance
        self.__self__ = instance
        self.__func__ = method
        self.__name__ = method.__name__
        self.__qualname__ = method.__qualname__
        self.__doc__ = method.__doc__
        self.__wrapped__ = method.function.__get__(instance)

    @property
    def name(self) -> str:
        """Its full name, ``camera.Camera.read``."""
        return self._method.name

    @property
    def function(self) -> Callable[..., R]:
        """The plain function."""
        return self._method.function

    @property
    def parallelization(self) -> Parallelization:
        """How far away it may run."""
        return self._method.parallelization

    def __call__(self, *args: Any, **kwargs: Any) -> R:
        """Run the method, block until it ends and return its result."""
        future = self.submit(*args, **kwargs)
        try:
            return future.result()
        except BaseException:
            abandon(future)
            raise

    def submit(self, *args: Any, **kwargs: Any) -> Future[R]:
        """Schedule the method and return the future of its result."""
        return self._method._submit(self._instance, args, kwargs)

    async def aio(self, *args: Any, **kwargs: Any) -> R:
        """Run the method and return its result, under asyncio or trio."""
        result: R = await self._method._aio(self._instance, args, kwargs)
        return result

    def map(self, *iterables: Iterable[Any], **how: Any) -> Iterator[R]:
        """Return an iterator over the method of each item; see `ConnectorMethod.map`."""
        return self._method._map(self._instance, iterables, how)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, BoundMethod)
            and self._method is other._method
            and self._instance is other._instance
        )

    def __hash__(self) -> int:
        return hash((id(self._method), id(self._instance)))

    def __repr__(self) -> str:
        return f"<{self._method!r} of {self._instance!r}>"

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return BoundMethod, (self._method, self._instance)


class _Body:
    """The plain function of a connector method, as it travels.

    By its name one finds the connector method and not the function, so that pickle would refuse
    to send the function by reference.
    """

    __qualname__: str

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        functools.update_wrapper(self, function)
        code = getattr(function, "__code__", None)
        if code is not None:
            self.__code__ = code  # tells that it is an async def

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        if _importable(self):
            return _body_at, (self.__module__, self.__qualname__)
        return _Body, (self._function,)


_hosts: weakref.WeakValueDictionary[str, Host] = weakref.WeakValueDictionary()


def _host(name: str) -> Host:
    """Return the host of this process with *name*, for a call that travelled here."""
    return _hosts.get(name) or Host(name)


def _at(module: str, qualname: str) -> Any:
    import importlib

    found: Any = sys.modules.get(module) or importlib.import_module(module)
    for name in qualname.split("."):
        found = getattr(found, name)
    return found


def _method_at(module: str, qualname: str) -> Any:
    found = _at(module, qualname)
    return found.__func__ if isinstance(found, BoundMethod) else found


def _body_at(module: str, qualname: str) -> Any:
    return _method_at(module, qualname)._body


def _importable(item: Any) -> bool:
    """Tell whether a worker finds the connector method of *item* by its name."""
    module, qualname = item.__module__, item.__qualname__
    if module == "__main__" or "<locals>" in qualname:
        return False
    try:
        found = _method_at(module, qualname)
    except (ImportError, AttributeError):
        return False
    return item is found or item is getattr(found, "_body", None)


def _redefines(new: Callable[..., Any], old: Callable[..., Any]) -> bool:
    """Tell whether *new* is *old* once more: its module was reloaded, its cell run again."""
    return (new.__module__, new.__qualname__) == (old.__module__, old.__qualname__)
