"""`ConnectorMethod`, a registered function or method: called as ever, run where its host says."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast, overload

import attrs

from . import settings
from ._calls import Call
from ._errors import OptionError
from ._executor import Executor
from ._flags import Parallelization
from ._levels import checked_wish
from ._option import check_options, options_of
from ._worlds import abandon

if TYPE_CHECKING:
    from ._host import Host

P = ParamSpec("P")
R = TypeVar("R")
Choice = str | Sequence[str] | Executor


@attrs.frozen
class Configured:
    """Names of executors that settings chose; unlike those in code they are never addresses."""

    names: str | list[str]
    origin: str


@attrs.frozen
class Plan:
    """Where and how the calls of a method run."""

    executor: Choice | Configured | None = None
    wish: Parallelization | None = None
    timeout: float | None = None
    retries: int | None = None
    label: str | None = None

    @classmethod
    def checked(
        cls,
        place: str,
        executor: object,
        wish: object,
        timeout: float | None,
        retries: int | None,
    ) -> Plan:
        """Return the plan of what was given in code at *place*.

        Raises:
            OptionError: A value is not allowed.
        """
        named = isinstance(executor, Sequence) and all(isinstance(n, str) for n in executor)
        if not (executor is None or isinstance(executor, Executor) or (named and executor)):
            raise OptionError(
                f"{place}: executor={executor!r} is neither a name, nor a list of names, nor an "
                "executor"
            )
        given = {"timeout": timeout, "retries": retries}
        limits = {name: value for name, value in given.items() if value is not None}
        check_options(place, options_of(Executor), limits, "keyword argument")
        checked = None if wish is None else checked_wish(wish)
        return cls(cast("Choice | None", executor), checked, timeout, retries)

    def over(self, lower: Plan) -> Plan:
        """Return this plan with what it leaves open taken from *lower*."""
        fields = (field.name for field in attrs.fields(Plan))
        pairs = ((name, getattr(self, name), getattr(lower, name)) for name in fields)
        return Plan(**{name: low if high is None else high for name, high, low in pairs})


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
        self, host: Host, function: Callable[P, R], plan: Plan, name: str | None = None
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
        self._route: tuple[Any, Plan] | None = None

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

    def routed(self) -> Plan:
        """Return the plan of the settings over that of the decorator.

        The settings are read once, and again when `configure` or `using` changed them.
        """
        layers = settings.code_layers()
        route = self._route
        if route is None or route[0] != layers:
            found = settings.route(self.name)
            names = found.executor
            executor = None if names is None else Configured(names, found.origin)
            plan = Plan(executor, found.wish, found.timeout, found.retries, found.label)
            route = self._route = (layers, plan.over(self._plan))
        return route[1]

    def forget_route(self) -> None:
        """Read the settings again at the next call."""
        self._route = None

    def _call(self, instance: Any, args: Any, kwargs: Any) -> tuple[Executor, Call]:
        plan = self.host.plan_of(self)
        executor = self.host.shared(plan.executor)
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
