"""The decorators of getters and setters: what stands in the class of a block."""

from __future__ import annotations

import difflib
import functools
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

from connectors._errors import ObserverError
from connectors._flags import Laziness, Parallelization
from connectors._levels import checked_wish
from connectors._stays import leave_behind

from ._connectors import (
    ConditionalMultiInputConnector,
    ConditionalSingleInputConnector,
    Connector,
    MultiInputConnector,
    MultiOutputConnector,
    OutputConnector,
    SingleInputConnector,
    checked_laziness,
    show,
)
from ._executors import Choice, checked
from ._nodes import Source
from ._proxies import (
    ConnectorProxy,
    MultiInputAssociateProxy,
    MultiInputProxy,
    MultiOutputProxy,
    OutputProxy,
    SingleInputProxy,
)
from ._recipes import Store

_making = threading.RLock()
_checked: weakref.WeakSet[type] = weakref.WeakSet()


class Decorator:
    """What all decorators of connectors have in common.

    Attributes:
        name: The name of the attribute in the class.
        function: The decorated function.
        executor: The executor, or its name.
        metadata: What its connectors show of the function.
    """

    function: Callable[..., Any]
    executor: Choice
    parallelization: Parallelization
    proxy_class: type[ConnectorProxy]

    def __init__(self, parallelization: Parallelization, executor: Choice) -> None:
        self.parallelization = checked_wish(parallelization)
        self.executor = checked(executor)
        self.metadata: Mapping[str, Any] = {}
        self.placed: dict[Any, Any] = {}
        self.name = ""
        self._named = False

    def __call__(self, function: Any, /, *args: Any, **kwargs: Any) -> Self:
        """Decorate *function* and return this; after that, call the method of an instance.

        So `Class.method(instance, ...)` is `instance.method(...)`. Type checkers are told of the
        first use only.
        """
        if not self.metadata:
            self._decorate(function)
            return self
        result: Self = self.__get__(function)(*args, **kwargs)
        return result

    def _decorate(self, function: Callable[..., Any]) -> None:
        shown: Any = self.proxy_class.__new__(self.proxy_class)
        show(shown, function)
        self.metadata = dict(shown.__dict__)
        show(self, function)
        self.function = function
        self.name = self.name or function.__name__

    def __set_name__(self, owner: type, name: str) -> None:
        if not self._named:  # another name of it is an alias
            self._named = True
            self.name = name
        leave_behind(owner)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        # There is one here only if it was looked up by another name, or by super().
        existing = self.existing(instance)
        return self.proxy_class(instance, self) if existing is None else existing

    def existing(self, instance: Any) -> Any:
        """Return the real connector of *instance*, if there is one."""
        try:
            found = instance.__dict__.get(self.name)
        except AttributeError:
            return None
        if (
            isinstance(found, Connector)
            and found._method is self.function
            and found._block() is instance  # a copy may have the connectors of the original
        ):
            return found
        return None

    def connector(self, instance: Any) -> Any:
        """Return the real connector of *instance*, which is made if there is none.

        Raises:
            TypeError: The instance has no room for it.
            ObserverError: Its class names an observer that it does not have.
        """
        found = self.existing(instance)
        if found is not None:
            return found
        self.check(type(instance))
        _check_room(instance)
        with _making:
            found = self.existing(instance)
            if found is None:
                found = self._make(instance)
                found._name = self.name
                found._placed = self.placed
                setattr(instance, self.name, found)
        return found

    def _make(self, instance: Any) -> Connector:
        raise NotImplementedError

    def check(self, cls: type) -> None:
        """Check the names of observers in *cls*.

        Raises:
            ObserverError: An input names an observer that the class does not have.
        """
        if cls not in _checked:
            for decorator in _decorators(cls):
                if isinstance(decorator, _InputDecorator):
                    decorator.observing(cls)
            _checked.add(cls)


def _decorators(cls: type) -> Iterator[Decorator]:
    seen = set()
    for base in cls.__mro__:
        for name, value in vars(base).items():
            if name not in seen:
                seen.add(name)
                if isinstance(value, Decorator):
                    yield value


def _find(cls: type, name: str) -> Any:
    return next((vars(base)[name] for base in cls.__mro__ if name in vars(base)), None)


