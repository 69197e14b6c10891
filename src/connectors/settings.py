"""Settings: where each comes from, and which of them counts.

The first of these that has a value gives it, key by key and option by option::

    keyword argument, profile   what the call itself says
    using()                     for a block of code
    configure()                 the application's own defaults
    environment                 CONNECTORS_EXECUTOR, CONNECTORS_<EXECUTOR>_<OPTION>
    file                        CONNECTORS_CONFIG, connectors.toml, [tool.connectors]
    the user's own file
    default
"""

from __future__ import annotations

import contextvars
import copy
import fnmatch
import functools
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import attrs

from ._cpus import available_cpus, explain_cpus
from ._environment import environment_layers, environment_options, environment_tables
from ._flags import Parallelization
from ._layer import TABLES, Layer, checked, dotted, normalise
from ._option import Option, check_options, option, options_of
from ._settings_files import file_layers, file_reports

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "Option",
    "Profile",
    "Route",
    "Setting",
    "all_settings",
    "available_cpus",
    "blocked_names",
    "check_options",
    "configure",
    "executor_setting",
    "explain_cpus",
    "files",
    "normalise",
    "option",
    "options_of",
    "profile",
    "resolve_options",
    "restore",
    "route",
    "snapshot",
    "using",
]

_DEFAULT_EXECUTOR = "threading"

_lock = threading.Lock()
_configured = Layer("configure()", {})
# Innermost first. A tuple that is replaced and never changed: siblings share no state through it.
_scopes: contextvars.ContextVar[tuple[Layer, ...]] = contextvars.ContextVar("using", default=())


@attrs.frozen
class Setting:
    """A value and where it comes from.

    Attributes:
        value: The value.
        origin: Its origin in words: ``keyword argument``, ``configure()``, ``default``, ...
    """

    value: Any
    origin: str


@attrs.frozen
class Profile:
    """An executor with options under a name of its own.

    Attributes:
        name: The name as it is typed in the settings.
        executor: The executor that it stands for, or the choices.
        options: The options that it gives to the executor.
        origin: Where it is defined, in words.
    """

    name: str
    executor: str | list[str]
    options: Mapping[str, Any]
    origin: str
    _layer: Layer | None = attrs.field(default=None, repr=False, eq=False)

    def place(self, key: str) -> str:
        """Return the words for the place of one of its keys."""
        return self._layer.place("profiles", self.name, key) if self._layer else self.origin


@attrs.frozen
class Route:
    """How the calls of one connector method run; what is `None` is left to the method.

    Attributes:
        executor: The executor or profile that runs them, or the choices.
        wish: How far away they may run.
        timeout: Limit of one run in seconds.
        retries: How many more times a call is run after it failed.
        label: Its name in messages and events.
        origin: Where the route, or the first part of it, is defined.
    """

    executor: str | list[str] | None = None
    wish: Parallelization | None = None
    timeout: float | None = None
    retries: int | None = None
    label: str | None = None
    origin: str = "default"


def configure(**settings: Any) -> None:
    """Set the application's own defaults, over those of earlier calls.

    Args:
        settings: The keys of a settings file: ``executor``, ``executors``, ``profiles``,
            ``methods`` and ``disable_plugins``. A key, or the name of a table, that is `None` is
            taken back.

    Raises:
        SettingsError: A key is unknown or has a value that it cannot have.
    """
    global _configured  # noqa: PLW0603 - the one state of the process, changed here only
    added = checked(Layer("configure()", copy.deepcopy(settings))).settings
    with _lock:
        kept = _without(_configured.settings, settings)
        _configured = Layer("configure()", _merged(kept, added))


