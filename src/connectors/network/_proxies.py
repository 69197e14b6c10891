"""What a decorated method is until it is connected or configured.

A proxy is made at each access, like a bound method, and holds its block strongly. What it is asked
that needs memory it passes to the real connector, which is made then and put into the block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from connectors._flags import Laziness, Parallelization

from . import _recipes
from ._connectors import (
    InputEnd,
    MultiInputItem,
    MultiOutputItem,
    Operable,
    OutputEnd,
    show,
)
from ._executors import Choice
from ._nodes import NOTHING, PLAIN, WHOLE, Source
from ._recipes import Direct, Recipe, Socket, call, change
from ._shipping import changed

if TYPE_CHECKING:
    from ._decorators import Decorator, Input, MultiInput, MultiOutput, Output


class ConnectorProxy(Operable):
    """What all proxies have in common.

    Args:
        instance: The block.
        decorator: What stands in its class.
    """

    _decorator: Decorator

    def __init__(self, instance: Any, decorator: Decorator) -> None:
        self.__dict__.update(decorator.metadata)
        self._instance = instance
        self._decorator = decorator
        self._method = decorator.function

    def _connector(self) -> Any:
        return self._decorator.connector(self._instance)

    def _home(self) -> Any:
        return self._instance

    def _label(self) -> str:
        return f"{type(self._instance).__qualname__}.{self._method.__name__}"

    def set_parallelization(self, parallelization: Parallelization) -> None:
        """Set how far away the method may run; see `Connector.set_parallelization`."""
        self._connector().set_parallelization(parallelization)

    def set_executor(self, executor: Choice) -> None:
        """Set the executor; see `Connector.set_executor`."""
        self._connector().set_executor(executor)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ConnectorProxy)
            and self._instance is other._instance
            and self._decorator is other._decorator
        )

    def __hash__(self) -> int:
        return hash((id(self._instance), id(self._decorator)))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._label()}>"

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return getattr, (self._instance, self._decorator.name)


class OutputProxy(ConnectorProxy, OutputEnd):
    """A getter; a call is a call of the plain function."""

    _decorator: Output

    def set_caching(self, caching: bool) -> None:
        """Set whether the result is kept; see `OutputConnector.set_caching`."""
        self._connector().set_caching(caching)

    def invalidate(self) -> Any:
        """Announce a change; there is nothing yet to which it could be announced."""
        self._decorator.check(type(self._instance))
        real = self._decorator.existing(self._instance)
        if real is not None:
            return real.invalidate()
        changed(self._instance, unseen=True)
        return self._instance

    def _recipe(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Recipe:
        self._decorator.check(type(self._instance))
        return _recipes.plain(self._method, self._instance, self._decorator.executor, args, kwargs)

    def _outlet(self, *, make: bool = True) -> tuple[Source | None, Any, str]:
        real = self._connector() if make else self._decorator.existing(self._instance)
        return real, PLAIN, self._label()


class MultiOutputProxy(OutputProxy):
    """A getter that takes a key; a call is a call of the plain function."""

    _decorator: MultiOutput

    def _outlet(self, *, make: bool = True) -> tuple[Source | None, Any, str]:
        real, _, label = super()._outlet(make=make)
        return real, WHOLE, label

    __iter__ = None  # not 0, 1, 2, ... for ever

    def __getitem__(self, key: Any) -> MultiOutputItem:
        """Return the virtual single output for *key*."""
        return MultiOutputItem(self, key)


class SingleInputProxy(ConnectorProxy, InputEnd):
    """A setter; a call is told to those observers that are real connectors."""

    _decorator: Input

    def set_laziness(self, laziness: Laziness) -> None:
        """Set when it asks for a value that was announced; see `InputConnector.set_laziness`."""
        self._connector().set_laziness(laziness)

    def _recipe(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Recipe:
        decorator, block = self._decorator, self._instance
        real = decorator.existing(block)
        if real is not None:
            recipe: Recipe = real._recipe(args, kwargs)
            return recipe
        decorator.check(type(block))
        condition = decorator.notifies

        def passes(result: Any) -> bool:
            assert condition is not None
            return bool(condition(block, *self._told(result, args, kwargs)))

        return change(
            block,
            decorator.real_observers(block),
            decorator.executor,
            call(Direct(self._method, block, args, kwargs, decorator.executor)),
            None if condition is None else passes,
        )

    def _told(self, result: Any, args: Any, kwargs: Any) -> tuple[Any, ...]:  # noqa: ARG002
        return (_recipes.argument(self._method, args, kwargs),)

    def _sockets(self, *, make: bool = True) -> list[Socket | str]:
        real = self._connector() if make else self._decorator.existing(self._instance)
        if real is None:
            return [self._label()]
        return [Socket(real, NOTHING, real._executor)]

    def _takes_dictionaries(self) -> bool:
        return False


class MultiInputProxy(SingleInputProxy):
    """A method that adds a value; a call is told to those observers that are real connectors."""

    _decorator: MultiInput

    def _told(self, result: Any, args: Any, kwargs: Any) -> tuple[Any, ...]:
        return result, _recipes.argument(self._method, args, kwargs)

    def _takes_dictionaries(self) -> bool:
        return True

    __iter__ = None  # not 0, 1, 2, ... for ever

    def __getitem__(self, key: Any) -> MultiInputItem:
        """Return the virtual single input that stores its value under *key*."""
        if self._decorator.real_observers(self._instance):
            return MultiInputItem(self._connector(), key)
        return MultiInputItem(self, key)

    def _store(self, key: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Recipe:
        self._decorator.check(type(self._instance))
        if self._decorator.real_observers(self._instance):
            stored: Recipe = self._connector()._store(key, args, kwargs)
            return stored
        store = self._decorator.store(self._instance)
        fresh: Recipe = store.recipe((), self._decorator.executor, key, args, kwargs)
        return fresh


class MultiInputAssociateProxy(Operable):
    """The remove or replace method of a multi-input.

    Args:
        instance: The block.
        method: The plain function.
        observers: The names of the outputs that it influences.
        executor: The executor of the multi-input.
    """

    def __init__(
        self, instance: Any, method: Any, observers: Any = (), executor: Choice = None
    ) -> None:
        show(self, method)
        self.__instance = instance
        self.__method = method
        self._method = method
        self._observers = observers
        self._executor = executor
        self._adds = False
        self._multi: MultiInput | None = None

    @classmethod
    def of(cls, instance: Any, multi: MultiInput, method: Any, *, adds: bool) -> Any:
        """Return the proxy for *method*, which was given to the multi-input *multi*."""
        proxy = cls(instance, method, multi.observers, multi.executor)
        proxy._multi = multi
        proxy._adds = adds
        return proxy

    def _recipe(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Recipe:
        multi, block = self._multi, self.__instance
        assert multi is not None
        multi.check(type(block))
        real = multi.existing(block)
        choice = self._executor if real is None else real._executor
        condition = multi.notifies
        index = 1 if self._adds else 0

        def passes(_: Any) -> bool:
            assert condition is not None
            data_id = _recipes.argument(self._method, args, kwargs)
            value = _recipes.argument(self._method, args, kwargs, index) if self._adds else None
            return bool(condition(block, data_id, value))

        return change(
            block,
            multi.real_observers(block),
            choice,
            call(Direct(self._method, block, args, kwargs, choice)),
            None if condition is None else passes,
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._method.__qualname__}>"
