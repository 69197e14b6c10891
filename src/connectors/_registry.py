"""The executors that can be chosen by name, and their classes.

A name goes through three steps, and each does no more than it has to::

    name ──► Offer (what claims the name)  ──► class (the plugin is loaded) ──► executor (_factory)
             knows names, imports nothing       imports one plugin, no engine
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Container, Mapping

import attrs

from . import settings
from ._discovery import Offer, Scan, Source, scan
from ._errors import ExecutorNotFoundError, PluginLoadError, SettingsError, listing
from ._executor import Executor, name_of
from ._loading import check_hook_api, is_address, is_executor_class, load, no_executor
from ._plugins import Plugins
from ._table import ExecutorInfo, PluginInfo, State, Table, blocking
from .settings import normalise

_logger = logging.getLogger("connectors")


@attrs.frozen(eq=False)
class Selection:
    """The class that a name stands for.

    Attributes:
        name: The name of the executor, as its settings have it.
        executor_class: The class.
        aliases: Further names of it.
        source: The distribution that ships it.
        builtin: It is one of our own.
    """

    name: str
    executor_class: type[Executor]
    aliases: tuple[str, ...]
    source: Source
    builtin: bool = False


class Registry:
    """Which executors there are; `registry` is the one of this process."""

    def __init__(self) -> None:
        self.plugins = Plugins()
        self._lock = threading.Lock()
        self._registered: tuple[Offer, ...] = ()
        self._provided: tuple[Offer, ...] = ()
        self._for_entry_points: set[str] = set()
        self._classes: dict[tuple[str, str], Mapping[str, type[Executor]]] = {}
        self._errors: dict[tuple[str, str], PluginLoadError] = {}
        self._table: tuple[tuple[Scan, tuple[Offer, ...], tuple[Offer, ...]], Table] | None = None

    def table(self) -> Table:
        """Return what there is, made anew when something was installed or registered."""
        parts = (scan(), self._registered, self._provided)
        known = self._table
        # Compared by identity: each of the parts is replaced as a whole.
        if known is None or any(old is not new for old, new in zip(known[0], parts, strict=True)):
            table = Table((*parts[0].executors, *parts[1], *parts[2]))
            known = self._table = (parts, table)
        return known[1]

    def activate(self) -> None:
        """Load the plugins that are always active, once, and take the executors they provide."""
        offers = scan().plugins
        if offers:
            blocked = settings.blocked_names()
            free = [offer for offer in offers if blocking(offer, blocked) is None]
            if self.plugins.activate(free):
                self._take_provided()

    def select(self, name: str, *, from_code: bool = True, origin: str = "") -> Selection:
        """Return the class that *name* stands for, and load it for that.

        Args:
            name: A name, ``distribution:name`` or, from code only, an address.
            from_code: It was written in the program, not in a settings file.
            origin: Where it was written, for messages.

        Raises:
            ExecutorNotFoundError: Nothing has this name, or it is blocked.
            PluginClashError: Two distributions claim it.
            PluginLoadError: What has this name cannot be loaded.
        """
        table = self.table()
        offer = table.find(name)
        if offer is not None:
            return self._load(offer, name)
        if from_code and is_address(name) and not table.claims(name.rpartition(":")[2]):
            return self._by_address(name)
        raise table.missing(name, origin)

    def infos(self) -> list[ExecutorInfo]:
        """Return what is known of every executor."""
        table, blocked = self.table(), settings.blocked_names()
        return [self._info(table, offer, blocked) for offer in table.offers]

    def register(self, name: str, target: str | type[Executor], distribution: str) -> None:
        """See the function `register`."""
        offer = _registration(name, target, distribution)
        if not distribution and self.table().is_builtin(name):
            raise SettingsError(
                f"register('{name}', ...): this name belongs to a built-in executor; "
                f"choose another name, or give distribution= and use it as 'distribution:{name}'"
            )
        with self._lock:
            others = [known for known in self._registered if not _same(known, offer)]
            for known in others:
                if normalise(known.address) == normalise(offer.address):
                    raise SettingsError(
                        f"register('{name}', {offer.value}): the name is registered for "
                        f"{known.value}; call connectors.unregister('{name}') first"
                    )
            self._forget(offer)
            self._registered = (*others, offer)

    def unregister(self, name: str) -> None:
        """See the function `unregister`."""
        key = normalise(name)
        with self._lock:
            gone = [
                offer
                for offer in self._registered
                if key in (normalise(offer.name), normalise(offer.address))
            ]
            if not gone:
                names = [offer.name for offer in self._registered]
                raise ExecutorNotFoundError(
                    name, names, "Only what connectors.register() was called for can be removed."
                )
            self._registered = tuple(offer for offer in self._registered if offer not in gone)
            for offer in gone:
                self._forget(offer)

    def register_plugin(self, plugin: object, name: str | None) -> str:
        """See the function `register_plugin`."""
        kind = getattr(plugin, "__name__", None) or type(plugin).__qualname__
        module = getattr(plugin, "__module__", None) or kind
        with self._lock:
            name = name or _free(kind, self.plugins.names())
            active = self.plugins.register(plugin, name, Source(None, _top_package(module)))
        self._take_provided()
        return active

    def unregister_plugin(self, plugin: object) -> None:
        """See the function `unregister_plugin`."""
        active = self.plugins.names()
        for name, other in active.items():
            if other is plugin or name == plugin:
                self.plugins.unregister(name)
                self._take_provided()
                return
        raise ExecutorNotFoundError(str(plugin), list(active), "It is no active plugin.")

    def plugin_infos(self) -> list[PluginInfo]:
        """Return what is known of every plugin of the group ``connectors.plugins``."""
        blocked = settings.blocked_names()
        return [self._plugin_info(offer, blocked) for offer in scan().plugins]

    def _take_provided(self) -> None:
        """Ask the active plugins for the executors that they provide."""
        installed = Table(scan().executors)
        provided = []
        for plugin, classes in self.plugins.call("connectors_executors"):
            if plugin in self._for_entry_points:
                continue  # has the names of its entry points, loaded or not
            source = self.plugins.source(plugin)
            for name, executor_class in _checked(plugin, source, classes).items():
                # Where an entry point of the same distribution has the name, that one counts.
                claims = installed.claims(name)
                if all(claim.source.name != source.name for claim in claims):
                    provided.append(Offer(name, executor_class, source))
        self._provided = tuple(provided)

    def _plugin_info(self, offer: Offer, blocked: Mapping[str, str]) -> PluginInfo:
        origin = blocking(offer, blocked)
        failure = self.plugins.errors.get(offer.identity)
        state: State = "loaded" if offer.identity in self.plugins.loaded else "not loaded"
        if origin is not None and state == "not loaded":
            state = "blocked"
        return PluginInfo(
            name=offer.name,
            distribution=offer.source.name,
            version=offer.source.version,
            value=offer.value,
            state="broken" if failure else state,
            error=str(failure) if failure else origin and f"blocked by {origin}",
        )

    def _info(self, table: Table, offer: Offer, blocked: Mapping[str, str]) -> ExecutorInfo:
        state, error = self._state(offer, blocked)
        return ExecutorInfo(
            name=offer.name,
            distribution=offer.source.name,
            version=offer.source.version,
            value=offer.value,
            state=state,
            error=error,
            aliases=offer.aliases,
            builtin=offer.builtin,
            clashes=tuple(dict.fromkeys(str(rival.source) for rival in table.rivals(offer))),
            address=table.address(offer),
        )

    def _state(self, offer: Offer, blocked: Mapping[str, str]) -> tuple[State, str | None]:
        origin = blocking(offer, blocked)
        if origin is not None:
            return "blocked", f"blocked by {origin}"
        error = self._errors.get(offer.identity)
        if error is not None:
            return "broken", str(error)
        loaded = isinstance(offer.target, type) or offer.identity in self._classes
        return ("loaded" if loaded else "not loaded"), None

    def _forget(self, offer: Offer) -> None:
        self._classes.pop(offer.identity, None)
        self._errors.pop(offer.identity, None)

    def _load(self, offer: Offer, asked: str) -> Selection:
        """Return the class of *offer*; no lock is held while a plugin is imported."""
        classes = self._classes.get(offer.identity)
        if classes is None:
            try:
                classes = self._import(offer)
            except PluginLoadError as error:
                self._errors[offer.identity] = error
                raise
            self._errors.pop(offer.identity, None)
            if isinstance(offer.target, str):  # a class may be replaced by one of the same name
                self._classes[offer.identity] = classes
        return self._pick(offer, classes, asked.rpartition(":")[2])

    def _import(self, offer: Offer) -> Mapping[str, type[Executor]]:
        found = load(offer)
        if is_executor_class(found):
            return {normalise(name): found for name in offer.names}
        if isinstance(offer.target, type) or not self.plugins.is_plugin(found):
            raise no_executor(offer.name, offer.source, found)
        provided = self._provided_by(offer, found)
        for name, executor_class in provided.items():
            if not is_executor_class(executor_class):
                raise no_executor(name, offer.source, executor_class)
            check_hook_api(name, offer.source, executor_class)
        if len(provided) == 1:
            (only,) = provided.values()
            return {normalise(name): only for name in offer.names}
        return {normalise(name): executor_class for name, executor_class in provided.items()}

    def _provided_by(self, offer: Offer, plugin: object) -> Mapping[str, type[Executor]]:
        known = self.plugins.names()
        name = self.plugins.register(plugin, offer.address, offer.source)
        if name not in known:
            self._for_entry_points.add(name)
        for owner, function in self.plugins.implementations("connectors_executors"):
            if owner == name:
                try:
                    return dict(function({}) or {})
                except Exception as error:
                    reason = f"its hook connectors_executors raised {type(error).__name__}: {error}"
                    cure = f"Upgrade {offer.source.name}."
                    raise PluginLoadError(offer.name, str(offer.source), reason, cure) from error
        return {}

    def _pick(self, offer: Offer, classes: Mapping[str, type[Executor]], asked: str) -> Selection:
        default = classes.get(normalise(offer.name))
        executor_class = classes.get(normalise(asked), default)
        if executor_class is None:
            reason = f"{offer.value} provides {listing(classes)}, and no '{asked}'"
            cure = "Return the class under the name of the entry point."
            raise PluginLoadError(offer.name, str(offer.source), reason, cure)
        if executor_class is not default:
            return Selection(asked, executor_class, (), offer.source)
        if offer.builtin:
            return Selection(offer.name, executor_class, offer.aliases, offer.source, builtin=True)
        # Under the name of a built-in, the settings are those of the built-in.
        is_builtin = self.table().is_builtin
        name = offer.address if is_builtin(offer.name) else offer.name
        aliases = tuple(alias for alias in offer.aliases if not is_builtin(alias))
        return Selection(name, executor_class, aliases, offer.source)

    def _by_address(self, address: str) -> Selection:
        for offer in self.table().offers:
            if offer.value == address:
                return self._load(offer, offer.name)
        offer = Offer(address, address, Source(None, _top_package(address)))
        found = load(offer)
        if not is_executor_class(found):
            raise no_executor(address, offer.source, found)
        return Selection(name_of(found), found, (), offer.source)


def _checked(plugin: str, source: Source, classes: object) -> dict[str, type[Executor]]:
    """Return those of the provided *classes* that are executors, and log the others."""
    if not isinstance(classes, Mapping):
        if classes is not None:
            _logger.error(
                "connectors_executors of plugin '%s' gave no mapping: %r", plugin, classes
            )
        return {}
    good = {}
    for name, found in classes.items():
        if is_executor_class(found):
            good[str(name)] = found
        else:
            _logger.error("%s", no_executor(str(name), source, found))
    return good


def _registration(name: str, target: str | type[Executor], distribution: str) -> Offer:
    if not isinstance(name, str) or not normalise(name) or ":" in name:
        raise SettingsError(f"register({name!r}, ...): expected a name without a colon")
    if isinstance(target, str):
        if not is_address(target):
            raise SettingsError(
                f"register('{name}', '{target}'): expected an address of the form "
                "'package.module:Class', or a class"
            )
        return Offer(name, target, Source(None, distribution or _top_package(target)))
    source = Source(None, distribution or _top_package(getattr(target, "__module__", "")))
    if not is_executor_class(target):
        raise no_executor(name, source, target)
    check_hook_api(name, source, target)
    return Offer(name, target, source)


def _free(name: str, taken: Container[str]) -> str:
    numbered = (f"{name}-{number}" for number in itertools.count(2))
    return next(free for free in itertools.chain([name], numbered) if free not in taken)


def _same(one: Offer, other: Offer) -> bool:
    return (normalise(one.address), one.value) == (normalise(other.address), other.value)


def _top_package(address: str) -> str:
    return address.partition(":")[0].partition(".")[0]


#: The registry of this process.
registry = Registry()


def available_executors() -> list[ExecutorInfo]:
    """Return what is known of every executor that can be chosen by name, importing none.

    Returns:
        The built-ins first. Broken, blocked and clashing ones are among them and say so.
    """
    return registry.infos()


def plugins() -> list[PluginInfo]:
    """Return what is known of the plugins that are always active, importing none."""
    return registry.plugin_infos()


def executor_class(name: str) -> type[Executor]:
    """Return the class of the executor *name*, loading its plugin but not its engine.

    Args:
        name: A name, ``distribution:name``, or the address of a class, ``pkg.mod:Class``.

    Raises:
        ExecutorNotFoundError: Nothing has this name, or it is blocked.
        PluginClashError: Two distributions claim it.
        PluginLoadError: What has this name cannot be loaded.
    """
    registry.activate()
    return registry.select(name).executor_class


def register(name: str, target: str | type[Executor], *, distribution: str = "") -> None:
    """Let an executor be chosen by *name* in this process, as if it were installed.

    Args:
        name: The name. Those of the built-ins are not given away.
        target: The class, or its address ``pkg.mod:Class``, which is imported when it is chosen.
        distribution: What ships it; the top-level package of *target* by default.

    Raises:
        SettingsError: The name is taken, or *target* is no address.
        PluginLoadError: *target* is a class, but no subclass of `Executor`.
    """
    registry.register(name, target, distribution)


def unregister(name: str) -> None:
    """Take back what `register` did.

    Args:
        name: The name, or ``distribution:name``.

    Raises:
        ExecutorNotFoundError: Nothing is registered by this name.
    """
    registry.unregister(name)


def register_plugin(plugin: object, name: str | None = None) -> str:
    """Make *plugin* active: a module, or an object with functions marked with ``hookimpl``.

    Args:
        plugin: The plugin. A plugin that is active already stays as it is.
        name: A name for messages and for `unregister_plugin`.

    Returns:
        Its name.

    Raises:
        PluginLoadError: It has no hooks, one that nobody specified, or one with other arguments.
    """
    return registry.register_plugin(plugin, name)


def unregister_plugin(plugin: object) -> None:
    """Make *plugin*, which is a plugin or the name of one, inactive.

    Raises:
        ExecutorNotFoundError: It is not active.
    """
    registry.unregister_plugin(plugin)