class using:  # noqa: N801 - reads as a function: with connectors.using("trio"):
    """Settings for a block of code.

    They hold inside ``with`` only, for the tasks and calls that are started there, and never for
    what runs beside it. One object may be entered again and again, also by several at once.
    """

    def __init__(self, executor: str | Sequence[str] | None = None, /, **settings: Any) -> None:
        """Check the settings; they hold from ``with`` on.

        Args:
            executor: The executor, or the choices.
            settings: The keys of a settings file, as for `configure`.

        Raises:
            SettingsError: A key is unknown or has a value that it cannot have.
        """
        if executor is not None:
            settings["executor"] = executor
        self._layer = checked(Layer("using()", copy.deepcopy(settings)))

    def __enter__(self) -> None:
        _scopes.set((self._layer, *_scopes.get()))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # By identity, because scopes of generators need not close in order. No token is kept:
        # it would belong to one context, and this object to all that enter it.
        scopes = _scopes.get()
        for index, layer in enumerate(scopes):
            if layer is self._layer:
                _scopes.set(scopes[:index] + scopes[index + 1 :])
                return


def snapshot() -> dict[str, Any] | None:
    """Return what `configure` and `using` have set here, or `None` if that is nothing.

    It is plain data for `restore` in another process; nobody may change it.
    """
    scopes = _scopes.get()
    if not scopes and not _configured.settings:
        return None
    return {
        "configure": _configured.settings,
        "using": [layer.settings for layer in scopes],
    }


def restore(snapshot: Mapping[str, Any] | None) -> None:
    """Make `configure` and `using` be what they were for *snapshot*, in this context."""
    global _configured  # noqa: PLW0603 - see configure()
    snapshot = snapshot or {"configure": {}, "using": []}
    with _lock:
        _configured = Layer("configure()", snapshot["configure"])
    _scopes.set(tuple(Layer("using()", settings) for settings in snapshot["using"]))


def executor_setting() -> Setting:
    """Return the executor that is configured: a name, or a list of which the first that opens."""
    for layer in _layers():
        if "executor" in layer.settings:
            return Setting(layer.settings["executor"], layer.origin())
    return Setting(_DEFAULT_EXECUTOR, "default")


def profile(name: str) -> Profile | None:
    """Return the profile of this name, from the first origin that defines it, or `None`."""
    for layer in _layers():
        if found := layer.table("profiles", name):
            typed, table = found
            options = {key: value for key, value in table.items() if key != "executor"}
            origin = layer.origin("profiles", typed)
            return Profile(typed, table["executor"], options, origin, layer)
    return None


def resolve_options(
    executor_name: str,
    options: Mapping[str, Option],
    given: Mapping[str, Any],
    *,
    aliases: Sequence[str] = (),
    profile: Profile | None = None,
    known_executors: Iterable[str] = (),
) -> dict[str, Setting]:
    """Return the value of every option of an executor, with its origin.

    Args:
        executor_name: The executor.
        options: Its options.
        given: The keyword arguments.
        aliases: Its other names; settings may use them as well.
        profile: The profile that asked for it.
        known_executors: The names of all executors: ``CONNECTORS_A_B_C`` is no mistyped option of
            ``a`` where there is an executor ``a_b``.

    Raises:
        OptionError: Some origin, also one that does not count, has an option that the executor
            does not have, or a value that the option cannot have.
        SettingsError: A settings file cannot be used.
    """
    found: dict[str, Setting] = {}
    names = (executor_name, *aliases)

    def add(values: Mapping[str, Any], origin: str, place: Any) -> None:
        for name, value in check_options(executor_name, options, values, place).items():
            found.setdefault(name, Setting(value, origin))

    def add_tables(layers: Iterable[Layer]) -> None:
        for layer in layers:
            for typed, table in _tables_of(layer, names):
                place = functools.partial(layer.place, "executors", typed)
                add(table, layer.origin("executors", typed), place)

    add(given, "keyword argument", "keyword argument")
    if profile is not None:
        add(profile.options, profile.origin, profile.place)
    add_tables(code_layers())
    for name, value, origin in environment_options(names, options, known_executors):
        found.setdefault(name, Setting(value, origin))
    add_tables(file_layers())
    return {
        name: found.get(name) or Setting(option.default, "default")
        for name, option in options.items()
    }


