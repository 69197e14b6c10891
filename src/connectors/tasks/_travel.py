"""How the body of a process task travels, with the events, queues and pipe ends that it is given.

What `multiprocessing` makes can only be pickled while it believes that a process is being started.
Its semaphores travel by name, and its descriptors beside the call.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing.context
from collections.abc import Callable, Iterator
from multiprocessing.reduction import ForkingPickler
from typing import Any

from connectors._by_value import Pickler
from connectors._culprit import culprit
from connectors._errors import PicklingError
from connectors.pools._process import _files

_NOT_ITS_OWN = ("builtins", "functools")  # methods and partials, which travel anyhow


class _Start:
    """What `multiprocessing` takes for a process that is being started."""

    DupFd = _files.Passed

    def __init__(self, files: _files.Files) -> None:
        self._files = files

    def duplicate_for_child(self, descriptor: int) -> int:
        """Let *descriptor* travel; return its number."""
        return self._files.add(descriptor)


class _TaskPickler(Pickler):
    """Pickles also what only a process that is being started can be given."""

    def reducer_override(self, obj: Any) -> Any:
        """See `pickle.Pickler.reducer_override`."""
        kind = type(obj)
        if getattr(obj, "_is_fork_ctx", False) and kind.__module__ == "multiprocessing.synchronize":
            raise _ContextError
        reducers = ForkingPickler._extra_reducers  # type: ignore[attr-defined]
        if kind in reducers and kind.__module__ not in _NOT_ITS_OWN:
            return reducers[kind](obj)
        return super().reducer_override(obj)


class _ContextError(TypeError):
    """Something is of the context that forks."""


def pack(target: Callable[..., Any], args: tuple[Any, ...], name: str, method: str) -> Any:
    """Return *target* and *args* as bytes for `_files.perform`, and the files that belong to them.

    Args:
        target: The body.
        args: Its arguments.
        name: What messages call the task.
        method: How processes are started.

    Raises:
        TypeError: An argument was made by the context of another start method.
        PicklingError: A part cannot travel; names it.
    """
    files = _files.Files()
    try:
        return _dump((target, args), files), files
    except Exception as error:
        files.close()
        parts = {"its target": target, **{f"args[{i}]": value for i, value in enumerate(args)}}
        if isinstance(error, _ContextError):
            raise _of_wrong_context(parts, name, method) from None
        path, reason = culprit(parts, _dumped) or ("it", f"{type(error).__name__}: {error}")
        raise PicklingError(f"the body of task {name}", path, reason) from error


def _of_wrong_context(parts: dict[str, Any], name: str, method: str) -> TypeError:
    part = next(part for part, value in parts.items() if _is_of_wrong_context(value))
    return TypeError(
        f"task {name}: {part} ({type(parts[part]).__name__}) was made by the 'fork' context of "
        f"multiprocessing, and processes start by {method}; make it with "
        f'multiprocessing.get_context("{method}")'
    )


def _is_of_wrong_context(value: Any) -> bool:
    try:
        _dumped(value)
    except _ContextError:
        return True
    except Exception:  # that is told when this is cured
        return False
    return False


def _dumped(value: Any) -> bytes:
    files = _files.Files()
    try:
        return _dump(value, files)
    finally:
        files.close()


def _dump(value: Any, files: _files.Files) -> bytes:
    file = io.BytesIO()
    with _starting(files):
        _TaskPickler(file, protocol=5).dump(value)
    return file.getvalue()


@contextlib.contextmanager
def _starting(files: _files.Files) -> Iterator[None]:
    context: Any = multiprocessing.context
    before = context.get_spawning_popen()
    context.set_spawning_popen(_Start(files))
    try:
        yield
    finally:
        context.set_spawning_popen(before)
