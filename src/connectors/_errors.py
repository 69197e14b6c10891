"""Every error that we raise; each builds its own sentence: the value, the place and the cure."""

from __future__ import annotations

import concurrent.futures
import difflib
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any


def listing(values: Iterable[object]) -> str:
    """Return *values* as they stand in a message: ``a, b, c``, or ``nothing``."""
    return ", ".join(str(value) for value in values) or "nothing"


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'right'?"`` for the closest of *known*, or nothing."""
    close = difflib.get_close_matches(wrong.lower(), list(known), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""


def breaks_off(error: BaseException | None) -> bool:
    """Tell whether nobody wants the calls of a block any more that *error* leaves.

    So it is after Ctrl-C and when a task is cancelled, and not when a program or a generator ends.
    """
    return error is not None and not isinstance(error, (Exception, SystemExit, GeneratorExit))


class ConnectorsError(Exception):
    """The base of every error that this library raises."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
        # The default calls __init__ with the sentence, which takes the values instead.
        return _rebuild, (type(self), self.args), self.__dict__


def _rebuild(cls: type[ConnectorsError], args: tuple[Any, ...]) -> ConnectorsError:
    error = cls.__new__(cls, *args)
    error.args = args
    return error


class ExecutorNotFoundError(ConnectorsError, LookupError):
    """No executor is known by the name that was asked for.

    Attributes:
        name: The name as it was asked for.
        installed: The names that are known.
    """

    def __init__(self, name: str, installed: Sequence[str], cure: str = "") -> None:
        self.name = name
        self.installed = tuple(installed)
        super().__init__(
            f"no executor '{name}'; installed: {listing(self.installed)}."
            f"{did_you_mean(name, self.installed)}" + (f" {cure}" if cure else "")
        )

    def __str__(self) -> str:
        # LookupError's relatives print the repr of a lone argument.
        return str(self.args[0])


class PluginLoadError(ConnectorsError, ImportError):
    """A plugin is installed and cannot be used.

    Attributes:
        plugin: The name of the plugin.
        distribution: The distribution that ships it, with its version.
        reason: What is wrong with it.
    """

    def __init__(self, plugin: str, distribution: str, reason: str, cure: str) -> None:
        self.plugin = plugin
        self.distribution = distribution
        self.reason = reason
        super().__init__(f"plugin '{plugin}' of {distribution} cannot be used: {reason}. {cure}")


class PluginClashError(ConnectorsError, LookupError):
    """Two distributions offer an executor of the same name.

    Attributes:
        name: The name that both claim.
        distributions: The distributions that claim it.
    """

    def __init__(self, name: str, distributions: Sequence[str]) -> None:
        self.name = name
        self.distributions = tuple(distributions)
        ways = " or ".join(f"'{distribution}:{name}'" for distribution in self.distributions)
        super().__init__(
            f"the executor name '{name}' is offered by {listing(self.distributions)}; "
            f"choose with {ways}, or uninstall one of them"
        )


class SettingsError(ConnectorsError, ValueError):
    """A setting is unknown or has a value that it cannot have; the message names its place."""


class OptionError(SettingsError, TypeError):
    """An executor was given an option that it does not have, or a value of the wrong type."""


class ExecutorOpenError(ConnectorsError, RuntimeError):
    """An executor could not open its pools.

    Attributes:
        name: The executor, or the executors that were tried.
        reasons: Why each did not open, by name.
    """

    def __init__(self, name: str, reasons: Mapping[str, str]) -> None:
        self.name = name
        self.reasons = dict(reasons)
        super().__init__(
            f"executor {name} does not open: "
            + "; ".join(f"{tried}: {reason}" for tried, reason in self.reasons.items())
        )


class ExecutorClosedError(ConnectorsError, RuntimeError):
    """A call was given to an executor that is closed."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"the executor '{name}' is closed and takes no more calls; "
            f'make a new one: connectors.executor("{name}")'
        )


class FallbackError(ConnectorsError, RuntimeError):
    """A strict executor would have had to run a call nearer than it was wished for."""

    def __init__(self, label: str, executor: str, wish: object, level: object, reason: str) -> None:
        self.label = label
        self.reason = reason
        super().__init__(
            f"{label} cannot run as {wish} on '{executor}', which is strict: {reason}; "
            f"it could run as {level} with strict=False"
        )


class CallTimeoutError(ConnectorsError, TimeoutError):
    """A call took longer than its limit.

    Attributes:
        label: The call.
        timeout: Its limit in seconds.
    """

    def __init__(self, label: str, timeout: float, aftermath: str = "") -> None:
        self.label = label
        self.timeout = timeout
        super().__init__(
            f"{label} took longer than its limit of {timeout:g} s"
            + (f"; {aftermath}" if aftermath else "")
        )


