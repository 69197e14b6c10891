"""The hooks that a plugin may implement, and `hookimpl`, which marks an implementation.

A plugin is a module or an object with functions of these names, each marked::

    import connectors

    @connectors.hookimpl
    def connectors_event(event):
        print(event)

Every implementation is called on its own: one that raises is logged with the plugin's name, and
neither the other plugins nor the call that was being made hear of it. An implementation may leave
out arguments that it does not need.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pluggy

from ._executor import Executor
from .events import Event

#: The version of the interface between us and plugins. A plugin says for which one it is written
#: with an integer ``hook_api`` on its executor class, module or object.
HOOK_API: int = Executor.hook_api

hookimpl = pluggy.HookimplMarker("connectors")
_hookspec = pluggy.HookspecMarker("connectors")


@_hookspec
def connectors_executors() -> Mapping[str, type[Executor]] | None:
    """Provide executors.

    Returns:
        Their classes by name. The plugin of an entry point in ``connectors.executors`` provides a
        class under the name of the entry point, or one class only.
    """


@_hookspec
def connectors_adjust_settings(name: str, options: dict[str, Any]) -> None:
    """Adjust the options of an executor before it is made.

    Args:
        name: The name of the executor.
        options: The value of each of its options, from wherever it came; change what you like.
            What is changed is checked like any other setting.
    """


@_hookspec
def connectors_executor_opened(executor: Executor) -> None:
    """Hear that an executor opened its pools.

    Args:
        executor: The executor.
    """


@_hookspec
def connectors_executor_closed(executor: Executor) -> None:
    """Hear that an executor closed its pools.

    Args:
        executor: The executor, which takes no more calls.
    """


@_hookspec
def connectors_event(event: Event) -> None:
    """Hear of every event of every executor, in the thread in which it happens.

    Args:
        event: What happened.
    """


@_hookspec
def connectors_cli_commands(subparsers: Any) -> None:
    """Add commands to ``connectors``, the program.

    Args:
        subparsers: What `argparse.ArgumentParser.add_subparsers` returned. A command sets a
            function as its default ``run``: ``parser.set_defaults(run=function)``; the function
            takes the parsed arguments and returns the exit code.
    """
