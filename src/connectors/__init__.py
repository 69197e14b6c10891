"""Write a method once, flag how far away it may run, and pick the executor by name.

The names below are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import aio, background, blocks, events, network, pools, settings, tasks, testing
    from ._calls import Call, Decision
    from ._capabilities import Capabilities, Pools
    from ._cpus import available_cpus
    from ._errors import (
        BlockGoneError,
        CallTimeoutError,
        ConnectorsError,
        ConnectorsWarning,
        CycleError,
        ExecutorClosedError,
        ExecutorNotFoundError,
        ExecutorOpenError,
        FallbackError,
        ItemCancelledError,
        MethodNotFoundError,
        NotConnectedError,
        ObserverError,
        OptionError,
        PicklingError,
        PluginClashError,
        PluginLoadError,
        RemoteError,
        SettingsError,
        WorkerCrashError,
    )
    from ._executor import Executor
    from ._factory import executor
    from ._flags import Laziness, Parallelization
    from ._hookspecs import HOOK_API, hookimpl
    from ._host import Host
    from ._method import BoundMethod, ConnectorMethod
    from ._option import option
    from ._outcome import Outcome, OutcomeState
    from ._registry import (
        available_executors,
        executor_class,
        register,
        register_plugin,
        unregister,
        unregister_plugin,
    )
    from ._table import ExecutorInfo
    from .events import observe
    from .network import (
        Input,
        MacroInput,
        MacroOutput,
        MultiInput,
        MultiInputData,
        MultiOutput,
        Output,
    )
    from .settings import configure, using

__all__ = [
    "HOOK_API",
    "BlockGoneError",
    "BoundMethod",
    "Call",
    "CallTimeoutError",
    "Capabilities",
    "ConnectorMethod",
    "ConnectorsError",
    "ConnectorsWarning",
    "CycleError",
    "Decision",
    "Executor",
    "ExecutorClosedError",
    "ExecutorInfo",
    "ExecutorNotFoundError",
    "ExecutorOpenError",
    "FallbackError",
    "Host",
    "Input",
    "ItemCancelledError",
    "Laziness",
    "MacroInput",
    "MacroOutput",
    "MethodNotFoundError",
    "MultiInput",
    "MultiInputData",
    "MultiOutput",
    "NotConnectedError",
    "ObserverError",
    "OptionError",
    "Outcome",
    "OutcomeState",
    "Output",
    "Parallelization",
    "PicklingError",
    "PluginClashError",
    "PluginLoadError",
    "Pools",
    "RemoteError",
    "SettingsError",
    "WorkerCrashError",
    "aio",
    "available_cpus",
    "available_executors",
    "background",
    "blocks",
    "configure",
    "events",
    "executor",
    "executor_class",
    "hookimpl",
    "network",
    "observe",
    "option",
    "pools",
    "register",
    "register_plugin",
    "settings",
    "tasks",
    "testing",
    "unregister",
    "unregister_plugin",
    "using",
]

_HOMES = {
    "_calls": ("Call", "Decision"),
    "_cpus": ("available_cpus",),
    "_errors": (
        "BlockGoneError",
        "CallTimeoutError",
        "CycleError",
        "NotConnectedError",
        "ObserverError",
        "ConnectorsError",
        "ConnectorsWarning",
        "ExecutorClosedError",
        "ExecutorNotFoundError",
        "ExecutorOpenError",
        "FallbackError",
        "ItemCancelledError",
        "MethodNotFoundError",
        "OptionError",
        "PicklingError",
        "PluginClashError",
        "PluginLoadError",
        "RemoteError",
        "SettingsError",
        "WorkerCrashError",
    ),
    "_capabilities": ("Capabilities", "Pools"),
    "_executor": ("Executor",),
    "_factory": ("executor",),
    "_flags": ("Laziness", "Parallelization"),
    "_hookspecs": ("HOOK_API", "hookimpl"),
    "_host": ("Host",),
    "_method": ("BoundMethod", "ConnectorMethod"),
    "_option": ("option",),
    "_outcome": ("Outcome", "OutcomeState"),
    "_registry": (
        "available_executors",
        "executor_class",
        "register",
        "register_plugin",
        "unregister",
        "unregister_plugin",
    ),
    "_table": ("ExecutorInfo",),
    "events": ("observe",),
    "network._data": ("MultiInputData",),
    "network._decorators": ("Input", "MultiInput", "MultiOutput", "Output"),
    "network._macros": ("MacroInput", "MacroOutput"),
    "settings": ("configure", "using"),
}
_MODULES = (
    "aio",
    "background",
    "blocks",
    "connectors",
    "events",
    "network",
    "pools",
    "settings",
    "tasks",
    "testing",
)
_ADDRESSES = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    home = _ADDRESSES.get(name)
    if home is None and name not in _MODULES:
        raise AttributeError(f"module 'connectors' has no attribute '{name}'")
    import importlib

    module = importlib.import_module(f"{__name__}.{home or name}")
    if home is None:
        return module
    found = getattr(module, name)
    if getattr(found, "__module__", None) == module.__name__:
        found.__module__ = __name__  # the one address that users see
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
