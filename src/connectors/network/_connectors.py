"""Real connectors: what a method of a block is once it is connected or configured."""

from __future__ import annotations

import contextlib
import functools
import inspect
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from connectors._errors import BlockGoneError, NotConnectedError, OptionError
from connectors._flags import Laziness, Parallelization
from connectors._levels import checked_wish
from connectors._stays import Stays

from . import _recipes
from ._drivers import drive
from ._executors import Choice, checked, resolved
from ._nodes import (
    NOTHING,
    PLAIN,
    WHOLE,
    MultiOutputSource,
    MultiSink,
    OutputSource,
    SingleSink,
    Source,
    lock,
)
from ._recipes import Recipe, Socket, perform, perform_async
from ._run import Run
from ._waves import structure_changed


def show(connector: Any, method: Callable[..., Any]) -> None:
    """Give *connector* the metadata of *method*, as far as it has nothing of that name itself."""
    for shown in functools.WRAPPER_ASSIGNMENTS:
        with contextlib.suppress(AttributeError):
            setattr(connector, shown, getattr(method, shown))
    for name, value in vars(method).items():
        if not hasattr(connector, name):
            setattr(connector, name, value)
    connector.__wrapped__ = method


class Signature:
    """Gives the signature of a connector as its caller sees it."""

    def __get__(self, connector: Any, owner: type | None = None) -> inspect.Signature:
        if connector is None:
            raise AttributeError("__signature__")  # the class has its own
        return without_self(connector.__wrapped__)


