"""From an address to the object that it names, and whether that object fits us.

Whatever is wrong with a plugin ends here as a `PluginLoadError` that says what, whose, and what to
do about it.
"""

from __future__ import annotations

import importlib
import re
from types import ModuleType
from typing import Any, TypeGuard

from ._discovery import DISTRIBUTION, Offer, Source
from ._errors import PluginLoadError
from ._executor import Executor

_ADDRESS = re.compile(r"(?P<module>[^\W\d]\w*(\.[^\W\d]\w*)*)(:(?P<path>[\w.]+))?(\s*\[.*\])?")


def is_address(text: str) -> bool:
    """Tell whether *text* has the form ``package.module:Class``."""
    match = _ADDRESS.fullmatch(text.strip())
    return match is not None and match["path"] is not None


def load(offer: Offer) -> Any:
    """Return the object at the address of *offer*.

    Raises:
        PluginLoadError: There is no such object, its module cannot be imported, or it is written
            for another version of our hooks.
    """
    found = offer.target if isinstance(offer.target, type) else _import(offer)
    check_hook_api(offer.name, offer.source, found)
    return found


def _import(offer: Offer) -> Any:
    match = _ADDRESS.fullmatch(offer.value.strip())
    if match is None:
        raise _broken(
            offer, f"its address '{offer.value}' is not of the form 'package.module:Class'"
        )
    try:
        found: Any = importlib.import_module(match["module"])
    except (Exception, SystemExit) as error:
        raise _broken(offer, _why(match["module"], error)) from error
    for attribute in (match["path"] or "").split(".") if match["path"] else ():
        try:
            found = getattr(found, attribute)
        except Exception as error:
            raise _broken(offer, _nothing(match["module"], match["path"], error)) from error
    return found


def _why(module: str, error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and _within(error.name, module):
        return f"its address names nothing, there is no module '{error.name}'"
    return f"importing {module} raised {type(error).__name__}: {error}"


def _within(missing: str | None, module: str) -> bool:
    return missing is not None and f"{module}.".startswith(f"{missing}.")


def _nothing(module: str, path: str, error: Exception) -> str:
    if isinstance(error, AttributeError):
        return f"its address names nothing, there is no '{path}' in module '{module}'"
    return f"{module}:{path} raised {type(error).__name__}: {error}"


def _broken(offer: Offer, reason: str) -> PluginLoadError:
    if offer.source.distribution is None:
        cure = f"Correct the address '{offer.value}'" if "address" in reason else "Mend that module"
        return PluginLoadError(offer.name, str(offer.source), reason, f"{cure}.")
    return PluginLoadError(
        offer.name,
        str(offer.source),
        reason,
        f"Upgrade or remove it: pip install --upgrade {offer.source.name}, or "
        f"pip uninstall {offer.source.name}; or block it: CONNECTORS_DISABLE_PLUGINS={offer.name}.",
    )


def check_hook_api(name: str, source: Source, plugin: Any) -> None:
    """Check that *plugin* is written for our version of the hooks.

    Raises:
        PluginLoadError: It is written for another one.
    """
    theirs = getattr(plugin, "hook_api", Executor.hook_api)
    ours = Executor.hook_api
    if isinstance(theirs, bool) or not isinstance(theirs, int):
        reason = f"its hook_api is {theirs!r}"
        cure = f"It has to be an integer, {ours} for instance."
        raise PluginLoadError(name, str(source), reason, cure)
    if theirs == ours:
        return
    older = DISTRIBUTION if theirs > ours else source.name
    reason = f"it is written for hook API {theirs}, and this connectors has hook API {ours}"
    cure = f"Upgrade {older}: pip install --upgrade {older}."
    raise PluginLoadError(name, str(source), reason, cure)


def is_executor_class(found: object) -> TypeGuard[type[Executor]]:
    """Tell whether *found* is a class of executors."""
    return isinstance(found, type) and issubclass(found, Executor)


def no_executor(name: str, source: Source, found: object) -> PluginLoadError:
    """Return the error for something that is neither an executor class nor a plugin."""
    return PluginLoadError(
        name,
        str(source),
        f"{describe(found)} is neither a subclass of connectors.Executor nor a plugin with "
        "@connectors.hookimpl functions",
        "Derive the class from connectors.Executor, or name one that is.",
    )


def describe(found: object) -> str:
    """Return what messages call *found*: ``the class pkg.mod:Thing`` for instance."""
    if isinstance(found, type):
        return f"the class {found.__module__}:{found.__qualname__}"
    if isinstance(found, ModuleType):
        return f"the module {found.__name__}"
    return f"the {type(found).__name__} {found!r:.80}"
