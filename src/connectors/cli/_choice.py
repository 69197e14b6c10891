"""The executor that a command line asks for: ``--executor``, ``-o``, and the settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from connectors import (
    ConnectorsError,
    Executor,
    OptionError,
    _factory,
    _registry,
    executor,
    settings,
)
from connectors._option import unknown_option
from connectors._registry import Selection
from connectors.settings import Option

from ._usage import UsageError


def names_of(text: str) -> str | list[str]:
    """Return the name in *text*, or the names, of which the first that opens is taken."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError(f"the executor '{text}' has no name; `connectors list` shows the names")
    return names[0] if len(names) == 1 else names


def make_executor(
    wanted: str | Sequence[str] | Executor | None, texts: Sequence[str], origin: str = ""
) -> Executor:
    """Return a new executor, not open unless it was chosen from a list.

    Args:
        wanted: Its name, names of which the first that opens is taken, or `None` for the one that
            is configured. An executor is returned as it is.
        texts: What was given with ``-o``, ``threads=8`` for instance.
        origin: Where the name stands, unless it was typed.

    Raises:
        ConnectorsError: There is none of this name, or it has no such option.
    """
    if isinstance(wanted, Executor):
        given: dict[str, Any] = dict(map(_pair, texts))
        return executor(wanted, **given)
    _registry.registry.activate()
    names: str | Sequence[str]
    if wanted is None:
        setting = settings.executor_setting()
        names, origin = setting.value, setting.origin
    else:
        names = wanted
    options = option_values(names, texts, origin)
    # Not executor(**options): counts without a name would choose another one.
    return _factory.chosen(names, options, origin)


def option_values(
    wanted: str | Sequence[str], texts: Sequence[str], origin: str = ""
) -> dict[str, Any]:
    """Return the values that *texts* give to options of the executor *wanted*.

    Raises:
        OptionError: It has no such option, or the option no such value.
    """
    pairs = [(*_pair(text), f"-o {text}") for text in texts]
    if not pairs:
        return {}
    declared = [
        (selection.name, settings.options_of(selection.executor_class))
        for selection in _selections(wanted, origin)
    ]
    return {name: _parsed(declared, name, text, place) for name, text, place in pairs}


def _parsed(declared: list[tuple[str, dict[str, Option]]], name: str, text: str, place: str) -> Any:
    for known, options in declared:
        if name in options:
            return options[name].parse(text, place, executor=known)
    known, options = declared[0]
    raise OptionError(unknown_option(known, name, options, place))


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise UsageError(f"-o {text}: expected OPTION=VALUE, -o threads=8 for instance")
    return name.strip().replace("-", "_"), value


def _selections(
    wanted: str | Sequence[str], origin: str, followed: frozenset[str] = frozenset()
) -> list[Selection]:
    """Return the executors that *wanted* may stand for."""
    if isinstance(wanted, str):
        return _named(wanted, origin, followed)
    found: list[Selection] = []
    errors = []
    for name in wanted:
        try:
            found += _named(name, origin, followed)
        except ConnectorsError as error:  # another one of the list may do
            errors.append(error)
    if not found:
        raise errors[0]
    return found


def _named(name: str, origin: str, followed: frozenset[str]) -> list[Selection]:
    # A profile may have the name of the executor that it is for.
    profile = None if settings.normalise(name) in followed else settings.profile(name)
    if profile is None:
        return [_registry.registry.select(name, from_code=not origin, origin=origin)]
    followed |= {settings.normalise(profile.name)}
    return _selections(profile.executor, profile.origin, followed)
