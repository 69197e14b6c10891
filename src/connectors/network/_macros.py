"""Macros: blocks that consist of blocks, and export some of their inputs and outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from connectors._flags import Laziness, Parallelization

from ._connectors import InputEnd, OutputEnd, Signature, show
from ._executors import Choice
from ._nodes import Source
from ._recipes import Socket


class _Macro:
    """What stands in the class of a macro for an input or output that it exports."""

    connector_class: type[MacroInputConnector | MacroOutputConnector]

    def __init__(self, method: Callable[..., Any] | None = None) -> None:
        self._method: Callable[..., Any] | None = None
        if method is not None:
            self._decorate(method)

    def _decorate(self, method: Callable[..., Any]) -> None:
        show(self, method)
        self._method = method

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Decorate a function; after that, call the method of the instance that comes first."""
        if self._method is None:
            (method,) = args
            self._decorate(method)
            return self
        instance, *rest = args
        return self.__get__(instance)(*rest, **kwargs)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        assert self._method is not None
        return self.connector_class(instance, self._method)


class MacroInputConnector(InputEnd):
    """An input of a macro, which stands for the inputs that it exports.

    Args:
        instance: The macro.
        method: The generator function that yields the exported inputs.
    """

    def __init__(self, instance: Any, method: Callable[..., Any]) -> None:
        show(self, method)
        self.__instance = instance
        self.__method = method

    __signature__ = Signature()

    def _exported(self) -> list[Any]:
        return list(self.__method(self.__instance))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call each exported input, and return the macro."""
        for connector in self._exported():
            connector(*args, **kwargs)
        return self.__instance

    async def aio(self, *args: Any, **kwargs: Any) -> Any:
        """Do what a call does without blocking the running event loop."""
        for connector in self._exported():
            await connector.aio(*args, **kwargs)
        return self.__instance

    def set_laziness(self, laziness: Laziness) -> None:
        """Set the laziness of each exported input."""
        for connector in self._exported():
            connector.set_laziness(laziness)

    def set_parallelization(self, parallelization: Parallelization) -> None:
        """Set how far away each exported input may run."""
        for connector in self._exported():
            connector.set_parallelization(parallelization)

    def set_executor(self, executor: Choice) -> None:
        """Set the executor of each exported input."""
        for connector in self._exported():
            connector.set_executor(executor)

    def _home(self) -> Any:
        return self.__instance

    def _sockets(self, *, make: bool = True) -> list[Socket | str]:
        return [
            socket for connector in self._exported() for socket in connector._sockets(make=make)
        ]

    def _takes_dictionaries(self) -> bool:
        return all(connector._takes_dictionaries() for connector in self._exported())


class MacroOutputConnector(OutputEnd):
    """An output of a macro, which stands for the output that it exports.

    Args:
        instance: The macro.
        method: The function that returns the exported output.
    """

    def __init__(self, instance: Any, method: Callable[..., Any]) -> None:
        show(self, method)
        self.__instance = instance
        self.__method = method

    __signature__ = Signature()

    def _exported(self) -> Any:
        return self.__method(self.__instance)

    def __call__(self) -> Any:
        """Return what the exported output gives."""
        return self._exported()()

    async def aio(self) -> Any:
        """Return what the exported output gives without blocking the running event loop."""
        return await self._exported().aio()

    def set_caching(self, caching: bool) -> None:
        """Set whether the exported output keeps its result."""
        self._exported().set_caching(caching)

    def set_parallelization(self, parallelization: Parallelization) -> None:
        """Set how far away the exported output may run."""
        self._exported().set_parallelization(parallelization)

    def set_executor(self, executor: Choice) -> None:
        """Set the executor of the exported output."""
        self._exported().set_executor(executor)

    def _home(self) -> Any:
        return self.__instance

    def _outlet(self, *, make: bool = True) -> tuple[Source | None, Any, str]:
        outlet: tuple[Source | None, Any, str] = self._exported()._outlet(make=make)
        return outlet


class MacroInput(_Macro):
    """Makes a generator method, which yields inputs of other blocks, an input of a macro."""

    connector_class = MacroInputConnector


class MacroOutput(_Macro):
    """Makes a method, which returns an output of another block, an output of a macro."""

    connector_class = MacroOutputConnector
