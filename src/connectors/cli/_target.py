"""TARGET: from ``module:function`` or ``path.py:function`` to what is called for each item."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import attrs

from connectors import ConnectorMethod, Executor, Parallelization
from connectors._calls import label_of
from connectors._errors import did_you_mean
from connectors._method import BoundMethod, Configured

from ._usage import UsageError

R = TypeVar("R")

FORMS = "module:function or path.py:function"


@attrs.frozen(kw_only=True)
class Target:
    """What is called for each item, and what it says of how it may run.

    Attributes:
        function: The function; that of a connector method, without its dispatch.
        label: Its name in messages.
        module: The module that was loaded from a path, which a worker on another machine does not
            have, or `None`.
        executor: The executor that it is routed to, or the choices.
        origin: Where the settings name that, unless the program does.
        wish: How far away it may run.
        timeout: Limit of one call in seconds.
        retries: How often a call that failed is run again.
    """

    function: Callable[..., Any]
    label: str
    module: ModuleType | None = None
    executor: str | Sequence[str] | Executor | None = None
    origin: str = ""
    wish: Parallelization | None = None
    timeout: float | None = None
    retries: int | None = None


def load_target(text: str) -> Target:
    """Return what *text* names.

    The directory of a path, or the current one, is searched for modules, as `python` does.

    Raises:
        UsageError: It names nothing, nothing that can be called, or cannot be imported.
    """
    place, colon, name = text.rpartition(":")
    if not colon or not place or not name:
        raise UsageError(f"TARGET '{text}' is not of the form {FORMS}{_meant(text)}")
    is_path = place.endswith(".py") or os.sep in place
    module = _from_path(text, place) if is_path else _from_name(text, place)
    found = _find(text, module, name)
    if not callable(found):
        kind = type(found).__name__
        raise UsageError(f"TARGET '{text}' cannot be called: its type is {kind}; name a function")
    return _described(found, module if is_path else None)


def _meant(text: str) -> str:
    module, dot, name = text.strip(":").rpartition(".")
    if text.endswith(".py"):
        return f"; name the function too: {text}:main"
    return f". Did you mean '{module}:{name}'?" if dot and module else ""


def _from_name(text: str, name: str) -> ModuleType:
    _search(Path.cwd())
    return _imported(text, name)


def _from_path(text: str, place: str) -> ModuleType:
    path = Path(place).resolve()
    if not path.is_file():
        there = [entry.name for entry in path.parent.glob("*.py")] if path.parent.is_dir() else []
        close = did_you_mean(path.name, there)
        raise UsageError(f"TARGET '{text}': there is no file '{path}'.{close}")
    _search(path.parent)
    if _is_found_by_name(path):
        # By its name workers find it too, which keeps what it loads once in each of them.
        return _imported(text, path.stem)
    return _by_value(text, path)


def _search(directory: Path) -> None:
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))


def _is_found_by_name(path: Path) -> bool:
    """Tell whether importing the name of the file gives this file, and no other module."""
    if "." in path.stem or path.suffix != ".py":
        return False
    known = sys.modules.get(path.stem)
    if known is not None:
        return getattr(known, "__file__", None) == str(path)
    spec = importlib.util.find_spec(path.stem)
    return spec is not None and spec.origin == str(path)


def _by_value(text: str, path: Path) -> ModuleType:
    """Load a file that workers cannot import; what it defines travels to them itself."""
    import cloudpickle

    name = f"_connectors_target_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"TARGET '{text}': '{path}' is no Python file; its name has to end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader = spec.loader
    _guarded(text, functools.partial(loader.exec_module, module))
    cloudpickle.register_pickle_by_value(module)
    return module


def _imported(text: str, name: str) -> ModuleType:
    try:
        missing = importlib.util.find_spec(name) is None
    except (ImportError, ValueError) as error:
        if not isinstance(error, ModuleNotFoundError):
            return _guarded(text, functools.partial(importlib.import_module, name))
        missing = True
    if missing:
        raise UsageError(
            f"TARGET '{text}': there is no module '{name}', neither in '{Path.cwd()}' nor installed"
        )
    return _guarded(text, functools.partial(importlib.import_module, name))


def _guarded(text: str, load: Callable[[], R]) -> R:
    try:
        return load()
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"TARGET '{text}' cannot be imported: {type(error).__name__}: {error}{_place(error)}"
        ) from error


def _place(error: BaseException) -> str:
    frame = place_of(error)
    return f" ({frame})" if frame else ""


def place_of(error: BaseException) -> str:
    """Return where *error* was raised, ``jobs.py, line 3, in resize``, unless it was by us."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = os.path.dirname(os.path.dirname(__file__))  # noqa: PTH120 - frames have strings
    own = [
        frame
        for frame in frames
        if not frame.filename.startswith((ours + os.sep, "<frozen importlib"))
    ]
    if not own or frames[-1].filename.startswith(ours + os.sep):
        return ""
    frame = own[-1]
    return f"{os.path.basename(frame.filename)}, line {frame.lineno}, in {frame.name}"  # noqa: PTH119


def _find(text: str, module: ModuleType, path: str) -> Any:
    found: Any = module
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            known = [each for each in dir(found) if callable(getattr(found, each, None))]
            public = [each for each in known if not each.startswith("_")]
            raise UsageError(
                f"TARGET '{text}': there is no '{name}' in {_called(found)}."
                f"{did_you_mean(name, public)}"
            ) from None
    return found


def _called(found: Any) -> str:
    if isinstance(found, ModuleType):
        file = getattr(found, "__file__", None)
        return f"'{found.__name__}'" + (f" ({file})" if file else "")
    return f"'{getattr(found, '__qualname__', found)}'"


def _described(found: Any, module: ModuleType | None) -> Target:
    if isinstance(found, BoundMethod):
        method = found._method
        body: Callable[..., Any] = functools.partial(method._body, found._instance)
    elif isinstance(found, ConnectorMethod):
        method, body = found, found._body
    else:
        return Target(function=found, label=label_of(found), module=module)
    plan = method.host.plan_of(method)
    chosen = plan.executor
    return Target(
        function=body,
        label=plan.label or method.name,
        module=module,
        executor=chosen.names if isinstance(chosen, Configured) else chosen,
        origin=chosen.origin if isinstance(chosen, Configured) else "",
        wish=plan.wish or method.parallelization,
        timeout=plan.timeout,
        retries=plan.retries,
    )