def route(method: str) -> Route:
    """Return how the calls of a connector method run.

    Each key comes from the first origin that has it. Within one origin the exact name comes before
    patterns such as ``camera.*``, and a longer pattern before a shorter one.
    """
    keys: dict[str, Any] = {}
    for layer in _layers():
        tables = layer.tables("methods")
        matching = [name for name in tables if name == method or fnmatch.fnmatchcase(method, name)]
        for name in sorted(matching, key=lambda name: (name != method, -len(name))):
            for key, value in {**tables[name], "origin": layer.origin("methods", name)}.items():
                keys.setdefault(key, value)
    return Route(**keys)


def blocked_names() -> dict[str, str]:
    """Return the normalised names of the plugins that are not to be loaded, and who says so."""
    blocked: dict[str, str] = {}
    for layer in _layers():
        for name in layer.settings.get("disable_plugins", ()):
            blocked.setdefault(normalise(name), layer.origin())
    return blocked


def all_settings(known_executors: Iterable[str] = ()) -> list[tuple[str, Any, str]]:
    """Return the key, the value that counts and its origin, of every key that is set anywhere.

    Args:
        known_executors: The names of all executors; only with them an environment variable can be
            told apart into executor and option.
    """
    rows: dict[tuple[str, ...], tuple[str, Any, str]] = {}
    environment = (*environment_layers(), *environment_tables(known_executors))
    layers = (*code_layers(), *environment, *file_layers())
    for layer in (*layers, Layer("default", {"executor": _DEFAULT_EXECUTOR})):
        for keys, value in _flat(layer.settings):
            identity = (keys[0], *(_identity(keys[0], name) for name in keys[1:]))
            rows.setdefault(identity, (dotted(keys), value, layer.origin(*keys[:-1])))
    return list(rows.values())


def files() -> list[tuple[Path, str]]:
    """Return every settings file that is looked for, and whether it was read or why it was not."""
    from pathlib import Path

    return [(Path(path), status) for path, status in file_reports()]


def _layers() -> Iterator[Layer]:
    """Yield every layer but those of the call itself, the first that counts first."""
    yield from code_layers()
    yield from environment_layers()
    yield from file_layers()


def code_layers() -> tuple[Layer, ...]:
    """Return what `using` and `configure` set, as it holds here and now."""
    return (*_scopes.get(), _configured)


def _tables_of(layer: Layer, names: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the tables of an executor's options, each once however many names it has."""
    tables = (layer.table("executors", name) for name in names)
    yield from {table[0]: table for table in tables if table is not None}.values()


def _identity(key: str, name: str) -> str:
    # Methods are found by their exact names, all else by the normalised ones.
    return name if key == "methods" else normalise(name)


def _same(key: str, tables: Mapping[str, Any], name: str) -> str:
    """Return *name* as *tables* spells it, or as it is where they do not have it."""
    identity = _identity(key, name)
    return next((typed for typed in tables if _identity(key, typed) == identity), name)


def _without(settings: Mapping[str, Any], taken_back: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings without the keys and tables that are `None` in *taken_back*."""
    kept = {key: value for key, value in settings.items() if taken_back.get(key, key) is not None}
    for key in TABLES:
        if key in kept:
            names = [name for name, table in taken_back.get(key, {}).items() if table is None]
            gone = {_same(key, kept[key], name) for name in names}
            kept[key] = {name: table for name, table in kept[key].items() if name not in gone}
    return kept


def _merged(settings: Mapping[str, Any], added: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with those *added* over them, option by option."""
    merged = {**settings, **added}
    for key in TABLES:
        tables = dict(settings.get(key, {}))
        for name, table in added.get(key, {}).items():
            typed = _same(key, tables, name)
            # A profile is one thing: half of one engine's and half of another's would be neither.
            tables[typed] = table if key == "profiles" else {**tables.get(typed, {}), **table}
        merged[key] = tables
    return {key: value for key, value in merged.items() if key not in TABLES or value}


def _flat(settings: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in settings.items():
        if key not in TABLES:
            yield (key,), value
            continue
        for name, table in value.items():
            for option_name, option_value in table.items():
                yield (key, name, option_name), option_value