def _check_room(instance: Any) -> None:
    cls = type(instance)
    missing = []
    if not hasattr(instance, "__dict__"):
        missing.append("'__dict__'")
    try:
        weakref.ref(instance)
    except TypeError:
        missing.append("'__weakref__'")
    if missing:
        raise TypeError(
            f"{cls.__qualname__} has __slots__ that leave no room for connectors: "
            f"add {' and '.join(missing)} to them to connect or configure its methods"
        )


class Output(Decorator):
    """Makes a getter an output, whose result can be the input of other blocks.

    Args:
        caching: Keep the result until something changes on which it depends.
        parallelization: How far away the getter may run.
        executor: The executor, or the name of one, that runs what a read brings about. By default
            all connectors share one.

    Example:
        >>> import connectors
        >>> class Adder:
        ...     def __init__(self):
        ...         self.a = self.b = 0
        ...     @connectors.Input("sum")
        ...     def set_a(self, a):
        ...         self.a = a
        ...         return self
        ...     @connectors.Input("sum")
        ...     def set_b(self, b):
        ...         self.b = b
        ...         return self
        ...     @connectors.Output()
        ...     def sum(self):
        ...         return self.a + self.b
        >>> first, second = Adder(), Adder()
        >>> _ = first.sum.connect(second.set_a)
        >>> _ = first.set_a(1).set_b(2)
        >>> second.set_b(10).sum()
        13
    """

    proxy_class = OutputProxy

    def __init__(
        self,
        caching: bool | Callable[..., Any] = True,
        parallelization: Parallelization = Parallelization.THREAD,
        executor: Choice = None,
    ) -> None:
        super().__init__(parallelization, executor)
        self.caching = True
        if callable(caching):
            self._decorate(caching)
        else:
            self.caching = caching

    def _make(self, instance: Any) -> Connector:
        return OutputConnector(
            instance, self.function, self.caching, self.parallelization, self.executor
        )


