"""`Layer`, settings of one origin, and the shape that all settings have.

A file, `configure()` and `using()` carry the same keys; `checked` is the one door for all three.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from ._errors import SettingsError, did_you_mean, listing
from ._flags import Parallelization
from ._option import Option, option, options_of

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_PART = re.compile(r"\"[^\"]*\"|'[^']*'|[^.\s\"']+")
_HEADER = re.compile(r"\s*\[\[?([^\[\]]+)\]")
_KEY = re.compile(r"\s*([A-Za-z0-9_.\"' -]+?)\s*=")


def normalise(name: str) -> str:
    """Return *name* in the form in which names are compared.

    >>> normalise("Threading+Multi-Processing") == normalise("threading_multiprocessing")
    True
    """
    return re.sub(r"[-_.+\s]", "", name).lower()


def dotted(keys: Sequence[str]) -> str:
    """Return *keys* as TOML writes them.

    >>> dotted(["methods", "camera.detect"])
    'methods."camera.detect"'
    """
    return ".".join(key if _BARE.fullmatch(key) else f'"{key}"' for key in keys)


@attrs.frozen
class Layer:
    """Settings of one origin.

    Attributes:
        source: Where they come from: ``using()``, or the path of the file.
        settings: The settings, in the shape of a settings file.
        section: The tables of the file that they stand in.
        text: The file's text, or `None` where there is no file.
    """

    source: str
    settings: Mapping[str, Any]
    section: tuple[str, ...] = ()
    text: str | None = attrs.field(default=None, repr=False)

    def origin(self, *tables: str) -> str:
        """Return the words for the place of these tables, or of the top."""
        keys = (*self.section, *tables)
        if self.text is None or not keys:
            return self.source
        return f"{self.source}: [{dotted(keys)}]"

    def place(self, *keys: str) -> str:
        """Return the words for the place of a key, with its line where that is known."""
        if self.text is None:
            return self.source
        lines = _line_numbers(self.text)
        path = (*self.section, *keys)
        line = next((lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in lines), None)
        where = self.source if line is None else f"{self.source}, line {line}"
        tables = path[:-1]
        return f"{where}: [{dotted(tables)}]" if tables else where

    def tables(self, key: str) -> Mapping[str, dict[str, Any]]:
        """Return the tables under *key*, by their names as they were typed."""
        tables: Mapping[str, dict[str, Any]] = self.settings.get(key, {})
        return tables

    def table(self, key: str, name: str) -> tuple[str, dict[str, Any]] | None:
        """Return the table under *key* that has this name, and the name as it was typed."""
        wanted = normalise(name)
        for typed, table in self.tables(key).items():
            if normalise(typed) == wanted:
                return typed, table
        return None


@functools.lru_cache(maxsize=16)
def _line_numbers(text: str) -> dict[tuple[str, ...], int]:
    """Return the line of each key and table; a guess by the look, for messages only."""
    numbers: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            table = _parts(header[1])
            for depth in range(1, len(table) + 1):
                numbers.setdefault(table[:depth], number)
        elif key := _KEY.match(line):
            numbers.setdefault((*table, *_parts(key[1])), number)
    return numbers


def _parts(key: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in _PART.findall(key))


class _Top:
    """The keys of a settings file; their tables are checked one by one."""

    executor: str | list[str] = option(default="threading", help="The executor, or the choices.")
    executors: dict[str, Any] = option(default=None, help="Options by executor.")
    profiles: dict[str, Any] = option(default=None, help="An executor with options, by name.")
    methods: dict[str, Any] = option(default=None, help="Routes by the name of the method.")
    disable_plugins: list[str] = option(default=(), help="Plugins that are not to be loaded.")


class _Route:
    """The keys of a route."""

    executor: str | list[str] = option(default=None, help="The executor or profile that it uses.")
    wish: Parallelization = option(default=None, help="How far away the method may run.")
    timeout: float = option(default=None, minimum=0, help="Limit of one run in seconds.")
    retries: int = option(default=None, minimum=0, help="How often it is run again.")
    label: str = option(default=None, help="The name for messages and events.")


_TOP = options_of(_Top)
_ROUTE = options_of(_Route)
TABLES = ("executors", "profiles", "methods")


def checked(layer: Layer) -> Layer:
    """Return the layer with its settings checked; a key that is `None` counts as not there.

    Raises:
        SettingsError: A key is unknown or has a value that it cannot have.
    """
    settings = _checked_keys(layer, (), layer.settings, _TOP)
    checks = {"executors": _options, "profiles": _profile, "methods": _route}
    for key, check in checks.items():
        if key in settings:
            settings[key] = _checked_tables(layer, key, settings[key], check)
    return attrs.evolve(layer, settings=settings)


def _checked_keys(
    layer: Layer, tables: tuple[str, ...], given: Mapping[str, Any], known: Mapping[str, Option]
) -> dict[str, Any]:
    """Return the *given* keys of one table, each checked; those that are `None` are left out."""
    settings = {}
    for key, value in given.items():
        place = layer.place(*tables, key)
        if key not in known:
            raise SettingsError(
                f"'{key}' is no setting ({place}); known here: {listing(known)}."
                + did_you_mean(key, known)
            )
        if value is None:
            continue
        try:
            settings[key] = known[key].fit(value)
        except Exception:
            sentence = known[key].misfit(value, f"setting '{key}'", place)
            raise SettingsError(sentence) from None
        if key == "executor":
            _check_names(value, place)
    return settings


def _check_names(executor: str | Sequence[str], place: str) -> None:
    names = [executor] if isinstance(executor, str) else executor
    if not names or not all(normalise(name) for name in names):
        raise SettingsError(
            f"setting 'executor' cannot be {executor!r} ({place}); "
            "allowed: the name of an executor, or a list of names."
        )


def _checked_tables(
    layer: Layer,
    key: str,
    tables: Mapping[str, Any],
    check: Callable[[Layer, str, Mapping[str, Any]], dict[str, Any]],
) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    spellings: dict[str, str] = {}
    for name, table in tables.items():
        place = layer.place(key, name)
        if table is None:
            continue
        if not isinstance(table, Mapping):
            raise SettingsError(f"'{name}' cannot be {table!r} ({place}); allowed: a table.")
        # Methods are found by their exact names.
        typed = spellings.setdefault(name if key == "methods" else normalise(name), name)
        if typed != name:
            raise SettingsError(f"'{name}' and '{typed}' are one name ({place}); keep one of them.")
        settings[name] = check(layer, name, table)
    return settings


def _options(_: Layer, __: str, table: Mapping[str, Any]) -> dict[str, Any]:
    # What an executor's options are is not known before its plugin is loaded.
    return dict(table)


def _profile(layer: Layer, name: str, table: Mapping[str, Any]) -> dict[str, Any]:
    if table.get("executor") is None:
        raise SettingsError(
            f"profile '{name}' names no executor ({layer.place('profiles', name)}); "
            'add one: executor = "threading"'
        )
    executor = {"executor": table["executor"]}
    tables = ("profiles", name)
    return {**table, **_checked_keys(layer, tables, executor, {"executor": _TOP["executor"]})}


def _route(layer: Layer, name: str, table: Mapping[str, Any]) -> dict[str, Any]:
    return _checked_keys(layer, ("methods", name), table, _ROUTE)