class WorkerCrashError(ConnectorsError, concurrent.futures.BrokenExecutor):
    """A worker process died while it ran a call.

    Attributes:
        label: The call that it ran.
        exitcode: The exit code of the process, the negative number of the signal that killed it,
            or `None` where that is not known.
        stderr: The last lines that it wrote to its standard error, or nothing.
    """

    def __init__(self, label: str, exitcode: int | None = None, stderr: str = "") -> None:
        self.label = label
        self.exitcode = exitcode
        self.stderr = stderr
        if exitcode is None:
            how = "died"
        elif exitcode < 0:
            how = f"was killed by {_signal_name(-exitcode)}"
        else:
            how = f"exited with code {exitcode}"
        super().__init__(
            f"the worker process that ran {label} {how}; the call is not run again unless it may "
            "be: retries=1" + (f"\nlast lines of its standard error:\n{stderr}" if stderr else "")
        )


def _signal_name(number: int) -> str:
    import signal

    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class PicklingError(ConnectorsError, pickle.PicklingError):
    """A value cannot travel to another process or back.

    Attributes:
        what: The argument or result that was to travel.
        culprit: The path to the part of it that cannot, ``instance.lock`` for instance.
    """

    def __init__(self, what: str, culprit: str, reason: str) -> None:
        self.what = what
        self.culprit = culprit
        self.reason = reason
        super().__init__(
            f"{what} cannot travel to another process: {culprit} cannot be pickled ({reason})"
        )


class RemoteError(ConnectorsError):
    """Stands for an exception of another process that cannot be rebuilt in this one.

    Attributes:
        type_name: The full name of the exception's class.
        message: Its text.
        traceback: Its traceback as text.
    """

    def __init__(self, type_name: str, message: str, traceback: str, reason: str) -> None:
        self.type_name = type_name
        self.message = message
        self.traceback = traceback
        super().__init__(
            f"{type_name}: {message} (its class cannot be rebuilt here: {reason})\n{traceback}"
        )


class MethodNotFoundError(ConnectorsError, LookupError):
    """A host has no connector method of the name that was asked for."""

    def __init__(self, host: str, name: str, known: Sequence[str]) -> None:
        self.name = name
        super().__init__(
            f"host '{host}' has no connector method '{name}'; registered: {listing(known)}."
            f"{did_you_mean(f'{host}.' + name.removeprefix(f'{host}.'), known)}"
        )

    def __str__(self) -> str:
        return str(self.args[0])


class BlockGoneError(ConnectorsError, AttributeError):
    """A block that is needed does not exist any more.

    Attributes:
        block: Its class.
        method: The method that was needed.
    """

    def __init__(self, block: str, method: str) -> None:
        self.block = block
        self.method = method
        super().__init__(
            f"the {block} whose method '{method}' is needed does not exist any more: nothing but "
            "connectors refers to it. Keep a reference to the block as long as it is needed"
        )


class CycleError(ConnectorsError):
    """An output depends on itself.

    Attributes:
        path: The methods through which it does, in order.
    """

    def __init__(self, path: Sequence[str]) -> None:
        self.path = tuple(path)
        super().__init__(
            f"{' -> '.join(self.path)}: an output depends on itself. A loop is possible only "
            "through an input with the laziness ON_NOTIFY, which takes its value when it comes"
        )


class NotConnectedError(ConnectorsError, KeyError):
    """Two connectors were to be disconnected that are not connected.

    Attributes:
        output: The output.
        input: The input.
    """

    def __init__(self, output: str, input: str) -> None:  # noqa: A002 - the field's word
        self.output = output
        self.input = input
        super().__init__(f"{output} is not connected to {input}: there is nothing to disconnect")

    def __str__(self) -> str:
        # KeyError prints the repr of a lone argument.
        return str(self.args[0])


class ObserverError(ConnectorsError, AttributeError):
    """An input names an observer that its class does not have."""


class ItemCancelledError(ConnectorsError, concurrent.futures.CancelledError):
    """An item of a stream was cancelled, and not whoever waits for it.

    Attributes:
        index: Its index in the input.
    """

    def __init__(self, index: int, reason: str = "it raised CancelledError by itself") -> None:
        self.index = index
        super().__init__(f"item {index} was cancelled: {reason}")


class ConnectorsWarning(UserWarning):
    """The base of every warning that this library gives."""


for _found in list(globals().values()):
    if isinstance(_found, type) and issubclass(_found, (ConnectorsError, ConnectorsWarning)):
        _found.__module__ = "connectors"  # the one address that users see, in tracebacks too