class MultiOutput(Decorator):
    """Makes a getter that takes a key a multi-output: one output for each key.

    Args:
        caching: Keep the results until something changes on which they depend.
        parallelization: How far away the getter may run.
        executor: The executor, or the name of one.
    """

    proxy_class = MultiOutputProxy

    def __init__(
        self,
        caching: bool | Callable[..., Any] = True,
        parallelization: Parallelization = Parallelization.THREAD,
        executor: Choice = None,
    ) -> None:
        super().__init__(parallelization, executor)
        self._keys: Callable[[Any], Any] = _no_keys
        self.caching = True
        if callable(caching):
            self._decorate(caching)
        else:
            self.caching = caching

    def keys(self, method: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Decorate the method that tells which keys a connected multi-input is served."""
        self._keys = method
        return method

    def _make(self, instance: Any) -> Connector:
        return MultiOutputConnector(
            instance, self.function, self.caching, self.parallelization, self.executor, self._keys
        )


def _no_keys(_: Any) -> tuple[()]:
    return ()


class _InputDecorator(Decorator):
    """What the decorators of inputs and multi-inputs have in common."""

    def __init__(
        self,
        observers: str | Sequence[str] | Callable[..., Any] = (),
        laziness: Laziness = Laziness.ON_REQUEST,
        parallelization: Parallelization = Parallelization.SEQUENTIAL,
        executor: Choice = None,
    ) -> None:
        super().__init__(parallelization, executor)
        self.laziness = checked_laziness(laziness)
        self.announces: Callable[..., Any] | None = None
        self.notifies: Callable[..., Any] | None = None
        self.owner = ""
        self.observers: tuple[str, ...] = ()
        if callable(observers):
            self._decorate(observers)
        else:
            self.observers = (observers,) if isinstance(observers, str) else tuple(observers)

    def __set_name__(self, owner: type, name: str) -> None:
        super().__set_name__(owner, name)
        self.owner = owner.__name__

    def announce_condition(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """Decorate the method that tells whether an announced change is passed on."""
        self.announces = method
        return method

    def notify_condition(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """Decorate the method that tells whether a change that was made is passed on."""
        self.notifies = method
        return method

    def observing(self, cls: type) -> list[Decorator]:
        """Return the decorators of the observers in *cls*.

        Raises:
            ObserverError: The class does not have one of them.
        """
        found: list[Decorator] = []
        for name in self.observers:
            private = name.startswith("__") and not name.endswith("__")
            mangled = f"_{self.owner.lstrip('_')}{name}" if private else name
            for candidate in (name, mangled):
                observer = _find(cls, candidate)
                if isinstance(observer, (Output, MultiOutput)):
                    found.append(observer)
                    break
            else:
                raise self._unknown(cls, name)
        return found

    def _unknown(self, cls: type, name: str) -> ObserverError:
        known = sorted(
            decorator.name
            for decorator in _decorators(cls)
            if isinstance(decorator, (Output, MultiOutput))
        )
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        return ObserverError(
            f"{cls.__qualname__}.{self.name} names the observer '{name}', which is no output of "
            f"{cls.__qualname__}; its outputs: {', '.join(known) or 'none'}.{hint}"
        )

    def real_observers(self, instance: Any) -> list[Source]:
        """Return the connectors of those observers of *instance* that have one."""
        found = (decorator.existing(instance) for decorator in self.observing(type(instance)))
        return [connector for connector in found if connector is not None]


class Input(_InputDecorator):
    """Makes a setter with one argument an input, which can take its value from an output.

    Args:
        observers: The name of the output of the same block that it influences, or several.
        laziness: When it asks for a value that was announced to it.
        parallelization: How far away the setter may run; never in another process, where what it
            writes would be lost.
        executor: The executor, or the name of one, that runs what a call brings about.
    """

    proxy_class = SingleInputProxy

    def _make(self, instance: Any) -> Connector:
        observers = [observer.connector(instance) for observer in self.observing(type(instance))]
        how = (self.laziness, self.parallelization, self.executor)
        if self.announces is None and self.notifies is None:
            return SingleInputConnector(instance, self.function, observers, *how)
        return ConditionalSingleInputConnector(
            instance, self.function, observers, self.announces, self.notifies, *how
        )


class MultiInput(_InputDecorator):
    """Makes a method that adds a value and returns its id a multi-input.

    Several outputs can be connected to it. It needs a remove method (see `remove`), and may have a
    replace method (see `replace`).

    Args:
        observers: The name of the output of the same block that it influences, or several.
        laziness: When it asks for a value that was announced to it.
        parallelization: How far away the method may run; never in another process, where what it
            writes would be lost.
        executor: The executor, or the name of one, that runs what a call brings about.
    """

    proxy_class = MultiInputProxy

    _removes: Callable[..., Any] | None = None
    _replaces: Callable[..., Any] | None = None

    def remove(self, method: Callable[..., Any]) -> MultiInputAssociateDescriptor:
        """Decorate the method that removes the value with an id."""
        self._removes = method
        return MultiInputAssociateDescriptor(self, method, adds=False)

    def replace(self, method: Callable[..., Any]) -> MultiInputAssociateDescriptor:
        """Decorate the method that replaces the value with an id, and returns its new id."""
        self._replaces = method
        return MultiInputAssociateDescriptor(self, method, adds=True)

    def _make(self, instance: Any) -> Connector:
        observers = [observer.connector(instance) for observer in self.observing(type(instance))]
        methods = (self.function, self._removes, self._replaces)
        how = (self.laziness, self.parallelization, self.executor)
        if self.announces is None and self.notifies is None:
            return MultiInputConnector(instance, *methods, observers, *how)
        return ConditionalMultiInputConnector(
            instance, *methods, observers, self.announces, self.notifies, *how
        )

    def store(self, block: Any) -> Store:
        """Return how *block* stores a value under a key."""
        return Store(block, self.function, self._replaces, self._remove_method, self.notifies)

    def _remove_method(self) -> Callable[..., Any]:
        if self._removes is None:
            raise TypeError(
                f"{self.owner}.{self.name} has no remove method, which is needed to replace or "
                f"disconnect a value: define one with @{self.name}.remove"
            )
        return self._removes


class MultiInputAssociateDescriptor:
    """What stands in the class for the remove or replace method of a multi-input.

    Args:
        multi: The multi-input.
        method: The plain function.
        adds: It stores a value, which is its second argument.
    """

    def __init__(self, multi: MultiInput, method: Callable[..., Any], *, adds: bool) -> None:
        functools.update_wrapper(self, method)
        self._multi = multi
        self._method = method
        self._adds = adds

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        return MultiInputAssociateProxy.of(instance, self._multi, self._method, adds=self._adds)

    def __call__(self, instance: Any, *args: Any, **kwargs: Any) -> Any:
        """Call the method of *instance*."""
        return self.__get__(instance)(*args, **kwargs)