class Operable:
    """What is called like the method that it stands for, in plain code and in event loops."""

    _method: Callable[..., Any]

    def _recipe(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Recipe:
        raise NotImplementedError

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method, and block until it and all that it brings about are done."""
        return perform(self._recipe(args, kwargs))

    async def aio(self, *args: Any, **kwargs: Any) -> Any:
        """Do what a call does without blocking the running event loop: asyncio's or trio's."""
        return await perform_async(self._recipe(args, kwargs))

    __signature__ = Signature()


def without_self(method: Callable[..., Any]) -> inspect.Signature:
    """Return the signature of *method* as its caller sees it."""
    signature = inspect.signature(method)
    return signature.replace(parameters=list(signature.parameters.values())[1:])


class End:
    """What can be connected."""

    def _home(self) -> Any:
        """Return what `connect` returns: the block."""
        raise NotImplementedError

    def _pair(self, connector: Any) -> tuple[Any, Any]:
        """Return this and *connector*, the output first."""
        raise NotImplementedError

    def connect(self, connector: Any) -> Any:
        """Connect an output to an input; it does not matter which of them is asked.

        Args:
            connector: What this is connected to: an input if this is an output, an output if this
                is an input. It belongs to another block, to one key of a multi-connector, or to a
                macro.

        Returns:
            The block of this connector.

        Raises:
            TypeError: *connector* does not fit.
            CycleError: An output would depend on itself.
        """
        perform(_connection(*self._pair(connector)))
        return self._home()

    def disconnect(self, connector: Any) -> Any:
        """Cut a connection; see `connect`.

        Raises:
            NotConnectedError: There is none.
        """
        perform(_separation(*self._pair(connector)))
        return self._home()


class OutputEnd(End):
    """What can be connected to inputs."""

    def _outlet(self, *, make: bool = True) -> tuple[Source | None, Any, str]:
        """Return the source, which part of it, and its name; `None` if it is not to be made."""
        raise NotImplementedError

    def _pair(self, connector: Any) -> tuple[Any, Any]:
        return self, connector


class InputEnd(End):
    """What can be connected to outputs."""

    def _sockets(self, *, make: bool = True) -> list[Socket | str]:
        """Return what is connected; its name where it does not exist and is not to be made."""
        raise NotImplementedError

    def _pair(self, connector: Any) -> tuple[Any, Any]:
        return connector, self


def _check_ends(output: Any, target: Any) -> None:
    if not isinstance(output, OutputEnd):
        raise TypeError(f"{output!r} is no output: only an output can be connected to an input")
    if not isinstance(target, InputEnd):
        raise TypeError(f"{target!r} is no input: only an input can be connected to an output")


def _check_whole(part: Any, label: str, sockets: Sequence[Any]) -> None:
    if part is WHOLE and not all(
        isinstance(socket.sink, MultiSink) and socket.key is NOTHING for socket in sockets
    ):
        raise TypeError(
            f"{label} gives a dictionary, which only a multi-input takes; connect one of its keys: "
            f"{label.rpartition('.')[2]}[key]"
        )


def _connection(output: Any, target: Any) -> Recipe:
    _check_ends(output, target)
    _, part, label = output._outlet(make=False)
    if part is WHOLE and not target._takes_dictionaries():
        _check_whole(part, label, [Socket(None, NOTHING, None)])  # type: ignore[arg-type]
    source, part, _ = output._outlet()
    return _recipes.connect(source, part, target._sockets())


def _separation(output: Any, target: Any) -> Recipe:
    _check_ends(output, target)
    source, part, label = output._outlet(make=False)
    sockets = target._sockets(make=False)
    for socket in sockets:
        if source is None or isinstance(socket, str):
            name = socket if isinstance(socket, str) else socket.sink.label()
            raise NotConnectedError(label, name)
    assert source is not None
    return _recipes.disconnect(source, part, sockets)


class Connector(Stays, Operable):
    """A method of a block that takes part in a network.

    Args:
        instance: The block.
        method: The plain function.
        parallelization: How far away it may run.
        executor: An executor, the name of one, or `None` for the one that all share.
    """

    _name: str
    _owner: str
    _block: weakref.ref[Any]
    _parallelization: Parallelization
    _placed: dict[Any, Any]

    def __init__(
        self,
        instance: Any,  # noqa: ARG002 - it is held by the node
        method: Callable[..., Any],
        parallelization: Parallelization,
        executor: Choice = None,
    ) -> None:
        show(self, method)
        self._name = method.__name__
        self._parallelization = checked_wish(parallelization)
        self._executor = checked(executor)

    def block(self) -> Any:
        """Return the block."""
        raise NotImplementedError

    def label(self) -> str:
        """Return the name by which messages speak of it."""
        raise NotImplementedError

    def set_parallelization(self, parallelization: Parallelization) -> None:
        """Set how far away the method may run.

        Raises:
            OptionError: *parallelization* is no `Parallelization`.
        """
        self._parallelization = checked_wish(parallelization)

    def set_executor(self, executor: Choice) -> None:
        """Set the executor that runs what a call of this connector brings about.

        Args:
            executor: An executor, or the name of one, which is looked up when it is needed.

        Raises:
            OptionError: It is neither.
        """
        self._executor = checked(executor)

    def _home(self) -> Any:
        return self.block()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.label()}>"

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return GoneConnector, (self._owner, self._name)

    def __copy__(self) -> GoneConnector:
        return GoneConnector(self._owner, self._name)

    def __deepcopy__(self, memo: Any) -> GoneConnector:
        return GoneConnector(self._owner, self._name)


class GoneConnector(Stays):
    """Stands in a copy for a connector, which did not go along.

    Args:
        owner: The class of its block.
        name: Its name.
    """

    def __init__(self, owner: str, name: str) -> None:
        self._owner = owner
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise BlockGoneError(self._owner, self._name)

    def __call__(self, *_args: Any, **_kwargs: Any) -> Any:
        """Fail.

        Raises:
            BlockGoneError: Always.
        """
        raise BlockGoneError(self._owner, self._name)


class InputConnector(Connector, InputEnd):
    """What single inputs and multi-inputs have in common."""

    _laziness: Laziness

    def set_laziness(self, laziness: Laziness) -> None:
        """Set when this input asks for a value that was announced to it.

        Raises:
            OptionError: *laziness* is no `Laziness`.
        """
        self._laziness = checked_laziness(laziness)
        structure_changed()

    def _takes_dictionaries(self) -> bool:
        return False


def checked_laziness(laziness: object) -> Laziness:
    """Return *laziness*.

    Raises:
        OptionError: It is no `Laziness`.
    """
    try:
        return Laziness(laziness)  # type: ignore[arg-type]
    except ValueError:
        raise OptionError(
            f"the laziness {laziness!r} is no connectors.Laziness; allowed: "
            + ", ".join(f"Laziness.{member.name}" for member in Laziness)
        ) from None


class SingleInputConnector(SingleSink, InputConnector):
    """A setter with one argument.

    Args:
        instance: The block.
        method: The plain function.
        observers: The connectors of the outputs that it influences.
        laziness: When it asks for a value that was announced to it.
        parallelization: How far away it may run.
        executor: Its executor.
    """

    def __init__(
        self,
        instance: Any,
        method: Callable[..., Any],
        observers: Sequence[Any],
        laziness: Laziness,
        parallelization: Parallelization,
        executor: Choice = None,
    ) -> None:
        SingleSink.__init__(
            self, instance, method, parallelization, tuple(observers), checked_laziness(laziness)
        )
        Connector.__init__(self, instance, method, parallelization, executor)

    def _recipe(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Recipe:
        return _recipes.set_single(self, self._executor, args, kwargs)

    def _sockets(self, *, make: bool = True) -> list[Socket | str]:  # noqa: ARG002 - it exists
        return [Socket(self, NOTHING, self._executor)]


class ConditionalSingleInputConnector(SingleInputConnector):
    """A setter that passes on announcements and changes only under conditions.

    Args:
        instance: The block.
        method: The plain function.
        observers: The connectors of the outputs that it influences.
        announce_condition: Tells whether an announcement is passed on, or `None`.
        notify_condition: Tells whether a change is passed on, or `None`.
        laziness: When it asks for a value that was announced to it.
        parallelization: How far away it may run.
        executor: Its executor.
    """

    def __init__(
        self,
        instance: Any,
        method: Callable[..., Any],
        observers: Sequence[Any],
        announce_condition: Callable[..., Any] | None,
        notify_condition: Callable[..., Any] | None,
        laziness: Laziness,
        parallelization: Parallelization,
        executor: Choice = None,
    ) -> None:
        super().__init__(instance, method, observers, laziness, parallelization, executor)
        self._announce_condition = announce_condition
        self._notify_condition = notify_condition


class MultiInputConnector(MultiSink, InputConnector):
    """A method that adds a value and returns the id under which it did.

    Args:
        instance: The block.
        method: The plain function.
        remove_method: Removes the value with an id.
        replace_method: Replaces the value with an id, or `None`.
        observers: The connectors of the outputs that it influences.
        laziness: When it asks for a value that was announced to it.
        parallelization: How far away it may run.
        executor: Its executor.
    """

    def __init__(
        self,
        instance: Any,
        method: Callable[..., Any],
        remove_method: Callable[..., Any] | None,
        replace_method: Callable[..., Any] | None,
        observers: Sequence[Any],
        laziness: Laziness,
        parallelization: Parallelization,
        executor: Choice = None,
    ) -> None:
        MultiSink.__init__(
            self, instance, method, parallelization, tuple(observers), checked_laziness(laziness)
        )
        self._remove = remove_method
        self._replace = replace_method
        Connector.__init__(self, instance, method, parallelization, executor)

    def _recipe(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Recipe:
        return _recipes.add(self, self._executor, args, kwargs)

    def _sockets(self, *, make: bool = True) -> list[Socket | str]:  # noqa: ARG002 - it exists
        return [Socket(self, NOTHING, self._executor)]

    def _takes_dictionaries(self) -> bool:
        return True

    def _store(self, key: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Recipe:
        return _recipes.Store(
            self.block(), self._method, self._replace, self._remove_method, self._notify_condition
        ).recipe(self._observers, self._executor, key, args, kwargs)

    __iter__ = None  # not 0, 1, 2, ... for ever

    def __getitem__(self, key: Any) -> MultiInputItem:
        """Return the virtual single input that stores its value under *key*."""
        return MultiInputItem(self, key)


class ConditionalMultiInputConnector(MultiInputConnector):
    """A multi-input that passes on announcements and changes only under conditions.

    Args:
        instance: The block.
        method: The plain function.
        remove_method: Removes the value with an id.
        replace_method: Replaces the value with an id, or `None`.
        observers: The connectors of the outputs that it influences.
        announce_condition: Tells whether an announcement is passed on, or `None`.
        notify_condition: Tells whether a change is passed on, or `None`.
        laziness: When it asks for a value that was announced to it.
        parallelization: How far away it may run.
        executor: Its executor.
    """

    def __init__(
        self,
        instance: Any,
        method: Callable[..., Any],
        remove_method: Callable[..., Any] | None,
        replace_method: Callable[..., Any] | None,
        observers: Sequence[Any],
        announce_condition: Callable[..., Any] | None,
        notify_condition: Callable[..., Any] | None,
        laziness: Laziness,
        parallelization: Parallelization,
        executor: Choice = None,
    ) -> None:
        super().__init__(
            instance,
            method,
            remove_method,
            replace_method,
            observers,
            laziness,
            parallelization,
            executor,
        )
        self._announce_condition = announce_condition
        self._notify_condition = notify_condition


class _Reader(Source, Connector, OutputEnd):
    """What outputs and multi-outputs have in common."""

    def set_caching(self, caching: bool) -> None:
        """Set whether results are kept until something changes; without, they are dropped now."""
        with lock:
            self._caching = caching
            if not caching:
                self.drop_results()

    def invalidate(self) -> Any:
        """Drop the results, and announce downstream that they may change.

        It tells of a change that was made behind the library's back: in place, or outside.

        Returns:
            The block.
        """
        perform(_recipes.invalidate(self, self._executor))
        return self.block()


class OutputConnector(OutputSource, _Reader):
    """A getter.

    Args:
        instance: The block.
        method: The plain function.
        caching: Whether the result is kept until something changes.
        parallelization: How far away it may run.
        executor: Its executor.
    """

    def __init__(
        self,
        instance: Any,
        method: Callable[..., Any],
        caching: bool,
        parallelization: Parallelization,
        executor: Choice = None,
    ) -> None:
        OutputSource.__init__(self, instance, method, parallelization, caching)
        Connector.__init__(self, instance, method, parallelization, executor)

    def asked(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[Any, tuple[Any, ...], Mapping[str, Any]]:
        """Return what a call asks for."""
        return PLAIN, args, kwargs

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the result, computed anew if something changed since it was."""
        current = self._current
        if args or kwargs:
            return perform(self._recipe(args, kwargs))
        block = self.block()
        if current is not NOTHING:
            return current
        run = Run(resolved(self._executor), [(Run.request_cell, self, PLAIN)])
        drive(run)
        del block  # it was needed until now
        return run.result()

    async def aio(self, *args: Any, **kwargs: Any) -> Any:
        """Return the result without blocking the running event loop."""
        current = self._current
        if current is NOTHING or args or kwargs or self._block() is None:
            return await perform_async(self._recipe(args, kwargs))
        return current

    def _recipe(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Recipe:
        return _recipes.read(self, self._executor, args, kwargs)

    def _outlet(self, *, make: bool = True) -> tuple[Source | None, Any, str]:  # noqa: ARG002
        return self, PLAIN, self.label()


class MultiOutputConnector(MultiOutputSource, _Reader):
    """A getter that takes a key.

    Args:
        instance: The block.
        method: The plain function.
        caching: Whether results are kept until something changes.
        parallelization: How far away it may run.
        executor: Its executor.
        keys: Tells which keys a connected multi-input is served.
    """

    def __init__(
        self,
        instance: Any,
        method: Callable[..., Any],
        caching: bool,
        parallelization: Parallelization,
        executor: Choice = None,
        keys: Callable[[Any], Any] = lambda _: (),
    ) -> None:
        MultiOutputSource.__init__(self, instance, method, parallelization, caching)
        self._keys = keys
        Connector.__init__(self, instance, method, parallelization, executor)

    def asked(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[Any, tuple[Any, ...], Mapping[str, Any]]:
        """Return what a call asks for: the key, or else the arguments."""
        if len(args) == 1 and not kwargs:
            try:
                hash(args[0])
            except TypeError:
                return NOTHING, args, kwargs
            return args[0], (), {}
        if not args and len(kwargs) == 1:
            names = list(inspect.signature(self._method).parameters)
            if len(names) > 1 and names[1] in kwargs:
                return self.asked((kwargs[names[1]],), {})
        return NOTHING, args, kwargs

    def _recipe(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Recipe:
        return _recipes.read(self, self._executor, args, kwargs)

    def _outlet(self, *, make: bool = True) -> tuple[Source | None, Any, str]:  # noqa: ARG002
        return self, WHOLE, self.label()

    __iter__ = None  # not 0, 1, 2, ... for ever

    def __getitem__(self, key: Any) -> MultiOutputItem:
        """Return the virtual single output for *key*."""
        return MultiOutputItem(self, key)


class MultiInputItem(Operable, InputEnd):
    """A virtual single input: the place of one key in a multi-input.

    Args:
        multi: The multi-input, a connector or a proxy.
        key: The data id.
    """

    def __init__(self, multi: Any, key: Any) -> None:
        self._multi = multi
        self._key = key
        self._method = multi._method

    def _recipe(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Recipe:
        recipe: Recipe = self._multi._store(self._key, args, kwargs)
        return recipe

    def _home(self) -> Any:
        return self._multi._home()

    def _sockets(self, *, make: bool = True) -> list[Socket | str]:
        (socket,) = self._multi._sockets(make=make)
        if isinstance(socket, str):
            return [f"{socket}[{self._key!r}]"]
        return [Socket(socket.sink, self._key, socket.choice)]

    def _takes_dictionaries(self) -> bool:
        return False


class MultiOutputItem(Operable, OutputEnd):
    """A virtual single output: what a multi-output gives for one key.

    Args:
        multi: The multi-output, a connector or a proxy.
        key: The key.
    """

    def __init__(self, multi: Any, key: Any) -> None:
        self._multi = multi
        self._key = key
        self._method = multi._method

    def key(self) -> Any:
        """Return the key."""
        return self._key

    def _recipe(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Recipe:
        recipe: Recipe = self._multi._recipe((self._key, *args), kwargs)
        return recipe

    def _home(self) -> Any:
        return self._multi._home()

    def _outlet(self, *, make: bool = True) -> tuple[Source | None, Any, str]:
        source, _, label = self._multi._outlet(make=make)
        return source, self._key, f"{label}[{self._key!r}]"
