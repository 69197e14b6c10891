"""The environment as an origin of settings.

``CONNECTORS_EXECUTOR`` and ``CONNECTORS_DISABLE_PLUGINS`` hold names with commas between them,
``CONNECTORS_<EXECUTOR>_<OPTION>`` the value of an option.

An empty variable counts as one that is not there, which is how a shell takes one back.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ._errors import OptionError
from ._layer import Layer
from ._option import Option, unknown_option, variable_prefix
from ._settings_files import VARIABLE

_PREFIX = "CONNECTORS_"
_EXECUTOR = "CONNECTORS_EXECUTOR"
_DISABLE = "CONNECTORS_DISABLE_PLUGINS"


def environment_layers() -> Iterator[Layer]:
    """Yield the variables that set no option of an executor, each as a layer of its own."""
    if names := _listed(os.environ.get(_EXECUTOR, "")):
        executor = names if len(names) > 1 else names[0]
        yield Layer(_origin(_EXECUTOR), {"executor": executor})
    if blocked := _listed(os.environ.get(_DISABLE, "")):
        yield Layer(_origin(_DISABLE), {"disable_plugins": blocked})


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _origin(name: str) -> str:
    return f"environment variable {name}"


def _option_variables() -> dict[str, str]:
    """Return the variables that set an option of some executor."""
    own = (_EXECUTOR, _DISABLE, VARIABLE)
    return {
        name: os.environ[name]
        for name in os.environ
        if name.startswith(_PREFIX) and name not in own and os.environ[name].strip()
    }


def environment_options(
    names: Sequence[str], options: Mapping[str, Option], known_executors: Iterable[str]
) -> Iterator[tuple[str, Any, str]]:
    """Yield name, value and origin of each option of an executor that the environment sets.

    Args:
        names: The executor's names, the first for messages.
        options: Its options.
        known_executors: The names of all executors.

    Raises:
        OptionError: A variable names no option of the executor, or no value of the option.
    """
    variables = _option_variables()
    if not variables:
        return
    by_key = {name.lower(): option for name, option in options.items()}
    others = tuple(variable_prefix(name) for name in known_executors)
    for prefix in dict.fromkeys(variable_prefix(name) for name in names):
        for variable, text in variables.items():
            if not variable.startswith(prefix):
                continue
            key = variable.removeprefix(prefix).lower()
            origin = _origin(variable)
            if key in by_key:
                value = by_key[key].parse(text, origin, executor=names[0])
                yield by_key[key].name, value, origin
            elif not any(
                len(other) > len(prefix) and variable.startswith(other) for other in others
            ):
                raise OptionError(unknown_option(names[0], key, options, origin))


def environment_tables(known_executors: Iterable[str]) -> Iterator[Layer]:
    """Yield the variables that set options, each as a layer of its own, for reports."""
    prefixes = {variable_prefix(name): name for name in known_executors}
    for variable, text in _option_variables().items():
        prefix = max((p for p in prefixes if variable.startswith(p)), key=len, default=None)
        settings: dict[str, Any] = {variable: text}
        if prefix is not None:
            key = variable.removeprefix(prefix).lower()
            settings = {"executors": {prefixes[prefix]: {key: text}}}
        yield Layer(_origin(variable), settings)
