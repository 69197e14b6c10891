"""The active plugins: what they are, and how their hooks are called.

pluggy keeps the implementations and checks them against the specifications; it loads nothing, and
it calls nothing: a plugin that raises is to harm nobody else, so each is called on its own.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from . import events
from ._discovery import Offer, Source
from ._errors import PluginLoadError, did_you_mean, listing
from ._executor import Executor
from ._loading import check_hook_api, describe, is_executor_class, load

if TYPE_CHECKING:
    import pluggy

_logger = logging.getLogger("connectors")


class Plugins:
    """The plugins of this process.

    Attributes:
        errors: Why a plugin of the group ``connectors.plugins`` could not be loaded, by identity.
        loaded: The identities of those that could.
    """

    def __init__(self) -> None:
        self.errors: dict[tuple[str, str], PluginLoadError] = {}
        self.loaded: set[tuple[str, str]] = set()
        self._lock = threading.RLock()
        self._manager: pluggy.PluginManager | None = None
        self._sources: dict[str, Source] = {}
        self._observation: events.Observation | None = None
        self._complained: set[tuple[str, str]] = set()
        self._here = threading.local()

    def activate(self, offers: Iterable[Offer]) -> bool:
        """Load those of *offers* that nobody tried before, and tell whether there were any.

        No lock is held meanwhile: a module that is being imported may call us in its turn, from
        another thread too. Two threads may load the same plugin, and only one of them registers.
        """
        if getattr(self._here, "busy", False):
            return False  # a plugin makes an executor while it is imported
        self._here.busy = True
        try:
            new = [offer for offer in offers if not self._tried(offer.identity)]
            for offer in new:
                self._load(offer)
        finally:
            self._here.busy = False
        return bool(new)

    def is_plugin(self, found: object) -> bool:
        """Tell whether *found* has functions that are marked as hooks."""
        with self._lock:
            return bool(hooks(self._open(), found))

    def _tried(self, identity: tuple[str, str]) -> bool:
        return identity in self.loaded or identity in self.errors

    def _load(self, offer: Offer) -> None:
        try:
            self.register(load(offer), offer.address, offer.source)
        except PluginLoadError as error:
            self.errors[offer.identity] = error
            _logger.warning("%s It is left out.", error)
        else:
            self.loaded.add(offer.identity)

    def register(self, plugin: object, name: str, source: Source) -> str:
        """Make *plugin* an active one.

        Returns:
            The name under which it is active; an earlier one, if it was active already.

        Raises:
            PluginLoadError: It has no hooks, or one that is not as it was specified.
        """
        if is_executor_class(plugin):
            raise PluginLoadError(
                name,
                str(source),
                f"{describe(plugin)} is an executor, not a plugin",
                "Offer it in the entry-point group connectors.executors, or with "
                "connectors.register().",
            )
        check_hook_api(name, source, plugin)
        with self._lock:
            manager = self._open()
            for known, other in manager.list_name_plugin():
                if other is plugin:
                    return str(known)
            self._check(manager, plugin, name, source)
            self._add(manager, plugin, name, source)
            self._sources[name] = source
            self._watch()
        return name

    def unregister(self, name: str) -> None:
        """Make the plugin *name* inactive."""
        with self._lock:
            self._open().unregister(name=name)
            self._sources.pop(name, None)
            self._watch()

    def names(self) -> dict[str, object]:
        """Return the active plugins by name."""
        with self._lock:
            return dict(self._manager.list_name_plugin()) if self._manager else {}

    def source(self, name: str) -> Source:
        """Return the distribution of the plugin *name*."""
        return self._sources[name]

    def call(self, hook: str, /, **arguments: Any) -> list[tuple[str, Any]]:
        """Call every implementation of *hook*.

        Returns:
            What each returned, after the name of its plugin. One that raised is logged.
        """
        results = []
        for name, function in self.implementations(hook):
            try:
                results.append((name, function(arguments)))
            except Exception:
                self.complain(name, hook)
        return results

    def implementations(self, hook: str) -> list[tuple[str, Callable[[Mapping[str, Any]], Any]]]:
        """Return the implementations of *hook* after the names of their plugins.

        Each takes the arguments of the hook by name. They come in pluggy's order: last registered
        first, but for ``tryfirst`` and ``trylast``.
        """
        if self._manager is None:
            return []
        caller: pluggy.HookCaller = getattr(self._manager.hook, hook)
        return [(each.plugin_name, _unpacking(each)) for each in reversed(caller.get_hookimpls())]

    def complain(self, name: str, hook: str) -> None:
        """Log the exception that a hook raised: its traceback once, later only that it happened."""
        first = (name, hook) not in self._complained
        self._complained.add((name, hook))
        _logger.error("the hook %s of plugin '%s' raised", hook, name, exc_info=first)

    def _open(self) -> pluggy.PluginManager:
        if self._manager is None:
            import pluggy

            from . import _hookspecs

            manager = pluggy.PluginManager("connectors")
            manager.add_hookspecs(_hookspecs)
            self._manager = manager
            Executor.lifecycle_observers.append(self._live)
        return self._manager

    def _check(
        self, manager: pluggy.PluginManager, plugin: object, name: str, source: Source
    ) -> None:
        """Check what pluggy does not, or only later."""
        specified = [hook for hook in vars(manager.hook) if hook.startswith("connectors_")]
        marked = hooks(manager, plugin)
        for hook, options in marked.items():
            if hook not in specified:
                reason = f"there is no hook '{hook}'"
                cure = f"The hooks are: {listing(specified)}.{did_you_mean(hook, specified)}"
                raise PluginLoadError(name, str(source), reason, cure)
            if options.get("wrapper") or options.get("hookwrapper"):
                reason = f"its hook '{hook}' is a wrapper, and every hook is called on its own"
                cure = "Write it as a plain function."
                raise PluginLoadError(name, str(source), reason, cure)
        if not marked:
            reason = f"{describe(plugin)} has no hooks"
            cure = "Mark its functions with @connectors.hookimpl."
            raise PluginLoadError(name, str(source), reason, cure)

    def _add(
        self, manager: pluggy.PluginManager, plugin: object, name: str, source: Source
    ) -> None:
        from pluggy import PluginValidationError

        if manager.has_plugin(name):
            reason = f"another plugin is registered as '{name}'"
            cure = "Unregister that one first, or choose another name."
            raise PluginLoadError(name, str(source), reason, cure)
        try:
            manager.register(plugin, name)
        except PluginValidationError as error:
            # Some versions of pluggy keep what they find wrong.
            manager.unregister(name=name)
            reason = " ".join(str(error).split())
            cure = "A hook takes the arguments of its specification, or some of them."
            raise PluginLoadError(name, str(source), reason, cure) from error

    def _watch(self) -> None:
        """Observe while, and only while, some plugin wants events: observing has its price."""
        wanted = bool(self.implementations("connectors_event"))
        if wanted and self._observation is None:
            self._observation = events.observe(self._tell)
        elif not wanted and self._observation is not None:
            self._observation.close()
            self._observation = None

    def _live(self, what: str, executor: Executor) -> None:
        self.call(f"connectors_executor_{what}", executor=executor)

    def _tell(self, event: events.Event) -> None:
        self.call("connectors_event", event=event)


def hooks(manager: pluggy.PluginManager, plugin: object) -> dict[str, Mapping[str, Any]]:
    """Return the hooks that *plugin* implements, with the options of each."""
    found: dict[str, Mapping[str, Any]] = {}
    for attribute in dir(plugin):
        options = manager.parse_hookimpl_opts(plugin, attribute)
        if options is not None:
            found[options.get("specname") or attribute] = options
    return found


def _unpacking(implementation: pluggy.HookImpl) -> Callable[[Mapping[str, Any]], Any]:
    names, function = implementation.argnames, implementation.function
    return lambda arguments: function(*(arguments[name] for name in names))
